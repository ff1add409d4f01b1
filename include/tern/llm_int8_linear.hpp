// SPDX-License-Identifier: MIT
/// LLM.int8(): a linear layer that multiplies the few columns of x with outliers in float and all others in int8.
///
/// Activations of large language models have some features, the same in most tokens, that are a hundred times larger
/// than the others. In one int8 scale per token these leave nothing for the rest; taken out, they leave int8 almost
/// lossless.
#pragma once

#include <vector>

#include <tern/linear.hpp>

namespace tern::inline v0_1::inline TERN_TU {

/// The columns of x with outliers: k such that |x(m,k)| >= threshold for some token m, ascending.
///
/// @param x          [M x K] real matrix: tern's or Eigen's
/// @param threshold  at least 0, in the unit of x; with 0 every column is one, with infinity none
/// Errors: range_error when the threshold is negative or NaN, or naming row and column of a NaN or infinity in x.
template <real_matrix X>
std::vector<std::size_t> outlier_columns(const X& x, float threshold) {
  if (!(threshold >= 0)) detail::fail<range_error>({"outlier_columns: the threshold ", threshold, " is not >= 0"});
  decltype(auto) rows = detail::row_major(x);
  const detail::real_view<X> view = rows;
  detail::check_finite("outlier_columns", view);
  std::vector<bool> is_outlier(view.cols());
  for (std::size_t m = 0; m < view.rows(); ++m)
    for (std::size_t k = 0; k < view.cols(); ++k)
      if (std::fabs(static_cast<float>(view(m, k))) >= threshold) is_outlier[k] = true;
  std::vector<std::size_t> columns;
  for (std::size_t k = 0; k < view.cols(); ++k)
    if (is_outlier[k]) columns.push_back(k);
  return columns;
}

}  // namespace tern::inline v0_1::inline TERN_TU

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Some columns of packed int8 weights as packed weights of their own: one plane each, `planes` of the same shape, one
/// group and no zero points. Codes are moved as they lie: columns stand 4 inputs to a block, see packed_matrix.hpp.
template <executor Executor>
packed_view<i8> gather_columns(std::span<const packed_view<i8>* const> planes, std::span<const std::size_t> columns,
                               aligned_bytes& storage, const Executor& ex) {
  const packed_view<i8>& first = *planes[0];
  const packed_format format{.rows = first.rows(), .cols = columns.size(), .planes = planes.size()};
  storage = aligned_bytes(packed_view<i8>::storage_bytes(format));
  const packed_view<i8> gathered(storage, format);
  std::byte* const codes = storage.data();
  float* const scales =
      reinterpret_cast<float*>(codes + gathered.panels() * gathered.planes() * gathered.blocks() * block_bytes<i8>);
  const auto gather_panel = [&](std::size_t panel) {
    for (std::size_t p = 0; p < planes.size(); ++p) {
      const packed_view<i8>& w = *planes[p];
      const std::size_t run = panel * planes.size() + p;
      for (std::size_t j = 0; j < columns.size(); ++j) {
        const std::uint8_t* from =
            w.codes(panel, 0) + columns[j] / quad_inputs * block_bytes<i8> + columns[j] % quad_inputs;
        std::byte* const to = codes + (run * gathered.blocks() + j / quad_inputs) * block_bytes<i8> + j % quad_inputs;
        for (std::size_t r = 0; r < panel_rows; ++r) to[quad_inputs * r] = std::byte{from[quad_inputs * r]};
      }
      for (std::size_t r = 0; r < panel_rows && panel * panel_rows + r < w.rows(); ++r)
        scales[run * panel_rows + r] = w.scale(0, panel * panel_rows + r, 0);
    }
  };
  if (first.panels() != 0) ex.parallel_for(first.panels(), gather_panel);
  return gathered;
}

/// What the codes of W leave of it, in int8 too: together they are W in 16 bits.
/// Errors: those of quantize_absmax.
template <real_matrix M>
int8_matrix remainder_of(const M& w, const packed_view<i8>& codes) {
  decltype(auto) rows = row_major(w);
  const real_view<M> view = rows;
  matrix<float> rest(view.rows(), view.cols());
  for (std::size_t n = 0; n < view.rows(); ++n) {
    const double scale = static_cast<double>(codes.scale(0, n, 0));
    for (std::size_t k = 0; k < view.cols(); ++k)  // an exact product
      rest(n, k) =
          static_cast<float>(static_cast<double>(static_cast<float>(view(n, k))) - scale * codes.level(0, n, k));
  }
  return int8_matrix(quantize_absmax(rest, per_channel));
}

/// y = quantize(x) W^T + bias.
template <isa_tag Isa, real_element T, class Y, executor Executor>
void int8_product(Isa isa, matrix_view<const T> x, const packed_view<i8>& w, std::span<const float> bias, Y&& y,
                  const Executor& ex) {
  aligned_bytes workspace(activations_view::storage_bytes(x.rows(), x.cols()));
  tern::matmul(isa, tern::quantize_activations(isa, x, workspace, ex), w, y, bias, ex);
}

/// Bytes that split_product works in.
inline std::size_t split_bytes(std::size_t tokens, std::size_t inputs, std::size_t outliers, std::size_t outputs) {
  const auto floats = [&](std::size_t cols) {
    return round_up(checked_product(checked_product(tokens, cols), sizeof(float)), storage_alignment);
  };
  const std::size_t sums = checked_sum(floats(outputs), floats(outputs));
  return checked_sum(checked_sum(checked_sum(floats(inputs), floats(outliers)), sums),
                     activations_view::storage_bytes(tokens, inputs));
}

/// The products with some columns of x in float, by their gathered weights, and all others in int8.
/// @param workspace  split_bytes() bytes or more, aligned to 64
template <isa_tag Isa, real_element T, real_element Out, executor Executor>
void split_product(Isa isa, matrix_view<const T> x, const packed_view<i8>& w, std::span<const std::size_t> columns,
                   const packed_view<i8>& of_columns, std::span<const float> bias, matrix_view<Out> y,
                   std::span<std::byte> workspace, const Executor& ex) {
  const auto take = [&](std::size_t cols) {
    const matrix_view<float> taken(reinterpret_cast<float*>(workspace.data()), x.rows(), cols);
    workspace = workspace.subspan(round_up(x.rows() * cols * sizeof(float), storage_alignment));
    return taken;
  };
  const matrix_view<float> rest = take(x.cols()), outliers = take(columns.size()), sum = take(w.rows()),
                           outlier_sum = take(w.rows());
  for (std::size_t m = 0; m < x.rows(); ++m) {
    for (std::size_t k = 0; k < x.cols(); ++k) rest(m, k) = static_cast<float>(x(m, k));
    for (std::size_t j = 0; j < columns.size(); ++j) {
      outliers(m, j) = rest(m, columns[j]);
      rest(m, columns[j]) = 0.0f;
    }
  }
  tern::matmul(isa, tern::quantize_activations(isa, rest, workspace, ex), w, sum, bias, ex);
  tern::matmul(isa, outliers, of_columns, outlier_sum, {}, ex);
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t n = 0; n < w.rows(); ++n) y(m, n) = static_cast<Out>(sum(m, n) + outlier_sum(m, n));
}

/// Errors: shape_error.
template <real_element T, real_element Out>
void check_split_shapes(const char* what, matrix_view<const T> x, const packed_view<i8>& w, matrix_view<Out> y) {
  if (x.cols() != w.cols())
    fail<shape_error>({what, ": x is ", x.rows(), "x", x.cols(), " but the layer takes ", w.cols(), " inputs"});
  if (y.rows() != x.rows() || y.cols() != w.rows())
    fail<shape_error>({what, ": y is ", y.rows(), "x", y.cols(), " but x W^T is ", x.rows(), "x", w.rows()});
}

/// Errors: shape_error when the bias has another size; range_error on weights in groups or with zero points.
inline void check_split_weights(const char* what, const packed_view<i8>& weights, std::span<const float> bias) {
  if (!bias.empty() && bias.size() != weights.rows())
    fail<shape_error>({what, ": ", bias.size(), " biases for ", weights.rows(), " outputs"});
  const packed_format& format = weights.format();
  if (format.granularity.kind == granularity::sharing::group)
    fail<range_error>({what, ": weights have a scale per tensor or channel, not one for every ",
                       format.granularity.group, " inputs"});
  if (format.has_zeros) fail<range_error>({what, ": weights have no zero points"});
}

/// Errors: range_error.
inline void check_outlier_bits(unsigned bits) {
  if (bits != 8 && bits != 16) fail<range_error>({"llm_int8_linear: 8 or 16 bits for outliers, not ", bits});
}

/// What llm_int8_linear computes, on one instruction set.
/// @param remainder  of w, or nothing
template <isa_tag Isa, real_element T, real_element Out, executor Executor>
void llm_int8_product(Isa isa, matrix_view<const T> x, const packed_view<i8>& w, std::span<const float> bias,
                      float threshold, matrix_view<Out> y, const Executor& ex, const packed_view<i8>& remainder = {}) {
  check_split_shapes("llm_int8_linear", x, w, y);
  const std::vector<std::size_t> columns = tern::outlier_columns(x, threshold);
  if (columns.empty()) return int8_product(isa, x, w, bias, y, ex);
  aligned_bytes storage, workspace(split_bytes(x.rows(), x.cols(), columns.size(), w.rows()));
  const packed_view<i8>* const planes[] = {&w, &remainder};
  const auto of_columns = gather_columns(std::span(planes, remainder.cols() == 0 ? 1 : 2), columns, storage, ex);
  split_product(isa, x, w, columns, of_columns, bias, y, workspace, ex);
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1 {

struct llm_int8_options {
  float threshold = 6.0f;  ///< magnitudes from here on are outliers; in the unit of x
  /// Of the weights that outliers are multiplied by: 8, the codes of all products, or 16, with what these leave over kept
  /// beside them. Then the layer takes twice the memory, and a call little more time.
  unsigned outlier_bits = 8;
};

/// A linear map with int8 weights, one scale a channel, that keeps outlier columns of x out of the int8 product.
///
/// With O = outlier_columns(x, threshold), taken over the whole batch, x' = x with the columns O set to zero, and codes
/// and scales of the weights quantised once over all columns (quantize_absmax, per channel):
///
///     (q, s) = quantize_activations(x')              a token of nothing but outliers has s = 1
///     a(m,n) = float(sum_k q(m,k) code(n,k)) * scale(n)                 the sum exact, in int32
///     o(m,n) = fold over k in O ascending, from +0, of fma(x(m,k), float(code(n,k)), o);   o = o * scale(n)
///     y(m,n) = fl(bias ? fma(a, s(m), bias(n)) : a * s(m)) + o(m,n)
///
/// Where O is empty y is int8_linear's, bit for bit. The weights of outlier columns are the dequantised ones, as in
/// bitsandbytes, or with outlier_bits = 16 those of two planes: o = fma(o', scale', o * scale) then, o' by the codes and
/// scales of W - code * scale, which quantize_absmax gives. (bitsandbytes zeroes only the outlier elements before it takes
/// a token's maximum; without the whole columns the scale is never larger.)
///
/// Outliers multiply the errors of their weights. With 8 bits that is most of the error that is left: 1.3 to 7 times
/// that of int8 without the outlier columns, for 1 to 7 of 256 columns 20 to 60 times larger; with 16 bits it is 1.00.
/// llm_int8_static_linear has these 16 bits for its columns alone.
///
/// A token's output depends on its neighbours, through O and nothing else: a batch is one computation, and tokens
/// computed one by one may differ from it. llm_int8_static_linear.hpp has the layer whose columns calibration fixed.
///
/// Exactness: bit-identical on every instruction set and for every executor.
/// Cost:      int8_linear's, plus M N |O| float operations and a pass over the weights of O. Allocates in every call:
///            how much is known only when O is.
/// Errors:    range_error when the threshold is negative or NaN; of a call: shape_error on a wrong depth or y,
///            range_error naming row and column of a NaN or infinity, and when K is too large (see matmul). y is then
///            untouched.
/// Source:    T. Dettmers et al., "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale",
///            arXiv:2208.07339.
///
///     auto layer = tern::llm_int8_linear::from_float(W, bias, {.threshold = 6.0f});     // W [N x K]
///     auto y = layer(x);                                                               // x [M x K] -> y [M x N]
class llm_int8_linear {
 public:
  TERN_INLINE llm_int8_linear() = default;
  TERN_INLINE_COPIES(llm_int8_linear);
  /// From packed weights, [N x K], and a bias, [N] or empty.
  /// @param remainder  with outlier_bits = 16 what the weights leave of W, as remainder() of a layer; else nothing
  /// Errors: shape_error when the bias has another size, or the remainder is there with 8 bits or of another shape with
  ///         16; range_error for other outlier_bits, and on weights in groups or with zero points.
  TERN_INLINE explicit llm_int8_linear(int8_matrix weights, std::vector<float> bias = {},
                                       const llm_int8_options& options = {}, int8_matrix remainder = {})
      : weights_(std::move(weights)),
        remainder_(std::move(remainder)),
        bias_(std::move(bias)),
        threshold_(options.threshold) {
    detail::check_split_weights("llm_int8_linear", weights_.view(), bias_);
    if (!(threshold_ >= 0)) detail::fail<range_error>({"llm_int8_linear: the threshold ", threshold_, " is not >= 0"});
    detail::check_outlier_bits(options.outlier_bits);
    const bool wide = options.outlier_bits == 16;
    if (remainder_.rows() != (wide ? weights_.rows() : 0) || remainder_.cols() != (wide ? weights_.cols() : 0))
      detail::fail<shape_error>({"llm_int8_linear: a remainder of ", remainder_.rows(), "x", remainder_.cols(),
                                 " beside weights of ", weights_.rows(), "x", weights_.cols(), " with ",
                                 options.outlier_bits, " bits for outliers"});
    detail::check_split_weights("llm_int8_linear", remainder_.view(), {});
  }

  /// From float weights [N x K], absmax per channel.
  /// @param bias  [N] or empty: anything with begin() and end()
  /// @param pack  how the weights are stored: scales of 32 or 16 bits
  /// Errors: those of quantize_absmax and the constructor.
  template <class Tu = tu_tag, real_matrix M, class Bias = std::vector<float>>
  static llm_int8_linear from_float(const M& w, const Bias& bias = {}, const llm_int8_options& options = {},
                                    const pack_options& pack = {}) {
    detail::check_outlier_bits(options.outlier_bits);
    int8_matrix weights(quantize_absmax(w, per_channel), pack), remainder;
    if (options.outlier_bits == 16) remainder = detail::remainder_of(w, weights.view());
    return llm_int8_linear(std::move(weights), std::vector<float>(bias.begin(), bias.end()), options,
                           std::move(remainder));
  }

  std::size_t in_features() const { return weights_.cols(); }
  std::size_t out_features() const { return weights_.rows(); }
  const int8_matrix& weights() const { return weights_; }
  std::span<const float> bias() const { return bias_; }
  float threshold() const { return threshold_; }
  /// What weights() leaves of W, where outliers have weights of 16 bits; else a matrix of nothing.
  const int8_matrix& remainder() const { return remainder_; }

  /// Y = layer(X). The result is of x's family: an Eigen matrix for Eigen, tern::matrix<float> for tern's own.
  /// @param x  [M x K] float, half or bfloat16
  template <class Tu = tu_tag, real_matrix X>
  auto operator()(const X& x) const {
    decltype(auto) rows = detail::row_major(x);
    const detail::real_view<X> view = rows;
    auto y = matrix_traits<X>::make(x, view.rows(), out_features());
    (*this)(view, y);
    return y;
  }

  /// The same into y, with an executor.
  /// @param y  [M x N] float, half or bfloat16; written in full, must not overlap x
  template <class Tu = tu_tag, real_matrix X, output_matrix Y, executor Executor = serial_executor>
  void operator()(const X& x, Y&& y, const Executor& ex = {}) const {
    static_assert(real_matrix<Y>, "llm_int8_linear writes float, half or bfloat16: part of its sum is no integer");
    decltype(auto) rows = detail::row_major(x);
    isa::with_best([&](auto isa) {
      detail::llm_int8_product(isa, detail::real_view<X>(rows), weights_.view(), bias_, threshold_,
                               matrix_traits<std::remove_cvref_t<Y>>::view(y), ex, remainder_.view());
    });
  }

 private:
  int8_matrix weights_, remainder_;
  std::vector<float> bias_;
  float threshold_ = llm_int8_options{}.threshold;
};

}  // namespace tern::inline v0_1
