// SPDX-License-Identifier: MIT
/// AVX2 (with FMA and F16C): Intel from Haswell, AMD from Excavator and Zen.
///
/// vpmaddubsw multiplies 32 unsigned by 32 signed bytes and adds neighbours into int16: 32 products in one instruction and one
/// vpaddw, four times what the exact int32 route through vpmaddwd gives. So ternary weights are held unsigned, u in 0..3, and
/// int16 sums are widened before they can overflow:
///
///   i2  u = 1 - w (one xor: v ^ 0x55), so sum(x w) = sum(x) - sum(x u). A pair is at most 2 * 3 * 128 = 768, so 42 of
///       them fit int16. One token does not even shift each field down: v & 0x0C is 4u, and one shift by 4 brings the upper
///       two fields down. The sums of 4u take 32767 / 3072 = 10 steps, that is strips of 5 blocks.
///   b3  u = w + 1, the digit, so sum(x w) = sum(x u) - sum(x). A pair is at most 512; 63 steps. Digits
///       come two at a time: times 9, the high byte is a pair, two table lookups away from its digits.
///   n4, n6, b3x2, b3x3  levels come out of vpshufb tables as offsets from the least, u = w - least in 0..63, so
///       sum(x w) = sum(x u) + least sum(x). A pair is at most 16128, so two steps always fit; 12 do with the code (3,2).
///   i8  both signed and eight bits: vpmaddubsw saturates, so bytes are widened to int16 for vpmaddwd. Exact for -128.
#pragma once

#include <tern/config.hpp>

#if defined(TERN_X86)

#include <immintrin.h>

#include <cstring>

#include <tern/isa/detect.hpp>
#include <tern/kernel/n6_tables.hpp>
#include <tern/kernel/scalar.hpp>

