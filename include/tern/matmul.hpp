// SPDX-License-Identifier: MIT
/// Products of quantised operands: what most users call.
#pragma once

#include <tern/kernel/dispatch.hpp>
#include <tern/parallel.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

template <class X, codec Codec>
void check_product(const kernel::product<X, Codec>& a, std::size_t y_rows, std::size_t y_cols, std::size_t bias_size) {
  const packed_view<Codec>& w = a.w;
  if (a.x.cols() != w.cols())
    fail<shape_error>({"matmul: x is ", a.x.rows(), "x", a.x.cols(), " but w is ", w.rows(), "x", w.cols(),
                       "; the depths must agree"});
  if (y_rows != a.x.rows() || y_cols != w.rows())
    fail<shape_error>({"matmul: y is ", y_rows, "x", y_cols, " but x W^T is ", a.x.rows(), "x", w.rows()});
  if (a.bias != nullptr && bias_size != w.rows())
    fail<shape_error>({"matmul: ", bias_size, " biases for ", w.rows(), " outputs"});
  if (a.y.type == kernel::output_type::int32) {
    if constexpr (std::same_as<X, kernel::float_view>)
      fail<shape_error>({"matmul: products of float activations are not integers"});
    if (w.planes() * w.groups() != 1 || a.bias != nullptr)
      fail<shape_error>({"matmul: int32 output needs one plane, one group and no bias; w has ", w.planes(),
                         " planes of ", w.groups(), " groups"});
  }
  if constexpr (std::same_as<X, activations_view>) {
    const std::size_t most = max_inputs(a.x.has_zeros(), w.has_zeros());
    if (w.cols() > most) fail<range_error>({"matmul: ", w.cols(), " inputs could overflow int32; at most ", most});
    if (a.x.has_zeros() && !w.has_sums())
      fail<shape_error>({"matmul: x has zero points, so w needs sums of its levels: pack it with {.sums = true}"});
  }
}

/// Cuts a product into parts for the executor: panels first, tokens where there are fewer panels than threads.
template <class X, codec Codec, executor Executor>
void run_product(kernel::tile_function<X, Codec> run, const kernel::product<X, Codec>& a, const Executor& ex) {
  const std::size_t tokens = a.x.rows(), panels = a.w.panels();
  if (tokens == 0 || panels == 0) return;
  const std::size_t threads = detail::greater(std::size_t{1}, ex.concurrency());
  const std::size_t panel_parts = detail::lesser(panels, threads);
  const std::size_t token_parts = detail::lesser(tokens, threads / panel_parts);
  const auto part = [&](std::size_t i) {
    const std::size_t m = i / panel_parts, n = i % panel_parts;
    run(a, {m * tokens / token_parts, (m + 1) * tokens / token_parts, n * panels / panel_parts,
            (n + 1) * panels / panel_parts});
  };
  if (panel_parts * token_parts == 1)
    part(0);
  else
    ex.parallel_for(panel_parts * token_parts, part);
}

template <codec Codec>
const packed_view<Codec>& weights(const packed_view<Codec>& w) {
  return w;
}
template <codec Codec>
const packed_view<Codec>& weights(const packed_matrix<Codec>& w) {
  return w.view();
}

