// SPDX-License-Identifier: MIT
// tern::cuda beside the card's own ceilings and beside cuBLASLt: one token to thousands, in bursts and sustained, with
// weights cold and hot. Not by Google Benchmark: candidates are interleaved, and what is timed are replays of graphs.
//
//   bench_cuda [--filter TEXT]... [--rounds 15] [--seconds 1] [--json FILE] [--commit ID]
//
// Cases are named "<section>, <row>, <column>", for example "M=1, cold, tern i2, 2560x2560"; with filters only those
// are timed that contain all of the texts. Prints the tables of bench/results/h100.md.
//
// Defined when this is compiled: BENCH_CUBLASLT, with cuBLASLt beside tern; BENCH_I2_ONLY, without other codecs, which
// compiles in a third of the time.
#include <tern/cuda.hpp>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

#include "ceilings.hpp"
#include "report.hpp"
#if defined(BENCH_CUBLASLT)
#include "peers.hpp"
#endif

namespace {

using namespace tern_bench;

constexpr shape shapes[] = {{2560, 2560}, {3840, 2560}, {6912, 2560},  {13824, 2560},
                            {2560, 6912}, {4096, 4096}, {14336, 4096}, {8192, 8192}};
constexpr std::size_t most_tokens = 8192, most_inputs = 8192, most_outputs = 14336;

struct options {
  std::vector<std::string> filters;
  unsigned rounds = 15;
  double seconds = 1;
  std::string json, commit = "unknown";
};

/// Weights in one format: what tern reads, many times over, and their levels and scales for everybody else.
struct weights {
  tern::packed_format format;
  rotating packed;
  tern::cuda::device_bytes levels, scales;  // [n][k] int8, [n][groups] float
};

class bench {
 public:
  bench(const options& o, const cudaDeviceProp& device)
      : options_(o),
        device_(device),
        reals_(most_tokens * most_inputs * sizeof(float)),
        memory_(std::size_t{2} << 30),
        y_(most_tokens * most_outputs * sizeof(float)),
        workspace_(tern::cuda::device_activations_view::storage_bytes(most_tokens, most_inputs)),
        timer_(o.filters) {
    fill_normal<<<1024, 256, 0, timer_.stream()>>>(reals_.as<float>(), most_tokens * most_inputs);
    check(cudaGetLastError(), "fill_normal");
  }

  void add_all() {
    add_ceilings(timer_, device_, memory_);
    for (const std::size_t tokens : {1, 2, 4, 8, 16, 32, 64, 128, 512, 4096, 8192}) add_products(tokens, false);
    for (const std::size_t tokens : {1, 16, 128, 512}) add_products(tokens, true);
    for (const std::size_t tokens : {4096, 8192}) add_sustained(tokens);
    add_groups();
    add_codecs();
    add_outputs();
    add_quantizers();
    add_layers();
    add_chain();
  }

  void report() {
    timer_.run(options_.rounds, options_.seconds);
    print_head();
    print_tables(timer_.cases(), ratios_);
    if (!options_.json.empty()) write_json(timer_.cases(), options_.json);
  }

 private:
  static std::string tokens_name(std::size_t tokens) { return "M=" + std::to_string(tokens); }

