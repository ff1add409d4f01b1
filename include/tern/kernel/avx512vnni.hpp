// SPDX-License-Identifier: MIT
/// AVX512-VNNI: Intel from Cascade Lake, AMD from Zen 4.
///
/// vpdpbusd multiplies 64 unsigned by 64 signed bytes and adds each four neighbours to an int32 lane, exactly and without
/// saturation. In the packed layout a lane is an output row: no horizontal sums, no widening, and the quad of x comes as a
/// broadcast from memory inside the instruction. So levels are held unsigned, u = w - least, and
/// sum(x w) = sum(x u) + least sum(x):
///
///   i2  u = 1 - w = v ^ 0x55, negated. One token does not shift: (v ^ 0x55) & (3 << 2p), one vpternlogd, is 4^p u, at most
///       192, and sums of 4^p u are shifted down once a strip. 8 instructions for 256 products.
///   b3  the digit itself; digits come two at a time as on AVX2.
///   n4, n6, b3x2, b3x3  offsets looked up by vpshufb.
///   i8  u = w + 128 = v ^ 0x80. Sums of u may pass 2^31 and wrap; only the corrected sum has to fit.
#pragma once

#include <immintrin.h>

#include <cstring>

#include <tern/kernel/avx2.hpp>

// g++ 12 takes the undefined operands inside its own intrinsics for a fault of ours:
// https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105593, to be deleted with support for g++ 12.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

