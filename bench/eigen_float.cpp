// SPDX-License-Identifier: MIT
/// The only file that includes Eigen and the only one compiled with -m flags: templates of two flavours must not meet.
#define EIGEN_DONT_PARALLELIZE
#include "eigen_float.hpp"

#include <Eigen/Core>

namespace bench {

void eigen_matmul(const float* x, const float* w, float* y, long m, long n, long k) {
  using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<matrix>(y, m, n).noalias() =
      Eigen::Map<const matrix>(x, m, k) * Eigen::Map<const matrix>(w, n, k).transpose();
}

}  // namespace bench
