// SPDX-License-Identifier: MIT
/// Reading memory as fast as it goes: several far-apart streams, on one thread or more.
///
/// One linear stream is not the ceiling: the prefetchers of a core follow several pages at a time, and memory answers
/// more of them. How many streams are best differs between machines, so it is measured.
#pragma once

#include <span>
#include <vector>

#include "ceiling.hpp"

namespace bench {

/// Bytes to walk over so that each visit comes from memory: more than a server's share of the last-level cache.
inline constexpr std::size_t cold_bytes = std::size_t{384} << 20;

/// Threads that can run at once; 1 without OpenMP.
inline std::size_t most_threads() {
#if defined(_OPENMP)
  return static_cast<std::size_t>(omp_get_num_procs());
#else
  return 1;
#endif
}

/// Calls f(0) ... f(threads - 1), each on a thread of its own.
template <class F>
void on_threads(std::size_t threads, F&& f) {
  if (threads == 1) return f(std::size_t{0});
#if defined(_OPENMP)
#pragma omp parallel num_threads(static_cast <int>(threads))
  f(static_cast<std::size_t>(omp_get_thread_num()));
#endif
}

#if defined(TERN_X86)

struct alignas(64) line {
  std::byte bytes[64] = {};
};

/// Reads `bytes` in all from S streams that start `distance` bytes apart; asm volatile keeps loads whose value nobody
/// uses.
template <std::size_t S, std::size_t Prefetch>
void read_streams(const std::byte* data, std::size_t distance, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes / S; i += sizeof(line)) {
#pragma GCC unroll 16
    for (std::size_t s = 0; s < S; ++s) {
      const std::byte* at = data + s * distance + i;
      if constexpr (Prefetch != 0) __builtin_prefetch(at + Prefetch);
      __asm__ volatile("vmovdqu (%0), %%ymm0; vmovdqu 32(%0), %%ymm1" : : "r"(at) : "xmm0", "xmm1");
    }
  }
  __asm__ volatile("vzeroupper");
}

/// A way to read.
struct read_pattern {
  std::size_t streams, prefetch;
  void (*read)(const std::byte* data, std::size_t distance, std::size_t bytes);
};
inline constexpr read_pattern read_patterns[] = {
    {1, 0, read_streams<1, 0>},       {2, 0, read_streams<2, 0>},     {4, 0, read_streams<4, 0>},
    {8, 0, read_streams<8, 0>},       {16, 0, read_streams<16, 0>},   {1, 512, read_streams<1, 512>},
    {2, 512, read_streams<2, 512>},   {4, 512, read_streams<4, 512>}, {8, 512, read_streams<8, 512>},
    {16, 512, read_streams<16, 512>},
};

/// GB/s of reading `bytes` of each thread's equal part of the data, from `begin` of each stream's own stretch on.
inline double read_rate(const read_pattern& pattern, std::size_t threads, std::span<const line> data, std::size_t begin,
                        std::size_t bytes) {
  const std::size_t part = data.size_bytes() / threads / sizeof(line) * sizeof(line);
  // Streams a power of two apart would share the sets of the caches: three lines less, which are read twice.
  const std::size_t distance = (part / pattern.streams / sizeof(line) - 3) * sizeof(line);
  const double t = seconds([&] {
    on_threads(threads,
               [&](std::size_t thread) { pattern.read(data.front().bytes + thread * part + begin, distance, bytes); });
  });
  return static_cast<double>(threads * bytes) / t * 1e-9;
}

/// cold_bytes of memory, written once so that its pages exist; kept for the life of the process.
inline std::span<const line> cold_memory() {
  static const std::vector<line> memory(cold_bytes / sizeof(line));
  return memory;
}

/// The best speed of reading memory on so many threads, at this moment.
class bandwidth {
 public:
  /// Tries all patterns, which takes a second, and keeps the best.
  explicit bandwidth(std::size_t threads) : threads_(threads) {
    double best = 0;
    for (const read_pattern& pattern : read_patterns) {
      double rates[5];
      for (double& rate : rates) rate = read_next(pattern, std::size_t{4} << 20);
      std::sort(rates, rates + 5);
      if (rates[2] > best) best = rates[2], pattern_ = &pattern;
    }
  }

  /// GB/s right now, of reading so many bytes in all (2 to 64 MiB) where nothing was read for long. Those of the weights
  /// that are compared make both as long, and let both start as many threads.
  double operator()(double bytes) {
    const auto limited = static_cast<std::size_t>(std::min(std::max(bytes, 2097152.0), 67108864.0));
    return read_next(*pattern_, limited / threads_);
  }
  std::size_t threads() const { return threads_; }
  std::size_t streams() const { return pattern_->streams; }

 private:
  double read_next(const read_pattern& pattern, std::size_t bytes) {
    const std::size_t stretch = cold_bytes / threads_ / pattern.streams;
    const std::size_t step = bytes / pattern.streams / sizeof(line) * sizeof(line);
    if (position_ + step > stretch) position_ = 0;
    const double rate = read_rate(pattern, threads_, cold_memory(), position_, step * pattern.streams);
    position_ += step;
    return rate;
  }

  std::size_t threads_;
  std::size_t position_ = 0;
  const read_pattern* pattern_ = &read_patterns[0];
};

#else

class bandwidth {
 public:
  explicit bandwidth(std::size_t threads) : threads_(threads) {}
  double operator()(double) { return 0; }
  std::size_t threads() const { return threads_; }
  std::size_t streams() const { return 0; }

 private:
  std::size_t threads_;
};

#endif

}  // namespace bench
