// SPDX-License-Identifier: MIT
/// A program that uses tern, shared by all the ways to get at the library: one layer, applied once, checked.
#include <cstddef>
#include <cstdio>
#include <tern/tern.hpp>

int main() {
  const float weights[2][4] = {{1, -1, 1, -1}, {1, 1, 1, -1}};  // their mean magnitude, the scale, is 1
  const float inputs[4] = {127, 2, 3, 4};                       // their largest is 127, so the scale is 1
  tern::matrix<float> w(2, 4);
  tern::matrix<float> x(1, 4);
  for (std::size_t k = 0; k < 4; ++k) {
    x(0, k) = inputs[k];
    for (std::size_t n = 0; n < 2; ++n) w(n, k) = weights[n][k];
  }

  const auto layer = tern::bit_linear::from_float(w);
  const auto y = layer(x);
  std::printf("tern %d.%d.%d: %g %g\n", TERN_VERSION_MAJOR, TERN_VERSION_MINOR, TERN_VERSION_PATCH,
              static_cast<double>(y(0, 0)), static_cast<double>(y(0, 1)));
  return y(0, 0) == 124.0f && y(0, 1) == 128.0f ? 0 : 1;
}
