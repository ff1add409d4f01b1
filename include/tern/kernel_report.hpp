// SPDX-License-Identifier: MIT
/// Which kernel serves a product on this machine, and why: for logs, and for who wonders at a speed.
#pragma once

#include <string>

#include <tern/matmul.hpp>

namespace tern::inline v0_1 {

namespace detail::inline TERN_TU {

/// What a loop does, and why so many tokens take it.
inline std::string_view text_of(kernel::token_loop loop) {
  switch (loop) {
    case kernel::token_loop::one:
      return "one token: weights are multiplied where they are decoded, in registers; several far-apart panels are "
             "read "
             "at once, because a single stream does not reach the bandwidth of memory";
    case kernel::token_loop::few:
      return "few tokens: weights are decoded once for all of them, in short chunks, because their products do not "
             "hide long ones on their way from memory";
    case kernel::token_loop::many:
      return "many tokens: weights are decoded once for a block of tokens, into the first-level cache";
    case kernel::token_loop::tiles:
      return "tiles of tokens: weights are decoded once for a block of tokens, to AMX tiles";
  }
  return "";
}

/// The names before Isa's in the list: where Isa is the best usable one, these are not.
template <isa_tag Isa, isa_tag... Tags>
std::string better_than(type_list<Tags...>) {
  std::string names;
  bool found = false;
  ((found |= std::same_as<Tags, Isa>, names += found || names.empty() ? "" : " ",
    names += found ? std::string_view() : Tags::name()),
   ...);
  return names;
}

}  // namespace detail::inline TERN_TU

inline namespace TERN_TU {

/// Says which kernel multiplies `tokens` quantised activations by w on this machine, and why.
///
///     std::cout << tern::kernel_report(1, layer.weights());
///     // 1 token by 4096 x 4096 in i2: avx512vnni, the best usable here, without amx
///     // one token: weights are multiplied where they are decoded, in registers; several far-apart panels are ...
///
/// An executor may give a thread fewer tokens, where there are fewer panels of 16 outputs than threads.
/// Errors: isa_error when TERN_FORCE_ISA names an instruction set that is unknown or unusable here.
template <product_right W>
std::string kernel_report(std::size_t tokens, const W& w) {
  const auto& packed = detail::weights(w);
  using Codec = typename std::remove_cvref_t<decltype(packed)>::codec_type;
  return isa::with_best([&]<class Isa>(Isa) {
    using Served = kernel::kernel_for<Isa, activations_view, Codec>;
    std::string report = detail::join({tokens, tokens == 1 ? " token by " : " tokens by ", packed.rows(), " x ",
                                       packed.cols(), " in ", Codec::name(), ": ", Served::name(), ", "});
    if (isa::choice().forced) {
      report += "as TERN_FORCE_ISA or TERN_PIN_ISA says";
    } else {
      const std::string better = detail::better_than<Isa>(isa::all{});
      report += detail::join({"the best usable here", better.empty() ? "" : ", without ", std::string_view(better)});
    }
    if (!std::same_as<Served, Isa>) report += detail::join({"; ", Isa::name(), " has no kernel for this codec"});
    report += detail::join({"\n", detail::text_of(Served::loop_for(tokens)), "\n"});
    return report;
  });
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1
