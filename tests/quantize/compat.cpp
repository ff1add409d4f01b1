// SPDX-License-Identifier: MIT
#include <tern/quantize/compat.hpp>

#include <tern/quantize/decompose.hpp>

#include <cmath>
#include <limits>
#include <random>

#include "support/catch.hpp"

namespace compat = tern::compat;
using values = std::vector<float>;

namespace {

#include "compat_golden.inc"

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

/// The generator of the recipe.
values generated(std::size_t count) {
  std::uint32_t state = 1;
  values x(count);
  for (std::size_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    x[i] = std::ldexp(static_cast<float>(static_cast<int>(state >> 8) - (1 << 23)), -20 - static_cast<int>(i % 5));
  }
  return x;
}

tern::matrix<float> operand(const golden_case& c) {
  if (c.bits.empty()) return {c.rows, c.cols, generated(c.rows * c.cols)};
  values x;
  for (const std::uint32_t bits : c.bits) x.push_back(std::bit_cast<float>(bits));
  return {c.rows, c.cols, x};
}

/// FNV-1a over the floats' bits, every NaN the same.
struct hash {
  std::uint64_t value = 0xcbf29ce484222325u;

  hash& add(float x) {
    value = (value ^ (x != x ? 0x7fc00000u : std::bit_cast<std::uint32_t>(x))) * 0x100000001b3u;
    return *this;
  }
  template <class T>
  hash& add(const std::vector<T>& x) {
    for (const T element : x) add(static_cast<float>(element));
    return *this;
  }
  template <class T>
  hash& add(const tern::matrix<T>& x) {
    for (std::size_t i = 0; i < x.rows() * x.cols(); ++i) add(static_cast<float>(x.data()[i]));
    return *this;
  }
};

std::uint64_t hash_of(std::string_view function, int parameter, const tern::matrix<float>& x) {
  hash h;
  const auto bits = static_cast<unsigned>(parameter);
  if (function == "activation_quant") {
    h.add(compat::activation_quant(x, bits));
  } else if (function == "symmetric") {
    const auto r = compat::symmetric_quantize(x, bits);
    h.add(r.quantized).add(r.scale).add(compat::symmetric_dequantize(r.quantized, r.scale));
  } else if (function == "asymmetric") {
    const auto r = compat::asymmetric_quantize(x, bits);
    h.add(r.quantized).add(r.scale).add(r.zero_point);
    h.add(compat::asymmetric_dequantize(r.quantized, r.scale, r.zero_point));
  } else if (function == "per_channel") {
    const auto r = compat::per_channel_quantize(x, 8, parameter);
    h.add(r.quantized).add(r.scales).add(compat::per_channel_dequantize(r.quantized, r.scales, parameter));
  } else if (function == "per_channel_4") {
    const auto r = compat::per_channel_quantize(x, 4, parameter);
    h.add(r.quantized).add(r.scales);
  } else if (function == "absmax" || function == "zeropoint") {
    try {
      const auto r = function == "absmax" ? compat::absmax_quantize(x) : compat::zeropoint_quantize(x);
      h.add(r.quantized).add(r.dequantized);
    } catch (const tern::range_error&) {
      return 0;
    }
  } else if (function == "rust_activations") {
    const auto r = compat::quantize_activations(x.data(), {x.rows(), x.cols()}, {.activation_bits = bits});
    h.add(r.data).add(r.scales).add(compat::dequantize_activations(r));
  } else if (function == "rust_weights") {
    const auto r = compat::quantize_weights(x, parameter == 0 ? x.cols() : 1);
    h.add(r.codes).add(r.scales);
  } else {
    FAIL("no function " << function);
  }
  return h.value;
}

values elements(const tern::matrix<float>& x) { return {x.data(), x.data() + x.rows() * x.cols()}; }

/// As values, and as halves and bfloat16s that hold the same numbers.
template <class F>
void check_element_types(const tern::matrix<float>& x, F f) {
  const auto as = [&](auto zero) {
    tern::matrix<decltype(zero)> narrow(x.rows(), x.cols());
    tern::matrix<float> wide(x.rows(), x.cols());
    for (std::size_t i = 0; i < x.rows() * x.cols(); ++i) {
      narrow.data()[i] = decltype(zero)(x.data()[i]);
      wide.data()[i] = narrow.data()[i];
    }
    CHECK(f(narrow) == f(wide));
    // Rows apart in memory.
    if (x.cols() > 1) {
      const tern::matrix_view<const float> part(wide.data(), x.rows(), x.cols() - 1, x.cols());
      tern::matrix<float> packed(x.rows(), x.cols() - 1);
      for (std::size_t m = 0; m < x.rows(); ++m)
        for (std::size_t k = 0; k + 1 < x.cols(); ++k) packed(m, k) = wide(m, k);
      CHECK(f(part) == f(packed));
    }
  };
  as(tern::half{});
  as(tern::bfloat16{});
}

}  // namespace

