// SPDX-License-Identifier: MIT
#include <tern/quantize/decompose.hpp>

#include <tern/quantize/distortion.hpp>
#include <tern/type/packed_matrix.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "support/catch.hpp"

namespace {

tern::matrix<float> draw(std::size_t rows, std::size_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  tern::matrix<float> w(rows, cols);
  // Heavier tails than Gauss, rows of very different sizes.
  for (std::size_t n = 0; n < rows; ++n)
    for (std::size_t k = 0; k < cols; ++k)
      w(n, k) = std::ldexp(normal(random) * normal(random) * normal(random), static_cast<int>(n) * 7 - 30);
  return w;
}

/// The seed, row by row: R = W; repeat: gamma = mean |R|, T = clamp(round(R / gamma), -1, 1), R = fl(R - fl(gamma T)).
/// Calls f(plane, row, gamma, T, R after the plane).
template <class F>
void greedy(const tern::matrix<float>& w, std::size_t planes, F&& f) {
  for (std::size_t n = 0; n < w.rows(); ++n) {
    std::vector<float> residual(w.row(n), w.row(n) + w.cols());
    for (std::size_t p = 0; p < planes; ++p) {
      double sum = 0;
      for (const float r : residual) sum += std::fabs(static_cast<double>(r));
      const auto gamma = static_cast<float>(sum / static_cast<double>(w.cols()));
      std::vector<std::int8_t> trits;
      for (float& r : residual) {
        const float t = gamma == 0 ? 0.0f : std::clamp(std::rint(r / gamma), -1.0f, 1.0f);
        trits.push_back(static_cast<std::int8_t>(t));
        r = static_cast<float>(static_cast<double>(r) - static_cast<double>(gamma * t));  // exact, rounded once
      }
      f(p, n, gamma, trits, residual);
    }
  }
}

}  // namespace

TEST_CASE("decompose: the seed's greedy planes, code for code", "[quantize]") {
  const std::size_t planes = GENERATE(as<std::size_t>(), 1, 2, 3, 5), cols = GENERATE(as<std::size_t>(), 1, 16, 100);
  const auto w = draw(7, cols, 1);
  const auto q = tern::decompose(w, {.planes = planes});
  CHECK(q.planes == planes);
  CHECK(q.granularity == tern::per_channel);
  CHECK(q.zeros.empty());
  greedy(w, planes, [&](std::size_t p, std::size_t n, float gamma, const auto& trits, const auto&) {
    CHECK(q.scale(p, n, 0) == gamma);
    CHECK(std::equal(trits.begin(), trits.end(), q.code_row(p, n)));
  });
}

TEST_CASE("decompose: by hand", "[quantize]") {
  const tern::matrix<float> w(1, 4, {4, -2, 1, 1});
  const auto q = tern::decompose(w, {.planes = 2});
  // gamma 2: 2, -1, 0.5 (a tie), 0.5 -> 1, -1, 0, 0. What is left: 2, 0, 1, 1 with gamma 1.
  CHECK(q.scales == std::vector<float>{2, 1});
  CHECK(q.codes == std::vector<std::int8_t>{1, -1, 0, 0, 1, 0, 1, 1});
  CHECK(tern::dequantize(q)(0, 0) == 3);
}

/// Absmean keeps only |r| > gamma / 2, so |r - gamma t| <= |r| for each weight, in float too, as rounding is monotonic.
TEST_CASE("decompose: no plane makes any weight worse", "[quantize]") {
  const unsigned seed = GENERATE(range(2u, 12u));
  const auto w = draw(5, 64, seed);
  auto before = w;
  std::size_t worse = 0;
  greedy(w, 6, [&](std::size_t, std::size_t n, float, const auto&, const std::vector<float>& residual) {
    for (std::size_t k = 0; k < w.cols(); ++k) {
      worse += std::fabs(residual[k]) > std::fabs(before(n, k));
      before(n, k) = residual[k];
    }
  });
  CHECK(worse == 0);

  // The same from the outside: what distortion() says of 1, 2, ... planes, up to the rounding of w_hat to float.
  double mse = std::numeric_limits<double>::infinity();
  for (std::size_t planes = 1; planes <= 6; ++planes) {
    const double next = tern::distortion(w, tern::dequantize(tern::decompose(w, {.planes = planes}))).mse;
    CHECK(next <= mse * (1 + 1e-6));
    mse = next;
  }
}

TEST_CASE("decompose: gammas per tensor and per group", "[quantize]") {
  const auto w = draw(4, 50, 3);
  for (const auto granularity : {tern::per_tensor, tern::per_group(16)}) {
    const auto q = tern::decompose(w, {.planes = 2, .granularity = granularity});
    const auto first = tern::quantize_absmean(w, granularity);
    CHECK(q.granularity == granularity);
    CHECK(q.scales.size() == 2 * first.scales.size());
    CHECK(std::equal(first.scales.begin(), first.scales.end(), q.scales.begin()));
    CHECK(std::equal(first.codes.begin(), first.codes.end(), q.codes.begin()));
    // The second plane is the first plane of what is left.
    tern::matrix<float> left(4, 50);
    for (std::size_t n = 0; n < 4; ++n)
      for (std::size_t k = 0; k < 50; ++k)
        left(n, k) = w(n, k) - dequantize(first)(n, k);  // one plane: code * scale, exact
    const auto second = tern::quantize_absmean(left, granularity);
    CHECK(std::equal(second.scales.begin(), second.scales.end(),
                     q.scales.begin() + static_cast<std::ptrdiff_t>(first.scales.size())));
    CHECK(std::equal(second.codes.begin(), second.codes.end(), q.code_row(1, 0)));
  }
}

TEST_CASE("decompose: planes that have nothing left are empty", "[quantize]") {
  const auto q = tern::decompose(tern::matrix<float>(2, 3, {1, -1, 1, 0, 0, 0}), {.planes = 3});
  CHECK(q.scales == std::vector<float>{1, 0, 0, 0, 0, 0});
  CHECK(q.codes == std::vector<std::int8_t>{1, -1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  CHECK(tern::multi_ternary_matrix<>(q).planes() == 3);
  CHECK(tern::decompose(tern::matrix<float>(0, 5)).codes.empty());
  CHECK(tern::decompose(tern::matrix<float>(5, 0)).scales == std::vector<float>(10, 0.0f));
}

TEST_CASE("decompose: what is refused", "[quantize]") {
  auto w = draw(3, 20, 4);
  CHECK_THROWS_AS(tern::decompose(w, {.planes = 0}), tern::range_error);
  CHECK_THROWS_WITH(tern::decompose(w, {.planes = 0}), "decompose: planes must be at least 1");
  CHECK_THROWS_AS(tern::decompose(w, {.granularity = {tern::granularity::sharing::group, 0}}), tern::range_error);
  w(2, 19) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(tern::decompose(w), tern::range_error);
  CHECK_THROWS_WITH(tern::decompose(w), tern_test::contains("row 2, column 19"));
}
