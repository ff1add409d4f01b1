// SPDX-License-Identifier: MIT
/// What the programs on Google Benchmark have in common: a short run by default, and how they were built in the output.
#pragma once

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#if !defined(BENCH_FLAGS)
#define BENCH_FLAGS "unknown"
#endif

namespace bench {

/// Runs what was registered. @return the exit status
inline int run_registered(std::vector<char*> arguments) {
  std::string min_time = "--benchmark_min_time=0.05";
  arguments.insert(arguments.begin() + 1, min_time.data());  // what the caller says comes later and wins
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
#if defined(__clang__)
  benchmark::AddCustomContext("compiler", __VERSION__);
#else
  benchmark::AddCustomContext("compiler", "g++ " __VERSION__);
#endif
  benchmark::AddCustomContext("flags", BENCH_FLAGS);
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace bench
