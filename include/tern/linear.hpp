// SPDX-License-Identifier: MIT
/// Layers: quantise the activations, or leave them float; multiply by packed weights, add the bias.
#pragma once

#include <vector>

#include <tern/matmul.hpp>
#include <tern/quantize/activations.hpp>
#include <tern/quantize/decompose.hpp>
#include <tern/quantize/trit_code.hpp>
#include <tern/quantize/weights.hpp>

namespace tern::inline v0_1 {
inline namespace TERN_TU {

/// How a layer makes its weights from float ones: options, with the method's default, and the quantizer.
template <class Weights>
struct weight_quantizer;

template <codec Codec>
struct weight_quantizer<ternary_matrix<Codec>> {
  using options = granularity;
  static constexpr options defaults = per_tensor;  // BitNet b1.58
  static quantized_matrix quantize(const auto& w, options granularity) { return quantize_absmean(w, granularity); }
};
template <codec Codec>
struct weight_quantizer<multi_ternary_matrix<Codec>> {
  using options = decompose_options;
  static constexpr options defaults = {};
  static quantized_matrix quantize(const auto& w, const options& o) { return decompose(w, o); }
};
template <codec Codec>
struct weight_quantizer<trit_code_matrix<Codec>> {
  using options = trit_code_options;
  static constexpr options defaults = {.planes = Codec::planes()};
  static quantized_trit_code quantize(const auto& w, options o) {
    o.planes = Codec::planes();  // whatever the options say, the codec holds so many
    return quantize_trit_code(w, o);
  }
};
template <>
struct weight_quantizer<int4_matrix> {
  using options = granularity;
  static constexpr options defaults = per_group(128);
  static quantized_matrix quantize(const auto& w, options granularity) {
    return quantize_mse(w, granularity, {.bits = 4});
  }
};
template <>
struct weight_quantizer<int8_matrix> {
  using options = granularity;
  static constexpr options defaults = per_channel;
  static quantized_matrix quantize(const auto& w, options granularity) { return quantize_absmax(w, granularity); }
};

}  // namespace TERN_TU

/// What a layer makes of its activations: the second parameter of linear.
///
/// | requirement                | meaning                                                               |
/// |----------------------------|-----------------------------------------------------------------------|
/// | A::workspace_bytes(M, K)   | bytes that prepare needs for x [M x K], aligned to 64                 |
/// | A::prepare(x, bytes, ex)   | what matmul takes on the left for x, a view: of x itself, or of bytes |
template <class A>
concept activation_policy = requires(matrix_view<const float> x, std::span<std::byte> workspace) {
  { A::workspace_bytes(x.rows(), x.cols()) } -> std::same_as<std::size_t>;
  A::prepare(x, workspace, serial_executor{});
};

/// Activations are rounded to int8, with a scale per token: quantize_activations. The product is one of integers.
///
/// Errors: as quantize_activations: range_error for NaN and infinity.
struct int8_activations {
  TERN_INLINE static std::size_t workspace_bytes(std::size_t tokens, std::size_t inputs) {
    return activations_view::storage_bytes(tokens, inputs);
  }
  template <class Tu = tu_tag, real_element T, executor Executor>
  static activations_view prepare(matrix_view<const T> x, std::span<std::byte> workspace, const Executor& ex) {
    return tern::quantize_activations(x, workspace, ex);
  }
};

/// Activations go into the product as they are: only the weights are quantised. For layers some of whose inputs are far larger
/// than most, so that one scale per token does not serve all, and where time matters less. x is float.
///
/// Exactness: the sums are of float, by fma over k ascending: see matmul; the same bits everywhere. NaN and infinity follow
///            IEEE's rules.
/// Overflow:  none: K is not bounded.
/// Cost:      about that of float weights; 2.5 to 4.2 times the time of int8 activations for 4 tokens and more, 6 to 9 times for
///            one (i8 weights on AVX512-VNNI, in the cache). The weights are read as packed. No workspace.
struct float_activations {
  static constexpr std::size_t workspace_bytes(std::size_t, std::size_t) { return 0; }
  template <class Tu = tu_tag, real_element T, executor Executor>
  static matrix_view<const T> prepare(matrix_view<const T> x, std::span<std::byte>, const Executor&) {
    return x;
  }
};

/// A linear map with packed weights: y = A(x) W^T + bias, A the activations' policy: int8 per token where it is left out.
///
/// Every rule of matmul holds: bit-identical everywhere, and a token's output does not depend on its neighbours. Const calls
/// are safe from several threads at once.
///
/// @tparam Weights      ternary_matrix<i2>, int8_matrix, ...: a packed matrix of any kind, or a packed_view
/// @tparam Activations  int8_activations, float_activations, or a policy of your own
///
///     auto layer = tern::bit_linear::from_float(W, bias);     // W [N x K]
///     auto y = layer(x);                                      // x [M x K] -> y [M x N]
template <class Weights, class Activations = int8_activations>
class linear {
  static_assert(activation_policy<Activations>,
                "linear<Weights, Activations>: Activations is a policy such as "
                "int8_activations or float_activations: see activation_policy");

