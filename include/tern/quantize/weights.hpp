// SPDX-License-Identifier: MIT
/// Weights to small integers, one scale for each slice: absmax, zero points, the clip of least error, a given clip.
///
/// All divide as round(w / scale) and store the scale as a multiplier: w ~ (code - zero) * scale. A slice whose largest
/// magnitude (or range) is below 2^-100 counts as zero: zero codes, scale 1. What they return dequantises to finite values:
/// where the level nearest to a weight is beyond the largest float, they throw a range_error that names the weight.
#pragma once

#include <tern/fma.hpp>
#include <tern/quantize/activations.hpp>

namespace tern::inline v0_1 {

/// How absmax computes a code from w, am = max |w| and Q = 2^(bits - 1) - 1. In float the three differ on about one in
/// a million weights (of those born in bfloat16 on one in 4000), by one code. The stored scale is am / Q in all of them.
enum class expression : std::uint8_t {
  divide,     // w / (am / Q)
  normalise,  // (w / am) * Q
  reciprocal  // w * (Q / am)
};

/// How wide codes are: Q = 2^(bits - 1) - 1.
struct code_options {
  unsigned bits = 8;  // 2 to 8 in int8 and uint8, 2 to 16 in int16
};

struct absmax_options {
  unsigned bits = 8;  // 2 to 8 in int8, 2 to 16 in int16
  tern::rounding rounding = tern::rounding::half_even;
  tern::expression expression = tern::expression::divide;
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Errors: range_error when symmetric codes of so many bits do not exist or do not fit Code, int8 or int16.
template <class Code>
void check_fit(const char* what, unsigned bits) {
  check_bits(what, bits, 16);
  if (bits > 8 * sizeof(Code))
    fail<range_error>({what, ": ", bits, " bits do not fit int8; use ", what, "<std::int16_t>"});
}

/// The scale and the zero point of a slice.
struct slice_scale {
  float scale = 0.0f;
  std::int32_t zero = 0;
};

/// Quantises slice by slice: rule(w, codes) fills codes, of the shape of w, and returns the slice's scale.
template <class Code = std::int8_t, executor Executor = serial_executor, class Rule>
basic_quantized_matrix<Code> quantize_slices(const char* what, matrix_view<const float> w, granularity granularity,
                                             bool zeros, Rule rule, const Executor& ex = {}) {
  check_finite(what, w);
  basic_quantized_matrix<Code> q(1, w.rows(), w.cols(), granularity);
  if (zeros) q.zeros.resize(q.scales.size());
  for_each_slice(q, ex, [&](std::size_t s, std::size_t row, std::size_t group) {
    const slice_scale scale = rule(slice_of(q, w, row, group).w, codes_of(q, 0, row, group));
    q.scales[s] = scale.scale;
    if (zeros) q.zeros[s] = static_cast<Code>(scale.zero);
  });
  return q;
}

/// Errors: range_error naming the first weight whose dequantised value is not finite: next to the largest float, scales and
///         levels are rounded beyond it.
template <class Code>
void check_levels_of(const char* what, const basic_quantized_matrix<Code>& q) {
  // A code less its zero point has 17 bits: below, fewer than 2^20 planes stay finite.
  bool is_small = true;
  for (const float scale : q.scales) is_small &= std::fabs(scale) <= 0x1p90f;
  if (is_small) return;
  for (std::size_t n = 0; n < q.rows; ++n)
    for (std::size_t k = 0; k < q.cols; ++k) {
      const std::size_t g = k / q.group_inputs();
      float value = 0;  // as dequantize() has it
      for (std::size_t p = 0; p < q.planes; ++p)
        value = fma_rn(static_cast<float>(q.code_row(p, n)[k] - q.zero(p, n, g)), q.scale(p, n, g), value);
      if (!is_finite(value)) fail<range_error>({what, ": the level of row ", n, ", column ", k, " is beyond float"});
    }
}

/// Fills the codes of a slice: code_of(w) for each weight.
template <class Code, class CodeOf>
void fill_codes(matrix_view<const float> w, matrix_view<Code> codes, CodeOf code_of) {
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) codes(n, k) = static_cast<Code>(code_of(w(n, k)));
}

template <class Code>
slice_scale absmax_slice(matrix_view<const float> w, matrix_view<Code> codes, const absmax_options& options) {
  const float am = largest_magnitude(w);
  if (am < 0x1p-100f) return {1.0f};  // codes are zero already
  const std::int32_t limit = largest_code(options.bits);
  const auto q = static_cast<float>(limit);
  const float scale = am / q, inverse = q / am;
  const auto fill = [&](auto quotient) {
    fill_codes(w, codes, [&](float x) { return nearest_code(quotient(x), limit, options.rounding); });
  };
  switch (options.expression) {
    case expression::divide:
      fill([&](float x) { return x / scale; });
      break;
    case expression::normalise:
      fill([&](float x) { return mul_rn(x / am, q); });
      break;
    case expression::reciprocal:
      fill([&](float x) { return mul_rn(x, inverse); });
      break;
  }
  return {scale};
}

/// In uint8 the codes and the zero point of int8 stand 2^(bits - 1) higher.
template <class Code>
slice_scale zero_point_slice(matrix_view<const float> w, matrix_view<Code> codes, unsigned bits) {
  value_bounds bounds;
  for (std::size_t n = 0; n < w.rows(); ++n) bounds.include(w.row(n), w.cols());
  const affine_step step(bounds.least, bounds.most, bits);
  const std::int32_t shift = std::same_as<Code, std::uint8_t> ? -step.lowest : 0;
  if (is_finite(step.scale)) fill_codes(w, codes, [&](float x) { return step.code(x) + shift; });
  return {step.scale, step.zero + shift};
}

/// The sum of (w - code * scale)^2 over a slice, in double, rows ascending; or, once it has reached `most`, any part of
/// it that has: sums of squares never fall, so such a scale is no better.
/// @param importance  [columns of w] factors of the terms, or null for none
inline double squared_error(matrix_view<const float> w, float scale, std::int32_t limit, double most,
                            const float* importance = nullptr) {
  const auto bound = static_cast<float>(limit);
  const auto step = static_cast<double>(scale);
  double sum = 0;
  for (std::size_t n = 0; n < w.rows(); ++n) {
    const float* const row = w.row(n);
    for (std::size_t begin = 0; begin < w.cols(); begin += 64) {
      const std::size_t end = lesser(begin + 64, w.cols());
      for (std::size_t k = begin; k < end; ++k) {
        const float code = nearest_whole(row[k] / scale, bound);
        // 16 bits times 24: the product is exact, so contraction to fma cannot change the difference.
        const double error = static_cast<double>(row[k]) - static_cast<double>(code) * step;
        const double square = mul_rn(error, error);
        sum += importance == nullptr ? square : mul_rn(square, static_cast<double>(importance[k]));
      }
      if (sum >= most) return sum;
    }
  }
  return sum;
}

template <class Code>
slice_scale mse_slice(matrix_view<const float> w, matrix_view<Code> codes, unsigned bits,
                      const float* importance = nullptr) {
  const float am = largest_magnitude(w);
  if (am < 0x1p-100f) return {1.0f};
  const std::int32_t limit = largest_code(bits);
  double least = std::numeric_limits<double>::infinity();
  float best = 0;
  for (int i = 100; i >= 1; --i) {  // descending, so that the larger clip wins a tie
    const auto clip = static_cast<float>(static_cast<double>(am) * i / 100);
    if (clip < 0x1p-100f) break;
    const float scale = clip / static_cast<float>(limit);
    const double error = squared_error(w, scale, limit, least, importance);
    if (error < least) least = error, best = scale;
  }
  fill_codes(w, codes, [&](float x) { return round_code(x, best, limit); });
  return {best};
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// Quantises weights symmetrically, by the largest magnitude:
///
///     Q = 2^(bits - 1) - 1;  scale = max |w| / Q;  code = round(w / scale), within [-Q, Q]
///
/// @tparam Code        std::int8_t, or std::int16_t for 9 to 16 bits
/// @param w            [N x K] real matrix: tern's or Eigen's
/// @param granularity  what shares a scale; groups of any size (packing asks for multiples of 16)
/// @param options      bits; how ties round and how the quotient is computed, for the bits of other implementations
/// @param ex           who runs the slices; results never depend on it
/// Exactness: |w - code * scale| <= scale / 2 * (1 + Q 2^-23), that is 1 + 2^-16 with 8 bits.
/// Errors:    range_error naming row and column of a NaN or infinity, or when the bits do not fit Code.
///
///     tern::quantize_absmax(w)                                             // int8, one scale a row
///     tern::quantize_absmax(w, tern::per_group(128), {.bits = 4})          // -7 .. 7
///     tern::quantize_absmax<std::int16_t>(w, tern::per_tensor, {.bits = 12})
template <class Code = std::int8_t, real_matrix M, executor Executor = serial_executor>
basic_quantized_matrix<Code> quantize_absmax(const M& w, granularity granularity = per_channel,
                                             const absmax_options& options = {}, const Executor& ex = {}) {
  static_assert(std::is_signed_v<Code>, "symmetric codes are int8 or int16");
  detail::check_fit<Code>("quantize_absmax", options.bits);
  decltype(auto) rows = detail::float_rows(w);
  auto q = detail::quantize_slices<Code>(
      "quantize_absmax", rows, granularity, false,
      [&](matrix_view<const float> slice, matrix_view<Code> codes) {
        return detail::absmax_slice(slice, codes, options);
      },
      ex);
  detail::check_levels_of("quantize_absmax", q);
  return q;
}

/// Quantises weights with zero points: [least, most] widened to hold 0, which then is a code exactly,
///
///     scale = (most - least) / (2^bits - 1);  zero = lowest - rint(least / scale)
///     code = clamp(rint(w / scale) + zero, lowest, lowest + 2^bits - 1)
///
/// with lowest = -2^(bits - 1) in int8 and 0 in uint8: the same codes, 2^(bits - 1) higher. An all-zero slice: scale 1,
/// every code the zero point, 0 in int8.
///
/// @tparam Code        std::int8_t (what products take) or std::uint8_t
/// @param w            [N x K] real matrix: tern's or Eigen's
/// @param granularity  what shares a scale and a zero point
/// @param options      bits, 2 to 8
/// @param ex           who runs the slices; results never depend on it
/// Errors: range_error naming row and column of a NaN or infinity, when most - least overflows float, or for bits
///         outside 2 .. 8.
template <class Code = std::int8_t, real_matrix M, executor Executor = serial_executor>
basic_quantized_matrix<Code> quantize_zero_point(const M& w, granularity granularity = per_channel,
                                                 const code_options& options = {}, const Executor& ex = {}) {
  static_assert(sizeof(Code) == 1, "codes with zero points are int8 or uint8");
  detail::check_bits("quantize_zero_point", options.bits, 8);
  decltype(auto) rows = detail::float_rows(w);
  auto q = detail::quantize_slices<Code>(
      "quantize_zero_point", rows, granularity, true,
      [&](matrix_view<const float> slice, matrix_view<Code> codes) {
        return detail::zero_point_slice(slice, codes, options.bits);
      },
      ex);
  // Only now: an executor's threads could not throw it.
  for (std::size_t s = 0; s < q.scales.size(); ++s)
    if (!detail::is_finite(q.scales[s]))
      detail::fail<range_error>({"quantize_zero_point: the range of slice ", s, " overflows float"});
  detail::check_levels_of("quantize_zero_point", q);
  return q;
}

/// Quantises weights symmetrically with the clip of least squared error, searched in hundredths of am = max |w|:
///
///     Q = 2^(bits - 1) - 1;  code_c(w) = clamp(rint(w / (c / Q)), -Q, Q)
///     c = argmin over am i / 100, i = 1 .. 100, of sum (w - code_c(w) * c / Q)^2;  scale = c / Q
///
/// The larger clip wins a tie. Clips below 2^-100, which make zero slices, are not tried.
///
/// The sum runs over rows ascending. That of mse_clip (clip.hpp), over the same clips, runs over magnitudes ascending,
/// and may choose another where two clips are equally good but for rounding.
///
/// @tparam Code        std::int8_t, or std::int16_t for 9 to 16 bits
/// @param w            [N x K] real matrix: tern's or Eigen's
/// @param granularity  what shares a scale
/// @param options      bits: Q = 2^(bits - 1) - 1
/// @param ex           who runs the slices; results never depend on it
/// Exactness: sums in double, ascending, in one scalar routine: the same bits on every machine.
/// Cost:      at most 100 passes over w; one that cannot win is left early.
/// Errors:    range_error naming row and column of a NaN or infinity, or when the bits do not fit Code.
template <class Code = std::int8_t, real_matrix M, executor Executor = serial_executor>
basic_quantized_matrix<Code> quantize_mse(const M& w, granularity granularity = per_channel,
                                          const code_options& options = {}, const Executor& ex = {}) {
  static_assert(std::is_signed_v<Code>, "symmetric codes are int8 or int16");
  detail::check_fit<Code>("quantize_mse", options.bits);
  decltype(auto) rows = detail::float_rows(w);
  auto q = detail::quantize_slices<Code>(
      "quantize_mse", rows, granularity, false,
      [&](matrix_view<const float> slice, matrix_view<Code> codes) {
        return detail::mse_slice(slice, codes, options.bits);
      },
      ex);
  detail::check_levels_of("quantize_mse", q);
  return q;
}

/// Quantises weights symmetrically with clips that were calibrated elsewhere, one for each slice:
///
///     Q = 2^(bits - 1) - 1;  scale = clip / Q;  code = clamp(rint(w / scale), -Q, Q)
///
/// What is beyond its clip saturates.
///
/// @tparam Code        std::int8_t, or std::int16_t for 9 to 16 bits
/// @param w            [N x K] real matrix: tern's or Eigen's
/// @param clips        real units, in the order of the scales: [1] per tensor, [N] per channel, [N x groups] or [K]
/// @param granularity  what shares a clip
/// @param options      bits: Q = 2^(bits - 1) - 1
/// @param ex           who runs the slices; results never depend on it
/// Errors: shape_error when there is not one clip for each slice; range_error for a clip that is negative or not
///         finite, naming row and column of a NaN or infinity, or when the bits do not fit Code. A clip below 2^-100
///         makes a zero slice.
template <class Code = std::int8_t, real_matrix M, executor Executor = serial_executor>
basic_quantized_matrix<Code> quantize_clipped(const M& w, std::span<const float> clips, granularity granularity,
                                              const code_options& options = {}, const Executor& ex = {}) {
  static_assert(std::is_signed_v<Code>, "symmetric codes are int8 or int16");
  detail::check_fit<Code>("quantize_clipped", options.bits);
  decltype(auto) rows = detail::float_rows(w);
  const matrix_view<const float> view = rows;
  basic_quantized_matrix<Code> q(1, view.rows(), view.cols(), granularity);
  if (clips.size() != q.scales.size())
    detail::fail<shape_error>({"quantize_clipped: ", clips.size(), " clips for ", q.scales.size(), " slices"});
  for (std::size_t s = 0; s < clips.size(); ++s)
    if (!(clips[s] >= 0.0f) || !detail::is_finite(clips[s]))
      detail::fail<range_error>(
          {"quantize_clipped: clip ", s, " is ", clips[s], "; it must be finite and not negative"});
  detail::check_finite("quantize_clipped", view);
  const std::int32_t limit = detail::largest_code(options.bits);
  detail::for_each_slice(q, ex, [&](std::size_t s, std::size_t row, std::size_t group) {
    q.scales[s] = clips[s] < 0x1p-100f ? 1.0f : clips[s] / static_cast<float>(limit);
    if (clips[s] < 0x1p-100f) return;
    detail::fill_codes(detail::slice_of(q, view, row, group).w, detail::codes_of(q, 0, row, group),
                       [&](float x) { return detail::round_code(x, q.scales[s], limit); });
  });
  detail::check_levels_of("quantize_clipped", q);
  return q;
}
/// The same with one clip for the whole matrix.
template <class Code = std::int8_t, real_matrix M>
basic_quantized_matrix<Code> quantize_clipped(const M& w, float clip, const code_options& options = {}) {
  return tern::quantize_clipped<Code>(w, std::span<const float>(&clip, 1), per_tensor, options);
}

/// The real values that codes and scales stand for: r = fma(code - zero, scale, r) over planes ascending.
template <class Code>
matrix<float> dequantize(const basic_quantized_matrix<Code>& q) {
  q.check();
  matrix<float> out(q.rows, q.cols);
  for (std::size_t p = 0; p < q.planes; ++p)
    for (std::size_t n = 0; n < q.rows; ++n) {
      const Code* codes = q.code_row(p, n);
      for (std::size_t g = 0, k = 0; k < q.cols; ++g) {
        const float scale = q.scale(p, n, g);
        const Code zero = q.zero(p, n, g);
        const std::size_t end = detail::lesser(k + q.group_inputs(), q.cols);
        for (; k < end; ++k) {
          const auto value = static_cast<float>(codes[k] - zero);
          // fma(value, scale, +0) is the product, which underflows for no integer value, but never -0.
          out(n, k) = p == 0 ? value * scale + 0.0f : detail::fma_rn(value, scale, out(n, k));
        }
      }
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
