// SPDX-License-Identifier: MIT
/// A layer whose codec, and the maps of whose inputs, are known at run time: what a file says, or what a recipe chose.
///
///     const tern::any_linear layer = from_some_file ? tern::any_linear(int4) : tern::any_linear(rotated_planes);
///     const auto y = layer(x);                                          // x [M x K] -> y [M x N]
///
/// It holds a linear<Weights, Activations>, llm_int8_linear or llm_int8_static_linear, or rotated_linear and scaled_linear around one,
/// nested in any way. Each kind of layer that a program holds in one costs it that layer's kernels, so this header is not part
/// of tern.hpp. io/safetensors_layer.hpp stores such layers and loads them.
#pragma once

#include <memory>
#include <variant>

#include <tern/io/blob.hpp>
#include <tern/linear.hpp>
#include <tern/llm_int8_linear.hpp>
#include <tern/llm_int8_static_linear.hpp>
#include <tern/transformed_linear.hpp>

namespace tern::inline v0_1 {

/// The maps of inputs that can stand before the weights of an any_linear.
using any_transform = std::variant<hadamard_rotation, input_scaling>;

namespace detail::inline TERN_TU {

template <executor Executor>
void run_parts(const void* ex, std::size_t n, void* f, void (*run)(void*, std::size_t)) {
  static_cast<const Executor*>(ex)->parallel_for(n, [f, run](std::size_t i) { run(f, i); });
}

}  // namespace detail::inline TERN_TU

/// An executor of any type, by reference: what goes through a virtual function. It must outlive the reference.
class executor_reference {
 public:
  template <executor Executor, class Tu = tu_tag>
  explicit executor_reference(const Executor& ex, Tu = {})
      : executor_(&ex), concurrency_(ex.concurrency()), run_parts_(&detail::run_parts<Executor>) {}

  std::size_t concurrency() const { return concurrency_; }
  template <class F, class Tu = tu_tag>
  void parallel_for(std::size_t n, F&& f) const {
    using function = std::remove_reference_t<F>;
    run_parts_(executor_, n, const_cast<void*>(static_cast<const void*>(std::addressof(f))),
               [](void* part, std::size_t i) { (*static_cast<function*>(part))(i); });
  }

 private:
  const void* executor_;
  std::size_t concurrency_;
  void (*run_parts_)(const void*, std::size_t, void*, void (*)(void*, std::size_t));
};

namespace detail {

/// What is asked of the layer that stands behind the transforms.
class erased_layer {
 public:
  virtual ~erased_layer() = default;
  virtual std::size_t in_features() const = 0;
  virtual std::size_t out_features() const = 0;
  virtual std::size_t workspace_bytes(std::size_t tokens) const = 0;
  virtual void call(matrix_view<const float> x, matrix_view<float> y, std::span<std::byte> workspace,
                    executor_reference ex) const = 0;
  virtual std::span<const float> bias() const = 0;
  virtual bool has_float_activations() const = 0;
  virtual bool has_own_activations() const = 0;
  virtual std::span<const std::size_t> outlier_columns() const = 0;
  virtual packed_view<i8> outlier_weights() const = 0;
  virtual std::size_t packed_bytes() const = 0;
  virtual matrix<float> dequantized() const = 0;
  virtual aligned_bytes blob() const = 0;
};

}  // namespace detail

namespace detail::inline TERN_TU {

template <class Layer>
class held_layer final : public erased_layer {
 public:
  explicit held_layer(Layer layer) : layer_(std::move(layer)) {}

  std::size_t in_features() const override { return layer_.in_features(); }
  std::size_t out_features() const override { return layer_.out_features(); }
  std::size_t workspace_bytes(std::size_t tokens) const override {
    if constexpr (has_workspace)
      return layer_.workspace_bytes(tokens);
    else
      return 0;
  }
  void call(matrix_view<const float> x, matrix_view<float> y, std::span<std::byte> workspace,
            executor_reference ex) const override {
    if constexpr (has_workspace)
      layer_(x, y, workspace, ex);
    else
      layer_(x, y, ex);
  }
  std::span<const float> bias() const override { return layer_.bias(); }
  bool has_float_activations() const override {
    return requires { requires std::same_as<typename Layer::activations_type, float_activations>; };
  }
  bool has_own_activations() const override {
    return requires { requires !std::same_as<typename Layer::activations_type, int8_activations>; }
    &&!has_float_activations();
  }
  std::span<const std::size_t> outlier_columns() const override {
    if constexpr (std::same_as<Layer, llm_int8_static_linear>)
      return layer_.columns();
    else
      return {};
  }
  packed_view<i8> outlier_weights() const override {
    if constexpr (std::same_as<Layer, llm_int8_static_linear>)
      if (!layer_.columns().empty()) return layer_.column_weights().view();
    return {};
  }
  std::size_t packed_bytes() const override {
    if constexpr (std::same_as<Layer, llm_int8_linear>)
      return packed().storage_bytes() + layer_.remainder().storage_bytes();
    else
      return packed().storage_bytes();
  }
  matrix<float> dequantized() const override {
    matrix<float> w = tern::dequantize(packed());
    const std::span<const std::size_t> columns = outlier_columns();
    if (columns.empty()) return w;
    const matrix<float> of_columns = tern::dequantize(outlier_weights());
    for (std::size_t n = 0; n < w.rows(); ++n)
      for (std::size_t j = 0; j < columns.size(); ++j) w(n, columns[j]) = of_columns(n, j);
    return w;
  }
  aligned_bytes blob() const override {
    if constexpr (std::same_as<Layer, llm_int8_linear>)
      return tern::save(layer_);  // with its threshold
    else
      return tern::save(blob_view<codec_type>{packed(), layer_.bias()});
  }

