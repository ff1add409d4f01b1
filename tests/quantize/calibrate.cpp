// SPDX-License-Identifier: MIT
#include <tern/quantize/calibrate.hpp>

#include <tern/quantize/weights.hpp>

#include <cmath>
#include <limits>

#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern::value_range;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float largest = std::numeric_limits<float>::max();

tern::matrix<float> row(std::vector<float> values) {
  const std::size_t size = values.size();
  return {1, size, std::move(values)};
}

}  // namespace

TEST_CASE("value_range: scales by hand", "[calibrate]") {
  CHECK(value_range{-127, 10}.symmetric_scale() == 1);
  CHECK(value_range{-1, 254}.symmetric_scale() == 2);
  CHECK(value_range{-3, 7}.symmetric_scale(4) == 1);
  CHECK(value_range{0, 1}.symmetric_scale(2) == 1);
  CHECK(value_range{0, 32767}.symmetric_scale(16) == 1);
  CHECK(value_range{-5, -4}.symmetric_scale(4) == 5.0f / 7);

  CHECK(value_range{-55, 200}.affine() == tern::affine_scale{1, -73});
  CHECK(value_range{10, 255}.affine() == tern::affine_scale{1, -128});  // widened to 0 .. 255
  CHECK(value_range{-255, -10}.affine() == tern::affine_scale{1, 127});
  CHECK(value_range{-5, 10}.affine(4) == tern::affine_scale{1, -3});
  CHECK(value_range{-1, 2}.affine(2) == tern::affine_scale{1, -1});
  CHECK(value_range{-35, 65500}.affine(16) == tern::affine_scale{1, -32768 + 35});
}

TEST_CASE("value_range: zero points are codes", "[calibrate]") {
  std::size_t wrong = 0;
  for (const unsigned bits : {2u, 8u, 16u})
    for (int i = 1; i <= 2000; ++i) {
      const int half = 1 << (bits - 1);
      const float end = 0.001f * static_cast<float>(i * i);
      wrong += value_range{-end, 0}.affine(bits).zero != half - 1;
      wrong += value_range{0, end}.affine(bits).zero != -half;
    }
  CHECK(wrong == 0);
}

TEST_CASE("value_range: an empty range has scale 1", "[calibrate]") {
  const float tiny = std::nextafter(0x1p-100f, 0.0f);
  CHECK(value_range{}.symmetric_scale() == 1);
  CHECK(value_range{}.affine() == tern::affine_scale{1, 0});
  CHECK(value_range{-tiny, tiny}.symmetric_scale() == 1);
  CHECK(value_range{0, tiny}.affine() == tern::affine_scale{1, 0});
  CHECK(value_range{0, 0x1p-100f}.symmetric_scale() == 0x1p-100f / 127);
  CHECK(value_range{0, 0x1p-100f}.affine() == tern::affine_scale{0x1p-100f / 255, -128});
}

TEST_CASE("value_range: PyTorch's scales", "[calibrate]") {
  CHECK(value_range{-127.5f, 3}.pytorch_symmetric_scale() == 1);
  CHECK(value_range{-3, 7.5f}.pytorch_symmetric_scale(4) == 1);
  CHECK(value_range{-1e-6f, 1e-6f}.pytorch_symmetric_scale() == std::numeric_limits<float>::epsilon());
  CHECK(value_range{}.pytorch_symmetric_scale() == std::numeric_limits<float>::epsilon());
  CHECK(value_range{-55, 200}.pytorch_affine() == tern::affine_scale{1, -73});
  CHECK(value_range{0, 1e-6f}.pytorch_affine() == tern::affine_scale{std::numeric_limits<float>::epsilon(), -128});
  CHECK(value_range{}.pytorch_affine() == tern::affine_scale{std::numeric_limits<float>::epsilon(), -128});
}

TEST_CASE("value_range: the rules of the quantizers", "[calibrate]") {
  for (unsigned seed = 1; seed < 20; ++seed) {
    const auto x = tern_test::draw_matrix(1, 50, seed);
    tern::min_max_observer seen;
    seen.observe(x);
    CHECK(seen.range().symmetric_scale() == tern::quantize_absmax(x).scales[0]);
    const auto q = tern::quantize_zero_point(x);
    CHECK(seen.range().affine() == tern::affine_scale{q.scales[0], q.zeros[0]});
  }
}

