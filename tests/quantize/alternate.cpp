// SPDX-License-Identifier: MIT
#include <tern/quantize/alternate.hpp>
#include <tern/quantize/levels.hpp>

#include <algorithm>
#include <limits>
#include <random>
#include <set>

#include "support/catch.hpp"

using tern::detail::alternation, tern::detail::sorted_magnitudes, tern::detail::plane_values;

namespace {

/// Slices of 0 to 300 values: Gaussian, integers (ties), mostly zeros, all equal.
std::vector<float> draw(std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> w(random() % 2 == 0 ? random() % 7 : random() % 300);
  const unsigned kind = random() % 4;
  for (float& x : w) {
    x = normal(random);
    if (kind == 1) x = std::rint(2 * x);
    if (kind == 2 && random() % 4 != 0) x = 0;
    if (kind == 3) x = 0.75f;
  }
  return w;
}
tern::matrix_view<const float> view_of(const std::vector<float>& w) { return {w.data(), 1, w.size()}; }

/// sum of (w - nearest level)^2, by trying all c.
double nearest_error(const std::vector<float>& w, const plane_values& gamma, std::size_t planes) {
  std::size_t combinations = 1;
  for (std::size_t p = 0; p < planes; ++p) combinations *= 3;
  double error = 0;
  for (const float x : w) {
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < combinations; ++i) {
      double level = 0;
      for (std::size_t p = 0, rest = i; p < planes; ++p, rest /= 3)
        level += gamma[p] * (static_cast<double>(rest % 3) - 1);
      least = std::min(least, std::fabs(static_cast<double>(x) - level));
    }
    error += least * least;
  }
  return error;
}

}  // namespace

TEST_CASE("sorted magnitudes: order, sums and counts", "[quantize]") {
  std::mt19937 random(1);
  sorted_magnitudes sorted(300, false);
  for (int trial = 0; trial < 100; ++trial) {
    auto w = draw(random);
    if (trial % 5 == 0)
      for (float& x : w) x = std::ldexp(x, static_cast<int>(random() % 200) - 100);
    sorted.assign(view_of(w));
    std::vector<double> magnitudes;
    double squares = 0;
    for (const float x : w) magnitudes.push_back(std::fabs(static_cast<double>(x)));
    std::sort(magnitudes.begin(), magnitudes.end());
    REQUIRE(sorted.count() == w.size());
    CHECK(sorted.largest() == (w.empty() ? 0 : magnitudes.back()));
    double sum = 0;
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      wrong += sorted.value(i) != magnitudes[i];
      wrong += sorted.sum(i) != sum;
      sum += magnitudes[i];
      squares += magnitudes[i] * magnitudes[i];
      for (const double bound : {magnitudes[i], std::nextafter(magnitudes[i], 0.0), magnitudes[i] * 1.5}) {
        const auto above = std::upper_bound(magnitudes.begin(), magnitudes.end(), bound);
        wrong += sorted.at_most(bound) != static_cast<std::size_t>(above - magnitudes.begin());
      }
    }
    wrong += sorted.sum() != sum;
    CHECK(wrong == 0);
    CHECK(sorted.sum_of_squares() == squares);
    CHECK(sorted.at_most(-1) == 0);
    CHECK(sorted.at_most(std::numeric_limits<double>::max()) == w.size());
  }
}

TEST_CASE("radix sort: stable, payload and all", "[quantize]") {
  std::mt19937 random(2);
  std::vector<std::uint64_t> items(1000), spare(1000);
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = std::uint64_t{random() % 50 * 0x01010101u} << 32 | i;
  auto wanted = items;
  std::sort(wanted.begin(), wanted.end());  // by key, then by place
  tern::detail::radix_sort(items.data(), spare.data(), items.size(), 32);
  CHECK(items == wanted);
}

TEST_CASE("alternation: never above its start, and a fixed point", "[quantize]") {
  const std::size_t planes = GENERATE(range(std::size_t{1}, std::size_t{6}));
  std::mt19937 random(static_cast<unsigned>(planes));
  std::uniform_real_distribution<double> uniform(-1.5, 1.5);
  alternation alternate(planes);
  sorted_magnitudes sorted(300, false);
  std::size_t grew = 0, wrong = 0, not_fixed = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const auto w = draw(random);
    sorted.assign(view_of(w));
    plane_values start{};
    for (std::size_t p = 0; p < planes; ++p) start[p] = trial % 7 == 0 && p > 0 ? start[0] : uniform(random);
    const auto found = alternate.run(sorted, start);
    const double slack = 1e-12 * (sorted.sum_of_squares() + 1);
    const double error = nearest_error(w, found.gamma, planes);
    // What it says is what it found, for the assignment before the last refit: the nearest levels are as good or
    // better.
    grew += error > nearest_error(w, start, planes) + slack;
    wrong += error > found.error + slack;
    // Where values or levels are equal, another choice among the same may lead on.
    if (std::set<float>(w.begin(), w.end()).size() < w.size() || trial % 7 == 0) continue;
    const auto again = alternate.run(sorted, found.gamma);
    not_fixed += again.error < found.error * (1 - 1e-5) - slack;
  }
  CHECK(grew == 0);
  CHECK(wrong == 0);
  CHECK(not_fixed == 0);
}

