// SPDX-License-Identifier: MIT
/// Many tokens on sm_90a: tiles whose weights are decoded in registers and multiplied, by warpgroups, with activations in shared
/// memory.
///
/// One thread keeps a ring of stages in shared memory filled, by tensor copies; two warpgroups multiply. A stage is 128 inputs:
/// 32 / fold blocks of every panel, packed as they are, and 128 bytes of every token. Blocks of threads stay and take one tile
/// after another, so the ring fills for the next tile while the outputs of this one are written.
///
/// Activations are in natural order: of the eight quads of 32 inputs a lane (g, t) multiplies the quads t and 4 + t, so the four
/// lanes of a row read the same words and each takes its own field. (In an order in which a lane's own words serve, 256 x 128 tiles
/// take 1 to 3 % less time; not worth a second order of activations.)
///
/// A step is what is begun together, two products of 64 rows: 32 inputs of two strips of rows or 64 inputs of one. While they
/// run, the next step's fragments are decoded and the words of the step after it are on their way. Only the end of a run waits for
/// all products.
///
/// Taken where a block has 1, 2 or 4 fields (not base 3), and groups are multiples of 64.
#pragma once

#include <cuda.h>  // CUtensorMap

#include <tern/cuda/device/field.hpp>
#include <tern/cuda/device/pipeline.hpp>
#include <tern/cuda/device/product.hpp>
#include <tern/cuda/device/wgmma.hpp>
#include <tern/cuda/device/wide_output.hpp>

namespace tern::inline v0_1::cuda::device {

inline constexpr unsigned stage_inputs = 128;
inline constexpr unsigned most_wide_stages = 8;

/// Two warpgroups, each of which takes Strips x 64 rows; both take the same tokens, 128 or 256. A third copies: one of its
/// threads, but registers are given and taken by warpgroups.
template <codec Codec, unsigned Strips, unsigned Tokens>
struct wide_shape {
  static constexpr unsigned strips = Strips, tokens = Tokens, warps = 8, threads = 128 + 32 * warps;
  static constexpr unsigned block_panels = warps * Strips;
  static constexpr unsigned fold = Codec::fold, bytes = Codec::bytes;
  static constexpr unsigned panel_bytes = stage_inputs / block_inputs<Codec> * block_bytes<Codec>;  // in a stage
  static constexpr unsigned x_bytes = Tokens * stage_inputs, stage_bytes = x_bytes + block_panels * panel_bytes;
  static_assert(has_lane_fields<Codec>);
  static_assert(x_bytes % 1024 == 0 && stage_bytes % 1024 == 0);  // where the activations of every stage must begin
  static constexpr unsigned step_slices = 2 / Strips;             // of 32 inputs
  static constexpr unsigned steps = stage_inputs / 32 / step_slices;
};

template <codec Codec>
struct wide_product {
  product<Codec> of;
  CUtensorMap x, w;      // bytes [tokens][inputs]; 8-byte words [panels][planes][blocks]
  unsigned group_steps;  // steps of 64 inputs of a group
};

#if defined(TERN_HAS_WGMMA)

/// The two warpgroups' part: what a lane knows of the ring and of its rows. Its 2 * Strips rows are side by side: with two
/// strips, rows 4 (g % 4) .. + 3 of the panel g / 4 of its warp, of which each strip takes two.
template <class Shape, codec Codec>
struct wide_reader {
  static constexpr unsigned strips = Shape::strips, bytes = Shape::bytes, slices = Shape::step_slices;

  const decoder<Codec>& decode;
  unsigned t;
  const std::uint8_t* rows;  // the lane's rows in slot 0
  std::uint32_t words[slices][2][bytes][2 * strips];

  /// Loads the words of a step of the stage in `slot`.
  __device__ void load(unsigned slot, unsigned step) {
    using vector = std::conditional_t<strips == 2, uint4, uint2>;
#pragma unroll
    for (unsigned i = 0; i < slices; ++i)
#pragma unroll
      for (unsigned h = 0; h < 2; ++h) {
        const unsigned quad = 8 * (step * slices + i) + 4 * h + t;
#pragma unroll
        for (unsigned v = 0; v < bytes; ++v) {
          const auto at = rows + slot * Shape::stage_bytes + (quad / Shape::fold * bytes + v) * vector_bytes;
          const vector all = *reinterpret_cast<const vector*>(at);
          words[i][h][v][0] = all.x, words[i][h][v][1] = all.y;
          if constexpr (strips == 2) words[i][h][v][2] = all.z, words[i][h][v][3] = all.w;
        }
      }
  }

