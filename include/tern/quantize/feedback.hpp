// SPDX-License-Identifier: MIT
/// The factor of a Hessian that error feedback works with, in float with sums in double: the same bits on every machine.
///
/// Let the inputs have places 0 .. K - 1 and H = L L^T, L lower triangular. An error e of the weights then costs
///
///     e H e^T = ||e L||^2 = sum_c L_cc^2 (e_c + sum over i > c of e_i M_ic)^2,      M_ic = L_ic / L_cc
///
/// so who quantises from the last place to the first, and at place c knows the errors of all places above, makes that
/// term small by quantising w_c + sum e_i M_ic instead of w_c. This is GPTQ's update: with U = L^-1, the upper factor of
/// inv(H) = U^T U in sweep order, "w_j.. -= (w_j - q_j) / U_jj U_j,j.." keeps the same sums, rounded at every column;
/// here each is one sum of errors against the original weights, and the inverse is not needed.
///
/// The factorisation goes by panels of 128 columns. What panels to the left contribute to an element is one sum in
/// double over ascending columns, continued inside the panel; the element is rounded to float when it is complete. That
/// is a backward error of some 2^-23 sqrt(H_ii H_jj), far below any damping that helps.
#pragma once

#include <cmath>

#include <tern/quantize/hessian.hpp>
#include <tern/quantize/progress.hpp>
#include <tern/quantize/sorted.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// M below the diagonal, in places; `order` says which input stands at a place.
struct feedback_factor {
  std::vector<std::size_t> order;
  matrix<float> m;
};

/// One panel of the factorisation: rows from `first` on, what is left of H in it, and its finished square block.
class factor_panel {
 public:
  factor_panel(matrix<float>& l, std::size_t first)
      : l_(l),
        first_(first),
        cols_(lesser(product_cols, l.rows() - first)),
        rest_((l.rows() - first) * cols_),
        columns_(cols_ * cols_),
        diagonal_(cols_) {}

  std::size_t cols() const { return cols_; }
  double& rest(std::size_t row, std::size_t c) { return rest_[(row - first_) * cols_ + c]; }

  /// Rows begin .. end: subtracts what the panels to the left contribute.
  void subtract(std::size_t begin, std::size_t end, product_workspace& work) {
    work.add(
        &rest(begin, 0), cols_, end - begin, cols_, first_,
        [&](std::size_t r, std::size_t k) { return -l_(begin + r, k); },
        [&](std::size_t k, std::size_t c) { return l_(first_ + c, k); });
  }
  /// The square block on the diagonal. @return the place whose pivot is not above 0, or the number of places
  std::size_t factor_block() {
    for (std::size_t r = 0; r < cols_; ++r) {
      finish_row(first_ + r, r);
      const double pivot = rest(first_ + r, r);
      diagonal_[r] = static_cast<double>(static_cast<float>(std::sqrt(pivot)));
      if (!(diagonal_[r] > 0 && diagonal_[r] <= static_cast<double>(std::numeric_limits<float>::max())))
        return first_ + r;
      l_(first_ + r, first_ + r) = static_cast<float>(diagonal_[r]);
      for (std::size_t c = 0; c < r; ++c) columns_[c * cols_ + r] = static_cast<double>(l_(first_ + r, first_ + c));
    }
    return l_.rows();
  }
  /// The columns before `count` of one row, by those of the block.
  void finish_row(std::size_t row, std::size_t count) {
    double* const rest_of_row = &rest(row, 0);
    for (std::size_t c = 0; c < count; ++c) {
      const auto value = static_cast<float>(rest_of_row[c] / diagonal_[c]);
      l_(row, first_ + c) = value;
      const double factor = static_cast<double>(value);
      const double* const column = columns_.data() + c * cols_;
      // Floats times floats: exact products, so contraction changes nothing.
      for (std::size_t j = c + 1; j < count; ++j) rest_of_row[j] -= factor * column[j];
      if (count < cols_) rest_of_row[count] -= factor * factor;  // a row of the block, up to its diagonal
    }
  }

 private:
  matrix<float>& l_;
  std::size_t first_, cols_;
  std::vector<double> rest_;      // [rows from first x cols]
  std::vector<double> columns_;   // the block's columns below the diagonal, each contiguous
  std::vector<double> diagonal_;  // of L
};

/// Factors H with `damp` added to its diagonal, inputs at the places that order gives them.
/// Errors: range_error naming the input where a pivot is not above 0; cancelled_error.
template <executor Executor, class Progress>
feedback_factor factor_hessian(const char* what, const hessian& h, std::vector<std::size_t> order, double damp,
                               const Executor& ex, progress_meter<Progress>& meter) {
  const std::size_t count = order.size();
  matrix<float> l(count, count);
  std::vector<product_workspace> work(part_count(count, ex));
  for (std::size_t first = 0; first < count; first += product_cols) {
    factor_panel panel(l, first);
    for_each_part(count - first, ex, [&](std::size_t part, std::size_t begin, std::size_t end) {
      for (std::size_t row = first + begin; row < first + end; ++row)
        for (std::size_t c = 0; c < panel.cols(); ++c)
          panel.rest(row, c) = h(order[row], order[first + c]) + (row == first + c ? damp : 0.0);
      panel.subtract(first + begin, first + end, work[part]);
    });
    if (const std::size_t bad = panel.factor_block(); bad < count)
      fail<range_error>({what, ": the Hessian is not positive definite at input ", order[bad], "; increase damp"});
    const std::size_t below = first + panel.cols();
    for_each_part(count - below, ex, [&](std::size_t, std::size_t begin, std::size_t end) {
      for (std::size_t row = below + begin; row < below + end; ++row) panel.finish_row(row, panel.cols());
    });
    meter.add_one();
    meter.stop_if_cancelled(what);
  }
  for_each_part(count, ex, [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i)
      for (std::size_t c = 0; c < i; ++c) l(i, c) /= l(c, c);
  });
  return {std::move(order), std::move(l)};
}

/// The inputs in ascending order of their keys, equal ones in descending order of the inputs: the sweep, which begins
/// at the last place, sees descending keys and of equal ones the first input first.
inline std::vector<std::size_t> ascending_places(const std::vector<double>& keys) {
  const std::size_t count = keys.size();
  std::vector<std::uint64_t> items(count), spare(count);
  for (std::size_t i = 0; i < count; ++i)
    items[i] =
        std::uint64_t{std::bit_cast<std::uint32_t>(static_cast<float>(keys[count - 1 - i]))} << 32 | (count - 1 - i);
  radix_sort(items.data(), spare.data(), count, 32);
  std::vector<std::size_t> places(count);
  for (std::size_t i = 0; i < count; ++i) places[i] = static_cast<std::size_t>(items[i] & 0xffffffffu);
  return places;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU
