// SPDX-License-Identifier: MIT
/// From a codec's bytes to operands of dp4a and of tensor cores.
///
/// A word is four bytes of one row, inputs i = 0 .. 3 of all fields; a quad is the four levels of one field, as signed bytes.
/// decoder<Codec>{codec}(words, quads) takes the Codec::bytes words of a block to its Codec::fold quads. They hold level << shift:
/// where a shift saves instructions, sums are shifted back, exactly, once at the end.
///
/// | codec | a word's quads                                                                       | operations a quad |
/// |-------|--------------------------------------------------------------------------------------|-------------------|
/// | i2    | the field moved to the top of its byte is 64 w in two's complement: shift, mask       | 1.8               |
/// | b3    | times 3 in two halves of 16-bit lanes, digits taken off the top, less 1               | 8                 |
/// | n4    | two byte permutations as tables of 8, chosen by the nibble's top bit                  | 9                 |
/// | i8    | itself                                                                               | 0                 |
#pragma once

#include <cstring>  // std::memcpy
#include <span>

#include <tern/cuda/device/intrinsics.hpp>
#include <tern/type/codec.hpp>

namespace tern::inline v0_1::cuda::device {

inline constexpr std::uint32_t in_each_byte = 0x01010101u;

/// a - b in each byte, for a below 128 and b at most 128: the top bit lent to a keeps borrows inside, and is the sign's opposite.
__device__ inline std::uint32_t less(std::uint32_t a, std::uint32_t b) {
  return ((a | 128 * in_each_byte) - b) ^ 128 * in_each_byte;
}

/// 16 levels, looked up by nibbles.
struct level_table {
  std::uint32_t words[4];

  explicit level_table(std::span<const std::int8_t> levels) { std::memcpy(words, levels.data(), sizeof words); }

  /// The levels of the four nibbles in the lower half of `nibbles`.
  __device__ std::uint32_t look_up(std::uint32_t nibbles) const {
    // A selector's nibble names one of eight bytes by its lower three bits. 0 and 4 choose a byte of zeros or of ones.
    const std::uint32_t low = __byte_perm(words[0], words[1], nibbles & 0x7777u);
    const std::uint32_t high = __byte_perm(words[2], words[3], nibbles & 0x7777u);
    const std::uint32_t upper = __byte_perm(0u, ~0u, (nibbles & 0x8888u) >> 1);
    return (low & ~upper) | (high & upper);
  }
  /// The quads of the low and of the high nibbles of a word.
  __device__ void look_up(std::uint32_t word, std::uint32_t& of_low, std::uint32_t& of_high) const {
    const std::uint32_t first = look_up(word & 0xffffu), second = look_up(word >> 16);
    of_low = __byte_perm(first, second, 0x6420);
    of_high = __byte_perm(first, second, 0x7531);
  }
};

/// The base-3 digits 0 .. 2 of a word's bytes, a quad of each.
__device__ inline void digits(std::uint32_t word, std::uint32_t (&quads)[b3::fold]) {
  std::uint32_t even = word & 0x00ff00ffu, odd = word >> 8 & 0x00ff00ffu;
#pragma unroll
  for (std::uint32_t& quad : quads) {
    even *= 3;  // 3 * 255 fits a lane of 16 bits, and its upper byte is the digit
    odd *= 3;
    quad = __byte_perm(even, odd, 0x7351);
    even &= 0x00ff00ffu;
    odd &= 0x00ff00ffu;
  }
}

/// How device code reads a codec. To be specialised for a codec of one's own.
template <codec Codec>
struct decoder;

template <>
struct decoder<i2> {
  static constexpr int shift = 6;
  explicit decoder(const i2&) {}
  __device__ void operator()(const std::uint32_t (&words)[1], std::uint32_t (&quads)[4]) const {
#pragma unroll
    for (int p = 0; p < 4; ++p) quads[p] = words[0] << (6 - 2 * p) & 192 * in_each_byte;
  }
};
// 64 |w| |x| K with |w| <= 2 and |x| <= 128 stays in int32 for every depth that a product accepts.
static_assert(std::int64_t{64} * 2 * 128 * static_cast<std::int64_t>(max_inputs(false, false)) <= 2147483647);

template <>
struct decoder<i8> {
  static constexpr int shift = 0;
  explicit decoder(const i8&) {}
  __device__ void operator()(const std::uint32_t (&words)[1], std::uint32_t (&quads)[1]) const { quads[0] = words[0]; }
};

template <>
struct decoder<n4> {
  static constexpr int shift = 0;
  level_table levels;
  explicit decoder(const n4& codec) : levels(codec.state()) {}
  __device__ void operator()(const std::uint32_t (&words)[1], std::uint32_t (&quads)[2]) const {
    levels.look_up(words[0], quads[0], quads[1]);
  }
};

template <>
struct decoder<n6> {
  static constexpr int shift = 0;
  level_table pairs;
  std::uint32_t third;
  explicit decoder(const n6& codec)
      : pairs(n4(trit_code{{codec.code().c[0], codec.code().c[1]}}).state()),
        third(static_cast<std::uint32_t>(codec.code().c[2])) {}
  __device__ void operator()(const std::uint32_t (&words)[3], std::uint32_t (&quads)[4]) const {
    pairs.look_up(words[0], quads[0], quads[1]);
    pairs.look_up(words[1], quads[2], quads[3]);
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      // Fields 01 and 11 are +1 and -1; 00 and 10 count as 0.
      const std::uint32_t low = words[2] >> 2 * p & in_each_byte, high = words[2] >> (2 * p + 1) & in_each_byte;
      quads[p] = __vsub4(__vadd4(quads[p], third * (low & ~high)), third * (low & high));
    }
  }
};

template <>
struct decoder<b3> {
  static constexpr int shift = 0;
  explicit decoder(const b3&) {}
  __device__ void operator()(const std::uint32_t (&words)[1], std::uint32_t (&quads)[5]) const {
    digits(words[0], quads);
#pragma unroll
    for (std::uint32_t& quad : quads) quad = less(quad, in_each_byte);
  }
};

template <std::size_t Planes>
struct decoder<b3_planes<Planes>> {
  static constexpr int shift = 0;
  std::uint32_t c[Planes];
  std::uint32_t largest;
  explicit decoder(const b3_planes<Planes>& codec) : largest(static_cast<std::uint32_t>(codec.code().largest())) {
    for (std::size_t plane = 0; plane < Planes; ++plane) c[plane] = static_cast<std::uint32_t>(codec.code().c[plane]);
  }
  __device__ void operator()(const std::uint32_t (&words)[Planes], std::uint32_t (&quads)[5]) const {
    // sum c (digit - 1) = sum c digit - sum c; a code's integers sum to 31 at most, so 62 fits a byte.
#pragma unroll
    for (std::uint32_t& quad : quads) quad = 0;
#pragma unroll
    for (std::size_t plane = 0; plane < Planes; ++plane) {
      std::uint32_t of_plane[5];
      digits(words[plane], of_plane);
#pragma unroll
      for (int p = 0; p < 5; ++p) quads[p] += c[plane] * of_plane[p];
    }
#pragma unroll
    for (std::uint32_t& quad : quads) quad = less(quad, largest * in_each_byte);
  }
};

}  // namespace tern::inline v0_1::cuda::device
