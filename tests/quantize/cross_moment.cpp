// SPDX-License-Identifier: MIT
#include <tern/quantize/cross_moment.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/backward_executor.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern_test::backward_executor;
using tern_test::contains;

namespace {

bool same_sums(const tern::cross_moment& a, const tern::cross_moment& b) {
  if (a.inputs() != b.inputs() || a.tokens() != b.tokens()) return false;
  for (std::size_t i = 0; i < a.inputs(); ++i)
    for (std::size_t j = 0; j < a.inputs(); ++j)
      if (a.sum(i, j) != b.sum(i, j)) return false;
  return true;
}

}  // namespace

TEST_CASE("cross_moment: every sum is that of the plain loop", "[quantize]") {
  const std::size_t inputs = GENERATE(as<std::size_t>(), 1, 5, 128, 130), tokens = GENERATE(as<std::size_t>(), 1, 300);
  const auto x = tern_test::draw_matrix(tokens, inputs, 1), y = tern_test::draw_matrix(tokens, inputs, 2);
  tern::cross_moment c(inputs);
  CHECK(c.empty());
  CHECK(c(0, 0) == 0.0);
  c.observe(x, y);
  CHECK(c.tokens() == tokens);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < inputs; ++i)
    for (std::size_t j = 0; j < inputs; ++j) {
      double sum = 0;
      for (std::size_t t = 0; t < tokens; ++t)
        sum = std::fma(static_cast<double>(x(t, i)), static_cast<double>(y(t, j)), sum);
      wrong += c.sum(i, j) != sum || c(i, j) != sum / static_cast<double>(tokens);
    }
  CHECK(wrong == 0);
}

TEST_CASE("cross_moment: neither the cut into batches nor the executor changes a bit", "[quantize]") {
  const auto x = tern_test::draw_matrix(600, 140, 2), y = tern_test::draw_matrix(600, 140, 3);
  tern::cross_moment whole(140);
  whole.observe(x, y);
  for (const std::size_t cut : {std::size_t{1}, std::size_t{7}, std::size_t{256}, std::size_t{599}}) {
    tern::cross_moment parts(140);
    for (std::size_t t = 0; t < 600; t += cut) {
      const std::size_t tokens = std::min(cut, 600 - t);
      parts.observe(tern::matrix_view<const float>(x.row(t), tokens, 140),
                    tern::matrix_view<const float>(y.row(t), tokens, 140), backward_executor{});
    }
    CHECK(same_sums(parts, whole));
  }
}

TEST_CASE("cross_moment: of inputs with themselves it is the Hessian", "[quantize]") {
  const auto x = tern_test::draw_matrix(90, 131, 4);
  tern::cross_moment c(131);
  tern::hessian h(131);
  c.observe(x, x), h.observe(x);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < 131; ++i)
    for (std::size_t j = 0; j < 131; ++j) wrong += c(i, j) != h(i, j);
  CHECK(wrong == 0);
}

TEST_CASE("cross_moment: half and bfloat16", "[quantize]") {
  const auto x = tern_test::draw_matrix(20, 9, 3);
  tern::matrix<tern::half> narrow(20, 9);
  tern::matrix<tern::bfloat16> brain(20, 9);
  tern::matrix<float> wide(20, 9), wide_brain(20, 9);
  for (std::size_t i = 0; i < 180; ++i) {
    narrow.data()[i] = tern::half(x.data()[i]), wide.data()[i] = narrow.data()[i];
    brain.data()[i] = tern::bfloat16(x.data()[i]), wide_brain.data()[i] = brain.data()[i];
  }
  tern::cross_moment a(9), b(9);
  a.observe(narrow, brain), b.observe(wide, wide_brain);
  CHECK(same_sums(a, b));
}

TEST_CASE("cross_moment: merging adds sums and tokens", "[quantize]") {
  const auto x = tern_test::draw_matrix(30, 11, 4), y = tern_test::draw_matrix(30, 11, 5);
  tern::cross_moment a(11), b(11), merged(11);
  a.observe(x, y), b.observe(y, x);
  merged = a, merged.merge(b);
  CHECK(merged.tokens() == 60);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < 11; ++i)
    for (std::size_t j = 0; j < 11; ++j) wrong += merged.sum(i, j) != a.sum(i, j) + a.sum(j, i);
  CHECK(wrong == 0);
  CHECK_THROWS_WITH(merged.merge(tern::cross_moment(12)), contains("12 inputs do not merge with 11"));
}

TEST_CASE("cross_moment: what it refuses it has not seen", "[quantize]") {
  tern::cross_moment c(3);
  const auto x = tern_test::draw_matrix(5, 3, 6);
  CHECK_THROWS_WITH(c.observe(x, tern::matrix<float>(5, 4)), contains("x is 5x3 and y 5x4"));
  CHECK_THROWS_AS(c.observe(tern::matrix<float>(5, 2), x), tern::shape_error);
  CHECK_THROWS_AS(c.observe(tern::matrix<float>(4, 3), x), tern::shape_error);
  auto bad = x;
  bad(4, 1) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(c.observe(bad, x), contains("x: the value at row 4, column 1"));
  CHECK_THROWS_WITH(c.observe(x, bad), contains("y: the value at row 4, column 1"));
  CHECK(c.empty());
  CHECK(c.sum(0, 0) == 0.0);
}