TERN_REGION_BEGIN("avx2,fma,f16c")
namespace tern::inline v0_1::kernel::inline TERN_TU::avx2 {

// Rows of 16 lanes: outputs 0..7 of the panel in lo, 8..15 in hi.
struct floats {
  __m256 lo, hi;
};
struct ints {
  __m256i lo, hi;
};

TERN_INLINE __m256i load256(const void* at) { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }
TERN_INLINE void store256(void* at, __m256i a) { _mm256_storeu_si256(static_cast<__m256i*>(at), a); }
TERN_INLINE __m128i load128(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }
TERN_INLINE void store128(void* at, __m128i a) { _mm_storeu_si128(static_cast<__m128i*>(at), a); }

TERN_INLINE floats load(const float* at) { return {_mm256_loadu_ps(at), _mm256_loadu_ps(at + 8)}; }
TERN_INLINE ints load(const std::int32_t* at) { return {load256(at), load256(at + 8)}; }
TERN_INLINE floats load_half(const std::uint16_t* at) {
  return {_mm256_cvtph_ps(load128(at)), _mm256_cvtph_ps(load128(at + 8))};
}
TERN_INLINE __m256 bfloat16_to_floats(__m128i bits) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
TERN_INLINE floats load_bfloat16(const std::uint16_t* at) {
  return {bfloat16_to_floats(load128(at)), bfloat16_to_floats(load128(at + 8))};
}
TERN_INLINE floats load_real(const float* at) { return load(at); }
TERN_INLINE floats load_real(const half* at) { return load_half(&at->bits); }
TERN_INLINE floats load_real(const bfloat16* at) { return load_bfloat16(&at->bits); }
TERN_INLINE ints load_bytes(const std::int8_t* at) { return {load256(at), load256(at + 32)}; }
TERN_INLINE void store(float* at, const floats& a) {
  _mm256_storeu_ps(at, a.lo);
  _mm256_storeu_ps(at + 8, a.hi);
}
TERN_INLINE void store(std::int32_t* at, const ints& a) {
  store256(at, a.lo);
  store256(at + 8, a.hi);
}
TERN_INLINE void store_half(std::uint16_t* at, const floats& a) {
  store128(at, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  store128(at + 8, _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
TERN_INLINE void store_bfloat16(std::uint16_t* at, const floats& a) {
  alignas(64) float lanes[panel_rows];
  store(lanes, a);
  for (std::size_t i = 0; i < panel_rows; ++i) at[i] = detail::float_to_bfloat16(lanes[i]);
}
/// Stores lanes that are within int8.
TERN_INLINE void store_int8(std::int8_t* at, const ints& a) {
  // The pack works within 128-bit halves: (lo0..3 hi0..3 | lo4..7 hi4..7), put in order by the permutation.
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a.lo, a.hi), 0xD8);
  store128(at, _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
TERN_INLINE floats broadcast(float a) { return {_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
TERN_INLINE ints broadcast(std::int32_t a) { return {_mm256_set1_epi32(a), _mm256_set1_epi32(a)}; }
TERN_INLINE floats fma(const floats& a, const floats& b, const floats& c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
TERN_INLINE floats multiply(const floats& a, const floats& b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
TERN_INLINE floats divide(const floats& a, const floats& b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
TERN_INLINE floats to_floats(const ints& a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
TERN_INLINE ints round_to_ints(const floats& a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }
TERN_INLINE ints magnitude(const floats& a) {
  const __m256i mask = _mm256_set1_epi32(0x7fffffff);
  return {_mm256_and_si256(_mm256_castps_si256(a.lo), mask), _mm256_and_si256(_mm256_castps_si256(a.hi), mask)};
}
TERN_INLINE ints add(const ints& a, const ints& b) {
  return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
TERN_INLINE ints subtract(const ints& a, const ints& b) {
  return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}
TERN_INLINE ints maximum(const ints& a, const ints& b) {
  return {_mm256_max_epi32(a.lo, b.lo), _mm256_max_epi32(a.hi, b.hi)};
}
TERN_INLINE ints low_byte(const ints& a) {
  return {_mm256_srai_epi32(_mm256_slli_epi32(a.lo, 24), 24), _mm256_srai_epi32(_mm256_slli_epi32(a.hi, 24), 24)};
}
TERN_INLINE ints drop_byte(const ints& a) { return {_mm256_srli_epi32(a.lo, 8), _mm256_srli_epi32(a.hi, 8)}; }
TERN_INLINE std::int32_t sum_of(const ints& a) {
  const __m256i pairs = _mm256_add_epi32(a.lo, a.hi);
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}

/// Four inputs of a token, the same in every row.
TERN_INLINE std::int32_t load_quad(const std::int8_t* x) {
  std::int32_t quad;
  std::memcpy(&quad, x, sizeof quad);
  return quad;
}
TERN_INLINE __m256i broadcast_quad(const std::int8_t* x) { return _mm256_set1_epi32(load_quad(x)); }

/// sum + the products of 8 rows x 4 unsigned weights by a broadcast quad, two int16 lanes a row.
TERN_INLINE __m256i multiply_add(__m256i sum, __m256i weights, __m256i quad) {
  return _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights, quad));
}
/// all[0..7] + the two int16 lanes of each row.
TERN_INLINE __m256i widen(__m256i all, __m256i sum) {
  return _mm256_add_epi32(all, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
}
TERN_INLINE void widen(__m256i sum, std::int32_t* acc) { store256(acc, widen(load256(acc), sum)); }

/// Steps, of a quad each, whose products fit int16: levels 0..largest times -128..127, two products a lane.
constexpr std::size_t steps_of_int16(int largest) { return 32767 / (2 * static_cast<std::size_t>(largest) * 128); }

/// T tokens times unsigned operands whose products fit int16 for `steps` quads: sums of 16 rows x T tokens in registers.
/// Not inlined: in the caller's company g++ spills them.
template <std::size_t T>
TERN_NOINLINE void dot_tile_unsigned(std::size_t steps, const std::uint8_t* operands, std::size_t quads,
                                     const std::int8_t* x, std::size_t stride, std::int32_t* acc) {
  while (quads != 0) {
    const std::size_t n = quads < steps ? quads : steps;
    const std::uint8_t* const end = operands + n * vector_bytes;
    __m256i sum[T][2];
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) sum[t][0] = sum[t][1] = _mm256_setzero_si256();
    TERN_UNROLL_TWICE do {
      const __m256i lo = load256(operands), hi = load256(operands + 32);
      TERN_UNROLL for (std::size_t t = 0; t < T; ++t) {
        const __m256i quad = broadcast_quad(x + t * stride);
        sum[t][0] = multiply_add(sum[t][0], lo, quad);
        sum[t][1] = multiply_add(sum[t][1], hi, quad);
      }
      operands += vector_bytes;
      x += quad_inputs;
    }
    while (operands != end)
      ;
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) {
      widen(sum[t][0], acc + t * panel_rows);
      widen(sum[t][1], acc + t * panel_rows + 8);
    }
    quads -= n;
  }
}

/// Panels that are taken together, strip by strip, and those whose sums the registers hold at once.
inline constexpr std::size_t streams = 4;
inline constexpr std::size_t tile_panels = 1;

/// T tokens times levels 0..63: two quads in int16, widened at once. Int32 sums stay in registers.
template <std::size_t T>
TERN_NOINLINE void dot_tile_pairs(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x,
                                  std::size_t stride, std::int32_t* acc) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum[T][2];
  TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) sum[t][h] =
      load256(acc + t * panel_rows + 8 * h);
  for (; quads >= 2; quads -= 2, operands += 2 * vector_bytes, x += 2 * quad_inputs) {
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) {
      const __m256i first = broadcast_quad(x + t * stride), second = broadcast_quad(x + t * stride + quad_inputs);
      TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) {
        const __m256i pair = multiply_add(_mm256_maddubs_epi16(load256(operands + 32 * h), first),
                                          load256(operands + 32 * h + vector_bytes), second);
        sum[t][h] = _mm256_add_epi32(sum[t][h], _mm256_madd_epi16(pair, ones));
      }
    }
  }
  TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) {
    store256(acc + t * panel_rows + 8 * h, sum[t][h]);
    if (quads != 0)
      widen(_mm256_maddubs_epi16(load256(operands + 32 * h), broadcast_quad(x + t * stride)),
            acc + t * panel_rows + 8 * h);
  }
}

/// A 16-byte table in both halves.
TERN_INLINE __m256i load_table(const void* at) { return _mm256_broadcastsi128_si256(load128(at)); }

/// What the codecs of looked-up offsets share. D has offsets(at, u): the offsets of half a block, Codec::fold vectors.
/// Offsets are at most `span`, which the codec's table or plane code says: for a small one int16 sums take several blocks.
template <class D, codec Codec>
struct offset_decoder {
  static constexpr bool negated = false;
  static constexpr std::size_t operand_bytes = vector_bytes;
  static_assert(steps_of_int16(n4::largest_span) >= 2 && 2 * 31 <= n4::largest_span, "two quads always fit");

  std::int32_t x_sum;        // the least level
  std::size_t steps;         // quads that fit int16
  std::size_t strip_blocks;  // blocks of so many quads; or, where int32 sums need no bound, enough to hide the end

  offset_decoder(int least, int span)
      : x_sum(least),
        steps(steps_of_int16(detail::greater(span, 1))),
        strip_blocks(long_steps() ? steps / Codec::fold : 16) {}
  const D& self() const { return static_cast<const D&>(*this); }
  /// Whether int16 sums over several blocks pay.
  bool long_steps() const { return steps >= 2 * Codec::fold && steps >= 8; }

  TERN_INLINE void strip(const std::uint8_t* const* at, std::size_t n, const std::int8_t* x, ints* all) const {
    if (long_steps())
      add_strip<true>(*at, n, x, all);
    else
      add_strip<false>(*at, n, x, all);
  }
  /// Sums of a strip in int16, or of two quads in int16 and of the strip in int32.
  template <bool Long>
  TERN_INLINE void add_strip(const std::uint8_t* blocks, std::size_t n, const std::int8_t* x, ints* all) const {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum[2];
    sum[0] = sum[1] = _mm256_setzero_si256();
    for (std::size_t b = 0; b < n; ++b, blocks += block_bytes<Codec>, x += block_inputs<Codec>) {
      prefetch_block<Codec>(blocks);
      TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) {
        __m256i u[Codec::fold];
        self().offsets(blocks + 32 * h, u);
        TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; p += Long ? 1 : 2) {
          if constexpr (Long) {
            sum[h] = multiply_add(sum[h], u[p], broadcast_quad(x + quad_inputs * p));
          } else {
            __m256i pair = _mm256_maddubs_epi16(u[p], broadcast_quad(x + quad_inputs * p));
            if (p + 1 < Codec::fold) pair = multiply_add(pair, u[p + 1], broadcast_quad(x + quad_inputs * (p + 1)));
            sum[h] = _mm256_add_epi32(sum[h], _mm256_madd_epi16(pair, ones));
          }
        }
      }
    }
    all->lo = Long ? widen(all->lo, sum[0]) : _mm256_add_epi32(all->lo, sum[0]);
    all->hi = Long ? widen(all->hi, sum[1]) : _mm256_add_epi32(all->hi, sum[1]);
  }
  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const {
    TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) {
      __m256i u[Codec::fold];
      self().offsets(block + 32 * h, u);
      TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p) store256(out + vector_bytes * p + 32 * h, u[p]);
    }
  }
  TERN_INLINE void levels(const std::uint8_t* block, std::int8_t* out) const {
    alignas(64) std::uint8_t u[Codec::fold * vector_bytes];
    expand(block, u);
    const __m256i least = _mm256_set1_epi8(static_cast<char>(x_sum));
    for (std::size_t j = 0; j < sizeof u; j += 32) store256(out + j, _mm256_add_epi8(load256(u + j), least));
  }
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    if (long_steps())
      dot_tile_unsigned<T>(steps, operands, quads, x, stride, acc);
    else
      dot_tile_pairs<T>(operands, quads, x, stride, acc);
  }
};

