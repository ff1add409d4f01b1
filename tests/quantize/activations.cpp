// SPDX-License-Identifier: MIT
#include <tern/kernel/reference.hpp>
#include <tern/quantize/activations.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "support/catch.hpp"

using tern::quantized_activations;
using values = std::vector<float>;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Values of very different sizes.
values draw(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  values x(count);
  for (float& value : x) value = std::ldexp(normal(random), static_cast<int>(random() % 8) - 4);
  return x;
}

/// What quantising x on Isa must give, by the reference and by adding up; "" if it does.
template <class Isa, class T>
std::string difference(tern::matrix_view<const T> x) {
  quantized_activations q(x.rows(), x.cols());
  std::fill(q.storage().begin(), q.storage().end(), std::byte{0x55});  // nothing may depend on what was there
  quantize_activations(Isa{}, x, q.storage());
  for (std::size_t m = 0; m < x.rows(); ++m) {
    const values row(x.row(m), x.row(m) + x.cols());
    std::vector<std::int8_t> codes(x.cols());
    const float scale = tern::kernel::reference::quantize_row(row.data(), row.size(), codes.data());
    const std::string where = "token " + std::to_string(m) + " of " + std::to_string(x.cols());
    if (q.scale(m) != scale) return where + ": scale";
    std::int32_t sum = 0;
    for (std::size_t k = 0; k < q.view().row_stride(); ++k) {
      if (k % 16 == 0 && k <= x.cols() && q.view().prefix(m)[k / 16] != sum)
        return where + ": sum to " + std::to_string(k);
      const std::int8_t code = k < x.cols() ? codes[k] : std::int8_t{0};
      if (q.code(m, k) != code) return where + ": code " + std::to_string(k);
      sum += code;
    }
    if (q.view().prefix(m)[(x.cols() + 15) / 16] != sum) return where + ": last sum";
  }
  return "";
}
template <class Isa>
std::string difference(const values& row) {
  return difference<Isa>(tern::matrix_view<const float>(row.data(), 1, row.size()));
}

/// One row on the best instruction set.
struct quantized_row {
  float scale;
  std::vector<int> codes;

  explicit quantized_row(const values& row) {
    const auto q = tern::quantize_activations(tern::matrix_view<const float>(row.data(), 1, row.size()));
    scale = q.scale(0);
    for (std::size_t k = 0; k < row.size(); ++k) codes.push_back(q.code(0, k));
  }
};

}  // namespace

TEST_CASE("quantize_activations: the rule, by hand", "[quantize]") {
  const quantized_row q({1.0f, -2.0f, 0.0f, 0.5f});
  CHECK(q.scale == 2.0f / 127.0f);
  CHECK(q.codes == std::vector<int>{64, -127, 0, 32});  // 63.5 and 31.75
}

TEST_CASE("quantize_activations: ties go to even", "[quantize]") {
  const quantized_row q({127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, -0.0f});
  CHECK(q.scale == 1.0f);
  CHECK(q.codes == std::vector<int>{127, 0, 2, 2, 0, -2, -2, 126, 0});
}

TEST_CASE("quantize_activations: below 2^-100 a row is zero, with scale 1", "[quantize]") {
  const float least = 0x1p-100f, below = std::nextafter(least, 0.0f);
  CHECK(quantized_row({below, -below, 0.0f}).codes == std::vector<int>{0, 0, 0});
  CHECK(quantized_row({below, -below, 0.0f}).scale == 1.0f);
  CHECK(quantized_row({least, -below, 0.0f}).codes == std::vector<int>{127, -127, 0});
  CHECK(quantized_row({least, -below, 0.0f}).scale == least / 127.0f);
  CHECK(quantized_row({std::numeric_limits<float>::denorm_min()}).scale == 1.0f);
  CHECK(quantized_row({0.0f, -0.0f}).scale == 1.0f);
  CHECK(quantized_row({}).scale == 1.0f);
}

