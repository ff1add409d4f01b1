// SPDX-License-Identifier: MIT
// An instruction set that falls back to nothing has no kernel for most operands.
// expect: an instruction set derives from tern::isa::scalar
#include <tern/matmul.hpp>

#if MUST_NOT_COMPILE
struct mine {
#else
struct mine : tern::isa::scalar {
#endif
  static constexpr std::string_view name() { return "mine"; }
  static bool usable() { return true; }
};

void run(const tern::quantized_activations& x, const tern::ternary_matrix<>& w, tern::matrix<float>& y) {
  tern::matmul(mine{}, x, w, y);
}
