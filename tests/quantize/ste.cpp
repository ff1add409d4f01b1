// SPDX-License-Identifier: MIT
#include <tern/quantize/ste.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/catch.hpp"

TEST_CASE("fake_quantize: what the quantised network computes with", "[quantize]") {
  const tern::matrix<float> x(2, 3, {254, 3, -1, 0, 0, 0});
  const auto y = tern::fake_quantize_activations(x);
  CHECK(y.rows() == 2);
  CHECK(std::vector<float>(y.data(), y.data() + 6) ==
        std::vector<float>{254, 4, 0, 0, 0, 0});  // steps of 2, ties to even

  const tern::matrix<float> w(2, 2, {4, -1, -3, 0});
  const auto per_tensor = tern::fake_quantize_absmean(w);  // gamma 2
  CHECK(std::vector<float>(per_tensor.data(), per_tensor.data() + 4) == std::vector<float>{2, 0, -2, 0});
  const auto per_row = tern::fake_quantize_absmean(w, tern::per_channel);  // gammas 2.5 and 1.5
  CHECK(std::vector<float>(per_row.data(), per_row.data() + 4) == std::vector<float>{2.5f, 0, -1.5f, 0});

  const tern::matrix<float> bad(1, 1, {std::numeric_limits<float>::infinity()});
  CHECK_THROWS_AS(tern::fake_quantize_activations(bad), tern::range_error);
  CHECK_THROWS_AS(tern::fake_quantize_absmean(bad), tern::range_error);
}

TEST_CASE("fake_quantize: absmax and zero points", "[quantize]") {
  const tern::matrix<float> w(2, 2, {254, -3, 0, 127});
  const auto absmax = tern::fake_quantize_absmax(w);  // scales 2 and 1
  CHECK(std::vector<float>(absmax.data(), absmax.data() + 4) == std::vector<float>{254, -4, 0, 127});
  const auto per_tensor = tern::fake_quantize_absmax(w, tern::per_tensor);  // scale 2, ties to even
  CHECK(std::vector<float>(per_tensor.data(), per_tensor.data() + 4) == std::vector<float>{254, -4, 0, 128});

  const tern::matrix<float> x(2, 2, {10, 255, -508, 2});  // steps of 1 and 2
  for (const auto& y : {tern::fake_quantize_zero_point(x), tern::fake_quantize_activations_zero_point(x)})
    CHECK(std::vector<float>(y.data(), y.data() + 4) == std::vector<float>{10, 255, -508, 2});
  const auto shared = tern::fake_quantize_zero_point(x, tern::per_tensor);
  CHECK(shared(0, 0) == std::rint(10 / (763.0f / 255)) * (763.0f / 255));

  const tern::matrix<float> v(1, 3, {7, 2.5f, -1.5f});  // a step of 1 with 4 bits
  const auto away =
      tern::fake_quantize_absmax(v, tern::per_channel, {.bits = 4, .rounding = tern::rounding::half_away});
  CHECK(std::vector<float>(away.data(), away.data() + 3) == std::vector<float>{7, 3, -2});
  const tern::matrix<float> u(1, 3, {15, 6, 2.25f});
  const auto steps = tern::fake_quantize_zero_point(u, tern::per_channel, {.bits = 4});
  CHECK(std::vector<float>(steps.data(), steps.data() + 3) == std::vector<float>{15, 6, 2});
  CHECK_THROWS_AS(tern::fake_quantize_absmax(v, tern::per_channel, {.bits = 9}), tern::range_error);
  CHECK_THROWS_AS(tern::fake_quantize_zero_point(v, tern::per_channel, {.bits = 9}), tern::range_error);

  const tern::matrix<float> bad(1, 1, {std::numeric_limits<float>::infinity()});
  CHECK_THROWS_AS(tern::fake_quantize_absmax(bad), tern::range_error);
  CHECK_THROWS_AS(tern::fake_quantize_zero_point(bad), tern::range_error);
  CHECK_THROWS_AS(tern::fake_quantize_activations_zero_point(bad), tern::range_error);
}

TEST_CASE("ste_backward: the gradient itself", "[quantize]") {
  const tern::matrix<float> gradient(1, 2, {3, -4});
  const tern::matrix<float> through = tern::ste_backward(gradient);
  CHECK((through(0, 0) == 3 && through(0, 1) == -4));
}