TEST_CASE("compat: every bit that the originals return", "[compat]") {
  REQUIRE(golden_cases.size() == std::size(golden_hashes[0].hash));
  for (const golden_hash& g : golden_hashes)
    for (std::size_t i = 0; i < golden_cases.size(); ++i) {
      INFO(g.function << " " << g.parameter << " of case " << golden_cases[i].name);
      CHECK(hash_of(g.function, g.parameter, operand(golden_cases[i])) == g.hash[i]);
    }
}

TEST_CASE("compat: the codes that the originals return", "[compat]") {
  for (const golden_codes& g : golden_8_bit_codes) {
    INFO(g.function << " of case " << golden_cases[g.index].name);
    const auto x = operand(golden_cases[g.index]);
    values codes;
    if (g.function == "symmetric") codes = elements(compat::symmetric_quantize(x).quantized);
    if (g.function == "asymmetric") codes = elements(compat::asymmetric_quantize(x).quantized);
    if (g.function == "rust")
      for (const int code : compat::quantize_activations(x.data(), {x.rows(), x.cols()}).data)
        codes.push_back(static_cast<float>(code));
    std::vector<int> whole;
    for (const float code : codes) whole.push_back(code != code ? -999 : static_cast<int>(code));
    CHECK(whole == g.codes);
  }
}

TEST_CASE("compat: error metrics of the original", "[compat]") {
  for (const golden_error& g : golden_errors) {
    INFO(golden_cases[g.index].name);
    const auto x = operand(golden_cases[g.index]);
    const auto r = compat::symmetric_quantize(x, 4);
    const auto e = compat::compute_quantization_error(x, compat::symmetric_dequantize(r.quantized, r.scale));
    CHECK(e.max_error == g.max_error);
    // torch sums floats in an order of its own.
    CHECK(std::fabs(e.mean_error - g.mean_error) <= 1e-6 * g.mean_error);
    CHECK(std::fabs(e.mse - g.mse) <= 1e-6 * g.mse);
    CHECK(std::fabs(e.snr_db - g.snr_db) <= 1e-5 * std::fabs(g.snr_db));
  }
}

TEST_CASE("compat: products of the functional BitLinear API", "[compat]") {
  const auto l = generated(4000);
  tern::matrix<float> x(7, 33), w(30, 33), gammas(3, 10);
  for (std::size_t i = 0; i < 7 * 33; ++i) {
    const float eighth = std::floor(l[i] * 8);
    x.data()[i] = eighth - 17 * std::floor(eighth / 17) - 8;
  }
  for (std::size_t i = 0; i < 30 * 33; ++i) {
    const float third = std::rint(l[500 + i] * 3);
    w.data()[i] = third > 0 ? 1.0f : third < 0 ? -1.0f : 0.0f;
  }
  for (std::size_t i = 0; i < 30; ++i) gammas.data()[i] = std::fabs(l[2000 + i]);
  const values bias(l.begin() + 2500, l.begin() + 2510);
  const auto component = [&](std::size_t i) {
    return tern::matrix_view<const float>(std::as_const(w).row(10 * i), 10, 33);
  };
  const auto gamma = [&](std::size_t i) { return std::span<const float>(gammas.row(i), 10); };
  const tern::matrix<float> large(61, 97, generated(61 * 97));
  const auto greedy = compat::greedy_ternary_decomposition(large, 4);
  for (const golden_product& g : golden_products) {
    INFO(g.function);
    hash h;
    if (g.function == "bitlinear") h.add(compat::bitlinear(x, component(0), gamma(0), bias));
    if (g.function == "bitlinear_no_bias") h.add(compat::bitlinear(x, component(1), gamma(1)));
    if (g.function == "multi") h.add(compat::multi_ternary_linear(x, w, gammas, bias));
    if (g.function == "multi_no_bias") h.add(compat::multi_ternary_linear(x, w, gammas));
    if (g.function == "greedy") h.add(greedy.ternary).add(greedy.gammas);
    CHECK(h.value == g.hash);
  }
  // The canonical decomposition holds the same numbers.
  const auto q = tern::decompose(large, {.planes = 4});
  CHECK(values(q.codes.begin(), q.codes.end()) == elements(greedy.ternary));
  CHECK(q.scales == elements(greedy.gammas));
}

