// SPDX-License-Identifier: MIT
/// Weights to trits, one gamma for each slice: rules, and quantize_ternary, which applies one to a whole matrix.
///
/// | concept      | a type R satisfies it when                                                | instances        |
/// |--------------|---------------------------------------------------------------------------|------------------|
/// | ternary_rule | rule(w, first_input, trits) -> gamma, const, callable from several        | absmean, twn,    |
/// |              | threads: w a slice of a matrix of finite floats, first_input the input of | ternary_absmax,  |
/// |              | its first column, trits of the shape of w and all 0; writes -1, 0 or +1.  | ternary_optimum  |
/// |              | Optional: rule.check(inputs) throws what is wrong for rows so long        |                  |
///
/// The rules, with their sums in double, rounded once; in ascending order of the inputs, ternary_optimum's in descending
/// order of the magnitudes:
///
///     absmean          gamma = mean |w|;  t = clamp(rint(w / gamma), -1, 1)                       BitNet b1.58
///     twn              D = 0.7 mean |w|;  t = sgn(w) [|w| > D];  gamma = mean of the kept |w|     Ternary Weight Nets
///     ternary_absmax   gamma = max |w|;   t = rint(w / gamma)                                     int2
///     ternary_optimum  gamma and t minimise sum h (w - gamma t)^2
///
/// A slice of zeros has t = 0 and gamma 0.
#pragma once

#include <tern/quantize/sorted.hpp>
#include <tern/quantize/weights.hpp>

namespace tern::inline v0_1 {

template <class R>
concept ternary_rule = requires(const R& rule, matrix_view<const float> w, std::size_t first_input,
                                matrix_view<std::int8_t> trits) {
  { rule(w, first_input, trits) } -> std::same_as<float>;
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

inline double sum_of_magnitudes(matrix_view<const float> w) {
  double sum = 0;
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) sum += std::fabs(static_cast<double>(w(n, k)));
  return sum;
}

inline double count_of(matrix_view<const float> w) {
  return static_cast<double>(w.rows()) * static_cast<double>(w.cols());
}

/// t = clamp(rint(w / gamma), -1, 1). rint is to even, so 1/2 goes to 0 and only what is beyond it to 1.
inline float round_to_trits(matrix_view<const float> w, float gamma, matrix_view<std::int8_t> trits) {
  if (gamma == 0.0f) return 0.0f;
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) {
      const float ratio = w(n, k) / gamma;
      trits(n, k) = static_cast<std::int8_t>((ratio > 0.5f) - (ratio < -0.5f));
    }
  return gamma;
}

/// t = sgn(w) [|w| > threshold], or [|w| >= threshold].
template <bool Inclusive>
void keep_above(matrix_view<const float> w, double threshold, matrix_view<std::int8_t> trits) {
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) {
      const double value = static_cast<double>(w(n, k)), magnitude = std::fabs(value);
      const bool kept = Inclusive ? magnitude >= threshold : magnitude > threshold;
      trits(n, k) = static_cast<std::int8_t>(kept ? (value > 0) - (value < 0) : 0);
    }
}

inline float absmean_slice(matrix_view<const float> w, matrix_view<std::int8_t> trits) {
  const double sum = sum_of_magnitudes(w);
  return round_to_trits(w, sum == 0 ? 0.0f : static_cast<float>(sum / count_of(w)), trits);
}

inline float ternary_absmax_slice(matrix_view<const float> w, matrix_view<std::int8_t> trits) {
  std::uint32_t largest = 0;
  for (std::size_t n = 0; n < w.rows(); ++n) largest = detail::greater(largest, largest_magnitude(w.row(n), w.cols()));
  return round_to_trits(w, std::bit_cast<float>(largest), trits);
}

inline float twn_slice(matrix_view<const float> w, matrix_view<std::int8_t> trits) {
  const double total = sum_of_magnitudes(w);
  if (total == 0) return 0.0f;
  keep_above<false>(w, 0.7 * (total / count_of(w)), trits);
  double sum = 0, kept = 0;
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k)
      if (trits(n, k) != 0) sum += std::fabs(static_cast<double>(w(n, k))), kept += 1;
  return static_cast<float>(sum / kept);
}

/// With the support {|w| >= a} the best gamma is A / B, A = sum h |w|, B = sum h, and lowers the error by A^2 / B: take
/// magnitudes in descending order, all of equal size at once, and keep the first largest gain. That equal ones go
/// together costs nothing: at the optimum all that is kept is beyond gamma / 2, all that is dropped below.
/// @param importance  [inputs of the matrix], or empty for equal ones
inline float ternary_optimum_slice(matrix_view<const float> w, std::span<const float> importance,
                                   std::size_t first_input, matrix_view<std::int8_t> trits) {
  std::vector<std::uint64_t> items(w.rows() * w.cols()), spare(items.size());
  std::size_t count = 0;
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k)
      items[count++] = std::uint64_t{std::bit_cast<std::uint32_t>(w(n, k)) & 0x7fffffffu} << 32 | (first_input + k);
  radix_sort(items.data(), spare.data(), count, 32);

  const auto magnitude = [&](std::size_t i) {
    return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(items[i] >> 32)));
  };
  double a = 0, b = 0, best = 0, threshold = 0, gamma = 0;
  for (std::size_t i = count; i-- > 0;) {
    const double h = importance.empty() ? 1.0 : static_cast<double>(importance[items[i] & 0xffffffffu]);
    const double value = magnitude(i);
    a += h * value;  // exact: 24 bits times 24 bits
    b += h;
    if (i > 0 && magnitude(i - 1) == value) continue;
    const double gain = a / b * a;
    if (gain > best) best = gain, threshold = value, gamma = a / b;
  }
  if (best == 0) return 0.0f;
  keep_above<true>(w, threshold, trits);
  return static_cast<float>(gamma);
}

