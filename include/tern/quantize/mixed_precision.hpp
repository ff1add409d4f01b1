// SPDX-License-Identifier: MIT
/// Mixed precision: how many planes each layer, or each row, gets out of one budget of bits, by measured errors.
///
///     std::vector<std::vector<tern::precision>> curves;
///     for (const auto& [w, h] : layers) curves.push_back(tern::layer_curve(tern::plane_curves(w, h, 4)));
///     const auto chosen = tern::choose_precision(curves, 2.5 * weights_in_all);     // chosen[i] + 1 planes for layer i
///
/// Errors of layers, and of rows, must mean the same to the model. As energies, or relative to a layer's outputs, they
/// do not. All 36 maps of all-MiniLM-L6-v2 by one to three planes, rotated and with error feedback, one budget for all
/// of them; errors measured on 336 sentences, mean cosine of 588 others' embeddings to those of float weights:
///
///     bits a weight                                                    2.60     3.41     4.20
///     all layers alike                                                        0.9727
///     by layers, energies of the outputs' errors                     0.8756   0.9376   0.9739
///                relative to the energies of the outputs             0.8955   0.9511   0.9807
///                what they do to the embedding, see below            0.9295   0.9773   0.9909
///     by rows,   energies of the outputs' errors, each layer 3.41             0.9717
///                mean squared gradients times these energies         0.9290   0.9746   0.9913
///                what they do to the embedding, row by row           0.9393   0.9803   0.9922
///     by blocks of 16 rows, the same                                 0.9368   0.9802   0.9922
///
/// What the error dW of a row does to the embedding e is, to first order, the mean over sentences of
/// (dW . d(v.e)/dW)^2 for random v: one backward pass a sentence, in whatever trained the model. It goes into
/// precision::error; what is known of outputs alone, such as the mean square of their gradients, into
/// plane_curve_options::output_importance.
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
  /// What an error of each output costs, [N], factors of the rows' errors. Empty: all alike.
  std::span<const float> output_importance = {};
};

/// Rows of a layer that get as many planes, and what these cost them together.
struct row_block {
  std::vector<std::size_t> rows;  ///< in the order of their errors
  std::vector<precision> curve;

