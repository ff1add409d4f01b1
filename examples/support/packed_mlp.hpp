// SPDX-License-Identifier: MIT
/// The network of mlp.hpp, on tern's layers: packed weights, int8 activations per image and layer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <tern/eigen.hpp>
#include <tern/llm_int8_linear.hpp>
#include <tern/tern.hpp>

#include "mlp.hpp"

namespace demo {

/// tern::llm_int8_linear with the interface of the other layers. It takes its memory in every call, when it knows how
/// many columns have outliers.
struct llm_int8_layer : tern::llm_int8_linear {
  /// 6 is for language models. Here the largest activation of a layer is 1 to 4.
  static constexpr float outliers_from = 3;

  llm_int8_layer(const tern::quantized_matrix& q, std::vector<float> bias)
      : llm_int8_linear(tern::int8_matrix(q), std::move(bias), {.threshold = outliers_from}) {}

  static std::size_t workspace_bytes(std::size_t) { return 0; }
  void operator()(tern::matrix_view<const float> x, tern::matrix_view<float> y, std::span<std::byte>) const {
    llm_int8_linear::operator()(x, y);
  }
};

/// A quantised network and the memory it runs in.
///
/// @tparam Layer  tern::bit_linear, tern::int8_linear, tern::multi_ternary_linear, any other tern::linear, or
///                llm_int8_layer
template <class Layer>
class packed_mlp {
 public:
  /// @param quantize     makes a tern::quantized_matrix of a float weight matrix
  /// @param most_images  the largest batch
  template <class Quantizer>
  packed_mlp(const mlp& net, Quantizer quantize, std::size_t most_images) {
    std::size_t bytes = 0;
    for (const dense& layer : net) {
      layers_.emplace_back(quantize(layer.weight), std::vector<float>(layer.bias.begin(), layer.bias.end()));
      outputs_.emplace_back(most_images, layers_.back().out_features());
      bytes = std::max(bytes, layers_.back().workspace_bytes(most_images));
    }
    workspace_ = tern::aligned_bytes(bytes);
  }

  /// Evaluates a batch: x [images x inputs] gives scores [images x classes], valid until the next call. Allocates
  /// nothing, but for llm_int8_layer.
  tern::matrix_view<const float> operator()(tern::matrix_view<const float> x) {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const tern::matrix_view<float> y(outputs_[l].data(), x.rows(), outputs_[l].cols());
      layers_[l](x, y, workspace_);
      Eigen::Map<Eigen::ArrayXf> values(y.data(), static_cast<Eigen::Index>(y.rows() * y.cols()));
      if (l + 1 < layers_.size()) values = values.max(0.0f);
      x = y;
    }
    return x;
  }

  const std::vector<Layer>& layers() const { return layers_; }

 private:
  std::vector<Layer> layers_;
  std::vector<tern::matrix<float>> outputs_;
  tern::aligned_bytes workspace_;
};

}  // namespace demo
