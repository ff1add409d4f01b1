// SPDX-License-Identifier: MIT
/// What the table of bench_ratio is made of: rows, products whose operands are made at their first use, and the three ways
/// to measure: a share of the instruction peak, a share of the speed of memory, two products in turn.
#pragma once

#include <cstdio>
#include <functional>
#include <memory>

#include "meter.hpp"
#include "operands.hpp"

#if defined(TERN_X86)

namespace bench {

/// One measurement of a row.
struct measurement {
  double value;
  bool quiet;
  double macs_per_cycle = 0;
};
using samples = std::vector<measurement>;

/// One row of the table. Its first measurement makes the operands and does not count.
struct row {
  std::string name;
  const char* unit;
  double wanted;  // 0 for nothing
  bool at_most;   // a limit, not a goal
  std::function<void(samples&)> measure;
  samples taken = {};

  void print() const {
    std::vector<double> all, quiet, macs_per_cycle;
    for (const measurement& s : taken) {
      all.push_back(s.value);
      if (!s.quiet) continue;
      quiet.push_back(s.value);
      macs_per_cycle.push_back(s.macs_per_cycle);
    }
    std::sort(all.begin(), all.end());
    const double middle = median(all);
    const auto number = [](int width, int digits, double value) {  // empty where there is none
      value > 0 || value < 0 ? std::printf(" %*.*f |", width, digits, value) : std::printf(" %*s |", width, "");
    };
    std::printf("%-35s | %-13s | %7.2f | %7.2f .. %7.2f |", name.c_str(), unit, middle, all[all.size() / 4],
                all[all.size() * 3 / 4]);
    number(7, 2, median(quiet));
    number(9, 1, median(macs_per_cycle));
    std::printf(" %7zu |", all.size());
    if (wanted > 0)
      std::printf(" %7s %6.2f | %s\n", at_most ? "at most" : "", wanted,
                  (at_most ? middle <= wanted : middle >= wanted) ? "yes" : "no");
    else
      std::printf("%16s|\n", "");
    std::fflush(stdout);
  }
};

/// Weights made at their first use: one copy, or as many as make every visit cold.
template <class Codec>
class weights {
 public:
  weights(const shape& size, bool cold, const weights_format& format = {}, const Codec& codec = {})
      : size_(size), cold_(cold), format_(format), codec_(codec) {}

  const shape& size() const { return size_; }
  bool cold() const { return cold_; }
  const tern::packed_matrix<Codec>& next() {
    if (copies_.empty()) {
      copies_.push_back(random_weights<Codec>(size_.n, size_.k, format_, codec_));
      if (cold_) copies_.resize(cold_bytes / copies_.front().storage_bytes() + 1, copies_.front());
    }
    turn_ = turn_ + 1 < copies_.size() ? turn_ + 1 : 0;
    return copies_[turn_];
  }

 private:
  shape size_;
  bool cold_;
  weights_format format_;
  Codec codec_;
  std::vector<tern::packed_matrix<Codec>> copies_ = {};
  std::size_t turn_ = 0;
};

/// A product on Isa by the next copy of the weights. Copies of it share them.
template <class Isa, class Codec>
class product {
 public:
  product(std::shared_ptr<weights<Codec>> w, std::size_t tokens)
      : size_{tokens, w->size().n, w->size().k},
        w_(std::move(w)),
        x_(tern::quantize_activations(random_floats(size_.m, size_.k))),
        y_(size_.m, size_.n) {}

  template <class Executor = tern::serial_executor>
  void operator()(const Executor& ex = {}) {
    tern::matmul(Isa{}, x_, w_->next(), y_, {}, ex);
  }

  bool cold() const { return w_->cold(); }
  const shape& size() const { return size_; }
  double bytes() const { return static_cast<double>(w_->next().storage_bytes()); }
  const tern::quantized_activations& x() const { return x_; }
  const tern::matrix<float>& y() const { return y_; }

 private:
  shape size_;
  std::shared_ptr<weights<Codec>> w_;
  tern::quantized_activations x_;
  tern::matrix<float> y_;
};

/// Runs the parts of a product one after the other, each between two readings: samples shorter than a disturbance.
struct metering_executor {
  class meter* samples;
  std::size_t parts;
  double macs;  // of one part

  std::size_t concurrency() const { return parts; }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
    for (std::size_t i = 0; i < n; ++i) {
      samples->read();
      samples->time(macs, 0, [&] { f(i); });
      samples->read();
    }
  }
};
/// In how many parts: samples of 0.4 GMAC or more, of pairs of panels, which AMX takes at once.
inline std::size_t parts_of(const shape& s) {
  const std::size_t panels = s.n / tern::panel_rows;
  std::size_t parts = 1;
  while (panels % (4 * parts) == 0 && s.macs() / static_cast<double>(2 * parts) >= 0.4e9) parts *= 2;
  return parts;
}

/// A share of the peak of Isa.
template <class Isa, class Codec>
auto percent_of_peak(product<Isa, Codec> p) {
  return [p, parts = parts_of(p.size())](samples& taken) mutable {
    meter meter({peak_of<Isa>, nullptr});
    if (parts > 1) {
      p(metering_executor{&meter, parts, p.size().macs() / static_cast<double>(parts)});
    } else {
      if (!p.cold()) p();  // other rows have emptied the caches
      meter.read();
      meter.time(p.size().macs(), 0, p);
      meter.read();
    }
    for (const auto& s : meter.samples()) taken.push_back({s.percent_of_peak(), s.quiet(), s.macs_per_cycle()});
  };
}

/// A share of the speed of reading memory.
template <class Product, class Executor>
auto percent_of_reading(Product p, bandwidth& memory, Executor ex) {
  return [p, &memory, ex](samples& taken) mutable {
    const double bytes = p.bytes();
    meter meter({nullptr, &memory, bytes});
    meter.read();
    meter.time(p.size().macs(), bytes, [&] { p(ex); });
    meter.read();
    taken.push_back({meter.samples().front().percent_of_memory(), meter.samples().front().quiet()});
  };
}

/// value(seconds of f, seconds of g), in turn. What is hot runs once before it is timed.
template <class F, class G, class Value>
auto compare(bool hot, F f, G g, Value value) {
  return [=](samples& taken) mutable {
    const auto timed = [&](auto& call) {
      if (hot) call();
      return seconds(call);
    };
    const bool quiet = reading::now({}).quiet();
    const double of_f = timed(f), of_g = timed(g);
    taken.push_back({value(of_f, of_g), quiet && reading::now({}).quiet()});
  };
}
inline double speedup(double f, double g) { return g / f; }
inline double time_ratio(double f, double g) { return f / g; }
inline double percent_slower(double f, double g) { return 100 * (f / g - 1); }

}  // namespace bench

#endif
