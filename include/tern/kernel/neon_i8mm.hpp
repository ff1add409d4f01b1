// SPDX-License-Identifier: MIT
/// The matrix instructions of ARMv8.6 for int8: Neoverse V1 and N2, Cortex-A510 and X2, Apple M2, and what came after them.
///
/// smmla multiplies two rows of eight weights by two tokens of eight activations into a 2 x 2 tile of int32, exactly: twice the
/// products of sdot. Eight inputs are two quads: where many tokens pass, the operands of two neighbouring quads are
/// interleaved once,
///
///   | r0 r1 r2 r3 |  of quad q          | r0 r0' r1 r1' |
///   | r0' r1' r2' r3' |  of quad q + 1  | r2 r2' r3 r3' |
///
/// and a quad without a partner goes through sdot. One token has no second row of the tile to fill: it is multiplied by sdot, as
/// it was before.
#pragma once

#include <tern/config.hpp>

#if defined(TERN_ARM64)

#include <cstring>

#include <tern/kernel/neon_dotprod.hpp>

namespace tern::inline v0_1::kernel::inline TERN_TU::neon_i8mm {

using namespace neon_dotprod;  // all but tiles; what is declared here goes before

/// smmla: a 2 x 2 tile + the products of two tokens by two rows of eight inputs: token 0 by rows 0, 1, then token 1.
TERN_INLINE void multiply_tile(int32x4_t& sum, int8x16_t x, int8x16_t w) {
  __asm__ inline(TERN_INST "0x4e80a400|.Ltern_%0|.Ltern_%1<<5|.Ltern_%2<<16" : "+w"(sum) : "w"(x), "w"(w));
}
/// sdot: each lane + the products of four bytes by four.
TERN_INLINE void multiply_lanes(int32x4_t& sum, int8x16_t x, int8x16_t w) {
  __asm__ inline(TERN_INST "0x4e809400|.Ltern_%0|.Ltern_%1<<5|.Ltern_%2<<16" : "+w"(sum) : "w"(x), "w"(w));
}

/// Eight inputs of two tokens.
TERN_INLINE int8x16_t load_pair(const std::int8_t* x, std::size_t stride) {
  return vcombine_s8(vld1_s8(x), vld1_s8(x + stride));
}
/// Two pieces of 64 bits, the lower ones and the upper ones of two vectors.
TERN_INLINE int32x4_t lower(int32x4_t a, int32x4_t b) { return vcombine_s32(vget_low_s32(a), vget_low_s32(b)); }
TERN_INLINE int32x4_t upper(int32x4_t a, int32x4_t b) { return vcombine_s32(vget_high_s32(a), vget_high_s32(b)); }
TERN_INLINE void add_to(std::int32_t* acc, int32x4_t sum) { vst1q_s32(acc, vaddq_s32(vld1q_s32(acc), sum)); }

/// Row pairs of a panel: the vectors of two quads.
inline constexpr std::size_t row_pairs = panel_rows / 2;

/// 2 P tokens times interleaved operands: `pairs` of quads.
template <std::size_t P>
TERN_NOINLINE void dot_tile_tokens(const std::uint8_t* operands, std::size_t pairs, const std::int8_t* x,
                                   std::size_t stride, std::int32_t* acc) {
  int32x4_t sum[P][row_pairs];
  TERN_UNROLL for (std::size_t t = 0; t < P; ++t) TERN_UNROLL for (std::size_t i = 0; i < row_pairs; ++i) sum[t][i] =
      vdupq_n_s32(0);
  for (const std::uint8_t* const end = operands + pairs * 2 * vector_bytes; operands != end;
       operands += 2 * vector_bytes, x += 2 * quad_inputs) {
    int8x16_t tokens[P];
    TERN_UNROLL for (std::size_t t = 0; t < P; ++t) tokens[t] = load_pair(x + 2 * t * stride, stride);
    TERN_UNROLL for (std::size_t i = 0; i < row_pairs; ++i) {
      const int8x16_t w = load128(operands + i % 2 * vector_bytes + i / 2 * quarter_bytes);
      TERN_UNROLL for (std::size_t t = 0; t < P; ++t) multiply_tile(sum[t][i], tokens[t], w);
    }
  }
  TERN_UNROLL for (std::size_t t = 0; t < P; ++t) TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) {
    add_to(acc + 2 * t * panel_rows + 4 * j, lower(sum[t][2 * j], sum[t][2 * j + 1]));
    add_to(acc + (2 * t + 1) * panel_rows + 4 * j, upper(sum[t][2 * j], sum[t][2 * j + 1]));
  }
}

