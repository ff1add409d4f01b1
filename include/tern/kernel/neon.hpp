// SPDX-License-Identifier: MIT
/// NEON as every 64-bit ARM processor has it.
///
/// smull and smlal multiply eight signed bytes into int16 lanes; sadalp adds neighbouring lanes into int32. A quad of four rows
/// is one vector of 16 bytes, so a lane takes one product a quad, and a row is two lanes of int32 in the end:
///
///   i2  u = 1 - w in 0..3 (one xor: v ^ 0x55), so sum(x w) = sum(x) - sum(x u). 85 products of at most 3 * 128 fit int16. One
///       token shifts once and masks: v & 12 is 4u, whose sums take 21 products, that is strips of 10 blocks.
///   b3  the byte is a fraction: the digits are what its multiples move above eight bits. Two at a time, from 9 v, are looked
///       up; the bytes of v, 9 v and 81 v are the fractions that are left.
///   n4, n6, b3x2, b3x3  levels from 16-byte tables. The largest says how many products fit int16: 4 at least (levels to 63).
///   i8  one product fits, so each smull is followed by its sadalp. Exact for -128.
#pragma once

#include <tern/config.hpp>

#if defined(TERN_ARM64)

#include <arm_neon.h>

#include <cstring>

#include <tern/kernel/n6_tables.hpp>
#include <tern/kernel/scalar.hpp>

namespace tern::inline v0_1::kernel::inline TERN_TU::neon {

// Rows of 16 lanes: outputs 4j .. 4j + 3 of the panel in v[j].
struct floats {
  float32x4_t v[4];
};
struct ints {
  int32x4_t v[4];
};

/// One operation on the four vectors of a row: r.v[j] = expression.
#define TERN_VECTORS(type, expression)                                 \
  type r;                                                              \
  TERN_UNROLL for (std::size_t j = 0; j < 4; ++j) r.v[j] = expression; \
  return r

TERN_INLINE int8x16_t load128(const void* at) { return vld1q_s8(static_cast<const std::int8_t*>(at)); }
TERN_INLINE uint8x16_t load_codes(const std::uint8_t* at) { return vld1q_u8(at); }
TERN_INLINE void store128(void* at, int8x16_t a) { vst1q_s8(static_cast<std::int8_t*>(at), a); }

TERN_INLINE floats load(const float* at) { TERN_VECTORS(floats, vld1q_f32(at + 4 * j)); }
TERN_INLINE ints load(const std::int32_t* at) { TERN_VECTORS(ints, vld1q_s32(at + 4 * j)); }
TERN_INLINE floats load_half(const std::uint16_t* at) {
  TERN_VECTORS(floats, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(at + 4 * j))));
}
TERN_INLINE floats load_bfloat16(const std::uint16_t* at) {
  TERN_VECTORS(floats, vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(at + 4 * j), 16)));
}
TERN_INLINE floats load_real(const float* at) { return load(at); }
TERN_INLINE floats load_real(const half* at) { return load_half(&at->bits); }
TERN_INLINE floats load_real(const bfloat16* at) { return load_bfloat16(&at->bits); }
TERN_INLINE ints load_bytes(const std::int8_t* at) { TERN_VECTORS(ints, vreinterpretq_s32_s8(load128(at + 16 * j))); }
TERN_INLINE void store(float* at, const floats& a) {
  TERN_UNROLL for (std::size_t j = 0; j < 4; ++j) vst1q_f32(at + 4 * j, a.v[j]);
}
TERN_INLINE void store(std::int32_t* at, const ints& a) {
  TERN_UNROLL for (std::size_t j = 0; j < 4; ++j) vst1q_s32(at + 4 * j, a.v[j]);
}
TERN_INLINE void store_half(std::uint16_t* at, const floats& a) {
  TERN_UNROLL for (std::size_t j = 0; j < 4; ++j) vst1_u16(at + 4 * j, vreinterpret_u16_f16(vcvt_f16_f32(a.v[j])));
}
TERN_INLINE void store_bfloat16(std::uint16_t* at, const floats& a) {
  alignas(64) float lanes[panel_rows];
  store(lanes, a);
  for (std::size_t i = 0; i < panel_rows; ++i) at[i] = detail::float_to_bfloat16(lanes[i]);
}
/// Stores lanes that are within int8.
TERN_INLINE void store_int8(std::int8_t* at, const ints& a) {
  const int16x8_t lo = vcombine_s16(vmovn_s32(a.v[0]), vmovn_s32(a.v[1]));
  const int16x8_t hi = vcombine_s16(vmovn_s32(a.v[2]), vmovn_s32(a.v[3]));
  store128(at, vcombine_s8(vmovn_s16(lo), vmovn_s16(hi)));
}
TERN_INLINE floats broadcast(float a) { TERN_VECTORS(floats, vdupq_n_f32(a)); }
TERN_INLINE ints broadcast(std::int32_t a) { TERN_VECTORS(ints, vdupq_n_s32(a)); }
TERN_INLINE floats fma(const floats& a, const floats& b, const floats& c) {
  TERN_VECTORS(floats, vfmaq_f32(c.v[j], a.v[j], b.v[j]));
}
TERN_INLINE floats multiply(const floats& a, const floats& b) { TERN_VECTORS(floats, vmulq_f32(a.v[j], b.v[j])); }
TERN_INLINE floats divide(const floats& a, const floats& b) { TERN_VECTORS(floats, vdivq_f32(a.v[j], b.v[j])); }
TERN_INLINE floats to_floats(const ints& a) { TERN_VECTORS(floats, vcvtq_f32_s32(a.v[j])); }
TERN_INLINE ints round_to_ints(const floats& a) { TERN_VECTORS(ints, vcvtnq_s32_f32(a.v[j])); }
TERN_INLINE ints magnitude(const floats& a) {
  TERN_VECTORS(ints, vandq_s32(vreinterpretq_s32_f32(a.v[j]), vdupq_n_s32(0x7fffffff)));
}
TERN_INLINE ints subtract(const ints& a, const ints& b) { TERN_VECTORS(ints, vsubq_s32(a.v[j], b.v[j])); }
TERN_INLINE ints maximum(const ints& a, const ints& b) { TERN_VECTORS(ints, vmaxq_s32(a.v[j], b.v[j])); }
TERN_INLINE ints low_byte(const ints& a) { TERN_VECTORS(ints, vshrq_n_s32(vshlq_n_s32(a.v[j], 24), 24)); }
TERN_INLINE ints drop_byte(const ints& a) { TERN_VECTORS(ints, vshrq_n_s32(a.v[j], 8)); }
#undef TERN_VECTORS
TERN_INLINE std::int32_t sum_of(const ints& a) {
  return vaddvq_s32(vaddq_s32(vaddq_s32(a.v[0], a.v[1]), vaddq_s32(a.v[2], a.v[3])));
}

