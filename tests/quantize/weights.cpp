// SPDX-License-Identifier: MIT
#include <tern/quantize/ternary.hpp>

#include <tern/type/packed_matrix.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

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
using quantizers = tern::type_list<absmax, zero_point, absmean>;

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
  const bool whole = granularity == tern::per_tensor;
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
  const auto granularity = GENERATE(as<tern::granularity>(), tern::per_tensor, tern::per_channel, tern::per_group(1),
                                    tern::per_group(5), tern::per_group(16), tern::per_group(64));
  const auto w = draw(rows, cols);
  INFO(rows << "x" << cols << " in groups of " << granularity.group);
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
  CHECK(tern::quantize_absmax(row_of({std::numeric_limits<float>::max()})).codes[0] == 127);
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

TEST_CASE("quantize_absmean: by hand, and exactly half goes to zero", "[quantize]") {
  // The mean of |w| is 2.
  const auto q = tern::quantize_absmean(row_of({1, -1, 4, -2, 1.5f, -2.5f}));
  CHECK(q.granularity == tern::per_tensor);
  CHECK(q.scales == std::vector<float>{2.0f});
  CHECK(as_ints(q.codes) == std::vector<int>{0, 0, 1, -1, 1, -1});
  CHECK(tern::quantize_absmean(row_of({0, -0.0f})).scales == std::vector<float>{0.0f});
  CHECK(as_ints(tern::quantize_absmean(row_of({3, 3, -3})).codes) == std::vector<int>{1, 1, -1});
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
