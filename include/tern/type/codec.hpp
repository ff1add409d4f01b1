// SPDX-License-Identifier: MIT
/// Codecs: how small integers become bytes.
///
/// A block is 64 bytes, 16 rows x 4 bytes, and holds 4 * fold inputs of each row. Byte 4r + i of block b holds the levels of
/// row r at inputs 4 * fold * b + 4p + i for p = 0 .. fold - 1: the field p of all 64 bytes is 16 rows x 4 consecutive inputs,
/// the operand of every dot instruction. The bytes are the same on every machine and are written to disk.
///
/// | codec | bits | levels       | byte                                                           |
/// |-------|------|--------------|----------------------------------------------------------------|
/// | i2    | 2    | -2 .. 1      | field p in bits 2p .. 2p + 1, two's complement                 |
/// | b3    | 1.6  | -1 .. 1      | five trits in base 3, p = 0 the most significant, as fractions |
/// | i8    | 8    | -128 .. 127  | the level                                                      |
#pragma once

#include <tern/concepts.hpp>

namespace tern::inline v0_1 {

/// Rows of W in a panel, and inputs in a quad: a quad of all rows of a panel is one 64-byte vector.
inline constexpr std::size_t panel_rows = 16;
inline constexpr std::size_t quad_inputs = 4;
inline constexpr std::size_t block_bytes = panel_rows * quad_inputs;

/// Inputs that one 64-byte block of codec C holds of each of its 16 rows.
template <codec C>
inline constexpr std::size_t block_inputs = quad_inputs* C::fold;

/// Two bits a weight: a ternary level as a two's complement field. Every byte value is legal; the field 10 is -2.
struct i2 {
  static constexpr std::string_view name() { return "i2"; }
  static constexpr std::size_t fold = 4;
  static constexpr std::size_t group_multiple = 16;
  static constexpr int lowest = -2;
  static constexpr int highest = 1;

  TERN_INLINE constexpr std::uint8_t encode(const std::int8_t* levels) const {
    unsigned byte = 0;
    for (std::size_t p = 0; p < fold; ++p) byte |= (static_cast<unsigned>(levels[p]) & 3u) << 2 * p;
    return static_cast<std::uint8_t>(byte);
  }
  TERN_INLINE constexpr std::int8_t decode(std::uint8_t byte, std::size_t p) const {
    const int field = byte >> 2 * p & 3;
    return static_cast<std::int8_t>(field - 2 * (field & 2));
  }
};

/// Five trits a byte, 1.6 bits a weight. The byte is the fraction v / 243, rounded up to 256ths, of
/// v = sum (t_p + 1) 3^(4 - p): times 3, the digit is what overflows eight bits. Every byte value decodes to trits.
struct b3 {
  static constexpr std::string_view name() { return "b3"; }
  static constexpr std::size_t fold = 5;
  static constexpr std::size_t group_multiple = 20;
  static constexpr int lowest = -1;
  static constexpr int highest = 1;

  TERN_INLINE constexpr std::uint8_t encode(const std::int8_t* levels) const {
    unsigned v = 0;
    for (std::size_t p = 0; p < fold; ++p) v = 3 * v + static_cast<unsigned>(levels[p] + 1);
    return static_cast<std::uint8_t>((256 * v + 242) / 243);
  }
  TERN_INLINE constexpr std::int8_t decode(std::uint8_t byte, std::size_t p) const {
    unsigned fraction = byte;
    for (std::size_t skipped = 0; skipped < p; ++skipped) fraction = 3 * fraction & 255u;
    return static_cast<std::int8_t>(static_cast<int>(3 * fraction >> 8) - 1);
  }
};

/// One byte a weight.
struct i8 {
  static constexpr std::string_view name() { return "i8"; }
  static constexpr std::size_t fold = 1;
  static constexpr std::size_t group_multiple = 16;
  static constexpr int lowest = -128;
  static constexpr int highest = 127;

  TERN_INLINE constexpr std::uint8_t encode(const std::int8_t* levels) const {
    return static_cast<std::uint8_t>(levels[0]);
  }
  TERN_INLINE constexpr std::int8_t decode(std::uint8_t byte, std::size_t) const {
    return static_cast<std::int8_t>(byte);
  }
};

/// Every codec of the library: one entry makes it known to the tests and the benches.
using codecs = type_list<i2, b3, i8>;

static_assert(codec<i2> && codec<b3> && codec<i8>);

/// The largest depth K whose sums fit int32, for terms (x - zx)(w - zw) with or without zero points.
///
/// A term is at most 128 * 128, 255 * 128 with a zero point on one side, 255 * 255 with both; the bound is
/// (2^31 - 1) / term. Intermediate sums may wrap; the final value is exact because no kernel saturates.
constexpr std::size_t max_inputs(bool x_has_zeros, bool w_has_zeros) {
  const std::size_t x_largest = x_has_zeros ? 255 : 128;
  const std::size_t w_largest = w_has_zeros ? 255 : 128;
  return 2147483647u / (x_largest * w_largest);
}
static_assert(max_inputs(false, false) == 131071 && max_inputs(true, false) == 65793 &&
              max_inputs(true, true) == 33025);

}  // namespace tern::inline v0_1
