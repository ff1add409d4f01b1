// SPDX-License-Identifier: MIT
/// One scale for each slice of a weight matrix: int8 absmax, int8 with zero points, ternary absmean.
///
/// A slice is what shares a scale: the matrix, a row, or a group of a row. Every rule below is one scalar routine with its
/// sums in double, ascending: packed weights are the same on every machine.
#pragma once

#include <tern/quantize/activations.hpp>
#include <tern/type/quantized_matrix.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// The scale and the zero point of a slice.
struct slice_scale {
  float scale = 0.0f;
  std::int8_t zero = 0;
};

/// Quantises slice by slice: rule(values, codes) fills codes, of the shape of values, and returns the slice's scale.
template <real_element T, class Rule>
quantized_matrix quantize_slices(const char* what, matrix_view<const T> w, granularity granularity, bool zeros,
                                 Rule rule) {
  for (std::size_t n = 0; n < w.rows(); ++n)
    if (largest_magnitude(w.row(n), w.cols()) >= 0x7f800000u) fail_not_finite(what, w);

  quantized_matrix q(1, w.rows(), w.cols(), granularity);
  if (zeros) q.zeros.resize(q.scales.size());
  const bool whole = granularity.kind == granularity::sharing::tensor;
  const std::size_t rows = whole ? w.rows() : 1;
  for (std::size_t n = 0; n < q.scale_rows(); ++n) {
    for (std::size_t g = 0; g < q.groups(); ++g) {
      const std::size_t begin = g * q.group_inputs();
      const std::size_t cols = detail::lesser(q.group_inputs(), w.cols() - begin);
      const slice_scale slice = rule(matrix_view<const T>(w.row(n) + begin, rows, cols, w.row_stride()),
                                     matrix_view<std::int8_t>(q.code_row(0, n) + begin, rows, cols, w.cols()));
      q.scales[q.scale_index(0, n, g)] = slice.scale;
      if (zeros) q.zeros[q.scale_index(0, n, g)] = slice.zero;
    }
  }
  return q;
}

template <real_element T>
slice_scale absmax_slice(matrix_view<const T> w, matrix_view<std::int8_t> codes) {
  std::uint32_t largest = 0;
  for (std::size_t n = 0; n < w.rows(); ++n) largest = detail::greater(largest, largest_magnitude(w.row(n), w.cols()));
  const float am = std::bit_cast<float>(largest);
  if (am < 0x1p-100f) return {1.0f};  // codes are zero already
  const float scale = am / 127.0f;
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k)
      codes(n, k) = static_cast<std::int8_t>(round_code(static_cast<float>(w(n, k)), scale, 127));
  return {scale};
}

template <real_element T>
slice_scale zero_point_slice(matrix_view<const T> w, matrix_view<std::int8_t> codes) {
  value_bounds bounds;
  for (std::size_t n = 0; n < w.rows(); ++n) bounds.include(w.row(n), w.cols());
  const affine_step step(bounds.least, bounds.most);
  if (!is_finite(step.scale)) fail<range_error>({"quantize_zero_point: the range of a slice overflows float"});
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) codes(n, k) = step.code(static_cast<float>(w(n, k)));
  return {step.scale, static_cast<std::int8_t>(step.zero)};
}

template <real_element T>
slice_scale absmean_slice(matrix_view<const T> w, matrix_view<std::int8_t> codes) {
  double sum = 0;
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) sum += std::fabs(static_cast<double>(static_cast<float>(w(n, k))));
  const auto count = static_cast<double>(w.rows()) * static_cast<double>(w.cols());
  const float gamma = sum == 0 ? 0.0f : static_cast<float>(sum / count);
  if (gamma == 0.0f) return {0.0f};
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k)
      codes(n, k) = static_cast<std::int8_t>(round_code(static_cast<float>(w(n, k)), gamma, 1));
  return {gamma};
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// Quantises weights to int8, symmetric: scale = max |w| / 127, code = rint(w / scale), to even, within [-127, 127].
/// Slices below 2^-100 get zero codes and scale 1.
///
/// @param w            [N x K] real matrix: tern's or Eigen's
/// @param granularity  what shares a scale; groups of any size (packing asks for multiples of 16)
/// Exactness: |w - code * scale| <= scale / 2 * (1 + 2^-16).
/// Errors:    range_error naming row and column of a NaN or infinity.
template <real_matrix M>
quantized_matrix quantize_absmax(const M& w, granularity granularity = per_channel) {
  decltype(auto) rows = detail::row_major(w);
  return detail::quantize_slices("quantize_absmax", detail::real_view<M>(rows), granularity, false,
                                 [](auto slice, auto codes) { return detail::absmax_slice(slice, codes); });
}

/// Quantises weights to int8 with zero points: [least, most] widened to hold 0, scale = (most - least) / 255,
/// zero = -128 - rint(least / scale), code = clamp(rint(w / scale) + zero, -128, 127). An all-zero slice: scale 1, all 0.
///
/// @param w            [N x K] real matrix: tern's or Eigen's
/// @param granularity  what shares a scale and a zero point
/// Errors: range_error naming row and column of a NaN or infinity, or when most - least overflows float.
template <real_matrix M>
quantized_matrix quantize_zero_point(const M& w, granularity granularity = per_channel) {
  decltype(auto) rows = detail::row_major(w);
  return detail::quantize_slices("quantize_zero_point", detail::real_view<M>(rows), granularity, true,
                                 [](auto slice, auto codes) { return detail::zero_point_slice(slice, codes); });
}

/// Quantises weights to trits as BitNet b1.58: gamma = mean |w| of the slice, t = clamp(rint(w / gamma), -1, 1).
/// An all-zero slice has gamma 0.
///
/// @param w            [N x K] real matrix: tern's or Eigen's
/// @param granularity  what shares a gamma; b1.58 takes one for the tensor
/// Errors: range_error naming row and column of a NaN or infinity.
/// Source: S. Ma et al., "The Era of 1-bit LLMs", arXiv:2402.17764, section 2.
template <real_matrix M>
quantized_matrix quantize_absmean(const M& w, granularity granularity = per_tensor) {
  decltype(auto) rows = detail::row_major(w);
  return detail::quantize_slices("quantize_absmean", detail::real_view<M>(rows), granularity, false,
                                 [](auto slice, auto codes) { return detail::absmean_slice(slice, codes); });
}

/// The real values that codes and scales stand for: r = fma(code - zero, scale, r) over planes ascending.
inline matrix<float> dequantize(const quantized_matrix& q) {
  q.check();
  matrix<float> out(q.rows, q.cols);
  for (std::size_t p = 0; p < q.planes; ++p)
    for (std::size_t n = 0; n < q.rows; ++n)
      for (std::size_t k = 0; k < q.cols; ++k) {
        const std::size_t g = k / q.group_inputs();
        out(n, k) = std::fma(static_cast<float>(q.code_row(p, n)[k] - q.zero(p, n, g)), q.scale(p, n, g), out(n, k));
      }
  return out;
}
/// The real values that a packed matrix stands for, with its scales as they are stored.
template <codec Codec>
matrix<float> dequantize(const packed_view<Codec>& w) {
  return dequantize(unpack(w));
}
template <codec Codec>
matrix<float> dequantize(const packed_matrix<Codec>& w) {
  return dequantize(unpack(w.view()));
}

}  // namespace tern::inline v0_1::inline TERN_TU
