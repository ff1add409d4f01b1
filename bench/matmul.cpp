// SPDX-License-Identifier: MIT
/// Products over instruction set x codec x granularity x shape x tokens x threads, from the library's own lists.
///
/// Names: matmul/<x> x <weights>_<granularity>/<who>/M<tokens>_N<outputs>_K<inputs>[/cold][/T<threads>]
///
///   weights      a codec; n4-code32: levels of the plane code (3, 2) in n4; i2-planes2: two planes of i2 with free scales
///   granularity  channel, or group128 with scales in float, or group128h in half (160 where the codec asks for it)
///   who          an instruction set, `reference` (tern's textbook loops), or a peer: eigen, openblas (float), onednn
///                (int8; with --onednn_isa=<name> limited to that instruction set, and called onednn-<name>)
///   /cold        rotates over copies of the weights that together are larger than the last-level cache
///
/// layer/... is the same for a whole layer: float in, quantised, multiplied, float out. A run without --benchmark_filter
/// takes a short selection.
#include <any>
#include <map>
#include <string_view>
#include <tern/kernel/reference.hpp>

#include "eigen_float.hpp"
#include "errors.hpp"
#include "main.hpp"
#include "meter.hpp"
#include "operands.hpp"
#include "peers.hpp"

namespace {

using bench::shape;

constexpr std::size_t token_counts[] = {1, 2, 4, 8, 16, 64, 128, 512};
constexpr shape weight_shapes[] = {{1, 256, 256},   {1, 2560, 2560}, {1, 6912, 2560},
                                   {1, 2560, 6912}, {1, 4096, 4096}, {1, 14336, 4096}};
constexpr std::size_t small = 256;  // the shape for the slow ones: scalar and reference
constexpr std::size_t fewest_samples = 5;
constexpr std::size_t usual = 4096;  // the shape of a run without a filter

struct {
  bool everything = false;  // a filter was given, so all names exist
  std::string onednn = "onednn";
} selection;

/// A codec as the weights of a benchmark use it.
template <class Codec>
struct weights_kind {
  std::string name = std::string(Codec::name());
  Codec codec = {};
  std::size_t planes = 1;
};

struct setting {
  std::string weights;  // <weights>_<granularity>
  bench::weights_format format;
  shape size;
  bool cold = false;
  std::size_t threads = 1;

