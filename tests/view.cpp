// SPDX-License-Identifier: MIT
#include <tern/tern.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "support/catch.hpp"

#if defined(TERN_X86)
#include <immintrin.h>
#endif

namespace {

/// The value of a finite 16-bit pattern of a format with the given number of fraction bits and least exponent, by the
/// definition of IEEE 754. The pattern of infinity gives what the next number would be, as rounding wants it.
double value_of(std::uint32_t magnitude, int fraction_bits, int least_exponent) {
  const std::uint32_t exponent = magnitude >> fraction_bits, fraction = magnitude & ((1u << fraction_bits) - 1);
  const std::uint32_t hidden = exponent == 0 ? 0 : 1u << fraction_bits;
  return std::ldexp(hidden + fraction, static_cast<int>(std::max(exponent, 1u)) - 1 + least_exponent - fraction_bits);
}

struct half_format {
  using type = tern::half;
  static constexpr std::uint32_t infinity = 0x7c00;
  static double value(std::uint32_t magnitude) { return value_of(magnitude, 10, -14); }
};
struct bfloat16_format {
  using type = tern::bfloat16;
  static constexpr std::uint32_t infinity = 0x7f80;
  static double value(std::uint32_t magnitude) { return value_of(magnitude, 7, -126); }
};
using formats = tern::type_list<half_format, bfloat16_format>;

/// The nearest pattern, found by looking for the two neighbours and comparing distances, which double holds exactly.
template <class Format>
std::uint16_t nearest(float x) {
  const double magnitude = std::fabs(static_cast<double>(x));
  std::uint32_t low = 0, high = Format::infinity;
  if (magnitude >= Format::value(high)) low = high;
  while (low + 1 < high) {
    const std::uint32_t middle = (low + high) / 2;
    (Format::value(middle) <= magnitude ? low : high) = middle;
  }
  if (low != Format::infinity) {
    const double below = magnitude - Format::value(low), above = Format::value(low + 1) - magnitude;
    if (above < below || (above == below && low % 2 == 1)) ++low;
  }
  return static_cast<std::uint16_t>(low | (std::signbit(x) ? 0x8000u : 0u));
}

/// Floats that rounding can get wrong: every value of the format, every midpoint, their neighbours, and random bits.
template <class Format, class F>
void for_hard_floats(F&& f) {
  const auto both_signs = [&](float x) { f(x), f(-x); };
  for (std::uint32_t bits = 0; bits < Format::infinity; ++bits) {
    const double here = Format::value(bits), next = Format::value(bits + 1);
    for (const double exact : {here, (here + next) / 2}) {
      const auto x = static_cast<float>(exact);
      both_signs(x);
      both_signs(std::nextafter(x, 0.0f));
      both_signs(std::nextafter(x, std::numeric_limits<float>::infinity()));
    }
  }
  std::mt19937 random(1);
  for (int i = 0; i < 200000; ++i) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!std::isnan(x)) f(x);
  }
  both_signs(std::numeric_limits<float>::infinity());
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("16-bit floats round to the nearest value, ties to even", "[view]", formats) {
  using type = typename TestType::type;
  std::size_t tested = 0, wrong = 0;
  for_hard_floats<TestType>([&](float x) {
    ++tested;
    if (type(x).bits == nearest<TestType>(x)) return;
    if (wrong++ == 0) FAIL_CHECK(x << " gives " << type(x).bits << ", not " << nearest<TestType>(x));
  });
  CHECK(tested > 500000);
  CHECK(wrong == 0);
}

TEMPLATE_LIST_TEST_CASE("16-bit floats: every pattern has its value and comes back", "[view]", formats) {
  using type = typename TestType::type;
  std::size_t wrong = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    type h;
    h.bits = static_cast<std::uint16_t>(bits);
    const float x = h;
    const std::uint32_t magnitude = bits & 0x7fff;
    if (magnitude > TestType::infinity) {
      // NaN stays NaN and keeps its sign; half quiets it, bfloat16 quiets it on the way back.
      wrong += !std::isnan(x) || !std::isnan(static_cast<float>(type(x))) || std::signbit(x) != (bits >= 0x8000);
      continue;
    }
    const double value =
        magnitude == TestType::infinity ? std::numeric_limits<double>::infinity() : TestType::value(magnitude);
    wrong += static_cast<double>(x) != (bits >= 0x8000 ? -value : value);
    wrong += std::signbit(x) != (bits >= 0x8000);
    wrong += type(x).bits != bits;
  }
  CHECK(wrong == 0);
}

TEST_CASE("half: the ends of the range", "[view]") {
  CHECK(tern::half(65504.0f).bits == 0x7bff);
  CHECK(tern::half(std::nextafter(65520.0f, 0.0f)).bits == 0x7bff);
  CHECK(tern::half(65520.0f).bits == 0x7c00);
  CHECK(tern::half(-65520.0f).bits == 0xfc00);
  CHECK(tern::half(0x1p-24f).bits == 0x0001);
  CHECK(tern::half(0x1p-25f).bits == 0x0000);
  CHECK(tern::half(std::nextafter(0x1p-25f, 1.0f)).bits == 0x0001);
  CHECK(tern::half(-0.0f).bits == 0x8000);
  CHECK(tern::half(std::numeric_limits<float>::quiet_NaN()).bits == 0x7e00);
  CHECK(tern::bfloat16(std::numeric_limits<float>::max()).bits == 0x7f80);
  CHECK(tern::bfloat16(std::bit_cast<float>(0x7f7f7fffu)).bits == 0x7f7f);
  CHECK(tern::bfloat16(std::bit_cast<float>(0x7fffffffu)).bits == 0x7fff);  // a NaN may not carry over into the sign
}