TEST_CASE("quantize_activations: the error is half a step at most", "[quantize]") {
  const auto row = draw(5000, 1);
  const quantized_row q(row);
  const double bound = static_cast<double>(q.scale) / 2 * (1 + 0x1p-23);
  std::size_t wrong = 0;
  for (std::size_t k = 0; k < row.size(); ++k)
    wrong += std::fabs(static_cast<double>(row[k]) - q.codes[k] * static_cast<double>(q.scale)) > bound;
  CHECK(wrong == 0);
}

TEMPLATE_LIST_TEST_CASE("quantize_activations: every instruction set gives the reference's bytes, for any tail",
                        "[quantize]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  for (std::size_t inputs = 0; inputs <= 70; ++inputs) {
    const auto x = draw(3 * (inputs + 5) + 3, static_cast<unsigned>(inputs));
    for (std::size_t offset = 0; offset < 4; ++offset)  // starts that no vector is aligned to, rows apart
      CHECK(difference<TestType>(tern::matrix_view<const float>(x.data() + offset, 3, inputs, inputs + 5)) == "");
  }
  const auto x = draw(2 * 4077, 9);
  CHECK(difference<TestType>(tern::matrix_view<const float>(x.data(), 2, 4077)) == "");
}

TEMPLATE_LIST_TEST_CASE("quantize_activations: hard rows on every instruction set", "[quantize]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  constexpr float most = std::numeric_limits<float>::max(), denormal = std::numeric_limits<float>::denorm_min();
  const std::size_t inputs = GENERATE(as<std::size_t>(), 7, 16, 41);
  const auto with = [&](std::vector<float> head, float rest) {
    head.resize(inputs, rest);
    std::reverse(head.begin(), head.end());  // the hard ones are in the tail
    return head;
  };
  CHECK(difference<TestType>(with({most, -most, most / 254}, 1.0f)) == "");
  CHECK(difference<TestType>(with({-most}, denormal)) == "");
  CHECK(difference<TestType>(with({denormal, -denormal}, -0.0f)) == "");
  CHECK(difference<TestType>(with({0x1p-100f, 0x1p-101f, -0x1p-108f}, denormal)) == "");
  CHECK(difference<TestType>(with({std::nextafter(0x1p-100f, 0.0f)}, 0x1p-101f)) == "");
  CHECK(difference<TestType>(with({127, 0.5f, -0.5f, 1.5f, 2.5f}, -63.5f)) == "");
  CHECK(difference<TestType>(with({}, -0.0f)) == "");
  // All quotients that are ties or next to one: am = 254 gives scale 2.
  for (int tie = 1; tie < 254; tie += 2) {
    const auto x = static_cast<float>(tie);
    CHECK(difference<TestType>(with({254, x, -x, std::nextafter(x, 0.0f), std::nextafter(x, 999.0f)}, -x)) == "");
  }
}

TEMPLATE_LIST_TEST_CASE("quantize_activations: half and bfloat16 are read as the floats they are", "[quantize]",
                        tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  const std::size_t inputs = GENERATE(as<std::size_t>(), 0, 1, 15, 16, 17, 40);
  const auto x = draw(2 * inputs + 1, 4);
  std::vector<tern::half> halves;
  std::vector<tern::bfloat16> bfloats;
  for (const float value : x) halves.emplace_back(value), bfloats.emplace_back(value);
  CHECK(difference<TestType>(tern::matrix_view<const tern::half>(halves.data() + 1, 2, inputs)) == "");
  CHECK(difference<TestType>(tern::matrix_view<const tern::bfloat16>(bfloats.data() + 1, 2, inputs)) == "");
}

TEMPLATE_LIST_TEST_CASE("quantize_activations: NaN and infinity are refused wherever they are", "[quantize]",
                        tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  const float bad = GENERATE(as<float>(), infinity, -infinity, std::numeric_limits<float>::quiet_NaN(),
                             std::bit_cast<float>(0xff800001u));  // signalling, negative
  constexpr std::size_t inputs = 37;
  for (std::size_t k = 0; k < inputs; ++k) {
    tern::matrix<float> x(4, inputs, draw(4 * inputs, 5));
    x(2, k) = x(3, 0) = bad;
    quantized_activations q(4, inputs);
    const auto quantize = [&] { quantize_activations(TestType{}, std::as_const(x).view(), q.storage()); };
    CHECK_THROWS_AS(quantize(), tern::range_error);
    CHECK_THROWS_WITH(quantize(), tern_test::contains("row 2, column " + std::to_string(k) + " is not finite"));
  }
}

