// SPDX-License-Identifier: MIT
/// Matrix products whose bits do not depend on the machine: C += A B with factors of 24 bits and sums in double.
///
/// The product of two floats has 48 bits and is exact in double, so that a term costs one rounding, that of the sum,
/// whether the compiler fuses product and sum or not. Each element of C is one sum in ascending order of the depth:
/// vectors run across columns, blocks of depth pick the sum up where the one before left it, and the result is that of
/// three plain loops, for every vector length, blocking and executor. Here AVX2 and AVX-512 are a choice of speed alone:
/// with four rows and two vectors of columns the eight sums cover the latency of two units.
///
/// A is packed into strips of four rows and B into strips of two vectors, both with the depth outermost, as doubles.
#pragma once

#include <vector>

#include <tern/error.hpp>
#include <tern/isa/detect.hpp>

#define TERN_LANES(bytes) using lanes [[gnu::vector_size(bytes)]] = double

namespace tern::inline v0_1::detail::inline TERN_TU::strips {
#if defined(__AVX512F__)
TERN_LANES(64);
#elif defined(__AVX__)
TERN_LANES(32);
#else
TERN_LANES(16);
#endif
#include <tern/quantize/strip_product.inc>
}  // namespace tern::inline v0_1::detail::inline TERN_TU::strips

#if defined(TERN_X86) && !defined(TERN_PIN_ISA)
TERN_REGION_BEGIN("avx2,fma")
namespace tern::inline v0_1::detail::inline TERN_TU::strips_avx2 {
TERN_LANES(32);
#include <tern/quantize/strip_product.inc>
}  // namespace tern::inline v0_1::detail::inline TERN_TU::strips_avx2
TERN_REGION_END
TERN_REGION_BEGIN("avx512f,fma")
namespace tern::inline v0_1::detail::inline TERN_TU::strips_avx512 {
TERN_LANES(64);
#include <tern/quantize/strip_product.inc>
}  // namespace tern::inline v0_1::detail::inline TERN_TU::strips_avx512
TERN_REGION_END
#endif
#undef TERN_LANES

namespace tern::inline v0_1::detail::inline TERN_TU {

/// The inner loop for strips of so many columns.
struct strip_kernel {
  std::size_t cols = 0;
  void (*add)(double* c, std::size_t c_stride, const double* a, const double* b, std::size_t depth) = nullptr;
};

/// Those that this machine can run, the best last.
inline std::vector<strip_kernel> strip_kernels() {
  std::vector<strip_kernel> kernels{{strips::strip_cols, strips::add_strip_product}};
#if defined(TERN_X86) && !defined(TERN_PIN_ISA)
  const isa::x86_features& has = isa::x86_features::get();
  if (has.avx2) kernels.push_back({strips_avx2::strip_cols, strips_avx2::add_strip_product});
  if (has.avx512vnni) kernels.push_back({strips_avx512::strip_cols, strips_avx512::add_strip_product});
#endif
  return kernels;
}

inline constexpr std::size_t strip_rows = 4, widest_strip = 16;
/// Sizes of what callers cut their work into: of B, 256 x 128 doubles are in use, 256 KiB.
inline constexpr std::size_t product_depth = 256, product_cols = 128;
static_assert(product_cols % widest_strip == 0);

/// What one thread packs operands into. Made by the calling thread, since an executor's threads are not to allocate.
class product_workspace {
 public:
  explicit product_workspace(const strip_kernel& kernel = strip_kernels().back())
      : kernel_(kernel), a_(strip_rows * product_depth), b_(product_cols * product_depth) {}

  /// C += A B, at most product_cols columns at once.
  /// @param c     [rows x cols] double
  /// @param a_of  a_of(r, k) float: an element of A, rows x depth
  /// @param b_of  b_of(k, c) float: an element of B, depth x cols
  template <class AOf, class BOf>
  void add(double* c, std::size_t c_stride, std::size_t rows, std::size_t cols, std::size_t depth, AOf&& a_of,
           BOf&& b_of) {
    for (std::size_t first = 0; first < depth; first += product_depth) {
      const std::size_t steps = lesser(product_depth, depth - first);
      for (std::size_t j = 0; j < cols; j += kernel_.cols)
        for (std::size_t k = 0; k < steps; ++k)
          for (std::size_t i = 0; i < lesser(kernel_.cols, cols - j); ++i)
            b_[j * steps + k * kernel_.cols + i] = static_cast<double>(b_of(first + k, j + i));
      for (std::size_t r = 0; r < rows; r += strip_rows) {
        const std::size_t here = lesser(strip_rows, rows - r);
        for (std::size_t i = 0; i < here; ++i)
          for (std::size_t k = 0; k < steps; ++k) a_[k * strip_rows + i] = static_cast<double>(a_of(r + i, first + k));
        for (std::size_t j = 0; j < cols; j += kernel_.cols)
          add_strips(c + r * c_stride + j, c_stride, here, lesser(kernel_.cols, cols - j), b_.data() + j * steps,
                     steps);
      }
    }
  }

 private:
  /// One strip of columns; at an edge what is beyond it is computed from whatever was packed last, and dropped.
  void add_strips(double* c, std::size_t c_stride, std::size_t rows, std::size_t cols, const double* b,
                  std::size_t steps) {
    if (rows == strip_rows && cols == kernel_.cols) return kernel_.add(c, c_stride, a_.data(), b, steps);
    double edge[strip_rows * widest_strip] = {};
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t j = 0; j < cols; ++j) edge[r * kernel_.cols + j] = c[r * c_stride + j];
    kernel_.add(edge, kernel_.cols, a_.data(), b, steps);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t j = 0; j < cols; ++j) c[r * c_stride + j] = edge[r * kernel_.cols + j];
  }

  strip_kernel kernel_;
  std::vector<double> a_, b_;
};

}  // namespace tern::inline v0_1::detail::inline TERN_TU