/// One token times interleaved operands: a row is two lanes, one of each quad.
TERN_NOINLINE inline void dot_row(const std::uint8_t* operands, std::size_t pairs, const std::int8_t* x,
                                  std::int32_t* acc) {
  int32x4_t sum[row_pairs];
  TERN_UNROLL for (std::size_t i = 0; i < row_pairs; ++i) sum[i] = vdupq_n_s32(0);
  for (std::size_t q = 0; q < pairs; ++q, operands += 2 * vector_bytes, x += 2 * quad_inputs) {
    const int8x16_t token = load_pair(x, 0);
    TERN_UNROLL for (std::size_t i = 0; i < row_pairs; ++i)
        multiply_lanes(sum[i], token, load128(operands + i % 2 * vector_bytes + i / 2 * quarter_bytes));
  }
  TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) add_to(acc + 4 * j, vpaddq_s32(sum[2 * j], sum[2 * j + 1]));
}

template <codec Codec>
struct decoder;

template <codec Codec>
  requires requires { sizeof(neon_dotprod::decoder<Codec>); }
struct decoder<Codec> : neon_dotprod::decoder<Codec> {
  using neon_dotprod::decoder<Codec>::decoder;

  /// Interleaves the operands of neighbouring quads; the last of an odd number stays.
  TERN_INLINE void interleave(std::uint8_t* operands, std::size_t quads) const {
    for (; quads >= 2; quads -= 2, operands += 2 * vector_bytes)
      TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) {
        std::uint8_t* const at = operands + quarter_bytes * j;
        const int32x4_t a = vreinterpretq_s32_s8(load128(at));
        const int32x4_t b = vreinterpretq_s32_s8(load128(at + vector_bytes));
        store128(at, vreinterpretq_s8_s32(vzip1q_s32(a, b)));
        store128(at + vector_bytes, vreinterpretq_s8_s32(vzip2q_s32(a, b)));
      }
  }
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    if constexpr (T == 1)
      dot_row(operands, quads / 2, x, acc);
    else
      dot_tile_tokens<T / 2>(operands, quads / 2, x, stride, acc);
    if (quads % 2 == 0) return;
    operands += (quads - 1) * vector_bytes;
    x += (quads - 1) * quad_inputs;
    neon_dotprod::dot_tile_signed<T>(operands, 1, x, stride, acc);
  }
};

#include <tern/kernel/loop.inc>

}  // namespace tern::inline v0_1::kernel::inline TERN_TU::neon_i8mm

namespace tern::inline v0_1::isa {

/// NEON with int8 matrix products: ARMv8.6, or FEAT_I8MM before it.
struct neon_i8mm : neon_dotprod {
  static constexpr std::string_view name() { return "neon_i8mm"; }
  TERN_INLINE static bool usable() { return arm_features::get().i8mm; }
};

inline namespace TERN_TU {

template <class X, codec Codec>
  requires requires { sizeof(kernel::neon_i8mm::decoder<Codec>); }
neon_i8mm run(neon_i8mm, const kernel::product<X, Codec>& a, const kernel::tile& t) {
  kernel::neon_i8mm::multiply(a, t);
  return {};
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1::isa

#endif
