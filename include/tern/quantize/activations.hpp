// SPDX-License-Identifier: MIT
/// Activations to int8, one scale a token: the left operand of every integer product.
#pragma once

#include <tern/kernel/dispatch.hpp>
#include <tern/quantize/rounding.hpp>
#include <tern/quantize/slices.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// The affine step of one slice: [least, most] widened to hold 0, 2^bits - 1 steps from -2^(bits - 1), zero an exact
/// code.
struct affine_step {
  float scale = 1.0f;
  std::int32_t zero = 0;
  std::int32_t lowest = -128;

  affine_step() = default;
  affine_step(float least, float most, unsigned bits = 8) : lowest(-(std::int32_t{1} << (bits - 1))) {
    if (most - least < 0x1p-100f) return;
    scale = (most - least) / static_cast<float>(-2 * lowest - 1);
    // 0 is in the range, so the quotient is at most a step's rounding outside [lowest - highest, 0].
    zero = clamped(lowest - static_cast<std::int32_t>(nearest_even(least / scale)));
  }
  std::int32_t code(float x) const { return clamped(static_cast<std::int32_t>(nearest_even(x / scale)) + zero); }

 private:
  std::int32_t clamped(std::int32_t code) const { return greater(lowest, lesser(code, -lowest - 1)); }
};

/// Bounds of a slice, 0 included.
struct value_bounds {
  float least = 0.0f, most = 0.0f;

  template <real_element T>
  void include(const T* x, std::size_t count) {
    for (std::size_t k = 0; k < count; ++k) {
      const auto value = static_cast<float>(x[k]);
      least = value < least ? value : least;
      most = value > most ? value : most;
    }
  }
};

/// Quantises row by row, each by `row`.
template <real_element T, executor Executor>
activations_view quantize_rows(kernel::row_function<T> row, matrix_view<const T> x, std::span<std::byte> storage,
                               const Executor& ex) {
  activations_view q(storage, x.rows(), x.cols(), false);
  detail::for_each_part(x.rows(), ex, [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t m = begin; m < end; ++m)
      q.scale(m) = row(x.row(m), x.cols(), q.codes(m), q.row_stride(), q.prefix(m));
  });
  for (std::size_t m = 0; m < x.rows(); ++m)
    if (q.scale(m) < 0.0f) detail::check_finite("quantize_activations", x);
  return q;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// Quantises activations to int8, absmax per token, into a workspace: allocates nothing.
///
///     am = max_k |x(m,k)|;  scale = am / 127;  code = rint(x / scale), to even        (am < 2^-100: codes 0, scale 1)
///
/// @param isa      the instruction set to run on; left out: the best of this machine
/// @param x        [M x K] float, half or bfloat16: tern's or Eigen's
/// @param storage  activations_view::storage_bytes(M, K) bytes, aligned to 64
/// @return a view into storage
///
/// Exactness: bit-identical on every instruction set; |x - code * scale| <= scale / 2 * (1 + 2^-16).
/// Cost:      two passes over x.
/// Errors:    range_error naming row and column of a NaN or infinity; shape_error when the storage is too small or not
///            aligned; isa_error when this machine has no such instruction set.
template <isa_tag Isa, real_matrix M, executor Executor = serial_executor>
activations_view quantize_activations(Isa, const M& x, std::span<std::byte> storage, const Executor& ex = {}) {
  isa::check_usable<Isa>();
  decltype(auto) rows = detail::row_major(x);
  using T = typename matrix_traits<M>::element_type;
  return detail::quantize_rows<T>(kernel::row_function_of<Isa, T>(), rows, storage, ex);
}
template <real_matrix M, executor Executor = serial_executor>
activations_view quantize_activations(const M& x, std::span<std::byte> storage, const Executor& ex = {}) {
  decltype(auto) rows = detail::row_major(x);
  using T = typename matrix_traits<M>::element_type;
  const auto row = isa::with_best([](auto isa) { return kernel::row_function_of<decltype(isa), T>(); });
  return detail::quantize_rows<T>(row, rows, storage, ex);
}

/// The same into storage of its own.
template <real_matrix M>
quantized_activations quantize_activations(const M& x) {
  decltype(auto) rows = detail::row_major(x);
  const detail::real_view<M> view = rows;
  quantized_activations q(view.rows(), view.cols());
  tern::quantize_activations(view, q.storage());
  return q;
}

/// Quantises activations to int8 with a scale that was calibrated before: code = clamp(rint(x / scale), -127, 127), to
/// even. What is beyond 127 * scale saturates; nothing of x is measured.
///
/// @param x      [M x K] real matrix: tern's or Eigen's
/// @param scale  in real units per code, positive: the calibrated clip / 127
/// Errors: range_error for a scale that is not positive and finite, or naming row and column of a NaN or infinity.
template <real_matrix M>
quantized_activations quantize_activations_per_tensor(const M& x, float scale) {
  if (!(scale > 0.0f) || !detail::is_finite(scale))
    detail::fail<range_error>({"quantize_activations_per_tensor: a scale of ", scale, " is not positive and finite"});
  decltype(auto) rows = detail::row_major(x);
  const detail::real_view<M> view = rows;
  detail::check_finite("quantize_activations_per_tensor", view);
  matrix<std::int8_t> codes(view.rows(), view.cols());
  for (std::size_t m = 0; m < view.rows(); ++m)
    for (std::size_t k = 0; k < view.cols(); ++k)
      codes(m, k) = static_cast<std::int8_t>(detail::round_code(static_cast<float>(view(m, k)), scale, 127));
  return quantized_activations::from_codes(codes.view(), std::vector<float>(view.rows(), scale));
}

/// Quantises activations to int8 with one scale for the whole matrix: max |x| / 127, or 1 where max |x| < 2^-100.
///
/// @param x  [M x K] real matrix: tern's or Eigen's
/// Errors: range_error naming row and column of a NaN or infinity.
template <real_matrix M>
quantized_activations quantize_activations_per_tensor(const M& x) {
  decltype(auto) rows = detail::row_major(x);
  const detail::real_view<M> view = rows;
  detail::check_finite("quantize_activations_per_tensor", view);
  const float am = detail::largest_magnitude(view);
  return tern::quantize_activations_per_tensor(view, am < 0x1p-100f ? 1.0f : am / 127.0f);
}

/// Quantises activations to int8 with a scale and a zero point per token, for one-sided data such as the output of a
/// ReLU.
///
///     [least, most] = the bounds of the token, widened to hold 0;  scale = (most - least) / 255
///     zero = -128 - rint(least / scale);  code = clamp(rint(x / scale) + zero, -128, 127)
///
/// Products with it need weights packed with sums. Errors: as quantize_activations; range_error when most - least
/// overflows.
template <real_matrix M>
quantized_activations quantize_activations_zero_point(const M& x) {
  decltype(auto) rows = detail::row_major(x);
  const detail::real_view<M> view = rows;
  detail::check_finite("quantize_activations_zero_point", view);
  matrix<std::int8_t> codes(view.rows(), view.cols());
  std::vector<float> scales(view.rows());
  std::vector<std::int32_t> zeros(view.rows());
  for (std::size_t m = 0; m < view.rows(); ++m) {
    detail::value_bounds bounds;
    bounds.include(view.row(m), view.cols());
    const detail::affine_step step(bounds.least, bounds.most);
    if (!detail::is_finite(step.scale))
      detail::fail<range_error>({"quantize_activations_zero_point: the range of row ", m, " overflows float"});
    scales[m] = step.scale;
    zeros[m] = step.zero;
    for (std::size_t k = 0; k < view.cols(); ++k)
      codes(m, k) = static_cast<std::int8_t>(step.code(static_cast<float>(view(m, k))));
  }
  if (view.rows() == 0) return quantized_activations(0, view.cols(), true);
  return quantized_activations::from_codes(codes.view(), scales, zeros);
}

/// The real values that quantised activations stand for: (code - zero) * scale.
inline matrix<float> dequantize(const activations_view& x) {
  matrix<float> out(x.rows(), x.cols());
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t k = 0; k < x.cols(); ++k)
      out(m, k) = static_cast<float>(x.codes(m)[k] - (x.has_zeros() ? x.zero(m) : 0)) * x.scale(m);
  return out;
}

}  // namespace tern::inline v0_1::inline TERN_TU
