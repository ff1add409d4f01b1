// SPDX-License-Identifier: MIT
#include <tern/quantize/logarithm.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "support/catch.hpp"

TEST_CASE("natural_logarithm: two units in the last place of the C library's", "[quantize]") {
  std::mt19937_64 random(8);
  double worst = 0;
  for (int i = 0; i < 200000; ++i) {
    const double x = std::ldexp(1 + std::ldexp(double(random() >> 12), -52), int(random() % 120) - 60) *
                     (i % 2 == 0 ? 1 : std::ldexp(1, -60));
    const double near_one = 1 + std::ldexp(double(random() >> 40), -30) * (i % 2 == 0 ? 1 : -0.5);
    for (const double v : {x, near_one}) {
      const double want = std::log(v),
                   ulp = std::nextafter(std::fabs(want), std::numeric_limits<double>::infinity()) - std::fabs(want);
      worst = std::max(worst, std::fabs(tern::detail::natural_logarithm(v) - want) / ulp);
    }
  }
  CHECK(worst <= 2);
  CHECK(tern::detail::natural_logarithm(1) == 0);
}

TEST_CASE("natural_logarithm: relative error", "[quantize]") {
  double largest = 0;
  for (int i = 1; i < 200000; ++i) {
    const double x = i * 1e-5, wanted = std::log(x);
    const double difference = std::fabs(tern::detail::natural_logarithm(x) - wanted);
    largest = std::max(largest, difference / std::max(std::fabs(wanted), 1e-300));
  }
  CHECK(largest < 6e-16);
  CHECK(tern::detail::natural_logarithm(1) == 0);
  CHECK(std::fabs(tern::detail::natural_logarithm(0x1p-62) + 62 * std::log(2.0)) < 1e-14);
}
