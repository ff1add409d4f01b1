// SPDX-License-Identifier: MIT
/// Prints the instruction set that this process runs on, or the error of its choice, and runs one product on it twice:
/// TERN_FORCE_ISA is read once a process, so each value has a process of its own.
#include <cstdio>
#include <tern/matmul.hpp>

int main() {
  const std::vector<float> one{1.0f};
  const tern::matrix<float> x(1, 1, one);
  tern::matrix<float> y(1, 1, {42.0f});
  const tern::ternary_matrix<> w = [] {
    tern::quantized_matrix q(1, 1, 1, tern::per_tensor);
    q.codes = {1};
    q.scales = {7};
    return tern::ternary_matrix<>(q);
  }();
  for (int call = 1; call <= 2; ++call) {
    try {
      tern::matmul(x, w, y);
      const std::string_view name = tern::isa::best_name();
      std::printf("runs on %.*s, y is %g\n", static_cast<int>(name.size()), name.data(), static_cast<double>(y(0, 0)));
    } catch (const tern::isa_error& e) {
      std::printf("isa_error: %s, y is %g\n", e.what(), static_cast<double>(y(0, 0)));
    }
  }
}
