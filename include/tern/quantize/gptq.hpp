// SPDX-License-Identifier: MIT
/// Error feedback (GPTQ, OBQ): weights are quantised input by input, and what each leaves over is made up for by those
/// that are still to come, as far as the Hessian of the activations says that they can.
///
///     tern::hessian seen(w.cols());
///     for (const auto& batch : batches) seen.observe(batch);
///     const auto q = tern::gptq_trit_code(w, seen, {.planes = 2}, {.granularity = tern::per_group(128)}, ex);
///     tern::trit_code_linear layer(q, bias);
///
/// SNR of the outputs in dB on tokens not calibrated with: 48 x 512 Gaussian weights, correlated activations (spectrum
/// 1/i), then the same with four channels twelve times larger; each the mean of two draws.
///
///                                        k = 1          k = 2          k = 3
///     decompose, alternating             7.2    7.0    15.6   15.7    24.9   24.7
///     with importances                   7.2    7.6    15.5   16.8    25.0   26.9
///     gptq_decompose, all inputs alike  10.4   10.5    18.8   19.4    28.1   28.4
///     gptq_decompose                    10.4   10.9    18.8   20.5    28.2   30.2
///     and refit_outputs                 10.4   10.9    18.8   20.5    28.2   30.2
///
/// The first weights of a sweep have the others to make up for them: more than half a plane, for nothing but time.
/// In groups of 128, scales that are fitted when the sweep reaches the group are 0.1 dB better than those of the
/// original weights (k = 2, 3), and the descending order is 0.1 dB better than the natural one.
///
/// 4096 x 4096 with k = 2 in groups of 128 takes 6 to 9 seconds on two hyperthreads of a Xeon. Not part of tern.hpp.
#pragma once

#include <tern/quantize/coordinate_descent.hpp>
#include <tern/quantize/feedback.hpp>
#include <tern/quantize/rounding.hpp>

