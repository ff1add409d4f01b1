// SPDX-License-Identifier: MIT
/// The numbers that a change for speed is judged by: what is wanted beside what is reached, for each instruction set.
///
///     bench_ratio [--seconds=40] [--isa=<name>] [--only=<text in the name of a row>]
///
/// Every number is a ratio of two speeds of the same moment: a product between two readings of the instruction peak or of
/// memory, or two products in turn. Medians over all samples, and over those in which nobody shared the core ("quiet", see
/// ceiling.hpp). The seconds are for one instruction set; making operands comes on top. Each instruction set runs in a
/// process of its own, because oneDNN can be limited to one only before its first call.
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "peers.hpp"
#include "ratio.hpp"

#if defined(TERN_X86)
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace {

struct options {
  double seconds = 40;
  std::string_view isa, only;
};

#if defined(TERN_X86)

using bench::compare, bench::percent_of_peak, bench::percent_of_reading, bench::product, bench::row, bench::shape,
    bench::weights;
using bench::percent_slower, bench::speedup, bench::time_ratio;

constexpr shape shapes[] = {{1, 2560, 2560}, {1, 6912, 2560}, {1, 2560, 6912}, {1, 4096, 4096}, {1, 14336, 4096}};
constexpr shape hot_shape = shapes[0];    // its codes fit L2
constexpr shape usual_shape = shapes[3];  // of rows about codecs and scales
constexpr std::size_t many = 512;         // tokens, where instructions are the limit

/// What is wanted of an instruction set; 0 for nothing.
struct goals {
  std::string_view isa;
  double cold, hot, cold_8, many, onednn, group_many, code_many, threads;
};
constexpr goals goals_of[] = {
    {"amx", 0, 0, 0, 50, 1.25, 25, 1.05, 0},
    {"avx512vnni", 85, 42, 60, 80, 1.3, 10, 1.05, 1.9},
    {"avx2", 70, 50, 70, 80, 1.8, 10, 1.12, 0},
};
constexpr goals wanted_of(std::string_view isa) {
  for (const goals& g : goals_of)
    if (g.isa == isa) return g;
  return {};
}

#if defined(BENCH_ONEDNN)
/// oneDNN's product of the same numbers, made at its first call, where the results are compared too.
template <class Isa>
auto onednn_product_like(product<Isa, tern::i2> p) {
  return [p, peer = std::shared_ptr<bench::onednn_product>()]() mutable {
    const auto [m, n, k] = p.size();
    if (peer != nullptr) return (*peer)();
    std::vector<std::int8_t> x(m * k);
    for (std::size_t i = 0; i < m; ++i) std::copy_n(p.x().view().codes(i), k, x.data() + i * k);
    const tern::quantized_matrix w = bench::random_codes<tern::i2>(n, k);
    peer = std::make_shared<bench::onednn_product>(m, n, k, x.data(), w.codes.data(), true);
    (*peer)();
    p();
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t j = 0; j < n; ++j)
        if (peer->output()[i * n + j] * p.x().scale(i) != p.y()(i, j)) {
          std::printf("oneDNN and tern differ at token %zu, output %zu\n", i, j);
          return;
        }
  };
}
#endif

/// The rows of one instruction set.
template <class Isa>
class table {
 public:
  void run(const options& o) {
    const char* name = Isa::name().data();
    std::printf("\n%s: best of reading memory %zu streams on 1 thread, %zu on %zu\n\n", name, memory_.streams(),
                memory_of_2_.streams(), memory_of_2_.threads());
    std::printf("%-35s | %-13s | %7s | %-18s | %7s | MAC/cycle | samples | %14s |\n", name, "unit", "median",
                "middle half", "quiet", "wanted");
    std::puts(
        "------------------------------------|---------------|---------|--------------------|---------|-----------|"
        "---------|----------------|----");
    // 16 tokens are the fewest that AMX takes; AVX512-VNNI serves fewer.
    constexpr bool few = !std::is_same_v<Isa, tern::isa::amx>;
    struct kind {
      double weight;  // share of the seconds
      std::vector<row> (table::*rows)(const shape&);
    };
    std::vector<kind> kinds;
    if (few) kinds = {{1, &table::cold}, {1, &table::hot}};
    kinds.push_back({3, &table::many_tokens});
#if defined(_OPENMP)
    if (few) kinds.push_back({0.5, &table::cold_on_2});
    kinds.push_back({0.5, &table::many_on_2});
#endif
    double weight = 0;
    for (const kind& k : kinds) weight += k.weight * std::size(shapes);
    for (const kind& k : kinds)
      for (const shape& s : shapes) {
        std::vector<row> rows = (this->*k.rows)(s);
        std::erase_if(rows, [&](const row& r) { return r.name.find(o.only) == std::string::npos; });
        if (rows.empty()) continue;
        measure(rows, o.seconds * k.weight / weight);
        for (const row& r : rows) r.print();
      }
  }

