// SPDX-License-Identifier: MIT
/// Executors: who runs the parts of a product. The library owns no threads; the caller passes one of these or its own.
///
/// An executor has concurrency(), how many parts are worth making, and parallel_for(n, f), which calls f(0) ... f(n - 1) once
/// each, in any order, on any thread, and returns when all have returned. Results never depend on it. f does not throw: what
/// a part throws, for_each_part keeps. f may call parallel_for, and several threads may at once.
///
///   serial_executor, openmp_executor   here
///   pool_executor                      thread_pool.hpp: Eigen's thread pool, or your own
///   tbb_executor                       tbb.hpp: oneTBB
///
/// On two idle processors, products of 20 us a half, one after the other, end 1 to 2 us after their slower half (with
/// OpenMP, oneTBB, and Eigen's pool). Where a thread sleeps or has lost its processor, pools and TBB run all parts on the
/// calling thread; OpenMP waits for it.
#pragma once

#include <atomic>
#include <exception>

#include <tern/concepts.hpp>
#include <tern/error.hpp>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace tern::inline v0_1 {

/// The default: the calling thread.
struct serial_executor {
  std::size_t concurrency() const { return 1; }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
    for (std::size_t i = 0; i < n; ++i) f(i);
  }
};

namespace detail::inline TERN_TU {

/// In how many parts an executor takes `count` pieces of work.
template <executor Executor>
std::size_t part_count(std::size_t count, const Executor& ex) {
  return lesser(count, greater(std::size_t{1}, std::size_t{ex.concurrency()}));
}

/// Cuts [0, count) into part_count(count, ex) parts and calls f(part, begin, end) for each. An executor's threads could not
/// pass on what f throws: the first exception is kept, and thrown on the calling thread when all parts have ended.
template <executor Executor, class F>
void for_each_part(std::size_t count, const Executor& ex, F&& f) {
  const std::size_t parts = part_count(count, ex);
  // No product of an index and the count, which could wrap: an executor may ask for any number of parts.
  const auto begin = [&](std::size_t i) { return i * (count / parts) + lesser(i, count % parts); };
  if (parts == 1) f(std::size_t{0}, std::size_t{0}, count);
  if (parts <= 1) return;
#if defined(__cpp_exceptions)
  std::exception_ptr thrown;
  std::atomic<bool> has_thrown = false;
  ex.parallel_for(parts, [&](std::size_t i) {
    try {
      f(i, begin(i), begin(i + 1));
    } catch (...) {
      if (!has_thrown.exchange(true)) thrown = std::current_exception();
    }
  });
  if (thrown) std::rethrow_exception(thrown);
#else
  ex.parallel_for(parts, [&](std::size_t i) { f(i, begin(i), begin(i + 1)); });
#endif
}

}  // namespace detail::inline TERN_TU

#if defined(_OPENMP)

/// OpenMP's threads: exists in units compiled with -fopenmp. Inside a parallel region the calling thread runs all parts,
/// unless the program has turned nested regions on (omp_set_max_active_levels).
class openmp_executor {
 public:
  /// @param threads  at most this many; 0 for what OpenMP would use
  explicit openmp_executor(int threads = 0) : threads_(threads > 0 ? threads : omp_get_max_threads()) {}
  std::size_t concurrency() const { return static_cast<std::size_t>(threads_); }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
    const auto end = static_cast<std::ptrdiff_t>(n);
#pragma omp parallel for num_threads(threads_) schedule(static)
    for (std::ptrdiff_t i = 0; i < end; ++i) f(static_cast<std::size_t>(i));
  }

 private:
  int threads_;
};

#endif

}  // namespace tern::inline v0_1
