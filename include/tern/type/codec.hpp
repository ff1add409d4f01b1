// SPDX-License-Identifier: MIT
/// Codecs: how small integers become bytes.
///
/// A vector is 64 bytes, 16 rows x 4 bytes. A block is `bytes` vectors and holds 4 * fold inputs of each row: byte 4r + i of
/// its vectors holds the levels of row r at inputs 4 * fold * b + 4p + i for p = 0 .. fold - 1. The field p of all of them is 16
/// rows x 4 consecutive inputs, the operand of every dot instruction. The bytes are the same on every machine and are written
/// to disk.
///
/// | codec | bits | fold / bytes | levels        | bytes                                                               |
/// |-------|------|--------------|---------------|---------------------------------------------------------------------|
/// | i2    | 2    | 4 / 1        | -2 .. 1       | field p in bits 2p .. 2p + 1, two's complement                      |
/// | b3    | 1.6  | 5 / 1        | -1 .. 1       | five trits in base 3, p = 0 the most significant, as fractions      |
/// | n4    | 4    | 2 / 1        | a table of 16 | nibble p indexes the table: int4, or the two trits of a plane code  |
/// | n6    | 6    | 4 / 3        | a plane code  | n4 of p = 0, 1; n4 of p = 2, 3; i2: the third trits                 |
/// | b3x2  | 3.2  | 5 / 2        | a plane code  | b3 of the first trits, b3 of the second                             |
/// | b3x3  | 4.8  | 5 / 3        | a plane code  | and b3 of the third                                                 |
/// | i8    | 8    | 1 / 1        | -128 .. 127   | the level                                                           |
#pragma once

#include <array>
#include <span>

#include <tern/concepts.hpp>
#include <tern/error.hpp>
#include <tern/type/trit_code.hpp>

namespace tern::inline v0_1 {

/// Rows of W in a panel, and inputs in a quad: a quad of all rows of a panel is one 64-byte vector.
inline constexpr std::size_t panel_rows = 16;
inline constexpr std::size_t quad_inputs = 4;
inline constexpr std::size_t vector_bytes = panel_rows * quad_inputs;

/// The most inputs that a codec may code together.
inline constexpr std::size_t largest_fold = 16;

/// Inputs that one block of codec C holds of each of its 16 rows, and the bytes of the block.
template <codec C>
inline constexpr std::size_t block_inputs = quad_inputs* C::fold;
template <codec C>
inline constexpr std::size_t block_bytes = vector_bytes* C::bytes;

/// Two bits a weight: a ternary level as a two's complement field. Every byte value is legal; the field 10 is -2.
struct i2 {
  static constexpr std::string_view name() { return "i2"; }
  static constexpr std::size_t fold = 4;
  static constexpr std::size_t bytes = 1;
  static constexpr std::size_t group_multiple = 16;

  TERN_INLINE constexpr bool holds(int level) const { return level >= -2 && level <= 1; }
  TERN_INLINE constexpr void encode(const std::int8_t* levels, std::uint8_t* out) const {
    unsigned byte = 0;
    for (std::size_t p = 0; p < fold; ++p) byte |= (static_cast<unsigned>(levels[p]) & 3u) << 2 * p;
    *out = static_cast<std::uint8_t>(byte);
  }
  TERN_INLINE constexpr std::int8_t decode(const std::uint8_t* in, std::size_t p) const {
    const int field = *in >> 2 * p & 3;
    return static_cast<std::int8_t>(field - 2 * (field & 2));
  }
};

/// Five trits a byte, 1.6 bits a weight. The byte is the fraction v / 243, rounded up to 256ths, of
/// v = sum (t_p + 1) 3^(4 - p): times 3, the digit is what overflows eight bits. Every byte value decodes to trits.
struct b3 {
  static constexpr std::string_view name() { return "b3"; }
  static constexpr std::size_t fold = 5;
  static constexpr std::size_t bytes = 1;
  static constexpr std::size_t group_multiple = 20;

