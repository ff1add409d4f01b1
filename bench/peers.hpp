// SPDX-License-Identifier: MIT
/// The same products by other libraries, where they were found: oneDNN in int8, OpenBLAS in float. See CMakeLists.txt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace bench {

/// oneDNN's int8 product, Y [M x N] = X [M x K] W^T: X and W int8, row-major. Packing of the weights, to the layout that
/// oneDNN asks for, and all allocation happen in the constructor; a call allocates nothing.
class onednn_product {
 public:
  /// Limits oneDNN to an instruction set, by tern's name of it. Only before the first product of a process.
  /// @return false where this oneDNN does not know it or the machine does not have it
  static bool limit_to(std::string_view isa);

  /// @param scaled   float output with one scale (1) for each output; else int32
  /// @param copies   of the packed weights, for calls that find none of them in a cache
  /// @param threads  that the product will run on
  onednn_product(std::size_t m, std::size_t n, std::size_t k, const std::int8_t* x, const std::int8_t* w, bool scaled,
                 std::size_t copies = 1, int threads = 1);
  ~onednn_product();
  onednn_product(onednn_product&&) noexcept;

  /// Multiplies by the next copy of the weights.
  void operator()();
  /// [M x N] of the last call; only with scaled.
  const float* output() const;
  std::size_t weight_bytes() const;
  /// What oneDNN calls the kernel it chose.
  std::string_view kernel() const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

/// Whether OpenBLAS may be compared with: not where the environment restricts it. Says so once on stderr.
bool openblas_usable();
/// What OpenBLAS takes this processor for: one newer than the library may get kernels of an old one.
std::string_view openblas_kernel();
/// OpenBLAS's float product, Y [M x N] = X [M x K] W^T, all row-major.
void openblas_matmul(const float* x, const float* w, float* y, std::size_t m, std::size_t n, std::size_t k,
                     int threads);

}  // namespace bench
