// SPDX-License-Identifier: MIT
/// Random operands on the device, the same for all candidates, and the check of what they compute.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <tern/cuda.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "timing.hpp"

namespace tern_bench {

/// Shape of weights: N outputs, K inputs.
struct shape {
  std::size_t n, k;
  std::string name() const { return std::to_string(n) + "x" + std::to_string(k); }
};

/// A 32-bit mix: random numbers by their index, on the host and on the device.
__host__ __device__ inline std::uint32_t mixed(std::uint32_t i) {
  i ^= i >> 16;
  i *= 0x7feb352du;
  i ^= i >> 15;
  i *= 0x846ca68bu;
  return i ^ i >> 16;
}

__global__ void fill_normal(float* x, std::size_t count) {
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    const auto index = static_cast<std::uint32_t>(2 * i);
    const float u = static_cast<float>(mixed(index) >> 8) * 0x1p-24f,
                v = static_cast<float>(mixed(index + 1)) * 0x1p-32f;
    x[i] = sqrtf(-2 * logf(1 - u)) * cospif(2 * v);
  }
}

__device__ inline void convert_one(std::int8_t& to, float from) { to = static_cast<std::int8_t>(from); }
__device__ inline void convert_one(__nv_bfloat16& to, float from) { to = __float2bfloat16(from); }
__device__ inline void convert_one(__nv_fp8_e4m3& to, float from) { to = __nv_fp8_e4m3(from); }
__device__ inline void convert_one(float& to, float from) { to = from; }
__device__ inline void convert_one(tern::half& to, float from) { to.bits = tern::cuda::device::float_to_half(from); }
__device__ inline void convert_one(tern::bfloat16& to, float from) {
  to.bits = tern::cuda::device::float_to_bfloat16(from);
}

/// to[row][col], without gaps, from rows that are `stride` apart.
template <class To, class From>
__global__ void convert(To* to, const From* from, std::size_t rows, std::size_t cols, std::size_t stride) {
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < rows * cols;
       i += std::size_t{gridDim.x} * blockDim.x)
    convert_one(to[i], static_cast<float>(from[i / cols * stride + i % cols]));
}

/// Levels of weights, as the peers multiply them and as codecs pack them: the same bits for all.
inline tern::quantized_matrix random_levels(const shape& s, tern::granularity granularity,
                                            const std::vector<std::int8_t>& levels) {
  tern::quantized_matrix q(1, s.n, s.k, granularity);
  const auto count = static_cast<std::uint64_t>(levels.size());
  for (std::size_t i = 0; i < q.codes.size(); ++i)
    q.codes[i] = levels[static_cast<std::size_t>(mixed(static_cast<std::uint32_t>(i)) * count >> 32)];
  for (std::size_t i = 0; i < q.scales.size(); ++i)
    q.scales[i] = 0.01f + static_cast<float>(mixed(static_cast<std::uint32_t>(i)) >> 24) * 0x1p-14f;
  return q;
}

/// Copies of one matrix side by side in device memory, so many that they exceed four times the L2.
class rotating {
 public:
  rotating() = default;
  rotating(std::size_t bytes, std::size_t l2_bytes)
      : bytes_(bytes),
        stride_((bytes + 255) / 256 * 256),
        copies_(static_cast<unsigned>(4 * l2_bytes / stride_ + 1)),
        memory_(stride_ * copies_) {}

  unsigned copies() const { return copies_; }
  std::size_t bytes() const { return bytes_; }
  std::byte* copy(std::size_t i) const { return memory_.data() + i % copies_ * stride_; }
  /// The first copy is written: all others become equal to it.
  void repeat(cudaStream_t stream) const {
    for (unsigned i = 1; i < copies_; ++i)
      check(cudaMemcpyAsync(copy(i), copy(0), bytes_, cudaMemcpyDeviceToDevice, stream), "cudaMemcpyAsync");
  }

 private:
  std::size_t bytes_ = 0, stride_ = 1;
  unsigned copies_ = 0;
  tern::cuda::device_bytes memory_;
};

__device__ inline float as_float(float y) { return y; }
__device__ inline float as_float(std::int32_t y) { return static_cast<float>(y); }
__device__ inline float as_float(tern::half y) { return tern::cuda::device::half_to_float(y.bits); }
__device__ inline float as_float(tern::bfloat16 y) { return tern::cuda::device::bfloat16_to_float(y.bits); }

