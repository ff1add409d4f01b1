// SPDX-License-Identifier: MIT
#include <tern/quantize/ternary.hpp>
#include <tern/quantize/trit_code.hpp>

#include <tern/type/packed_matrix.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <thread>

#include "support/catch.hpp"

using tern::quantized_matrix;

namespace {

/// Scale, zero point and codes of one slice, by the formulas of the documentation, straight.
struct slice {
  float scale = 0;
  int zero = 0;
  std::vector<int> codes;
};

int clamp_rint(float x, int low, int high) {
  return static_cast<int>(std::clamp(std::rint(x), float(low), float(high)));
}

struct absmax {
  static constexpr auto quantize = [](const auto& w, auto granularity) {
    return tern::quantize_absmax(w, granularity);
  };
  static slice rule(const std::vector<float>& w) {
    float am = 0;
    for (const float x : w) am = std::max(am, std::fabs(x));
    slice s{am < 0x1p-100f ? 1.0f : am / 127.0f, 0, {}};
    for (const float x : w) s.codes.push_back(am < 0x1p-100f ? 0 : clamp_rint(x / s.scale, -127, 127));
    return s;
  }
};
struct zero_point {
  static constexpr auto quantize = [](const auto& w, auto granularity) {
    return tern::quantize_zero_point(w, granularity);
  };
  static slice rule(const std::vector<float>& w) {
    float least = 0, most = 0;
    for (const float x : w) least = std::min(least, x), most = std::max(most, x);
    if (most - least < 0x1p-100f) return {1.0f, 0, std::vector<int>(w.size())};
    slice s{(most - least) / 255.0f, 0, {}};
    s.zero = -128 - static_cast<int>(std::rint(least / s.scale));
    for (const float x : w) s.codes.push_back(std::clamp(static_cast<int>(std::rint(x / s.scale)) + s.zero, -128, 127));
    return s;
  }
};
struct absmean {
  static constexpr auto quantize = [](const auto& w, auto granularity) {
    return tern::quantize_absmean(w, granularity);
  };
  static slice rule(const std::vector<float>& w) {
    double sum = 0;
    for (const float x : w) sum += std::fabs(static_cast<double>(x));
    slice s{w.empty() ? 0.0f : static_cast<float>(sum / static_cast<double>(w.size())), 0, {}};
    for (const float x : w) s.codes.push_back(s.scale == 0 ? 0 : clamp_rint(x / s.scale, -1, 1));
    return s;
  }
};
/// Clips in hundredths of the largest magnitude, all of them, straight.
struct mse {
  static constexpr auto quantize = [](const auto& w, auto granularity) { return tern::quantize_mse(w, granularity); };
  static slice rule(const std::vector<float>& w) { return rule(w, 8); }
  static slice rule(const std::vector<float>& w, unsigned bits) {
    float am = 0;
    for (const float x : w) am = std::max(am, std::fabs(x));
    if (am < 0x1p-100f) return {1.0f, 0, std::vector<int>(w.size())};
    const int q = (1 << (bits - 1)) - 1;
    slice best;
    double least = std::numeric_limits<double>::infinity();
    for (int i = 1; i <= 100; ++i) {
      slice s{static_cast<float>(static_cast<double>(am) * i / 100) / static_cast<float>(q), 0, {}};
      double sum = 0;
      for (const float x : w) {
        s.codes.push_back(clamp_rint(x / s.scale, -q, q));
        const double error = static_cast<double>(x) - s.codes.back() * static_cast<double>(s.scale);
        volatile double square = error * error;  // not to be contracted
        sum += square;
      }
      if (sum <= least) least = sum, best = s;
    }
    return best;
  }
};

using quantizers = tern::type_list<absmax, zero_point, absmean, mse>;

/// Random rows, one that is zero, one that is constant, one without positive numbers.
tern::matrix<float> draw(std::size_t rows, std::size_t cols) {
  std::mt19937 random(static_cast<unsigned>(rows * 1000 + cols));
  std::normal_distribution<float> normal;
  tern::matrix<float> w(rows, cols);
  for (std::size_t n = 0; n < rows; ++n)
    for (std::size_t k = 0; k < cols; ++k) {
      const float x = normal(random);
      w(n, k) = n == 1 ? 0.0f : n == 2 ? 0.75f : n == 3 ? -std::fabs(x) - 5.0f : x;
    }
  return w;
}

/// Quantises slice after slice with the rule.
template <class Quantizer>
quantized_matrix expected(tern::matrix_view<const float> w, tern::granularity granularity) {
  quantized_matrix q(1, w.rows(), w.cols(), granularity);
  std::vector<std::int8_t> zeros(q.scales.size());
  const bool whole = granularity == tern::per_tensor || granularity == tern::per_input;
  const std::size_t groups = q.groups(), inputs = q.group_inputs();
  for (std::size_t at = 0; at < q.scales.size(); ++at) {
    std::vector<float> values;
    std::vector<std::int8_t*> codes;
    for (std::size_t n = whole ? 0 : at / groups; n < (whole ? w.rows() : at / groups + 1); ++n)
      for (std::size_t k = at % groups * inputs; k < std::min(w.cols(), (at % groups + 1) * inputs); ++k) {
        values.push_back(w(n, k));
        codes.push_back(&q.codes[n * w.cols() + k]);
      }
    const slice s = Quantizer::rule(values);
    q.scales[at] = s.scale;
    zeros[at] = static_cast<std::int8_t>(s.zero);
    for (std::size_t i = 0; i < codes.size(); ++i) *codes[i] = static_cast<std::int8_t>(s.codes[i]);
  }
  if (std::is_same_v<Quantizer, zero_point>) q.zeros = zeros;
  return q;
}

void check_same(const quantized_matrix& q, const quantized_matrix& want) {
  CHECK(q.planes == want.planes);
  CHECK(q.rows == want.rows);
  CHECK(q.cols == want.cols);
  CHECK(q.granularity == want.granularity);
  CHECK(q.codes == want.codes);
  CHECK(q.scales == want.scales);
  CHECK(q.zeros == want.zeros);
}

tern::matrix_view<const float> row_of(const std::vector<float>& values) { return {values.data(), 1, values.size()}; }
std::vector<int> as_ints(const std::vector<std::int8_t>& codes) { return {codes.begin(), codes.end()}; }

}  // namespace

