// SPDX-License-Identifier: MIT
/// WebAssembly with 128-bit SIMD (-msimd128): Node.js from 16, Chrome and Firefox from 2021, Safari from 16.4.
///
/// Two ways from bytes to sums. i16x8.extmul_i8x16_s multiplies bytes into int16 lanes, a product each. i32x4.dot_i16x8_s
/// (pmaddwd) multiplies int16 and adds neighbours into int32, exact; bytes become int16 by masks, not by sign extension, which
/// moves them across lanes: of the four bytes of a row "even" is the pair 0 and 2, "odd" the pair 1 and 3, each where it is in
/// one of two int16. Activations are split alike, and a dot adds a pair to the int32 lane of its row. A scale is free.
///
///   i2  u = w + 2 = v ^ 0xAA, a field of 0..3, so sum(x w) = sum(x u) - 2 sum(x): shifted down, masked, extmul. A product is
///       at most 384, so int16 holds the sums of 85 quads.
///   b3  a byte is a fraction f of 256 whose digit d is what overflows when it is tripled: 256 d = 3 f - f', f' = 3 f mod 256.
///       With s = f - 128, a signed byte, 256 w = 3 s - s', s' = 3 s mod 256: nothing but multiples of s modulo 256, which
///       int16 holds as 256 s. So 256 sum(x w) = sum(x (3 s - s')), a linear form in six multiples whose coefficients
///       3 x(p) - x(p - 1) serve all rows: no digit is ever seen. 36 operations for 80 products. b3x2 and b3x3 are c times
///       the sums of each plane.
///   n4, n6, i8  signed levels l, by i8x16.swizzle from tables or as they are: l << 8 and l & 0xFF00 are 256 l.
///
/// Scaled sums are exact modulo 2^32, and strips are so short that they fit. Many tokens: operands are held as int16, for dots.
/// There is no fma: see fma_to_odd(). A product takes 40 KiB of stack; newer emscriptens give 64 (-sSTACK_SIZE=...).
#pragma once

#include <tern/config.hpp>

#if defined(__wasm_simd128__)

#include <wasm_simd128.h>

#include <cstring>

#include <tern/kernel/n6_tables.hpp>
#include <tern/kernel/scalar.hpp>

namespace tern::inline v0_1::kernel::inline TERN_TU::wasm_simd128 {

// Rows of 16 lanes: outputs 4j .. 4j + 3 of the panel in v[j].
inline constexpr std::size_t parts = 4;
struct floats {
  v128_t v[parts];
};
struct ints {
  v128_t v[parts];
};

/// One operation on all lanes: r.v[j] = expression, where j is the part.
#define TERN_PARTS(type, expression)                                       \
  type r;                                                                  \
  TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) r.v[j] = expression; \
  return r

