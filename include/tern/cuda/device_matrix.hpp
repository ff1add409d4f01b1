// SPDX-License-Identifier: MIT
/// Packed weights on a device: the bytes of the host, at the same offsets.
///
/// Nothing is converted on the way: lanes of a warp read the canonical panels directly (device/atoms.hpp), which measured as
/// fast as an order made for the device. So what is mapped from a file can be copied as it is.
#pragma once

#include <tern/cuda/memory.hpp>
#include <tern/type/packed_matrix.hpp>

namespace tern::inline v0_1::cuda {

/// A packed matrix in device memory that somebody else owns.
template <codec Codec>
class device_matrix_view {
 public:
  using codec_type = Codec;

  device_matrix_view() = default;
  /// @param storage  [packed_view<Codec>::storage_bytes(format)] bytes of device memory, aligned to 64
  /// Errors: as packed_view.
  TERN_INLINE device_matrix_view(std::span<const std::byte> storage, const packed_format& format, Codec codec = {})
      : layout_(storage, format, codec) {}

  std::size_t rows() const { return layout_.rows(); }
  std::size_t cols() const { return layout_.cols(); }
  const packed_format& format() const { return layout_.format(); }
  const Codec& get_codec() const { return layout_.get_codec(); }
  TERN_INLINE std::size_t storage_bytes() const { return layout_.storage_bytes(); }
  /// Where everything stands: addresses of device memory, which only device code may read.
  const packed_view<Codec>& layout() const { return layout_; }

 private:
  packed_view<Codec> layout_;
};

/// A packed matrix that owns its device memory. Moves, does not copy.
///
///     tern::ternary_matrix<> host(tern::quantize_absmean(W, tern::per_tensor));
///     tern::cuda::device_matrix w(host.view(), stream);
template <codec Codec>
class device_matrix {
 public:
  using codec_type = Codec;

  TERN_INLINE device_matrix() = default;
  /// Allocates and copies. The copy is in the order of the stream: the bytes of w must stay until the stream has passed it.
  /// Pinned memory lets it overlap.
  /// Errors: cuda_error.
  TERN_INLINE explicit device_matrix(const packed_view<Codec>& w, cudaStream_t stream = nullptr)
      : storage_(w.storage_bytes()), view_(storage_, w.format(), w.get_codec()) {
    if (storage_.size() != 0)
      detail::check_cuda(
          cudaMemcpyAsync(storage_.data(), w.storage().data(), storage_.size(), cudaMemcpyHostToDevice, stream),
          "device_matrix: cudaMemcpyAsync");
  }
  TERN_INLINE explicit device_matrix(const packed_matrix<Codec>& w, cudaStream_t stream = nullptr)
      : device_matrix(w.view(), stream) {}

  const device_matrix_view<Codec>& view() const { return view_; }
  operator const device_matrix_view<Codec>&() const { return view_; }
  std::size_t rows() const { return view_.rows(); }
  std::size_t cols() const { return view_.cols(); }
  const packed_format& format() const { return view_.format(); }

 private:
  device_bytes storage_;
  device_matrix_view<Codec> view_;
};

template <codec Codec>
device_matrix(const packed_matrix<Codec>&, cudaStream_t = nullptr) -> device_matrix<Codec>;

}  // namespace tern::inline v0_1::cuda
