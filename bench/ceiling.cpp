// SPDX-License-Identifier: MIT
/// The ceilings of this machine: instruction peaks, and reading from L2 and from memory with 1 to 16
/// far-apart streams, on one thread and more.
#include <unistd.h>

#include <string>

#include "main.hpp"
#include "meter.hpp"

namespace {

#if defined(TERN_X86)

/// Reports the median of rates as the counter `unit`, and the highest, which is what an undisturbed machine does.
void report(benchmark::State& state, const char* unit, const std::vector<double>& rates) {
  state.counters[unit] = bench::median(rates);
  state.counters["best"] = *std::max_element(rates.begin(), rates.end());
}

template <class Isa>
void report_rate(benchmark::State& state, const char* unit, double (*measure)()) {
  if (!Isa::usable()) return state.SkipWithError(("skipped: no " + std::string(Isa::name())).c_str());
  std::vector<double> rates;
  for (auto _ : state) rates.push_back(measure());
  report(state, unit, rates);
}

/// Reads all of the data again and again.
void read(benchmark::State& state, std::span<const bench::line> data, const bench::read_pattern& pattern,
          std::size_t threads) {
  if (!tern::isa::avx2::usable()) return state.SkipWithError("skipped: no avx2");
  bench::read_rate(pattern, threads, data, 0, data.size_bytes() / threads);
  std::vector<double> rates;
  for (auto _ : state) rates.push_back(bench::read_rate(pattern, threads, data, 0, data.size_bytes() / threads));
  report(state, "GB/s", rates);
}

/// ceiling/read_<what>/S<streams>[_prefetch<bytes ahead>][/T<threads>]
void add_reads(const std::string& what, std::span<const bench::line> data, std::size_t threads, bool prefetch) {
  for (const bench::read_pattern& pattern : bench::read_patterns) {
    if (pattern.prefetch != 0 && !prefetch) continue;
    std::string name = "ceiling/read_" + what + "/S" + std::to_string(pattern.streams);
    if (pattern.prefetch != 0) name += "_prefetch" + std::to_string(pattern.prefetch);
    if (threads != 1) name += "/T" + std::to_string(threads);
    benchmark::RegisterBenchmark(name.c_str(), read, data, pattern, threads)->Unit(benchmark::kMicrosecond);
  }
}

void register_all() {
  const auto rate = []<class Isa>(Isa, const char* name, const char* unit, double (*measure)()) {
    benchmark::RegisterBenchmark(name, report_rate<Isa>, unit, measure)->Unit(benchmark::kMicrosecond);
  };
  using namespace tern::isa;
  rate(avx2{}, "ceiling/maddubs_paddw/avx2", "GMAC/s", bench::maddubs_peak);
  rate(avx2{}, "ceiling/maddubs_maddwd_paddd/avx2", "GMAC/s", [] { return bench::gmacs(bench::maddubs_maddwd_paddd); });
  rate(avxvnni{}, "ceiling/dpbusd/avxvnni", "GMAC/s", bench::dpbusd_256_peak);
  rate(avx512vnni{}, "ceiling/dpbusd/avx512vnni", "GMAC/s", bench::dpbusd_512_peak);
  rate(avx2{}, "ceiling/clock", "GHz", bench::clock_ghz);
  rate(avx2{}, "ceiling/front_end", "nops/ns", bench::nops_per_ns);

  rate(amx{}, "ceiling/tdpbssd/amx", "GMAC/s", bench::tdpbssd_peak);

  const long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  static const std::vector<bench::line> l2_half(l2 > 0 ? static_cast<std::size_t>(l2) / 2 / sizeof(bench::line) : 2048);
  add_reads("l2", l2_half, 1, false);
  add_reads("dram", bench::cold_memory(), 1, true);
  const std::size_t most = bench::most_threads();
  if (most > 1) add_reads("dram", bench::cold_memory(), 2, true);
  if (most > 2) add_reads("dram", bench::cold_memory(), most, true);
}

#else

void register_all() {}

#endif

}  // namespace

int main(int argc, char** argv) {
  register_all();
  return bench::run_registered({argv, argv + argc});
}
