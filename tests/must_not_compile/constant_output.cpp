// SPDX-License-Identifier: MIT
// expect: output
#include <tern/matmul.hpp>

#if MUST_NOT_COMPILE
using output = tern::matrix_view<const float>;
#else
using output = tern::matrix_view<float>;
#endif

void run(const tern::quantized_activations& x, const tern::ternary_matrix<>& w, output y) { tern::matmul(x, w, y); }