namespace tern::inline v0_1 {

/// In which order inputs are quantised. The first have all others to make up for them.
enum class gptq_order : std::uint8_t {
  descending,  ///< of H(k,k); with groups, groups by their sum and inputs within a group
  natural,     ///< as they stand
};

/// Which weights a group's scales are fitted to.
enum class gptq_scales : std::uint8_t {
  fed,     ///< as they are when the sweep reaches the group, errors of all groups before fed into them
  frozen,  ///< the original ones
};

struct gptq_options {
  tern::granularity granularity = per_channel;  ///< what shares a scale: per_channel or per_group(n)
  /// Added to the diagonal of H, in units of its mean. What has not been observed is not to be trusted.
  double damp = 0.01;
  gptq_order order = gptq_order::descending;
  gptq_scales scales = gptq_scales::fed;
  /// Whether scales are fitted with the importances of the inputs, importances(h), or all inputs alike.
  bool weighted = true;
  /// Sweeps of coordinate descent over the codes of a row that follow (coordinate_descent.hpp), at most: they end where
  /// no code changes.
  std::size_t sweeps = 0;
};

/// How scales of integer codes are found.
enum class int_clip : std::uint8_t { mse, absmax };

struct gptq_int_options {
  unsigned bits = 4;  ///< 2 to 8
  int_clip clip = int_clip::mse;
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

/// The sweep through the places of a factor, in rows of W that know nothing of each other. A strip of rows goes through
/// all blocks of places; what the places above a block feed into it is one dense product.
inline constexpr std::size_t strip_of_rows = 64;

struct place_range {
  std::size_t begin, end;
};

/// Places cut from the top into blocks of whole groups, of 128 places where groups allow it. A group of more is cut
/// too, unless it must be whole.
inline std::vector<place_range> blocks_of(const std::vector<place_range>& groups, bool whole) {
  std::vector<place_range> blocks;
  for (std::size_t g = 0; g < groups.size();) {
    place_range block = groups[g++];
    while (g < groups.size() && block.end - groups[g].begin <= product_cols) block.begin = groups[g++].begin;
    for (std::size_t end = block.end; end > block.begin;) {
      const std::size_t size = whole ? end - block.begin : lesser(product_cols, end - block.begin);
      blocks.push_back({end - size, end});
      end -= size;
    }
  }
  return blocks;
}

/// What one thread sweeps with.
template <class Levels>
struct sweep_scratch {
  Levels levels;
  product_workspace products;
  matrix<float> errors;                 // [strip rows x K], by place
  std::vector<double> sums, continued;  // [strip rows x widest block], [widest group]
  std::vector<float> group;             // [widest group], by input
  std::vector<code_descent> descent;    // one, or none without sweeps of it
};

/// Everything about the inputs that all rows share.
struct sweep_plan {
  const char* what;
  feedback_factor factor;
  std::vector<place_range> blocks;
  std::size_t widest = 0;
  std::vector<float> importance;
  bool fed = false;
  std::size_t sweeps = 0;
  matrix<float> damped = {};  // H, scaled and damped, where there are sweeps of coordinate descent
};

/// Fits the scales of the group that has the places `at`, `sums` being what is fed into them (by place, from `first`).
template <class Levels>
void fit_group(const sweep_plan& plan, sweep_scratch<Levels>& work, const float* w, place_range at, const double* sums,
               std::size_t first, std::size_t first_input, float* scales) {
  const feedback_factor& f = plan.factor;
  if (plan.fed) {
    // Weights that follow what is fed into them without any error of their own feed that on: the best continuation.
    for (std::size_t c = at.begin; c < at.end; ++c) work.continued[c - at.begin] = sums[c - first];
    for (std::size_t c = at.end; c-- > at.begin;) {
      const double fed = work.continued[c - at.begin], error = static_cast<double>(saturated(-fed));
      work.group[f.order[c] - first_input] = saturated(static_cast<double>(w[f.order[c]]) + fed);
      const float* const row = f.m.row(c);
      for (std::size_t j = at.begin; j < c; ++j)
        work.continued[j - at.begin] += error * static_cast<double>(row[j]);  // exact product
    }
  } else {
    for (std::size_t c = at.begin; c < at.end; ++c) work.group[f.order[c] - first_input] = w[f.order[c]];
  }
  work.levels.fit({matrix_view<const float>(work.group.data(), 1, at.end - at.begin), first_input}, plan.importance,
                  scales);
}

/// One row through one block, `sums` being what the places above feed into it.
template <class Levels>
void sweep_row(const sweep_plan& plan, sweep_scratch<Levels>& work, const float* w, std::size_t row, place_range block,
               double* sums, float* errors, quantized_matrix& q) {
  const feedback_factor& f = plan.factor;
  const std::size_t inputs = q.group_inputs();
  std::int8_t codes[most_joint_planes] = {};
  float scales[most_joint_planes] = {};
  std::size_t group = q.groups();  // none
  for (std::size_t c = block.end; c-- > block.begin;) {
    const std::size_t input = f.order[c], its_group = input / inputs;
    if (its_group != group) {
      group = its_group;
      const std::size_t size = lesser(inputs, q.cols - group * inputs);
      const bool begins = c + 1 == f.order.size() || f.order[c + 1] / inputs != group;
      if (begins) {
        const std::size_t low = c + 1 - size;
        fit_group(plan, work, w, {low, c + 1}, sums, block.begin, group * inputs, scales);
        for (std::size_t p = 0; p < q.planes; ++p) q.scales[q.scale_index(p, row, group)] = scales[p];
      } else {
        for (std::size_t p = 0; p < q.planes; ++p) scales[p] = q.scales[q.scale_index(p, row, group)];
      }
      work.levels.use(scales);
    }
    const double weight = static_cast<double>(w[input]);
    const double value = work.levels.round(weight + sums[c - block.begin], codes);
    for (std::size_t p = 0; p < q.planes; ++p) q.code_row(p, row)[input] = codes[p];
    errors[c] = saturated(weight - value);
    const double error = static_cast<double>(errors[c]);
    const float* const from = f.m.row(c) + block.begin;
    for (std::size_t j = 0; j < c - block.begin; ++j) sums[j] += error * static_cast<double>(from[j]);  // exact product
  }
}

/// Sweeps all rows of w into q, whose codes and scales are written in full.
template <class Levels, executor Executor, class Progress>
void sweep_rows(const sweep_plan& plan, matrix_view<const float> w, std::vector<sweep_scratch<Levels>>& scratch,
                const Executor& ex, progress_meter<Progress>& meter, quantized_matrix& q) {
  const std::size_t count = w.cols();
  for_each_part(ceil_div(w.rows(), strip_of_rows), ex, [&](std::size_t part, std::size_t begin, std::size_t end) {
    sweep_scratch<Levels>& work = scratch[part];
    for (std::size_t strip = begin; strip < end; ++strip) {
      const std::size_t first = strip * strip_of_rows, rows = lesser(strip_of_rows, w.rows() - first);
      for (const place_range block : plan.blocks) {
        if (meter.cancelled()) return;
        const std::size_t width = block.end - block.begin;
        for (std::size_t i = 0; i < rows * width; ++i) work.sums[i] = 0;
        for (std::size_t c = 0; c < width; c += product_cols)
          work.products.add(
              work.sums.data() + c, width, rows, lesser(product_cols, width - c), count - block.end,
              [&](std::size_t n, std::size_t k) { return work.errors(n, count - 1 - k); },
              [&](std::size_t k, std::size_t j) { return plan.factor.m(count - 1 - k, block.begin + c + j); });
        for (std::size_t n = 0; n < rows; ++n)
          sweep_row(plan, work, w.row(first + n), first + n, block, work.sums.data() + n * width, work.errors.row(n),
                    q);
      }
      for (code_descent& descent : work.descent) descent.run(work.levels, q, w, plan.damped, first, rows, plan.sweeps);
      meter.add_one();
    }
  });
}

/// Errors: range_error naming a weight whose level is beyond float: what was fed into weights of 2^127 led there.
inline void check_levels(const char* what, const quantized_matrix& q) {
  // Five planes of codes of 8 bits stay below 2^128 with scales of 2^118.
  for (const float scale : q.scales)
    if (std::fabs(scale) > 0x1p118f) {
      for (std::size_t n = 0; n < q.rows; ++n)
        for (std::size_t k = 0; k < q.cols; ++k) {
          double value = 0;
          for (std::size_t p = 0; p < q.planes; ++p)
            value = std::fma(static_cast<double>(q.scale(p, n, k / q.group_inputs())), q.code_row(p, n)[k], value);
          if (std::fabs(value) > static_cast<double>(std::numeric_limits<float>::max()))
            fail<range_error>({what, ": the level of row ", n, ", column ", k, " is beyond float"});
        }
      return;
    }
}

/// The order of the sweep and what it means for groups: places, and the range of each group from the top.
struct sweep_order {
  std::vector<std::size_t> places;
  std::vector<place_range> groups;
};

inline sweep_order order_places(const hessian& h, std::size_t group_inputs, bool descending) {
  const std::size_t count = h.inputs(), groups = ceil_div(count, group_inputs);
  sweep_order order;
  // Without an order of their own all are equal, and equal ones are swept as they stand.
  std::vector<double> of_groups(groups);
  for (std::size_t k = 0; descending && k < count; ++k) of_groups[k / group_inputs] += h(k, k);
  for (const std::size_t g : ascending_places(of_groups)) {
    const std::size_t first = g * group_inputs, size = lesser(group_inputs, count - first);
    std::vector<double> of_inputs(size);
    for (std::size_t k = 0; descending && k < size; ++k) of_inputs[k] = h(first + k, first + k);
    const std::size_t begin = order.places.size();
    for (const std::size_t k : ascending_places(of_inputs)) order.places.push_back(first + k);
    order.groups.insert(order.groups.begin(), {begin, begin + size});
  }
  return order;
}

/// What feed_errors counts for its callback: panels of the factorisation and strips of rows.
inline std::size_t feedback_slices(matrix_view<const float> w) {
  return ceil_div(w.cols(), product_cols) + ceil_div(w.rows(), strip_of_rows);
}

/// w as levels that `make_levels(most)` makes, by error feedback.
template <executor Executor, progress_callback Progress, class MakeLevels>
quantized_matrix feed_errors(const char* what, matrix_view<const float> w, const hessian& h, std::size_t planes,
                             const gptq_options& o, const Executor& ex, Progress& progress, MakeLevels make_levels) {
  if (o.granularity.rows_share())
    fail<range_error>({what, ": scales are per channel or per group; rows that share one cannot be swept one by one"});
  if (!(o.damp >= 0 && o.damp <= std::numeric_limits<double>::max()))
    fail<range_error>({what, ": damp ", static_cast<float>(o.damp), " is not finite and at least 0"});
  check_hessian(what, h, w.cols());
  check_finite(what, w);
  quantized_matrix q(planes, w.rows(), w.cols(), o.granularity);
  const std::size_t strips = ceil_div(w.rows(), strip_of_rows), count = w.cols();
  progress_meter<Progress> meter(progress, feedback_slices(w));
  if (count != 0) {
    double trace = 0;
    for (std::size_t k = 0; k < count; ++k) trace += h(k, k);
    const std::size_t group = lesser(q.group_inputs(), count);
    sweep_order order = order_places(h, group, o.order == gptq_order::descending);
    sweep_plan plan{what, {}, {}, 0, {}, o.scales == gptq_scales::fed && group < count};
    plan.blocks = blocks_of(order.groups, plan.fed);
    for (const place_range block : plan.blocks) plan.widest = greater(plan.widest, block.end - block.begin);
    const double damp = mul_rn(o.damp, trace / static_cast<double>(count));  // added to sums: not to be contracted
    plan.factor = factor_hessian(what, h, std::move(order.places), damp, ex, meter);
    if (o.weighted) plan.importance = tern::importances(h);
    if (o.sweeps != 0) {
      const double unit = float_unit(h);
      plan.sweeps = o.sweeps;
      plan.damped = matrix<float>(count, count);
      for (std::size_t i = 0; i < count; ++i)
        for (std::size_t j = 0; j < count; ++j) plan.damped(i, j) = saturated((h(i, j) + (i == j ? damp : 0.0)) * unit);
    }
    using levels_type = decltype(make_levels(group));
    std::vector<sweep_scratch<levels_type>> scratch;
    for (std::size_t i = 0; i < part_count(strips, ex); ++i)
      scratch.push_back({make_levels(group),
                         product_workspace(),
                         matrix<float>(strip_of_rows, count),
                         std::vector<double>(strip_of_rows * plan.widest),
                         std::vector<double>(group),
                         std::vector<float>(group),
                         {}});
    if (o.sweeps != 0)
      for (auto& each : scratch) each.descent.emplace_back(strip_of_rows, count);
    sweep_rows(plan, w, scratch, ex, meter, q);
    meter.stop_if_cancelled(what);
    check_levels(what, q);
  }
  meter.finish(what);
  return q;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// Quantises weights to ternary planes with free gammas by error feedback.
///
///     W(n,k) ~ sum_p gamma_p t_p(n,k),   making trace((W - W_hat) H (W - W_hat)^T) small
///
/// A group's gammas are the alternating optimum of decompose(), for its weights as the sweep finds them; then each
/// weight takes the nearest level of w + what the errors before it feed into it (feedback.hpp).
///
/// @param w         [N x K] real matrix: tern's or Eigen's
/// @param h         of the layer's inputs, K
/// @param planes    1 to 5; with one plane gamma is the exact optimum of ternary_optimum
/// @param options   what shares gammas, damping, order, which weights scales are fitted to
/// @param ex        who works; the result does not depend on it
/// @param progress  told (done, total) in panels of the factorisation and strips of 64 rows, may cancel
/// Exactness: the same bits on every machine: no operation but sums in double of exact products, in one order.
/// Cost:      K^3 / 6 + N K^2 / 2 products and the fits of decompose(); 4 K^2 bytes. Sweeps of coordinate descent: N K^2
///            products, K for each code that changes, and 4 K^2 bytes.
/// Errors:    shape_error when h is not of K inputs; range_error for a Hessian that has seen nothing, that is not
///            positive definite with this damping, for scales per tensor or input, planes outside 1 .. 5, a damp that
///            is negative or not finite, or naming row and column of a NaN or infinity, or of a weight near the largest
///            float whose level would be beyond; cancelled_error when progress returned false.
/// Source:    E. Frantar et al., "GPTQ", arXiv:2210.17323; E. Frantar and D. Alistarh, "Optimal Brain Compression",
///            arXiv:2208.11580.
template <real_matrix M, executor Executor = serial_executor, progress_callback Progress = no_progress>
quantized_matrix gptq_decompose(const M& w, const hessian& h, std::size_t planes, const gptq_options& options = {},
                                const Executor& ex = {}, Progress progress = {}) {
  if (planes == 0 || planes > detail::most_joint_planes)
    detail::fail<range_error>({"gptq_decompose: 1 to ", detail::most_joint_planes, " planes, not ", planes});
  decltype(auto) rows = detail::float_rows(w);
  return detail::feed_errors(
      "gptq_decompose", matrix_view<const float>(rows), h, planes, options, ex, progress,
      [&](std::size_t most) { return detail::free_plane_levels(planes, most, options.weighted); });
}

/// The code of gptq_trit_code.
struct gptq_code_options {
  std::size_t planes = 2;  ///< 2 or 3
  /// Left out: the one that quantize_trit_code chooses for these weights, without feedback.
  trit_code code{};
};

/// Quantises weights to an integer plane code by error feedback: one code for the matrix, one step for a row or group.
///
/// @param code  planes, or which code. The rest is as in gptq_decompose; progress counts the slices that a code is chosen
///              by too, if there is a choice.
/// Errors: those of gptq_decompose, and of quantize_trit_code for planes and code.
template <real_matrix M, executor Executor = serial_executor, progress_callback Progress = no_progress>
quantized_trit_code gptq_trit_code(const M& w, const hessian& h, const gptq_code_options& code = {},
                                   const gptq_options& options = {}, const Executor& ex = {}, Progress progress = {}) {
  decltype(auto) rows = detail::float_rows(w);
  const matrix_view<const float> view = rows;
  trit_code_options choice{.planes = code.planes, .granularity = options.granularity, .code = code.code};
  detail::candidate_codes(choice);  // checks
  std::size_t chosen = 0;           // slices of the choice
  const std::size_t swept = detail::feedback_slices(view);
  if (choice.code == trit_code{}) {
    detail::check_hessian("gptq_trit_code", h, view.cols());
    std::vector<float> importance;
    if (options.weighted && view.cols() != 0) importance = tern::importances(h);
    choice.importance = importance;
    const auto choosing = [&](std::size_t done, std::size_t total) {
      chosen = total;
      return progress(done, total + swept);
    };
    choice.code = tern::quantize_trit_code(view, choice, ex, choosing).code;
    choice.importance = {};
  }
  auto sweeping = [&](std::size_t done, std::size_t total) { return progress(chosen + done, chosen + total); };
  return {detail::feed_errors(
              "gptq_trit_code", view, h, 1, options, ex, sweeping,
              [&](std::size_t most) { return detail::trit_code_levels(choice.code, most, options.weighted); }),
          choice.code};
}

/// Quantises weights to symmetric integer codes by error feedback: classic GPTQ.
///
/// @param bits  2 to 8, and how scales are found: by the clip of least squared error, or by the largest magnitude.
///              The rest is as in gptq_decompose.
/// Errors: those of gptq_decompose; range_error for bits outside 2 .. 8.
template <real_matrix M, executor Executor = serial_executor, progress_callback Progress = no_progress>
quantized_matrix gptq_int(const M& w, const hessian& h, const gptq_int_options& bits = {},
                          const gptq_options& options = {}, const Executor& ex = {}, Progress progress = {}) {
  detail::check_bits("gptq_int", bits.bits, 8);
  decltype(auto) rows = detail::float_rows(w);
  return detail::feed_errors(
      "gptq_int", matrix_view<const float>(rows), h, 1, options, ex, progress,
      [&](std::size_t most) { return detail::int_levels(bits.bits, bits.clip == int_clip::mse, most); });
}

}  // namespace tern::inline v0_1::inline TERN_TU
