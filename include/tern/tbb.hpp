// SPDX-License-Identifier: MIT
/// An executor over oneTBB. Include it beside tern.hpp, and link TBB::tbb; tern itself needs no TBB.
#pragma once

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <tern/concepts.hpp>

namespace tern::inline v0_1 {

/// oneTBB's threads: those of an arena, or of the arena that the caller is in.
///
///     layer(x, y, workspace, tern::tbb_executor());
class tbb_executor {
 public:
  tbb_executor() = default;
  /// @param arena  must outlive this
  explicit tbb_executor(tbb::task_arena& arena) : arena_(&arena) {}

  std::size_t concurrency() const {
    return static_cast<std::size_t>(arena_ != nullptr ? arena_->max_concurrency()
                                                      : tbb::this_task_arena::max_concurrency());
  }
  template <class F, class Tu = tu_tag>
  void parallel_for(std::size_t n, F&& f) const {
    const auto run = [&] {
      // A context of its own: where the caller's is cancelled, half of a result would be missing without a word.
      tbb::task_group_context context(tbb::task_group_context::isolated);
      tbb::parallel_for(
          std::size_t{0}, n, [&](std::size_t i) { f(i); }, tbb::static_partitioner(), context);
    };
    // Isolated, because a caller that waits for the last part must not begin another task of the program's, which might
    // wait for a lock that the caller holds.
    if (arena_ != nullptr)
      arena_->execute([&] { tbb::this_task_arena::isolate(run); });
    else
      tbb::this_task_arena::isolate(run);
  }

 private:
  tbb::task_arena* arena_ = nullptr;
};

}  // namespace tern::inline v0_1
