// SPDX-License-Identifier: MIT
// x may have any order, for it is read; y may not.
// expect: declare the matrix Eigen::RowMajor
#include <tern/eigen.hpp>
#include <tern/tern.hpp>

#if MUST_NOT_COMPILE
using output = Eigen::MatrixXf;
#else
using output = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
#endif

void run(const tern::bit_linear& layer, const Eigen::MatrixXf& x, output& y, tern::aligned_bytes& workspace) {
  layer(x, y, workspace);
}
