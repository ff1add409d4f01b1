// SPDX-License-Identifier: MIT
/// Products by every instruction set of this build, in billions of multiply-adds a second: for machines that Google
/// Benchmark does not reach. tests/wasm/run.sh builds and runs it.
#include <tern/kernel/dispatch.hpp>
#include <tern/quantize/activations.hpp>

#include <chrono>
#include <cstdio>
#include <vector>

namespace {

constexpr std::size_t depth = 4096;

/// The best of several runs, after as long a time as an engine takes to compile in earnest.
template <class F>
double seconds(F&& f) {
  using clock = std::chrono::steady_clock;
  const auto since = [](clock::time_point t) { return std::chrono::duration<double>(clock::now() - t).count(); };
  double best = 1e9;
  const auto start = clock::now();
  for (int run = 0; run < 5 || since(start) < 1.0; ++run) {
    const auto t = clock::now();
    f();
    best = std::min(best, since(t));
  }
  return best;
}

template <class Isa, class X, tern::codec Codec>
double speed(const X& x, const tern::packed_view<Codec>& w) {
  std::vector<float> y(x.rows() * w.rows());
  const tern::kernel::product<X, Codec> a{x, w, tern::matrix_view<float>(y.data(), x.rows(), w.rows())};
  // Through a pointer, as matmul calls it: V8 replaces the code of its first tier at calls, not in a loop that runs.
  const auto volatile run = tern::kernel::tile_function_of<Isa, X, Codec>();
  // Short runs, some of which have the core to themselves: one token takes all weights, 1 MB of i2, many take four panels.
  const std::size_t panels = std::same_as<X, tern::activations_view> && x.rows() == 1 ? w.panels() : 4;
  const double took = seconds([&] { run(a, {0, x.rows(), 0, panels}); });
  return static_cast<double>(x.rows() * panels * tern::panel_rows * depth) * 1e-9 / took;
}

template <class... Isas, tern::codec Codec>
void report(const char* what, std::size_t tokens, const tern::packed_matrix<Codec>& w, tern::type_list<Isas...>) {
  std::vector<float> x(tokens * depth);
  unsigned state = 1;
  for (float& each : x) each = static_cast<float>((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-24f - 0.5f;
  const tern::matrix_view<const float> reals(x.data(), tokens, depth);
  std::printf("| %-4s | %-5s | %6d |", std::string(Codec::name()).c_str(), what, static_cast<int>(tokens));
  if (*what == 'f') {
    (std::printf(" %12.2f |", speed<Isas>(reals, w.view())), ...);
  } else {
    const auto q = tern::quantize_activations(reals);
    (std::printf(" %12.2f |", speed<Isas>(q.view(), w.view())), ...);
  }
  std::printf("\n");
}

template <tern::codec Codec>
void reports() {
  constexpr std::size_t outputs = 1024;
  tern::quantized_matrix q(1, outputs, depth, tern::per_channel);
  const Codec codec;
  unsigned state = 1;
  for (std::int8_t& level : q.codes) {
    do level = static_cast<std::int8_t>(static_cast<int>((state = state * 1664525u + 1013904223u) >> 30) - 1);
    while (!codec.holds(level));
  }
  q.scales.assign(q.scales.size(), 0.01f);
  const tern::packed_matrix<Codec> w(q, {}, codec);
  for (const std::size_t tokens : std::vector<std::size_t>{1, 8, 64}) report("int8", tokens, w, tern::isa::all{});
  report("float", 1, w, tern::isa::all{});
}

template <class... Codecs, class... Isas>
void all(tern::type_list<Codecs...>, tern::type_list<Isas...>) {
  std::printf("| codec | x | tokens |");
  (std::printf(" %s |", std::string(Isas::name()).c_str()), ...);
  std::printf("\n|---|---|---|");
  ((static_cast<void>(sizeof(Isas)), std::printf("---|")), ...);
  std::printf("\n");
  (reports<Codecs>(), ...);
}

}  // namespace

int main() { all(tern::codecs{}, tern::isa::all{}); }
