// SPDX-License-Identifier: MIT
/// A layer as one would write it down: the oracle of tests that use layers and products from outside.
#pragma once

#include <tern/kernel/reference.hpp>
#include <tern/type/quantized_matrix.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace tern_test {

/// Gaussian numbers.
inline tern::matrix<float> draw_matrix(std::size_t rows, std::size_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  tern::matrix<float> m(rows, cols);
  for (std::size_t i = 0; i < rows * cols; ++i) m.data()[i] = normal(random);
  return m;
}

/// y = quantize(x) W^T + bias, element by element from codes, scales and zero points.
inline tern::matrix<float> textbook_layer(const tern::quantized_matrix& w, const std::vector<float>& bias,
                                          const tern::matrix<float>& x) {
  tern::matrix<float> y(x.rows(), w.rows);
  std::vector<std::int8_t> codes(x.cols());
  for (std::size_t m = 0; m < x.rows(); ++m) {
    const float scale = tern::kernel::reference::quantize_row(x.row(m), x.cols(), codes.data());
    for (std::size_t n = 0; n < w.rows; ++n) {
      float r = 0;
      for (std::size_t p = 0; p < w.planes; ++p)
        for (std::size_t g = 0; g < w.groups(); ++g) {
          int sum = 0;
          for (std::size_t k = g * w.group_inputs(); k < std::min(w.cols, (g + 1) * w.group_inputs()); ++k)
            sum += codes[k] * (w.code_row(p, n)[k] - w.zero(p, n, g));
          r = std::fma(static_cast<float>(sum), w.scale(p, n, g), r);
        }
      y(m, n) = bias.empty() ? r * scale : std::fma(r, scale, bias[n]);
    }
  }
  return y;
}

/// y = x W^T + bias in float: sums over k ascending.
inline tern::matrix<float> textbook_float_layer(const tern::quantized_matrix& w, const std::vector<float>& bias,
                                                const tern::matrix<float>& x) {
  tern::matrix<float> y(x.rows(), w.rows);
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t n = 0; n < w.rows; ++n) {
      float r = 0;
      for (std::size_t p = 0; p < w.planes; ++p)
        for (std::size_t g = 0; g < w.groups(); ++g) {
          float sum = 0;
          for (std::size_t k = g * w.group_inputs(); k < std::min(w.cols, (g + 1) * w.group_inputs()); ++k)
            sum = std::fma(x(m, k), static_cast<float>(w.code_row(p, n)[k] - w.zero(p, n, g)), sum);
          r = std::fma(sum, w.scale(p, n, g), r);
        }
      y(m, n) = bias.empty() ? r : r + bias[n];
    }
  return y;
}

inline bool same(const tern::matrix<float>& a, const tern::matrix<float>& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() && std::equal(a.data(), a.data() + a.rows() * a.cols(), b.data());
}

}  // namespace tern_test
