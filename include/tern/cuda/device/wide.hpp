// SPDX-License-Identifier: MIT
/// Many tokens on sm_90a: tiles whose weights are decoded in registers and multiplied, by warpgroups, with activations in shared
/// memory.
///
/// A stage is 128 inputs: 32 / fold blocks of every panel, packed as they are, and 128 bytes of every token. A warp decodes the
/// fragments of a panel for 32 inputs at a time: of the eight quads of these inputs its lane (g, t) holds the quads t and 4 + t
/// of rows 2g and 2g + 1. So activations stay in natural order; the four lanes of a row read the same words and each takes its
/// own field of them. While the products of 32 inputs run, the next fragments are decoded.
///
/// Taken where nothing has zero points, a block holds no odd number of quads (not base 3), and groups are multiples of 128.
#pragma once

#include <tern/cuda/device/tile.hpp>
#include <tern/cuda/device/wgmma.hpp>

namespace tern::inline v0_1::cuda::device {

inline constexpr unsigned stage_inputs = 128;

/// Two warpgroups, each of which takes Strips x 64 rows; all take the same tokens, 64 or 128.
template <codec Codec, unsigned Strips, unsigned Tokens>
struct wide_shape {
  static constexpr unsigned strips = Strips, tokens = Tokens, groups = 2, threads = groups * 128;
  static constexpr unsigned block_panels = groups * Strips * 4;
  static constexpr unsigned fold = Codec::fold, bytes = Codec::bytes;
  static constexpr unsigned blocks = stage_inputs / block_inputs<Codec>;  // of a panel in a stage
  static constexpr unsigned panel_pieces = blocks * bytes * vector_bytes / 16, token_pieces = stage_inputs / 16;
  static constexpr unsigned w_pieces = block_panels * panel_pieces, x_pieces = Tokens * token_pieces;
  static constexpr std::size_t stage_bytes = std::size_t{16} * (w_pieces + x_pieces);
  // The results of a strip of all warpgroups, [tokens][result_stride], which take the place of the stages at the end. The stride
  // is one at which a warp's pairs of rows fall into different banks.
  static constexpr unsigned strip_rows = groups * 64, result_stride = strip_rows + 4;
  static constexpr std::size_t result_bytes = std::size_t{Tokens} * result_stride * sizeof(float);
  static_assert(stage_bytes % 1024 == 0);  // where the activations of every stage must begin
};

/// Walks over the stages: planes, ascending, of stages each; and over the ring in shared memory. Counts, for a division takes
/// longer than what there is to do for a stage.
struct stage_cursor {
  unsigned plane = 0, in_plane = 0, slot = 0;

