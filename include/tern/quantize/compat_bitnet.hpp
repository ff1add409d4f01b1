// SPDX-License-Identifier: MIT
/// The quantizers of the Rust bitnet-quantize crate under their own names, bit for bit, to check against it.
#pragma once

#include <tern/quantize/compat_bitlinear.hpp>

namespace tern::inline v0_1::compat::inline TERN_TU {

/// What the Rust crate's configuration says of activations.
struct activation_config {
  unsigned activation_bits = 8;
  bool per_token_activation = true;
};

/// The Rust crate's quantized activations: data [numel()], one scale for each vector of the last dimension.
struct quantized_activations {
  std::vector<std::int8_t> data;
  std::vector<float> scales;
  std::vector<std::size_t> shape;
  bool per_token = true;  // only stored: scales are per token either way, as in the original

  TERN_INLINE std::size_t batch_size() const { return shape.empty() ? 1 : shape.front(); }
  TERN_INLINE std::size_t seq_len() const { return shape.size() < 2 ? 1 : shape[1]; }
  TERN_INLINE std::size_t hidden_dim() const { return shape.empty() ? 0 : shape.back(); }
  TERN_INLINE std::size_t numel() const {
    std::size_t count = 1;
    for (const std::size_t extent : shape) count = detail::checked_product(count, extent);
    return count;
  }
};

}  // namespace tern::inline v0_1::compat::inline TERN_TU

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Tokens of a shape [batch, hidden] or [batch, seq, hidden].
/// Errors: shape_error with the given text for another rank.
inline std::size_t rust_tokens(const char* what, std::span<const std::size_t> shape, const char* text) {
  if (shape.size() != 2 && shape.size() != 3) fail<shape_error>({what, ": ", text, ", not ", shape.size(), "D"});
  return shape.size() == 2 ? shape[0] : checked_product(shape[0], shape[1]);
}

