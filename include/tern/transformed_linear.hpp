// SPDX-License-Identifier: MIT
/// Layers behind a cheap map of their inputs: a rotation that spreads outliers, or a scaling that moves them from the
/// activations to the weights. Any layer can stand behind one, and another such pair too.
///
///     y = layer(x A),   the layer's weights being made from W A^-T, so that y ~ x W^T
///
///     const tern::hadamard_rotation r(w.cols());
///     const auto layer = tern::rotated_linear<tern::trit_code_linear>::from_float(w, bias, r);
///     const auto y = layer(x);
#pragma once

#include <tern/linear.hpp>
#include <tern/quantize/hadamard.hpp>
#include <tern/quantize/input_scaling.hpp>

namespace tern::inline v0_1 {

/// A map of a layer's inputs:
///
///     t.inputs()             K
///     t.apply(x, out, ex)    out = x A, [M x K] float, results independent of the executor
///     t.weights(w)           W A^-T, [N x K] float
///
/// hadamard_rotation and input_scaling are such maps.
template <class T>
concept input_transform = std::copyable<T> && requires(const T& t, const matrix<float>& w, matrix_view<float> out) {
  { t.inputs() } -> std::convertible_to<std::size_t>;
  t.apply(w, out, serial_executor{});
  { t.weights(w) } -> std::same_as<matrix<float>>;
};

/// A layer behind a map of its inputs.
///
/// Every rule of the layer holds for x A: bits, neighbours, errors. A NaN or infinity is named by its row, but by a
/// column of x A.
///
/// @tparam Layer      linear<Weights>, llm_int8_linear, or another transformed_linear
/// @tparam Transform  hadamard_rotation, input_scaling, or a type of your own
template <class Layer, input_transform Transform>
class transformed_linear {
 public:
  TERN_INLINE transformed_linear() = default;
  TERN_INLINE_COPIES(transformed_linear);
  /// From a layer that was made from transform.weights(W), by whatever quantizer.
  /// Errors: shape_error when they are of different inputs.
  TERN_INLINE transformed_linear(Layer layer, Transform transform)
      : layer_(std::move(layer)), transform_(std::move(transform)) {
    if (layer_.in_features() != transform_.inputs())
      detail::fail<shape_error>({"transformed_linear: the layer takes ", layer_.in_features(),
                                 " inputs, the transform has ", transform_.inputs()});
  }
  /// From float weights [N x K] and what the layer's own from_float takes after the bias.
  /// @param bias  [N] or empty: anything with begin() and end()
  template <class Tu = tu_tag, real_matrix M, class Bias, class... Options>
  static transformed_linear from_float(const M& w, const Bias& bias, const Transform& transform,
                                       const Options&... options) {
    return transformed_linear(Layer::from_float(transform.weights(w), bias, options...), transform);
  }

  std::size_t in_features() const { return layer_.in_features(); }
  std::size_t out_features() const { return layer_.out_features(); }
  const Layer& layer() const { return layer_; }
  const Transform& transform() const { return transform_; }
  /// Bytes of workspace that a call with so many tokens needs; aligned to 64.
  TERN_INLINE std::size_t workspace_bytes(std::size_t tokens) const requires requires(const Layer& l) {
    l.workspace_bytes(tokens);
  }
  { return detail::checked_sum(transformed_bytes(tokens), layer_.workspace_bytes(tokens)); }

  /// Y = layer(X A). The result is of x's family: an Eigen matrix for Eigen, tern::matrix<float> for tern's own.
  /// @param x  [M x K] float, half or bfloat16
  template <class Tu = tu_tag, real_matrix X>
  auto operator()(const X& x) const {
    decltype(auto) rows = detail::row_major(x);
    const detail::real_view<X> view = rows;
    check(view);
    auto y = matrix_traits<X>::make(x, view.rows(), out_features());
    matrix<float> transformed(view.rows(), view.cols());
    transform_.apply(view, transformed.view(), serial_executor{});
    auto out = tern::view(y);
    if constexpr (requires { layer_.workspace_bytes(view.rows()); }) {
      aligned_bytes workspace(layer_.workspace_bytes(view.rows()));
      layer_(transformed, out, workspace);
    } else {
      layer_(transformed, out);
    }
    return y;
  }
  /// The same into y, allocating nothing (but a row-major copy of x where it is a column-major Eigen matrix).
  /// @param y          [M x N] float, half or bfloat16; written in full, must not overlap x
  /// @param workspace  workspace_bytes(M) bytes or more, aligned to 64; contents do not matter
  template <class Tu = tu_tag, real_matrix X, output_matrix Y, executor Executor = serial_executor>
  void operator()(const X& x, Y&& y, std::span<std::byte> workspace, const Executor& ex = {}) const requires
      requires(const Layer& l) {
    l.workspace_bytes(1);
  }
  {
    decltype(auto) rows = detail::row_major(x);
    const detail::real_view<X> view = rows;
    check(view);
    const std::size_t size = transformed_bytes(view.rows());
    if (workspace.size() < workspace_bytes(view.rows()) ||
        reinterpret_cast<std::uintptr_t>(workspace.data()) % storage_alignment != 0)
      detail::fail<shape_error>({"transformed_linear: ", view.rows(), " tokens need a workspace of ",
                                 workspace_bytes(view.rows()), " bytes aligned to ", storage_alignment, ", not ",
                                 workspace.size()});
    const matrix_view<float> transformed(reinterpret_cast<float*>(workspace.data()), view.rows(), view.cols());
    transform_.apply(view, transformed, ex);
    layer_(transformed, y, workspace.subspan(size), ex);
  }
  /// The same for layers that take no workspace: llm_int8_linear.
  template <class Tu = tu_tag, real_matrix X, output_matrix Y, executor Executor = serial_executor>
  void operator()(const X& x, Y&& y, const Executor& ex = {}) const
      requires(!requires(const Layer& l) { l.workspace_bytes(1); }) {
    decltype(auto) rows = detail::row_major(x);
    const detail::real_view<X> view = rows;
    check(view);
    matrix<float> transformed(view.rows(), view.cols());
    transform_.apply(view, transformed.view(), ex);
    layer_(transformed, y, ex);
  }

 private:
  TERN_INLINE std::size_t transformed_bytes(std::size_t tokens) const {
    return detail::round_up(detail::checked_product(detail::checked_product(tokens, in_features()), sizeof(float)),
                            storage_alignment);
  }
  template <class View>
  TERN_INLINE void check(const View& x) const {
    if (x.cols() != in_features())
      detail::fail<shape_error>(
          {"transformed_linear: x is ", x.rows(), "x", x.cols(), " but the layer takes ", in_features(), " inputs"});
  }

  Layer layer_;
  Transform transform_;
};

/// A layer whose inputs are rotated first: hadamard.hpp says how and what for.
template <class Layer>
using rotated_linear = transformed_linear<Layer, hadamard_rotation>;
/// A layer whose inputs are divided by scales first, which its weights were multiplied by: input_scaling.hpp.
template <class Layer>
using scaled_linear = transformed_linear<Layer, input_scaling>;

}  // namespace tern::inline v0_1