TEST_CASE("bitlinear: by hand, and how gamma and bias are shared out", "[compat]") {
  const tern::matrix<float> x(1, 3, {1, 2, 3}), w(2, 3, {1, 0, -1, 1, 1, 1});
  CHECK(elements(compat::bitlinear(x, w, values{0.5f, 2})) == values{-1, 12});
  CHECK(elements(compat::bitlinear(x, w, values{0.5f, 2}, values{10, 20})) == values{9, 32});
  CHECK(elements(compat::bitlinear(x, w, values{3}, values{1})) == values{-5, 19});
  CHECK(elements(compat::bitlinear(tern::matrix<float>(1, 0), tern::matrix<float>(2, 0), values{1, 1}, values{4, 5})) ==
        values{4, 5});
  CHECK(compat::bitlinear(tern::matrix<float>(0, 3), w, values{1}).cols() == 2);
  // gamma's product is rounded before the bias comes: fma would give 2^-24.
  const float third = 1.0f / 3.0f;
  const tern::matrix<float> three(1, 1, {3}), one(1, 1, {1});
  CHECK(compat::bitlinear(three, one, values{third}, values{-1})(0, 0) == 0.0f);
  CHECK(std::fma(3.0f, third, -1.0f) != 0.0f);
  CHECK_THROWS_WITH(compat::bitlinear(x, tern::matrix<float>(2, 4), values{1}),
                    tern_test::contains("x is 1x3 but W is 2x4"));
  CHECK_THROWS_AS(compat::bitlinear(x, w, values{1, 2, 3}), tern::shape_error);
  CHECK_THROWS_AS(compat::bitlinear(x, w, {}), tern::shape_error);
  CHECK_THROWS_AS(compat::bitlinear(x, w, values{1}, values{1, 2, 3}), tern::shape_error);
}

TEST_CASE("multi_ternary_linear: no component is the bias, and what is refused", "[compat]") {
  const tern::matrix<float> x(2, 3), none(0, 3), gammas(0, 2);
  CHECK(elements(compat::multi_ternary_linear(x, none, gammas, values{1, 2})) == values{1, 2, 1, 2});
  CHECK(elements(compat::multi_ternary_linear(x, none, gammas)) == values{0, 0, 0, 0});
  CHECK_THROWS_AS(compat::multi_ternary_linear(x, tern::matrix<float>(3, 3), tern::matrix<float>(2, 2)),
                  tern::shape_error);
  CHECK_THROWS_AS(compat::multi_ternary_linear(x, tern::matrix<float>(2, 4), tern::matrix<float>(1, 2)),
                  tern::shape_error);
  CHECK_THROWS_AS(compat::multi_ternary_linear(x, none, gammas, values{1, 2, 3}), tern::shape_error);
}

TEST_CASE("greedy_ternary_decomposition: another base quantizer, and what is refused", "[compat]") {
  const tern::matrix<float> w(1, 3, {4, -1, 0});
  // The base keeps only the largest magnitude of the row.
  const auto largest = [](const tern::matrix<float>& r) {
    tern::quantized_matrix q(1, r.rows(), r.cols(), tern::per_channel);
    std::size_t at = 0;
    for (std::size_t k = 0; k < r.cols(); ++k)
      if (std::fabs(r(0, k)) > std::fabs(r(0, at))) at = k;
    q.codes[at] = r(0, at) < 0 ? -1 : 1;
    q.scales[0] = std::fabs(r(0, at));
    return q;
  };
  const auto d = compat::greedy_ternary_decomposition(w, 2, largest);
  CHECK(elements(d.gammas) == values{4, 1});
  CHECK(elements(d.ternary) == values{1, 0, 0, 0, -1, 0});
  CHECK_THROWS_AS(compat::greedy_ternary_decomposition(w, 0), tern::range_error);
  const auto per_tensor = [](const auto& r) { return tern::quantize_absmean(r, tern::per_tensor); };
  CHECK_THROWS_AS(compat::greedy_ternary_decomposition(w, 1, per_tensor), tern::shape_error);
}

