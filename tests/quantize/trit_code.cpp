// SPDX-License-Identifier: MIT
#include <tern/quantize/trit_code.hpp>

#include <tern/quantize/distortion.hpp>
#include <tern/quantize/synthetic.hpp>
#include <tern/quantize/weights.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "support/backward_executor.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern::trit_code, tern::weight_distribution;
using tern_test::backward_executor;

namespace {

/// All levels of a code, ascending.
std::set<int> levels_of(const trit_code& code) {
  std::set<int> levels;
  for (int t0 = -1; t0 <= 1; ++t0)
    for (int t1 = -1; t1 <= 1; ++t1)
      for (int t2 = -1; t2 <= 1; ++t2) levels.insert(code.c[0] * t0 + code.c[1] * t1 + code.c[2] * t2);
  return levels;
}

double noise(const tern::matrix<float>& w, const tern::quantized_matrix& q) {
  return tern::distortion(w, tern::dequantize(q)).mse;
}

}  // namespace

TEST_CASE("trit code: each weight has the nearest level and a lower one at ties", "[quantize]") {
  auto w = tern::synthetic_weights(4, 300, weight_distribution::laplace, 1);
  for (std::size_t k = 0; k < 300; ++k) w(1, k) = std::rint(100 * w(1, k));  // ties
  for (const auto& codes :
       {std::span<const trit_code>(tern::trit_codes_of_2), std::span<const trit_code>(tern::trit_codes_of_3)})
    for (const trit_code& code : codes)
      for (const auto g : {tern::per_tensor, tern::per_channel, tern::per_group(128), tern::per_input}) {
        const auto q = tern::quantize_trit_code(w, {.granularity = g, .code = code});
        CHECK(q.code == code);
        CHECK(q.planes == 1);
        CHECK(q.granularity == g);
        q.check();
        const auto levels = levels_of(code);
        std::size_t wrong = 0;
        for (std::size_t n = 0; n < 4; ++n)
          for (std::size_t k = 0; k < 300; ++k) {
            const double d = static_cast<double>(q.scale(0, n, k / q.group_inputs()));
            int best = 0;
            double distance = std::numeric_limits<double>::infinity();
            for (const int level : levels) {
              const double here = std::fabs(static_cast<double>(w(n, k)) - d * level);
              if (here < distance) distance = here, best = level;
            }
            wrong += q.code_row(0, n)[k] != best;
          }
        CHECK(wrong == 0);
      }
}

TEST_CASE("trit code: the code with the least error over the matrix", "[quantize]") {
  const auto distribution =
      GENERATE(weight_distribution::gauss, weight_distribution::laplace, weight_distribution::student_t4);
  const auto w = tern::synthetic_weights(16, 512, distribution, 2);
  for (const std::size_t planes : {std::size_t{2}, std::size_t{3}}) {
    const auto q = tern::quantize_trit_code(w, {.planes = planes, .granularity = tern::per_group(128)});
    CHECK(q.code.planes() == planes);
    double least = std::numeric_limits<double>::infinity();
    for (const auto& code : planes == 2 ? tern::trit_codes_of_2 : tern::trit_codes_of_3) {
      const auto fixed = tern::quantize_trit_code(w, {.granularity = tern::per_group(128), .code = code});
      least = std::min(least, noise(w, fixed));
      if (code == q.code) CHECK(fixed.codes == q.codes);
    }
    CHECK(noise(w, q) == least);
    const auto again =
        tern::quantize_trit_code(w, {.planes = planes, .granularity = tern::per_group(128)}, backward_executor{});
    CHECK(again.code == q.code);
    CHECK(again.codes == q.codes);
    CHECK(again.scales == q.scales);
  }
}

TEST_CASE("trit code: weights that are levels are kept", "[quantize]") {
  const trit_code code = GENERATE(trit_code{{3, 2}}, trit_code{{7, 5}}, trit_code{{9, 5, 3}}, trit_code{{8, 7, 5}});
  const auto levels = levels_of(code);
  tern::matrix<float> w(2, levels.size());
  std::size_t k = 0;
  for (const int level : levels) w(0, k) = 0.25f * static_cast<float>(level), w(1, k++) = 0;
  const auto q = tern::quantize_trit_code(w, {.code = code});
  CHECK(q.scales == std::vector<float>{0.25f, 0});  // a row of zeros has step 0
  CHECK(std::equal(levels.begin(), levels.end(), q.codes.begin()));
  CHECK(std::count(q.codes.begin() + static_cast<std::ptrdiff_t>(levels.size()), q.codes.end(), 0) ==
        static_cast<std::ptrdiff_t>(levels.size()));
}

TEST_CASE("trit code: progress and cancellation", "[quantize]") {
  const auto w = tern::synthetic_weights(6, 64, weight_distribution::gauss, 1);
  std::vector<std::size_t> reports;
  tern::quantize_trit_code(w, {}, tern::serial_executor{}, [&](std::size_t done, std::size_t total) {
    CHECK(total == 6);
    reports.push_back(done);
    return true;
  });
  CHECK(reports == std::vector<std::size_t>{1, 2, 3, 4, 5, 6});
  CHECK_THROWS_AS(
      tern::quantize_trit_code(w, {}, tern::serial_executor{}, [](std::size_t done, std::size_t) { return done < 3; }),
      tern::cancelled_error);
}

