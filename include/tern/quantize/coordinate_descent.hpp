// SPDX-License-Identifier: MIT
/// Codes after error feedback, revised: each weight in turn takes the level that costs least while all others stay.
///
/// An error r = w - w_hat of a row costs r H r^T. With everything but weight k held fixed that is least where w_hat(k)
/// is nearest to
///
///     w_hat(k) + (r H)(k) / H(k,k)
///
/// which error feedback cannot know: when it quantised weight k, those after it were not quantised yet. Scales stay.
#pragma once

#include <tern/quantize/exact_products.hpp>
#include <tern/quantize/gptq_levels.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// A strip of rows while their codes are revised.
class code_descent {
 public:
  code_descent(std::size_t strip, std::size_t inputs) : rest_(strip, inputs), pulls_(strip * inputs) {}

  /// Rows first .. first + rows of q, in sweeps over their inputs, ascending, until none changes or there were enough.
  ///
  /// @param h  [K x K] what errors cost, symmetric
  template <class Levels>
  void run(Levels& levels, quantized_matrix& q, matrix_view<const float> w, const matrix<float>& h, std::size_t first,
           std::size_t rows, std::size_t sweeps) {
    const std::size_t count = q.cols;
    for (std::size_t n = 0; n < rows; ++n)
      for (std::size_t k = 0; k < count; ++k)
        rest_(n, k) = saturated(static_cast<double>(w(first + n, k)) - value(q, first + n, k));
    for (std::size_t i = 0; i < rows * count; ++i) pulls_[i] = 0;
    for (std::size_t c = 0; c < count; c += product_cols)
      products_.add(
          pulls_.data() + c, count, rows, lesser(product_cols, count - c), count,
          [&](std::size_t n, std::size_t k) { return rest_(n, k); },
          [&](std::size_t k, std::size_t j) { return h(k, c + j); });
    for (std::size_t n = 0; n < rows; ++n)
      for (std::size_t sweep = 0; sweep < sweeps && sweep_row(levels, q, w.row(first + n), h, first, n); ++sweep) {
      }
  }

 private:
  static double value(const quantized_matrix& q, std::size_t row, std::size_t k) {
    double sum = 0;  // codes times floats: exact
    for (std::size_t p = 0; p < q.planes; ++p)
      sum += static_cast<double>(q.scale(p, row, k / q.group_inputs())) * q.code_row(p, row)[k];
    return sum;
  }
  /// @return whether a code changed
  template <class Levels>
  bool sweep_row(Levels& levels, quantized_matrix& q, const float* w, const matrix<float>& h, std::size_t first,
                 std::size_t n) {
    const std::size_t row = first + n, inputs = q.group_inputs();
    double* const pull = pulls_.data() + n * q.cols;
    std::int8_t codes[most_joint_planes] = {};
    float scales[most_joint_planes] = {};
    bool changed = false;
    for (std::size_t k = 0; k < q.cols; ++k) {
      if (k % inputs == 0) {
        for (std::size_t p = 0; p < q.planes; ++p) scales[p] = q.scale(p, row, k / inputs);
        levels.use(scales);
      }
      if (!(h(k, k) > 0)) continue;  // not even as a float: whatever the code, it costs nothing
      const double before = value(q, row, k);
      const double now = levels.round(before + pull[k] / static_cast<double>(h(k, k)), codes);
      if (now == before) continue;
      const float rest = saturated(static_cast<double>(w[k]) - now);
      const auto moved = static_cast<double>(saturated(static_cast<double>(rest) - static_cast<double>(rest_(n, k))));
      for (std::size_t j = 0; j < q.cols; ++j) pull[j] += moved * static_cast<double>(h(k, j));  // exact product
      rest_(n, k) = rest;
      for (std::size_t p = 0; p < q.planes; ++p) q.code_row(p, row)[k] = codes[p];
      changed = true;
    }
    return changed;
  }

  product_workspace products_;
  matrix<float> rest_;         // w - w_hat, [strip x K]
  std::vector<double> pulls_;  // r H, [strip x K]
};

}  // namespace tern::inline v0_1::detail::inline TERN_TU
