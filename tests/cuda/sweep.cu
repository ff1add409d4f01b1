// SPDX-License-Identifier: MIT
// matmul() chooses among kernels by size: every count of tokens, and what is around the edges of their tiles in each
// dimension; the extreme values, whose sums are known; the same bits every time.
#include "device.hpp"

#include <tern/matmul.hpp>

namespace {

using tern_test::draw_activations;
using tern_test::draw_weights;

/// The device's product == the host's, which the tests of kernels compare with the reference.
template <class Y, tern::codec Codec>
bool equals_host(const tern::quantized_activations& x, const tern::packed_matrix<Codec>& w,
                 const std::vector<float>& bias) {
  tern_test::guarded_output<Y> y(x.rows(), w.rows());
  tern::matmul(x, w, y.expected(), bias);
  const tern::cuda::device_activations on_x(x.view());
  const tern::cuda::device_matrix on_w(w);
  const tern::cuda::device_bytes on_bias = tern_test::to_device(bias);
  tern::cuda::matmul(on_x, on_w, y.view(), std::span<const float>(on_bias.as<float>(), bias.size()));
  tern_test::check(cudaDeviceSynchronize());
  return y.holds();
}

/// A random product whose other properties follow from `variant`.
template <tern::codec Codec>
bool random_product(std::size_t tokens, std::size_t rows, std::size_t cols, unsigned variant, std::mt19937& random) {
  const tern::granularity granularities[] = {tern::per_channel, tern::per_group(64 + 64 * (variant / 5 % 3)),
                                             tern::per_tensor};
  const auto scales = static_cast<tern::scale_type>(variant % 3);
  const bool zeros = variant % 11 == 10;
  const auto x = draw_activations(tokens, cols, zeros, random);
  const auto w = draw_weights<Codec>(rows, cols, variant % 13 == 12 ? 2 : 1, granularities[variant % 5 % 3], scales,
                                     variant % 17 == 16, zeros, {}, random);
  const std::vector<float> bias(variant % 4 == 3 ? rows : 0, -0.375f);
  if (variant % 4 == 0) return equals_host<tern::half>(x, w, bias);
  if (variant % 4 == 1) return equals_host<tern::bfloat16>(x, w, bias);
  if (variant % 4 == 2 && w.planes() * w.view().groups() == 1) return equals_host<std::int32_t>(x, w, bias);
  return equals_host<float>(x, w, bias);
}

}  // namespace

TEMPLATE_TEST_CASE("cuda products of every count of tokens around every edge", "[cuda][sweep]", tern::i2, tern::n4) {
  tern_test::require_device();
  std::mt19937 random(11);
  const std::size_t tokens[] = {1,  2,  3,  4,  5,  7,  8,  9,   12,  15,  16,  17,  24,  31,  32,
                                33, 40, 48, 63, 64, 65, 96, 127, 128, 129, 192, 255, 256, 257, 300};
  const std::size_t outputs[] = {1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 321};
  const std::size_t depths[] = {1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 640, 1025, 2560, 4099};
  unsigned variant = 0;
  for (const std::size_t m : tokens)
    for (const std::size_t n : outputs) {
      const std::size_t k = depths[variant % std::size(depths)];
      CAPTURE(m, n, k, variant);
      REQUIRE(random_product<TestType>(m, n, k, variant, random));
      ++variant;
    }
  // Every depth with a few counts of tokens: what is split over warps and blocks along K.
  for (const std::size_t m : {1, 6, 16, 32, 64, 128})
    for (const std::size_t k : depths) {
      CAPTURE(m, k, variant);
      REQUIRE(random_product<TestType>(m, 272, k, variant, random));
      ++variant;
    }
}

TEMPLATE_TEST_CASE("cuda products that fill the device", "[cuda][sweep]", tern::i2, tern::n4) {
  tern_test::require_device();
  std::mt19937 random(12);
  unsigned variant = 0;
  for (const std::size_t m : {1, 8, 13, 16, 32, 33, 50, 64, 65, 100, 128, 129, 300})
    for (const std::size_t n : {2560, 6917, 14336}) {
      const std::size_t k = variant % 3 == 0 ? 2560 : variant % 3 == 1 ? 1160 : 333;
      CAPTURE(m, n, k, variant);
      REQUIRE(random_product<TestType>(m, n, k, variant, random));
      ++variant;
    }
  for (const std::size_t m : {511, 1000, 2049})
    for (const std::size_t n : {640, 2570}) {
      CAPTURE(m, n, variant);
      REQUIRE(random_product<TestType>(m, n, 1160, variant, random));
      ++variant;
    }
}

namespace {

/// Values of even and of odd inputs.
struct pattern {
  int even, odd;
};
constexpr pattern of_tokens[] = {{127, 127}, {-128, -128}, {127, -128}};

/// Weights of row n are patterns[n % patterns], all scales 1: each sum is known.
template <class Y, tern::codec Codec>
bool extremes_agree(std::size_t tokens, std::size_t rows, std::size_t cols, const std::vector<pattern>& patterns,
                    tern::granularity granularity) {
  std::vector<std::int8_t> codes(tokens * cols);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const pattern& p = of_tokens[i / cols % std::size(of_tokens)];
    codes[i] = static_cast<std::int8_t>(i % cols % 2 == 0 ? p.even : p.odd);
  }
  tern::quantized_matrix q(1, rows, cols, granularity);
  for (std::size_t i = 0; i < q.codes.size(); ++i) {
    const pattern& p = patterns[i / cols % patterns.size()];
    q.codes[i] = static_cast<std::int8_t>(i % cols % 2 == 0 ? p.even : p.odd);
  }
  std::fill(q.scales.begin(), q.scales.end(), 1.0f);
  const tern::packed_matrix<Codec> w(q);
  const std::vector<float> scales(tokens, 1.0f);
  const auto x = tern::quantized_activations::from_codes({codes.data(), tokens, cols}, scales);

