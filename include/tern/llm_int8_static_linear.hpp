// SPDX-License-Identifier: MIT
/// LLM.int8() with outlier columns that calibration fixed, instead of those that each batch happens to have.
///
/// Features with outliers are the same in nearly all tokens. Known beforehand, their weights are gathered once, x is
/// not searched, a call allocates nothing, and a token's output does not depend on its neighbours.
///
///     tern::input_maxima seen(w.cols());
///     for (const auto& batch : batches) seen.observe(batch);
///     const auto columns = tern::outlier_columns(seen.maxima(), 6.0f);
///     const auto layer = tern::llm_int8_static_linear::from_float(w, columns, bias);
#pragma once

#include <tern/llm_int8_linear.hpp>
#include <tern/quantize/input_maxima.hpp>

namespace tern::inline v0_1::inline TERN_TU {

/// The columns whose largest magnitude over all of calibration reached the threshold, ascending.
/// @param maxima     [K], see input_maxima in quantize/input_maxima.hpp
/// @param threshold  at least 0, in the unit of x; with infinity none
/// Errors: range_error when the threshold is negative or NaN.
inline std::vector<std::size_t> outlier_columns(std::span<const float> maxima, float threshold) {
  if (!(threshold >= 0)) detail::fail<range_error>({"outlier_columns: the threshold ", threshold, " is not >= 0"});
  std::vector<std::size_t> columns;
  for (std::size_t k = 0; k < maxima.size(); ++k)
    if (maxima[k] >= threshold) columns.push_back(k);
  return columns;
}

}  // namespace tern::inline v0_1::inline TERN_TU

namespace tern::inline v0_1 {

/// A linear map with int8 weights, one scale a channel, that multiplies given columns of x in float.
///
/// The sums are those of llm_int8_linear with these columns as O, whatever is in x: bit for bit what it computes for a
/// batch that has its outliers there. From float weights the columns have 16 bits, as with outlier_bits = 16 there; from
/// packed ones 8. A large value elsewhere costs its token resolution, as in int8_linear.
///
/// Exactness: bit-identical on every instruction set and for every executor, and token by token.
/// Cost:      int8_linear's, plus 2 M N |O| float operations. 2 N |O| bytes of gathered weights beside all others.
/// Errors:    of a call: shape_error on a wrong depth, y or workspace, range_error naming row and column of a NaN or
///            infinity. y is then untouched.
class llm_int8_static_linear {
 public:
  TERN_INLINE llm_int8_static_linear() = default;
  TERN_INLINE_COPIES(llm_int8_static_linear);
  /// From packed weights, [N x K], the columns of x to multiply in float, and a bias, [N] or empty.
  /// Errors: shape_error when the bias has another size; range_error when the columns do not ascend or are not all
  ///         below K, and on weights in groups or with zero points.
  template <class Tu = tu_tag>
  llm_int8_static_linear(int8_matrix weights, std::vector<std::size_t> columns, std::vector<float> bias = {}, Tu = {})
      : weights_(std::move(weights)), columns_(std::move(columns)), bias_(std::move(bias)) {
    check();
    gather({});
  }
  /// The same with weights of their own for the columns, as column_weights() of another layer: [N x |O|], one or two
  /// planes. A packed_matrix<i8>, deduced, so that {} in its place is no bias.
  /// Errors: shape_error too when they are of another shape, range_error when they have more planes, groups or zero
  ///         points.
  template <std::derived_from<packed_matrix<i8>> Weights, class Tu = tu_tag>
  llm_int8_static_linear(int8_matrix weights, std::vector<std::size_t> columns, Weights column_weights,
                         std::vector<float> bias = {}, Tu = {})
      : weights_(std::move(weights)),
        columns_(std::move(columns)),
        bias_(std::move(bias)),
        column_weights_(std::move(column_weights)) {
    check();
    detail::check_split_weights("llm_int8_static_linear", column_weights_.view(), bias_);
    if (column_weights_.rows() != weights_.rows() || column_weights_.cols() != columns_.size())
      detail::fail<shape_error>({"llm_int8_static_linear: weights ", column_weights_.rows(), "x",
                                 column_weights_.cols(), " for ", columns_.size(), " columns of ", weights_.rows(), "x",
                                 weights_.cols()});
    if (column_weights_.planes() > 2)
      detail::fail<range_error>(
          {"llm_int8_static_linear: the weights of columns are ", column_weights_.planes(), " planes, of at most 2"});
  }
  /// From float weights [N x K], absmax per channel over all columns, and what that leaves of the given columns.
  /// @param bias  [N] or empty: anything with begin() and end()
  /// @param pack  how the weights are stored: scales of 32 or 16 bits
  template <class Tu = tu_tag, real_matrix M, class Bias = std::vector<float>>
  static llm_int8_static_linear from_float(const M& w, std::vector<std::size_t> columns, const Bias& bias = {},
                                           const pack_options& pack = {}) {
    llm_int8_static_linear layer;
    layer.weights_ = int8_matrix(quantize_absmax(w, per_channel), pack);
    layer.columns_ = std::move(columns);
    layer.bias_ = std::vector<float>(bias.begin(), bias.end());
    layer.template check<Tu>();
    layer.template gather<Tu>(detail::remainder_of(w, layer.weights_.view()));
    return layer;
  }

