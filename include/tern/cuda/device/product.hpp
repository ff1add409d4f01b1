// SPDX-License-Identifier: MIT
/// The one loop of all products: a block of threads multiplies a panel of 16 rows, or two, by a tile of tokens.
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
  unsigned planes = 1, runs = 0, groups = 0, group_inputs = 0;
  unsigned blocks = 0, group_blocks = 0;  // of a plane; of a group, of which the last may have fewer
  unsigned window = 0;                    // runs whose sums are in shared memory together
  bool one_scale_row = false;             // per tensor
  scale_type scales_type = scale_type::float32;
  kernel::output_type y_type = kernel::output_type::float32;
};

/// Bytes of shared memory for a run: the scales of the panels, and the sums and sums of x of a tile of tokens.
constexpr std::size_t run_bytes(std::size_t tokens, std::size_t panels) {
  return panels * panel_rows * sizeof(float) + tokens * (panels * sums_stride + 1) * sizeof(std::int32_t);
}
/// And once: biases, the tokens' scales, and the results of the tile between windows.
constexpr std::size_t tile_bytes(std::size_t tokens, std::size_t panels) {
  return (panels * panel_rows + tokens + tokens * panels * panel_rows) * sizeof(float);
}

/// Where a step is: its run, the plane's bytes, and the blocks from which and up to which it takes 8.
struct step_place {
  unsigned run, plane, first, end;
};

/// Of the steps of a window of runs. Those beyond the last have no blocks before the end.
/// @param of_run  steps of a run, the last of which may have fewer blocks
template <bool OneRun, codec Codec>
__device__ inline step_place place_of(const product<Codec>& a, unsigned first_run, unsigned of_run, unsigned steps,
                                      unsigned step) {
  if constexpr (OneRun) return {0, 0, step * step_blocks, a.blocks};
  const unsigned at = min(step, steps - 1);
  // Divisions take longer than the products: none for groups of a step and for one plane.
  const unsigned in_window = of_run == 1 ? at : at / of_run, run = first_run + in_window;
  const unsigned plane = a.planes == 1 ? 0 : run / a.groups, group = run - plane * a.groups;
  const unsigned end = min((group + 1) * a.group_blocks, a.blocks);
  const unsigned first = group * a.group_blocks + (at - in_window * of_run) * step_blocks;
  return {run, plane, step < steps ? first : end, end};
}

__device__ inline float load_scale(const void* scales, scale_type type, std::size_t at) {
  if (type == scale_type::float32) return static_cast<const float*>(scales)[at];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(scales)[at];
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
__device__ inline void store(const product<Codec>& a, std::size_t at, float value, std::int32_t acc) {
  if (a.y_type == kernel::output_type::int32) static_cast<std::int32_t*>(a.y)[at] = acc;
  if (a.y_type == kernel::output_type::float32) static_cast<float*>(a.y)[at] = value;
  if (a.y_type == kernel::output_type::float16) static_cast<std::uint16_t*>(a.y)[at] = float_to_half(value);
  if (a.y_type == kernel::output_type::bfloat16) static_cast<std::uint16_t*>(a.y)[at] = float_to_bfloat16(value);
}

/// Outputs of a token and of two rows side by side, or of the first alone; at once where they are aligned to their size. Types are
/// chosen by selection, not by branches: a kernel of two microseconds feels every line of code it has to fetch.
template <codec Codec>
__device__ inline void store_two(const product<Codec>& a, std::size_t at, const float (&value)[2],
                                 const std::int32_t (&acc)[2], bool both, bool aligned) {
  if (a.y_type == kernel::output_type::int32 || a.y_type == kernel::output_type::float32) {
    const bool sums = a.y_type == kernel::output_type::int32;
    std::uint32_t* const y = static_cast<std::uint32_t*>(a.y) + at;
    const uint2 v{sums ? static_cast<std::uint32_t>(acc[0]) : __float_as_uint(value[0]),
                  sums ? static_cast<std::uint32_t>(acc[1]) : __float_as_uint(value[1])};
    if (both && aligned) {
      *reinterpret_cast<uint2*>(y) = v;
    } else {
      y[0] = v.x;
      if (both) y[1] = v.y;
    }
  } else {
    const bool half = a.y_type == kernel::output_type::float16;
    std::uint16_t* const y = static_cast<std::uint16_t*>(a.y) + at;
    const std::uint32_t v = half ? floats_to_halves(value[0], value[1]) : floats_to_bfloat16s(value[0], value[1]);
    if (both && aligned) {
      *reinterpret_cast<std::uint32_t*>(y) = v;
    } else {
      y[0] = static_cast<std::uint16_t>(v);
      if (both) y[1] = static_cast<std::uint16_t>(v >> 16);
    }
  }
}

/// The grid is [groups of panels] x [tiles of tokens]. OneRun is a.runs == 1, which saves half of the instructions of a short product.
template <class Atom, unsigned Loads, bool OneRun, codec Codec>
__global__ void __launch_bounds__(512) multiply(const __grid_constant__ product<Codec> a) {
  extern __shared__ uint4 shared[];
  const unsigned all_runs = OneRun ? 1 : a.runs, window = OneRun ? 1 : a.window;
  constexpr unsigned rows = Atom::panels * panel_rows, run_sums = Atom::panels * Atom::tokens * sums_stride;
  uint4* const scales = shared;  // [window][rows]
  std::int32_t* const sums =
      reinterpret_cast<std::int32_t*>(scales + window * rows / 4);                  // [window][panels][tokens][..]
  std::int32_t* const sums_of_x = sums + window * run_sums;                         // [window][tokens]
  float* const bias = reinterpret_cast<float*>(sums_of_x + window * Atom::tokens);  // [rows]
  float* const x_scales = bias + rows;                                              // [tokens]
  float* const results = x_scales + Atom::tokens;                                   // [tokens][rows]

  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const std::size_t first_panel = std::size_t{blockIdx.x} * Atom::panels, last_panel = (a.rows - 1) / panel_rows;
  const unsigned first_token = blockIdx.y * Atom::tokens;
  const token_tile x{a.x + first_token * a.x_stride, a.x_stride, a.tokens - 1 - first_token};
  const std::size_t plane_bytes = std::size_t{a.blocks} * block_bytes<Codec>;
  // Where there is no second panel it is the first again, and its sums are not used.
  const std::uint8_t* const codes =
      a.codes + min(first_panel + Atom::panel_of(lane), last_panel) * a.planes * plane_bytes;
  const unsigned of_run = (a.group_blocks + step_blocks - 1) / step_blocks;  // steps
  const bool sum_x = a.zeros != nullptr;

  for (unsigned first_run = 0; first_run < all_runs; first_run += window) {
    const unsigned runs = all_runs - first_run < window ? all_runs - first_run : window;
    const unsigned steps = runs * of_run;
    const auto place = [&](unsigned step) { return place_of<OneRun>(a, first_run, of_run, steps, step); };
    typename Atom::weights w[Loads];
    const auto load_weights = [&](unsigned step) {
      if (step >= steps) return;
#pragma unroll
      for (unsigned j = 0; j < Loads; ++j) {
        const step_place at = place(step + j * warps);
        Atom::load(w[j], codes + at.plane * plane_bytes, at.first, at.end, lane);
      }
    };
    load_weights(warp);
    // What the epilogue will want is on its way early too.
    const unsigned row_vectors = a.scales_type == scale_type::float32 ? 4 : 2;
#pragma unroll
    for (unsigned p = 0; p < Atom::panels; ++p) {
      const std::size_t panel = min(first_panel + p, last_panel);
      const uint4* const first_scales = reinterpret_cast<const uint4*>(a.scales) +
                                        (a.one_scale_row ? first_run : panel * all_runs + first_run) * row_vectors;
      for (unsigned i = threadIdx.x; i < runs * row_vectors; i += blockDim.x)
        copy(scales + p * window * row_vectors + i, first_scales + i);
    }
    if (a.bias != nullptr && threadIdx.x < rows && first_panel * panel_rows + threadIdx.x < a.rows)
      copy(bias + threadIdx.x, a.bias + first_panel * panel_rows + threadIdx.x);
    for (unsigned i = threadIdx.x; i < window * (run_sums + Atom::tokens); i += blockDim.x) sums[i] = 0;
    __syncthreads();  // sums are zero
    if (first_run == 0) {
      start_successor();
      wait_for_predecessor();
      if (threadIdx.x < Atom::tokens && first_token + threadIdx.x < a.tokens)
        copy(x_scales + threadIdx.x, a.x_scales + first_token + threadIdx.x);
    }

    Atom atom;
    atom.clear();
    unsigned run = first_run;
    const auto flush = [&] {
      atom.flush(sums + (run - first_run) * run_sums, sums_of_x + (run - first_run) * Atom::tokens, lane, sum_x);
    };
    for (unsigned step = warp; step < steps; step += Loads * warps) {
      typename Atom::activations xs[Loads];
#pragma unroll
      for (unsigned j = 0; j < Loads; ++j) {
        const step_place at = place(step + j * warps);
        Atom::load(xs[j], x, at.first, at.end, lane);
      }
      // All loads are on their way before one is waited for: the compiler would put tensor products between them.
      if constexpr (Atom::tokens != 1) __syncwarp();
#pragma unroll
      for (unsigned j = 0; j < Loads; ++j) {
        const step_place at = place(step + j * warps);
        if (at.run != run) {
          flush();
          atom.clear();
          run = at.run;
        }
        atom.multiply(a.decode, w[j], xs[j], sum_x);
      }
      load_weights(step + Loads * warps);
    }
    flush();
    copied();
    __syncthreads();

    for (unsigned i = threadIdx.x; i < Atom::tokens * rows; i += blockDim.x) {
      const unsigned token = i / rows, p = i % rows / panel_rows, row = i % panel_rows, m = first_token + token;
      const std::size_t n = first_panel * panel_rows + i % rows;
      if (m >= a.tokens || n >= a.rows) continue;
      float r = first_run == 0 ? 0.0f : results[i];
      std::int32_t acc = 0;
#pragma unroll 4
      for (unsigned k = 0; k < runs; ++k) {
        acc = sums[k * run_sums + (p * Atom::tokens + token) * sums_stride + sum_place(row)];
        if (a.zeros != nullptr || a.x_zeros != nullptr)
          acc = corrected(a, acc, sums_of_x[k * Atom::tokens + token], m, first_panel + p, first_run + k, row);
        r = __fmaf_rn(__int2float_rn(acc), load_scale(scales, a.scales_type, (p * window + k) * panel_rows + row), r);
      }
      if (first_run + runs != all_runs) {
        results[i] = r;
        continue;
      }
      const float scale = x_scales[token];
      store(a, m * a.y_stride + n, a.bias != nullptr ? __fmaf_rn(r, scale, bias[i % rows]) : __fmul_rn(r, scale), acc);
    }
    if (all_runs > window) __syncthreads();  // before the next window's sums
  }
}

}  // namespace tern::inline v0_1::cuda::device