  void print_head() const {
    char date[16] = "";
    const std::time_t now = std::time(nullptr);
    std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
    // "NVRM version: NVIDIA UNIX ... Kernel Module  580.159.04  Release ...": the first word with two points.
    std::ifstream version("/proc/driver/nvidia/version");
    std::string word, driver = "unknown";
    while (driver == "unknown" && version >> word)
      if (std::count(word.begin(), word.end(), '.') == 2) driver = word;
    std::printf("# tern::cuda on one %s\n\n", device_.name);
    std::printf("%s, commit %s, driver %s, CUDA %d.%d (nvcc %d.%d.%d), %d multiprocessors, %d MiB of L2.\n", date,
                options_.commit.c_str(), driver.c_str(), CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10,
                __CUDACC_VER_MAJOR__, __CUDACC_VER_MINOR__, __CUDACC_VER_BUILD__, device_.multiProcessorCount,
                device_.l2CacheSize >> 20);
#if defined(BENCH_CUBLASLT)
    const std::size_t lt = cublasLtGetVersion();
    std::printf("cuBLASLt %zu.%zu.%zu by the fastest algorithm of %zu that its heuristics proposed, on average.\n",
                lt / 10000, lt / 100 % 100, lt % 100, peers_made_ == 0 ? 0 : algorithms_tried_ / peers_made_);
#else
    std::printf("Without cuBLASLt, which was not found when this was compiled.\n");
#endif
    std::printf(
        "\nMicroseconds of one launch in a graph of many; shapes are outputs x inputs, M is the number of tokens. "
        "Medians of %u\n"
        "replays of about a millisecond, all cases in another order each round; sustained: the candidates of a shape "
        "in turns\n"
        "of 0.5 s, whose second halves count, until each has run for %.1f seconds. cold: weights rotate over more than "
        "four times\n"
        "the L2; hot: one copy. tern: weights\n"
        "with one scale a channel unless a row says groups, int8 activations, scaled bfloat16 outputs, launches "
        "overlap. cuBLASLt:\n"
        "the same ternary matrix and activations in its type; int8 to unscaled int32, fp8 and bf16 to bfloat16. "
        "bench/README.md\n"
        "tells more. Other rows are quotients.\n",
        options_.rounds, options_.seconds);
  }

  // Operands.

  template <tern::codec Codec>
  const weights& weights_of(const shape& s, tern::granularity granularity = tern::per_channel) {
    const std::string name = std::string(Codec::name()) + " " + s.name() + " " + std::to_string(granularity.group);
    std::unique_ptr<weights>& made = weights_[name];
    if (made != nullptr) return *made;
    std::vector<std::int8_t> levels;
    for (int level = -127; level <= 127; ++level)
      if (Codec{}.holds(level) && Codec{}.holds(-level)) levels.push_back(static_cast<std::int8_t>(level));
    const tern::quantized_matrix q = random_levels(s, granularity, levels);
    const tern::packed_matrix<Codec> packed(q);
    made = std::make_unique<weights>(weights{packed.format(), rotating(packed.storage_bytes(), l2_bytes()),
                                             tern::cuda::device_bytes(q.codes.size()),
                                             tern::cuda::device_bytes(q.scales.size() * sizeof(float))});
    const auto upload = [&](void* to, const void* from, std::size_t bytes) {
      check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, timer_.stream()), "cudaMemcpyAsync");
    };
    upload(made->packed.copy(0), packed.storage().data(), packed.storage_bytes());
    upload(made->levels.data(), q.codes.data(), made->levels.size());
    upload(made->scales.data(), q.scales.data(), made->scales.size());
    made->packed.repeat(timer_.stream());
    check(cudaStreamSynchronize(timer_.stream()), "cudaStreamSynchronize");
    return *made;
  }

  /// Activations of so many tokens, quantised from the same normal numbers in bfloat16.
  const tern::cuda::device_activations_view& activations(std::size_t tokens, std::size_t k) {
    std::unique_ptr<tern::cuda::device_activations>& made = activations_[{tokens, k}];
    if (made == nullptr) {
      made = std::make_unique<tern::cuda::device_activations>(tokens, k);
      quantize<tern::bfloat16>(tokens, k, made->view(), false);
    }
    return made->view();
  }

  oracle oracle_of(const weights& w, std::size_t tokens) {
    const tern::cuda::device_activations_view& x = activations(tokens, w.format.cols);
    return {x.codes(),
            x.scales(),
            w.levels.as<std::int8_t>(),
            w.scales.as<float>(),
            x.row_stride(),
            w.format.rows,
            w.format.cols,
            tokens,
            w.format.granularity.group_inputs(w.format.cols)};
  }

  std::size_t l2_bytes() const { return static_cast<std::size_t>(device_.l2CacheSize); }

  void poison(std::size_t bytes) { check(cudaMemsetAsync(y_.data(), 0xff, bytes, timer_.stream()), "cudaMemsetAsync"); }
  [[noreturn]] static void fail(const timed_case& c, const difference& d) {
    tern::detail::raise(tern::error(c.name() + ": " + std::to_string(d.unequal) +
                                    " outputs are wrong; relative error " + std::to_string(d.relative())));
  }

  // Candidates.

  template <tern::codec Codec, class Y>
  void multiply(std::size_t tokens, const weights& w, std::size_t copy, bool overlap) {
    const tern::cuda::device_matrix_view<Codec> on_device({w.packed.copy(copy), w.packed.bytes()}, w.format);
    tern::cuda::matmul(activations(tokens, w.format.cols), on_device,
                       tern::matrix_view<Y>(y_.as<Y>(), tokens, w.format.rows), {}, {timer_.stream(), overlap});
  }

  template <tern::codec Codec, class Y = tern::bfloat16>
  void add_tern(timed_case c, std::size_t tokens, const shape& s, bool hot, bool overlap = true,
                tern::granularity granularity = tern::per_channel) {
    if (!timer_.wants(c)) return;
    const weights& w = weights_of<Codec>(s, granularity);
    poison(tokens * s.n * sizeof(Y));
    multiply<Codec, Y>(tokens, w, 0, overlap);
    const difference d = compare_with<true>(oracle_of(w, tokens), y_.as<Y>(), timer_.stream());
    if (d.unequal != 0) fail(c, d);
    if (tokens >= 512) set_operations(c, tokens, s);
    timer_.add(std::move(c), least_launches(tokens, w.packed, hot),
               [&](unsigned i) { multiply<Codec, Y>(tokens, w, hot ? 0 : i, overlap); });
  }
  /// The bytes of the weights, one launch as large as a product's.
  template <bool Waits>
  void add_reading(timed_case c, const shape& s, bool hot) {
    if (!timer_.wants(c)) return;
    const rotating& w = weights_of<tern::i2>(s).packed;
    const std::size_t count = w.bytes() / sizeof(uint4), threads = Waits ? 1024 : 256;
    timer_.add(std::move(c), least_launches(1, w, hot), [&](unsigned i) {
      const reading a{reinterpret_cast<const uint4*>(w.copy(hot ? 0 : i)), count, y_.as<unsigned>()};
      tern::detail::launch_kernel(read_once<Waits>, {tern::detail::ceil_div(count, read_once_loads * threads)}, threads,
                                  0, {timer_.stream(), true}, a, "read_once");
    });
  }
  static void set_operations(timed_case& c, std::size_t tokens, const shape& s) {
    c.work = 2.0 * static_cast<double>(tokens) * static_cast<double>(s.n) * static_cast<double>(s.k);
    c.unit = "TOPS";
  }
  /// Few tokens: all copies, or a replay would find its weights in L2. Many push them out by what they write.
  static unsigned least_launches(std::size_t tokens, const rotating& w, bool hot) {
    return hot || tokens >= 512 ? 4 : w.copies();
  }

