// SPDX-License-Identifier: MIT
#include <tern/tern.hpp>

#include <cmath>
#include <limits>
#include <thread>

#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern_test::draw_matrix;
using tern_test::same;
using tern_test::textbook_float_layer;
using tern_test::textbook_layer;

namespace {

using layers =
    tern::type_list<tern::bit_linear, tern::multi_ternary_linear, tern::int8_linear, tern::int4_linear,
                    tern::linear<tern::ternary_matrix<tern::b3>>, tern::trit_code_linear,
                    tern::linear<tern::trit_code_matrix<tern::n6>>, tern::linear<tern::trit_code_matrix<tern::b3x3>>>;
using float_layers =
    tern::type_list<tern::int8_weight_only_linear, tern::linear<tern::int4_matrix, tern::float_activations>,
                    tern::linear<tern::multi_ternary_matrix<tern::b3>, tern::float_activations>,
                    tern::linear<tern::trit_code_matrix<tern::b3x2>, tern::float_activations>>;

std::vector<float> draw_vector(std::size_t size, unsigned seed) {
  const auto m = draw_matrix(1, size, seed);
  return {m.data(), m.data() + size};
}

/// What the layer must give for x, from what its packed weights hold.
template <class Layer>
tern::matrix<float> expected(const Layer& layer, const tern::matrix<float>& x) {
  return textbook_layer(unpack(layer.weights()), {layer.bias().begin(), layer.bias().end()}, x);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("linear: float in, float out, as the textbook says", "[linear]", layers) {
  const std::size_t outputs = GENERATE(as<std::size_t>(), 0, 1, 16, 37),
                    inputs = GENERATE(as<std::size_t>(), 0, 1, 20, 64, 133);
  const auto bias = GENERATE(true, false) ? draw_vector(outputs, 2) : std::vector<float>();
  const auto layer = TestType::from_float(draw_matrix(outputs, inputs, 1), bias);
  CHECK(layer.in_features() == inputs);
  CHECK(layer.out_features() == outputs);
  CHECK(std::equal(bias.begin(), bias.end(), layer.bias().begin(), layer.bias().end()));
  for (const std::size_t tokens : std::vector<std::size_t>{0, 1, 2, 5, 67}) {
    const auto x = draw_matrix(tokens, inputs, 3);
    CHECK(same(layer(x), expected(layer, x)));
  }
}

TEMPLATE_LIST_TEST_CASE("linear: float activations go into the product as they are", "[linear]", float_layers) {
  const std::size_t outputs = GENERATE(as<std::size_t>(), 0, 1, 37), inputs = GENERATE(as<std::size_t>(), 0, 1, 133);
  const auto bias = GENERATE(true, false) ? draw_vector(outputs, 2) : std::vector<float>();
  const auto layer = TestType::from_float(draw_matrix(outputs, inputs, 1), bias);
  CHECK(layer.workspace_bytes(1000) == 0);
  for (const std::size_t tokens : std::vector<std::size_t>{0, 1, 5, 67}) {
    auto x = draw_matrix(tokens, inputs, 3);
    if (tokens * inputs != 0) x(0, 0) = 1e6f;  // what one scale per token would not serve
    const auto want = textbook_float_layer(unpack(layer.weights()), bias, x);
    CHECK(same(layer(x), want));
    tern::matrix<float> y(tokens, outputs);
    layer(x, y, {});
    CHECK(same(y, want));
    tern::matrix<tern::half> halves(tokens, outputs);
    layer(x, halves, {});
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < tokens * outputs; ++i)
      wrong += halves.data()[i].bits != tern::half(want.data()[i]).bits;
    CHECK(wrong == 0);
  }
}

TEST_CASE("linear: float activations make the same weights and follow the rules of IEEE", "[linear]") {
  const auto w = draw_matrix(20, 50, 5);
  const auto bias = draw_vector(20, 7);
  const auto layer = tern::int8_weight_only_linear::from_float(w, bias);
  const auto int8 = tern::int8_linear::from_float(w, bias);
  CHECK(unpack(layer.weights()).codes == unpack(int8.weights()).codes);
  CHECK(unpack(layer.weights()).scales == unpack(int8.weights()).scales);
  const auto affine = tern::quantize_zero_point(w, tern::per_group(16));
  auto x = draw_matrix(3, 50, 6);
  CHECK(same(tern::int8_weight_only_linear(affine, bias)(x), textbook_float_layer(affine, bias, x)));

  x(1, 4) = std::numeric_limits<float>::quiet_NaN();
  const auto y = layer(x);
  for (std::size_t n = 0; n < 20; ++n) CHECK((std::isnan(y(1, n)) && std::isfinite(y(0, n)) && std::isfinite(y(2, n))));
  CHECK_THROWS_WITH(layer(draw_matrix(3, 49, 8)), "linear: x is 3x49 but the layer takes 50 inputs");
  // More inputs than int32 would hold sums of.
  const std::size_t many = 131072;
  const auto long_row = tern::int8_weight_only_linear::from_float(draw_matrix(1, many, 9));
  const auto long_x = draw_matrix(1, many, 10);
  CHECK(same(long_row(long_x), textbook_float_layer(unpack(long_row.weights()), {}, long_x)));
}

TEST_CASE("linear: each layer quantises by its own method", "[linear]") {
  const auto w = draw_matrix(5, 40, 4);
  const auto codes_of = [](const auto& layer) { return unpack(layer.weights()).codes; };
  const auto scales_of = [](const auto& layer) { return unpack(layer.weights()).scales; };

  CHECK(codes_of(tern::bit_linear::from_float(w)) == tern::quantize_absmean(w, tern::per_tensor).codes);
  CHECK(scales_of(tern::bit_linear::from_float(w)) == tern::quantize_absmean(w, tern::per_tensor).scales);
  CHECK(codes_of(tern::multi_ternary_linear::from_float(w)) == tern::decompose(w, {.planes = 2}).codes);
  CHECK(scales_of(tern::multi_ternary_linear::from_float(w)) == tern::decompose(w, {.planes = 2}).scales);
  CHECK(codes_of(tern::int8_linear::from_float(w)) == tern::quantize_absmax(w, tern::per_channel).codes);
  CHECK(scales_of(tern::int8_linear::from_float(w)) == tern::quantize_absmax(w, tern::per_channel).scales);

  CHECK(codes_of(tern::int4_linear::from_float(w)) == tern::quantize_mse(w, tern::per_group(128), {.bits = 4}).codes);
  CHECK(codes_of(tern::trit_code_linear::from_float(w)) == tern::quantize_trit_code(w, {.planes = 2}).codes);
  CHECK(scales_of(tern::trit_code_linear::from_float(w)) == tern::quantize_trit_code(w, {.planes = 2}).scales);
  CHECK(codes_of(tern::linear<tern::trit_code_matrix<tern::b3x3>>::from_float(w)) ==
        tern::quantize_trit_code(w, {.planes = 3}).codes);

  const std::vector<float> none;
  CHECK(scales_of(tern::bit_linear::from_float(w, none, tern::per_group(16))) ==
        tern::quantize_absmean(w, tern::per_group(16)).scales);
  const auto three = tern::multi_ternary_linear::from_float(w, none, {.planes = 3, .granularity = tern::per_group(32)},
                                                            {.scales = tern::scale_type::bfloat16});
  CHECK(three.weights().planes() == 3);
  CHECK(three.weights().format().scales == tern::scale_type::bfloat16);
  CHECK(three.weights().format().granularity == tern::per_group(32));
}

TEST_CASE("linear: from codes, scales and zero points", "[linear]") {
  const auto w = draw_matrix(20, 50, 5), x = draw_matrix(3, 50, 6);
  const auto bias = draw_vector(20, 7);
  const auto affine = tern::quantize_zero_point(w, tern::per_group(16));
  CHECK(same(tern::int8_linear(affine, bias)(x), textbook_layer(affine, bias, x)));

  // Trits by hand.
  const std::vector<std::int8_t> trits = {1, 0, -1, 1, 1, 1};
  const auto q = tern::quantized_matrix::from_codes({trits.data(), 2, 3}, std::vector<float>{0.5f, 2.0f});
  const tern::bit_linear layer(q, {1.0f, -1.0f});
  const tern::matrix<float> tokens(1, 3, {127, 64, -127});
  const auto y = layer(tokens);
  CHECK(y(0, 0) == 0.5f * 254 + 1);
  CHECK(y(0, 1) == 2.0f * 64 - 1);
  CHECK(same(tern::bit_linear(tern::ternary_matrix<>(q), {1.0f, -1.0f})(tokens), y));
}

/// The integers of a plane code's product are those of its planes, weighted: one product instead of several.
TEST_CASE("linear: a plane code is the sum of its planes", "[linear]") {
  const auto w = draw_matrix(18, 75, 20), x = draw_matrix(5, 75, 21);
  for (const std::size_t planes : {2u, 3u}) {
    const tern::quantized_trit_code q = tern::quantize_trit_code(w, {.planes = planes});
    tern::quantized_matrix apart(planes, q.rows, q.cols, q.granularity);
    for (std::size_t n = 0; n < q.rows; ++n)
      for (std::size_t k = 0; k < q.cols; ++k) {
        std::int8_t trits[3] = {};
        REQUIRE(q.code.trits_of(q.code_row(0, n)[k], trits));
        for (std::size_t p = 0; p < planes; ++p) apart.code_row(p, n)[k] = trits[p];
      }
    const auto codes = tern::quantize_activations(x);
    tern::matrix<std::int32_t> sums(5, 18), combined(5, 18), sum(5, 18);
    for (std::size_t p = 0; p < planes; ++p) {
      tern::quantized_matrix plane(1, q.rows, q.cols, q.granularity);
      std::copy_n(apart.code_row(p, 0), plane.codes.size(), plane.codes.begin());
      tern::matmul(codes, tern::ternary_matrix<>(plane), sum);
      for (std::size_t i = 0; i < 5 * 18; ++i) combined.data()[i] += q.code.c[p] * sum.data()[i];
    }
    const auto check = [&](const auto& packed) {
      tern::matmul(codes, packed, sums);
      CHECK(std::equal(sums.data(), sums.data() + 5 * 18, combined.data()));
    };
    if (planes == 2) {
      check(tern::trit_code_matrix<>(q));
      check(tern::trit_code_matrix<tern::b3x2>(q));
    } else {
      check(tern::trit_code_matrix<tern::n6>(q));
      check(tern::trit_code_matrix<tern::b3x3>(q));
    }
  }
}

TEST_CASE("linear: a bias of the wrong size is refused", "[linear]") {
  const auto w = draw_matrix(5, 4, 8);
  CHECK_THROWS_AS(tern::bit_linear::from_float(w, std::vector<float>(4)), tern::shape_error);
  CHECK_THROWS_WITH(tern::bit_linear::from_float(w, std::vector<float>(4)), "linear: 4 biases for 5 outputs");
}

TEST_CASE("linear: batches of any rank", "[linear]") {
  const auto layer = tern::bit_linear::from_float(draw_matrix(7, 12, 9), draw_vector(7, 10));
  const auto x = draw_matrix(2 * 3 * 4, 12, 11);
  const auto y = expected(layer, x);
  CHECK(same(layer(tern::batch(x.data(), {2, 3, 4, 12})), y));
  const auto one = layer(tern::batch(x.data(), {12}));  // one token
  CHECK(one.rows() == 1);
  CHECK(std::equal(one.data(), one.data() + 7, y.data()));
}

TEMPLATE_LIST_TEST_CASE("linear: a token does not depend on its neighbours", "[linear]", layers) {
  const auto layer = TestType::from_float(draw_matrix(40, 100, 12), draw_vector(40, 13));
  const auto x = draw_matrix(64, 100, 14);
  const auto together = layer(x);
  std::size_t wrong = 0;
  for (std::size_t m = 0; m < 64; ++m) {
    const auto alone = layer(tern::matrix_view<const float>(x.row(m), 1, 100));
    wrong += !std::equal(alone.data(), alone.data() + 40, together.row(m));
  }
  CHECK(wrong == 0);
}

TEMPLATE_LIST_TEST_CASE("linear: half and bfloat16, in and out", "[linear]", layers) {
  const auto layer = TestType::from_float(draw_matrix(19, 33, 15), draw_vector(19, 16));
  const auto check = [&](auto zero) {
    using type = decltype(zero);
    tern::matrix<type> x(3, 33), y(3, 19);
    tern::matrix<float> wide(3, 33);
    const auto values = draw_matrix(3, 33, 17);
    for (std::size_t i = 0; i < 99; ++i) {
      x.data()[i] = type(values.data()[i]);
      wide.data()[i] = x.data()[i];
    }
    tern::aligned_bytes workspace(layer.workspace_bytes(3));
    layer(x, y, workspace);
    const auto want = expected(layer, wide);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < 3 * 19; ++i) wrong += y.data()[i].bits != type(want.data()[i]).bits;
    CHECK(wrong == 0);
    CHECK(same(layer(x), want));  // the convenient form always gives float
  };
  check(tern::half{});
  check(tern::bfloat16{});
}