/// The product on the instruction set that on(f) calls f with. All but the kernel itself is compiled once for all of them.
template <class On, class X, class W, class Y, executor Executor>
void multiply(const On& on, const X& x, const W& w, Y& y, std::span<const float> bias, const Executor& ex) {
  const auto& packed = detail::weights(w);
  using Codec = typename std::remove_cvref_t<decltype(packed)>::codec_type;
  const auto out = matrix_traits<std::remove_cvref_t<Y>>::view(y);
  const float* const biases = bias.empty() ? nullptr : bias.data();
  const auto multiply_view = [&]<class View>(const View& view) {
    const kernel::product<View, Codec> a{view, packed, out, biases};
    detail::check_product(a, out.rows(), out.cols(), bias.size());
    detail::run_product(on([](auto isa) { return kernel::tile_function_of<decltype(isa), View, Codec>(); }), a, ex);
  };
  if constexpr (std::convertible_to<const X&, const activations_view&>) {
    multiply_view(static_cast<const activations_view&>(x));
  } else {
    static_assert(std::same_as<typename matrix_traits<X>::element_type, float>,
                  "a product of real activations takes float; quantize_activations takes half and bfloat16 too");
    decltype(auto) rows = detail::row_major(x);
    multiply_view(kernel::float_view(rows));
  }
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// What a product takes on the left: quantised activations (their owner or view), or a float matrix.
template <class X>
concept product_left = std::convertible_to<const X&, const activations_view&> || real_matrix<X>;

/// What a product takes on the right: a packed matrix of any codec (its owner or view).
template <class W>
concept product_right = requires(const W& w) {
  detail::weights(w);
};

/// Multiplies activations by packed weights: Y = X W^T, exact in int32, rounded by one written-down expression.
///
///     r = sum over planes and groups, by fma, of float(sum_k (x(m,k) - zero_x)(w(n,k) - zero_w)) * scale(n)
///     y(m,n) = bias ? fma(r, x.scale(m), bias(n)) : r * x.scale(m)
///
/// With a float matrix as x the inner sum is float too, r' = fma(x(k), w(k), r') over k ascending from +0, and x.scale is 1:
/// weight-only quantisation. There IEEE rules hold (infinity times a zero weight is NaN).
///
/// @param isa   the instruction set to run on, a tag such as isa::avx2{}; left out: the best of this machine
/// @param x     [M x K] quantised activations (see quantize_activations), or float
/// @param w     [N x K] packed weights of any codec and granularity
/// @param y     [M x N] float, half, bfloat16, or int32 for the sums themselves. Written in full, never read, must not
///              overlap x.
/// @param bias  [N] or empty
/// @param ex    who runs the parts; serial by default
///
/// Exactness: bit-identical on every instruction set, for every codec, executor and batch size; tested with ==. Where a result
///            is NaN it is NaN everywhere, but its sign and payload are not promised.
/// Overflow:  K <= max_inputs(x has zeros, w has zeros): 131071; 65793 with zero points on one side, 33025 on both.
/// Cost:      M N K additions; reads the packed bytes once for every 64 tokens or more. Allocates nothing, starts no thread; each
///            thread that runs a part needs 72 KiB of stack, with AMX 132. Float x costs M N K fused multiply-adds: about
///            what a product of float matrices does.
/// Errors:    shape_error when shapes disagree, when int32 is asked of several planes or groups, or when x has zero points
///            and w no sums; range_error when K is too large; isa_error when this machine has no such instruction set, also
///            by TERN_FORCE_ISA. y is then untouched.
/// Source:    S. Ma et al., "The Era of 1-bit LLMs", arXiv:2402.17764, section 2.
///
///     tern::matmul(x, w, y);     // x: 1 x 4 {1,2,3,4}, w: 1 x 4 {+1,0,-1,+1}, all scales 1  ->  y: 1 x 1 {2}
template <isa_tag Isa, product_left X, product_right W, output_matrix Y, executor Executor = serial_executor>
void matmul(Isa isa, const X& x, const W& w, Y&& y, std::span<const float> bias = {}, const Executor& ex = {}) {
  isa::check_usable<Isa>();
  detail::multiply([&](auto f) { return f(isa); }, x, w, y, bias, ex);
}
template <product_left X, product_right W, output_matrix Y, executor Executor = serial_executor>
void matmul(const X& x, const W& w, Y&& y, std::span<const float> bias = {}, const Executor& ex = {}) {
  detail::multiply([](auto f) { return isa::with_best(f); }, x, w, y, bias, ex);
}

/// One token in, one row of outputs out: the 1-D form of the float product, y [N] = scale * (W x [K]) + bias.
template <product_right W>
void matmul(std::span<const float> x, const W& w, std::span<float> y, std::span<const float> bias = {}) {
  tern::matmul(matrix_view<const float>(x.data(), 1, x.size()), w, matrix_view<float>(y.data(), 1, y.size()), bias);
}

}  // namespace tern::inline v0_1::inline TERN_TU