  std::string name(std::string_view operation, std::string_view x, std::string_view who) const {
    std::string name;
    for (const std::string_view part : {operation, std::string_view("/"), x, std::string_view(" x "),
                                        std::string_view(weights), std::string_view("/"), who, std::string_view("/")})
      name += part;
    return name + size.name() + (cold ? "/cold" : "") + (threads > 1 ? "/T" + std::to_string(threads) : "");
  }
  /// How many copies of so many bytes make every visit cold.
  std::size_t copies(std::size_t bytes) const { return cold ? bench::cold_bytes / bytes + 1 : 1; }
};

/// The weights of the benchmark that runs, and their name: kept while the next benchmark has the same.
struct {
  std::string name;
  std::any weights;
} held;

template <class Weights, class Make>
const Weights& hold(const setting& s, std::string_view of, Make make) {
  const std::string name =
      std::string(of) + s.weights + std::to_string(s.size.n) + "x" + std::to_string(s.size.k) + (s.cold ? " cold" : "");
  if (name != held.name) {
    held.weights.reset();
    held.weights.emplace<Weights>(make());
    held.name = name;
  }
  return *std::any_cast<Weights>(&held.weights);
}

template <class Codec>
const std::vector<tern::packed_matrix<Codec>>& packed_weights(const setting& s, const Codec& codec) {
  using copies = std::vector<tern::packed_matrix<Codec>>;
  return hold<copies>(s, "packed ", [&] {
    copies fresh = {bench::random_weights<Codec>(s.size.n, s.size.k, s.format, codec)};
    fresh.resize(s.copies(fresh.front().storage_bytes()), fresh.front());
    return fresh;
  });
}

/// The speed of memory that cold products are compared with.
bench::bandwidth* memory_for(const setting& s) {
  static std::map<std::size_t, bench::bandwidth> known;
  return s.cold ? &known.try_emplace(s.threads, s.threads).first->second : nullptr;
}

/// Times the product; its counters are medians over the samples, so that one interruption does not count.
template <class F>
void run(benchmark::State& state, const setting& s, double weight_bytes, double (*peak)(), F&& product) {
  const bool has_peak = peak != nullptr && s.threads == 1;
  bench::meter meter({has_peak ? peak : nullptr, memory_for(s), weight_bytes});
  product();
  meter.read();
  for (auto _ : state) {
    meter.time(s.size.macs(), weight_bytes, product);
    state.PauseTiming();
    meter.read();
    state.ResumeTiming();
  }
  while (meter.samples().size() < fewest_samples) {
    meter.time(s.size.macs(), weight_bytes, product);
    meter.read();
  }
  using bench::sample;
  state.counters["GMAC/s"] = meter.median_of(&sample::gmacs);
  state.counters["weight_GB/s"] = meter.median_of(&sample::gigabytes);
  if (s.cold) state.counters["%read"] = meter.median_of(&sample::percent_of_memory);
  if (!has_peak) return;
  state.counters["%peak"] = meter.median_of(&sample::percent_of_peak);
  state.counters["%peak_quiet"] = meter.median_of(&sample::percent_of_peak, true);
}

/// Calls f with the executor for so many threads.
template <class F>
void with_executor([[maybe_unused]] std::size_t threads, F&& f) {
#if defined(_OPENMP)
  if (threads > 1) return f(tern::openmp_executor(static_cast<int>(threads)));
#endif
  f(tern::serial_executor{});
}

template <class Isa, class Codec>
void product(benchmark::State& state, const setting& s, const Codec& codec) {
  if (!Isa::usable()) return state.SkipWithError(("skipped: no " + std::string(Isa::name())).c_str());
  const auto& w = packed_weights<Codec>(s, codec);
  const auto x = tern::quantize_activations(bench::random_floats(s.size.m, s.size.k));
  tern::matrix<float> y(s.size.m, s.size.n);
  std::size_t turn = 0;
  with_executor(s.threads, [&](const auto& ex) {
    run(state, s, static_cast<double>(w.front().storage_bytes()), bench::peak_of<Isa>, [&] {
      tern::matmul(Isa{}, x, w[turn], y, {}, ex);
      turn = turn + 1 < w.size() ? turn + 1 : 0;
    });
  });
}

/// What linear's call operator does, on one instruction set.
template <class Isa, class Codec>
void layer(benchmark::State& state, const setting& s, const Codec& codec) {
  if (!Isa::usable()) return state.SkipWithError(("skipped: no " + std::string(Isa::name())).c_str());
  const auto& w = packed_weights<Codec>(s, codec);
  const auto x = bench::random_floats(s.size.m, s.size.k);
  tern::matrix<float> y(s.size.m, s.size.n);
  tern::aligned_bytes workspace(tern::activations_view::storage_bytes(s.size.m, s.size.k));
  std::size_t turn = 0;
  with_executor(s.threads, [&](const auto& ex) {
    run(state, s, static_cast<double>(w.front().storage_bytes()), bench::peak_of<Isa>, [&] {
      tern::matmul(Isa{}, tern::quantize_activations(Isa{}, x, workspace, ex), w[turn], y, {}, ex);
      turn = turn + 1 < w.size() ? turn + 1 : 0;
    });
  });
}

template <class Codec>
void reference(benchmark::State& state, const setting& s, const Codec& codec) {
  const auto& w = packed_weights<Codec>(s, codec);
  const auto x = tern::quantize_activations(bench::random_floats(s.size.m, s.size.k));
  tern::matrix<float> y(s.size.m, s.size.n);
  const tern::kernel::product<tern::activations_view, Codec> all{x.view(), w.front().view(),
                                                                 tern::matrix_view<float>(y), nullptr};
  run(state, s, static_cast<double>(w.front().storage_bytes()), nullptr, [&] { tern::kernel::reference::matmul(all); });
}

/// A float product by one of the peers: f(x, w, y).
template <class F>
void float_product(benchmark::State& state, const setting& s, F f) {
  const std::size_t count = s.size.n * s.size.k, copies = s.copies(count * sizeof(float));
  const auto& w =
      hold<tern::matrix<float>>(s, "float ", [&] { return bench::random_floats(copies * s.size.n, s.size.k); });
  const auto x = bench::random_floats(s.size.m, s.size.k);
  tern::matrix<float> y(s.size.m, s.size.n);
  std::size_t turn = 0;
  run(state, s, static_cast<double>(count * sizeof(float)), nullptr, [&] {
    f(x.data(), w.data() + turn * count, y.data());
    turn = turn + 1 < copies ? turn + 1 : 0;
  });
}

void eigen(benchmark::State& state, const setting& s) {
#if defined(TERN_X86)
  if (!tern::isa::avx2::usable()) return state.SkipWithError("skipped: no avx2");
#endif
  const auto to_long = [](std::size_t i) { return static_cast<long>(i); };
  const long m = to_long(s.size.m), n = to_long(s.size.n), k = to_long(s.size.k);
  float_product(state, s, [=](const float* x, const float* w, float* y) { bench::eigen_matmul(x, w, y, m, n, k); });
}

#if defined(BENCH_OPENBLAS)
void openblas(benchmark::State& state, const setting& s) {
  if (!bench::openblas_usable()) return state.SkipWithError("skipped: restricted by the environment");
  state.SetLabel(std::string(bench::openblas_kernel()));
  float_product(state, s, [&](const float* x, const float* w, float* y) {
    bench::openblas_matmul(x, w, y, s.size.m, s.size.n, s.size.k, static_cast<int>(s.threads));
  });
}
#endif

#if defined(BENCH_ONEDNN)
void onednn(benchmark::State& state, const setting& s, bool scaled) {
  const auto [m, n, k] = s.size;
  // Its layout of weights may depend on the number of tokens.
  const auto make = [&, m = m, n = n, k = k] {
    const tern::quantized_matrix w = bench::random_codes<tern::i8>(n, k), x = bench::random_codes<tern::i8>(m, k);
    return std::make_shared<bench::onednn_product>(m, n, k, x.codes.data(), w.codes.data(), scaled, s.copies(n * k),
                                                   static_cast<int>(s.threads));
  };
  bench::onednn_product& p = *hold<std::shared_ptr<bench::onednn_product>>(s, s.name("", "", "onednn"), make);
  state.SetLabel(std::string(p.kernel()));
  run(state, s, static_cast<double>(p.weight_bytes()), nullptr, p);
}
#endif

template <class F>
void add(const std::string& name, F function) {
  benchmark::RegisterBenchmark(name.c_str(), function)->Unit(benchmark::kMicrosecond);
}

template <class Codec, class... Isas>
void add_products(const setting& s, const Codec& codec, tern::type_list<Isas...>) {
  const bool is_small = s.size.n == small;
  const auto one = [&]<class Isa>(Isa) {
    // Plain loops on large shapes take seconds a product.
    if (!is_small && std::is_same_v<Isa, tern::isa::scalar> && !selection.everything) return;
    add(s.name("matmul", "i8_token", Isa::name()), [s, codec](auto& state) { product<Isa>(state, s, codec); });
    if (s.size.m == 1 && (selection.everything || (std::is_same_v<Codec, tern::i2> && !is_small)))
      add(s.name("layer", "f32", Isa::name()), [s, codec](auto& state) { layer<Isa>(state, s, codec); });
  };
  (one(Isas{}), ...);
  if (is_small && s.size.m <= 8 && s.threads == 1)
    add(s.name("matmul", "i8_token", "reference"), [s, codec](auto& state) { reference(state, s, codec); });
}

void add_peers(setting s) {
  s.weights = "f32";
  if (s.threads == 1) add(s.name("matmul", "f32", "eigen"), [s](auto& state) { eigen(state, s); });
#if defined(BENCH_OPENBLAS)
  add(s.name("matmul", "f32", "openblas"), [s](auto& state) { openblas(state, s); });
#endif
#if defined(BENCH_ONEDNN)
  for (const bool scaled : {true, false}) {
    s.weights = scaled ? "i8_channel" : "i8_int32";  // float output with a scale for each channel; the sums
    add(s.name("matmul", "i8", selection.onednn), [s, scaled](auto& state) { onednn(state, s, scaled); });
  }
#endif
}

/// Whether a run without a filter takes it: plain codecs on a small shape, one token and many on a large one.
bool is_short(const setting& s) {
  if (s.threads > 1 || s.format.granularity.kind == tern::granularity::sharing::group) return false;
  if (s.size.n == small) return s.size.m == 1 || s.size.m == 64;
  return s.size.n == usual && s.size.k == usual && (s.size.m == 1 || (s.size.m == 64 && !s.cold));
}
bool is_short_codec(std::string_view name) { return name != "n6" && name != "b3x2" && name != "b3x3"; }

/// All settings of a shape: cold or not, tokens, threads. Small weights are never cold.
template <class F>
void for_each_setting(const shape& w, F&& f) {
  for (const bool cold : {false, true})
    for (const std::size_t tokens : token_counts)
      for (const std::size_t threads : {std::size_t{1}, std::size_t{2}}) {
        if ((cold && w.n == small) || threads > bench::most_threads()) continue;
        const setting s{"", {}, {tokens, w.n, w.k}, cold, threads};
        if (selection.everything || is_short(s)) f(s);
      }
}

template <class Codec>
void add_weights(const shape& shape, const weights_kind<Codec>& kind) {
  if (!selection.everything && !is_short_codec(kind.name)) return;
  constexpr std::size_t group = 128 % Codec::group_multiple == 0 ? 128 : 160;
  const auto add_granularity = [&](const std::string& name, const bench::weights_format& format) {
    for_each_setting(shape, [&](setting s) {
      s.weights = kind.name + "_" + name;
      s.format = format;
      if (selection.everything || is_short(s)) add_products(s, kind.codec, tern::isa::all{});
    });
  };
  const std::string grouped = "group" + std::to_string(group);
  add_granularity("channel", {tern::per_channel, tern::scale_type::float32, kind.planes});
  add_granularity(grouped, {tern::per_group(group), tern::scale_type::float32, kind.planes});
  add_granularity(grouped + "h", {tern::per_group(group), tern::scale_type::float16, kind.planes});
}

template <class... Codecs>
void register_all(tern::type_list<Codecs...>) {
  for (const shape& w : weight_shapes) {
    (add_weights(w, weights_kind<Codecs>{}), ...);
    add_weights(w, weights_kind<tern::n4>{"n4-code32", tern::n4(tern::trit_code{{3, 2}})});
    add_weights(w, weights_kind<tern::i2>{"i2-planes2", {}, 2});
    for_each_setting(w, add_peers);
  }
  bench::for_each_error([](const std::string& name, double (*error)()) {
    benchmark::RegisterBenchmark(name.c_str(),
                                 [error](benchmark::State& state) {
                                   double value = 0;
                                   for (auto _ : state) value = error();
                                   state.counters["error_%"] = 100 * value;
                                 })
        ->Iterations(1)
        ->Unit(benchmark::kMillisecond);
  });
}

/// Takes --onednn_isa=<name> out of the arguments. @return whether oneDNN could be limited to it
bool take_onednn_isa(std::vector<char*>& arguments) {
  constexpr std::string_view option = "--onednn_isa=";
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (!argument.starts_with(option)) continue;
    const std::string_view isa = argument.substr(option.size());
    selection.onednn = "onednn-" + std::string(isa);
    arguments.erase(arguments.begin() + static_cast<std::ptrdiff_t>(i));
#if defined(BENCH_ONEDNN)
    return bench::onednn_product::limit_to(isa);
#else
    return false;
#endif
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  for (const std::string_view argument : arguments)
    selection.everything = selection.everything || argument.starts_with("--benchmark_filter=");
  if (!take_onednn_isa(arguments)) {
    std::fputs("bench_matmul: oneDNN cannot be limited to that instruction set here\n", stderr);
    return 2;
  }
  register_all(tern::codecs{});
  return bench::run_registered(std::move(arguments));
}
