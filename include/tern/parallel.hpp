// SPDX-License-Identifier: MIT
/// Executors: who runs the parts of a product. The library owns no threads; the caller passes one of these or its own.
///
/// An executor has concurrency(), how many parts are worth making, and parallel_for(n, f), which calls f(0) ... f(n - 1) once
/// each, in any order, on any thread, and returns when all have returned. Results never depend on it.
#pragma once

#include <tern/concepts.hpp>

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

#if defined(_OPENMP)

/// OpenMP's threads: exists in units compiled with -fopenmp.
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
