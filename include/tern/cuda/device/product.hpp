// SPDX-License-Identifier: MIT
/// The one loop of all products: a block of threads multiplies a panel of 16 rows by a tile of tokens.
///
/// A run is a (plane, group) with its row of scales. The blocks of a run are cut into steps of 8, and the steps of all runs are
/// dealt to the warps in turn; a warp adds its sums to shared ones when its next step belongs to another run, in integers, so in
/// any order. Then one thread for each output walks the runs in ascending order: the written-down float expression.
///
/// Each warp asks for the weights of `Loads` steps before it uses any, the first of them before it waits for the kernel that
/// makes x: at one token nothing else matters as much.
#pragma once

#include <tern/cuda/device/atoms.hpp>
#include <tern/kernel/product.hpp>

namespace tern::inline v0_1::cuda::device {

/// What a kernel is told: device addresses and sizes.
template <codec Codec>
struct product {
  explicit product(const Codec& codec) : decode(codec) {}

  decoder<Codec> decode;
  const std::uint8_t* codes = nullptr;
  const std::byte* scales = nullptr;
  const std::int8_t* zeros = nullptr;  // where w has zero points
  const std::int32_t* sums = nullptr;  // of levels, where w has them
  const std::int8_t* x = nullptr;
  const float* x_scales = nullptr;
  const std::int32_t* x_zeros = nullptr;  // where x has zero points
  const float* bias = nullptr;            // where there is one
  void* y = nullptr;
  std::size_t x_stride = 0, y_stride = 0;
  unsigned tokens = 0, inputs = 0, rows = 0;
  unsigned runs = 0, groups = 0, group_inputs = 0;
  unsigned blocks = 0, group_blocks = 0;  // of a plane; of a group but the last
  unsigned window = 0;                    // runs whose sums are in shared memory together
  bool one_scale_row = false;             // per tensor
  scale_type scales_type = scale_type::float32;
  kernel::output_type y_type = kernel::output_type::float32;
};

/// Bytes of shared memory for one run's sums, and sums of x, of a tile of tokens.
constexpr std::size_t run_bytes(std::size_t tokens) { return tokens * (sums_stride + 1) * sizeof(std::int32_t); }
/// Bytes for the results of a tile between windows.
constexpr std::size_t tile_bytes(std::size_t tokens) { return tokens * panel_rows * sizeof(float); }

/// Where a step is: its run, and the blocks from which and up to which it takes 8.
struct step_place {
  unsigned run, first, end;
  std::size_t plane;
};

template <codec Codec>
__device__ inline step_place place_of(const product<Codec>& a, unsigned first_run, unsigned steps, unsigned step) {
  const unsigned run = first_run + step / steps, plane = run / a.groups, group = run % a.groups;
  const unsigned end = (group + 1) * a.group_blocks;
  return {run, group * a.group_blocks + step % steps * step_blocks, end < a.blocks ? end : a.blocks, plane};
}

__device__ inline float load_scale(const std::byte* scales, scale_type type, std::size_t at) {
  if (type == scale_type::float32) return reinterpret_cast<const float*>(scales)[at];
  const std::uint16_t bits = reinterpret_cast<const std::uint16_t*>(scales)[at];
  return type == scale_type::float16 ? half_to_float(bits) : bfloat16_to_float(bits);
}

/// acc - zero_x sum(w) - zero_w sum(x) + n zero_x zero_w, modulo 2^32: only the result has to fit.
template <codec Codec>
__device__ inline std::int32_t corrected(const product<Codec>& a, std::int32_t acc, std::int32_t sum_x, unsigned m,
                                         std::size_t panel, unsigned run, unsigned row) {
  const std::size_t at = panel * a.runs + run, scale_at = a.one_scale_row ? run : at;
  const unsigned begin = run % a.groups * a.group_inputs, left = a.inputs - begin;
  const unsigned n = left < a.group_inputs ? left : a.group_inputs;
  const std::uint32_t zero_x = a.x_zeros != nullptr ? static_cast<std::uint32_t>(a.x_zeros[m]) : 0;
  const std::uint32_t zero_w =
      a.zeros != nullptr ? static_cast<std::uint32_t>(std::int32_t{a.zeros[scale_at * panel_rows + row]}) : 0;
  const std::uint32_t sum_w = zero_x != 0 ? static_cast<std::uint32_t>(a.sums[at * panel_rows + row]) : 0;
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(acc) + (n * zero_w - sum_w) * zero_x -
                                   zero_w * static_cast<std::uint32_t>(sum_x));
}

template <codec Codec>
__device__ inline void store(const product<Codec>& a, unsigned m, std::size_t n, float r, std::int32_t acc) {
  const std::size_t at = m * a.y_stride + n;
  if (a.y_type == kernel::output_type::int32) {
    static_cast<std::int32_t*>(a.y)[at] = acc;
    return;
  }
  const float value = a.bias != nullptr ? __fmaf_rn(r, a.x_scales[m], a.bias[n]) : __fmul_rn(r, a.x_scales[m]);
  if (a.y_type == kernel::output_type::float32) static_cast<float*>(a.y)[at] = value;
  if (a.y_type == kernel::output_type::float16) static_cast<std::uint16_t*>(a.y)[at] = float_to_half(value);
  if (a.y_type == kernel::output_type::bfloat16) static_cast<std::uint16_t*>(a.y)[at] = float_to_bfloat16(value);
}

template <class Atom, unsigned Loads, codec Codec>
__global__ void __launch_bounds__(512) multiply(const __grid_constant__ product<Codec> a) {
  extern __shared__ std::int32_t shared[];
  std::int32_t* const sums = shared;                                             // [window][tokens][sums_stride]
  std::int32_t* const sums_of_x = sums + a.window * Atom::tokens * sums_stride;  // [window][tokens]
  float* const results = reinterpret_cast<float*>(sums_of_x + a.window * Atom::tokens);  // [tokens][16]

  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const unsigned tiles = (a.tokens + Atom::tokens - 1) / Atom::tokens;
  const std::size_t panel = blockIdx.x / tiles;
  const unsigned first_token = blockIdx.x % tiles * Atom::tokens;
  const token_tile x{a.x + first_token * a.x_stride, a.x_stride, a.tokens - 1 - first_token};
  const std::size_t plane_bytes = std::size_t{a.blocks} * block_bytes<Codec>;
  const std::uint8_t* const codes = a.codes + panel * (a.runs / a.groups) * plane_bytes;
  const unsigned run_blocks = a.group_blocks < a.blocks ? a.group_blocks : a.blocks;
  const unsigned steps = (run_blocks + step_blocks - 1) / step_blocks;  // of a run
  const bool sum_x = a.zeros != nullptr;

  for (unsigned first_run = 0; first_run < a.runs; first_run += a.window) {
    const unsigned runs = a.runs - first_run < a.window ? a.runs - first_run : a.window;
    for (unsigned i = threadIdx.x; i < a.window * Atom::tokens * (sums_stride + 1); i += blockDim.x) sums[i] = 0;

    typename Atom::weights w[Loads];
    const auto load = [&](unsigned step) {
#pragma unroll
      for (unsigned j = 0; j < Loads; ++j, step += warps) {
        if (step >= runs * steps) break;
        const step_place at = place_of(a, first_run, steps, step);
        Atom::load(w[j], codes + at.plane * plane_bytes, at.first, at.end, lane);
      }
    };
    unsigned step = warp;
    load(step);
    if (first_run == 0) {
      start_successor();
      wait_for_predecessor();
    }
    __syncthreads();  // sums are zero

    Atom atom;
    atom.clear();
    unsigned run = first_run;
    const auto flush = [&] {
      const unsigned at = (run - first_run) * Atom::tokens;
      atom.flush(sums + at * sums_stride, sums_of_x + at, lane, sum_x);
    };
    while (step < runs * steps) {
#pragma unroll
      for (unsigned j = 0; j < Loads; ++j, step += warps) {
        if (step >= runs * steps) break;
        const step_place at = place_of(a, first_run, steps, step);
        if (at.run != run) {
          flush();
          atom.clear();
          run = at.run;
        }
        atom.multiply(a.decode, w[j], x, at.first, at.end, lane, sum_x);
      }
      load(step);
    }
    flush();
    __syncthreads();

    for (unsigned i = threadIdx.x; i < Atom::tokens * panel_rows; i += blockDim.x) {
      const unsigned token = i / panel_rows, row = i % panel_rows, m = first_token + token;
      const std::size_t n = panel * panel_rows + row;
      if (m >= a.tokens || n >= a.rows) continue;
      float r = first_run == 0 ? 0.0f : results[i];
      std::int32_t acc = 0;
      for (unsigned k = 0; k < runs; ++k) {
        const unsigned at = k * Atom::tokens + token, of_run = first_run + k;
        acc = sums[at * sums_stride + sum_place(row)];
        if (a.zeros != nullptr || a.x_zeros != nullptr) acc = corrected(a, acc, sums_of_x[at], m, panel, of_run, row);
        const std::size_t scale_row = a.one_scale_row ? of_run : panel * a.runs + of_run;
        r = __fmaf_rn(__int2float_rn(acc), load_scale(a.scales, a.scales_type, scale_row * panel_rows + row), r);
      }
      if (first_run + runs == a.runs)
        store(a, m, n, r, acc);
      else
        results[i] = r;
    }
    __syncthreads();
  }
}

}  // namespace tern::inline v0_1::cuda::device
