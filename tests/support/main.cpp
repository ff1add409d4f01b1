// SPDX-License-Identifier: MIT
/// The main() of every test program, and, for Catch2 2, the one place where Catch is compiled.
#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"

/// Read by the address sanitizer: libomp keeps what it allocated for a thread of the program that has ended.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libomp.so"; }

#ifdef TERN_CATCH2_V3

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }

#else

namespace {

/// What has been run; stays empty when Catch was asked for a list only.
Catch::Counts test_cases;

struct count_test_cases : Catch::TestEventListenerBase {
  using TestEventListenerBase::TestEventListenerBase;
  void testRunEnded(const Catch::TestRunStats& stats) override { test_cases = stats.totals.testCases; }
};
CATCH_REGISTER_LISTENER(count_test_cases)

}  // namespace

int main(int argc, char** argv) {
  const int result = Catch::Session().run(argc, argv);
  if (test_cases.total() == 0) return result;

  for (const auto& [name, reason] : tern_test::skipped) std::cout << "SKIPPED: " << name << ": " << reason << '\n';
  if (!tern_test::skipped.empty()) std::cout << tern_test::skipped.size() << " test cases skipped\n";

  // Not Catch's count of failures, which may be 4.
  if (result != 0) return 1;
  return tern_test::skipped.size() == test_cases.total() ? 4 : 0;
}

#endif