/// Rust's `as i8` of a whole number: saturates, and NaN is 0.
inline std::int8_t saturate_to_int8(float x) {
  return x != x ? std::int8_t{0} : static_cast<std::int8_t>(clamp_float(x, -128.0f, 127.0f));
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::compat::inline TERN_TU {

/// `quantize_activations` of the Rust bitnet-quantize activation quantizer: absmax per token.
///
///     Q = 2^(bits - 1) - 1;  s = max |x| / Q, or 1 for a zero row
///     q = clamp(round(x / s), -Q, Q) as i8, ties away from zero
///
/// @param data    the elements of a contiguous tensor of that shape
/// @param shape   [batch, hidden] or [batch, seq, hidden]
/// @param config  bits 1 to 16, as its configuration allows; beyond 8 the cast saturates, as the original's does
///
/// NaN is ignored by the maximum and becomes code 0; an infinity makes the scale infinite and all codes 0; below 2^-143
/// the scale rounds to 0 and codes to -Q, 0 or Q. With one bit Q is 0 and the scale infinite.
///
/// Differs: tern::quantize_activations rounds ties to even, takes any rank, and refuses what is not finite.
/// Errors:  shape_error "activations must be 2D or 3D"; range_error for other bits.
template <real_element T>
quantized_activations quantize_activations(const T* data, std::span<const std::size_t> shape,
                                           const activation_config& config = {}) {
  const std::size_t tokens = detail::rust_tokens("quantize_activations", shape, "activations must be 2D or 3D");
  if (config.activation_bits < 1 || config.activation_bits > 16)
    detail::fail<range_error>({"quantize_activations: activation_bits must be 1-16, not ", config.activation_bits});
  const auto q = static_cast<float>(detail::largest_code(config.activation_bits));
  quantized_activations out{{}, {}, {shape.begin(), shape.end()}, config.per_token_activation};
  out.data.resize(out.numel());
  out.scales.resize(tokens);
  for (std::size_t t = 0; t < tokens; ++t) {
    float largest = 0;
    for (std::size_t k = t * shape.back(); k < (t + 1) * shape.back(); ++k) {
      const float magnitude = std::fabs(static_cast<float>(data[k]));
      largest = magnitude > largest ? magnitude : largest;  // never for NaN
    }
    const float scale = out.scales[t] = largest > 0.0f ? largest / q : 1.0f;
    for (std::size_t k = t * shape.back(); k < (t + 1) * shape.back(); ++k)
      out.data[k] =
          detail::saturate_to_int8(detail::clamp_float(std::round(static_cast<float>(data[k]) / scale), -q, q));
  }
  return out;
}
template <real_element T>
quantized_activations quantize_activations(const T* data, std::initializer_list<std::size_t> shape,
                                           const activation_config& config = {}) {
  return compat::quantize_activations(data, std::span(shape.begin(), shape.size()), config);
}

/// `dequantize_activations` of the Rust bitnet-quantize activation quantizer: fl(code * scale).
///
/// @return [tokens x hidden]: the tensor's rows are its last dimension
/// Errors: shape_error "invalid shape for dequantization" for a rank other than 2 or 3, or when data or scales are of
///         another size than the shape says.
inline matrix<float> dequantize_activations(const quantized_activations& q) {
  const std::size_t tokens = detail::rust_tokens("dequantize_activations", q.shape, "invalid shape for dequantization");
  if (q.data.size() != q.numel() || q.scales.size() != tokens)
    detail::fail<shape_error>({"dequantize_activations: ", q.data.size(), " codes and ", q.scales.size(),
                               " scales for ", tokens, " tokens of ", q.hidden_dim()});
  matrix<float> x(tokens, q.hidden_dim());
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t k = 0; k < x.cols(); ++k)
      x(t, k) = detail::mul_rn(static_cast<float>(q.data[t * x.cols() + k]), q.scales[t]);
  return x;
}

/// `quantize_ste` of the Rust bitnet-quantize activation quantizer: dequantize(quantize(x)), whose gradient is taken to
/// be 1 (see ste_backward). Parameters and errors of quantize_activations.
template <real_element T>
matrix<float> quantize_ste(const T* data, std::span<const std::size_t> shape, const activation_config& config = {}) {
  return compat::dequantize_activations(compat::quantize_activations(data, shape, config));
}
template <real_element T>
matrix<float> quantize_ste(const T* data, std::initializer_list<std::size_t> shape,
                           const activation_config& config = {}) {
  return compat::quantize_ste(data, std::span(shape.begin(), shape.size()), config);
}

/// `quantize_weights` of the Rust bitnet-quantize crate: absmean per group, summed in float, ascending.
///
///     s = fl(sum |w| / group), or 1 where that is not positive;  t = clamp(round(w / s), -1, 1), ties away from zero
///
/// @param w      [out x in] real matrix
/// @param group  inputs that share a scale; must divide in
/// @return trits and scales, ready to pack
///
/// Differs: quantize_absmean sums in double, rounds ties to even, gives a zero slice gamma 0, allows a short last group
///          and refuses what is not finite; here NaN becomes 0 and an infinity an infinite scale.
/// Errors:  shape_error when group does not divide in; range_error when it is 0.
template <real_matrix W>
quantized_matrix quantize_weights(const W& w, std::size_t group = 64) {
  decltype(auto) rows = detail::float_rows(w);
  const matrix_view<const float> view = rows;
  const granularity granularity = per_group(group);
  if (view.cols() % group != 0)
    detail::fail<shape_error>(
        {"quantize_weights: in_features (", view.cols(), ") must be divisible by group_size (", group, ")"});
  quantized_matrix q(1, view.rows(), view.cols(), granularity);
  detail::for_each_slice(q, serial_executor{}, [&](std::size_t s, std::size_t row, std::size_t g) {
    const matrix_view<const float> slice = detail::slice_of(q, view, row, g).w;
    float sum = 0;
    for (std::size_t k = 0; k < slice.cols(); ++k) sum += std::fabs(slice(0, k));
    const float mean = sum / static_cast<float>(group);
    const float scale = q.scales[s] = mean > 0.0f ? mean : 1.0f;
    detail::fill_codes(slice, detail::codes_of(q, 0, row, g), [&](float x) {
      return detail::saturate_to_int8(detail::clamp_float(std::round(x / scale), -1.0f, 1.0f));
    });
  });
  return q;
}

}  // namespace tern::inline v0_1::compat::inline TERN_TU
