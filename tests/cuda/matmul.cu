// SPDX-License-Identifier: MIT
// Products on the device == the reference, bit for bit.
#include "device.hpp"

#include <algorithm>
#include <limits>

namespace {

using tern_test::draw_activations;
using tern_test::draw_weights;
using tern_test::product_agrees;

template <class Codec>
Codec another_code() {
  if constexpr (std::same_as<Codec, tern::n4>)
    return tern::n4(tern::trit_codes_of_2[1]);
  else if constexpr (std::same_as<Codec, tern::b3x2>)
    return tern::b3x2(tern::trit_codes_of_2[1]);
  else if constexpr (std::same_as<Codec, tern::n6> || std::same_as<Codec, tern::b3x3>)
    return Codec(tern::trit_codes_of_3[1]);
  else
    return {};
}

/// A random product of this size whose other properties follow from `variant`.
template <class Codec>
bool random_product_agrees(std::size_t tokens, std::size_t rows, std::size_t cols, unsigned variant,
                           std::mt19937& random) {
  const std::size_t planes = variant % 5 == 4 ? 3 : 1;
  const std::size_t group = Codec::group_multiple * (1 + variant / 3 % 13);
  const tern::granularity granularities[] = {tern::per_channel, tern::per_group(group), tern::per_tensor};
  const tern::granularity granularity = granularities[variant % 3];
  const bool w_zeros = variant % 4 == 1, x_zeros = variant % 7 < 2;
  const auto scales = static_cast<tern::scale_type>(variant / 2 % 3);
  const auto x = draw_activations(tokens, cols, x_zeros, random);
  const auto w = draw_weights<Codec>(rows, cols, planes, granularity, scales, w_zeros, x_zeros || variant % 2 == 0,
                                     variant % 2 == 0 ? Codec{} : another_code<Codec>(), random);
  std::vector<float> bias(variant % 3 == 1 ? rows : 0);
  for (float& b : bias) b = std::normal_distribution<float>()(random);
  if (variant % 11 == 3) return product_agrees<tern::half>(x, w, bias);
  if (variant % 11 == 7) return product_agrees<tern::bfloat16>(x, w, bias);
  if (w.view().groups() == 1 && planes == 1 && bias.empty() && variant % 2 == 0)
    return product_agrees<std::int32_t>(x, w, bias);
  return product_agrees<float>(x, w, bias);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("cuda products equal the reference", "[cuda]", tern::codecs) {
  tern_test::require_device();
  std::mt19937 random(TestType::fold * 10 + TestType::bytes);
  const std::size_t block = tern::block_inputs<TestType>, step = 8 * block;
  const std::size_t depths[] = {1,    4,        block - 1,        block, block + 1, step - 1,
                                step, step + 1, 3 * step + block, 1500,  2560};
  const std::size_t outputs[] = {1, 15, 16, 17, 50};
  const std::size_t tokens[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 70};
  unsigned variant = 0;
  for (const std::size_t cols : depths)
    for (const std::size_t rows : outputs) {
      // One token always, and three other counts.
      for (unsigned i = 0; i < 4; ++i, ++variant) {
        const std::size_t m = i == 0 ? 1 : tokens[variant % std::size(tokens)];
        CAPTURE(m, rows, cols, variant);
        REQUIRE(random_product_agrees<TestType>(m, rows, cols, variant, random));
      }
    }
}

TEMPLATE_LIST_TEST_CASE("cuda products of every granularity and count of tokens", "[cuda]", tern::codecs) {
  tern_test::require_device();
  std::mt19937 random(7);
  unsigned variant = 0;
  for (const std::size_t m : {1, 3, 8, 12, 16, 25, 32, 64, 65, 129})
    for (unsigned i = 0; i < 12; ++i, variant += 5) {
      CAPTURE(m, variant);
      REQUIRE(random_product_agrees<TestType>(m, 33, 700 + 7 * i, variant, random));
    }
}

TEMPLATE_LIST_TEST_CASE("cuda products of several tiles of outputs and tokens", "[cuda]", tern::codecs) {
  tern_test::require_device();
  std::mt19937 random(8);
  // variant % 7 >= 2: no zero points in x; % 4 != 1: none in w. Those are what tiles take.
  for (const unsigned variant : {2u, 3u, 4u, 10u, 24u}) {
    CAPTURE(variant);
    CHECK(
        random_product_agrees<TestType>(33 + 32 * variant % 128, 270 + variant, 1000 + 37 * variant, variant, random));
  }
}

namespace {

/// Whether the device compiled for and run on has warpgroup products.
bool has_wgmma() {
  cudaFuncAttributes attributes{};
  using shape = tern::cuda::device::wide_shape<tern::i2, 2, 128>;
  tern_test::check(cudaFuncGetAttributes(
      &attributes, reinterpret_cast<const void*>(tern::cuda::device::multiply_wide<shape, true, false, tern::i2>)));
  return attributes.sharedSizeBytes != 0;
}

/// A product by the kernel that multiply(a, how) launches, which must take it.
template <class Y, class Codec, class Multiply>
bool kernel_agrees(std::size_t tokens, const tern::packed_matrix<Codec>& w, std::mt19937& random,
                   const Multiply& multiply, bool x_zeros = false) {
  const auto x = draw_activations(tokens, w.cols(), x_zeros, random);
  const std::vector<float> bias(std::same_as<Y, std::int32_t> ? 0 : w.rows(), 0.75f);
  return tern_test::run_agrees<Y>(x, w, bias,
                                  [&](const auto& on_x, const auto& on_w, const auto& y, const auto& on_bias) {
                                    auto a = tern::detail::device_product(on_x, on_w.layout(), y, on_bias);
                                    REQUIRE(multiply(a, tern::cuda::launch{}));
                                  });
}

}  // namespace

// matmul() chooses by size: here every kernel for many tokens takes every codec it serves, in whole and in cut tiles.
TEMPLATE_TEST_CASE("cuda products by each kernel for many tokens", "[cuda]", tern::i2, tern::n4, tern::n6, tern::i8) {
  tern_test::require_device();
  namespace device = tern::cuda::device;
  using tern::detail::multiply_in_tiles, tern::detail::multiply_wide;
  std::mt19937 random(9);
  const auto tiles = [](auto& a, const auto& how) {
    return multiply_in_tiles<device::tile_shape<TestType, 4, 8, 4, 2>, true>(a, how);
  };
  const auto tiles_of_runs = [](auto& a, const auto& how) {
    return multiply_in_tiles<device::tile_shape<TestType, 2, 8, 4, 2>, false>(a, how);
  };
  const auto wide_half = [](auto& a, const auto& how) {
    return multiply_wide<device::wide_shape<TestType, 1, 128>, true, false>(a, how);
  };
  const auto wide = [](auto& a, const auto& how) {
    return multiply_wide<device::wide_shape<TestType, 2, 128>, true, false>(a, how);
  };
  const auto wide_of_runs = [](auto& a, const auto& how) {
    return multiply_wide<device::wide_shape<TestType, 1, 128>, false, false>(a, how);
  };
  const auto wide_tokens = [](auto& a, const auto& how) {
    return multiply_wide<device::wide_shape<TestType, 1, 256>, true, false>(a, how);
  };
  const auto wide_zeros = [](auto& a, const auto& how) {
    return multiply_wide<device::wide_shape<TestType, 1, 128>, true, true>(a, how);
  };
  const auto wide_zeros_of_runs = [](auto& a, const auto& how) {
    return multiply_wide<device::wide_shape<TestType, 1, 128>, false, true>(a, how);
  };
  for (const std::size_t m : {1, 130})
    for (const std::size_t n : {16, 322})
      for (const std::size_t k : {16, 200, 576}) {
        CAPTURE(m, n, k);
        const auto w = [&](tern::granularity granularity, std::size_t planes = 1) {
          return draw_weights<TestType>(n, k, planes, granularity, tern::scale_type::bfloat16, false, false, {},
                                        random);
        };
        CHECK(kernel_agrees<std::int32_t>(m, w(tern::per_channel), random, tiles));
        CHECK(kernel_agrees<float>(m, w(tern::per_group(48), 2), random, tiles_of_runs));
        if (!has_wgmma()) continue;
        CHECK(kernel_agrees<std::int32_t>(m, w(tern::per_channel), random, wide_half));
        CHECK(kernel_agrees<tern::bfloat16>(m, w(tern::per_tensor), random, wide));
        CHECK(kernel_agrees<tern::half>(m, w(tern::per_channel), random, wide));
        CHECK(kernel_agrees<tern::bfloat16>(m, w(tern::per_channel), random, wide_tokens));
        CHECK(kernel_agrees<float>(m, w(tern::per_group(64), 2), random, wide_of_runs));
        CHECK(kernel_agrees<tern::bfloat16>(m, w(tern::per_group(192)), random, wide_of_runs));
        CHECK(kernel_agrees<float>(m, w(tern::per_channel, 3), random, wide_of_runs));
        // Zero points of x, of w, of both.
        for (const bool x_zeros : {false, true})
          for (const bool w_zeros : {!x_zeros, true}) {
            const auto with_zeros = [&](tern::granularity granularity, std::size_t planes = 1) {
              return draw_weights<TestType>(n, k, planes, granularity, tern::scale_type::float32, w_zeros, true, {},
                                            random);
            };
            CAPTURE(x_zeros, w_zeros);
            CHECK(kernel_agrees<std::int32_t>(m, with_zeros(tern::per_channel), random, wide_zeros, x_zeros));
            CHECK(kernel_agrees<float>(m, with_zeros(tern::per_tensor), random, wide_zeros, x_zeros));
            CHECK(kernel_agrees<float>(m, with_zeros(tern::per_group(64), 2), random, wide_zeros_of_runs, x_zeros));
          }
      }
  if (!has_wgmma()) WARN("no warpgroup products here: their kernels were not tested");
}

// What the reference would take too long for is compared with another kernel of the device.
TEST_CASE("cuda products of more tiles than run at once", "[cuda]") {
  tern_test::require_device();
  if (!has_wgmma()) tern_test::skip("no warpgroup products");
  namespace device = tern::cuda::device;
  using tern::detail::multiply_in_tiles, tern::detail::multiply_wide;
  std::mt19937 random(10);
  const auto agree = [&](std::size_t tokens, tern::granularity granularity, const auto& first, const auto& second) {
    const std::size_t outputs = 1290, inputs = 2200;
    const tern::cuda::device_matrix w(
        draw_weights<tern::i2>(outputs, inputs, 1, granularity, tern::scale_type::float32, false, false, {}, random));
    const tern::cuda::device_activations x(draw_activations(tokens, inputs, false, random).view());
    tern_test::guarded_output<float> y(tokens, outputs), z(tokens, outputs);
    auto a = tern::detail::device_product(x, w.view().layout(), y.view(), {});
    auto b = tern::detail::device_product(x, w.view().layout(), z.view(), {});
    REQUIRE(first(a, tern::cuda::launch{}));
    REQUIRE(second(b, tern::cuda::launch{}));
    tern_test::check(cudaDeviceSynchronize());
    return y.equals(z);
  };
  const auto tiles = [](auto& a, const auto& how) {
    return multiply_in_tiles<device::tile_shape<tern::i2, 4, 8, 4, 2>, true>(a, how);
  };
  const auto tiles_of_runs = [](auto& a, const auto& how) {
    return multiply_in_tiles<device::tile_shape<tern::i2, 2, 8, 4, 2>, false>(a, how);
  };
  CHECK(agree(3100, tern::per_channel, tiles, [](auto& a, const auto& how) {
    return multiply_wide<device::wide_shape<tern::i2, 2, 128>, true, false>(a, how);
  }));
  CHECK(agree(1700, tern::per_channel, tiles, [](auto& a, const auto& how) {
    return multiply_wide<device::wide_shape<tern::i2, 1, 128>, true, false>(a, how);
  }));
  CHECK(agree(3100, tern::per_channel, tiles, [](auto& a, const auto& how) {
    return multiply_wide<device::wide_shape<tern::i2, 1, 256>, true, false>(a, how);
  }));
  for (const std::size_t group : {64, 128, 320, 576, 2176})
    CHECK(agree(1700, tern::per_group(group), tiles_of_runs, [](auto& a, const auto& how) {
      return multiply_wide<device::wide_shape<tern::i2, 1, 128>, false, false>(a, how);
    }));
}

// Kernels that shift scales in the place of sums may not where bits would be lost.
TEST_CASE("cuda products with the tiniest scales", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(11);
  for (const std::size_t group : {64, 128}) {
    auto w =
        draw_weights<tern::i2>(40, 700, 1, tern::per_group(group), tern::scale_type::float32, false, false, {}, random);
    float* const scales = reinterpret_cast<float*>(const_cast<std::byte*>(w.view().scales(0, 0, 0)));
    for (std::size_t i = 0; i < 3 * w.view().groups() * 16; ++i)
      if (random() % 3 == 0) scales[i] = static_cast<float>(random() % 1000) * std::numeric_limits<float>::denorm_min();
    CHECK(product_agrees<float>(draw_activations(300, 700, false, random), w, {}));
  }
}

TEST_CASE("cuda products at the bound of int32", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(1);
  const std::size_t inputs = tern::max_inputs(false, false);
  for (const std::size_t tokens : {1, 9, 17, 40})
    for (const int code : {-128, 127}) {
      const std::vector<std::int8_t> codes(tokens * inputs, static_cast<std::int8_t>(code));
      const std::vector<float> scales(tokens, 0.5f);
      const auto x = tern::quantized_activations::from_codes({codes.data(), tokens, inputs}, scales);
      for (const int level : {-2, 1}) {
        // Fields of -2 and of 1, both of which a byte of i2 may hold.
        auto w = draw_weights<tern::i2>(17, inputs, 1, tern::per_channel, tern::scale_type::float32, false, false, {},
                                        random);
        std::fill_n(const_cast<std::uint8_t*>(w.view().codes(0, 0)), 2 * w.view().blocks() * 64,
                    level == 1 ? 0x55 : 0xaa);
        CAPTURE(tokens, code, level);
        CHECK(product_agrees<std::int32_t>(x, w, {}));
      }
      auto w =
          draw_weights<tern::i8>(17, inputs, 1, tern::per_channel, tern::scale_type::float32, false, false, {}, random);
      std::fill_n(const_cast<std::uint8_t*>(w.view().codes(0, 0)), 2 * w.view().blocks() * 64, 0x80);
      CHECK(product_agrees<std::int32_t>(x, w, {}));
    }
}

TEST_CASE("cuda products with more runs than shared memory holds", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(2);
  for (const std::size_t tokens : {1, 8, 16, 40}) {
    CAPTURE(tokens);
    for (const bool zeros : {false, true}) {
      const auto x = draw_activations(tokens, 30000, zeros, random);
      CHECK(product_agrees<float>(x,
                                  draw_weights<tern::i2>(20, 30000, 2, tern::per_group(16), tern::scale_type::float16,
                                                         zeros, zeros, {}, random),
                                  {}));
      CHECK(product_agrees<float>(
          x,
          draw_weights<tern::i8>(3, 30000, 1, tern::per_group(48), tern::scale_type::float32, zeros, true, {}, random),
          {}));
    }
  }
}

TEST_CASE("cuda products of a few rows of many tokens", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(3);
  const auto x = draw_activations(4099, 64, false, random);
  CHECK(product_agrees<float>(
      x, draw_weights<tern::i2>(18, 64, 1, tern::per_channel, tern::scale_type::float32, false, false, {}, random),
      {}));
}

TEST_CASE("cuda products of empty matrices", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(4);
  const auto weights = [&](std::size_t rows, std::size_t cols) {
    return draw_weights<tern::i2>(rows, cols, 1, tern::per_channel, tern::scale_type::float32, false, false, {},
                                  random);
  };
  const std::vector<float> bias(20, 1.5f);
  for (const std::size_t tokens : {0, 1, 3}) {
    CHECK(product_agrees<float>(draw_activations(tokens, 0, false, random), weights(20, 0), {}));
    CHECK(product_agrees<float>(draw_activations(tokens, 0, false, random), weights(20, 0), bias));
    CHECK(product_agrees<float>(draw_activations(tokens, 32, false, random), weights(0, 32), {}));
  }
}

TEST_CASE("cuda products are refused for the reasons of the host's", "[cuda]") {
  tern_test::require_device();
  std::mt19937 random(5);
  const auto weights =
      draw_weights<tern::i2>(20, 64, 1, tern::per_group(32), tern::scale_type::float32, false, false, {}, random);
  const tern::cuda::device_matrix w(weights);
  const auto product = [&](std::size_t tokens, std::size_t inputs, bool zeros, std::size_t y_rows, std::size_t y_cols,
                           std::size_t biases) {
    const tern::cuda::device_activations x(tokens, inputs, zeros);
    const tern::cuda::device_bytes y(y_rows * y_cols * sizeof(float)), bias(biases * sizeof(float));
    tern_test::check(
        cudaMemset(x.view().codes(), 0, tern::cuda::device_activations_view::storage_bytes(tokens, inputs)));
    if (biases != 0) tern_test::check(cudaMemset(bias.data(), 0, bias.size()));
    tern::cuda::matmul(x, w, tern::matrix_view<float>(y.as<float>(), y_rows, y_cols),
                       std::span<const float>(bias.as<float>(), biases));
  };
  product(3, 64, false, 3, 20, 20);
  CHECK_THROWS_WITH(product(3, 63, false, 3, 20, 0), tern_test::contains("depths must agree"));
  CHECK_THROWS_WITH(product(3, 64, false, 2, 20, 0), tern_test::contains("y is 2x20 but x W^T is 3x20"));
  CHECK_THROWS_WITH(product(3, 64, false, 3, 20, 19), tern_test::contains("19 biases for 20 outputs"));
  CHECK_THROWS_WITH(product(3, 64, true, 3, 20, 0), tern_test::contains("sums of its levels"));
  const tern::cuda::device_activations x(3, 64);
  const tern::cuda::device_bytes y(3 * 20 * 4);
  CHECK_THROWS_WITH(tern::cuda::matmul(x, w, tern::matrix_view<std::int32_t>(y.as<std::int32_t>(), 3, 20)),
                    tern_test::contains("int32 output needs one plane"));
  CHECK_THROWS_AS(tern::cuda::device_activations_view(std::span<std::byte>(y), 3, 64), tern::shape_error);
  tern_test::check(cudaDeviceSynchronize());
}

TEST_CASE("cuda errors are typed and name the call", "[cuda]") {
  tern_test::require_device();
  try {
    tern::cuda::device_bytes(std::size_t{1} << 60);
    FAIL("a device has no exabyte");
  } catch (const tern::cuda::cuda_error& e) {
    CHECK(e.code() == cudaErrorMemoryAllocation);
    CHECK_THAT(e.what(), tern_test::contains("cudaMalloc: cudaErrorMemoryAllocation, out of memory"));
  }
  static_cast<void>(cudaGetLastError());
}