TERN_INLINE floats load(const float* at) { TERN_PARTS(floats, wasm_v128_load(at + 4 * j)); }
TERN_INLINE ints load(const std::int32_t* at) { TERN_PARTS(ints, wasm_v128_load(at + 4 * j)); }
TERN_INLINE ints load_bytes(const std::int8_t* at) { TERN_PARTS(ints, wasm_v128_load(at + 16 * j)); }
TERN_INLINE void store(float* at, const floats& a) {
  TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) wasm_v128_store(at + 4 * j, a.v[j]);
}
TERN_INLINE void store(std::int32_t* at, const ints& a) {
  TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) wasm_v128_store(at + 4 * j, a.v[j]);
}
TERN_INLINE floats load_half(const std::uint16_t* at) {
  alignas(64) float lanes[panel_rows];
  for (std::size_t i = 0; i < panel_rows; ++i) lanes[i] = detail::half_to_float(at[i]);
  return load(lanes);
}
TERN_INLINE floats load_bfloat16(const std::uint16_t* at) {
  TERN_PARTS(floats, wasm_i32x4_shl(wasm_u32x4_load16x4(at + 4 * j), 16));
}
TERN_INLINE floats load_real(const float* at) { return load(at); }
TERN_INLINE floats load_real(const half* at) { return load_half(&at->bits); }
TERN_INLINE floats load_real(const bfloat16* at) { return load_bfloat16(&at->bits); }
TERN_INLINE void store_half(std::uint16_t* at, const floats& a) {
  alignas(64) float lanes[panel_rows];
  store(lanes, a);
  for (std::size_t i = 0; i < panel_rows; ++i) at[i] = detail::float_to_half(lanes[i]);
}
TERN_INLINE void store_bfloat16(std::uint16_t* at, const floats& a) {
  alignas(64) float lanes[panel_rows];
  store(lanes, a);
  for (std::size_t i = 0; i < panel_rows; ++i) at[i] = detail::float_to_bfloat16(lanes[i]);
}
/// Stores lanes that are within int8.
TERN_INLINE void store_int8(std::int8_t* at, const ints& a) {
  wasm_v128_store(
      at, wasm_i8x16_narrow_i16x8(wasm_i16x8_narrow_i32x4(a.v[0], a.v[1]), wasm_i16x8_narrow_i32x4(a.v[2], a.v[3])));
}
TERN_INLINE floats broadcast(float a) { TERN_PARTS(floats, wasm_f32x4_splat(a)); }
TERN_INLINE ints broadcast(std::int32_t a) { TERN_PARTS(ints, wasm_i32x4_splat(a)); }

/// a b + c of two lanes of floats as doubles, rounded to odd: what detail::fma_by_doubles() derives, without branches.
TERN_INLINE v128_t fma_to_odd(v128_t a, v128_t b, v128_t c) {
  const v128_t product = wasm_f64x2_mul(a, b);
  const v128_t s = wasm_f64x2_add(product, c);
  const v128_t of_c = wasm_f64x2_sub(s, product);
  const v128_t e = wasm_f64x2_add(wasm_f64x2_sub(product, wasm_f64x2_sub(s, of_c)), wasm_f64x2_sub(c, of_c));
  const v128_t side = wasm_f64x2_mul(s, e), zero = wasm_f64x2_splat(0.0);
  const v128_t inwards = wasm_f64x2_lt(side, zero), inexact = wasm_v128_or(inwards, wasm_f64x2_gt(side, zero));
  // inwards is -1 in the lanes where s is beyond the sum.
  const v128_t cut = wasm_i64x2_add(s, inwards);
  return wasm_v128_or(cut, wasm_v128_and(inexact, wasm_i64x2_splat(1)));
}
TERN_INLINE v128_t high_to_low(v128_t a) { return wasm_i64x2_shuffle(a, a, 1, 1); }
TERN_INLINE v128_t fma(v128_t a, v128_t b, v128_t c) {
  const v128_t low =
      fma_to_odd(wasm_f64x2_promote_low_f32x4(a), wasm_f64x2_promote_low_f32x4(b), wasm_f64x2_promote_low_f32x4(c));
  const v128_t high =
      fma_to_odd(wasm_f64x2_promote_low_f32x4(high_to_low(a)), wasm_f64x2_promote_low_f32x4(high_to_low(b)),
                 wasm_f64x2_promote_low_f32x4(high_to_low(c)));
  return wasm_i64x2_shuffle(wasm_f32x4_demote_f64x2_zero(low), wasm_f32x4_demote_f64x2_zero(high), 0, 2);
}
TERN_INLINE floats fma(const floats& a, const floats& b, const floats& c) {
  TERN_PARTS(floats, fma(a.v[j], b.v[j], c.v[j]));
}
TERN_INLINE floats multiply(const floats& a, const floats& b) { TERN_PARTS(floats, wasm_f32x4_mul(a.v[j], b.v[j])); }
TERN_INLINE floats divide(const floats& a, const floats& b) { TERN_PARTS(floats, wasm_f32x4_div(a.v[j], b.v[j])); }
TERN_INLINE floats to_floats(const ints& a) { TERN_PARTS(floats, wasm_f32x4_convert_i32x4(a.v[j])); }
TERN_INLINE ints round_to_ints(const floats& a) {
  TERN_PARTS(ints, wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(a.v[j])));
}
TERN_INLINE ints magnitude(const floats& a) { TERN_PARTS(ints, wasm_v128_and(a.v[j], wasm_i32x4_splat(0x7fffffff))); }
TERN_INLINE ints subtract(const ints& a, const ints& b) { TERN_PARTS(ints, wasm_i32x4_sub(a.v[j], b.v[j])); }
TERN_INLINE ints maximum(const ints& a, const ints& b) { TERN_PARTS(ints, wasm_i32x4_max(a.v[j], b.v[j])); }
TERN_INLINE ints low_byte(const ints& a) { TERN_PARTS(ints, wasm_i32x4_shr(wasm_i32x4_shl(a.v[j], 24), 24)); }
TERN_INLINE ints drop_byte(const ints& a) { TERN_PARTS(ints, wasm_u32x4_shr(a.v[j], 8)); }
#undef TERN_PARTS
TERN_INLINE std::int32_t sum_of(const ints& a) {
  const v128_t four = wasm_i32x4_add(wasm_i32x4_add(a.v[0], a.v[1]), wasm_i32x4_add(a.v[2], a.v[3]));
  const v128_t two = wasm_i32x4_add(four, high_to_low(four));
  return wasm_i32x4_extract_lane(wasm_i32x4_add(two, wasm_i32x4_shuffle(two, two, 1, 0, 3, 2)), 0);
}

