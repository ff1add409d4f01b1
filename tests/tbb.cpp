// SPDX-License-Identifier: MIT
#include <tern/tbb.hpp>

#include <tbb/global_control.h>
#include <tbb/task_group.h>

#include <chrono>

#include "support/executors.hpp"

namespace {

/// Threads even where the machine has one core.
const tbb::global_control threads(tbb::global_control::max_allowed_parallelism, 4);

}  // namespace

TEST_CASE("tbb_executor: the caller's arena, and one of the program's", "[parallel]") {
  tern_test::check_executor(tern::tbb_executor());
  tbb::task_arena arena(3);
  tern_test::check_executor(tern::tbb_executor(arena));
  CHECK(tern::tbb_executor(arena).concurrency() == 3);
  arena.execute([] { CHECK(tern::tbb_executor().concurrency() == 3); });
}

TEST_CASE("tbb_executor: in a group of tasks that is cancelled all parts run", "[parallel]") {
  const auto serial = tern_test::compute(5, 100);
  tern_test::results result;
  tbb::task_arena arena(3);
  arena.execute([&] {
    tbb::task_group group;
    group.run_and_wait([&] {
      group.cancel();
      result = tern_test::compute(5, 100, tern_test::any_executor(tern::tbb_executor(), 7));
    });
  });
  CHECK(result == serial);
}

TEST_CASE("tbb_executor: a caller that waits begins no other task of the program", "[parallel]") {
  static thread_local bool is_calling = false;
  std::atomic<int> begun = 0;
  tbb::task_arena arena(2);
  arena.execute([&] {
    tbb::task_group group;
    for (int i = 0; i < 100; ++i) group.run([&] { begun += is_calling; });
    is_calling = true;
    tern::tbb_executor().parallel_for(
        2, [](std::size_t) { std::this_thread::sleep_for(std::chrono::milliseconds(is_calling ? 1 : 20)); });
    is_calling = false;
    group.wait();
  });
  CHECK(begun == 0);
}
