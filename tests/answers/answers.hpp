// SPDX-License-Identifier: MIT
/// One answer: what every file of this program shares.
///
///   dice        pseudo-random numbers, the same bits from every compiler and standard library
///   sink        where results go: named sections of bytes; its parts(tokens, f) calls f(begin, end) for the batches that the
///               command line says
///   workers     an executor of as many threads as the command line says
///   draw        matrices of every kind that quantizers are shown
///
/// Two rules for whoever adds to it. A draw stands alone in its statement: the order in which arguments of a call are
/// evaluated is the compiler's. And nothing goes in that the library leaves open: signs and payloads of NaN (put() writes
/// one NaN for all), snr_db of distortion (the C library's log10), which kernel ran, padding that is nobody's.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tern/concepts.hpp>
#include <tern/type/quantized_activations.hpp>

#if !defined(__EMSCRIPTEN__) || defined(__EMSCRIPTEN_PTHREADS__)
#define ANSWERS_THREADS 1
#include <barrier>
#include <functional>
#include <memory>
#include <thread>
#else
#define ANSWERS_THREADS 0
#endif

namespace answers {

/// splitmix64 (G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014), in integers alone but for exact conversions.
class dice {
 public:
  explicit dice(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>((next() >> 32) * n >> 32); }
  bool flip() { return below(2) != 0; }
  int between(int least, int most) {
    return least + static_cast<int>(below(static_cast<std::size_t>(most - least + 1)));
  }
  std::int8_t code(int least = -128, int most = 127) { return static_cast<std::int8_t>(between(least, most)); }
  std::size_t one_of(std::initializer_list<std::size_t> choices) { return *(choices.begin() + below(choices.size())); }

  /// Any float whose exponent, as in 2^e, is of [least, most]; all 24 bits random, either sign. -127 is the subnormals.
  float real(int least = -4, int most = 3) {
    const int exponent = between(least, most);
    const auto bits = static_cast<std::uint32_t>(next() >> 32);
    return std::bit_cast<float>((bits & 0x807fffffu) | static_cast<std::uint32_t>(exponent + 127) << 23);
  }
  float positive(int least = -4, int most = 3) {
    const float value = real(least, most);
    return value < 0 ? -value : value;
  }
  /// The sum of eight uniform 20-bit integers about 0, times 2^-20: nearly a normal variable of variance 2/3, exact.
  float bell() {
    std::int32_t sum = 0;
    for (int i = 0; i < 8; ++i) sum += static_cast<std::int32_t>(next() >> 44) - (1 << 19);
    return static_cast<float>(sum) * 0x1p-20f;
  }

 private:
  std::uint64_t state_;
};

#if ANSWERS_THREADS
/// Threads that wait between jobs: to start them anew for each of thousands takes an emulator minutes.
class pool {
 public:
  explicit pool(std::ptrdiff_t threads) : begin_(threads), end_(threads) {
    for (std::ptrdiff_t t = 1; t < threads; ++t)
      threads_.emplace_back([this, t] {
        for (;;) {
          begin_.arrive_and_wait();
          if (!job_) return;
          job_(static_cast<std::size_t>(t));
          end_.arrive_and_wait();
        }
      });
  }
  ~pool() {
    job_ = nullptr;
    begin_.arrive_and_wait();
    for (std::thread& thread : threads_) thread.join();
  }
  /// job(t) on each thread t, the caller being thread 0.
  void run(std::function<void(std::size_t)> job) {
    job_ = std::move(job);
    begin_.arrive_and_wait();
    job_(0);
    end_.arrive_and_wait();
  }

 private:
  std::barrier<> begin_, end_;
  std::function<void(std::size_t)> job_;
  std::vector<std::thread> threads_;
};
#endif

/// Parts run by that many threads, each the parts of its remainder; on the caller's alone where there is one.
class workers {
 public:
  explicit workers(std::size_t threads = 1) : threads_(threads) {
#if ANSWERS_THREADS
    if (threads > 1) pool_ = std::make_shared<pool>(static_cast<std::ptrdiff_t>(threads));
#endif
  }
  std::size_t concurrency() const { return threads_; }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
#if ANSWERS_THREADS
    if (pool_) {
      pool_->run([this, n, &f](std::size_t t) {
        for (std::size_t i = t; i < n; i += threads_) f(i);
      });
      return;
    }
#endif
    for (std::size_t i = 0; i < n; ++i) f(i);
  }

 private:
  std::size_t threads_;
#if ANSWERS_THREADS
  std::shared_ptr<pool> pool_;
#endif
};

