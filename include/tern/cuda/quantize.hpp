// SPDX-License-Identifier: MIT
/// Activations to int8 on the device, one scale a token.
#pragma once

#include <tern/cuda/device/quantize.hpp>
#include <tern/cuda/device_activations.hpp>
#include <tern/cuda/launch.hpp>

namespace tern::inline v0_1::cuda::inline TERN_TU {

/// Quantises activations to int8, absmax per token, by the rule of tern::quantize_activations.
///
/// @param x    [M x K] float, half or bfloat16, in device memory
/// @param q    [M x K], in device memory; codes, scales and the padding are written
/// @param how  the stream, and whether to overlap with the kernel before
///
/// Exactness: codes and scales bit-identical to the host's. A device cannot throw: where a row holds NaN or infinity its codes
///            are 0 and its scale is NaN, so that all of its outputs are NaN.
/// Cost:      one kernel; reads x once, rows of more than 16384 inputs twice. Allocates nothing, waits for nothing.
/// Errors:    shape_error when x and q disagree or q has zero points; range_error when M or K is above 2^31 - 1; cuda_error
///            when the kernel cannot be launched.
template <real_element T>
void quantize_activations(matrix_view<const T> x, const device_activations_view& q, const launch& how = {}) {
  if (x.rows() != q.rows() || x.cols() != q.cols() || q.has_zeros())
    detail::fail<shape_error>({"quantize_activations: x is ", x.rows(), "x", x.cols(), " but its codes are ", q.rows(),
                               "x", q.cols(), q.has_zeros() ? " with zero points" : ""});
  if (x.cols() > 0x7fffffffu)
    detail::fail<range_error>({"quantize_activations: ", x.cols(), " inputs; at most 2^31 - 1"});
  if (x.rows() == 0) return;
  const bool aligned =
      reinterpret_cast<std::uintptr_t>(x.data()) % (4 * sizeof(T)) == 0 && (x.row_stride() % 4 == 0 || x.rows() == 1);
  const device::quantization<T> a{
      x.data(), q.codes(), q.scales(), x.row_stride(), q.row_stride(), static_cast<unsigned>(x.cols()), aligned};
  // A few rows: as many threads as there are quads. Many: as many rows at once as can be.
  const std::size_t quads = detail::ceil_div(x.cols(), 4 * (x.rows() < 128 ? 1 : device::kept_quads));
  const std::size_t threads =
      detail::lesser<std::size_t>(1024, detail::greater<std::size_t>(32, detail::round_up(quads, 32)));
  detail::launch_kernel(device::quantize_rows<T>, {x.rows()}, threads, 0, how, a, "quantize_activations");
}
template <real_element T>
void quantize_activations(matrix_view<T> x, const device_activations_view& q, const launch& how = {}) {
  cuda::quantize_activations(matrix_view<const T>(x), q, how);
}

}  // namespace tern::inline v0_1::cuda::inline TERN_TU