/// Panels that are taken together, strip by strip, and those whose sums the registers hold at once.
inline constexpr std::size_t streams = 2;
inline constexpr std::size_t tile_panels = 1;

/// sum + the products of a half of 4 rows, even or odd, by that half of a quad, the same in every row.
TERN_INLINE v128_t multiply_add(v128_t sum, v128_t weights, v128_t quad) {
  return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(weights, quad));
}
TERN_INLINE v128_t broadcast_pair(const std::int32_t& pair) { return wasm_v128_load32_splat(&pair); }

/// The even and the odd halves of quads of a token, each a pair of int16. `Quads` are those of a strip or a chunk.
template <std::size_t Quads>
struct split_quads {
  std::int32_t even[Quads + 3], odd[Quads + 3];

  /// Reads whole vectors, that is at most 12 bytes beyond the quads: row_stride() has room for them.
  TERN_INLINE void split(const std::int8_t* x, std::size_t quads) {
    for (std::size_t q = 0; q < quads; q += 4) {
      const v128_t bytes = wasm_v128_load(x + quad_inputs * q);
      wasm_v128_store(even + q, wasm_i16x8_shr(wasm_i16x8_shl(bytes, 8), 8));
      wasm_v128_store(odd + q, wasm_i16x8_shr(bytes, 8));
    }
  }
};

/// Quads of a strip.
inline constexpr std::size_t strip_quads = 64;
static_assert(std::int64_t{strip_quads} * 4 * 128 * 128 * 256 <= 2147483647, "sums of 256 l x, whatever the levels");

/// What all codecs share. D has expand(block, out): for each field its even halves, 4 vectors of 4 rows, and its odd ones,
/// as int16 operands l - x_sum.
template <class D, codec Codec>
struct word_decoder {
  static constexpr bool negated = false;
  static constexpr std::size_t operand_bytes = 2 * vector_bytes;
  static constexpr std::size_t strip_blocks = strip_quads / Codec::fold;

  const D& self() const { return static_cast<const D&>(*this); }

