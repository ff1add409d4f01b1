// SPDX-License-Identifier: MIT
#include <tern/quantize/output_refit.hpp>

#include <tern/quantize/gptq.hpp>
#include <tern/quantize/synthetic.hpp>

#include <cmath>
#include <limits>

#include "support/backward_executor.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern::hessian, tern::weight_distribution;
using tern_test::backward_executor;
using tern_test::contains;

namespace {

hessian observed(std::size_t inputs) {
  auto x = tern_test::draw_matrix(3 * inputs, inputs, 1);
  for (std::size_t t = 0; t < x.rows(); ++t)
    for (std::size_t k = 1; k < inputs; ++k) x(t, k) += 0.8f * x(t, k - 1);
  hessian h(inputs);
  h.observe(x);
  return h;
}

double noise(const tern::matrix<float>& w, const tern::quantized_matrix& q, const hessian& h) {
  return tern::output_distortion(w, tern::dequantize(q), h).noise;
}

}  // namespace

TEST_CASE("output refit: per channel the error has no slope left", "[quantize]") {
  const std::size_t planes = GENERATE(as<std::size_t>(), 1, 2, 3);
  constexpr std::size_t inputs = 150;
  const auto w = tern::synthetic_weights(70, inputs, weight_distribution::gauss, 2);
  const auto h = observed(inputs);
  auto q = tern::decompose(w, {.planes = planes, .method = tern::decompose_method::alternating});
  const double before = noise(w, q, h);
  const auto codes = q.codes;
  tern::refit_outputs(q, w, h);
  CHECK(q.codes == codes);
  CHECK(noise(w, q, h) < before);
  // The slope <T_p H, w - w_hat> against what scales contribute to it, term by term.
  for (std::size_t n = 0; n < 70; n += 23)
    for (std::size_t p = 0; p < planes; ++p) {
      double slope = 0, size = 0;
      for (std::size_t i = 0; i < inputs; ++i)
        for (std::size_t j = 0; j < inputs; ++j) {
          double rest = static_cast<double>(w(n, j));
          for (std::size_t r = 0; r < planes; ++r) rest -= static_cast<double>(q.scale(r, n, 0)) * q.code_row(r, n)[j];
          slope += q.code_row(p, n)[i] * h(i, j) * rest;
          size += std::fabs(q.code_row(p, n)[i] * h(i, j) * rest);
        }
      // Floats round H and the scales: 2^-24 each.
      CHECK(std::fabs(slope) < 1e-6 * size);
    }
}

TEST_CASE("output refit: groups take turns and no round raises the error", "[quantize]") {
  const auto w = tern::synthetic_weights(40, 200, weight_distribution::laplace, 3);
  const auto h = observed(200);
  const auto g = GENERATE(as<tern::granularity>(), tern::per_group(64), tern::per_group(130));
  auto q = tern::decompose(w, {.planes = 2, .granularity = g, .method = tern::decompose_method::alternating});
  double last = noise(w, q, h);
  const double first = last;
  for (int round = 0; round < 4; ++round) {
    tern::refit_outputs(q, w, h, 1);
    const double here = noise(w, q, h);
    CHECK(here <= last * (1 + 1e-6));  // H is rounded to float where it is measured
    last = here;
  }
  CHECK(last < 0.99 * first);
  auto again = tern::decompose(w, {.planes = 2, .granularity = g, .method = tern::decompose_method::alternating});
  tern::refit_outputs(again, w, h, 4, backward_executor{});
  CHECK(again.scales == q.scales);
}

TEST_CASE("output refit: plane codes and integers after error feedback", "[quantize]") {
  const auto w = tern::synthetic_weights(20, 128, weight_distribution::gauss, 4);
  const auto h = observed(128);
  tern::quantized_matrix code = tern::gptq_trit_code(w, h, {.code = {{3, 2}}}), whole = tern::gptq_int(w, h);
  for (auto* q : {&code, &whole}) {
    const double before = noise(w, *q, h);
    tern::refit_outputs(*q, w, h);
    CHECK(noise(w, *q, h) < before);
  }
}

TEST_CASE("output refit: planes of zeros keep scales of zero", "[quantize]") {
  const auto h = observed(16);
  const auto w = tern::synthetic_weights(2, 16, weight_distribution::gauss, 5);
  tern::quantized_matrix q(3, 2, 16, tern::per_channel);
  for (std::size_t k = 0; k < 16; ++k) q.code_row(1, 0)[k] = w(0, k) > 0 ? 1 : -1;
  tern::refit_outputs(q, w, h);
  CHECK(q.scale(0, 0, 0) == 0.0f);
  CHECK(q.scale(1, 0, 0) > 0.0f);
  CHECK(q.scale(2, 0, 0) == 0.0f);
  CHECK(q.scale(1, 1, 0) == 0.0f);
}

TEST_CASE("output refit: what is refused leaves everything as it was", "[quantize]") {
  const auto w = tern::synthetic_weights(100, 16, weight_distribution::gauss, 6);
  const auto h = observed(16);
  auto q = tern::decompose(w, {.planes = 2});
  const auto scales = q.scales;
  CHECK_THROWS_AS(tern::refit_outputs(q, tern::matrix<float>(100, 15), h), tern::shape_error);
  CHECK_THROWS_AS(tern::refit_outputs(q, w, observed(15)), tern::shape_error);
  CHECK_THROWS_WITH(tern::refit_outputs(q, w, hessian(16)), contains("seen no activations"));
  CHECK_THROWS_AS(
      tern::refit_outputs(q, w, h, 2, tern::serial_executor{}, [](std::size_t done, std::size_t) { return done > 1; }),
      tern::cancelled_error);
  CHECK(q.scales == scales);
  auto shared = tern::decompose(w, {.granularity = tern::per_tensor});
  CHECK_THROWS_AS(tern::refit_outputs(shared, w, h), tern::range_error);
  auto zeros = tern::quantize_zero_point(w);
  CHECK_THROWS_WITH(tern::refit_outputs(zeros, w, h), contains("zero points"));
  auto many = tern::decompose(w, {.planes = 6});
  CHECK_THROWS_WITH(tern::refit_outputs(many, w, h), contains("at most 5 planes"));
  auto bad = w;
  bad(99, 3) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(tern::refit_outputs(q, bad, h), contains("row 99, column 3"));
}

TEST_CASE("output refit: the unit of the activations changes no scale", "[quantize]") {
  // Powers of two far enough from 1 that H itself fits no float.
  const auto w = tern::synthetic_weights(70, 40, weight_distribution::gauss, 7);
  const auto x = tern_test::draw_matrix(90, 40, 8);
  const auto plain = tern::decompose(w, {.planes = 2, .granularity = tern::per_group(16)});
  hessian h(40);
  h.observe(x);
  auto q = plain;
  tern::refit_outputs(q, w, h);
  CHECK(q.scales != plain.scales);
  const auto d = tern::output_distortion(w, tern::dequantize(q), h);
  for (const int exponent : {-80, -79, -1, 1, 80, 81}) {
    auto scaled = x;
    for (std::size_t i = 0; i < 90 * 40; ++i) scaled.data()[i] = std::ldexp(x.data()[i], exponent);
    hessian other(40);
    other.observe(scaled);
    auto r = plain;
    tern::refit_outputs(r, w, other);
    CHECK(r.scales == q.scales);
    const auto e = tern::output_distortion(w, tern::dequantize(r), other);
    CHECK(e.noise == std::ldexp(d.noise, 2 * exponent));
    CHECK(e.snr_db == d.snr_db);
  }
}