#if defined(TERN_X86)

__attribute__((target("f16c"))) static std::uint16_t hardware_half(float x) {
  return static_cast<std::uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT));
}
__attribute__((target("f16c"))) static float hardware_float(std::uint16_t bits) { return _cvtsh_ss(bits); }

TEST_CASE("half: bit for bit what the hardware converts, NaN included", "[view]") {
  TERN_REQUIRE_ISA(tern::isa::avx2);  // implies F16C
  std::size_t wrong = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto h = static_cast<std::uint16_t>(bits);
    wrong +=
        std::bit_cast<std::uint32_t>(tern::detail::half_to_float(h)) != std::bit_cast<std::uint32_t>(hardware_float(h));
  }
  for_hard_floats<half_format>([&](float x) { wrong += tern::half(x).bits != hardware_half(x); });
  std::mt19937 random(2);
  for (int i = 0; i < 100000; ++i) {
    const float nan = std::bit_cast<float>(static_cast<std::uint32_t>(random() | 0x7f800001u));
    wrong += tern::half(nan).bits != hardware_half(nan);
  }
  CHECK(wrong == 0);
}

#endif

TEST_CASE("matrix_view: rows, stride, const", "[view]") {
  float data[] = {1, 2, 3, 4, 5, 6, 7, 8};
  const tern::matrix_view<float> m(data, 2, 3, 5);
  CHECK(m.rows() == 2);
  CHECK(m.cols() == 3);
  CHECK(m.row_stride() == 5);
  CHECK(m(1, 2) == 8);
  CHECK(m.row(1) == data + 5);
  const tern::matrix_view<const float> read_only = m;
  CHECK(read_only.row(1) == m.row(1));
  CHECK(read_only.row_stride() == 5);
  CHECK(tern::matrix_view<float>().rows() == 0);
}

TEST_CASE("matrix_view: what cannot be a matrix is refused", "[view]") {
  float data[6] = {};
  CHECK_THROWS_AS(tern::matrix_view<float>(data, 2, 3, 2), tern::shape_error);
  CHECK_THROWS_WITH(tern::matrix_view<float>(data, 2, 3, 2),
                    "matrix_view: rows of 3 elements overlap at a stride of 2");
  CHECK_THROWS_AS(tern::matrix_view<float>(nullptr, 2, 3), tern::shape_error);
  CHECK_NOTHROW(tern::matrix_view<float>(data, 1, 3, 0));  // one row has no next
  CHECK_NOTHROW(tern::matrix_view<float>(nullptr, 0, 3));
  CHECK_NOTHROW(tern::matrix_view<float>(nullptr, 3, 0));
}

TEST_CASE("batch: leading dimensions become rows", "[view]") {
  float data[24] = {};
  const auto check = [&](std::initializer_list<std::size_t> shape, std::size_t rows, std::size_t cols) {
    const auto m = tern::batch(data, shape);
    CHECK(m.data() == data);
    CHECK(m.rows() == rows);
    CHECK(m.cols() == cols);
  };
  check({24}, 1, 24);
  check({4, 6}, 4, 6);
  check({2, 3, 4}, 6, 4);
  check({2, 1, 3, 4}, 6, 4);
  check({2, 0, 4}, 0, 4);
  const std::vector<std::size_t> shape = {2, 2, 6};
  CHECK(tern::batch(static_cast<const float*>(data), shape).rows() == 4);
  CHECK_THROWS_AS(tern::batch(data, {}), tern::shape_error);
  constexpr std::size_t huge = static_cast<std::size_t>(-1) / 16;
  CHECK_THROWS_AS(tern::batch(data, {huge, huge, 4}), tern::range_error);
}

TEST_CASE("matrix: zeros, elements, wrong count", "[view]") {
  tern::matrix<float> m(2, 3);
  CHECK(std::count(m.data(), m.data() + 6, 0.0f) == 6);
  m(1, 2) = 5;
  CHECK(m.view()(1, 2) == 5);
  CHECK(std::as_const(m).row(1)[2] == 5);
  CHECK(tern::matrix<float>(1, 2, {3, 4})(0, 1) == 4);
  CHECK_THROWS_AS(tern::matrix<float>(2, 2, {1, 2, 3}), tern::shape_error);
  constexpr std::size_t huge = static_cast<std::size_t>(-1) / 16;
  CHECK_THROWS_AS(tern::matrix<float>(huge, huge), tern::range_error);
}

TEST_CASE("aligned_bytes: zeroed and aligned, and empty when moved from", "[view]") {
  for (const std::size_t size : std::vector<std::size_t>{0, 1, 63, 64, 65, 1000}) {
    tern::aligned_bytes bytes(size);
    CHECK(bytes.size() == size);
    CHECK(reinterpret_cast<std::uintptr_t>(bytes.data()) % tern::storage_alignment == 0);
    for (std::size_t i = 0; i < size; ++i) CHECK(bytes.data()[i] == std::byte{0});
    const tern::aligned_bytes moved = std::move(bytes);
    CHECK(moved.size() == size);
    CHECK(bytes.size() == 0);
    CHECK(std::span<const std::byte>(std::as_const(bytes)).empty());
    bytes = moved;
    CHECK(bytes.size() == size);
    CHECK((size == 0 || bytes.data() != moved.data()));
  }
}
