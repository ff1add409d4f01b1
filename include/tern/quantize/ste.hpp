// SPDX-License-Identifier: MIT
/// Fake quantisation and the straight-through estimator: what quantisation-aware training needs.
///
/// Forward, the values that the quantised network will compute with; backward, the gradient as if nothing had been rounded:
///
///     forward:   y = dequantize(quantize(x))
///     backward:  dL/dx = dL/dy                              identity
///                dL/dx = dL/dy where |x| <= limit, else 0   clipped
#pragma once

#include <tern/quantize/ternary.hpp>

namespace tern::inline v0_1::inline TERN_TU {

/// Activations as the int8 product will see them, absmax per token.
/// @param x  [M x K] real matrix: tern's or Eigen's.   Errors: range_error on NaN or infinity.
template <real_matrix M>
matrix<float> fake_quantize_activations(const M& x) {
  return dequantize(quantize_activations(x));
}

/// Weights as the ternary product will see them, absmean.
/// @param w  [N x K] real matrix: tern's or Eigen's.   Errors: range_error on NaN or infinity.
template <real_matrix M>
matrix<float> fake_quantize_absmean(const M& w, granularity granularity = per_tensor) {
  return dequantize(quantize_absmean(w, granularity));
}

/// The straight-through gradient: the gradient of the output, unchanged.
/// Source: Y. Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons", arXiv:1308.3432.
template <class Gradient>
Gradient ste_backward(Gradient gradient) {
  return gradient;
}

/// The clipped straight-through gradient: gradient(m,k) where |x(m,k)| <= limit, 0 elsewhere.
/// @param limit  the largest magnitude that was not clipped; for absmax max |x| itself (127 * scale may round below it)
/// Errors: shape_error when gradient and x differ in shape.
template <real_matrix G, real_matrix X>
matrix<float> ste_backward_clipped(const G& gradient, const X& x, float limit) {
  decltype(auto) gradient_rows = detail::row_major(gradient);
  decltype(auto) x_rows = detail::row_major(x);
  const detail::real_view<G> g = gradient_rows;
  const detail::real_view<X> values = x_rows;
  if (g.rows() != values.rows() || g.cols() != values.cols())
    detail::fail<shape_error>({"ste_backward_clipped: the gradient is ", g.rows(), "x", g.cols(), " but x is ",
                               values.rows(), "x", values.cols()});
  matrix<float> out(g.rows(), g.cols());
  for (std::size_t m = 0; m < g.rows(); ++m)
    for (std::size_t k = 0; k < g.cols(); ++k)
      if (std::fabs(static_cast<float>(values(m, k))) <= limit) out(m, k) = static_cast<float>(g(m, k));
  return out;
}

}  // namespace tern::inline v0_1::inline TERN_TU