/// Four inputs of a token, the same in every row.
TERN_INLINE int8x16_t broadcast_quad(const std::int8_t* x) {
  std::int32_t quad;
  std::memcpy(&quad, x, sizeof quad);
  return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}

/// Panels that are taken together, strip by strip, and those whose sums the registers hold at once.
inline constexpr std::size_t streams = 4;
inline constexpr std::size_t tile_panels = 1;
/// Vectors of a quad: four rows each.
inline constexpr std::size_t quarters = 4;
inline constexpr std::size_t quarter_bytes = vector_bytes / quarters;

/// Codes to operands: signed bytes that are the levels, or what sum(x w) follows from. D has quarter(at, w): the operands of
/// four rows of a block, Codec::fold vectors; the bytes of codec vector v are at + 64 v.
template <class D, codec Codec>
struct expander {
  static constexpr std::size_t operand_bytes = vector_bytes;

  const D& self() const { return static_cast<const D&>(*this); }

  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const {
    TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) {
      int8x16_t w[Codec::fold];
      self().quarter(block + quarter_bytes * j, w);
      TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p)
          store128(out + vector_bytes * p + quarter_bytes * j, w[p]);
    }
  }
  TERN_INLINE void levels(const std::uint8_t* block, std::int8_t* out) const {
    TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) {
      int8x16_t w[Codec::fold];
      self().quarter(block + quarter_bytes * j, w);
      TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p)
          store128(out + vector_bytes * p + quarter_bytes * j,
                   D::negated ? vsubq_s8(vdupq_n_s8(static_cast<std::int8_t>(D::x_sum)), w[p]) : w[p]);
    }
  }
};

/// Operands that are the levels themselves, at most `largest` in magnitude.
template <class D, codec Codec>
struct level_expander : expander<D, Codec> {
  static constexpr std::int32_t x_sum = 0;
  static constexpr bool negated = false;

  int largest;

  explicit level_expander(int of_codec) : largest(of_codec) {}
};

template <codec Codec>
struct unpacker;

