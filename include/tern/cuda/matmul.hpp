// SPDX-License-Identifier: MIT
/// Products of quantised operands on the device.
#pragma once

#include <tern/cuda/device/split.hpp>
#include <tern/cuda/device/tile.hpp>
#include <tern/cuda/device/token.hpp>
#include <tern/cuda/device/wide.hpp>
#include <tern/cuda/device_activations.hpp>
#include <tern/cuda/device_matrix.hpp>
#include <tern/cuda/launch.hpp>
#include <tern/cuda/tensor_map.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

template <codec Codec>
void check_product(const cuda::device_activations_view& x, const cuda::device_matrix_view<Codec>& w, std::size_t y_rows,
                   std::size_t y_cols, bool int32_output, std::span<const float> bias) {
  if (x.cols() != w.cols())
    fail<shape_error>({"cuda::matmul: x is ", x.rows(), "x", x.cols(), " but w is ", w.rows(), "x", w.cols(),
                       "; the depths must agree"});
  if (y_rows != x.rows() || y_cols != w.rows())
    fail<shape_error>({"cuda::matmul: y is ", y_rows, "x", y_cols, " but x W^T is ", x.rows(), "x", w.rows()});
  if (!bias.empty() && bias.size() != w.rows())
    fail<shape_error>({"cuda::matmul: ", bias.size(), " biases for ", w.rows(), " outputs"});
  const packed_view<Codec>& layout = w.layout();
  if (int32_output && (layout.planes() * layout.groups() != 1 || !bias.empty()))
    fail<shape_error>({"cuda::matmul: int32 output needs one plane, one group and no bias; w has ", layout.planes(),
                       " planes of ", layout.groups(), " groups"});
  const std::size_t most = max_inputs(x.has_zeros(), layout.has_zeros());
  if (w.cols() > most) fail<range_error>({"cuda::matmul: ", w.cols(), " inputs could overflow int32; at most ", most});
  if (x.has_zeros() && !layout.has_sums())
    fail<shape_error>({"cuda::matmul: x has zero points, so w needs sums of its levels: pack it with {.sums = true}"});
  if (x.rows() > 0x7fffffffu || w.rows() > 0x7fffffffu)
    fail<range_error>({"cuda::matmul: ", x.rows(), " tokens by ", w.rows(), " outputs; at most 2^31 - 1 of each"});
}

template <codec Codec, output_element Y>
cuda::device::product<Codec> device_product(const cuda::device_activations_view& x, const packed_view<Codec>& w,
                                            matrix_view<Y> y, std::span<const float> bias) {
  const auto u32 = [](std::size_t size) { return static_cast<unsigned>(size); };
  cuda::device::product<Codec> a(w.get_codec());
  a.codes = w.codes(0, 0);
  a.scales = w.scales(0, 0, 0);
  a.zeros = w.has_zeros() ? w.zeros(0, 0, 0) : nullptr;
  a.sums = w.has_sums() ? w.sums(0, 0, 0) : nullptr;
  a.x = x.codes();
  a.x_scales = x.scales();
  a.x_zeros = x.has_zeros() ? x.zeros() : nullptr;
  a.x_stride = x.row_stride();
  a.tokens = u32(x.rows());
  a.inputs = u32(w.cols());
  a.rows = u32(w.rows());
  a.planes = u32(w.planes());
  a.runs = u32(checked_product(w.planes(), w.groups()));
  a.groups = u32(w.groups());
  a.group_inputs = u32(lesser(w.format().granularity.group_inputs(w.cols()), w.cols()));
  a.blocks = u32(w.blocks());
  a.group_blocks = w.groups() == 1 ? a.blocks : u32(w.format().granularity.group / block_inputs<Codec>);
  a.one_scale_row = w.format().granularity.kind == granularity::sharing::tensor;
  a.scales_type = w.format().scales;
  a.bias = bias.empty() ? nullptr : bias.data();
  a.y = y.data();
  a.y_stride = y.row_stride();
  a.y_type = kernel::output_type_of<Y>;
  return a;
}

/// Steps of all runs of a panel.
template <codec Codec>
std::size_t steps_of(const cuda::device::product<Codec>& a) {
  return checked_product(a.runs, ceil_div(a.group_blocks, cuda::device::step_blocks));
}