  TERN_INLINE constexpr bool holds(int level) const { return level >= -1 && level <= 1; }
  TERN_INLINE constexpr void encode(const std::int8_t* levels, std::uint8_t* out) const {
    unsigned v = 0;
    for (std::size_t p = 0; p < fold; ++p) v = 3 * v + static_cast<unsigned>(levels[p] + 1);
    *out = static_cast<std::uint8_t>((256 * v + 242) / 243);
  }
  TERN_INLINE constexpr std::int8_t decode(const std::uint8_t* in, std::size_t p) const {
    constexpr unsigned powers[fold] = {1, 3, 9, 27, 81};
    const unsigned fraction = powers[p] * *in & 255u;  // the digits before p have overflowed
    return static_cast<std::int8_t>(static_cast<int>(3 * fraction >> 8) - 1);
  }
};

/// Four bits a weight: an index into 16 levels, one table for the matrix. By default two's complement int4.
class n4 {
 public:
  static constexpr std::string_view name() { return "n4"; }
  static constexpr std::size_t fold = 2;
  static constexpr std::size_t bytes = 1;
  static constexpr std::size_t group_multiple = 16;
  /// The largest distance of two levels: as unsigned offsets two products by int8 fit int16, 2 * (2 * 63 * 128) <= 32767.
  static constexpr int largest_span = 63;
  static constexpr std::size_t state_size = 16;

  TERN_INLINE constexpr n4() {
    for (int v = 0; v < 16; ++v) table_[static_cast<std::size_t>(v)] = static_cast<std::int8_t>(v < 8 ? v : v - 16);
  }
  /// The levels of a plane code of two planes: nibble (t0 & 3) + 4 (t1 & 3); nibbles that no trits give mean 0.
  /// Errors: range_error when the code is not valid or has three planes.
  TERN_INLINE constexpr explicit n4(const trit_code& code) {
    if (!code.valid() || code.planes() != 2) detail::fail<range_error>({"codec n4: not a plane code of two planes"});
    for (int t0 = -1; t0 <= 1; ++t0)
      for (int t1 = -1; t1 <= 1; ++t1)
        table_[static_cast<std::size_t>((t0 & 3) + 4 * (t1 & 3))] =
            static_cast<std::int8_t>(code.c[0] * t0 + code.c[1] * t1);
  }
  /// Errors: range_error unless there are 16 levels, 0 is one of them, and they span at most 63.
  TERN_INLINE static constexpr n4 from_state(std::span<const std::int8_t> table) {
    n4 codec;
    if (table.size() != state_size) detail::fail<range_error>({"codec n4: ", table.size(), " levels instead of 16"});
    for (std::size_t v = 0; v < state_size; ++v) codec.table_[v] = table[v];
    if (!codec.holds(0)) detail::fail<range_error>({"codec n4: 0 is not in its table, and padding needs it"});
    if (codec.most() - codec.least() > largest_span)
      detail::fail<range_error>({"codec n4: levels ", codec.least(), " .. ", codec.most(), " span more than 63"});
    return codec;
  }

  /// Planes of the plane codes that it holds.
  static constexpr std::size_t planes() { return 2; }
  constexpr std::span<const std::int8_t> state() const { return table_; }
  TERN_INLINE constexpr int least() const {
    int least = 0;
    for (const std::int8_t level : table_) least = level < least ? level : least;
    return least;
  }
  TERN_INLINE constexpr int most() const {
    int most = 0;
    for (const std::int8_t level : table_) most = level > most ? level : most;
    return most;
  }
  TERN_INLINE constexpr bool holds(int level) const {
    bool found = false;
    for (const std::int8_t each : table_) found |= each == level;
    return found;
  }
  TERN_INLINE constexpr void encode(const std::int8_t* levels, std::uint8_t* out) const {
    *out = static_cast<std::uint8_t>(index(levels[0]) | index(levels[1]) << 4);
  }
  TERN_INLINE constexpr std::int8_t decode(const std::uint8_t* in, std::size_t p) const {
    return table_[*in >> 4 * p & 15];
  }

