// SPDX-License-Identifier: MIT
// Streams, overlap and graphs: the same bits every time.
#include "device.hpp"

#include <tern/matmul.hpp>
#include <tern/quantize/activations.hpp>

#include <thread>

namespace {

/// Quantise, multiply, quantise, multiply: a chain in which each kernel reads what the one before wrote. Which kernels these are
/// follows from the tokens and the granularity.
struct chain {
  static constexpr std::size_t width = 512;

  chain(std::size_t tokens_, unsigned seed, const tern::granularity& granularity = tern::per_group(128))
      : tokens(tokens_), random(seed) {
    for (int i = 0; i < 2; ++i)
      host.push_back(tern_test::draw_weights<tern::i2>(width, width, 1, granularity, tern::scale_type::float32, false,
                                                       false, {}, random));
    for (const auto& w : host) weights.emplace_back(w);
    on_x = tern::cuda::device_bytes(tokens * width * sizeof(float));
    draw_x();
    middle = tern::cuda::device_bytes(tokens * width * sizeof(float));
    y = tern::cuda::device_bytes(tokens * width * sizeof(float));
    codes = tern::cuda::device_activations(tokens, width);
  }

  void draw_x() {
    std::normal_distribution<float> normal;
    x.resize(tokens * width);
    for (float& value : x) value = normal(random);
    tern_test::check(cudaMemcpy(on_x.data(), x.data(), on_x.size(), cudaMemcpyHostToDevice));
  }

  void run(const tern::cuda::launch& how) {
    const auto view = [&](const tern::cuda::device_bytes& bytes) {
      return tern::matrix_view<float>(bytes.as<float>(), tokens, width);
    };
    tern::cuda::quantize_activations(view(on_x), codes, how);
    tern::cuda::matmul(codes, weights[0], view(middle), {}, how);
    tern::cuda::quantize_activations(view(middle), codes, how);
    tern::cuda::matmul(codes, weights[1], view(y), {}, how);
  }

  std::vector<std::byte> expected() const {
    tern::matrix<float> at(tokens, width);
    std::memcpy(at.data(), x.data(), x.size() * sizeof(float));
    for (const auto& w : host) {
      tern::matrix<float> next(tokens, width);
      tern::matmul(tern::quantize_activations(at), w, next.view());
      at = next;
    }
    std::vector<std::byte> bytes(tokens * width * sizeof(float));
    std::memcpy(bytes.data(), at.data(), bytes.size());
    return bytes;
  }

  void poison() {
    for (const tern::cuda::device_bytes* bytes : {&middle, &y})
      tern_test::check(cudaMemset(bytes->data(), 0xff, bytes->size()));
    tern_test::check(cudaDeviceSynchronize());
  }

  std::size_t tokens;
  std::mt19937 random;
  std::vector<tern::packed_matrix<tern::i2>> host;
  std::vector<tern::cuda::device_matrix<tern::i2>> weights;
  std::vector<float> x;
  tern::cuda::device_bytes on_x, middle, y;
  tern::cuda::device_activations codes;
};

}  // namespace

TEST_CASE("cuda chains give the same bits on every repetition", "[cuda]") {
  tern_test::require_device();
  cudaStream_t stream = nullptr;
  tern_test::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (const tern::granularity& granularity : {tern::per_group(128), tern::per_channel})
    for (const std::size_t tokens : {1, 5, 16, 40, 128, 300}) {
      chain c(tokens, static_cast<unsigned>(tokens), granularity);
      const std::vector<std::byte> expected = c.expected();
      for (const bool overlap : {false, true})
        for (int repetition = 0; repetition < 20; ++repetition) {
          c.poison();
          c.run({stream, overlap});
          tern_test::check(cudaStreamSynchronize(stream));
          CAPTURE(granularity.group, tokens, overlap, repetition);
          REQUIRE(tern_test::to_host(c.y) == expected);
        }
    }
  tern_test::check(cudaStreamDestroy(stream));
}

TEST_CASE("cuda chains under a graph with new x for each replay", "[cuda]") {
  tern_test::require_device();
  cudaStream_t stream = nullptr;
  tern_test::check(cudaStreamCreate(&stream));
  for (const tern::granularity& granularity : {tern::per_group(128), tern::per_channel})
    for (const auto& [tokens, overlap] : {std::pair<std::size_t, bool>{1, false},
                                          {1, true},
                                          {8, false},
                                          {8, true},
                                          {33, false},
                                          {33, true},
                                          {300, true}}) {
      chain c(tokens, static_cast<unsigned>(tokens) + 100, granularity);
      cudaGraph_t graph = nullptr;
      tern_test::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));  // refuses what would synchronise
      for (int i = 0; i < 3; ++i) c.run({stream, overlap});
      tern_test::check(cudaStreamEndCapture(stream, &graph));
      cudaGraphExec_t runnable = nullptr;
      tern_test::check(cudaGraphInstantiate(&runnable, graph, 0));
      for (int repetition = 0; repetition < 20; ++repetition) {
        c.draw_x();
        c.poison();
        tern_test::check(cudaGraphLaunch(runnable, stream));
        tern_test::check(cudaStreamSynchronize(stream));
        CAPTURE(granularity.group, tokens, overlap, repetition);
        REQUIRE(tern_test::to_host(c.y) == c.expected());
      }
      tern_test::check(cudaGraphExecDestroy(runnable));
      tern_test::check(cudaGraphDestroy(graph));
    }
  tern_test::check(cudaStreamDestroy(stream));
}

