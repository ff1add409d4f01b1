// SPDX-License-Identifier: MIT
/// How the scales of input_scaling are chosen: SmoothQuant's rule and AWQ's search.
#pragma once

#include <tern/quantize/decompose.hpp>
#include <tern/quantize/input_maxima.hpp>
#include <tern/quantize/input_scaling.hpp>
#include <tern/quantize/logarithm.hpp>
#include <tern/quantize/output_error.hpp>

namespace tern::inline v0_1 {

struct smoothquant_options {
  double alpha = 0.5;          ///< in [0, 1]: how much of the difficulty goes to the weights; 0.75 for hard models
  bool powers_of_two = false;  ///< the nearest ones, in ratio: then x / s and W s round nothing
};

struct awq_options {
  std::size_t steps = 20;      ///< alpha = 0, 1 / steps, ..., 1 are tried
  bool powers_of_two = false;  ///< as above
};

/// What awq_scaling found.
struct awq_result {
  input_scaling scaling;
  double alpha = 0;
  double noise = 0;        ///< in the outputs, see output_distortion
  double plain_noise = 0;  ///< the same for alpha = 0, that is without scaling

  TERN_INLINE awq_result() = default;
  TERN_INLINE_COPIES(awq_result);
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

/// x^a for x in [2^-500, 2^500] and |a| <= 1, by the library's own logarithm and exponential: good to 1e-12, and the
/// same on every machine, which pow is not.
inline double power(double x, double a) { return power_of_ten(a * natural_logarithm(x) * 0.4342944819032518); }

/// The power of two whose ratio to x is nearest to 1.
inline float nearest_power_of_two(double x) {
  int exponent = 0;
  const double fraction = std::frexp(x, &exponent);  // in [1/2, 1)
  return static_cast<float>(std::ldexp(1.0, fraction < 0.7071067811865476 ? exponent - 1 : exponent));
}

inline float scale_of(double s, bool powers_of_two) {
  const double kept = greater(lesser(s, 0x1p60), 0x1p-60);  // far from where products with weights leave float
  return powers_of_two ? nearest_power_of_two(kept) : static_cast<float>(kept);
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// SmoothQuant's scales:
///
///     s_k = max|x_k|^alpha / max|w_k|^(1 - alpha),   both maxima at least 1e-5
///
/// @param maxima  [K] of the activations: input_maxima
/// @param w       [N x K] real matrix: tern's or Eigen's
/// Errors: shape_error when there are not K maxima; range_error for alpha outside [0, 1], a maximum that is negative or
///         not finite, or naming row and column of a NaN or infinity in w.
/// Source: G. Xiao et al., "SmoothQuant", arXiv:2211.10438.
template <real_matrix W>
input_scaling smoothquant_scaling(std::span<const float> maxima, const W& w, const smoothquant_options& options = {}) {
  decltype(auto) rows = detail::float_rows(w);
  const matrix_view<const float> view = rows;
  if (!(options.alpha >= 0 && options.alpha <= 1))
    detail::fail<range_error>({"smoothquant_scaling: alpha ", static_cast<float>(options.alpha), " is not in [0, 1]"});
  if (maxima.size() != view.cols())
    detail::fail<shape_error>({"smoothquant_scaling: ", maxima.size(), " maxima for ", view.cols(), " inputs"});
  for (std::size_t k = 0; k < maxima.size(); ++k)
    if (!(maxima[k] >= 0.0f && maxima[k] <= std::numeric_limits<float>::max()))
      detail::fail<range_error>({"smoothquant_scaling: maximum ", k, " is ", maxima[k], ", not finite and at least 0"});
  input_maxima of_weights(view.cols());
  of_weights.observe(view);
  std::vector<float> scales(view.cols());
  for (std::size_t k = 0; k < scales.size(); ++k) {
    const double x = detail::greater(static_cast<double>(maxima[k]), 1e-5);
    const double weight = detail::greater(static_cast<double>(of_weights.maxima()[k]), 1e-5);
    scales[k] = detail::scale_of(detail::power(x, options.alpha) / detail::power(weight, 1 - options.alpha),
                                 options.powers_of_two);
  }
  return input_scaling(std::move(scales));
}

/// AWQ's scales: the exponent of a grid that leaves least error in the outputs,
///
///     s_k = r_k^alpha / sqrt(max_j r_j^alpha min_j r_j^alpha),   r_k = sqrt(H(k,k))
///     alpha = argmin trace((W - W_hat / s) H (W - W_hat / s)^T),   W_hat = dequantize(quantize(W s))
///
/// the least alpha of equals. (The paper has mean |x_k| for r_k; these are proportional for one shape of distribution.)
/// It needs scales of groups to gain anything: a row's one scale grows with the largest s.
///
/// @param w         [N x K] real matrix: tern's or Eigen's
/// @param h         of the layer's inputs, K
/// @param quantize  quantize(matrix<float>) -> quantized_matrix (or what derives from it): how the layer will be made
/// @param ex        who measures; the result does not depend on it
/// Cost:   steps + 1 quantisations and N K^2 products each.
/// Errors: shape_error when h is not of K inputs; range_error when it has seen nothing or nothing but zeros, for no
///         steps, or naming row and column of a NaN or infinity in w; what quantize throws.
/// Source: J. Lin et al., "AWQ", arXiv:2306.00978.
///
///     const auto found = tern::awq_scaling(w, h, [](const auto& v) { return tern::quantize_mse(v, tern::per_group(128), {.bits = 4}); });
///     const auto layer = tern::scaled_linear<tern::int4_linear>::from_float(w, bias, found.scaling);
template <real_matrix W, class Quantize, executor Executor = serial_executor>
awq_result awq_scaling(const W& w, const hessian& h, Quantize&& quantize, const awq_options& options = {},
                       const Executor& ex = {}) {
  decltype(auto) rows = detail::float_rows(w);
  const matrix_view<const float> view = rows;
  detail::check_hessian("awq_scaling", h, view.cols());
  detail::check_finite("awq_scaling", view);
  if (options.steps == 0) detail::fail<range_error>({"awq_scaling: a grid of no steps"});
  const std::vector<float> squares = view.cols() == 0 ? std::vector<float>() : tern::importances(h);
  awq_result best;
  for (std::size_t step = 0; step <= options.steps; ++step) {
    const double alpha = static_cast<double>(step) / static_cast<double>(options.steps);
    std::vector<double> raw(squares.size());
    double most = 0, least = std::numeric_limits<double>::infinity();
    for (std::size_t k = 0; k < raw.size(); ++k) {
      raw[k] = detail::power(static_cast<double>(squares[k]), alpha / 2);
      most = detail::greater(most, raw[k]), least = detail::lesser(least, raw[k]);
    }
    const double centre = std::sqrt(most * least);
    std::vector<float> scales(raw.size());
    for (std::size_t k = 0; k < raw.size(); ++k) scales[k] = detail::scale_of(raw[k] / centre, options.powers_of_two);
    input_scaling scaling(std::move(scales));
    matrix<float> w_hat = tern::dequantize(quantize(scaling.weights(view)));
    scaling.apply(w_hat, w_hat.view());
    matrix<float> error(view.rows(), view.cols());
    for (std::size_t n = 0; n < view.rows(); ++n)
      for (std::size_t k = 0; k < view.cols(); ++k) error(n, k) = view(n, k) - w_hat(n, k);
    double sum = 0;
    for (const double row : detail::row_energies(error.view(), h, ex)) sum += row;
    if (step == 0) best.plain_noise = sum;
    if (step == 0 || sum < best.noise) best.scaling = std::move(scaling), best.alpha = alpha, best.noise = sum;
  }
  return best;
}

}  // namespace tern::inline v0_1::inline TERN_TU
