// SPDX-License-Identifier: MIT
/// Device memory: what device matrices and activations are stored in.
#pragma once

#include <span>

#include <tern/cuda/error.hpp>
#include <tern/memory.hpp>

namespace tern::inline v0_1::cuda {

/// An owner of bytes on the device that is current when it is made, aligned to 256. Not zeroed. Moves, does not copy.
///
/// Cost:   cudaMalloc and cudaFree, which may wait for the device: make owners outside of loops, and never while a stream is
///         captured into a graph. All other functions of tern::cuda allocate nothing.
/// Errors: cuda_error, cudaErrorMemoryAllocation for one.
class device_bytes {
 public:
  TERN_INLINE device_bytes() = default;
  TERN_INLINE explicit device_bytes(std::size_t size) : size_(size) {
    void* data = nullptr;
    if (size != 0) detail::check_cuda(cudaMalloc(&data, size), "cudaMalloc");
    data_ = static_cast<std::byte*>(data);
  }
  TERN_INLINE device_bytes(device_bytes&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  TERN_INLINE device_bytes& operator=(device_bytes other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  // A failure here is the report of an earlier kernel's fault, which the next checked call repeats.
  TERN_INLINE ~device_bytes() {
    if (data_ != nullptr) static_cast<void>(cudaFree(data_));
  }

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  /// The memory as `count` elements, to begin at `offset` bytes.
  template <class T>
  T* as(std::size_t offset = 0) const {
    return reinterpret_cast<T*>(data_ + offset);
  }
  operator std::span<std::byte>() const { return {data_, size_}; }
  operator std::span<const std::byte>() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace tern::inline v0_1::cuda
