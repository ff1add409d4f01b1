// SPDX-License-Identifier: MIT
/// Layers on a device: quantise the activations, multiply by packed weights, add the bias.
#pragma once

#include <tern/cuda/matmul.hpp>
#include <tern/cuda/quantize.hpp>

namespace tern::inline v0_1 {
struct int8_activations;
template <class Weights, class Activations>
class linear;  // of the host: tern/linear.hpp, which takes longer to compile than everything here
}

namespace tern::inline v0_1::cuda {

/// A linear map with packed weights in device memory: y = quantize(x) W^T + bias, activations int8 per token. What tern::linear
/// computes, bit for bit.
///
///     const auto host = tern::bit_linear::from_float(W, bias);
///     const tern::cuda::linear layer(host, stream);
///     layer(x, y, workspace, {stream, true});       // x [M x K] -> y [M x N], on the stream
///
/// A device cannot throw: where a token holds NaN or infinity all of its outputs are NaN.
template <codec Codec>
class linear {
 public:
  using codec_type = Codec;

  TERN_INLINE linear() = default;
  /// From weights on the device, [N x K], and a bias in host memory, [N] or empty. The bias is copied in the order of the stream.
  /// Errors: shape_error when the bias has another size; cuda_error.
  TERN_INLINE explicit linear(device_matrix<Codec> weights, std::span<const float> bias = {},
                              cudaStream_t stream = nullptr)
      : weights_(std::move(weights)), bias_(bias.size_bytes()) {
    if (!bias.empty() && bias.size() != weights_.rows())
      detail::fail<shape_error>({"cuda::linear: ", bias.size(), " biases for ", weights_.rows(), " outputs"});
    if (!bias.empty())
      detail::check_cuda(cudaMemcpyAsync(bias_.data(), bias.data(), bias.size_bytes(), cudaMemcpyHostToDevice, stream),
                         "cuda::linear: cudaMemcpyAsync");
  }
  /// Copies a layer of the host in the order of the stream; it must stay until the stream has passed.
  /// Errors: cuda_error.
  template <class Weights>
  TERN_INLINE explicit linear(const tern::linear<Weights, int8_activations>& host, cudaStream_t stream = nullptr)
      : linear(device_matrix<Codec>(host.weights(), stream), host.bias(), stream) {}

  std::size_t in_features() const { return weights_.cols(); }
  std::size_t out_features() const { return weights_.rows(); }
  const device_matrix<Codec>& weights() const { return weights_; }
  /// In device memory.
  std::span<const float> bias() const { return {bias_.template as<float>(), bias_.size() / sizeof(float)}; }
  /// Bytes of workspace that a call with so many tokens needs, in device memory; aligned to 64.
  TERN_INLINE std::size_t workspace_bytes(std::size_t tokens) const {
    return device_activations_view::storage_bytes(tokens, in_features());
  }

  /// Y = layer(X).
  /// @param x          [M x K] float, half or bfloat16, in device memory
  /// @param y          [M x N] float, half or bfloat16, in device memory; written in full, must not overlap x
  /// @param workspace  workspace_bytes(M) bytes of device memory or more, aligned to 64; contents do not matter. Calls that may
  ///                   run at the same time need one each.
  /// @param how        the stream, and whether to overlap with the kernel before
  ///
  /// Cost:   two kernels. Allocates nothing, waits for nothing; may be captured into a graph.
  /// Errors: as cuda::matmul, before anything is launched; shape_error when the workspace is too small or not aligned.
  template <class Tu = tu_tag, real_element X, output_element Y>
    requires(!std::same_as<Y, std::int32_t>)
  void operator()(matrix_view<const X> x, matrix_view<Y> y, std::span<std::byte> workspace,
                  const launch& how = {}) const {
    if (x.cols() != in_features())
      detail::fail<shape_error>(
          {"cuda::linear: x is ", x.rows(), "x", x.cols(), " but the layer takes ", in_features(), " inputs"});
    const device_activations_view q(workspace, x.rows(), x.cols());
    detail::check_product(q, weights_.view(), y.rows(), y.cols(), false, bias());
    if (x.rows() == 0 || out_features() == 0) return;
    cuda::quantize_activations(x, q, how);
    cuda::matmul(q, weights_, y, bias(), how);
  }
  template <class Tu = tu_tag, real_element X, output_element Y>
    requires(!std::same_as<Y, std::int32_t>)
  void operator()(matrix_view<X> x, matrix_view<Y> y, std::span<std::byte> workspace, const launch& how = {}) const {
    operator()<Tu>(matrix_view<const X>(x), y, workspace, how);
  }

 private:
  device_matrix<Codec> weights_;
  device_bytes bias_;
};

template <class Weights>
linear(const tern::linear<Weights, int8_activations>&, cudaStream_t = nullptr) -> linear<typename Weights::codec_type>;

/// By the names of the host's layers. A device tells weights apart by their codec only: what they mean has been checked there.
using bit_linear = linear<i2>;
using multi_ternary_linear = linear<i2>;
using trit_code_linear = linear<n4>;
using int4_linear = linear<n4>;
using int8_linear = linear<i8>;

}  // namespace tern::inline v0_1::cuda
