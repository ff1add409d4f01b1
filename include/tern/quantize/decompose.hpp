// SPDX-License-Identifier: MIT
/// Multi-ternary decomposition: W ~ sum_p gamma_p T_p with T_p in {-1, 0, +1}.
#pragma once

#include <tern/quantize/distortion.hpp>
#include <tern/quantize/levels.hpp>
#include <tern/quantize/starts.hpp>

namespace tern::inline v0_1 {

/// How decompose() finds its planes. SNR in dB of Gaussian weights with two and with three planes, a gamma per row:
enum class decompose_method : std::uint8_t {
  greedy,        ///< each plane quantises what the planes before it left over                      9.5  11.6 (absmean)
  greedy_refit,  ///< the same, and then the best gammas for those planes together                  10.8  13.1 (absmean)
  alternating,   ///< best trits for the gammas and best gammas for the trits in turn, to the end   15.4  24.3
  balanced,      ///< gammas d 3^(planes - 1), ..., 3 d, d: 3^planes equidistant levels             15.2  23.4
};

/// The rule of greedy planes: absmean, twn, ternary_absmax, ternary_optimum.
enum class base_rule : std::uint8_t { absmean, twn, absmax, optimum };

/// Where decompose_method::alternating starts. It ends in a local optimum, and this decides in which.
enum class decompose_start : std::uint8_t {
  multistart,  ///< from several integer plane codes and from greedy planes; the best end of each slice
  base,        ///< from the greedy planes of the base rule, refitted
  balanced,    ///< from the balanced planes
};

struct decompose_options {
  std::size_t planes = 2;  ///< at least 1; at most 5 but for greedy
  tern::granularity granularity = per_channel;
  decompose_method method = decompose_method::greedy;
  base_rule base = base_rule::absmean;
  decompose_start start = decompose_start::multistart;
  /// Take the fewest planes, up to `planes`, that reach this SNR over the whole matrix.
  double target_snr_db = std::numeric_limits<double>::infinity();
  /// Of each input, [K], finite and above 0: minimises sum_k h_k (w_k - w_hat_k)^2. The mean squares of activations are
  /// usual, see importances() in hessian.hpp. For alternating and balanced; greedy planes take them from their rule,
  /// ternary_optimum{h}. Empty for equal ones.
  std::span<const float> importance = {};
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

/// 10^x for |x| <= 300 by a fixed sequence of roundings, since the pow of one machine is not that of another.
///
/// 10^x = 2^n e^r with n = rint(x log2 10), |r| <= ln 2 / 2 = 0.347; the Taylor series of e^r to r^16 is good to 1e-22,
/// the roundings of r to 1e-13.
inline double power_of_ten(double x) {
  const double n = std::rint(x * 3.321928094887362);                              // log2 10
  double r = std::fma(x, 2.302585092994046, n * -0.6931471805599453), power = 1;  // ln 10, ln 2
  for (int i = 16; i > 0; --i) power = std::fma(r / i, power, 1.0);
  for (double i = 0; i < n; ++i) power *= 2;
  for (double i = 0; i > n; --i) power /= 2;
  return power;
}

inline rule_reference rule_named(base_rule base) {
  static constexpr tern::absmean absmean{};
  static constexpr tern::twn twn{};
  static constexpr tern::ternary_absmax absmax{};
  static constexpr tern::ternary_optimum optimum{};
  switch (base) {
    case base_rule::absmean:
      return rule_reference::to(absmean);
    case base_rule::twn:
      return rule_reference::to(twn);
    case base_rule::absmax:
      return rule_reference::to(absmax);
    case base_rule::optimum:
      return rule_reference::to(optimum);
  }
  fail<range_error>({"decompose: no base rule has the number ", static_cast<int>(base)});
}

/// Errors: range_error for what no matrix could be decomposed with.
inline void check_options(const decompose_options& o) {
  if (o.planes == 0) fail<range_error>({"decompose: planes must be at least 1"});
  if (o.method != decompose_method::greedy && o.planes > most_joint_planes)
    fail<range_error>({"decompose: at most ", most_joint_planes, " planes can be fitted together, not ", o.planes});
  if (!(o.target_snr_db >= -3000) || (o.target_snr_db > 3000 && o.target_snr_db <= std::numeric_limits<double>::max()))
    fail<range_error>({"decompose: a target of ", static_cast<float>(o.target_snr_db), " dB is not an SNR"});
  if (!o.importance.empty() && o.method != decompose_method::alternating && o.method != decompose_method::balanced)
    fail<range_error>({"decompose: importances are for joint fits; greedy planes take them from ternary_optimum{h}"});
}

/// Where a slice of q goes: the codes of its planes. Of at most `most_joint_planes` planes.
struct plane_slices {
  matrix_view<std::int8_t> trits[most_joint_planes];

  plane_slices(quantized_matrix& q, std::size_t row, std::size_t group) {
    for (std::size_t p = 0; p < q.planes; ++p) trits[p] = codes_of(q, p, row, group);
  }
};

struct greedy_workspace {
  std::vector<float> residual, gamma;
  std::vector<matrix_view<std::int8_t>> trits;

