// SPDX-License-Identifier: MIT
#include <tern/quantize/hadamard.hpp>

#include <bit>
#include <cmath>

#include "support/backward_executor.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern::hadamard_rotation;
using tern_test::backward_executor;
using tern_test::contains;

namespace {

tern::matrix<float> undone(const hadamard_rotation& r, const tern::matrix<float>& x) {
  tern::matrix<float> out(x.rows(), x.cols());
  r.undo(x, out);
  return out;
}

double norm(const tern::matrix<float>& x, const tern::matrix<float>& less = {}) {
  double sum = 0;
  for (std::size_t i = 0; i < x.rows() * x.cols(); ++i)
    sum +=
        std::pow(static_cast<double>(x.data()[i]) - (less.rows() == 0 ? 0.0 : static_cast<double>(less.data()[i])), 2);
  return std::sqrt(sum);
}

/// The signs of a rotation: apply() to unit vectors gives rows of D H, and the first column of H is positive.
std::vector<double> signs_of(const hadamard_rotation& r) {
  std::vector<double> signs;
  for (std::size_t k = 0; k < r.inputs(); ++k) {
    tern::matrix<float> e(1, r.inputs());
    e(0, k) = 1;
    r.apply(e, e);
    signs.push_back(k >= r.rotated() ? 1.0 : e(0, k / r.block() * r.block()) > 0 ? 1.0 : -1.0);
  }
  return signs;
}

}  // namespace

TEST_CASE("hadamard: the rule for blocks", "[quantize]") {
  const std::pair<std::size_t, std::size_t> blocks[] = {{4096, 4096}, {2560, 512}, {384, 128}, {11008, 256},
                                                        {1001, 64},   {96, 64},    {64, 64},   {63, 32},
                                                        {48, 32},     {3, 2},      {1, 1},     {0, 1}};
  for (const auto& [inputs, block] : blocks) {
    const hadamard_rotation r(inputs);
    CHECK(r.block() == block);
    CHECK(r.inputs() == inputs);
    CHECK(r.rotated() == inputs - inputs % block);
  }
  CHECK(hadamard_rotation(100, 1, 4).rotated() == 100);
  CHECK_THROWS_WITH(hadamard_rotation(100, 1, 12), contains("a block of 12"));
}

TEST_CASE("hadamard: the product with the matrix as it is defined", "[quantize]") {
  // H(i,j) = 2^(-n/2) (-1)^popcount(i & j)
  const std::size_t inputs = GENERATE(as<std::size_t>(), 1, 2, 8, 40, 64, 70, 256, 384);
  const hadamard_rotation r(inputs, 7);
  const auto x = tern_test::draw_matrix(3, inputs, 1);
  const auto signs = signs_of(r);
  tern::matrix<float> y(3, inputs);
  r.apply(x, y);
  const std::size_t block = r.block();
  const double bound = (std::countr_zero(block) + 2) * 0x1p-24;
  for (std::size_t m = 0; m < 3; ++m)
    for (std::size_t first = 0; first < r.rotated(); first += block) {
      double error = 0, energy = 0;
      for (std::size_t j = 0; j < block; ++j) {
        double sum = 0;
        for (std::size_t i = 0; i < block; ++i)
          sum += signs[first + i] * static_cast<double>(x(m, first + i)) * (std::popcount(i & j) % 2 == 0 ? 1 : -1);
        sum /= std::sqrt(static_cast<double>(block));
        error += std::pow(sum - static_cast<double>(y(m, first + j)), 2), energy += sum * sum;
      }
      CHECK(std::sqrt(error) <= bound * std::sqrt(energy));
    }
  for (std::size_t m = 0; m < 3; ++m)
    for (std::size_t k = r.rotated(); k < inputs; ++k) CHECK(y(m, k) == x(m, k));
}

