// SPDX-License-Identifier: MIT
/// OpenBLAS, through CBLAS.
#include <cblas.h>

#include <cstdio>
#include <cstdlib>

#include "peers.hpp"

// Not in the cblas.h of other libraries, which may be the one that was found.
extern "C" void openblas_set_num_threads(int);
extern "C" char* openblas_get_corename();

namespace bench {

bool openblas_usable() {
  static const bool usable = [] {
    for (const char* name : {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"})
      if (std::getenv(name) != nullptr) {
        std::fprintf(stderr, "OpenBLAS is left out: %s is set, and it was read before this program began\n", name);
        return false;
      }
    return true;
  }();
  return usable;
}

std::string_view openblas_kernel() { return openblas_get_corename(); }

void openblas_matmul(const float* x, const float* w, float* y, std::size_t m, std::size_t n, std::size_t k,
                     int threads) {
  openblas_set_num_threads(threads);
  const auto rows = static_cast<blasint>(m), outputs = static_cast<blasint>(n), inputs = static_cast<blasint>(k);
  if (m == 1)
    cblas_sgemv(CblasRowMajor, CblasNoTrans, outputs, inputs, 1.0f, w, inputs, x, 1, 0.0f, y, 1);
  else
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, outputs, inputs, 1.0f, x, inputs, w, inputs, 0.0f, y,
                outputs);
}

}  // namespace bench
