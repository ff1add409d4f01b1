// SPDX-License-Identifier: MIT
/// Times a candidate between two readings of the machine, so that "percent of peak" compares one moment with itself.
#pragma once

#include <vector>

#include "ceiling.hpp"

namespace bench {

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// The state of the machine at one moment; reading it takes about 25 microseconds.
struct reading {
  double peak = 0;  // GMAC/s; 0 where the instruction set has no peak
  double ghz = 0;
  double nops = 0;  // a cycle

  static reading now(double (*peak)()) {
    reading r;
    r.ghz = clock_ghz();
    r.nops = r.ghz > 0 ? nops_per_ns() / r.ghz : 0;
    if (peak != nullptr) r.peak = peak();
    all_nops.push_back(r.nops);
    return r;
  }

  inline static std::vector<double> all_nops;  // of every reading of this process
};

/// Nops a cycle of the undisturbed front end: the 99th percentile of all readings of this process.
inline double front_end_width() {
  std::vector<double> values = reading::all_nops;
  if (values.empty()) return 0;
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(values.size() * 99 / 100);
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

/// One timing and the moments around it.
struct sample {
  double seconds = 0;
  double macs = 0;
  reading before, after;

  double gmacs() const { return macs / seconds * 1e-9; }
  double peak_ratio() const { return before.peak > 0 ? gmacs() / (0.5 * (before.peak + after.peak)) : 0; }
  double macs_per_cycle() const { return before.ghz > 0 ? gmacs() / (0.5 * (before.ghz + after.ghz)) : 0; }
  /// Nobody shared the core, before and after.
  bool quiet(double width) const { return std::min(before.nops, after.nops) >= 0.9 * width; }
};

/// Samples of one candidate: read(), then time() and read() in turn.
class meter {
 public:
  /// @param peak  measures the peak to compare with, or null
  explicit meter(double (*peak)()) : peak_(peak) {}

  /// Times f(), which does `macs` multiply-adds.
  template <class F>
  void time(double macs, F&& f) {
    sample s;
    s.macs = macs;
    s.before = last_;
    s.seconds = seconds(f);
    samples_.push_back(s);
    timed_ = true;
  }
  /// Reads the machine: the moment after the sample just timed, and the one before the next.
  void read() {
    last_ = reading::now(peak_);
    if (timed_) samples_.back().after = last_;
    timed_ = false;
  }

  std::size_t count() const { return samples_.size(); }
  std::size_t quiet_count() const {
    const double width = front_end_width();
    return static_cast<std::size_t>(
        std::count_if(samples_.begin(), samples_.end(), [&](const sample& s) { return s.quiet(width); }));
  }
  /// The median of f(sample) over all samples, or over the quiet ones (0 where there are none).
  template <class F>
  double median_of(F f, bool quiet_only = false) const {
    const double width = quiet_only ? front_end_width() : 0;
    std::vector<double> values;
    for (const sample& s : samples_)
      if (s.quiet(width)) values.push_back(f(s));
    return median(std::move(values));
  }

 private:
  double (*peak_)();
  reading last_;
  bool timed_ = false;
  std::vector<sample> samples_;
};

}  // namespace bench