  std::size_t in_features() const { return weights_.cols(); }
  std::size_t out_features() const { return weights_.rows(); }
  const int8_matrix& weights() const { return weights_; }
  std::span<const float> bias() const { return bias_; }
  std::span<const std::size_t> columns() const { return columns_; }
  /// The weights that the columns are multiplied by: [N x |O|], a scale per channel, one or two planes.
  const packed_matrix<i8>& column_weights() const { return column_weights_; }
  /// Bytes of workspace that a call with so many tokens needs; aligned to 64.
  template <class Tu = tu_tag>
  std::size_t workspace_bytes(std::size_t tokens) const {
    return detail::split_bytes(tokens, in_features(), columns_.size(), out_features());
  }

  /// Y = layer(X). The result is of x's family: an Eigen matrix for Eigen, tern::matrix<float> for tern's own.
  /// @param x  [M x K] float, half or bfloat16
  template <class Tu = tu_tag, real_matrix X>
  auto operator()(const X& x) const {
    decltype(auto) rows = detail::row_major(x);
    const detail::real_view<X> view = rows;
    auto y = matrix_traits<X>::make(x, view.rows(), out_features());
    aligned_bytes workspace(workspace_bytes(view.rows()));
    call(view, tern::view(y), workspace, serial_executor{});
    return y;
  }
  /// The same into y, allocating nothing (but a row-major copy of x where it is a column-major Eigen matrix).
  /// @param y          [M x N] float, half or bfloat16; written in full, must not overlap x
  /// @param workspace  workspace_bytes(M) bytes or more, aligned to 64; contents do not matter
  template <class Tu = tu_tag, real_matrix X, output_matrix Y, executor Executor = serial_executor>
  void operator()(const X& x, Y&& y, std::span<std::byte> workspace, const Executor& ex = {}) const {
    static_assert(real_matrix<Y>,
                  "llm_int8_static_linear writes float, half or bfloat16: part of its sum is no integer");
    decltype(auto) rows = detail::row_major(x);
    call(detail::real_view<X>(rows), matrix_traits<std::remove_cvref_t<Y>>::view(y), workspace, ex);
  }

 private:
  template <class Tu = tu_tag>
  void check() const {
    detail::check_split_weights("llm_int8_static_linear", weights_.view(), bias_);
    for (std::size_t j = 0; j < columns_.size(); ++j)
      if (columns_[j] >= weights_.cols() || (j > 0 && columns_[j] <= columns_[j - 1]))
        detail::fail<range_error>({"llm_int8_static_linear: column ", columns_[j], ", number ", j,
                                   ", does not ascend or is not one of ", weights_.cols()});
  }
  /// @param remainder  of the weights, or nothing
  template <class Tu = tu_tag>
  void gather(const int8_matrix& remainder) {
    const packed_view<i8>* const planes[] = {&weights_.view(), &remainder.view()};
    aligned_bytes storage;
    column_weights_ = packed_matrix<i8>(
        detail::gather_columns(std::span(planes, remainder.cols() == 0 ? 1 : 2), columns_, storage, serial_executor{}));
  }

  template <class Tu = tu_tag, class View, class Y, class Executor>
  void call(const View& x, const Y& y, std::span<std::byte> workspace, const Executor& ex) const {
    detail::check_split_shapes("llm_int8_static_linear", x, weights_.view(), y);
    if (workspace.size() < workspace_bytes(x.rows()) ||
        reinterpret_cast<std::uintptr_t>(workspace.data()) % storage_alignment != 0)
      detail::fail<shape_error>({"llm_int8_static_linear: ", x.rows(), " tokens need a workspace of ",
                                 workspace_bytes(x.rows()), " bytes aligned to ", storage_alignment, ", not ",
                                 workspace.size()});
    detail::check_finite("llm_int8_static_linear", x);
    isa::with_best([&](auto isa) {
      if (columns_.empty())
        tern::matmul(isa, tern::quantize_activations(isa, x, workspace, ex), weights_.view(), y, bias_, ex);
      else
        detail::split_product(isa, x, weights_.view(), columns_, column_weights_.view(), bias_, y, workspace, ex);
    });
  }

  int8_matrix weights_;
  std::vector<std::size_t> columns_;
  std::vector<float> bias_;
  packed_matrix<i8> column_weights_;
};

}  // namespace tern::inline v0_1
