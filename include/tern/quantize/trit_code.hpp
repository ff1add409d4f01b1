// SPDX-License-Identifier: MIT
/// Weights to integer plane codes: one step for each slice, W ~ d q, q a level of the code (see type/trit_code.hpp).
#pragma once

#include <tern/quantize/levels.hpp>
#include <tern/quantize/step.hpp>
#include <tern/quantize/weights.hpp>
#include <tern/type/trit_code.hpp>

namespace tern::inline v0_1 {

struct trit_code_options {
  std::size_t planes = 2;  ///< 2 or 3
  tern::granularity granularity = per_channel;
  /// The code to use, which then decides the planes too. Left out: the one of trit_codes_of_2 or _3 with the least
  /// error.
  trit_code code{};
  /// Of each input, [K], finite and above 0: minimises sum_k h_k (w_k - d q_k)^2. The mean squares of activations are
  /// usual, see importances() in hessian.hpp. Empty for equal ones.
  std::span<const float> importance = {};
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

inline std::span<const trit_code> candidate_codes(const trit_code_options& o) {
  if (o.code != trit_code{}) {
    if (!o.code.valid())
      fail<range_error>({"quantize_trit_code: (", int{o.code.c[0]}, ", ", int{o.code.c[1]}, ", ", int{o.code.c[2]},
                         ") is no code: it must descend, with levels that differ and are at most 31"});
    return {&o.code, 1};
  }
  if (o.planes != 2 && o.planes != 3)
    fail<range_error>({"quantize_trit_code: codes have 2 or 3 planes, not ", o.planes});
  return o.planes == 2 ? std::span<const trit_code>(trit_codes_of_2) : std::span<const trit_code>(trit_codes_of_3);
}

/// The steps of a slice, one for each candidate, and what each leaves of the error.
struct slice_steps {
  fitted_step of[4];
};

/// The levels d q. Halves of integers times a float are exact in double.
inline nearest_level<std::int8_t> code_levels(const integer_levels& levels, float d) {
  nearest_level<std::int8_t> nearest;
  nearest.insert(0, std::int8_t{0});
  for (std::size_t i = 0; i < levels.count; ++i)
    for (const std::int32_t q : {-levels.q[i], levels.q[i]})
      nearest.insert(static_cast<double>(d) * q, static_cast<std::int8_t>(q));
  nearest.finish();
  return nearest;
}

/// q = the nearest level, the lower one where two are as near.
inline void assign_levels(matrix_view<const float> w, const integer_levels& levels, float d,
                          matrix_view<std::int8_t> codes) {
  const nearest_level<std::int8_t> nearest = code_levels(levels, d);
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) codes(n, k) = nearest(static_cast<double>(w(n, k)));
}

template <executor Executor, progress_callback Progress>
quantized_trit_code quantize_trit_code_rows(matrix_view<const float> w, const trit_code_options& o, const Executor& ex,
                                            Progress& progress) {
  const std::span<const trit_code> candidates = candidate_codes(o);
  check_finite("quantize_trit_code", w);
  check_importances("quantize_trit_code", o.importance, w.cols());
  std::vector<integer_levels> levels;
  for (const trit_code& code : candidates) {
    const std::int32_t c[] = {code.c[0], code.c[1], code.c[2]};
    levels.emplace_back(c, code.planes());
  }
  quantized_trit_code q{quantized_matrix(1, w.rows(), w.cols(), o.granularity), {}};
  const quantized_matrix& shape = q;
  std::vector<slice_steps> steps(q.scales.size());
  progress_meter<Progress> meter(progress, steps.size());
  for_each_slice_with<sorted_magnitudes>(
      shape, ex, meter,
      [&](sorted_magnitudes& sorted, std::size_t s, std::size_t row, std::size_t group) {
        const slice here = slice_of(shape, w, row, group);
        sorted.assign(here.w, o.importance, here.first_input);
        for (std::size_t i = 0; i < levels.size(); ++i) steps[s].of[i] = best_step(sorted, levels[i]);
      },
      slice_size(shape), !o.importance.empty());
  meter.stop_if_cancelled("quantize_trit_code");

  std::size_t best = 0;
  double best_gain = -1;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    double gain = 0;  // ||W||^2, weighted, less the error
    for (const slice_steps& s : steps) gain += s.of[i].gain;
    if (gain > best_gain) best = i, best_gain = gain;
  }
  q.code = candidates[best];
  for_each_slice(shape, ex, [&](std::size_t s, std::size_t row, std::size_t group) {
    const auto d = static_cast<float>(steps[s].of[best].d);
    q.scales[s] = d;
    if (d != 0.0f) assign_levels(slice_of(shape, w, row, group).w, levels[best], d, codes_of(q, 0, row, group));
  });
  check_levels_of("quantize_trit_code", q);
  meter.finish("quantize_trit_code");
  return q;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// Quantises weights to an integer plane code: one code for the matrix, one step for each slice.
///
///     W(n,k) ~ d(n, k's group) q(n,k),   q = sum_p c_p t_p
///
/// For each candidate code and each slice the step is the best of a scan, taken to its fixed point d = <w,q> / <q,q>;
/// the code with the least error over the matrix stays.
///
///     tern::quantize_trit_code(w, {.planes = 2});                           // one of (3,2) (7,5) (4,3) (3,1)
///     tern::quantize_trit_code(w, {.code = {{9, 5, 3}}});
///
/// @param w         [N x K] real matrix: tern's or Eigen's
/// @param options   planes or code, and what shares a step
/// @param ex        who works on the slices; the result does not depend on it
/// @param progress  told (done, total) in slices, may cancel: see progress_callback
/// @return codes: the combined levels, in int8; scales: the steps, 0 for a slice of zeros
///
/// Exactness: the same on every machine.
/// Cost:      for each candidate some 30 passes of O(levels log n) over a slice of n weights.
/// Errors:    range_error when planes is neither 2 nor 3, when the given code is not valid, naming row and column of a
///            NaN or infinity, or of a weight whose level is beyond float, or an importance that is not above 0; shape_error for importances of another number;
///            cancelled_error when progress returned false.
template <real_matrix M, executor Executor = serial_executor, progress_callback Progress = no_progress>
quantized_trit_code quantize_trit_code(const M& w, const trit_code_options& options = {}, const Executor& ex = {},
                                       Progress progress = {}) {
  decltype(auto) rows = detail::float_rows(w);
  return detail::quantize_trit_code_rows(matrix_view<const float>(rows), options, ex, progress);
}

}  // namespace tern::inline v0_1::inline TERN_TU