  TERN_INLINE void levels(const std::uint8_t* block, std::int8_t* out) const {
    alignas(64) std::uint8_t words[Codec::fold * operand_bytes];
    self().expand(block, words);
    const v128_t offset = wasm_i16x8_splat(static_cast<std::int16_t>(self().x_sum));
    for (std::size_t p = 0; p < Codec::fold; ++p)
      for (std::size_t j = 0; j < parts; ++j) {
        const std::uint8_t* const at = words + p * operand_bytes + 16 * j;
        const v128_t even = wasm_i16x8_add(wasm_v128_load(at), offset);
        const v128_t odd = wasm_i16x8_add(wasm_v128_load(at + vector_bytes), offset);
        wasm_v128_store(out + p * vector_bytes + 16 * j,
                        wasm_v128_or(wasm_v128_and(even, wasm_i16x8_splat(255)), wasm_i16x8_shl(odd, 8)));
      }
  }
  /// Two tokens at a time: 8 of the 16 registers of x86-64 are sums. |w| <= 255: int32 sums are exact.
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    if constexpr (T > 2) {
      dot_tile<2>(operands, quads, x, stride, acc);
      dot_tile<T - 2>(operands, quads, x + 2 * stride, stride, acc + 2 * panel_rows);
    } else {
      dot_tokens<T>(operands, quads, x, stride, acc);
    }
  }
  template <std::size_t T>
  TERN_NOINLINE static void dot_tokens(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x,
                                       std::size_t stride, std::int32_t* acc) {
    alignas(16) split_quads<chunk_quads> token[T];
    ints sum[T];
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) {
      token[t].split(x + t * stride, quads);
      sum[t] = load(acc + t * panel_rows);
    }
    for (std::size_t q = 0; q < quads; ++q, operands += operand_bytes) {
      TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) {
        const v128_t w = wasm_v128_load(operands + 16 * j);
        TERN_UNROLL for (std::size_t t = 0; t < T; ++t) sum[t].v[j] =
            multiply_add(sum[t].v[j], w, broadcast_pair(token[t].even[q]));
      }
      TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) {
        const v128_t w = wasm_v128_load(operands + vector_bytes + 16 * j);
        TERN_UNROLL for (std::size_t t = 0; t < T; ++t) sum[t].v[j] =
            multiply_add(sum[t].v[j], w, broadcast_pair(token[t].odd[q]));
      }
    }
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) store(acc + t * panel_rows, sum[t]);
  }
};

/// Codecs whose levels are bytes: D has signed_levels(at, l), those of 4 rows, `at` being their bytes of the first vector.
template <class D, codec Codec>
struct level_decoder : word_decoder<D, Codec> {
  using base = word_decoder<D, Codec>;
  static constexpr std::int32_t x_sum = 0;

  TERN_INLINE void strip(const std::uint8_t* const* at, std::size_t n, const std::int8_t* x, ints* all) const {
    alignas(16) split_quads<strip_quads> token;
    token.split(x, n * Codec::fold);
    const std::uint8_t* blocks = *at;
    const std::int32_t *evens = token.even, *odds = token.odd;
    ints sum = broadcast(0);
    for (std::size_t b = 0; b < n; ++b, blocks += block_bytes<Codec>, evens += Codec::fold, odds += Codec::fold) {
      TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) {
        v128_t l[Codec::fold];
        base::self().signed_levels(blocks + 16 * j, l);
        TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p) {
          sum.v[j] = multiply_add(sum.v[j], wasm_i16x8_shl(l[p], 8), broadcast_pair(evens[p]));
          sum.v[j] = multiply_add(sum.v[j], wasm_v128_and(l[p], wasm_i16x8_splat(-256)), broadcast_pair(odds[p]));
        }
      }
    }
    TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) all->v[j] =
        wasm_i32x4_add(all->v[j], wasm_i32x4_shr(sum.v[j], 8));
  }
  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const {
    TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) {
      v128_t l[Codec::fold];
      base::self().signed_levels(block + 16 * j, l);
      TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p) {
        std::uint8_t* const to = out + p * base::operand_bytes + 16 * j;
        wasm_v128_store(to, wasm_i16x8_shr(wasm_i16x8_shl(l[p], 8), 8));
        wasm_v128_store(to + vector_bytes, wasm_i16x8_shr(l[p], 8));
      }
    }
  }
};

template <codec Codec>
struct decoder;

template <>
struct decoder<i2> : word_decoder<decoder<i2>, i2> {
  static constexpr std::int32_t x_sum = -2;  // sum(x w) = sum(x u) - 2 sum(x)
  static_assert(strip_quads * 3 * 128 <= 32767, "sums of u x: a product a lane and quad");

