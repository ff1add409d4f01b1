// SPDX-License-Identifier: MIT
/// Matrix products whose bits do not depend on the machine: C += A B with factors of 24 bits and sums in double.
///
/// The product of two floats has 48 bits and is exact in double, so that a term costs one rounding, that of the sum,
/// whether the compiler fuses product and sum or not. Each element of C is one sum in ascending order of the depth:
/// vectors run across columns, blocks of depth pick the sum up where the one before left it, and the result is that of
/// three plain loops, for every vector length, blocking and executor.
///
/// A is packed into strips of four rows and B into strips of two vectors, both with the depth outermost, as doubles.
#pragma once

#include <cstring>
#include <vector>

#include <tern/error.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

#if defined(__AVX512F__)
inline constexpr std::size_t lane_bytes = 64;
#elif defined(__AVX__)
inline constexpr std::size_t lane_bytes = 32;
#else
inline constexpr std::size_t lane_bytes = 16;
#endif
using lanes [[gnu::vector_size(lane_bytes)]] = double;

inline constexpr std::size_t lane_count = lane_bytes / sizeof(double);
inline constexpr std::size_t strip_rows = 4, strip_cols = 2 * lane_count;
/// Sizes of what callers cut their work into: of B, 256 x 128 doubles are in use, 256 KiB.
inline constexpr std::size_t product_depth = 256, product_cols = 128;
static_assert(product_cols % strip_cols == 0);

/// C += A B for one strip of each. @param c  [4 x strip_cols]
TERN_NOINLINE inline void add_strip_product(double* c, std::size_t c_stride, const double* a, const double* b,
                                            std::size_t depth) {
  lanes sum[strip_rows][2];
  for (std::size_t r = 0; r < strip_rows; ++r) std::memcpy(sum[r], c + r * c_stride, sizeof sum[r]);
  for (std::size_t k = 0; k < depth; ++k, a += strip_rows, b += strip_cols) {
    lanes x[2];
    std::memcpy(x, b, sizeof x);
    TERN_UNROLL
    for (std::size_t r = 0; r < strip_rows; ++r) {
      sum[r][0] += a[r] * x[0];
      sum[r][1] += a[r] * x[1];
    }
  }
  for (std::size_t r = 0; r < strip_rows; ++r) std::memcpy(c + r * c_stride, sum[r], sizeof sum[r]);
}

/// What one thread packs operands into. Made by the calling thread, since an executor's threads are not to allocate.
class product_workspace {
 public:
  product_workspace() : a_(strip_rows * product_depth), b_(product_cols * product_depth) {}

  /// C += A B, at most product_cols columns at once.
  /// @param c     [rows x cols] double
  /// @param a_of  a_of(r, k) float: an element of A, rows x depth
  /// @param b_of  b_of(k, c) float: an element of B, depth x cols
  template <class AOf, class BOf>
  void add(double* c, std::size_t c_stride, std::size_t rows, std::size_t cols, std::size_t depth, AOf&& a_of,
           BOf&& b_of) {
    for (std::size_t first = 0; first < depth; first += product_depth) {
      const std::size_t steps = lesser(product_depth, depth - first);
      for (std::size_t k = 0; k < steps; ++k)
        for (std::size_t j = 0; j < cols; ++j)
          b_[(j / strip_cols * steps + k) * strip_cols + j % strip_cols] = static_cast<double>(b_of(first + k, j));
      for (std::size_t r = 0; r < rows; r += strip_rows) {
        const std::size_t here = lesser(strip_rows, rows - r);
        for (std::size_t i = 0; i < here; ++i)
          for (std::size_t k = 0; k < steps; ++k) a_[k * strip_rows + i] = static_cast<double>(a_of(r + i, first + k));
        for (std::size_t j = 0; j < cols; j += strip_cols)
          add_strips(c + r * c_stride + j, c_stride, here, lesser(strip_cols, cols - j), j / strip_cols, steps);
      }
    }
  }

 private:
  /// One strip of columns; at an edge what is beyond it is computed from whatever was packed last, and dropped.
  void add_strips(double* c, std::size_t c_stride, std::size_t rows, std::size_t cols, std::size_t strip,
                  std::size_t steps) {
    const double* const b = b_.data() + strip * steps * strip_cols;
    if (rows == strip_rows && cols == strip_cols) return add_strip_product(c, c_stride, a_.data(), b, steps);
    double edge[strip_rows * strip_cols] = {};
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t j = 0; j < cols; ++j) edge[r * strip_cols + j] = c[r * c_stride + j];
    add_strip_product(edge, strip_cols, a_.data(), b, steps);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t j = 0; j < cols; ++j) c[r * c_stride + j] = edge[r * strip_cols + j];
  }

  std::vector<double> a_, b_;
};

}  // namespace tern::inline v0_1::detail::inline TERN_TU
