// SPDX-License-Identifier: MIT
// tern::cuda against the card's ceilings: one token, small batches, a chain of layers; as a table and as JSON.
//
//   bench_cuda [rounds [file.json]]
//
// Times are microseconds of one launch in a graph of many, medians over the rounds. cold: the launches rotate over copies of
// the weights that together exceed four times the L2. hot: one copy. overlap: programmatic dependent launch.
#include <tern/cuda.hpp>

#include <cstdio>
#include <cstdlib>

#include "ceilings.hpp"

namespace {

using tern_bench::check;

struct shape {
  std::size_t n, k;
  std::string name() const { return std::to_string(n) + "x" + std::to_string(k); }
};
constexpr shape shapes[] = {{2560, 2560}, {3840, 2560}, {6912, 2560},  {13824, 2560},
                            {2560, 6912}, {4096, 4096}, {14336, 4096}, {8192, 8192}};
constexpr std::size_t most_tokens = 4096;

class bench {
 public:
  explicit bench(const cudaDeviceProp& device)
      : l2_bytes_(static_cast<std::size_t>(device.l2CacheSize)),
        weights_(std::size_t{2} << 30),
        x_(tern::cuda::device_activations_view::storage_bytes(most_tokens, 16384)),
        reals_(most_tokens * 16384 * sizeof(float)),
        y_(most_tokens * 16384 * sizeof(float)) {
    // Every byte is a legal i2 byte, so random memory is a matrix of any shape.
    std::mt19937 random(1);
    std::vector<std::uint32_t> bytes(std::size_t{1} << 24);
    for (std::uint32_t& word : bytes) word = static_cast<std::uint32_t>(random());
    const auto fill = [&](const tern::cuda::device_bytes& memory) {
      const std::size_t size = bytes.size() * sizeof(std::uint32_t);
      for (std::size_t at = 0; at < memory.size(); at += size)
        check(cudaMemcpy(memory.data() + at, bytes.data(), std::min(size, memory.size() - at), cudaMemcpyHostToDevice),
              "cudaMemcpy");
    };
    fill(weights_);
    fill(x_);
    std::vector<float> reals(reals_.size() / sizeof(float));
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < 16384; ++i) reals[i] = normal(random);
    for (std::size_t i = 16384; i < reals.size(); ++i) reals[i] = reals[i % 16384];
    check(cudaMemcpy(reals_.data(), reals.data(), reals_.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
  }

  void add_all() {
    tern_bench::add_ceilings(timer_, weights_, l2_bytes_);
    for (const shape& s : shapes) {
      for (const bool overlap : {false, true})
        for (const bool hot : {false, true}) add_products(s, 1, tern::per_channel, overlap, hot);
      for (const std::size_t tokens : {2, 4, 8, 16, 32, 64, 128, 512, 4096})
        add_products(s, tokens, tern::per_channel, true, false);
      for (const std::size_t tokens : {1, 8, 512, 4096}) add_products(s, tokens, tern::per_group(128), true, false);
    }
    for (const std::size_t k : {2560, 6912})
      for (const std::size_t tokens : {std::size_t{1}, most_tokens})
        timer_.add("quantise float, M=" + std::to_string(tokens) + ", overlap", "K=" + std::to_string(k), 100,
                   [&](unsigned) { quantize(tokens, k, 0); });
    add_chain();
  }

  void report(unsigned rounds, std::FILE* json) {
    timer_.run(rounds);
    std::vector<std::string> names;
    for (const auto& c : timer_.cases())
      if (std::find(names.begin(), names.end(), c.name) == names.end()) names.push_back(c.name);
    if (json != nullptr) std::fprintf(json, "[");
    const char* separator = "\n";
    for (const std::string& name : names) {
      std::printf("%-44s", name.c_str());
      for (const auto& c : timer_.cases()) {
        if (c.name != name) continue;
        std::printf("  %s %.2f", c.column.c_str(), c.median());
        if (json != nullptr)
          std::fprintf(json, "%s{\"name\": \"%s\", \"column\": \"%s\", \"us\": %.3f}", separator, c.name.c_str(),
                       c.column.c_str(), c.median());
        separator = ",\n";
      }
      std::printf("\n");
    }
    if (json != nullptr) std::fprintf(json, "\n]\n");
    std::printf("\nread from DRAM: %.0f GB/s, from L2: %.0f GB/s\n", rate(timer_.cases()[0], weights_.size()),
                rate(timer_.cases()[1], l2_bytes_ / 2));
  }

 private:
  static double rate(const tern_bench::timed_case& c, std::size_t bytes) {
    return static_cast<double>(bytes) / c.median() / 1000;
  }

  tern::cuda::device_matrix_view<tern::i2> weights(const shape& s, tern::granularity granularity,
                                                   std::size_t at) const {
    const tern::packed_format format{s.n, s.k, 1, granularity};
    const std::size_t bytes = tern::packed_view<tern::i2>::storage_bytes(format);
    return {std::span<const std::byte>(weights_.data() + at % (weights_.size() / bytes) * bytes, bytes), format};
  }
  std::size_t copies(const shape& s, tern::granularity granularity) const {
    return 4 * l2_bytes_ / weights(s, granularity, 0).storage_bytes() + 1;
  }

  void add_products(const shape& s, std::size_t tokens, tern::granularity granularity, bool overlap, bool hot) {
    const std::size_t of_copies = copies(s, granularity);
    std::string name = "matmul i2, M=" + std::to_string(tokens);
    if (granularity.kind == tern::granularity::sharing::group)
      name += ", groups of " + std::to_string(granularity.group);
    name += hot ? ", hot" : ", cold";
    if (overlap) name += ", overlap";
    const auto launches = static_cast<unsigned>(std::max<std::size_t>(of_copies, tokens >= 512  ? 4
                                                                                 : tokens >= 64 ? 20
                                                                                                : 100));
    timer_.add(name, s.name(), launches, [&](unsigned i) {
      multiply(s, tokens, granularity, hot ? 0 : i % of_copies, {timer_.stream(), overlap});
    });
  }
  void multiply(const shape& s, std::size_t tokens, tern::granularity granularity, std::size_t copy,
                const tern::cuda::launch& how) {
    tern::cuda::matmul(tern::cuda::device_activations_view(x_, tokens, s.k), weights(s, granularity, copy),
                       tern::matrix_view<tern::bfloat16>(y_.as<tern::bfloat16>(), tokens, s.n), {}, how);
  }
  void quantize(std::size_t tokens, std::size_t k, std::size_t offset) {
    tern::cuda::quantize_activations(tern::matrix_view<const float>(reals_.as<float>(offset), tokens, k),
                                     tern::cuda::device_activations_view(x_, tokens, k), {timer_.stream(), true});
  }

  /// The linear layers of BitNet b1.58 2B4T: qkv, o, gate and up, down.
  void add_chain() {
    static constexpr shape layers[] = {{3840, 2560}, {2560, 2560}, {13824, 2560}, {2560, 6912}};
    for (const bool with_quantizer : {false, true})
      timer_.add(with_quantizer ? "BitNet 2B, a layer, with quantizers" : "BitNet 2B, a layer, products only", "us", 30,
                 [&](unsigned i) {
                   for (const shape& s : layers) {
                     if (with_quantizer) quantize(1, s.k, 0);
                     multiply(s, 1, tern::per_channel, (i * 7 + s.n) % 64, {timer_.stream(), true});
                   }
                 });
  }

  std::size_t l2_bytes_;
  tern::cuda::device_bytes weights_, x_, reals_, y_;
  tern_bench::timer timer_;
};

}  // namespace

int main(int argc, char** argv) try {
  int version = 0;
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  check(cudaDriverGetVersion(&version), "cudaDriverGetVersion");
  std::printf("%s, %d multiprocessors, L2 %d MiB, driver for CUDA %d.%d, runtime %d.%d\n", device.name,
              device.multiProcessorCount, device.l2CacheSize >> 20, version / 1000, version % 1000 / 10,
              CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  bench b(device);
  b.add_all();
  std::FILE* const json = argc > 2 ? std::fopen(argv[2], "w") : nullptr;
  b.report(argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : 9, json);
  if (json != nullptr) std::fclose(json);
} catch (const tern::error& e) {
  std::fprintf(stderr, "bench_cuda: %s\n", e.what());
  return 1;
}