TEMPLATE_LIST_TEST_CASE("weights: every slice by the rule, a short last group too", "[quantize]", quantizers) {
  const std::size_t rows = GENERATE(as<std::size_t>(), 0, 1, 6), cols = GENERATE(as<std::size_t>(), 0, 1, 16, 20, 37);
  const auto granularity = GENERATE(as<tern::granularity>(), tern::per_tensor, tern::per_channel, tern::per_input,
                                    tern::per_group(1), tern::per_group(5), tern::per_group(16), tern::per_group(64));
  const auto w = draw(rows, cols);
  INFO(rows << "x" << cols << ", sharing " << int(granularity.kind) << ", groups of " << granularity.group);
  check_same(TestType::quantize(w, granularity), expected<TestType>(w, granularity));
}

TEMPLATE_LIST_TEST_CASE("weights: rows apart in memory, half and bfloat16", "[quantize]", quantizers) {
  const auto w = draw(5, 40);
  const tern::matrix_view<const float> part(w.data() + 3, 5, 33, 40);
  check_same(TestType::quantize(part, tern::per_group(16)), expected<TestType>(part, tern::per_group(16)));

  const auto check = [&](auto zero) {
    using type = decltype(zero);
    tern::matrix<type> narrow(5, 40);
    tern::matrix<float> wide(5, 40);
    for (std::size_t i = 0; i < 200; ++i) {
      narrow.data()[i] = type(w.data()[i]);
      wide.data()[i] = narrow.data()[i];
    }
    check_same(TestType::quantize(narrow, tern::per_channel), expected<TestType>(wide, tern::per_channel));
  };
  check(tern::half{});
  check(tern::bfloat16{});
}

TEMPLATE_LIST_TEST_CASE("weights: NaN and infinity are refused, with their place", "[quantize]", quantizers) {
  const float bad = GENERATE(std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::quiet_NaN());
  const auto granularity = GENERATE(as<tern::granularity>(), tern::per_tensor, tern::per_group(16));
  auto w = draw(5, 37);
  w(4, 36) = bad;
  CHECK_THROWS_AS(TestType::quantize(w, granularity), tern::range_error);
  CHECK_THROWS_WITH(TestType::quantize(w, granularity), tern_test::contains("row 4, column 36 is not finite"));
}

