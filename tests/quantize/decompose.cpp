// SPDX-License-Identifier: MIT
#include <tern/quantize/decompose.hpp>

#include <tern/quantize/distortion.hpp>
#include <tern/quantize/synthetic.hpp>
#include <tern/type/packed_matrix.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <thread>

#include "support/catch.hpp"
#include "support/textbook.hpp"

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

/// Greedy planes, row by row: R = W; repeat: gamma = mean |R|, T = clamp(round(R / gamma), -1, 1), R = fl(R - fl(gamma T)).
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

TEST_CASE("decompose: greedy planes as the textbook says, code for code", "[quantize]") {
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

// --- other rules, other methods --------------------------------------------------------------------------------------

namespace {

using tern::base_rule, tern::decompose_method, tern::decompose_options, tern::decompose_start;

struct thread_executor {
  std::size_t concurrency() const { return 4; }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < n; ++i) threads.emplace_back([&f, i] { f(i); });
    for (std::thread& t : threads) t.join();
  }
};

/// Every way to decompose.
std::vector<decompose_options> all_methods(std::size_t planes) {
  std::vector<decompose_options> all;
  for (const auto base : {base_rule::absmean, base_rule::twn, base_rule::absmax, base_rule::optimum}) {
    all.push_back({.planes = planes, .base = base});
    all.push_back({.planes = planes, .method = decompose_method::greedy_refit, .base = base});
    all.push_back(
        {.planes = planes, .method = decompose_method::alternating, .base = base, .start = decompose_start::base});
  }
  all.push_back({.planes = planes, .method = decompose_method::alternating});
  all.push_back({.planes = planes, .method = decompose_method::alternating, .start = decompose_start::balanced});
  all.push_back({.planes = planes, .method = decompose_method::balanced});
  return all;
}

double mse(const tern::matrix<float>& w, const decompose_options& options) {
  return tern::distortion(w, tern::dequantize(tern::decompose(w, options))).mse;
}

/// 64-bit FNV-1a over codes and bits of scales.
std::uint64_t hash(const tern::quantized_matrix& q, std::uint64_t fnv) {
  for (const std::int8_t code : q.codes) fnv = (fnv ^ static_cast<std::uint8_t>(code)) * 0x100000001b3u;
  for (const float scale : q.scales) fnv = (fnv ^ std::bit_cast<std::uint32_t>(scale)) * 0x100000001b3u;
  return fnv;
}

/// Slices that hold ties, zeros, one value, or next to nothing.
tern::matrix<float> awkward(unsigned seed) {
  auto w = draw(8, 23, seed);
  std::mt19937 random(seed);
  for (std::size_t k = 0; k < 23; ++k) {
    w(0, k) = 0;
    w(1, k) = 0.75f;
    w(2, k) = static_cast<float>(random() % 5) - 2;
    w(3, k) = k == 11 ? -3.0f : 0.0f;
  }
  return w;
}

struct positive_part {
  float operator()(tern::matrix_view<const float> w, std::size_t, tern::matrix_view<std::int8_t> trits) const {
    float largest = 0;
    for (std::size_t k = 0; k < w.cols(); ++k) largest = std::max(largest, w(0, k));
    for (std::size_t k = 0; k < w.cols(); ++k) trits(0, k) = w(0, k) > 0 && w(0, k) == largest;
    return largest;
  }
};

}  // namespace

TEST_CASE("decompose: greedy planes of any rule are the rule on what is left", "[quantize]") {
  const auto w = awkward(5);
  const auto check = [&](const auto& rule, const tern::quantized_matrix& q) {
    auto left = w;
    for (std::size_t p = 0; p < 3; ++p) {
      const auto plane = tern::quantize_ternary(left, rule, tern::per_group(10));
      CHECK(std::equal(plane.codes.begin(), plane.codes.end(), q.code_row(p, 0)));
      CHECK(std::equal(plane.scales.begin(), plane.scales.end(),
                       q.scales.begin() + static_cast<std::ptrdiff_t>(p * plane.scales.size())));
      const auto values = dequantize(plane);
      for (std::size_t n = 0; n < w.rows(); ++n)
        for (std::size_t k = 0; k < w.cols(); ++k) left(n, k) -= values(n, k);
    }
  };
  decompose_options options{.planes = 3, .granularity = tern::per_group(10)};
  options.base = base_rule::twn;
  check(tern::twn{}, tern::decompose(w, options));
  options.base = base_rule::absmax;
  check(tern::ternary_absmax{}, tern::decompose(w, options));
  options.base = base_rule::optimum;
  check(tern::ternary_optimum{}, tern::decompose(w, options));
  check(tern::ternary_optimum{},
        tern::decompose(w, tern::ternary_optimum{}, {.planes = 3, .granularity = tern::per_group(10)}));
  check(positive_part{}, tern::decompose(w, positive_part{}, {.planes = 3, .granularity = tern::per_group(10)}));
  const std::vector<float> h(23, 2.0f);
  const auto weighted = tern::decompose(w, tern::ternary_optimum{h}, options);
  CHECK(weighted.codes == tern::decompose(w, options).codes);
}

