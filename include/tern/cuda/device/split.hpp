// SPDX-License-Identifier: MIT
/// Tens of tokens on sm_90a: the blocks of a cluster share the inputs of one tile, and add their sums through shared memory.
///
/// At 64 tokens a product is a wait for one thing after the other: weights, activations, a chain of warpgroup products along K,
/// stores. A tile for each block of threads leaves most of the device idle and makes that chain the longest there is. So a tile
/// belongs to the blocks of a cluster, each of which multiplies its part of the inputs into sums of its own and sends every block
/// the sums of the outputs that this one finishes. Sums are integers, exact in any order: the same bits every time, and no memory
/// to clear. They are sent rather than fetched: the barriers of the cluster before and after fetching took 0.7 us each.
///
/// A stage is 128 inputs, as in wide.hpp, and activations are in natural order; all copies are made by hardware, from tensor maps
/// that fill what is beyond the ends with zeros. One warp only asks for copies: weights of as many stages as there is room for
/// before it waits for the kernel that makes x.
///
/// Taken where there is one run and nothing has zero points, and a block has 1, 2 or 4 fields (not base 3).
#pragma once

#include <cuda.h>

#include <tern/cuda/device/pipeline.hpp>
#include <tern/cuda/device/wide.hpp>

namespace tern::inline v0_1::cuda::device {

inline constexpr unsigned most_split_stages = 16;

/// Decodes one field of a block's words, the same all the time.
template <codec Codec>
class lane_field {
 public:
  __device__ explicit lane_field(unsigned field) : field_(field) {}
  __device__ std::uint32_t operator()(const decoder<Codec>& decode, const std::uint32_t (&words)[Codec::bytes]) const {
    return decode_field(decode, words, field_);
  }

 private:
  unsigned field_;
};
/// By a multiplication, which has a pipe of its own, where shifts and masks share one.
template <>
class lane_field<i2> {
 public:
  __device__ explicit lane_field(unsigned field) : power_(64u >> 2 * field) {}
  __device__ std::uint32_t operator()(const decoder<i2>&, const std::uint32_t (&words)[1]) const {
    return words[0] * power_ & 192 * in_each_byte;
  }

 private:
  std::uint32_t power_;
};

/// A tile of 64 Groups rows, of which each warpgroup takes 64, by 32, 64 or 128 tokens.
template <codec Codec, unsigned Groups, unsigned Tokens>
struct split_shape {
  static constexpr unsigned tokens = Tokens, panels = 4 * Groups, rows = panel_rows * panels;
  static constexpr unsigned threads = 32 * panels + 32;  // a warp for each panel, and one that asks for copies
  static constexpr unsigned fold = Codec::fold, bytes = Codec::bytes;
  // Of a stage: blocks of a panel, and bytes.
  static constexpr unsigned blocks = stage_inputs / block_inputs<Codec>, panel_bytes = blocks * bytes * vector_bytes;
  static constexpr unsigned x_bytes = Tokens * stage_inputs, w_bytes = panels * panel_bytes;
  static constexpr unsigned stage_bytes = x_bytes + w_bytes;
  static_assert(has_lane_fields<Codec>);
  static_assert(stage_bytes % 1024 == 0);  // where the activations of every stage must begin
  static constexpr unsigned sums_bytes = rows * Tokens * sizeof(std::int32_t);
};

/// A product and the tensors it copies from: x is [tokens][bytes], w is [panels][8 bytes].
template <codec Codec>
struct split_product {
  product<Codec> a;
  CUtensorMap x, w;
};

/// The grid is [tiles of panels x blocks of the cluster] x [tiles of tokens]; shared memory, from a multiple of 1024 bytes, has
/// a.window stages, or all, and then sums_bytes. Every block of the cluster has a stage at least.
/// Compiled for other devices it is empty, and has no scales_of_x: that is how the host sees which it has.
template <class Shape, codec Codec>
__global__ void __launch_bounds__(Shape::threads, 1) multiply_split(const __grid_constant__ split_product<Codec> of) {
#if defined(TERN_HAS_WGMMA)
  const product<Codec>& a = of.a;
  extern __shared__ uint4 unaligned[];
  __shared__ float scales_of_x[Shape::tokens];
  __shared__ barrier full[most_split_stages], empty[most_split_stages], received;
  std::byte* const shared = reinterpret_cast<std::byte*>(unaligned) + (1024 - shared_address(unaligned) % 1024) % 1024;
  constexpr unsigned bytes = Shape::bytes, fold = Shape::fold, panels = Shape::panels;
  const unsigned lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = threadIdx.x / 32;
  const unsigned rank = cluster_rank(), split = cluster_blocks();
  const unsigned first_panel = blockIdx.x / split * panels, first_token = blockIdx.y * Shape::tokens;
  const unsigned all_stages = (a.blocks + Shape::blocks - 1) / Shape::blocks;
  const unsigned first = all_stages * rank / split, stages = all_stages * (rank + 1) / split - first;
  const unsigned early = min(stages, a.window);
  // Sums move in pieces of 16 rows x 8 tokens, a warp's panel by an octet of tokens; each block finishes `share` of the tile's.
  const unsigned pieces = (min(Shape::tokens, a.tokens - first_token) + 7) / 8 * panels;
  const unsigned share = (pieces + split - 1) / split, first_piece = min(rank * share, pieces);
  const unsigned own_pieces = min(share, pieces - first_piece);
  int4* const sums_of_all = reinterpret_cast<int4*>(shared + a.window * Shape::stage_bytes);
  const bool copies = threadIdx.x == 32 * panels;

  const auto copy_weights = [&](unsigned stage, unsigned slot) {
    full[slot].arrive_and_expect(Shape::stage_bytes);
    copy_tensor(shared + slot * Shape::stage_bytes + Shape::x_bytes, &of.w, (first + stage) * (Shape::panel_bytes / 8),
                first_panel, full[slot]);
  };
  const auto copy_activations = [&](unsigned stage, unsigned slot) {
    copy_tensor(shared + slot * Shape::stage_bytes, &of.x, (first + stage) * stage_inputs, first_token, full[slot]);
  };
  if (copies) {
    for (unsigned slot = 0; slot < early; ++slot) {
      full[slot].init(1);
      empty[slot].init(panels);
    }
    received.init(1);
    publish_barriers();
    for (unsigned slot = 0; slot < early; ++slot) copy_weights(slot, slot);
    prefetch_map(&of.x);
    received.arrive_and_expect(own_pieces * (split - 1) * 32 * sizeof(int4));
  }
  // All pieces that a warp will finish are of one panel.
  const std::size_t n = std::size_t{first_panel + (first_piece + warp) % panels} * panel_rows + 2 * g;  // and n + 1
  float scales[2] = {}, bias[2] = {};
  for (unsigned r = 0; r < 2 && n + r < a.rows; ++r) {
    scales[r] = load_scale(a.scales, a.scales_type, (a.one_scale_row ? n % panel_rows : n) + r);
    if (a.bias != nullptr) bias[r] = a.bias[n + r];
  }
  __syncthreads();  // the barriers can be used in this block
  start_successor();
  cluster_arrive_relaxed();
  cluster_wait();  // and in all of the cluster
  wait_for_predecessor();
  if (threadIdx.x < Shape::tokens && first_token + threadIdx.x < a.tokens)
    copy(scales_of_x + threadIdx.x, a.x_scales + first_token + threadIdx.x);

  if (warp == panels) {
    if (copies) {
      for (unsigned stage = 0; stage < early; ++stage) copy_activations(stage, stage);
      unsigned slot = 0, parity = 0;
      for (unsigned stage = early; stage < stages; ++stage) {
        empty[slot].wait(parity);
        copy_weights(stage, slot);
        copy_activations(stage, slot);
        if (++slot == a.window) slot = 0, parity ^= 1;
      }
    }
  } else {
    // Addresses that grow with the slot: the compiler would compute them anew, and a stage has no instruction to spare.
    std::int32_t sums[Shape::tokens / 2];
    std::uint32_t ready = kept(shared_address(full)), left = kept(shared_address(empty));
    std::uint32_t words_at = kept(shared_address(shared) + Shape::x_bytes + warp * Shape::panel_bytes +
                                  t / fold * bytes * vector_bytes + 8 * g);
    unsigned stage = 0, slot = 0, parity = 0;
    const lane_field<Codec> field(t % fold);
    using fragments = std::uint32_t[4][4];
    // Waits for the stage, decodes its weights and begins its products; those of the stage before may still run.
    const auto multiply_stage = [&](fragments& to) {
      barrier::wait(ready, parity);
#pragma unroll
      for (unsigned q = 0; q < 4; ++q)
#pragma unroll
        for (unsigned h = 0; h < 2; ++h) {
          std::uint32_t words[2][bytes];
#pragma unroll
          for (unsigned v = 0; v < bytes; ++v) {
            const uint2 both = load_shared(words_at + ((8 * q + 4 * h) / fold * bytes + v) * vector_bytes);
            words[0][v] = both.x, words[1][v] = both.y;
          }
          to[q][2 * h] = field(a.decode, words[0]);  // of block (8 q + 4 h + t) / fold
          to[q][2 * h + 1] = field(a.decode, words[1]);
        }
      const std::uint64_t tokens = describe(shared + slot * Shape::stage_bytes);
      const auto first_tokens = static_cast<std::uint32_t>(tokens);
      begin_products();
#pragma unroll
      for (unsigned q = 0; q < 4; ++q)
        multiply_async(sums, to[q], tokens >> 32 << 32 | (first_tokens + 2 * q), q != 0 || stage != 0);
      end_products();
      products_done<1>();  // those of the stage before: its fragments and its slot are free
      if (stage != 0) {
        if (lane == 0) barrier::arrive(left);
        left += sizeof(barrier);
      }
      if (slot == 0) left = kept(shared_address(empty));
      ready += sizeof(barrier), words_at += Shape::stage_bytes;
      if (++slot == a.window) {
        ready -= a.window * sizeof(barrier), words_at -= a.window * Shape::stage_bytes;
        slot = 0, parity ^= 1;
      }
      return ++stage < stages;
    };
    fragments even, odd;
    while (multiply_stage(even) && multiply_stage(odd)) continue;
    products_done<0>();
    settle(sums);

    unsigned block = 0, place = warp;  // a piece is finished by the block'th, at this place
#pragma unroll
    for (unsigned octet = 0; octet < Shape::tokens / 8; ++octet, place += panels) {
      if (octet * panels + warp >= pieces) break;
      for (; place >= share; place -= share) ++block;
      const std::int32_t v[4] = {sums[4 * octet], sums[4 * octet + 1], sums[4 * octet + 2], sums[4 * octet + 3]};
      int4* const to = sums_of_all + (rank * share + place) * 32 + lane;
      if (block == rank)
        *to = {v[0], v[1], v[2], v[3]};
      else
        store_remote(of_block(to, block), v, of_block(&received, block));
    }
  }
  const bool aligned = reinterpret_cast<std::uintptr_t>(a.y) % 8 == 0 && a.y_stride % 2 == 0;
  copied();
  __syncthreads();  // this block's sums and scales_of_x are there
  if (warp == panels) return;
  received.wait(0);
  for (unsigned i = warp; i < own_pieces; i += panels) {
    std::int32_t acc[2][2] = {};  // [token][row]
#pragma unroll 4
    for (unsigned from = 0; from < split; ++from) {
      const int4 v = sums_of_all[(from * share + i) * 32 + lane];
      acc[0][0] += v.x, acc[1][0] += v.y, acc[0][1] += v.z, acc[1][1] += v.w;
    }
#pragma unroll
    for (unsigned c = 0; c < 2; ++c) {
      const unsigned m = first_token + (first_piece + i) / panels * 8 + 2 * t + c;
      if (m >= a.tokens || n >= a.rows) continue;
      const float x_scale = scales_of_x[m - first_token];
      float value[2];
#pragma unroll
      for (unsigned r = 0; r < 2; ++r) {
        acc[c][r] >>= decoder<Codec>::shift;
        const float result = __fmaf_rn(__int2float_rn(acc[c][r]), scales[r], 0.0f);
        value[r] = a.bias != nullptr ? __fmaf_rn(result, x_scale, bias[r]) : __fmul_rn(result, x_scale);
      }
      store_two(a, m * a.y_stride + n, value, acc[c], n + 1 < a.rows, aligned);
    }
  }
#endif
}

}  // namespace tern::inline v0_1::cuda::device
