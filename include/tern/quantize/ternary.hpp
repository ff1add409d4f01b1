// SPDX-License-Identifier: MIT
/// Weights to trits, one gamma for each slice.
#pragma once

#include <tern/quantize/weights.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

inline slice_scale absmean_slice(matrix_view<const float> w, matrix_view<std::int8_t> codes) {
  double sum = 0;
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) sum += std::fabs(static_cast<double>(w(n, k)));
  const auto count = static_cast<double>(w.rows()) * static_cast<double>(w.cols());
  const float gamma = sum == 0 ? 0.0f : static_cast<float>(sum / count);
  if (gamma == 0.0f) return {0.0f};
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) codes(n, k) = static_cast<std::int8_t>(round_code(w(n, k), gamma, 1));
  return {gamma};
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// Quantises weights to trits as BitNet b1.58: gamma = mean |w| of the slice, t = clamp(rint(w / gamma), -1, 1).
/// An all-zero slice has gamma 0.
///
/// @param w            [N x K] real matrix: tern's or Eigen's
/// @param granularity  what shares a gamma; b1.58 takes one for the tensor
/// Errors: range_error naming row and column of a NaN or infinity.
/// Source: S. Ma et al., "The Era of 1-bit LLMs", arXiv:2402.17764, section 2.
template <real_matrix M>
quantized_matrix quantize_absmean(const M& w, granularity granularity = per_tensor) {
  decltype(auto) rows = detail::float_rows(w);
  return detail::quantize_slices("quantize_absmean", rows, granularity, false, detail::absmean_slice);
}

}  // namespace tern::inline v0_1::inline TERN_TU
