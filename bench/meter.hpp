// SPDX-License-Identifier: MIT
/// Times a candidate between two readings of the machine, so that "percent of peak" compares one moment with itself.
#pragma once

#include <vector>

#include "bandwidth.hpp"

namespace bench {

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// What to compare a candidate with; null where there is nothing.
struct limits {
  double (*peak)() = nullptr;  // GMAC/s of the instruction set
  bandwidth* memory = nullptr;
  double bytes = 0;  // to read from memory: as many as the candidate's weights have
};

/// The state of the machine at one moment; reading it takes about 25 microseconds, and for memory as long as the
/// candidate does at best. An interruption can only make a rate too low, so of two readings the higher one is right.
struct reading {
  double peak = 0;    // GMAC/s
  double memory = 0;  // GB/s
  double ghz = 0;
  double nops = 0;  // a nanosecond

  static reading now(const limits& limits) {
    const reading r{limits.peak != nullptr ? limits.peak() : 0,
                    limits.memory != nullptr ? (*limits.memory)(limits.bytes) : 0, clock_ghz(), nops_per_ns()};
    best.peak = std::max(best.peak, r.peak);
    best.memory = std::max(best.memory, r.memory);
    best.ghz = std::max(best.ghz, r.ghz);
    best.nops = std::max(best.nops, r.nops);
    return r;
  }
  /// The front end is as fast as ever in this process: nobody shares the core.
  bool quiet() const { return nops >= 0.95 * best.nops; }

  static reading best;  // the highest of each in this process
};
inline reading reading::best;

/// One timing and the moments around it.
struct sample {
  double seconds = 0;
  double macs = 0;
  double bytes = 0;  // of weights
  reading before, after;

  double gmacs() const { return macs / seconds * 1e-9; }
  double gigabytes() const { return bytes / seconds * 1e-9; }
  double percent_of_peak() const { return 100 * gmacs() / std::max(before.peak, after.peak); }
  double percent_of_memory() const { return 100 * gigabytes() / std::max(before.memory, after.memory); }
  double macs_per_cycle() const { return gmacs() / std::max(before.ghz, after.ghz); }
  bool quiet() const { return before.quiet() && after.quiet(); }
};

/// Samples of one candidate: read(), then time() and read() in turn.
class meter {
 public:
  explicit meter(const limits& limits) : limits_(limits) {}

  /// Times f(), which does `macs` multiply-adds with `bytes` of weights.
  template <class F>
  void time(double macs, double bytes, F&& f) {
    sample s;
    s.macs = macs;
    s.bytes = bytes;
    s.before = last_;
    s.seconds = seconds(f);
    samples_.push_back(s);
    timed_ = true;
  }
  /// Reads the machine: the moment after the sample just timed, and the one before the next.
  void read() {
    last_ = reading::now(limits_);
    if (timed_) samples_.back().after = last_;
    timed_ = false;
  }

  const std::vector<sample>& samples() const { return samples_; }
  /// The median of a member function of sample over all samples, or over the quiet ones (0 where there are none).
  double median_of(double (sample::*value)() const, bool quiet_only = false) const {
    std::vector<double> values;
    for (const sample& s : samples_)
      if (!quiet_only || s.quiet()) values.push_back((s.*value)());
    return median(std::move(values));
  }

 private:
  limits limits_;
  reading last_;
  bool timed_ = false;
  std::vector<sample> samples_;
};

}  // namespace bench
