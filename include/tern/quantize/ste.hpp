// SPDX-License-Identifier: MIT
/// Fake quantisation and the straight-through estimator: what quantisation-aware training needs.
///
/// Forward, the values that the quantised network will compute with; backward, the gradient as if nothing had been
/// rounded:
///
///     forward:   y = dequantize(quantize(x))
///     backward:  dL/dx = dL/dy                              identity
///                dL/dx = dL/dy where |x| <= limit, else 0   clipped
///
/// Both serve activations and weights. A quantizer that takes its scale from the largest magnitude clips nothing, so
/// its estimator is the identity; the clipped one is for ranges from calibration and for ternary weights beyond gamma.
#pragma once

#include <tern/quantize/calibrate.hpp>
#include <tern/quantize/ternary.hpp>

namespace tern::inline v0_1::inline TERN_TU {

/// Activations as the int8 product will see them, absmax per token.
/// @param x  [M x K] real matrix: tern's or Eigen's.   Errors: range_error on NaN or infinity.
template <real_matrix M>
matrix<float> fake_quantize_activations(const M& x) {
  return dequantize(quantize_activations(x));
}

/// Activations as the int8 product will see them, with a zero point per token.
/// @param x  [M x K] real matrix: tern's or Eigen's.   Errors: as quantize_activations_zero_point.
template <real_matrix M>
matrix<float> fake_quantize_activations_zero_point(const M& x) {
  return dequantize(quantize_activations_zero_point(x));
}

/// Weights as the ternary product will see them, absmean.
/// @param w  [N x K] real matrix: tern's or Eigen's.   Errors: range_error on NaN or infinity.
template <real_matrix M>
matrix<float> fake_quantize_absmean(const M& w, granularity granularity = per_tensor) {
  return dequantize(quantize_absmean(w, granularity));
}

/// Weights as the int8 product will see them, absmax; with fewer bits, as the int4 product will.
/// @param w  [N x K] real matrix: tern's or Eigen's.   Errors: as quantize_absmax.
template <real_matrix M>
matrix<float> fake_quantize_absmax(const M& w, granularity granularity = per_channel,
                                   const absmax_options& options = {}) {
  return dequantize(quantize_absmax(w, granularity, options));
}

/// Weights as the int8 product will see them, with zero points.
/// @param w  [N x K] real matrix: tern's or Eigen's.   Errors: as quantize_zero_point.
template <real_matrix M>
matrix<float> fake_quantize_zero_point(const M& w, granularity granularity = per_channel,
                                       const code_options& options = {}) {
  return dequantize(quantize_zero_point(w, granularity, options));
}

/// The straight-through gradient: the gradient of the output, unchanged.
/// Source: Y. Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons", arXiv:1308.3432.
template <class Gradient>
Gradient ste_backward(Gradient gradient) {
  return gradient;
}

}  // namespace tern::inline v0_1::inline TERN_TU

namespace tern::inline v0_1::detail::inline TERN_TU {

inline void check_limit(float limit) {
  if (!(limit >= 0.0f)) fail<range_error>({"ste_backward_clipped: a limit of ", limit, " is not >= 0"});
}

/// gradient(m,k) where passes(m, k, x(m,k)), 0 elsewhere. Errors: shape_error when gradient and x differ in shape.
template <real_matrix G, real_matrix X, class Passes>
matrix<float> masked_gradient(const G& gradient, const X& x, Passes passes) {
  decltype(auto) gradient_rows = row_major(gradient);
  decltype(auto) x_rows = row_major(x);
  const real_view<G> g = gradient_rows;
  const real_view<X> values = x_rows;
  if (g.rows() != values.rows() || g.cols() != values.cols())
    fail<shape_error>({"ste_backward_clipped: the gradient is ", g.rows(), "x", g.cols(), " but x is ", values.rows(),
                       "x", values.cols()});
  matrix<float> out(g.rows(), g.cols());
  for (std::size_t m = 0; m < g.rows(); ++m)
    for (std::size_t k = 0; k < g.cols(); ++k)
      if (passes(m, k, static_cast<float>(values(m, k)))) out(m, k) = static_cast<float>(g(m, k));
  return out;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// The clipped straight-through gradient: gradient(m,k) where |x(m,k)| <= limit, 0 elsewhere.
/// @param limit  the largest magnitude that was not clipped: a clip from calibration; for absmax max |x| itself (127 *
///               scale may round below it); infinity where nothing was
/// Errors: range_error when the limit is negative or NaN; shape_error when gradient and x differ in shape.
template <real_matrix G, real_matrix X>
matrix<float> ste_backward_clipped(const G& gradient, const X& x, float limit) {
  detail::check_limit(limit);
  return detail::masked_gradient(gradient, x,
                                 [limit](std::size_t, std::size_t, float value) { return std::fabs(value) <= limit; });
}

/// The same for codes with a zero point: gradient(m,k) where range.least <= x(m,k) <= range.most, 0 elsewhere.
/// Errors: range_error when the range is upside down or has a NaN; shape_error when gradient and x differ in shape.
template <real_matrix G, real_matrix X>
matrix<float> ste_backward_clipped(const G& gradient, const X& x, const value_range& range) {
  if (!(range.least <= range.most))
    detail::fail<range_error>({"ste_backward_clipped: ", range.least, " .. ", range.most, " is not a range"});
  return detail::masked_gradient(gradient, x, [range](std::size_t, std::size_t, float value) {
    return range.least <= value && value <= range.most;
  });
}

/// The same with a limit for each slice, for weights above all: gradient(n,k) where |w(n,k)| <= limit of its slice.
///
/// @param limits       in the order of the scales of a quantized_matrix: [N x groups], per tensor [1], per input [K].
///                     For absmean they are its scales, gamma times the largest code 1; with a clip from calibration,
///                     the clips.
/// @param granularity  what shares a limit
/// Errors: shape_error when gradient and w differ in shape or when there are more or fewer limits than slices;
///         range_error when a limit is negative or NaN.
///
///     const auto q = tern::quantize_absmean(w, tern::per_group(64));
///     auto dw = tern::ste_backward_clipped(gradient, w, q.scales, q.granularity);
template <real_matrix G, real_matrix W>
matrix<float> ste_backward_clipped(const G& gradient, const W& w, std::span<const float> limits,
                                   granularity granularity) {
  decltype(auto) rows = detail::row_major(w);
  const detail::real_view<W> view = rows;
  const std::size_t groups = granularity.groups(view.cols());
  const std::size_t expected = detail::checked_product(granularity.rows_share() ? 1 : view.rows(), groups);
  if (limits.size() != expected)
    detail::fail<shape_error>({"ste_backward_clipped: ", limits.size(), " limits for ", expected, " slices of a ",
                               view.rows(), "x", view.cols(), " matrix"});
  for (const float limit : limits) detail::check_limit(limit);
  const std::size_t inputs = granularity.group_inputs(view.cols());
  return detail::masked_gradient(gradient, view, [&](std::size_t n, std::size_t k, float value) {
    return std::fabs(value) <= limits[(granularity.rows_share() ? 0 : n * groups) + k / inputs];
  });
}

}  // namespace tern::inline v0_1::inline TERN_TU