TEST_CASE("quantize_activations: half infinity is refused too", "[quantize]") {
  tern::matrix<tern::half> x(1, 3);
  x(0, 1) = tern::half(1e9f);
  CHECK_THROWS_WITH(tern::quantize_activations(x), tern_test::contains("row 0, column 1"));
}

TEST_CASE("quantize_activations: a workspace too small or misaligned is refused", "[quantize]") {
  const tern::matrix<float> x(3, 40);
  tern::aligned_bytes memory(tern::activations_view::storage_bytes(3, 40) + 64);
  const std::span<std::byte> bytes = memory;
  const auto quantize = [&](std::span<std::byte> storage) {
    quantize_activations(tern::isa::scalar{}, x.view(), storage);
  };
  CHECK_NOTHROW(quantize(bytes));
  CHECK_THROWS_AS(quantize(bytes.first(bytes.size() - 65)), tern::shape_error);
  CHECK_THROWS_AS(quantize(bytes.subspan(4)), tern::shape_error);
}

TEST_CASE("quantize_activations_per_tensor: one scale for all tokens", "[quantize]") {
  tern::matrix<float> x(2, 3, {1, -2, 3, 0.5f, 254, -1});
  auto q = tern::quantize_activations_per_tensor(x);
  CHECK(q.scale(0) == 2.0f);
  CHECK(q.scale(1) == 2.0f);
  CHECK(!q.has_zeros());
  CHECK(std::vector<int>{q.code(0, 0), q.code(0, 1), q.code(0, 2)} == std::vector<int>{0, -1, 2});
  CHECK(std::vector<int>{q.code(1, 0), q.code(1, 1), q.code(1, 2)} == std::vector<int>{0, 127, 0});
  CHECK(q.view().sum(1, 0, 3) == 127);

  q = tern::quantize_activations_per_tensor(tern::matrix<float>(2, 3));
  CHECK(q.scale(1) == 1.0f);
  CHECK(tern::quantize_activations_per_tensor(tern::matrix<float>(0, 3)).rows() == 0);

  x(1, 2) = infinity;
  CHECK_THROWS_WITH(tern::quantize_activations_per_tensor(x), tern_test::contains("row 1, column 2"));
}

TEST_CASE("quantize_activations_per_tensor: a calibrated scale", "[quantize]") {
  const tern::matrix<float> x(2, 4, {1, 3, -5, 254, -255, 3e38f, 1e-40f, -0.0f});
  const auto q = tern::quantize_activations_per_tensor(x, 2.0f);
  std::vector<int> codes;
  for (std::size_t m = 0; m < 2; ++m)
    for (std::size_t k = 0; k < 4; ++k) codes.push_back(q.code(m, k));
  CHECK(codes == std::vector<int>{0, 2, -2, 127, -127, 127, 0, 0});
  CHECK((q.scale(0) == 2.0f && q.scale(1) == 2.0f && !q.has_zeros()));
  CHECK(q.view().sum(0, 0, 4) == 127);
  // The scale that it would measure gives what it gives without.
  const tern::matrix<float> y(3, 40, draw(120, 3));
  const auto dynamic = tern::quantize_activations_per_tensor(y);
  const auto fixed = tern::quantize_activations_per_tensor(y, dynamic.scale(0));
  std::size_t wrong = 0;
  for (std::size_t m = 0; m < 3; ++m)
    for (std::size_t k = 0; k < 40; ++k) wrong += dynamic.code(m, k) != fixed.code(m, k);
  CHECK(wrong == 0);
  tern::matrix<tern::half> halves(1, 2);
  halves(0, 1) = tern::half(3.0f);
  CHECK(tern::quantize_activations_per_tensor(halves, 0.5f).code(0, 1) == 6);

  for (const float bad : {0.0f, -1.0f, infinity, -infinity, std::numeric_limits<float>::quiet_NaN()})
    CHECK_THROWS_AS(tern::quantize_activations_per_tensor(x, bad), tern::range_error);
  CHECK_THROWS_WITH(tern::quantize_activations_per_tensor(x, -1.0f), tern_test::contains("a scale of -1 "));
  const tern::matrix<float> no_number(1, 2, {1, infinity});
  CHECK_THROWS_WITH(tern::quantize_activations_per_tensor(no_number, 1.0f), tern_test::contains("row 0, column 1"));
}

