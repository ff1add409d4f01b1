// SPDX-License-Identifier: MIT
/// The one form in which every product reaches a kernel: Y = X W^T, all arguments normalised to views.
#pragma once

#include <tern/type/quantized_activations.hpp>

namespace tern::inline v0_1::kernel {

enum class output_type : std::uint8_t { float32, float16, bfloat16, int32 };

template <output_element T>
inline constexpr output_type output_type_of = std::same_as<T, float>      ? output_type::float32
                                              : std::same_as<T, half>     ? output_type::float16
                                              : std::same_as<T, bfloat16> ? output_type::bfloat16
                                                                          : output_type::int32;

/// Y, [M x N], of an element type known at run time: it is looked at once per 16 outputs.
struct output {
  void* data = nullptr;
  std::size_t row_stride = 0;
  output_type type = output_type::float32;

  output() = default;
  template <output_element T>
  output(matrix_view<T> y) : data(y.data()), row_stride(y.row_stride()), type(output_type_of<T>) {}

  template <output_element T>
  T* at(std::size_t m, std::size_t n) const {
    return static_cast<T*>(data) + m * row_stride + n;
  }
};

using float_view = matrix_view<const float>;

/// X is activations_view (int8 codes) or float_view. Shapes, depth and formats have been checked by the public function.
template <class X, codec Codec>
struct product {
  X x;
  packed_view<Codec> w;
  output y;
  const float* bias = nullptr;  // [N], or null
};

/// The part of a product that one call computes: tokens [token_begin, token_end) x panels [panel_begin, panel_end).
struct tile {
  std::size_t token_begin, token_end;
  std::size_t panel_begin, panel_end;
};

}  // namespace tern::inline v0_1::kernel