template <codec Codec>
struct decoder;

template <>
struct decoder<i2> {
  static constexpr std::int32_t x_sum = 1;  // sum(x w) = sum(x) - sum(x u)
  static constexpr bool negated = true;
  static constexpr std::size_t operand_bytes = vector_bytes;
  static constexpr int largest = 3;  // u of the field 10, which no ternary quantizer writes but a byte may hold
  static constexpr std::size_t strip_blocks = 5;
  static_assert(strip_blocks * 2 * (2 * 4 * largest * 128) <= 32767, "two fields a block go to the sums of 4u");

  explicit decoder(i2) {}

  TERN_INLINE static __m256i unsigned_fields(const std::uint8_t* at) {
    return _mm256_xor_si256(load256(at), _mm256_set1_epi8(0x55));
  }
  /// One half block, 8 rows x 16 inputs: fields 0 and 2 to the sums of u, fields 1 and 3 to the sums of 4u.
  TERN_INLINE static void multiply_half(const std::uint8_t* at, const std::int8_t* x, __m256i& once,
                                        __m256i& fourfold) {
    const __m256i low = unsigned_fields(at);
    const __m256i high = _mm256_srli_epi16(low, 4);
    const __m256i mask = _mm256_set1_epi8(0x03), mask4 = _mm256_set1_epi8(0x0C);
    once = multiply_add(once, _mm256_and_si256(low, mask), broadcast_quad(x));
    fourfold = multiply_add(fourfold, _mm256_and_si256(low, mask4), broadcast_quad(x + 4));
    once = multiply_add(once, _mm256_and_si256(high, mask), broadcast_quad(x + 8));
    fourfold = multiply_add(fourfold, _mm256_and_si256(high, mask4), broadcast_quad(x + 12));
  }
  TERN_INLINE void strip(const std::uint8_t* const* at, std::size_t n, const std::int8_t* x, ints* all) const {
    const std::uint8_t* blocks = *at;
    __m256i once[2], fourfold[2];
    TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) once[h] = fourfold[h] = _mm256_setzero_si256();
    for (std::size_t b = 0; b < n; ++b, blocks += vector_bytes, x += block_inputs<i2>) {
      prefetch_block<i2>(blocks);
      TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) multiply_half(blocks + 32 * h, x, once[h], fourfold[h]);
    }
    // Lanes of 4u are multiples of 4; together at most 20 * 768 = 15360.
    all->lo = widen(all->lo, _mm256_add_epi16(once[0], _mm256_srai_epi16(fourfold[0], 2)));
    all->hi = widen(all->hi, _mm256_add_epi16(once[1], _mm256_srai_epi16(fourfold[1], 2)));
  }
  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const {
    const __m256i mask = _mm256_set1_epi8(0x03);
    TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) {
      const __m256i u = unsigned_fields(block + 32 * h);
      store256(out + 32 * h, _mm256_and_si256(u, mask));
      store256(out + 32 * h + 64, _mm256_and_si256(_mm256_srli_epi16(u, 2), mask));
      store256(out + 32 * h + 128, _mm256_and_si256(_mm256_srli_epi16(u, 4), mask));
      store256(out + 32 * h + 192, _mm256_and_si256(_mm256_srli_epi16(u, 6), mask));
    }
  }
  TERN_INLINE void levels(const std::uint8_t* block, std::int8_t* out) const {
    alignas(64) std::uint8_t u[i2::fold * vector_bytes];
    expand(block, u);
    for (std::size_t j = 0; j < sizeof u; j += 32)
      store256(out + j, _mm256_sub_epi8(_mm256_set1_epi8(1), load256(u + j)));
  }
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    dot_tile_unsigned<T>(steps_of_int16(largest), operands, quads, x, stride, acc);
  }
};

