// SPDX-License-Identifier: MIT
/// Kernels allocate nothing. Counts the calls of operator new, which this program replaces.
#include <tern/mixed_linear.hpp>
#include <tern/quantize/gptq.hpp>
#include <tern/quantize/output_refit.hpp>
#include <tern/tern.hpp>
#include <tern/thread_pool.hpp>

#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>

#include "support/catch.hpp"
#include "support/textbook.hpp"

namespace {

std::atomic<std::size_t> allocations = 0, last_allocation = std::numeric_limits<std::size_t>::max();

void* allocate(std::size_t size, std::size_t alignment) {
  if (++allocations > last_allocation) throw std::bad_alloc();
  void* const p = std::aligned_alloc(alignment, tern::detail::round_up(size == 0 ? 1 : size, alignment));
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

/// Runs each task at once.
struct immediate_pool {
  int NumThreads() const { return 3; }
  void Schedule(auto task) { task(); }
};

/// Three parts, one after the other; counts what they allocate.
struct counting_executor {
  std::size_t* count;
  std::size_t concurrency() const { return 3; }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
    const std::size_t before = allocations;
    for (std::size_t i = 0; i < n; ++i) f(i);
    *count += allocations - before;
  }
};

/// Assigns b to copies of a, with memory for no allocation, for one, and so on until it succeeds.
/// @param unchanged  unchanged(x): whether x is still what a is
template <class T>
std::size_t failures_of_assignment(const T& a, const T& b, auto&& unchanged) {
  for (std::size_t failures = 0;; ++failures) {
    T x = a;
    bool failed = false;
    last_allocation = allocations + failures;
    try {
      x = b;
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    last_allocation = std::numeric_limits<std::size_t>::max();
    if (!failed) return failures;
    CHECK(unchanged(x));
  }
}

/// Calls f and tells how often it allocated.
template <class F>
std::size_t allocations_of(F&& f) {
  const std::size_t before = allocations;
  f();
  return allocations - before;
}

}  // namespace

// Arrays come here too: operator new[] calls operator new. Not inlined, or g++ 12 warns of a mismatched new and free
// (https://gcc.gnu.org/bugzilla/show_bug.cgi?id=103993). The nothrow form is here because sanitizers have their own,
// whose memory they would not let free() take.
[[gnu::noinline]] void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return operator new(size); }
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

using layers = tern::type_list<tern::bit_linear, tern::multi_ternary_linear, tern::trit_code_linear, tern::int4_linear,
                               tern::int8_linear, tern::int8_weight_only_linear>;

TEMPLATE_LIST_TEST_CASE("a layer with a workspace allocates nothing, from its first call on", "[allocation]", layers) {
  const std::size_t tokens = GENERATE(as<std::size_t>(), 1, 70);
  const auto layer = TestType::from_float(tern_test::draw_matrix(50, 300, 1), std::vector<float>(50, 1.0f));
  const auto x = tern_test::draw_matrix(tokens, 300, 2);
  tern::matrix<float> y(tokens, 50);
  tern::matrix<tern::half> y_half(tokens, 50);
  tern::aligned_bytes workspace(layer.workspace_bytes(tokens));
  CHECK(allocations_of([&] { layer(x, y, workspace); }) == 0);
  CHECK(allocations_of([&] { layer(x.view(), y_half.view(), workspace, tern::serial_executor{}); }) == 0);
#if defined(_OPENMP)
  tern::openmp_executor(3).parallel_for(
      3, [](std::size_t) {});  // the runtime starts its threads, and may allocate for them
  CHECK(allocations_of([&] { layer(x, y, workspace, tern::openmp_executor(3)); }) == 0);
#endif
  CHECK(allocations_of([&] { static_cast<void>(layer(x)); }) ==
        (layer.workspace_bytes(tokens) == 0 ? 1u : 2u));  // y, and the workspace
}

TEST_CASE("a layer in parts allocates nothing", "[allocation]") {
  const tern::int8_matrix w(tern::quantize_absmax(tern_test::draw_matrix(2, 100, 1)));
  const tern::mixed_linear<tern::int8_matrix, tern::int8_matrix> layer({w, {0, 2}}, {w, {1, 3}}, std::vector<float>(4));
  const auto x = tern_test::draw_matrix(3, 100, 2);
  tern::matrix<float> y(3, 4);
  tern::aligned_bytes workspace(layer.workspace_bytes(3));
  CHECK(allocations_of([&] { layer(x, y, workspace); }) == 0);
}

