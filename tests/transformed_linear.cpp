// SPDX-License-Identifier: MIT
#include <tern/tern.hpp>
#include <tern/transformed_linear.hpp>

#include <tern/eigen.hpp>

#include <cmath>
#include <limits>

#include "support/backward_executor.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern_test::backward_executor;
using tern_test::contains, tern_test::draw_matrix, tern_test::same;

namespace {

using layers = tern::type_list<tern::bit_linear, tern::multi_ternary_linear, tern::trit_code_linear, tern::int4_linear,
                               tern::int8_linear, tern::llm_int8_linear, tern::int8_weight_only_linear>;

tern::input_scaling scaling_of(std::size_t inputs) {
  std::vector<float> scales(inputs);
  for (std::size_t k = 0; k < inputs; ++k) scales[k] = 0.3f + 0.1f * static_cast<float>(k % 11);
  return tern::input_scaling(scales);
}

/// What a transform does to x, one call.
template <class Transform>
tern::matrix<float> transformed(const Transform& t, const tern::matrix<float>& x) {
  tern::matrix<float> out(x.rows(), x.cols());
  t.apply(x, out.view());
  return out;
}

template <class Layer, class Transform>
void check(const Transform& transform, std::size_t tokens, std::size_t outputs) {
  const std::size_t inputs = transform.inputs();
  const auto w = draw_matrix(outputs, inputs, 1);
  const auto b = draw_matrix(1, outputs, 2);
  const std::vector<float> bias(b.data(), b.data() + outputs);
  const auto layer = tern::transformed_linear<Layer, Transform>::from_float(w, bias, transform);
  const auto plain = Layer::from_float(transform.weights(w), bias);
  const auto x = draw_matrix(tokens, inputs, 3);
  const auto y = layer(x);
  CHECK(same(y, plain(transformed(transform, x))));
  tern::matrix<float> out(tokens, outputs);
  if constexpr (requires { layer.workspace_bytes(tokens); }) {
    tern::aligned_bytes workspace(layer.workspace_bytes(tokens));
    layer(x, out, workspace, backward_executor{});
    CHECK_THROWS_AS(layer(x, out, std::span<std::byte>(workspace).subspan(64)), tern::shape_error);
  } else {
    layer(x, out, backward_executor{});
  }
  CHECK(same(out, y));
  CHECK(layer.in_features() == inputs);
  CHECK(layer.out_features() == outputs);
  CHECK_THROWS_WITH(layer(draw_matrix(2, inputs + 1, 4)), contains("takes " + std::to_string(inputs)));
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("transformed linear: the layer of transformed weights on transformed inputs", "[linear]",
                        layers) {
  for (const std::size_t tokens : {std::size_t{1}, std::size_t{5}}) {
    check<TestType>(tern::hadamard_rotation(96), tokens, 37);
    check<TestType>(tern::hadamard_rotation(133, 9), tokens, 20);
    check<TestType>(scaling_of(75), tokens, 20);
  }
}

TEST_CASE("transformed linear: the output is nearly that of the float weights", "[linear]") {
  const auto w = draw_matrix(64, 256, 5), x = draw_matrix(7, 256, 6);
  const auto check_near = [&](const auto& y) {
    double error = 0, energy = 0;
    for (std::size_t m = 0; m < 7; ++m)
      for (std::size_t n = 0; n < 64; ++n) {
        double sum = 0;
        for (std::size_t k = 0; k < 256; ++k) sum += static_cast<double>(x(m, k)) * static_cast<double>(w(n, k));
        error += std::pow(sum - static_cast<double>(y(m, n)), 2), energy += sum * sum;
      }
    CHECK(error < 1e-3 * energy);  // int8 by int8 is 37 dB; scales that fit nothing cost some
  };
  const std::vector<float> none;
  const tern::hadamard_rotation r(256);
  check_near(tern::rotated_linear<tern::int8_linear>::from_float(w, none, r)(x));
  check_near(tern::scaled_linear<tern::int8_linear>::from_float(w, none, scaling_of(256))(x));
  using both = tern::rotated_linear<tern::scaled_linear<tern::int8_linear>>;
  check_near(both::from_float(w, none, r, scaling_of(256))(x));
}

TEST_CASE("transformed linear: rotation helps weights with outliers", "[linear]") {
  auto w = draw_matrix(64, 256, 7);
  for (std::size_t n = 0; n < 64; ++n) w(n, 4 * n) *= 30;
  const auto x = draw_matrix(20, 256, 8);
  const auto exact = tern::int8_linear::from_float(w)(x);
  const std::vector<float> none;
  const auto plain = tern::trit_code_linear::from_float(w)(x);
  const auto rotated =
      tern::rotated_linear<tern::trit_code_linear>::from_float(w, none, tern::hadamard_rotation(256))(x);
  CHECK(tern::distortion(exact, rotated).snr_db > tern::distortion(exact, plain).snr_db + 2);
}

TEST_CASE("transformed linear: Eigen matrices, vectors and 16-bit inputs", "[linear]") {
  const auto w = draw_matrix(20, 64, 9), x = draw_matrix(3, 64, 10);
  const std::vector<float> none;
  const auto layer = tern::rotated_linear<tern::bit_linear>::from_float(w, none, tern::hadamard_rotation(64));
  const auto y = layer(x);
  const Eigen::MatrixXf columns = tern::to_eigen(x);
  const auto z = layer(columns);
  for (Eigen::Index m = 0; m < 3; ++m)
    for (Eigen::Index n = 0; n < 20; ++n) CHECK(z(m, n) == y(static_cast<std::size_t>(m), static_cast<std::size_t>(n)));
  const Eigen::VectorXf token = columns.row(1);
  const auto of_token = layer(token);
  CHECK(of_token.size() == 20);
  CHECK(of_token(7) == y(1, 7));
}

TEST_CASE("transformed linear: what does not fit", "[linear]") {
  const auto layer = tern::bit_linear::from_float(draw_matrix(4, 32, 11));
  CHECK_THROWS_WITH(tern::rotated_linear<tern::bit_linear>(layer, tern::hadamard_rotation(31)),
                    contains("takes 32 inputs, the transform has 31"));
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    CHECK_THROWS_WITH(tern::input_scaling({1.0f, bad}), contains("scale 1 is"));
  tern::matrix<float> out(2, 2);
  CHECK_THROWS_AS(scaling_of(3).apply(draw_matrix(2, 2, 1), out.view()), tern::shape_error);
  auto x = draw_matrix(2, 32, 12);
  x(1, 5) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH((tern::rotated_linear<tern::bit_linear>(layer, tern::hadamard_rotation(32))(x)), contains("row 1"));
}