  friend bool operator==(const n4&, const n4&) = default;

 private:
  TERN_INLINE constexpr unsigned index(int level) const {
    unsigned v = 0;
    while (table_[v] != level) ++v;
    return v;
  }

  std::array<std::int8_t, 16> table_{};
};

namespace detail {

/// What the codecs of whole plane codes have in common: the code itself.
template <std::size_t Planes>
class code_of_planes {
 public:
  static constexpr std::size_t bytes = Planes;
  static constexpr std::size_t state_size = 3;

  TERN_INLINE constexpr code_of_planes() : code_(Planes == 2 ? trit_codes_of_2[0] : trit_codes_of_3[0]) {}
  TERN_INLINE constexpr explicit code_of_planes(const trit_code& code) : code_(code) {
    if (!code.valid() || code.planes() != Planes)
      detail::fail<range_error>({"codec: not a plane code of ", Planes, " planes"});
  }

  static constexpr std::size_t planes() { return Planes; }
  constexpr const trit_code& code() const { return code_; }
  constexpr std::span<const std::int8_t> state() const { return code_.c; }
  constexpr int least() const { return -code_.largest(); }
  TERN_INLINE constexpr bool holds(int level) const {
    std::int8_t trits[3] = {};
    return code_.trits_of(level, trits);
  }

  friend bool operator==(const code_of_planes&, const code_of_planes&) = default;

 protected:
  template <std::size_t Fold>
  TERN_INLINE constexpr void trits_of(const std::int8_t* levels, std::int8_t (&trits)[3][Fold]) const {
    for (std::size_t f = 0; f < Fold; ++f) {
      std::int8_t of_level[3] = {};
      code_.trits_of(levels[f], of_level);
      for (std::size_t plane = 0; plane < Planes; ++plane) trits[plane][f] = of_level[plane];
    }
  }
  TERN_INLINE static constexpr trit_code code_from(std::span<const std::int8_t> c) {
    if (c.size() != state_size) detail::fail<range_error>({"codec: a plane code has 3 integers, not ", c.size()});
    return {{c[0], c[1], c[2]}};
  }

 private:
  trit_code code_;
};

}  // namespace detail

/// The levels of a plane code of three planes for speed, 6 bits a weight: the first two trits in nibbles as n4, the third as i2.
/// Every byte is legal; nibbles and fields that no trits give count as 0.
class n6 : public detail::code_of_planes<3> {
 public:
  static constexpr std::string_view name() { return "n6"; }
  static constexpr std::size_t fold = 4;
  static constexpr std::size_t group_multiple = 16;

  TERN_INLINE constexpr n6() = default;
  TERN_INLINE constexpr explicit n6(const trit_code& code) : code_of_planes(code) {}
  TERN_INLINE static constexpr n6 from_state(std::span<const std::int8_t> c) { return n6(code_from(c)); }

  TERN_INLINE constexpr void encode(const std::int8_t* levels, std::uint8_t* out) const {
    std::int8_t trits[3][fold] = {};
    trits_of(levels, trits);
    encode_trits(trits, out);
  }
  /// The same for the trits of the levels, plane by plane.
  TERN_INLINE static constexpr void encode_trits(const std::int8_t (&trits)[3][fold], std::uint8_t* out) {
    unsigned nibbles[fold] = {}, fields = 0;
    for (std::size_t p = 0; p < fold; ++p) {
      nibbles[p] = (static_cast<unsigned>(trits[0][p]) & 3u) + 4 * (static_cast<unsigned>(trits[1][p]) & 3u);
      fields |= (static_cast<unsigned>(trits[2][p]) & 3u) << 2 * p;
    }
    out[0] = static_cast<std::uint8_t>(nibbles[0] | nibbles[1] << 4);
    out[1] = static_cast<std::uint8_t>(nibbles[2] | nibbles[3] << 4);
    out[2] = static_cast<std::uint8_t>(fields);
  }
  TERN_INLINE constexpr std::int8_t decode(const std::uint8_t* in, std::size_t p) const {
    const int nibble = in[p / 2] >> 4 * (p % 2) & 15;
    const int t0 = trit(nibble & 3), t1 = trit(nibble >> 2), t2 = trit(in[2] >> 2 * p & 3);
    // A nibble with a field 10 is no pair of trits: all of it is 0.
    const int pair = (nibble & 3) == 2 || nibble >> 2 == 2 ? 0 : code().c[0] * t0 + code().c[1] * t1;
    return static_cast<std::int8_t>(pair + code().c[2] * t2);
  }

