// SPDX-License-Identifier: MIT
/// One field of a block's words: what a lane needs that multiplies activations in natural order.
#pragma once

#include <tern/cuda/device/decoder.hpp>

namespace tern::inline v0_1::cuda::device {

/// Whether all words that a lane loads of a row hold its quads in the same field, as kernels of decode_field() take for granted: a
/// lane multiplies every fourth quad.
template <codec Codec>
inline constexpr bool has_lane_fields = 4 % Codec::fold == 0;

template <codec Codec>
__device__ inline std::uint32_t decode_field(const decoder<Codec>& decode, const std::uint32_t (&words)[Codec::bytes],
                                             unsigned field) {
  std::uint32_t quads[Codec::fold];
  decode(words, quads);
  std::uint32_t quad = quads[0];
#pragma unroll
  for (unsigned p = 1; p < Codec::fold; ++p) quad = field == p ? quads[p] : quad;
  return quad;
}

__device__ inline std::uint32_t decode_field(const decoder<i2>&, const std::uint32_t (&words)[1], unsigned field) {
  return words[0] << (6 - 2 * field) & 192 * in_each_byte;
}

/// __byte_perm for selectors that are known to be numbers of bytes: it would clear their top bits.
__device__ inline std::uint32_t permute(std::uint32_t a, std::uint32_t b, std::uint32_t selectors) {
  std::uint32_t bytes;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(a), "r"(b), "r"(selectors));
  return bytes;
}

/// The levels of the nibbles in the upper halves of bytes: those of 0 .. 7 by the lower three bits, and those of 8 .. 15 in their
/// place where the fourth, replicated over its byte, says so. Lower halves are ignored.
///
/// Shifts are products by a factor: beside products on tensor cores an operation of logic, shift or permutation takes a
/// multiprocessor's quarter four clocks, so each that moves to another unit counts.
__device__ inline std::uint32_t levels_of(const level_table& levels, std::uint32_t nibbles) {
  const std::uint32_t bits = nibbles & 112 * in_each_byte;
  std::uint32_t upper;
  asm("prmt.b32 %0, %1, 0, 0xba98;" : "=r"(upper) : "r"(nibbles));
  // Bytes 1 and 3 of bits | bits << 4 are two selectors each: nothing is carried.
  const std::uint32_t selectors = __byte_perm(17 * bits, 0, 0x4431);
  const std::uint32_t low = permute(levels.words[0], levels.words[1], selectors);
  const std::uint32_t high = permute(levels.words[2], levels.words[3], selectors);
  return (low & ~upper) | (high & upper);
}

__device__ inline std::uint32_t decode_field(const decoder<n4>& decode, const std::uint32_t (&words)[1],
                                             unsigned field) {
  return levels_of(decode.levels, words[0] * (field == 0 ? 16 : 1));
}

/// Levels are within -31 .. 31, so with 128 lent to each byte nothing is carried or borrowed between bytes.
__device__ inline std::uint32_t decode_field(const decoder<n6>& decode, const std::uint32_t (&words)[3],
                                             unsigned field) {
  const std::uint32_t pairs = levels_of(decode.pairs, (field < 2 ? words[0] : words[1]) * (field % 2 == 0 ? 16 : 1));
  const std::uint32_t low = words[2] >> 2 * field, high = words[2] >> (2 * field + 1);
  const std::uint32_t positive = low & ~high & in_each_byte, negative = low & high & in_each_byte;
  return ((pairs ^ 128 * in_each_byte) + decode.third * positive - decode.third * negative) ^ 128 * in_each_byte;
}

}  // namespace tern::inline v0_1::cuda::device