 private:
  static constexpr bool has_workspace = requires(const Layer& l) { l.workspace_bytes(1); };

  const auto& packed() const { return detail::weights(layer_.weights()); }
  using codec_type = typename std::remove_cvref_t<decltype(std::declval<Layer>().weights())>::codec_type;

  Layer layer_;
};

template <class T>
inline constexpr bool is_transformed = false;
template <class Layer, class Transform>
inline constexpr bool is_transformed<transformed_linear<Layer, Transform>> = true;

}  // namespace detail::inline TERN_TU

/// A linear map with weights of any codec behind any transforms. Immutable; copies share the weights.
///
/// Every rule of the layer that it holds is kept: the same bits, the same errors. Const calls are safe from several threads
/// at once. One that is default-constructed holds nothing, has no inputs and no outputs, and refuses to be called.
class any_linear {
 public:
  TERN_INLINE any_linear() = default;
  TERN_INLINE_COPIES(any_linear);
  /// From linear<Weights, Activations>, llm_int8_linear, llm_int8_static_linear, or transformed_linear around them.
  /// @param before  transforms of the inputs that come before those of the layer, in the order in which they are applied
  /// Errors: shape_error when a transform is of other inputs than the layer.
  template <class Layer, class Tu = tu_tag>
    requires(!std::same_as<Layer, any_linear>)
  explicit any_linear(Layer layer, std::vector<any_transform> before = {}, Tu = {}) : transforms_(std::move(before)) {
    hold<Tu>(std::move(layer));
    for (const any_transform& t : transforms_)
      if (const std::size_t inputs = std::visit([](const auto& map) { return map.inputs(); }, t);
          inputs != in_features())
        detail::fail<shape_error>({"any_linear: the layer takes ", in_features(), " inputs, a transform has ", inputs});
  }

  std::size_t in_features() const { return layer_ == nullptr ? 0 : layer_->in_features(); }
  std::size_t out_features() const { return layer_ == nullptr ? 0 : layer_->out_features(); }
  std::span<const float> bias() const { return held().bias(); }
  /// Whether activations go into the product as they are: float_activations.
  bool has_float_activations() const { return held().has_float_activations(); }
  /// Whether a policy of the program's own makes activations of them: no file can say which.
  bool has_own_activations() const { return held().has_own_activations(); }
  /// The transforms of the inputs, in the order in which they are applied.
  std::span<const any_transform> transforms() const { return transforms_; }
  /// The columns, behind the transforms, that llm_int8_static_linear multiplies in float; else empty.
  std::span<const std::size_t> outlier_columns() const { return held().outlier_columns(); }
  /// The weights of these columns.
  packed_view<i8> outlier_weights() const { return held().outlier_weights(); }

