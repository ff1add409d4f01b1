// SPDX-License-Identifier: MIT
/// How far a quantised matrix is from the original.
#pragma once

#include <cmath>
#include <limits>

#include <tern/view.hpp>

namespace tern::inline v0_1 {

/// What distortion() measures, of the error e = w - w_hat.
struct distortion_result {
  double max_error = 0;           // max |e|
  double mean_error = 0;          // mean |e|
  double mse = 0;                 // mean e^2
  double snr_db = 0;              // 10 log10(sum w^2 / sum e^2); infinite when nothing differs
  double relative_frobenius = 0;  // sqrt(sum e^2 / sum w^2); 0 when nothing differs
};

inline namespace TERN_TU {

/// Measures w_hat against the original w, in double, elements in ascending order. Empty matrices differ in nothing.
///
/// @param w, w_hat  two real matrices of one shape: tern's or Eigen's
/// Errors: shape_error when the shapes differ.
template <real_matrix W, real_matrix Approximation>
distortion_result distortion(const W& w, const Approximation& w_hat) {
  decltype(auto) w_rows = detail::row_major(w);
  decltype(auto) hat_rows = detail::row_major(w_hat);
  const detail::real_view<W> a = w_rows;
  const detail::real_view<Approximation> b = hat_rows;
  if (a.rows() != b.rows() || a.cols() != b.cols())
    detail::fail<shape_error>({"distortion: ", a.rows(), "x", a.cols(), " against ", b.rows(), "x", b.cols()});
  distortion_result d;
  double signal = 0, noise = 0, total = 0;
  for (std::size_t n = 0; n < a.rows(); ++n) {
    for (std::size_t k = 0; k < a.cols(); ++k) {
      const auto value = static_cast<double>(static_cast<float>(a(n, k)));
      const double error = std::fabs(value - static_cast<double>(static_cast<float>(b(n, k))));
      signal += value * value;  // exact: 24 bits times 24 bits
      noise = std::fma(error, error, noise);
      total += error;
      if (!(error <= d.max_error) && d.max_error == d.max_error) d.max_error = error;  // NaN comes and stays
    }
  }
  const double count = static_cast<double>(a.rows()) * static_cast<double>(a.cols());
  if (count != 0) d.mean_error = total / count, d.mse = noise / count;
  d.snr_db = noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
  d.relative_frobenius = noise == 0 ? 0 : std::sqrt(noise / signal);
  return d;
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1
