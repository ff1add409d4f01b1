// SPDX-License-Identifier: MIT
/// Quantised activations: int8 codes, one scale (and zero point) a token, and the running sums that kernels correct with.
///
/// Most instruction sets multiply an unsigned by a signed byte, so kernels hold the weights offset and subtract multiples of
/// sum(x) at the end of each run. With prefix sums the sum over any group is one subtraction.
#pragma once

#include <cstring>
#include <span>

#include <tern/type/packed_matrix.hpp>

namespace tern::inline v0_1 {

/// Inputs between two entries of the prefix sums.
inline constexpr std::size_t prefix_inputs = 16;

/// Quantised activations in memory that somebody else owns: what quantizers fill and kernels read. A view is a handle: its
/// elements can be written through a const one, and who changes codes owes the prefix sums.
class activations_view {
 public:
  activations_view() = default;
  /// Lays the sections out in a workspace of activations_view::storage_bytes(tokens, inputs) bytes aligned to 64.
  /// Codes are [tokens x inputs], each row zero-padded to row_stride(); scales [tokens]; zeros [tokens] where x has them.
  /// Errors: shape_error when the storage is too small or not aligned.
  TERN_INLINE activations_view(std::span<std::byte> storage, std::size_t tokens, std::size_t inputs, bool has_zeros)
      : tokens_(tokens),
        inputs_(inputs),
        row_stride_(row_stride(inputs)),
        prefix_stride_(prefix_stride(inputs)),
        has_zeros_(has_zeros) {
    const std::size_t needed = storage_bytes(tokens, inputs);
    if (storage.size() < needed)
      detail::fail<shape_error>(
          {"activations: ", tokens, "x", inputs, " need a workspace of ", needed, " bytes, not ", storage.size()});
    if (reinterpret_cast<std::uintptr_t>(storage.data()) % storage_alignment != 0)
      detail::fail<shape_error>({"activations: the workspace must be aligned to 64 bytes"});
    std::byte* at = storage.data();
    codes_ = reinterpret_cast<std::int8_t*>(at);
    at += tokens * row_stride();
    prefix_ = reinterpret_cast<std::int32_t*>(at);
    at += detail::round_up(tokens * prefix_stride() * sizeof(std::int32_t), 64);
    scales_ = reinterpret_cast<float*>(at);
    at += detail::round_up(tokens * sizeof(float), 64);
    zeros_ = reinterpret_cast<std::int32_t*>(at);
  }

  TERN_INLINE static std::size_t storage_bytes(std::size_t tokens, std::size_t inputs) {
    const std::size_t prefix_bytes =
        detail::checked_product(detail::checked_product(tokens, prefix_stride(inputs)), sizeof(std::int32_t));
    return detail::checked_product(tokens, row_stride(inputs)) + detail::round_up(prefix_bytes, 64) +
           2 * detail::round_up(tokens * sizeof(float), 64);
  }

  std::size_t rows() const { return tokens_; }
  std::size_t cols() const { return inputs_; }
  bool has_zeros() const { return has_zeros_; }
  /// Bytes between rows of codes: kernels read whole blocks of any codec, which may end 63 inputs beyond the last.
  /// An odd multiple of 64: the rows of a block of tokens fall into different cache sets.
  std::size_t row_stride() const { return row_stride_; }
  std::size_t prefix_stride() const { return prefix_stride_; }

  std::int8_t* codes(std::size_t m) const { return codes_ + m * row_stride(); }
  /// prefix(m)[j] is the sum of the codes of inputs 0 .. 16j - 1 of token m.
  std::int32_t* prefix(std::size_t m) const { return prefix_ + m * prefix_stride(); }
  float& scale(std::size_t m) const { return scales_[m]; }
  std::int32_t& zero(std::size_t m) const { return zeros_[m]; }

  /// The sum of the codes of inputs [0, end) of token m.
  TERN_INLINE std::int32_t sum_to(std::size_t m, std::size_t end) const {
    std::int32_t sum = prefix(m)[end / prefix_inputs];
    for (std::size_t k = end / prefix_inputs * prefix_inputs; k < end; ++k) sum += codes(m)[k];
    return sum;
  }
  /// The sum of the codes of inputs [begin, end) of token m.
  TERN_INLINE std::int32_t sum(std::size_t m, std::size_t begin, std::size_t end) const {
    return sum_to(m, end) - sum_to(m, begin);
  }

