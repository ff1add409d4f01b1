// SPDX-License-Identifier: MIT
/// A logarithm with the same bits on every machine, which no C library's promises: a fixed sequence of operations.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include <tern/config.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// ln x for a positive normal x: x = 2^e m, m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh((m - 1) / (m + 1)). The
/// relative error is below 6e-16, and 2 units in the last place.
///
/// |z| <= 0.1716, so the first term left out of the series, z^24 / 25, is below 2^-65 of the sum.
inline double natural_logarithm(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  // Subtracting sqrt(1/2) from the bits makes the exponent field count from there.
  const std::uint64_t root = std::bit_cast<std::uint64_t>(0.7071067811865476);
  const std::int64_t exponent = static_cast<std::int64_t>(bits - root) >> 52;
  const double m = std::bit_cast<double>(bits - (static_cast<std::uint64_t>(exponent) << 52));
  const double z = (m - 1) / (m + 1), square = z * z;
  double series = 0;
  for (int i = 23; i > 1; i -= 2) series = std::fma(series, square, 1.0 / i);
  series *= square;
  const double ln_m = 2 * std::fma(z, series, z);
  return std::fma(static_cast<double>(exponent), 0.6931471805599453, ln_m);
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU
