// SPDX-License-Identifier: MIT
/// How a warp multiplies a step of weights: 8 blocks of a panel or of two, 16 or 32 rows x 32 * fold inputs.
///
/// Both atoms read the canonical panels as they are, coalesced, 16 bytes a lane, and the activations in natural order.
///
///   dp4a_atom  lane l holds 16 bytes of each vector of block l / 4: rows 4 (l % 4) .. + 3. Its four rows share the block's
///              activations; sums of rows are spread over eight lanes and are added by shuffles at the end of a run.
///   mma_atom   lane (g, t) = (l / 4, l % 4) holds 16 bytes of each vector of blocks t and t + 4 of panel g / 4: rows
///              4 (g % 4) .. + 3. The first two are rows g and g + 8 of one MMA tile, the last two of another; the tiles' inputs
///              4t .. 4t + 3 are a quad of block t and 16 + 4t ... the same quad of block t + 4. So the activations of a token's
///              tile are the same quads of the same blocks, at their natural place, and both panels share them: at eight
///              tokens they are as many bytes as the weights of two panels.
///
/// Blocks beyond the end of a run count as activations of 0, whatever their bytes hold; what is loaded for them is the run's last
/// block, so that no load has a branch and all of them can be in flight together.
#pragma once

#include <tern/cuda/device/decoder.hpp>

namespace tern::inline v0_1::cuda::device {

inline constexpr unsigned step_blocks = 8;
inline constexpr unsigned all_lanes = 0xffffffffu;

/// Where a block of threads adds up the sums of a tile of tokens: [token][sums_stride], row r at sum_place(r). The order and
/// stride are those in which the lanes of an MMA tile write to 32 different banks.
inline constexpr unsigned sums_stride = 20;
__device__ inline unsigned sum_place(unsigned row) { return row / 2 + row % 2 * 8; }

/// The activations of a tile of tokens. Those beyond the last token read the last one's, and their sums are not used.
struct token_tile {
  const std::int8_t* codes;  // of the first token
  std::size_t stride;
  unsigned last;

  __device__ const std::int8_t* token(unsigned m) const { return codes + (m < last ? m : last) * stride; }
};

/// The quads of one block of a token.
template <unsigned Fold>
__device__ inline void load_quads(std::uint32_t (&quads)[Fold], const std::int8_t* at) {
  if constexpr (Fold % 4 == 0) {
#pragma unroll
    for (unsigned p = 0; p < Fold; p += 4) {
      const uint4 v = *reinterpret_cast<const uint4*>(at + 4 * p);
      quads[p] = v.x, quads[p + 1] = v.y, quads[p + 2] = v.z, quads[p + 3] = v.w;
    }
  } else if constexpr (Fold % 2 == 0) {
#pragma unroll
    for (unsigned p = 0; p < Fold; p += 2) {
      const uint2 v = *reinterpret_cast<const uint2*>(at + 4 * p);
      quads[p] = v.x, quads[p + 1] = v.y;
    }
  } else {
#pragma unroll
    for (unsigned p = 0; p < Fold; ++p) quads[p] = *reinterpret_cast<const std::uint32_t*>(at + 4 * p);
  }
}

/// One of four rows side by side.
__device__ inline std::uint32_t row_of(const uint4& rows, unsigned r) {
  return r == 0 ? rows.x : r == 1 ? rows.y : r == 2 ? rows.z : rows.w;
}

__device__ inline std::int32_t dot(std::uint32_t a, std::uint32_t b, std::int32_t c) {
  return __dp4a(static_cast<std::int32_t>(a), static_cast<std::int32_t>(b), c);
}

/// Loads the quads of a block of a token, or zeros where the block is not before `end`.
template <codec Codec>
__device__ inline void load_block(std::uint32_t (&quads)[Codec::fold], const std::int8_t* token, unsigned block,
                                  unsigned end) {
  load_quads<Codec::fold>(quads, token + std::size_t{min(block, end - 1)} * block_inputs<Codec>);
#pragma unroll
  for (std::uint32_t& quad : quads) quad = block < end ? quad : 0;
}

/// One token, by dp4a.
template <codec Codec>
class dp4a_atom {
 public:
  static constexpr unsigned tokens = 1, panels = 1;
  static constexpr unsigned fold = Codec::fold, bytes = Codec::bytes;

  struct weights {
    uint4 rows[bytes];
  };
  struct activations {
    std::uint32_t quads[fold];
  };

  /// Which of the block's panels the lane reads.
  __device__ static unsigned panel_of(unsigned) { return 0; }

  /// The lane's part of the step that begins with block `first`, of a run that ends before block `end`.
  __device__ static void load(weights& w, const std::uint8_t* codes, unsigned first, unsigned end, unsigned lane) {
    const std::uint8_t* const block = codes + std::size_t{min(first + lane / 4, end - 1)} * block_bytes<Codec>;
#pragma unroll
    for (unsigned v = 0; v < bytes; ++v)
      w.rows[v] = load_once(reinterpret_cast<const uint4*>(block + v * vector_bytes + 16 * (lane % 4)));
  }
  __device__ static void load(activations& x, const token_tile& tile, unsigned first, unsigned end, unsigned lane) {
    load_block<Codec>(x.quads, tile.codes, first + lane / 4, end);
  }

  __device__ void clear() {
#pragma unroll
    for (std::int32_t& sum : sums_) sum = 0;
    sum_x_ = 0;
  }

  __device__ void multiply(const decoder<Codec>& decode, const weights& w, const activations& x, bool sum_x) {
#pragma unroll
    for (unsigned r = 0; r < 4; ++r) {
      std::uint32_t words[bytes], quads[fold];
#pragma unroll
      for (unsigned v = 0; v < bytes; ++v) words[v] = row_of(w.rows[v], r);
      decode(words, quads);
#pragma unroll
      for (unsigned p = 0; p < fold; ++p) sums_[r] = dot(quads[p], x.quads[p], sums_[r]);
    }
    if (!sum_x) return;
#pragma unroll
    for (unsigned p = 0; p < fold; ++p) sum_x_ = dot(x.quads[p], in_each_byte, sum_x_);
  }

  /// Adds the warp's sums of a run to those of the block of threads.
  __device__ void flush(std::int32_t* sums, std::int32_t* sums_of_x, unsigned lane, bool sum_x) const {
    // Four rows over eight lanes: each exchange leaves half of the rows with half of the lanes.
    const bool upper = lane & 4, odd = lane & 8;
    std::int32_t first = upper ? sums_[2] : sums_[0], second = upper ? sums_[3] : sums_[1];
    first += __shfl_xor_sync(all_lanes, upper ? sums_[0] : sums_[2], 4);
    second += __shfl_xor_sync(all_lanes, upper ? sums_[1] : sums_[3], 4);
    std::int32_t sum = odd ? second : first;
    sum += __shfl_xor_sync(all_lanes, odd ? first : second, 8);
    sum += __shfl_xor_sync(all_lanes, sum, 16);
    if (lane < 16) atomicAdd(sums + sum_place(4 * (lane % 4) + 2 * upper + odd), sum >> decoder<Codec>::shift);
    if (!sum_x) return;
    std::int32_t of_x = lane % 4 == 0 ? sum_x_ : 0;
    for (unsigned step = 4; step < 32; step *= 2) of_x += __shfl_xor_sync(all_lanes, of_x, step);
    if (lane == 0) atomicAdd(sums_of_x, of_x);
  }

 private:
  std::int32_t sums_[4];
  std::int32_t sum_x_;
};

/// 8 * Tiles tokens, on tensor cores.
template <codec Codec, unsigned Tiles>
class mma_atom {
 public:
  static constexpr unsigned tokens = 8 * Tiles, panels = 2;
  static constexpr unsigned fold = Codec::fold, bytes = Codec::bytes;

  struct weights {
    uint4 rows[2][bytes];
  };
  struct activations {
    std::uint32_t quads[Tiles][2][fold];
  };

  __device__ static unsigned panel_of(unsigned lane) { return lane / 16; }

  __device__ static void load(weights& w, const std::uint8_t* codes, unsigned first, unsigned end, unsigned lane) {
#pragma unroll
    for (unsigned h = 0; h < 2; ++h) {
      const std::uint8_t* const block =
          codes + std::size_t{min(first + 4 * h + lane % 4, end - 1)} * block_bytes<Codec>;
#pragma unroll
      for (unsigned v = 0; v < bytes; ++v)
        w.rows[h][v] = load_once(reinterpret_cast<const uint4*>(block + v * vector_bytes) + lane / 4 % 4);
    }
  }
  __device__ static void load(activations& x, const token_tile& tile, unsigned first, unsigned end, unsigned lane) {
#pragma unroll
    for (unsigned i = 0; i < Tiles; ++i)
#pragma unroll
      for (unsigned h = 0; h < 2; ++h)
        load_block<Codec>(x.quads[i][h], tile.token(8 * i + lane / 4), first + 4 * h + lane % 4, end);
  }

  __device__ void clear() {
#pragma unroll
    for (unsigned i = 0; i < Tiles; ++i) {
#pragma unroll
      for (unsigned j = 0; j < panels; ++j)
#pragma unroll
        for (std::int32_t& sum : sums_[j][i]) sum = 0;
      sum_x_[i] = 0;
    }
  }

  __device__ void multiply(const decoder<Codec>& decode, const weights& w, const activations& x, bool sum_x) {
#pragma unroll
    for (unsigned j = 0; j < panels; ++j) {
      std::uint32_t a[fold][4];
#pragma unroll
      for (unsigned h = 0; h < 2; ++h)
#pragma unroll
        for (unsigned r = 0; r < 2; ++r) {
          std::uint32_t words[bytes], quads[fold];
#pragma unroll
          for (unsigned v = 0; v < bytes; ++v) words[v] = row_of(w.rows[h][v], 2 * j + r);
          decode(words, quads);
#pragma unroll
          for (unsigned p = 0; p < fold; ++p) a[p][2 * h + r] = quads[p];
        }
#pragma unroll
      for (unsigned i = 0; i < Tiles; ++i)
#pragma unroll
        for (unsigned p = 0; p < fold; ++p) multiply_tile(sums_[j][i], a[p], {x.quads[i][0][p], x.quads[i][1][p]});
    }
    if (!sum_x) return;
#pragma unroll
    for (unsigned i = 0; i < Tiles; ++i)
#pragma unroll
      for (unsigned p = 0; p < fold; ++p)
        sum_x_[i] = dot(x.quads[i][0][p], in_each_byte, dot(x.quads[i][1][p], in_each_byte, sum_x_[i]));
  }

  __device__ void flush(std::int32_t* sums, std::int32_t* sums_of_x, unsigned lane, bool sum_x) const {
    const unsigned g = lane / 4, t = lane % 4;
    sums += panel_of(lane) * tokens * sums_stride;
#pragma unroll
    for (unsigned i = 0; i < Tiles; ++i) {
#pragma unroll
      for (unsigned j = 0; j < panels; ++j)
#pragma unroll
        for (unsigned c = 0; c < 4; ++c)
          atomicAdd(sums + (8 * i + 2 * t + c % 2) * sums_stride + sum_place(4 * (g % 4) + 2 * j + c / 2),
                    sums_[j][i][c] >> decoder<Codec>::shift);
      if (!sum_x) continue;
      std::int32_t of_x = sum_x_[i];
      of_x += __shfl_xor_sync(all_lanes, of_x, 1);
      of_x += __shfl_xor_sync(all_lanes, of_x, 2);
      if (t == 0) atomicAdd(sums_of_x + 8 * i + g, of_x);
    }
  }

 private:
  std::int32_t sums_[panels][Tiles][4];
  std::int32_t sum_x_[Tiles];
};

}  // namespace tern::inline v0_1::cuda::device
