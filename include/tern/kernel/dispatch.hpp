// SPDX-License-Identifier: MIT
/// Which kernel serves which operands: known at compile time for each instruction set, chosen once per call at run time.
#pragma once

#include <cstdlib>  // std::getenv
#include <type_traits>
#include <utility>  // std::declval

#include <tern/kernel/list.hpp>

namespace tern::inline v0_1::kernel::inline TERN_TU {

namespace entry {

/// Stands before the overloads so that run(tag, ...) is found through its arguments' namespaces only: a user's instruction
/// set outside tern brings its kernels the same way. What is found must return the tag it serves, one that Isa falls back to,
/// so that a greedy function of the same name beside a user's codec is an error and not a kernel.
void run() = delete;
void quantize_row() = delete;

template <class Result, class Isa>
concept serves = isa_tag<Result> && std::derived_from<Isa, Result>;

template <class Isa, class X, class Codec>
concept runnable = requires(const product<X, Codec>& a, const tile& t) {
  { run(Isa{}, a, t) } -> serves<Isa>;
};

template <isa_tag Isa, class X, codec Codec>
auto run_tile(Isa isa, const product<X, Codec>& a, const tile& t) {
  static_assert(runnable<Isa, X, Codec>,
                "no kernel takes these operands: an instruction set derives from tern::isa::scalar, whose run() takes "
                "every codec; and "
                "run() returns the tag that it serves");
  return run(isa, a, t);
}
template <isa_tag Isa, real_element T>
float run_quantize_row(Isa isa, const T* x, std::size_t inputs, std::int8_t* codes, std::size_t row_stride,
                       std::int32_t* prefix) {
  return quantize_row(isa, x, inputs, codes, row_stride, prefix);
}

}  // namespace entry

using entry::run_quantize_row;
using entry::run_tile;

/// What computes the tiles of such products, or quantises the rows of such activations, on one instruction set.
template <class X, codec Codec>
using tile_function = void (*)(const product<X, Codec>&, const tile&);
template <isa_tag Isa, class X, codec Codec>
tile_function<X, Codec> tile_function_of() {
  return [](const product<X, Codec>& a, const tile& t) { entry::run_tile(Isa{}, a, t); };
}
template <real_element T>
using row_function = float (*)(const T*, std::size_t, std::int8_t*, std::size_t, std::int32_t*);
template <isa_tag Isa, real_element T>
row_function<T> row_function_of() {
  return [](const T* x, std::size_t inputs, std::int8_t* codes, std::size_t row_stride, std::int32_t* prefix) {
    return entry::run_quantize_row(Isa{}, x, inputs, codes, row_stride, prefix);
  };
}

/// The instruction set whose kernel runs when Isa is asked for: Isa itself, or the tag it falls back to. X is
/// activations_view or float_view.
template <isa_tag Isa, class X, codec Codec>
using kernel_for = decltype(run_tile(Isa{}, std::declval<const product<X, Codec>&>(), std::declval<const tile&>()));

}  // namespace tern::inline v0_1::kernel::inline TERN_TU

namespace tern::inline v0_1::isa::inline TERN_TU {

/// Errors: isa_error when this machine has no Isa.
template <isa_tag Isa>
void check_usable() {
  if (!Isa::usable()) detail::fail<isa_error>({"this machine has no ", Isa::name()});
}

/// Calls f(tag) with the tag at the place `at` of the list.
template <class F, isa_tag... Tags>
decltype(auto) visit(std::size_t at, F&& f, type_list<Tags...>) {
  using result = decltype(f(scalar{}));
  std::size_t here = 0;
  if constexpr (std::is_void_v<result>) {
    static_cast<void>(((here++ == at ? (f(Tags{}), true) : false) || ...));
  } else {
    result out{};
    static_cast<void>(((here++ == at ? (out = f(Tags{}), true) : false) || ...));
    return out;
  }
}

/// The place in the list of the instruction set called `name`. Errors: isa_error when it is unknown or unusable here.
template <isa_tag... Tags>
std::size_t find(std::string_view name, type_list<Tags...>) {
  std::size_t at = 0, here = 0;
  bool known = false, usable = false;
  (((Tags::name() == name ? (known = true, usable = Tags::usable(), at = here) : 0), ++here), ...);
  if (!known) {
    std::string names;
    ((names += ' ', names += Tags::name()), ...);
    detail::fail<isa_error>(
        {"TERN_FORCE_ISA: unknown instruction set \"", name, "\"; there are:", std::string_view(names)});
  }
  if (!usable) detail::fail<isa_error>({"TERN_FORCE_ISA: this machine has no ", name});
  return at;
}

/// The place in the list of the first usable instruction set.
template <isa_tag... Tags>
std::size_t find_best(type_list<Tags...>) {
  std::size_t at = 0;
  static_cast<void>(((Tags::usable() ? true : (++at, false)) || ...));
  return at;
}

/// The place of an instruction set in the list `chosen`, and whether somebody chose it.
struct selection {
  std::size_t at;
  bool forced;  // by TERN_PIN_ISA when compiling, or by TERN_FORCE_ISA
};
#if defined(TERN_PIN_ISA)
using chosen = type_list<TERN_PIN_ISA>;
inline selection choice() { return {0, true}; }
#else
using chosen = all;
/// Decided at the first call: TERN_FORCE_ISA from the environment, or the best that this machine can run.
inline selection choice() {
  static const selection s = []() -> selection {
    const char* forced = std::getenv("TERN_FORCE_ISA");
    if (forced != nullptr && *forced != 0) return {find(forced, all{}), true};
    return {find_best(all{}), false};
  }();
  return s;
}
#endif

/// Calls f(tag) with the instruction set that products run on.
/// Errors: isa_error when TERN_FORCE_ISA names one that is unknown or that this machine does not have.
template <class F>
decltype(auto) with_best(F&& f) {
  return visit(choice().at, f, chosen{});
}

/// The name of the instruction set that products run on, e.g. "avx2".
inline std::string_view best_name() {
  return with_best([](auto tag) { return std::string_view(tag.name()); });
}

}  // namespace tern::inline v0_1::isa::inline TERN_TU
