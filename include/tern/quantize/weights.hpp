// SPDX-License-Identifier: MIT
/// Weights to small integers, one scale for each slice: absmax, and zero points.
#pragma once

#include <tern/quantize/activations.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// The scale and the zero point of a slice.
struct slice_scale {
  float scale = 0.0f;
  std::int8_t zero = 0;
};

/// Quantises slice by slice: rule(w, codes) fills codes, of the shape of w, and returns the slice's scale.
template <class Rule>
quantized_matrix quantize_slices(const char* what, matrix_view<const float> w, granularity granularity, bool zeros,
                                 Rule rule) {
  check_finite(what, w);
  quantized_matrix q(1, w.rows(), w.cols(), granularity);
  if (zeros) q.zeros.resize(q.scales.size());
  for_each_slice(q, serial_executor{}, [&](std::size_t s, std::size_t row, std::size_t group) {
    const slice_scale scale = rule(slice_of(q, w, row, group).w, codes_of(q, 0, row, group));
    q.scales[s] = scale.scale;
    if (zeros) q.zeros[s] = scale.zero;
  });
  return q;
}

inline slice_scale absmax_slice(matrix_view<const float> w, matrix_view<std::int8_t> codes) {
  std::uint32_t largest = 0;
  for (std::size_t n = 0; n < w.rows(); ++n) largest = detail::greater(largest, largest_magnitude(w.row(n), w.cols()));
  const float am = std::bit_cast<float>(largest);
  if (am < 0x1p-100f) return {1.0f};  // codes are zero already
  const float scale = am / 127.0f;
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) codes(n, k) = static_cast<std::int8_t>(round_code(w(n, k), scale, 127));
  return {scale};
}

inline slice_scale zero_point_slice(matrix_view<const float> w, matrix_view<std::int8_t> codes) {
  value_bounds bounds;
  for (std::size_t n = 0; n < w.rows(); ++n) bounds.include(w.row(n), w.cols());
  const affine_step step(bounds.least, bounds.most);
  if (!is_finite(step.scale)) fail<range_error>({"quantize_zero_point: the range of a slice overflows float"});
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) codes(n, k) = step.code(w(n, k));
  return {step.scale, static_cast<std::int8_t>(step.zero)};
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
  decltype(auto) rows = detail::float_rows(w);
  return detail::quantize_slices("quantize_absmax", rows, granularity, false, detail::absmax_slice);
}

/// Quantises weights to int8 with zero points: [least, most] widened to hold 0, scale = (most - least) / 255,
/// zero = -128 - rint(least / scale), code = clamp(rint(w / scale) + zero, -128, 127). An all-zero slice: scale 1, all 0.
///
/// @param w            [N x K] real matrix: tern's or Eigen's
/// @param granularity  what shares a scale and a zero point
/// Errors: range_error naming row and column of a NaN or infinity, or when most - least overflows float.
template <real_matrix M>
quantized_matrix quantize_zero_point(const M& w, granularity granularity = per_channel) {
  decltype(auto) rows = detail::float_rows(w);
  return detail::quantize_slices("quantize_zero_point", rows, granularity, true, detail::zero_point_slice);
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
