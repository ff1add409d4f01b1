// SPDX-License-Identifier: MIT
/// Quantised activations on a device: int8 codes, and one scale (and zero point) a token.
///
/// Codes stand in natural order, which all kernels read. There are no sums as on the host: kernels that need the sum of x over
/// a group add it up while they have the codes in registers.
#pragma once

#include <tern/cuda/memory.hpp>
#include <tern/type/quantized_activations.hpp>

namespace tern::inline v0_1::cuda {

/// Quantised activations in device memory that somebody else owns: what the quantizer fills and products read.
class device_activations_view {
 public:
  device_activations_view() = default;
  /// Lays the sections out in a workspace of storage_bytes(tokens, inputs) bytes of device memory, aligned to 64: codes
  /// [tokens][row_stride()], scales [tokens], zero points [tokens].
  /// Errors: shape_error when the storage is too small or not aligned.
  TERN_INLINE device_activations_view(std::span<std::byte> storage, std::size_t tokens, std::size_t inputs,
                                      bool has_zeros = false)
      : tokens_(tokens), inputs_(inputs), has_zeros_(has_zeros) {
    const std::size_t needed = storage_bytes(tokens, inputs);
    if (storage.size() < needed)
      detail::fail<shape_error>({"device_activations: ", tokens, "x", inputs, " need a workspace of ", needed,
                                 " bytes, not ", storage.size()});
    if (reinterpret_cast<std::uintptr_t>(storage.data()) % storage_alignment != 0)
      detail::fail<shape_error>({"device_activations: the workspace must be aligned to 64 bytes"});
    codes_ = reinterpret_cast<std::int8_t*>(storage.data());
    scales_ = reinterpret_cast<float*>(storage.data() + tokens * row_stride());
    zeros_ = reinterpret_cast<std::int32_t*>(scales_ + detail::round_up(tokens, 16));
  }

  TERN_INLINE static std::size_t storage_bytes(std::size_t tokens, std::size_t inputs) {
    return detail::checked_sum(detail::checked_product(tokens, row_stride(inputs)),
                               2 * sizeof(float) * detail::round_up(tokens, 16));
  }

  std::size_t rows() const { return tokens_; }
  std::size_t cols() const { return inputs_; }
  bool has_zeros() const { return has_zeros_; }
  /// Bytes between rows of codes. What is beyond the inputs is zero: kernels read whole blocks of any codec.
  TERN_INLINE std::size_t row_stride() const { return row_stride(inputs_); }

  /// Device memory.
  std::int8_t* codes() const { return codes_; }
  float* scales() const { return scales_; }
  std::int32_t* zeros() const { return zeros_; }

 private:
  TERN_INLINE static std::size_t row_stride(std::size_t inputs) {
    return detail::round_up(detail::checked_sum(inputs, quad_inputs * largest_fold - 1), 64);
  }

  std::size_t tokens_ = 0;
  std::size_t inputs_ = 0;
  bool has_zeros_ = false;
  std::int8_t* codes_ = nullptr;
  float* scales_ = nullptr;
  std::int32_t* zeros_ = nullptr;
};

/// Quantised activations that own their device memory. Moves, does not copy.
class device_activations {
 public:
  TERN_INLINE device_activations() = default;
  /// Contents are not set.
  TERN_INLINE device_activations(std::size_t tokens, std::size_t inputs, bool has_zeros = false)
      : storage_(device_activations_view::storage_bytes(tokens, inputs)), view_(storage_, tokens, inputs, has_zeros) {}
  /// Copies activations of the host in the order of the stream; their bytes must stay until the stream has passed it.
  /// Errors: cuda_error.
  TERN_INLINE explicit device_activations(const activations_view& x, cudaStream_t stream = nullptr)
      : device_activations(x.rows(), x.cols(), x.has_zeros()) {
    if (x.rows() == 0) return;
    detail::check_cuda(cudaMemsetAsync(storage_.data(), 0, storage_.size(), stream), "device_activations: cudaMemset");
    if (x.cols() != 0)
      detail::check_cuda(cudaMemcpy2DAsync(view_.codes(), view_.row_stride(), x.codes(0), x.row_stride(), x.cols(),
                                           x.rows(), cudaMemcpyHostToDevice, stream),
                         "device_activations: cudaMemcpy2DAsync");
    detail::check_cuda(
        cudaMemcpyAsync(view_.scales(), &x.scale(0), x.rows() * sizeof(float), cudaMemcpyHostToDevice, stream),
        "device_activations: cudaMemcpyAsync");
    if (x.has_zeros())
      detail::check_cuda(
          cudaMemcpyAsync(view_.zeros(), &x.zero(0), x.rows() * sizeof(std::int32_t), cudaMemcpyHostToDevice, stream),
          "device_activations: cudaMemcpyAsync");
  }

  const device_activations_view& view() const { return view_; }
  operator const device_activations_view&() const { return view_; }
  std::size_t rows() const { return view_.rows(); }
  std::size_t cols() const { return view_.cols(); }

 private:
  device_bytes storage_;
  device_activations_view view_;
};

}  // namespace tern::inline v0_1::cuda