TEMPLATE_LIST_TEST_CASE("weights: a group of no inputs is refused", "[quantize]", quantizers) {
  const tern::granularity none{tern::granularity::sharing::group, 0};
  CHECK_THROWS_AS(TestType::quantize(draw(2, 4), none), tern::range_error);
}

TEST_CASE("quantize_absmax: by hand, ties to even, never -128", "[quantize]") {
  const auto q = tern::quantize_absmax(row_of({-254, 254, 1, 3, -1, 0}));
  CHECK(q.scales == std::vector<float>{2.0f});
  CHECK(as_ints(q.codes) == std::vector<int>{-127, 127, 0, 2, 0, 0});
  CHECK(tern::quantize_absmax(row_of({0, 0})).scales == std::vector<float>{1.0f});
  CHECK(tern::quantize_absmax(row_of({0x1p-100f})).codes[0] == 127);
  CHECK(tern::quantize_absmax(row_of({std::nextafter(0x1p-100f, 0.0f)})).codes[0] == 0);
}

TEST_CASE("quantize_zero_point: one-sided and constant rows keep their values", "[quantize]") {
  const auto q = tern::quantize_zero_point(tern::matrix<float>(3, 2, {10, 255, -4, -4, 0, 0}));
  CHECK(q.scales == std::vector<float>{1.0f, 4.0f / 255.0f, 1.0f});
  CHECK(as_ints(q.zeros) == std::vector<int>{-128, 127, 0});
  CHECK(as_ints(q.codes) == std::vector<int>{-118, 127, -128, -128, 0, 0});
  CHECK(dequantize(q)(0, 0) == 10.0f);
  CHECK(dequantize(q)(2, 0) == 0.0f);
  CHECK_THROWS_AS(tern::quantize_zero_point(row_of({-3e38f, 3e38f})), tern::range_error);
}

TEST_CASE("quantize_absmax: any bits, ties and expression, in int8 and int16", "[quantize]") {
  const unsigned bits = GENERATE(range(2u, 17u));
  const auto ties = GENERATE(as<tern::rounding>(), tern::rounding::half_even, tern::rounding::half_away);
  const auto expression = GENERATE(as<tern::expression>(), tern::expression::divide, tern::expression::normalise,
                                   tern::expression::reciprocal);
  // Integers beside 2Q are ties in every expression.
  const int q = (1 << (bits - 1)) - 1;
  auto w = draw(7, 40);
  for (std::size_t k = 0; k < 40; ++k) w(6, k) = static_cast<float>(k == 0 ? 2 * q : static_cast<int>(k) % (2 * q) - q);
  const tern::absmax_options options{bits, ties, expression};
  const auto wide = tern::quantize_absmax<std::int16_t>(w, tern::per_channel, options);
  std::size_t wrong = 0;
  for (std::size_t n = 0; n < 7; ++n) {
    float am = 0;
    for (std::size_t k = 0; k < 40; ++k) am = std::max(am, std::fabs(w(n, k)));
    const float limit = static_cast<float>(q), scale = am / limit, inverse = limit / am;
    wrong += wide.scales[n] != (am == 0 ? 1.0f : scale);
    for (std::size_t k = 0; k < 40; ++k) {
      volatile float x = w(n, k) / am;
      x = expression == tern::expression::divide      ? w(n, k) / scale
          : expression == tern::expression::normalise ? x * limit
                                                      : w(n, k) * inverse;
      const float code = ties == tern::rounding::half_even ? std::rint(x) : std::round(x);
      wrong += wide.code_row(0, n)[k] != (am == 0 ? 0 : static_cast<int>(std::clamp(code, -limit, limit)));
    }
  }
  INFO(bits << " bits, ties " << int(ties) << ", expression " << int(expression));
  CHECK(wrong == 0);
  CHECK(*std::max_element(wide.codes.begin(), wide.codes.end()) == q);
  if (bits > 8) return;
  const auto narrow = tern::quantize_absmax(w, tern::per_channel, options);
  CHECK(narrow.scales == wide.scales);
  CHECK(as_ints(narrow.codes) == std::vector<int>(wide.codes.begin(), wide.codes.end()));
}

