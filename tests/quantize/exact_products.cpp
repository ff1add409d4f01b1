// SPDX-License-Identifier: MIT
#include <tern/quantize/exact_products.hpp>

#include <cmath>

#include "support/catch.hpp"
#include "support/textbook.hpp"

TEST_CASE("exact products: three plain loops, on every instruction set", "[quantize]") {
  const std::size_t rows = GENERATE(as<std::size_t>(), 1, 4, 7, 64),
                    cols = GENERATE(as<std::size_t>(), 1, 3, 16, 33, 128),
                    depth = GENERATE(as<std::size_t>(), 0, 1, 5, 256, 600);
  const auto a = tern_test::draw_matrix(rows, depth, 1), b = tern_test::draw_matrix(depth, cols, 2);
  const std::size_t stride = cols + 3;
  std::vector<double> start(rows * stride), expected;
  for (std::size_t i = 0; i < start.size(); ++i) start[i] = static_cast<double>(i) * 0.1;
  expected = start;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c)
      for (std::size_t k = 0; k < depth; ++k)
        expected[r * stride + c] =
            std::fma(static_cast<double>(a(r, k)), static_cast<double>(b(k, c)), expected[r * stride + c]);
  const auto kernels = tern::detail::strip_kernels();
  CHECK(kernels.size() >= 1);
  for (const auto& kernel : kernels) {
    tern::detail::product_workspace work(kernel);
    auto c = start;
    work.add(
        c.data(), stride, rows, cols, depth, [&](std::size_t r, std::size_t k) { return a(r, k); },
        [&](std::size_t k, std::size_t j) { return b(k, j); });
    CHECK(c == expected);  // also between the rows
  }
}