TEST_CASE("decompose: no method is worse than what it starts from", "[quantize]") {
  const std::size_t planes = GENERATE(range(std::size_t{1}, std::size_t{6}));
  for (unsigned seed = 1; seed < 6; ++seed) {
    const auto all = awkward(seed);
    for (std::size_t n = 0; n < all.rows(); ++n) {
      const tern::matrix<float> w(1, all.cols(), std::vector<float>(all.row(n), all.row(n) + all.cols()));
      // Gammas are rounded to float at the end: some 2^-24 of the weights, squared.
      double signal = 0;
      for (std::size_t k = 0; k < w.cols(); ++k) signal += std::pow(static_cast<double>(w(0, k)), 2);
      const double slack = 1e-12 * signal;
      std::size_t worse = 0;
      for (const auto base : {base_rule::absmean, base_rule::twn, base_rule::absmax, base_rule::optimum}) {
        const double greedy = mse(w, {.planes = planes, .base = base});
        const double refit = mse(w, {.planes = planes, .method = decompose_method::greedy_refit, .base = base});
        const double alternating = mse(
            w,
            {.planes = planes, .method = decompose_method::alternating, .base = base, .start = decompose_start::base});
        const double multistart = mse(w, {.planes = planes, .method = decompose_method::alternating, .base = base});
        worse += refit > greedy * (1 + 1e-6) + slack;
        worse += alternating > refit * (1 + 1e-6) + slack;
        worse += multistart > alternating * (1 + 1e-6) + slack;
      }
      const double balanced = mse(w, {.planes = planes, .method = decompose_method::balanced});
      worse += mse(w, {.planes = planes, .method = decompose_method::alternating, .start = decompose_start::balanced}) >
               balanced * (1 + 1e-6) + slack;
      CHECK(worse == 0);
    }
  }
}

TEST_CASE("decompose: one alternating plane is the ternary optimum", "[quantize]") {
  const auto w = awkward(9);
  for (const auto g : {tern::per_channel, tern::per_group(5)}) {
    const auto optimum = tern::quantize_ternary(w, tern::ternary_optimum{}, g);
    const auto q = tern::decompose(w, {.planes = 1, .granularity = g, .method = decompose_method::alternating});
    CHECK(q.codes == optimum.codes);
    REQUIRE(q.scales.size() == optimum.scales.size());
    for (std::size_t i = 0; i < q.scales.size(); ++i)  // sums in another order
      CHECK(std::fabs(q.scales[i] - optimum.scales[i]) <= 2e-7f * optimum.scales[i]);
  }
}

TEST_CASE("decompose: joint fits give positive gammas in descending order and trits that are nearest", "[quantize]") {
  const auto w = tern::synthetic_weights(8, 128, tern::weight_distribution::laplace, 4);
  const std::size_t planes = GENERATE(as<std::size_t>(), 2, 3, 4);
  const auto q = tern::decompose(w, {.planes = planes, .method = decompose_method::alternating});
  for (std::size_t n = 0; n < 8; ++n) {
    for (std::size_t p = 1; p < planes; ++p) CHECK(q.scale(p, n, 0) <= q.scale(p - 1, n, 0));
    CHECK(q.scale(planes - 1, n, 0) >= 0);
  }
  // Changing any one trit makes no weight better.
  std::size_t better = 0;
  const auto values = tern::dequantize(q);
  for (std::size_t n = 0; n < 8; ++n)
    for (std::size_t k = 0; k < 128; ++k)
      for (std::size_t p = 0; p < planes; ++p)
        for (int t = -1; t <= 1; ++t) {
          const float other = values(n, k) + q.scale(p, n, 0) * static_cast<float>(t - q.code_row(p, n)[k]);
          better += std::fabs(w(n, k) - other) < std::fabs(w(n, k) - values(n, k)) - 1e-7f;
        }
  CHECK(better == 0);
}

