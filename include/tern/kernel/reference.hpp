// SPDX-License-Identifier: MIT
/// The specification: products as textbook loops. Every kernel computes the same integers, faster, and the same floats.
///
/// Integers are exact, so their order is free. The float steps are one expression, for planes p and groups g ascending:
///
///     acc(p,g) = sum over the group of (x - zero_x) (w - zero_w)          exact, in int32
///     r = 0;  for p: for g:  r = fma(float(acc(p,g)), scale(p,g,n), r)
///     y = bias ? fma(r, scale_x, bias(n)) : r * scale_x
///
/// With float activations acc is r' = fma(x(k), float(w(k) - zero_w), r') over k ascending from +0, and scale_x is 1.
/// Nothing here is optimised, and nothing should be.
#pragma once

#include <cmath>  // std::rint
#include <span>

#include <tern/fma.hpp>
#include <tern/kernel/product.hpp>

namespace tern::inline v0_1::kernel::reference::inline TERN_TU {

/// sum (x - zero_x)(w - zero_w), the integer heart of every product.
constexpr std::int32_t dot(std::span<const std::int8_t> x, std::span<const std::int8_t> w, std::int32_t zero_x = 0,
                           std::int32_t zero_w = 0) {
  std::int32_t sum = 0;
  for (std::size_t k = 0; k < x.size(); ++k) sum += (x[k] - zero_x) * (w[k] - zero_w);
  return sum;
}

inline float fma(float a, float b, float c) { return detail::fma_rn(a, b, c); }
inline float round_half_even(float a) { return std::rint(a); }

/// y(m, n) as r and scale_x; r before the last step is what the exactness contract is about.
inline float scaled(float r, float scale_x, const float* bias, std::size_t n) {
  return bias != nullptr ? fma(r, scale_x, bias[n]) : r * scale_x;
}

inline void store(const output& y, std::size_t m, std::size_t n, float value) {
  if (y.type == output_type::float32) *y.at<float>(m, n) = value;
  if (y.type == output_type::float16) *y.at<half>(m, n) = half(value);
  if (y.type == output_type::bfloat16) *y.at<bfloat16>(m, n) = bfloat16(value);
}

template <codec Codec>
void matmul(const product<activations_view, Codec>& a) {
  for (std::size_t m = 0; m < a.x.rows(); ++m) {
    for (std::size_t n = 0; n < a.w.rows(); ++n) {
      float r = 0.0f;
      for (std::size_t p = 0; p < a.w.planes(); ++p) {
        for (std::size_t g = 0; g < a.w.groups(); ++g) {
          std::int32_t acc = 0;
          const std::int32_t zero_x = a.x.has_zeros() ? a.x.zero(m) : 0;
          for (std::size_t k = a.w.group_begin(g); k < a.w.group_begin(g + 1); ++k)
            acc += (a.x.codes(m)[k] - zero_x) * (a.w.level(p, n, k) - a.w.zero(p, n, g));
          if (a.y.type == output_type::int32) *a.y.template at<std::int32_t>(m, n) = acc;
          r = fma(static_cast<float>(acc), a.w.scale(p, n, g), r);
        }
      }
      store(a.y, m, n, scaled(r, a.x.scale(m), a.bias, n));
    }
  }
}

template <codec Codec>
void matmul(const product<float_view, Codec>& a) {
  for (std::size_t m = 0; m < a.x.rows(); ++m) {
    for (std::size_t n = 0; n < a.w.rows(); ++n) {
      float r = 0.0f;
      for (std::size_t p = 0; p < a.w.planes(); ++p) {
        for (std::size_t g = 0; g < a.w.groups(); ++g) {
          float acc = 0.0f;
          for (std::size_t k = a.w.group_begin(g); k < a.w.group_begin(g + 1); ++k)
            acc = fma(a.x(m, k), static_cast<float>(a.w.level(p, n, k) - a.w.zero(p, n, g)), acc);
          r = fma(acc, a.w.scale(p, n, g), r);
        }
      }
      store(a.y, m, n, scaled(r, 1.0f, a.bias, n));
    }
  }
}

/// The one rule for activations, per token, shared by every machine: am = max |x| by an integer maximum of the bit
/// patterns; am below 2^-100 gives zero codes and scale 1; else scale = am / 127 and code = rint(x / scale), to even.
/// @return the scale; a negative value when the row holds NaN or infinity, and then the codes are unspecified
inline float quantize_row(const float* x, std::size_t inputs, std::int8_t* codes) {
  std::uint32_t largest = 0;
  for (std::size_t k = 0; k < inputs; ++k) {
    const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(x[k]) & 0x7fffffffu;
    if (magnitude > largest) largest = magnitude;
  }
  if (largest >= 0x7f800000u) return -1.0f;
  const float am = std::bit_cast<float>(largest);
  const bool zero = am < 0x1p-100f;
  const float scale = zero ? 1.0f : am / 127.0f;
  for (std::size_t k = 0; k < inputs; ++k) {
    const float code = zero ? 0.0f : round_half_even(x[k] / scale);
    codes[k] = static_cast<std::int8_t>(code < -127.0f ? -127.0f : code > 127.0f ? 127.0f : code);
  }
  return scale;
}

}  // namespace tern::inline v0_1::kernel::reference::inline TERN_TU