template <>
struct decoder<b3> : offset_decoder<decoder<b3>, b3> {
  explicit decoder(b3) : offset_decoder(-1, 2) {}

  /// A pair of digits for each index 0..8, from one table lookup a digit.
  TERN_INLINE static __m256i table(std::int8_t of_0, std::int8_t of_1, std::int8_t of_2, std::int8_t of_3,
                                   std::int8_t of_4, std::int8_t of_5, std::int8_t of_6, std::int8_t of_7,
                                   std::int8_t of_8) {
    return _mm256_broadcastsi128_si256(
        _mm_setr_epi8(of_0, of_1, of_2, of_3, of_4, of_5, of_6, of_7, of_8, 0, 0, 0, 0, 0, 0, 0));
  }
  /// The high bytes of the products of the even bytes (a) and of the odd ones (b), each at its byte's place.
  TERN_INLINE static __m256i high_bytes(__m256i a, __m256i b) {
    return _mm256_or_si256(_mm256_srli_epi16(a, 8), _mm256_and_si256(b, _mm256_set1_epi16(-256)));
  }
  /// The five digits of each of 32 bytes, as two pairs 3 d0 + d1 and the last. vpmaddubsw multiplies even or odd bytes by 9
  /// into 16-bit lanes: the high byte is a pair, the low byte the next fraction, which the next vpmaddubsw picks up by
  /// itself. At most 9 * 255.
  TERN_INLINE static void pairs(const std::uint8_t* at, __m256i* pair) {
    const __m256i even = _mm256_set1_epi16(9), odd = _mm256_set1_epi16(9 << 8), three = _mm256_set1_epi16(3);
    const __m256i v = load256(at);
    __m256i a = _mm256_maddubs_epi16(v, even), b = _mm256_maddubs_epi16(v, odd);
    pair[0] = high_bytes(a, b);
    a = _mm256_maddubs_epi16(a, even);
    b = _mm256_maddubs_epi16(b, even);
    pair[1] = high_bytes(a, b);
    pair[2] = high_bytes(_mm256_maddubs_epi16(a, three), _mm256_maddubs_epi16(b, three));
  }
  TERN_INLINE static void offsets(const std::uint8_t* at, __m256i* d) {
    const __m256i first = table(0, 0, 0, 1, 1, 1, 2, 2, 2), second = table(0, 1, 2, 0, 1, 2, 0, 1, 2);
    __m256i pair[3];
    pairs(at, pair);
    d[0] = _mm256_shuffle_epi8(first, pair[0]);
    d[1] = _mm256_shuffle_epi8(second, pair[0]);
    d[2] = _mm256_shuffle_epi8(first, pair[1]);
    d[3] = _mm256_shuffle_epi8(second, pair[1]);
    d[4] = pair[2];
  }
};

