// SPDX-License-Identifier: MIT
/// The levels that planes make together and the assignment of weights to them: the last step of every joint fit.
#pragma once

#include <tern/quantize/refit.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Sorted values with their thresholds: each weight takes the nearest value, the lower one at a threshold.
/// @tparam Payload  what a value stands for
template <class Payload>
class nearest_level {
 public:
  /// Adds a level. Of equal ones the first added stays.
  void insert(double value, const Payload& payload) {
    std::size_t at = count_;
    while (at > 0 && values_[at - 1] > value) --at;
    if (at > 0 && values_[at - 1] == value) return;
    for (std::size_t i = count_++; i > at; --i) values_[i] = values_[i - 1], payloads_[i] = payloads_[i - 1];
    values_[at] = value;
    payloads_[at] = payload;
  }
  /// After the last insert.
  void finish() {
    thresholds_.fill(std::numeric_limits<double>::infinity());
    for (std::size_t i = 1; i < count_; ++i) thresholds_[i - 1] = 0.5 * (values_[i - 1] + values_[i]);
    first_step_ = std::bit_ceil(count_) / 2;
  }
  const Payload& operator()(double w) const {
    std::size_t found = 0;
    for (std::size_t step = first_step_; step != 0; step /= 2) found += thresholds_[found + step - 1] < w ? step : 0;
    return payloads_[found];
  }

 private:
  std::array<double, 243> values_{};  // 3^5 at most
  std::array<double, 255> thresholds_{};
  std::array<Payload, 243> payloads_{};
  std::size_t count_ = 0, first_step_ = 0;
};

/// One trit for each plane.
using plane_trits = std::array<std::int8_t, most_joint_planes>;

/// The levels c . gamma, c in {-1, 0, 1}^planes: the first c in lexicographic order where levels are equal. A plane of
/// gamma 0 gets no trits.
inline nearest_level<plane_trits> plane_levels(const float* gamma, std::size_t planes) {
  nearest_level<plane_trits> levels;
  std::size_t combinations = 1;
  for (std::size_t p = 0; p < planes; ++p) combinations *= 3;
  for (std::size_t i = 0; i < combinations; ++i) {
    plane_trits c{};
    double value = 0;  // c gamma is exact
    bool empty_plane_used = false;
    std::size_t rest = i;
    for (std::size_t p = planes; p-- > 0; rest /= 3) c[p] = static_cast<std::int8_t>(static_cast<int>(rest % 3) - 1);
    for (std::size_t p = 0; p < planes; ++p) {
      value += static_cast<double>(gamma[p]) * c[p];
      empty_plane_used |= gamma[p] == 0.0f && c[p] != 0;
    }
    if (!empty_plane_used) levels.insert(value, c);
  }
  levels.finish();
  return levels;
}

/// Gives each weight of a slice the trits of the nearest level, the lower one where two are as near.
/// @param trits  [planes] views of the shape of w
inline void assign_trits(matrix_view<const float> w, const float* gamma, std::size_t planes,
                         const matrix_view<std::int8_t>* trits) {
  const nearest_level<plane_trits> levels = plane_levels(gamma, planes);
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) {
      const plane_trits& c = levels(static_cast<double>(w(n, k)));
      for (std::size_t p = 0; p < planes; ++p) trits[p](n, k) = c[p];
    }
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU
