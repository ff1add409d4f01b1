// SPDX-License-Identifier: MIT
/// Where the alternation starts from: greedy planes, and integer plane codes at their best step.
#pragma once

#include <tern/quantize/alternate.hpp>
#include <tern/quantize/ternary.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Any ternary rule behind one type, so that what runs rules is compiled once.
struct rule_reference {
  const void* rule;
  float (*apply)(const void*, matrix_view<const float>, std::size_t, matrix_view<std::int8_t>);

  template <ternary_rule Rule>
  static rule_reference to(const Rule& rule) {
    return {&rule,
            [](const void* r, matrix_view<const float> w, std::size_t first_input, matrix_view<std::int8_t> trits) {
              return (*static_cast<const Rule*>(r))(w, first_input, trits);
            }};
  }
};

/// R = w; for each plane (T, gamma) = rule(R), R = R - gamma T in float.
/// @param trits, gamma  [planes], filled; trits views of the shape of the slice, 0 at the call
inline void greedy_planes(const slice& s, rule_reference rule, std::size_t planes, std::vector<float>& residual,
                          const matrix_view<std::int8_t>* trits, float* gamma) {
  const std::size_t rows = s.w.rows(), cols = s.w.cols();
  const matrix_view<float> rest(residual.data(), rows, cols);
  for (std::size_t n = 0; n < rows; ++n)
    for (std::size_t k = 0; k < cols; ++k) rest(n, k) = s.w(n, k);
  for (std::size_t p = 0; p < planes; ++p) {
    gamma[p] = rule.apply(rule.rule, rest, s.first_input, trits[p]);
    for (std::size_t n = 0; n < rows; ++n)
      for (std::size_t k = 0; k < cols; ++k)
        rest(n, k) -= gamma[p] * static_cast<float>(trits[p](n, k));  // exact product
  }
}

/// The gammas of given planes after the joint refit; as they are where that does not lower the error.
inline fitted_gammas refit(matrix_view<const float> w, const matrix_view<std::int8_t>* trits, std::size_t planes,
                           const float* gamma) {
  double sum_of_squares = 0;
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) {
      const double value = static_cast<double>(w(n, k));
      sum_of_squares += value * value;  // exact product
    }
  const normal_equations equations = equations_of(w, trits, planes);
  fitted_gammas given, fitted{solve_normal(equations, planes)};
  for (std::size_t p = 0; p < planes; ++p) given.gamma[p] = static_cast<double>(gamma[p]);
  given.error = fitted_error(equations, planes, sum_of_squares, given.gamma);
  fitted.error = fitted_error(equations, planes, sum_of_squares, fitted.gamma);
  return fitted.error <= given.error && fits_float(fitted.gamma, planes) ? fitted : given;
}

/// The integer codes whose gammas, at their best step, the multistart begins with; the first `planes` numbers of each.
///
/// How they were found: from 400 random starts (k = 5: 300) on each of 90 slices (groups of 128 and rows of 4096;
/// Gauss, Laplace, Student's t with 4 degrees) the best gammas were rounded to integer ratios, and from that pool the
/// codes were chosen one at a time, each the one that raises the mean SNR most over 396 other slices. In dB on those,
/// greedy starts included:
///
///                                gauss g128   row  laplace g128   row    t4 g128   row
///     k = 3  greedy starts only       24.55 24.29         23.13 21.74      21.98 18.39
///            these 6 codes            25.90 24.36         24.28 21.87      23.12 18.76
///            400 random starts        25.78 24.35         24.18 21.86      23.07 18.75
///     k = 4  greedy starts only       33.04 32.66         31.95 29.73      31.17 26.16
///            these 8 codes            35.62 33.70         34.28 31.22      33.21 27.89
///            400 random starts        35.26 33.39         34.13 30.84      33.27 27.58
///     k = 5  greedy starts only       41.35 40.45         40.94 38.12      40.29 35.19
///            these 8 codes            45.16 43.15         43.95 40.59      42.88 37.24
///            300 random starts        44.23 42.15         43.30 39.60      42.85 37.00
///
/// More codes gain less than 0.03 dB each. For k = 2 the four codes are within 0.01 dB of 100 random starts.
struct start_code {
  std::int32_t c[most_joint_planes];
};
inline constexpr start_code start_codes_of_1[] = {{{1}}};
inline constexpr start_code start_codes_of_2[] = {{{3, 2}}, {{7, 5}}, {{4, 3}}, {{3, 1}}};
inline constexpr start_code start_codes_of_3[] = {{{8, 7, 5}},   {{17, 15, 5}}, {{9, 6, 2}},
                                                  {{17, 11, 7}}, {{17, 8, 5}},  {{9, 5, 3}}};
