// SPDX-License-Identifier: MIT
/// Activations to int8 on the device, a block of threads for each token: the one rule, bit for bit.
#pragma once

#include <tern/cuda/device/quotient.hpp>
#include <tern/view.hpp>

namespace tern::inline v0_1::cuda::device {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(half x) { return half_to_float(x.bits); }
__device__ inline float to_float(bfloat16 x) { return bfloat16_to_float(x.bits); }

template <real_element T>
struct quantization {
  const T* x;
  std::int8_t* codes;
  float* scales;
  std::size_t x_stride, row_stride;
  unsigned inputs;
  bool aligned;  // rows, to four elements
};

__device__ inline std::uint32_t largest_of_warp(std::uint32_t value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  return __reduce_max_sync(0xffffffffu, value);
#else
  for (int step = 16; step != 0; step /= 2) value = max(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
#endif
}

/// The largest of all threads' values. At most 1024 threads.
__device__ inline std::uint32_t largest_of_block(std::uint32_t value) {
  __shared__ std::uint32_t of_warp[32];
  value = largest_of_warp(value);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  value = threadIdx.x % 32 < blockDim.x / 32 ? of_warp[threadIdx.x % 32] : 0;
  return largest_of_warp(value);
}

/// Inputs 4 quad .. 4 quad + 3 of a row, zeros beyond its end; in one load where rows are aligned to four elements.
template <real_element T>
__device__ inline void load_four(float (&to)[4], const T* x, unsigned quad, unsigned inputs, bool aligned) {
  struct alignas(4 * sizeof(T)) four {
    T each[4];
  };
  if (aligned && 4 * quad + 4 <= inputs) {
    const four all = reinterpret_cast<const four*>(x)[quad];
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) to[i] = to_float(all.each[i]);
  } else {
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) to[i] = 4 * quad + i < inputs ? to_float(x[4 * quad + i]) : 0.0f;
  }
}

/// Quads of a row that a thread keeps between the passes; it loads those of longer rows again.
inline constexpr unsigned kept_quads = 4;

template <real_element T>
__global__ void __launch_bounds__(1024) quantize_rows(const __grid_constant__ quantization<T> a) {
  start_successor();
  wait_for_predecessor();
  const T* const x = a.x + blockIdx.x * a.x_stride;
  const unsigned quads = static_cast<unsigned>(a.row_stride / 4);  // the padding's zeros included
  float kept[kept_quads][4], more[4];
  std::uint32_t largest = 0;
  const auto include = [&](const float(&values)[4]) {
#pragma unroll
    for (const float value : values) largest = max(largest, __float_as_uint(value) & 0x7fffffffu);
  };
#pragma unroll
  for (unsigned j = 0; j < kept_quads; ++j) load_four(kept[j], x, threadIdx.x + j * blockDim.x, a.inputs, a.aligned);
#pragma unroll
  for (unsigned j = 0; j < kept_quads; ++j) include(kept[j]);
  for (unsigned quad = threadIdx.x + kept_quads * blockDim.x; quad < quads; quad += blockDim.x) {
    load_four(more, x, quad, a.inputs, a.aligned);
    include(more);
  }
  const float scale = step_of(largest_of_block(largest));
  if (threadIdx.x == 0) a.scales[blockIdx.x] = scale;

  const divisor by(scale);
  std::uint32_t* const codes = reinterpret_cast<std::uint32_t*>(a.codes + blockIdx.x * a.row_stride);
  const auto store = [&](unsigned quad, const float(&v)[4]) { codes[quad] = by.quad(v); };
#pragma unroll
  for (unsigned j = 0; j < kept_quads; ++j)
    if (threadIdx.x + j * blockDim.x < quads) store(threadIdx.x + j * blockDim.x, kept[j]);
  for (unsigned quad = threadIdx.x + kept_quads * blockDim.x; quad < quads; quad += blockDim.x) {
    load_four(more, x, quad, a.inputs, a.aligned);
    store(quad, more);
  }
}

}  // namespace tern::inline v0_1::cuda::device
