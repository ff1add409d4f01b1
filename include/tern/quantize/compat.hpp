// SPDX-License-Identifier: MIT
/// Quantizers of other projects under their own names, bit for bit: their expressions, ranges, meaning of "scale",
/// treatment of zero rows, NaN and rank. To check against those projects; canonical forms are quantize_absmax,
/// quantize_zero_point and quantize_activations, and each docstring says how they differ.
///
/// | project                        | functions                                                | header           |
/// |--------------------------------|----------------------------------------------------------|------------------|
/// | functional BitLinear (PyTorch) | bitlinear, greedy_ternary_decomposition,                 | compat_bitlinear |
/// |                                | multi_ternary_linear, activation_quant                   |                  |
/// | bitnet-quantize crate (Rust)   | (de)quantize_activations, quantize_ste, quantize_weights | compat_bitnet    |
/// | quantization demo (PyTorch)    | (a)symmetric_(de)quantize, per_channel_(de)quantize,     | here             |
/// |                                | compute_quantization_error                               |                  |
/// | absmax and zero-point notes    | absmax_quantize, zeropoint_quantize                      | here             |
///
/// Tensors are matrices: batch() views one of any rank. half and bfloat16 are computed in float.
#pragma once

#include <tern/quantize/compat_bitlinear.hpp>
#include <tern/quantize/compat_bitnet.hpp>

namespace tern::inline v0_1::compat::inline TERN_TU {

/// Float-valued codes and one scale, by which they are multiplied.
struct symmetric_result {
  matrix<float> quantized;
  float scale = 0;
};
/// Float-valued codes from 0 up: x ~ (quantized - zero_point) * scale.
struct asymmetric_result {
  matrix<float> quantized;
  float scale = 0;
  float zero_point = 0;
};
/// Float-valued codes and one scale a channel.
struct per_channel_result {
  matrix<float> quantized;
  std::vector<float> scales;
};
/// Codes and what they stand for.
struct quantized_pair {
  matrix<std::int8_t> quantized;
  matrix<float> dequantized;
};

/// What compute_quantization_error measures, of the error e = original - dequantized.
struct quantization_error {
  double max_error = 0;   // max |e|
  double mean_error = 0;  // mean |e|
  double mse = 0;         // mean e^2
  double snr_db = 0;      // 10 log10(mean original^2 / (mse + 1e-10))
};

}  // namespace tern::inline v0_1::compat::inline TERN_TU

namespace tern::inline v0_1::detail::inline TERN_TU {

/// torch's min() and max(): NaN if any value is.
struct tensor_extremes {
  float least, most;

  tensor_extremes(const char* what, matrix_view<const float> x) {
    if (x.rows() == 0 || x.cols() == 0)
      fail<shape_error>({what, ": a tensor of ", x.rows(), "x", x.cols(), " has no extremes"});
    least = most = x(0, 0);
    for (std::size_t m = 0; m < x.rows(); ++m)
      for (std::size_t k = 0; k < x.cols(); ++k) {
        const float value = x(m, k);
        if (!(value >= least) && least == least) least = value;
        if (!(value <= most) && most == most) most = value;
      }
  }
};

/// f(x) of every element.
template <class F>
matrix<float> map_elements(matrix_view<const float> x, F f) {
  matrix<float> y(x.rows(), x.cols());
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t k = 0; k < x.cols(); ++k) y(m, k) = f(x(m, k));
  return y;
}

/// The demo's symmetric rule for one tensor or channel, into q.
inline float symmetric_rule(const char* what, matrix_view<const float> x, unsigned bits, matrix_view<float> q) {
  const float most = largest_float_code(what, bits), least = -most - 1.0f;
  if (x.rows() == 0 || x.cols() == 0)
    fail<shape_error>({what, ": a tensor of ", x.rows(), "x", x.cols(), " has no largest magnitude"});
  const float scale = largest_magnitude(x) / most;
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t k = 0; k < x.cols(); ++k) q(m, k) = clamp_float(std::rint(x(m, k) / scale), least, most);
  return scale;
}