  /// The fragments of the step whose words are here: one for each product.
  __device__ void fragments(std::uint32_t (&to)[2][4]) const {
#pragma unroll
    for (unsigned i = 0; i < slices; ++i)
#pragma unroll
      for (unsigned h = 0; h < 2; ++h)
#pragma unroll
        for (unsigned r = 0; r < 2 * strips; ++r) {
          std::uint32_t word[bytes];
#pragma unroll
          for (unsigned v = 0; v < bytes; ++v) word[v] = words[i][h][v][r];
          to[i + r / 2][2 * h + r % 2] = decode_field(decode, word, t % Shape::fold);
        }
#pragma unroll
    for (std::uint32_t(&fragment)[4] : to) decided(fragment);
  }
};

/// The sum of a step's inputs of a token whose 128 bytes of the stage are at `row`, in pieces exchanged by XOR with token % 8.
template <class Shape>
__device__ inline std::int32_t sum_of_step(const std::uint8_t* row, unsigned token, unsigned step, std::int32_t sum) {
#pragma unroll
  for (unsigned i = 0; i < 2 * Shape::step_slices; ++i) {
    const uint4 v = reinterpret_cast<const uint4*>(row)[(2 * Shape::step_slices * step + i) ^ token % 8];
    for (const std::uint32_t quad : {v.x, v.y, v.z, v.w})
      sum = __dp4a(static_cast<std::int32_t>(quad), static_cast<std::int32_t>(in_each_byte), sum);
  }
  return sum;
}

/// A place in the ring, and the parity of its phase.
struct ring_place {
  unsigned slot = 0, parity = 0;

  __device__ void advance(unsigned slots) {
    if (++slot == slots) slot = 0, parity ^= 1;
  }
};

#endif

/// Blocks of threads are as many as run at once, or as there are tiles; shared memory has of.window stages from a multiple of 1024
/// bytes. Tiles of outputs change fastest: all that run together share few tokens, and the weights stay in L2.
/// Compiled for other devices it is empty, and has no barriers: that is how the host sees which it has.
template <class Shape, bool OneRun, bool Zeros, codec Codec>
__global__ void __launch_bounds__(Shape::threads, 1) multiply_wide(const __grid_constant__ wide_product<Codec> wide) {
#if defined(TERN_HAS_WGMMA)
  static_assert(!Zeros || Shape::tokens == 128);  // a thread of a warpgroup for each
  extern __shared__ uint4 unaligned[];
  __shared__ barrier full[most_wide_stages], empty[most_wide_stages];
  __shared__ std::int32_t sums_of_x[2][Shape::tokens];
  std::uint8_t* const shared =
      reinterpret_cast<std::uint8_t*>(unaligned) + (1024 - shared_address(unaligned) % 1024) % 1024;
  const product<Codec>& a = wide.of;
  constexpr unsigned strips = Shape::strips;
  // Known to be the same in a warp: products stand in no branch that lanes could take differently.
  const unsigned warp = __shfl_sync(all_lanes, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const unsigned of_plane = (a.inputs + stage_inputs - 1) / stage_inputs, stages = a.planes * of_plane;
  const unsigned row_tiles = (a.rows + Shape::block_panels * panel_rows - 1) / (Shape::block_panels * panel_rows);
  const unsigned tiles = row_tiles * ((a.tokens + Shape::tokens - 1) / Shape::tokens);

  if (threadIdx.x == 0) {
    for (unsigned i = 0; i < a.window; ++i) {
      full[i].init(1);
      empty[i].init(Shape::warps);
    }
    publish_barriers();
  }
  __syncthreads();
  start_successor();

  if (warp >= Shape::warps) {
    give_registers<24>();
    if (threadIdx.x != 32 * Shape::warps) return;
    prefetch_map(&wide.w);
    prefetch_map(&wide.x);
    const auto copy_weights = [&](unsigned tile, unsigned plane, unsigned in_plane, unsigned slot) {
      full[slot].arrive_and_expect(Shape::stage_bytes);
      copy_tensor(shared + slot * Shape::stage_bytes + Shape::x_bytes, &wide.w, in_plane * (Shape::panel_bytes / 8),
                  plane, tile % row_tiles * Shape::block_panels, full[slot]);
    };
    const auto copy_activations = [&](unsigned tile, unsigned in_plane, unsigned slot) {
      copy_tensor(shared + slot * Shape::stage_bytes, &wide.x, in_plane * stage_inputs,
                  tile / row_tiles * Shape::tokens, full[slot]);
    };
    // The first stages' weights do not wait for the kernel that makes x.
    const unsigned early = min(a.window, of_plane);
    for (unsigned stage = 0; stage < early; ++stage) copy_weights(blockIdx.x, 0, stage, stage);
    wait_for_predecessor();
    for (unsigned stage = 0; stage < early; ++stage) copy_activations(blockIdx.x, stage, stage);
    ring_place at{early % a.window, early == a.window ? 0u : 1u};  // the parity of the slot's phase before
    unsigned in_plane = early;
    for (unsigned tile = blockIdx.x; tile < tiles; tile += gridDim.x)
      for (unsigned plane = 0; plane < a.planes; ++plane, in_plane = 0)
        for (; in_plane < of_plane; ++in_plane) {
          empty[at.slot].wait(at.parity);
          copy_weights(tile, plane, in_plane, at.slot);
          copy_activations(tile, in_plane, at.slot);
          at.advance(a.window);
        }
    return;
  }

  take_registers<240>();
  wait_for_predecessor();
  const unsigned g = lane / 4, t = lane % 4;
  const unsigned lane_panel = warp * strips + (strips == 2 ? g / 4 : 0), lane_row = strips == 2 ? g % 4 * 4 : g * 2;
  wide_reader<Shape, Codec> reader{a.decode, t,
                                   shared + Shape::x_bytes + lane_panel * Shape::panel_bytes + quad_inputs * lane_row};
  std::int32_t sums[strips][Shape::tokens / 2];
  std::uint32_t fragments[2][2][4];
  // Where w has zero points: a thread of each warpgroup adds up one token, and tells the others at the end of a run.
  const bool sums_tokens = Zeros && a.zeros != nullptr;
  const unsigned token = threadIdx.x % Shape::tokens;
  std::int32_t sum_of_x = 0;
  const auto share_sums_of_x = [&] {
    if (!sums_tokens) return;
    warpgroup_sync(warp / 4);  // nobody reads the ones of the run before any more
    sums_of_x[warp / 4][token] = sum_of_x;
    sum_of_x = 0;
    warpgroup_sync(warp / 4);
  };
  ring_place here, ahead;  // of the products; of the words
  for (unsigned tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const unsigned panel = tile % row_tiles * Shape::block_panels + lane_panel;
    const unsigned first_token = tile / row_tiles * Shape::tokens + 2 * t;
    wide_output<Shape, OneRun, Zeros, Codec> output(a, panel, lane_row);
    full[ahead.slot].wait(ahead.parity);
    reader.load(ahead.slot, 0);
    reader.fragments(fragments[0]);
    reader.load(ahead.slot, 1);
    unsigned in_plane = 0, group = 0, in_group = 0, before = here.slot;
    for (unsigned stage = 0; stage < stages; ++stage) {
      const std::uint64_t tokens = describe(shared + here.slot * Shape::stage_bytes);
      if (++in_plane == of_plane) in_plane = 0;
#pragma unroll
      for (unsigned step = 0; step < Shape::steps; ++step) {
        // The last group of a plane ends with the plane's last stage, of which what is beyond the inputs is zeros. All this is
        // the same in all lanes, and selected, not branched over: products begin late after every branch.
        const bool last = step + 1 == Shape::steps && in_plane == 0;
        const bool ends = !OneRun && (last || (in_group + 1 == wide.group_steps && group + 1 != a.groups));
        const bool adds = OneRun ? stage != 0 || step != 0 : in_group != 0;
        if constexpr (!OneRun) {
          in_group = ends ? 0 : in_group + 1;
          group = last ? 0 : ends ? group + 1 : group;
        }
        begin_products();
#pragma unroll
        for (unsigned i = 0; i < 2; ++i)
          multiply_async(sums[i % strips], fragments[step % 2][i],
                         tokens + 2 * (step * Shape::step_slices + i / strips), adds || (strips == 1 && i == 1));
        end_products();
        products_done<1>();
        if (step == 0 && stage != 0 && lane == 0) empty[before].arrive();
        reader.fragments(fragments[(step + 1) % 2]);
        // In the last step of the tile nothing follows: the words are the same ones again.
        if (step + 2 == Shape::steps && stage + 1 < stages) {
          ahead.advance(a.window);
          full[ahead.slot].wait(ahead.parity);
        }
        reader.load(ahead.slot, (step + 2) % Shape::steps);
        if (sums_tokens)
          sum_of_x =
              sum_of_step<Shape>(shared + here.slot * Shape::stage_bytes + token * stage_inputs, token, step, sum_of_x);

        if (ends) {
          products_done<0>();
          settle(sums[0]);
          share_sums_of_x();
          output.add(a, sums[0], sums_of_x[warp / 4] + 2 * t, first_token);
        }
      }
      before = here.slot;
      here.advance(a.window);
    }
    output.load_scales_of_x(a, first_token);
    products_done<0>();
#pragma unroll
    for (unsigned s = 0; s < strips; ++s) settle(sums[s]);
    if (lane == 0) empty[before].arrive();
    if constexpr (OneRun) share_sums_of_x();
    output.store(a, sums, sums_of_x[warp / 4] + 2 * t, first_token);
    ahead.advance(a.window);
  }
#endif
}

}  // namespace tern::inline v0_1::cuda::device
