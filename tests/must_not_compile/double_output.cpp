// SPDX-License-Identifier: MIT
// expect: output_element
#include <tern/matmul.hpp>

#if MUST_NOT_COMPILE
using element = double;
#else
using element = tern::half;
#endif

void run(const tern::quantized_activations& x, const tern::ternary_matrix<>& w, tern::matrix<element>& y) {
  tern::matmul(x, w, y);
}
