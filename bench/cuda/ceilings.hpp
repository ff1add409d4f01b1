// SPDX-License-Identifier: MIT
/// What the card itself can do: reading from DRAM and from L2, int8 products without loads, kernels that do nothing.
#pragma once

#include <tern/cuda/memory.hpp>

#include "operands.hpp"

namespace tern_bench {

__device__ inline uint4 load_through_l2(const uint4* at) {
  uint4 v;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at));
  return v;
}

/// Reads `count` vectors (a multiple of 2048) `passes` times, 8 loads in flight a thread, and keeps none in L1.
__global__ void __launch_bounds__(256) read_all(const uint4* from, std::size_t count, unsigned passes, unsigned* to) {
  unsigned sum = 0;
  const std::size_t shares = count / 2048;
  for (unsigned pass = 0; pass < passes; ++pass)
    for (std::size_t share = blockIdx.x; share < shares; share += gridDim.x) {
      const uint4* const at = from + (share + std::size_t{pass} * 37) % shares * 2048 + threadIdx.x;
      uint4 v[8];
#pragma unroll
      for (unsigned j = 0; j < 8; ++j) v[j] = load_through_l2(at + j * 256);
#pragma unroll
      for (unsigned j = 0; j < 8; ++j) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
  if (sum == 0x9e3779b9u) *to = sum;  // never, and the compiler cannot know
}

struct reading {
  const uint4* from;
  std::size_t count;
  unsigned* to;
};
constexpr std::size_t read_once_loads = 4;  // of a thread

/// What a product of one token does at least: asks for all of the weights at once. With `Waits`, and then waits for the
/// kernel before, which makes x; else kernels of a chain may overlap as they like. (The fastest at most sizes of 1 to 8 loads
/// a thread, 128 to 1024 threads, and start_successor before or after the loads.)
template <bool Waits>
__global__ void read_once(const reading a) {
  if constexpr (!Waits) tern::cuda::device::start_successor();
  uint4 v[read_once_loads] = {};
#pragma unroll
  for (unsigned j = 0; j < read_once_loads; ++j) {
    const std::size_t at = (blockIdx.x * read_once_loads + j) * blockDim.x + threadIdx.x;
    if (at < a.count) v[j] = load_through_l2(a.from + at);
  }
  if constexpr (Waits) {
    tern::cuda::device::start_successor();
    tern::cuda::device::wait_for_predecessor();
  }
  unsigned sum = 0;
#pragma unroll
  for (const uint4& each : v) sum ^= each.x ^ each.y ^ each.z ^ each.w;
  if (sum == 0x9e3779b9u) *a.to = sum;  // never, and the compiler cannot know
}

struct nothing {};
__global__ void do_nothing(nothing) {
  tern::cuda::device::start_successor();
  tern::cuda::device::wait_for_predecessor();
}

// Eight warps a block, by wgmma m64n128k32 with A from registers, as in tern's kernels; below sm_90a by mma.sync.
constexpr unsigned peak_threads = 256, peak_steps = 4096;
constexpr double peak_products = 2.0 * peak_steps * 64 * 128 * 32;  // of a block

/// Multiplies random bytes, and loads none of them.
__global__ void __launch_bounds__(peak_threads) multiply_only(int* to) {
  alignas(1024) __shared__ std::uint32_t tokens[128 * 128 / 4];
  for (unsigned i = threadIdx.x; i < 128 * 128 / 4; i += peak_threads) tokens[i] = mixed(i);
  const std::uint32_t a[4] = {mixed(threadIdx.x), mixed(threadIdx.x + 1), mixed(threadIdx.x + 2),
                              mixed(threadIdx.x + 3)};
  __syncthreads();
  std::int32_t d[64] = {};
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  const auto address = static_cast<std::uint64_t>(__cvta_generic_to_shared(tokens));
  // K-major rows of 128 bytes, exchanged by 128, eight rows 1024 bytes apart.
  const std::uint64_t b =
      (address & 0x3ffff) / 16 | std::uint64_t{1} << 16 | std::uint64_t{64} << 32 | std::uint64_t{1} << 62;
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  for (unsigned step = 0; step < peak_steps; step += 4) {
#pragma unroll
    for (unsigned q = 0; q < 4; ++q)
      // clang-format off
      asm volatile("wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, {%64, %65, %66, %67}, %68, 1;"
          : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]), "+r"(d[6]), "+r"(d[7]), "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11]), "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15]), "+r"(d[16]), "+r"(d[17]), "+r"(d[18]), "+r"(d[19]), "+r"(d[20]), "+r"(d[21]), "+r"(d[22]), "+r"(d[23]), "+r"(d[24]), "+r"(d[25]), "+r"(d[26]), "+r"(d[27]), "+r"(d[28]), "+r"(d[29]), "+r"(d[30]), "+r"(d[31]), "+r"(d[32]), "+r"(d[33]), "+r"(d[34]), "+r"(d[35]), "+r"(d[36]), "+r"(d[37]), "+r"(d[38]), "+r"(d[39]), "+r"(d[40]), "+r"(d[41]), "+r"(d[42]), "+r"(d[43]), "+r"(d[44]), "+r"(d[45]), "+r"(d[46]), "+r"(d[47]), "+r"(d[48]), "+r"(d[49]), "+r"(d[50]), "+r"(d[51]), "+r"(d[52]), "+r"(d[53]), "+r"(d[54]), "+r"(d[55]), "+r"(d[56]), "+r"(d[57]), "+r"(d[58]), "+r"(d[59]), "+r"(d[60]), "+r"(d[61]), "+r"(d[62]), "+r"(d[63])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b + 2 * q));
    // clang-format on
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
  }
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#else
  for (unsigned step = 0; step < peak_steps; ++step)