TEST_CASE("quantize_absmax: ties by hand", "[quantize]") {
  const std::vector<float> values = {-254, 1, 3, 5, -1, -3, 0.99999994f, 1.0000001f};
  const auto w = row_of(values);
  CHECK(as_ints(tern::quantize_absmax(w).codes) == std::vector<int>{-127, 0, 2, 2, 0, -2, 0, 1});
  CHECK(as_ints(tern::quantize_absmax(w, tern::per_channel, {.rounding = tern::rounding::half_away}).codes) ==
        std::vector<int>{-127, 1, 2, 3, -1, -2, 0, 1});
  // Ternary absmax keeps what is beyond half of the largest; the tie falls by the rounding.
  const std::vector<float> halves = {1, 0.5f, -0.6f, 0.4f};
  const auto t = row_of(halves);
  CHECK(as_ints(tern::quantize_absmax(t, tern::per_channel, {.bits = 2}).codes) == std::vector<int>{1, 0, -1, 0});
  CHECK(as_ints(tern::quantize_absmax(t, tern::per_channel, {2, tern::rounding::half_away}).codes) ==
        std::vector<int>{1, 1, -1, 0});
}

TEST_CASE("weights: the error stays within half a step, for any bits", "[quantize]") {
  const unsigned bits = GENERATE(range(2u, 17u));
  const auto w = draw(9, 300);
  const auto q = tern::quantize_absmax<std::int16_t>(w, tern::per_group(100), {.bits = bits});
  const double limit = (1 << (bits - 1)) - 1;
  std::size_t wrong = 0;
  for (std::size_t n = 0; n < 9; ++n)
    for (std::size_t k = 0; k < 300; ++k) {
      const double scale = static_cast<double>(q.scale(0, n, k / 100));
      const double error = std::fabs(static_cast<double>(w(n, k)) - q.code_row(0, n)[k] * scale);
      wrong += error > scale / 2 * (1 + limit * 0x1p-23);
    }
  CHECK(wrong == 0);
}

TEST_CASE("weights: bits that no code has are refused, with the numbers", "[quantize]") {
  const auto w = draw(2, 4);
  const auto bits = [](unsigned count) { return tern::code_options{count}; };
  const auto g = tern::per_channel;
  for (const unsigned wrong : {0u, 1u, 17u, 4000000000u}) {
    CHECK_THROWS_AS(tern::quantize_absmax(w, g, {.bits = wrong}), tern::range_error);
    CHECK_THROWS_AS(tern::quantize_mse(w, g, bits(wrong)), tern::range_error);
    CHECK_THROWS_AS(tern::quantize_clipped(w, 1.0f, bits(wrong)), tern::range_error);
    CHECK_THROWS_AS(tern::quantize_zero_point(w, g, bits(wrong)), tern::range_error);
  }
  CHECK_THROWS_WITH(tern::quantize_absmax(w, g, {.bits = 9}),
                    tern_test::contains("9 bits do not fit int8; use quantize_absmax<std::int16_t>"));
  CHECK_THROWS_WITH(tern::quantize_mse(w, g, bits(16)),
                    tern_test::contains("16 bits do not fit int8; use quantize_mse<std::int16_t>"));
  CHECK_THROWS_WITH(tern::quantize_absmax<std::int16_t>(w, g, {.bits = 17}), tern_test::contains("codes of 17 bits"));
  CHECK_THROWS_WITH(tern::quantize_zero_point<std::uint8_t>(w, g, bits(9)),
                    "quantize_zero_point: codes of 9 bits; they have 2 to 8");
}