TEST_CASE("linear: rows of x and y apart in memory, nothing written between them", "[linear]") {
  const auto layer = tern::int8_linear::from_float(draw_matrix(17, 30, 18));
  const auto padded = draw_matrix(4, 41, 19);
  const tern::matrix_view<const float> x(padded.data() + 1, 4, 30, 41);
  tern::matrix<float> dense(4, 30);
  for (std::size_t m = 0; m < 4; ++m) std::copy(x.row(m), x.row(m) + 30, dense.row(m));

  constexpr float canary = -12345.0f;
  std::vector<float> memory(4 * 23 + 3, canary);
  tern::aligned_bytes workspace(layer.workspace_bytes(4));
  layer(x, tern::matrix_view<float>(memory.data() + 3, 4, 17, 23), workspace);
  const auto want = expected(layer, dense);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < memory.size(); ++i) {
    const std::size_t m = (i - 3) / 23, n = (i - 3) % 23;
    wrong += memory[i] != (i >= 3 && n < 17 ? want(m, n) : canary);
  }
  CHECK(wrong == 0);
}

TEST_CASE("linear: whatever is wrong, y is untouched", "[linear]") {
  const auto layer = tern::bit_linear::from_float(draw_matrix(6, 40, 20));
  auto x = draw_matrix(3, 40, 21);
  tern::matrix<float> y(3, 6, std::vector<float>(18, 7.0f));
  tern::aligned_bytes memory(layer.workspace_bytes(3) + 64);
  const std::span<std::byte> workspace = memory;
  const std::size_t needed = layer.workspace_bytes(3);
  SECTION("depth") {
    const auto shallow = draw_matrix(3, 39, 22);
    CHECK_THROWS_AS(layer(shallow, y, workspace), tern::shape_error);
    CHECK_THROWS_WITH(layer(shallow, y, workspace), "linear: x is 3x39 but the layer takes 40 inputs");
    CHECK_THROWS_AS(layer(shallow), tern::shape_error);
  }
  SECTION("rows or columns of y") {
    CHECK_THROWS_AS(layer(x, tern::matrix_view<float>(y.data(), 2, 6), workspace), tern::shape_error);
    CHECK_THROWS_AS(layer(x, tern::matrix_view<float>(y.data(), 3, 5), workspace), tern::shape_error);
    CHECK_THROWS_WITH(layer(x, tern::matrix_view<float>(y.data(), 3, 5), workspace), tern_test::contains("y is 3x5"));
  }
  SECTION("workspace too small") {
    CHECK_THROWS_AS(layer(x, y, workspace.first(needed - 1)), tern::shape_error);
    CHECK_THROWS_WITH(layer(x, y, workspace.first(10)), tern_test::contains(std::to_string(needed) + " bytes, not 10"));
  }
  SECTION("workspace misaligned") { CHECK_THROWS_AS(layer(x, y, workspace.subspan(8)), tern::shape_error); }
  SECTION("a value that is not finite") {
    x(2, 39) = std::numeric_limits<float>::infinity();
    CHECK_THROWS_AS(layer(x, y, workspace), tern::range_error);
    CHECK_THROWS_WITH(layer(x, y, workspace), tern_test::contains("row 2, column 39"));
  }
  CHECK(std::count(y.data(), y.data() + 18, 7.0f) == 18);
}

