// SPDX-License-Identifier: MIT
/// The ceilings of this machine: instruction peaks, and reading from L2 and from memory with 1 to 8 far-apart streams.
#include <benchmark/benchmark.h>
#include <unistd.h>

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

struct alignas(64) line {
  std::byte bytes[64] = {};
};

/// Memory to read, whole cache lines, kept between benchmarks of the same size; written once, so that its pages exist.
const std::byte* memory(std::size_t bytes) {
  static std::vector<line> data;
  if (data.size() != bytes / sizeof(line)) {
    data = {};
    data.resize(bytes / sizeof(line));
  }
  return data.front().bytes;
}

/// Reads `bytes` again and again, as S streams.
template <std::size_t S, std::size_t Prefetch>
void read(benchmark::State& state, std::size_t bytes) {
  if (!tern::isa::avx2::usable()) return state.SkipWithError("skipped: no avx2");
  const std::byte* data = memory(bytes);
  bench::read_streams<S, Prefetch>(data, bytes);
  std::vector<double> rates;
  for (auto _ : state) {
    const double t = bench::seconds([&] { bench::read_streams<S, Prefetch>(data, bytes); });
    rates.push_back(static_cast<double>(bytes) / t * 1e-9);
  }
  report(state, "GB/s", rates);
}

void add_read(const char* name, void (*function)(benchmark::State&, std::size_t), std::size_t bytes) {
  benchmark::RegisterBenchmark(name, function, bytes)->Unit(benchmark::kMicrosecond);
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

  const long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  const std::size_t l2_half = l2 > 0 ? static_cast<std::size_t>(l2) / 2 : std::size_t{128} << 10;
  add_read("ceiling/read_l2/S1", read<1, 0>, l2_half);
  add_read("ceiling/read_l2/S2", read<2, 0>, l2_half);
  add_read("ceiling/read_l2/S4", read<4, 0>, l2_half);
  add_read("ceiling/read_l2/S8", read<8, 0>, l2_half);
  add_read("ceiling/read_dram/S1", read<1, 0>, bench::cold_bytes);
  add_read("ceiling/read_dram/S2", read<2, 0>, bench::cold_bytes);
  add_read("ceiling/read_dram/S4", read<4, 0>, bench::cold_bytes);
  add_read("ceiling/read_dram/S8", read<8, 0>, bench::cold_bytes);
  add_read("ceiling/read_dram/S1_prefetch512", read<1, 512>, bench::cold_bytes);
  add_read("ceiling/read_dram/S2_prefetch512", read<2, 512>, bench::cold_bytes);
  add_read("ceiling/read_dram/S4_prefetch512", read<4, 512>, bench::cold_bytes);
  add_read("ceiling/read_dram/S8_prefetch512", read<8, 512>, bench::cold_bytes);
}

#else

void register_all() {}

#endif

}  // namespace

int main(int argc, char** argv) {
  register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
