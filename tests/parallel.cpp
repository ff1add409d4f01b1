// SPDX-License-Identifier: MIT
#include <tern/thread_pool.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <latch>
#include <limits>
#include <new>
#include <unsupported/Eigen/CXX11/ThreadPool>

#include "support/executors.hpp"
#include "support/thread_pool.hpp"

using tern_test::any_executor;
using tern_test::check_executor;
using tern_test::compute;
using tern_test::draw_matrix;

namespace {

/// A thread for each part.
struct thread_executor {
  std::size_t threads = 2;

  std::size_t concurrency() const { return threads; }
  void parallel_for(std::size_t n, auto&& f) const {
    std::vector<std::jthread> running;
    for (std::size_t i = 0; i < n; ++i) running.emplace_back([&f, i] { f(i); });
  }
};

/// Last part first.
struct backward_executor {
  std::size_t parts;

  std::size_t concurrency() const { return parts; }
  void parallel_for(std::size_t n, auto&& f) const {
    for (std::size_t i = n; i-- > 0;) f(i);
  }
};

/// Checks how many parts it is given.
struct counting_executor {
  std::size_t most;

  std::size_t concurrency() const { return most; }
  void parallel_for(std::size_t n, auto&& f) const {
    CHECK(n <= most);
    tern::serial_executor{}.parallel_for(n, f);
  }
};

/// Runs one task on a thread of its own; takes no other, and says so when that one has begun.
struct full_pool {
  std::latch begun{1};
  std::jthread thread = {};

  int NumThreads() const { return 4; }
  void Schedule(auto task) {
    if (thread.joinable()) {
      begun.wait();
      throw std::bad_alloc();
    }
    thread = std::jthread(task);
  }
};

static_assert(tern::executor<tern::serial_executor> && tern::executor<thread_executor>);
static_assert(tern::executor<tern::pool_executor<Eigen::ThreadPoolInterface>>);
static_assert(!tern::executor<int> && !tern::thread_pool<thread_executor>);

/// Runs two of the parts that it asks for: the first and the last.
struct ends_executor {
  std::size_t parts;

  std::size_t concurrency() const { return parts; }
  void parallel_for(std::size_t n, auto&& f) const {
    f(std::size_t{0});
    f(n - 1);
  }
};

}  // namespace

TEST_CASE("for_each_part: every piece once, in parts that differ by one at most", "[parallel]") {
  for (std::size_t count = 0; count < 30; ++count)
    for (std::size_t parts = 1; parts < 12; ++parts) {
      std::size_t next = 0, part = 0;
      std::vector<std::size_t> sizes;
      tern::detail::for_each_part(count, counting_executor{parts},
                                  [&](std::size_t i, std::size_t begin, std::size_t end) {
                                    CHECK(i == part++);
                                    CHECK(begin == next);
                                    CHECK(begin < end);
                                    next = end;
                                    sizes.push_back(end - begin);
                                  });
      CHECK(next == count);
      CHECK(sizes.size() == std::min(count, parts));
      if (count != 0)
        CHECK(*std::max_element(sizes.begin(), sizes.end()) - *std::min_element(sizes.begin(), sizes.end()) <= 1);
    }
}

TEST_CASE("for_each_part: as many parts as pieces, whatever that is", "[parallel]") {
  const std::size_t count = std::numeric_limits<std::size_t>::max() / GENERATE(as<std::size_t>(), 1, 2, 3);
  std::vector<std::array<std::size_t, 3>> parts;
  tern::detail::for_each_part(count, ends_executor{count}, [&](std::size_t i, std::size_t begin, std::size_t end) {
    parts.push_back({i, begin, end});
  });
  CHECK(parts == std::vector<std::array<std::size_t, 3>>{{0, 0, 1}, {count - 1, count - 1, count}});
}

TEST_CASE("serial_executor: each index once, in order", "[parallel]") {
  check_executor(tern::serial_executor{});
  CHECK(tern::serial_executor{}.concurrency() == 1);
  std::vector<std::size_t> order;
  tern::serial_executor{}.parallel_for(4, [&](std::size_t i) { order.push_back(i); });
  CHECK(order == std::vector<std::size_t>{0, 1, 2, 3});
}

