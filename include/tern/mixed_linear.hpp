// SPDX-License-Identifier: MIT
/// Mixed precision within a layer: some outputs by weights of more bits than others.
///
///     using layer = tern::mixed_linear<tern::ternary_matrix<tern::b3>, tern::trit_code_matrix<tern::b3x2>>;
///     const layer l({one_plane, {0, 3}}, {two_planes, {1, 2}}, bias);       // 4 outputs
///     const auto y = l(x);
///
/// quantize/mixed_precision.hpp chooses which outputs are worth the bits.
#pragma once

#include <array>
#include <tuple>

#include <tern/linear.hpp>

namespace tern::inline v0_1 {

/// Packed weights of some of a layer's outputs. An empty part is default-constructed.
template <class Weights>
struct output_part {
  Weights weights;
  std::vector<std::size_t> outputs;  ///< [weights.rows()], ascending: which outputs of the layer they are

  TERN_INLINE output_part() = default;
  TERN_INLINE_COPIES(output_part);
  TERN_INLINE output_part(Weights of, std::vector<std::size_t> which)
      : weights(std::move(of)), outputs(std::move(which)) {}
};

namespace detail::inline TERN_TU {

/// Every output of a layer is in one part.
/// @param owned  [N], set where a part before has the output, and here
/// Errors: shape_error naming the first output that is out of place.
inline void check_outputs(std::span<const std::size_t> outputs, std::size_t rows, std::vector<bool>& owned) {
  if (outputs.size() != rows)
    fail<shape_error>({"mixed_linear: a part has ", rows, " rows of weights for ", outputs.size(), " outputs"});
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i] >= owned.size())
      fail<shape_error>(
          {"mixed_linear: output ", outputs[i], " where all parts together have ", owned.size(), " rows"});
    if (i > 0 && outputs[i] <= outputs[i - 1])
      fail<shape_error>({"mixed_linear: output ", outputs[i], " after ", outputs[i - 1], ": they must ascend"});
    if (owned[outputs[i]]) fail<shape_error>({"mixed_linear: output ", outputs[i], " is in two parts"});
    owned[outputs[i]] = true;
  }
}

/// y(m, outputs[i]) = part(m, i), for tokens begin to end.
template <real_element Out>
void scatter_outputs(matrix_view<const float> part, std::span<const std::size_t> outputs, matrix_view<Out> y,
                     std::size_t begin, std::size_t end) {
  for (std::size_t m = begin; m < end; ++m) {
    const float* const from = part.row(m);
    Out* const to = y.row(m);
    for (std::size_t i = 0; i < outputs.size(); ++i) to[outputs[i]] = static_cast<Out>(from[i]);
  }
}

}  // namespace detail::inline TERN_TU

/// A linear map whose outputs are cut into parts with weights of different types: y = quantize(x) W^T + bias, where
/// row n of W is a row of the part that has output n. Activations are quantised once, int8 per token.
///
/// Every rule of linear holds: each output has the bits that linear<Weights> with this row gives it.
///
/// @tparam Weights  of each part: packed matrices that matmul takes, of one number of inputs
///
/// Cost:  the parts' products, each padded to 16 rows, and a copy of the outputs: 384 x 384 with an eighth of the outputs
///        at one plane and an eighth at three, 5.0 us a token to 4.0 for two planes in all. quantize/mixed_precision.hpp makes
///        parts of whole blocks of 16 rows. In memory each output has its index, of 4 or 8 bytes, besides its weights.
template <class... Weights>
class mixed_linear {
 public:
  TERN_INLINE mixed_linear() = default;
  TERN_INLINE_COPIES(mixed_linear);
  /// From the parts, which together have each output once, and a bias, [N] or empty, in the order of the outputs.
  /// Errors: shape_error when a part's outputs are not one for each row of its weights, do not ascend, are out of range
  ///         or in another part too (so that others are in none), when parts differ in inputs, or the bias has another
  ///         size.
  template <class Tu = tu_tag>
  explicit mixed_linear(output_part<Weights>... parts, std::vector<float> bias = {}, Tu = {})
      : parts_(std::move(parts)...), bias_(std::move(bias)) {
    each_part([&](const auto& part, std::size_t) { out_features_ += part.weights.rows(); });
    std::vector<bool> owned(out_features_);
    if (!bias_.empty() && bias_.size() != out_features_)
      detail::fail<shape_error>({"mixed_linear: ", bias_.size(), " biases for ", out_features_, " outputs"});
    bool is_first = true;
    each_part([&](const auto& part, std::size_t p) {
      detail::check_outputs(part.outputs, part.weights.rows(), owned);
      if (part.weights.rows() == 0 && part.weights.cols() == 0) return;
      if (is_first) in_features_ = part.weights.cols();
      is_first = false;
      if (part.weights.cols() != in_features_)
        detail::fail<shape_error>(
            {"mixed_linear: parts of ", in_features_, " and of ", part.weights.cols(), " inputs"});
      if (!bias_.empty())
        for (const std::size_t n : part.outputs) biases_[p].push_back(bias_[n]);
    });
  }