/// Shared memory that every device gives a block of threads without being asked.
inline constexpr std::size_t shared_memory = 48 * 1024;

/// An attribute of the current device.
inline std::size_t device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&value, attribute, device), "cudaDeviceGetAttribute");
  return static_cast<std::size_t>(value);
}
inline std::size_t multiprocessors() { return device_attribute(cudaDevAttrMultiProcessorCount); }
/// Bytes of shared memory that a block of threads may ask for.
inline std::size_t most_shared_memory() { return device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin); }

/// @param most_warps  of a block; fewer where they would have nothing to do
template <class Atom, unsigned Loads, bool OneRun, codec Codec>
void multiply_on_device(cuda::device::product<Codec>& a, std::size_t most_warps, const cuda::launch& how) {
  namespace device = cuda::device;
  constexpr std::size_t of_run = device::run_bytes(Atom::tokens, Atom::panels),
                        of_tile = device::tile_bytes(Atom::tokens, Atom::panels);
  static_assert(of_run + of_tile <= shared_memory);
  a.window = static_cast<unsigned>(lesser<std::size_t>(a.runs, (shared_memory - of_tile) / of_run));
  const std::size_t warps = greater<std::size_t>(2, lesser(most_warps, ceil_div(steps_of(a), Loads)));
  launch_kernel(device::multiply<Atom, Loads, OneRun, Codec>,
                {ceil_div(a.rows, panel_rows * Atom::panels), ceil_div(a.tokens, Atom::tokens)}, 32 * warps,
                a.window * of_run + of_tile, how, a, "cuda::matmul");
}

/// Warps of a block, so that all blocks run at once where the device can hold them: a second wave costs as much as the first.
/// @param resident  warps that the registers of a multiprocessor hold
inline std::size_t warps_of_block(std::size_t blocks, std::size_t resident) {
  return greater<std::size_t>(4, lesser<std::size_t>(16, resident / ceil_div(blocks, multiprocessors())));
}

/// One token by weights of one run. @return false, having done nothing, where there are more runs or zero points, and where a panel
/// is so long that multiply_few(), which has more of it on its way at once, serves the product better
template <codec Codec>
bool multiply_token(cuda::device::product<Codec>& a, const cuda::launch& how) {
  namespace device = cuda::device;
  const std::size_t steps = steps_of(a), panels = ceil_div(a.rows, panel_rows);
  if (a.tokens != 1 || a.runs != 1 || a.zeros != nullptr || a.x_zeros != nullptr || steps == 0 ||
      steps > device::most_token_steps)
    return false;
  a.window = static_cast<unsigned>(steps);
  const std::size_t warps = lesser(warps_of_block(panels, 48), ceil_div(steps, std::size_t{device::token_loads}));
  launch_kernel(device::multiply_token<Codec>, {panels}, 32 * warps, 0, how, a, "cuda::matmul");
  return true;
}

/// Few tokens: a panel or two a block of threads, and as many of their bytes in flight as registers hold. The resident warps are
/// what the kernels' registers allow, for codec i2.
template <codec Codec>
void multiply_few(cuda::device::product<Codec>& a, const cuda::launch& how) {
  namespace device = cuda::device;
  using one = device::dp4a_atom<Codec>;
  using eight = device::mma_atom<Codec, 1>;
  using sixteen = device::mma_atom<Codec, 2>;
  using many = device::mma_atom<Codec, 4>;
  const std::size_t panels = ceil_div(a.rows, panel_rows), pairs = ceil_div(panels, 2);
  const std::size_t tiles = pairs * ceil_div(a.tokens, many::tokens);
  if (a.runs != 1) {
    if (a.tokens == 1) return multiply_on_device<one, 2, false>(a, warps_of_block(panels, 48), how);
    if (a.tokens <= 8 && pairs <= multiprocessors()) return multiply_on_device<eight, 2, false>(a, 16, how);
    if (a.tokens <= 8) return multiply_on_device<eight, 1, false>(a, warps_of_block(pairs, 32), how);
    if (a.tokens <= 16) return multiply_on_device<sixteen, 1, false>(a, warps_of_block(pairs, 20), how);
    return multiply_on_device<many, 1, false>(a, warps_of_block(tiles, 16), how);
  }
  // A warp waits for activations as often as it loads: but once, where that many loads leave registers for a block's warps.
  if (a.tokens == 1 && steps_of(a) > 2 * warps_of_block(panels, 48))
    return multiply_on_device<one, 5, true>(a, warps_of_block(panels, 32), how);
  if (a.tokens == 1) return multiply_on_device<one, 2, true>(a, warps_of_block(panels, 48), how);
  if (a.tokens <= 8 && pairs <= multiprocessors() && steps_of(a) > 2 * 16)
    return multiply_on_device<eight, 4, true>(a, 16, how);
  if (a.tokens <= 8) return multiply_on_device<eight, 2, true>(a, warps_of_block(pairs, 32), how);
  if (a.tokens <= 16) return multiply_on_device<sixteen, 2, true>(a, warps_of_block(pairs, 20), how);
  return multiply_on_device<many, 1, true>(a, warps_of_block(tiles, 16), how);
}

