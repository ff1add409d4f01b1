// SPDX-License-Identifier: MIT
/// The float baseline: the same product with Eigen, compiled for AVX2 and FMA where the rest of the program is not.
#pragma once

namespace bench {

/// Y [M x N] = X [M x K] W^T, W [N x K], all row-major float, on one thread.
void eigen_matmul(const float* x, const float* w, float* y, long m, long n, long k);

}  // namespace bench