  tern_test::guarded_output<Y> y(tokens, rows);
  for (std::size_t m = 0; m < tokens; ++m)
    for (std::size_t n = 0; n < rows; ++n) {
      const pattern &a = of_tokens[m % std::size(of_tokens)], &b = patterns[n % patterns.size()];
      std::int32_t sum = 0;
      float result = 0;
      for (std::size_t begin = 0; begin < cols; begin += q.group_inputs()) {
        const std::size_t end = std::min(begin + q.group_inputs(), cols);
        const auto even = static_cast<std::int32_t>((end + 1) / 2 - (begin + 1) / 2);
        const auto odd = static_cast<std::int32_t>(end / 2 - begin / 2);
        sum = even * (a.even * b.even) + odd * (a.odd * b.odd);
        result += static_cast<float>(sum);
      }
      if constexpr (std::same_as<Y, std::int32_t>)
        y.expected()(m, n) = sum;
      else
        y.expected()(m, n) = result;
    }
  const tern::cuda::device_activations on_x(x.view());
  const tern::cuda::device_matrix on_w(w);
  tern::cuda::matmul(on_x, on_w, y.view());
  tern_test::check(cudaDeviceSynchronize());
  return y.holds();
}

}  // namespace

TEST_CASE("cuda products of extreme values", "[cuda][sweep]") {
  tern_test::require_device();
  const std::vector<pattern> two_bits = {{1, 1}, {-1, -1}, {1, -1}, {-2, -2}, {0, -2}};
  const std::vector<pattern> four_bits = {{4, 4}, {-4, -4}, {4, -4}};
  for (const std::size_t m : {1, 2, 8, 13, 16, 32, 64, 128, 129, 300})
    for (const std::size_t n : {40, 6920}) {
      CAPTURE(m, n);
      const std::size_t k = n == 40 ? 9000 : 1000;
      CHECK(extremes_agree<std::int32_t, tern::i2>(m, n, k, two_bits, tern::per_channel));
      CHECK(extremes_agree<float, tern::i2>(m, n, k, two_bits, tern::per_group(128)));
      CHECK(extremes_agree<std::int32_t, tern::n4>(m, n, k, four_bits, tern::per_channel));
    }
  // The most inputs for which no sum can leave int32, and as many rows and tokens as tiles take.
  const std::size_t most = tern::max_inputs(false, false);
  CHECK(extremes_agree<std::int32_t, tern::i2>(1, 33, most, two_bits, tern::per_channel));
  CHECK(extremes_agree<std::int32_t, tern::i2>(8, 33, most, two_bits, tern::per_channel));
  CHECK(extremes_agree<std::int32_t, tern::i2>(64, 33, most, two_bits, tern::per_channel));
  CHECK(extremes_agree<std::int32_t, tern::i2>(900, 1100, most, two_bits, tern::per_channel));
}

TEST_CASE("cuda products give the same bits on every repetition", "[cuda][sweep]") {
  tern_test::require_device();
  std::mt19937 random(13);
  cudaStream_t stream = nullptr;
  tern_test::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (const std::size_t m : {1, 2, 8, 16, 32, 64, 128, 129, 300})
    for (const auto& [n, granularity] : {std::pair(2560, tern::per_channel), std::pair(2560, tern::per_group(128)),
                                         std::pair(6912, tern::per_channel)}) {
      const std::size_t k = 1280;
      const auto x = draw_activations(m, k, false, random);
      const auto w = draw_weights<tern::i2>(static_cast<std::size_t>(n), k, 1, granularity, tern::scale_type::float32,
                                            false, false, {}, random);
      tern_test::guarded_output<float> y(m, w.rows());
      tern::matmul(x, w, y.expected());
      const tern::cuda::device_activations on_x(x.view());
      const tern::cuda::device_matrix on_w(w);
      for (int repetition = 0; repetition < 20; ++repetition) {
        y.poison_all();
        tern_test::check(cudaDeviceSynchronize());
        // Three that overlap: the kernels around one must not change what it writes.
        for (int i = 0; i < 3; ++i) tern::cuda::matmul(on_x, on_w, y.view(), {}, {stream, true});
        tern_test::check(cudaStreamSynchronize(stream));
        CAPTURE(m, n, repetition);
        REQUIRE(y.holds());
      }
    }
  tern_test::check(cudaStreamDestroy(stream));
}

TEST_CASE("cuda products refuse depths that could overflow", "[cuda]") {
  tern_test::require_device();
  const std::size_t inputs = tern::max_inputs(false, false) + 1;
  tern::quantized_matrix q(1, 1, inputs, tern::per_tensor);
  q.scales = {1.0f};
  const tern::packed_matrix<tern::i2> host(q);
  const tern::cuda::device_matrix w(host);
  const tern::cuda::device_activations x(1, inputs);
  const tern::cuda::device_bytes y(sizeof(float));
  CHECK_THROWS_AS(tern::cuda::matmul(x, w, tern::matrix_view<float>(y.as<float>(), 1, 1)), tern::range_error);
  CHECK_THROWS_WITH(tern::cuda::matmul(x, w, tern::matrix_view<float>(y.as<float>(), 1, 1)),
                    tern_test::contains("could overflow int32; at most 131071"));
  tern_test::check(cudaDeviceSynchronize());
}