template <>
struct unpacker<i2> : expander<unpacker<i2>, i2> {
  static constexpr std::int32_t x_sum = 1;  // sum(x w) = sum(x) - sum(x u)
  static constexpr bool negated = true;
  static constexpr int largest = 3;  // u of the field 10, which no ternary quantizer writes but a byte may hold

  explicit unpacker(i2) {}

  TERN_INLINE static uint8x16_t unsigned_fields(const std::uint8_t* at) {
    return veorq_u8(load_codes(at), vdupq_n_u8(0x55));
  }
  TERN_INLINE static void quarter(const std::uint8_t* at, int8x16_t* w) {
    const uint8x16_t u = unsigned_fields(at), mask = vdupq_n_u8(3);
    w[0] = vreinterpretq_s8_u8(vandq_u8(u, mask));
    w[1] = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(u, 2), mask));
    w[2] = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(u, 4), mask));
    w[3] = vreinterpretq_s8_u8(vshrq_n_u8(u, 6));
  }
};

/// One plane or several of trits in base 3: the levels c t of each digit, added up.
template <std::size_t Planes, codec Codec>
struct digit_unpacker : level_expander<digit_unpacker<Planes, Codec>, Codec> {
  // c times the first and the second trit of a pair of digits 3 d0 + d1; c times the last trit is a product.
  alignas(16) std::int8_t first[Planes][16] = {}, second[Planes][16] = {};
  std::int8_t c[Planes];

  explicit digit_unpacker(const trit_code& code, int of_codec) : level_expander<digit_unpacker, Codec>(of_codec) {
    for (std::size_t plane = 0; plane < Planes; ++plane) {
      c[plane] = code.c[plane];
      for (int v = 0; v < 9; ++v) {
        first[plane][v] = static_cast<std::int8_t>(c[plane] * (v / 3 - 1));
        second[plane][v] = static_cast<std::int8_t>(c[plane] * (v % 3 - 1));
      }
    }
  }
  /// The two digits that 9 v moves above eight bits: floor(9 v / 256) = floor(floor(v + v / 8) / 32), halved before it overflows.
  TERN_INLINE static uint8x16_t pair(uint8x16_t v) { return vshrq_n_u8(vhaddq_u8(v, vshrq_n_u8(v, 3)), 4); }
  /// The trit that 3 v moves there: v < 86 is -1, v > 170 is +1. A comparison that holds is -1.
  TERN_INLINE static int8x16_t trit(uint8x16_t v) {
    return vsubq_s8(vreinterpretq_s8_u8(vcltq_u8(v, vdupq_n_u8(86))),
                    vreinterpretq_s8_u8(vcgtq_u8(v, vdupq_n_u8(170))));
  }
  TERN_INLINE void quarter(const std::uint8_t* at, int8x16_t* w) const {
    TERN_UNROLL for (std::size_t plane = 0; plane < Planes; ++plane) {
      const uint8x16_t v = load_codes(at + plane * vector_bytes);
      const uint8x16_t pair_0 = pair(v), pair_1 = pair(vmulq_u8(v, vdupq_n_u8(9)));
      const int8x16_t firsts = load128(first[plane]), seconds = load128(second[plane]);
      const int8x16_t last = trit(vmulq_u8(v, vdupq_n_u8(81)));
      const int8x16_t levels[5] = {vqtbl1q_s8(firsts, pair_0), vqtbl1q_s8(seconds, pair_0), vqtbl1q_s8(firsts, pair_1),
                                   vqtbl1q_s8(seconds, pair_1),
                                   Planes == 1 ? last : vmulq_s8(last, vdupq_n_s8(c[plane]))};
      TERN_UNROLL for (std::size_t p = 0; p < b3::fold; ++p) w[p] = plane == 0 ? levels[p] : vaddq_s8(w[p], levels[p]);
    }
  }
};
template <>
struct unpacker<b3> : digit_unpacker<1, b3> {
  explicit unpacker(b3) : digit_unpacker({{1}}, 1) {}
};
template <std::size_t Planes>
struct unpacker<b3_planes<Planes>> : digit_unpacker<Planes, b3_planes<Planes>> {
  explicit unpacker(const b3_planes<Planes>& codec)
      : digit_unpacker<Planes, b3_planes<Planes>>(codec.code(), codec.code().largest()) {}
};

template <>
struct unpacker<n4> : level_expander<unpacker<n4>, n4> {
  alignas(16) std::int8_t table[16];

