// SPDX-License-Identifier: MIT
/// One field of a block's words: what a lane needs that multiplies activations in natural order.
#pragma once

#include <tern/cuda/device/decoder.hpp>

namespace tern::inline v0_1::cuda::device {

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

/// Half the operations of both fields: nibbles 0 .. 7 of the table by the lower three bits, 8 .. 15 in their place where the top
/// bit, replicated over its byte, says so.
__device__ inline std::uint32_t decode_field(const decoder<n4>& decode, const std::uint32_t (&words)[1],
                                             unsigned field) {
  const std::uint32_t nibbles = words[0] >> 4 * field, bits = nibbles & 7 * in_each_byte;
  std::uint32_t upper;
  asm("prmt.b32 %0, %1, 0, 0xba98;" : "=r"(upper) : "r"(nibbles << 4));
  // Bytes 0 and 2 of bits | bits >> 4 are two selectors each.
  const std::uint32_t selectors = __byte_perm(bits | bits >> 4, 0, 0x4420);
  const std::uint32_t low = __byte_perm(decode.levels.words[0], decode.levels.words[1], selectors);
  const std::uint32_t high = __byte_perm(decode.levels.words[2], decode.levels.words[3], selectors);
  return (low & ~upper) | (high & upper);
}

}  // namespace tern::inline v0_1::cuda::device
