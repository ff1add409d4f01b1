// SPDX-License-Identifier: MIT
/// Many tokens: a block of threads multiplies a tile of panels by a tile of tokens, both on their way through shared memory.
///
/// A stage is a step of the run (atoms.hpp): 8 blocks of every panel, packed as they are, and the activations of every token at
/// the same inputs. While one stage is multiplied the next ones are copied. A warp decodes its panels' fragments once and uses
/// them for all of its tokens; a lane's activations for the fold MMA tiles of a block are 16 consecutive bytes (i2), one load.
///
/// The float expression of a run follows its last step, in registers: runs pass in ascending order.
///
/// Taken where nothing has zero points, and where the ends of groups fall between the 16-byte pieces of a copy: every codec
/// but base 3 with groups.
#pragma once

#include <tern/cuda/device/product.hpp>

namespace tern::inline v0_1::cuda::device {

/// What a block and its warps take: Panels x Tiles MMA tiles a warp, NWarps x MWarps warps.
template <codec Codec, unsigned Panels, unsigned Tiles, unsigned NWarps, unsigned MWarps>
struct tile_shape {
  static constexpr unsigned panels = Panels, tiles = Tiles, n_warps = NWarps, m_warps = MWarps;
  static constexpr unsigned threads = 32 * NWarps * MWarps;
  static constexpr unsigned block_panels = Panels * NWarps, block_tokens = 8 * Tiles * MWarps;
  static constexpr unsigned fold = Codec::fold, bytes = Codec::bytes;
  // 16-byte pieces of a stage: of a panel's weights, of a token's activations, of all
  static constexpr unsigned panel_pieces = step_blocks * bytes * vector_bytes / 16;
  static constexpr unsigned token_pieces = step_blocks * fold * quad_inputs / 16;
  static constexpr unsigned w_pieces = block_panels * panel_pieces, x_pieces = block_tokens * token_pieces;
  static constexpr std::size_t stage_bytes = std::size_t{16} * (w_pieces + x_pieces);
};

inline constexpr unsigned most_stages = 4;

/// Where a token's piece is. With eight a token, odd tokens have their halves exchanged, so that the 16-byte loads of two
/// tokens' halves are to different banks.
template <class Shape>
__device__ inline unsigned piece_place(unsigned token, unsigned piece) {
  return token * Shape::token_pieces + (Shape::token_pieces == 8 ? piece ^ (token & 1) * 4 : piece);
}

/// The grid is [tiles of panels] x [tiles of tokens]; shared memory has a.window stages.
template <class Shape, bool OneRun, codec Codec>
__global__ void __launch_bounds__(Shape::threads, 1) multiply_tiles(const __grid_constant__ product<Codec> a) {
  extern __shared__ uint4 shared[];
  constexpr unsigned fold = Shape::fold, bytes = Shape::bytes;
  const unsigned lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
  const unsigned first_panel = blockIdx.x * Shape::block_panels, first_token = blockIdx.y * Shape::block_tokens;
  const unsigned warp_panel = warp % Shape::n_warps * Shape::panels,
                 warp_token = warp / Shape::n_warps * 8 * Shape::tiles;
  const unsigned panels = (a.rows + panel_rows - 1) / panel_rows;
  const unsigned of_run = (a.group_blocks + step_blocks - 1) / step_blocks, steps = a.runs * of_run;
  const auto place = [&](unsigned step) { return place_of<OneRun>(a, 0, of_run, steps, step); };

  const auto copy_weights = [&](unsigned step, unsigned slot) {
    uint4* const to = shared + slot * (Shape::w_pieces + Shape::x_pieces);
    const step_place at = place(step);
    for (unsigned i = threadIdx.x; i < Shape::w_pieces; i += Shape::threads) {
      const unsigned panel = first_panel + i / Shape::panel_pieces, piece = i % Shape::panel_pieces;
      const bool inside = panel < panels && at.first + piece / (4 * bytes) < at.end;
      const std::size_t block = (std::size_t{panel} * a.planes + at.plane) * a.blocks + at.first;
      copy_or_zero(to + i,
                   reinterpret_cast<const uint4*>(inside ? a.codes + block * block_bytes<Codec> : a.codes) +
                       (inside ? piece : 0),
                   inside);
    }
  };
  const auto copy_activations = [&](unsigned step, unsigned slot) {
    uint4* const to = shared + slot * (Shape::w_pieces + Shape::x_pieces) + Shape::w_pieces;
    const step_place at = place(step);
    const std::size_t begin = at.first * block_inputs<Codec>, end = OneRun ? a.x_stride : at.end * block_inputs<Codec>;
    for (unsigned i = threadIdx.x; i < Shape::x_pieces; i += Shape::threads) {
      const unsigned token = i / Shape::token_pieces, piece = i % Shape::token_pieces;
      const bool inside = first_token + token < a.tokens && begin + 16 * piece < end;
      const std::int8_t* const from = a.x + (first_token + token) * a.x_stride + begin + 16 * piece;
      copy_or_zero(to + piece_place<Shape>(token, piece), reinterpret_cast<const uint4*>(inside ? from : a.x), inside);
    }
  };

  for (unsigned step = 0; step + 1 < a.window && step < steps; ++step) copy_weights(step, step);
  wait_for_predecessor();
  for (unsigned step = 0; step + 1 < a.window; ++step) {
    if (step < steps) copy_activations(step, step);
    end_copies();
  }

  std::int32_t sums[Shape::panels][Shape::tiles][4] = {};
  float results[OneRun ? 1 : Shape::panels][OneRun ? 1 : Shape::tiles][4] = {};
  float scales[Shape::panels][2];
  unsigned slot = 0;  // of the ring: step % a.window
  for (unsigned step = 0; step < steps; ++step, slot = slot + 1 == a.window ? 0 : slot + 1) {
    // As many groups of copies have been ended as stages less one, and one more for each step: the oldest is this step's.
    if (a.window == 4)
      copied<2>();
    else if (a.window == 3)
      copied<1>();
    else
      copied();
    __syncthreads();  // all copies of this step are there, and nobody reads the stage before it any more
    if (step + a.window - 1 < steps) {
      const unsigned free = slot == 0 ? a.window - 1 : slot - 1;
      copy_weights(step + a.window - 1, free);
      copy_activations(step + a.window - 1, free);
    }
    end_copies();

    const unsigned run = OneRun ? 0 : step / of_run;
    if (step == run * of_run) {
#pragma unroll
      for (unsigned i = 0; i < Shape::panels; ++i)
#pragma unroll
        for (unsigned r = 0; r < 2; ++r) {
          const std::size_t panel = min(first_panel + warp_panel + i, panels - 1);
          const std::size_t row = a.one_scale_row ? run : panel * a.runs + run;
          scales[i][r] = load_scale(a.scales, a.scales_type, row * panel_rows + 2 * g + r);
        }
    }

    const uint4* const w = shared + slot * (Shape::w_pieces + Shape::x_pieces);
    const uint4* const x = w + Shape::w_pieces;
    std::uint32_t fragments[Shape::panels][fold][4];
#pragma unroll
    for (unsigned i = 0; i < Shape::panels; ++i)
#pragma unroll
      for (unsigned h = 0; h < 2; ++h) {
        std::uint32_t words[2][bytes], quads[fold];
#pragma unroll
        for (unsigned v = 0; v < bytes; ++v) {
          const uint2 both = *(reinterpret_cast<const uint2*>(w + (warp_panel + i) * Shape::panel_pieces) +
                               ((4 * h + t) * bytes + v) * 8 + g);
          words[0][v] = both.x, words[1][v] = both.y;
        }
#pragma unroll
        for (unsigned r = 0; r < 2; ++r) {
          a.decode(words[r], quads);
#pragma unroll
          for (unsigned p = 0; p < fold; ++p) fragments[i][p][2 * h + r] = quads[p];
        }
      }
#pragma unroll
    for (unsigned j = 0; j < Shape::tiles; ++j) {
      const unsigned token = warp_token + 8 * j + g;
      std::uint32_t b[2][fold];
#pragma unroll
      for (unsigned h = 0; h < 2; ++h) {
        const unsigned at = (4 * h + t) * fold * quad_inputs;  // bytes
        load_quads<fold>(b[h], reinterpret_cast<const std::int8_t*>(x + piece_place<Shape>(token, at / 16)) + at % 16);
      }
#pragma unroll
      for (unsigned p = 0; p < fold; ++p)
#pragma unroll
        for (unsigned i = 0; i < Shape::panels; ++i) multiply_tile(sums[i][j], fragments[i][p], {b[0][p], b[1][p]});
    }

    if constexpr (!OneRun) {
      if (step + 1 == (run + 1) * of_run) {
#pragma unroll
        for (unsigned i = 0; i < Shape::panels; ++i)
#pragma unroll
          for (unsigned j = 0; j < Shape::tiles; ++j)
#pragma unroll
            for (unsigned c = 0; c < 4; ++c) {
              const std::int32_t acc = sums[i][j][c] >> decoder<Codec>::shift;
              results[i][j][c] = __fmaf_rn(__int2float_rn(acc), scales[i][c / 2], results[i][j][c]);
              sums[i][j][c] = 0;
            }
      }
    }
  }
  start_successor();

#pragma unroll
  for (unsigned j = 0; j < Shape::tiles; ++j)
#pragma unroll
    for (unsigned c = 0; c < 2; ++c) {
      const unsigned m = first_token + warp_token + 8 * j + 2 * t + c;
      if (m >= a.tokens) continue;
      const float x_scale = a.x_scales[m];
#pragma unroll
      for (unsigned i = 0; i < Shape::panels; ++i)
#pragma unroll
        for (unsigned r = 0; r < 2; ++r) {
          const std::size_t n = std::size_t{first_panel + warp_panel + i} * panel_rows + 2 * g + r;
          if (n >= a.rows) continue;
          const std::int32_t acc = sums[i][j][2 * r + c] >> decoder<Codec>::shift;
          float result;
          if constexpr (OneRun)
            result = __fmaf_rn(__int2float_rn(acc), scales[i][r], 0.0f);
          else
            result = results[i][j][2 * r + c];
          store(a, m * a.y_stride + n,
                a.bias != nullptr ? __fmaf_rn(result, x_scale, a.bias[n]) : __fmul_rn(result, x_scale), acc);
        }
    }
}

}  // namespace tern::inline v0_1::cuda::device
