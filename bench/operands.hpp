// SPDX-License-Identifier: MIT
/// Random operands of products, made outside of what is timed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <tern/tern.hpp>

namespace bench {

/// Shape of a product: M tokens, N outputs, K inputs.
struct shape {
  std::size_t m = 1, n = 0, k = 0;

  double macs() const { return static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
  std::string name() const {
    std::string name = "M";
    name += std::to_string(m);
    name += "_N";
    name += std::to_string(n);
    name += "_K";
    name += std::to_string(k);
    return name;
  }
};

/// xorshift64*: the same numbers on every machine.
class random_source {
 public:
  std::uint32_t operator()() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<std::uint32_t>(state_ * 0x2545F4914F6CDD1Du >> 32);
  }
  /// Whole numbers lowest .. highest.
  int between(int lowest, int highest) {
    return lowest + static_cast<int>((*this)() % static_cast<std::uint32_t>(highest - lowest + 1));
  }

 private:
  std::uint64_t state_ = 0x9E3779B97F4A7C15u;
};

/// What the scales and planes of weights are like.
struct weights_format {
  tern::granularity granularity = tern::per_channel;
  tern::scale_type scales = tern::scale_type::float32;
  std::size_t planes = 1;
};

/// Codes of weights [planes x N x K], any of the codec's levels whose negative is one too; scales 1.
template <tern::codec Codec>
tern::quantized_matrix random_codes(std::size_t n, std::size_t k, const weights_format& format = {},
                                    const Codec& codec = {}) {
  std::vector<std::int8_t> levels;
  for (int level = -127; level <= 127; ++level)
    if (codec.holds(level) && codec.holds(-level)) levels.push_back(static_cast<std::int8_t>(level));
  tern::quantized_matrix q(format.planes, n, k, format.granularity);
  random_source random;
  for (std::int8_t& code : q.codes)
    code = levels[static_cast<std::size_t>(random.between(0, static_cast<int>(levels.size()) - 1))];
  std::fill(q.scales.begin(), q.scales.end(), 1.0f);
  return q;
}

template <tern::codec Codec>
tern::packed_matrix<Codec> random_weights(std::size_t n, std::size_t k, const weights_format& format = {},
                                          const Codec& codec = {}) {
  return tern::packed_matrix<Codec>(random_codes(n, k, format, codec), {.scales = format.scales}, codec);
}

inline tern::matrix<float> random_floats(std::size_t rows, std::size_t cols) {
  tern::matrix<float> x(rows, cols);
  random_source random;
  for (std::size_t m = 0; m < rows; ++m)
    for (std::size_t k = 0; k < cols; ++k) x(m, k) = static_cast<float>(random.between(-1000, 1000)) * 0.001f;
  return x;
}

}  // namespace bench