#pragma unroll
    for (unsigned i = 0; i < 16; ++i) {
      std::int32_t(&sums)[4] = reinterpret_cast<std::int32_t(&)[4]>(d[4 * i]);
      tern::cuda::device::multiply_tile(sums, a, {tokens[threadIdx.x % 32], tokens[threadIdx.x % 32 + 32 * i]});
    }
#endif
  std::int32_t sum = 0;
#pragma unroll
  for (const std::int32_t each : d) sum ^= each;
  if (sum == 0x1e3779b9) *to = sum;  // never, and the compiler cannot know
}

/// Adds the cases to the section "Ceilings". They read `memory`, which must be larger than L2 by far.
inline void add_ceilings(timer& t, const cudaDeviceProp& device, const tern::cuda::device_bytes& memory) {
  const auto add = [&](const std::string& what, double work, const char* unit, const auto& enqueue) {
    timed_case c{"Ceilings", what, "us"};
    c.work = work, c.unit = unit;
    if (t.wants(c)) t.add(std::move(c), 1, enqueue);
  };
  const auto processors = static_cast<unsigned>(device.multiProcessorCount);
  const auto l2_bytes = static_cast<std::size_t>(device.l2CacheSize);
  fill_normal<<<1024, 256, 0, t.stream()>>>(memory.as<float>(), memory.size() / sizeof(float));
  const auto read = [&](std::size_t bytes, unsigned passes) {
    return [&t, &memory, processors, bytes, passes](unsigned) {
      read_all<<<processors * 8, 256, 0, t.stream()>>>(memory.as<uint4>(), bytes / sizeof(uint4) / 2048 * 2048, passes,
                                                       memory.as<unsigned>());
      check(cudaGetLastError(), "read_all");
    };
  };
  const auto bytes = [](std::size_t size) { return static_cast<double>(size); };
  add("read " + std::to_string(memory.size() >> 20) + " MiB from DRAM", bytes(memory.size()), "GB/s",
      read(memory.size(), 1));
  add("read half of L2, 64 times in a launch", 64 * bytes(l2_bytes / 2), "GB/s", read(l2_bytes / 2, 64));
  add("read a quarter of L2, 128 times in a launch", 128 * bytes(l2_bytes / 4), "GB/s", read(l2_bytes / 4, 128));
  for (const unsigned blocks : {1u, 2u}) {
    add("int8 products on tensor cores, " + std::to_string(2 * blocks) + " warpgroups a multiprocessor",
        peak_products * 2 * blocks * processors, "TOPS", [&t, &memory, processors, blocks](unsigned) {
          multiply_only<<<processors * blocks, peak_threads, 0, t.stream()>>>(memory.as<int>());
          check(cudaGetLastError(), "multiply_only");
        });
  }
  for (const bool overlap : {false, true})
    for (const std::size_t blocks : {1u, processors, 864u})
      add("empty kernel of " + std::to_string(blocks) + (overlap ? " blocks, overlap" : " blocks"), 0, "",
          [&t, blocks, overlap](unsigned) {
            tern::detail::launch_kernel(do_nothing, {blocks}, 128, 0, {t.stream(), overlap}, nothing{}, "do_nothing");
          });
}

}  // namespace tern_bench
