// SPDX-License-Identifier: MIT
/// AVX512-VNNI: Intel from Cascade Lake, AMD from Zen 4.
///
/// vpdpbusd multiplies 64 unsigned by 64 signed bytes and adds each four neighbours to an int32 lane, exactly and without
/// saturation. In the packed layout a lane is an output row: no horizontal sums, no widening, and the quad of x comes as a
/// broadcast from memory inside the instruction. So levels are held unsigned, u = w - least, and
/// sum(x w) = sum(x u) + least sum(x):
///
///   i2  u = 1 - w = v ^ 0x55, negated. One token does not shift: (v ^ 0x55) & (3 << 2p), one vpternlogd, is 4^p u, at most
///       192, and sums of 4^p u are shifted down once a run. 8 instructions for 256 products.
///   b3  the digit itself; digits come two at a time as on AVX2.
///   n4, n6, b3x2, b3x3  offsets looked up by vpshufb.
///   i8  u = w + 128 = v ^ 0x80. Sums of u may pass 2^31 and wrap; only the corrected sum has to fit.
///
/// vpdpbusd takes five cycles and two start in each, so ten sums at least must be in flight: four panels are walked abreast.
/// That is also what memory wants. Tiles of many tokens are four panels by four tokens: 16 sums, and each operand is used
/// four times.
#pragma once

#include <tern/config.hpp>

#if defined(TERN_X86)

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
TERN_INLINE __m512i load_table(const void* at) { return _mm512_broadcast_i32x4(avx2::load128(at)); }

/// Panels that are taken together, all of them at once by the loops below.
inline constexpr std::size_t streams = 4;
inline constexpr std::size_t tile_panels = streams;

// Assembly, because g++ 12 copies the sum before each intrinsic and then spills: 16 sums cost a fifth of the speed.
/// sum + the products of 16 rows x 4 unsigned weights by a quad, in every lane the same: loaded before, or by the instruction.
TERN_INLINE void multiply_add(__m512i& sum, __m512i weights, __m512i quad) {
  __asm__("vpdpbusd {%2, %1, %0|%0, %1, %2}" : "+v"(sum) : "v"(weights), "v"(quad));
}
TERN_INLINE void multiply_add(__m512i& sum, __m512i weights, const std::int8_t* quad) {
  using four = const std::int8_t[quad_inputs];
  __asm__("vpdpbusd {%2%{1to16%}, %1, %0|%0, %1, %2%{1to16%}}"
          : "+v"(sum)
          : "v"(weights), "m"(*reinterpret_cast<four*>(quad)));
}

/// T tokens times the unsigned operands of four panels.
template <std::size_t T>
TERN_NOINLINE void dot_tile_unsigned(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x,
                                     std::size_t stride, const tile_sums& sums) {
  constexpr std::size_t operand_stride = chunk_quads * vector_bytes;
  __m512i sum[streams][T];
  if (sums.start != nullptr) {
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t s = 0; s < streams; ++s) sum[s][t] =
        _mm512_set1_epi32(sums.start[t]);
  } else {
    TERN_UNROLL for (std::size_t s = 0; s < streams; ++s) TERN_UNROLL for (std::size_t t = 0; t < T; ++t) sum[s][t] =
        load512(sums.acc + s * sums_stride + t * panel_rows);
  }
  for (const std::uint8_t* const end = operands + quads * vector_bytes; operands != end;
       operands += vector_bytes, x += quad_inputs) {
    __m512i u[streams];
    TERN_UNROLL for (std::size_t s = 0; s < streams; ++s) u[s] = load512(operands + s * operand_stride);
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) {
      const __m512i quad = broadcast_quad(x + t * stride);
      TERN_UNROLL for (std::size_t s = 0; s < streams; ++s) multiply_add(sum[s][t], u[s], quad);
    }
  }
  if (sums.scales != nullptr) {
    TERN_UNROLL for (std::size_t s = 0; s < streams; ++s) {
      const floats scales = load(sums.scales + s * panel_rows);
      TERN_UNROLL for (std::size_t t = 0; t < T; ++t) {
        float* const r = sums.r + s * sums_stride + t * panel_rows;
        store(r, fma({_mm512_cvtepi32_ps(sum[s][t])}, scales, load(r)));
      }
    }
  } else {
    TERN_UNROLL for (std::size_t s = 0; s < streams; ++s) TERN_UNROLL for (std::size_t t = 0; t < T; ++t)
        store512(sums.acc + s * sums_stride + t * panel_rows, sum[s][t]);
  }
}

