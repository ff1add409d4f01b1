// SPDX-License-Identifier: MIT
/// The second moments of a layer's inputs, H = X^T X / T, gathered batch by batch: what activation-aware quantisation
/// knows about the activations. An error E of the weights costs trace(E H E^T) / N on average, the mean square of the
/// outputs' error.
///
///     tern::hessian seen(layer.in_features());
///     for (const auto& batch : batches) seen.observe(batch);
#pragma once

#include <cmath>

#include <tern/quantize/exact_products.hpp>
#include <tern/quantize/slices.hpp>

namespace tern::inline v0_1 {

class hessian;

namespace detail::inline TERN_TU {

/// sums += X^T X on and below the diagonal; blocks of product_cols x product_cols are shared out.
template <real_element T, executor Executor>
void add_second_moments(double* sums, matrix_view<const T> x, const Executor& ex) {
  const std::size_t inputs = x.cols(), blocks = ceil_div(inputs, product_cols), pairs = blocks * (blocks + 1) / 2;
  std::vector<product_workspace> work(part_count(pairs, ex), product_workspace());
  for_each_part(pairs, ex, [&](std::size_t part, std::size_t begin, std::size_t end) {
    for (std::size_t pair = 0, row = 0; row < blocks; ++row)
      for (std::size_t col = 0; col <= row; ++col, ++pair) {
        if (pair < begin || pair >= end) continue;
        const std::size_t i = row * product_cols, j = col * product_cols;
        work[part].add(
            sums + i * inputs + j, inputs, lesser(product_cols, inputs - i), lesser(product_cols, inputs - j), x.rows(),
            [&](std::size_t r, std::size_t t) { return static_cast<float>(x(t, i + r)); },
            [&](std::size_t t, std::size_t c) { return static_cast<float>(x(t, j + c)); });
      }
  });
}

}  // namespace detail::inline TERN_TU

/// An estimate of E[x^T x] for the inputs x of a layer, from any number of batches.
///
///     H(i,j) = sum_t x(t,i) x(t,j) / T
///
/// Sums are in double: a product of two floats is exact there, so each sum rounds once a token, and 2^20 tokens leave
/// at least 33 bits. In float the sums of long calibrations would stop growing, and a factorisation would lose the small
/// eigenvalues that damping is to keep.
///
/// Exactness: one sum for each pair of inputs, over tokens in the order they were observed: the same bits on every
///            machine, for every executor, and however tokens were cut into batches. merge() adds sums, which rounds
///            once more: what was observed in parts differs from the whole in the last bits, by the order of the parts.
/// Cost:      T K^2 / 2 products, K^2 doubles of memory (128 MiB for K = 4096).
/// Errors:    observe() throws shape_error when x has another number of inputs and range_error naming row and column of
///            a NaN or infinity, and has then seen nothing of the batch.
/// Source:    E. Frantar et al., "GPTQ", arXiv:2210.17323 (there 2 X^T X, which gives the same codes).
class hessian {
 public:
  TERN_INLINE hessian() = default;
  TERN_INLINE_COPIES(hessian);
  /// Of so many inputs, with no token seen.
  TERN_INLINE explicit hessian(std::size_t inputs) : inputs_(inputs), sums_(detail::checked_product(inputs, inputs)) {}

  /// @param x   [T x K] float, half or bfloat16: the layer's inputs, a token a row
  /// @param ex  who works; the result does not depend on it
  template <class Tu = tu_tag, real_matrix X, executor Executor = serial_executor>
  void observe(const X& x, const Executor& ex = {}) {
    decltype(auto) rows = detail::row_major(x);
    const detail::real_view<X> view = rows;
    if (view.cols() != inputs_)
      detail::fail<shape_error>({"hessian: x is ", view.rows(), "x", view.cols(), ", not of ", inputs_, " inputs"});
    detail::check_finite("hessian", view);
    detail::add_second_moments(sums_.data(), view, ex);
    tokens_ += view.rows();
  }
  /// Adds what the other one has seen.
  /// Errors: shape_error when it has another number of inputs.
  template <class Tu = tu_tag>
  void merge(const hessian& other) {
    if (other.inputs_ != inputs_)
      detail::fail<shape_error>({"hessian: ", other.inputs_, " inputs do not merge with ", inputs_});
    for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] += other.sums_[i];
    tokens_ += other.tokens_;
  }