TERN_REGION_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c")
namespace tern::inline v0_1::kernel::inline TERN_TU::avx512vnni {

// Rows of 16 lanes are one vector.
struct floats {
  __m512 v;
};
struct ints {
  __m512i v;
};

TERN_INLINE __m512i load512(const void* at) { return _mm512_loadu_si512(at); }
TERN_INLINE void store512(void* at, __m512i a) { _mm512_storeu_si512(at, a); }

TERN_INLINE floats load(const float* at) { return {_mm512_loadu_ps(at)}; }
TERN_INLINE ints load(const std::int32_t* at) { return {load512(at)}; }
TERN_INLINE floats load_half(const std::uint16_t* at) { return {_mm512_cvtph_ps(avx2::load256(at))}; }
TERN_INLINE floats load_bfloat16(const std::uint16_t* at) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(avx2::load256(at)), 16))};
}
TERN_INLINE floats load_real(const float* at) { return load(at); }
TERN_INLINE floats load_real(const half* at) { return load_half(&at->bits); }
TERN_INLINE floats load_real(const bfloat16* at) { return load_bfloat16(&at->bits); }
TERN_INLINE ints load_bytes(const std::int8_t* at) { return {load512(at)}; }
TERN_INLINE void store(float* at, const floats& a) { _mm512_storeu_ps(at, a.v); }
TERN_INLINE void store(std::int32_t* at, const ints& a) { store512(at, a.v); }
TERN_INLINE void store_half(std::uint16_t* at, const floats& a) {
  // With a mask of ones: without one, g++ -O0 warns of a conversion in its own macro.
  avx2::store256(at, _mm512_maskz_cvtps_ph(0xFFFF, a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
TERN_INLINE void store_bfloat16(std::uint16_t* at, const floats& a) {
  alignas(64) float lanes[panel_rows];
  store(lanes, a);
  for (std::size_t i = 0; i < panel_rows; ++i) at[i] = detail::float_to_bfloat16(lanes[i]);
}
/// Stores lanes that are within int8.
TERN_INLINE void store_int8(std::int8_t* at, const ints& a) { avx2::store128(at, _mm512_cvtepi32_epi8(a.v)); }
TERN_INLINE floats broadcast(float a) { return {_mm512_set1_ps(a)}; }
TERN_INLINE ints broadcast(std::int32_t a) { return {_mm512_set1_epi32(a)}; }
TERN_INLINE floats fma(const floats& a, const floats& b, const floats& c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
TERN_INLINE floats multiply(const floats& a, const floats& b) { return {_mm512_mul_ps(a.v, b.v)}; }
TERN_INLINE floats divide(const floats& a, const floats& b) { return {_mm512_div_ps(a.v, b.v)}; }
TERN_INLINE floats to_floats(const ints& a) { return {_mm512_cvtepi32_ps(a.v)}; }
TERN_INLINE ints round_to_ints(const floats& a) { return {_mm512_cvtps_epi32(a.v)}; }
TERN_INLINE ints magnitude(const floats& a) {
  return {_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7fffffff))};
}
TERN_INLINE ints add(const ints& a, const ints& b) { return {_mm512_add_epi32(a.v, b.v)}; }
TERN_INLINE ints subtract(const ints& a, const ints& b) { return {_mm512_sub_epi32(a.v, b.v)}; }
TERN_INLINE ints maximum(const ints& a, const ints& b) { return {_mm512_max_epi32(a.v, b.v)}; }
TERN_INLINE ints low_byte(const ints& a) { return {_mm512_srai_epi32(_mm512_slli_epi32(a.v, 24), 24)}; }
TERN_INLINE ints drop_byte(const ints& a) { return {_mm512_srli_epi32(a.v, 8)}; }
TERN_INLINE std::int32_t sum_of(const ints& a) { return _mm512_reduce_add_epi32(a.v); }

/// A quad of x in every lane: folded into the instruction that uses it.
TERN_INLINE __m512i broadcast_quad(const std::int8_t* x) { return _mm512_set1_epi32(avx2::load_quad(x)); }
/// (v ^ flip) & mask, one instruction.
TERN_INLINE __m512i flip_and_mask(__m512i v, __m512i flip, __m512i mask) {
  return _mm512_ternarylogic_epi32(v, flip, mask, 0x28);
}
TERN_INLINE __m512i load_table(const std::uint8_t* at) { return _mm512_broadcast_i32x4(avx2::load128(at)); }

/// T tokens times unsigned operands. vpdpbusd takes five cycles and two start in each: fewer than eight tokens walk
/// several quads at once, each with sums of its own.
template <std::size_t T>
TERN_NOINLINE void dot_tile_unsigned(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x,
                                     std::size_t stride, std::int32_t* acc) {
  constexpr std::size_t sets = T >= 8 ? 1 : T == 4 ? 2 : 4;
  __m512i sum[sets][T];
  TERN_UNROLL for (std::size_t s = 0; s < sets; ++s) TERN_UNROLL for (std::size_t t = 0; t < T; ++t) sum[s][t] =
      s == 0 ? load512(acc + t * panel_rows) : _mm512_setzero_si512();
  const std::uint8_t* const end = operands + quads / sets * sets * vector_bytes;
  for (; operands != end; operands += sets * vector_bytes, x += sets * quad_inputs) {
    TERN_UNROLL for (std::size_t s = 0; s < sets; ++s) {
      const __m512i u = load512(operands + s * vector_bytes);
      TERN_UNROLL for (std::size_t t = 0; t < T; ++t) sum[s][t] =
          _mm512_dpbusd_epi32(sum[s][t], u, broadcast_quad(x + t * stride + s * quad_inputs));
    }
  }
  for (std::size_t q = quads % sets; q != 0; --q, operands += vector_bytes, x += quad_inputs) {
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) sum[0][t] =
        _mm512_dpbusd_epi32(sum[0][t], load512(operands), broadcast_quad(x + t * stride));
  }
  TERN_UNROLL for (std::size_t t = 0; t < T; ++t) {
    TERN_UNROLL for (std::size_t s = 1; s < sets; ++s) sum[0][t] = _mm512_add_epi32(sum[0][t], sum[s][t]);
    store512(acc + t * panel_rows, sum[0][t]);
  }
}

/// Panels from which one token reads at once, and how far ahead of the loads it asks for weights.
inline constexpr std::size_t streams = 4;
inline constexpr std::size_t prefetch_bytes = 1024;
inline constexpr std::size_t tile_tokens = 16;

/// What all decoders share. D has offsets(at, u): the unsigned levels of a block, Codec::fold vectors.
template <class D, codec Codec>
struct offset_decoder {
  static constexpr bool negated = false;
  static constexpr std::size_t operand_bytes = vector_bytes;
  static constexpr std::size_t strip_blocks = 32;
  /// Blocks a step, so that at least eight sums hide the five cycles of vpdpbusd.
  static constexpr std::size_t sets = Codec::fold >= 4 ? 2 : 8 / Codec::fold;

  std::int32_t x_sum;  // the least level

  explicit offset_decoder(int least) : x_sum(least) {}
  const D& self() const { return static_cast<const D&>(*this); }

  TERN_INLINE void multiply_block(const std::uint8_t* block, const std::int8_t* x, __m512i* sum) const {
    TERN_UNROLL for (std::size_t v = 0; v < Codec::bytes; ++v)
        __builtin_prefetch(block + prefetch_bytes + v * vector_bytes);
    __m512i u[Codec::fold];
    self().offsets(block, u);
    TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p) sum[p] =
        _mm512_dpbusd_epi32(sum[p], u[p], broadcast_quad(x + quad_inputs * p));
  }
  TERN_INLINE void strip(const std::uint8_t* blocks, std::size_t n, const std::int8_t* x, std::int32_t* acc) const {
    __m512i sum[sets * Codec::fold];
    TERN_UNROLL for (std::size_t j = 0; j < sets * Codec::fold; ++j) sum[j] = _mm512_setzero_si512();
    for (; n >= sets; n -= sets) {
      TERN_UNROLL for (std::size_t s = 0; s < sets; ++s, blocks += block_bytes<Codec>, x += block_inputs<Codec>)
          multiply_block(blocks, x, sum + s * Codec::fold);
    }
    for (; n != 0; --n, blocks += block_bytes<Codec>, x += block_inputs<Codec>) multiply_block(blocks, x, sum);
    __m512i all = load512(acc);
    TERN_UNROLL for (std::size_t j = 0; j < sets * Codec::fold; ++j) all = _mm512_add_epi32(all, sum[j]);
    store512(acc, all);
  }
  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const {
    __m512i u[Codec::fold];
    self().offsets(block, u);
    TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p) store512(out + vector_bytes * p, u[p]);
  }
  TERN_INLINE void levels(const std::uint8_t* block, std::int8_t* out) const {
    __m512i u[Codec::fold];
    self().offsets(block, u);
    const __m512i least = _mm512_set1_epi8(static_cast<char>(x_sum));
    TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p)
        store512(out + vector_bytes * p, _mm512_add_epi8(u[p], least));
  }
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    dot_tile_unsigned<T>(operands, quads, x, stride, acc);
  }
};