TEST_CASE("quantize_zero_point: fewer bits, and uint8 as int8 shifted", "[quantize]") {
  const unsigned bits = GENERATE(range(2u, 9u));
  const auto granularity = GENERATE(as<tern::granularity>(), tern::per_tensor, tern::per_channel, tern::per_group(7));
  const auto w = draw(6, 37);
  const auto narrow = tern::quantize_zero_point(w, granularity, {.bits = bits});
  const auto above = tern::quantize_zero_point<std::uint8_t>(w, granularity, {.bits = bits});
  const int half = 1 << (bits - 1);
  INFO(bits << " bits");
  CHECK(above.scales == narrow.scales);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < w.rows() * w.cols(); ++i) wrong += above.codes[i] != narrow.codes[i] + half;
  for (std::size_t s = 0; s < narrow.zeros.size(); ++s) wrong += above.zeros[s] != narrow.zeros[s] + half;
  CHECK(wrong == 0);
  const auto a = dequantize(narrow), b = dequantize(above);
  CHECK(std::equal(a.data(), a.data() + w.rows() * w.cols(), b.data()));
  // The rule, in the codes of uint8.
  for (std::size_t n = 0; n < 6; ++n)
    for (std::size_t k = 0; k < 37; ++k) {
      const std::size_t g = k / narrow.group_inputs();
      const bool whole = granularity == tern::per_tensor;
      float least = 0, most = 0;
      for (std::size_t m = whole ? 0 : n; m < (whole ? 6 : n + 1); ++m)
        for (std::size_t j = g * narrow.group_inputs(); j < std::min<std::size_t>(37, (g + 1) * narrow.group_inputs());
             ++j)
          least = std::min(least, w(m, j)), most = std::max(most, w(m, j));
      const bool zero_slice = most - least < 0x1p-100f;
      const int steps = 2 * half - 1;
      const float scale = zero_slice ? 1.0f : (most - least) / static_cast<float>(steps);
      const int zero = zero_slice ? half : -static_cast<int>(std::rint(least / scale));
      wrong += above.scale(0, n, g) != scale;
      wrong += above.zero(0, n, g) != zero;
      wrong += above.code_row(0, n)[k] != std::clamp(static_cast<int>(std::rint(w(n, k) / scale)) + zero, 0, steps);
    }
  CHECK(wrong == 0);
}

TEST_CASE("quantize_mse: fewer and more bits by the rule", "[quantize]") {
  const unsigned bits = GENERATE(as<unsigned>(), 2, 3, 4, 5, 8, 11, 16);
  auto w = draw(6, 150);
  for (std::size_t k = 0; k < 150; k += 40) w(5, k) *= 20;  // outliers
  const auto q = tern::quantize_mse<std::int16_t>(w, tern::per_channel, {.bits = bits});
  for (std::size_t n = 0; n < 6; ++n) {
    const auto want = mse::rule({w.row(n), w.row(n) + 150}, bits);
    INFO(bits << " bits, row " << n);
    CHECK(q.scales[n] == want.scale);
    CHECK(std::equal(want.codes.begin(), want.codes.end(), q.code_row(0, n)));
  }
}

TEST_CASE("quantize_mse: by hand", "[quantize]") {
  // Codes -1, 0, 1: thirty ones beside a four are worth more than the four. At a clip of 1.08 = 4 * 27 / 100 the error is
  // 30 * 0.0064 + 2.92^2; the best clip c minimises 30 (c - 1)^2 + (c - 4)^2 among the hundredths of 4.
  std::vector<float> w(30, 1.0f);
  w.push_back(4);
  const auto q = tern::quantize_mse(row_of(w), tern::per_channel, {.bits = 2});
  CHECK(q.scales[0] == 1.08f);
  CHECK(as_ints(q.codes) == std::vector<int>(31, 1));
  // Codes 1, 1: the clips 99 and 100 are equally far from {100, 99}, and the larger wins.
  CHECK(tern::quantize_mse(row_of({100, 99}), tern::per_channel, {.bits = 2}).scales[0] == 100.0f);
  // What is exact at the largest clip stays there.
  CHECK(tern::quantize_mse(row_of({127, -64, 1, 0})).scales[0] == 1.0f);
  CHECK(as_ints(tern::quantize_mse(row_of({127, -64, 1, 0})).codes) == std::vector<int>{127, -64, 1, 0});
  CHECK(tern::quantize_mse(row_of({0, -0.0f})).scales[0] == 1.0f);
  CHECK(tern::quantize_mse(row_of({0x1p-100f})).codes[0] == 127);
  // 9802 ones are worth more than a hundred: clipped at 1, but not in a unit where that is below 2^-100.
  std::vector<float> tiny(9803, 0x1p-106f);
  tiny[0] = 100 * 0x1p-106f;
  CHECK(tern::quantize_mse(row_of(tiny), tern::per_channel, {.bits = 2}).scales[0] == 100 * 0x1p-106f);
}

