// SPDX-License-Identifier: MIT
/// The sets of levels that error feedback quantises to: what it takes for a kind of weights to be fitted to a group and
/// to round to.
///
/// A type of levels has `planes`, how many codes and scales a weight has, and
///
///     fit(slice, importance, scales)    the scales for a group of weights, [planes]
///     use(scales)                       makes these the levels from here on
///     round(w, codes) -> value          the nearest level, its codes, and what it stands for
#pragma once

#include <tern/quantize/decompose.hpp>
#include <tern/quantize/trit_code.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// x as a float. What is fed into weights of 2^127 may lead beyond the largest, which then stands for it.
inline float saturated(double x) {
  constexpr double most = static_cast<double>(std::numeric_limits<float>::max());
  return static_cast<float>(lesser(greater(x, -most), most));
}

/// Planes with free gammas: the alternating optimum of decompose(), from all its starts.
class free_plane_levels {
 public:
  free_plane_levels(std::size_t planes_, std::size_t most, bool weighted)
      : planes(planes_), fitter_(planes_, most, weighted), balanced_(balanced_code_of(planes_), planes_) {}

  void fit(const slice& s, std::span<const float> importance, float* scales) {
    fitter_.assign(s, importance);
    const plane_values best =
        fit_planes(fitter_, planes, rule_named(base_rule::absmean), decompose_start::multistart, balanced_);
    for (std::size_t p = 0; p < planes; ++p) scales[p] = static_cast<float>(best[p]);
  }
  void use(const float* scales) {
    for (std::size_t p = 0; p < planes; ++p) gamma_[p] = static_cast<double>(scales[p]);
    levels_ = plane_levels(scales, planes);
  }
  double round(double w, std::int8_t* codes) const {
    const plane_trits& trits = levels_(w);
    double value = 0;  // a trit times a float, and floats of one slice: exact
    for (std::size_t p = 0; p < planes; ++p) codes[p] = trits[p], value += gamma_[p] * trits[p];
    return value;
  }

  std::size_t planes;

 private:
  plane_fitter fitter_;
  integer_levels balanced_;
  plane_values gamma_{};
  nearest_level<plane_trits> levels_;
};

/// The levels of an integer plane code: one step.
class trit_code_levels {
 public:
  trit_code_levels(const trit_code& code, std::size_t most, bool weighted)
      : levels_(levels_of(code)), sorted_(most, weighted) {}

  static integer_levels levels_of(const trit_code& code) {
    const std::int32_t c[] = {code.c[0], code.c[1], code.c[2]};
    return {c, code.planes()};
  }
  void fit(const slice& s, std::span<const float> importance, float* scales) {
    sorted_.assign(s.w, importance, s.first_input);
    scales[0] = static_cast<float>(best_step(sorted_, levels_).d);
  }
  void use(const float* scales) {
    step_ = static_cast<double>(scales[0]);
    nearest_ = code_levels(levels_, scales[0]);
  }
  double round(double w, std::int8_t* codes) const {
    codes[0] = step_ == 0 ? std::int8_t{0} : nearest_(w);
    return step_ * codes[0];  // exact
  }

  static constexpr std::size_t planes = 1;

 private:
  integer_levels levels_;
  sorted_magnitudes sorted_;
  double step_ = 0;
  nearest_level<std::int8_t> nearest_;
};

/// Codes of b bits, symmetric: the scale by absmax, or by the clip of least squared error.
class int_levels {
 public:
  int_levels(unsigned bits, bool clip, std::size_t most)
      : bits_(bits), clip_(clip), limit_(largest_code(bits)), codes_(most) {}

  void fit(const slice& s, std::span<const float> importance, float* scales) {
    const matrix_view<std::int8_t> codes(codes_.data(), 1, s.w.cols());
    scales[0] =
        clip_ ? mse_slice(s.w, codes, bits_, importance.empty() ? nullptr : importance.data() + s.first_input).scale
              : absmax_slice(s.w, codes, {.bits = bits_}).scale;
  }
  void use(const float* scales) { scale_ = scales[0]; }
  double round(double w, std::int8_t* codes) const {
    codes[0] = static_cast<std::int8_t>(round_code(saturated(w), scale_, limit_));
    return static_cast<double>(scale_) * codes[0];  // exact
  }

  static constexpr std::size_t planes = 1;

 private:
  unsigned bits_;
  bool clip_;
  std::int32_t limit_;
  float scale_ = 1;
  std::vector<std::int8_t> codes_;
};

}  // namespace tern::inline v0_1::detail::inline TERN_TU