template <class Rule>
void check_rule(const Rule& rule, std::size_t inputs) {
  if constexpr (requires { rule.check(inputs); }) rule.check(inputs);
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1 {

/// gamma = mean |w|, t = clamp(rint(w / gamma), -1, 1).
/// Source: S. Ma et al., "The Era of 1-bit LLMs", arXiv:2402.17764, section 2.
struct absmean {
  template <class Tu = tu_tag>
  float operator()(matrix_view<const float> w, std::size_t, matrix_view<std::int8_t> trits) const {
    return detail::absmean_slice(w, trits);
  }
};

/// t = sgn(w) where |w| > 0.7 mean |w|, gamma = the mean of those |w|.
/// Source: F. Li et al., "Ternary Weight Networks", arXiv:1605.04711, section 2.
struct twn {
  template <class Tu = tu_tag>
  float operator()(matrix_view<const float> w, std::size_t, matrix_view<std::int8_t> trits) const {
    return detail::twn_slice(w, trits);
  }
};

/// gamma = max |w|, t = rint(w / gamma): symmetric quantisation to two bits.
struct ternary_absmax {
  template <class Tu = tu_tag>
  float operator()(matrix_view<const float> w, std::size_t, matrix_view<std::int8_t> trits) const {
    return detail::ternary_absmax_slice(w, trits);
  }
};

/// The least squares optimum over all gammas and trits, exact up to the rounding of sums: minimises
/// sum_j h_j (w_j - gamma t_j)^2, h the importance of each input, 1 if none is given; mean squares of the activations
/// are usual.
///
///     quantize_ternary(w, ternary_optimum{}, per_channel);
///     quantize_ternary(w, ternary_optimum{h}, per_group(128));      // h [K]
///
/// Cost:   O(n) for a slice of n values, in four passes of a radix sort; allocates 16 n bytes for each slice.
/// Errors: shape_error when h is neither empty nor [K]; range_error naming the input whose h is not finite and above 0.
struct ternary_optimum {
  std::span<const float> importance = {};

  template <class Tu = tu_tag>
  float operator()(matrix_view<const float> w, std::size_t first_input, matrix_view<std::int8_t> trits) const {
    return detail::ternary_optimum_slice(w, importance, first_input, trits);
  }
  template <class Tu = tu_tag>
  void check(std::size_t inputs) const {
    detail::check_importances("ternary_optimum", importance, inputs);
  }
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::inline TERN_TU {

/// Quantises weights to trits by a rule, slice by slice.
///
///     w(n,k) ~ gamma t(n,k)
///
/// @param w            [N x K] real matrix: tern's or Eigen's
/// @param rule         absmean, twn, ternary_absmax, ternary_optimum, or a type of your own (see the table above)
/// @param granularity  what shares a gamma
/// @param ex           who works on the slices; the result does not depend on it
/// Errors: range_error naming row and column of a NaN or infinity, or of a weight that a rule gives a gamma which is not
///         finite; what rule.check throws.
template <real_matrix M, ternary_rule Rule, executor Executor = serial_executor>
quantized_matrix quantize_ternary(const M& w, const Rule& rule, granularity granularity = per_channel,
                                  const Executor& ex = {}) {
  decltype(auto) rows = detail::float_rows(w);
  const matrix_view<const float> view = rows;
  detail::check_rule(rule, view.cols());
  detail::check_finite("quantize_ternary", view);
  quantized_matrix q(1, view.rows(), view.cols(), granularity);
  detail::for_each_slice(q, ex, [&](std::size_t s, std::size_t row, std::size_t group) {
    const detail::slice slice = detail::slice_of(q, view, row, group);
    q.scales[s] = rule(slice.w, slice.first_input, detail::codes_of(q, 0, row, group));
  });
  detail::check_levels_of("quantize_ternary", q);
  return q;
}

/// Quantises weights to trits as BitNet b1.58: quantize_ternary(w, absmean{}, granularity).
///
/// @param w            [N x K] real matrix: tern's or Eigen's
/// @param granularity  what shares a gamma; b1.58 takes one for the tensor
/// Errors: range_error naming row and column of a NaN or infinity.
/// Source: S. Ma et al., "The Era of 1-bit LLMs", arXiv:2402.17764, section 2.
template <real_matrix M>
quantized_matrix quantize_absmean(const M& w, granularity granularity = per_tensor) {
  return tern::quantize_ternary(w, absmean{}, granularity);
}

}  // namespace tern::inline v0_1::inline TERN_TU