/// Many tokens, in tiles. @return false, having done nothing, where the tiles take no such product
template <class Shape, bool OneRun, codec Codec>
bool multiply_in_tiles(cuda::device::product<Codec>& a, const cuda::launch& how) {
  namespace device = cuda::device;
  const bool splits_pieces = !OneRun && ((block_inputs<Codec> % 16 != 0 && 16 % block_inputs<Codec> != 0) ||
                                         (a.groups != 1 && a.group_blocks * block_inputs<Codec> % 16 != 0));
  const std::size_t stages = lesser<std::size_t>(device::most_stages, most_shared_memory() / Shape::stage_bytes);
  if (a.zeros != nullptr || a.x_zeros != nullptr || splits_pieces || a.blocks == 0 || stages < 2) return false;
  a.window = static_cast<unsigned>(stages);
  const auto kernel = device::multiply_tiles<Shape, OneRun, Codec>;
  check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(stages * Shape::stage_bytes)),
             "cudaFuncSetAttribute");
  launch_kernel(kernel, {ceil_div(a.rows, panel_rows * Shape::block_panels), ceil_div(a.tokens, Shape::block_tokens)},
                Shape::threads, stages * Shape::stage_bytes, how, a, "cuda::matmul");
  return true;
}

/// Many tokens, by warpgroups. @return as multiply_in_tiles; false too in code for other devices than sm_90a
template <class Shape, bool OneRun, bool Zeros, codec Codec>
bool multiply_wide(const cuda::device::product<Codec>& a, const cuda::launch& how) {
  namespace device = cuda::device;
  const auto kernel = device::multiply_wide<Shape, OneRun, Zeros, Codec>;
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel)), "cudaFuncGetAttributes");
  constexpr std::size_t alignment = 1024, group_unit = 64 / block_inputs<Codec>;
  if (attributes.sharedSizeBytes == 0 || a.blocks == 0 || (!Zeros && (a.zeros != nullptr || a.x_zeros != nullptr)) ||
      (a.groups != 1 && a.group_blocks % group_unit != 0))
    return false;
  const std::size_t room = most_shared_memory() - attributes.sharedSizeBytes - alignment;
  const std::size_t stages = lesser<std::size_t>(device::most_wide_stages, room / Shape::stage_bytes);
  device::wide_product<Codec> wide{a, {}, {}, static_cast<unsigned>(a.group_blocks / group_unit)};
  wide.of.window = static_cast<unsigned>(stages);
  const std::size_t plane_bytes = a.blocks * block_bytes<Codec>, panels = ceil_div(a.rows, panel_rows);
  wide.x = make_tensor_map(CU_TENSOR_MAP_DATA_TYPE_UINT8, a.x,
                           {{a.x_stride, 1, device::stage_inputs}, {a.tokens, a.x_stride, Shape::tokens}}, true);
  wide.w = make_tensor_map(CU_TENSOR_MAP_DATA_TYPE_UINT64, a.codes,
                           {{plane_bytes / 8, 8, Shape::panel_bytes / 8},
                            {a.planes, plane_bytes, 1},
                            {panels, a.planes * plane_bytes, Shape::block_panels}},
                           false);
  const std::size_t shared_bytes = stages * Shape::stage_bytes + alignment;
  check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(shared_bytes)),
             "cudaFuncSetAttribute");
  const std::size_t tiles = ceil_div(panels, Shape::block_panels) * ceil_div(a.tokens, Shape::tokens);
  launch_kernel(kernel, {lesser(tiles, multiprocessors())}, Shape::threads, shared_bytes, how, wide, "cuda::matmul");
  return true;
}

