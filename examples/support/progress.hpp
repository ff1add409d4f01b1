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

/// Shows how far a job of `total` equal steps has come; the destructor replaces the bar by a line with the time it took.
class progress_bar {
 public:
  progress_bar(std::string job, int total) : job_(std::move(job)), total_(total) { (*this)(0); }
  progress_bar(const progress_bar&) = delete;
  progress_bar& operator=(const progress_bar&) = delete;
  ~progress_bar() {
    if (terminal_) fmt::print("\r{:{}}\r", "", job_.size() + width + 20);
    fmt::print("{}: {:.1f} s\n", job_, seconds());
    std::fflush(stdout);
  }

  void operator()(int done) {
    if (!terminal_) return;
    const int filled = width * done / total_;
    fmt::print("\r{} [{:#<{}}{:.<{}}] {:3} % {:5.1f} s", job_, "", filled, "", width - filled, 100 * done / total_,
               seconds());
    std::fflush(stdout);
  }

 private:
  static constexpr int width = 40;

  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

  std::string job_;
  int total_;
  bool terminal_ = stdout_is_terminal();
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace demo