TEST_CASE("value_range: what is no range, and how many bits", "[calibrate]") {
  for (const value_range& bad : {value_range{not_a_number, 1}, value_range{0, not_a_number}, value_range{-infinity, 0},
                                 value_range{0, infinity}, value_range{1, -1}}) {
    CHECK_THROWS_AS(bad.symmetric_scale(), tern::range_error);
    CHECK_THROWS_AS(bad.affine(), tern::range_error);
    CHECK_THROWS_AS(bad.pytorch_symmetric_scale(), tern::range_error);
    CHECK_THROWS_AS(bad.pytorch_affine(), tern::range_error);
  }
  CHECK_THROWS_WITH((value_range{1, -1}.affine()), tern_test::contains("1 .. -1"));
  CHECK(value_range{-largest, largest}.symmetric_scale() == largest / 127);
  CHECK_THROWS_AS((value_range{-largest, largest}.affine()), tern::range_error);
  CHECK_THROWS_AS((value_range{-largest, largest}.pytorch_affine()), tern::range_error);
  for (const unsigned bits : {0u, 1u, 17u, 32u, 4000000000u}) {
    CHECK_THROWS_AS(value_range{}.symmetric_scale(bits), tern::range_error);
    CHECK_THROWS_AS(value_range{}.affine(bits), tern::range_error);
    CHECK_THROWS_AS(value_range{}.pytorch_symmetric_scale(bits), tern::range_error);
    CHECK_THROWS_AS(value_range{}.pytorch_affine(bits), tern::range_error);
  }
  CHECK_THROWS_WITH(value_range{}.affine(17), "value_range: codes of 17 bits; they have 2 to 16");
}

TEST_CASE("min_max_observer: all batches, in any order and cut", "[calibrate]") {
  tern::min_max_observer seen, other, empty;
  seen.observe(row({3, 5, 4}));
  CHECK(seen.range() == value_range{3, 5});
  seen.observe(row({}));
  CHECK(seen.range() == value_range{3, 5});
  seen.observe(tern::matrix<float>(2, 1, {-1, 4}));
  CHECK(seen.range() == value_range{-1, 5});
  other.observe(row({6}));
  other.merge(empty);
  CHECK(other.range() == value_range{6, 6});
  empty.merge(other);
  CHECK(empty.range() == value_range{6, 6});
  seen.merge(other);
  CHECK(seen.range() == value_range{-1, 6});
  seen.clear();
  CHECK(seen.empty());
  tern::matrix<tern::half> narrow(1, 2);
  narrow(0, 1) = tern::half(-2.5f);
  seen.observe(narrow);
  CHECK(seen.range() == value_range{-2.5f, 0});
}

TEST_CASE("moving_average_observer: the first batch sets, others move", "[calibrate]") {
  tern::moving_average_observer seen(0.25);
  seen.observe(row({}));
  CHECK(seen.empty());
  seen.observe(row({-4, 8, 0}));
  CHECK(seen.range() == value_range{-4, 8});
  seen.observe(row({0, 4}));
  CHECK(seen.range() == value_range{-3, 7});
  seen.observe(row({}));
  CHECK(seen.range() == value_range{-3, 7});
  seen.clear();
  seen.observe(row({1, 2}));
  CHECK(seen.range() == value_range{1, 2});

  tern::moving_average_observer last(1);
  for (const float value : {-largest, largest, 3.0f}) last.observe(row({value}));
  CHECK(last.range() == value_range{3, 3});
}

TEST_CASE("moving_average_observer: a hundredth by default", "[calibrate]") {
  tern::moving_average_observer seen;
  float least = 0, most = 0;
  const auto average = [](float from, float to) {
    const auto before = static_cast<double>(from), now = static_cast<double>(to);
    return static_cast<float>(std::fma(0.01, now, std::fma(-0.01, before, before)));
  };
  for (unsigned batch = 0; batch < 50; ++batch) {
    const auto x = tern_test::draw_matrix(3, 7, batch);
    seen.observe(x);
    const float low = *std::min_element(x.data(), x.data() + 21), high = *std::max_element(x.data(), x.data() + 21);
    least = batch == 0 ? low : average(least, low);
    most = batch == 0 ? high : average(most, high);
    CHECK(seen.range() == value_range{least, most});
  }
}

TEST_CASE("moving_average_observer: momentum", "[calibrate]") {
  for (const double bad : {0.0, -0.5, 1.5, double(not_a_number)})
    CHECK_THROWS_AS(tern::moving_average_observer(bad), tern::range_error);
  CHECK_THROWS_WITH(tern::moving_average_observer(1.5), "moving_average_observer: momentum 1.5 is not in (0, 1]");
}

TEMPLATE_TEST_CASE("observers: nothing observed, and values that are not finite", "[calibrate]", tern::min_max_observer,
                   tern::moving_average_observer) {
  TestType seen;
  CHECK(seen.empty());
  CHECK_THROWS_AS(seen.range(), tern::range_error);
  CHECK_THROWS_WITH(seen.range(), tern_test::contains("_observer: nothing observed"));
  tern::matrix<float> x(3, 4);
  x(0, 0) = 9;
  x(2, 1) = GENERATE(as<float>(), infinity, -infinity, not_a_number);
  CHECK_THROWS_AS(seen.observe(x), tern::range_error);
  CHECK_THROWS_WITH(seen.observe(x), tern_test::contains("_observer: the value at row 2, column 1 is not finite"));
  CHECK(seen.empty());  // nothing of that batch
}