template <codec Codec>
struct decoder;

template <>
struct decoder<i2> {
  static constexpr std::int32_t x_sum = 1;  // sum(x w) = sum(x) - sum(x u)
  static constexpr bool negated = true;
  static constexpr std::size_t operand_bytes = vector_bytes;
  static constexpr std::size_t strip_blocks = 32;
  static_assert(strip_blocks * 4 * 192 * 128 <= 2147483647, "the sums of 64 u");

  explicit decoder(i2) {}

  TERN_INLINE static void multiply_block(const std::uint8_t* block, const std::int8_t* x, __m512i* sum) {
    __builtin_prefetch(block + prefetch_bytes);
    const __m512i v = load512(block), flip = _mm512_set1_epi8(0x55);
    TERN_UNROLL for (std::size_t p = 0; p < 4; ++p) sum[p] =
        _mm512_dpbusd_epi32(sum[p], flip_and_mask(v, flip, _mm512_set1_epi8(static_cast<char>(3 << 2 * p))),
                            broadcast_quad(x + quad_inputs * p));
  }
  TERN_INLINE void strip(const std::uint8_t* blocks, std::size_t n, const std::int8_t* x, std::int32_t* acc) const {
    __m512i sum[8];  // even and odd blocks
    TERN_UNROLL for (std::size_t j = 0; j < 8; ++j) sum[j] = _mm512_setzero_si512();
    for (; n >= 2; n -= 2, blocks += 2 * vector_bytes, x += 2 * block_inputs<i2>) {
      multiply_block(blocks, x, sum);
      multiply_block(blocks + vector_bytes, x + block_inputs<i2>, sum + 4);
    }
    if (n != 0) {
      multiply_block(blocks, x, sum);
    }
    TERN_UNROLL for (std::size_t p = 0; p < 4; ++p) sum[p] = _mm512_add_epi32(sum[p], sum[p + 4]);
    const __m512i low = _mm512_add_epi32(sum[0], _mm512_srai_epi32(sum[1], 2));
    const __m512i high = _mm512_add_epi32(_mm512_srai_epi32(sum[2], 4), _mm512_srai_epi32(sum[3], 6));
    store512(acc, _mm512_add_epi32(load512(acc), _mm512_add_epi32(low, high)));
  }
  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const {
    const __m512i v = load512(block), flip = _mm512_set1_epi8(0x55), mask = _mm512_set1_epi8(3);
    store512(out, flip_and_mask(v, flip, mask));
    store512(out + vector_bytes, flip_and_mask(_mm512_srli_epi16(v, 2), flip, mask));
    store512(out + 2 * vector_bytes, flip_and_mask(_mm512_srli_epi16(v, 4), flip, mask));
    store512(out + 3 * vector_bytes, flip_and_mask(_mm512_srli_epi16(v, 6), flip, mask));
  }
  TERN_INLINE void levels(const std::uint8_t* block, std::int8_t* out) const {
    alignas(64) std::uint8_t u[i2::fold * vector_bytes];
    expand(block, u);
    for (std::size_t j = 0; j < sizeof u; j += vector_bytes)
      store512(out + j, _mm512_sub_epi8(_mm512_set1_epi8(1), load512(u + j)));
  }
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    dot_tile_unsigned<T>(operands, quads, x, stride, acc);
  }
};

