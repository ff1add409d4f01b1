// SPDX-License-Identifier: MIT
/// Times on a device: every case is a CUDA graph of many launches, and all cases are replayed in turns, shuffled, so that a card
/// that slows down when hot slows them alike.
#pragma once

#include <tern/cuda/launch.hpp>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace tern_bench {

inline void check(cudaError_t code, const char* call) { tern::detail::check_cuda(code, call); }

struct timed_case {
  std::string name;
  std::string column;
  unsigned launches;
  cudaGraphExec_t graph = nullptr;
  std::vector<float> us = {};  // of one launch, each replay

  double median() const {
    std::vector<float> sorted = us;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

class timer {
 public:
  timer() {
    check(cudaStreamCreate(&stream_), "cudaStreamCreate");
    for (cudaEvent_t* event : {&begin_, &end_}) check(cudaEventCreate(event), "cudaEventCreate");
  }
  timer(const timer&) = delete;
  timer& operator=(const timer&) = delete;
  ~timer() {
    for (const timed_case& c : cases_) cudaGraphExecDestroy(c.graph);
    for (cudaEvent_t event : {begin_, end_}) cudaEventDestroy(event);
    cudaStreamDestroy(stream_);
  }

  cudaStream_t stream() const { return stream_; }

  /// A case whose launch number i is put on the stream by enqueue(i).
  template <class F>
  void add(std::string name, std::string column, unsigned launches, const F& enqueue) {
    cudaGraph_t graph = nullptr;
    timed_case c{std::move(name), std::move(column), launches};
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
    for (unsigned i = 0; i < launches; ++i) enqueue(i);
    check(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
    check(cudaGraphInstantiate(&c.graph, graph, 0), "cudaGraphInstantiate");
    check(cudaGraphDestroy(graph), "cudaGraphDestroy");
    cases_.push_back(std::move(c));
  }

  /// Replays all cases once to warm up, then `rounds` times in shuffled order.
  void run(unsigned rounds) {
    std::mt19937 random(1);
    std::vector<std::size_t> order(cases_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (unsigned round = 0; round <= rounds; ++round) {
      std::shuffle(order.begin(), order.end(), random);
      for (const std::size_t i : order) {
        timed_case& c = cases_[i];
        check(cudaEventRecord(begin_, stream_), "cudaEventRecord");
        check(cudaGraphLaunch(c.graph, stream_), "cudaGraphLaunch");
        check(cudaEventRecord(end_, stream_), "cudaEventRecord");
        check(cudaEventSynchronize(end_), "cudaEventSynchronize");
        float ms = 0;
        check(cudaEventElapsedTime(&ms, begin_, end_), "cudaEventElapsedTime");
        if (round != 0) c.us.push_back(1000 * ms / static_cast<float>(c.launches));
      }
    }
  }

  const std::vector<timed_case>& cases() const { return cases_; }

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  std::vector<timed_case> cases_;
};

}  // namespace tern_bench
