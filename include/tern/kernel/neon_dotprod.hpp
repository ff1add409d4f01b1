// SPDX-License-Identifier: MIT
/// The dot product instructions of ARMv8.2: Cortex-A75 and A55, Neoverse N1, Apple M1, and what came after them.
///
/// sdot adds four products of signed bytes to each int32 lane, exactly, and takes the activations from any quarter of a vector:
/// a quad of four rows by a quad of a token is one instruction, and 16 inputs of a token are one load. Codes become operands as
/// with NEON; there is nothing to widen. One token with i2 does not even shift the fields down:
///
///   u = 1 - w = v ^ 0x55; the fields under the masks 3, 12 and 48 are u, 4u and 16u, whose sums are kept apart and shifted at
///   the end of a strip; the highest, which the sign forbids to stay, is u >> 6. Five operations decode 64 weights.
#pragma once

#include <tern/config.hpp>

#if defined(TERN_ARM64)

#include <cstring>

#include <tern/isa/detect.hpp>
#include <tern/kernel/neon.hpp>

namespace tern::inline v0_1::kernel::inline TERN_TU::neon_dotprod {

using namespace neon;  // rows of 16 lanes and the decoding of codes; what is declared here goes before

/// sdot: sum + the products of four rows by the quad in a quarter of x.
template <int Quarter>
TERN_INLINE void multiply_add(int32x4_t& sum, int8x16_t w, int8x16_t x) {
  constexpr unsigned quarter = Quarter % 2 << 21 | Quarter / 2 << 11;
  __asm__ inline(TERN_INST "0x4f80e000|%c3|.Ltern_%0|.Ltern_%1<<5|.Ltern_%2<<16"
                 : "+w"(sum)
                 : "w"(w), "w"(x), "i"(quarter));
}

/// 16 rows by T tokens: the quad in a quarter of each token's x. Rows 4j .. 4j + 3 are in sum[t][j].
template <int Quarter, std::size_t T>
TERN_INLINE void multiply_quad(int32x4_t (&sum)[T][quarters], const std::uint8_t* operands, const int8x16_t* x) {
  int8x16_t w[quarters];
  TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) w[j] = load128(operands + quarter_bytes * j);
  TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j)
      multiply_add<Quarter>(sum[t][j], w[j], x[t]);
}

/// T tokens times operands: sums of 16 rows x T tokens in registers.
template <std::size_t T>
TERN_NOINLINE void dot_tile_signed(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x,
                                   std::size_t stride, std::int32_t* acc) {
  constexpr std::size_t sets = T == 1 ? 2 : 1;  // by turns, since four sums alone wait for each other
  int32x4_t sum[sets][T][quarters];
  int8x16_t at[T];
  TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) {
    sum[sets - 1][t][j] = vdupq_n_s32(0);
    sum[0][t][j] = vld1q_s32(acc + t * panel_rows + 4 * j);
  }
  for (; quads >= 4; quads -= 4, operands += 4 * vector_bytes, x += 4 * quad_inputs) {
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) at[t] = load128(x + t * stride);
    multiply_quad<0>(sum[0], operands, at);
    multiply_quad<1>(sum[sets - 1], operands + vector_bytes, at);
    multiply_quad<2>(sum[0], operands + 2 * vector_bytes, at);
    multiply_quad<3>(sum[sets - 1], operands + 3 * vector_bytes, at);
  }
  for (; quads != 0; --quads, operands += vector_bytes, x += quad_inputs) {
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) at[t] = broadcast_quad(x + t * stride);
    multiply_quad<0>(sum[0], operands, at);
  }
  TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j)
      vst1q_s32(acc + t * panel_rows + 4 * j, sets == 1 ? sum[0][t][j] : vaddq_s32(sum[0][t][j], sum[sets - 1][t][j]));
}

/// Strips that are long enough to hide their ends, short enough that panels take turns.
inline constexpr std::size_t strip_length = 16;

template <codec Codec>
struct decoder;

/// Every codec but i2.
template <codec Codec>
  requires requires { sizeof(unpacker<Codec>); }
struct decoder<Codec> : unpacker<Codec> {
  static constexpr std::size_t strip_blocks = strip_length;
  /// Blocks whose inputs fill a vector of x.
  static constexpr std::size_t together = Codec::fold < 4 ? 4 / Codec::fold : 1;
  static_assert(Codec::fold <= 5 && Codec::fold != 3, "one vector of x, and one quad of a fifth field");

  explicit decoder(const Codec& codec) : unpacker<Codec>(codec) {}

