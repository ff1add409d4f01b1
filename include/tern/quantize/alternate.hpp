// SPDX-License-Identifier: MIT
/// Alternating minimisation of ||w - sum_p gamma_p T_p||^2 over the trits and the gammas of one slice:
///
///     (a) given gamma, every weight takes the nearest of the 3^k levels c . gamma, c in {-1, 0, 1}^k
///     (b) given the trits, gamma is the joint refit
///
/// Neither step can increase the error and there are finitely many assignments, so it ends: in a fixed point, a local
/// optimum, or a little before one, where a pass lowers the error by less than one part in 10^7. The start decides
/// which one.
///
/// The set of levels is symmetric, so magnitudes do: with them sorted, a pass is one binary search for each of the
/// (3^k - 1) / 2 thresholds between levels that are not negative, and the counts N_l and sums S_l between the
/// thresholds are all that the refit needs: G = sum N_l c_l c_l^T, b = sum S_l c_l. A pass over n weights costs O(3^k
/// log n); trits are assigned once, at the end.
#pragma once

#include <tern/quantize/step.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Gammas and their error.
struct fitted_gammas {
  plane_values gamma{};
  double error = 0;
};

/// The alternation on magnitudes, with what it keeps from pass to pass.
class alternation {
 public:
  explicit alternation(std::size_t planes) : planes_(planes) {
    // One of each pair c, -c: the one whose first digit that is not 0 is 1, that is the second half of all in order.
    std::size_t combinations = 1;
    for (std::size_t p = 0; p < planes; ++p) combinations *= 3;
    for (std::size_t i = combinations / 2 + 1; i < combinations; ++i, ++count_) {
      std::size_t rest = i;
      for (std::size_t p = planes; p-- > 0; rest /= 3) levels_[count_].c[p] = static_cast<double>(rest % 3) - 1;
    }
    initial_ = levels_;
  }

  /// Runs from gamma to a fixed point, or until a pass lowers the error by less than one part in 10^7.
  /// @return the gammas and their error; an infinite error where they do not fit float
  fitted_gammas run(const sorted_magnitudes& w, const plane_values& start) {
    fitted_gammas best{start, std::numeric_limits<double>::infinity()};
    levels_ = initial_;  // the order of equal levels must not depend on the slice before
    assign(w, start);
    for (;;) {
      const normal_equations equations = sum_up(w);
      fitted_gammas next{solve_normal(equations, planes_)};
      next.error = fitted_error(equations, planes_, w.sum_of_squares(), next.gamma);
      if (!(next.error < best.error) || !fits_float(next.gamma, planes_)) return best;
      const bool done = best.error - next.error < 1e-7 * next.error;
      best = next;
      if (done || !assign(w, best.gamma)) return best;
    }
  }

 private:
  /// A level c . gamma that is not negative, and how many magnitudes are nearer to the level below it.
  struct level {
    plane_values c{};
    double value = 0;
    std::size_t begin = 0;
  };

  /// Gives every magnitude its nearest level. @return whether one got another than before
  bool assign(const sorted_magnitudes& w, const plane_values& gamma) {
    bool changed = false;
    for (std::size_t i = 0; i < count_; ++i) {
      double value = 0;  // c gamma is exact
      for (std::size_t p = 0; p < planes_; ++p) value += levels_[i].c[p] * gamma[p];
      if (value < 0) {
        for (std::size_t p = 0; p < planes_; ++p) levels_[i].c[p] = -levels_[i].c[p];
        value = -value;
        changed = true;
      }
      levels_[i].value = value;
      // Into the order of the pass before, which is nearly right.
      if (i == 0 || levels_[i - 1].value <= value) continue;
      const level here = levels_[i];
      std::size_t at = i;
      for (; at > 0 && levels_[at - 1].value > value; --at) levels_[at] = levels_[at - 1];
      levels_[at] = here;
      changed = true;
    }
    double below = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      const std::size_t begin = w.at_most(0.5 * (below + levels_[i].value));
      changed |= begin != levels_[i].begin;
      levels_[i].begin = begin;
      below = levels_[i].value;
    }
    return changed;
  }

  normal_equations sum_up(const sorted_magnitudes& w) const {
    normal_equations equations;
    std::size_t end = w.count();
    for (std::size_t i = count_; i-- > 0;) {
      const level& here = levels_[i];
      const double count = w.weight(end) - w.weight(here.begin);
      const double sum = w.sum(end) - w.sum(here.begin);
      end = here.begin;
      if (count == 0) continue;
      // Digits times numbers: exact products. Without importances G is all integers.
      for (std::size_t p = 0; p < planes_; ++p) {
        equations.b[p] += here.c[p] * sum;
        for (std::size_t r = 0; r < planes_; ++r) equations.g[p][r] += here.c[p] * here.c[r] * count;
      }
    }
    return equations;
  }

  std::size_t planes_, count_ = 0;
  std::array<level, 121> levels_{}, initial_{};  // (3^5 - 1) / 2 at most
};

}  // namespace tern::inline v0_1::detail::inline TERN_TU
