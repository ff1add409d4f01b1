// SPDX-License-Identifier: MIT
/// The public products: what they accept, what they refuse, and that neither executors nor batches change a bit.
#include <tern/matmul.hpp>

#include <atomic>
#include <thread>

#include "kernel/problem.hpp"
#include "support/catch.hpp"

using namespace tern_test;

namespace {

/// As many threads as it is told, each taking the parts that are left, the last first.
struct thread_executor {
  std::size_t threads;
  std::vector<std::atomic<int>>* calls = nullptr;

  std::size_t concurrency() const { return threads; }
  template <class F>
  void parallel_for(std::size_t n, F&& f) const {
    std::atomic<std::size_t> left{n};
    std::vector<std::thread> running;
    for (std::size_t i = 0; i < threads; ++i)
      running.emplace_back([&] {
        for (std::size_t part = left; part > 0;)
          if (left.compare_exchange_strong(part, part - 1)) {
            if (calls != nullptr) ++(*calls)[part - 1];
            f(part - 1);
            part = left;
          }
      });
    for (std::thread& t : running) t.join();
  }
};

/// A tag that no machine has.
struct imaginary : tern::isa::scalar {
  static constexpr std::string_view name() { return "imaginary"; }
  static bool usable() { return false; }
};

/// x 1 x 4 {1, 2, 3, 4} and w 1 x 4 {+1, 0, -1, +1}, all scales 1: the header's example. x W^T is {2}.
tern::quantized_activations example_x(std::size_t tokens = 1, std::span<const std::int32_t> zeros = {}) {
  return activations(
      tokens, 4, [](std::size_t, std::size_t k) { return static_cast<int>(k) + 1; }, zeros);
}
tern::quantized_matrix example_w(std::size_t outputs = 1, std::size_t planes = 1) {
  tern::quantized_matrix q(planes, outputs, 4, tern::per_channel);
  for (std::size_t n = 0; n < planes * outputs; ++n) {
    q.codes[4 * n] = q.codes[4 * n + 3] = 1;
    q.codes[4 * n + 2] = -1;
  }
  q.scales.assign(q.scales.size(), 1.0f);
  return q;
}

/// Calls matmul with arguments that it must refuse with Error and `message`; y stays as it was.
template <class Error, class X, class W, class T = float>
void check_refused(const X& x, const W& w, std::size_t rows, std::size_t cols, const std::string& message,
                   std::span<const float> bias = {}, T = {}) {
  tern::matrix<T> y(rows, cols, std::vector<T>(rows * cols, T(42)));
  CHECK_THROWS_AS(tern::matmul(x, w, y, bias), Error);
  CHECK_THROWS_WITH(tern::matmul(x, w, y, bias), tern_test::contains(message));
  CHECK_THROWS_AS(tern::matmul(tern::isa::scalar{}, x, w, y, bias), Error);
  bool untouched = true;
  for (std::size_t i = 0; i < rows * cols; ++i) untouched = untouched && float(y.data()[i]) == 42.0f;
  CHECK(untouched);
}

}  // namespace

TEST_CASE("matmul: the example of its comment", "[matmul]") {
  const auto x = example_x();
  const tern::ternary_matrix<> w(example_w());
  tern::matrix<float> y(1, 1);
  tern::matmul(x, w, y);
  CHECK(y(0, 0) == 2.0f);
}

TEST_CASE("matmul: owners and views on every side, every output type", "[matmul]") {
  const auto x = example_x(2);
  const tern::ternary_matrix<tern::b3> w(example_w(3));
  const std::vector<float> bias{10, 20, 30};
  const auto check = [&]<class T>(T, bool with_bias) {
    const std::span<const float> b = with_bias ? std::span<const float>(bias) : std::span<const float>();
    tern::matrix<T> owner(2, 3);
    std::vector<T> buffer(2 * 5, T(-1));
    tern::matmul(x, w, owner, b);
    tern::matmul(x.view(), w.view(), tern::matrix_view<T>(buffer.data(), 2, 3, 5), b);
    for (std::size_t m = 0; m < 2; ++m) {
      for (std::size_t n = 0; n < 5; ++n) {
        const float want = with_bias ? 2.0f + 10.0f * static_cast<float>(n + 1) : 2.0f;
        CHECK(static_cast<float>(buffer[5 * m + n]) == (n < 3 ? want : -1.0f));
        if (n < 3) CHECK(static_cast<float>(owner(m, n)) == want);
      }
    }
  };
  for (const bool with_bias : {false, true}) {
    check(0.0f, with_bias);
    check(tern::half(0), with_bias);
    check(tern::bfloat16(0), with_bias);
  }
  check(std::int32_t{0}, false);
}