TEST_CASE("alternation: the same from whatever slice came before", "[quantize]") {
  std::mt19937 random(5);
  alternation used(3);
  sorted_magnitudes sorted(300, false);
  for (int trial = 0; trial < 50; ++trial) {
    sorted.assign(view_of(draw(random)));
    const plane_values start{1, trial % 2 == 0 ? 1.0 : 0.5, 0.25};
    const auto found = used.run(sorted, start), fresh = alternation(3).run(sorted, start);
    CHECK(found.gamma == fresh.gamma);
    CHECK(found.error == fresh.error);
  }
}

TEST_CASE("alternation: what does not fit float is no solution", "[quantize]") {
  // From this start the larger value is g_1 - g_2 and the smaller one g_2, so that the refit has g_1 = 15/8 of the larger
  // one, without an error.
  sorted_magnitudes sorted(2, false);
  const auto run = [&](float most) {
    const std::vector<float> w{most, 0.875f * most};
    sorted.assign(view_of(w));
    return alternation(2).run(sorted, {1.875 * static_cast<double>(most), 0.875 * static_cast<double>(most)});
  };
  const auto fits = run(1.0f);
  CHECK(std::fabs(fits.gamma[0] - 1.875) < 1e-12);
  CHECK(std::fabs(fits.error) < 1e-12);
  const float most = std::numeric_limits<float>::max();
  const auto found = run(most);
  CHECK(std::isinf(found.error));
  CHECK(found.gamma[0] == 1.875 * static_cast<double>(most));  // the start
}

TEST_CASE("assignment: the nearest level, the lower one at ties, the first c of equal levels", "[quantize]") {
  std::mt19937 random(3);
  const std::size_t planes = GENERATE(range(std::size_t{1}, std::size_t{6}));
  for (int trial = 0; trial < 60; ++trial) {
    float gamma[5];
    for (float& g : gamma) g = static_cast<float>(random() % 9) / (trial % 2 == 0 ? 4.0f : 7.0f);  // some 0, some equal
    std::vector<float> w(40);
    for (float& x : w) x = (static_cast<float>(random() % 161) - 80) / 16.0f;
    std::vector<std::int8_t> trits(5 * 40);
    tern::matrix_view<std::int8_t> views[5];
    for (std::size_t p = 0; p < planes; ++p) views[p] = {trits.data() + p * 40, 4, 10};
    tern::detail::assign_trits({w.data(), 4, 10}, gamma, planes, views);

    std::size_t wrong = 0, far = 0;
    for (std::size_t i = 0; i < 40; ++i) {
      // All c in lexicographic order: the first one strictly better, where lower levels are better at the same
      // distance.
      std::vector<int> best;
      double best_distance = std::numeric_limits<double>::infinity(), best_level = 0;
      std::vector<int> c(planes, -1);
      for (bool more = true; more;) {
        double level = 0;
        bool empty = false;
        for (std::size_t p = 0; p < planes; ++p)
          level += static_cast<double>(gamma[p]) * c[p], empty |= gamma[p] == 0 && c[p] != 0;
        const double distance = std::fabs(static_cast<double>(w[i]) - level);
        if (!empty && (distance < best_distance || (distance == best_distance && level < best_level)))
          best = c, best_distance = distance, best_level = level;
        more = false;
        for (std::size_t p = planes; p-- > 0 && !more;) more = ++c[p] <= 1, c[p] = more ? c[p] : -1;
      }
      double level = 0;
      for (std::size_t p = 0; p < planes; ++p) {
        wrong += trits[p * 40 + i] != best[p];
        level += static_cast<double>(gamma[p]) * trits[p * 40 + i];
      }
      const auto x = static_cast<double>(w[i]);
      far += std::fabs(x - level) > best_distance + 1e-12 * (best_distance + std::fabs(x));
    }
    CHECK(far == 0);
    // Sums of sevenths round, so that a tie may not be one; quarters are exact.
    if (trial % 2 == 0) CHECK(wrong == 0);
  }
}

TEST_CASE("step: a dense scan finds nothing much better", "[quantize]") {
  std::mt19937 random(4);
  sorted_magnitudes sorted(300, false);
  const std::int32_t codes[][3] = {{3, 2, 0}, {7, 5, 0}, {9, 5, 3}, {8, 7, 5}, {9, 3, 1}};
  for (const auto& code : codes) {
    const tern::detail::integer_levels levels(code, code[2] == 0 ? 2 : 3);
    double lost = 0, signal = 0;
    std::size_t worse = 0;
    for (int trial = 0; trial < 100; ++trial) {
      const auto w = draw(random);
      sorted.assign(view_of(w));
      const auto best = tern::detail::best_step(sorted, levels);
      double dense = 0;
      for (int i = 1; i < 4000; ++i)
        dense = std::max(dense, tern::detail::refit_step(sorted, levels, sorted.largest() * i / 4000.0).gain);
      worse += dense - best.gain > 0.01 * sorted.sum_of_squares();
      lost += std::max(0.0, dense - best.gain), signal += sorted.sum_of_squares();
      // The gain is what the error formula says: ||w||^2 less the sum of squared distances, or more with a better d.
      if (best.d == 0) continue;
      double error = 0;
      for (const float x : w) {
        double least = std::fabs(static_cast<double>(x));
        for (std::size_t l = 0; l < levels.count; ++l)
          least = std::min(least, std::fabs(std::fabs(static_cast<double>(x)) - best.d * levels.q[l]));
        error += least * least;
      }
      CHECK(error <= (sorted.sum_of_squares() - best.gain) * (1 + 1e-9) + 1e-9 * sorted.sum_of_squares());
    }
    CHECK(lost < 0.002 * signal);
    CHECK(worse <= 3);
  }
}