  TERN_INLINE row_block() = default;
  TERN_INLINE_COPIES(row_block);
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

/// Indices of rows by descending error at their first points; equal ones ascend. A merge sort, from runs of one up.
inline std::vector<std::size_t> descending_errors(std::span<const std::vector<precision>> rows) {
  std::vector<std::size_t> order(rows.size()), merged(rows.size());
  for (std::size_t n = 0; n < rows.size(); ++n) order[n] = n;
  for (std::size_t run = 1; run < rows.size(); run *= 2) {
    for (std::size_t begin = 0; begin < rows.size(); begin += 2 * run) {
      const std::size_t middle = lesser(begin + run, rows.size()), end = lesser(begin + 2 * run, rows.size());
      std::size_t a = begin, b = middle;
      for (std::size_t i = begin; i < end; ++i) {
        const bool take_b = a == middle || (b < end && rows[order[b]][0].error > rows[order[a]][0].error);
        merged[i] = take_b ? order[b++] : order[a++];
      }
    }
    std::swap(order, merged);
  }
  return order;
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
/// Rows with as many planes make up a part of a mixed_linear: row_blocks and rows_of_points find them.
///
/// @param w     [N x K] real matrix: tern's or Eigen's
/// @param h     of the layer's inputs, K
/// @param most  1 to 5
/// @param ex    who works; the result does not depend on it
/// Cost:   `most` decompositions and 2 N K^2 products each.
/// Errors: range_error for planes outside 1 .. 5, shared scales, or importances that are negative or not finite;
///         shape_error for importances that are not one for each row; those of decompose and output_distortion.
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
  const std::span<const float> factors = options.output_importance;
  if (!factors.empty() && factors.size() != view.rows())
    detail::fail<shape_error>({"plane_curves: ", factors.size(), " importances for ", view.rows(), " outputs"});
  for (std::size_t n = 0; n < factors.size(); ++n)
    if (!(factors[n] >= 0.0f && factors[n] <= std::numeric_limits<float>::max()))
      detail::fail<range_error>({"plane_curves: the importance of output ", n, " is not finite and at least 0"});
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
    for (std::size_t n = 0; n < curves.size(); ++n)
      curves[n].push_back(
          {bits, factors.empty() ? noise[n] : detail::mul_rn(static_cast<double>(factors[n]), noise[n])});
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

/// Blocks of a layer's rows to be chosen for together, since packed matrices are padded to panels of 16 rows: those
/// with the largest errors at the first point are the first block, and so on. Rows of one block are worth about as many
/// bits, so blocks come close to rows.
///
/// @param rows  for each row its points, as many in all rows
/// @param size  rows of a block; the last may have fewer
/// Errors: shape_error for rows without points or with other numbers of points; range_error for blocks of no rows.
inline std::vector<row_block> row_blocks(std::span<const std::vector<precision>> rows, std::size_t size = panel_rows) {
  if (size == 0) detail::fail<range_error>({"row_blocks: blocks of 0 rows"});
  for (std::size_t n = 0; n < rows.size(); ++n)
    if (rows[n].empty() || rows[n].size() != rows[0].size())
      detail::fail<shape_error>(
          {"row_blocks: row ", n, " has ", rows[n].size(), " points, the first one ", rows[0].size()});
  const std::vector<std::size_t> order = detail::descending_errors(rows);
  std::vector<row_block> blocks;
  for (std::size_t begin = 0; begin < order.size(); begin += size) {
    row_block& block = blocks.emplace_back();
    block.curve.resize(rows[0].size());
    for (std::size_t i = begin; i < order.size() && i - begin < size; ++i) {
      block.rows.push_back(order[i]);
      for (std::size_t p = 0; p < block.curve.size(); ++p) {
        block.curve[p].bits += rows[order[i]][p].bits;
        block.curve[p].error += rows[order[i]][p].error;
      }
    }
  }
  return blocks;
}

/// The rows of a layer for which each point was chosen, ascending: the outputs of a mixed_linear's parts.
///
/// @param blocks  of one layer
/// @param chosen  for each block the index of its point, as choose_precision gives it
/// @return for each point of the curves, of which all blocks have as many, its rows, or none
/// Errors: shape_error for other numbers of blocks and choices, or blocks that do not have each row once; range_error for a
///         choice that is no point.
inline std::vector<std::vector<std::size_t>> rows_of_points(std::span<const row_block> blocks,
                                                            std::span<const std::size_t> chosen) {
  if (blocks.size() != chosen.size())
    detail::fail<shape_error>({"rows_of_points: ", chosen.size(), " choices for ", blocks.size(), " blocks"});
  std::size_t count = 0;
  for (const row_block& block : blocks) count += block.rows.size();
  std::vector<std::size_t> point_of(count);
  std::vector<bool> seen(count);
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    if (chosen[b] >= blocks[b].curve.size())
      detail::fail<range_error>({"rows_of_points: point ", chosen[b], " of ", blocks[b].curve.size()});
    for (const std::size_t n : blocks[b].rows) {
      if (n >= count) detail::fail<shape_error>({"rows_of_points: row ", n, " of ", count});
      if (seen[n]) detail::fail<shape_error>({"rows_of_points: row ", n, " is in two blocks"});
      seen[n] = true;
      point_of[n] = chosen[b];
    }
  }
  std::vector<std::vector<std::size_t>> rows(blocks.empty() ? 0 : blocks[0].curve.size());
  for (std::size_t n = 0; n < count; ++n) {
    if (point_of[n] >= rows.size())
      detail::fail<shape_error>({"rows_of_points: blocks of ", rows.size(), " points and of more"});
    rows[point_of[n]].push_back(n);
  }
  return rows;
}

/// Some rows of a matrix, in the order given: [rows.size() x K].
/// Errors: shape_error for a row that W does not have.
template <real_matrix W>
matrix<float> take_rows(const W& w, std::span<const std::size_t> rows) {
  decltype(auto) all = detail::float_rows(w);
  const matrix_view<const float> view = all;
  matrix<float> taken(rows.size(), view.cols());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] >= view.rows()) detail::fail<shape_error>({"take_rows: row ", rows[i], " of ", view.rows()});
    for (std::size_t k = 0; k < view.cols(); ++k) taken(i, k) = view(rows[i], k);
  }
  return taken;
}

}  // namespace tern::inline v0_1::inline TERN_TU
