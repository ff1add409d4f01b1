// SPDX-License-Identifier: MIT
/// The cross moments of two inputs of a layer, C = X^T Y / T, gathered batch by batch: X what a layer is given in the
/// float model, Y what it is given behind layers that are quantised already.
///
///     tern::cross_moment seen(layer.in_features());
///     for (const auto& [x, x_q] : batches) seen.observe(x, x_q);
#pragma once

#include <tern/quantize/hessian.hpp>

namespace tern::inline v0_1 {

namespace detail::inline TERN_TU {

/// sums += X^T Y; blocks of product_cols x product_cols are shared out.
template <real_element A, real_element B, executor Executor>
void add_cross_moments(double* sums, matrix_view<const A> x, matrix_view<const B> y, const Executor& ex) {
  const std::size_t inputs = x.cols(), blocks = ceil_div(inputs, product_cols), pairs = blocks * blocks;
  std::vector<product_workspace> work(part_count(pairs, ex), product_workspace());
  for_each_part(pairs, ex, [&](std::size_t part, std::size_t begin, std::size_t end) {
    for (std::size_t pair = begin; pair < end; ++pair) {
      const std::size_t i = pair / blocks * product_cols, j = pair % blocks * product_cols;
      work[part].add(
          sums + i * inputs + j, inputs, lesser(product_cols, inputs - i), lesser(product_cols, inputs - j), x.rows(),
          [&](std::size_t r, std::size_t t) { return static_cast<float>(x(t, i + r)); },
          [&](std::size_t t, std::size_t c) { return static_cast<float>(y(t, j + c)); });
    }
  });
}

}  // namespace detail::inline TERN_TU

/// An estimate of E[x^T y] for two inputs x and y of a layer, of the same tokens, from any number of batches.
///
///     C(i,j) = sum_t x(t,i) y(t,j) / T
///
/// Exactness: one sum in double for each pair of inputs, over tokens in the order they were observed, as in hessian: the
///            same bits on every machine, for every executor, and however tokens were cut into batches. With y = x it is
///            the hessian, bit for bit. merge() adds sums, which rounds once more.
/// Cost:      T K^2 products, K^2 doubles of memory.
/// Errors:    observe() throws shape_error when x and y are not both of as many tokens and of the moment's inputs, and
///            range_error naming row and column of a NaN or infinity, and has then seen nothing of the batch.
class cross_moment {
 public:
  TERN_INLINE cross_moment() = default;
  TERN_INLINE_COPIES(cross_moment);
  /// Of so many inputs, with no token seen.
  TERN_INLINE explicit cross_moment(std::size_t inputs)
      : inputs_(inputs), sums_(detail::checked_product(inputs, inputs)) {}

  /// @param x   [T x K] float, half or bfloat16: the layer's inputs in the float model, a token a row
  /// @param y   [T x K] the same tokens' inputs in the model that is quantised so far
  /// @param ex  who works; the result does not depend on it
  template <class Tu = tu_tag, real_matrix X, real_matrix Y, executor Executor = serial_executor>
  void observe(const X& x, const Y& y, const Executor& ex = {}) {
    decltype(auto) x_rows = detail::row_major(x);
    decltype(auto) y_rows = detail::row_major(y);
    const detail::real_view<X> a = x_rows;
    const detail::real_view<Y> b = y_rows;
    if (a.cols() != inputs_ || b.cols() != inputs_ || a.rows() != b.rows())
      detail::fail<shape_error>({"cross_moment: x is ", a.rows(), "x", a.cols(), " and y ", b.rows(), "x", b.cols(),
                                 ", not both of as many tokens and ", inputs_, " inputs"});
    detail::check_finite("cross_moment: x", a);
    detail::check_finite("cross_moment: y", b);
    detail::add_cross_moments(sums_.data(), a, b, ex);
    tokens_ += a.rows();
  }
  /// Adds what the other one has seen.
  /// Errors: shape_error when it has another number of inputs.
  template <class Tu = tu_tag>
  void merge(const cross_moment& other) {
    if (other.inputs_ != inputs_)
      detail::fail<shape_error>({"cross_moment: ", other.inputs_, " inputs do not merge with ", inputs_});
    for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] += other.sums_[i];
    tokens_ += other.tokens_;
  }

  std::size_t inputs() const { return inputs_; }
  /// Tokens seen.
  std::uint64_t tokens() const { return tokens_; }
  bool empty() const { return tokens_ == 0; }
  /// C(i,j), 0 where nothing was seen.
  TERN_INLINE double operator()(std::size_t i, std::size_t j) const {
    return tokens_ == 0 ? 0.0 : sum(i, j) / static_cast<double>(tokens_);
  }
  /// sum_t x(t,i) y(t,j).
  TERN_INLINE double sum(std::size_t i, std::size_t j) const { return sums_[i * inputs_ + j]; }

 private:
  std::size_t inputs_ = 0;
  std::uint64_t tokens_ = 0;
  std::vector<double> sums_;  // [inputs x inputs]
};

}  // namespace tern::inline v0_1
