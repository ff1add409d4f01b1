// SPDX-License-Identifier: MIT
/// What the card itself can do: read bandwidth from DRAM and from L2, and what a kernel costs that does nothing.
#pragma once

#include <tern/cuda/memory.hpp>

#include "timing.hpp"

namespace tern_bench {

/// Reads `bytes` (a multiple of 64 KiB) in 16-byte loads, 8 in flight a thread.
__global__ void __launch_bounds__(256) read_all(const uint4* from, std::size_t count, unsigned* to) {
  unsigned sum = 0;
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x * 8;
  for (std::size_t at = std::size_t{blockIdx.x} * blockDim.x * 8 + threadIdx.x; at < count; at += stride) {
    uint4 v[8];
#pragma unroll
    for (unsigned j = 0; j < 8; ++j) v[j] = tern::cuda::device::load_once(from + at + j * blockDim.x);
#pragma unroll
    for (unsigned j = 0; j < 8; ++j) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (sum == 0x9e3779b9u) *to = sum;  // never, and the compiler cannot know
}

struct nothing {};
__global__ void do_nothing(nothing) {
  tern::cuda::device::start_successor();
  tern::cuda::device::wait_for_predecessor();
}

/// Adds the cases; the time of a read_all is of all its bytes.
inline void add_ceilings(timer& t, const tern::cuda::device_bytes& memory, std::size_t l2_bytes) {
  const auto read = [&](std::size_t bytes) {
    const std::size_t count = bytes / sizeof(uint4) / 2048 * 2048;
    read_all<<<132 * 8, 256, 0, t.stream()>>>(memory.as<uint4>(), count, memory.as<unsigned>());
    check(cudaGetLastError(), "read_all");
  };
  t.add("read all of the memory, from DRAM", "us", 2, [&](unsigned) { read(memory.size()); });
  t.add("read half of L2, from L2", "us", 50, [&](unsigned) { read(l2_bytes / 2); });
  for (const bool overlap : {false, true})
    for (const std::size_t blocks : {1, 132, 864})
      t.add(std::string("empty kernel of ") + std::to_string(blocks) + (overlap ? " blocks, overlap" : " blocks"), "us",
            200, [&](unsigned) {
              tern::detail::launch_kernel(do_nothing, {blocks}, 128, 0, {t.stream(), overlap}, nothing{}, "do_nothing");
            });
}

}  // namespace tern_bench
