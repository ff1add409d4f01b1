// SPDX-License-Identifier: MIT
/// fma in float, rounded once: where two roundings go wrong.
#include <tern/fma.hpp>

#include <limits>
#include <vector>

#include "support/catch.hpp"

namespace {

using tern::detail::fma_by_doubles;
using tern::detail::fma_rn;

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }
bool same(float a, float b) { return bits(a) == bits(b) || (a != a && b != b); }

/// Results as one number: a polynomial in 3^20, modulo 2^64. NaNs count as one.
struct checksum {
  std::uint64_t value = 0;
  void add(float x) { value = value * 3486784401u + (x != x ? 0x7fc00000u : bits(x)); }
};

/// f(a, b, c) where a b is as near to a power of two as it can be, and c such that this is half of its last place: ties
/// and their neighbours, upwards and downwards, of even and odd c, for normal, subnormal and the largest floats.
template <class F>
void near_ties(F&& f, std::uint32_t step) {
  const std::vector<float> of_c{0x1p24f, 0x1.000002p24f, 0x1.fffffep24f, 0x1.000004p24f};
  for (std::uint32_t i = 0; i < 1u << 23; i += step) {
    const float a = std::bit_cast<float>(0x3f800000u + i);
    const float b = 1.0f / a;
    for (const float c : of_c) {
      for (const float to : {1.0f, 0x1p-60f}) f(a * to, b * to, c * to * to);
      f(-a, b, c);
      f(a, b * 0x1p-20f, c * 0x1p-20f);
      // c is a multiple of 2^-149 and a b about half of it: ties of subnormals, and of the smallest normal floats.
      f(a * 0x1p-80f, b * 0x1p-70f, std::bit_cast<float>(bits(c) % 0x2000000u));
      f(a * 0x1p-75f, b * -0x1p-75f, 0x1p-126f);
      // Half of the last place of the largest float, and about it: infinity or not.
      f(a * 0x1p50f, b * 0x1p53f, std::numeric_limits<float>::max());
    }
  }
}

/// f of all pairs and triples of special values.
template <class F>
void specials(F&& f) {
  using limits = std::numeric_limits<float>;
  const std::vector<float> of{0.0f,
                              1.0f,
                              1.5f,
                              limits::max(),
                              limits::min(),
                              limits::denorm_min(),
                              limits::infinity(),
                              limits::quiet_NaN(),
                              0x1p-75f,
                              0x1.8p-75f,
                              0x1p64f,
                              3e-39f};
  for (const float a : of)
    for (const float b : of)
      for (const float c : of)
        for (int signs = 0; signs < 8; ++signs)
          f((signs & 1) != 0 ? -a : a, (signs & 2) != 0 ? -b : b, (signs & 4) != 0 ? -c : c);
}

}  // namespace

TEST_CASE("fma: sums beside a tie that is beyond the bits of a double", "[fma]") {
  // 2^24 + 1 -+ 2^-30: the double is the tie 2^24 + 1 both times, the float 2^24 is below it and 2^24 + 2 above.
  const float a = 1 + 0x1p-15f, b = 1 - 0x1p-15f;
  for (const auto fma : {fma_by_doubles, fma_rn}) {
    CHECK(fma(a, b, 0x1p24f) == 0x1p24f);                // to even, and below
    CHECK(fma(a, b, 0x1.000002p24f) == 0x1.000002p24f);  // 2^24 + 2 is odd: two roundings give 2^24 + 4
    CHECK(fma(-a, b, -0x1.000002p24f) == -0x1.000002p24f);
    CHECK(fma(a, 1.0f, 0x1p24f) == 0x1.000002p24f);  // above, as any double sees
    CHECK(fma(1 + 0x1p-12f, 1 + 0x1p-23f, 0x1p24f) == 0x1.000002p24f);
    CHECK(fma(-a, b, 0x1.000004p24f) == 0x1.000004p24f);  // 2^24 + 4 - 1 + 2^-30, not 2^24 + 2
    // Subnormals: 2^-126 + 2^-150 (1 - 2^-30) is below the tie, and with 1 + 2^-46 beyond it.
    CHECK(fma(a * 0x1p-75f, b * 0x1p-75f, 0x1.000002p-126f) == 0x1.000002p-126f);
    CHECK(fma((1 + 0x1p-23f) * 0x1p-75f, (1 + 0x1p-23f) * 0x1p-75f, 0x1p-126f) == 0x1.000002p-126f);
    CHECK(fma(a * 0x1p-75f, b * 0x1p-75f, 0.0f) == 0.0f);
    CHECK(bits(fma(a * -0x1p-75f, b * 0x1p-75f, 0.0f)) == 0x80000000u);
  }
}

TEST_CASE("fma: the same results everywhere near ties and for special values", "[fma]") {
  checksum by_doubles, chosen;
  std::size_t different = 0;
  const auto compare = [&](float a, float b, float c) {
    const float x = fma_by_doubles(a, b, c), y = fma_rn(a, b, c);
    by_doubles.add(x);
    chosen.add(y);
    different += !same(x, y);
  };
  near_ties(compare, 7);
  specials(compare);
  CHECK(different == 0);
  CHECK(by_doubles.value == 0x284f51e14e489129u);  // of a processor's fma
  CHECK(chosen.value == 0x284f51e14e489129u);
}
