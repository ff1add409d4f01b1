// SPDX-License-Identifier: MIT
// A view is written through, and a column-major matrix has no rows to write.
// expect: declare the matrix Eigen::RowMajor
#include <tern/eigen.hpp>

auto view_of(Eigen::Matrix<float, 4, 4, MUST_NOT_COMPILE ? Eigen::ColMajor : Eigen::RowMajor>& m) {
  return tern::view(m);
}
