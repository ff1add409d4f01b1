// SPDX-License-Identifier: MIT
#include <tern/quantize/distortion.hpp>

#include <cmath>
#include <limits>

#include "support/catch.hpp"

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

tern::matrix<float> row(std::vector<float> values) {
  const std::size_t size = values.size();
  return {1, size, std::move(values)};
}

}  // namespace

TEST_CASE("distortion: by hand", "[quantize]") {
  // Errors 1, 0, -3, 0 against signal 16 + 0 + 9 + 75 = 100, noise 10.
  const auto d = tern::distortion(row({4, 0, 3, std::sqrt(75.0f)}), row({3, 0, 6, std::sqrt(75.0f)}));
  CHECK(d.max_error == 3);
  CHECK(d.mean_error == 1);
  CHECK(d.mse == 2.5);
  CHECK(d.snr_db == Approx(10).epsilon(1e-6));
  CHECK(d.relative_frobenius == Approx(std::sqrt(0.1)).epsilon(1e-6));
  CHECK(d.signal == Approx(100).epsilon(1e-6));
  CHECK(d.noise == 10);
  CHECK(d.cosine == Approx((12 + 18 + 75) / std::sqrt(100.0 * (9 + 36 + 75))).epsilon(1e-6));
  CHECK(d.sparsity == 0.25);
}

TEST_CASE("distortion: the cosine is blind to a common factor, and never beyond 1", "[quantize]") {
  CHECK(tern::distortion(row({3, -4}), row({6, -8})).cosine == 1);
  CHECK(tern::distortion(row({3, -4}), row({-3, 4})).cosine == -1);
  CHECK(tern::distortion(row({3, -4}), row({4, 3})).cosine == 0);
  // Sums that round: the quotient would leave [-1, 1] without care.
  unsigned state = 1;
  for (int i = 0; i < 200; ++i) {
    std::vector<float> w(50), tripled(50), opposite(50);
    for (std::size_t k = 0; k < 50; ++k) {
      state = state * 1664525u + 1013904223u;
      w[k] = std::ldexp(static_cast<float>(state >> 12), static_cast<int>(state >> 5 & 15u));  // 20 bits: 3 w is exact
      tripled[k] = 3 * w[k];
      opposite[k] = -tripled[k];
    }
    const double cosine = tern::distortion(row(w), row(tripled)).cosine;
    CHECK((cosine <= 1 && cosine > 1 - 1e-15));
    CHECK(tern::distortion(row(w), row(opposite)).cosine == -cosine);
  }
}

TEST_CASE("distortion: signal and noise of layers add up", "[quantize]") {
  const auto first = tern::distortion(row({1, 2}), row({1, 1})), second = tern::distortion(row({3, 4}), row({3, 7}));
  const auto both = tern::distortion(row({1, 2, 3, 4}), row({1, 1, 3, 7}));
  CHECK(both.signal == first.signal + second.signal);
  CHECK(both.noise == first.noise + second.noise);
  CHECK(both.snr_db == 10 * std::log10((first.signal + second.signal) / (first.noise + second.noise)));
}

TEST_CASE("distortion: against the clipped tensor it would look well", "[quantize]") {
  const auto original = row({1, -1, 1, -1, 100}), clipped = row({1, -1, 1, -1, 1}), w_hat = clipped;
  CHECK(tern::distortion(clipped, w_hat).snr_db == infinity);
  CHECK(tern::distortion(original, w_hat).snr_db < 0.2);
}

TEST_CASE("distortion: does not depend on the size of the data, unlike formulas with an epsilon", "[quantize]") {
  const auto d = tern::distortion(row({1e-18f, -2e-18f}), row({1e-18f, 0}));
  CHECK(d.snr_db == Approx(10 * std::log10(1.25)).epsilon(1e-6));
}

TEST_CASE("distortion: nothing differs", "[quantize]") {
  for (const auto& w : {row({1, -2, 3}), row({0, -0.0f}), row({}), tern::matrix<float>(3, 0)}) {
    const auto d = tern::distortion(w, w);
    CHECK(d.max_error == 0);
    CHECK(d.mean_error == 0);
    CHECK(d.mse == 0);
    CHECK(d.snr_db == infinity);
    CHECK(d.relative_frobenius == 0);
    CHECK(d.cosine == 1);
    CHECK(d.noise == 0);
  }
  CHECK(tern::distortion(row({0, -0.0f}), row({-0.0f, 0})).sparsity == 1);
  CHECK(tern::distortion(row({}), row({})).sparsity == 0);
}

TEST_CASE("distortion: of zeros by something", "[quantize]") {
  const auto d = tern::distortion(row({0, 0}), row({0, 1}));
  CHECK(d.snr_db == -infinity);
  CHECK(d.relative_frobenius == infinity);
  CHECK(d.cosine == 0);
  CHECK(d.signal == 0);
}

TEST_CASE("distortion: by zeros of something", "[quantize]") {
  const auto d = tern::distortion(row({3, -4}), row({0, 0}));
  CHECK(d.snr_db == 0);
  CHECK(d.relative_frobenius == 1);
  CHECK(d.cosine == 0);
  CHECK(d.sparsity == 1);
}

TEST_CASE("distortion: NaN stays, wherever it is", "[quantize]") {
  for (const auto& w : {row({not_a_number, 1}), row({1, not_a_number})}) {
    const auto d = tern::distortion(w, row({0, 0}));
    CHECK(std::isnan(d.max_error));
    CHECK(std::isnan(d.mean_error));
    CHECK(std::isnan(d.mse));
    CHECK(std::isnan(d.snr_db));
    CHECK(std::isnan(d.relative_frobenius));
    CHECK(std::isnan(d.cosine));
  }
}

TEST_CASE("distortion: types may differ, shapes may not", "[quantize]") {
  tern::matrix<tern::half> w_hat(1, 2);
  w_hat(0, 1) = tern::half(2.0f);
  CHECK(tern::distortion(row({1, 2}), w_hat).max_error == 1);
  CHECK_THROWS_AS(tern::distortion(row({1, 2}), row({1, 2, 3})), tern::shape_error);
  CHECK_THROWS_WITH(tern::distortion(row({1, 2}), tern::matrix<float>(2, 1)), "distortion: 1x2 against 2x1");
}