  __device__ void advance(unsigned of_plane, unsigned slots) {
    if (++in_plane == of_plane) in_plane = 0, ++plane;
    if (++slot == slots) slot = 0;
  }
};

/// One field of a block's words.
template <codec Codec>
__device__ inline std::uint32_t decode_field(const decoder<Codec>& decode, const std::uint32_t (&words)[Codec::bytes],
                                             unsigned field) {
  std::uint32_t quads[Codec::fold];
  decode(words, quads);
  std::uint32_t quad = quads[0];
#pragma unroll
  for (unsigned p = 1; p < Codec::fold; ++p) quad = field == p ? quads[p] : quad;
  return quad;
}
__device__ inline std::uint32_t decode_field(const decoder<i2>&, const std::uint32_t (&words)[1], unsigned field) {
  return words[0] << (6 - 2 * field) & 192 * in_each_byte;
}

/// The grid is [tiles of panels] x [tiles of tokens]; shared memory has a.window stages, at least 3, from a multiple of 1024 bytes.
/// Compiled for other devices it is empty, and has no scales_of_x: that is how the host sees which it has.
template <class Shape, bool OneRun, codec Codec>
__global__ void __launch_bounds__(Shape::threads, 1) multiply_wide(const __grid_constant__ product<Codec> a) {
#if defined(TERN_HAS_WGMMA)
  extern __shared__ uint4 unaligned[];
  __shared__ float scales_of_x[Shape::tokens];
  uint4* const shared = unaligned + (1024 - __cvta_generic_to_shared(unaligned) % 1024) % 1024 / 16;
  constexpr unsigned bytes = Shape::bytes, fold = Shape::fold, strips = Shape::strips;
  const unsigned lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
  const unsigned first_panel = blockIdx.x * Shape::block_panels, first_token = blockIdx.y * Shape::tokens;
  const unsigned warp_panel = warp / 4 * strips * 4 + warp % 4;  // and every fourth after it
  const unsigned panels = (a.rows + panel_rows - 1) / panel_rows;
  const unsigned of_run = (a.group_blocks + Shape::blocks - 1) / Shape::blocks,
                 of_plane = (a.blocks + Shape::blocks - 1) / Shape::blocks;
  const unsigned stages = a.planes * of_plane;

  // A warp copies whole panels, and eight lanes a token.
  const std::size_t panel_bytes = std::size_t{a.planes} * a.blocks * block_bytes<Codec>;
  const std::uint8_t* const w_from = a.codes + (first_panel + warp) * panel_bytes + 16 * lane;
  const auto copy_weights = [&](const stage_cursor& at) {
    uint4* const to = shared + at.slot * (Shape::w_pieces + Shape::x_pieces) + Shape::x_pieces + lane;
    const unsigned first = at.in_plane * Shape::blocks;
    const std::uint8_t* const from = w_from + (std::size_t{at.plane} * a.blocks + first) * block_bytes<Codec>;
#pragma unroll
    for (unsigned panel = 0; panel < Shape::block_panels; panel += Shape::threads / 32)
#pragma unroll
      for (unsigned piece = 0; piece < Shape::panel_pieces; piece += 32) {
        const bool inside = first_panel + warp + panel < panels && first + (piece + lane) / (4 * bytes) < a.blocks;
        copy_or_zero(to + (warp + panel) * Shape::panel_pieces + piece,
                     reinterpret_cast<const uint4*>(inside ? from + panel * panel_bytes + 16 * piece : a.codes),
                     inside);
      }
  };
  const unsigned x_row = threadIdx.x / Shape::token_pieces, x_piece = threadIdx.x % Shape::token_pieces;
  const std::int8_t* const x_from = a.x + (first_token + x_row) * a.x_stride + 16 * x_piece;
  const auto copy_activations = [&](const stage_cursor& at) {
    constexpr unsigned rows =
        Shape::threads / Shape::token_pieces;  // a multiple of 8, so the exchange is the same for all
    uint4* const to =
        shared + at.slot * (Shape::w_pieces + Shape::x_pieces) + x_row * Shape::token_pieces + (x_piece ^ x_row % 8);
    const std::size_t begin = std::size_t{at.in_plane} * stage_inputs;
#pragma unroll
    for (unsigned row = 0; row < Shape::tokens; row += rows) {
      const bool inside = first_token + x_row + row < a.tokens && begin + 16 * x_piece < a.x_stride;
      copy_or_zero(to + row * Shape::token_pieces,
                   reinterpret_cast<const uint4*>(inside ? x_from + row * a.x_stride + begin : a.x), inside);
    }
  };

  // Less than the ring by two: products of the stage before may still read theirs.
  const unsigned ahead = a.window - 2;
  stage_cursor copying;
  for (unsigned stage = 0; stage < ahead && stage < stages; ++stage) {
    copy_weights(copying);
    copying.advance(of_plane, a.window);
  }
  wait_for_predecessor();
  copying = {};
  for (unsigned stage = 0; stage < ahead; ++stage) {
    if (stage < stages) copy_activations(copying);
    end_copies();
    copying.advance(of_plane, a.window);
  }
  if (threadIdx.x < Shape::tokens && first_token + threadIdx.x < a.tokens)
    scales_of_x[threadIdx.x] = a.x_scales[first_token + threadIdx.x];

  std::int32_t sums[strips][Shape::tokens / 2];
  float results[OneRun ? 1 : strips][OneRun ? 1 : Shape::tokens / 2] = {};
  std::uint32_t fragments[2][strips][4];
  stage_cursor here;
  unsigned in_run = 0, run = 0;  // stages of the run that are done; the run
  for (unsigned stage = 0; stage < stages; ++stage) {
    // The groups of copies that may still be on their way are those after this stage's.
    if (ahead >= 3)
      copied<2>();
    else if (ahead == 2)
      copied<1>();
    else
      copied();
    publish_to_products();
    __syncthreads();  // all copies of this stage are there, and all products of the stage before the last are done
    const uint4* const x = shared + here.slot * (Shape::w_pieces + Shape::x_pieces);
    const uint4* const w = x + Shape::x_pieces;
    const std::uint64_t tokens = describe(x);
#pragma unroll
    for (unsigned q = 0; q < stage_inputs / 32; ++q) {
#pragma unroll
      for (unsigned s = 0; s < strips; ++s)
#pragma unroll
        for (unsigned h = 0; h < 2; ++h) {
          const unsigned quad = 8 * q + 4 * h + t, block = quad / fold;
          std::uint32_t words[2][bytes];
#pragma unroll
          for (unsigned v = 0; v < bytes; ++v) {
            const uint2 both = *(reinterpret_cast<const uint2*>(w + (warp_panel + 4 * s) * Shape::panel_pieces) +
                                 (block * bytes + v) * 8 + g);
            words[0][v] = both.x, words[1][v] = both.y;
          }
          fragments[q % 2][s][2 * h] = decode_field(a.decode, words[0], quad % fold);
          fragments[q % 2][s][2 * h + 1] = decode_field(a.decode, words[1], quad % fold);
        }
      begin_products();
#pragma unroll
      for (unsigned s = 0; s < strips; ++s)
        multiply_async(sums[s], fragments[q % 2][s], tokens + 2 * q, q != 0 || in_run != 0);
      end_products();
      // What else there is to do waits until the products run.
      if (q == 0 && stage + ahead < stages) copy_weights(copying);
      if (q == 1 && stage + ahead < stages) copy_activations(copying);
      products_done<1>();  // the other fragments are free
    }
    end_copies();

    ++in_run;
    if constexpr (!OneRun) {
      if (in_run == of_run || here.in_plane + 1 == of_plane) {
        products_done<0>();
#pragma unroll
        for (unsigned s = 0; s < strips; ++s) {
          const std::size_t panel = min(first_panel + warp_panel + 4 * s, panels - 1);
          const std::size_t row = (a.one_scale_row ? run : panel * a.runs + run) * panel_rows + 2 * g;
          const float scales[2] = {load_scale(a.scales, a.scales_type, row),
                                   load_scale(a.scales, a.scales_type, row + 1)};
#pragma unroll
          for (unsigned i = 0; i < Shape::tokens / 2; ++i) {
            const std::int32_t acc = settled(sums[s][i]) >> decoder<Codec>::shift;
            results[s][i] = __fmaf_rn(__int2float_rn(acc), scales[i / 2 % 2], results[s][i]);
          }
        }
        in_run = 0;
        ++run;
      }
    }
    here.advance(of_plane, a.window);
    copying.advance(of_plane, a.window);
  }
  products_done<0>();
  start_successor();

  // Through shared memory, so that a warp writes 64 outputs of two tokens' rows side by side.
  std::int32_t* const strip = reinterpret_cast<std::int32_t*>(shared);
  const bool aligned = reinterpret_cast<std::uintptr_t>(a.y) % 16 == 0 && a.y_stride % 8 == 0;
#pragma unroll
  for (unsigned s = 0; s < strips; ++s) {
    __syncthreads();  // all products, or all stores of the strip before, have read shared memory
#pragma unroll
    for (unsigned i = 0; i < Shape::tokens / 2; i += 4)
#pragma unroll
      for (unsigned c = 0; c < 2; ++c) {
        int2 rows;  // 2g and 2g + 1
        if constexpr (OneRun)
          rows = {settled(sums[s][i + c]) >> decoder<Codec>::shift,
                  settled(sums[s][i + c + 2]) >> decoder<Codec>::shift};
        else
          rows = {__float_as_int(results[s][i + c]), __float_as_int(results[s][i + c + 2])};
        *reinterpret_cast<int2*>(strip + (2 * i + 2 * t + c) * Shape::result_stride + warp * 16 + 2 * g) = rows;
      }
    __syncthreads();
    const std::size_t n =
        (std::size_t{first_panel} + (lane / 16 * strips + s) * 4) * panel_rows + lane % 16 * 4;  // and three more
    const std::size_t row = (a.one_scale_row ? 0 : n / panel_rows * a.runs) * panel_rows + n % panel_rows;
    float scales[4] = {}, bias[4] = {};
    for (unsigned r = 0; r < 4 && n + r < a.rows; ++r) {
      scales[r] = load_scale(a.scales, a.scales_type, row + r);
      if (a.bias != nullptr) bias[r] = a.bias[n + r];
    }
    for (unsigned token = warp; token < Shape::tokens && first_token + token < a.tokens; token += Shape::threads / 32) {
      const int4 v = *reinterpret_cast<const int4*>(strip + token * Shape::result_stride + 4 * lane);
      const std::int32_t acc[4] = {v.x, v.y, v.z, v.w};
      float value[4];
#pragma unroll
      for (unsigned r = 0; r < 4; ++r) {
        const float result = OneRun ? __fmaf_rn(__int2float_rn(acc[r]), scales[r], 0.0f) : __int_as_float(acc[r]);
        const float x_scale = scales_of_x[token];
        value[r] = a.bias != nullptr ? __fmaf_rn(result, x_scale, bias[r]) : __fmul_rn(result, x_scale);
      }
      store_four(a, (first_token + token) * a.y_stride + n, value, acc, n < a.rows ? a.rows - n : 0, aligned);
    }
  }
#endif
}

}  // namespace tern::inline v0_1::cuda::device
