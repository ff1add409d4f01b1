// SPDX-License-Identifier: MIT
/// Steps that round once: a product that no compiler fuses with a sum, and real numbers to codes.
#pragma once

#include <cmath>

#include <tern/error.hpp>

namespace tern::inline v0_1 {

/// Where a quotient halfway between two codes goes: to the even one, as rint and every vector instruction do, or away
/// from zero, as C's and Rust's round do.
enum class rounding : std::uint8_t { half_even, half_away };

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

/// The product a * b, rounded, also where it meets a sum: compilers contract a * b + c to an fma, across statements,
/// casts and intrinsics, but not across a register that they cannot see into.
template <std::floating_point Real>
Real mul_rn(Real a, Real b) {
#if defined(TERN_X86)
  Real product = a * b;
  asm("" : "+x"(product));
  return product;
#elif defined(TERN_ARM64)
  Real product = a * b;
  asm("" : "+w"(product));
  return product;
#else
  volatile Real product = a * b;
  return product;
#endif
}

/// rint(x) for |x| <= 2^22, where std::rint would be a call: x + 1.5 * 2^23 lies in [2^23, 2^24), where floats are the
/// integers, so the sum is x rounded to the nearest, and to the even one on a tie because 1.5 * 2^23 is even; the
/// difference is exact. (-0.0 comes back as +0.0.) x must not be a bare product, which could be fused with the sum: see
/// mul_rn.
inline float nearest_even(float x) {
  constexpr float shift = 0x1.8p23f;
  return (x + shift) - shift;
}
/// round(x) for |x| <= 2^22: what truncation leaves is exact, and decides.
inline float nearest_away(float x) {
  const auto whole = static_cast<float>(static_cast<std::int32_t>(x));
  const float rest = x - whole;
  return rest >= 0.5f ? whole + 1 : rest <= -0.5f ? whole - 1 : whole;
}

/// x to the nearest integer of [-bound, bound]. Clamping comes first, which changes nothing since bound is an integer,
/// and keeps x within the range of the roundings; bound <= 2^22. No NaN, and no bare product: see nearest_even.
inline float nearest_whole(float x, float bound, rounding ties = rounding::half_even) {
  x = x < -bound ? -bound : x > bound ? bound : x;
  return ties == rounding::half_even ? nearest_even(x) : nearest_away(x);
}

/// The same as a code of [-limit, limit].
inline std::int32_t nearest_code(float x, std::int32_t limit, rounding ties = rounding::half_even) {
  return static_cast<std::int32_t>(nearest_whole(x, static_cast<float>(limit), ties));
}

/// rint(x / scale), to even, kept within [-limit, limit].
inline std::int32_t round_code(float x, float scale, std::int32_t limit) { return nearest_code(x / scale, limit); }

/// Q = 2^(bits - 1) - 1, the largest code of a symmetric quantizer.
constexpr std::int32_t largest_code(unsigned bits) { return (std::int32_t{1} << (bits - 1)) - 1; }

/// Errors: range_error for bits outside 2 .. most.
inline void check_bits(const char* what, unsigned bits, unsigned most) {
  if (bits < 2 || bits > most) fail<range_error>({what, ": codes of ", bits, " bits; they have 2 to ", most});
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU
