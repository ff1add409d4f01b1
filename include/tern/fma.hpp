// SPDX-License-Identifier: MIT
/// fma in float, rounded once on every machine.
#pragma once

#include <bit>    // std::bit_cast
#include <cmath>  // std::fma

#include <tern/config.hpp>

namespace tern::inline v0_1::detail {

/// fma(a, b, c) by doubles: the sum a b + c rounded to odd, then to float.
///
/// The product of two floats is exact in double: 48 bits, exponents from 2^-298 to 2^256. Its sum with c is rounded to s,
/// and two-sum gives the error e of that: s + e = a b + c, exactly, for nothing here overflows or underflows. Where e is not
/// 0 the sum lies strictly between s and its neighbour on the side of e, and the last bit of one of them is 1, "odd".
/// Rounding to odd takes that one: cut towards zero, which is s or, where e points to zero, the double before it; then set
/// the last bit. It says "there is more", at least 29 bits behind the last one of a float, and subnormals have fewer: so
/// ties, and the two sides of one, are told apart by the conversion to float, the only rounding that is left.
/// Infinities and NaN make e NaN, which has no side, and s stays. A sum of 0 is exact, and its sign IEEE's.
/// Source: S. Boldo, G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding
/// to odd", IEEE Transactions on Computers 57 (2008).
TERN_INLINE float fma_by_doubles(float a, float b, float c) {
  const double product = static_cast<double>(a) * static_cast<double>(b), wide = static_cast<double>(c);
  const double s = product + wide, of_c = s - product;
  const double e = (product - (s - of_c)) + (wide - of_c);
  const double side = s * e;  // its sign; |s| and |e| are 0 or from 2^-298 to 2^257
  auto bits = std::bit_cast<std::uint64_t>(s);
  if (side < 0) --bits;
  if (side < 0 || side > 0) bits |= 1;
  return static_cast<float>(std::bit_cast<double>(bits));
}

/// fma(a, b, c), rounded once. Where there is no instruction, not every C library has it: musl's, which is emscripten's,
/// rounds twice where the double nearest to the sum is a tie of floats, always up without rounding modes, and does so to
/// subnormals everywhere; others add in long double. Trusted are instructions, glibc, and Apple's.
TERN_INLINE float fma_rn(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__) || defined(__ARM_FEATURE_FMA) || defined(__GLIBC__) || defined(__APPLE__)
  return std::fma(a, b, c);
#else
  return fma_by_doubles(a, b, c);
#endif
}

}  // namespace tern::inline v0_1::detail
