// SPDX-License-Identifier: MIT
/// Progress and cancellation of quantizers that take long: a callback that is told how many slices are done.
#pragma once

#include <atomic>

#include <tern/error.hpp>

namespace tern::inline v0_1 {

/// What a quantizer reports to: progress(done, total), in slices; returning false cancels. It is called from the
/// executor's threads, never by two at once, with `done` strictly ascending, and at last with done == total. It must not throw.
template <class P>
concept progress_callback = requires(P& progress, std::size_t done, std::size_t total) {
  { progress(done, total) } -> std::same_as<bool>;
};

/// Reports nothing.
struct no_progress {
  constexpr bool operator()(std::size_t, std::size_t) const { return true; }
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Counts finished slices for a callback. No thread waits for another: who finds the callback busy leaves its slice to
/// the next report, and finish() makes the last one.
template <progress_callback Progress>
class progress_meter {
 public:
  progress_meter(Progress& progress, std::size_t total) : progress_(progress), total_(total) {}

  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  /// One more slice is done. On any thread.
  void add_one() {
    if constexpr (!std::same_as<Progress, no_progress>) {
      done_.fetch_add(1, std::memory_order_relaxed);
      if (busy_.exchange(true, std::memory_order_acquire)) return;
      // The count is read inside, so that reports ascend; who comes late finds its slice reported. The last report is
      // finish()'s.
      const std::size_t done = done_.load(std::memory_order_relaxed);
      if (!cancelled() && done > reported_ && done < total_) report(reported_ = done);
      busy_.store(false, std::memory_order_release);
    }
  }
  /// After all threads have returned, between the stages of a long operation.
  /// Errors: cancelled_error when the callback said so.
  void stop_if_cancelled(const char* what) const {
    if (cancelled())
      fail<cancelled_error>(
          {what, ": cancelled after ", done_.load(std::memory_order_relaxed), " of ", total_, " slices"});
  }
  void finish(const char* what) {
    stop_if_cancelled(what);
    report(total_);
    stop_if_cancelled(what);
  }

 private:
  void report(std::size_t done) {
    if (!progress_(done, total_)) cancelled_.store(true, std::memory_order_relaxed);
  }

  Progress& progress_;
  std::size_t total_;
  std::size_t reported_ = 0;  // guarded by busy_
  std::atomic<std::size_t> done_ = 0;
  std::atomic<bool> busy_ = false, cancelled_ = false;
};

}  // namespace tern::inline v0_1::detail::inline TERN_TU
