// SPDX-License-Identifier: MIT
/// How a matrix is packed level by level: by its codec, or, where the codec searches for each level, by a table made once.
///
///     const detail::encoder<Codec> encode(codec);
///     encode.holds(level);  encode(levels, out);       // what codec.holds(level), codec.encode(levels, out) say and write
#pragma once

#include <tern/type/codec.hpp>

namespace tern::inline v0_1::detail {

/// Of any codec: the codec itself.
template <codec Codec>
class encoder {
 public:
  TERN_INLINE constexpr explicit encoder(const Codec& codec) : codec_(codec) {}
  TERN_INLINE constexpr bool holds(std::int8_t level) const { return codec_.holds(level); }
  TERN_INLINE constexpr void operator()(const std::int8_t* levels, std::uint8_t* out) const {
    codec_.encode(levels, out);
  }

 private:
  Codec codec_;
};

/// What a table knows of each int8 level: a byte of its own for each that is held.
class level_table {
 public:
  static constexpr std::uint8_t none = 0xff;

  TERN_INLINE constexpr level_table() {
    for (std::uint8_t& entry : entries_) entry = none;
  }
  TERN_INLINE constexpr std::uint8_t& operator[](int level) { return entries_[static_cast<std::size_t>(level + 128)]; }
  TERN_INLINE constexpr std::uint8_t operator[](int level) const {
    return entries_[static_cast<std::size_t>(level + 128)];
  }

 private:
  std::array<std::uint8_t, 256> entries_;
};

/// Of n4: the first nibble whose level it is.
template <>
class encoder<n4> {
 public:
  TERN_INLINE constexpr explicit encoder(const n4& codec) {
    for (std::size_t v = n4::state_size; v-- > 0;) nibbles_[codec.state()[v]] = static_cast<std::uint8_t>(v);
  }
  TERN_INLINE constexpr bool holds(std::int8_t level) const { return nibbles_[level] != level_table::none; }
  TERN_INLINE constexpr void operator()(const std::int8_t* levels, std::uint8_t* out) const {
    *out = static_cast<std::uint8_t>(nibbles_[levels[0]] | nibbles_[levels[1]] << 4);
  }

 private:
  level_table nibbles_;
};

/// Of the codecs of whole plane codes: the trits, those of plane p in bits 2p and 2p + 1, as t + 1.
template <codec Codec>
  requires requires(const Codec& c) {
    { c.code() } -> std::convertible_to<trit_code>;
  }
class encoder<Codec> {
 public:
  TERN_INLINE constexpr explicit encoder(const Codec& codec) {
    for (int level = codec.least(); level <= -codec.least(); ++level) {
      std::int8_t trits[3] = {};
      if (!codec.code().trits_of(level, trits)) continue;
      trits_[level] = static_cast<std::uint8_t>(trits[0] + 1 + 4 * (trits[1] + 1) + 16 * (trits[2] + 1));
    }
  }
  TERN_INLINE constexpr bool holds(std::int8_t level) const { return trits_[level] != level_table::none; }
  TERN_INLINE constexpr void operator()(const std::int8_t* levels, std::uint8_t* out) const {
    std::int8_t trits[3][Codec::fold] = {};
    for (std::size_t f = 0; f < Codec::fold; ++f)
      for (std::size_t p = 0; p < Codec::planes(); ++p)
        trits[p][f] = static_cast<std::int8_t>((trits_[levels[f]] >> 2 * p & 3) - 1);
    Codec::encode_trits(trits, out);
  }

 private:
  level_table trits_;
};

}  // namespace tern::inline v0_1::detail
