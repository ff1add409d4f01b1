// SPDX-License-Identifier: MIT
// Activations quantised on the device == the reference, bit for bit.
#include "device.hpp"

#include <cmath>
#include <limits>

namespace {

/// Quantises x [tokens x inputs] on the device, from `offset` elements on in rows of `stride`, and compares with the reference.
template <class T>
bool quantizer_agrees(const std::vector<float>& values, std::size_t tokens, std::size_t inputs, std::size_t offset,
                      std::size_t stride) {
  std::vector<T> x(offset + tokens * stride);
  for (std::size_t m = 0; m < tokens; ++m)
    for (std::size_t k = 0; k < inputs; ++k) x[offset + m * stride + k] = T(values[m * inputs + k]);

  const tern::cuda::device_bytes on_x = tern_test::to_device(x);
  const tern::cuda::device_bytes storage(tern::cuda::device_activations_view::storage_bytes(tokens, inputs) + 64);
  tern_test::check(cudaMemset(storage.data(), 0xa5, storage.size()));
  const tern::cuda::device_activations_view q(storage, tokens, inputs);
  tern::cuda::quantize_activations(tern::matrix_view<const T>(on_x.as<T>(offset * sizeof(T)), tokens, inputs, stride),
                                   q);
  const std::vector<std::byte> result = tern_test::to_host(storage);

  std::vector<std::byte> expected(storage.size(), std::byte{0xa5});
  auto* const codes = reinterpret_cast<std::int8_t*>(expected.data());
  std::vector<float> row(inputs);
  for (std::size_t m = 0; m < tokens; ++m) {
    for (std::size_t k = 0; k < inputs; ++k) row[k] = static_cast<float>(x[offset + m * stride + k]);
    std::fill_n(codes + m * q.row_stride(), q.row_stride(), std::int8_t{0});
    float scale = tern::kernel::reference::quantize_row(row.data(), inputs, codes + m * q.row_stride());
    if (scale < 0) {
      std::fill_n(codes + m * q.row_stride(), inputs, std::int8_t{0});
      scale = std::bit_cast<float>(0x7fc00000u);
    }
    std::memcpy(expected.data() + tokens * q.row_stride() + m * sizeof(float), &scale, sizeof scale);
  }
  return result == expected;
}

/// The same in rows that are aligned to nothing, and in rows that are aligned to four elements.
template <class T>
bool quantizer_agrees(const std::vector<float>& values, std::size_t tokens, std::size_t inputs) {
  return quantizer_agrees<T>(values, tokens, inputs, 1, inputs + 2) &&
         quantizer_agrees<T>(values, tokens, inputs, 4, (inputs + 7) / 4 * 4);
}

}  // namespace

TEMPLATE_TEST_CASE("cuda quantizer equals the reference", "[cuda]", float, tern::half, tern::bfloat16) {
  tern_test::require_device();
  std::mt19937 random(1);
  for (const std::size_t inputs : {1, 3, 4, 5, 31, 64, 65, 127, 1000, 2560, 4097, 20000})
    for (const std::size_t tokens : {1, 2, 5, 130}) {
      std::vector<float> values(tokens * inputs);
      std::normal_distribution<float> normal(0, 0.01f);
      for (float& value : values) value = normal(random);
      CAPTURE(inputs, tokens);
      CHECK(quantizer_agrees<TestType>(values, tokens, inputs));
    }
}

TEST_CASE("cuda quantizer on arbitrary bit patterns", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(2);
  std::vector<float> values(300 * 129);
  for (std::size_t i = 0; i < values.size(); ++i) {
    // Each row has an exponent of its own, from subnormal rows to the largest finite ones; every 50th row is not finite.
    const std::uint32_t row = static_cast<std::uint32_t>(i / 129), exponent = row * 254 / 299;
    const auto bits_of_draw = static_cast<std::uint32_t>(random());
    std::uint32_t bits = (bits_of_draw & 0x807fffffu) | (exponent > 3 ? exponent - (bits_of_draw & 3u) : exponent)
                                                            << 23;
    if (row % 50 == 49 && i % 129 == row % 129) bits = row % 100 == 49 ? 0xff800000u : 0x7fa00001u;
    values[i] = std::bit_cast<float>(bits);
  }
  CHECK(quantizer_agrees<float>(values, 300, 129));
}

TEST_CASE("cuda quantizer refuses more inputs than its kernel counts", "[cuda]") {
  tern_test::require_device();
  const std::size_t inputs = std::size_t{1} << 31;
  const tern::cuda::device_activations_view q({}, 0, inputs);
  CHECK_THROWS_AS(tern::cuda::quantize_activations(tern::matrix_view<const float>(nullptr, 0, inputs), q),
                  tern::range_error);
  CHECK_NOTHROW(tern::cuda::quantize_activations(tern::matrix_view<const float>(nullptr, 0, inputs - 1),
                                                 tern::cuda::device_activations_view({}, 0, inputs - 1)));
}

