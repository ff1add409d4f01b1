// SPDX-License-Identifier: MIT
#include <tern/llm_int8_static_linear.hpp>

#include <tern/eigen.hpp>
#include <tern/transformed_linear.hpp>

#include <cmath>
#include <limits>

#include "support/backward_executor.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern_test::backward_executor;
using tern_test::contains, tern_test::draw_matrix, tern_test::same;

namespace {

/// Tokens in which some columns, and no others, have values of 6 and more.
tern::matrix<float> draw_tokens(std::size_t tokens, std::size_t inputs, const std::vector<std::size_t>& large,
                                unsigned seed) {
  auto x = draw_matrix(tokens, inputs, seed);
  for (std::size_t m = 0; m < tokens; ++m) {
    for (std::size_t k = 0; k < inputs; ++k) x(m, k) = std::fmax(-5.0f, std::fmin(5.0f, x(m, k)));
    for (const std::size_t k : large) x(m, k) = 40 * x(m, k) + (x(m, k) < 0 ? -7.0f : 7.0f);
  }
  return x;
}

}  // namespace

TEST_CASE("llm_int8_static_linear: what llm_int8_linear gives where outliers are in the columns", "[llm_int8]") {
  const std::size_t outputs = GENERATE(as<std::size_t>(), 0, 1, 37), tokens = GENERATE(as<std::size_t>(), 0, 1, 2, 67);
  const auto w = draw_matrix(outputs, 133, 1);
  const auto b = draw_matrix(1, outputs, 2);
  const std::vector<float> bias(b.data(), b.data() + outputs);
  for (const auto& columns : {std::vector<std::size_t>{}, {0}, {3, 4, 17, 64, 132}}) {
    const auto layer = tern::llm_int8_static_linear::from_float(w, columns, bias);
    const auto dynamic = tern::llm_int8_linear::from_float(w, bias, {.outlier_bits = 16});
    const auto x = draw_tokens(tokens, 133, columns, 3);
    const auto y = layer(x);
    CHECK(same(y, dynamic(x)));
    // From packed weights alone, and from all the parts of another.
    const auto narrow = tern::llm_int8_linear::from_float(w, bias);
    CHECK(same(tern::llm_int8_static_linear(narrow.weights(), columns, bias)(x), narrow(x)));
    CHECK(same(tern::llm_int8_static_linear(layer.weights(), columns, layer.column_weights(), bias)(x), y));
    // {} is no bias, wherever a bias can stand.
    const auto biasless = tern::llm_int8_linear::from_float(w);
    CHECK(same(tern::llm_int8_static_linear(biasless.weights(), columns, {})(x), biasless(x)));
    CHECK(same(tern::llm_int8_static_linear(layer.weights(), columns, layer.column_weights(), {})(x),
               tern::llm_int8_static_linear::from_float(w, columns)(x)));
    CHECK(std::vector<std::size_t>(layer.columns().begin(), layer.columns().end()) == columns);
    tern::matrix<float> out(tokens, outputs);
    tern::aligned_bytes workspace(layer.workspace_bytes(tokens));
    layer(x, out, workspace, backward_executor{});
    CHECK(same(out, y));
  }
}

TEST_CASE("llm_int8_static_linear: a token does not depend on its neighbours", "[llm_int8]") {
  const auto layer = tern::llm_int8_static_linear::from_float(draw_matrix(20, 64, 4), {5, 9});
  auto x = draw_matrix(6, 64, 5);
  x(2, 5) = 100, x(3, 30) = 50;  // the second is no column of the layer's
  const auto y = layer(x);
  for (std::size_t m = 0; m < 6; ++m) {
    const auto alone = layer(tern::matrix_view<const float>(x.row(m), 1, 64));
    for (std::size_t n = 0; n < 20; ++n) CHECK(alone(0, n) == y(m, n));
  }
}

TEST_CASE("llm_int8_static_linear: columns from calibration", "[llm_int8]") {
  tern::input_maxima seen(80);
  seen.observe(draw_tokens(10, 80, {7, 41}, 6));
  seen.observe(draw_tokens(10, 80, {7, 79}, 7));
  const auto columns = tern::outlier_columns(seen.maxima(), 6.0f);
  CHECK(columns == std::vector<std::size_t>{7, 41, 79});
  CHECK(tern::outlier_columns(seen.maxima(), std::numeric_limits<float>::infinity()).empty());
  CHECK(tern::outlier_columns(seen.maxima(), 0).size() == 80);
  CHECK(tern::outlier_columns(std::vector<float>{5.5f, 6, 6.5f}, 6) == std::vector<std::size_t>{1, 2});
  CHECK_THROWS_AS(tern::outlier_columns(seen.maxima(), -1.0f), tern::range_error);
  // What it is for: nearly the float product, where one int8 scale for everything is not.
  const auto w = draw_matrix(30, 80, 8), x = draw_tokens(20, 80, {7, 41}, 9);
  double split = 0, plain = 0;
  const auto y = tern::llm_int8_static_linear::from_float(w, columns)(x), z = tern::int8_linear::from_float(w)(x);
  for (std::size_t m = 0; m < 20; ++m)
    for (std::size_t n = 0; n < 30; ++n) {
      double sum = 0;
      for (std::size_t k = 0; k < 80; ++k) sum += static_cast<double>(x(m, k)) * static_cast<double>(w(n, k));
      split += std::pow(sum - static_cast<double>(y(m, n)), 2),
          plain += std::pow(sum - static_cast<double>(z(m, n)), 2);
    }
  CHECK(split < plain / 100);
}

