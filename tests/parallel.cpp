// SPDX-License-Identifier: MIT
#include <tern/tern.hpp>

#include <atomic>
#include <thread>

#include "support/catch.hpp"
#include "support/textbook.hpp"

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

static_assert(tern::executor<tern::serial_executor> && tern::executor<thread_executor>);
static_assert(!tern::executor<int>);

void check_each_index_once(const tern::executor auto& ex) {
  for (const std::size_t n : std::vector<std::size_t>{0, 1, 2, 7, 100}) {
    std::vector<std::atomic<int>> calls(n);
    ex.parallel_for(n, [&](std::size_t i) { ++calls.at(i); });
    for (const auto& count : calls) CHECK(count == 1);
  }
}

/// The bytes that quantising and multiplying give with ex.
struct results {
  std::vector<std::byte> activations;
  std::vector<float> product, float_product;

  friend bool operator==(const results&, const results&) = default;
};

template <tern::executor Executor>
results compute(std::size_t tokens, std::size_t outputs, const Executor& ex) {
  constexpr std::size_t inputs = 75;
  const auto x = draw_matrix(tokens, inputs, 1);
  const tern::multi_ternary_matrix<> w(
      tern::decompose(draw_matrix(outputs, inputs, 2), {.granularity = tern::per_group(32)}));
  results r;
  r.product.resize(tokens * outputs);
  r.float_product.resize(tokens * outputs);
  const auto y = [&](std::vector<float>& out) { return tern::matrix_view<float>(out.data(), tokens, outputs); };
  tern::isa::with_best([&](auto isa) {
    tern::quantized_activations q(tokens, inputs);
    quantize_activations(isa, x.view(), q.storage(), ex);
    r.activations.assign(q.storage().begin(), q.storage().end());
    matmul(isa, q, w, y(r.product), {}, ex);
    matmul(isa, x, w, y(r.float_product), {}, ex);
  });
  return r;
}

}  // namespace

TEST_CASE("serial_executor: each index once, in order", "[parallel]") {
  check_each_index_once(tern::serial_executor{});
  CHECK(tern::serial_executor{}.concurrency() == 1);
  std::vector<std::size_t> order;
  tern::serial_executor{}.parallel_for(4, [&](std::size_t i) { order.push_back(i); });
  CHECK(order == std::vector<std::size_t>{0, 1, 2, 3});
}

TEST_CASE("executors do not change a bit of the result", "[parallel]") {
  const std::size_t tokens = GENERATE(as<std::size_t>(), 0, 1, 3, 66),
                    outputs = GENERATE(as<std::size_t>(), 0, 1, 16, 17, 100);
  const auto serial = compute(tokens, outputs, tern::serial_executor{});
  for (const std::size_t parts : std::vector<std::size_t>{1, 2, 3, 7, 64, 1000})
    CHECK(compute(tokens, outputs, backward_executor{parts}) == serial);
  CHECK(compute(tokens, outputs, thread_executor{2}) == serial);
  CHECK(compute(tokens, outputs, thread_executor{5}) == serial);
  // An executor that says 0 is taken as one.
  CHECK(compute(tokens, outputs, backward_executor{0}) == serial);
}

TEST_CASE("an executor gets no more parts than it asked for", "[parallel]") {
  const std::size_t most = GENERATE(as<std::size_t>(), 2, 3, 5, 8);
  compute(66, 50, counting_executor{most});
  compute(1, 50, counting_executor{most});
  compute(66, 1, counting_executor{most});
}

TEST_CASE("layers take executors, and errors come from the calling thread", "[parallel]") {
  const auto layer = tern::bit_linear::from_float(draw_matrix(40, 50, 3));
  auto x = draw_matrix(9, 50, 4);
  tern::matrix<float> y(9, 40);
  tern::aligned_bytes workspace(layer.workspace_bytes(9));
  layer(x, y, workspace, thread_executor{3});
  CHECK(tern_test::same(y, layer(x)));
  x(8, 49) = std::bit_cast<float>(0x7fc00000u);
  CHECK_THROWS_WITH(layer(x, y, workspace, thread_executor{3}), tern_test::contains("row 8, column 49"));
}

#if defined(_OPENMP)

TEST_CASE("openmp_executor: each index once, the same results", "[parallel]") {
  const int threads = GENERATE(0, 1, 2, 4);
  const tern::openmp_executor ex(threads);
  if (threads != 0) CHECK(ex.concurrency() == static_cast<std::size_t>(threads));
  CHECK(ex.concurrency() >= 1);
  check_each_index_once(ex);
  CHECK(compute(66, 100, ex) == compute(66, 100, tern::serial_executor{}));
  CHECK(compute(1, 100, ex) == compute(1, 100, tern::serial_executor{}));
}

#endif