  explicit decoder(i2) {}

  /// w + 2: the sign of two's complement, flipped.
  TERN_INLINE static v128_t unsigned_fields(const std::uint8_t* at) {
    return wasm_v128_xor(wasm_v128_load(at), wasm_i8x16_splat(static_cast<std::int8_t>(0xAA)));
  }
  TERN_INLINE void strip(const std::uint8_t* const* at, std::size_t n, const std::int8_t* x, ints* all) const {
    const std::uint8_t* blocks = *at;
    v128_t low[parts], high[parts];  // rows 4j and 4j + 1 of part j, rows 4j + 2 and 4j + 3: four int16 lanes a row
    TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) low[j] = high[j] = wasm_i32x4_splat(0);
    for (std::size_t b = 0; b < n; ++b, blocks += vector_bytes, x += block_inputs<i2>) {
      TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) {
        const v128_t fields = unsigned_fields(blocks + 16 * j);
        TERN_UNROLL for (std::size_t p = 0; p < i2::fold; ++p) {
          const auto shift = static_cast<std::uint32_t>(2 * p);
          const v128_t u = wasm_v128_and(wasm_u16x8_shr(fields, shift), wasm_i8x16_splat(3));
          const v128_t quad = wasm_v128_load32_splat(x + quad_inputs * p);
          low[j] = wasm_i16x8_add(low[j], wasm_i16x8_extmul_low_i8x16(u, quad));
          high[j] = wasm_i16x8_add(high[j], wasm_i16x8_extmul_high_i8x16(u, quad));
        }
      }
    }
    TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) {
      const v128_t two = wasm_i32x4_extadd_pairwise_i16x8(low[j]), more = wasm_i32x4_extadd_pairwise_i16x8(high[j]);
      const v128_t sum =
          wasm_i32x4_add(wasm_i32x4_shuffle(two, more, 0, 2, 4, 6), wasm_i32x4_shuffle(two, more, 1, 3, 5, 7));
      all->v[j] = wasm_i32x4_add(all->v[j], sum);
    }
  }
  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const {
    const v128_t mask = wasm_i16x8_splat(3);
    TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) {
      const v128_t u = unsigned_fields(block + 16 * j);
      TERN_UNROLL for (std::size_t p = 0; p < i2::fold; ++p) {
        std::uint8_t* const to = out + p * operand_bytes + 16 * j;
        const auto shift = static_cast<std::uint32_t>(2 * p);
        wasm_v128_store(to, wasm_v128_and(wasm_u16x8_shr(u, shift), mask));
        wasm_v128_store(to + vector_bytes, wasm_v128_and(wasm_u16x8_shr(u, 8 + shift), mask));
      }
    }
  }
};

/// Base 3, of one plane or several: levels are sums of c times a trit.
template <class D, codec Codec, std::size_t Planes>
struct trit_decoder : word_decoder<D, Codec> {
  using base = word_decoder<D, Codec>;
  static constexpr std::int32_t x_sum = 0;
  static_assert(base::strip_blocks * block_inputs<Codec> * 128 <= 32767, "sums of 2^16 w x");

  std::int16_t c[Planes];

  /// The coefficients of the six multiples of a byte, for each block of a strip: 3 x(0), 3 x(p) - x(p - 1), -x(4).
  struct coefficients {
    static constexpr std::size_t multiples = b3::fold + 1;
    std::int32_t even[base::strip_blocks * multiples], odd[base::strip_blocks * multiples];

    TERN_INLINE static void combine(const std::int32_t* quads, std::int32_t* out) {
      const v128_t three = wasm_i16x8_splat(3), zero = wasm_i32x4_splat(0), first = wasm_v128_load(quads);
      const v128_t before = wasm_i32x4_shuffle(zero, first, 0, 4, 5, 6);
      wasm_v128_store(out, wasm_i16x8_sub(wasm_i16x8_mul(first, three), before));
      const v128_t last = wasm_v128_load32_zero(quads + 4), before_last = wasm_v128_load64_zero(quads + 3);
      wasm_v128_store64_lane(out + 4, wasm_i16x8_sub(wasm_i16x8_mul(last, three), before_last), 0);
    }
    TERN_INLINE void make(const std::int8_t* x, std::size_t blocks) {
      alignas(16) split_quads<strip_quads> token;
      token.split(x, blocks * b3::fold);
      for (std::size_t b = 0; b < blocks; ++b) {
        combine(token.even + b * b3::fold, even + b * multiples);
        combine(token.odd + b * b3::fold, odd + b * multiples);
      }
    }
  };