 private:
  TERN_INLINE static std::size_t row_stride(std::size_t inputs) {
    return detail::round_up(detail::checked_sum(inputs, quad_inputs * largest_fold - 1), 64) | 64;
  }
  TERN_INLINE static std::size_t prefix_stride(std::size_t inputs) {
    return detail::ceil_div(inputs, prefix_inputs) + 1;
  }
  std::size_t tokens_ = 0;
  std::size_t inputs_ = 0;
  std::size_t row_stride_ = 0;
  std::size_t prefix_stride_ = 0;
  bool has_zeros_ = false;
  std::int8_t* codes_ = nullptr;
  std::int32_t* prefix_ = nullptr;
  float* scales_ = nullptr;
  std::int32_t* zeros_ = nullptr;
};

/// Quantised activations that own their storage: X(m,k) ~ (code(m,k) - zero(m)) * scale(m).
class quantized_activations {
 public:
  TERN_INLINE quantized_activations() = default;
  TERN_INLINE ~quantized_activations() = default;
  /// Zero codes, scales 1, zero points 0.
  TERN_INLINE quantized_activations(std::size_t tokens, std::size_t inputs, bool has_zeros = false)
      : storage_(activations_view::storage_bytes(tokens, inputs)), view_(storage_, tokens, inputs, has_zeros) {
    for (std::size_t m = 0; m < tokens; ++m) view_.scale(m) = 1.0f;
  }
  TERN_INLINE quantized_activations(const quantized_activations& other) : storage_(other.storage_) {
    view_ = {storage_, other.rows(), other.cols(), other.has_zeros()};
  }
  TERN_INLINE quantized_activations(quantized_activations&& other) noexcept { swap(other); }
  TERN_INLINE quantized_activations& operator=(quantized_activations other) noexcept {
    swap(other);
    return *this;
  }

  /// From given codes [tokens x inputs], scales [tokens] and, where there are any, zero points [tokens] in -128 .. 127.
  /// Errors: shape_error when the sizes disagree; range_error on a zero point that is no int8 or a scale that is not finite.
  template <class Tu = tu_tag>
  static quantized_activations from_codes(matrix_view<const std::int8_t> codes, std::span<const float> scales,
                                          std::span<const std::int32_t> zeros = {});

  const activations_view& view() const { return view_; }
  operator const activations_view&() const { return view_; }
  /// The bytes behind the view, for quantizers to fill.
  std::span<std::byte> storage() { return storage_; }
  std::size_t rows() const { return view_.rows(); }
  std::size_t cols() const { return view_.cols(); }
  bool has_zeros() const { return view_.has_zeros(); }
  std::int8_t code(std::size_t m, std::size_t k) const { return view_.codes(m)[k]; }
  float scale(std::size_t m) const { return view_.scale(m); }
  std::int32_t zero(std::size_t m) const { return has_zeros() ? view_.zero(m) : 0; }

 private:
  TERN_INLINE void swap(quantized_activations& other) noexcept {
    std::swap(storage_, other.storage_);
    std::swap(view_, other.view_);
  }

  aligned_bytes storage_;
  activations_view view_;
};

template <class Tu>
quantized_activations quantized_activations::from_codes(matrix_view<const std::int8_t> codes,
                                                        std::span<const float> scales,
                                                        std::span<const std::int32_t> zeros) {
  if (scales.size() != codes.rows() || (!zeros.empty() && zeros.size() != codes.rows()))
    detail::fail<shape_error>(
        {"activations: ", codes.rows(), " tokens with ", scales.size(), " scales and ", zeros.size(), " zero points"});
  quantized_activations x(codes.rows(), codes.cols(), !zeros.empty());
  for (std::size_t m = 0; m < codes.rows(); ++m) {
    if (!detail::is_finite(scales[m]))
      detail::fail<range_error>({"activations: the scale of token ", m, " is not finite"});
    x.view_.scale(m) = scales[m];
    if (!zeros.empty()) {
      if (zeros[m] < -128 || zeros[m] > 127)
        detail::fail<range_error>({"activations: zero point ", zeros[m], " of token ", m, " is not an int8"});
      x.view_.zero(m) = zeros[m];
    }
    std::uint32_t sum = 0;  // modulo 2^32: depths beyond max_inputs are refused by the product
    for (std::size_t k = 0; k < codes.cols(); ++k) {
      x.view_.codes(m)[k] = codes(m, k);
      sum += static_cast<std::uint32_t>(std::int32_t{codes(m, k)});
      if (k % prefix_inputs == prefix_inputs - 1 || k + 1 == codes.cols())
        x.view_.prefix(m)[k / prefix_inputs + 1] = static_cast<std::int32_t>(sum);
    }
  }
  return x;
}

}  // namespace tern::inline v0_1
