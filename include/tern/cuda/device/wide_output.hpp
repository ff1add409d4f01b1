// SPDX-License-Identifier: MIT
/// From the sums in a warpgroup's registers to outputs in memory: scales, runs, bias, and the element type.
///
/// A lane has two or four outputs side by side for each of its tokens, so it stores them at once, and eight lanes fill whole
/// sectors of 32 bytes. All scales are asked for long before they are wanted.
#pragma once

#include <tern/cuda/device/product.hpp>

namespace tern::inline v0_1::cuda::device {

template <kernel::output_type Type>
using output_constant = std::integral_constant<kernel::output_type, Type>;

/// Outputs of one token side by side, as they are in memory.
template <kernel::output_type Type, unsigned Rows>
struct output_vector {
  static constexpr bool is_word = Type == kernel::output_type::float32 || Type == kernel::output_type::int32;
  static constexpr unsigned words = is_word ? Rows : Rows / 2;
  struct alignas(4 * words) type {
    std::uint32_t word[words];
  };
  using element = std::conditional_t<is_word, std::uint32_t, std::uint16_t>;

  __device__ static type pack(const float (&value)[Rows], const std::int32_t (&acc)[Rows]) {
    type v;
#pragma unroll
    for (unsigned i = 0; i < words; ++i) {
      if constexpr (Type == kernel::output_type::int32) v.word[i] = static_cast<std::uint32_t>(acc[i]);
      if constexpr (Type == kernel::output_type::float32) v.word[i] = __float_as_uint(value[i]);
      if constexpr (Type == kernel::output_type::float16) v.word[i] = floats_to_halves(value[2 * i], value[2 * i + 1]);
      if constexpr (Type == kernel::output_type::bfloat16)
        v.word[i] = floats_to_bfloat16s(value[2 * i], value[2 * i + 1]);
    }
    return v;
  }
};

/// A lane's outputs of a tile: `rows` rows from n on, of the tokens 8 j + c from its first, c = 0 and 1. Its sums are
/// sums[r / 2][4 j + 2 (r % 2) + c] for row n + r.
template <class Shape, bool OneRun, bool Zeros, codec Codec>
class wide_output {
 public:
  static constexpr unsigned rows = 2 * Shape::strips, tokens = Shape::tokens;

  __device__ wide_output(const product<Codec>& a, unsigned panel, unsigned row)
      : panel_(min(panel, (a.rows - 1) / unsigned{panel_rows})), row_(row), n_(panel * panel_rows + row) {
    load_scales(a, 0);
#pragma unroll
    for (unsigned r = 0; r < rows; ++r) bias_[r] = a.bias != nullptr && n_ + r < a.rows ? a.bias[n_ + r] : -0.0f;
#pragma unroll
    for (float& result : results_) result = 0;
  }

  /// Adds the sums of the next run to the results.
  /// @param sums_of_x  of the run, [tokens] from the lane's first, where w has zero points
  __device__ void add(const product<Codec>& a, const std::int32_t (&sums)[tokens / 2], const std::int32_t* sums_of_x,
                      unsigned first_token) {
    // Sums are shifted. To shift the scales instead is exact but for the tiniest, and saves a third of all operations.
    constexpr float unit = 1.0f / (1 << decoder<Codec>::shift);
    const float shifted[2] = {scales_[0] * unit, scales_[1] * unit};
    if constexpr (Zeros) {
#pragma unroll
      for (unsigned i = 0; i < tokens / 2; ++i) {
        const unsigned r = i / 2 % 2, token = i / 4 * 8 + i % 2;
        const std::int32_t acc = correct(a, sums[i] >> decoder<Codec>::shift, sums_of_x, first_token, token, r);
        results_[i] = __fmaf_rn(__int2float_rn(acc), scales_[r], results_[i]);
      }
    } else if (shifted[0] / unit == scales_[0] && shifted[1] / unit == scales_[1]) {
#pragma unroll
      for (unsigned i = 0; i < tokens / 2; ++i)
        results_[i] = __fmaf_rn(__int2float_rn(sums[i]), shifted[i / 2 % 2], results_[i]);
    } else {
#pragma unroll
      for (unsigned i = 0; i < tokens / 2; ++i)
        results_[i] = __fmaf_rn(__int2float_rn(sums[i] >> decoder<Codec>::shift), scales_[i / 2 % 2], results_[i]);
    }
    if (++run_ < a.runs) load_scales(a, run_);
  }

  /// Asks for the scales of the tokens, which x's kernel has written.
  __device__ void load_scales_of_x(const product<Codec>& a, unsigned first_token) {
#pragma unroll
    for (unsigned i = 0; i < tokens / 4; ++i) {
      const unsigned m = first_token + i / 2 * 8 + i % 2;
      scales_of_x_[i] = m < a.tokens ? a.x_scales[m] : 0;
    }
  }

