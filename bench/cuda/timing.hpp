// SPDX-License-Identifier: MIT
/// Times on a device: every case is a CUDA graph of many launches. Bursts are replayed in turns, in another order each
/// round, so that a card that slows down when hot slows all of them alike. Sustained cases take turns in their group until
/// each has run for seconds, so that the power cap acts on them as it does in use.
#pragma once

#include <tern/cuda/launch.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace tern_bench {

inline void check(cudaError_t code, const char* call) { tern::detail::check_cuda(code, call); }

/// A captured graph, which the last of its owners destroys.
class graph {
 public:
  graph() = default;
  /// Of the launches that enqueue(0) ... enqueue(launches - 1) put on the stream.
  template <class F>
  graph(cudaStream_t stream, unsigned launches, const F& enqueue) : stream_(stream), launches_(launches) {
    cudaGraph_t captured = nullptr;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
    for (unsigned i = 0; i < launches; ++i) enqueue(i);
    check(cudaStreamEndCapture(stream, &captured), "cudaStreamEndCapture");
    check(cudaGraphInstantiate(&runnable_, captured, 0), "cudaGraphInstantiate");
    check(cudaGraphDestroy(captured), "cudaGraphDestroy");
  }
  graph(graph&& other) noexcept
      : stream_(other.stream_), launches_(other.launches_), runnable_(std::exchange(other.runnable_, nullptr)) {}
  graph& operator=(graph other) noexcept {
    std::swap(stream_, other.stream_);
    std::swap(launches_, other.launches_);
    std::swap(runnable_, other.runnable_);
    return *this;
  }
  ~graph() {
    if (runnable_ != nullptr) cudaGraphExecDestroy(runnable_);
  }

  unsigned launches() const { return launches_; }
  void replay() const { check(cudaGraphLaunch(runnable_, stream_), "cudaGraphLaunch"); }

 private:
  cudaStream_t stream_ = nullptr;
  unsigned launches_ = 0;
  cudaGraphExec_t runnable_ = nullptr;
};

/// Keeps the device busy while the host enqueues what is timed: else the first of it would start late.
__global__ void spin(long long clocks) {
  const long long begin = clock64();
  while (clock64() - begin < clocks) {
  }
}

/// What is timed, and where it stands in the tables: section, row and column.
struct timed_case {
  std::string section, row, column;
  bool sustained = false;
  double work = 0;  // of a launch, in bytes or operations, and what 1e9 or 1e12 of them a second are called
  const char* unit = "";
  graph replayed = {};
  std::vector<float> us = {};  // of one launch, each replay; sorted once all are there

  std::string name() const { return section + ", " + row + ", " + column; }
  double quantile(double q) const {
    return us[static_cast<std::size_t>(std::lround(q * static_cast<double>(us.size() - 1)))];
  }
  double median() const { return quantile(0.5); }
};

class timer {
 public:
  /// @param filters  only cases are wanted whose names contain all of them
  explicit timer(std::vector<std::string> filters) : filters_(std::move(filters)) {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    for (cudaEvent_t* event : {&begin_, &end_}) check(cudaEventCreate(event), "cudaEventCreate");
  }
  timer(const timer&) = delete;
  timer& operator=(const timer&) = delete;
  ~timer() {
    for (cudaEvent_t event : {begin_, end_}) cudaEventDestroy(event);
    cudaStreamDestroy(stream_);
  }

  cudaStream_t stream() const { return stream_; }
  const std::vector<timed_case>& cases() const { return cases_; }

  bool wants(const timed_case& c) const {
    return std::all_of(filters_.begin(), filters_.end(),
                       [&](const std::string& filter) { return c.name().find(filter) != std::string::npos; });
  }

