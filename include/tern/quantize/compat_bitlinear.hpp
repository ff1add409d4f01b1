// SPDX-License-Identifier: MIT
/// The PyTorch functional BitLinear API under its own names, bit for bit: float in, float out, nothing packed.
///
/// A network that was trained or tested against that API can be checked against these; for speed take bit_linear,
/// multi_ternary_linear and quantize_activations, whose conventions differ as each docstring says. A tensor [...,
/// features] is a matrix whose rows are its last dimension: batch() views one of any rank. half and bfloat16 are
/// computed in float.
#pragma once

#include <tern/fma.hpp>
#include <tern/quantize/ternary.hpp>

namespace tern::inline v0_1::compat::inline TERN_TU {

/// Ternary components stacked: ternary [k out x in] with values -1, 0, 1, component i in rows i out .. (i + 1) out - 1;
/// gammas [k x out].
struct ternary_decomposition {
  matrix<float> ternary;
  matrix<float> gammas;
};

}  // namespace tern::inline v0_1::compat::inline TERN_TU

namespace tern::inline v0_1::detail::inline TERN_TU {

/// What torch.clamp does: NaN and -0.0 pass.
inline float clamp_float(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

/// 2^bits - 1 as a float, exactly.
/// Errors: range_error for bits outside 1 .. 24.
inline float all_ones(const char* what, unsigned bits) {
  if (bits < 1 || bits > 24) fail<range_error>({what, ": ", bits, " bits; 1 to 24 are integers in float"});
  return static_cast<float>((std::int32_t{1} << bits) - 1);
}
/// 2^(bits - 1) - 1 as a float, exactly; 0 for one bit.
inline float largest_float_code(const char* what, unsigned bits) { return (all_ones(what, bits) - 1.0f) / 2.0f; }

/// The base quantizer of the greedy decomposition.
struct absmean_per_channel {
  template <real_matrix W>
  quantized_matrix operator()(const W& w) const {
    return tern::quantize_absmean(w, per_channel);
  }
};

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::compat::inline TERN_TU {

/// `bitlinear_python` of the PyTorch functional BitLinear API: y = (x W^T) * gamma + bias, each step rounded.
///
///     y(m,n) = fl(fl(r * gamma(n)) + bias(n)),   r = fma(x(m,k), W(n,k), r) over k ascending from +0
///
/// @param x      [M x K] real matrix; not quantized
/// @param w      [N x K] real matrix; ternary as a rule, but any values will do
/// @param gamma  [N], or [1] for all outputs
/// @param bias   [N] or [1], or empty
/// @return [M x N]; for a single vector x [1 x N], as the original gives
///
/// Exactness: torch leaves the order of the sum open; this is the order of tern's float product. With at most one
///            nonzero product, or products that are small integers, every order gives these bits.
/// Differs:   bit_linear quantizes x to int8 and rounds gamma, x's scale and bias as its contract says.
/// Errors:    shape_error when the depths, gamma or bias do not fit.
template <real_matrix X, real_matrix W>
matrix<float> bitlinear(const X& x, const W& w, std::span<const float> gamma, std::span<const float> bias = {}) {
  decltype(auto) x_rows = detail::float_rows(x);
  decltype(auto) w_rows = detail::float_rows(w);
  const matrix_view<const float> a = x_rows, b = w_rows;
  if (a.cols() != b.cols())
    detail::fail<shape_error>({"bitlinear: x is ", a.rows(), "x", a.cols(), " but W is ", b.rows(), "x", b.cols(),
                               "; the depths must agree"});
  if (gamma.size() != b.rows() && gamma.size() != 1)
    detail::fail<shape_error>({"bitlinear: ", gamma.size(), " gammas for ", b.rows(), " outputs"});
  if (bias.size() > 1 && bias.size() != b.rows())
    detail::fail<shape_error>({"bitlinear: ", bias.size(), " biases for ", b.rows(), " outputs"});
  matrix<float> y(a.rows(), b.rows());
  for (std::size_t m = 0; m < y.rows(); ++m)
    for (std::size_t n = 0; n < y.cols(); ++n) {
      float sum = 0;
      for (std::size_t k = 0; k < a.cols(); ++k) sum = detail::fma_rn(a(m, k), b(n, k), sum);
      sum = detail::mul_rn(sum, gamma[gamma.size() == 1 ? 0 : n]);
      y(m, n) = bias.empty() ? sum : sum + bias[bias.size() == 1 ? 0 : n];
    }
  return y;
}

/// `greedy_ternary_decomposition` of the PyTorch functional BitLinear API: each component is the ternary quantization,
/// per row, of what the components before it left over.
///
///     R = W;  k times: (T, gamma) = weight_to_ternary(R);  R = fl(R - gamma T)
///
/// @param w                  [out x in] real matrix
/// @param k                  number of components, at least 1
/// @param weight_to_ternary  called with the residual, a matrix<float>; returns a quantized_matrix of one plane per
///                           channel. The original's is not published with it; the default is absmean per row.
///
/// Differs: decompose() returns the same numbers as int8 codes and scales, ready to pack, when the base is absmean.
/// Errors:  range_error when k is 0, as torch.stack of nothing is one, and for NaN or infinity; shape_error when
///          weight_to_ternary returns another shape.
template <real_matrix W, class WeightToTernary = detail::absmean_per_channel>
ternary_decomposition greedy_ternary_decomposition(const W& w, std::size_t k, WeightToTernary weight_to_ternary = {}) {
  if (k == 0) detail::fail<range_error>({"greedy_ternary_decomposition: k must be at least 1"});
  decltype(auto) rows = detail::float_rows(w);
  const matrix_view<const float> view = rows;
  const std::size_t outputs = view.rows(), inputs = view.cols();
  matrix<float> residual(outputs, inputs);
  for (std::size_t n = 0; n < outputs; ++n)
    for (std::size_t j = 0; j < inputs; ++j) residual(n, j) = view(n, j);
  ternary_decomposition d{{detail::checked_product(k, outputs), inputs}, {k, outputs}};
  for (std::size_t i = 0; i < k; ++i) {
    const quantized_matrix plane = weight_to_ternary(std::as_const(residual));
    plane.check();
    if (plane.planes != 1 || plane.rows != outputs || plane.cols != inputs || plane.granularity != per_channel)
      detail::fail<shape_error>({"greedy_ternary_decomposition: weight_to_ternary must return one plane of ", outputs,
                                 "x", inputs, " with a scale a row"});
    for (std::size_t n = 0; n < outputs; ++n) {
      const float gamma = d.gammas(i, n) = plane.scales[n];
      for (std::size_t j = 0; j < inputs; ++j) {
        const float trit = d.ternary(i * outputs + n, j) = static_cast<float>(plane.code_row(0, n)[j]);
        residual(n, j) -= detail::mul_rn(gamma, trit);
      }
    }
  }
  return d;
}

/// `multi_ternary_linear_python` of the PyTorch functional BitLinear API: y = sum_i (x T_i^T) * gamma_i + bias,
/// starting from zeros, i ascending, each step rounded; the bias is added once at the end.
///
/// @param x        [M x K] real matrix; not quantized
/// @param ternary  [k N x K] real matrix, the k components one below the other
/// @param gammas   [k x N] real matrix
/// @param bias     [N] or [1], or empty
/// @return [M x N]; with k = 0 the bias
///
/// Exactness: the sum over K as in bitlinear.
/// Differs:   multi_ternary_linear quantizes x to int8 and fuses gamma's product with the sum over components.
/// Errors:    shape_error when the shapes do not fit.
template <real_matrix X, real_matrix T, real_matrix G>
matrix<float> multi_ternary_linear(const X& x, const T& ternary, const G& gammas, std::span<const float> bias = {}) {
  decltype(auto) x_rows = detail::float_rows(x);
  decltype(auto) t_rows = detail::float_rows(ternary);
  decltype(auto) g_rows = detail::float_rows(gammas);
  const matrix_view<const float> a = x_rows, t = t_rows, g = g_rows;
  const std::size_t outputs = g.cols();
  if (t.rows() != detail::checked_product(g.rows(), outputs))
    detail::fail<shape_error>(
        {"multi_ternary_linear: ", t.rows(), " rows of components for gammas of ", g.rows(), "x", outputs});
  if (bias.size() > 1 && bias.size() != outputs)
    detail::fail<shape_error>({"multi_ternary_linear: ", bias.size(), " biases for ", outputs, " outputs"});
  matrix<float> y(a.rows(), outputs);
  for (std::size_t i = 0; i < g.rows(); ++i) {
    const matrix_view<const float> plane(t.data() + i * outputs * t.row_stride(), outputs, t.cols(), t.row_stride());
    const matrix<float> part = compat::bitlinear(a, plane, std::span(g.row(i), outputs));
    for (std::size_t m = 0; m < y.rows(); ++m)
      for (std::size_t n = 0; n < outputs; ++n) y(m, n) += part(m, n);
  }
  for (std::size_t m = 0; m < y.rows() && !bias.empty(); ++m)
    for (std::size_t n = 0; n < outputs; ++n) y(m, n) += bias[bias.size() == 1 ? 0 : n];
  return y;
}

/// `activation_quant` of the PyTorch functional BitLinear API: what quantized activations are worth, as floats, per
/// row.
///
///     Q = 2^(bits - 1) - 1;  s = max(max |x|, 1e-5)
///     q = clamp(rint(fl(fl(x / s) * Q)), -Q, Q);  y = fl(fl(q / Q) * s)
///
/// @param x     [M x K] real matrix, K > 0
/// @param bits  1 to 24; with one bit Q is 0 and everything NaN
/// @return [M x K] float
///
/// Differs: quantize_activations divides by max |x| / Q, keeps rows below 1e-5 at full resolution, returns codes and
///          scale, and refuses NaN and infinity; here a row that holds one becomes NaN throughout.
/// Errors:  range_error for other bits; shape_error when rows are empty.
template <real_matrix X>
matrix<float> activation_quant(const X& x, unsigned bits = 8) {
  const float q = detail::largest_float_code("activation_quant", bits);
  decltype(auto) rows = detail::float_rows(x);
  const matrix_view<const float> view = rows;
  if (view.cols() == 0) detail::fail<shape_error>({"activation_quant: rows of 0 features have no largest magnitude"});
  matrix<float> y(view.rows(), view.cols());
  for (std::size_t m = 0; m < y.rows(); ++m) {
    const float largest = std::bit_cast<float>(detail::largest_magnitude(view.row(m), view.cols()));
    const float scale = largest < 1e-5f ? 1e-5f : largest;
    for (std::size_t k = 0; k < y.cols(); ++k) {
      const float code = detail::clamp_float(std::rint(detail::mul_rn(view(m, k) / scale, q)), -q, q);
      y(m, k) = detail::mul_rn(code / q, scale);
    }
  }
  return y;
}

}  // namespace tern::inline v0_1::compat::inline TERN_TU