TEST_CASE("llm_int8_static_linear: Eigen, 16-bit types, and behind a transform", "[llm_int8]") {
  const auto w = draw_matrix(12, 32, 10), x = draw_matrix(3, 32, 11);
  const auto layer = tern::llm_int8_static_linear::from_float(w, {1, 30});
  const auto y = layer(x);
  const Eigen::MatrixXf columns = tern::to_eigen(x);
  const auto of_eigen = layer(columns);
  CHECK(of_eigen(2, 11) == y(2, 11));
  tern::matrix<tern::bfloat16> narrow(3, 12);
  tern::aligned_bytes workspace(layer.workspace_bytes(3));
  layer(x, narrow, workspace);
  for (std::size_t i = 0; i < 36; ++i) CHECK(narrow.data()[i].bits == tern::bfloat16(y.data()[i]).bits);
  const tern::input_scaling two(std::vector<float>(32, 2.0f));
  const std::vector<float> none;
  const tern::scaled_linear<tern::llm_int8_static_linear> scaled(
      tern::llm_int8_static_linear::from_float(two.weights(w), {1, 30}), two);
  CHECK(same(scaled(x), y));
}

TEST_CASE("llm_int8_static_linear: what is refused leaves y as it was", "[llm_int8]") {
  const auto w = draw_matrix(12, 32, 12);
  for (const auto& bad : {std::vector<std::size_t>{32}, {3, 3}, {5, 4}})
    CHECK_THROWS_AS(tern::llm_int8_static_linear::from_float(w, bad), tern::range_error);
  CHECK_THROWS_AS(tern::llm_int8_static_linear::from_float(w, {1}, std::vector<float>(11)), tern::shape_error);
  CHECK_THROWS_AS(tern::llm_int8_static_linear(tern::int8_matrix(tern::quantize_absmax(w, tern::per_group(16))), {1}),
                  tern::range_error);
  CHECK_THROWS_AS(tern::llm_int8_static_linear(tern::int8_matrix(tern::quantize_zero_point(w)), {1}),
                  tern::range_error);
  const auto layer = tern::llm_int8_static_linear::from_float(w, {1, 30});
  const auto remade = [&](std::vector<std::size_t> columns, tern::packed_matrix<tern::i8> of_columns) {
    return tern::llm_int8_static_linear(layer.weights(), columns, of_columns);
  };
  CHECK_THROWS_AS(remade({1}, layer.column_weights()), tern::shape_error);
  CHECK_THROWS_AS(remade({1, 32}, layer.column_weights()), tern::range_error);
  CHECK_THROWS_AS(remade({1, 30}, tern::packed_matrix<tern::i8>(tern::quantize_absmax(draw_matrix(11, 2, 14)))),
                  tern::shape_error);
  CHECK_THROWS_AS(remade({1, 30}, tern::packed_matrix<tern::i8>(tern::quantize_zero_point(draw_matrix(12, 2, 14)))),
                  tern::range_error);
  auto x = draw_matrix(3, 32, 13);
  tern::matrix<float> y(3, 12);
  y(0, 0) = 7;
  tern::aligned_bytes workspace(layer.workspace_bytes(3));
  CHECK_THROWS_AS(layer(x, y, std::span<std::byte>(workspace).subspan(64)), tern::shape_error);
  for (const std::size_t begin : std::vector<std::size_t>{1, 64, workspace.size()})
    CHECK_THROWS_WITH(layer(x, y, std::span<std::byte>(workspace).subspan(begin)), contains("need a workspace of"));
  CHECK_THROWS_AS(layer(draw_matrix(3, 31, 1), y, workspace), tern::shape_error);
  tern::matrix<float> narrow(3, 11);
  CHECK_THROWS_AS(layer(x, narrow, workspace), tern::shape_error);
  x(2, 30) = std::numeric_limits<float>::quiet_NaN();  // in a column of floats
  CHECK_THROWS_WITH(layer(x, y, workspace), contains("row 2, column 30"));
  CHECK(y(0, 0) == 7.0f);
}