TEST_CASE("compat: the Rust quantizer's own tests", "[compat]") {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  values x(2 * 16 * 128);
  for (float& value : x) value = normal(random);
  const auto two = compat::quantize_activations(x.data(), {4, 128});
  CHECK(two.shape == std::vector<std::size_t>{4, 128});
  CHECK(two.scales.size() == 4);
  CHECK(two.data.size() == 4 * 128);
  CHECK(two.numel() == 4 * 128);
  CHECK((two.batch_size() == 4 && two.hidden_dim() == 128));
  const auto three = compat::quantize_activations(x.data(), {2, 16, 128}, {.per_token_activation = false});
  CHECK(three.scales.size() == 32);  // per token even where the flag says otherwise
  CHECK(!three.per_token);
  CHECK((three.batch_size() == 2 && three.seq_len() == 16 && three.hidden_dim() == 128));
  CHECK(compat::dequantize_activations(three).rows() == 32);
  for (const int code : three.data) CHECK(code >= -127);
  const auto ste = compat::quantize_ste(x.data(), {2, 64});
  for (std::size_t i = 0; i < 128; ++i) CHECK(std::fabs(ste.data()[i] - x[i]) < 0.1f);
  const values zeros(4 * 64);
  const auto nothing = compat::quantize_activations(zeros.data(), {4, 64});
  CHECK(nothing.data == std::vector<std::int8_t>(4 * 64));
  CHECK(nothing.scales == values(4, 1.0f));
}

TEST_CASE("compat: the Rust quantizer's ranks and bits", "[compat]") {
  const values x(2 * 4 * 8 * 16);
  using list = std::initializer_list<std::size_t>;
  for (const list shape : {list{64}, list{2, 4, 8, 16}, list{}}) {
    CHECK_THROWS_AS(compat::quantize_activations(x.data(), shape), tern::shape_error);
    CHECK_THROWS_WITH(compat::quantize_ste(x.data(), shape), tern_test::contains("activations must be 2D or 3D"));
  }
  CHECK_THROWS_AS(compat::quantize_activations(x.data(), {2, 4}, {.activation_bits = 0}), tern::range_error);
  CHECK_THROWS_WITH(compat::quantize_activations(x.data(), {2, 4}, {.activation_bits = 17}),
                    tern_test::contains("activation_bits must be 1-16, not 17"));
  compat::quantized_activations q = compat::quantize_activations(x.data(), {2, 4});
  q.shape = {8};
  CHECK_THROWS_WITH(compat::dequantize_activations(q), tern_test::contains("invalid shape for dequantization"));
  q.shape = {2, 5};
  CHECK_THROWS_AS(compat::dequantize_activations(q), tern::shape_error);
  CHECK(compat::quantize_activations(x.data(), {0, 4}).data.empty());
  CHECK(compat::quantize_activations(x.data(), {3, 0}).scales == values(3, 1.0f));
  CHECK(compat::quantized_activations{}.seq_len() == 1);
  CHECK(compat::quantized_activations{}.hidden_dim() == 0);
}

TEST_CASE("compat: the Rust crate's weights", "[compat]") {
  const tern::matrix<float> w(1, 8, {1, -1, 0.5f, -0.5f, 2, -2, 0.1f, 0});
  const auto q = compat::quantize_weights(w, 4);
  CHECK(q.granularity == tern::per_group(4));
  CHECK(q.scales == values{0.75f, 4.1f / 4});
  CHECK(std::vector<int>(q.codes.begin(), q.codes.end()) == std::vector<int>{1, -1, 1, -1, 1, -1, 0, 0});
  // Exactly half goes to one; in double, to even, it goes to zero. A zero group has scale 1.
  const tern::matrix<float> tie(1, 4, {0.5f, 1.5f, 0, 0});
  CHECK(compat::quantize_weights(tie, 2).codes[0] == 1);
  CHECK(tern::quantize_absmean(tie, tern::per_group(2)).codes[0] == 0);
  CHECK(compat::quantize_weights(tie, 2).scales[1] == 1.0f);
  // The sum is float: ones are lost beside 2^25.
  values large(64, 1.0f);
  large[0] = 0x1p25f;
  CHECK(compat::quantize_weights(tern::matrix<float>(1, 64, large)).scales[0] == 0x1p19f);
  CHECK_THROWS_WITH(compat::quantize_weights(w, 3), tern_test::contains("in_features (8) must be divisible by"));
  CHECK_THROWS_AS(compat::quantize_weights(w), tern::shape_error);
  CHECK_THROWS_AS(compat::quantize_weights(w, 0), tern::range_error);
}