TEST_CASE("cuda quantizer rounds ties to even and treats tiny rows as zero", "[cuda]") {
  tern_test::require_device();
  std::vector<float> ties;
  for (int i = -254; i <= 254; ++i) ties.push_back(static_cast<float>(i) * 0.5f);  // scale 1
  CHECK(quantizer_agrees<float>(ties, 1, ties.size()));
  CHECK(quantizer_agrees<float>({0x1p-100f, 0x1p-101f, 0, -0.0f}, 1, 4));
  CHECK(quantizer_agrees<float>({std::nextafter(0x1p-100f, 0.0f), 0x1p-101f, 0, -0.0f}, 1, 4));
  CHECK(quantizer_agrees<float>({}, 3, 0));
}

// Quotients are not divisions there: what lies beside a half must fall to its own side.
TEST_CASE("cuda quantizer beside ties", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(3);
  constexpr std::size_t rows = 500, of_tie = 9, inputs = 1 + 127 * of_tie;
  std::vector<float> values;
  for (std::size_t row = 0; row < rows; ++row) {
    // Exponents from those that are divided to those that are not, and back.
    const int exponent = static_cast<int>(row % 161) - 80;
    const float am = std::ldexp(1 + static_cast<float>(random() % 8388608) * 0x1p-23f, exponent), scale = am / 127.0f;
    values.push_back(row % 2 == 0 ? am : -am);
    for (int k = 0; k < 127; ++k) {
      auto x = static_cast<float>((k + 0.5) * static_cast<double>(scale));
      for (std::size_t i = 0; i < of_tie / 2; ++i) x = std::nextafter(x, 0.0f);
      for (std::size_t i = 0; i < of_tie; ++i, x = std::nextafter(x, am)) values.push_back(k % 2 == 0 ? x : -x);
    }
  }
  CHECK(quantizer_agrees<float>(values, rows, inputs));
}

TEST_CASE("cuda quantizer takes every half", "[cuda]") {
  tern_test::require_device();
  std::vector<float> values;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = tern::detail::half_to_float(static_cast<std::uint16_t>(bits));
    if (std::isfinite(value)) values.push_back(value);
  }
  CHECK(quantizer_agrees<tern::half>(values, values.size() / 64, 64));
}

namespace {

/// Every bit pattern of a 16-bit type, NaN and infinity included, shuffled: most rows hold one that is not finite.
template <class T>
std::vector<float> every_value(std::size_t repeated, unsigned seed) {
  std::vector<float> values;
  for (std::size_t i = 0; i < repeated; ++i)
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
      T value;
      value.bits = static_cast<std::uint16_t>(bits);
      values.push_back(static_cast<float>(value));
    }
  std::shuffle(values.begin(), values.end(), std::mt19937(seed));
  return values;
}

}  // namespace

TEMPLATE_TEST_CASE("cuda quantizer on every value of 16 bits", "[cuda]", tern::half, tern::bfloat16) {
  tern_test::require_device();
  const std::vector<float> values = every_value<TestType>(2, 3);
  // Rows of 8, of which most are finite, and of 1024, of which none is.
  CHECK(quantizer_agrees<TestType>(values, values.size() / 8, 8));
  CHECK(quantizer_agrees<TestType>(values, values.size() / 1024, 1024));
  // Finite ones alone, in the order of their bits: subnormal rows, tiny rows, rows around the largest.
  std::vector<float> finite;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    TestType value;
    value.bits = static_cast<std::uint16_t>(bits);
    if (std::isfinite(static_cast<float>(value))) finite.push_back(static_cast<float>(value));
  }
  CHECK(quantizer_agrees<TestType>(finite, finite.size() / 32, 32));
  // Scale 1, and every code and every tie between two.
  std::vector<float> ties;
  for (int i = -254; i <= 254; ++i) ties.push_back(static_cast<float>(i) * 0.5f);
  CHECK(quantizer_agrees<TestType>(ties, 1, ties.size()));
}

TEMPLATE_TEST_CASE("cuda quantizer on one value that is not finite", "[cuda]", float, tern::half, tern::bfloat16) {
  tern_test::require_device();
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  // Wherever in the row it stands, and in no other row.
  for (const std::size_t inputs : {5, 640, 4099}) {
    std::vector<float> values(8 * inputs);
    for (float& value : values) value = normal(random);
    values[0] = INFINITY;
    values[3 * inputs - 1] = -INFINITY;
    values[4 * inputs + inputs / 2] = NAN;
    values[6 * inputs] = -NAN;
    CAPTURE(inputs);
    CHECK(quantizer_agrees<TestType>(values, 8, inputs));
  }
}

TEST_CASE("cuda quantizer refuses what does not fit", "[cuda]") {
  tern_test::require_device();
  const tern::cuda::device_bytes x(4 * 64 * sizeof(float));
  const tern::cuda::device_activations q(4, 64), with_zeros(4, 64, true);
  const auto view = [&](std::size_t rows, std::size_t cols) {
    return tern::matrix_view<const float>(x.as<float>(), rows, cols);
  };
  CHECK_THROWS_AS(tern::cuda::quantize_activations(view(3, 64), q), tern::shape_error);
  CHECK_THROWS_WITH(tern::cuda::quantize_activations(view(4, 63), q),
                    tern_test::contains("x is 4x63 but its codes are 4x64"));
  CHECK_THROWS_WITH(tern::cuda::quantize_activations(view(4, 64), with_zeros), tern_test::contains("with zero points"));
  tern_test::check(cudaDeviceSynchronize());
}
