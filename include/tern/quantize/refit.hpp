// SPDX-License-Identifier: MIT
/// The joint refit: the best gammas for given planes. w ~ sum_p gamma_p T_p with the trits fixed is least squares,
///
///     G gamma = b,   G_ij = <T_i, T_j>,   b_i = <T_i, w>
///
/// five equations at most. Planes that depend on each other (equal ones, empty ones) make G singular; then gamma is the
/// solution of least norm, so that an empty plane has gamma 0. A pivoted Cholesky factorisation in a fixed order of
/// operations, so that the gammas are the same on every machine; every product that meets a sum goes through std::fma.
#pragma once

#include <array>
#include <cmath>

#include <tern/quantize/slices.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Planes that are fitted together at most: 3^5 = 243 levels.
inline constexpr std::size_t most_joint_planes = 5;
using plane_values = std::array<double, most_joint_planes>;

/// The normal equations of a refit. G holds counts, exact below 2^53.
struct normal_equations {
  std::array<plane_values, most_joint_planes> g{};
  plane_values b{};
};

/// x = A^+ b for the upper left planes x planes of a symmetric positive semidefinite A; eigenvalues are taken for zero
/// where the factorisation meets pivots below 1e-10 of the largest diagonal element.
///
/// A = L L^T with L of `rank` columns. Of full rank: two triangular systems. Otherwise A^+ = L (L^T L)^-2 L^T, where
/// L^T L has full rank.
inline plane_values solve_normal(const normal_equations& equations, std::size_t planes) {
  std::array<plane_values, most_joint_planes> rest = equations.g, l{};
  std::array<std::size_t, most_joint_planes> pivots{};
  std::array<bool, most_joint_planes> used{};
  double largest = 0;
  for (std::size_t i = 0; i < planes; ++i) largest = detail::greater(largest, rest[i][i]);
  std::size_t rank = 0;
  for (; rank < planes; ++rank) {
    std::size_t pivot = planes;
    for (std::size_t i = 0; i < planes; ++i)
      if (!used[i] && (pivot == planes || rest[i][i] > rest[pivot][pivot])) pivot = i;
    if (!(rest[pivot][pivot] > 1e-10 * largest)) break;
    const double root = std::sqrt(rest[pivot][pivot]);
    used[pivot] = true;
    pivots[rank] = pivot;
    l[pivot][rank] = root;
    for (std::size_t i = 0; i < planes; ++i)
      if (!used[i]) l[i][rank] = rest[i][pivot] / root;
    for (std::size_t i = 0; i < planes; ++i)
      for (std::size_t j = 0; j < planes; ++j)
        if (!used[i] && !used[j]) rest[i][j] = std::fma(-l[i][rank], l[j][rank], rest[i][j]);
  }

  plane_values x{}, y{};
  if (rank == planes) {
    for (std::size_t r = 0; r < rank; ++r) {  // L y = b
      double sum = equations.b[pivots[r]];
      for (std::size_t c = 0; c < r; ++c) sum = std::fma(-l[pivots[r]][c], y[c], sum);
      y[r] = sum / l[pivots[r]][r];
    }
    for (std::size_t r = rank; r-- > 0;) {  // L^T x = y
      double sum = y[r];
      for (std::size_t c = r + 1; c < rank; ++c) sum = std::fma(-l[pivots[c]][r], x[pivots[c]], sum);
      x[pivots[r]] = sum / l[pivots[r]][r];
    }
    return x;
  }
  if (rank == 0) return x;
  normal_equations inner;
  for (std::size_t r = 0; r < rank; ++r)
    for (std::size_t i = 0; i < planes; ++i) {
      inner.b[r] = std::fma(l[i][r], equations.b[i], inner.b[r]);
      for (std::size_t c = 0; c < rank; ++c) inner.g[r][c] = std::fma(l[i][r], l[i][c], inner.g[r][c]);
    }
  inner.b = solve_normal(inner, rank);
  y = solve_normal(inner, rank);
  for (std::size_t i = 0; i < planes; ++i)
    for (std::size_t r = 0; r < rank; ++r) x[i] = std::fma(l[i][r], y[r], x[i]);
  return x;
}

/// ||w - sum_p gamma_p T_p||^2 = ||w||^2 + sum_i gamma_i ((G gamma)_i - 2 b_i).
inline double fitted_error(const normal_equations& equations, std::size_t planes, double sum_of_squares,
                           const plane_values& gamma) {
  double error = sum_of_squares;
  for (std::size_t i = 0; i < planes; ++i) {
    double slope = -2 * equations.b[i];
    for (std::size_t j = 0; j < planes; ++j) slope = std::fma(equations.g[i][j], gamma[j], slope);
    error = std::fma(gamma[i], slope, error);
  }
  return error;
}

/// The normal equations of planes of trits that approximate a slice. @param trits  [planes] views of the shape of w
inline normal_equations equations_of(matrix_view<const float> w, const matrix_view<std::int8_t>* trits,
                                     std::size_t planes) {
  std::array<std::array<std::int64_t, most_joint_planes>, most_joint_planes> counts{};
  normal_equations equations;
  for (std::size_t i = 0; i < planes; ++i)
    for (std::size_t n = 0; n < w.rows(); ++n) {
      const std::int8_t* left = trits[i].row(n);
      for (std::size_t k = 0; k < w.cols(); ++k)
        equations.b[i] += static_cast<double>(w(n, k)) * left[k];  // exact product
      for (std::size_t j = 0; j <= i; ++j) {
        const std::int8_t* right = trits[j].row(n);
        std::int32_t sum = 0;  // cols < 2^31: a row of 2^31 floats is 8 GiB
        for (std::size_t k = 0; k < w.cols(); ++k) sum += left[k] * right[k];
        counts[i][j] += sum;
      }
    }
  for (std::size_t i = 0; i < planes; ++i)
    for (std::size_t j = 0; j < planes; ++j)
      equations.g[i][j] = static_cast<double>(j <= i ? counts[i][j] : counts[j][i]);
  return equations;
}

/// Whether all gammas are finite once rounded to float.
inline bool fits_float(const plane_values& gamma, std::size_t planes) {
  for (std::size_t p = 0; p < planes; ++p)
    if (!(std::fabs(gamma[p]) <= static_cast<double>(std::numeric_limits<float>::max()))) return false;
  return true;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU
