// SPDX-License-Identifier: MIT
/// What must hold for every executor: check_executor(ex).
#pragma once

#include <tern/tern.hpp>

#include <atomic>
#include <functional>
#include <thread>

#include "support/catch.hpp"
#include "support/textbook.hpp"

namespace tern_test {

/// Any executor, told how many parts to ask for. Of one type, so that what is checked is compiled once.
class any_executor {
 public:
  template <tern::executor Executor>
  any_executor(const Executor& ex, std::size_t parts)
      : parts_(parts), run_([ex](std::size_t n, const part& f) { ex.parallel_for(n, f); }) {}
  template <tern::executor Executor>
  explicit any_executor(const Executor& ex) : any_executor(ex, ex.concurrency()) {}

  std::size_t concurrency() const { return parts_; }
  void parallel_for(std::size_t n, auto&& f) const { run_(n, std::ref(f)); }

 private:
  using part = std::function<void(std::size_t)>;

  std::size_t parts_;
  std::function<void(std::size_t, const part&)> run_;
};

/// What parts do to one matrix each: codes of activations, products, planes.
struct results {
  std::vector<std::byte> activations;
  std::vector<float> product, float_product, scales;
  std::vector<std::int8_t> planes;

  friend bool operator==(const results&, const results&) = default;
};

/// 100 outputs are 7 panels.
inline results compute(std::size_t tokens, std::size_t outputs, const any_executor& ex) {
  constexpr std::size_t inputs = 75;
  const auto x = draw_matrix(tokens, inputs, 1);
  std::size_t reported = 0;
  const auto planes = tern::decompose(draw_matrix(outputs, inputs, 2), {.granularity = tern::per_group(32)}, ex,
                                      [&](std::size_t done, std::size_t) { return reported = done, true; });
  const tern::multi_ternary_matrix<> w(planes);
  results r;
  r.planes = planes.codes;
  r.scales = planes.scales;
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

/// What there is to compare with.
inline results compute(std::size_t tokens, std::size_t outputs) {
  return compute(tokens, outputs, any_executor(tern::serial_executor{}));
}

inline void check_each_index_once(const tern::executor auto& ex) {
  for (const std::size_t n : std::vector<std::size_t>{0, 1, 2, 7, 100}) {
    std::vector<std::atomic<int>> calls(n);
    ex.parallel_for(n, [&](std::size_t i) { ++calls.at(i); });
    for (const auto& count : calls) CHECK(count == 1);
  }
}

/// Parts that have parts that have parts.
inline void check_nesting(const tern::executor auto& ex) {
  constexpr std::size_t n = 5;
  std::vector<std::atomic<int>> calls(n * n * n);
  ex.parallel_for(n, [&](std::size_t i) {
    ex.parallel_for(n,
                    [&](std::size_t j) { ex.parallel_for(n, [&](std::size_t k) { ++calls[(i * n + j) * n + k]; }); });
  });
  for (const auto& count : calls) CHECK(count == 1);
}

/// One layer and one executor for several threads.
inline void check_callers(const tern::executor auto& ex) {
  const auto layer = tern::int8_linear::from_float(draw_matrix(100, 75, 3));
  const auto x = draw_matrix(5, 75, 4);
  const auto expected = layer(x);
  std::vector<tern::matrix<float>> y(4, tern::matrix<float>(5, 100));
  {
    std::vector<std::jthread> callers;
    for (auto& mine : y) {
      callers.emplace_back([&] {
        tern::aligned_bytes workspace(layer.workspace_bytes(5));
        layer(x, mine, workspace, ex);
        for (int call = 0; call < 20; ++call) layer(x, mine, workspace, any_executor(ex, 3));
      });
    }
  }
  for (const auto& each : y) CHECK(same(each, expected));
}

/// An error in any part comes from the calling thread, and the next call is like any other.
inline void check_errors(const tern::executor auto& ex) {
  const auto layer = tern::bit_linear::from_float(draw_matrix(40, 50, 3));
  const auto good = draw_matrix(9, 50, 4);
  tern::matrix<float> y(9, 40);
  tern::aligned_bytes workspace(layer.workspace_bytes(9));
  for (const std::size_t row : std::vector<std::size_t>{0, 4, 8}) {
    auto bad = good;
    bad(row, 49) = std::bit_cast<float>(0x7fc00000u);
    CHECK_THROWS_WITH(layer(bad, y, workspace, any_executor(ex, 4)),
                      contains("row " + std::to_string(row) + ", column 49"));
    layer(good, y, workspace, any_executor(ex, 4));
    CHECK(same(y, layer(good)));
  }
}

/// The same bytes as on one thread, in however many parts.
inline void check_results(const tern::executor auto& ex) {
  for (const std::size_t tokens : std::vector<std::size_t>{1, 5, 64}) {
    const auto serial = compute(tokens, 100);
    CHECK(compute(tokens, 100, any_executor(ex)) == serial);
    // An executor that says 0 is taken as one.
    for (const std::size_t parts : std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7, 20})
      CHECK(compute(tokens, 100, {ex, parts}) == serial);
  }
}

inline void check_executor(const tern::executor auto& ex) {
  CHECK(ex.concurrency() >= 1);
  check_each_index_once(ex);
  check_nesting(ex);
  check_callers(ex);
  check_errors(ex);
  check_results(ex);
}

}  // namespace tern_test