  /// Adds a case whose launch number i is put on the stream by enqueue(i).
  /// @param at_least  launches of a replay, which are more where they take less than a millisecond together
  template <class F>
  void add(timed_case c, unsigned at_least, const F& enqueue) {
    const double us = estimate(2, enqueue);
    constexpr double replay_us = 1000;
    const auto launches = static_cast<unsigned>(std::clamp(replay_us / us, 1.0, 2000.0));
    c.replayed = graph(stream_, std::max(at_least, launches), enqueue);
    cases_.push_back(std::move(c));
  }

  /// Microseconds of one of `launches` launches: the shortest of three replays, after one to warm up.
  template <class F>
  double estimate(unsigned launches, const F& enqueue) {
    const graph work(stream_, launches, enqueue);
    work.replay();
    double us = INFINITY;
    for (int i = 0; i < 3; ++i) us = std::min<double>(us, replay(work));
    return us;
  }

  void run(unsigned rounds, double sustained_seconds) {
    std::vector<timed_case*> bursts;
    for (timed_case& c : cases_)
      if (!c.sustained) bursts.push_back(&c);
    for (unsigned round = 0; round <= rounds; ++round) {
      std::shuffle(bursts.begin(), bursts.end(), random_);
      for (timed_case* c : bursts) {
        const float us = replay(c->replayed);
        if (round != 0) c->us.push_back(us);
      }
    }
    // Sustained cases of one section and column are a group.
    std::vector<timed_case*> left;
    for (timed_case& c : cases_)
      if (c.sustained) left.push_back(&c);
    while (!left.empty()) {
      const timed_case* const first = left.front();
      const auto others = std::stable_partition(left.begin(), left.end(), [&](const timed_case* c) {
        return c->section == first->section && c->column == first->column;
      });
      sustain({left.begin(), others}, sustained_seconds);
      left.erase(left.begin(), others);
    }
    for (timed_case& c : cases_) std::sort(c.us.begin(), c.us.end());
  }

 private:
  float milliseconds() {
    check(cudaEventRecord(end_, stream_), "cudaEventRecord");
    check(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin_, end_), "cudaEventElapsedTime");
    return ms;
  }

  /// @return microseconds of a launch
  float replay(const graph& work) {
    spin<<<1, 1, 0, stream_>>>(40000);  // 20 to 30 us
    check(cudaEventRecord(begin_, stream_), "cudaEventRecord");
    work.replay();
    return 1000 * milliseconds() / static_cast<float>(work.launches());
  }

  /// Turns of half a second, in another order each time, until each case has run for so many seconds. Only the second half of a
  /// turn counts: in turns of 20 ms cases take each other's power. (On an H100 an int8 product of cuBLASLt took 191 us in
  /// them and 214 alone, 190 in a burst, while what took turns with it slowed down.)
  void sustain(std::vector<timed_case*> group, double seconds) {
    constexpr double turn_us = 500000, piece_us = 20000;
    constexpr int pieces = static_cast<int>(turn_us / piece_us);
    std::vector<std::pair<timed_case*, unsigned>> order;  // with the replays of a piece
    for (timed_case* c : group)
      order.emplace_back(c,
                         static_cast<unsigned>(std::ceil(piece_us / (replay(c->replayed) * c->replayed.launches()))));
    const int turns = static_cast<int>(std::ceil(1e6 * seconds / turn_us));
    for (int turn = 0; turn < turns; ++turn) {
      std::shuffle(order.begin(), order.end(), random_);
      for (const auto& [c, replays] : order)
        for (int piece = 0; piece < pieces; ++piece) {
          check(cudaEventRecord(begin_, stream_), "cudaEventRecord");
          for (unsigned i = 0; i < replays; ++i) c->replayed.replay();
          const float us = 1000 * milliseconds() / static_cast<float>(replays * c->replayed.launches());
          if (piece >= pieces / 2) c->us.push_back(us);
        }
    }
  }

  std::vector<std::string> filters_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  std::mt19937 random_{1};
  std::vector<timed_case> cases_;
};

}  // namespace tern_bench