  friend bool operator==(const n6&, const n6&) = default;

 private:
  static constexpr int trit(int field) { return field == 3 ? -1 : field & 1; }
};

/// The levels of a plane code for size, 1.6 bits a plane: each plane's trits in base 3 as b3.
template <std::size_t Planes>
class b3_planes : public detail::code_of_planes<Planes> {
  static_assert(Planes == 2 || Planes == 3, "plane codes have two or three planes");
  using base = detail::code_of_planes<Planes>;

 public:
  static constexpr std::string_view name() { return Planes == 2 ? "b3x2" : "b3x3"; }
  static constexpr std::size_t fold = b3::fold;
  static constexpr std::size_t group_multiple = b3::group_multiple;

  TERN_INLINE constexpr b3_planes() = default;
  TERN_INLINE constexpr explicit b3_planes(const trit_code& code) : base(code) {}
  TERN_INLINE static constexpr b3_planes from_state(std::span<const std::int8_t> c) {
    return b3_planes(base::code_from(c));
  }

  TERN_INLINE constexpr void encode(const std::int8_t* levels, std::uint8_t* out) const {
    std::int8_t trits[3][fold] = {};
    this->trits_of(levels, trits);
    encode_trits(trits, out);
  }
  /// The same for the trits of the levels, plane by plane.
  TERN_INLINE static constexpr void encode_trits(const std::int8_t (&trits)[3][fold], std::uint8_t* out) {
    for (std::size_t plane = 0; plane < Planes; ++plane) b3{}.encode(trits[plane], out + plane);
  }
  TERN_INLINE constexpr std::int8_t decode(const std::uint8_t* in, std::size_t p) const {
    int level = 0;
    for (std::size_t plane = 0; plane < Planes; ++plane) level += this->code().c[plane] * b3{}.decode(in + plane, p);
    return static_cast<std::int8_t>(level);
  }

  friend bool operator==(const b3_planes&, const b3_planes&) = default;
};
using b3x2 = b3_planes<2>;
using b3x3 = b3_planes<3>;

/// One byte a weight.
struct i8 {
  static constexpr std::string_view name() { return "i8"; }
  static constexpr std::size_t fold = 1;
  static constexpr std::size_t bytes = 1;
  static constexpr std::size_t group_multiple = 16;

  TERN_INLINE constexpr bool holds(int level) const { return level >= -128 && level <= 127; }
  TERN_INLINE constexpr void encode(const std::int8_t* levels, std::uint8_t* out) const {
    *out = static_cast<std::uint8_t>(levels[0]);
  }
  TERN_INLINE constexpr std::int8_t decode(const std::uint8_t* in, std::size_t) const {
    return static_cast<std::int8_t>(*in);
  }
};

/// Every codec of the library: one entry makes it known to the tests and the benches.
using codecs = type_list<i2, b3, n4, n6, b3x2, b3x3, i8>;

static_assert(codec<i2> && codec<b3> && codec<n4> && codec<n6> && codec<b3x2> && codec<b3x3> && codec<i8>);
static_assert(2 * (2 * n4::largest_span * 128) <= 32767);

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
