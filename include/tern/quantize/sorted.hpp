// SPDX-License-Identifier: MIT
/// The magnitudes of a slice in ascending order with their prefix sums: what makes a pass over a slice cost one binary
/// search a threshold. "How many magnitudes lie between two thresholds, and what is their sum" is two searches and two
/// differences.
#pragma once

#include <cmath>

#include <tern/quantize/progress.hpp>
#include <tern/quantize/slices.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Sorts words by their 32 bits from low_bit upwards, stably: four counting passes of eight bits, but for those in
/// which all words are equal. Bit patterns of magnitudes order as the magnitudes do.
/// @param items, spare  [count]; the order is in items
template <class Word>
void radix_sort(Word* items, Word* spare, std::size_t count, int low_bit) {
  std::size_t begins[4][256] = {};
  for (std::size_t i = 0; i < count; ++i)
    for (int d = 0; d < 4; ++d) ++begins[d][items[i] >> (low_bit + 8 * d) & 255u];
  Word* from = items;
  for (int d = 0; d < 4 && count != 0; ++d) {
    const int shift = low_bit + 8 * d;
    if (begins[d][items[0] >> shift & 255u] == count) continue;
    std::size_t begin = 0;
    for (std::size_t& digit : begins[d]) begin += std::exchange(digit, begin);
    for (std::size_t i = 0; i < count; ++i) spare[begins[d][from[i] >> shift & 255u]++] = from[i];
    std::swap(from, spare);
  }
  for (std::size_t i = 0; i < count && from != items; ++i) items[i] = from[i];
}

/// Errors: shape_error when importances are neither none nor one for each input; range_error naming the input whose
///         importance is not finite and above 0.
inline void check_importances(const char* what, std::span<const float> importance, std::size_t inputs) {
  if (importance.empty()) return;
  if (importance.size() != inputs)
    fail<shape_error>({what, ": ", importance.size(), " importances for ", inputs, " inputs"});
  for (std::size_t k = 0; k < inputs; ++k)
    if (!(importance[k] > 0.0f && importance[k] <= std::numeric_limits<float>::max()))
      fail<range_error>({what, ": the importance of input ", k, " is not finite and above 0"});
}

/// The magnitudes of a slice, ascending, and the sums of the smallest of them, in double. With importances h of the
/// inputs every sum is of terms times h, and so is the count.
class sorted_magnitudes {
 public:
  /// Room for slices of so many values, with importances or without: all that it ever allocates.
  sorted_magnitudes(std::size_t most, bool weighted)
      : keys_(weighted ? 0 : most),
        spare_(keys_.size()),
        items_(weighted ? 2 * most : 0),
        values_(std::bit_ceil(most + 1) - 1),
        sums_(most + 1),
        weights_(most + 1) {}

  void assign(matrix_view<const float> w) {
    count_ = 0;
    for (std::size_t n = 0; n < w.rows(); ++n)
      for (std::size_t k = 0; k < w.cols(); ++k) keys_[count_++] = std::bit_cast<std::uint32_t>(w(n, k)) & 0x7fffffffu;
    radix_sort(keys_.data(), spare_.data(), count_, 0);
    squares_ = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      const double value = static_cast<double>(std::bit_cast<float>(keys_[i]));
      values_[i] = value;
      sums_[i + 1] = sums_[i] + value;
      weights_[i + 1] = static_cast<double>(i + 1);
      squares_ += value * value;  // the product is exact: 24 bits times 24 bits
    }
    finish();
  }
  /// @param importance  [inputs of the matrix], or empty where there are none
  void assign(matrix_view<const float> w, std::span<const float> importance, std::size_t first_input) {
    if (importance.empty()) return assign(w);
    count_ = 0;
    for (std::size_t n = 0; n < w.rows(); ++n)
      for (std::size_t k = 0; k < w.cols(); ++k)
        items_[count_++] = std::uint64_t{std::bit_cast<std::uint32_t>(w(n, k)) & 0x7fffffffu} << 32 | (first_input + k);
    radix_sort(items_.data(), items_.data() + items_.size() / 2, count_, 32);
    squares_ = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      const double value = static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(items_[i] >> 32)));
      const double h = static_cast<double>(importance[items_[i] & 0xffffffffu]);
      values_[i] = value;
      sums_[i + 1] = sums_[i] + h * value;  // exact product
      weights_[i + 1] = weights_[i] + h;
      squares_ = std::fma(h * value, value, squares_);
    }
    finish();
  }

  std::size_t count() const { return count_; }
  double value(std::size_t i) const { return values_[i]; }
  double largest() const { return count_ == 0 ? 0 : values_[count_ - 1]; }
  /// The sum of the i smallest.
  double sum(std::size_t i) const { return sums_[i]; }
  double sum() const { return sums_[count_]; }
  /// The importance of the i smallest together: i where no importances were given.
  double weight(std::size_t i) const { return weights_[i]; }
  double weight() const { return weights_[count_]; }
  double sum_of_squares() const { return squares_; }
  double rms() const { return count_ == 0 ? 0 : std::sqrt(squares_ / weight()); }
  /// How many are at most `bound`, which is finite.
  std::size_t at_most(double bound) const {
    std::size_t found = 0;
    for (std::size_t step = first_step_; step != 0; step /= 2) found += values_[found + step - 1] <= bound ? step : 0;
    return found;
  }

 private:
  void finish() {
    // Infinities up to 2^m - 1 values make the search below m steps without a bound to check.
    first_step_ = std::bit_ceil(count_ + 1) / 2;
    for (std::size_t i = count_; i + 1 < 2 * first_step_; ++i) values_[i] = std::numeric_limits<double>::infinity();
  }

  std::vector<std::uint32_t> keys_, spare_;
  std::vector<std::uint64_t> items_;  // magnitude and input, with importances; and as many to sort with
  std::vector<double> values_, sums_, weights_;
  std::size_t count_ = 0, first_step_ = 0;
  double squares_ = 0;
};

/// The largest slice that q has.
template <class Code>
std::size_t slice_size(const basic_quantized_matrix<Code>& q) {
  return (q.granularity.rows_share() ? q.rows : 1) * detail::lesser(q.group_inputs(), q.cols);
}

/// Calls f(scratch, i, row, group) for each slice, as for_each_slice does, until the meter is cancelled. Each part of
/// the work has a Scratch of its own, made by Scratch(args...) on the calling thread.
template <class Scratch, executor Executor, class Code, class Progress, class F, class... Args>
void for_each_slice_with(const basic_quantized_matrix<Code>& q, const Executor& ex, progress_meter<Progress>& meter,
                         F&& f, const Args&... args) {
  const std::size_t groups = q.groups(), count = q.scale_rows() * groups;
  std::vector<Scratch> scratch;
  scratch.reserve(detail::part_count(count, ex));
  for (std::size_t i = 0; i < detail::part_count(count, ex); ++i) scratch.emplace_back(args...);
  detail::for_each_part(count, ex, [&](std::size_t part, std::size_t begin, std::size_t end) {
    for (std::size_t s = begin; s < end && !meter.cancelled(); ++s) {
      f(scratch[part], s, s / groups, s % groups);
      meter.add_one();
    }
  });
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU
