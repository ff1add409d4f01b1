// SPDX-License-Identifier: MIT
/// Runs the baseline unit, then, where this machine can, the one built for a newer machine, and compares the results.
#include <cstdio>

#include "product.hpp"

int main() {
  const std::vector<float> baseline = product_baseline();
  if (!__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512vbmi2")) {
    std::puts("SKIPPED: this machine cannot run the native unit");
    return 4;
  }
  const std::vector<float> native = product_native();
  std::printf("%zu results, %s\n", baseline.size(), baseline == native ? "equal" : "DIFFERENT");
  return !baseline.empty() && baseline == native ? 0 : 1;
}
