// SPDX-License-Identifier: MIT
// Executors are passed as const: one call of a product may not change them for the next.
// expect: e\.parallel_for\(n, f\)
#include <tern/matmul.hpp>

#if MUST_NOT_COMPILE
#define TERN_TEST_CONST
#else
#define TERN_TEST_CONST const
#endif

struct mine {
  std::size_t concurrency() const { return 2; }
  void parallel_for(std::size_t n, auto&& f) TERN_TEST_CONST {
    for (std::size_t i = 0; i < n; ++i) f(i);
  }
};

void run(const tern::quantized_activations& x, const tern::ternary_matrix<>& w, tern::matrix<float>& y) {
  tern::matmul(tern::isa::scalar{}, x, w, y, {}, mine{});
}
