// SPDX-License-Identifier: MIT
// Products of real activations are float; half goes through quantize_activations.
// expect: a product of real activations takes float
#include <tern/matmul.hpp>
#include <tern/quantize/activations.hpp>

void run(const tern::matrix<tern::half>& x, const tern::ternary_matrix<>& w, tern::matrix<float>& y) {
#if MUST_NOT_COMPILE
  tern::matmul(x, w, y);
#else
  tern::matmul(tern::quantize_activations(x), w, y);
#endif
}
