// SPDX-License-Identifier: MIT
#include <tern/quantize/ternary.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "support/catch.hpp"

namespace {

/// What a rule says of a slice, restated: gamma and trits of a list of values with an importance each.
struct expected {
  float gamma = 0;
  std::vector<int> trits;
};
int sign(float x) { return (x > 0) - (x < 0); }

struct absmean {
  static constexpr tern::absmean rule{};
  static expected restated(const std::vector<float>& w) {
    double sum = 0;
    for (const float x : w) sum += std::fabs(static_cast<double>(x));
    expected e{w.empty() ? 0.0f : static_cast<float>(sum / static_cast<double>(w.size())), {}};
    for (const float x : w)
      e.trits.push_back(e.gamma == 0 ? 0 : static_cast<int>(std::clamp(std::rint(x / e.gamma), -1.0f, 1.0f)));
    return e;
  }
};
struct twn {
  static constexpr tern::twn rule{};
  static expected restated(const std::vector<float>& w) {
    double sum = 0, kept = 0, count = 0;
    for (const float x : w) sum += std::fabs(static_cast<double>(x));
    const double threshold = w.empty() ? 0 : 0.7 * (sum / static_cast<double>(w.size()));
    expected e;
    for (const float x : w) {
      const bool keep = std::fabs(static_cast<double>(x)) > threshold;
      e.trits.push_back(keep ? sign(x) : 0);
      if (keep) kept += std::fabs(static_cast<double>(x)), ++count;
    }
    e.gamma = count == 0 ? 0.0f : static_cast<float>(kept / count);
    return e;
  }
};
struct absmax {
  static constexpr tern::ternary_absmax rule{};
  static expected restated(const std::vector<float>& w) {
    expected e;
    for (const float x : w) e.gamma = std::max(e.gamma, std::fabs(x));
    for (const float x : w) e.trits.push_back(e.gamma == 0 ? 0 : static_cast<int>(std::rint(x / e.gamma)));
    return e;
  }
};
struct optimum {
  static constexpr tern::ternary_optimum rule{};
  static expected restated(const std::vector<float>& w) {
    std::vector<float> sorted;
    for (const float x : w) sorted.push_back(std::fabs(x));
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    double sum = 0, best = 0;
    std::size_t kept = 0;
    expected e;
    for (std::size_t m = 1; m <= sorted.size(); ++m) {
      sum += static_cast<double>(sorted[m - 1]);
      if (sum * sum / static_cast<double>(m) > best * (1 + 1e-14)) {
        best = sum * sum / static_cast<double>(m), kept = m;
        e.gamma = static_cast<float>(sum / static_cast<double>(m));
      }
    }
    for (const float x : w) e.trits.push_back(kept != 0 && std::fabs(x) >= sorted[kept - 1] ? sign(x) : 0);
    return e;
  }
};
using rules = tern::type_list<absmean, twn, absmax, optimum>;

/// Random rows of very different sizes; one that is zero, one that is constant, one with many ties.
tern::matrix<float> draw(std::size_t rows, std::size_t cols) {
  std::mt19937 random(static_cast<unsigned>(rows * 1000 + cols));
  std::normal_distribution<float> normal;
  tern::matrix<float> w(rows, cols);
  for (std::size_t n = 0; n < rows; ++n)
    for (std::size_t k = 0; k < cols; ++k) {
      const float x = normal(random);
      w(n, k) = n == 1   ? 0.0f
                : n == 2 ? 0.75f
                : n == 3 ? std::rint(2 * x)
                         : std::ldexp(x, static_cast<int>(n) * 9 - 60);
    }
  return w;
}

/// The values of each slice and where they stand, written out.
struct flat_slice {
  std::vector<float> values;
  std::vector<std::size_t> at;
};
std::vector<flat_slice> slices_of(const tern::matrix<float>& w, tern::granularity g) {
  std::vector<flat_slice> slices(tern::quantized_matrix(1, w.rows(), w.cols(), g).scales.size());
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) {
      flat_slice& s = slices[g == tern::per_tensor    ? 0
                             : g == tern::per_input   ? k
                             : g == tern::per_channel ? n
                                                      : n * ((w.cols() + g.group - 1) / g.group) + k / g.group];
      s.values.push_back(w(n, k));
      s.at.push_back(n * w.cols() + k);
    }
  return slices;
}