  explicit unpacker(const n4& codec) : level_expander(detail::greater(-codec.least(), codec.most())) {
    std::memcpy(table, codec.state().data(), sizeof table);
  }
  TERN_INLINE void quarter(const std::uint8_t* at, int8x16_t* w) const {
    const int8x16_t levels = load128(table);
    const uint8x16_t v = load_codes(at);
    w[0] = vqtbl1q_s8(levels, vandq_u8(v, vdupq_n_u8(15)));
    w[1] = vqtbl1q_s8(levels, vshrq_n_u8(v, 4));
  }
};

template <>
struct unpacker<n6> : level_expander<unpacker<n6>, n6> {
  n6_tables tables;

  explicit unpacker(const n6& codec) : level_expander(codec.code().largest()), tables(codec, false) {}
  TERN_INLINE void quarter(const std::uint8_t* at, int8x16_t* w) const {
    const int8x16_t pairs = load128(tables.pair), lows = load128(tables.low), highs = load128(tables.high);
    const uint8x16_t mask = vdupq_n_u8(15), fields = load_codes(at + 2 * vector_bytes);
    TERN_UNROLL for (std::size_t i = 0; i < 2; ++i) {
      const uint8x16_t v = load_codes(at + i * vector_bytes);
      const uint8x16_t third = i == 0 ? vandq_u8(fields, mask) : vshrq_n_u8(fields, 4);
      w[2 * i] = vaddq_s8(vqtbl1q_s8(pairs, vandq_u8(v, mask)), vqtbl1q_s8(lows, third));
      w[2 * i + 1] = vaddq_s8(vqtbl1q_s8(pairs, vshrq_n_u8(v, 4)), vqtbl1q_s8(highs, third));
    }
  }
};

template <>
struct unpacker<i8> : level_expander<unpacker<i8>, i8> {
  explicit unpacker(i8) : level_expander(128) {}
  TERN_INLINE static void quarter(const std::uint8_t* at, int8x16_t* w) { w[0] = load128(at); }
};

/// Products by levels up to `largest` whose sum fits int16, for x in -128..127.
constexpr std::size_t products_of_int16(int largest) {
  return 32767 / (static_cast<std::size_t>(detail::greater(largest, 1)) * 128);
}
static_assert(products_of_int16(n4::largest_span) >= 4 && products_of_int16(127) >= 2 && products_of_int16(128) == 1);

/// sum[0 .. 2) + the products of four rows by a quad: rows 0, 1 in sum[0], 2, 3 in sum[1], four lanes each.
TERN_INLINE void multiply_add(int16x8_t* sum, int8x16_t w, int8x16_t quad) {
  sum[0] = vmlal_s8(sum[0], vget_low_s8(w), vget_low_s8(quad));
  sum[1] = vmlal_high_s8(sum[1], w, quad);
}
/// The sums of four rows, from four int16 lanes each.
TERN_INLINE int32x4_t widen(const int16x8_t* sum) { return vpaddq_s32(vpaddlq_s16(sum[0]), vpaddlq_s16(sum[1])); }

/// T tokens times operands whose products fit int16 for `steps` quads. Eight rows at a time: 4 T sums in registers.
template <std::size_t T>
TERN_NOINLINE void dot_tile_long(std::size_t steps, const std::uint8_t* operands, std::size_t quads,
                                 const std::int8_t* x, std::size_t stride, std::int32_t* acc) {
  for (std::size_t h = 0; h < 2; ++h) {
    const std::uint8_t* w = operands + h * 2 * quarter_bytes;
    const std::int8_t* at = x;
    for (std::size_t left = quads; left != 0;) {
      const std::size_t n = detail::lesser(left, steps);
      int16x8_t sum[T][4];
      TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t j = 0; j < 4; ++j) sum[t][j] =
          vdupq_n_s16(0);
      for (std::size_t q = 0; q < n; ++q, w += vector_bytes, at += quad_inputs) {
        const int8x16_t lo = load128(w), hi = load128(w + quarter_bytes);
        TERN_UNROLL for (std::size_t t = 0; t < T; ++t) {
          const int8x16_t quad = broadcast_quad(at + t * stride);
          multiply_add(sum[t], lo, quad);
          multiply_add(sum[t] + 2, hi, quad);
        }
      }
      TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t j = 0; j < 2; ++j) {
        std::int32_t* const out = acc + t * panel_rows + 8 * h + 4 * j;
        vst1q_s32(out, vaddq_s32(vld1q_s32(out), widen(sum[t] + 2 * j)));
      }
      left -= n;
    }
  }
}