/// The bits of these scales came from this code built by g++ 12 -O1; every compiler and flag must give them.
TEST_CASE("quantize_mse: the same bits from every build", "[quantize]") {
  std::uint32_t state = 1;
  tern::matrix<float> w(16, 256);
  for (std::size_t i = 0; i < 16 * 256; ++i) {
    float sum = 0;
    for (int j = 0; j < 4; ++j) {
      state = state * 1664525u + 1013904223u;
      sum += static_cast<float>(state >> 20);
    }
    w.data()[i] = sum - 8190;
  }
  const auto fold = [](const auto& q) {
    std::uint64_t h = 0xcbf29ce484222325u;
    for (const float s : q.scales) h = (h ^ std::bit_cast<std::uint32_t>(s)) * 0x100000001b3u;
    for (const int code : q.codes) h = (h ^ static_cast<std::uint32_t>(code)) * 0x100000001b3u;
    return h;
  };
  CHECK(fold(tern::quantize_mse(w, tern::per_group(64), {.bits = 4})) == 0x40c943736cb96984u);
  CHECK(fold(tern::quantize_mse(w)) == 0x748ed802b44e7422u);
  CHECK(fold(tern::quantize_absmax(w, tern::per_channel, {.expression = tern::expression::normalise})) ==
        0x1edb6e4a4c6105c7u);
  CHECK(fold(tern::quantize_zero_point(w, tern::per_group(100))) == 0xbeb9fdfa4e42e9f4u);
}

TEST_CASE("quantize_clipped: one clip a slice", "[quantize]") {
  const auto w = draw(4, 10);
  const std::vector<float> clips = {0.5f, 2, 0, 8, 1, 1, 1e-31f, 3};
  const auto q = tern::quantize_clipped(w, clips, tern::per_group(5));
  std::size_t wrong = 0;
  for (std::size_t n = 0; n < 4; ++n)
    for (std::size_t k = 0; k < 10; ++k) {
      const float clip = clips[2 * n + k / 5];
      wrong += q.scale(0, n, k / 5) != (clip < 0x1p-100f ? 1.0f : clip / 127.0f);
      wrong += q.code_row(0, n)[k] != (clip < 0x1p-100f ? 0 : clamp_rint(w(n, k) / (clip / 127.0f), -127, 127));
    }
  CHECK(wrong == 0);
  // By the largest magnitude it is absmax.
  const auto absmax_codes = tern::quantize_absmax(w, tern::per_tensor);
  float am = 0;
  for (std::size_t i = 0; i < 40; ++i) am = std::max(am, std::fabs(w.data()[i]));
  CHECK(tern::quantize_clipped(w, am).codes == absmax_codes.codes);
  CHECK(tern::quantize_clipped(w, am).scales == absmax_codes.scales);
  CHECK(as_ints(tern::quantize_clipped(row_of({3e38f, -1, 0.3f}), 0.5f, {.bits = 3}).codes) ==
        std::vector<int>{3, -3, 2});
  CHECK(tern::quantize_clipped<std::int16_t>(row_of({1}), 1.0f, {.bits = 16}).codes[0] == 32767);
  CHECK(tern::quantize_clipped(w, std::vector<float>(10, 1.0f), tern::per_input).scales.size() == 10);

  CHECK_THROWS_WITH(tern::quantize_clipped(w, clips, tern::per_channel), tern_test::contains("8 clips for 4 slices"));
  CHECK_THROWS_AS(tern::quantize_clipped(w, clips, tern::per_channel), tern::shape_error);
  CHECK_THROWS_WITH(tern::quantize_clipped(w, -1.0f), tern_test::contains("clip 0 is -1;"));
  CHECK_THROWS_AS(tern::quantize_clipped(w, std::numeric_limits<float>::quiet_NaN()), tern::range_error);
  CHECK_THROWS_AS(tern::quantize_clipped(w, std::numeric_limits<float>::infinity()), tern::range_error);
}

namespace {

/// Threads of its own, each part on one.
struct thread_executor {
  std::size_t count;
  std::size_t concurrency() const { return count; }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < n; ++i) threads.emplace_back([&f, i] { f(i); });
    for (std::thread& thread : threads) thread.join();
  }
};

}  // namespace