  TERN_INLINE void strip(const std::uint8_t* const* at, std::size_t n, const std::int8_t* x, ints* all) const {
    alignas(16) coefficients of_x;
    of_x.make(x, n);
    for (std::size_t plane = 0; plane < Planes; ++plane) {
      const ints sum = sum_of_trits(*at + plane * vector_bytes, n, of_x);
      TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) all->v[j] =
          wasm_i32x4_add(all->v[j], wasm_i32x4_mul(sum.v[j], wasm_i32x4_splat(c[plane])));
    }
  }
  /// A multiple of all rows before the next: so few values are alive that nearly all stay in 16 registers.
  TERN_INLINE static void add_multiples(ints& sum, const v128_t* s, const std::int32_t* of_x) {
    constexpr std::int16_t powers[coefficients::multiples] = {1, 3, 9, 27, 81, 243};
    TERN_UNROLL for (std::size_t p = 0; p < coefficients::multiples; ++p) {
      const v128_t coefficient = broadcast_pair(of_x[p]), power = wasm_i16x8_splat(powers[p]);
      TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) sum.v[j] =
          multiply_add(sum.v[j], wasm_i16x8_mul(s[j], power), coefficient);
    }
  }
  /// sum(x w) of the blocks of one plane.
  TERN_INLINE static ints sum_of_trits(const std::uint8_t* blocks, std::size_t n, const coefficients& of_x) {
    const std::int32_t *evens = of_x.even, *odds = of_x.odd;
    ints sum = broadcast(0);
    for (std::size_t b = 0; b < n; ++b, blocks += block_bytes<Codec>) {
      v128_t s[parts], half[parts];  // the even halves, then the odd ones
      TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) {
        s[j] = wasm_v128_xor(wasm_v128_load(blocks + 16 * j), wasm_i8x16_splat(-128));
        half[j] = wasm_i16x8_shl(s[j], 8);
      }
      add_multiples(sum, half, evens);
      TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) half[j] = wasm_v128_and(s[j], wasm_i16x8_splat(-256));
      add_multiples(sum, half, odds);
      evens += coefficients::multiples;
      odds += coefficients::multiples;
    }
    TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) sum.v[j] = wasm_i32x4_shr(sum.v[j], 16);
    return sum;
  }
  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const {
    const v128_t low = wasm_i16x8_splat(255), three = wasm_i16x8_splat(3), one = wasm_i16x8_splat(1);
    TERN_UNROLL for (std::size_t j = 0; j < parts; ++j) {
      v128_t level[b3::fold][2];
      for (std::size_t plane = 0; plane < Planes; ++plane) {
        const v128_t f = wasm_v128_load(block + plane * vector_bytes + 16 * j), times = wasm_i16x8_splat(c[plane]);
        v128_t fraction[2] = {wasm_v128_and(f, low), wasm_u16x8_shr(f, 8)};
        TERN_UNROLL for (std::size_t p = 0; p < b3::fold; ++p) TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) {
          const v128_t tripled = wasm_i16x8_mul(fraction[h], three);
          const v128_t trit = wasm_i16x8_mul(wasm_i16x8_sub(wasm_u16x8_shr(tripled, 8), one), times);
          level[p][h] = plane == 0 ? trit : wasm_i16x8_add(level[p][h], trit);
          fraction[h] = wasm_v128_and(tripled, low);
        }
      }
      TERN_UNROLL for (std::size_t p = 0; p < b3::fold; ++p) TERN_UNROLL for (std::size_t h = 0; h < 2; ++h)
          wasm_v128_store(out + p * base::operand_bytes + h * vector_bytes + 16 * j, level[p][h]);
    }
  }
};

