// SPDX-License-Identifier: MIT
/// An executor over a thread pool: Eigen's, or one with the same two functions. Include it beside tern.hpp.
#pragma once

#include <atomic>
#include <memory>

#include <tern/concepts.hpp>

namespace tern::inline v0_1 {

/// A pool has Schedule(f), which runs the copyable f() on one of its threads sooner or later, and NumThreads():
/// Eigen::ThreadPoolInterface and what derives from it.
template <class P>
concept thread_pool = requires(P& pool, const P& constant, void (*f)()) {
  pool.Schedule(f);
  { constant.NumThreads() } -> std::convertible_to<int>;
};

namespace detail::inline TERN_TU {

/// The parts of one call, taken one by one by the threads that come for them. A task that its pool starts after the call
/// has returned finds none left, and touches nothing of the caller's.
template <class F>
class shared_parts {
 public:
  shared_parts(std::size_t count, F& f) : count_(count), f_(&f) {}

  void run_rest() {
    for (std::size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) run(i);
  }
  /// The caller's share: part 0, what nobody has come for, and to wait for the others. To be woken takes tens of
  /// microseconds, as long as half of a small product, so it spins for about that long before it sleeps.
  void finish() {
    run(0);
    run_rest();
    std::size_t spins = 0;
    for (std::size_t now; (now = ended_.load(std::memory_order_acquire)) != count_; ++spins) {
      if (spins >= most_spins) ended_.wait(now, std::memory_order_acquire);
#if defined(TERN_X86)
      __builtin_ia32_pause();
#elif defined(TERN_ARM64)
      __asm__ volatile("isb");  // yield does nothing on most
#endif
    }
  }

 private:
  void run(std::size_t i) {
    (*f_)(i);
    if (ended_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) ended_.notify_one();
  }

  static constexpr std::size_t most_spins = 2000;  // of 10 to 60 ns each

  const std::size_t count_;
  F* const f_;
  std::atomic<std::size_t> next_ = 1, ended_ = 0;
};

}  // namespace detail::inline TERN_TU

/// The threads of a pool, and the calling one, which runs parts as they do. It takes all that no thread of the pool has
/// come for, and then waits for parts that are running only: so a part may call parallel_for again, a thread of the pool
/// may be the caller, and a pool that is busy delays nothing.
///
/// Cost:   one allocation a call, and what the pool's queue takes.
/// Errors: what Schedule throws, when all parts have run.
///
///     Eigen::ThreadPool pool(4);
///     layer(x, y, workspace, tern::pool_executor(pool));
template <thread_pool Pool>
class pool_executor {
 public:
  /// @param pool     must outlive this
  /// @param threads  at most this many at once, the caller among them; 0 for as many as the pool has
  explicit pool_executor(Pool& pool, int threads = 0)
      : pool_(&pool), threads_(threads > 0 ? threads : static_cast<int>(pool.NumThreads())) {}

  std::size_t concurrency() const { return static_cast<std::size_t>(threads_); }
  template <class F, class Tu = tu_tag>
  void parallel_for(std::size_t n, F&& f) const {
    if (n == 0) return;
    using parts_type = detail::shared_parts<std::remove_reference_t<F>>;
    const auto parts = std::make_shared<parts_type>(n, f);
    // In a destructor, since Schedule may throw when others are at work with f.
    const struct finisher {
      parts_type& parts;
      ~finisher() { parts.finish(); }
    } finish{*parts};
    for (std::size_t helper = 1; helper < n && helper < concurrency(); ++helper)
      pool_->Schedule([parts] { parts->run_rest(); });
  }

 private:
  Pool* pool_;
  int threads_;
};

}  // namespace tern::inline v0_1