  std::size_t inputs() const { return inputs_; }
  /// Tokens seen.
  std::uint64_t tokens() const { return tokens_; }
  bool empty() const { return tokens_ == 0; }
  /// H(i,j), 0 where nothing was seen.
  TERN_INLINE double operator()(std::size_t i, std::size_t j) const {
    return tokens_ == 0 ? 0.0 : sum(i, j) / static_cast<double>(tokens_);
  }
  /// sum_t x(t,i) x(t,j).
  TERN_INLINE double sum(std::size_t i, std::size_t j) const {
    return i < j ? sums_[j * inputs_ + i] : sums_[i * inputs_ + j];
  }

  /// From sums(i,j), j <= i, row after row: what io/hessian_blob.hpp stores.
  /// Errors: shape_error when there are not inputs (inputs + 1) / 2 sums.
  template <class Tu = tu_tag>
  static hessian from_sums(std::size_t inputs, std::uint64_t tokens, std::span<const double> sums) {
    if (sums.size() != detail::checked_product(inputs, inputs + 1) / 2)
      detail::fail<shape_error>({"hessian: ", sums.size(), " sums for ", inputs, " inputs"});
    hessian h(inputs);
    for (std::size_t i = 0, next = 0; i < inputs; ++i)
      for (std::size_t j = 0; j <= i; ++j) h.sums_[i * inputs + j] = sums[next++];
    h.tokens_ = tokens;
    return h;
  }

 private:
  std::size_t inputs_ = 0;
  std::uint64_t tokens_ = 0;
  std::vector<double> sums_;  // [inputs x inputs]; meaningless above the diagonal
};

namespace detail::inline TERN_TU {

/// Errors: range_error where nothing was seen, shape_error for another number of inputs.
inline void check_hessian(const char* what, const hessian& h, std::size_t inputs) {
  if (h.inputs() != inputs) fail<shape_error>({what, ": the Hessian is of ", h.inputs(), " inputs but w has ", inputs});
  if (h.empty() && inputs != 0) fail<range_error>({what, ": the Hessian has seen no activations"});
}

/// 4^n, by which H is multiplied before it is rounded to float: then its largest element, which is on the diagonal, lies
/// in [1/4, 1), whatever the unit of the activations. A power of four, so that even square roots keep their bits.
inline double float_unit(const hessian& h) {
  double most = 0;
  for (std::size_t k = 0; k < h.inputs(); ++k) most = greater(most, h(k, k));
  int exponent = 0;
  std::frexp(most, &exponent);  // most < 2^exponent; 0 for 0
  return std::ldexp(1.0, -2 * ((exponent + (exponent > 0 ? 1 : 0)) / 2));
}

}  // namespace detail::inline TERN_TU

inline namespace TERN_TU {

/// The mean squares of the inputs, H(k,k), as importances for quantizers that weight by the diagonal (ternary_optimum,
/// decompose_options, trit_code_options): above 0 and finite, since an input that was never active still has weights.
/// The least one is 2^-20 of the mean.
/// Errors: range_error where nothing was seen or nothing but zeros, and where the sum of the mean squares overflows.
inline std::vector<float> importances(const hessian& h) {
  detail::check_hessian("importances", h, h.inputs());
  double total = 0;
  for (std::size_t k = 0; k < h.inputs(); ++k) total += h(k, k);
  if (!(total - total == 0)) detail::fail<range_error>({"importances: the sum of the mean squares is not finite"});
  const double inputs = static_cast<double>(h.inputs()), least = 0x1p-20 / inputs;
  std::vector<float> out(h.inputs());
  // Relative to the mean, which changes no quantizer's choice and keeps them within float.
  for (std::size_t k = 0; k < h.inputs(); ++k) {
    if (!(total > 0)) detail::fail<range_error>({"importances: all activations were 0"});
    out[k] = static_cast<float>(detail::greater(h(k, k) / total, least) * inputs);
  }
  return out;
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1