class sink {
 public:
  struct section {
    std::string name;
    std::size_t begin;  // in bytes()
    std::size_t end;
  };

  /// @param batch  tokens of one call, 0 for all
  sink(std::size_t threads, std::size_t batch, bool trace) : ex(threads), batch_(batch), trace_(trace) {}

  /// What follows goes to a section of that name.
  void begin(std::string name);
  const std::vector<section>& sections() const { return sections_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }

  void put_bytes(std::span<const std::byte> bytes);
  void put(std::uint64_t value) { put_bytes(std::as_bytes(std::span(&value, 1))); }
  void put(double value);
  void put(float value) { put(std::span<const float>(&value, 1)); }
  /// Any NaN as one.
  void put(std::span<const float> values);
  void put(std::span<const tern::half> values);
  void put(std::span<const tern::bfloat16> values);
  void put(std::span<const std::int32_t> values) { put_bytes(std::as_bytes(values)); }
  void put(std::span<const std::int8_t> values) { put_bytes(std::as_bytes(values)); }

  template <class T>
  void put(const tern::matrix<T>& m) {
    put(std::uint64_t{m.rows()});
    put(std::uint64_t{m.cols()});
    put(std::span<const T>(m.data(), m.rows() * m.cols()));
  }
  template <class Code>
  void put(const tern::basic_quantized_matrix<Code>& q) {
    put(std::uint64_t{q.planes});
    put(std::uint64_t{q.rows});
    put(std::uint64_t{q.cols});
    put(std::uint64_t{static_cast<std::uint8_t>(q.granularity.kind)});
    put(std::uint64_t{q.granularity.group});
    put_bytes(std::as_bytes(std::span(q.codes)));
    put(std::span<const float>(q.scales));
    put_bytes(std::as_bytes(std::span(q.zeros)));
  }
  /// Tokens [0, count) of x: what was specified, codes, scales, zero points and sums.
  void put(const tern::activations_view& x);

  /// Calls f(begin, end) for the batches of so many tokens.
  template <class F>
  void parts(std::size_t tokens, F&& f) const {
    const std::size_t step = batch_ == 0 ? tokens : batch_;
    for (std::size_t m = 0; m < tokens; m += step) f(m, m + step < tokens ? m + step : tokens);
    if (tokens == 0) f(std::size_t{0}, std::size_t{0});
  }

  const workers ex;

 private:
  std::size_t batch_;
  bool trace_;
  std::vector<section> sections_;
  std::vector<std::byte> bytes_;
};

/// Rows [begin, end) of a matrix.
template <class T>
tern::matrix_view<const T> rows_of(const tern::matrix<T>& m, std::size_t begin, std::size_t end) {
  return {m.row(begin), end - begin, m.cols()};
}
template <class T>
tern::matrix_view<T> rows_of(tern::matrix<T>& m, std::size_t begin, std::size_t end) {
  return {m.row(begin), end - begin, m.cols()};
}

/// Kinds of real matrices that quantizers are shown.
enum class kind {
  bell,
  wide,
  far,
  halves,
  grid,
  bfloats,
  outliers,
  one_sided,
  tiny,
  huge,
  subnormal,
  zero,
  constant,
  ties
};
inline constexpr kind kinds[] = {kind::bell,      kind::wide,     kind::far,       kind::halves, kind::grid,
                                 kind::bfloats,   kind::outliers, kind::one_sided, kind::tiny,   kind::huge,
                                 kind::subnormal, kind::zero,     kind::constant,  kind::ties};
std::string_view name_of(kind k);
tern::matrix<float> draw(dice& d, kind k, std::size_t rows, std::size_t cols);
std::vector<float> draw_bias(dice& d, std::size_t count);

/// The same values in another type.
template <class T>
tern::matrix<T> converted(const tern::matrix<float>& m) {
  tern::matrix<T> out(m.rows(), m.cols());
  for (std::size_t i = 0; i < m.rows() * m.cols(); ++i) out.data()[i] = static_cast<T>(m.data()[i]);
  return out;
}

// The themes, in this order; each in the file of its name.
void numbers(sink& out);
void weights(sink& out);
void ternary(sink& out);
void decompositions(sink& out);
void activation_aware(sink& out);
void activations(sink& out);
void calibration(sink& out);
void compat(sink& out);
void codec_i2(sink& out);
void codec_b3(sink& out);
void codec_n4(sink& out);
void codec_n6(sink& out);
void codec_b3x2(sink& out);
void codec_b3x3(sink& out);
void codec_i8(sink& out);

}  // namespace answers