TEST_CASE("hadamard: stages in order, on every instruction set", "[quantize]") {
  const std::size_t size = std::size_t{1} << GENERATE(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13);
  const tern::detail::hadamard_kernels kernels;
  CHECK(kernels.count >= 1);
  const auto x = tern_test::draw_matrix(1, size + 3, 9), factors = tern_test::draw_matrix(1, size + 2, 10);
  auto want = x, products = x;
  for (std::size_t half = 1; half < size; half *= 2)
    for (std::size_t i = 0; i < size; ++i)
      if ((i & half) == 0) {
        const float low = want(0, i), high = want(0, i + half);
        want(0, i) = low + high, want(0, i + half) = low - high;
      }
  for (std::size_t i = 0; i < size + 2; ++i) products(0, i) = x(0, i) * factors(0, i);
  for (std::size_t i = 0; i < kernels.count; ++i) {
    INFO("kernel " << i << ", " << size << " floats");
    auto y = x;
    kernels.all[i].transform(y.data(), size);
    CHECK(tern_test::same(y, want));  // also what is behind
    y = x;
    kernels.all[i].multiply(y.data(), x.data(), factors.data(), size + 2);
    CHECK(tern_test::same(y, products));
  }
}

TEST_CASE("hadamard: undone to the bits in blocks of powers of four", "[quantize]") {
  const std::size_t inputs = GENERATE(as<std::size_t>(), 4, 16, 64, 256, 1024, 1280, 100);
  auto x = tern_test::draw_matrix(4, inputs, 2);
  for (std::size_t i = 0; i < 4 * inputs; ++i)
    x.data()[i] = std::rint(std::fmin(std::fmax(5 * x.data()[i], -15.0f), 15.0f));
  const hadamard_rotation r(inputs);
  CHECK(std::countr_zero(r.block()) % 2 == 0);
  tern::matrix<float> y(4, inputs);
  r.apply(x, y);
  CHECK(!tern_test::same(x, y));
  CHECK(tern_test::same(undone(r, y), x));
}

TEST_CASE("hadamard: undone to rounding", "[quantize]") {
  const std::size_t inputs = GENERATE(as<std::size_t>(), 2, 32, 77, 512, 2048, 4096, 2560);
  const auto x = tern_test::draw_matrix(8, inputs, 3);
  const hadamard_rotation r(inputs);
  tern::matrix<float> y(8, inputs);
  r.apply(x, y, backward_executor{});
  const double bound = 2.01 * (std::countr_zero(r.block()) + 2) * 0x1p-24;
  CHECK(norm(undone(r, y), x) <= bound * norm(x));
  CHECK(norm(y) == Approx(norm(x)).epsilon(1e-5));
  // In place, serially, and from bfloat16.
  auto again = x;
  r.apply(again, again);
  CHECK(tern_test::same(again, y));
  CHECK(tern_test::same(r.weights(x), y));
}

TEST_CASE("hadamard: seeds give different signs and the same seed the same", "[quantize]") {
  const auto a = signs_of(hadamard_rotation(256, 1)), b = signs_of(hadamard_rotation(256, 2));
  CHECK(a != b);
  CHECK(a == signs_of(hadamard_rotation(256, 1)));
  double sum = 0;
  for (const double sign : a) sum += sign;
  CHECK(std::fabs(sum) < 64);  // four standard deviations
}

TEST_CASE("hadamard: sixteen-bit inputs, other shapes", "[quantize]") {
  const hadamard_rotation r(20);
  tern::matrix<tern::bfloat16> x(2, 20);
  tern::matrix<float> wide(2, 20), y(2, 20), z(2, 20);
  for (std::size_t i = 0; i < 40; ++i) {
    x.data()[i] = tern::bfloat16(0.1f * static_cast<float>(i));
    wide.data()[i] = static_cast<float>(x.data()[i]);
  }
  r.apply(x, y);
  r.apply(wide, z);
  CHECK(tern_test::same(y, z));
  CHECK_THROWS_AS(r.apply(tern::matrix<float>(2, 19), y), tern::shape_error);
  CHECK_THROWS_AS(r.apply(tern::matrix<float>(3, 20), y), tern::shape_error);
  tern::matrix<float> unit(1, 2, {1.0f, 0.0f});
  hadamard_rotation(2).apply(unit, unit);
  CHECK(std::fabs(unit(0, 0)) == static_cast<float>(std::sqrt(0.5)));
  CHECK(unit(0, 0) == unit(0, 1));
  tern::matrix<float> none(0, 20);
  r.apply(none, none);
}