TEST_CASE("cuda chains on two streams at once", "[cuda]") {
  tern_test::require_device();
  cudaStream_t streams[2] = {};
  for (cudaStream_t& stream : streams) tern_test::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (const std::size_t tokens : {1, 8, 64, 200}) {
    chain chains[2] = {chain(tokens, 1), chain(tokens + 1, 2)};
    const std::vector<std::byte> expected[2] = {chains[0].expected(), chains[1].expected()};
    for (int repetition = 0; repetition < 20; ++repetition) {
      for (chain& c : chains) c.poison();
      for (int i = 0; i < 4; ++i)
        for (int s = 0; s < 2; ++s) chains[s].run({streams[s], repetition % 2 == 0});
      for (const cudaStream_t stream : streams) tern_test::check(cudaStreamSynchronize(stream));
      CAPTURE(tokens, repetition);
      for (int s = 0; s < 2; ++s) REQUIRE(tern_test::to_host(chains[s].y) == expected[s]);
    }
  }
  for (const cudaStream_t stream : streams) tern_test::check(cudaStreamDestroy(stream));
}

namespace {

/// Chains in as many host threads as there are counts of tokens, thread i on device i % devices. @return which agreed
std::vector<int> chains_in_threads(const std::vector<std::size_t>& tokens, int devices) {
  std::vector<std::thread> threads;
  std::vector<int> agreed(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i)
    threads.emplace_back([&agreed, &tokens, i, devices] {
      tern_test::check(cudaSetDevice(static_cast<int>(i) % devices));
      cudaStream_t stream = nullptr;
      tern_test::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
      chain c(tokens[i], static_cast<unsigned>(i));
      const std::vector<std::byte> expected = c.expected();
      agreed[i] = 1;
      for (int repetition = 0; repetition < 20; ++repetition) {
        c.run({stream, true});
        tern_test::check(cudaStreamSynchronize(stream));
        if (tern_test::to_host(c.y) != expected) agreed[i] = 0;
      }
      tern_test::check(cudaStreamDestroy(stream));
    });
  for (std::thread& thread : threads) thread.join();
  return agreed;
}

}  // namespace

TEST_CASE("cuda from several host threads on one device", "[cuda]") {
  tern_test::require_device();
  for (const int each : chains_in_threads({1, 4, 7, 40}, 1)) CHECK(each == 1);
}

TEST_CASE("cuda from a host thread for each device", "[cuda][devices]") {
  tern_test::require_device();
  int devices = 0;
  tern_test::check(cudaGetDeviceCount(&devices));
  if (devices == 1) tern_test::skip("no second cuda_device");
  std::vector<std::size_t> tokens;
  for (const std::size_t m : {1, 8, 40, 300})
    for (int i = 0; i < devices; ++i) tokens.push_back(m);
  for (const int each : chains_in_threads(tokens, devices)) CHECK(each == 1);

  // How much shared memory a kernel may have is an attribute on each device: all kernels on all devices.
  std::vector<std::thread> threads;
  std::vector<int> agreed(static_cast<std::size_t>(devices));
  for (int device = 0; device < devices; ++device)
    threads.emplace_back([&agreed, device] {
      tern_test::check(cudaSetDevice(device));
      std::mt19937 random(static_cast<unsigned>(device));
      int of_device = 1;
      for (const std::size_t m : {1, 2, 8, 16, 32, 64, 128, 300})
        for (const tern::granularity& granularity : {tern::per_channel, tern::per_group(128)}) {
          const auto x = tern_test::draw_activations(m, 256, false, random);
          const auto w = tern_test::draw_weights<tern::i2>(6912, 256, 1, granularity, tern::scale_type::float32, false,
                                                           false, {}, random);
          of_device &= tern_test::product_agrees<float>(x, w, {});
        }
      agreed[static_cast<std::size_t>(device)] = of_device;
    });
  for (std::thread& thread : threads) thread.join();
  for (const int each : agreed) CHECK(each == 1);
}
