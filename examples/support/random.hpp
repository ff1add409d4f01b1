// SPDX-License-Identifier: MIT
/// Random numbers that are the same with every compiler and standard library, unlike the distributions of <random>.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace demo {

/// The splitmix64 generator: one 64-bit word of state, one multiply-xorshift mix per number.
///
/// Source: G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
class random_source {
 public:
  explicit random_source(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  /// Draws from [0, 1): 24 bits, all that a float holds.
  float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }

  /// Draws from 0 .. bound - 1. The bias is below bound / 2^32.
  std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>((next() >> 32) * bound >> 32); }

  /// Puts the elements into a random order (Fisher and Yates).
  template <class T>
  void shuffle(std::vector<T>& elements) {
    for (std::size_t i = elements.size(); i > 1; --i)
      std::swap(elements[i - 1], elements[below(static_cast<std::uint32_t>(i))]);
  }

 private:
  std::uint64_t state_;
};

}  // namespace demo
