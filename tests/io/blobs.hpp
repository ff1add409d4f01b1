// SPDX-License-Identifier: MIT
/// Matrices to save, a codec with state, and blobs damaged on purpose.
#pragma once

#include <tern/io/blob.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace tern_test {

/// Four bits a weight: an index into 16 levels, which are the codec's state. One of them must be 0.
struct levels16 {
  static constexpr std::string_view name() { return "levels16"; }
  static constexpr std::size_t fold = 2;
  static constexpr std::size_t bytes = 1;
  static constexpr std::size_t group_multiple = 8;
  static constexpr std::size_t state_size = 16;

  std::array<std::int8_t, 16> table = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};

  std::span<const std::int8_t> state() const { return table; }
  static levels16 from_state(std::span<const std::int8_t> state) {
    levels16 c;
    std::copy(state.begin(), state.end(), c.table.begin());
    if (c.index(0) == 16) throw tern::range_error("levels16: none of the levels is 0");
    return c;
  }

  constexpr std::size_t index(int level) const {
    std::size_t i = 0;
    while (i < 16 && table[i] != level) ++i;
    return i;
  }
  constexpr bool holds(int level) const { return index(level) < 16; }
  constexpr void encode(const std::int8_t* levels, std::uint8_t* out) const {
    *out = static_cast<std::uint8_t>(index(levels[0]) | index(levels[1]) << 4);
  }
  constexpr std::int8_t decode(const std::uint8_t* in, std::size_t p) const { return table[*in >> 4 * p & 15]; }
};
static_assert(tern::codec<levels16>);

/// One byte of state: added to every level before it is stored.
struct shifted8 {
  static constexpr std::string_view name() { return "shifted8_with_a_name_of_32_bytes"; }
  static constexpr std::size_t fold = 1;
  static constexpr std::size_t bytes = 1;
  static constexpr std::size_t group_multiple = 4;
  static constexpr std::size_t state_size = 1;

  std::int8_t shift = 0;

  std::span<const std::int8_t> state() const { return {&shift, 1}; }
  static shifted8 from_state(std::span<const std::int8_t> state) { return {state[0]}; }
  constexpr bool holds(int level) const { return level >= -100 && level <= 100; }
  constexpr void encode(const std::int8_t* levels, std::uint8_t* out) const {
    *out = static_cast<std::uint8_t>(levels[0] + shift);
  }
  constexpr std::int8_t decode(const std::uint8_t* in, std::size_t) const {
    return static_cast<std::int8_t>(static_cast<std::uint8_t>(*in - static_cast<std::uint8_t>(shift)));
  }
};
static_assert(tern::codec<shifted8> && shifted8::name().size() == 32);

using saved_codecs =
    tern::type_list<tern::i2, tern::b3, tern::n4, tern::n6, tern::b3x2, tern::b3x3, tern::i8, levels16, shifted8>;

/// A codec with a state that is not the default one, where it has one.
template <class Codec>
Codec codec_to_save() {
  return {};
}
template <>
inline levels16 codec_to_save() {
  return {{-128, -90, -61, -40, -25, -13, -5, 0, 1, 5, 14, 26, 41, 62, 91, 127}};
}
template <>
inline shifted8 codec_to_save() {
  return {-77};
}

template <>
inline tern::n4 codec_to_save() {
  return tern::n4(tern::trit_code{{7, 5}});
}
template <>
inline tern::n6 codec_to_save() {
  return tern::n6(tern::trit_code{{8, 7, 5}});
}
template <>
inline tern::b3x2 codec_to_save() {
  return tern::b3x2(tern::trit_code{{4, 3}});
}
template <>
inline tern::b3x3 codec_to_save() {
  return tern::b3x3(tern::trit_code{{9, 3, 1}});
}

/// Random levels of the codec, and scales that every scale type stores exactly.
template <class Codec>
tern::quantized_matrix draw_quantized(std::mt19937& random, std::size_t planes, std::size_t rows, std::size_t cols,
                                      tern::granularity granularity, bool zeros) {
  tern::quantized_matrix q(planes, rows, cols, granularity);
  const Codec codec = codec_to_save<Codec>();
  std::vector<std::int8_t> levels;
  for (int level = -128; level < 128; ++level)
    if (codec.holds(level)) levels.push_back(static_cast<std::int8_t>(level));
  for (auto& code : q.codes) code = levels[random() % levels.size()];
  for (float& scale : q.scales) scale = std::ldexp(static_cast<float>(random() % 256) - 128.0f, -10);
  if (zeros) q.zeros.resize(q.scales.size());
  for (auto& zero : q.zeros) zero = static_cast<std::int8_t>(random() % 256);
  return q;
}

template <class Codec>
tern::packed_matrix<Codec> draw_packed(unsigned seed, std::size_t planes, std::size_t rows, std::size_t cols,
                                       tern::granularity granularity = tern::per_channel,
                                       tern::scale_type scales = tern::scale_type::float32, bool zeros = false,
                                       bool sums = false) {
  std::mt19937 random(seed);
  return tern::packed_matrix<Codec>(draw_quantized<Codec>(random, planes, rows, cols, granularity, zeros),
                                    {scales, sums}, codec_to_save<Codec>());
}

inline bool equal(std::span<const std::byte> a, std::span<const std::byte> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

/// CRC-32 bit by bit. A product, not "out ? ... : 0u", of which g++ 12.2 -O1 -fexpensive-optimizations for 32-bit ARM moves the
/// lower half only (not with -O2; found in Debian 12, not reported yet).
inline std::uint32_t crc32_by_bits(std::span<const std::byte> bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const std::byte byte : bytes)
    for (unsigned bit = 0; bit < 8; ++bit) {
      const bool out = ((crc ^ static_cast<std::uint32_t>(byte) >> bit) & 1u) != 0;
      crc = crc >> 1 ^ 0xEDB88320u * std::uint32_t{out};
    }
  return crc ^ 0xFFFFFFFFu;
}

template <class T>
void put(std::span<std::byte> bytes, std::size_t offset, const T& value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

/// Makes both checksums of a blob right again, whatever else is in it.
inline void fix_checksums(std::span<std::byte> blob) {
  put(blob, 184, crc32_by_bits(blob.subspan(192)));
  put(blob, 188, crc32_by_bits(blob.first(188)));
}

}  // namespace tern_test
