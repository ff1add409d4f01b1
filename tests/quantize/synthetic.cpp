// SPDX-License-Identifier: MIT
#include <tern/quantize/synthetic.hpp>

#include <cmath>
#include <limits>

#include "support/catch.hpp"

using tern::weight_distribution;

TEST_CASE("synthetic: moments", "[quantize]") {
  // Standard errors with 2^20 values: the mean 0.001 sigma, the variance 0.0014 (Gauss) and 0.0022 (Laplace) of itself.
  const auto distribution =
      GENERATE(weight_distribution::gauss, weight_distribution::laplace, weight_distribution::student_t4);
  const auto w = tern::synthetic_weights(256, 4096, distribution, 3);
  const double count = 256 * 4096;
  double sum = 0, magnitudes = 0, squares = 0, beyond_two = 0;
  for (std::size_t i = 0; i < 256 * 4096; ++i) {
    const double x = static_cast<double>(w.data()[i]) / 0.02;
    sum += x, magnitudes += std::fabs(x), squares += x * x, beyond_two += std::fabs(x) > 2;
  }
  struct moments {
    double mean_magnitude, variance, beyond_two;
  };
  const moments wanted = distribution == weight_distribution::gauss ? moments{std::sqrt(2 / std::acos(-1.0)), 1, 0.0455}
                         : distribution == weight_distribution::laplace ? moments{1, 2, std::exp(-2.0)}
                                                                        : moments{1, 2, 0.11612};
  CHECK(std::fabs(sum / count) < 0.007);
  CHECK(std::fabs(magnitudes / count - wanted.mean_magnitude) < 0.006);
  CHECK(std::fabs(squares / count - wanted.variance) <
        (distribution == weight_distribution::student_t4 ? 0.08 : 0.012));
  CHECK(std::fabs(beyond_two / count - wanted.beyond_two) < 0.0015);
}

TEST_CASE("synthetic: the same bits for ever", "[quantize]") {
  const auto hash = [](weight_distribution distribution, std::uint64_t seed) {
    const auto w = tern::synthetic_weights(64, 100, distribution, seed);
    std::uint64_t fnv = 0xcbf29ce484222325u;
    for (std::size_t i = 0; i < 6400; ++i) fnv = (fnv ^ std::bit_cast<std::uint32_t>(w.data()[i])) * 0x100000001b3u;
    return fnv;
  };
  CHECK(hash(weight_distribution::gauss, 1) == 0x7dff08b01d75d77du);
  CHECK(hash(weight_distribution::laplace, 1) == 0xd602f50ffcbdcc11u);
  CHECK(hash(weight_distribution::student_t4, 1) == 0xd3b5ff656ae468cbu);
  CHECK(hash(weight_distribution::gauss, 2) != hash(weight_distribution::gauss, 1));
  CHECK(tern::synthetic_weights(0, 5, weight_distribution::gauss, 1).rows() == 0);
}
