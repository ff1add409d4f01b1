// SPDX-License-Identifier: MIT
/// What can be computed at compile time is: codecs, conversions, bounds, the integer heart of the specification.
#include <tern/kernel/reference.hpp>
#include <tern/tern.hpp>

#include <array>

namespace {

/// Packs the levels 0 .. fold - 1 of a byte, or a few, and unpacks them again.
template <class Codec>
constexpr bool round_trips(std::array<std::int8_t, Codec::fold> levels) {
  std::uint8_t bytes[Codec::bytes] = {};
  Codec{}.encode(levels.data(), bytes);
  for (std::size_t p = 0; p < Codec::fold; ++p)
    if (Codec{}.decode(bytes, p) != levels[p]) return false;
  return true;
}
static_assert(round_trips<tern::i2>({1, 0, -1, -2}));
static_assert(round_trips<tern::b3>({1, 0, -1, -1, 1}));
static_assert(round_trips<tern::i8>({-128}));
static_assert(round_trips<tern::n4>({7, -8}));
static_assert(round_trips<tern::n6>({17, -9, 4, 0}));
static_assert(round_trips<tern::b3x2>({5, -5, 0, 2, -3}));
static_assert(round_trips<tern::b3x3>({17, -17, 0, 8, -1}));
static_assert(tern::block_inputs<tern::i2> == 16 && tern::block_inputs<tern::b3> == 20 &&
              tern::block_inputs<tern::i8> == 4);
static_assert(tern::block_bytes<tern::i2> == 64 && tern::block_bytes<tern::n6> == 192);

/// A 4 x 4 product through packed levels: encode W, decode, multiply.
template <class Codec>
constexpr std::array<std::int32_t, 16> product() {
  constexpr std::int8_t x[4][4] = {{1, 2, 3, 4}, {-128, 127, -128, 127}, {0, 0, 0, 0}, {5, -6, 7, -8}};
  constexpr std::int8_t w[4][4] = {{1, 0, -1, 1}, {1, 1, 1, 1}, {-1, -1, -1, -1}, {0, 0, 0, 1}};
  std::array<std::int32_t, 16> y{};
  for (std::size_t m = 0; m < 4; ++m)
    for (std::size_t n = 0; n < 4; ++n) {
      std::int8_t decoded[4] = {};
      for (std::size_t k = 0; k < 4; ++k) {
        std::int8_t levels[Codec::fold] = {w[n][k]};
        std::uint8_t bytes[Codec::bytes] = {};
        Codec{}.encode(levels, bytes);
        decoded[k] = Codec{}.decode(bytes, 0);
      }
      y[4 * m + n] = tern::kernel::reference::dot(x[m], decoded);
    }
  return y;
}
constexpr std::array<std::int32_t, 16> expected = {2, 10, -10, 4, 127, -2, 2, 127, 0, 0, 0, 0, -10, -2, 2, -8};
static_assert(product<tern::i2>() == expected && product<tern::b3>() == expected && product<tern::i8>() == expected);
static_assert(product<tern::n4>() == expected && product<tern::n6>() == expected && product<tern::b3x3>() == expected);

constexpr std::int8_t ends[] = {-128, 127};
static_assert(tern::kernel::reference::dot(ends, ends, 127, -128) == 255 * 0 - 0 + (127 - 127) * 255);
static_assert(tern::kernel::reference::dot(ends, ends, 1, -1) == -129 * -127 + 126 * 128);
static_assert(tern::kernel::reference::dot({}, {}) == 0);

// 128 x 128, 255 x 128 and 255 x 255 a term: the largest depths at which int32 holds the sum.
static_assert(std::int64_t{131071} * 128 * 128 <= 2147483647 && std::int64_t{131072} * 128 * 128 > 2147483647);
static_assert(tern::max_inputs(false, false) == 131071);
static_assert(tern::max_inputs(true, false) == 65793 && tern::max_inputs(false, true) == 65793);
static_assert(tern::max_inputs(true, true) == 33025);

static_assert(tern::half(1.0f).bits == 0x3C00 && tern::half(-2.0f).bits == 0xC000 &&
              tern::half(65520.0f).bits == 0x7C00);
static_assert(tern::half(0x1p-24f).bits == 1 && tern::half(1.0f + 0x1p-11f).bits == 0x3C00);  // a tie, to even
static_assert(tern::half(1.0f + 3 * 0x1p-11f).bits == 0x3C02);
static_assert(static_cast<float>(tern::half(0.333251953125f)) == 0.333251953125f);
static_assert(tern::bfloat16(1.0f).bits == 0x3F80 && tern::bfloat16(1.0f + 0x1p-8f).bits == 0x3F80);
static_assert(static_cast<float>(tern::bfloat16(-0x1p-130f)) == -0x1p-130f);

static_assert(tern::per_group(32).groups(100) == 4 && tern::per_group(32).groups(0) == 1);
static_assert(tern::per_channel.groups(100) == 1 && tern::per_tensor.group_inputs(100) == 100);

constexpr float values[6] = {1, 2, 3, 4, 5, 6};
static_assert(tern::matrix_view<const float>(values, 2, 3)(1, 0) == 4);
static_assert(tern::matrix_view<const float>(values, 2, 2, 4)(1, 1) == 6);
static_assert(tern::batch(values, {1, 3, 2}).rows() == 3);

}  // namespace