/// The high bytes of the products of the even bytes (a) and of the odd ones (b), each at its byte's place: (a >> 8) | (b & mask).
TERN_INLINE __m512i high_bytes(__m512i a, __m512i b) {
  return _mm512_ternarylogic_epi32(_mm512_srli_epi16(a, 8), b, _mm512_set1_epi16(-256), 0xF8);
}
/// The five digits of each of 64 bytes as two pairs 3 d0 + d1 and the last: see avx2's decoder<b3>.
TERN_INLINE void digit_pairs(const std::uint8_t* at, __m512i* pair) {
  const __m512i even = _mm512_set1_epi16(9), odd = _mm512_set1_epi16(9 << 8), three = _mm512_set1_epi16(3);
  const __m512i v = load512(at);
  __m512i a = _mm512_maddubs_epi16(v, even), b = _mm512_maddubs_epi16(v, odd);
  pair[0] = high_bytes(a, b);
  a = _mm512_maddubs_epi16(a, even);
  b = _mm512_maddubs_epi16(b, even);
  pair[1] = high_bytes(a, b);
  pair[2] = high_bytes(_mm512_maddubs_epi16(a, three), _mm512_maddubs_epi16(b, three));
}

/// One plane or several of trits in base 3: c times each digit, looked up from its pair.
template <std::size_t Planes, codec Codec>
struct digit_decoder : offset_decoder<digit_decoder<Planes, Codec>, Codec> {
  // The last digit is a pair with d0 = 0.
  alignas(16) std::uint8_t first[Planes][16] = {}, second[Planes][16] = {};

  explicit digit_decoder(const trit_code& code, int least) : offset_decoder<digit_decoder, Codec>(least) {
    for (std::size_t plane = 0; plane < Planes; ++plane)
      for (int v = 0; v < 9; ++v) {
        first[plane][v] = static_cast<std::uint8_t>(code.c[plane] * (v / 3));
        second[plane][v] = static_cast<std::uint8_t>(code.c[plane] * (v % 3));
      }
  }
  TERN_INLINE void offsets(const std::uint8_t* at, __m512i* u) const {
    TERN_UNROLL for (std::size_t plane = 0; plane < Planes; ++plane) {
      const __m512i firsts = load_table(first[plane]), seconds = load_table(second[plane]);
      __m512i pair[3], d[b3::fold];
      digit_pairs(at + plane * vector_bytes, pair);
      d[0] = _mm512_shuffle_epi8(firsts, pair[0]);
      d[1] = _mm512_shuffle_epi8(seconds, pair[0]);
      d[2] = _mm512_shuffle_epi8(firsts, pair[1]);
      d[3] = _mm512_shuffle_epi8(seconds, pair[1]);
      d[4] = Planes == 1 ? pair[2] : _mm512_shuffle_epi8(seconds, pair[2]);
      TERN_UNROLL for (std::size_t p = 0; p < b3::fold; ++p) u[p] = plane == 0 ? d[p] : _mm512_add_epi8(u[p], d[p]);
    }
  }
};
template <>
struct decoder<b3> : digit_decoder<1, b3> {
  explicit decoder(b3) : digit_decoder({{1}}, -1) {}
};
template <std::size_t Planes>
struct decoder<b3_planes<Planes>> : digit_decoder<Planes, b3_planes<Planes>> {
  explicit decoder(const b3_planes<Planes>& codec)
      : digit_decoder<Planes, b3_planes<Planes>>(codec.code(), codec.least()) {}
};