  greedy_workspace(std::size_t planes, std::size_t most) : residual(most), gamma(planes), trits(planes) {}
};

/// Greedy planes, and with Refit the best gammas for them.
template <bool Refit, executor Executor, class Progress>
void decompose_greedily(quantized_matrix& q, matrix_view<const float> w, rule_reference rule, const Executor& ex,
                        progress_meter<Progress>& meter) {
  for_each_slice_with<greedy_workspace>(
      q, ex, meter,
      [&](greedy_workspace& work, std::size_t, std::size_t row, std::size_t group) {
        const slice s = slice_of(q, w, row, group);
        for (std::size_t p = 0; p < q.planes; ++p) work.trits[p] = codes_of(q, p, row, group);
        greedy_planes(s, rule, q.planes, work.residual, work.trits.data(), work.gamma.data());
        if constexpr (Refit) {
          const fitted_gammas fitted = refit(s.w, work.trits.data(), q.planes, work.gamma.data());
          for (std::size_t p = 0; p < q.planes; ++p) work.gamma[p] = static_cast<float>(fitted.gamma[p]);
        }
        for (std::size_t p = 0; p < q.planes; ++p) q.scales[q.scale_index(p, row, group)] = work.gamma[p];
      },
      q.planes, slice_size(q));
}

inline constexpr std::int32_t balanced_code[most_joint_planes] = {81, 27, 9, 3, 1};
inline const std::int32_t* balanced_code_of(std::size_t planes) { return balanced_code + most_joint_planes - planes; }

/// Balanced ternary: code = clamp(rint(w / d), -M, M), M = (3^planes - 1) / 2; the trits are the digits of code + M
/// less 1.
template <executor Executor, class Progress>
void decompose_balanced(quantized_matrix& q, matrix_view<const float> w, std::span<const float> importance,
                        const Executor& ex, progress_meter<Progress>& meter) {
  const std::int32_t* code = balanced_code_of(q.planes);
  const integer_levels levels(code, q.planes);
  for_each_slice_with<sorted_magnitudes>(
      q, ex, meter,
      [&](sorted_magnitudes& sorted, std::size_t, std::size_t row, std::size_t group) {
        const slice s = slice_of(q, w, row, group);
        sorted.assign(s.w, importance, s.first_input);
        const auto d = static_cast<float>(best_step(sorted, levels).d);
        if (d == 0.0f) return;
        const plane_slices out(q, row, group);
        for (std::size_t p = 0; p < q.planes; ++p)
          q.scales[q.scale_index(p, row, group)] = d * static_cast<float>(code[p]);
        for (std::size_t n = 0; n < s.w.rows(); ++n)
          for (std::size_t k = 0; k < s.w.cols(); ++k) {
            std::int32_t rest = round_code(s.w(n, k), d, levels.largest()) + levels.largest();
            for (std::size_t p = q.planes; p-- > 0; rest /= 3)
              out.trits[p](n, k) = static_cast<std::int8_t>(rest % 3 - 1);
          }
      },
      slice_size(q), !importance.empty());
}

/// Gammas that are positive and descend: the same levels.
inline void sort_gammas(plane_values& gamma, std::size_t planes) {
  for (std::size_t i = 0; i < planes; ++i) {
    const double here = std::fabs(gamma[i]);
    std::size_t at = i;
    for (; at > 0 && gamma[at - 1] < here; --at) gamma[at] = gamma[at - 1];
    gamma[at] = here;
  }
}

/// The best gammas for the slice that the fitter was assigned, descending.
inline plane_values fit_planes(plane_fitter& fitter, std::size_t planes, rule_reference rule, decompose_start start,
                               const integer_levels& balanced) {
  if (start == decompose_start::multistart) fitter.start_from_codes();
  if (start == decompose_start::multistart) fitter.start_from(rule_named(base_rule::optimum));
  if (start != decompose_start::balanced) fitter.start_from(rule);
  if (start == decompose_start::balanced) {
    plane_values gamma{};
    const double d = best_step(fitter.sorted(), balanced).d;
    for (std::size_t p = 0; p < planes; ++p) gamma[p] = d * balanced_code_of(planes)[p];
    fitter.start_from(gamma);
  }
  plane_values best = fitter.best().gamma;
  sort_gammas(best, planes);
  return best;
}

template <executor Executor, class Progress>
void decompose_alternating(quantized_matrix& q, matrix_view<const float> w, rule_reference rule, decompose_start start,
                           std::span<const float> importance, const Executor& ex, progress_meter<Progress>& meter) {
  const integer_levels balanced(balanced_code_of(q.planes), q.planes);
  for_each_slice_with<plane_fitter>(
      q, ex, meter,
      [&](plane_fitter& fitter, std::size_t, std::size_t row, std::size_t group) {
        const slice s = slice_of(q, w, row, group);
        fitter.assign(s, importance);
        const plane_values best = fit_planes(fitter, q.planes, rule, start, balanced);
        float gamma[most_joint_planes];
        for (std::size_t p = 0; p < q.planes; ++p)
          q.scales[q.scale_index(p, row, group)] = gamma[p] = static_cast<float>(best[p]);
        assign_trits(s.w, gamma, q.planes, plane_slices(q, row, group).trits);
      },
      q.planes, slice_size(q), !importance.empty());
}

template <executor Executor, progress_callback Progress>
quantized_matrix decompose_rows(matrix_view<const float> w, rule_reference rule, const decompose_options& o,
                                const Executor& ex, Progress& progress) {
  check_finite("decompose", w);
  check_importances("decompose", o.importance, w.cols());
  const bool early = o.target_snr_db <= std::numeric_limits<double>::max();
  const double enough = early ? power_of_ten(-o.target_snr_db / 20) : 0;
  quantized_matrix q(0, w.rows(), w.cols(), o.granularity);  // the shape, without planes
  progress_meter<Progress> meter(progress, q.scale_rows() * q.groups() * (early ? o.planes : 1));
  for (std::size_t planes = early ? 1 : o.planes;; ++planes) {
    q = quantized_matrix(planes, w.rows(), w.cols(), o.granularity);
    switch (o.method) {
      case decompose_method::greedy:
        decompose_greedily<false>(q, w, rule, ex, meter);
        break;
      case decompose_method::greedy_refit:
        decompose_greedily<true>(q, w, rule, ex, meter);
        break;
      case decompose_method::alternating:
        decompose_alternating(q, w, rule, o.start, o.importance, ex, meter);
        break;
      case decompose_method::balanced:
        decompose_balanced(q, w, o.importance, ex, meter);
        break;
    }
    meter.stop_if_cancelled("decompose");
    if (planes == o.planes || tern::distortion(w, tern::dequantize(q)).relative_frobenius <= enough) break;
  }
  check_levels_of("decompose", q);
  meter.finish("decompose");
  return q;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// Decomposes a matrix into ternary planes with free gammas.
///
///     greedy:  R_1 = W;   (T_p, gamma_p) = rule(R_p);   R_(p+1) = R_p - gamma_p T_p
///
/// and the other methods from there: see decompose_method. decompose(w, {.planes = k}) is greedy absmean, BitNet's
/// quantiser applied to residuals; .method = decompose_method::alternating is what to use for quality.
///
/// @param w         [N x K] real matrix: tern's or Eigen's
/// @param rule      a ternary_rule of your own, or ternary_optimum with importances, in place of options.base. It makes the
///                  greedy planes, which refits and alternation begin with; joint fits are weighted by
///                  options.importance
/// @param options   planes, what shares a gamma, method, early stop
/// @param ex        who works on the slices; the result does not depend on it
/// @param progress  told (done, total) in slices, may cancel: see progress_callback. With a target, total counts the
///                  slices of as many decompositions as there are planes, and what is not needed is done at once
///
/// Exactness: the same on every machine. Greedy rounds the residual to float once a plane; its error never grows from
///            plane to plane for the rules of tern. Joint fits work in double and round gammas to float before the last
///            assignment.
/// Cost:      greedy O(planes N K). Alternating O(3^planes log n) a pass and slice of n weights, some 10 passes from
///            each start: see bench/quality.cpp.
/// Errors:    range_error when planes is 0 (or above 5 but for greedy), when the target is NaN or beyond +-3000 dB but for
///            infinity, for balanced planes by a rule, for importances with greedy methods, naming
///            row and column of a NaN or infinity, or of a weight whose level is beyond float, or an importance that is
///            not above 0; shape_error for importances of another number; what rule.check throws; cancelled_error when progress returned false.
/// Source:    greedy: residual minimisation with BitNet's rule. Alternating: Lloyd's algorithm on levels c . gamma; the
///            same step with ridge regression is PTQTP, arXiv:2509.16989.
template <real_matrix M, executor Executor = serial_executor, progress_callback Progress = no_progress>
quantized_matrix decompose(const M& w, const decompose_options& options = {}, const Executor& ex = {},
                           Progress progress = {}) {
  detail::check_options(options);
  decltype(auto) rows = detail::float_rows(w);
  return detail::decompose_rows(rows, detail::rule_named(options.base), options, ex, progress);
}
template <real_matrix M, ternary_rule Rule, executor Executor = serial_executor,
          progress_callback Progress = no_progress>
quantized_matrix decompose(const M& w, const Rule& rule, const decompose_options& options = {}, const Executor& ex = {},
                           Progress progress = {}) {
  detail::check_options(options);
  if (options.method == decompose_method::balanced ||
      (options.method == decompose_method::alternating && options.start == decompose_start::balanced))
    detail::fail<range_error>({"decompose: balanced planes follow no rule; leave the rule out"});
  decltype(auto) rows = detail::float_rows(w);
  const matrix_view<const float> view = rows;
  detail::check_rule(rule, view.cols());
  return detail::decompose_rows(view, detail::rule_reference::to(rule), options, ex, progress);
}

}  // namespace tern::inline v0_1::inline TERN_TU