TEST_CASE("compat: what the PyTorch originals refuse is refused with a type", "[compat]") {
  const tern::matrix<float> none(0, 3), empty_rows(2, 0), x(2, 3, {1, 2, 3, 4, 5, 6});
  for (const auto* bad : {&none, &empty_rows}) {
    CHECK_THROWS_AS(compat::symmetric_quantize(*bad), tern::shape_error);
    CHECK_THROWS_AS(compat::asymmetric_quantize(*bad), tern::shape_error);
    CHECK_THROWS_AS(compat::per_channel_quantize(*bad, 8, 0), tern::shape_error);
    CHECK_THROWS_AS(compat::per_channel_quantize(*bad, 8, 1), tern::shape_error);
    CHECK_THROWS_AS(compat::absmax_quantize(*bad), tern::shape_error);
    CHECK_THROWS_AS(compat::zeropoint_quantize(*bad), tern::shape_error);
    CHECK_THROWS_AS(compat::compute_quantization_error(*bad, *bad), tern::shape_error);
  }
  CHECK_THROWS_AS(compat::activation_quant(empty_rows), tern::shape_error);
  CHECK(compat::activation_quant(none).rows() == 0);
  for (const unsigned bits : {0u, 25u}) {
    CHECK_THROWS_AS(compat::activation_quant(x, bits), tern::range_error);
    CHECK_THROWS_AS(compat::symmetric_quantize(x, bits), tern::range_error);
    CHECK_THROWS_AS(compat::asymmetric_quantize(x, bits), tern::range_error);
    CHECK_THROWS_AS(compat::per_channel_quantize(x, bits), tern::range_error);
  }
  CHECK_THROWS_WITH(compat::per_channel_quantize(x, 8, 2), tern_test::contains("dim 2"));
  CHECK_THROWS_AS(compat::per_channel_dequantize(x, values{1, 1}, -3), tern::range_error);
  CHECK_THROWS_AS(compat::per_channel_dequantize(x, values{1, 1, 1}), tern::shape_error);
  CHECK_THROWS_AS(compat::compute_quantization_error(x, tern::matrix<float>(3, 2)), tern::shape_error);
  tern::matrix<float> bad = x;
  bad(1, 0) = nan_value;
  CHECK_THROWS_WITH(compat::absmax_quantize(bad), tern_test::contains("no int8"));
  bad(1, 0) = -infinity;
  CHECK_THROWS_AS(compat::zeropoint_quantize(bad), tern::range_error);
}

TEST_CASE("compat: half and bfloat16 are read as the floats they are", "[compat]") {
  const tern::matrix<float> x(5, 12, generated(60));
  check_element_types(x, [](const auto& m) { return elements(compat::activation_quant(m)); });
  check_element_types(x, [](const auto& m) { return elements(compat::symmetric_quantize(m).quantized); });
  check_element_types(x, [](const auto& m) { return elements(compat::asymmetric_quantize(m).quantized); });
  check_element_types(x, [](const auto& m) { return elements(compat::per_channel_quantize(m, 8, 1).quantized); });
  check_element_types(x, [](const auto& m) { return elements(compat::absmax_quantize(m).dequantized); });
  check_element_types(x, [](const auto& m) { return elements(compat::zeropoint_quantize(m).dequantized); });
  check_element_types(x, [](const auto& m) { return elements(compat::greedy_ternary_decomposition(m, 2).gammas); });
  check_element_types(x, [](const auto& m) { return elements(compat::bitlinear(m, m, values{0.3f}, values{1})); });
  check_element_types(x, [](const auto& m) { return compat::quantize_weights(m, 1).codes; });
  const tern::half halves[] = {tern::half(1.0f), tern::half(-0.1f), tern::half(2.5f), tern::half(0.0f)};
  const values wide(halves, halves + 4);
  CHECK(compat::quantize_activations(halves, {2, 2}).data == compat::quantize_activations(wide.data(), {2, 2}).data);
}
