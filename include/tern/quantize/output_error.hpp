// SPDX-License-Identifier: MIT
/// The error that quantised weights cause in the layer's outputs, without the activations: their Hessian is enough.
#pragma once

#include <cmath>

#include <tern/quantize/hessian.hpp>

namespace tern::inline v0_1 {

/// Energies of the outputs Y = X W^T over the tokens that H has seen, a token: ||X W^T||^2 / T = trace(W H W^T).
struct output_distortion_result {
  double signal = 0;              ///< of W
  double noise = 0;               ///< of W - W_hat
  double snr_db = 0;              ///< 10 log10(signal / noise); infinite without noise
  std::vector<double> row_noise;  ///< [N], the noise of each output

  TERN_INLINE output_distortion_result() = default;
  TERN_INLINE_COPIES(output_distortion_result);
};

namespace detail::inline TERN_TU {

/// out[n] = e_n H e_n^T for rows of e. H is rounded to float, so that its products with e are exact.
template <executor Executor>
std::vector<double> row_energies(matrix_view<const float> e, const hessian& h, const Executor& ex) {
  constexpr std::size_t strip = 64;
  std::vector<double> out(e.rows());
  const double unit = float_unit(h);
  const std::size_t strips = ceil_div(e.rows(), strip), inputs = e.cols();
  std::vector<product_workspace> work(part_count(strips, ex));
  std::vector<std::vector<double>> products(work.size(), std::vector<double>(strip * product_cols));
  for_each_part(strips, ex, [&](std::size_t part, std::size_t begin, std::size_t end) {
    for (std::size_t first = begin * strip; first < lesser(end * strip, e.rows()); first += strip) {
      const std::size_t rows = lesser(strip, e.rows() - first);
      for (std::size_t col = 0; col < inputs; col += product_cols) {
        const std::size_t cols = lesser(product_cols, inputs - col);
        double* const eh = products[part].data();
        for (std::size_t i = 0; i < rows * cols; ++i) eh[i] = 0;
        work[part].add(
            eh, cols, rows, cols, inputs, [&](std::size_t n, std::size_t k) { return e(first + n, k); },
            [&](std::size_t k, std::size_t c) { return static_cast<float>(h(k, col + c) * unit); });
        for (std::size_t n = 0; n < rows; ++n)
          for (std::size_t c = 0; c < cols; ++c)
            out[first + n] = std::fma(eh[n * cols + c], static_cast<double>(e(first + n, col + c)), out[first + n]);
      }
    }
  });
  for (double& energy : out) energy /= unit;
  return out;
}

}  // namespace detail::inline TERN_TU

inline namespace TERN_TU {

/// Measures W_hat against W in the outputs: noise = trace((W - W_hat) H (W - W_hat)^T), signal = trace(W H W^T).
///
/// @param w, w_hat  [N x K] real matrices: tern's or Eigen's. W - W_hat is rounded to float
/// @param h         of the layer's inputs, K
/// @param ex        who works; the result does not depend on it
/// Exactness: H is rounded to float; everything but snr_db, which goes through the C library's log10, is the same on
///            every machine.
/// Cost:      2 N K^2 products.
/// Errors:    shape_error when shapes differ; range_error when h has seen nothing, or naming row and column where W - W_hat
///            is not finite.
template <real_matrix W, real_matrix Approximation, executor Executor = serial_executor>
output_distortion_result output_distortion(const W& w, const Approximation& w_hat, const hessian& h,
                                           const Executor& ex = {}) {
  decltype(auto) w_rows = detail::float_rows(w);
  decltype(auto) hat_rows = detail::float_rows(w_hat);
  const matrix_view<const float> a = w_rows, b = hat_rows;
  if (a.rows() != b.rows() || a.cols() != b.cols())
    detail::fail<shape_error>({"output_distortion: ", a.rows(), "x", a.cols(), " against ", b.rows(), "x", b.cols()});
  detail::check_hessian("output_distortion", h, a.cols());
  matrix<float> error(a.rows(), a.cols());
  for (std::size_t n = 0; n < a.rows(); ++n)
    for (std::size_t k = 0; k < a.cols(); ++k) error(n, k) = a(n, k) - b(n, k);
  detail::check_finite<float>("output_distortion: W - W_hat", error.view());
  output_distortion_result d;
  d.row_noise = detail::row_energies(error.view(), h, ex);
  for (const double noise : d.row_noise) d.noise += noise;
  for (const double signal : detail::row_energies(a, h, ex)) d.signal += signal;
  d.snr_db = d.noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(d.signal / d.noise);
  return d;
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1