TEST_CASE("ste_backward_clipped: zero where the value was beyond the limit", "[quantize]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const tern::matrix<float> x(1, 6, {1, -1, 1.5f, -1.5f, 0, nan});
  const tern::matrix<float> gradient(1, 6, {1, 2, 3, 4, 5, 6});
  const auto clipped = tern::ste_backward_clipped(gradient, x, 1.0f);
  CHECK(std::vector<float>(clipped.data(), clipped.data() + 6) == std::vector<float>{1, 2, 0, 0, 5, 0});
  CHECK(tern::ste_backward_clipped(tern::matrix<tern::half>(0, 3), tern::matrix<float>(0, 3), 1.0f).rows() == 0);
}

TEST_CASE("ste_backward_clipped: a range with two ends", "[quantize]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const tern::matrix<float> x(1, 6, {-1, -1.5f, 3, 3.5f, 0, nan});
  const tern::matrix<float> gradient(1, 6, {1, 2, 3, 4, 5, 6});
  const auto clipped = tern::ste_backward_clipped(gradient, x, tern::value_range{-1, 3});
  CHECK(std::vector<float>(clipped.data(), clipped.data() + 6) == std::vector<float>{1, 0, 3, 0, 5, 0});
}

TEST_CASE("ste_backward_clipped: limits that are none", "[quantize]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const tern::matrix<float> x(2, 1, {1, 2});
  for (const float bad : {nan, -1.0f}) {
    const std::vector<float> limits{1, bad};
    CHECK_THROWS_AS(tern::ste_backward_clipped(x, x, bad), tern::range_error);
    CHECK_THROWS_AS(tern::ste_backward_clipped(x, x, limits, tern::per_channel), tern::range_error);
  }
  CHECK_THROWS_WITH(tern::ste_backward_clipped(x, x, -1.5f), "ste_backward_clipped: a limit of -1.5 is not >= 0");
  for (const auto& bad : {tern::value_range{nan, 1}, tern::value_range{0, nan}, tern::value_range{2, 1}})
    CHECK_THROWS_AS(tern::ste_backward_clipped(x, x, bad), tern::range_error);
  CHECK_THROWS_WITH(tern::ste_backward_clipped(x, x, tern::value_range{2, 1}),
                    "ste_backward_clipped: 2 .. 1 is not a range");
  const auto all = tern::ste_backward_clipped(x, x, std::numeric_limits<float>::infinity());
  CHECK((all(0, 0) == 1 && all(1, 0) == 2));
}

TEST_CASE("ste_backward_clipped: a limit for each slice", "[quantize]") {
  const tern::matrix<float> w(2, 3, {1, -2, 3, -4, 5, 6}), gradient(2, 3, {10, 20, 30, 40, 50, 60});
  const auto clipped = [&](std::vector<float> limits, tern::granularity granularity) {
    const auto g = tern::ste_backward_clipped(gradient, w, limits, granularity);
    return std::vector<float>(g.data(), g.data() + 6);
  };
  CHECK(clipped({3}, tern::per_tensor) == std::vector<float>{10, 20, 30, 0, 0, 0});
  CHECK(clipped({1, 5}, tern::per_channel) == std::vector<float>{10, 0, 0, 40, 50, 0});
  CHECK(clipped({1, 3, 4, 0}, tern::per_group(2)) == std::vector<float>{10, 0, 30, 40, 0, 0});
  CHECK(clipped({1, 5, 3}, tern::per_input) == std::vector<float>{10, 20, 30, 0, 50, 0});

  // Ternary weights: gamma times the largest code, 1.
  const auto q = tern::quantize_absmean(w, tern::per_channel);  // gammas 2 and 5
  CHECK(clipped(q.scales, q.granularity) == std::vector<float>{10, 20, 0, 40, 50, 0});

  CHECK_THROWS_AS(clipped({1}, tern::per_channel), tern::shape_error);
  CHECK_THROWS_WITH(clipped({1, 2, 3}, tern::per_group(2)),
                    "ste_backward_clipped: 3 limits for 4 slices of a 2x3 matrix");
  const std::vector<float> two = {1, 2};
  CHECK_THROWS_AS(tern::ste_backward_clipped(tern::matrix<float>(2, 2), w, two, tern::per_channel), tern::shape_error);
  CHECK(
      tern::ste_backward_clipped(tern::matrix<float>(2, 0), tern::matrix<float>(2, 0), two, tern::per_channel).rows() ==
      2);
}

TEST_CASE("ste_backward_clipped: shapes must agree", "[quantize]") {
  const tern::matrix<float> a(2, 3), b(3, 2);
  CHECK_THROWS_AS(tern::ste_backward_clipped(a, b, 1.0f), tern::shape_error);
  CHECK_THROWS_WITH(tern::ste_backward_clipped(a, b, 1.0f), "ste_backward_clipped: the gradient is 2x3 but x is 3x2");
}
