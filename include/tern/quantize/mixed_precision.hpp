// SPDX-License-Identifier: MIT
/// Mixed precision: how many planes each layer, or each row, gets out of one budget of bits, by measured errors.
///
///     std::vector<std::vector<tern::precision>> curves;
///     for (const auto& [w, h] : layers) curves.push_back(tern::layer_curve(tern::plane_curves(w, h, 4)));
///     const auto chosen = tern::choose_precision(curves, 2.5 * weights_in_all);     // chosen[i] + 1 planes for layer i
#pragma once

#include <cmath>

#include <tern/quantize/decompose.hpp>
#include <tern/quantize/output_error.hpp>
#include <tern/quantize/rounding.hpp>

namespace tern::inline v0_1 {

/// One way to store a layer or a row: what it takes and what it costs.
struct precision {
  double bits = 0;   ///< of all its weights and scales together
  double error = 0;  ///< anything that adds up: energies of errors, not decibels
};

struct plane_curve_options {
  tern::granularity granularity = per_channel;
  double bits_per_trit = 1.6;  ///< b3; 2 for i2
  double bits_per_scale = 16;  ///< half or bfloat16
  bool weighted = true;        ///< whether planes are fitted with importances(h)
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

/// The next vertex of the lower convex hull of a curve, seen from the one at `at`, and the decrease of error per bit on
/// the way there. No decrease: there is none.
struct hull_step {
  std::size_t to = 0;
  double gain = 0;
};

inline hull_step next_vertex(const std::vector<precision>& curve, std::size_t at) {
  hull_step best{at, 0};
  for (std::size_t i = at + 1; i < curve.size(); ++i) {
    const double gain = (curve[at].error - curve[i].error) / (curve[i].bits - curve[at].bits);
    if (gain > best.gain) best = {i, gain};
  }
  return best;
}

inline void check_curves(std::span<const std::vector<precision>> curves) {
  for (std::size_t i = 0; i < curves.size(); ++i) {
    if (curves[i].empty()) fail<shape_error>({"choose_precision: curve ", i, " has no points"});
    for (std::size_t p = 0; p < curves[i].size(); ++p) {
      const precision& point = curves[i][p];
      const double before = p == 0 ? -1.0 : curves[i][p - 1].bits;
      if (!(point.bits >= 0 && point.bits > before && point.bits - point.bits == 0))
        fail<range_error>({"choose_precision: point ", p, " of curve ", i, ": bits must be finite and ascend"});
      if (!(point.error >= 0 && point.error - point.error == 0))
        fail<range_error>({"choose_precision: point ", p, " of curve ", i, ": errors must be finite and not negative"});
    }
  }
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// Chooses a point of each curve so that the bits add up to at most a budget, making the sum of the errors small.
///
/// All begin at their first point. Then, as long as something fits, the curve moves to its next point whose step
/// lowers the error most per bit; of equal steps that of the first curve. Points above the lower convex hull of their
/// curve are passed over.
///
/// Exactness: as long as no step had to be left out because it did not fit, no other choice of points with as many bits
///            or fewer has a smaller error, since every step taken gains at least as much per bit as every one not
///            taken, and all points lie on or above their hulls. What is left of the budget in the end costs less than
///            one step gains. (A choice that fills it to the last bit is the knapsack problem.)
/// @param curves  for each item its points, bits ascending
/// @param budget  in bits, for all items together
/// @return for each item the index of its point
/// Cost:   O(items) a step.
/// Errors: shape_error for a curve without points; range_error for bits that do not ascend, errors that are negative or
///         not finite, and when the first points alone exceed the budget.
///
///     // {bits, error}: {1, 9} {2, 3} {3, 2} and {1, 4} {2, 1} with 4 bits:   1 and 1, errors 3 + 1
inline std::vector<std::size_t> choose_precision(std::span<const std::vector<precision>> curves, double budget) {
  detail::check_curves(curves);
  double used = 0;
  for (const auto& curve : curves) used += curve[0].bits;
  if (!(used <= budget))
    detail::fail<range_error>({"choose_precision: the first points take ", static_cast<float>(used),
                               " bits, the budget is ", static_cast<float>(budget)});
  std::vector<std::size_t> chosen(curves.size());
  std::vector<detail::hull_step> next(curves.size());
  for (std::size_t i = 0; i < curves.size(); ++i) next[i] = detail::next_vertex(curves[i], 0);
  for (;;) {
    std::size_t best = curves.size();
    double gain = 0;
    for (std::size_t i = 0; i < curves.size(); ++i) {
      const double bits = curves[i][next[i].to].bits - curves[i][chosen[i]].bits;
      if (next[i].gain > gain && used + bits <= budget) best = i, gain = next[i].gain;
    }
    if (best == curves.size()) return chosen;
    used += curves[best][next[best].to].bits - curves[best][chosen[best]].bits;
    chosen[best] = next[best].to;
    next[best] = detail::next_vertex(curves[best], chosen[best]);
  }
}

/// What 1 to `most` planes of each row of W take and what they cost in the outputs: [N] curves of `most` points. Planes
/// are alternating, see decompose(); the error is the row's part of trace((W - W_hat) H (W - W_hat)^T).
///
/// Rows with as many planes make up a matrix of their own: one matrix has as many planes in all rows.
///
/// @param w     [N x K] real matrix: tern's or Eigen's
/// @param h     of the layer's inputs, K
/// @param most  1 to 5
/// @param ex    who works; the result does not depend on it
/// Cost:   `most` decompositions and 2 N K^2 products each.
/// Errors: range_error for planes outside 1 .. 5 or shared scales; those of decompose and output_distortion.
template <real_matrix W, executor Executor = serial_executor>
std::vector<std::vector<precision>> plane_curves(const W& w, const hessian& h, std::size_t most,
                                                 const plane_curve_options& options = {}, const Executor& ex = {}) {
  if (most == 0 || most > detail::most_joint_planes)
    detail::fail<range_error>({"plane_curves: 1 to ", detail::most_joint_planes, " planes, not ", most});
  if (options.granularity.rows_share())
    detail::fail<range_error>({"plane_curves: scales are per channel or per group, not shared by rows"});
  decltype(auto) rows = detail::float_rows(w);
  const matrix_view<const float> view = rows;
  detail::check_hessian("plane_curves", h, view.cols());
  std::vector<float> importance;
  if (options.weighted && view.cols() != 0) importance = tern::importances(h);
  std::vector<std::vector<precision>> curves(view.rows());
  for (std::size_t planes = 1; planes <= most; ++planes) {
    const auto q = tern::decompose(view,
                                   {.planes = planes,
                                    .granularity = options.granularity,
                                    .method = decompose_method::alternating,
                                    .importance = importance},
                                   ex);
    const auto noise = tern::output_distortion(view, tern::dequantize(q), h, ex).row_noise;
    const double scale_bits = detail::mul_rn(options.bits_per_scale, static_cast<double>(q.groups()));
    const double row_bits = std::fma(options.bits_per_trit, static_cast<double>(q.cols), scale_bits);
    const double bits = detail::mul_rn(static_cast<double>(planes), row_bits);
    for (std::size_t n = 0; n < curves.size(); ++n) curves[n].push_back({bits, noise[n]});
  }
  return curves;
}

/// The curve of a layer whose rows have as many planes: the sum of its rows' curves, which have as many points.
/// Errors: shape_error when they have not.
inline std::vector<precision> layer_curve(std::span<const std::vector<precision>> rows) {
  std::vector<precision> sum(rows.empty() ? 0 : rows[0].size());
  for (const auto& row : rows) {
    if (row.size() != sum.size())
      detail::fail<shape_error>({"layer_curve: curves of ", row.size(), " and of ", sum.size(), " points"});
    for (std::size_t p = 0; p < sum.size(); ++p) sum[p].bits += row[p].bits, sum[p].error += row[p].error;
  }
  return sum;
}

}  // namespace tern::inline v0_1::inline TERN_TU
