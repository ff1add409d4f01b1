// SPDX-License-Identifier: MIT
/// Products over instruction set x codec x granularity x shape x tokens, from the library's own lists.
///
/// Names: matmul/<x> x <codec>_<granularity>/<who>/M<tokens>_N<outputs>_K<inputs>[/cold], where <who> is an instruction
/// set, `reference` (tern's textbook loops) or `eigen` (float, AVX2 and FMA). /cold rotates over copies of the weights
/// that together are larger than the last-level cache. A run without --benchmark_filter takes a short selection.
#include <benchmark/benchmark.h>

#include <any>
#include <string_view>
#include <tern/kernel/reference.hpp>

#include "eigen_float.hpp"
#include "meter.hpp"
#include "operands.hpp"

namespace {

using bench::shape;

constexpr std::size_t token_counts[] = {1, 8, 64};
constexpr shape weight_shapes[] = {{1, 256, 256},   {1, 2560, 2560}, {1, 6912, 2560},
                                   {1, 2560, 6912}, {1, 4096, 4096}, {1, 14336, 4096}};
constexpr std::size_t small = 256;   // the shape for the slow ones: scalar and reference
constexpr std::size_t usual = 4096;  // the shape of a run without a filter

bool everything = false;  // a filter was given, so all names exist

struct setting {
  tern::granularity granularity;
  shape size;
  bool cold = false;

