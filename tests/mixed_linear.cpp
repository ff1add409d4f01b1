// SPDX-License-Identifier: MIT
#include <tern/mixed_linear.hpp>
#include <tern/quantize/gptq.hpp>
#include <tern/quantize/mixed_precision.hpp>
#include <tern/transformed_linear.hpp>

#include <tern/eigen.hpp>

#include <limits>

#include "support/backward_executor.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern::output_part;
using tern_test::backward_executor;
using tern_test::contains, tern_test::draw_matrix, tern_test::same;

namespace {

using one_plane = tern::ternary_matrix<tern::b3>;
using two_planes = tern::trit_code_matrix<tern::b3x2>;
using layer_type = tern::mixed_linear<one_plane, two_planes, tern::int8_matrix>;

using lists = std::vector<std::vector<std::size_t>>;

struct parts {
  output_part<one_plane> first;
  output_part<two_planes> second;
  output_part<tern::int8_matrix> third;
};

parts make(const tern::matrix<float>& w, const lists& outputs) {
  const auto take = [&](std::size_t p) { return tern::take_rows(w, outputs[p]); };
  parts out;
  if (!outputs[0].empty()) out.first = {one_plane(tern::quantize_absmean(take(0), tern::per_channel)), outputs[0]};
  if (!outputs[1].empty())
    out.second = {two_planes(tern::quantize_trit_code(take(1), {.planes = 2, .granularity = tern::per_group(20)})),
                  outputs[1]};
  if (!outputs[2].empty()) out.third = {tern::int8_matrix(tern::quantize_absmax(take(2))), outputs[2]};
  return out;
}

/// Output n by a layer that has this output and no other.
tern::matrix<float> row_by_row(const tern::matrix<float>& w, const lists& outputs, const std::vector<float>& bias,
                               const tern::matrix<float>& x) {
  tern::matrix<float> y(x.rows(), w.rows());
  for (std::size_t p = 0; p < 3; ++p)
    for (const std::size_t n : outputs[p]) {
      const std::vector<float> b = bias.empty() ? bias : std::vector<float>{bias[n]};
      const std::size_t row[] = {n};
      const auto one = tern::take_rows(w, row);
      tern::matrix<float> out;
      if (p == 0) out = tern::linear<one_plane>(tern::quantize_absmean(one, tern::per_channel), b)(x);
      // One code for all rows of the part: it is chosen by all of them.
      if (p == 1) {
        const auto code =
            tern::quantize_trit_code(tern::take_rows(w, outputs[1]), {.planes = 2, .granularity = tern::per_group(20)})
                .code;
        out = tern::linear<two_planes>(
            tern::quantize_trit_code(one, {.planes = 2, .granularity = tern::per_group(20), .code = code}), b)(x);
      }
      if (p == 2) out = tern::int8_linear(tern::quantize_absmax(one), b)(x);
      for (std::size_t m = 0; m < x.rows(); ++m) y(m, n) = out(m, 0);
    }
  return y;
}

layer_type layer_of(parts p, const std::vector<float>& bias = {}) {
  return layer_type(p.first, p.second, p.third, bias);
}

lists dealt(std::size_t outputs) {
  lists l(3);
  for (std::size_t n = 0; n < outputs; ++n) l[n * n % 7 % 3].push_back(n);
  return l;
}

}  // namespace

