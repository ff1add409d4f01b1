// SPDX-License-Identifier: MIT
#include <tern/quantize/migrate.hpp>

#include <tern/quantize/synthetic.hpp>

#include <cmath>
#include <limits>

#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern_test::contains, tern_test::draw_matrix;

namespace {

/// Inputs of which every 13th is 20 times larger.
tern::matrix<float> draw_inputs(std::size_t tokens, std::size_t inputs, unsigned seed) {
  auto x = draw_matrix(tokens, inputs, seed);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t k = 5; k < inputs; k += 13) x(t, k) *= 20;
  return x;
}

bool is_power_of_two(float x) {
  int exponent = 0;
  return std::frexp(x, &exponent) == 0.5f;
}

}  // namespace

TEST_CASE("migrate: maxima of inputs over batches", "[quantize]") {
  tern::input_maxima a(2), b(2);
  a.observe(tern::matrix<float>(2, 2, {1.0f, -3.0f, -2.0f, 2.0f}));
  b.observe(tern::matrix<float>(1, 2, {0.5f, 4.0f}));
  a.merge(b);
  CHECK(std::vector<float>(a.maxima().begin(), a.maxima().end()) == std::vector<float>{2.0f, 4.0f});
  CHECK_THROWS_AS(a.observe(tern::matrix<float>(1, 3)), tern::shape_error);
  CHECK_THROWS_AS(a.merge(tern::input_maxima(3)), tern::shape_error);
  CHECK_THROWS_WITH(a.observe(tern::matrix<float>(1, 2, {9.0f, std::numeric_limits<float>::infinity()})),
                    contains("row 0, column 1"));
  CHECK(a.maxima()[0] == 2.0f);
}

TEST_CASE("migrate: SmoothQuant's scales are its formula", "[quantize]") {
  const auto w = draw_matrix(10, 40, 1);
  std::vector<float> maxima(40);
  for (std::size_t k = 0; k < 40; ++k) maxima[k] = k == 7 ? 0.0f : 0.01f * static_cast<float>(k * k + 1);
  for (const double alpha : {0.0, 0.5, 0.75, 1.0}) {
    const auto s = tern::smoothquant_scaling(maxima, w, {.alpha = alpha});
    const auto two = tern::smoothquant_scaling(maxima, w, {.alpha = alpha, .powers_of_two = true});
    for (std::size_t k = 0; k < 40; ++k) {
      double most = 0;
      for (std::size_t n = 0; n < 10; ++n) most = std::fmax(most, std::fabs(static_cast<double>(w(n, k))));
      const double expected =
          std::pow(std::fmax(static_cast<double>(maxima[k]), 1e-5), alpha) / std::pow(most, 1 - alpha);
      CHECK(s.scales()[k] == Approx(expected).epsilon(1e-6));
      CHECK(is_power_of_two(two.scales()[k]));
      const double ratio = static_cast<double>(two.scales()[k]) / expected;
      CHECK(ratio <= std::sqrt(2.0) * (1 + 1e-6));
      CHECK(ratio >= std::sqrt(0.5) * (1 - 1e-6));
    }
  }
  CHECK_THROWS_WITH(tern::smoothquant_scaling(maxima, w, {.alpha = 1.1}), contains("alpha 1.1"));
  CHECK_THROWS_AS(tern::smoothquant_scaling(std::span<const float>(maxima).first(39), w), tern::shape_error);
  maxima[3] = -1;
  CHECK_THROWS_WITH(tern::smoothquant_scaling(maxima, w), contains("maximum 3"));
}

TEST_CASE("migrate: powers of two change no product", "[quantize]") {
  const auto w = draw_matrix(3, 32, 2), x = draw_matrix(4, 32, 3);
  std::vector<float> maxima(32, 3.7f);
  maxima[9] = 1000;
  const auto s = tern::smoothquant_scaling(maxima, w, {.powers_of_two = true});
  const auto scaled = s.weights(w);
  tern::matrix<float> y(4, 32);
  s.apply(x, y.view());
  std::size_t wrong = 0;
  for (std::size_t n = 0; n < 3; ++n)
    for (std::size_t m = 0; m < 4; ++m)
      for (std::size_t k = 0; k < 32; ++k)
        wrong += static_cast<double>(x(m, k)) * static_cast<double>(w(n, k)) !=
                 static_cast<double>(y(m, k)) * static_cast<double>(scaled(n, k));
  CHECK(wrong == 0);
}

TEST_CASE("migrate: AWQ takes the exponent with the least error of the outputs", "[quantize]") {
  const auto w = tern::synthetic_weights(24, 256, tern::weight_distribution::gauss, 4);
  tern::hessian h(256);
  h.observe(draw_inputs(400, 256, 5));
  const auto quantize = [](const tern::matrix<float>& v) {
    return tern::quantize_mse(v, tern::per_group(32), {.bits = 3});
  };
  const auto found = tern::awq_scaling(w, h, quantize, {.steps = 10});
  // Every exponent of the grid, by the formula.
  double least = std::numeric_limits<double>::infinity(), best = -1, plain = 0;
  for (int step = 0; step <= 10; ++step) {
    const double alpha = step / 10.0;
    double low = std::numeric_limits<double>::infinity(), high = 0;
    for (std::size_t k = 0; k < 256; ++k) {
      const double r = std::pow(h(k, k), alpha / 2);
      low = std::fmin(low, r), high = std::fmax(high, r);
    }
    tern::matrix<float> scaled(24, 256);
    std::vector<float> s(256);
    for (std::size_t k = 0; k < 256; ++k) {
      s[k] = static_cast<float>(std::pow(h(k, k), alpha / 2) / std::sqrt(low * high));
      for (std::size_t n = 0; n < 24; ++n) scaled(n, k) = w(n, k) * s[k];
    }
    auto w_hat = tern::dequantize(quantize(scaled));
    for (std::size_t n = 0; n < 24; ++n)
      for (std::size_t k = 0; k < 256; ++k) w_hat(n, k) /= s[k];
    const double noise = tern::output_distortion(w, w_hat, h).noise;
    if (step == 0) plain = noise;
    if (noise < least) least = noise, best = alpha;
  }
  CHECK(found.alpha == Approx(best));
  CHECK(found.noise == Approx(least).epsilon(1e-3));  // scales to the last bit are another matter
  CHECK(found.plain_noise == Approx(plain).epsilon(1e-3));
  CHECK(found.alpha > 0);
  CHECK(found.noise < 0.9 * found.plain_noise);
  const auto two = tern::awq_scaling(w, h, quantize, {.steps = 10, .powers_of_two = true});
  for (const float s : two.scaling.scales()) CHECK(is_power_of_two(s));
  CHECK(two.noise < two.plain_noise);
  // Inputs that are alike scale alike: of equal errors the least exponent is taken.
  tern::hessian alike(256);
  tern::matrix<float> units(256, 256);
  for (std::size_t k = 0; k < 256; ++k) units(k, k) = 3;
  alike.observe(units);
  const auto none = tern::awq_scaling(w, alike, quantize, {.steps = 4});
  CHECK(none.alpha == 0);
  CHECK(none.noise == none.plain_noise);
  for (const float s : none.scaling.scales()) CHECK(s == 1.0f);
  CHECK_THROWS_AS(tern::awq_scaling(w, h, quantize, {.steps = 0}), tern::range_error);
  CHECK_THROWS_AS(tern::awq_scaling(w, tern::hessian(255), quantize), tern::shape_error);
  CHECK_THROWS_AS(tern::awq_scaling(w, tern::hessian(256), quantize), tern::range_error);
}