TEST_CASE("weights: executors change nothing", "[quantize]") {
  const auto w = draw(9, 50);
  const auto granularity =
      GENERATE(as<tern::granularity>(), tern::per_tensor, tern::per_channel, tern::per_input, tern::per_group(16));
  const thread_executor ex{GENERATE(as<std::size_t>(), 1, 2, 3, 64)};
  check_same(tern::quantize_absmax(w, granularity, {}, ex), tern::quantize_absmax(w, granularity));
  check_same(tern::quantize_zero_point(w, granularity, {}, ex), tern::quantize_zero_point(w, granularity));
  check_same(tern::quantize_mse(w, granularity, {}, ex), tern::quantize_mse(w, granularity));
  const std::vector<float> clips(quantized_matrix(1, 9, 50, granularity).scales.size(), 0.7f);
  check_same(tern::quantize_clipped(w, clips, granularity, {}, ex), tern::quantize_clipped(w, clips, granularity));
  // What a slice finds wrong is thrown on the caller's thread.
  const tern::matrix<float> wide(3, 2, {1, 2, -3e38f, 3e38f, 1, 2});
  CHECK_THROWS_WITH(tern::quantize_zero_point(wide, tern::per_channel, {}, ex),
                    tern_test::contains("the range of slice 1 overflows"));
}

TEST_CASE("quantize_absmean: by hand, and exactly half goes to zero", "[quantize]") {
  // The mean of |w| is 2.
  const auto q = tern::quantize_absmean(row_of({1, -1, 4, -2, 1.5f, -2.5f}));
  CHECK(q.granularity == tern::per_tensor);
  CHECK(q.scales == std::vector<float>{2.0f});
  CHECK(as_ints(q.codes) == std::vector<int>{0, 0, 1, -1, 1, -1});
  CHECK(tern::quantize_absmean(row_of({0, -0.0f})).scales == std::vector<float>{0.0f});
  CHECK(as_ints(tern::quantize_absmean(row_of({3, 3, -3})).codes) == std::vector<int>{1, 1, -1});
}

TEST_CASE("weights: next to the largest float every value stays finite or is an error", "[quantize]") {
  // 127 fl(FLT_MAX / 127) is beyond float; with seven bits, or one step below, it is not.
  constexpr float most = std::numeric_limits<float>::max(), below = 0x1.fffffcp127f;
  std::size_t refused = 0, kept = 0;
  const auto check = [&](auto&& quantize) {
    try {
      const auto w_hat = tern::dequantize(quantize());
      for (std::size_t i = 0; i < w_hat.rows() * w_hat.cols(); ++i) CHECK(std::isfinite(w_hat.data()[i]));
      ++kept;
    } catch (const tern::range_error& e) {
      CHECK(std::string(e.what()).find(": the level of row 1, column 2 is beyond float") != std::string::npos);
      ++refused;
    }
  };
  for (const float size : {most, below, 0x1p127f, 0x1p91f})
    for (const float sign : {1.0f, -1.0f}) {
      tern::matrix<float> w(3, 4, {1, 2, 3, 4, 0, 0, sign * size, 0, 5, 6, 7, 8});
      const float clip[] = {8, size, 8};
      for (unsigned bits = 2; bits <= 16; ++bits) {
        check([&] { return tern::quantize_absmax<std::int16_t>(w, tern::per_channel, {.bits = bits}); });
        check([&] { return tern::quantize_absmax<std::int16_t>(w, tern::per_group(3), {.bits = bits}); });
        check([&] { return tern::quantize_mse<std::int16_t>(w, tern::per_channel, {.bits = bits}); });
        check([&] { return tern::quantize_clipped<std::int16_t>(w, clip, tern::per_channel, {.bits = bits}); });
        if (bits <= 8) check([&] { return tern::quantize_zero_point(w, tern::per_channel, {.bits = bits}); });
        if (bits <= 8)
          check([&] { return tern::quantize_zero_point<std::uint8_t>(w, tern::per_channel, {.bits = bits}); });
      }
      check([&] { return tern::quantize_ternary(w, tern::absmean{}); });
      check([&] { return tern::quantize_ternary(w, tern::twn{}); });
      check([&] { return tern::quantize_ternary(w, tern::ternary_absmax{}); });
      check([&] { return tern::quantize_ternary(w, tern::ternary_optimum{}); });
      check([&] { return tern::quantize_trit_code(w, {.planes = 2}); });
    }
  CHECK(refused > 0);
  CHECK(kept > 500);
  CHECK_THROWS_WITH(tern::quantize_absmax(row_of({1, -most})),
                    "quantize_absmax: the level of row 0, column 1 is beyond float");
  CHECK_THROWS_AS(tern::quantize_mse(row_of({most, 1})), tern::range_error);
  CHECK(tern::quantize_absmax(row_of({below})).codes[0] == 127);
  CHECK(tern::quantize_mse(row_of({below, 1})).codes[0] == 127);
  CHECK(tern::quantize_absmax(row_of({most}), tern::per_channel, {.bits = 7}).codes[0] == 63);
  const auto infinite = [](tern::matrix_view<const float>, std::size_t, tern::matrix_view<std::int8_t>) {
    return std::numeric_limits<float>::infinity();
  };
  CHECK_THROWS_AS(tern::quantize_ternary(row_of({1}), infinite), tern::range_error);
}

