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

TEST_CASE("mixed precision: importances of outputs", "[quantize]") {
  const auto w = tern_test::draw_matrix(3, 60, 5);
  tern::hessian h(60);
  h.observe(tern_test::draw_matrix(100, 60, 6));
  const std::vector<float> importance = {1.0f, 0.0f, 2.5f};
  const auto plain = tern::plane_curves(w, h, 2),
             factors = tern::plane_curves(w, h, 2, {.output_importance = importance});
  for (std::size_t n = 0; n < 3; ++n)
    for (std::size_t p = 0; p < 2; ++p) {
      CHECK(factors[n][p].error == static_cast<double>(importance[n]) * plain[n][p].error);
      CHECK(factors[n][p].bits == plain[n][p].bits);
    }
  const auto with = [&](std::vector<float> of_outputs) {
    return tern::plane_curves(w, h, 2, {.output_importance = of_outputs});
  };
  CHECK_THROWS_WITH(with({1, 2}), contains("2 importances for 3 outputs"));
  CHECK_THROWS_WITH(with({1, 2, -1}), contains("importance of output 2"));
  CHECK_THROWS_AS(with({1, std::numeric_limits<float>::infinity(), 1}), tern::range_error);
  CHECK_THROWS_AS(with({std::numeric_limits<float>::quiet_NaN(), 1, 1}), tern::range_error);
}

TEST_CASE("mixed precision: blocks of rows and the rows of each choice", "[quantize]") {
  const curves rows = {{{1, 5}, {2, 1}}, {{1, 9}, {2, 2}}, {{1, 5}, {2, 3}}, {{1, 1}, {2, 0}}, {{1, 7}, {3, 4}}};
  const auto blocks = tern::row_blocks(rows, 2);
  REQUIRE(blocks.size() == 3);
  CHECK(blocks[0].rows == std::vector<std::size_t>{1, 4});
  CHECK(blocks[1].rows == std::vector<std::size_t>{0, 2});
  CHECK(blocks[2].rows == std::vector<std::size_t>{3});
  CHECK((blocks[0].curve[1].bits == 5 && blocks[0].curve[1].error == 6));
  CHECK((blocks[1].curve[0].bits == 2 && blocks[1].curve[0].error == 10));
  const std::vector<std::size_t> chosen = {1, 0, 1};
  CHECK(tern::rows_of_points(blocks, chosen) == std::vector<std::vector<std::size_t>>{{0, 2}, {1, 3, 4}});
  const std::vector<std::size_t> first = {0, 0, 0}, few = {0, 0}, beyond = {0, 2, 0};
  CHECK(tern::rows_of_points(blocks, first) == std::vector<std::vector<std::size_t>>{{0, 1, 2, 3, 4}, {}});
  CHECK(tern::row_blocks(curves{}).empty());
  CHECK(tern::rows_of_points({}, {}).empty());
  CHECK_THROWS_AS(tern::rows_of_points(blocks, few), tern::shape_error);
  CHECK_THROWS_WITH(tern::rows_of_points(blocks, beyond), contains("point 2 of 2"));
  auto strange = blocks;
  strange[1].rows[0] = 5;
  CHECK_THROWS_WITH(tern::rows_of_points(strange, chosen), contains("row 5 of 5"));
  strange[1].rows[0] = blocks[0].rows[0];
  CHECK_THROWS_WITH(tern::rows_of_points(strange, chosen), contains("is in two blocks"));
  strange = blocks;
  strange[2].curve.push_back({9, 0});
  const std::vector<std::size_t> third = {0, 0, 2};
  CHECK_THROWS_WITH(tern::rows_of_points(strange, third), contains("blocks of 2 points and of more"));
  CHECK_THROWS_AS(tern::row_blocks(rows, 0), tern::range_error);
  CHECK_THROWS_AS(tern::row_blocks(curves{{{1, 1}}, {{1, 1}, {2, 1}}}), tern::shape_error);
  CHECK_THROWS_AS(tern::row_blocks(curves{{}}), tern::shape_error);

  // The order of 500 rows, by the standard library.
  std::mt19937 random(7);
  curves many(500);
  for (auto& curve : many) curve = {{1, static_cast<double>(random() % 50)}};
  std::vector<std::size_t> order(many.size()), found;
  for (std::size_t n = 0; n < order.size(); ++n) order[n] = n;
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return many[a][0].error > many[b][0].error; });
  for (const auto& block : tern::row_blocks(many)) {
    CHECK(block.rows.size() == (found.size() == 496 ? 4 : 16));
    found.insert(found.end(), block.rows.begin(), block.rows.end());
  }
  CHECK(found == order);

  const auto w = tern_test::draw_matrix(4, 3, 8);
  const std::size_t some[] = {3, 1}, outside[] = {4};
  const auto taken = tern::take_rows(w, some);
  CHECK(taken.rows() == 2);
  for (std::size_t k = 0; k < 3; ++k) CHECK((taken(0, k) == w(3, k) && taken(1, k) == w(1, k)));
  CHECK_THROWS_WITH(tern::take_rows(w, outside), contains("row 4 of 4"));
}
