// SPDX-License-Identifier: MIT
#include <tern/type/quantized_activations.hpp>

#include <limits>
#include <numeric>
#include <random>

#include "support/catch.hpp"

using tern::activations_view;
using tern::quantized_activations;

namespace {

/// Codes over all of int8, -128 included.
tern::matrix<std::int8_t> draw_codes(std::size_t tokens, std::size_t inputs) {
  std::mt19937 random(static_cast<unsigned>(inputs));
  tern::matrix<std::int8_t> codes(tokens, inputs);
  for (std::size_t i = 0; i < tokens * inputs; ++i) codes.data()[i] = static_cast<std::int8_t>(random() % 256);
  return codes;
}

}  // namespace

TEST_CASE("activations: codes, scales, zero points where they were put", "[activations]") {
  const auto codes = draw_codes(3, 21);
  const std::vector<float> scales = {0.5f, 2, 3};
  const std::vector<std::int32_t> zeros = {-128, 0, 127};
  const auto x = quantized_activations::from_codes(codes.view(), scales, zeros);
  CHECK(x.rows() == 3);
  CHECK(x.cols() == 21);
  CHECK(x.has_zeros());
  for (std::size_t m = 0; m < 3; ++m) {
    CHECK(x.scale(m) == scales[m]);
    CHECK(x.zero(m) == zeros[m]);
    for (std::size_t k = 0; k < 21; ++k) CHECK(x.code(m, k) == codes(m, k));
  }
  const auto symmetric = quantized_activations::from_codes(codes.view(), scales);
  CHECK(!symmetric.has_zeros());
  CHECK(symmetric.zero(2) == 0);
}

TEST_CASE("activations: the sum of any range of inputs", "[activations]") {
  const std::size_t inputs = GENERATE(as<std::size_t>(), 0, 1, 15, 16, 17, 31, 32, 33, 70);
  const auto codes = draw_codes(2, inputs);
  const auto x = quantized_activations::from_codes(codes.view(), std::vector<float>{1, 1});
  std::size_t wrong = 0;
  for (std::size_t m = 0; m < 2; ++m)
    for (std::size_t begin = 0; begin <= inputs; ++begin)
      for (std::size_t end = begin; end <= inputs; ++end)
        wrong += x.view().sum(m, begin, end) != std::accumulate(codes.row(m) + begin, codes.row(m) + end, 0);
  CHECK(wrong == 0);
  CHECK(x.view().prefix(1)[0] == 0);
}

TEST_CASE("activations: rows are apart by what kernels read, and by an odd number of cache lines", "[activations]") {
  const std::size_t inputs = GENERATE(as<std::size_t>(), 0, 1, 45, 46, 64, 4032, 4077, 4078, 8173, 16365);
  const quantized_activations x(2, inputs);
  const std::size_t stride = x.view().row_stride();
  CHECK(stride >= inputs + 63);
  CHECK(stride % 64 == 0);
  CHECK(stride % 128 == 64);
  CHECK(x.view().codes(1) == x.view().codes(0) + stride);
  CHECK(reinterpret_cast<std::uintptr_t>(x.view().codes(1)) % 64 == 0);
}

TEST_CASE("activations: padding is zero, fresh activations are zeros with scale 1", "[activations]") {
  const auto x = quantized_activations::from_codes(draw_codes(3, 50).view(), std::vector<float>(3, 1.0f));
  for (std::size_t m = 0; m < 3; ++m)
    for (std::size_t k = 50; k < x.view().row_stride(); ++k) CHECK(x.view().codes(m)[k] == 0);

  const quantized_activations fresh(2, 20, true);
  for (std::size_t m = 0; m < 2; ++m) {
    CHECK(fresh.scale(m) == 1.0f);
    CHECK(fresh.zero(m) == 0);
    CHECK(fresh.code(m, 19) == 0);
    CHECK(fresh.view().sum(m, 0, 20) == 0);
  }
}

