// SPDX-License-Identifier: MIT
/// Multi-ternary decomposition: W ~ sum_p gamma_p T_p with T_p in {-1, 0, +1}.
#pragma once

#include <tern/quantize/ternary.hpp>

namespace tern::inline v0_1::inline TERN_TU {

struct decompose_options {
  std::size_t planes = 2;
  tern::granularity granularity = per_channel;
};

/// Decomposes greedily, as the seed does: each plane is the absmean quantisation of what the planes before it left over.
///
///     R_1 = W;   (T_p, gamma_p) = absmean(R_p);   R_(p+1) = R_p - gamma_p T_p
///
/// @param w        [N x K] real matrix: tern's or Eigen's
/// @param options  number of planes, at least 1, and what shares a gamma
///
/// Exactness: the residual is rounded to float once a plane; the error never grows from plane to plane, since absmean keeps
///            only |r| > gamma / 2.
/// Cost:      O(planes N K).
/// Errors:    range_error when planes is 0, naming row and column of a NaN or infinity.
/// Source:    BitNet's weight quantiser applied to residuals (greedy residual minimisation).
template <real_matrix M>
quantized_matrix decompose(const M& w, const decompose_options& options = {}) {
  if (options.planes == 0) detail::fail<range_error>({"decompose: planes must be at least 1"});
  decltype(auto) rows = detail::row_major(w);
  const detail::real_view<M> view = rows;
  matrix<float> residual(view.rows(), view.cols());
  for (std::size_t n = 0; n < view.rows(); ++n)
    for (std::size_t k = 0; k < view.cols(); ++k) residual(n, k) = static_cast<float>(view(n, k));

  quantized_matrix q(options.planes, view.rows(), view.cols(), options.granularity);
  for (std::size_t p = 0; p < q.planes; ++p) {
    const quantized_matrix plane = quantize_absmean(residual, options.granularity);
    for (std::size_t at = 0; at < plane.codes.size(); ++at) q.codes[p * plane.codes.size() + at] = plane.codes[at];
    for (std::size_t at = 0; at < plane.scales.size(); ++at) q.scales[p * plane.scales.size() + at] = plane.scales[at];
    for (std::size_t n = 0; n < q.rows; ++n)
      for (std::size_t k = 0; k < q.cols; ++k)
        // gamma * t is exact, so contraction to fma cannot change the result.
        residual(n, k) -= q.scale(p, n, k / q.group_inputs()) * static_cast<float>(q.code_row(p, n)[k]);
  }
  return q;
}

}  // namespace tern::inline v0_1::inline TERN_TU