/// The least of sum h (w - gamma t)^2 over all t and gamma, by trying all 3^n.
double least_error(const std::vector<float>& w, const std::vector<float>& h) {
  double best = std::numeric_limits<double>::infinity();
  std::size_t combinations = 1;
  for (std::size_t i = 0; i < w.size(); ++i) combinations *= 3;
  for (std::size_t c = 0; c < combinations; ++c) {
    double wt = 0, tt = 0, ww = 0;
    std::size_t rest = c;
    for (std::size_t i = 0; i < w.size(); ++i, rest /= 3) {
      const double t = static_cast<double>(rest % 3) - 1, x = static_cast<double>(w[i]),
                   weight = static_cast<double>(h[i]);
      wt += weight * x * t, tt += weight * t * t, ww += weight * x * x;
    }
    best = std::min(best, tt == 0 ? ww : ww - wt * wt / tt);
  }
  return best;
}
double error_of(const std::vector<float>& w, const std::vector<float>& h, const tern::quantized_matrix& q) {
  double error = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double e = static_cast<double>(w[i]) - static_cast<double>(q.scales[0]) * q.codes[i];
    error += static_cast<double>(h[i]) * e * e;
  }
  return error;
}

/// Everyone who has a type of his own: keeps what is positive.
struct positive_part {
  float operator()(tern::matrix_view<const float> w, std::size_t first_input,
                   tern::matrix_view<std::int8_t> trits) const {
    for (std::size_t n = 0; n < w.rows(); ++n)
      for (std::size_t k = 0; k < w.cols(); ++k) trits(n, k) = w(n, k) > 0;
    return static_cast<float>(first_input + 1);
  }
};
static_assert(tern::ternary_rule<positive_part> && tern::ternary_rule<tern::ternary_optimum>);
static_assert(!tern::ternary_rule<int> && !tern::ternary_rule<tern::granularity>);

/// Five parts, the last first.
struct backward_executor {
  std::size_t concurrency() const { return 5; }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
    while (n-- > 0) f(n);
  }
};

}  // namespace

TEMPLATE_LIST_TEST_CASE("ternary: every slice by the rule", "[quantize]", rules) {
  const std::size_t cols = GENERATE(as<std::size_t>(), 1, 2, 17, 300);
  const auto w = draw(9, cols);
  for (const auto g : {tern::per_tensor, tern::per_channel, tern::per_group(16), tern::per_input}) {
    const auto q = tern::quantize_ternary(w, TestType::rule, g);
    const auto slices = slices_of(w, g);
    REQUIRE(q.scales.size() == slices.size());
    CHECK(q.planes == 1);
    CHECK(q.granularity == g);
    CHECK(q.zeros.empty());
    std::size_t wrong = 0;
    for (std::size_t s = 0; s < slices.size(); ++s) {
      const expected e = TestType::restated(slices[s].values);
      wrong += q.scales[s] != e.gamma;
      for (std::size_t i = 0; i < e.trits.size(); ++i) wrong += q.codes[slices[s].at[i]] != e.trits[i];
    }
    CHECK(wrong == 0);

    const auto again = tern::quantize_ternary(w, TestType::rule, g, backward_executor{});
    CHECK(again.codes == q.codes);
    CHECK(again.scales == q.scales);
  }
  const auto nothing = tern::quantize_ternary(tern::matrix<float>(2, 0), TestType::rule);
  CHECK(nothing.scales == std::vector<float>{0, 0});
}

TEST_CASE("ternary: by hand", "[quantize]") {
  const tern::matrix<float> w(1, 4, {4, -2, 1, 1});
  // mean 2: 1/2 is a tie and goes to 0
  CHECK(tern::quantize_ternary(w, tern::absmean{}).codes == std::vector<std::int8_t>{1, -1, 0, 0});
  // D = 1.4
  CHECK(tern::quantize_ternary(w, tern::twn{}).codes == std::vector<std::int8_t>{1, -1, 0, 0});
  CHECK(tern::quantize_ternary(w, tern::twn{}).scales == std::vector<float>{3});
  CHECK(tern::quantize_ternary(w, tern::ternary_absmax{}).codes == std::vector<std::int8_t>{1, 0, 0, 0});
  // Gains 16, 18, 49/3, 16: two are kept.
  CHECK(tern::quantize_ternary(w, tern::ternary_optimum{}).codes == std::vector<std::int8_t>{1, -1, 0, 0});
  CHECK(tern::quantize_ternary(w, tern::ternary_optimum{}).scales == std::vector<float>{3});
  // Important small ones: gains 16, 20/.. with h = (1, 1, 8, 8): 16, 18, (6 + 16)^2 / 18 = 26.9.
  const std::vector<float> h{1, 1, 8, 8};
  const auto q = tern::quantize_ternary(w, tern::ternary_optimum{h});
  CHECK(q.codes == std::vector<std::int8_t>{1, -1, 1, 1});
  CHECK(q.scales == std::vector<float>{22.0f / 18.0f});
}