  std::size_t in_features() const { return in_features_; }
  std::size_t out_features() const { return out_features_; }
  std::span<const float> bias() const { return bias_; }
  /// Part P: its weights and its outputs.
  template <std::size_t P>
  const auto& part() const {
    return std::get<P>(parts_);
  }
  /// Bytes that the weights of all parts are stored in. Neither the bias nor the lists of outputs count.
  template <class Tu = tu_tag>
  std::size_t storage_bytes() const {
    std::size_t bytes = 0;
    each_part([&](const auto& part, std::size_t) { bytes += part.weights.storage_bytes(); });
    return bytes;
  }
  /// W_hat, [N x K]: the weights as stored.
  template <class Tu = tu_tag>
  matrix<float> dequantized() const {
    matrix<float> w(out_features_, in_features_);
    each_part([&](const auto& part, std::size_t) {
      const matrix<float> rows = tern::dequantize(part.weights.view());
      for (std::size_t i = 0; i < rows.rows(); ++i)
        for (std::size_t k = 0; k < rows.cols(); ++k) w(part.outputs[i], k) = rows(i, k);
    });
    return w;
  }
  /// Bytes of workspace that a call with so many tokens needs; aligned to 64.
  template <class Tu = tu_tag>
  std::size_t workspace_bytes(std::size_t tokens) const {
    std::size_t bytes = activations_view::storage_bytes(tokens, in_features_);
    each_part([&](const auto& part, std::size_t) {
      bytes = detail::checked_sum(bytes, output_bytes<Tu>(tokens, part.weights.rows()));
    });
    return bytes;
  }

  /// Y = layer(X). The result is of x's family: an Eigen matrix for Eigen, tern::matrix<float> for tern's own.
  /// @param x  [M x K] float, half or bfloat16.   Errors: as matmul and quantize_activations.
  template <class Tu = tu_tag, real_matrix X>
  auto operator()(const X& x) const {
    decltype(auto) rows = detail::row_major(x);
    const detail::real_view<X> view = rows;
    auto y = matrix_traits<X>::make(x, view.rows(), out_features_);
    aligned_bytes workspace(workspace_bytes(view.rows()));
    call(view, tern::view(y), workspace, serial_executor{});
    return y;
  }
  /// The same into y, allocating nothing (but a row-major copy of x where it is a column-major Eigen matrix).
  /// @param y          [M x N] float, half or bfloat16; written in full, must not overlap x
  /// @param workspace  workspace_bytes(M) bytes or more, aligned to 64; contents do not matter
  template <class Tu = tu_tag, real_matrix X, output_matrix Y, executor Executor = serial_executor>
  void operator()(const X& x, Y&& y, std::span<std::byte> workspace, const Executor& ex = {}) const {
    static_assert(real_matrix<Y>, "mixed_linear writes float, half or bfloat16");
    decltype(auto) rows = detail::row_major(x);
    call(detail::real_view<X>(rows), matrix_traits<std::remove_cvref_t<Y>>::view(y), workspace, ex);
  }

 private:
  /// f(part, its number).
  template <class F>
  void each_part(F&& f) const {
    std::apply(
        [&](const auto&... part) {
          [[maybe_unused]] std::size_t p = 0;
          (f(part, p++), ...);
        },
        parts_);
  }
  template <class Tu>
  static std::size_t output_bytes(std::size_t tokens, std::size_t outputs) {
    return detail::round_up(detail::checked_product(detail::checked_product(tokens, outputs), sizeof(float)),
                            storage_alignment);
  }

  template <class Tu = tu_tag, class View, class Y, class Executor>
  void call(const View& x, const Y& y, std::span<std::byte> workspace, const Executor& ex) const {
    if (x.cols() != in_features_)
      detail::fail<shape_error>(
          {"mixed_linear: x is ", x.rows(), "x", x.cols(), " but the layer takes ", in_features_, " inputs"});
    if (y.rows() != x.rows() || y.cols() != out_features_)
      detail::fail<shape_error>(
          {"mixed_linear: y is ", y.rows(), "x", y.cols(), " but x W^T is ", x.rows(), "x", out_features_});
    if (workspace.size() < workspace_bytes<Tu>(x.rows()) ||
        reinterpret_cast<std::uintptr_t>(workspace.data()) % storage_alignment != 0)
      detail::fail<shape_error>({"mixed_linear: ", x.rows(), " tokens need a workspace of ",
                                 workspace_bytes<Tu>(x.rows()), " bytes aligned to ", storage_alignment, ", not ",
                                 workspace.size()});
    const auto q = tern::quantize_activations(x, workspace, ex);
    // All products before the first output is written: what is refused leaves y as it was.
    std::array<matrix_view<float>, sizeof...(Weights)> products;
    workspace = workspace.subspan(activations_view::storage_bytes(x.rows(), in_features_));
    each_part([&](const auto& part, std::size_t p) {
      const std::size_t rows = part.weights.rows();
      products[p] = matrix_view<float>(reinterpret_cast<float*>(workspace.data()), x.rows(), rows);
      workspace = workspace.subspan(output_bytes<Tu>(x.rows(), rows));
      if (rows != 0) tern::matmul(q, part.weights, products[p], biases_[p], ex);
    });
    detail::for_each_part(x.rows(), ex, [&](std::size_t, std::size_t begin, std::size_t end) {
      each_part([&](const auto& part, std::size_t p) {
        detail::scatter_outputs(matrix_view<const float>(products[p]), part.outputs, y, begin, end);
      });
    });
  }

  std::tuple<output_part<Weights>...> parts_;
  std::vector<float> bias_;
  std::array<std::vector<float>, sizeof...(Weights)> biases_;  // of each part, in its order
  std::size_t in_features_ = 0, out_features_ = 0;
};

}  // namespace tern::inline v0_1
