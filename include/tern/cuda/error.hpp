// SPDX-License-Identifier: MIT
/// CUDA's errors as tern's: typed, with the call that failed and CUDA's own words for it.
#pragma once

#include <cuda_runtime_api.h>

#include <tern/error.hpp>

namespace tern::inline v0_1::cuda {

/// A call of the CUDA runtime that failed. The message has the call, its name for the error and its description.
///
/// Kernels run later than they are launched, so a fault of an earlier one may be reported by any later call; code() then
/// tells: after cudaErrorIllegalAddress and its like the process can do no more on this device.
class cuda_error : public error {
 public:
  cuda_error(std::string message, cudaError_t code) : error(std::move(message)), code_(code) {}
  cudaError_t code() const noexcept { return code_; }

 private:
  cudaError_t code_;
};

}  // namespace tern::inline v0_1::cuda

namespace tern::inline v0_1::detail::inline TERN_TU {

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_cuda(cudaError_t code, const char* call) {
  raise(cuda::cuda_error(join({call, ": ", cudaGetErrorName(code), ", ", cudaGetErrorString(code)}), code));
}

/// Throws cuda_error unless `code`, the result of `call`, is cudaSuccess.
inline void check_cuda(cudaError_t code, const char* call) {
  if (code != cudaSuccess) fail_cuda(code, call);
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU
