// SPDX-License-Identifier: MIT
/// The signal-to-noise ratio of every quantizer of weights beside its reference value, what calibration adds to it, and what
/// the best ones cost.
///
///     bench_quality [--rows=512] [--check]
///
/// --check exits with 1 where a value is further below its reference than its slack, or not a number. The slacks are for
/// 512 rows.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "calibrated.hpp"
#include "quality.hpp"

namespace {

/// Threads for one call: the simplest executor.
struct thread_executor {
  std::size_t threads;
  std::size_t concurrency() const { return threads; }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
    std::vector<std::thread> others;
    for (std::size_t i = 1; i < n; ++i) others.emplace_back([&f, i] { f(i); });
    if (n > 0) f(0);
    for (std::thread& other : others) other.join();
  }
};

template <class F>
double seconds(F&& f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int print_quality(std::size_t rows) {
  int failures = 0;
  std::vector<tern::matrix<float>> weights;
  for (const auto distribution : quality::distributions) weights.push_back(quality::weights(rows, distribution));
  std::printf("%zu rows of 4096 weights, SNR in dB (reference)\n\n", rows);
  std::printf("%-26s | %-6s | %-18s | %-18s | %-18s\n", "method", "scales", "gauss", "laplace", "t4");
  const auto entries = quality::reference();
  // A method's entries stand together; one line for each granularity.
  for (const auto& first : entries) {
    if (first.distribution != tern::weight_distribution::gauss) continue;
    std::printf("%-26s | %-6s", first.method.c_str(), quality::name_of(first.granularity).c_str());
    for (const auto& e : entries) {
      if (e.method != first.method || e.granularity != first.granularity) continue;
      const double snr = e.snr_db(weights[static_cast<std::size_t>(e.distribution)]);
      const bool low = !(snr >= e.wanted - e.slack);  // NaN is low
      failures += low;
      std::printf(" | %5.2f (%5.2f)%s", snr, e.wanted, low ? " low!" : "     ");
    }
    std::puts("");
    std::fflush(stdout);
  }
  return failures;
}

void print_cost() {
  std::puts("\n4096 x 4096, groups of 128, two planes: seconds");
  const auto w = quality::weights(4096, tern::weight_distribution::gauss);
  tern::hessian h(4096);
  h.observe(calibrated::draw_inputs(256, 4096, 1, false));
  for (const std::size_t threads : {std::size_t{1}, std::size_t{2}}) {
    const thread_executor ex{threads};
    tern::decompose_options options{.planes = 2, .granularity = tern::per_group(128)};
    const double greedy = seconds([&] { tern::decompose(w, options, ex); });
    options.method = tern::decompose_method::alternating;
    const double alternating = seconds([&] { tern::decompose(w, options, ex); });
    const double code = seconds([&] { tern::quantize_trit_code(w, {.granularity = options.granularity}, ex); });
    const double gptq = seconds([&] { tern::gptq_trit_code(w, h, {}, {.granularity = options.granularity}, ex); });
    std::printf("%zu thread%s  greedy %.2f  alternating %.2f  integer code %.2f  by GPTQ %.2f\n", threads,
                threads == 1 ? " " : "s", greedy, alternating, code, gptq);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t rows = 512;
  bool check = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--rows=")) {
      rows = std::strtoul(argv[i] + 7, nullptr, 10);
    } else if (argument == "--check") {
      check = true;
    } else {
      std::fprintf(stderr, "usage: bench_quality [--rows=512] [--check]\n");
      return 2;
    }
  }
  const int failures = print_quality(rows);
  calibrated::print();
  print_cost();
  if (failures > 0) std::printf("\n%d values below their reference\n", failures);
  return check && failures > 0 ? 1 : 0;
}