/// The mean is summed in double: in float the ones would be lost beside 2^25.
TEST_CASE("quantize_absmean: the mean loses nothing to float", "[quantize]") {
  std::vector<float> w(1 << 10, 1.0f);
  w[0] = 0x1p25f;
  CHECK(tern::quantize_absmean(row_of(w)).scales[0] == static_cast<float>((0x1p25 + 1023) / 1024));
}

TEST_CASE("quantize_absmean: the ends of float", "[quantize]") {
  constexpr float most = std::numeric_limits<float>::max(), least = std::numeric_limits<float>::denorm_min();
  CHECK(tern::quantize_absmean(row_of({most, -most, most})).scales[0] == most);
  CHECK(as_ints(tern::quantize_absmean(row_of({least, -least})).codes) == std::vector<int>{1, -1});
  // The mean of one least and three zeros rounds to zero: an empty plane, not a division by zero.
  CHECK(as_ints(tern::quantize_absmean(row_of({least, 0, 0, 0})).codes) == std::vector<int>{0, 0, 0, 0});
}

TEST_CASE("dequantize: planes ascending, by fma", "[quantize]") {
  quantized_matrix q(2, 1, 3, tern::per_group(2));
  q.codes = {1, -1, 0, 1, 1, -1};
  q.scales = {0.1f, 10.0f, 0.3f, 20.0f};
  auto w = dequantize(q);
  CHECK(w(0, 0) == std::fma(1.0f, 0.3f, 0.1f));
  CHECK(w(0, 1) == std::fma(1.0f, 0.3f, -0.1f));
  CHECK(w(0, 2) == -20.0f);
  q.zeros = {5, 0, 0, -128};
  w = dequantize(q);
  CHECK(w(0, 1) == std::fma(1.0f, 0.3f, std::fma(-6.0f, 0.1f, 0.0f)));
  CHECK(w(0, 2) == 127.0f * 20.0f);
  q.scales.pop_back();
  CHECK_THROWS_AS(dequantize(q), tern::shape_error);
}

TEST_CASE("dequantize: codes of every type, one scale an input", "[quantize]") {
  const tern::matrix<float> w(2, 3, {1, -20, 0, -0.5f, 10, 300});
  const auto q = tern::quantize_absmax<std::int16_t>(w, tern::per_input, {.bits = 16});
  const auto back = dequantize(q);
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t k = 0; k < 3; ++k) CHECK(back(n, k) == static_cast<float>(q.code_row(0, n)[k]) * q.scales[k]);
  CHECK(std::fabs(back(1, 0) + 0.5f) < 1e-4f);
  const auto u = tern::quantize_zero_point<std::uint8_t>(w, tern::per_tensor);
  CHECK(dequantize(u)(0, 2) == 0.0f);
}

TEST_CASE("dequantize: packed matrices with their scales as stored", "[quantize]") {
  const auto q = tern::quantize_absmax(draw(20, 30));
  const auto check = [&](tern::scale_type type, auto rounded) {
    const tern::int8_matrix w(q, {type});
    const auto real = dequantize(w), from_view = dequantize(w.view());
    std::size_t wrong = 0;
    for (std::size_t n = 0; n < 20; ++n)
      for (std::size_t k = 0; k < 30; ++k) {
        wrong += real(n, k) != static_cast<float>(q.code_row(0, n)[k]) * rounded(q.scales[n]);
        wrong += real(n, k) != from_view(n, k);
      }
    CHECK(wrong == 0);
  };
  check(tern::scale_type::float32, [](float s) { return s; });
  check(tern::scale_type::float16, [](float s) { return static_cast<float>(tern::half(s)); });
  check(tern::scale_type::bfloat16, [](float s) { return static_cast<float>(tern::bfloat16(s)); });
}
