// SPDX-License-Identifier: MIT
/// The README's first block: a ternary layer from float weights.
#include <cmath>
#include <cstdio>
#include <tern/tern.hpp>

int main() {
  tern::matrix<float> W(256, 512), x(1, 512);  // 256 outputs, 512 inputs, one token
  for (std::size_t i = 0; i < 256 * 512; ++i) W.data()[i] = std::sin(float(i * i % 8191));
  for (std::size_t k = 0; k < 512; ++k) x(0, k) = std::cos(float(k));

  auto layer = tern::bit_linear::from_float(W);  // BitNet b1.58: trits, int8 activations
  auto y = layer(x);                             // the best kernel of this machine
  std::printf("y[0] = %.4f at %.2f bits per weight\n", double(y(0, 0)), layer.weights().bits_per_weight());
}
