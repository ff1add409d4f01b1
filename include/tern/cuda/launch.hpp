// SPDX-License-Identifier: MIT
/// How work is put on a stream.
#pragma once

#include <tern/cuda/error.hpp>

namespace tern::inline v0_1::cuda {

/// Where a function puts its kernels, and how they follow what is there.
///
/// With overlap, a kernel starts while the one before it on the stream still runs (programmatic dependent launch, sm_90 and
/// newer; without effect in code for older devices). It reads its weights, their scales and the bias at once, and waits for all
/// kernels before it with everything else: those may write x and y. A chain of such launches may begin as a whole, so where a
/// *kernel* writes weights, scales or bias, something without overlap must stand between it and the first launch that reads
/// them. Copies need nothing between. Captured into a graph, the edges stay programmatic.
struct launch {
  cudaStream_t stream = nullptr;
  bool overlap = false;
};

}  // namespace tern::inline v0_1::cuda

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Whether the code of a kernel that will run on this device waits for the kernel before it, as overlap needs: it was compiled
/// for sm_90 or newer.
inline bool waits_for_predecessor(const void* kernel) {
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, kernel), "cudaFuncGetAttributes");
  return attributes.ptxVersion >= 90;
}

struct grid {
  std::size_t x, y = 1;
  std::size_t cluster = 1;  // blocks along x that run together (sm_90)
};

/// Puts kernel<<<blocks, threads, shared_bytes>>>(args) on the stream.
template <class Args>
void launch_kernel(void (*kernel)(Args), const grid& blocks, std::size_t threads, std::size_t shared_bytes,
                   const cuda::launch& how, const Args& args, const char* name) {
  if (blocks.x > 0x7fffffffu || blocks.y > 0xffffu)
    fail<range_error>({name, ": ", blocks.x, " x ", blocks.y, " blocks of threads are more than a grid holds"});
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks.x), static_cast<unsigned>(blocks.y));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = how.stream;
  cudaLaunchAttribute attributes[2] = {};
  config.attrs = attributes;
  if (how.overlap && waits_for_predecessor(reinterpret_cast<const void*>(kernel))) {
    attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (blocks.cluster != 1) {
    attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
    attributes[config.numAttrs++].val.clusterDim = {static_cast<unsigned>(blocks.cluster), 1, 1};
  }
  check_cuda(cudaLaunchKernelEx(&config, kernel, args), name);
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU
