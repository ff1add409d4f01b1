// SPDX-License-Identifier: MIT
/// A random rotation of a layer's inputs, which spreads outliers over many of them: signs, then Hadamard matrices.
///
///     x' = x D H,   W' = W D H,   x' W'^T = x W^T,      D = diag(+-1), H orthonormal and symmetric
///
/// Weights with heavy tails quantise as Gaussian ones then: two planes of a (3,2) code go from 13.2 dB (Laplace) and
/// 11.3 dB (Student's t) to 15.4 dB; Gaussian ones lose nothing. For the activations it costs one fast transform a
/// token, K log2(block) additions.
///
/// H is block diagonal. A block is the largest power of two that divides K, but 64 at least (or the largest power of
/// two within K, where K is below 64): K = 4096 is one block, 2560 are five of 512, 384 three of 128. Where such a block
/// does not divide K, the inputs after the last whole block stay as they are: K = 1001 is fifteen of 64, and 41 inputs.
#pragma once

#include <vector>

#include <tern/parallel.hpp>
#include <tern/quantize/hadamard_transform.hpp>
#include <tern/view.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// 2^(-n/2), which makes the matrix of 2^n orthonormal.
inline float hadamard_scale(std::size_t size) {
  const int n = std::countr_zero(size);
  float scale = n % 2 == 0 ? 1.0f : 0x1.6a09e6p-1f;  // sqrt(1/2)
  for (int i = 0; i < n / 2; ++i) scale *= 0.5f;
  return scale;
}

/// The power of two in which n inputs are transformed.
constexpr std::size_t hadamard_block(std::size_t n) {
  if (n == 0) return 1;
  const std::size_t divides = n & (~n + 1), least = lesser(std::bit_floor(n), std::size_t{64});
  return greater(divides, least);
}

/// The diagonal of D times the scale of H, for the inputs of whole blocks: +-1 by the top bits of splitmix64.
inline std::vector<float> scaled_signs(std::size_t inputs, std::uint64_t seed, std::size_t block) {
  const float scale = hadamard_scale(block);
  std::vector<float> signs(inputs / block * block);
  for (float& sign : signs) {
    seed += 0x9e3779b97f4a7c15u;
    std::uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    sign = ((z ^ (z >> 31)) >> 63) != 0 ? -scale : scale;
  }
  return signs;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1 {

/// A rotation of K inputs.
///
/// Exactness: additions in float in a fixed order, and one product: the same bits on every machine. apply() has a
///            relative error of (n + 2) 2^-24 in the Euclidean norm, n = log2(block): each stage is sqrt(2) times an
///            orthogonal map and rounds each element once, and sqrt(1/2) costs two more roundings where n is odd. Where
///            n is even (blocks of 4, 16, 64, ...) and sums of a block fit 24 bits, as those of integers do, nothing is
///            rounded at all and undo() gives the very bits back.
///
///     const tern::hadamard_rotation r(w.cols());
///     const auto layer = tern::rotated_linear<tern::trit_code_linear>::from_float(w, bias, r);
class hadamard_rotation {
 public:
  TERN_INLINE hadamard_rotation() = default;
  TERN_INLINE_COPIES(hadamard_rotation);
  /// @param seed   of the signs: all that there is to store besides K
  /// @param block  a power of two, or 0 for the rule above
  /// Errors: range_error when block is not a power of two.
  template <class Tu = tu_tag>
  explicit hadamard_rotation(std::size_t inputs, std::uint64_t seed = 1, std::size_t block = 0, Tu = {})
      : inputs_(inputs), block_(block == 0 ? detail::hadamard_block(inputs) : block), seed_(seed) {
    if (!std::has_single_bit(block_))
      detail::fail<range_error>({"hadamard_rotation: a block of ", block, " is not a power of two"});
    signs_ = detail::scaled_signs(inputs, seed, block_);
  }

  std::size_t inputs() const { return inputs_; }
  std::size_t block() const { return block_; }
  std::uint64_t seed() const { return seed_; }
  /// Inputs that take part: whole blocks.
  std::size_t rotated() const { return signs_.size(); }

  /// out = x D H, row by row.
  /// @param x    [M x K] float, half or bfloat16: activations or weights
  /// @param out  [M x K] float; may be x itself, and must not overlap it otherwise
  /// @param ex   who works on the rows; the result does not depend on it
  /// Errors: shape_error when x or out is not of K inputs or out not of the shape of x.
  template <class Tu = tu_tag, real_matrix X, executor Executor = serial_executor>
  void apply(const X& x, matrix_view<float> out, const Executor& ex = {}) const {
    run<Tu, false>("hadamard_rotation", x, out, ex);
  }
  /// out = x H D: takes apply() back.
  template <class Tu = tu_tag, real_matrix X, executor Executor = serial_executor>
  void undo(const X& x, matrix_view<float> out, const Executor& ex = {}) const {
    run<Tu, true>("hadamard_rotation", x, out, ex);
  }
  /// W D H: what a layer behind the rotation is made from.
  template <class Tu = tu_tag, real_matrix W>
  matrix<float> weights(const W& w) const {
    decltype(auto) rows = detail::row_major(w);
    const detail::real_view<W> view = rows;
    matrix<float> out(view.rows(), view.cols());
    apply<Tu>(view, out);
    return out;
  }

 private:
  template <class Tu, bool Undo, class X, class Executor>
  void run(const char* what, const X& x, matrix_view<float> out, const Executor& ex) const {
    decltype(auto) rows = detail::row_major(x);
    const detail::real_view<X> view = rows;
    if (view.cols() != inputs() || out.cols() != inputs() || out.rows() != view.rows())
      detail::fail<shape_error>({what, ": x is ", view.rows(), "x", view.cols(), " and out ", out.rows(), "x",
                                 out.cols(), ", but the rotation is of ", inputs(), " inputs"});
    const detail::hadamard_kernel kernel = detail::hadamard_kernels().best();
    const std::size_t last = rotated();
    detail::for_each_part(view.rows(), ex, [&](std::size_t, std::size_t begin, std::size_t end) {
      for (std::size_t m = begin; m < end; ++m) {
        float* const row = out.row(m);
        const auto* const in = view.row(m);
        const float* from = row;
        if constexpr (std::same_as<decltype(in), const float* const>)
          from = in;
        else
          for (std::size_t k = 0; k < inputs_; ++k) row[k] = static_cast<float>(in[k]);
        for (std::size_t k = Undo ? 0 : last; k < inputs_; ++k) row[k] = from[k];
        for (std::size_t k = 0; k < last; k += block_) {
          if constexpr (!Undo) kernel.multiply(row + k, from + k, signs_.data() + k, block_);
          kernel.transform(row + k, block_);
          if constexpr (Undo) kernel.multiply(row + k, row + k, signs_.data() + k, block_);
        }
      }
    });
  }

  std::size_t inputs_ = 0, block_ = 1;
  std::uint64_t seed_ = 1;
  std::vector<float> signs_;  // times the scale of H, [rotated()]
};

}  // namespace tern::inline v0_1
