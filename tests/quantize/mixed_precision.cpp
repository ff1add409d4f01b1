// SPDX-License-Identifier: MIT
#include <tern/quantize/mixed_precision.hpp>

#include <tern/quantize/synthetic.hpp>

#include <cmath>

#include <algorithm>
#include <limits>
#include <random>

#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern::precision;
using tern_test::contains;

namespace {

using curves = std::vector<std::vector<precision>>;

double total_bits(const curves& c, const std::vector<std::size_t>& chosen) {
  double sum = 0;
  for (std::size_t i = 0; i < c.size(); ++i) sum += c[i][chosen[i]].bits;
  return sum;
}
double total_error(const curves& c, const std::vector<std::size_t>& chosen) {
  double sum = 0;
  for (std::size_t i = 0; i < c.size(); ++i) sum += c[i][chosen[i]].error;
  return sum;
}

/// The least error of all choices within the budget.
double best_error(const curves& c, double budget) {
  double best = std::numeric_limits<double>::infinity();
  std::vector<std::size_t> chosen(c.size());
  for (;;) {
    if (total_bits(c, chosen) <= budget) best = std::min(best, total_error(c, chosen));
    std::size_t i = 0;
    while (i < c.size() && ++chosen[i] == c[i].size()) chosen[i++] = 0;
    if (i == c.size()) return best;
  }
}

curves draw_curves(std::size_t count, bool convex, unsigned seed) {
  std::mt19937 random(seed);
  curves c(count);
  for (auto& curve : c) {
    std::vector<double> drops;
    for (int p = 0; p < 4; ++p) drops.push_back(static_cast<double>(random() % 1000));
    if (convex) std::sort(drops.rbegin(), drops.rend());
    double error = 5000;
    for (int p = 0; p < 5; ++p) {
      curve.push_back({static_cast<double>(p + 1), error});
      if (p < 4) error -= drops[static_cast<std::size_t>(p)];
    }
  }
  return c;
}

}  // namespace

TEST_CASE("mixed precision: the best of all choices where curves are convex", "[quantize]") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    const auto c = draw_curves(5, true, seed);
    for (double budget = 5; budget <= 26; ++budget) {
      const auto chosen = tern::choose_precision(c, budget);
      CHECK(total_bits(c, chosen) <= budget);
      CHECK(total_error(c, chosen) == best_error(c, budget));  // steps of one bit: none is left out before the end
    }
  }
}

TEST_CASE("mixed precision: curves that are not convex", "[quantize]") {
  // Two bits at once are worth more than the first one of the other.
  const curves c{{{1, 10}, {2, 9.5}, {3, 2}}, {{1, 5}, {2, 3}}};
  CHECK(tern::choose_precision(c, 4) == std::vector<std::size_t>{2, 0});
  CHECK(tern::choose_precision(c, 3) == std::vector<std::size_t>{0, 1});  // the larger step does not fit
  CHECK(tern::choose_precision(c, 99) == std::vector<std::size_t>{2, 1});
  for (unsigned seed = 1; seed <= 20; ++seed) {
    const auto random = draw_curves(5, false, seed);
    for (double budget = 5; budget <= 26; ++budget) {
      const auto chosen = tern::choose_precision(random, budget);
      CHECK(total_bits(random, chosen) <= budget);
      // One step at most is missing, and none lowers the error by more than 4 x 1000.
      CHECK(total_error(random, chosen) <= best_error(random, budget) + 4000);
      CHECK(total_error(random, chosen) >= best_error(random, budget));
    }
  }
}

TEST_CASE("mixed precision: bits are spent only where they lower the error", "[quantize]") {
  const curves c{{{1, 3}, {2, 3}, {4, 3.5}}, {{1, 1}, {3, 0.5}}};
  CHECK(tern::choose_precision(c, 100) == std::vector<std::size_t>{0, 1});
  CHECK(tern::choose_precision(curves{}, 0).empty());
  CHECK(tern::choose_precision(curves{{{1, 9}, {2, 3}, {3, 2}}, {{1, 4}, {2, 1}}}, 4) ==
        std::vector<std::size_t>{1, 1});
}

TEST_CASE("mixed precision: what is refused", "[quantize]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(tern::choose_precision(curves{{}}, 1), tern::shape_error);
  CHECK_THROWS_WITH(tern::choose_precision(curves{{{2, 1}}, {{3, 1}}}, 4.5), contains("take 5 bits"));
  CHECK_THROWS_AS(tern::choose_precision(curves{{{2, 1}}}, nan), tern::range_error);
  CHECK_THROWS_WITH(tern::choose_precision(curves{{{2, 1}, {2, 0}}}, 9), contains("bits must be finite and ascend"));
  CHECK_THROWS_AS(tern::choose_precision(curves{{{nan, 1}}}, 9), tern::range_error);
  CHECK_THROWS_AS(tern::choose_precision(curves{{{1, -1}}}, 9), tern::range_error);
  CHECK_THROWS_AS(tern::choose_precision(curves{{{1, nan}}}, 9), tern::range_error);
}

TEST_CASE("mixed precision: measured curves of rows and layers", "[quantize]") {
  auto w = tern::synthetic_weights(6, 128, tern::weight_distribution::gauss, 1);
  for (std::size_t k = 0; k < 128; ++k) w(2, k) *= 10;
  tern::hessian h(128);
  h.observe(tern_test::draw_matrix(300, 128, 2));
  const auto rows = tern::plane_curves(w, h, 3, {.granularity = tern::per_group(64), .weighted = false});
  CHECK(rows.size() == 6);
  for (std::size_t planes = 1; planes <= 3; ++planes) {
    const auto q = tern::decompose(
        w, {.planes = planes, .granularity = tern::per_group(64), .method = tern::decompose_method::alternating});
    const auto d = tern::output_distortion(w, tern::dequantize(q), h);
    for (std::size_t n = 0; n < 6; ++n) {
      CHECK(rows[n].size() == 3);
      CHECK(rows[n][planes - 1].error == d.row_noise[n]);
      CHECK(rows[n][planes - 1].bits == Approx(static_cast<double>(planes) * (1.6 * 128 + 16 * 2)));
    }
    const auto layer = tern::layer_curve(rows);
    CHECK(layer[planes - 1].error == d.noise);
    CHECK(layer[planes - 1].bits == Approx(6 * rows[0][planes - 1].bits));
  }
  // 1.6 x 7 + 16 rounds once, also where compilers fuse nothing.
  tern::hessian few(7);
  few.observe(tern_test::draw_matrix(20, 7, 3));
  const auto narrow = tern::plane_curves(tern_test::draw_matrix(1, 7, 4), few, 3);
  for (const int planes : {1, 2, 3})
    CHECK(narrow[0][static_cast<std::size_t>(planes) - 1].bits == planes * std::fma(1.6, 7.0, 16.0));
  // The row of large weights is served first.
  const auto chosen = tern::choose_precision(rows, 8.5 * rows[0][0].bits);
  CHECK(chosen[2] == 2);
  CHECK_THROWS_AS(tern::plane_curves(w, h, 6), tern::range_error);
  CHECK_THROWS_AS(tern::plane_curves(w, h, 0), tern::range_error);
  CHECK_THROWS_AS(tern::plane_curves(w, h, 2, {.granularity = tern::per_tensor}), tern::range_error);
  CHECK_THROWS_AS(tern::layer_curve(curves{{{1, 1}}, {{1, 1}, {2, 1}}}), tern::shape_error);
}
