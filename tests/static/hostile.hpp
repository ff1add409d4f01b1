// SPDX-License-Identifier: MIT
/// A user's codec and instruction sets, in namespaces that do what they can to be in the way.
#pragma once

#include <tern/tern.hpp>

/// Everything here is found by argument-dependent lookup wherever tern handles the codec, and must never be chosen.
namespace hostile {

#define TERN_TEST_GREEDY(name) \
  template <class... Ts>       \
  void name(Ts&&...) = delete
TERN_TEST_GREEDY(multiply);
TERN_TEST_GREEDY(one_token);
TERN_TEST_GREEDY(many_tokens);
TERN_TEST_GREEDY(float_tokens);
TERN_TEST_GREEDY(pass_tokens);
TERN_TEST_GREEDY(dot_tile);
TERN_TEST_GREEDY(prefetch_block);
TERN_TEST_GREEDY(start_of_sums);
TERN_TEST_GREEDY(scales_of);
TERN_TEST_GREEDY(ends_in_integers);
TERN_TEST_GREEDY(finish_integers);
TERN_TEST_GREEDY(kernel_report);
TERN_TEST_GREEDY(load_some);
TERN_TEST_GREEDY(decode);
TERN_TEST_GREEDY(finish_row);
TERN_TEST_GREEDY(correct_zero_points);
TERN_TEST_GREEDY(load);
TERN_TEST_GREEDY(store);
TERN_TEST_GREEDY(run_product);
TERN_TEST_GREEDY(check_product);
TERN_TEST_GREEDY(weights);
TERN_TEST_GREEDY(view);
TERN_TEST_GREEDY(unpack);
TERN_TEST_GREEDY(dequantize);
TERN_TEST_GREEDY(quantize_activations);
TERN_TEST_GREEDY(matmul);
#undef TERN_TEST_GREEDY

template <class T>
void operator&(T&&) = delete;
template <class T, class U>
void operator,(T&&, U&&) = delete;

/// Two levels -8 .. 7 a byte. Unlike the library's codecs it carries a state, which is not the default one where it
/// matters, and its zero level is no zero byte.
struct codec {
  static constexpr std::string_view name() { return "hostile"; }
  static constexpr std::size_t fold = 2;
  static constexpr std::size_t group_multiple = 16;
  static constexpr std::size_t bytes = 1;

  std::uint8_t mask = 0;

  constexpr bool holds(int level) const { return level >= -8 && level <= 7; }
  constexpr void encode(const std::int8_t* levels, std::uint8_t* out) const {
    *out = static_cast<std::uint8_t>(((levels[0] + 8) | (levels[1] + 8) << 4) ^ mask);
  }
  constexpr std::int8_t decode(const std::uint8_t* in, std::size_t p) const {
    return static_cast<std::int8_t>(((*in ^ mask) >> 4 * p & 15) - 8);
  }
  friend bool operator==(codec, codec) = default;
};

static_assert(tern::codec<codec>);

}  // namespace hostile

/// Instruction sets outside of tern.
namespace foreign {

#if defined(TERN_X86)
using base = tern::isa::avx2;
#elif defined(TERN_ARM64)
using base = tern::isa::neon_dotprod;
#else
using base = tern::isa::scalar;
#endif

/// Adds nothing: everything falls back to its base.
struct plain : base {
  static constexpr std::string_view name() { return "plain"; }
};

/// Has a kernel of its own for one codec of the library, and counts its calls.
struct isa : base {
  static constexpr std::string_view name() { return "foreign"; }
};
inline int calls = 0;

inline isa run(isa, const tern::kernel::product<tern::activations_view, tern::b3>& a, const tern::kernel::tile& t) {
  ++calls;
  run(tern::isa::scalar{}, a, t);
  return {};
}

/// Has a kernel for every codec and any left operand.
struct greedy : tern::isa::scalar {
  static constexpr std::string_view name() { return "greedy"; }
};
template <class X, tern::codec Codec>
greedy run(greedy, const tern::kernel::product<X, Codec>& a, const tern::kernel::tile& t) {
  ++calls;
  run(tern::isa::scalar{}, a, t);
  return {};
}

}  // namespace foreign
