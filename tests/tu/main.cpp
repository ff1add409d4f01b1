// SPDX-License-Identifier: MIT
/// Runs the baseline unit, then, where this machine can, the one built for a newer machine, and compares the results.
#include <cstdio>

#include "product.hpp"

#if defined(__aarch64__)
#include <sys/auxv.h>
static bool runs_native() { return (getauxval(AT_HWCAP) & HWCAP_ATOMICS) != 0; }  // which came with armv8.1-a
#else
static bool runs_native() { return __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2"); }
#endif

static int skip() {
  std::puts("SKIPPED: this machine cannot run the native unit");
  return 4;
}

int main() {
#if defined(__aarch64__)
  // The standard library's functions are in no namespace of tern's: std::shared_ptr counts by the instructions of the unit
  // whose copy the linker keeps.
  if (!runs_native()) return skip();
#endif
  const std::vector<float> baseline = product_baseline();
  if (!runs_native()) return skip();
  const std::vector<float> native = product_native();
  std::printf("%zu results, %s\n", baseline.size(), baseline == native ? "equal" : "DIFFERENT");
  return !baseline.empty() && baseline == native ? 0 : 1;
}
