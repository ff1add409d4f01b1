// SPDX-License-Identifier: MIT
// Products whose inputs are split over the blocks of a cluster == the reference, bit for bit.
#include "device.hpp"

namespace {

using tern_test::draw_activations;
using tern_test::draw_weights;
namespace device = tern::cuda::device;

/// Whether the device compiled for and run on has warpgroup products.
bool has_split() {
  cudaFuncAttributes attributes{};
  using shape = device::split_shape<tern::i2, 1, 32>;
  tern_test::check(
      cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(device::multiply_split<shape, tern::i2>)));
  return attributes.sharedSizeBytes != 0;
}

/// A product by tiles of this shape over `split` blocks each, which must take it.
template <class Shape, class Y, class Codec>
bool split_agrees(std::size_t tokens, const tern::packed_matrix<Codec>& w, std::size_t split, std::mt19937& random) {
  const auto x = draw_activations(tokens, w.cols(), false, random);
  const std::vector<float> bias(std::same_as<Y, std::int32_t> ? 0 : w.rows(), 0.75f);
  return tern_test::run_agrees<Y>(x, w, bias,
                                  [&](const auto& on_x, const auto& on_w, const auto& y, const auto& on_bias) {
                                    const auto a = tern::detail::device_product(on_x, on_w.layout(), y, on_bias);
                                    REQUIRE(tern::detail::multiply_split<Shape>(a, split, tern::cuda::launch{}));
                                  });
}

template <class Shape, class Codec>
void check_shape(std::mt19937& random) {
  const auto w = [&](std::size_t n, std::size_t k, tern::granularity granularity) {
    return draw_weights<Codec>(n, k, 1, granularity, tern::scale_type::bfloat16, false, false, {}, random);
  };
  // Depths in stages of 128: less than one, and whole ones and a part; tiles cut in rows and in tokens, by all splits.
  for (const std::size_t split : {1, 2, 4, 8})
    for (const std::size_t k : {std::size_t{100}, 128 * split - 28, std::size_t{1100}}) {
      if (128 * (split - 1) >= k) continue;
      CAPTURE(Shape::rows, Shape::tokens, k, split);
      CHECK(split_agrees<Shape, std::int32_t>(13, w(Shape::rows - 9, k, tern::per_channel), split, random));
      CHECK(split_agrees<Shape, float>(1, w(Shape::rows + 20, k, tern::per_tensor), split, random));
    }
  // Several tiles, whole and cut.
  CHECK(split_agrees<Shape, tern::bfloat16>(Shape::tokens, w(2 * Shape::rows, 300, tern::per_channel), 2, random));
  CHECK(split_agrees<Shape, tern::half>(Shape::tokens + 9, w(Shape::rows + 23, 300, tern::per_channel), 2, random));
  // More stages than a ring holds.
  CHECK(split_agrees<Shape, float>(9, w(20, 5000, tern::per_channel), 1, random));
  CHECK(split_agrees<Shape, float>(9, w(20, 9000, tern::per_channel), 2, random));
}

}  // namespace

TEMPLATE_TEST_CASE("cuda products by clusters", "[cuda]", tern::i2, tern::n4, tern::n6, tern::i8) {
  tern_test::require_device();
  if (!has_split()) tern_test::skip("no warpgroup products");
  std::mt19937 random(11);
  check_shape<device::split_shape<TestType, 1, 32>, TestType>(random);
  check_shape<device::split_shape<TestType, 2, 32>, TestType>(random);
  check_shape<device::split_shape<TestType, 2, 64>, TestType>(random);
  check_shape<device::split_shape<TestType, 2, 128>, TestType>(random);
}

// Worst sums: all codes -128 or 127, all levels -2 or 1, at the largest depth.
TEST_CASE("cuda products by clusters at the bound of int32", "[cuda]") {
  tern_test::require_device();
  if (!has_split()) tern_test::skip("no warpgroup products");
  std::mt19937 random(12);
  const std::size_t inputs = tern::max_inputs(false, false), tokens = 33;
  for (const int code : {-128, 127}) {
    const std::vector<std::int8_t> codes(tokens * inputs, static_cast<std::int8_t>(code));
    const std::vector<float> scales(tokens, 0.5f);
    const auto x = tern::quantized_activations::from_codes({codes.data(), tokens, inputs}, scales);
    for (const int byte : {0x55, 0xaa}) {
      const auto w =
          draw_weights<tern::i2>(17, inputs, 1, tern::per_channel, tern::scale_type::float32, false, false, {}, random);
      std::fill_n(const_cast<std::uint8_t*>(w.view().codes(0, 0)), 2 * w.view().blocks() * 64, byte);
      CAPTURE(code, byte);
      for (const std::size_t split : {1, 8})
        CHECK(tern_test::run_agrees<std::int32_t>(
            x, w, {}, [&](const auto& on_x, const auto& on_w, const auto& y, const auto& on_bias) {
              const auto a = tern::detail::device_product(on_x, on_w.layout(), y, on_bias);
              REQUIRE(tern::detail::multiply_split<device::split_shape<tern::i2, 2, 64>>(a, split, {}));
            }));
    }
  }
}
