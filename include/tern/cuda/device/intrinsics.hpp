// SPDX-License-Identifier: MIT
/// The instructions that tern's device code is made of, each with its rule of rounding.
///
/// | function            | what                                                                          | needs  |
/// |---------------------|-------------------------------------------------------------------------------|--------|
/// | multiply_tile       | 16 rows x 32 inputs of int8 by 32 inputs x 8 tokens, on tensor cores          | sm_75  |
/// | load_once           | 16 bytes of weights, read through L2 only, for no other block wants them | sm_75 |
/// | copy, copied        | 4 or 16 bytes to shared memory while the thread goes on; waits for those     | sm_80  |
/// | start_successor     | lets the next kernel of the stream begin (programmatic dependent launch)      | sm_90  |
/// | wait_for_predecessor | until all kernels before have finished and what they wrote can be read       | sm_90  |
///
/// Below sm_80 copy is a load and a store. Where the last two do not exist, kernels are not launched to overlap (launch.hpp),
/// and these do nothing.
#pragma once

#if !defined(__CUDACC__)
#error "kernels are compiled by nvcc or by clang's CUDA front end: name the file .cu"
#endif
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 750
#error "tern needs int8 tensor cores, which begin with sm_75"
#endif

#include <cstdint>

#include <tern/config.hpp>

namespace tern::inline v0_1::cuda::device {

/// C += A B on one warp, exact in int32. Lane (g, t) = (lane / 4, lane % 4) holds four bytes of inputs of each operand: a[0] of
/// row g and inputs 4t .. 4t + 3, a[1] of row g + 8, a[2] and a[3] the same of inputs 16 + 4t ...; b[0] and b[1] of token g and
/// these inputs; c of rows g and g + 8 and tokens 2t and 2t + 1.
/// Source: PTX ISA, "Matrix Fragments for mma.m16n8k32" and "mma.m8n8k16".
__device__ inline void multiply_tile(std::int32_t (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  // Four of half the rows and half the inputs, whose fragments are the same registers.
  for (int half = 0; half < 2; ++half)
    for (int rows = 0; rows < 2; ++rows)
      asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
          : "+r"(c[2 * rows]), "+r"(c[2 * rows + 1])
          : "r"(a[2 * half + rows]), "r"(b[half]));
#endif
}

/// Four words of weights: whoever reads them is the only one, so they are kept out of L1.
__device__ inline uint4 load_once(const uint4* at) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(at));
  return v;
}

template <class T>
__device__ inline void copy(T* shared, const T* global) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 16);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  if constexpr (sizeof(T) == 4)
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" : : "r"(to), "l"(global) : "memory");
  else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(to), "l"(global) : "memory");
#else
  *shared = *global;
#endif
}
/// 16 bytes, or zeros, which reads nothing.
__device__ inline void copy_or_zero(uint4* shared, const uint4* global, bool copies) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(shared))), "l"(global), "r"(copies ? 16 : 0)
               : "memory");
#else
  *shared = copies ? *global : uint4{};
#endif
}
/// Ends a group of copies of this thread.
__device__ inline void end_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
/// Waits for all groups but the latest `Pending`.
template <unsigned Pending = 0>
__device__ inline void copied() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  if constexpr (Pending == 0)
    asm volatile("cp.async.wait_all;" ::: "memory");
  else
    asm volatile("cp.async.wait_group %0;" : : "n"(Pending) : "memory");
#endif
}

__device__ inline void start_successor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ inline void wait_for_predecessor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The 16-bit types, which the host converts by integer code: the same values, NaN's payload excepted.
__device__ inline float half_to_float(std::uint16_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
__device__ inline std::uint16_t float_to_half(float value) {
  std::uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
__device__ inline float bfloat16_to_float(std::uint16_t bits) {
  return __uint_as_float(static_cast<std::uint32_t>(bits) << 16);
}
__device__ inline std::uint16_t float_to_bfloat16(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  std::uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
#else
  const std::uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
#endif
}

/// Two at once, the first in the lower half.
__device__ inline std::uint32_t floats_to_halves(float first, float second) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  std::uint32_t bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
  return bits;
#else
  return float_to_half(first) | std::uint32_t{float_to_half(second)} << 16;
#endif
}
__device__ inline std::uint32_t floats_to_bfloat16s(float first, float second) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  std::uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
  return bits;
#else
  return float_to_bfloat16(first) | std::uint32_t{float_to_bfloat16(second)} << 16;
#endif
}

}  // namespace tern::inline v0_1::cuda::device