template <>
struct decoder<n4> : offset_decoder<decoder<n4>, n4> {
  alignas(16) std::uint8_t table[16];

  explicit decoder(const n4& codec) : offset_decoder(codec.least(), codec.most() - codec.least()) {
    for (std::size_t v = 0; v < 16; ++v) table[v] = static_cast<std::uint8_t>(codec.state()[v] - x_sum);
  }
  TERN_INLINE void offsets(const std::uint8_t* at, __m256i* u) const {
    const __m256i levels = load_table(table), mask = _mm256_set1_epi8(15), v = load256(at);
    u[0] = _mm256_shuffle_epi8(levels, _mm256_and_si256(v, mask));
    u[1] = _mm256_shuffle_epi8(levels, _mm256_and_si256(_mm256_srli_epi16(v, 4), mask));
  }
};

template <>
struct decoder<n6> : offset_decoder<decoder<n6>, n6> {
  n6_tables tables;

  explicit decoder(const n6& codec) : offset_decoder(codec.least(), -2 * codec.least()), tables(codec, true) {}
  TERN_INLINE void offsets(const std::uint8_t* at, __m256i* u) const {
    const __m256i pairs = load_table(tables.pair), lows = load_table(tables.low), highs = load_table(tables.high);
    const __m256i mask = _mm256_set1_epi8(15), fields = load256(at + 2 * vector_bytes);
    TERN_UNROLL for (std::size_t j = 0; j < 2; ++j) {
      const __m256i v = load256(at + j * vector_bytes);
      const __m256i third = _mm256_and_si256(j == 0 ? fields : _mm256_srli_epi16(fields, 4), mask);
      u[2 * j] =
          _mm256_add_epi8(_mm256_shuffle_epi8(pairs, _mm256_and_si256(v, mask)), _mm256_shuffle_epi8(lows, third));
      u[2 * j + 1] = _mm256_add_epi8(_mm256_shuffle_epi8(pairs, _mm256_and_si256(_mm256_srli_epi16(v, 4), mask)),
                                     _mm256_shuffle_epi8(highs, third));
    }
  }
};