TEST_CASE("mixed linear: each output is what a layer of its own gives", "[linear]") {
  const std::size_t tokens = GENERATE(as<std::size_t>(), 1, 5);
  const auto w = draw_matrix(41, 60, 1), x = draw_matrix(tokens, 60, 2), b = draw_matrix(1, 41, 3);
  for (lists outputs : {dealt(41), lists{{}, {40}, {}}, lists{{0, 40}, {}, {}}}) {
    // What no part has yet goes to the last one.
    for (std::size_t n = 0; n < 41; ++n) {
      bool owned = false;
      for (const auto& part : outputs)
        for (const std::size_t i : part) owned = owned || i == n;
      if (!owned) outputs[2].push_back(n);
    }
    for (const auto& bias : {std::vector<float>{}, std::vector<float>(b.data(), b.data() + 41)}) {
      const layer_type layer = layer_of(make(w, outputs), bias);
      CHECK(layer.in_features() == 60);
      CHECK(layer.out_features() == 41);
      CHECK(layer.bias().size() == bias.size());
      const auto expected = row_by_row(w, outputs, bias, x), y = layer(x);
      CHECK(same(y, expected));
      tern::matrix<float> out(tokens, 41);
      tern::aligned_bytes workspace(layer.workspace_bytes(tokens));
      layer(x, out, workspace, backward_executor{});
      CHECK(same(out, expected));
      tern::matrix<tern::half> halves(tokens, 41);
      layer(x, halves, workspace);
      for (std::size_t m = 0; m < tokens; ++m)
        for (std::size_t n = 0; n < 41; ++n) CHECK(halves(m, n) == tern::half(expected(m, n)));
      Eigen::MatrixXf columns(static_cast<int>(tokens), 60);
      for (std::size_t m = 0; m < tokens; ++m)
        for (std::size_t k = 0; k < 60; ++k) columns(static_cast<int>(m), static_cast<int>(k)) = x(m, k);
      const Eigen::MatrixXf of_eigen = layer(columns);
      for (std::size_t m = 0; m < tokens; ++m)
        for (std::size_t n = 0; n < 41; ++n)
          CHECK(of_eigen(static_cast<int>(m), static_cast<int>(n)) == expected(m, n));
    }
  }
}

TEST_CASE("mixed linear: weights as stored and what they take", "[linear]") {
  const auto w = draw_matrix(41, 60, 1);
  const lists outputs = dealt(41);
  const parts p = make(w, outputs);
  const layer_type layer = layer_of(p);
  CHECK(layer.storage_bytes() ==
        p.first.weights.storage_bytes() + p.second.weights.storage_bytes() + p.third.weights.storage_bytes());
  CHECK(layer.part<1>().outputs == outputs[1]);
  const auto all = layer.dequantized(), of_second = tern::dequantize(p.second.weights.view());
  CHECK(all.rows() == 41);
  for (std::size_t i = 0; i < outputs[1].size(); ++i)
    for (std::size_t k = 0; k < 60; ++k) CHECK(all(outputs[1][i], k) == of_second(i, k));
}

TEST_CASE("mixed linear: behind a rotation, parts from a budget of bits", "[linear]") {
  auto w = draw_matrix(80, 128, 4);
  const auto x = draw_matrix(300, 128, 5);
  for (std::size_t n = 0; n < 80; n += 3)
    for (std::size_t k = 0; k < 128; ++k) w(n, k) *= 8;
  const tern::hadamard_rotation rotation(128);
  const auto v = rotation.weights(w);
  tern::matrix<float> z(300, 128);
  rotation.apply(x, z.view());
  tern::hessian h(128);
  h.observe(z);
  const auto curves = tern::plane_curves(v, h, 2);
  const auto blocks = tern::row_blocks(curves);
  std::vector<std::vector<tern::precision>> of_blocks;
  for (const auto& block : blocks) of_blocks.push_back(block.curve);
  const auto rows = tern::rows_of_points(blocks, tern::choose_precision(of_blocks, 80 * 1.5 * curves[0][0].bits));
  // Two of five blocks get two planes: as many as the budget has, all of large rows.
  REQUIRE(rows[1].size() == 32);
  std::size_t large = 0;
  for (const std::size_t n : rows[1]) large += n % 3 == 0;
  CHECK(large == 27);  // all that there are
  const auto q = tern::gptq_decompose(tern::take_rows(v, rows[0]), h, 1);
  const auto code = tern::gptq_trit_code(tern::take_rows(v, rows[1]), h, {.planes = 2});
  using mixed = tern::mixed_linear<one_plane, two_planes>;
  const tern::rotated_linear<mixed> layer(mixed({one_plane(q), rows[0]}, {two_planes(code), rows[1]}), rotation);
  const auto y = layer(x);
  const auto ones = tern::linear<one_plane>(q)(z);
  const auto twos = tern::linear<two_planes>(code)(z);
  bool equal = true;
  for (std::size_t m = 0; m < 300; ++m) {
    for (std::size_t i = 0; i < rows[0].size(); ++i) equal = equal && y(m, rows[0][i]) == ones(m, i);
    for (std::size_t i = 0; i < rows[1].size(); ++i) equal = equal && y(m, rows[1][i]) == twos(m, i);
  }
  CHECK(equal);
}

