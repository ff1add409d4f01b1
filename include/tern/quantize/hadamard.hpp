// SPDX-License-Identifier: MIT
/// A random rotation of a layer's inputs, which spreads outliers over many of them: signs, then Hadamard matrices.
///
///     x' = x D H,   W' = W D H,   x' W'^T = x W^T,      D = diag(+-1), H orthonormal and symmetric
///
/// Weights with heavy tails quantise as Gaussian ones then: two planes of a (3,2) code go from 13.2 dB (Laplace) and
/// 11.3 dB (Student's t) to 15.4 dB; Gaussian ones lose nothing. For the activations it costs one fast transform a
/// token, K log2(block) additions.
///
/// H is block diagonal. A block is the largest power of two that divides K, but 64 at least (or the largest power of two
/// within K, where K is below 64): K = 4096 is one block, 2560 are five of 512, 384 three of 128. Where such a block does
/// not divide K, the inputs after the last whole block stay as they are: K = 1001 is fifteen of 64, and 41 inputs.
#pragma once

#include <cstring>
#include <vector>

#include <tern/parallel.hpp>
#include <tern/view.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

#if defined(__AVX512F__)
inline constexpr std::size_t transform_lanes = 16;
#elif defined(__AVX__)
inline constexpr std::size_t transform_lanes = 8;
#else
inline constexpr std::size_t transform_lanes = 4;
#endif
using transform_vector [[gnu::vector_size(transform_lanes * sizeof(float))]] = float;

/// x[i], x[i + half] become their sum and their difference, for all pairs of a stage.
template <class Vector>
void transform_stage(float* x, std::size_t size, std::size_t half) {
  constexpr std::size_t step = sizeof(Vector) / sizeof(float);
  for (std::size_t begin = 0; begin < size; begin += 2 * half)
    for (std::size_t i = begin; i < begin + half; i += step) {
      Vector a, b;
      std::memcpy(&a, x + i, sizeof a);
      std::memcpy(&b, x + i + half, sizeof b);
      const Vector sum = a + b, difference = a - b;
      std::memcpy(x + i, &sum, sizeof sum);
      std::memcpy(x + i + half, &difference, sizeof difference);
    }
}

/// x H for one block of 2^n, orthonormal: n stages of sums and differences, then times 2^(-n/2).
inline void hadamard_transform(float* x, std::size_t size) {
  for (std::size_t half = 1; half < size; half *= 2)
    half < transform_lanes ? transform_stage<float>(x, size, half) : transform_stage<transform_vector>(x, size, half);
  const int n = std::countr_zero(size);
  float scale = n % 2 == 0 ? 1.0f : 0x1.6a09e6p-1f;  // sqrt(1/2)
  for (int i = 0; i < n / 2; ++i) scale *= 0.5f;
  for (std::size_t i = 0; i < size; ++i) x[i] *= scale;
}

/// The power of two in which n inputs are transformed.
constexpr std::size_t hadamard_block(std::size_t n) {
  if (n == 0) return 1;
  const std::size_t divides = n & (~n + 1), least = lesser(std::bit_floor(n), std::size_t{64});
  return greater(divides, least);
}

/// +-1 by the top bits of splitmix64.
inline std::vector<float> random_signs(std::size_t count, std::uint64_t seed) {
  std::vector<float> signs(count);
  for (float& sign : signs) {
    seed += 0x9e3779b97f4a7c15u;
    std::uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    sign = ((z ^ (z >> 31)) >> 63) != 0 ? -1.0f : 1.0f;
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
      : block_(block == 0 ? detail::hadamard_block(inputs) : block),
        seed_(seed),
        signs_(detail::random_signs(inputs, seed)) {
    if (!std::has_single_bit(block_))
      detail::fail<range_error>({"hadamard_rotation: a block of ", block, " is not a power of two"});
  }

  std::size_t inputs() const { return signs_.size(); }
  std::size_t block() const { return block_; }
  std::uint64_t seed() const { return seed_; }
  /// Inputs that take part: whole blocks.
  std::size_t rotated() const { return inputs() / block_ * block_; }

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
    detail::for_each_part(view.rows(), ex, [&](std::size_t, std::size_t begin, std::size_t end) {
      for (std::size_t m = begin; m < end; ++m) {
        float* const row = out.row(m);
        const std::size_t last = rotated();
        for (std::size_t k = 0; k < inputs(); ++k)
          row[k] = static_cast<float>(view(m, k)) * (Undo || k >= last ? 1.0f : signs_[k]);
        for (std::size_t k = 0; k < last; k += block_) detail::hadamard_transform(row + k, block_);
        for (std::size_t k = 0; Undo && k < last; ++k) row[k] *= signs_[k];
      }
    });
  }

  std::size_t block_ = 1;
  std::uint64_t seed_ = 1;
  std::vector<float> signs_;
};

}  // namespace tern::inline v0_1