template <std::size_t Planes>
struct decoder<b3_planes<Planes>> : offset_decoder<decoder<b3_planes<Planes>>, b3_planes<Planes>> {
  // c times each digit of a pair 3 d0 + d1; the last digit is a pair with d0 = 0.
  alignas(16) std::uint8_t first[Planes][16], second[Planes][16];

  explicit decoder(const b3_planes<Planes>& codec)
      : offset_decoder<decoder<b3_planes<Planes>>, b3_planes<Planes>>(codec.least(), -2 * codec.least()) {
    for (std::size_t plane = 0; plane < Planes; ++plane)
      for (int v = 0; v < 16; ++v) {
        first[plane][v] = static_cast<std::uint8_t>(codec.code().c[plane] * (v < 9 ? v / 3 : 0));
        second[plane][v] = static_cast<std::uint8_t>(codec.code().c[plane] * (v < 9 ? v % 3 : 0));
      }
  }
  TERN_INLINE void offsets(const std::uint8_t* at, __m256i* u) const {
    TERN_UNROLL for (std::size_t plane = 0; plane < Planes; ++plane) {
      const __m256i firsts = load_table(first[plane]), seconds = load_table(second[plane]);
      __m256i pair[3], d[b3::fold];
      decoder<b3>::pairs(at + plane * vector_bytes, pair);
      d[0] = _mm256_shuffle_epi8(firsts, pair[0]);
      d[1] = _mm256_shuffle_epi8(seconds, pair[0]);
      d[2] = _mm256_shuffle_epi8(firsts, pair[1]);
      d[3] = _mm256_shuffle_epi8(seconds, pair[1]);
      d[4] = _mm256_shuffle_epi8(seconds, pair[2]);
      TERN_UNROLL for (std::size_t p = 0; p < b3::fold; ++p) u[p] = plane == 0 ? d[p] : _mm256_add_epi8(u[p], d[p]);
    }
  }
};

template <>
struct decoder<i8> {
  static constexpr std::int32_t x_sum = 0;
  static constexpr bool negated = false;
  static constexpr std::size_t operand_bytes = 2 * vector_bytes;  // int16
  static constexpr std::size_t strip_blocks = 16;  // int32 sums need no bound; long enough to hide the end

  explicit decoder(i8) {}