TEST_CASE("quantize_activations_zero_point: the rule, on both sides of zero and on one", "[quantize]") {
  const auto quantize = [](values row) {
    const auto q = tern::quantize_activations_zero_point(tern::matrix_view<const float>(row.data(), 1, row.size()));
    std::vector<int> codes;
    for (std::size_t k = 0; k < row.size(); ++k) codes.push_back(q.code(0, k));
    return std::tuple(q.scale(0), q.zero(0), codes);
  };
  using expected = std::tuple<float, int, std::vector<int>>;
  CHECK(quantize({-100, 155, 0, 0.5f, 1.5f}) == expected(1.0f, -28, {-128, 127, -28, -28, -26}));
  CHECK(quantize({10, 255, 11}) == expected(1.0f, -128, {-118, 127, -117}));  // widened to hold 0
  CHECK(quantize({-510, -2}) == expected(2.0f, 127, {-128, 126}));
  CHECK(quantize({3, 3}) == expected(3.0f / 255.0f, -128, {127, 127}));  // a constant is the end of the range
  CHECK(quantize({-3, -3}) == expected(3.0f / 255.0f, 127, {-128, -128}));
  CHECK(quantize({0, 0, -0.0f}) == expected(1.0f, 0, {0, 0, 0}));
  CHECK(quantize({}) == expected(1.0f, 0, {}));
  CHECK(std::get<0>(quantize({0x1p-101f})) == 1.0f);
}

TEST_CASE("quantize_activations_zero_point: within a step of the original, whatever the range", "[quantize]") {
  auto row = draw(999, 6);
  const float shift = GENERATE(0.0f, 100.0f, -100.0f);
  for (float& value : row) value += shift;
  const tern::matrix<float> x(1, row.size(), row);
  const auto q = tern::quantize_activations_zero_point(x);
  const auto back = dequantize(q);
  // Half a step for the code and half for the zero point, which is rounded on its own.
  std::size_t wrong = 0;
  for (std::size_t k = 0; k < row.size(); ++k) wrong += std::fabs(back(0, k) - row[k]) > q.scale(0) * 1.0001f;
  CHECK(wrong == 0);
  CHECK(q.has_zeros());
}

TEST_CASE("quantize_activations_zero_point: what is refused", "[quantize]") {
  tern::matrix<float> x(2, 2, {1, 2, 3, 4});
  x(1, 0) = infinity;
  CHECK_THROWS_WITH(tern::quantize_activations_zero_point(x), tern_test::contains("row 1, column 0"));
  x(1, 0) = -3e38f;
  x(1, 1) = 3e38f;
  CHECK_THROWS_AS(tern::quantize_activations_zero_point(x), tern::range_error);
  CHECK_THROWS_WITH(tern::quantize_activations_zero_point(x), tern_test::contains("row 1 overflows"));
  const auto none = tern::quantize_activations_zero_point(tern::matrix<float>(0, 2));
  CHECK(none.rows() == 0);
  CHECK(none.has_zeros());
}

TEST_CASE("dequantize: activations back to floats", "[quantize]") {
  const tern::matrix<std::int8_t> codes(2, 2, {-128, 127, 3, 0});
  const auto symmetric = quantized_activations::from_codes(codes.view(), values{0.5f, 0.1f});
  CHECK(dequantize(symmetric)(0, 0) == -64.0f);
  CHECK(dequantize(symmetric)(1, 0) == 3.0f * 0.1f);
  const auto affine =
      quantized_activations::from_codes(codes.view(), values{0.5f, 0.1f}, std::vector<std::int32_t>{127, -1});
  CHECK(dequantize(affine)(0, 0) == -127.5f);
  CHECK(dequantize(affine)(1, 1) == 0.1f);
}