TEST_CASE("decompose: balanced planes are the digits of equidistant codes", "[quantize]") {
  const auto w = tern::synthetic_weights(4, 200, tern::weight_distribution::gauss, 4);
  const std::size_t planes = GENERATE(range(std::size_t{1}, std::size_t{6}));
  const auto q = tern::decompose(w, {.planes = planes, .method = decompose_method::balanced});
  std::size_t wrong = 0;
  for (std::size_t n = 0; n < 4; ++n) {
    const float d = q.scale(planes - 1, n, 0);
    int most = 0, power = 1;
    for (std::size_t p = planes; p-- > 0; power *= 3) {
      wrong += q.scale(p, n, 0) != d * static_cast<float>(power);
      most += power;
    }
    for (std::size_t k = 0; k < 200; ++k) {
      int code = 0;
      for (std::size_t p = 0; p < planes; ++p) code = 3 * code + q.code_row(p, n)[k];
      wrong += code != static_cast<int>(std::clamp(std::rint(w(n, k) / d), float(-most), float(most)));
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("decompose: the same from every executor", "[quantize]") {
  const auto w = awkward(6);
  for (const auto g : {tern::per_tensor, tern::per_channel, tern::per_group(6), tern::per_input})
    for (auto options : all_methods(2)) {
      options.granularity = g;
      const auto q = tern::decompose(w, options), again = tern::decompose(w, options, thread_executor{});
      q.check();
      CHECK(again.codes == q.codes);
      CHECK(again.scales == q.scales);
      CHECK(std::all_of(q.codes.begin(), q.codes.end(), [](int t) { return t >= -1 && t <= 1; }));
    }
}

TEST_CASE("decompose: the same bits on every machine", "[quantize]") {
  // From g++ 12 -O1; every compiler and flag must agree, -march=native and -ffp-contract=fast too.
  std::uint64_t fnv = 0xcbf29ce484222325u;
  for (const auto distribution : {tern::weight_distribution::gauss, tern::weight_distribution::student_t4})
    for (const std::size_t planes : {std::size_t{2}, std::size_t{3}, std::size_t{4}})
      for (auto options : all_methods(planes)) {
        options.granularity = tern::per_group(100);
        fnv = hash(tern::decompose(tern::synthetic_weights(6, 256, distribution, 7), options), fnv);
      }
  CHECK(fnv == 0x00c94bdc93bd47cdu);
}

TEST_CASE("decompose: the fewest planes that reach a target", "[quantize]") {
  const auto w = tern::synthetic_weights(16, 256, tern::weight_distribution::gauss, 1);
  const auto method = GENERATE(decompose_method::greedy, decompose_method::alternating, decompose_method::balanced);
  double before = 0;
  for (std::size_t planes = 1; planes <= 4; ++planes) {
    const auto wanted = tern::decompose(w, {.planes = planes, .method = method});
    const double snr = tern::distortion(w, tern::dequantize(wanted)).snr_db;
    const auto q = tern::decompose(w, {.planes = 5, .method = method, .target_snr_db = (before + snr) / 2});
    CHECK(q.planes == planes);
    CHECK(q.codes == wanted.codes);
    CHECK(q.scales == wanted.scales);
    before = snr;
  }
  CHECK(tern::decompose(w, {.planes = 3, .method = method, .target_snr_db = 200}).planes == 3);
  CHECK(tern::decompose(w, {.planes = 3, .method = method, .target_snr_db = -10}).planes == 1);
  CHECK(tern::decompose(tern::matrix<float>(2, 3), {.planes = 3, .method = method, .target_snr_db = 30}).planes == 1);
}

TEST_CASE("decompose: powers of ten", "[quantize]") {
  for (double x = -150; x <= 150; x += 0.37)
    CHECK(std::fabs(tern::detail::power_of_ten(x) / std::pow(10.0, x) - 1) < 2e-13);
  CHECK(tern::detail::power_of_ten(0) == 1);
}

TEST_CASE("decompose: progress ascends to the total, one report at a time", "[quantize]") {
  const auto w = awkward(7);
  for (const double target : {std::numeric_limits<double>::infinity(), 0.0}) {
    std::size_t last = 0, calls = 0;
    std::atomic<int> inside = 0;
    bool overlapped = false, ascending = true;
    const auto progress = [&](std::size_t done, std::size_t total) {
      overlapped |= ++inside > 1;
      ascending &= done > last && done <= total && total == (target == 0 ? 2u : 1u) * 8 * 5;
      last = done;
      ++calls;
      --inside;
      return true;
    };
    const decompose_options options{.planes = 2,
                                    .granularity = tern::per_group(5),
                                    .method = decompose_method::alternating,
                                    .target_snr_db = target};
    tern::decompose(w, options, thread_executor{}, std::ref(progress));
    CHECK(!overlapped);
    CHECK(ascending);
    CHECK(last == (target == 0 ? 2u : 1u) * 8 * 5);
    CHECK(calls > 0);
  }
  // One thread reports every slice.
  std::size_t calls = 0;
  tern::decompose(w, {}, tern::serial_executor{}, [&](std::size_t done, std::size_t) { return ++calls == done; });
  CHECK(calls == 8);
  calls = 0;
  tern::decompose(tern::matrix<float>(0, 4), {}, tern::serial_executor{},
                  [&](std::size_t done, std::size_t total) { return ++calls, done == 0 && total == 0; });
  CHECK(calls == 1);
}

TEST_CASE("decompose: cancelled at any report", "[quantize]") {
  const auto w = awkward(8);
  for (std::size_t stop = 1; stop <= 8; ++stop) {
    std::size_t calls = 0;
    const auto progress = [&](std::size_t done, std::size_t) { return ++calls, done < stop; };
    CHECK_THROWS_AS(tern::decompose(w, {}, tern::serial_executor{}, progress), tern::cancelled_error);
    CHECK(calls == stop);  // nothing is called after that
    CHECK_THROWS_AS(tern::decompose(w, {}, thread_executor{}, progress), tern::cancelled_error);
  }
  CHECK_THROWS_WITH(tern::decompose(w, {}, tern::serial_executor{}, [](std::size_t, std::size_t) { return false; }),
                    "decompose: cancelled after 1 of 8 slices");
}

TEST_CASE("decompose: extreme sizes of weights", "[quantize]") {
  const float most = std::numeric_limits<float>::max();
  const tern::matrix<float> w(4, 6, {most,   -most,  most,    most / 2, 0,      most,    //
                                     1e-45f, 0,      -1e-45f, 1e-44f,   1e-45f, 3e-45f,  //
                                     most,   1e-45f, 1,       -1,       0,      -most,   //
                                     -most,  -most,  -most,   -most,    -most,  -most});
  for (std::size_t planes = 1; planes <= 5; ++planes)
    for (const auto& options : all_methods(planes)) {
      // The level nearest to the largest float may be beyond it, unless gamma is a mean.
      try {
        const auto w_hat = tern::dequantize(tern::decompose(w, options));
        for (std::size_t i = 0; i < 24; ++i) CHECK(std::isfinite(w_hat.data()[i]));
      } catch (const tern::range_error& e) {
        CHECK(std::string(e.what()).find("is beyond float") != std::string::npos);
        CHECK(planes > 1);
      }
    }
  const auto q = tern::decompose(w, {.planes = 2, .method = decompose_method::alternating});
  CHECK(tern::dequantize(q)(3, 0) == -most);
}

TEST_CASE("decompose: what else is refused", "[quantize]") {
  const auto w = draw(3, 20, 4);
  for (const auto method : {decompose_method::greedy_refit, decompose_method::alternating, decompose_method::balanced})
    CHECK_THROWS_WITH(tern::decompose(w, {.planes = 6, .method = method}),
                      "decompose: at most 5 planes can be fitted together, not 6");
  CHECK(tern::decompose(w, {.planes = 9}).planes == 9);
  for (const double target : {std::nan(""), -std::numeric_limits<double>::infinity(), 1e9})
    CHECK_THROWS_AS(tern::decompose(w, {.target_snr_db = target}), tern::range_error);
  CHECK_THROWS_AS(tern::decompose(w, {.base = static_cast<base_rule>(9)}), tern::range_error);
  const std::vector<float> h(19, 1.0f);
  CHECK_THROWS_AS(tern::decompose(w, tern::ternary_optimum{h}), tern::shape_error);
}

TEST_CASE("decompose: importances count like repetitions of an input", "[quantize]") {
  // h copies of input k, all alike, are one input of importance h; sums of whole numbers do not round.
  const auto method = GENERATE(tern::decompose_method::alternating, tern::decompose_method::balanced);
  const std::size_t planes = GENERATE(as<std::size_t>(), 1, 2, 3);
  std::mt19937 random(3);
  tern::matrix<float> w(4, 60);
  for (std::size_t i = 0; i < 240; ++i) w.data()[i] = static_cast<float>(static_cast<int>(random() % 2001) - 1000);
  std::vector<float> h;
  std::vector<std::size_t> copies;
  for (std::size_t k = 0; k < 60; ++k) {
    h.push_back(static_cast<float>(1 + random() % 4));
    copies.insert(copies.end(), static_cast<std::size_t>(h.back()), k);
  }
  tern::matrix<float> repeated(4, copies.size());
  for (std::size_t n = 0; n < 4; ++n)
    for (std::size_t k = 0; k < copies.size(); ++k) repeated(n, k) = w(n, copies[k]);
  // From greedy starts, which do not know of importances, both would begin elsewhere.
  const tern::decompose_options o{.planes = planes, .method = method, .start = tern::decompose_start::balanced};
  auto weighted = o;
  weighted.importance = h;
  const auto q = tern::decompose(w, weighted), plain = tern::decompose(repeated, o);
  for (std::size_t p = 0; p < planes; ++p)
    for (std::size_t n = 0; n < 4; ++n) {
      CHECK(q.scale(p, n, 0) == Approx(plain.scale(p, n, 0)).epsilon(1e-6));
      std::size_t wrong = 0;
      for (std::size_t k = 0; k < copies.size(); ++k) wrong += q.code_row(p, n)[copies[k]] != plain.code_row(p, n)[k];
      CHECK(wrong == 0);
    }
}

TEST_CASE("decompose: importances are checked and lower the error that they weigh", "[quantize]") {
  const auto w = tern::synthetic_weights(8, 256, tern::weight_distribution::gauss, 4);
  std::vector<float> h(256, 1.0f);
  for (std::size_t k = 0; k < 256; k += 16) h[k] = 100;
  tern::decompose_options o{.planes = 2, .method = tern::decompose_method::alternating};
  const auto weighted_error = [&](const tern::quantized_matrix& q) {
    const auto w_hat = tern::dequantize(q);
    double sum = 0;
    for (std::size_t n = 0; n < 8; ++n)
      for (std::size_t k = 0; k < 256; ++k)
        sum += static_cast<double>(h[k]) * std::pow(static_cast<double>(w(n, k) - w_hat(n, k)), 2);
    return sum;
  };
  const double plain = weighted_error(tern::decompose(w, o));
  o.importance = h;
  CHECK(weighted_error(tern::decompose(w, o)) < 0.9 * plain);
  o.method = tern::decompose_method::greedy;
  CHECK_THROWS_AS(tern::decompose(w, o), tern::range_error);
  o.method = tern::decompose_method::alternating;
  h[3] = 0;
  CHECK_THROWS_WITH(tern::decompose(w, o), tern_test::contains("importance of input 3"));
  o.importance = std::span<const float>(h).first(255);
  CHECK_THROWS_AS(tern::decompose(w, o), tern::shape_error);
}

TEST_CASE("balanced planes: each group goes by the importances of its own inputs", "[quantize]") {
  const auto w = tern_test::draw_matrix(3, 96, 51), drawn = tern_test::draw_matrix(1, 96, 52);
  std::vector<float> importance(96);
  for (std::size_t k = 0; k < 96; ++k) importance[k] = 0.01f + drawn(0, k) * drawn(0, k);
  const auto q = tern::decompose(w, {.planes = 2,
                                     .granularity = tern::per_group(32),
                                     .method = tern::decompose_method::balanced,
                                     .importance = importance});
  for (std::size_t n = 0; n < 3; ++n)
    for (std::size_t g = 0; g < 3; ++g) {
      const tern::matrix_view<const float> part(w.row(n) + 32 * g, 1, 32);
      const auto alone = tern::decompose(part, {.planes = 2,
                                                .method = tern::decompose_method::balanced,
                                                .importance = std::span(importance).subspan(32 * g, 32)});
      for (std::size_t p = 0; p < q.planes; ++p) {
        CHECK(q.scale(p, n, g) == alone.scale(p, 0, 0));
        for (std::size_t k = 0; k < 32; ++k) CHECK(q.code_row(p, n)[32 * g + k] == alone.code_row(p, 0)[k]);
      }
    }
}