/// Channel c of a matrix along dim 0 (a row) or 1 (a column).
template <class T>
matrix_view<T> channel_of(matrix_view<T> x, bool columns, std::size_t c) {
  return columns ? matrix_view<T>(x.data() + c, x.rows(), 1, x.row_stride()) : matrix_view<T>(x.row(c), 1, x.cols());
}
/// Whether dim, counted from the end where negative, is the columns.
inline bool is_column_dim(const char* what, int dim) {
  if (dim < -2 || dim > 1) fail<range_error>({what, ": dim ", dim, " of a matrix; -2 to 1"});
  return dim == 1 || dim == -1;
}

/// Float-valued codes as int8.
/// Errors: range_error naming row and column of one that no int8 is: the original's cast of it is undefined.
inline matrix<std::int8_t> cast_to_int8(const char* what, const matrix<float>& q, float scale) {
  matrix<std::int8_t> codes(q.rows(), q.cols());
  for (std::size_t m = 0; m < q.rows(); ++m)
    for (std::size_t k = 0; k < q.cols(); ++k) {
      if (!(q(m, k) >= -128.0f && q(m, k) <= 127.0f))
        fail<range_error>({what, ": at a scale of ", scale, " the code at row ", m, ", column ", k, " is ", q(m, k),
                           ", which no int8 is"});
      codes(m, k) = static_cast<std::int8_t>(q(m, k));
    }
  return codes;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::compat::inline TERN_TU {

// --- a PyTorch quantization demo -------------------------------------------------------------------------------------

/// `symmetric_quantize` of a PyTorch quantization demo, over the whole tensor.
///
///     scale = fl(max |x| / Q);  q = clamp(rint(fl(x / scale)), -Q - 1, Q),   Q = 2^(bits - 1) - 1
///
/// @param x     [M x K] real matrix, not empty
/// @param bits  1 to 24; with 2 it is ternary absmax, with 1 the scale is infinite
///
/// A zero tensor has scale 0 and NaN for codes; NaN spreads to all.
///
/// Differs: quantize_absmax returns integers within [-Q, Q] and gives a zero tensor scale 1. (-Q - 1 is reached here
///          only when the scale is subnormal.)
/// Errors:  range_error for other bits; shape_error for an empty tensor.
template <real_matrix X>
symmetric_result symmetric_quantize(const X& x, unsigned bits = 8) {
  decltype(auto) rows = detail::float_rows(x);
  const matrix_view<const float> view = rows;
  symmetric_result r{{view.rows(), view.cols()}, 0};
  r.scale = detail::symmetric_rule("symmetric_quantize", view, bits, r.quantized);
  return r;
}

/// `symmetric_dequantize` of a PyTorch quantization demo: fl(q * scale).
template <real_matrix Q>
matrix<float> symmetric_dequantize(const Q& quantized, float scale) {
  decltype(auto) rows = detail::float_rows(quantized);
  return detail::map_elements(rows, [=](float q) { return detail::mul_rn(q, scale); });
}

/// `asymmetric_quantize` of a PyTorch quantization demo, over the whole tensor.
///
///     scale = fl(fl(max - min) / (2^bits - 1));  zero_point = clamp(-rint(fl(min / scale)), 0, 2^bits - 1)
///     q = clamp(rint(fl(fl(x / scale) + zero_point)), 0, 2^bits - 1)
///
/// @param x     [M x K] real matrix, not empty
/// @param bits  1 to 24
///
/// The range is not widened to hold 0, so the clamp of the zero point destroys one-sided data: {10, 10.5, 11} comes
/// back as {1, 1, 1}. A constant has scale 0: codes 2^bits - 1, 0 or NaN by its sign.
///
/// Differs: quantize_zero_point widens the range, adds the zero point after rounding, and gives a zero tensor scale 1.
/// Errors:  range_error for other bits; shape_error for an empty tensor.
template <real_matrix X>
asymmetric_result asymmetric_quantize(const X& x, unsigned bits = 8) {
  const float most = detail::all_ones("asymmetric_quantize", bits);
  decltype(auto) rows = detail::float_rows(x);
  const matrix_view<const float> view = rows;
  const detail::tensor_extremes range("asymmetric_quantize", view);
  const float scale = (range.most - range.least) / most;
  const float zero = detail::clamp_float(0.0f - std::rint(range.least / scale), 0.0f, most);
  return {
      detail::map_elements(view, [=](float v) { return detail::clamp_float(std::rint(v / scale + zero), 0.0f, most); }),
      scale, zero};
}

/// `asymmetric_dequantize` of a PyTorch quantization demo: fl(fl(q - zero_point) * scale).
template <real_matrix Q>
matrix<float> asymmetric_dequantize(const Q& quantized, float scale, float zero_point) {
  decltype(auto) rows = detail::float_rows(quantized);
  return detail::map_elements(rows, [=](float q) { return detail::mul_rn(q - zero_point, scale); });
}

/// `per_channel_quantize` of a PyTorch quantization demo: symmetric_quantize of each row (dim 0) or column (dim 1).
///
/// @param x     [M x K] real matrix, not empty; a tensor of any rank by dim 0 is [channels x all else]
/// @param bits  1 to 24
/// @param dim   0 or 1, or -2 or -1 counted from the end
/// @return codes of the shape of x, and scales [M] or [K]; a zero channel has scale 0 and NaN for codes
///
/// Differs: quantize_absmax with per_channel or per_input, as symmetric_quantize does.
/// Errors:  range_error for other bits or dims; shape_error for an empty tensor.
template <real_matrix X>
per_channel_result per_channel_quantize(const X& x, unsigned bits = 8, int dim = 0) {
  const bool columns = detail::is_column_dim("per_channel_quantize", dim);
  decltype(auto) rows = detail::float_rows(x);
  const matrix_view<const float> view = rows;
  if (view.rows() == 0 || view.cols() == 0)
    detail::fail<shape_error>(
        {"per_channel_quantize: a tensor of ", view.rows(), "x", view.cols(), " has nothing to quantize"});
  per_channel_result r{{view.rows(), view.cols()}, std::vector<float>(columns ? view.cols() : view.rows())};
  for (std::size_t c = 0; c < r.scales.size(); ++c)
    r.scales[c] = detail::symmetric_rule("per_channel_quantize", detail::channel_of(view, columns, c), bits,
                                         detail::channel_of(r.quantized.view(), columns, c));
  return r;
}

/// `per_channel_dequantize` of a PyTorch quantization demo: fl(q * scale of its channel).
///
/// @param quantized  [M x K] real matrix, not empty
/// @param scales     [M] with dim 0, [K] with dim 1
/// Errors: shape_error for another number of scales (the original ignores surplus ones) or an empty tensor; range_error
///         for other dims.
template <real_matrix Q>
matrix<float> per_channel_dequantize(const Q& quantized, std::span<const float> scales, int dim = 0) {
  const bool columns = detail::is_column_dim("per_channel_dequantize", dim);
  decltype(auto) rows = detail::float_rows(quantized);
  const matrix_view<const float> view = rows;
  const std::size_t channels = columns ? view.cols() : view.rows();
  if (channels == 0 || scales.size() != channels)
    detail::fail<shape_error>({"per_channel_dequantize: ", scales.size(), " scales for ", channels, " channels"});
  matrix<float> x(view.rows(), view.cols());
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t k = 0; k < x.cols(); ++k) x(m, k) = detail::mul_rn(view(m, k), scales[columns ? k : m]);
  return x;
}

/// `compute_quantization_error` of a PyTorch quantization demo. The 1e-10 in snr_db makes it depend on the scale of the
/// data and caps it: data near 1e-4 cannot reach more than 20 dB. Zeros give -infinity.
///
/// @param original, dequantized  two real matrices of one shape, not empty
///
/// Exactness: differences and squares in float as the original's; their means, whose order torch leaves open, in double
///            over ascending elements, rounded to float. The logarithm is the machine's.
/// Differs:   distortion() has no such constant and works in double throughout.
/// Errors:    shape_error when the shapes differ or are empty.
template <real_matrix Original, real_matrix Dequantized>
quantization_error compute_quantization_error(const Original& original, const Dequantized& dequantized) {
  decltype(auto) original_rows = detail::float_rows(original);
  decltype(auto) dequantized_rows = detail::float_rows(dequantized);
  const matrix_view<const float> a = original_rows, b = dequantized_rows;
  if (a.rows() != b.rows() || a.cols() != b.cols() || a.rows() == 0 || a.cols() == 0)
    detail::fail<shape_error>(
        {"compute_quantization_error: ", a.rows(), "x", a.cols(), " against ", b.rows(), "x", b.cols()});
  std::uint32_t largest = 0;  // as bits, which orders magnitudes and puts NaN above all
  double sum = 0, squares = 0, signal = 0;
  for (std::size_t m = 0; m < a.rows(); ++m)
    for (std::size_t k = 0; k < a.cols(); ++k) {
      const float error = std::fabs(a(m, k) - b(m, k));
      largest = detail::greater(largest, std::bit_cast<std::uint32_t>(error));
      sum += static_cast<double>(error);
      squares += static_cast<double>(detail::mul_rn(error, error));
      signal += static_cast<double>(detail::mul_rn(a(m, k), a(m, k)));
    }
  const double count = static_cast<double>(a.rows()) * static_cast<double>(a.cols());
  const auto mse = static_cast<float>(squares / count);
  const float ratio = static_cast<float>(signal / count) / (mse + 1e-10f);
  return {static_cast<double>(std::bit_cast<float>(largest)), static_cast<double>(static_cast<float>(sum / count)),
          static_cast<double>(mse), 10.0 * static_cast<double>(std::log10(ratio))};
}

// --- notes on absmax and zero-point quantization ---------------------------------------------------------------------

/// `absmax_quantize` of the notes on absmax and zero-point quantization, over the whole tensor. Here the scale divides.
///
///     k = fl(fl(1 / max |x|) * 127);  q = rint(fl(k * x));  x_hat = fl(q / k)
///
/// (torch computes number / tensor as reciprocal times number: two roundings.)
///
/// @param x  [M x K] real matrix, not empty
/// Differs: quantize_absmax stores the multiplier max |x| / 127 and divides by it; its expression::reciprocal is this
///          one but for the rounding of k. Zeros get scale 1 there.
/// Errors:  range_error where the original casts NaN or an infinity to int8, which is undefined: zeros, max |x| <
///          3.8e-37, NaN, infinity; shape_error for an empty tensor.
template <real_matrix X>
quantized_pair absmax_quantize(const X& x) {
  decltype(auto) rows = detail::float_rows(x);
  const matrix_view<const float> view = rows;
  if (view.rows() == 0 || view.cols() == 0)
    detail::fail<shape_error>(
        {"absmax_quantize: a tensor of ", view.rows(), "x", view.cols(), " has no largest magnitude"});
  const float scale = detail::mul_rn(1.0f / detail::largest_magnitude(view), 127.0f);
  const auto q = detail::map_elements(view, [=](float v) { return std::rint(detail::mul_rn(scale, v)); });
  return {detail::cast_to_int8("absmax_quantize", q, scale),
          detail::map_elements(q.view(), [=](float code) { return code / scale; })};
}

/// `zeropoint_quantize` of the notes on absmax and zero-point quantization, over the whole tensor. Here the scale
/// divides.
///
///     k = fl(fl(1 / fl(max - min)) * 255), or 255 for a constant;  z = rint(fl(fl(-k * min) - 128))
///     q = clip(rint(fl(fl(x * k) + z)), -128, 127);  x_hat = fl(fl(q - z) / k)
///
/// z is not clamped and may leave int8: one-sided data keeps its resolution.
///
/// @param x  [M x K] real matrix, not empty
/// Differs: quantize_zero_point widens the range to hold 0, so that its zero point is an int8, and adds it after
///          rounding.
/// Errors:  range_error where the original casts NaN to int8, which is undefined: NaN, infinity, or a range so small
///          that k is infinite; shape_error for an empty tensor.
template <real_matrix X>
quantized_pair zeropoint_quantize(const X& x) {
  decltype(auto) rows = detail::float_rows(x);
  const matrix_view<const float> view = rows;
  const detail::tensor_extremes range("zeropoint_quantize", view);
  const float width = range.most - range.least;
  const float scale = width == 0.0f ? 255.0f : detail::mul_rn(1.0f / width, 255.0f);
  const float zero = std::rint(detail::mul_rn(-scale, range.least) - 128.0f);
  const auto q = detail::map_elements(
      view, [=](float v) { return detail::clamp_float(std::rint(detail::mul_rn(v, scale) + zero), -128.0f, 127.0f); });
  return {detail::cast_to_int8("zeropoint_quantize", q, scale),
          detail::map_elements(q.view(), [=](float code) { return (code - zero) / scale; })};
}

}  // namespace tern::inline v0_1::compat::inline TERN_TU