TEST_CASE("products and quantising into storage allocate nothing", "[allocation]") {
  const auto x = tern_test::draw_matrix(5, 100, 3);
  const tern::int8_matrix w(tern::quantize_zero_point(tern_test::draw_matrix(33, 100, 4)));
  tern::quantized_activations q(5, 100);
  tern::matrix<float> y(5, 33);
  tern::matrix<std::int32_t> sums(5, 33);
  CHECK(allocations_of([&] { quantize_activations(tern::isa::scalar{}, x.view(), q.storage()); }) == 0);
  CHECK(allocations_of([&] { tern::matmul(q, w, y); }) == 0);
  CHECK(allocations_of([&] { tern::matmul(q, w, sums); }) == 0);
  CHECK(allocations_of([&] { tern::matmul(x, w, y); }) == 0);
}

TEST_CASE("a product allocates once with a pool of threads", "[allocation]") {
  const tern::quantized_activations q(5, 100);
  const tern::int8_matrix w(tern::quantize_zero_point(tern_test::draw_matrix(33, 100, 4)));
  tern::matrix<float> y(5, 33);
  immediate_pool pool;
  CHECK(allocations_of([&] { tern::matmul(q, w, y, {}, tern::pool_executor(pool)); }) == 1);
}

TEST_CASE("views of packed weights and of activations allocate nothing", "[allocation]") {
  const tern::ternary_matrix<> w(tern::quantize_absmean(tern_test::draw_matrix(33, 100, 5)));
  tern::aligned_bytes memory(tern::activations_view::storage_bytes(5, 100));
  CHECK(allocations_of([&] {
          const tern::packed_view<tern::i2> view(w.storage(), w.format());
          const tern::activations_view q(memory, 5, 100, false);
        }) == 0);
}

TEST_CASE("fits with importances allocate on the calling thread", "[allocation]") {
  const auto w = tern_test::draw_matrix(70, 96, 7);
  tern::hessian h(96);
  std::size_t count = 0;
  const counting_executor ex{&count};
  h.observe(tern_test::draw_matrix(200, 96, 8), ex);
  const auto importance = tern::importances(h);
  (void)tern::quantize_trit_code(w, {.granularity = tern::per_group(32), .importance = importance}, ex);
  (void)tern::decompose(w, {.planes = 2, .method = tern::decompose_method::balanced, .importance = importance}, ex);
  (void)tern::gptq_trit_code(w, h, {}, {.granularity = tern::per_group(32)}, ex);
  auto q = tern::gptq_int(w, h, {}, {}, ex);
  tern::refit_outputs(q, w, h, 2, ex);
  (void)tern::output_distortion(w, tern::dequantize(q), h, ex);
  CHECK(count == 0);
}

TEST_CASE("an assignment without memory leaves what was there", "[allocation]") {
  const auto x = tern_test::draw_matrix(2, 40, 9);
  const auto few = tern_test::draw_matrix(5, 40, 10), many = tern_test::draw_matrix(70, 400, 11);
  const auto check = [&](const auto& a, const auto& b) {
    const auto y = a(x);
    const auto unchanged = [&](const auto& layer) { return layer.in_features() == 40 && tern_test::same(layer(x), y); };
    CHECK(failures_of_assignment(a, b, unchanged) >= 2);
  };
  const auto bias = [](std::size_t size) { return std::vector<float>(size, 1.0f); };
  check(tern::int8_linear::from_float(few, bias(5)), tern::int8_linear::from_float(many, bias(70)));
  check(tern::llm_int8_linear::from_float(few, bias(5), {.threshold = 0, .outlier_bits = 16}),
        tern::llm_int8_linear::from_float(many, bias(70), {.threshold = 0, .outlier_bits = 16}));
  check(tern::llm_int8_static_linear::from_float(few, {1, 39}, bias(5)),
        tern::llm_int8_static_linear::from_float(many, {2, 3, 399}, bias(70)));
  const auto size_stays = [](const tern::aligned_bytes& bytes) { return bytes.size() == 64; };
  CHECK(failures_of_assignment(tern::aligned_bytes(64), tern::aligned_bytes(4096), size_stays) == 1);
  const auto shape_stays = [](const tern::matrix<float>& m) { return m.rows() == 5 && m.cols() == 40; };
  CHECK(failures_of_assignment(few, many, shape_stays) == 1);
}