#if defined(BENCH_CUBLASLT)
  /// Operands of a peer, converted from tern's.
  const rotating& peer_weights(peer p, const shape& s) {
    std::unique_ptr<rotating>& made = peer_weights_[name_of(p) + s.name()];
    if (made == nullptr) {
      made = std::make_unique<rotating>(s.n * s.k * element_bytes(p), l2_bytes());
      convert_for(p, made->copy(0), weights_of<tern::i2>(s).levels.as<std::int8_t>(), s.n, s.k, s.k);
      made->repeat(timer_.stream());
    }
    return *made;
  }
  const std::byte* peer_activations(peer p, std::size_t tokens, std::size_t k) {
    std::unique_ptr<tern::cuda::device_bytes>& made = peer_activations_[name_of(p) + shape{tokens, k}.name()];
    if (made == nullptr) {
      const tern::cuda::device_activations_view& x = activations(tokens, k);
      made = std::make_unique<tern::cuda::device_bytes>((tokens + 15) * k * element_bytes(p));
      check(cudaMemsetAsync(made->data(), 0, made->size(), timer_.stream()), "cudaMemsetAsync");
      convert_for(p, made->data(), x.codes(), tokens, k, x.row_stride());
    }
    return made->data();
  }
  void convert_for(peer p, std::byte* to, const std::int8_t* from, std::size_t rows, std::size_t cols,
                   std::size_t stride) {
    const auto run = [&](auto* typed) { convert<<<2048, 256, 0, timer_.stream()>>>(typed, from, rows, cols, stride); };
    if (p == peer::int8) run(reinterpret_cast<std::int8_t*>(to));
    if (p == peer::fp8) run(reinterpret_cast<__nv_fp8_e4m3*>(to));
    if (p == peer::bf16) run(reinterpret_cast<__nv_bfloat16*>(to));
    check(cudaGetLastError(), "convert");
  }

  /// A product of cuBLASLt by the fastest of its algorithms for these weights, hot or cold.
  struct tuned {
    std::unique_ptr<peer_product> product;
    std::size_t algorithm = 0;
  };
  const tuned& tuned_peer(const timed_case& c, peer p, std::size_t tokens, const shape& s, bool hot) {
    tuned& made = tuned_[name_of(p) + tokens_name(tokens) + s.name() + (hot ? "hot" : "")];
    if (made.product != nullptr) return made;
    made.product = std::make_unique<peer_product>(lt_, p, tokens, s.n, s.k);
    const rotating& w = peer_weights(p, s);
    const std::byte* const x = peer_activations(p, tokens, s.k);
    double best = INFINITY;
    for (std::size_t i = 0; i < made.product->algorithms(); ++i) {
      const auto run = [&](unsigned launch) {
        return (*made.product)(i, x, w.copy(hot ? 0 : launch), y_.data(), timer_.stream());
      };
      poison(tokens * s.n * (p == peer::int8 ? 4 : 2));
      if (!run(0)) continue;
      const oracle o = oracle_of(weights_of<tern::i2>(s), tokens);
      const difference d = p == peer::int8 ? compare_with<false>(o, y_.as<std::int32_t>(), timer_.stream())
                                           : compare_with<false>(o, y_.as<tern::bfloat16>(), timer_.stream());
      if (p == peer::int8 ? d.unequal != 0 : !(d.relative() < (p == peer::fp8 ? 0.05 : 0.01))) fail(c, d);
      const double us = timer_.estimate(tokens >= 512 ? 4 : std::max(16u, w.copies()), run);
      ++algorithms_tried_;
      if (us < best) best = us, made.algorithm = i;
    }
    ++peers_made_;
    if (!std::isfinite(best)) made.product = nullptr;
    return made;
  }

  void add_peer(timed_case c, peer p, std::size_t tokens, const shape& s, bool hot) {
    c.row = name_of(p);
    if (!timer_.wants(c)) return;
    const tuned& t = tuned_peer(c, p, tokens, s, hot);
    if (t.product == nullptr) {
      std::fprintf(stderr, "%s: cuBLASLt has no such product\n", c.name().c_str());
      return;
    }
    if (tokens >= 512) set_operations(c, tokens, s);
    const rotating& w = peer_weights(p, s);
    timer_.add(std::move(c), least_launches(tokens, w, hot), [&](unsigned i) {
      (*t.product)(t.algorithm, peer_activations(p, tokens, s.k), w.copy(hot ? 0 : i), y_.data(), timer_.stream());
    });
  }
