// SPDX-License-Identifier: MIT
// A BitNet layer on a GPU: upload the packed weights, capture the layer into a CUDA graph, time it, and compare with the CPU, bit
// for bit.
//
//   nvcc -std=c++20 -O2 -arch=sm_90a -Iinclude examples/cuda_linear.cu -o cuda_linear && ./cuda_linear
//
// sm_90a is an H100; sm_80 an A100, sm_89 an RTX 4090 ...
#include <tern/cuda.hpp>
#include <tern/linear.hpp>

#include <cstdio>
#include <cstring>
#include <random>

namespace {

void check(cudaError_t code, const char* call) {
  if (code != cudaSuccess) throw tern::cuda::cuda_error(std::string(call) + ": " + cudaGetErrorString(code), code);
}

tern::matrix<float> gaussian(std::size_t rows, std::size_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  tern::matrix<float> m(rows, cols);
  for (std::size_t i = 0; i < rows * cols; ++i) m.data()[i] = normal(random);
  return m;
}

}  // namespace

int main() try {
  constexpr std::size_t tokens = 1, inputs = 2560, outputs = 6912;
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device: nothing was run\n");
    return 0;
  }

  // On the host: quantise and pack, as for the CPU.
  const auto layer = tern::bit_linear::from_float(gaussian(outputs, inputs, 1));
  const tern::matrix<float> x = gaussian(tokens, inputs, 2);

  // To the device: the layer, its packed bytes as they are; and memory for everything that a call writes.
  cudaStream_t stream = nullptr;
  check(cudaStreamCreate(&stream), "cudaStreamCreate");
  const tern::cuda::linear on_device(layer, stream);
  const tern::cuda::device_bytes on_x(tokens * inputs * sizeof(float)), on_y(tokens * outputs * sizeof(float));
  const tern::cuda::device_bytes workspace(on_device.workspace_bytes(tokens));
  check(cudaMemcpyAsync(on_x.data(), x.data(), on_x.size(), cudaMemcpyHostToDevice, stream), "cudaMemcpyAsync");

  // The layer: nothing here allocates or waits, so it can be captured.
  const tern::matrix_view<const float> x_view(on_x.as<float>(), tokens, inputs);
  const tern::matrix_view<float> y_view(on_y.as<float>(), tokens, outputs);
  const tern::cuda::launch how{stream, true};  // each kernel starts while the one before it ends
  constexpr int calls = 100;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t runnable = nullptr;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
  for (int i = 0; i < calls; ++i) on_device(x_view, y_view, workspace, how);
  check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  check(cudaGraphInstantiate(&runnable, graph, 0), "cudaGraphInstantiate");

  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  check(cudaGraphLaunch(runnable, stream), "cudaGraphLaunch");  // to warm up
  check(cudaEventRecord(begin, stream), "cudaEventRecord");
  check(cudaGraphLaunch(runnable, stream), "cudaGraphLaunch");
  check(cudaEventRecord(end, stream), "cudaEventRecord");
  tern::matrix<float> y(tokens, outputs);
  check(cudaMemcpyAsync(y.data(), on_y.data(), on_y.size(), cudaMemcpyDeviceToHost, stream), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  float ms = 0;
  check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");

  const tern::matrix<float> expected = layer(x);
  const bool same = std::memcmp(y.data(), expected.data(), on_y.size()) == 0;
  std::printf("%zu token, %zu -> %zu: %.2f us a call, quantisation included; %s the CPU's result\n", tokens, inputs,
              outputs, 1000 * ms / calls, same ? "equal to" : "DIFFERENT from");
  check(cudaGraphExecDestroy(runnable), "cudaGraphExecDestroy");
  check(cudaGraphDestroy(graph), "cudaGraphDestroy");
  check(cudaEventDestroy(begin), "cudaEventDestroy");
  check(cudaEventDestroy(end), "cudaEventDestroy");
  check(cudaStreamDestroy(stream), "cudaStreamDestroy");
  return same ? 0 : 1;
} catch (const tern::error& e) {
  std::fprintf(stderr, "cuda_linear: %s\n", e.what());
  return 1;
}