 private:
  static void measure(std::vector<row>& rows, double seconds) {
    bench::samples ignored;
    for (row& r : rows) r.measure(ignored);
    for (std::size_t round = 0; round < 3 || seconds > 0; ++round)
      seconds -= bench::seconds([&] {
        for (row& r : rows) r.measure(r.taken);
      });
  }
  static std::string in_shape(const std::string& what, const shape& s) {
    return what + " " + std::to_string(s.n) + "x" + std::to_string(s.k);
  }
  template <class Codec>
  static auto make(const shape& s, bool cold, std::size_t tokens, const bench::weights_format& format = {},
                   const Codec& codec = {}) {
    return product<Isa, Codec>(std::make_shared<weights<Codec>>(s, cold, format, codec), tokens);
  }
  static bool is(const shape& a, const shape& b) { return a.n == b.n && a.k == b.k; }

  /// One token and eight from weights that no cache holds.
  std::vector<row> cold(const shape& s) {
    if (is(s, hot_shape)) return {};
    const auto w = std::make_shared<weights<tern::i2>>(s, true);
    const product<Isa, tern::i2> one(w, 1), eight(w, 8);
    const auto b3 = make<tern::b3>(s, true, 1);
    std::vector<row> rows = {
        {in_shape("i2 M=1 cold", s), "% of reading", wanted.cold, false,
         percent_of_reading(one, memory_, tern::serial_executor{})},
        {in_shape("b3 over i2 M=1 cold", s), "speed ratio", 1.1, false, compare(false, b3, one, speedup)},
        {in_shape("i2 M=8 cold", s), "% of peak", wanted.cold_8, false, percent_of_peak(eight)},
    };
    if (!is(s, usual_shape)) return rows;
    const auto group = make<tern::i2>(s, true, 1, half_groups);
    rows.push_back(
        {in_shape("i2 group M=1 cold", s), "% slower", 10, true, compare(false, group, one, percent_slower)});
    const auto code = make(s, true, 1, {}, plane_code);
    const auto per_byte = [code, one](double f, double g) mutable { return f / code.bytes() / (g / one.bytes()); };
    rows.push_back(
        {in_shape("n4 k=2 over i2 M=1 cold", s), "time per byte", 1, true, compare(false, code, one, per_byte)});
    return rows;
  }

  /// One token, weights in L2.
  std::vector<row> hot(const shape& s) {
    if (!is(s, hot_shape)) return {};
    const auto i2 = make<tern::i2>(s, false, 1);
    const auto group = make<tern::i2>(s, false, 1, half_groups);
    // The layer takes the instruction set that TERN_FORCE_ISA names.
    const auto layer =
        std::make_shared<tern::bit_linear>(tern::ternary_matrix<tern::i2>(bench::random_codes<tern::i2>(s.n, s.k)));
    const auto x = bench::random_floats(1, s.k);
    const auto whole = [layer, x, y = tern::matrix<float>(1, s.n),
                        workspace = tern::aligned_bytes(layer->workspace_bytes(1))]() mutable {
      (*layer)(x, y, workspace);
    };
    return {{in_shape("i2 M=1 hot", s), "% of peak", wanted.hot, false, percent_of_peak(i2)},
            {in_shape("b3 M=1 hot", s), "% of peak", 0, false, percent_of_peak(make<tern::b3>(s, false, 1))},
            {in_shape("i2 group M=1 hot", s), "% slower", 10, true, compare(true, group, i2, percent_slower)},
            {in_shape("layer over i2 M=1 hot", s), "time ratio", 1.15, true, compare(true, whole, i2, time_ratio)}};
  }