/// Tens of tokens, each tile by `split` blocks of a cluster. @return as multiply_wide; false too where a block would have no stage
template <class Shape, codec Codec>
bool multiply_split(const cuda::device::product<Codec>& a, std::size_t split, const cuda::launch& how) {
  namespace device = cuda::device;
  const auto kernel = device::multiply_split<Shape, Codec>;
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel)), "cudaFuncGetAttributes");
  constexpr std::size_t alignment = 1024;
  // Sums that blocks send each other, in pieces of 16 rows x 8 tokens.
  const std::size_t pieces = ceil_div(lesser<std::size_t>(a.tokens, Shape::tokens), 8) * Shape::panels;
  const std::size_t sums_bytes = split * ceil_div(pieces, split) * panel_rows * 8 * sizeof(std::int32_t);
  const std::size_t stages = ceil_div(a.blocks, Shape::blocks), of_block = ceil_div(stages, split);
  const std::size_t reserved = attributes.sharedSizeBytes + alignment + sums_bytes, most = most_shared_memory();
  if (attributes.sharedSizeBytes == 0 || a.runs != 1 || a.zeros != nullptr || a.x_zeros != nullptr || stages < split ||
      reserved + 2 * Shape::stage_bytes > most)
    return false;
  // Half of a multiprocessor's memory, so that the next kernel's blocks can ask for their weights while these work; all of it
  // where half would hold too few stages to cover the way from memory.
  const std::size_t few = 4, half = (most + 1024) / 2 - 1024;
  const std::size_t room = (reserved + lesser(of_block, few) * Shape::stage_bytes <= half ? half : most) - reserved;
  device::split_product<Codec> of{a, {}, {}};
  of.a.window = static_cast<unsigned>(
      lesser<std::size_t>(device::most_split_stages, lesser(of_block, room / Shape::stage_bytes)));
  const std::size_t plane_bytes = a.blocks * block_bytes<Codec>;
  of.x = make_tensor_map(CU_TENSOR_MAP_DATA_TYPE_UINT8, a.x,
                         {{a.x_stride, 1, device::stage_inputs}, {a.tokens, a.x_stride, Shape::tokens}}, true);
  of.w = make_tensor_map(
      CU_TENSOR_MAP_DATA_TYPE_UINT64, a.codes,
      {{plane_bytes / 8, 8, Shape::panel_bytes / 8}, {ceil_div(a.rows, panel_rows), plane_bytes, Shape::panels}},
      false);
  const std::size_t shared_bytes = alignment + of.a.window * Shape::stage_bytes + sums_bytes;
  // The same for all products, as other host threads and graphs that are not instantiated yet may need more than this one.
  check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(most - attributes.sharedSizeBytes)),
             "cudaFuncSetAttribute");
  // Without this it may set aside less than two blocks need.
  check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributePreferredSharedMemoryCarveout,
                                  cudaSharedmemCarveoutMaxShared),
             "cudaFuncSetAttribute");
  launch_kernel(kernel, {ceil_div(a.rows, Shape::rows) * split, ceil_div(a.tokens, Shape::tokens), split},
                Shape::threads, shared_bytes, how, of, "cuda::matmul");
  return true;
}

/// A way to multiply tens of tokens, and about how long it takes.
template <codec Codec>
struct split_choice {
  bool (*multiply)(const cuda::device::product<Codec>&, std::size_t, const cuda::launch&) = nullptr;
  std::size_t split = 1;
  double time = 1e30;

