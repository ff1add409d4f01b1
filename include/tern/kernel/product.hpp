// SPDX-License-Identifier: MIT
/// The one form in which every product reaches a kernel: Y = X W^T, all arguments normalised to views.
#pragma once

#include <tern/type/quantized_activations.hpp>

namespace tern::inline v0_1::kernel {

enum class output_type : std::uint8_t { float32, float16, bfloat16, int32 };

template <output_element T>
inline constexpr output_type output_type_of = std::same_as<T, float>      ? output_type::float32
                                              : std::same_as<T, half>     ? output_type::float16
                                              : std::same_as<T, bfloat16> ? output_type::bfloat16
                                                                          : output_type::int32;

/// Y, [M x N], of an element type known at run time: it is looked at once per 16 outputs.
struct output {
  void* data = nullptr;
  std::size_t row_stride = 0;
  output_type type = output_type::float32;

  output() = default;
  template <output_element T>
  output(matrix_view<T> y) : data(y.data()), row_stride(y.row_stride()), type(output_type_of<T>) {}

  template <output_element T>
  T* at(std::size_t m, std::size_t n) const {
    return static_cast<T*>(data) + m * row_stride + n;
  }
};

using float_view = matrix_view<const float>;

/// X is activations_view (int8 codes) or float_view. Shapes, depth and formats have been checked by the public function.
template <class X, codec Codec>
struct product {
  X x;
  packed_view<Codec> w;
  output y;
  const float* bias = nullptr;  // [N], or null
};

/// The part of a product that one call computes: tokens [token_begin, token_end) x panels [panel_begin, panel_end).
struct tile {
  std::size_t token_begin, token_end;
  std::size_t panel_begin, panel_end;
};

/// The inputs of a run and where its blocks are.
template <codec Codec>
struct run_span {
  std::size_t plane, group;
  std::size_t begin, end;              // inputs
  std::size_t block_begin, block_end;  // of the plane

  TERN_INLINE run_span(const packed_view<Codec>& w, std::size_t p, std::size_t g)
      : plane(p),
        group(g),
        begin(w.group_begin(g)),
        end(w.group_begin(g + 1)),
        block_begin(begin / block_inputs<Codec>),
        block_end(detail::ceil_div(end, block_inputs<Codec>)) {}
};

/// Tokens that share one decoding of weights: their sums and those of a few panels stay in the first two levels of cache.
inline constexpr std::size_t token_block = 64;
/// Tokens of the largest tile: what the registers of every instruction set hold with its panels.
inline constexpr std::size_t tile_tokens = 4;
/// Operand quads of a panel that are decoded at once: 4 KiB of bytes, which stay in the first-level cache while tokens pass.
inline constexpr std::size_t chunk_quads = 64;
/// The same for a few tokens, whose products are not many enough to hide so many weights on their way from memory.
inline constexpr std::size_t few_tokens = 16, few_quads = 32;

/// How tokens are multiplied; kernel_report() explains. An instruction set says which: Isa::loop_for(tokens).
enum class token_loop : std::uint8_t { one, few, many, tiles };
constexpr token_loop loop_for(std::size_t tokens) {
  return tokens == 1 ? token_loop::one : tokens <= few_tokens ? token_loop::few : token_loop::many;
}

/// Lanes between the sums of two panels.
inline constexpr std::size_t sums_stride = token_block * panel_rows;
/// Where the sums of a tile of panels and tokens begin and end, for kernels that hold all of them in registers: panels are
/// sums_stride lanes apart, tokens 16.
struct tile_sums {
  const std::int32_t* start;  // of each token, at the begin of a run; or null: they go on from acc
  std::int32_t* acc;
  const float* scales;  // 16 of each panel, at the end of a run: r = fma(float(sum), scale, r); or null: acc = sum
  float* r;
};

/// How far ahead of the loads kernels ask for weights. The hardware follows a few streams by itself, not far enough.
inline constexpr std::size_t prefetch_bytes = 1024;

/// Asks for the block that is prefetch_bytes behind this one.
template <codec Codec>
TERN_INLINE void prefetch_block(const std::uint8_t* block) {
  for (std::size_t v = 0; v < Codec::bytes; ++v) __builtin_prefetch(block + prefetch_bytes + v * vector_bytes);
}

inline namespace TERN_TU {

/// acc - zero_x sum(w) - zero_w sum(x) + n zero_x zero_w, modulo 2^32: only the result has to fit.
template <codec Codec>
TERN_NOINLINE void correct_zero_points(const product<activations_view, Codec>& a, std::size_t m, std::size_t panel,
                                       const run_span<Codec>& run, std::int32_t* acc) {
  const std::int32_t sum_x = a.x.sum(m, run.begin, run.end);
  const std::uint32_t zero_x = a.x.has_zeros() ? static_cast<std::uint32_t>(a.x.zero(m)) : 0;
  const std::int8_t* zeros = a.w.has_zeros() ? a.w.zeros(panel, run.plane, run.group) : nullptr;
  const std::int32_t* sums = zero_x != 0 ? a.w.sums(panel, run.plane, run.group) : nullptr;
  const auto inputs = static_cast<std::uint32_t>(run.end - run.begin);
  for (std::size_t r = 0; r < panel_rows; ++r) {
    const std::uint32_t zero_w = zeros != nullptr ? static_cast<std::uint32_t>(zeros[r]) : 0;
    const std::uint32_t sum_w = sums != nullptr ? static_cast<std::uint32_t>(sums[r]) : 0;
    const std::uint32_t change = (inputs * zero_w - sum_w) * zero_x - zero_w * static_cast<std::uint32_t>(sum_x);
    acc[r] = static_cast<std::int32_t>(static_cast<std::uint32_t>(acc[r]) + change);
  }
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1::kernel