  bool grouped() const { return granularity.kind == tern::granularity::sharing::group; }
  std::string weights_name(std::string_view codec) const {
    const std::string scales = grouped() ? "_group" + std::to_string(granularity.group) : "_channel";
    return std::string(codec) + scales;
  }
  std::string name(std::string_view codec, std::string_view who) const {
    return "matmul/i8_token x " + weights_name(codec) + "/" + std::string(who) + "/" + size.name() +
           (cold ? "/cold" : "");
  }
};

/// The weights of the benchmark that runs, and their name.
struct {
  std::string name;
  std::any copies;
} held;

/// Copies of one packed matrix: one, or as many as make every visit cold. Kept while the next benchmark has the same.
template <class Codec>
const std::vector<tern::packed_matrix<Codec>>& weights(const setting& s) {
  using copies = std::vector<tern::packed_matrix<Codec>>;
  const std::string name = s.weights_name(Codec::name()) + std::to_string(s.size.n) + "x" + std::to_string(s.size.k) +
                           (s.cold ? " cold" : "");
  if (name != held.name) {
    held.copies.reset();
    auto& fresh = held.copies.emplace<copies>();
    fresh.push_back(bench::random_weights<Codec>(s.size.n, s.size.k, s.granularity));
    if (s.cold) fresh.resize(bench::cold_bytes / fresh.front().storage_bytes() + 1, fresh.front());
    held.name = name;
  }
  return *std::any_cast<copies>(&held.copies);
}

/// Counters from the samples: medians, so that one interruption does not count.
void report(benchmark::State& state, const bench::meter& meter, double bytes_per_mac, bool has_peak) {
  using bench::sample;
  const double gmacs = meter.median_of(&sample::gmacs);
  state.counters["GMAC/s"] = gmacs;
  state.counters["weight_GB/s"] = bytes_per_mac * gmacs;
  if (!has_peak) return;
  state.counters["%peak"] = meter.median_of(&sample::percent_of_peak);
  state.counters["%peak_quiet"] = meter.median_of(&sample::percent_of_peak, true);
}

template <class F>
void run(benchmark::State& state, const shape& size, double weight_bytes, double (*peak)(), F&& product) {
  bench::meter meter(peak);
  product();
  meter.read();
  for (auto _ : state) {
    meter.time(size.macs(), product);
    state.PauseTiming();
    meter.read();
    state.ResumeTiming();
  }
  report(state, meter, weight_bytes / size.macs(), peak != nullptr);
}

template <class Isa, class Codec>
void product(benchmark::State& state, setting s) {
  if (!Isa::usable()) return state.SkipWithError(("skipped: no " + std::string(Isa::name())).c_str());
  const auto& w = weights<Codec>(s);
  const auto x = tern::quantize_activations(bench::random_floats(s.size.m, s.size.k));
  tern::matrix<float> y(s.size.m, s.size.n);
  std::size_t turn = 0;
  run(state, s.size, static_cast<double>(w.front().storage_bytes()), bench::peak_of<Isa>, [&] {
    tern::matmul(Isa{}, x, w[turn], y);
    turn = turn + 1 < w.size() ? turn + 1 : 0;
  });
}

template <class Codec>
void reference(benchmark::State& state, setting s) {
  const auto& w = weights<Codec>(s);
  const auto x = tern::quantize_activations(bench::random_floats(s.size.m, s.size.k));
  tern::matrix<float> y(s.size.m, s.size.n);
  const tern::kernel::product<tern::activations_view, Codec> all{x.view(), w.front().view(),
                                                                 tern::matrix_view<float>(y), nullptr};
  run(state, s.size, static_cast<double>(w.front().storage_bytes()), nullptr,
      [&] { tern::kernel::reference::matmul(all); });
}

void eigen(benchmark::State& state, shape size) {
#if defined(TERN_X86)
  if (!tern::isa::avx2::usable()) return state.SkipWithError("skipped: no avx2");
#endif
  const auto x = bench::random_floats(size.m, size.k), w = bench::random_floats(size.n, size.k);
  tern::matrix<float> y(size.m, size.n);
  const auto to_long = [](std::size_t i) { return static_cast<long>(i); };
  run(state, size, static_cast<double>(size.n * size.k * sizeof(float)), nullptr,
      [&] { bench::eigen_matmul(x.data(), w.data(), y.data(), to_long(size.m), to_long(size.n), to_long(size.k)); });
}

void add(const std::string& name, auto function, auto setting) {
  benchmark::RegisterBenchmark(name.c_str(), function, setting)->Unit(benchmark::kMicrosecond);
}

template <class Codec, class... Isas>
void add_products(const setting& s, tern::type_list<Isas...>) {
  const bool is_small = s.size.n == small;
  const bool short_run = (is_small && !s.grouped()) || (s.size.n == usual && !(s.cold && s.grouped()));
  if (!everything && !short_run) return;
  const auto one = [&]<class Isa>(Isa) {
    // Plain loops on large shapes take seconds a product.
    if (everything || is_small || !std::is_same_v<Isa, tern::isa::scalar>)
      add(s.name(Codec::name(), Isa::name()), product<Isa, Codec>, s);
  };
  (one(Isas{}), ...);
  if (is_small && s.size.m < 64) add(s.name(Codec::name(), "reference"), reference<Codec>, s);
}

template <class... Codecs>
void register_all(tern::type_list<Codecs...>) {
  for (const shape& w : weight_shapes) {
    const auto codec = [&]<class Codec>(Codec) {
      constexpr std::size_t group = 128 % Codec::group_multiple == 0 ? 128 : 160;
      for (const tern::granularity& granularity : {tern::per_channel, tern::per_group(group)}) {
        for (const bool cold : {false, true}) {
          for (const std::size_t m : token_counts) {
            // Many tokens on large weights do not wait for memory; small weights are never cold.
            if (cold && (m == 64 || w.n == small)) continue;
            if (cold && !everything && m != 1) continue;
            add_products<Codec>({granularity, {m, w.n, w.k}, cold}, tern::isa::all{});
          }
        }
      }
    };
    (codec(Codecs{}), ...);
    if (!everything && w.n != usual) continue;
    for (const std::size_t m : token_counts) {
      const shape size{m, w.n, w.k};
      add("matmul/f32 x f32/eigen/" + size.name(), eigen, size);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  // Short by default; what the caller says comes later and wins.
  std::string min_time = "--benchmark_min_time=0.1";
  std::vector<char*> arguments(argv, argv + argc);
  arguments.insert(arguments.begin() + 1, min_time.data());
  for (const std::string_view argument : arguments) everything |= argument.starts_with("--benchmark_filter=");
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);

  register_all(tern::codecs{});
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
