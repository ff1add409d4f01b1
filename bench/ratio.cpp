// SPDX-License-Identifier: MIT
/// The numbers that a change for speed is judged by: kernels against the instruction peak of the same moment.
///
///     bench_ratio [--seconds=10]
///
/// Rounds of all candidates, finely interleaved, 4096 x 4096 weights in cache; each sample stands between two readings
/// of the peak, the clock and the front end. Medians over all samples, and over those in which nobody shared the core
/// ("quiet", see ceiling.hpp). Products of 64 tokens are timed in 16 calls of 256 outputs, so that a sample is shorter
/// than a disturbance.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string_view>

#include "meter.hpp"
#include "operands.hpp"

namespace {

#if defined(TERN_X86)

using isa = tern::isa::avx2;

constexpr std::size_t outputs = 4096, inputs = 4096;

/// One row of the table: a product, cut into calls over its outputs.
struct candidate {
  std::string name;
  bench::shape size;  // of one call
  std::vector<std::function<void()>> calls;
  double wanted = 0;  // percent of the peak; 0 for none
  bench::meter meter{bench::peak_of<isa>};
};

template <class Codec>
candidate make(std::size_t tokens, double wanted) {
  const std::size_t calls = tokens == 1 ? 1 : 16;
  const bench::shape size{tokens, outputs / calls, inputs};
  candidate c{std::string(Codec::name()) + " M=" + std::to_string(tokens), size, {}, wanted};
  const auto x = tern::quantize_activations(bench::random_floats(tokens, inputs));
  for (std::size_t i = 0; i < calls; ++i) {
    const auto w = bench::random_weights<Codec>(size.n, inputs, tern::per_channel);
    c.calls.push_back([x, w, y = tern::matrix<float>(size.m, size.n)]() mutable { tern::matmul(isa{}, x, w, y); });
  }
  return c;
}

void print_table(const std::vector<candidate>& candidates) {
  using bench::sample;
  const bench::reading best = bench::reading::best;
  std::printf("undisturbed: peak of vpmaddubsw + vpaddw %.1f GMAC/s, clock %.2f GHz, %.1f nops a cycle\n\n", best.peak,
              best.ghz, best.nops / best.ghz);
  std::puts("4096 x 4096, in cache | GMAC/s | % of peak | quiet: GMAC/s | % of peak | MAC/cycle | samples | wanted");
  std::puts("----------------------|--------|-----------|---------------|-----------|-----------|---------|-------");
  for (const auto& [name, size, calls, wanted, meter] : candidates) {
    std::printf("%-21s | %6.1f | %9.1f | %13.1f | %9.1f | %9.1f | %7zu |", name.c_str(),
                meter.median_of(&sample::gmacs), meter.median_of(&sample::percent_of_peak),
                meter.median_of(&sample::gmacs, true), meter.median_of(&sample::percent_of_peak, true),
                meter.median_of(&sample::macs_per_cycle, true), meter.quiet_count());
    if (wanted > 0) std::printf(" %6.0f", wanted);
    std::printf("\n");
  }
}

void measure(double limit) {
  if (!isa::usable()) {
    std::puts("skipped: no avx2");
    return;
  }
  std::vector<candidate> candidates;
  candidates.push_back(make<tern::i2>(1, 45));
  candidates.push_back(make<tern::i2>(64, 75));
  candidates.push_back(make<tern::b3>(1, 0));
  candidates.push_back(make<tern::b3>(64, 0));

  double left = limit;
  for (std::size_t round = 0; left > 0; ++round) {
    left -= bench::seconds([&] {
      for (candidate& c : candidates) {
        const auto& call = c.calls[round % c.calls.size()];
        call();  // the other candidates have emptied the caches
        c.meter.read();
        c.meter.time(c.size.macs(), call);
        c.meter.read();
      }
    });
  }
  print_table(candidates);
}

#else

void measure(double) { std::puts("skipped: no peak is known for this architecture"); }

#endif

}  // namespace

int main(int argc, char** argv) {
  double limit = 10;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    constexpr std::string_view name = "--seconds=";
    // Options of Google Benchmark are accepted and ignored, so that one command line serves all programs of bench/.
    if (argument.starts_with("--benchmark_")) continue;
    if (!argument.starts_with(name)) {
      std::fputs("usage: bench_ratio [--seconds=10]\n", stderr);
      return 2;
    }
    limit = std::atof(argv[i] + name.size());
  }
  measure(limit);
}
