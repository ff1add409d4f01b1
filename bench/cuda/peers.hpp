// SPDX-License-Identifier: MIT
/// Products of cuBLASLt beside tern's: int8 to int32, fp8 e4m3 (fast accumulation) to bfloat16, bfloat16 to bfloat16.
#pragma once

#include <cublasLt.h>

#include <tern/cuda/memory.hpp>

#include <string>
#include <vector>

namespace tern_bench {

enum class peer { int8, fp8, bf16 };
inline const char* name_of(peer p) {
  return p == peer::int8 ? "cuBLASLt int8" : p == peer::fp8 ? "cuBLASLt fp8" : "cuBLASLt bf16";
}
inline std::size_t element_bytes(peer p) { return p == peer::bf16 ? 2 : 1; }

inline void check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  tern::detail::raise(tern::error(std::string(call) + ": " + cublasLtGetStatusString(status)));
}

/// What all of cuBLASLt's products share.
struct cublaslt {
  cublaslt() : workspace(std::size_t{64} << 20) { check(cublasLtCreate(&handle), "cublasLtCreate"); }
  cublaslt(const cublaslt&) = delete;
  cublaslt& operator=(const cublaslt&) = delete;
  ~cublaslt() { cublasLtDestroy(handle); }

  cublasLtHandle_t handle = nullptr;
  tern::cuda::device_bytes workspace;
};

/// Y = X W^T of one shape: rows of x, w and y without gaps, which in cuBLASLt's columns is Y^T = (W^T)^T X^T, "TN".
class peer_product {
 public:
  /// @param tokens  padded to 16 where cuBLASLt takes no fewer
  peer_product(const cublaslt& lt, peer p, std::size_t tokens, std::size_t n, std::size_t k) : lt_(lt), peer_(p) {
    const bool ints = p == peer::int8;
    const cudaDataType in = ints ? CUDA_R_8I : p == peer::fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
    check(cublasLtMatmulDescCreate(&operation_, ints ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F,
                                   ints ? CUDA_R_32I : CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    set(CUBLASLT_MATMUL_DESC_TRANSA, transposed);
    if (p == peer::fp8) set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, std::int8_t{1});
    check(cublasLtMatrixLayoutCreate(&w_, in, k, n, static_cast<std::int64_t>(k)), "cublasLtMatrixLayoutCreate");
    find(in, ints ? CUDA_R_32I : CUDA_R_16BF, tokens, n, k);
    if (count_ == 0 && tokens % 16 != 0) find(in, ints ? CUDA_R_32I : CUDA_R_16BF, (tokens + 15) / 16 * 16, n, k);
  }
  peer_product(const peer_product&) = delete;
  peer_product& operator=(const peer_product&) = delete;
  ~peer_product() {
    cublasLtMatrixLayoutDestroy(y_);
    cublasLtMatrixLayoutDestroy(x_);
    cublasLtMatrixLayoutDestroy(w_);
    cublasLtMatmulDescDestroy(operation_);
  }

  /// Algorithms that the library's heuristics propose, best guess first.
  std::size_t algorithms() const { return static_cast<std::size_t>(count_); }

  /// @return whether the product was launched
  bool operator()(std::size_t algorithm, const void* x, const void* w, void* y, cudaStream_t stream) const {
    const std::int32_t one = 1, zero = 0;
    const float one_f = 1, zero_f = 0;
    const bool ints = peer_ == peer::int8;
    return cublasLtMatmul(lt_.handle, operation_, ints ? static_cast<const void*>(&one) : &one_f, w, w_, x, x_,
                          ints ? static_cast<const void*>(&zero) : &zero_f, y, y_, y, y_, &found_[algorithm].algo,
                          lt_.workspace.data(), lt_.workspace.size(), stream) == CUBLAS_STATUS_SUCCESS;
  }

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check(cublasLtMatmulDescSetAttribute(operation_, attribute, &value, sizeof value),
          "cublasLtMatmulDescSetAttribute");
  }

  void find(cudaDataType in, cudaDataType out, std::size_t tokens, std::size_t n, std::size_t k) {
    cublasLtMatrixLayoutDestroy(x_);
    cublasLtMatrixLayoutDestroy(y_);
    check(cublasLtMatrixLayoutCreate(&x_, in, k, tokens, static_cast<std::int64_t>(k)), "cublasLtMatrixLayoutCreate");
    check(cublasLtMatrixLayoutCreate(&y_, out, n, tokens, static_cast<std::int64_t>(n)), "cublasLtMatrixLayoutCreate");
    cublasLtMatmulPreference_t preference = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    const std::size_t most = lt_.workspace.size();
    check(
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most),
        "cublasLtMatmulPreferenceSetAttribute");
    // An error means that there is none.
    if (cublasLtMatmulAlgoGetHeuristic(lt_.handle, operation_, w_, x_, y_, y_, preference, wanted, found_, &count_) !=
        CUBLAS_STATUS_SUCCESS)
      count_ = 0;
    cublasLtMatmulPreferenceDestroy(preference);
  }

  const cublaslt& lt_;
  peer peer_;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, y_ = nullptr;
  static constexpr int wanted = 16;
  cublasLtMatmulHeuristicResult_t found_[wanted] = {};  // no vector: nvcc 13.0 fails on one of a struct without a name
  int count_ = 0;
};

}  // namespace tern_bench