TEST_CASE("activations: sections do not overlap and end where the storage does", "[activations]") {
  const std::size_t tokens = GENERATE(as<std::size_t>(), 1, 2, 15, 16, 17),
                    inputs = GENERATE(as<std::size_t>(), 0, 1, 64, 130);
  quantized_activations x(tokens, inputs, true);
  const activations_view& v = x.view();
  const auto at = [&](const void* p) { return static_cast<const std::byte*>(p) - x.storage().data(); };
  CHECK(at(v.codes(0)) == 0);
  CHECK(at(v.prefix(0)) >= at(v.codes(tokens - 1) + v.row_stride()));
  CHECK(at(&v.scale(0)) >= at(v.prefix(tokens - 1) + v.prefix_stride()));
  CHECK(at(&v.zero(0)) >= at(&v.scale(tokens - 1) + 1));
  CHECK(at(&v.zero(tokens - 1) + 1) <= static_cast<std::ptrdiff_t>(x.storage().size()));
  CHECK(x.storage().size() == activations_view::storage_bytes(tokens, inputs));
  CHECK(v.prefix_stride() == (inputs + 15) / 16 + 1);
}

TEST_CASE("activations: storage that is too small or misaligned is refused", "[activations]") {
  const std::size_t needed = activations_view::storage_bytes(3, 100);
  tern::aligned_bytes memory(needed + 64);
  const std::span<std::byte> bytes = memory;
  CHECK_NOTHROW(activations_view(bytes.first(needed), 3, 100, true));
  CHECK_NOTHROW(activations_view(bytes, 3, 100, true));
  CHECK_THROWS_AS(activations_view(bytes.first(needed - 1), 3, 100, true), tern::shape_error);
  CHECK_THROWS_WITH(activations_view(bytes.first(7), 3, 100, true),
                    "activations: 3x100 need a workspace of " + std::to_string(needed) + " bytes, not 7");
  CHECK_THROWS_AS(activations_view(bytes.subspan(32), 3, 100, true), tern::shape_error);
}

TEST_CASE("activations: from_codes refuses what does not fit", "[activations]") {
  const auto codes = draw_codes(3, 5);
  const auto make = [&](std::vector<float> scales, std::vector<std::int32_t> zeros = {}) {
    return quantized_activations::from_codes(codes.view(), scales, zeros);
  };
  CHECK_THROWS_AS(make({1, 1}), tern::shape_error);
  CHECK_THROWS_WITH(make({1, 1, 1}, {0, 0}), "activations: 3 tokens with 3 scales and 2 zero points");
  CHECK_THROWS_AS(make({1, 1, std::numeric_limits<float>::infinity()}), tern::range_error);
  CHECK_THROWS_WITH(make({1, std::numeric_limits<float>::quiet_NaN(), 1}), tern_test::contains("scale of token 1"));
  const std::int32_t zero = GENERATE(-129, 128, 100000);
  CHECK_THROWS_AS(make({1, 1, 1}, {0, 0, zero}), tern::range_error);
  CHECK_THROWS_WITH(make({1, 1, 1}, {0, 0, zero}), tern_test::contains(std::to_string(zero) + " of token 2"));
}

TEST_CASE("activations: copies are their own, moves keep the memory", "[activations]") {
  const auto codes = draw_codes(2, 30);
  auto original =
      quantized_activations::from_codes(codes.view(), std::vector<float>{2, 3}, std::vector<std::int32_t>{4, 5});
  quantized_activations copy = original;
  original.view().codes(1)[7] = static_cast<std::int8_t>(codes(1, 7) + 1);
  original.view().scale(1) = 9;
  CHECK(copy.code(1, 7) == codes(1, 7));
  CHECK(copy.scale(1) == 3);
  CHECK(copy.zero(1) == 5);
  CHECK(copy.view().sum(1, 3, 29) == std::accumulate(codes.row(1) + 3, codes.row(1) + 29, 0));

  const std::int8_t* const memory = copy.view().codes(0);
  const quantized_activations moved = std::move(copy);
  CHECK(moved.view().codes(0) == memory);
  CHECK(moved.zero(1) == 5);
  original = moved;
  CHECK(original.scale(1) == 3);
  CHECK(quantized_activations(quantized_activations()).rows() == 0);
}
