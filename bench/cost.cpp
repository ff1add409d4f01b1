// SPDX-License-Identifier: MIT
/// What everything around products costs: quantising activations and weights, decomposing, packing, saving and loading,
/// and a call that has nothing to do.
///
/// Names: cost/<operation>/<of what>/<rows>x<columns>; GB/s are of the float input, or of the stored bytes for blobs.
#include <cstdio>
#include <filesystem>
#include <tern/io/blob_file.hpp>
#include <tern/io/mapped_file.hpp>
#include <tern/quantize/synthetic.hpp>

#include "main.hpp"
#include "operands.hpp"

namespace {

std::string in_shape(std::size_t rows, std::size_t cols) {
  return "/" + std::to_string(rows) + "x" + std::to_string(cols);
}

/// Times f(); `bytes` are what it goes through.
template <class F>
void run(benchmark::State& state, std::size_t bytes, F&& f) {
  for (auto _ : state) {
    f();
    benchmark::ClobberMemory();
  }
  if (bytes != 0)
    state.counters["GB"] =
        benchmark::Counter(static_cast<double>(bytes) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

template <class F>
void add(const std::string& name, F function) {
  benchmark::RegisterBenchmark(name.c_str(), function)->Unit(benchmark::kMicrosecond);
}

template <class... Isas>
void add_activations(tern::type_list<Isas...>) {
  const auto one = [&]<class Isa>(Isa) {
    for (const std::size_t tokens : {std::size_t{1}, std::size_t{128}})
      for (const std::size_t inputs : {std::size_t{4096}, std::size_t{6912}})
        add("cost/quantize_activations/" + std::string(Isa::name()) + in_shape(tokens, inputs),
            [=](benchmark::State& state) {
              if (!Isa::usable()) return state.SkipWithError(("skipped: no " + std::string(Isa::name())).c_str());
              const auto x = bench::random_floats(tokens, inputs);
              tern::aligned_bytes storage(tern::activations_view::storage_bytes(tokens, inputs));
              run(state, tokens * inputs * sizeof(float), [&] { tern::quantize_activations(Isa{}, x, storage); });
            });
  };
  (one(Isas{}), ...);
}

/// A quantizer of weights: f(w) for [rows x 4096] Gaussian ones.
template <class F>
void add_quantizer(const std::string& name, std::size_t rows, F quantize) {
  constexpr std::size_t inputs = 4096;
  add("cost/" + name + in_shape(rows, inputs), [=](benchmark::State& state) {
    const auto w = tern::synthetic_weights(rows, inputs, tern::weight_distribution::gauss, 1);
    run(state, rows * inputs * sizeof(float), [&] { benchmark::DoNotOptimize(quantize(w)); });
  });
}

void add_quantizers() {
  using tern::decompose_method;
  add_quantizer("quantize/absmean_channel", 512, [](const auto& w) { return quantize_absmean(w, tern::per_channel); });
  add_quantizer("quantize/absmax8_channel", 512, [](const auto& w) { return quantize_absmax(w, tern::per_channel); });
  add_quantizer("quantize/absmax8_group128", 512,
                [](const auto& w) { return quantize_absmax(w, tern::per_group(128)); });
  add_quantizer("quantize/mse4_group128", 64,
                [](const auto& w) { return quantize_mse(w, tern::per_group(128), {.bits = 4}); });
  for (const std::size_t planes : {std::size_t{1}, std::size_t{2}}) {
    const std::string k = "_k" + std::to_string(planes);
    add_quantizer("decompose/greedy" + k, 512, [=](const auto& w) { return decompose(w, {.planes = planes}); });
    add_quantizer("decompose/alternating" + k, 64, [=](const auto& w) {
      return decompose(w, {.planes = planes, .method = decompose_method::alternating});
    });
  }
  add_quantizer("decompose/plane_code_k2", 64, [](const auto& w) { return quantize_trit_code(w); });
}

constexpr std::size_t packed_rows = 1024, packed_cols = 4096;

template <class... Codecs>
void add_packing(tern::type_list<Codecs...>) {
  const auto one = [&]<class Codec>(Codec) {
    add("cost/pack/" + std::string(Codec::name()) + in_shape(packed_rows, packed_cols), [](benchmark::State& state) {
      const auto q = bench::random_codes<Codec>(packed_rows, packed_cols);
      run(state, q.codes.size(), [&] { benchmark::DoNotOptimize(tern::packed_matrix<Codec>(q)); });
    });
  };
  (one(Codecs{}), ...);
}

/// Saving and loading a layer of i2: in memory, as a file, and mapped.
void add_blobs() {
  const auto layer = [] {
    return tern::bit_linear(tern::ternary_matrix<tern::i2>(bench::random_codes<tern::i2>(packed_rows, packed_cols)));
  };
  const std::string shape = in_shape(packed_rows, packed_cols);
  const auto file = [] { return (std::filesystem::temp_directory_path() / "tern-bench-cost.tern").string(); };
  add("cost/blob/save" + shape, [=](benchmark::State& state) {
    const auto saved = layer();
    run(state, tern::blob_size(saved), [&] { benchmark::DoNotOptimize(tern::save(saved)); });
  });
  add("cost/blob/load" + shape, [=](benchmark::State& state) {
    const auto bytes = tern::save(layer());
    run(state, bytes.size(), [&] { benchmark::DoNotOptimize(tern::load<tern::bit_linear>(bytes)); });
  });
  add("cost/blob/view" + shape, [=](benchmark::State& state) {
    const auto bytes = tern::save(layer());
    run(state, 0, [&] { benchmark::DoNotOptimize(tern::view_blob<tern::bit_linear>(bytes)); });
  });
  add("cost/blob/save_file" + shape, [=](benchmark::State& state) {
    const auto saved = layer();
    run(state, tern::blob_size(saved), [&] { tern::save_file(file(), saved); });
    std::remove(file().c_str());
  });
  add("cost/blob/load_file" + shape, [=](benchmark::State& state) {
    const auto saved = layer();
    tern::save_file(file(), saved);
    run(state, tern::blob_size(saved), [&] { benchmark::DoNotOptimize(tern::load_file<tern::bit_linear>(file())); });
    std::remove(file().c_str());
  });
  add("cost/blob/map_and_view" + shape, [=](benchmark::State& state) {
    tern::save_file(file(), layer());
    run(state, 0, [&] {
      const tern::mapped_file mapped(file());
      benchmark::DoNotOptimize(tern::view_blob<tern::bit_linear>(mapped.bytes()));
    });
    std::remove(file().c_str());
  });
}

/// Calls so small that only the call itself is left, on the best instruction set.
template <class Executor>
void add_call(const std::string& name, std::size_t tokens, std::size_t outputs, const Executor& ex) {
  add("cost/call/" + name + "/" + bench::shape{tokens, outputs, 16}.name(), [=](benchmark::State& state) {
    const auto w = bench::random_weights<tern::i2>(outputs, 16);
    const auto x = tern::quantize_activations(bench::random_floats(tokens, 16));
    tern::matrix<float> y(tokens, outputs);
    run(state, 0, [&] { tern::matmul(x, w, y, {}, ex); });
  });
}

void add_calls() {
  for (const std::size_t tokens : {std::size_t{0}, std::size_t{1}}) {
    add_call("serial", tokens, 16, tern::serial_executor{});
    add_call("serial", tokens, 32, tern::serial_executor{});
#if defined(_OPENMP)
    add_call("openmp2", tokens, 32, tern::openmp_executor(2));  // two panels: one for each thread
#endif
  }
  add("cost/call/layer/M1_N16_K16", [](benchmark::State& state) {
    const tern::bit_linear layer(tern::ternary_matrix<tern::i2>(bench::random_codes<tern::i2>(16, 16)));
    const auto x = bench::random_floats(1, 16);
    tern::matrix<float> y(1, 16);
    tern::aligned_bytes workspace(layer.workspace_bytes(1));
    run(state, 0, [&] { layer(x, y, workspace); });
  });
}

}  // namespace

int main(int argc, char** argv) {
  add_activations(tern::isa::all{});
  add_quantizers();
  add_packing(tern::codecs{});
  add_blobs();
  add_calls();
  return bench::run_registered({argv, argv + argc});
}
