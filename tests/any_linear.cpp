// SPDX-License-Identifier: MIT
#include <tern/any_linear.hpp>

#include <tern/eigen.hpp>

#include <cmath>

#include "support/backward_executor.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern::any_linear;
using tern_test::backward_executor;
using tern_test::contains, tern_test::draw_matrix, tern_test::same;

namespace {

using layers = tern::type_list<tern::bit_linear, tern::multi_ternary_linear, tern::trit_code_linear, tern::int4_linear,
                               tern::int8_linear, tern::linear<tern::packed_matrix<tern::b3>>, tern::llm_int8_linear,
                               tern::int8_weight_only_linear>;

constexpr std::size_t outputs = 37, inputs = 96;

tern::input_scaling scaling_of(std::size_t count) {
  std::vector<float> scales(count);
  for (std::size_t k = 0; k < count; ++k) scales[k] = 0.3f + 0.1f * static_cast<float>(k % 11);
  return tern::input_scaling(scales);
}

std::vector<float> bias_of(std::size_t count) {
  const auto b = draw_matrix(1, count, 2);
  return std::vector<float>(b.data(), b.data() + count);
}

/// A layer of the type: by its own method where it has one.
template <class Layer>
Layer make(const tern::matrix<float>& w) {
  if constexpr (std::same_as<Layer, tern::linear<tern::packed_matrix<tern::b3>>>)
    return Layer(tern::quantize_absmean(w, tern::per_channel), bias_of(w.rows()));
  else
    return Layer::from_float(w, bias_of(w.rows()));
}

/// What any_linear computes is what the layer that it was made from computes.
template <class Layer>
void check_same(const Layer& layer, const any_linear& any) {
  CHECK(any.in_features() == layer.in_features());
  CHECK(any.out_features() == layer.out_features());
  for (const std::size_t tokens : {std::size_t{0}, std::size_t{1}, std::size_t{6}}) {
    const auto x = draw_matrix(tokens, layer.in_features(), 3);
    const auto y = layer(x);
    CHECK(same(any(x), y));
    tern::matrix<float> out(tokens, layer.out_features());
    tern::aligned_bytes workspace(any.workspace_bytes(tokens));
    any(x, out, workspace, backward_executor{});
    CHECK(same(out, y));
  }
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("any linear: computes what the layer computes, behind any transforms", "[linear]", layers) {
  const auto w = draw_matrix(outputs, inputs, 1);
  const auto layer = make<TestType>(w);
  const tern::hadamard_rotation r(inputs, 5);
  const auto s = scaling_of(inputs);
  check_same(layer, any_linear(layer));
  const tern::transformed_linear rotated(layer, r);
  check_same(rotated, any_linear(rotated));
  check_same(rotated, any_linear(layer, {r}));
  const tern::transformed_linear both(tern::transformed_linear(layer, r), s);
  check_same(both, any_linear(both));
  check_same(both, any_linear(layer, {s, r}));
  check_same(both, any_linear(rotated, {s}));
  CHECK(any_linear(both).transforms().size() == 2);
  CHECK(std::holds_alternative<tern::input_scaling>(any_linear(both).transforms()[0]));
}

TEST_CASE("any linear: static outlier columns", "[linear]") {
  const auto layer = tern::llm_int8_static_linear::from_float(draw_matrix(outputs, inputs, 1), {0, 7, 95},
                                                              bias_of(outputs), {.scales = tern::scale_type::bfloat16});
  const any_linear any(layer);
  check_same(layer, any);
  CHECK(std::vector<std::size_t>(any.outlier_columns().begin(), any.outlier_columns().end()) ==
        std::vector<std::size_t>{0, 7, 95});
  CHECK(any.storage_bytes() == layer.weights().storage_bytes() + 3 * 8 + layer.column_weights().storage_bytes());
  // The columns have 16 bits, the others 8.
  const auto w = draw_matrix(outputs, inputs, 1), w_hat = any.dequantized();
  const auto plain = tern::dequantize(layer.weights()), of_columns = tern::dequantize(layer.column_weights());
  for (std::size_t n = 0; n < outputs; ++n) {
    CHECK(std::fabs(w_hat(n, 7) - w(n, 7)) < 1e-4f);
    CHECK(w_hat(n, 7) == of_columns(n, 1));
    CHECK(w_hat(n, 8) == plain(n, 8));
  }
}

TEST_CASE("any linear: float activations", "[linear]") {
  const auto layer = tern::int8_weight_only_linear::from_float(draw_matrix(outputs, inputs, 1), bias_of(outputs));
  const tern::int8_linear same_weights(layer.weights(), bias_of(outputs));
  const any_linear any(layer), rotated(layer, {tern::hadamard_rotation(inputs)}), int8(same_weights);
  CHECK(any.has_float_activations());
  CHECK(rotated.has_float_activations());
  CHECK(!int8.has_float_activations());
  CHECK(!any_linear(tern::llm_int8_linear::from_float(draw_matrix(4, 4, 1))).has_float_activations());
  CHECK_THROWS_AS(any_linear().has_float_activations(), tern::shape_error);
  CHECK(any.workspace_bytes(3) == 0);
  CHECK(rotated.workspace_bytes(3) == 3 * inputs * sizeof(float));
  // Size, weights and blob are those of the weights, whatever the activations are.
  CHECK(any.storage_bytes() == int8.storage_bytes());
  CHECK(same(any.dequantized(), int8.dequantized()));
  const tern::aligned_bytes blob = any.blob(), other = int8.blob(), saved = tern::save(layer);
  CHECK(std::equal(blob.data(), blob.data() + blob.size(), other.data(), other.data() + other.size()));
  CHECK(std::equal(blob.data(), blob.data() + blob.size(), saved.data(), saved.data() + saved.size()));
  const auto x = draw_matrix(3, inputs, 3);
  CHECK(same(tern::load<tern::int8_weight_only_linear>(blob)(x), any(x)));
  CHECK(!same(any(x), int8(x)));
}

TEST_CASE("any linear: LLM.int8() with weights of 16 bits", "[linear]") {
  const auto w = draw_matrix(outputs, inputs, 1);
  const auto layer = tern::llm_int8_linear::from_float(w, bias_of(outputs), {.threshold = 1, .outlier_bits = 16});
  const any_linear any(layer);
  check_same(layer, any);
  CHECK(any.storage_bytes() == layer.weights().storage_bytes() + layer.remainder().storage_bytes());
  CHECK(tern::load<tern::llm_int8_linear>(any.blob()).remainder().cols() == inputs);
  CHECK(any.outlier_weights().cols() == 0);
}

TEST_CASE("any linear: facts", "[linear]") {
  const auto w = draw_matrix(outputs, inputs, 1);
  const auto layer = tern::int8_linear::from_float(w, bias_of(outputs));
  const any_linear any(layer, {scaling_of(inputs), tern::hadamard_rotation(inputs)});
  // Three panels of 16 x 96 codes, 16 scales and 16 sums; 96 scales of inputs.
  const std::size_t bytes = 3 * (16 * 96 + 16 * 4 + 16 * 4) + 96 * 4;
  CHECK(any.storage_bytes() == bytes);
  CHECK(any.bits_per_weight() == 8.0 * static_cast<double>(bytes) / (37.0 * 96.0));
  CHECK(std::vector<float>(any.bias().begin(), any.bias().end()) == bias_of(outputs));
  CHECK(any.workspace_bytes(2) == layer.workspace_bytes(2) + 2 * inputs * 4);
  CHECK(any.outlier_columns().empty());

  const any_linear copy = any;
  CHECK(copy.bias().data() == any.bias().data());  // shared
  const tern::aligned_bytes blob = any.blob(), saved = tern::save(layer);
  REQUIRE(blob.size() == saved.size());
  CHECK(std::memcmp(blob.data(), saved.data(), saved.size()) == 0);
  const auto llm = tern::llm_int8_linear::from_float(w, bias_of(outputs), {.threshold = 3.5f});
  CHECK(tern::load<tern::llm_int8_linear>(any_linear(llm).blob()).threshold() == 3.5f);
}

TEST_CASE("any linear: weights in the basis of the caller", "[linear]") {
  // Powers of two and a block of 64 round nothing, and int8 holds these integers: so the very weights come back.
  constexpr std::size_t n = 5, k = 64;
  tern::matrix<float> w(n, k);
  for (std::size_t i = 0; i < n * k; ++i) w.data()[i] = static_cast<float>((i * 37) % 7) - 3.0f;
  std::vector<float> powers(k);
  for (std::size_t i = 0; i < k; ++i) powers[i] = i % 3 == 0 ? 2.0f : i % 3 == 1 ? 1.0f : 4.0f;
  const tern::input_scaling s(powers);
  const tern::hadamard_rotation r(k, 9);

  // Levels of an eighth: what a rotation of integers by 8 x 8 is made of.
  const auto levels_of = [&](const tern::matrix<float>& m) {
    tern::quantized_matrix q(1, n, k, tern::per_tensor);
    q.scales[0] = 0.125f;
    for (std::size_t i = 0; i < n * k; ++i) q.codes[i] = static_cast<std::int8_t>(m.data()[i] * 8);
    CHECK(same(tern::dequantize(q), m));
    return tern::int8_linear(q);
  };
  CHECK(same(any_linear(levels_of(w)).dequantized(), w));
  CHECK(same(any_linear(levels_of(s.weights(w)), {s}).dequantized(), w));
  CHECK(same(any_linear(levels_of(r.weights(w)), {r}).dequantized(), w));
  for (std::size_t i = 0; i < n * k; ++i) w.data()[i] = static_cast<float>(i % 5 == 0);  // stays small behind both
  CHECK(same(any_linear(levels_of(r.weights(s.weights(w))), {s, r}).dequantized(), w));
}

TEST_CASE("any linear: inputs that fill no line of memory", "[linear]") {
  const auto layer = tern::int8_linear::from_float(draw_matrix(5, 7, 1));
  const tern::transformed_linear scaled(layer, scaling_of(7));
  check_same(scaled, any_linear(scaled));
  CHECK(any_linear(scaled).workspace_bytes(3) == layer.workspace_bytes(3) + 128);  // 3 x 7 floats, in lines of 64
}

TEST_CASE("any linear: Eigen and 16 bits in", "[linear]") {
  const auto x = draw_matrix(3, inputs, 4);
  const any_linear any(tern::int4_linear::from_float(draw_matrix(outputs, inputs, 1)),
                       {tern::hadamard_rotation(inputs)});
  const auto y = any(x);
  const Eigen::MatrixXf columns = tern::to_eigen(x);
  const auto z = any(columns);
  for (Eigen::Index m = 0; m < 3; ++m)
    for (Eigen::Index n = 0; n < 37; ++n) CHECK(z(m, n) == y(static_cast<std::size_t>(m), static_cast<std::size_t>(n)));
  tern::matrix<tern::half> halves(3, inputs);
  tern::matrix<float> rounded(3, inputs);
  for (std::size_t i = 0; i < 3 * inputs; ++i) {
    halves.data()[i] = tern::half(x.data()[i]);
    rounded.data()[i] = halves.data()[i];
  }
  CHECK(same(any(halves.view()), any(rounded)));
}

TEST_CASE("any linear: what is refused", "[linear]") {
  const any_linear none;
  CHECK(none.in_features() == 0);
  CHECK(none.out_features() == 0);
  CHECK(none.transforms().empty());
  CHECK_THROWS_WITH(none(draw_matrix(1, 4, 1)), contains("holds no layer"));
  CHECK_THROWS_AS(none.blob(), tern::shape_error);

  const auto layer = tern::bit_linear::from_float(draw_matrix(outputs, inputs, 1));
  CHECK_THROWS_WITH(any_linear(layer, {tern::hadamard_rotation(95)}), contains("takes 96 inputs, a transform has 95"));
  const any_linear any(layer, {scaling_of(inputs)});
  CHECK_THROWS_WITH(any(draw_matrix(2, inputs + 1, 4)), contains("takes 96 inputs"));
  tern::matrix<float> y(2, outputs), narrow(2, outputs - 1);
  const auto x = draw_matrix(2, inputs, 4);
  tern::aligned_bytes workspace(any.workspace_bytes(2) + 64);
  const std::span<std::byte> bytes = workspace;
  CHECK_THROWS_WITH(any(x, y, bytes.first(any.workspace_bytes(2) - 64)), contains("need a workspace of"));
  CHECK_THROWS_WITH(any(x, y, bytes.subspan(4)), contains("any_linear: 2 tokens need a workspace of"));
  CHECK_THROWS_AS(any(x, narrow, bytes), tern::shape_error);
  auto bad = x;
  bad(1, 5) = std::nanf("");
  CHECK_THROWS_WITH(any(bad, y, bytes), contains("row 1, column 5"));
}

TEST_CASE("any linear: an executor by reference is the executor", "[parallel]") {
  const backward_executor backward;
  const tern::executor_reference ex(backward);
  CHECK(ex.concurrency() == 3);
  std::vector<std::size_t> order;
  ex.parallel_for(4, [&](std::size_t i) { order.push_back(i); });
  CHECK(order == std::vector<std::size_t>{3, 2, 1, 0});
  static_assert(tern::executor<tern::executor_reference>);
}
