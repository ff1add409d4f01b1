// SPDX-License-Identifier: MIT
/// Calibration: the range of activations, seen over batches, and the scale of a static quantisation that follows.
///
/// An observer is shown batches, any number of them, and then asked for a range. Here are those that keep two numbers;
/// clip.hpp has the ones that look at the whole distribution of magnitudes.
///
///     tern::min_max_observer seen;
///     for (const auto& batch : batches) seen.observe(batch);
///     const float scale = seen.range().symmetric_scale();     // real units per int8 code
#pragma once

#include <cmath>  // std::fma, std::rint
#include <limits>

#include <tern/quantize/rounding.hpp>
#include <tern/quantize/slices.hpp>

namespace tern::inline v0_1 {

/// An affine map of codes: real = (code - zero) * scale.
struct affine_scale {
  float scale = 1.0f;
  std::int32_t zero = 0;

  TERN_INLINE friend bool operator==(const affine_scale&, const affine_scale&) = default;
};

/// An interval of real values, and the scales with which codes of b bits cover it, 2 <= b <= 16. A clip c is the range
/// {-c, c} of signed values and {0, c} of a ReLU's.
///
/// Q = 2^(b-1) - 1 is the largest code. Every scale widens the range to hold 0, which padding and zeros need exactly.
///
/// Errors: range_error when the range is not finite, upside down, or wider than float holds, or b is outside 2 .. 16.
///
///     tern::value_range{-127, 10}.symmetric_scale()     // 1
struct value_range {
  float least = 0.0f;
  float most = 0.0f;

  /// The scale of codes -Q .. Q: am / Q, am the largest magnitude; 1 where am < 2^-100. The rule of
  /// quantize_activations.
  TERN_INLINE float symmetric_scale(unsigned bits = 8) const {
    check(bits);
    return magnitude() < 0x1p-100f ? 1.0f : magnitude() / static_cast<float>(detail::largest_code(bits));
  }
  /// The scale and the zero point of codes -2^(b-1) .. 2^(b-1) - 1: (most - least) / (2^b - 1) and -2^(b-1) -
  /// rint(least / scale); 1 and 0 where the range is narrower than 2^-100. The rule of quantize_activations_zero_point.
  TERN_INLINE affine_scale affine(unsigned bits = 8) const {
    const float width = checked_width(bits);
    return width < 0x1p-100f ? affine_scale{} : with_zero(width / static_cast<float>(steps(bits)), bits);
  }
  /// PyTorch's symmetric scale, to follow a model that was calibrated there: am / ((2^b - 1) / 2), which is am / 127.5
  /// for int8, so that am itself is clipped; and never below 2^-23, so that small tensors lose their codes.
  TERN_INLINE float pytorch_symmetric_scale(unsigned bits = 8) const {
    check(bits);
    return pytorch_floor(magnitude() / (static_cast<float>(steps(bits)) / 2.0f));
  }
  /// PyTorch's affine scale and zero point: as affine(), with a scale never below 2^-23.
  TERN_INLINE affine_scale pytorch_affine(unsigned bits = 8) const {
    return with_zero(pytorch_floor(checked_width(bits) / static_cast<float>(steps(bits))), bits);
  }

  TERN_INLINE friend bool operator==(const value_range&, const value_range&) = default;