  /// By Shape in clusters of up to eight, where that is faster.
  ///
  /// The times are microseconds on an H100, fitted to 500 products of 16 to 128 tokens; the choice is within 11 % of the best of
  /// all shapes and splits for each of them, and nearly always the best. A stage takes a block 0.25 us alone, and a multiprocessor
  /// 0.09 us for each 64 rows; what follows the last takes a multiprocessor 0.019 us for each 64 rows and token. Clusters of four
  /// and eight leave multiprocessors idle, where those of a part of the device are no multiple; eight blocks are late to start.
  /// A multiprocessor has room for two blocks at once, or for as many as need less memory.
  template <class Shape>
  void consider(const cuda::device::product<Codec>& a, std::size_t processors, std::size_t shared) {
    const std::size_t tiles = ceil_div(a.rows, Shape::rows) * ceil_div(a.tokens, Shape::tokens);
    const std::size_t stages = ceil_div(a.blocks, Shape::blocks);
    for (const std::size_t by : {1, 2, 4, 8}) {
      if (by > stages) break;
      const std::size_t at_once = by <= 2 ? processors : greater<std::size_t>(1, processors * 10 / 11);
      const std::size_t bytes = ceil_div(stages, by) * Shape::stage_bytes + Shape::sums_bytes + 2048;
      const std::size_t fit = greater<std::size_t>(2, lesser<std::size_t>(4, shared / bytes));
      const std::size_t rounds = ceil_div(tiles * by, at_once), waves = ceil_div(rounds, fit);
      const double strips = static_cast<double>(lesser(rounds, fit) * (Shape::panels / 4));
      const double launch = by == 8 ? 2.3 : 1.3, stage = greater(0.25, 0.089 * strips);
      const double wave = static_cast<double>(ceil_div(stages, by)) * stage + 0.019 * strips * Shape::tokens;
      const double about = launch + static_cast<double>(waves) * wave;
      if (about < time) *this = {multiply_split<Shape, Codec>, by, about};
    }
  }
};

/// 17 to 128 tokens. @return false where others serve the product
template <codec Codec>
bool multiply_tens(const cuda::device::product<Codec>& a, const cuda::launch& how) {
  namespace device = cuda::device;
  if constexpr (device::has_lane_fields<Codec>) {
    if (a.tokens <= 16 || a.tokens > 128) return false;
    split_choice<Codec> best;
    const std::size_t processors = multiprocessors(), shared = most_shared_memory();
    best.template consider<device::split_shape<Codec, 1, 32>>(a, processors, shared);
    best.template consider<device::split_shape<Codec, 2, 32>>(a, processors, shared);
    best.template consider<device::split_shape<Codec, 2, 64>>(a, processors, shared);
    best.template consider<device::split_shape<Codec, 2, 128>>(a, processors, shared);
    return best.multiply != nullptr && best.multiply(a, best.split, how);
  }
  return false;
}

/// A shape of tiles, and about how long a product by it takes.
template <codec Codec>
struct wide_choice {
  bool (*multiply)(const cuda::device::product<Codec>&, const cuda::launch&) = nullptr;
  double time = 1e30;

  /// @param stage  microseconds of a tile for 128 inputs
  /// @param tile   and for its outputs, which nothing overlaps
  template <class Shape, bool OneRun, bool Zeros>
  void consider(const cuda::device::product<Codec>& a, std::size_t processors, double stage, double tile) {
    const std::size_t tiles =
        ceil_div(ceil_div(a.rows, panel_rows), Shape::block_panels) * ceil_div(a.tokens, Shape::tokens);
    const std::size_t stages = a.planes * ceil_div(a.inputs, cuda::device::stage_inputs);
    const double about =
        static_cast<double>(ceil_div(tiles, processors)) * (static_cast<double>(stages) * stage + tile);
    if (about < time) *this = {multiply_wide<Shape, OneRun, Zeros, Codec>, about};
  }
};

/// Microseconds of a tile for 128 inputs, on an H100: of 256 outputs x 128 tokens, 128 x 128, and 128 x 256. Where decoding takes
/// longer than products, the more tokens share it the better.
template <codec Codec>
struct wide_times {
  static constexpr double tall = 0.57, half = 0.29, broad = 0.75;
};
template <>
struct wide_times<n4> {
  static constexpr double tall = 0.88, half = 0.5, broad = 0.69;
};
template <>
struct wide_times<n6> {
  static constexpr double tall = 1.55, half = 0.85, broad = 1.03;
};
template <>
struct wide_times<i8> {
  static constexpr double tall = 0.68, half = 0.55, broad = 0.85;
};

