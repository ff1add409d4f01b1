// SPDX-License-Identifier: MIT
/// Synthetic weights for tests, benchmarks and tables: three distributions, the same bits on every machine.
///
/// Uniform numbers come from splitmix64. A pair (u, v) of its 32-bit halves, as signed integers scaled to [-1, 1), is
/// drawn again until s = u^2 + v^2, exact in integers, is in (0, 1): a uniform point of the disk. Each value is one
/// point:
///
///     gauss       u sqrt(-2 ln s / s)                  variance 1
///     student_t4  u sqrt(4 (1 / sqrt(s) - 1) / s)      Student's t with 4 degrees of freedom, variance 2
///     laplace     -sgn(u) ln s                         s is uniform and independent of the direction; variance 2
///
/// sqrt is exact to rounding everywhere, and the logarithm is the library's own (logarithm.hpp). Then times
/// 0.02, the usual size of weights, and rounded to float.
///
/// Sources: G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. G.
///          Marsaglia and T. A. Bray, "A convenient method for generating normal variables", SIAM Review 6, 1964. R. W.
///          Bailey, "Polar generation of random variates with the t-distribution", Math. Comp. 62, 1994.
#pragma once

#include <cmath>

#include <tern/quantize/logarithm.hpp>
#include <tern/view.hpp>

namespace tern::inline v0_1 {

enum class weight_distribution : std::uint8_t { gauss, laplace, student_t4 };

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

/// A point of the unit disk: its first coordinate, and the square of its radius, in (0, 1).
struct disk_point {
  double u, s;
};

inline disk_point draw_point(std::uint64_t& state) {
  for (;;) {
    state += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    const auto u = static_cast<std::int64_t>(static_cast<std::int32_t>(z >> 32));
    const auto v = static_cast<std::int64_t>(static_cast<std::int32_t>(z & 0xffffffffu));
    const std::uint64_t s = static_cast<std::uint64_t>(u * u) + static_cast<std::uint64_t>(v * v);  // at most 2^63
    if (s != 0 && s < std::uint64_t{1} << 62)
      return {static_cast<double>(u) * 0x1p-31, static_cast<double>(s) * 0x1p-62};
  }
}

inline double draw_value(weight_distribution distribution, std::uint64_t& state) {
  const disk_point point = draw_point(state);
  switch (distribution) {
    case weight_distribution::gauss:
      return point.u * std::sqrt(-2 * natural_logarithm(point.s) / point.s);
    case weight_distribution::student_t4:
      return point.u * std::sqrt(4 * (1 / std::sqrt(point.s) - 1) / point.s);
    case weight_distribution::laplace:
      break;
  }
  const double magnitude = -natural_logarithm(point.s);
  return point.u < 0 ? -magnitude : magnitude;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// Draws [rows x cols] synthetic weights, row by row: values of the distribution times 0.02, rounded to float.
///
/// Exactness: the same bits on every machine, for ever.
///
///     const auto w = tern::synthetic_weights(512, 4096, tern::weight_distribution::gauss, 1);
inline matrix<float> synthetic_weights(std::size_t rows, std::size_t cols, weight_distribution distribution,
                                       std::uint64_t seed) {
  matrix<float> w(rows, cols);
  std::uint64_t state = seed;
  for (std::size_t n = 0; n < rows; ++n)
    for (std::size_t k = 0; k < cols; ++k) w(n, k) = static_cast<float>(0.02 * detail::draw_value(distribution, state));
  return w;
}

}  // namespace tern::inline v0_1::inline TERN_TU
