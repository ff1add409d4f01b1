// SPDX-License-Identifier: MIT
/// Kernels allocate nothing. Counts the calls of operator new, which this program replaces.
#include <tern/mixed_linear.hpp>
#include <tern/quantize/gptq.hpp>
#include <tern/quantize/output_refit.hpp>
#include <tern/tern.hpp>
#include <tern/thread_pool.hpp>

#include <atomic>
#include <cstdlib>
#include <new>

#include "support/catch.hpp"
#include "support/textbook.hpp"

namespace {

std::atomic<std::size_t> allocations = 0;

void* allocate(std::size_t size, std::size_t alignment) {
  ++allocations;
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