 public:
  using weights_type = Weights;
  using activations_type = Activations;

  TERN_INLINE linear() = default;
  TERN_INLINE_COPIES(linear);
  /// From packed weights, [N x K], and a bias, [N] or empty.
  /// Errors: shape_error when the bias has another size.
  TERN_INLINE explicit linear(Weights weights, std::vector<float> bias = {})
      : weights_(std::move(weights)), bias_(std::move(bias)) {
    if (!bias_.empty() && bias_.size() != weights_.rows())
      detail::fail<shape_error>({"linear: ", bias_.size(), " biases for ", weights_.rows(), " outputs"});
  }
  /// From codes and scales: quantized_matrix, or quantized_trit_code for trit_code_matrix.
  template <std::derived_from<quantized_matrix> Quantized, class Tu = tu_tag>
  explicit linear(const Quantized& q, std::vector<float> bias = {}, const pack_options& pack = {}, Tu = {})
      : linear(Weights(q, pack), std::move(bias)) {}

  /// From float weights [N x K] by the layer's own method: absmean per tensor for bit_linear, greedy planes per channel for
  /// multi_ternary_linear, the best plane code per channel for trit_code_linear, absmax per channel for int8_linear, the clip
  /// of least error per group of 128 for int4_linear.
  /// @param bias  [N] or empty: anything with begin() and end()
  template <class Tu = tu_tag, real_matrix M, class Bias = std::vector<float>,
            class Quantizer = weight_quantizer<Weights>>
  static linear from_float(const M& w, const Bias& bias = {},
                           const typename Quantizer::options& options = Quantizer::defaults,
                           const pack_options& pack = {}) {
    return linear(Quantizer::quantize(w, options), std::vector<float>(bias.begin(), bias.end()), pack);
  }

  std::size_t in_features() const { return weights_.cols(); }
  std::size_t out_features() const { return weights_.rows(); }
  const Weights& weights() const { return weights_; }
  std::span<const float> bias() const { return bias_; }
  /// Bytes of workspace that a call with so many tokens needs; aligned to 64.
  TERN_INLINE std::size_t workspace_bytes(std::size_t tokens) const {
    return Activations::workspace_bytes(tokens, in_features());
  }

  /// Y = layer(X) for a batch of tokens; a batch [..., K] is viewed as a matrix by batch(). The result is of x's family: an
  /// Eigen matrix for Eigen, tern::matrix<float> for tern's own.
  /// @param x  [M x K] float, half or bfloat16; float only for float_activations.   Errors: as matmul and the activations.
  template <class Tu = tu_tag, real_matrix X>
  auto operator()(const X& x) const {
    decltype(auto) rows = detail::row_major(x);
    const detail::real_view<X> view = rows;
    auto y = matrix_traits<X>::make(x, view.rows(), out_features());
    aligned_bytes workspace(workspace_bytes(view.rows()));
    call(view, y, workspace, serial_executor{});
    return y;
  }

  /// The same into y, allocating nothing (but a row-major copy of x where it is a column-major Eigen matrix).
  /// @param y          [M x N] float, half or bfloat16; written in full, must not overlap x
  /// @param workspace  workspace_bytes(M) bytes or more, aligned to 64; contents do not matter
  template <class Tu = tu_tag, real_matrix X, output_matrix Y, executor Executor = serial_executor>
  void operator()(const X& x, Y&& y, std::span<std::byte> workspace, const Executor& ex = {}) const {
    decltype(auto) rows = detail::row_major(x);
    call(detail::real_view<X>(rows), y, workspace, ex);
  }

 private:
  template <class Tu = tu_tag, class View, class Y, class Executor>
  void call(const View& x, Y& y, std::span<std::byte> workspace, const Executor& ex) const {
    if (x.cols() != in_features())
      detail::fail<shape_error>(
          {"linear: x is ", x.rows(), "x", x.cols(), " but the layer takes ", in_features(), " inputs"});
    tern::matmul(Activations::prepare(x, workspace, ex), weights_, y, bias_, ex);
  }

  Weights weights_;
  std::vector<float> bias_;
};

/// BitNet's linear layer: ternary weights, int8 activations.
using bit_linear = linear<ternary_matrix<i2>>;
/// A sum of ternary planes with free scales.
using multi_ternary_linear = linear<multi_ternary_matrix<i2>>;
/// Two ternary planes for the price of one product: an integer plane code in four bits.
using trit_code_linear = linear<trit_code_matrix<n4>>;
/// Four-bit weights.
using int4_linear = linear<int4_matrix>;
/// Eight-bit weights, symmetric or with zero points.
using int8_linear = linear<int8_matrix>;
/// Eight-bit weights, activations as they are: weight-only quantisation.
using int8_weight_only_linear = linear<int8_matrix, float_activations>;

}  // namespace tern::inline v0_1