TEST_CASE("mixed linear: what is refused", "[linear]") {
  const auto w = draw_matrix(7, 40, 6);
  const lists outputs = {{0, 3}, {1, 2, 6}, {4, 5}};
  const parts p = make(w, outputs);
  const auto with = [&](std::vector<std::size_t> first, std::vector<std::size_t> second) {
    parts changed = p;
    changed.first.outputs = first, changed.second.outputs = second;
    return layer_of(changed);
  };
  CHECK(with({0, 3}, {1, 2, 6}).out_features() == 7);
  CHECK_THROWS_WITH(with({0, 3, 4}, {1, 2, 6}), contains("2 rows of weights for 3 outputs"));
  CHECK_THROWS_WITH(with({3, 0}, {1, 2, 6}), contains("output 0 after 3"));
  CHECK_THROWS_WITH(with({3, 3}, {1, 2, 6}), contains("output 3 after 3"));
  CHECK_THROWS_WITH(with({0, 3}, {1, 2, 3}), contains("output 3 is in two parts"));
  CHECK_THROWS_WITH(with({0, 3}, {1, 2, 7}), contains("output 7 where all parts together have 7"));
  CHECK_THROWS_AS(with({0, 3}, {1, 2, 7}), tern::shape_error);
  CHECK_THROWS_WITH(layer_of(p, std::vector<float>(6)), contains("6 biases for 7 outputs"));
  parts other = p;
  other.second = make(draw_matrix(7, 80, 7), outputs).second;
  CHECK_THROWS_WITH(layer_of(other), contains("parts of 40 and of 80 inputs"));
  other = p;
  other.first = make(draw_matrix(7, 0, 7), outputs).first;
  CHECK_THROWS_WITH(layer_of(other), contains("parts of 0 and of 40 inputs"));

  const layer_type layer = layer_of(p);
  auto x = draw_matrix(2, 40, 8);
  tern::matrix<float> y(2, 7), narrow(2, 6);
  tern::aligned_bytes workspace(layer.workspace_bytes(2));
  CHECK_THROWS_WITH(layer(draw_matrix(2, 41, 9)), contains("takes 40"));
  CHECK_THROWS_WITH(layer(x, narrow, workspace), contains("y is 2x6"));
  CHECK_THROWS_WITH(layer(x, y, std::span<std::byte>(workspace).subspan(64)), contains("workspace of"));
  x(1, 3) = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t n = 0; n < 7; ++n) y(0, n) = y(1, n) = 5.0f;
  CHECK_THROWS_AS(layer(x, y, workspace), tern::range_error);
  for (std::size_t n = 0; n < 7; ++n) CHECK((y(0, n) == 5.0f && y(1, n) == 5.0f));
}

TEST_CASE("mixed linear: a layer of nothing", "[linear]") {
  const layer_type nothing;
  CHECK(nothing.in_features() == 0);
  CHECK(nothing.out_features() == 0);
  CHECK(nothing(tern::matrix<float>(3, 0)).rows() == 3);

  // As linear: without outputs there are inputs all the same, and without inputs the bias.
  parts of_inputs;
  of_inputs.third.weights = tern::int8_matrix(tern::quantize_absmax(tern::matrix<float>(0, 40)));
  const auto no_outputs = layer_of(of_inputs);
  CHECK(no_outputs.in_features() == 40);
  CHECK(no_outputs(draw_matrix(2, 40, 1)).rows() == 2);
  const auto no_inputs = layer_of(make(tern::matrix<float>(3, 0), {{1}, {0}, {2}}), {5, 6, 7});
  const auto y = no_inputs(tern::matrix<float>(2, 0));
  for (std::size_t m = 0; m < 2; ++m)
    for (std::size_t n = 0; n < 3; ++n) CHECK(y(m, n) == static_cast<float>(5 + n));
}