#endif

  void add_peers([[maybe_unused]] const timed_case& c, [[maybe_unused]] std::size_t tokens,
                 [[maybe_unused]] const shape& s, [[maybe_unused]] bool hot, [[maybe_unused]] bool bf16 = true) {
#if defined(BENCH_CUBLASLT)
    const auto copy = [&] {
      timed_case each;
      each.section = c.section, each.column = c.column, each.sustained = c.sustained;
      return each;
    };
    add_peer(copy(), peer::int8, tokens, s, hot);
    add_peer(copy(), peer::fp8, tokens, s, hot);
    if (bf16) add_peer(copy(), peer::bf16, tokens, s, hot);
#endif
  }
  void compare_with_peers(const std::string& section) {
    for (const char* peer : {"cuBLASLt int8", "cuBLASLt fp8", "cuBLASLt bf16"})
      ratios_.push_back({section, std::string(peer) + " / tern", {{section, peer}}, {section, "tern i2"}});
  }

  // Sections.

  void add_products(std::size_t tokens, bool hot) {
    const std::string section = tokens_name(tokens) + (hot ? ", hot" : ", cold");
    for (const shape& s : shapes) {
      add_tern<tern::i2>({section, "tern i2", s.name()}, tokens, s, hot);
      if (tokens == 1 || tokens == 8)
        add_tern<tern::i2>({section, "tern i2, no overlap", s.name()}, tokens, s, hot, false);
      if (tokens == 1) {
        add_reading<true>({section, "reading the weights alone", s.name()}, s, hot);
        add_reading<false>({section, "reading, none waits for the one before", s.name()}, s, hot);
      }
      add_peers({section, "", s.name()}, tokens, s, hot, !hot);
    }
    compare_with_peers(section);
    if (tokens == 1)
      ratios_.push_back({section,
                         "reading the weights alone / tern",
                         {{section, "reading the weights alone"}},
                         {section, "tern i2"}});
    if (tokens > 1 && tokens <= 128 && !hot)
      ratios_.push_back({section, "tern / tern at M=1", {{section, "tern i2"}}, {"M=1, cold", "tern i2"}});
  }

  void add_sustained(std::size_t tokens) {
    const std::string section = tokens_name(tokens) + ", sustained";
    for (const shape& s : shapes) {
      add_tern<tern::i2>({section, "tern i2", s.name(), true}, tokens, s, false);
      add_peers({section, "", s.name(), true}, tokens, s, false, false);
    }
    compare_with_peers(section);
  }

  void add_groups() {
    const std::string section = "Groups of 128, cold";
    for (const std::size_t tokens : {1, 8, 64, 512, 4096}) {
      const std::string row = "tern i2, " + tokens_name(tokens);
      for (const shape& s : shapes)
        add_tern<tern::i2>({section, row, s.name()}, tokens, s, false, true, tern::per_group(128));
      ratios_.push_back(
          {section, row + " / one scale a channel", {{section, row}}, {tokens_name(tokens) + ", cold", "tern i2"}});
    }
  }

  template <tern::codec Codec>
  void add_codec() {
    const std::string section = "Codec " + std::string(Codec::name()) + ", cold";
    for (const std::size_t tokens : {1, 8, 64, 512, 4096}) {
      const std::string row = "tern " + std::string(Codec::name()) + ", " + tokens_name(tokens);
      for (const shape& s : {shapes[2], shapes[4], shapes[5], shapes[7]})
        add_tern<Codec>({section, row, s.name()}, tokens, s, false);
      ratios_.push_back({section, row + " / i2", {{section, row}}, {tokens_name(tokens) + ", cold", "tern i2"}});
    }
  }
  void add_codecs() {
#if !defined(BENCH_I2_ONLY)
    add_codec<tern::n4>();  // integer plane codes of two planes
    add_codec<tern::b3>();
    add_codec<tern::i8>();
#endif
  }

  void add_outputs() {
    const shape s = shapes[2];
    for (const std::size_t tokens : {1, 64, 512, 4096}) {
      const std::string column = tokens_name(tokens);
      const std::string section = "Outputs, " + s.name() + ", cold";
      add_tern<tern::i2, tern::bfloat16>({section, "bfloat16", column}, tokens, s, false);
      add_tern<tern::i2, tern::half>({section, "half", column}, tokens, s, false);
      add_tern<tern::i2, float>({section, "float", column}, tokens, s, false);
    }
  }

  template <class T>
  void quantize(std::size_t tokens, std::size_t k, const tern::cuda::device_activations_view& to, bool overlap) {
    tern::cuda::quantize_activations(tern::matrix_view<const T>(real_inputs<T>(), tokens, k), to,
                                     {timer_.stream(), overlap});
  }
  template <class T>
  const T* real_inputs() {
    if constexpr (std::is_same_v<T, float>) {
      return reals_.as<float>();
    } else {
      if (shorts_.size() == 0) {
        shorts_ = tern::cuda::device_bytes(most_tokens * most_inputs * sizeof(T));
        convert<<<2048, 256, 0, timer_.stream()>>>(shorts_.as<T>(), reals_.as<float>(), most_tokens, most_inputs,
                                                   most_inputs);
        check(cudaGetLastError(), "convert");
      }
      return shorts_.as<T>();
    }
  }

  template <class T>
  void check_quantizer(const timed_case& c, const tern::cuda::device_activations_view& codes) {
    const T* const x = real_inputs<T>();
    poison(tern::cuda::device_activations_view::storage_bytes(codes.rows(), codes.cols()));
    quantize<T>(codes.rows(), codes.cols(), codes, true);
    difference d{};
    const tern::cuda::device_bytes unequal(sizeof d.unequal);
    check(cudaMemsetAsync(unequal.data(), 0, unequal.size(), timer_.stream()), "cudaMemsetAsync");
    compare_codes<<<static_cast<unsigned>(tern::detail::ceil_div(codes.rows(), 32)), 32, 0, timer_.stream()>>>(
        x, codes.codes(), codes.scales(), codes.rows(), codes.cols(), codes.row_stride(),
        unequal.as<unsigned long long>());
    check(cudaStreamSynchronize(timer_.stream()), "compare_codes");
    check(cudaMemcpy(&d.unequal, unequal.data(), unequal.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    if (d.unequal != 0) fail(c, d);
  }

  template <class T>
  void add_quantizer(const std::string& type) {
    for (const std::size_t tokens : {1, 16, 512, 4096})
      for (const std::size_t k : {2560, 4096, 6912, 8192}) {
        timed_case c{"Quantizer of activations", type + ", " + tokens_name(tokens), "K=" + std::to_string(k)};
        if (!timer_.wants(c)) continue;
        const tern::cuda::device_activations_view codes(y_, tokens, k);
        check_quantizer<T>(c, codes);
        c.work = static_cast<double>(tokens * (k * (sizeof(T) + 1) + sizeof(float)));
        c.unit = "GB/s";
        timer_.add(std::move(c), 1, [&](unsigned) { quantize<T>(tokens, k, codes, true); });
      }
  }
  void add_quantizers() {
    add_quantizer<float>("float");
    add_quantizer<tern::bfloat16>("bfloat16");
  }

  using layer = tern::cuda::linear<tern::i2>;

  /// Layers with weights of their own each, as many as rotate, copied from those of the products.
  const std::vector<layer>& layers_of(const shape& s) {
    std::vector<layer>& made = layers_[s.name()];
    if (!made.empty()) return made;
    const weights& w = weights_of<tern::i2>(s);
    tern::aligned_bytes host(w.packed.bytes());
    check(cudaMemcpy(host.data(), w.packed.copy(0), w.packed.bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    const tern::packed_view<tern::i2> packed(host, w.format);
    for (unsigned i = 0; i < w.packed.copies(); ++i)
      made.emplace_back(tern::cuda::device_matrix<tern::i2>(packed, timer_.stream()));
    check(cudaStreamSynchronize(timer_.stream()), "cudaStreamSynchronize");
    return made;
  }
  void run_layer(std::size_t tokens, const layer& l) {
    l(tern::matrix_view<const tern::bfloat16>(real_inputs<tern::bfloat16>(), tokens, l.in_features()),
      tern::matrix_view<tern::bfloat16>(y_.as<tern::bfloat16>(), tokens, l.out_features()), workspace_,
      {timer_.stream(), true});
  }

  void add_layers() {
    const std::string section = "Layers (cuda::linear), bfloat16 in and out, quantizer included, cold";
    for (const std::size_t tokens : {1, 8, 64, 512, 4096}) {
      const std::string row = "tern i2, " + tokens_name(tokens);
      for (const shape& s : shapes) {
        timed_case c{section, row, s.name()};
        if (!timer_.wants(c)) continue;
        const std::vector<layer>& layers = layers_of(s);
        const oracle o = oracle_of(weights_of<tern::i2>(s), tokens);
        poison(tokens * s.n * sizeof(tern::bfloat16));
        run_layer(tokens, layers[0]);
        const difference d = compare_with<true>(o, y_.as<tern::bfloat16>(), timer_.stream());
        if (d.unequal != 0) fail(c, d);
        timer_.add(std::move(c), least_launches(tokens, weights_of<tern::i2>(s).packed, false),
                   [&](unsigned i) { run_layer(tokens, layers[i % layers.size()]); });
      }
      ratios_.push_back(
          {section, row + " / the product alone", {{section, row}}, {tokens_name(tokens) + ", cold", "tern i2"}});
    }
  }

  /// The linear layers of BitNet b1.58 2B4T: qkv, o, gate and up, down; weights of 24 layers or more in turn.
  void add_chain() {
    const std::string section = "BitNet 2B, M=1: the four products of a layer, cold";
    static constexpr shape products[] = {{3840, 2560}, {2560, 2560}, {13824, 2560}, {2560, 6912}};
    const auto add = [&](const char* row, const auto& run) {
      timed_case c{section, row, "us"};
      if (!timer_.wants(c)) return;
      for (const shape& s : products) layers_of(s), activations(1, s.k), real_inputs<tern::bfloat16>();
      timer_.add(std::move(c), 30, [&](unsigned i) {
        for (const shape& s : products) run(s, i);
      });
    };
    add("tern i2, products only",
        [&](const shape& s, unsigned i) { multiply<tern::i2, tern::bfloat16>(1, weights_of<tern::i2>(s), i, true); });
    add("tern i2, each after its quantizer", [&](const shape& s, unsigned i) {
      quantize<tern::bfloat16>(1, s.k, activations(1, s.k), true);
      multiply<tern::i2, tern::bfloat16>(1, weights_of<tern::i2>(s), i, true);
    });
    add("tern i2, layers (cuda::linear): quantizers included",
        [&](const shape& s, unsigned i) { run_layer(1, layers_of(s)[i % layers_of(s).size()]); });
#if defined(BENCH_CUBLASLT)
    for (const peer p : {peer::int8, peer::fp8, peer::bf16}) {
      timed_case c{section, std::string(name_of(p)) + ", products only", "us"};
      if (!timer_.wants(c)) continue;
      for (const shape& s : products) tuned_peer(c, p, 1, s, false);
      timer_.add(std::move(c), 30, [&](unsigned i) {
        for (const shape& s : products) {
          const tuned& t = tuned_peer(c, p, 1, s, false);
          (*t.product)(t.algorithm, peer_activations(p, 1, s.k), peer_weights(p, s).copy(i), y_.data(),
                       timer_.stream());
        }
      });
    }
#endif
  }

  options options_;
  cudaDeviceProp device_;
  tern::cuda::device_bytes reals_, shorts_, memory_, y_, workspace_;
  std::map<std::string, std::unique_ptr<weights>> weights_;
  std::map<std::pair<std::size_t, std::size_t>, std::unique_ptr<tern::cuda::device_activations>> activations_;
  std::map<std::string, std::vector<layer>> layers_;
#if defined(BENCH_CUBLASLT)
  cublaslt lt_;
  std::map<std::string, std::unique_ptr<rotating>> peer_weights_;
  std::map<std::string, std::unique_ptr<tern::cuda::device_bytes>> peer_activations_;
  std::map<std::string, tuned> tuned_;
  std::size_t algorithms_tried_ = 0, peers_made_ = 0;
#endif
  std::vector<ratio> ratios_;
  timer timer_;
};

options parse(int argc, char** argv) {
  options o;
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    if (value.empty())
      tern::detail::raise(
          tern::error("--filter TEXT, --rounds N, --seconds S, --json FILE or --commit ID, not " + option));
    if (option == "--filter")
      o.filters.push_back(value);
    else if (option == "--rounds")
      o.rounds = static_cast<unsigned>(std::max(1, std::atoi(value.c_str())));
    else if (option == "--seconds")
      o.seconds = std::atof(value.c_str());
    else if (option == "--json")
      o.json = value;
    else if (option == "--commit")
      o.commit = value;
    else
      tern::detail::raise(tern::error("there is no option " + option));
  }
  return o;
}

}  // namespace

int main(int argc, char** argv) try {
  const options o = parse(argc, argv);
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  bench b(o, device);
  b.add_all();
  b.report();
} catch (const tern::error& e) {
  std::fprintf(stderr, "bench_cuda: %s\n", e.what());
  return 1;
}
