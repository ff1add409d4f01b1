// SPDX-License-Identifier: MIT
/// AVX-VNNI: Intel client processors from Alder Lake, AMD from Zen 5, and servers from Sapphire Rapids.
///
/// AVX2 with a 256-bit vpdpbusd, which adds four products of unsigned by signed bytes to each int32 lane, exactly. Rows of
/// 16 lanes and the decoding of codecs are those of AVX2, levels unsigned as there; what is gone is widening and its bounds:
///
///   i2  v ^ 0x55 masked, not shifted: fields 4^p u in sums of their own, shifted down once a strip.
///   i8  u = w + 128 = v ^ 0x80, so sum(x w) = sum(x u) - 128 sum(x). Sums of u may wrap; only the corrected sum has to fit.
#pragma once

#include <tern/config.hpp>

#if defined(TERN_X86)

#include <immintrin.h>

#include <cstring>

#include <tern/kernel/avx2.hpp>

TERN_REGION_BEGIN("avx2,fma,f16c,avxvnni")
namespace tern::inline v0_1::kernel::inline TERN_TU::avxvnni {

using namespace avx2;  // rows of 16 lanes; what is declared here goes before

/// T tokens times unsigned operands: int32 sums of 16 rows x T tokens in registers.
template <std::size_t T>
TERN_NOINLINE void dot_tile_unsigned(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x,
                                     std::size_t stride, std::int32_t* acc) {
  __m256i sum[T][2];
  TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) sum[t][h] =
      load256(acc + t * panel_rows + 8 * h);
  for (const std::uint8_t* const end = operands + quads * vector_bytes; operands != end;
       operands += vector_bytes, x += quad_inputs) {
    const __m256i lo = load256(operands), hi = load256(operands + 32);
    TERN_UNROLL for (std::size_t t = 0; t < T; ++t) {
      const __m256i quad = broadcast_quad(x + t * stride);
      sum[t][0] = _mm256_dpbusd_avx_epi32(sum[t][0], lo, quad);
      sum[t][1] = _mm256_dpbusd_avx_epi32(sum[t][1], hi, quad);
    }
  }
  TERN_UNROLL for (std::size_t t = 0; t < T; ++t) TERN_UNROLL for (std::size_t h = 0; h < 2; ++h)
      store256(acc + t * panel_rows + 8 * h, sum[t][h]);
}

/// Every codec: D has fields(at, u), the unsigned levels of half a block times scale 4^p where shifted, and its bounds.
template <class D, codec Codec, bool Scaled = false>
struct vnni_decoder {
  static constexpr std::size_t operand_bytes = vector_bytes;
  static constexpr std::size_t strip_blocks = 16;
  static_assert(strip_blocks * 4 * 255 * 128 <= 2147483647, "sums of a strip, scaled ones too");

  const D& self() const { return static_cast<const D&>(*this); }

  TERN_INLINE void strip(const std::uint8_t* const* at, std::size_t n, const std::int8_t* x, ints* all) const {
    const std::uint8_t* blocks = *at;
    __m256i sum[2][Codec::fold];
    TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p)
        sum[h][p] = _mm256_setzero_si256();
    for (std::size_t b = 0; b < n; ++b, blocks += block_bytes<Codec>, x += block_inputs<Codec>) {
      prefetch_block<Codec>(blocks);
      TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) {
        __m256i u[Codec::fold];
        self().fields(blocks + 32 * h, u);
        TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p) sum[h][p] =
            _mm256_dpbusd_avx_epi32(sum[h][p], u[p], broadcast_quad(x + quad_inputs * p));
      }
    }
    TERN_UNROLL for (std::size_t p = 0; p < Codec::fold; ++p) {
      constexpr int shift = Scaled ? 2 : 0;
      all->lo = _mm256_add_epi32(all->lo, _mm256_srai_epi32(sum[0][p], static_cast<int>(p) * shift));
      all->hi = _mm256_add_epi32(all->hi, _mm256_srai_epi32(sum[1][p], static_cast<int>(p) * shift));
    }
  }
  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    avxvnni::dot_tile_unsigned<T>(operands, quads, x, stride, acc);
  }
};

template <codec Codec>
struct decoder;

template <>
struct decoder<i2> : vnni_decoder<decoder<i2>, i2, true> {
  static constexpr std::int32_t x_sum = 1;  // sum(x w) = sum(x) - sum(x u)
  static constexpr bool negated = true;

  explicit decoder(i2) {}

  TERN_INLINE static void fields(const std::uint8_t* at, __m256i* u) {
    const __m256i v = avx2::decoder<i2>::unsigned_fields(at);
    TERN_UNROLL for (std::size_t p = 0; p < 4; ++p) u[p] =
        _mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>(3 << 2 * p)));
  }
  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const {
    avx2::decoder<i2>(i2()).expand(block, out);
  }
  TERN_INLINE void levels(const std::uint8_t* block, std::int8_t* out) const {
    avx2::decoder<i2>(i2()).levels(block, out);
  }
};

/// Codecs whose levels AVX2 makes as unsigned offsets: b3, n4, n6, b3x2, b3x3.
template <codec Codec>
  requires requires(const avx2::decoder<Codec>& d) { d.offsets(nullptr, nullptr); }
struct decoder<Codec> : vnni_decoder<decoder<Codec>, Codec> {
  static constexpr bool negated = false;

  avx2::decoder<Codec> of_avx2;
  std::int32_t x_sum;

  explicit decoder(const Codec& codec) : of_avx2(codec), x_sum(of_avx2.x_sum) {}

  TERN_INLINE void fields(const std::uint8_t* at, __m256i* u) const { of_avx2.offsets(at, u); }
  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const { of_avx2.expand(block, out); }
  TERN_INLINE void levels(const std::uint8_t* block, std::int8_t* out) const { of_avx2.levels(block, out); }
};

template <>
struct decoder<i8> : vnni_decoder<decoder<i8>, i8> {
  static constexpr std::int32_t x_sum = -128;
  static constexpr bool negated = false;

  explicit decoder(i8) {}

  TERN_INLINE static void fields(const std::uint8_t* at, __m256i* u) {
    u[0] = _mm256_xor_si256(load256(at), _mm256_set1_epi8(-128));
  }
  TERN_INLINE void expand(const std::uint8_t* block, std::uint8_t* out) const {
    TERN_UNROLL for (std::size_t h = 0; h < 2; ++h) {
      __m256i u;
      fields(block + 32 * h, &u);
      store256(out + 32 * h, u);
    }
  }
  TERN_INLINE void levels(const std::uint8_t* block, std::int8_t* out) const { std::memcpy(out, block, vector_bytes); }
};

#include <tern/kernel/loop.inc>

}  // namespace tern::inline v0_1::kernel::inline TERN_TU::avxvnni
TERN_REGION_END

namespace tern::inline v0_1::isa {

/// AVX2 with a 256-bit VNNI: Intel from Alder Lake, AMD from Zen 5.
struct avxvnni : avx2 {
  static constexpr std::string_view name() { return "avxvnni"; }
  TERN_INLINE static bool usable() { return x86_features::get().avxvnni; }
};

inline namespace TERN_TU {

template <class X, codec Codec>
  requires requires { sizeof(kernel::avxvnni::decoder<Codec>); }
avxvnni run(avxvnni, const kernel::product<X, Codec>& a, const kernel::tile& t) {
  kernel::avxvnni::multiply(a, t);
  return {};
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1::isa

#endif
