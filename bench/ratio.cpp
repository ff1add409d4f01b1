// SPDX-License-Identifier: MIT
/// The numbers that a change for speed is judged by: kernels against the instruction peak of the same moment.
///
///     bench_ratio [--seconds=10]
///
/// Rounds of all candidates, finely interleaved, 4096 x 4096 weights in cache; each sample stands between two readings of the
/// peak, the clock and the front end. Medians over all samples, and over those in which nobody shared the core ("quiet", see
/// ceiling.hpp). Products of 64 tokens are timed in 16 calls of 256 outputs, so that a sample is shorter than a disturbance.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
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
  candidate c{std::string(Codec::name()) + " M=" + std::to_string(tokens), {tokens, outputs / calls, inputs}, {}, wanted};
  const auto x = std::make_shared<tern::quantized_activations>(
      tern::quantize_activations(bench::random_floats(tokens, inputs)));
  for (std::size_t i = 0; i < calls; ++i)
    c.calls.push_back([x, w = bench::random_weights<Codec>(c.size.n, inputs, tern::per_channel),
                       y = std::make_shared<tern::matrix<float>>(tokens, c.size.n)] { tern::matmul(isa{}, *x, w, *y); });
  return c;
}

void print_table(const std::vector<candidate>& candidates, const std::vector<double>& peaks) {
  std::printf("peak of vpmaddubsw + vpaddw: %.1f GMAC/s; clock %.2f GHz; undisturbed front end: %.1f nops a cycle\n\n",
              bench::median(peaks), bench::clock_ghz(), bench::front_end_width());
  std::printf("4096 x 4096, in cache | GMAC/s | %% of peak | quiet: GMAC/s | %% of peak | MAC/cycle | samples | wanted\n");
  std::printf("----------------------|--------|-----------|---------------|-----------|-----------|---------|-------\n");
  for (const candidate& c : candidates) {
    const auto gmacs = [](const bench::sample& s) { return s.gmacs(); };
    const auto percent = [](const bench::sample& s) { return 100 * s.peak_ratio(); };
    const auto per_cycle = [](const bench::sample& s) { return s.macs_per_cycle(); };
    std::printf("%-21s | %6.1f | %9.1f | %13.1f | %9.1f | %9.1f | %7zu |", c.name.c_str(), c.meter.median_of(gmacs),
                c.meter.median_of(percent), c.meter.median_of(gmacs, true), c.meter.median_of(percent, true),
                c.meter.median_of(per_cycle, true), c.meter.quiet_count());
    if (c.wanted > 0) std::printf(" %6.0f", c.wanted);
    std::printf("\n");
  }
}

int measure(double limit) {
  if (!isa::usable()) return std::puts("skipped: no avx2"), 0;
  std::vector<candidate> candidates;
  candidates.push_back(make<tern::i2>(1, 45));
  candidates.push_back(make<tern::i2>(64, 75));
  candidates.push_back(make<tern::b3>(1, 0));
  candidates.push_back(make<tern::b3>(64, 0));

  std::vector<double> peaks;
  double left = limit;
  for (std::size_t round = 0; left > 0; ++round) {
    left -= bench::seconds([&] {
      for (candidate& c : candidates) {
        const auto& call = c.calls[round % c.calls.size()];
        call();  // the other candidates have emptied the caches
        c.meter.read();
        c.meter.time(c.size.macs(), call);
        c.meter.read();
        peaks.push_back(bench::maddubs_peak());
      }
    });
  }
  print_table(candidates, peaks);
  return 0;
}

#else

int measure(double) { return std::puts("skipped: no peak is known for this architecture"), 0; }

#endif

}  // namespace

int main(int argc, char** argv) {
  double limit = 10;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    constexpr std::string_view name = "--seconds=";
    if (argument.starts_with(name)) limit = std::atof(argv[i] + name.size());
    // Options of Google Benchmark are accepted and ignored, so that one command line serves all programs of bench/.
    else if (!argument.starts_with("--benchmark_")) return std::fprintf(stderr, "usage: bench_ratio [--seconds=10]\n"), 2;
  }
  return measure(limit);
}