TEST_CASE("trit code: what is refused", "[quantize]") {
  auto w = tern::synthetic_weights(2, 8, weight_distribution::gauss, 1);
  for (const std::size_t planes : {std::size_t{0}, std::size_t{1}, std::size_t{4}})
    CHECK_THROWS_AS(tern::quantize_trit_code(w, {.planes = planes}), tern::range_error);
  CHECK_THROWS_WITH(tern::quantize_trit_code(w, {.planes = 4}), "quantize_trit_code: codes have 2 or 3 planes, not 4");
  for (const auto code :
       {trit_code{{2, 1}}, trit_code{{2, 3}}, trit_code{{5, 3, 2}}, trit_code{{20, 8, 4}}, trit_code{{1, 0}}}) {
    // (2, 1): 2 - 1 = 1 twice; ascending; 5 = 3 + 2; beyond 31; one plane
    CHECK_THROWS_AS(tern::quantize_trit_code(w, {.code = code}), tern::range_error);
  }
  CHECK_THROWS_WITH(tern::quantize_trit_code(w, {.code = {{5, 3, 2}}}), tern_test::contains("(5, 3, 2)"));
  w(1, 7) = std::nanf("");
  CHECK_THROWS_WITH(tern::quantize_trit_code(w), tern_test::contains("row 1, column 7"));
  CHECK(tern::quantize_trit_code(tern::matrix<float>(0, 3)).codes.empty());
}

TEST_CASE("trit code: extreme sizes of weights", "[quantize]") {
  for (const float size : {1e-42f, 1e-30f, 5e37f}) {
    auto w = tern::synthetic_weights(2, 64, weight_distribution::gauss, 1);
    for (std::size_t i = 0; i < 128; ++i) w.data()[i] = w.data()[i] * 50 * size;
    const auto q = tern::quantize_trit_code(w, {.planes = 3});
    for (const float d : q.scales) CHECK((d > 0 && d <= std::numeric_limits<float>::max()));
  }
}

TEST_CASE("trit code: the same bits on every machine", "[quantize]") {
  std::uint64_t fnv = 0xcbf29ce484222325u;
  for (const auto distribution : {weight_distribution::gauss, weight_distribution::student_t4})
    for (const std::size_t planes : {std::size_t{2}, std::size_t{3}}) {
      const auto w = tern::synthetic_weights(6, 256, distribution, 7);
      const auto q = tern::quantize_trit_code(w, {.planes = planes, .granularity = tern::per_group(100)});
      for (const std::int8_t code : q.codes) fnv = (fnv ^ static_cast<std::uint8_t>(code)) * 0x100000001b3u;
      for (const float d : q.scales) fnv = (fnv ^ std::bit_cast<std::uint32_t>(d)) * 0x100000001b3u;
    }
  CHECK(fnv == 0x04af22c5dd554d0fu);
}

TEST_CASE("trit code: importances lower the error that they weigh", "[quantize]") {
  const auto w = tern::synthetic_weights(8, 256, weight_distribution::gauss, 4);
  std::vector<float> h(256, 1.0f);
  for (std::size_t k = 0; k < 256; k += 16) h[k] = 100;
  const auto weighted_error = [&](const tern::quantized_matrix& q) {
    const auto w_hat = tern::dequantize(q);
    double sum = 0;
    for (std::size_t n = 0; n < 8; ++n)
      for (std::size_t k = 0; k < 256; ++k)
        sum += static_cast<double>(h[k]) * std::pow(static_cast<double>(w(n, k) - w_hat(n, k)), 2);
    return sum;
  };
  const auto plain = tern::quantize_trit_code(w, {.code = {{3, 2}}});
  const auto weighted = tern::quantize_trit_code(w, {.code = {{3, 2}}, .importance = h});
  CHECK(weighted_error(weighted) < 0.95 * weighted_error(plain));
  // Equal importances, whatever they are, change nothing.
  const std::vector<float> same(256, 4.0f);
  const auto scaled = tern::quantize_trit_code(w, {.code = {{3, 2}}, .importance = same});
  CHECK(scaled.codes == plain.codes);
  CHECK(scaled.scales == plain.scales);
  h[255] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(tern::quantize_trit_code(w, {.importance = h}), tern::range_error);
}

TEST_CASE("trit code: each group goes by the importances of its own inputs", "[quantize]") {
  const auto w = tern_test::draw_matrix(3, 96, 51), drawn = tern_test::draw_matrix(1, 96, 52);
  std::vector<float> importance(96);
  for (std::size_t k = 0; k < 96; ++k) importance[k] = 0.01f + drawn(0, k) * drawn(0, k);
  const auto q = tern::quantize_trit_code(
      w, {.planes = 2, .granularity = tern::per_group(32), .code = {{3, 2}}, .importance = importance});
  for (std::size_t n = 0; n < 3; ++n)
    for (std::size_t g = 0; g < 3; ++g) {
      const tern::matrix_view<const float> part(w.row(n) + 32 * g, 1, 32);
      const auto alone = tern::quantize_trit_code(
          part, {.planes = 2, .code = {{3, 2}}, .importance = std::span(importance).subspan(32 * g, 32)});
      for (std::size_t p = 0; p < q.planes; ++p) {
        CHECK(q.scale(p, n, g) == alone.scale(p, 0, 0));
        for (std::size_t k = 0; k < 32; ++k) CHECK(q.code_row(p, n)[32 * g + k] == alone.code_row(p, 0)[k]);
      }
    }
}