/// @return false where multiply_few() serves the product, or serves it better
template <codec Codec>
bool multiply_many(cuda::device::product<Codec>& a, const cuda::launch& how) {
  namespace device = cuda::device;
  // A tile takes its time however few there are.
  const std::size_t panels = ceil_div(a.rows, panel_rows), tiles = ceil_div(panels, 16) * ceil_div(a.tokens, 128);
  const std::size_t processors = multiprocessors();
  const bool few = a.tokens <= 32 || tiles < processors / (a.tokens <= 64 ? 6 : 5);
  if constexpr (device::has_lane_fields<Codec>) {
    using times = wide_times<Codec>;
    using half = device::wide_shape<Codec, 1, 128>;
    wide_choice<Codec> best;
    const bool zeros = a.zeros != nullptr || a.x_zeros != nullptr;
    if (a.runs > 1 && zeros) {  // results beside sums leave registers for half as many rows
      best.template consider<half, false, true>(a, processors, times::half, 2.6);
    } else if (a.runs > 1) {
      best.template consider<half, false, false>(a, processors, times::half, 2.6);
    } else if (zeros) {
      best.template consider<half, true, true>(a, processors, times::half, 2.6);
    } else {
      best.template consider<device::wide_shape<Codec, 2, 128>, true, false>(a, processors, times::tall, 3.4);
      best.template consider<half, true, false>(a, processors, times::half, 2.6);
      if constexpr (times::broad < times::tall)
        best.template consider<device::wide_shape<Codec, 1, 256>, true, false>(a, processors, times::broad, 3.4);
    }
    if ((a.tokens > 128 || !few) && best.multiply(a, how)) return true;
  }
  if (few) return false;
  if (a.runs > 1) return multiply_in_tiles<device::tile_shape<Codec, 2, 8, 4, 2>, false>(a, how);
  return multiply_in_tiles<device::tile_shape<Codec, 4, 8, 4, 2>, true>(a, how);
}

template <codec Codec>
const cuda::device_matrix_view<Codec>& device_weights(const cuda::device_matrix_view<Codec>& w) {
  return w;
}
template <codec Codec>
const cuda::device_matrix_view<Codec>& device_weights(const cuda::device_matrix<Codec>& w) {
  return w.view();
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::cuda::inline TERN_TU {

/// Multiplies activations by packed weights on the device: Y = X W^T, the same numbers as tern::matmul, bit for bit.
///
/// @param x     [M x K] quantised activations: see cuda::quantize_activations
/// @param w     [N x K] packed weights of any codec and granularity: device_matrix or its view
/// @param y     [M x N] float, half, bfloat16, or int32 for the sums themselves; a view of device memory. Written in full,
///              never read, must not overlap x.
/// @param bias  [N] floats in device memory, or empty
/// @param how   the stream, and whether to overlap with the kernel before
///
/// Exactness: bit-identical to the host; tested with ==. NaN outputs are NaN; their sign and payload are not promised.
/// Overflow:  K <= max_inputs(x has zeros, w has zeros), as on the host.
/// Cost:      one kernel. Allocates nothing, waits for nothing; may be captured into a graph.
/// Errors:    as tern::matmul, before anything is launched; cuda_error when the kernel cannot be launched.
template <class W, output_element Y>
  requires requires(const W& w) { detail::device_weights(w); }
void matmul(const device_activations_view& x, const W& w, matrix_view<Y> y, std::span<const float> bias = {},
            const launch& how = {}) {
  const auto& weights = detail::device_weights(w);
  using Codec = typename W::codec_type;
  detail::check_product(x, weights, y.rows(), y.cols(), std::same_as<Y, std::int32_t>, bias);
  if (x.rows() == 0 || w.rows() == 0) return;
  device::product<Codec> a = detail::device_product(x, weights.layout(), y, bias);
  if (detail::multiply_token(a, how)) return;
  if (!detail::multiply_tens(a, how) && !detail::multiply_many(a, how)) detail::multiply_few(a, how);
}

}  // namespace tern::inline v0_1::cuda::inline TERN_TU