TEST_CASE("linear: a workspace may be larger, and used again for fewer tokens", "[linear]") {
  const auto layer = tern::bit_linear::from_float(draw_matrix(6, 40, 23));
  tern::aligned_bytes workspace(layer.workspace_bytes(9) + 1000);
  for (const std::size_t tokens : std::vector<std::size_t>{9, 1, 4}) {
    const auto x = draw_matrix(tokens, 40, static_cast<unsigned>(tokens));
    tern::matrix<float> y(tokens, 6);
    layer(x, y, workspace);
    CHECK(same(y, expected(layer, x)));
  }
}

TEST_CASE("linear: one layer used by several threads at once", "[linear]") {
  const auto layer = tern::multi_ternary_linear::from_float(draw_matrix(50, 70, 24));
  const auto x = draw_matrix(8, 70, 25);
  const auto want = expected(layer, x);
  bool right[4] = {};
  {
    std::vector<std::jthread> threads;
    for (bool& r : right)
      threads.emplace_back([&] {
        r = true;
        for (int i = 0; i < 20; ++i) r = r && same(layer(x), want);
      });
  }
  for (const bool r : right) CHECK(r);
}

TEST_CASE("linear: copies and a layer that was never given weights", "[linear]") {
  auto layer = tern::bit_linear::from_float(draw_matrix(6, 40, 26), draw_vector(6, 27));
  const auto x = draw_matrix(2, 40, 28);
  const auto want = expected(layer, x);
  const tern::bit_linear copy = layer;
  layer = tern::bit_linear();
  CHECK(same(copy(x), want));
  CHECK(layer.in_features() == 0);
  CHECK(layer(tern::matrix<float>(3, 0)).rows() == 3);
}
