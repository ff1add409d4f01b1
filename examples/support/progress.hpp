// SPDX-License-Identifier: MIT
/// A progress bar where standard output is a terminal, and one plain line at the end in any case.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

#include <fmt/format.h>

#if defined(_WIN32)
#include <io.h>
#else
#include <unistd.h>
#endif

namespace demo {

inline bool stdout_is_terminal() {
#if defined(_WIN32)
  return _isatty(_fileno(stdout)) != 0;
#else
  return isatty(STDOUT_FILENO) != 0;
#endif
}

/// Shows how far a job has come; the destructor replaces the bar by a line with the time it took.
class progress_bar {
 public:
  explicit progress_bar(std::string job) : job_(std::move(job)) { (*this)(0.0f); }
  progress_bar(const progress_bar&) = delete;
  progress_bar& operator=(const progress_bar&) = delete;
  ~progress_bar() {
    if (terminal_) fmt::print("\r{:{}}\r", "", job_.size() + width + 20);
    fmt::print("{}: {:.1f} s\n", job_, seconds());
    std::fflush(stdout);
  }

  /// @param done  0 at the beginning to 1 at the end
  void operator()(float done) {
    const int percent = static_cast<int>(100.0f * done);
    if (!terminal_ || percent == percent_) return;
    percent_ = percent;
    const int filled = width * percent / 100;
    fmt::print("\r{} [{:#<{}}{:.<{}}] {:3} % {:5.1f} s", job_, "", filled, "", width - filled, percent, seconds());
    std::fflush(stdout);
  }

 private:
  static constexpr int width = 40;

  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

  std::string job_;
  int percent_ = -1;
  bool terminal_ = stdout_is_terminal();
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace demo
