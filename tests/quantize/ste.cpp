// SPDX-License-Identifier: MIT
#include <tern/quantize/ste.hpp>

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

TEST_CASE("ste_backward_clipped: shapes must agree", "[quantize]") {
  const tern::matrix<float> a(2, 3), b(3, 2);
  CHECK_THROWS_AS(tern::ste_backward_clipped(a, b, 1.0f), tern::shape_error);
  CHECK_THROWS_WITH(tern::ste_backward_clipped(a, b, 1.0f), "ste_backward_clipped: the gradient is 2x3 but x is 3x2");
}