 private:
  TERN_INLINE static std::int32_t steps(unsigned bits) { return (std::int32_t{1} << bits) - 1; }
  TERN_INLINE float low() const { return least < 0.0f ? least : 0.0f; }
  TERN_INLINE float high() const { return most > 0.0f ? most : 0.0f; }
  TERN_INLINE float magnitude() const { return -low() > high() ? -low() : high(); }
  TERN_INLINE void check(unsigned bits) const {
    detail::check_bits("value_range", bits, 16);
    constexpr float largest = std::numeric_limits<float>::max();
    if (!(-largest <= least && least <= most && most <= largest))  // NaN too
      detail::fail<range_error>({"value_range: ", least, " .. ", most, " is not a range of finite values"});
  }
  TERN_INLINE float checked_width(unsigned bits) const {
    check(bits);
    const float width = high() - low();
    if (width > std::numeric_limits<float>::max())
      detail::fail<range_error>({"value_range: the width of ", least, " .. ", most, " overflows float"});
    return width;
  }
  TERN_INLINE static float pytorch_floor(float scale) { return scale < 0x1p-23f ? 0x1p-23f : scale; }
  /// |low / scale| is at most (2^b - 1)(1 + 2^-23), which is less than 2^b - 1/2, so the zero point is a code.
  TERN_INLINE affine_scale with_zero(float scale, unsigned bits) const {
    const std::int32_t half = std::int32_t{1} << (bits - 1);
    return {scale, -half - static_cast<std::int32_t>(std::rint(low() / scale))};
  }
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

/// The bounds of no values: joining it with other bounds gives those.
inline constexpr value_range no_values{std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};

inline value_range join_ranges(const value_range& a, const value_range& b) {
  return {lesser(a.least, b.least), greater(a.most, b.most)};
}

/// The bounds of a batch. Errors: range_error naming row and column of a NaN or infinity.
template <real_matrix M>
value_range bounds_of(const char* what, const M& x) {
  decltype(auto) rows = row_major(x);
  const real_view<M> view = rows;
  check_finite(what, view);
  value_range bounds = no_values;
  for (std::size_t m = 0; m < view.rows(); ++m)
    for (std::size_t k = 0; k < view.cols(); ++k) {
      const auto value = static_cast<float>(view(m, k));
      bounds = join_ranges(bounds, {value, value});
    }
  return bounds;
}

/// a + t (b - a), in the form that gives b itself for t = 1; computed in double, where nothing overflows, rounded to float.
inline float step_towards(float a, float b, double t) {
  const double from = static_cast<double>(a);
  return static_cast<float>(std::fma(t, static_cast<double>(b), std::fma(-t, from, from)));
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1 {

/// The smallest and the largest value of all batches, in whatever order and cut they come.
///
/// Errors: observe() throws range_error naming row and column of a NaN or infinity, and has then seen nothing of the
///         batch; range() throws range_error when there was no value yet.
class min_max_observer {
 public:
  /// @param x  [M x K] real matrix: tern's or Eigen's
  template <class Tu = tu_tag, real_matrix M>
  void observe(const M& x) {
    seen_ = detail::join_ranges(seen_, detail::bounds_of("min_max_observer", x));
  }
  /// As if this observer had been shown the other's batches as well.
  template <class Tu = tu_tag>
  void merge(const min_max_observer& other) {
    seen_ = detail::join_ranges(seen_, other.seen_);
  }
  TERN_INLINE void clear() { seen_ = detail::no_values; }
  TERN_INLINE bool empty() const { return seen_.least > seen_.most; }
  TERN_INLINE value_range range() const {
    if (empty()) detail::fail<range_error>({"min_max_observer: nothing observed"});
    return seen_;
  }

 private:
  value_range seen_ = detail::no_values;
};

/// Averages of the smallest and of the largest value of each batch, forgetting the older ones: a range that one outlier
/// does not fix for good. The first batch sets both; an empty one changes nothing; the order of batches matters.
///
///     least += momentum (min of batch - least);  most += momentum (max of batch - most)
///
/// Errors: range_error when momentum is outside (0, 1]; else as min_max_observer.
/// Source: PyTorch's MovingAverageMinMaxObserver. (PyTorch rounds product and sum to float, this rounds once.)
class moving_average_observer {
 public:
  TERN_INLINE explicit moving_average_observer(double momentum = 0.01) : momentum_(momentum) {
    if (!(momentum > 0 && momentum <= 1))
      detail::fail<range_error>(
          {"moving_average_observer: momentum ", static_cast<float>(momentum), " is not in (0, 1]"});
  }
  /// @param x  [M x K] real matrix: tern's or Eigen's; one batch
  template <class Tu = tu_tag, real_matrix M>
  void observe(const M& x) {
    const value_range batch = detail::bounds_of("moving_average_observer", x);
    if (batch == detail::no_values) return;
    seen_ = empty() ? batch
                    : value_range{detail::step_towards(seen_.least, batch.least, momentum_),
                                  detail::step_towards(seen_.most, batch.most, momentum_)};
  }
  TERN_INLINE void clear() { seen_ = detail::no_values; }
  TERN_INLINE bool empty() const { return seen_.least > seen_.most; }
  TERN_INLINE value_range range() const {
    if (empty()) detail::fail<range_error>({"moving_average_observer: nothing observed"});
    return seen_;
  }

 private:
  double momentum_;
  value_range seen_ = detail::no_values;
};

}  // namespace tern::inline v0_1