TEST_CASE("executors do not change a bit of the result", "[parallel]") {
  const std::size_t tokens = GENERATE(as<std::size_t>(), 0, 1, 3, 66),
                    outputs = GENERATE(as<std::size_t>(), 0, 1, 16, 17, 100);
  const auto serial = compute(tokens, outputs);
  for (const std::size_t parts : std::vector<std::size_t>{1, 2, 3, 7, 64, 1000})
    CHECK(compute(tokens, outputs, any_executor(backward_executor{parts})) == serial);
  CHECK(compute(tokens, outputs, any_executor(thread_executor{2})) == serial);
  CHECK(compute(tokens, outputs, any_executor(thread_executor{5})) == serial);
  // An executor that says 0 is taken as one.
  CHECK(compute(tokens, outputs, any_executor(backward_executor{0})) == serial);
}

TEST_CASE("an executor gets no more parts than it asked for", "[parallel]") {
  const std::size_t most = GENERATE(as<std::size_t>(), 2, 3, 5, 8);
  compute(66, 50, any_executor(counting_executor{most}));
  compute(1, 50, any_executor(counting_executor{most}));
  compute(66, 1, any_executor(counting_executor{most}));
}

TEST_CASE("a thread for each part", "[parallel]") { check_executor(thread_executor{3}); }

TEST_CASE("pool_executor: a plain pool of threads", "[parallel]") {
  const int threads = GENERATE(1, 2, 4);
  tern_test::thread_pool pool(threads);
  const tern::pool_executor ex(pool, GENERATE(0, 3));
  check_executor(ex);
}

TEST_CASE("pool_executor: Eigen's pool of threads", "[parallel]") {
  const int threads = GENERATE(1, 3);
  Eigen::ThreadPool pool(threads);
  check_executor(tern::pool_executor(pool));
  CHECK(tern::pool_executor(pool).concurrency() == static_cast<std::size_t>(threads));
  CHECK(tern::pool_executor(pool, 7).concurrency() == 7);
  // Any that a program has, by its interface.
  Eigen::ThreadPoolInterface& interface = pool;
  check_executor(tern::pool_executor(interface, 2));
}

TEST_CASE("pool_executor: called by all threads of its pool at once", "[parallel]") {
  tern_test::thread_pool pool(3);
  const tern::pool_executor ex(pool);
  const auto serial = compute(5, 100);
  std::vector<tern_test::results> all(3);
  std::latch started(3), ended(3);
  for (auto& mine : all) {
    pool.Schedule([&] {
      started.arrive_and_wait();  // no thread is left for the parts
      mine = compute(5, 100, any_executor(ex));
      ended.count_down();
    });
  }
  ended.wait();
  for (const auto& each : all) CHECK(each == serial);
}

TEST_CASE("pool_executor: a pool that is busy, and one that ends its tasks late", "[parallel]") {
  std::latch may_go(1);
  std::atomic<int> calls = 0;
  {
    tern_test::thread_pool pool(1);
    pool.Schedule([&] { may_go.wait(); });
    const std::vector<int> mine(8, 1);
    tern::pool_executor(pool, 3).parallel_for(8, [&](std::size_t i) { calls += mine[i]; });
    CHECK(calls == 8);
    may_go.count_down();  // now the pool runs the tasks of a call that has returned
  }
  CHECK(calls == 8);
}

TEST_CASE("pool_executor: a pool that takes no more tasks while one is at work", "[parallel]") {
  full_pool pool;
  std::atomic<int> calls = 0;
  const auto part = [&](std::size_t i) {
    if (i == 1) {
      pool.begun.count_down();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ++calls;
  };
  CHECK_THROWS_AS(tern::pool_executor(pool).parallel_for(10, part), std::bad_alloc);
  CHECK(calls == 10);
}

#if defined(_OPENMP)

TEST_CASE("openmp_executor: each index once, the same results", "[parallel]") {
  const int threads = GENERATE(0, 1, 2, 4, 9);
  const tern::openmp_executor ex(threads);
  if (threads != 0) CHECK(ex.concurrency() == static_cast<std::size_t>(threads));
  check_executor(ex);
}

TEST_CASE("openmp_executor: inside a parallel region, with nested regions off and on", "[parallel]") {
  const auto serial = compute(5, 100);
  const int levels = omp_get_max_active_levels();
  omp_set_max_active_levels(GENERATE(1, 3));
  std::vector<tern_test::results> all(3);
#pragma omp parallel for num_threads(3)
  for (int i = 0; i < 3; ++i)
    all[static_cast<std::size_t>(i)] = compute(5, 100, any_executor(tern::openmp_executor(2)));
  omp_set_max_active_levels(levels);
  for (const auto& each : all) CHECK(each == serial);
}

#endif