TEST_CASE("ternary: the optimum is one, against all trits of tiny slices", "[quantize]") {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::size_t worse = 0, weighted_worse = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const std::size_t n = 1 + static_cast<std::size_t>(trial) % 6;
    std::vector<float> w(n), h(n), equal(n, 1.0f);
    for (float& x : w) x = trial % 3 == 0 ? std::rint(2 * normal(random)) : normal(random);
    for (float& x : h) x = std::ldexp(1.0f, static_cast<int>(random() % 9)) * 0.75f;
    const tern::matrix<float> row(1, n, w);
    const double slack = 1e-6 * (least_error(w, equal) + 1);
    worse += error_of(w, equal, tern::quantize_ternary(row, tern::ternary_optimum{})) > least_error(w, equal) + slack;
    const auto q = tern::quantize_ternary(row, tern::ternary_optimum{h});
    weighted_worse += error_of(w, h, q) > least_error(w, h) * (1 + 1e-6) + 1e-5;
  }
  CHECK(worse == 0);
  CHECK(weighted_worse == 0);
}

TEST_CASE("ternary: importances belong to inputs", "[quantize]") {
  const auto w = draw(9, 40);
  std::vector<float> h(40);
  for (std::size_t k = 0; k < 40; ++k) h[k] = static_cast<float>(1 + k * k % 13);
  // Equal importances change nothing.
  const auto plain = tern::quantize_ternary(w, tern::ternary_optimum{});
  const auto fours = tern::quantize_ternary(w, tern::ternary_optimum{std::vector<float>(40, 4.0f)});
  CHECK(fours.codes == plain.codes);
  CHECK(fours.scales == plain.scales);
  // A group is a matrix of its own, with its part of h.
  const auto q = tern::quantize_ternary(w, tern::ternary_optimum{h}, tern::per_group(16));
  for (std::size_t g = 0; g < 3; ++g) {
    const std::size_t begin = g * 16, size = std::min<std::size_t>(16, 40 - begin);
    const tern::matrix_view<const float> part(w.data() + begin, 9, size, 40);
    const auto alone = tern::quantize_ternary(part, tern::ternary_optimum{std::span(h).subspan(begin, size)});
    for (std::size_t n = 0; n < 9; ++n) {
      CHECK(q.scale(0, n, g) == alone.scale(0, n, 0));
      CHECK(std::equal(alone.code_row(0, n), alone.code_row(0, n) + size, q.code_row(0, n) + begin));
    }
  }
}

TEST_CASE("ternary: a rule of one's own", "[quantize]") {
  const tern::matrix<float> w(2, 3, {1, -1, 2, -3, 0, 5});
  const auto q = tern::quantize_ternary(w, positive_part{}, tern::per_group(2));
  CHECK(q.codes == std::vector<std::int8_t>{1, 0, 1, 0, 0, 1});
  CHECK(q.scales == std::vector<float>{1, 3, 1, 3});
}

TEST_CASE("ternary: what is refused", "[quantize]") {
  auto w = draw(3, 20);
  std::vector<float> h(20, 1.0f);
  CHECK_THROWS_AS(tern::quantize_ternary(w, tern::ternary_optimum{std::span(h).first(19)}), tern::shape_error);
  CHECK_THROWS_WITH(tern::quantize_ternary(w, tern::ternary_optimum{std::span(h).first(19)}),
                    "ternary_optimum: 19 importances for 20 inputs");
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    h[7] = bad;
    CHECK_THROWS_AS(tern::quantize_ternary(w, tern::ternary_optimum{h}), tern::range_error);
    CHECK_THROWS_WITH(tern::quantize_ternary(w, tern::ternary_optimum{h}), tern_test::contains("input 7"));
  }
  w(2, 19) = -std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(tern::quantize_ternary(w, tern::twn{}), tern_test::contains("row 2, column 19"));
  CHECK_THROWS_AS(tern::quantize_ternary(w, tern::twn{}, {tern::granularity::sharing::group, 0}), tern::range_error);
}