/// T tokens times any operands of a codec with so many quads a block: as many products of a lane are summed in int16.
template <std::size_t T, std::size_t Quads>
TERN_NOINLINE void dot_tile_short(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x,
                                  std::size_t stride, std::int32_t* acc) {
  for (std::size_t h = 0; h < 2; ++h) {
    const std::uint8_t* w = operands + h * 2 * quarter_bytes;
    const std::int8_t* at = x;
    int32x4_t sum[T][4];
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t j = 0; j < 4; ++j) sum[t][j] =
        vdupq_n_s32(0);
    const auto step = [&]<std::size_t N>(std::integral_constant<std::size_t, N>) {
      TERN_UNROLL for (std::size_t t = 0; t < T; ++t) {
        int16x8_t product[4];
        TERN_UNROLL for (std::size_t j = 0; j < 4; ++j) product[j] = vdupq_n_s16(0);
        TERN_UNROLL for (std::size_t i = 0; i < N; ++i) {
          const int8x16_t quad = broadcast_quad(at + t * stride + i * quad_inputs);
          multiply_add(product, load128(w + i * vector_bytes), quad);
          multiply_add(product + 2, load128(w + i * vector_bytes + quarter_bytes), quad);
        }
        TERN_UNROLL for (std::size_t j = 0; j < 4; ++j) sum[t][j] = vpadalq_s16(sum[t][j], product[j]);
      }
      w += N * vector_bytes;
      at += N * quad_inputs;
    };
    std::size_t left = quads;
    for (; left >= Quads; left -= Quads) step(std::integral_constant<std::size_t, Quads>());
    for (; left != 0; --left) step(std::integral_constant<std::size_t, 1>());
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t j = 0; j < 2; ++j) {
      std::int32_t* const out = acc + t * panel_rows + 8 * h + 4 * j;
      vst1q_s32(out, vaddq_s32(vld1q_s32(out), vpaddq_s32(sum[t][2 * j], sum[t][2 * j + 1])));
    }
  }
}

template <codec Codec>
struct decoder;

/// Every codec but i2: sums of several blocks in int16 where the levels allow, else of a block's fields.
template <codec Codec>
  requires requires { sizeof(unpacker<Codec>); }
struct decoder<Codec> : unpacker<Codec> {
  /// Products of a lane that are summed in int16 before they are widened, where that is at each block.
  static constexpr std::size_t short_quads = Codec::fold == 1 ? 1 : 2;

  std::size_t steps;         // quads that fit int16
  std::size_t strip_blocks;  // such blocks; or, where int32 sums need no bound, enough to hide the end

  explicit decoder(const Codec& codec)
      : unpacker<Codec>(codec),
        steps(products_of_int16(this->largest)),
        strip_blocks(long_steps() ? detail::lesser(steps / Codec::fold, std::size_t{16}) : 16) {}

  /// Whether int16 sums over several blocks pay.
  bool long_steps() const { return steps >= 2 * Codec::fold && steps >= 8; }

  TERN_INLINE void strip(const std::uint8_t* const* at, std::size_t n, const std::int8_t* x, ints* all) const {
    if (long_steps())
      strip_long(*at, n, x, all);
    else
      strip_short(*at, n, x, all);
  }
  TERN_INLINE void strip_long(const std::uint8_t* blocks, std::size_t n, const std::int8_t* x, ints* all) const {
    int16x8_t sum[2 * quarters];
    TERN_UNROLL for (std::size_t j = 0; j < 2 * quarters; ++j) sum[j] = vdupq_n_s16(0);
    for (std::size_t b = 0; b < n; ++b, blocks += block_bytes<Codec>, x += block_inputs<Codec>) {
      prefetch_block<Codec>(blocks);
      TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) {
        int8x16_t w[Codec::fold];
        this->quarter(blocks + quarter_bytes * j, w);
        TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p)
            multiply_add(sum + 2 * j, w[p], broadcast_quad(x + quad_inputs * p));
      }
    }
    TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) all->v[j] = vaddq_s32(all->v[j], widen(sum + 2 * j));
  }
  TERN_INLINE void strip_short(const std::uint8_t* blocks, std::size_t n, const std::int8_t* x, ints* all) const {
    int32x4_t sum[2 * quarters];
    TERN_UNROLL for (std::size_t j = 0; j < 2 * quarters; ++j) sum[j] = vdupq_n_s32(0);
    for (std::size_t b = 0; b < n; ++b, blocks += block_bytes<Codec>, x += block_inputs<Codec>) {
      prefetch_block<Codec>(blocks);
      TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) {
        int8x16_t w[Codec::fold];
        this->quarter(blocks + quarter_bytes * j, w);
        TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; p += short_quads) {
          int16x8_t product[2] = {vdupq_n_s16(0), vdupq_n_s16(0)};
          TERN_UNROLL for (std::size_t i = 0; i < short_quads; ++i) if (p + i < Codec::fold)
              multiply_add(product, w[p + i], broadcast_quad(x + quad_inputs * (p + i)));
          sum[2 * j] = vpadalq_s16(sum[2 * j], product[0]);
          sum[2 * j + 1] = vpadalq_s16(sum[2 * j + 1], product[1]);
        }
      }
    }
    TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) all->v[j] =
        vaddq_s32(all->v[j], vpaddq_s32(sum[2 * j], sum[2 * j + 1]));
  }
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    if (long_steps())
      dot_tile_long<T>(steps, operands, quads, x, stride, acc);
    else
      dot_tile_short<T, short_quads>(operands, quads, x, stride, acc);
  }
};

