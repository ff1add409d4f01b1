// SPDX-License-Identifier: MIT
/// The best step of integer levels: w ~ d q with q from a fixed set of integers that is symmetric about 0. What integer
/// plane codes and balanced ternary planes are fitted by.
///
/// Given d, each magnitude takes its nearest level; given the levels, d = <w,q> / <q,q>, and the error is ||w||^2 less
/// <w,q>^2 / <q,q> (Lloyd's iteration with one parameter; no step increases the error). It ends in a local optimum,
/// so it starts from the best of a scan: the largest magnitude on the largest level, and from there down in steps of 8
/// percent until the largest level stands at half the root mean square.
#pragma once

#include <tern/quantize/refit.hpp>
#include <tern/quantize/rounding.hpp>
#include <tern/quantize/sorted.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// The positive levels of c_0 t_0 + c_1 t_1 + ..., ascending, each once.
struct integer_levels {
  std::array<std::int32_t, 121> q{};  // (3^5 - 1) / 2 at most
  std::size_t count = 0;

  /// @param c  [planes] positive integers, five at most
  integer_levels(const std::int32_t* c, std::size_t planes) {
    std::size_t combinations = 1;
    for (std::size_t p = 0; p < planes; ++p) combinations *= 3;
    for (std::size_t i = 0; i < combinations; ++i) {
      std::int32_t level = 0;
      for (std::size_t p = 0, rest = i; p < planes; ++p, rest /= 3)
        level += c[p] * (static_cast<std::int32_t>(rest % 3) - 1);
      if (level > 0) insert(level);
    }
  }
  std::int32_t largest() const { return q[count - 1]; }
  /// The threshold between level i - 1 (0 for i = 0) and level i, in steps: a multiple of 1/2.
  double midpoint(std::size_t i) const { return 0.5 * (q[i] + (i == 0 ? 0 : q[i - 1])); }

 private:
  void insert(std::int32_t level) {
    std::size_t at = count;
    while (at > 0 && q[at - 1] > level) --at;
    if (at > 0 && q[at - 1] == level) return;
    for (std::size_t i = count++; i > at; --i) q[i] = q[i - 1];
    q[at] = level;
  }
};

/// A step and how much it lowers the error: <w,q>^2 / <q,q>.
struct fitted_step {
  double d = 0, gain = 0;
};

/// Assigns every magnitude to its nearest level at step d, ties to the lower one, and fits the step to that.
inline fitted_step refit_step(const sorted_magnitudes& w, const integer_levels& levels, double d) {
  // <w,q> = sum over thresholds of (the rise of q there) * (the sum of what is above); <q,q> likewise,
  // both times the importances, without which the second is a sum of integers.
  double wq = 0, qq = 0;
  for (std::size_t i = 0; i < levels.count; ++i) {
    const std::int64_t low = i == 0 ? 0 : levels.q[i - 1], high = levels.q[i];
    const std::size_t below = w.at_most(levels.midpoint(i) * d);
    if (below == w.count()) break;
    wq = std::fma(static_cast<double>(high - low), w.sum() - w.sum(below), wq);
    qq += mul_rn(static_cast<double>(high * high - low * low), w.weight() - w.weight(below));
  }
  if (qq == 0) return {};
  const double best = wq / qq;
  return {best, best * wq};
}

/// The step of least error, as described above; 0 for a slice of zeros.
inline fitted_step best_step(const sorted_magnitudes& w, const integer_levels& levels) {
  fitted_step best;
  const double least = 0.5 * w.rms();
  for (double clip = w.largest(); clip >= least && clip > 0; clip *= 0.92) {
    const fitted_step step = refit_step(w, levels, clip / levels.largest());
    if (step.gain > best.gain) best = step;
  }
  for (;;) {
    const fitted_step step = refit_step(w, levels, best.d);
    if (!(step.gain > best.gain)) return best;
    best = step;
  }
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU
