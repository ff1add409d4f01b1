// SPDX-License-Identifier: MIT
/// Activations to int8 on the device, a block of threads for each token: the one rule, bit for bit.
#pragma once

#include <tern/cuda/device/intrinsics.hpp>
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
};

/// The step of a token whose largest magnitude has these bits: 1 for a row of zeros, NaN where the row is not finite.
__device__ inline float step_of(std::uint32_t largest) {
  if (largest >= 0x7f800000u) return __uint_as_float(0x7fc00000u);
  const float am = __uint_as_float(largest);
  return am < 0x1p-100f ? 1.0f : __fdiv_rn(am, 127.0f);
}

/// rint(x / scale) to even, within -127 .. 127; 0 in rows of zeros, which are below a half, and in rows that are not finite.
__device__ inline std::int8_t code_of(float x, float scale) {
  const std::int32_t code = __float2int_rn(__fdiv_rn(x, scale));
  return static_cast<std::int8_t>(scale != scale ? 0 : code < -127 ? -127 : code > 127 ? 127 : code);
}

__device__ inline std::uint32_t largest_of_warp(std::uint32_t value) {
  for (int step = 16; step != 0; step /= 2) value = max(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
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

template <real_element T>
__global__ void __launch_bounds__(1024) quantize_rows(const __grid_constant__ quantization<T> a) {
  start_successor();
  wait_for_predecessor();
  const T* const x = a.x + blockIdx.x * a.x_stride;
  std::uint32_t largest = 0;
  for (unsigned k = threadIdx.x; k < a.inputs; k += blockDim.x)
    largest = max(largest, __float_as_uint(to_float(x[k])) & 0x7fffffffu);
  const float scale = step_of(largest_of_block(largest));
  if (threadIdx.x == 0) a.scales[blockIdx.x] = scale;

  // Four codes a thread, and zeros behind the last: x comes from L1 this time.
  char4* const codes = reinterpret_cast<char4*>(a.codes + blockIdx.x * a.row_stride);
  for (unsigned quad = threadIdx.x; quad < a.row_stride / 4; quad += blockDim.x) {
    const auto code = [&](unsigned i) {
      const unsigned k = 4 * quad + i;
      return k < a.inputs ? code_of(to_float(x[k]), scale) : std::int8_t{0};
    };
    codes[quad] = make_char4(code(0), code(1), code(2), code(3));
  }
}

}  // namespace tern::inline v0_1::cuda::device