template <>
struct decoder<i2> : unpacker<i2> {
  static constexpr std::size_t strip_blocks = 10;
  static_assert(strip_blocks * 2 * (4 * largest * 128) <= 32767, "two fields a block go to the sums of 4u");

  explicit decoder(i2 codec) : unpacker<i2>(codec) {}

  TERN_INLINE void strip(const std::uint8_t* const* at, std::size_t n, const std::int8_t* x, ints* all) const {
    const std::uint8_t* blocks = *at;
    const uint8x16_t mask = vdupq_n_u8(3), mask4 = vdupq_n_u8(12);
    int16x8_t once[2 * quarters], fourfold[2 * quarters];
    TERN_UNROLL for (std::size_t j = 0; j < 2 * quarters; ++j) once[j] = fourfold[j] = vdupq_n_s16(0);
    for (std::size_t b = 0; b < n; ++b, blocks += vector_bytes, x += block_inputs<i2>) {
      prefetch_block<i2>(blocks);
      TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) {
        const uint8x16_t low = unsigned_fields(blocks + quarter_bytes * j), high = vshrq_n_u8(low, 4);
        multiply_add(once + 2 * j, vreinterpretq_s8_u8(vandq_u8(low, mask)), broadcast_quad(x));
        multiply_add(fourfold + 2 * j, vreinterpretq_s8_u8(vandq_u8(low, mask4)), broadcast_quad(x + 4));
        multiply_add(once + 2 * j, vreinterpretq_s8_u8(vandq_u8(high, mask)), broadcast_quad(x + 8));
        multiply_add(fourfold + 2 * j, vreinterpretq_s8_u8(vandq_u8(high, mask4)), broadcast_quad(x + 12));
      }
    }
    TERN_UNROLL for (std::size_t j = 0; j < quarters; ++j) {
      // Lanes of 4u are multiples of 4; together at most 40 * 384 = 15360.
      const int16x8_t sum[2] = {vsraq_n_s16(once[2 * j], fourfold[2 * j], 2),
                                vsraq_n_s16(once[2 * j + 1], fourfold[2 * j + 1], 2)};
      all->v[j] = vaddq_s32(all->v[j], widen(sum));
    }
  }
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    dot_tile_long<T>(products_of_int16(largest), operands, quads, x, stride, acc);
  }
};

#include <tern/kernel/loop.inc>

}  // namespace tern::inline v0_1::kernel::inline TERN_TU::neon

namespace tern::inline v0_1::isa {

/// NEON: every 64-bit ARM processor.
struct neon : scalar {
  static constexpr std::string_view name() { return "neon"; }
  TERN_INLINE static bool usable() { return true; }
  static constexpr kernel::token_loop loop_for(std::size_t tokens) { return kernel::loop_for(tokens); }
};

inline namespace TERN_TU {

template <class X, codec Codec>
  requires requires { sizeof(kernel::neon::decoder<Codec>); }
neon run(neon, const kernel::product<X, Codec>& a, const kernel::tile& t) {
  kernel::neon::multiply(a, t);
  return {};
}
template <real_element T>
float quantize_row(neon, const T* x, std::size_t inputs, std::int8_t* codes, std::size_t row_stride,
                   std::int32_t* prefix) {
  return kernel::neon::quantize_row(x, inputs, codes, row_stride, prefix);
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1::isa

#endif