  /// Adds the products of field P and those behind it by x[P / 4], quarter P % 4, in two sets of sums by turns.
  template <std::size_t P, std::size_t Begin>
  TERN_INLINE static void multiply_fields(int32x4_t (&sum)[2][quarters], std::size_t j, const int8x16_t* w,
                                          const int8x16_t* x) {
    if constexpr (P < Codec::fold) {
      constexpr std::size_t quad = Begin + P;
      neon_dotprod::multiply_add<quad % 4>(sum[quad % 2][j], w[P], x[quad / 4]);
      multiply_fields<P + 1, Begin>(sum, j, w, x);
    }
  }
  /// One block, whose first quad is the quad Begin of x.
  template <std::size_t Begin>
  TERN_INLINE void multiply_block(int32x4_t (&sum)[2][quarters], const std::uint8_t* block, const int8x16_t* x) const {
    prefetch_block<Codec>(block);
    TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) {
      int8x16_t w[Codec::fold];
      this->quarter(block + quarter_bytes * j, w);
      multiply_fields<0, Begin>(sum, j, w, x);
    }
  }
  /// `together` blocks, from the block B on.
  template <std::size_t B>
  TERN_INLINE void multiply_blocks(int32x4_t (&sum)[2][quarters], const std::uint8_t* blocks,
                                   const int8x16_t* x) const {
    if constexpr (B < together) {
      multiply_block<B * Codec::fold>(sum, blocks + B * block_bytes<Codec>, x);
      multiply_blocks<B + 1>(sum, blocks, x);
    }
  }
  TERN_INLINE void strip(const std::uint8_t* const* at, std::size_t n, const std::int8_t* x, ints* all) const {
    const std::uint8_t* blocks = *at;
    int32x4_t sum[2][quarters];
    TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) sum[0][j] = sum[1][j] = vdupq_n_s32(0);
    int8x16_t quads[2] = {};  // of b3 the fifth is apart
    for (; n >= together; n -= together, blocks += together * block_bytes<Codec>) {
      quads[0] = load128(x);
      if constexpr (Codec::fold > 4) quads[1] = broadcast_quad(x + 4 * quad_inputs);
      multiply_blocks<0>(sum, blocks, quads);
      x += together * block_inputs<Codec>;
    }
    for (; n != 0; --n, blocks += block_bytes<Codec>, x += block_inputs<Codec>) {
      std::memcpy(&quads[0], x, block_inputs<Codec> < 16 ? block_inputs<Codec> : 16);
      multiply_block<0>(sum, blocks, quads);
    }
    TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) all->v[j] =
        vaddq_s32(all->v[j], vaddq_s32(sum[0][j], sum[1][j]));
  }
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    dot_tile_signed<T>(operands, quads, x, stride, acc);
  }
};

template <>
struct decoder<i2> : unpacker<i2> {
  static constexpr std::size_t strip_blocks = strip_length;

  explicit decoder(i2 codec) : unpacker<i2>(codec) {}

  TERN_INLINE void strip(const std::uint8_t* const* at, std::size_t n, const std::int8_t* x, ints* all) const {
    const std::uint8_t* blocks = *at;
    const uint8x16_t mask = vdupq_n_u8(3), mask4 = vdupq_n_u8(12), mask16 = vdupq_n_u8(48);
    int32x4_t once[quarters], fourfold[quarters], sixteenfold[quarters];
    TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) once[j] = fourfold[j] = sixteenfold[j] = vdupq_n_s32(0);
    for (std::size_t b = 0; b < n; ++b, blocks += vector_bytes, x += block_inputs<i2>) {
      prefetch_block<i2>(blocks);
      const int8x16_t quads = load128(x);
      TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) {
        const uint8x16_t u = unsigned_fields(blocks + quarter_bytes * j);
        neon_dotprod::multiply_add<0>(once[j], vreinterpretq_s8_u8(vandq_u8(u, mask)), quads);
        neon_dotprod::multiply_add<1>(fourfold[j], vreinterpretq_s8_u8(vandq_u8(u, mask4)), quads);
        neon_dotprod::multiply_add<2>(sixteenfold[j], vreinterpretq_s8_u8(vandq_u8(u, mask16)), quads);
        neon_dotprod::multiply_add<3>(once[j], vreinterpretq_s8_u8(vshrq_n_u8(u, 6)), quads);
      }
    }
    TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) all->v[j] =
        vsraq_n_s32(vsraq_n_s32(vaddq_s32(all->v[j], once[j]), fourfold[j], 2), sixteenfold[j], 4);
  }
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    dot_tile_signed<T>(operands, quads, x, stride, acc);
  }
};

#include <tern/kernel/loop.inc>

}  // namespace tern::inline v0_1::kernel::inline TERN_TU::neon_dotprod

namespace tern::inline v0_1::isa {

/// NEON with dot products: ARMv8.2 with FEAT_DotProd, and everything from ARMv8.4.
struct neon_dotprod : neon {
  static constexpr std::string_view name() { return "neon_dotprod"; }
  TERN_INLINE static bool usable() { return arm_features::get().dotprod; }
};

inline namespace TERN_TU {

template <class X, codec Codec>
  requires requires { sizeof(kernel::neon_dotprod::decoder<Codec>); }
neon_dotprod run(neon_dotprod, const kernel::product<X, Codec>& a, const kernel::tile& t) {
  kernel::neon_dotprod::multiply(a, t);
  return {};
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1::isa

#endif