/// What all decoders share. D has offsets(at, u): the unsigned levels of a block, Codec::fold vectors; and, for one token,
/// fields(at, u): the same, level p times 2^(p * field_shift), which may be cheaper.
template <class D, codec Codec, int FieldShift = 0>
struct unsigned_decoder {
  static constexpr std::size_t operand_bytes = vector_bytes;
  static constexpr std::size_t strip_blocks = ~std::size_t{0} / 2;  // int32 sums need no strips
  /// Sums of one panel and one token.
  static constexpr std::size_t panel_sums = FieldShift != 0 || Codec::fold < 2 ? Codec::fold : 2;
  static_assert(FieldShift == 0 || max_inputs(false, false) / quad_inputs / Codec::fold * 4 * (3 * 64) * 128 < 1u << 31,
                "the sums of the highest field");

  const D& self() const { return static_cast<const D&>(*this); }

  TERN_INLINE void strip(const std::uint8_t* const* at, std::size_t n, const std::int8_t* x, ints* all) const {
    __m512i sum[streams][panel_sums];
    TERN_UNROLL for (std::size_t s = 0; s < streams; ++s) TERN_UNROLL for (std::size_t j = 0; j < panel_sums; ++j)
        sum[s][j] = j == 0 ? all[s].v : _mm512_setzero_si512();
    for (std::size_t b = 0; b < n * block_bytes<Codec>; b += block_bytes<Codec>, x += block_inputs<Codec>) {
      TERN_UNROLL for (std::size_t s = 0; s < streams; ++s) {
        prefetch_block<Codec>(at[s] + b);
        __m512i u[Codec::fold];
        self().fields(at[s] + b, u);
        TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p)
            multiply_add(sum[s][p % panel_sums], u[p], x + quad_inputs * p);
      }
    }
    TERN_UNROLL for (std::size_t s = 0; s < streams; ++s) {
      all[s].v = sum[s][0];
      TERN_UNROLL for (std::size_t j = 1; j < panel_sums; ++j) all[s].v =
          _mm512_add_epi32(all[s].v, _mm512_srai_epi32(sum[s][j], static_cast<unsigned>(j) * FieldShift));
    }
  }
  TERN_INLINE void fields(const std::uint8_t* at, __m512i* u) const { self().offsets(at, u); }
  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const {
    __m512i u[Codec::fold];
    self().offsets(block, u);
    TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p) store512(out + vector_bytes * p, u[p]);
  }
  TERN_INLINE void levels(const std::uint8_t* block, std::int8_t* out) const {
    __m512i u[Codec::fold];
    self().offsets(block, u);
    const __m512i offset = _mm512_set1_epi8(static_cast<char>(self().x_sum));
    TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p)
        store512(out + vector_bytes * p, D::negated ? _mm512_sub_epi8(offset, u[p]) : _mm512_add_epi8(offset, u[p]));
  }
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                const tile_sums& sums) const {
    dot_tile_unsigned<T>(operands, quads, x, stride, sums);
  }
};

/// Levels as offsets from the least.
template <class D, codec Codec>
struct offset_decoder : unsigned_decoder<D, Codec> {
  static constexpr bool negated = false;

  std::int32_t x_sum;  // the least level

  explicit offset_decoder(int least) : x_sum(least) {}
};

template <codec Codec>
struct decoder;

template <>
struct decoder<i2> : unsigned_decoder<decoder<i2>, i2, 2> {
  static constexpr std::int32_t x_sum = 1;  // sum(x w) = sum(x) - sum(x u)
  static constexpr bool negated = true;

  explicit decoder(i2) {}

  TERN_INLINE static void fields(const std::uint8_t* at, __m512i* u) {
    const __m512i v = load512(at), flip = _mm512_set1_epi8(0x55);
    TERN_UNROLL for (std::size_t p = 0; p < 4; ++p) u[p] =
        flip_and_mask(v, flip, _mm512_set1_epi8(static_cast<char>(3 << 2 * p)));
  }
  TERN_INLINE static void offsets(const std::uint8_t* at, __m512i* u) {
    const __m512i v = load512(at), flip = _mm512_set1_epi8(0x55), mask = _mm512_set1_epi8(3);
    u[0] = flip_and_mask(v, flip, mask);
    u[1] = flip_and_mask(_mm512_srli_epi16(v, 2), flip, mask);
    u[2] = flip_and_mask(_mm512_srli_epi16(v, 4), flip, mask);
    u[3] = flip_and_mask(_mm512_srli_epi16(v, 6), flip, mask);
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
  n6_tables tables;

  explicit decoder(const n6& codec) : offset_decoder(codec.least()), tables(codec, true) {}
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

#endif
