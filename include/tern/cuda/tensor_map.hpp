// SPDX-License-Identifier: MIT
/// Tensor maps: what the copy hardware of sm_90 is told about a matrix in device memory.
#pragma once

#include <cuda.h>

#include <tern/cuda/error.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// One dimension of a tensor, the innermost first: elements; bytes from one to the next (the innermost are side by side); and elements
/// of a box.
struct map_dimension {
  std::size_t size, stride;
  unsigned box;
};

/// @param exchange  whether the 16-byte pieces of a box's rows, of 128 bytes, are exchanged by XOR with the row's number modulo 8
///
/// The driver's function is asked for at run time, so that programs link no libcuda.
/// Errors: cuda_error when the driver has none or refuses the sizes.
template <std::size_t Rank>
CUtensorMap make_tensor_map(CUtensorMapDataType type, const void* data, const map_dimension (&dimensions)[Rank],
                            bool exchange) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
  check_cuda(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
             "cudaGetDriverEntryPointByVersion");
#else
  check_cuda(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found),
             "cudaGetDriverEntryPoint");
#endif
  if (found != cudaDriverEntryPointSuccess) fail_cuda(cudaErrorCallRequiresNewerDriver, "cuTensorMapEncodeTiled");
  cuuint64_t sizes[Rank], strides[Rank];
  cuuint32_t box[Rank], steps[Rank];
  for (std::size_t i = 0; i < Rank; ++i) {
    sizes[i] = dimensions[i].size;
    strides[i] = dimensions[i].stride;
    box[i] = dimensions[i].box;
    steps[i] = 1;
  }
  CUtensorMap map;
  const CUresult result = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function)(
      &map, type, Rank, const_cast<void*>(data), sizes, strides + 1, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      exchange ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) fail_cuda(cudaErrorInvalidValue, "cuTensorMapEncodeTiled");
  return map;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU
