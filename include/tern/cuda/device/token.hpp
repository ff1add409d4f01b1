// SPDX-License-Identifier: MIT
/// One token by weights of one run, of panels that are not long: a block of threads for each panel.
///
/// The loop of product.hpp without what such a product has no use for, because what counts here is the time after the kernel before
/// has ended. So everything else comes first: each warp asks for the weights of two steps (atoms.hpp), the first warp also for
/// scales and biases. Then x comes in one go, straight to the lanes that use it, and one barrier stands between the products and
/// the outputs.
#pragma once

#include <tern/cuda/device/product.hpp>

namespace tern::inline v0_1::cuda::device {

/// Steps that a warp has on their way at once; the most of a panel, and so the most warps.
inline constexpr unsigned token_loads = 2, most_token_steps = 24, most_token_warps = most_token_steps / token_loads;

/// The grid is the panels, each of a.window steps.
template <codec Codec>
__global__ void __launch_bounds__(32 * most_token_warps) multiply_token(const __grid_constant__ product<Codec> a) {
  constexpr unsigned bytes = Codec::bytes, fold = Codec::fold, loads = token_loads;
  __shared__ std::int32_t sums[most_token_warps][panel_rows];
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const std::uint8_t* const from = a.codes + std::size_t{blockIdx.x} * a.blocks * block_bytes<Codec> + 16 * (lane % 4);
  const unsigned steps = a.window;
  const auto block_of = [&](unsigned step) { return step * step_blocks + lane / 4; };
  uint4 w[loads][bytes];
  const auto load_weights = [&](unsigned j, unsigned step) {
    const std::uint8_t* const block = from + min(block_of(step), a.blocks - 1) * unsigned{block_bytes<Codec>};
#pragma unroll
    for (unsigned v = 0; v < bytes; ++v) w[j][v] = load_once(reinterpret_cast<const uint4*>(block + v * vector_bytes));
  };
#pragma unroll
  for (unsigned j = 0; j < loads; ++j)
    if (warp + j * warps < steps) load_weights(j, warp + j * warps);
  const unsigned row = lane % panel_rows;
  const std::size_t n = std::size_t{blockIdx.x} * panel_rows + row;
  float scale = 0.0f, bias = 0.0f;
  if (warp == 0 && n < a.rows) {
    scale = load_scale(a.scales, a.scales_type, a.one_scale_row ? row : n);
    if (a.bias != nullptr) bias = a.bias[n];
  }
  start_successor();
  wait_for_predecessor();
  const float x_scale = *a.x_scales;

  std::int32_t of_row[4] = {};
  for (unsigned first = warp; first < steps; first += loads * warps) {
    std::uint32_t x[loads][fold] = {};
#pragma unroll
    for (unsigned j = 0; j < loads; ++j) {
      const unsigned block = block_of(first + j * warps);
      if (block < a.blocks) load_quads<fold>(x[j], a.x + block * block_inputs<Codec>);
    }
#pragma unroll
    for (unsigned j = 0; j < loads; ++j) {
      if (first + j * warps >= steps) break;
#pragma unroll
      for (unsigned r = 0; r < 4; ++r) {
        std::uint32_t words[bytes], quads[fold];
#pragma unroll
        for (unsigned v = 0; v < bytes; ++v)
          words[v] = r == 0 ? w[j][v].x : r == 1 ? w[j][v].y : r == 2 ? w[j][v].z : w[j][v].w;
        a.decode(words, quads);
#pragma unroll
        for (unsigned p = 0; p < fold; ++p) of_row[r] = dot(quads[p], x[j][p], of_row[r]);
      }
      if (first + (j + loads) * warps < steps) load_weights(j, first + (j + loads) * warps);
    }
  }
  // Four rows over eight lanes: each exchange leaves half of the rows with half of the lanes.
  const bool upper = lane & 4, odd = lane & 8;
  std::int32_t even_sum = upper ? of_row[2] : of_row[0], odd_sum = upper ? of_row[3] : of_row[1];
  even_sum += __shfl_xor_sync(all_lanes, upper ? of_row[0] : of_row[2], 4);
  odd_sum += __shfl_xor_sync(all_lanes, upper ? of_row[1] : of_row[3], 4);
  std::int32_t sum = odd ? odd_sum : even_sum;
  sum += __shfl_xor_sync(all_lanes, odd ? even_sum : odd_sum, 8);
  sum += __shfl_xor_sync(all_lanes, sum, 16);
  if (lane < panel_rows) sums[warp][4 * (lane % 4) + 2 * upper + odd] = sum;
  __syncthreads();
  if (warp != 0) return;
  std::int32_t acc = 0;
#pragma unroll
  for (unsigned i = 0; i < most_token_warps / 2; ++i)
    if (2 * i + lane / 16 < warps) acc += sums[2 * i + lane / 16][row];
  acc += __shfl_xor_sync(all_lanes, acc, 16);
  acc >>= decoder<Codec>::shift;
  const float r = __fmaf_rn(__int2float_rn(acc), scale, 0.0f);
  if (lane < panel_rows && n < a.rows)
    store(a, n, a.bias != nullptr ? __fmaf_rn(r, x_scale, bias) : __fmul_rn(r, x_scale), acc);
}

}  // namespace tern::inline v0_1::cuda::device