  std::vector<row> many_tokens(const shape& s) {
    const auto i2 = make<tern::i2>(s, false, many);
    std::vector<row> rows = {{in_shape("i2 M=512", s), "% of peak", wanted.many, false, percent_of_peak(i2)}};
#if defined(BENCH_ONEDNN)
    if (onednn_limited)
      rows.push_back({in_shape("i2 over oneDNN M=512", s), "speed ratio", wanted.onednn, false,
                      compare(false, i2, onednn_product_like(i2), speedup)});
#endif
    if (!is(s, usual_shape)) return rows;
    rows.push_back({in_shape("b3 M=512", s), "% of peak", 0, false, percent_of_peak(make<tern::b3>(s, false, many))});
    const auto group = make<tern::i2>(s, false, many, half_groups);
    rows.push_back({in_shape("i2 group M=512", s), "% slower", wanted.group_many, true,
                    compare(false, group, i2, percent_slower)});
    const auto code = make(s, false, many, {}, plane_code);
    rows.push_back({in_shape("n4 k=2 over i2 M=512", s), "time ratio", wanted.code_many, true,
                    compare(false, code, i2, time_ratio)});
    return rows;
  }

#if defined(_OPENMP)
  /// Apart from the others, because the second thread goes on spinning for some milliseconds.
  std::vector<row> cold_on_2(const shape& s) {
    if (is(s, hot_shape) || memory_of_2_.threads() < 2) return {};
    return {{in_shape("i2 M=1 cold 2 threads", s), "% of reading", wanted.cold, false,
             percent_of_reading(make<tern::i2>(s, true, 1), memory_of_2_, tern::openmp_executor(2))}};
  }
  std::vector<row> many_on_2(const shape& s) {
    if (!is(s, usual_shape) || memory_of_2_.threads() < 2) return {};
    const auto i2 = make<tern::i2>(s, false, many);
    const auto on_2 = [p = i2]() mutable { p(tern::openmp_executor(2)); };
    return {{in_shape("i2 M=512 2 threads over 1", s), "speed ratio", wanted.threads, false,
             compare(false, on_2, i2, speedup)}};
  }
#endif

  static constexpr goals wanted = wanted_of(Isa::name());
  static constexpr bench::weights_format half_groups{tern::per_group(128), tern::scale_type::float16};
  static constexpr tern::n4 plane_code{tern::trit_code{{3, 2}}};

  bool onednn_limited = limit_onednn();
  static bool limit_onednn() {
#if defined(BENCH_ONEDNN)
    if (bench::onednn_product::limit_to(Isa::name())) return true;
#endif
    std::printf("\n%s: not compared with oneDNN, which this program or this machine does not have\n",
                Isa::name().data());
    return false;
  }

  bench::bandwidth memory_{1};
  bench::bandwidth memory_of_2_{std::min(bench::most_threads(), std::size_t{2})};
};

/// Measures in a process of its own. @return whether that went well
template <class Isa>
bool measure(const options& o) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    setenv("TERN_FORCE_ISA", Isa::name().data(), 1);
    table<Isa>().run(o);
    std::fflush(stdout);
    _exit(0);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && status == 0;
}

template <class... Isas>
bool measure_all(const options& o, tern::type_list<Isas...>) {
  bool good = true;
  const auto one = [&]<class Isa>(Isa) {
    if (!o.isa.empty() && o.isa != Isa::name()) return;
    if constexpr (!std::is_same_v<Isa, tern::isa::scalar>) {
      if (Isa::usable())
        good = measure<Isa>(o) && good;
      else
        std::printf("\nskipped: no %s\n", Isa::name().data());
    }
  };
  (one(Isas{}), ...);
  return good;
}

#endif

}  // namespace

int main(int argc, char** argv) {
  options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto value_of = [&](std::string_view name) {
      return argument.substr(std::min(name.size(), argument.size()));
    };
    // Options of Google Benchmark are accepted and ignored, so that one command line serves all programs of bench/.
    if (argument.starts_with("--benchmark_")) continue;
    if (argument.starts_with("--seconds=")) {
      o.seconds = std::atof(value_of("--seconds=").data());
    } else if (argument.starts_with("--isa=")) {
      o.isa = value_of("--isa=");
    } else if (argument.starts_with("--only=")) {
      o.only = value_of("--only=");
    } else {
      std::fputs("usage: bench_ratio [--seconds=40] [--isa=<name>] [--only=<text in the name of a row>]\n", stderr);
      return 2;
    }
  }
#if defined(TERN_X86)
  return measure_all(o, tern::isa::all{}) ? 0 : 1;
#else
  std::puts("skipped: no peak is known for this architecture");
  return 0;
#endif
}
