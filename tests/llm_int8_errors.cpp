// SPDX-License-Identifier: MIT
/// What LLM.int8() is for, in numbers: the error of a product with int8 operands, against the product of the float ones.
///
///     per tensor     one scale for X, one for W
///     per row        a scale for each row of X, one for W
///     vector-wise    a scale for each row of X and each row of W
///     decomposition  vector-wise, but for the columns of X with outliers, which are multiplied in float
///
/// Where all rows of W are alike, one scale for them is nearly as good as one for each: the second step is an equality but for
/// rounding errors that happen to fall one way or the other. Rows of unequal size make it strict.
#include <tern/llm_int8_static_linear.hpp>

#include <cmath>

#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern_test::draw_matrix, tern_test::same;

namespace {

constexpr std::size_t tokens = 32, inputs = 256, outputs = 48;

struct sample {
  std::vector<std::size_t> columns;  // of the outliers
  tern::matrix<float> x, w;
};

/// Gaussian operands, some columns of X so many times larger, rows of W by powers of two of unequal size or alike.
sample draw(std::size_t outliers, float factor, bool unequal, unsigned seed) {
  sample s{{}, draw_matrix(tokens, inputs, seed), draw_matrix(outputs, inputs, seed + 100)};
  for (std::size_t j = 0; j < outliers; ++j) s.columns.push_back(5 + 31 * j);
  for (std::size_t m = 0; m < tokens; ++m)
    for (const std::size_t k : s.columns) s.x(m, k) *= factor;
  for (std::size_t n = 0; unequal && n < outputs; ++n)
    for (std::size_t k = 0; k < inputs; ++k) s.w(n, k) *= std::exp2(static_cast<float>(n % 5) - 2);
  return s;
}

tern::matrix<double> exact_product(const tern::matrix<float>& x, const tern::matrix<float>& w) {
  tern::matrix<double> y(x.rows(), w.rows());
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t n = 0; n < w.rows(); ++n)
      for (std::size_t k = 0; k < x.cols(); ++k) y(m, n) += static_cast<double>(x(m, k)) * static_cast<double>(w(n, k));
  return y;
}

/// Root of the mean square, in the unit of y.
double error(const tern::matrix<float>& y, const tern::matrix<double>& exact) {
  double sum = 0;
  for (std::size_t i = 0; i < y.rows() * y.cols(); ++i)
    sum += std::pow(static_cast<double>(y.data()[i]) - exact.data()[i], 2);
  return std::sqrt(sum / static_cast<double>(y.rows() * y.cols()));
}

tern::matrix<float> product(const tern::quantized_activations& x, const tern::quantized_matrix& w) {
  tern::matrix<float> y(x.rows(), w.rows);
  tern::matmul(x, tern::int8_matrix(w), y);
  return y;
}

/// a without the given columns.
tern::matrix<float> without(const tern::matrix<float>& a, const std::vector<std::size_t>& columns) {
  tern::matrix<float> out(a.rows(), a.cols() - columns.size());
  for (std::size_t n = 0; n < a.rows(); ++n)
    for (std::size_t k = 0, j = 0; k < a.cols(); ++k)
      if (j < columns.size() && columns[j] == k)
        ++j;
      else
        out(n, k - j) = a(n, k);
  return out;
}

}  // namespace

TEST_CASE("LLM.int8: the order of errors, and what is left of them", "[llm_int8]") {
  const bool unequal = GENERATE(false, true);
  const std::vector<float> none;
  for (const std::size_t outliers : {1u, 2u, 3u, 5u, 7u})
    for (const float factor : {20.0f, 40.0f, 60.0f})
      for (const unsigned seed : {1u, 2u, 3u}) {
        const sample s = draw(outliers, factor, unequal, seed);
        const auto exact = exact_product(s.x, s.w);
        const auto of_channels = tern::quantize_absmax(s.w), of_tensor = tern::quantize_absmax(s.w, tern::per_tensor);
        const auto tokenwise = tern::quantize_activations(s.x);
        const double per_tensor = error(product(tern::quantize_activations_per_tensor(s.x), of_tensor), exact);
        const double per_row = error(product(tokenwise, of_tensor), exact);
        const double vector_wise = error(product(tokenwise, of_channels), exact);
        const auto decomposed = tern::llm_int8_linear::from_float(s.w, none, {.outlier_bits = 16})(s.x);
        const double decomposition = error(decomposed, exact);
        const double eight_bits = error(tern::llm_int8_linear::from_float(s.w)(s.x), exact);
        const auto x = without(s.x, s.columns), w = without(s.w, s.columns);
        const double quiet =
            error(product(tern::quantize_activations(x), tern::quantize_absmax(w)), exact_product(x, w));
        INFO(outliers << " columns x " << factor << ", seed " << seed << ": " << per_tensor << " " << per_row << " "
                      << vector_wise << " " << eight_bits << " " << decomposition << ", without the columns " << quiet);
        CHECK(per_tensor > 1.2 * per_row);
        CHECK(per_row > (unequal ? 1.03 : 0.98) * vector_wise);
        CHECK(vector_wise > 3 * eight_bits);
        CHECK(vector_wise > 3.5 * decomposition);
        CHECK(decomposition <= 1.05 * quiet);

        // With columns that calibration found on other tokens.
        tern::input_maxima seen(inputs);
        seen.observe(draw(outliers, factor, unequal, seed + 50).x);
        const auto columns = tern::outlier_columns(seen.maxima(), 6.0f);
        CHECK(columns == s.columns);
        const auto of_columns = tern::llm_int8_static_linear::from_float(s.w, columns)(s.x);
        CHECK(same(of_columns, decomposed));
        CHECK(error(of_columns, exact) <= 1.05 * quiet);
      }
}

TEST_CASE("LLM.int8: with weights of 8 bits as good against these weights", "[llm_int8]") {
  for (const float factor : {20.0f, 60.0f}) {
    const sample s = draw(7, factor, true, 4);
    const auto layer = tern::llm_int8_linear::from_float(s.w);
    const auto weights = tern::dequantize(layer.weights());
    const auto x = without(s.x, s.columns), w = without(weights, s.columns);
    const tern::llm_int8_linear without_columns(tern::int8_matrix(tern::quantize_absmax(w)));
    CHECK(error(layer(s.x), exact_product(s.x, weights)) <=
          1.05 * error(without_columns(x), exact_product(x, tern::dequantize(without_columns.weights()))));
  }
}