  /// Bytes that the weights are stored in: codes, scales, zero points, sums and padding, and with them the scales of
  /// input_scaling, 4 bytes each, and of outlier columns 8 bytes each and their weights. The bias does not count.
  template <class Tu = tu_tag>
  std::size_t storage_bytes() const {
    std::size_t bytes = held().packed_bytes();
    if (!outlier_columns().empty())
      bytes += sizeof(std::int64_t) * outlier_columns().size() + outlier_weights().storage_bytes();
    for (const any_transform& t : transforms_)
      if (const auto* scaling = std::get_if<input_scaling>(&t)) bytes += scaling->scales().size_bytes();
    return bytes;
  }
  /// 8 storage_bytes() / (N K); 0 without weights.
  template <class Tu = tu_tag>
  double bits_per_weight() const {
    const double weights = static_cast<double>(out_features()) * static_cast<double>(in_features());
    return weights == 0 ? 0 : 8.0 * static_cast<double>(storage_bytes()) / weights;
  }
  /// W_hat with y ~ x W_hat^T, [N x K]: the weights as stored, those of llm_int8_static_linear's columns as they are for these,
  /// taken back through the transforms to the inputs as the caller knows them. Rounded once a transform more than what the layer computes with: for measuring.
  template <class Tu = tu_tag>
  matrix<float> dequantized() const {
    matrix<float> w = held().dequantized();
    for (std::size_t i = transforms_.size(); i-- > 0;) {
      // y = (x A) W'^T = x (W' A^T)^T; A^T is H D for a rotation D H, and A itself for a scaling.
      if (const auto* rotation = std::get_if<hadamard_rotation>(&transforms_[i]))
        rotation->undo(w, w.view());
      else
        std::get<input_scaling>(transforms_[i]).apply(w, w.view());
    }
    return w;
  }
  /// The blob of the layer behind the transforms, its bias included: see io/blob.hpp. Of llm_int8_static_linear it is that of
  /// an int8_linear, without the outlier weights. It does not say whether activations are float.
  aligned_bytes blob() const { return held().blob(); }

  /// Bytes of workspace that a call with so many tokens needs; aligned to 64.
  TERN_INLINE std::size_t workspace_bytes(std::size_t tokens) const {
    return detail::checked_sum(transformed_bytes(tokens), held().workspace_bytes(tokens));
  }
  /// Y = layer(X). The result is of x's family: an Eigen matrix for Eigen, tern::matrix<float> for tern's own.
  /// @param x  [M x K] float, half or bfloat16
  template <class Tu = tu_tag, real_matrix X>
  auto operator()(const X& x) const {
    decltype(auto) rows = detail::float_rows(x);
    const matrix_view<const float> view = rows;
    auto y = matrix_traits<X>::make(x, view.rows(), out_features());
    aligned_bytes workspace(workspace_bytes(view.rows()));
    call<Tu>(view, tern::view(y), workspace, executor_reference(serial_executor{}));
    return y;
  }
  /// The same into y, allocating nothing (but in llm_int8_linear, which does).
  /// @param x          [M x K]
  /// @param y          [M x N], written in full; must not overlap x
  /// @param workspace  workspace_bytes(M) bytes or more, aligned to 64; contents do not matter
  template <class Tu = tu_tag, executor Executor = serial_executor>
  void operator()(matrix_view<const float> x, matrix_view<float> y, std::span<std::byte> workspace,
                  const Executor& ex = {}) const {
    call<Tu>(x, y, workspace, executor_reference(ex));
  }

 private:
  template <class Tu, class Layer>
  void hold(Layer layer) {
    if constexpr (detail::is_transformed<Layer>) {
      transforms_.emplace_back(layer.transform());
      hold<Tu>(layer.layer());
    } else {
      layer_ = std::make_shared<const detail::held_layer<Layer>>(std::move(layer));
    }
  }
  TERN_INLINE const detail::erased_layer& held() const {
    if (layer_ == nullptr) detail::fail<shape_error>({"any_linear: holds no layer"});
    return *layer_;
  }
  TERN_INLINE std::size_t transformed_bytes(std::size_t tokens) const {
    if (transforms_.empty()) return 0;
    return detail::round_up(detail::checked_product(detail::checked_product(tokens, in_features()), sizeof(float)),
                            storage_alignment);
  }
  template <class Tu>
  void call(matrix_view<const float> x, matrix_view<float> y, std::span<std::byte> workspace,
            executor_reference ex) const {
    const detail::erased_layer& layer = held();
    if (x.cols() != in_features())
      detail::fail<shape_error>(
          {"any_linear: x is ", x.rows(), "x", x.cols(), " but the layer takes ", in_features(), " inputs"});
    if (workspace.size() < workspace_bytes(x.rows()) ||
        reinterpret_cast<std::uintptr_t>(workspace.data()) % storage_alignment != 0)
      detail::fail<shape_error>({"any_linear: ", x.rows(), " tokens need a workspace of ", workspace_bytes(x.rows()),
                                 " bytes aligned to ", storage_alignment, ", not ", workspace.size()});
    if (transforms_.empty()) return layer.call(x, y, workspace, ex);
    const matrix_view<float> transformed(reinterpret_cast<float*>(workspace.data()), x.rows(), x.cols());
    for (std::size_t i = 0; i < transforms_.size(); ++i)
      std::visit([&](const auto& map) { map.apply(i == 0 ? x : transformed, transformed, ex); }, transforms_[i]);
    layer.call(transformed, y, workspace.subspan(transformed_bytes(x.rows())), ex);
  }

  std::shared_ptr<const detail::erased_layer> layer_;
  std::vector<any_transform> transforms_;
};

}  // namespace tern::inline v0_1