inline constexpr start_code start_codes_of_4[] = {{{26, 25, 14, 9}},  {{26, 18, 9, 3}},   {{40, 33, 30, 24}},
                                                  {{40, 27, 12, 9}},  {{40, 35, 25, 22}}, {{26, 25, 9, 6}},
                                                  {{40, 22, 16, 13}}, {{26, 13, 9, 3}}};
inline constexpr start_code start_codes_of_5[] = {
    {{60, 59, 20, 13, 9}},  {{40, 27, 13, 9, 3}},   {{60, 59, 20, 18, 13}}, {{60, 53, 38, 33, 31}},
    {{60, 59, 20, 13, 11}}, {{60, 48, 45, 40, 39}}, {{60, 57, 20, 6, 2}},   {{60, 37, 23, 12, 8}}};

inline std::span<const start_code> start_codes(std::size_t planes) {
  constexpr std::span<const start_code> codes[] = {start_codes_of_1, start_codes_of_2, start_codes_of_3,
                                                   start_codes_of_4, start_codes_of_5};
  return codes[planes - 1];
}

/// What one thread needs to fit the planes of slices of up to `most` values, with importances or without.
class plane_fitter {
 public:
  plane_fitter(std::size_t planes, std::size_t most, bool weighted)
      : planes_(planes), sorted_(most, weighted), alternation_(planes), residual_(most), trits_(planes * most) {
    for (const start_code& code : start_codes(planes)) starts_.push_back({code, integer_levels(code.c, planes)});
  }

  /// Takes a slice: what follows is about it.
  /// @param importance  [inputs of the matrix], or empty where there are none
  void assign(const slice& s, std::span<const float> importance = {}) {
    slice_ = s;
    sorted_.assign(s.w, importance, s.first_input);
    best_ = {{}, sorted_.sum_of_squares()};
  }
  const sorted_magnitudes& sorted() const { return sorted_; }
  /// The best so far; no planes at all to begin with.
  const fitted_gammas& best() const { return best_; }

  void start_from(const plane_values& gamma) {
    const fitted_gammas found = alternation_.run(sorted_, gamma);
    if (found.error < best_.error) best_ = found;
  }
  /// From the greedy planes of a rule, refitted, both without importances: a start is all that they are.
  void start_from(rule_reference rule) {
    matrix_view<std::int8_t> trits[most_joint_planes];
    const std::size_t size = slice_.w.rows() * slice_.w.cols();
    for (std::size_t p = 0; p < planes_; ++p) trits[p] = {trits_.data() + p * size, slice_.w.rows(), slice_.w.cols()};
    for (std::size_t i = 0; i < planes_ * size; ++i) trits_[i] = 0;
    float gamma[most_joint_planes];
    greedy_planes(slice_, rule, planes_, residual_, trits, gamma);
    start_from(refit(slice_.w, trits, planes_, gamma).gamma);
  }
  void start_from_codes() {
    for (const auto& [code, levels] : starts_) {
      const double d = best_step(sorted_, levels).d;
      plane_values gamma{};
      for (std::size_t p = 0; p < planes_; ++p) gamma[p] = d * code.c[p];
      start_from(gamma);
    }
  }

 private:
  struct start {
    start_code code;
    integer_levels levels;
  };

  std::size_t planes_;
  slice slice_{};
  sorted_magnitudes sorted_;
  alternation alternation_;
  std::vector<float> residual_;
  std::vector<std::int8_t> trits_;
  std::vector<start> starts_;
  fitted_gammas best_;
};

}  // namespace tern::inline v0_1::detail::inline TERN_TU
