// SPDX-License-Identifier: MIT
/// The portable kernel: the same loops as every instruction set, over rows of 16 lanes in plain arrays.
///
/// It serves every codec, a user's own included, on every machine, and is what all others fall back to. Operands are signed
/// levels, sums are int32 at once: nothing can overflow before max_inputs() does. One token is multiplied as many are.
#pragma once

#include <cmath>  // std::rint
#include <cstring>

#include <tern/fma.hpp>
#include <tern/kernel/product.hpp>

namespace tern::inline v0_1::kernel::inline TERN_TU::scalar {

struct floats {
  float lane[panel_rows];
};
struct ints {
  std::int32_t lane[panel_rows];
};

/// One operation on all lanes: r.lane[i] = expression, where i is the lane.
#define TERN_LANES(type, expression)                                   \
  type r;                                                              \
  for (std::size_t i = 0; i < panel_rows; ++i) r.lane[i] = expression; \
  return r

TERN_INLINE floats load(const float* at) { TERN_LANES(floats, at[i]); }
TERN_INLINE ints load(const std::int32_t* at) { TERN_LANES(ints, at[i]); }
TERN_INLINE floats load_half(const std::uint16_t* at) { TERN_LANES(floats, detail::half_to_float(at[i])); }
TERN_INLINE floats load_bfloat16(const std::uint16_t* at) { TERN_LANES(floats, detail::bfloat16_to_float(at[i])); }
template <real_element T>
TERN_INLINE floats load_real(const T* at) {
  TERN_LANES(floats, static_cast<float>(at[i]));
}
TERN_INLINE ints load_bytes(const std::int8_t* at) {
  ints r;
  std::memcpy(r.lane, at, sizeof r.lane);
  return r;
}
TERN_INLINE void store(float* at, const floats& a) { std::memcpy(at, a.lane, sizeof a.lane); }
TERN_INLINE void store(std::int32_t* at, const ints& a) { std::memcpy(at, a.lane, sizeof a.lane); }
TERN_INLINE void store_half(std::uint16_t* at, const floats& a) {
  for (std::size_t i = 0; i < panel_rows; ++i) at[i] = detail::float_to_half(a.lane[i]);
}
TERN_INLINE void store_bfloat16(std::uint16_t* at, const floats& a) {
  for (std::size_t i = 0; i < panel_rows; ++i) at[i] = detail::float_to_bfloat16(a.lane[i]);
}
TERN_INLINE void store_int8(std::int8_t* at, const ints& a) {
  for (std::size_t i = 0; i < panel_rows; ++i) at[i] = static_cast<std::int8_t>(a.lane[i]);
}
TERN_INLINE floats broadcast(float a) { TERN_LANES(floats, a); }
TERN_INLINE ints broadcast(std::int32_t a) { TERN_LANES(ints, a); }
TERN_INLINE floats fma(const floats& a, const floats& b, const floats& c) {
  TERN_LANES(floats, detail::fma_rn(a.lane[i], b.lane[i], c.lane[i]));
}
TERN_INLINE floats multiply(const floats& a, const floats& b) { TERN_LANES(floats, a.lane[i] * b.lane[i]); }
TERN_INLINE floats divide(const floats& a, const floats& b) { TERN_LANES(floats, a.lane[i] / b.lane[i]); }
TERN_INLINE floats to_floats(const ints& a) { TERN_LANES(floats, static_cast<float>(a.lane[i])); }
TERN_INLINE ints round_to_ints(const floats& a) { TERN_LANES(ints, static_cast<std::int32_t>(std::rint(a.lane[i]))); }
TERN_INLINE ints magnitude(const floats& a) {
  TERN_LANES(ints, static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(a.lane[i]) & 0x7fffffffu));
}
TERN_INLINE ints subtract(const ints& a, const ints& b) { TERN_LANES(ints, a.lane[i] - b.lane[i]); }
TERN_INLINE ints maximum(const ints& a, const ints& b) { TERN_LANES(ints, detail::greater(a.lane[i], b.lane[i])); }
TERN_INLINE ints low_byte(const ints& a) { TERN_LANES(ints, static_cast<std::int8_t>(a.lane[i] & 255)); }
TERN_INLINE ints drop_byte(const ints& a) { TERN_LANES(ints, a.lane[i] >> 8); }
#undef TERN_LANES
TERN_INLINE std::int32_t sum_of(const ints& a) {
  std::int32_t sum = 0;
  for (const std::int32_t lane : a.lane) sum += lane;
  return sum;
}

inline constexpr std::size_t streams = 1;
inline constexpr std::size_t tile_panels = 1;

template <codec Codec>
struct decoder {
  static constexpr std::int32_t x_sum = 0;
  static constexpr bool negated = false;
  static constexpr std::size_t operand_bytes = vector_bytes;

  explicit decoder(const Codec& c) : codec(c) {}

  void levels(const std::uint8_t* block, std::int8_t* out) const {
    for (std::size_t j = 0; j < vector_bytes; ++j) {
      std::uint8_t bytes[Codec::bytes];
      for (std::size_t v = 0; v < Codec::bytes; ++v) bytes[v] = block[v * vector_bytes + j];
      for (std::size_t p = 0; p < Codec::fold; ++p) out[p * vector_bytes + j] = codec.decode(bytes, p);
    }
  }
  void expand(const std::uint8_t* block, std::uint8_t* out) const {
    levels(block, reinterpret_cast<std::int8_t*>(out));
  }

  template <std::size_t T>
  void dot_tile(const std::uint8_t* operands, std::size_t quads, const std::int8_t* x, std::size_t stride,
                std::int32_t* acc) const {
    dot_tokens(T, operands, quads, x, stride, acc);
  }
  TERN_NOINLINE static void dot_tokens(std::size_t tokens, const std::uint8_t* operands, std::size_t quads,
                                       const std::int8_t* x, std::size_t stride, std::int32_t* acc) {
    for (std::size_t t = 0; t < tokens; ++t, x += stride, acc += panel_rows) {
      const auto* w = reinterpret_cast<const std::int8_t*>(operands);
      for (std::size_t q = 0; q < quads; ++q, w += vector_bytes)
        for (std::size_t r = 0; r < panel_rows; ++r)
          for (std::size_t i = 0; i < quad_inputs; ++i) acc[r] += w[quad_inputs * r + i] * x[quad_inputs * q + i];
    }
  }

  Codec codec;
};

#include <tern/kernel/loop.inc>

}  // namespace tern::inline v0_1::kernel::inline TERN_TU::scalar

namespace tern::inline v0_1::isa {

/// Plain C++: every machine, every codec. The root of all tags.
struct scalar {
  static constexpr std::string_view name() { return "scalar"; }
  static bool usable() { return true; }
  /// The loop that a tile of so many tokens takes.
  static constexpr kernel::token_loop loop_for(std::size_t tokens) {
    return tokens <= kernel::few_tokens ? kernel::token_loop::few : kernel::token_loop::many;
  }
};

inline namespace TERN_TU {

/// Computes one tile of a product, or one row of quantised activations. An instruction set overloads these for its own tag and
/// returns the tag, which is how the choice is known at compile time (kernel_for).
template <class X, codec Codec>
scalar run(scalar, const kernel::product<X, Codec>& a, const kernel::tile& t) {
  kernel::scalar::multiply(a, t);
  return {};
}
template <real_element T>
float quantize_row(scalar, const T* x, std::size_t inputs, std::int8_t* codes, std::size_t row_stride,
                   std::int32_t* prefix) {
  return kernel::scalar::quantize_row(x, inputs, codes, row_stride, prefix);
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1::isa