  /// Four vectors of int32 sums, two lanes a row: rows 0..3, 4..7, 8..11, 12..15.
  TERN_INLINE static ints rows(const __m256i* sum) {
    // hadd works within 128-bit halves: rows 0 1 4 5 | 2 3 6 7, put in order by the permutation.
    return {_mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[0], sum[1]), 0xD8),
            _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[2], sum[3]), 0xD8)};
  }
  /// A quad of a token as int16, the same in every row.
  TERN_INLINE static __m256i broadcast_words(const std::int8_t* x) {
    return _mm256_cvtepi8_epi16(_mm_set1_epi32(load_quad(x)));
  }
  TERN_INLINE void strip(const std::uint8_t* const* at, std::size_t n, const std::int8_t* x, ints* all) const {
    const std::uint8_t* blocks = *at;
    __m256i sum[4];
    TERN_UNROLL for (std::size_t j = 0; j < 4; ++j) sum[j] = _mm256_setzero_si256();
    for (std::size_t b = 0; b < n; ++b, blocks += vector_bytes, x += quad_inputs) {
      prefetch_block<i8>(blocks);
      const __m256i quad = broadcast_words(x);
      TERN_UNROLL for (std::size_t j = 0; j < 4; ++j) sum[j] =
          _mm256_add_epi32(sum[j], _mm256_madd_epi16(_mm256_cvtepi8_epi16(load128(blocks + 16 * j)), quad));
    }
    *all = add(*all, rows(sum));
  }
  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const {
    TERN_UNROLL for (std::size_t j = 0; j < 4; ++j)
        store256(out + 32 * j, _mm256_cvtepi8_epi16(load128(block + 16 * j)));
  }
  TERN_INLINE void levels(const std::uint8_t* block, std::int8_t* out) const { std::memcpy(out, block, vector_bytes); }
  /// Two tokens at a time: 8 of the 16 registers are sums.
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    if constexpr (T > 2) {
      dot_tile<2>(operands, quads, x, stride, acc);
      dot_tile<T - 2>(operands, quads, x + 2 * stride, stride, acc + 2 * panel_rows);
    } else {
      __m256i sum[T][4];
      TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t j = 0; j < 4; ++j) sum[t][j] =
          _mm256_setzero_si256();
      for (std::size_t q = 0; q < quads; ++q, operands += operand_bytes, x += quad_inputs) {
        __m256i quad[T];
        TERN_UNROLL for (std::size_t t = 0; t < T; ++t) quad[t] = broadcast_words(x + t * stride);
        TERN_UNROLL for (std::size_t j = 0; j < 4; ++j) {
          const __m256i w = load256(operands + 32 * j);
          TERN_UNROLL for (std::size_t t = 0; t < T; ++t) sum[t][j] =
              _mm256_add_epi32(sum[t][j], _mm256_madd_epi16(w, quad[t]));
        }
      }
      TERN_UNROLL for (std::size_t t = 0; t < T; ++t)
          store(acc + t * panel_rows, add(load(acc + t * panel_rows), rows(sum[t])));
    }
  }
};

#include <tern/kernel/loop.inc>

}  // namespace tern::inline v0_1::kernel::inline TERN_TU::avx2
TERN_REGION_END

namespace tern::inline v0_1::isa {

/// AVX2 with FMA and F16C: Intel from Haswell, AMD from Zen.
struct avx2 : scalar {
  static constexpr std::string_view name() { return "avx2"; }
  TERN_INLINE static bool usable() { return x86_features::get().avx2; }
  static constexpr kernel::token_loop loop_for(std::size_t tokens) { return kernel::loop_for(tokens); }
};

inline namespace TERN_TU {

template <class X, codec Codec>
  requires requires { sizeof(kernel::avx2::decoder<Codec>); }
avx2 run(avx2, const kernel::product<X, Codec>& a, const kernel::tile& t) {
  kernel::avx2::multiply(a, t);
  return {};
}
template <real_element T>
float quantize_row(avx2, const T* x, std::size_t inputs, std::int8_t* codes, std::size_t row_stride,
                   std::int32_t* prefix) {
  return kernel::avx2::quantize_row(x, inputs, codes, row_stride, prefix);
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1::isa

#endif