template <>
struct decoder<b3> : trit_decoder<decoder<b3>, b3, 1> {
  explicit decoder(b3) { c[0] = 1; }
};

template <std::size_t Planes>
struct decoder<b3_planes<Planes>> : trit_decoder<decoder<b3_planes<Planes>>, b3_planes<Planes>, Planes> {
  explicit decoder(const b3_planes<Planes>& codec) {
    for (std::size_t plane = 0; plane < Planes; ++plane) this->c[plane] = codec.code().c[plane];
  }
};

template <>
struct decoder<n4> : level_decoder<decoder<n4>, n4> {
  alignas(16) std::int8_t table[16];

  explicit decoder(const n4& codec) { std::memcpy(table, codec.state().data(), sizeof table); }

  TERN_INLINE void signed_levels(const std::uint8_t* at, v128_t* l) const {
    const v128_t of_table = wasm_v128_load(table), v = wasm_v128_load(at);
    l[0] = wasm_i8x16_swizzle(of_table, wasm_v128_and(v, wasm_i8x16_splat(15)));
    l[1] = wasm_i8x16_swizzle(of_table, wasm_u8x16_shr(v, 4));
  }
};

template <>
struct decoder<n6> : level_decoder<decoder<n6>, n6> {
  n6_tables tables;

  explicit decoder(const n6& codec) : tables(codec, false) {}
  TERN_INLINE void signed_levels(const std::uint8_t* at, v128_t* l) const {
    const v128_t pairs = wasm_v128_load(tables.pair), lows = wasm_v128_load(tables.low),
                 highs = wasm_v128_load(tables.high);
    const v128_t mask = wasm_i8x16_splat(15), fields = wasm_v128_load(at + 2 * vector_bytes);
    TERN_UNROLL for (std::size_t i = 0; i < 2; ++i) {
      const v128_t v = wasm_v128_load(at + i * vector_bytes);
      const v128_t third = i == 0 ? wasm_v128_and(fields, mask) : wasm_u8x16_shr(fields, 4);
      l[2 * i] = wasm_i8x16_add(wasm_i8x16_swizzle(pairs, wasm_v128_and(v, mask)), wasm_i8x16_swizzle(lows, third));
      l[2 * i + 1] = wasm_i8x16_add(wasm_i8x16_swizzle(pairs, wasm_u8x16_shr(v, 4)), wasm_i8x16_swizzle(highs, third));
    }
  }
};

template <>
struct decoder<i8> : level_decoder<decoder<i8>, i8> {
  explicit decoder(i8) {}

  TERN_INLINE static void signed_levels(const std::uint8_t* at, v128_t* l) { l[0] = wasm_v128_load(at); }
};

#include <tern/kernel/loop.inc>

}  // namespace tern::inline v0_1::kernel::inline TERN_TU::wasm_simd128

namespace tern::inline v0_1::isa {

/// WebAssembly with 128-bit SIMD. A module that holds one such instruction loads nowhere without them, so there is no choice at
/// run time: build with -msimd128 or without.
struct wasm_simd128 : scalar {
  static constexpr std::string_view name() { return "wasm_simd128"; }
  static constexpr bool usable() { return true; }
  static constexpr kernel::token_loop loop_for(std::size_t tokens) { return kernel::loop_for(tokens); }
};

inline namespace TERN_TU {

template <class X, codec Codec>
  requires requires { sizeof(kernel::wasm_simd128::decoder<Codec>); }
wasm_simd128 run(wasm_simd128, const kernel::product<X, Codec>& a, const kernel::tile& t) {
  kernel::wasm_simd128::multiply(a, t);
  return {};
}
template <real_element T>
float quantize_row(wasm_simd128, const T* x, std::size_t inputs, std::int8_t* codes, std::size_t row_stride,
                   std::int32_t* prefix) {
  return kernel::wasm_simd128::quantize_row(x, inputs, codes, row_stride, prefix);
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1::isa

#endif