template <>
struct decoder<n4> : offset_decoder<decoder<n4>, n4> {
  avx2::decoder<n4> tables;

  explicit decoder(const n4& codec) : offset_decoder(codec.least()), tables(codec) {}
  TERN_INLINE void offsets(const std::uint8_t* at, __m512i* u) const {
    const __m512i levels = load_table(tables.table), mask = _mm512_set1_epi8(15), v = load512(at);
    u[0] = _mm512_shuffle_epi8(levels, _mm512_and_si512(v, mask));
    u[1] = _mm512_shuffle_epi8(levels, _mm512_and_si512(_mm512_srli_epi16(v, 4), mask));
  }
};

template <>
struct decoder<n6> : offset_decoder<decoder<n6>, n6> {
  avx2::decoder<n6> tables;

  explicit decoder(const n6& codec) : offset_decoder(codec.least()), tables(codec) {}
  TERN_INLINE void offsets(const std::uint8_t* at, __m512i* u) const {
    const __m512i pairs = load_table(tables.pair), lows = load_table(tables.low), highs = load_table(tables.high);
    const __m512i mask = _mm512_set1_epi8(15), fields = load512(at + 2 * vector_bytes);
    TERN_UNROLL for (std::size_t j = 0; j < 2; ++j) {
      const __m512i v = load512(at + j * vector_bytes);
      const __m512i third = _mm512_and_si512(j == 0 ? fields : _mm512_srli_epi16(fields, 4), mask);
      const __m512i low = _mm512_and_si512(v, mask), high = _mm512_and_si512(_mm512_srli_epi16(v, 4), mask);
      u[2 * j] = _mm512_add_epi8(_mm512_shuffle_epi8(pairs, low), _mm512_shuffle_epi8(lows, third));
      u[2 * j + 1] = _mm512_add_epi8(_mm512_shuffle_epi8(pairs, high), _mm512_shuffle_epi8(highs, third));
    }
  }
};

template <>
struct decoder<i8> : offset_decoder<decoder<i8>, i8> {
  explicit decoder(i8) : offset_decoder(-128) {}
  TERN_INLINE void offsets(const std::uint8_t* at, __m512i* u) const {
    u[0] = _mm512_xor_si512(load512(at), _mm512_set1_epi8(-128));
  }
};

#include <tern/kernel/loop.inc>

}  // namespace tern::inline v0_1::kernel::inline TERN_TU::avx512vnni
TERN_REGION_END
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

namespace tern::inline v0_1::isa {

/// AVX-512 (F, BW, DQ, VL) with VNNI: Intel from Cascade Lake, AMD from Zen 4.
struct avx512vnni : avx2 {
  static constexpr std::string_view name() { return "avx512vnni"; }
  TERN_INLINE static bool usable() { return x86_features::get().avx512vnni; }
};

inline namespace TERN_TU {

template <class X, codec Codec>
  requires requires { sizeof(kernel::avx512vnni::decoder<Codec>); }
avx512vnni run(avx512vnni, const kernel::product<X, Codec>& a, const kernel::tile& t) {
  kernel::avx512vnni::multiply(a, t);
  return {};
}
template <real_element T>
float quantize_row(avx512vnni, const T* x, std::size_t inputs, std::int8_t* codes, std::size_t row_stride,
                   std::int32_t* prefix) {
  return kernel::avx512vnni::quantize_row(x, inputs, codes, row_stride, prefix);
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1::isa