/// Counts what a quantizer of finite rows should have written otherwise: a thread for each row.
template <class T>
__global__ void compare_codes(const T* x, const std::int8_t* codes, const float* scales, std::size_t rows,
                              std::size_t cols, std::size_t stride, unsigned long long* unequal) {
  const std::size_t m = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (m >= rows) return;
  float largest = 0;
  for (std::size_t k = 0; k < cols; ++k) largest = fmaxf(largest, fabsf(as_float(x[m * cols + k])));
  const float scale = largest < 0x1p-100f ? 1.0f : __fdiv_rn(largest, 127.0f);
  unsigned long long wrong = scales[m] != scale;
  for (std::size_t k = 0; k < cols; ++k)
    wrong += static_cast<float>(codes[m * stride + k]) != rintf(__fdiv_rn(as_float(x[m * cols + k]), scale));
  if (wrong != 0) atomicAdd(unequal, wrong);
}

/// What a product should be: the straight-line expression over natural rows. Of many tokens the first and the last 32.
struct oracle {
  const std::int8_t* x;  // [tokens][x_stride]
  const float* x_scales;
  const std::int8_t* w;   // [n][k]
  const float* w_scales;  // [n][groups]
  std::size_t x_stride, n, k, tokens, group;
};
struct difference {
  unsigned long long unequal;
  double squares, of_expected;  // sums of squares of differences and of what is expected

  double relative() const { return std::sqrt(squares / of_expected); }
};

__device__ inline bool equal_bits(float a, float b) { return __float_as_uint(a) == __float_as_uint(b); }
__device__ inline bool equal_bits(std::int32_t a, std::int32_t b) { return a == b; }
template <class Y>
__device__ inline bool equal_bits(Y a, Y b) {
  return a.bits == b.bits;
}

/// A warp for each output. `Scaled` outputs are y(m,n) of tern::matmul, others the sums themselves.
template <bool Scaled, class Y>
__global__ void compare(oracle o, const Y* y, difference* result) {
  const std::size_t id = (std::size_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32, n = id % o.n;
  const unsigned lane = threadIdx.x % 32;
  const std::size_t checked = o.tokens < 64 ? o.tokens : 64, i = id / o.n;
  if (i >= checked) return;
  const std::size_t m = i < checked / 2 ? i : o.tokens - checked + i;
  float expected = 0;
  std::int32_t sum = 0;
  for (std::size_t begin = 0, g = 0; begin < o.k; begin += o.group, ++g) {
    sum = 0;
    for (std::size_t k = begin + lane; k < o.k && k < begin + o.group; k += 32)
      sum += std::int32_t{o.x[m * o.x_stride + k]} * o.w[n * o.k + k];
    for (int step = 16; step != 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    expected = __fmaf_rn(static_cast<float>(sum), o.w_scales[n * ((o.k + o.group - 1) / o.group) + g], expected);
  }
  if (lane != 0) return;
  expected = Scaled ? __fmul_rn(expected, o.x_scales[m]) : static_cast<float>(sum);
  Y rounded;
  if constexpr (std::is_same_v<Y, std::int32_t>)
    rounded = sum;
  else
    convert_one(rounded, expected);
  if (!equal_bits(rounded, y[m * o.n + n])) atomicAdd(&result->unequal, 1ull);
  const double off = as_float(y[m * o.n + n]) - expected;
  atomicAdd(&result->squares, off * off);
  atomicAdd(&result->of_expected, double{expected} * expected);
}

/// Compares y, dense, with what it should be.
template <bool Scaled, class Y>
difference compare_with(const oracle& o, const Y* y, cudaStream_t stream) {
  difference host{};
  const tern::cuda::device_bytes result(sizeof host);
  check(cudaMemsetAsync(result.data(), 0, sizeof host, stream), "cudaMemsetAsync");
  const std::size_t warps = std::min<std::size_t>(o.tokens, 64) * o.n;
  compare<Scaled><<<static_cast<unsigned>((warps + 7) / 8), 256, 0, stream>>>(o, y, result.as<difference>());
  check(cudaGetLastError(), "compare");
  check(cudaMemcpyAsync(&host, result.data(), sizeof host, cudaMemcpyDeviceToHost, stream), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  return host;
}

}  // namespace tern_bench