  /// @param sums_of_x  as for add(), where there is one run
  __device__ void store(const product<Codec>& a, const std::int32_t (&sums)[Shape::strips][tokens / 2],
                        const std::int32_t* sums_of_x, unsigned first_token) const {
    using kernel::output_type;
    const unsigned size = a.y_type == output_type::float32 || a.y_type == output_type::int32 ? 4 : 2;
    if (reinterpret_cast<std::uintptr_t>(a.y) % (rows * size) != 0 || a.y_stride % rows != 0 || a.rows % rows != 0 ||
        (OneRun && Zeros))
      store_single(a, sums, sums_of_x, first_token);
    else if (a.y_type == output_type::float32)
      store_vectors(output_constant<output_type::float32>{}, a, sums, first_token);
    else if (a.y_type == output_type::float16)
      store_vectors(output_constant<output_type::float16>{}, a, sums, first_token);
    else if (a.y_type == output_type::bfloat16)
      store_vectors(output_constant<output_type::bfloat16>{}, a, sums, first_token);
    else
      store_vectors(output_constant<output_type::int32>{}, a, sums, first_token);
  }

 private:
  __device__ void load_scales(const product<Codec>& a, unsigned run) {
    const std::size_t at = (a.one_scale_row ? run : std::size_t{panel_} * a.runs + run) * panel_rows + row_;
#pragma unroll
    for (unsigned r = 0; r < rows; ++r) scales_[r] = load_scale(a.scales, a.scales_type, at + r);
  }

  /// The sum of row n + r and a token, less what zero points add.
  __device__ std::int32_t correct(const product<Codec>& a, std::int32_t acc, const std::int32_t* sums_of_x,
                                  unsigned first_token, unsigned token, unsigned r) const {
    const std::int32_t of_x = a.zeros != nullptr ? sums_of_x[token] : 0;
    return corrected(a, acc, of_x, min(first_token + token, a.tokens - 1), panel_, run_, row_ + r);
  }
  __device__ void value_of(unsigned i, const std::int32_t (&acc)[rows], float (&value)[rows]) const {
#pragma unroll
    for (unsigned r = 0; r < rows; ++r) {
      const float result = OneRun ? __fmaf_rn(__int2float_rn(acc[r]), scales_[r], 0.0f)
                                  : results_[OneRun ? 0 : i / 2 * 4 + r % 2 * 2 + i % 2];
      // Without bias it is -0, which changes no product.
      value[r] = __fmaf_rn(result, scales_of_x_[i], bias_[r]);
    }
  }

  /// Token number i, which is 8 (i / 2) + i % 2 from the first.
  __device__ void outputs_of(unsigned i, const std::int32_t (&sums)[Shape::strips][tokens / 2], float (&value)[rows],
                             std::int32_t (&acc)[rows]) const {
#pragma unroll
    for (unsigned r = 0; r < rows; ++r) acc[r] = sums[r / 2][i / 2 * 4 + r % 2 * 2 + i % 2] >> decoder<Codec>::shift;
    value_of(i, acc, value);
  }

  template <kernel::output_type Type>
  __device__ void store_vectors(output_constant<Type>, const product<Codec>& a,
                                const std::int32_t (&sums)[Shape::strips][tokens / 2], unsigned first_token) const {
    using vector = output_vector<Type, rows>;
    auto* to = static_cast<typename vector::element*>(a.y) + first_token * a.y_stride + n_;
    const unsigned count = n_ < a.rows && first_token < a.tokens ? a.tokens - first_token : 0;
#pragma unroll
    for (unsigned i = 0; i < tokens / 4; ++i) {
      float value[rows];
      std::int32_t acc[rows];
      outputs_of(i, sums, value, acc);
      if (i / 2 * 8 + i % 2 < count)
        *reinterpret_cast<typename vector::type*>(to + i % 2 * a.y_stride) = vector::pack(value, acc);
      if (i % 2 == 1) to += 8 * a.y_stride;
    }
  }

  /// Where outputs are not aligned to vectors, or there are zero points.
  __device__ void store_single(const product<Codec>& a, const std::int32_t (&sums)[Shape::strips][tokens / 2],
                               const std::int32_t* sums_of_x, unsigned first_token) const {
#pragma unroll
    for (unsigned i = 0; i < tokens / 4; ++i) {
      const unsigned token = i / 2 * 8 + i % 2, m = first_token + token;
      float value[rows];
      std::int32_t acc[rows];
      outputs_of(i, sums, value, acc);
      if constexpr (OneRun && Zeros) {
#pragma unroll
        for (unsigned r = 0; r < rows; ++r) acc[r] = correct(a, acc[r], sums_of_x, first_token, token, r);
        value_of(i, acc, value);
      }
      if (m >= a.tokens) continue;
#pragma unroll
      for (unsigned r = 0; r < rows; ++r)
        if (n_ + r < a.rows) device::store(a, m * a.y_stride + n_ + r, value[r], acc[r]);
    }
  }

  unsigned panel_, row_, n_;
  unsigned run_ = 0;
  float scales_[rows], bias_[rows], scales_of_x_[tokens / 4];
  float results_[OneRun ? 1 : tokens / 2];  // of the runs that have passed
};

}  // namespace tern::inline v0_1::cuda::device