TEST_CASE("matmul: scales, zero points and planes mean what they say", "[matmul]") {
  tern::quantized_matrix q = example_w(1, 2);
  q.scales = {0.5f, 0.25f};
  const tern::multi_ternary_matrix<> planes(q);
  auto x = example_x();
  x.view().scale(0) = 8.0f;
  tern::matrix<float> y(1, 1);
  tern::matmul(x, planes, y);
  CHECK(y(0, 0) == 12.0f);

  const std::vector<std::int32_t> zero{1};
  q = example_w();
  q.zeros = {-1};
  tern::matmul(example_x(1, zero), tern::int8_matrix(q), y);  // {0,1,2,3} . {2,1,0,2}
  CHECK(y(0, 0) == 7.0f);
}

TEST_CASE("matmul: float activations, as a matrix and as one vector", "[matmul]") {
  const tern::ternary_matrix<> w(example_w(3));
  const std::vector<float> x{0.5f, 7, 0.25f, 1}, bias{1, 2, 3};
  std::vector<float> y(3);
  tern::matmul(x, w, y);
  CHECK(y == std::vector<float>{1.25f, 1.25f, 1.25f});
  tern::matmul(x, w, y, bias);
  CHECK(y == std::vector<float>{2.25f, 3.25f, 4.25f});
  tern::matrix<float> out(1, 3);
  tern::matmul(tern::matrix<float>(1, 4, x), w, out, bias);
  CHECK(std::vector<float>(out.data(), out.data() + 3) == y);

  CHECK_THROWS_AS(tern::matmul(std::vector<float>(5), w, y), tern::shape_error);
  std::vector<float> two(2, 42.0f);
  CHECK_THROWS_AS(tern::matmul(x, w, two), tern::shape_error);
  CHECK(two == std::vector<float>(2, 42.0f));
}

TEST_CASE("matmul: shapes that disagree are refused with their numbers", "[matmul]") {
  const auto x = example_x(2);
  const tern::ternary_matrix<> w(example_w(3)), planes_of_8(tern::quantized_matrix(1, 3, 8, tern::per_channel));
  const tern::matrix<float> reals(2, 4);
  check_refused<tern::shape_error>(x, planes_of_8, 2, 3, "x is 2x4 but w is 3x8; the depths must agree");
  check_refused<tern::shape_error>(reals, planes_of_8, 2, 3, "x is 2x4 but w is 3x8; the depths must agree");
  check_refused<tern::shape_error>(x, w, 1, 3, "y is 1x3 but x W^T is 2x3");
  check_refused<tern::shape_error>(x, w, 2, 4, "y is 2x4 but x W^T is 2x3");
  check_refused<tern::shape_error>(reals, w, 3, 2, "y is 3x2 but x W^T is 2x3");
  const std::vector<float> bias(4);
  check_refused<tern::shape_error>(x, w, 2, 3, "4 biases for 3 outputs", bias);
  check_refused<tern::shape_error>(reals, w, 2, 3, "2 biases for 3 outputs", std::span(bias).first(2));
  check_refused<tern::shape_error>(x, tern::packed_view<tern::i2>(), 2, 0, "x is 2x4 but w is 0x0");
}

TEST_CASE("matmul: int32 is for one run of integers", "[matmul]") {
  const auto x = example_x(2);
  const std::int32_t number = 0;
  const tern::multi_ternary_matrix<> planes(example_w(3, 2));
  check_refused<tern::shape_error>(x, planes, 2, 3, "w has 2 planes of 1 groups", {}, number);
  tern::quantized_matrix q(1, 3, 40, tern::per_group(16));
  const auto deep = activations(2, 40, [](std::size_t, std::size_t) { return 1; });
  check_refused<tern::shape_error>(deep, tern::ternary_matrix<>(q), 2, 3, "w has 1 planes of 3 groups", {}, number);
  const std::vector<float> bias(3);
  const tern::ternary_matrix<> w(example_w(3));
  check_refused<tern::shape_error>(x, w, 2, 3, "no bias", bias, number);
  check_refused<tern::shape_error>(tern::matrix<float>(2, 4), w, 2, 3, "not integers", {}, number);
}

TEST_CASE("matmul: an instruction set that this machine lacks is refused", "[matmul]") {
  const tern::ternary_matrix<> w(example_w());
  tern::matrix<float> y(1, 1, {42.0f});
  CHECK_THROWS_AS(tern::matmul(imaginary{}, example_x(), w, y), tern::isa_error);
  CHECK_THROWS_WITH(tern::matmul(imaginary{}, tern::matrix<float>(1, 4), w, y),
                    tern_test::contains("this machine has no imaginary"));
  CHECK(y(0, 0) == 42.0f);
}

TEST_CASE("matmul: zero points of x need the sums of w", "[matmul]") {
  const std::vector<std::int32_t> zeros{1, 2};
  const auto x = example_x(2, zeros);
  const tern::quantized_matrix q = example_w(3);
  check_refused<tern::shape_error>(x, tern::ternary_matrix<>(q), 2, 3, "pack it with {.sums = true}");
  tern::matrix<float> y(2, 3);
  CHECK_NOTHROW(tern::matmul(x, tern::ternary_matrix<>(q, {.sums = true}), y));
  CHECK(y(1, 0) == 0.0f);
  CHECK_NOTHROW(tern::matmul(x, tern::int8_matrix(q), y));
}

TEST_CASE("matmul: one input more than int32 can hold is refused", "[matmul]") {
  for (const bool x_zeros : {false, true}) {
    for (const bool w_zeros : {false, true}) {
      const std::size_t most = tern::max_inputs(x_zeros, w_zeros);
      for (const std::size_t inputs : {most, most + 1}) {
        tern::quantized_matrix q(1, 1, inputs, tern::per_channel);
        q.scales = {1.0f};
        if (w_zeros) q.zeros = {3};
        const std::vector<std::int32_t> zeros(x_zeros ? 1 : 0, 5);
        const auto x = activations(
            1, inputs, [](std::size_t, std::size_t) { return 1; }, zeros);
        const tern::int8_matrix w(q);
        tern::matrix<float> y(1, 1);
        if (inputs == most)
          CHECK_NOTHROW(tern::matmul(x, w, y));
        else
          check_refused<tern::range_error>(
              x, w, 1, 1, std::to_string(most + 1) + " inputs could overflow int32; at most " + std::to_string(most));
      }
    }
  }
  // Float activations have no such bound.
  const tern::matrix<float> x(1, 140000);
  tern::matrix<float> y(1, 1);
  CHECK_NOTHROW(tern::matmul(x, tern::ternary_matrix<>(tern::quantized_matrix(1, 1, 140000, tern::per_tensor)), y));
}

TEST_CASE("matmul: empty matrices", "[matmul]") {
  const std::vector<float> bias{1, 2, 3};
  const auto x = activations(2, 0, [](std::size_t, std::size_t) { return 0; });
  const tern::ternary_matrix<> w(tern::quantized_matrix(1, 3, 0, tern::per_tensor));
  tern::matrix<float> y(2, 3, std::vector<float>(6, 42.0f));
  tern::matmul(x, w, y, bias);
  CHECK(std::vector<float>(y.row(1), y.row(1) + 3) == bias);
  tern::matmul(x, w, y);
  CHECK(std::bit_cast<std::uint32_t>(y(1, 2)) == 0);
  tern::matmul(tern::matrix<float>(2, 0), w, y, bias);
  CHECK(std::vector<float>(y.row(0), y.row(0) + 3) == bias);

  tern::matrix<float> no_tokens(0, 3), no_outputs(2, 0), nothing;
  CHECK_NOTHROW(tern::matmul(example_x(0), tern::ternary_matrix<>(example_w(3)), no_tokens, bias));
  CHECK_NOTHROW(tern::matmul(example_x(2), tern::ternary_matrix<>(example_w(0)), no_outputs));
  CHECK_NOTHROW(tern::matmul(tern::quantized_activations(), tern::packed_matrix<tern::i8>(), nothing));
  std::vector<float> none;
  CHECK_NOTHROW(tern::matmul(none, tern::ternary_matrix<>(), none));
}

TEMPLATE_LIST_TEST_CASE("matmul: executors and batches change no bit", "[matmul]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  for (const std::size_t outputs : sizes{5, 20, 70, 150}) {
    dice d(outputs);
    const facts f{
        .tokens = 64, .outputs = outputs, .inputs = 200, .granularity = tern::per_group(80), .planes = 2, .bias = true};
    const problem<tern::i2> p(d, f);
    const auto bits = [](const tern::matrix<float>& y, std::size_t m) {
      std::vector<std::uint32_t> row;
      for (std::size_t n = 0; n < y.cols(); ++n) row.push_back(std::bit_cast<std::uint32_t>(y(m, n)));
      return row;
    };
    tern::matrix<float> y(f.tokens, outputs), alone(1, outputs);
    tern::matmul(TestType{}, p.x, p.w, y, p.bias);
    for (std::size_t m = 0; m < f.tokens; ++m) {
      tern::matrix<std::int8_t> codes(1, f.inputs);
      std::copy_n(p.x.view().codes(m), f.inputs, codes.data());
      const std::vector<float> scale{p.x.scale(m)};
      tern::matmul(TestType{}, tern::quantized_activations::from_codes(codes.view(), scale), p.w, alone, p.bias);
      REQUIRE(bits(alone, 0) == bits(y, m));
    }
    for (const std::size_t threads : sizes{0, 1, 2, 3, 4, 7, 40}) {
      std::vector<std::atomic<int>> calls(threads);
      tern::matrix<float> z(f.tokens, outputs);
      tern::matmul(TestType{}, p.x, p.w, z, p.bias, thread_executor{threads, &calls});
      INFO(outputs << " outputs, " << threads << " threads");
      bool same = true, once = true;
      for (std::size_t m = 0; m < f.tokens; ++m) same = same && bits(z, m) == bits(y, m);
      for (const std::atomic<int>& count : calls) once = once && count <= 1;
      CHECK(same);
      CHECK(once);
      // As many parts as there are threads, but for what whole panels leave over.
      if (threads > 1) CHECK(calls[threads / 2 - 1] == 1);
    }
  }
}
