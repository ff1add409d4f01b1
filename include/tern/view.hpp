// SPDX-License-Identifier: MIT
/// What matrices look like to tern: a pointer, two sizes and a row stride; and the 16-bit storage types.
#pragma once

#include <bit>  // std::bit_cast
#include <concepts>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>  // std::exchange
#include <vector>

#include <tern/error.hpp>
#include <tern/memory.hpp>

namespace tern::inline v0_1 {

namespace detail {

/// Rounds binary32 to binary16, half to even: the integer form of what vcvtps2ph does, subnormals and NaN included.
TERN_INLINE constexpr std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t result = 0;
  if (magnitude > 0x7f800000u) {
    result = 0x7e00u | (magnitude >> 13 & 0x3ffu);  // NaN: made quiet, the top of its payload kept
  } else if (magnitude >= 0x477ff000u) {
    result = 0x7c00u;  // 65520 and above round to infinity
  } else if (magnitude >= 0x38800000u) {
    // Normal: rebias the exponent by 127 - 15 and round the 13 dropped bits; a carry walks into the exponent as it should.
    result = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  } else if (magnitude >= 0x33000000u) {
    // Subnormal: a multiple of 2^-24. The significand with its hidden bit, shifted right by 126 - exponent (14 to 24).
    const std::uint32_t shift = 126u - (magnitude >> 23);
    const std::uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
    result = (significand + (1u << (shift - 1)) - 1u + (significand >> shift & 1u)) >> shift;
  }
  return static_cast<std::uint16_t>(sign | result);
}

TERN_INLINE constexpr float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = half >> 10 & 0x1fu;
  const std::uint32_t fraction = half & 0x3ffu;
  if (exponent == 0x1fu) {
    const std::uint32_t quiet = fraction != 0 ? 0x400000u : 0u;
    return std::bit_cast<float>(sign | 0x7f800000u | quiet | fraction << 13);
  }
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112u) << 23 | fraction << 13);
  // Zero or subnormal: fraction * 2^-24, exact in binary32.
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

TERN_INLINE constexpr std::uint16_t float_to_bfloat16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

TERN_INLINE constexpr float bfloat16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

}  // namespace detail

/// IEEE binary16 as storage: converted half to even by integer code, the same on every machine. No arithmetic.
/// May alias, because other libraries have types of the same bits that are viewed in place.
struct [[gnu::may_alias]] half {
  std::uint16_t bits = 0;

  half() = default;
  constexpr explicit half(float value) : bits(detail::float_to_half(value)) {}
  constexpr operator float() const { return detail::half_to_float(bits); }
};

/// The upper half of a binary32 as storage: 8 exponent bits, 7 fraction bits, converted half to even. No arithmetic.
struct [[gnu::may_alias]] bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  constexpr explicit bfloat16(float value) : bits(detail::float_to_bfloat16(value)) {}
  constexpr operator float() const { return detail::bfloat16_to_float(bits); }
};

/// What an output can be made of.
template <class T>
concept output_element =
    std::same_as<T, float> || std::same_as<T, half> || std::same_as<T, bfloat16> || std::same_as<T, std::int32_t>;

/// What a real-valued input can be made of.
template <class T>
concept real_element = std::same_as<T, float> || std::same_as<T, half> || std::same_as<T, bfloat16>;

/// A row-major matrix somewhere in memory: non-owning, two sizes and the distance between rows in elements.
///
///     float data[6] = {1, 2, 3, 4, 5, 6};
///     tern::matrix_view<float> m(data, 2, 3);     // m(1, 0) is 4
template <class T>
class matrix_view {
 public:
  using element_type = T;

  constexpr matrix_view() = default;
  TERN_INLINE constexpr matrix_view(T* data, std::size_t rows, std::size_t cols)
      : matrix_view(data, rows, cols, cols) {}
  TERN_INLINE constexpr matrix_view(T* data, std::size_t rows, std::size_t cols, std::size_t row_stride)
      : data_(data), rows_(rows), cols_(cols), row_stride_(row_stride) {
    if (row_stride < cols && rows > 1)
      detail::fail<shape_error>({"matrix_view: rows of ", cols, " elements overlap at a stride of ", row_stride});
    if (data == nullptr && rows != 0 && cols != 0)
      detail::fail<shape_error>({"matrix_view: a null pointer cannot hold ", rows, "x", cols});
  }
  /// A view of mutable elements is a view of const ones.
  template <class U>
    requires std::same_as<const U, T>
  constexpr matrix_view(const matrix_view<U>& other)
      : data_(other.data()), rows_(other.rows()), cols_(other.cols()), row_stride_(other.row_stride()) {}

  constexpr T* data() const { return data_; }
  constexpr std::size_t rows() const { return rows_; }
  constexpr std::size_t cols() const { return cols_; }
  constexpr std::size_t row_stride() const { return row_stride_; }
  constexpr T* row(std::size_t r) const { return data_ + r * row_stride_; }
  constexpr T& operator()(std::size_t r, std::size_t c) const { return data_[r * row_stride_ + c]; }

 private:
  T* data_ = nullptr;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  std::size_t row_stride_ = 0;
};

/// Views a batch [..., cols] of contiguous vectors as a matrix: every leading dimension becomes rows.
///
///     tern::batch(data, {2, 5, 64})     // 10 x 64
template <class T>
TERN_INLINE constexpr matrix_view<T> batch(T* data, std::span<const std::size_t> shape) {
  if (shape.empty()) detail::fail<shape_error>({"batch: a shape needs at least one dimension"});
  std::size_t rows = 1;
  for (const std::size_t extent : shape.first(shape.size() - 1)) rows = detail::checked_product(rows, extent);
  return {data, rows, shape.back()};
}
template <class T>
TERN_INLINE constexpr matrix_view<T> batch(T* data, std::initializer_list<std::size_t> shape) {
  return batch(data, std::span(shape.begin(), shape.size()));
}

/// The plainest owner of a row-major matrix, for those who bring none of their own. Elements start at zero, aligned to 64.
template <class T>
class matrix {
  static_assert(std::is_trivially_copyable_v<T>, "a matrix is of numbers");

 public:
  using element_type = T;

  TERN_INLINE matrix() = default;
  TERN_INLINE matrix(std::size_t rows, std::size_t cols)
      : rows_(rows), cols_(cols), storage_(detail::checked_product(detail::checked_product(rows, cols), sizeof(T))) {}
  TERN_INLINE matrix(std::size_t rows, std::size_t cols, const std::vector<T>& elements) : rows_(rows), cols_(cols) {
    if (elements.size() != detail::checked_product(rows, cols))
      detail::fail<shape_error>(
          {"matrix: ", rows, "x", cols, " needs ", rows * cols, " elements, not ", elements.size()});
    storage_ = aligned_bytes(elements.size() * sizeof(T));
    if (!elements.empty()) std::memcpy(data(), elements.data(), elements.size() * sizeof(T));
  }

  TERN_INLINE matrix(const matrix&) = default;
  TERN_INLINE ~matrix() = default;
  /// What was moved from is empty.
  TERN_INLINE matrix(matrix&& other) noexcept
      : rows_(std::exchange(other.rows_, 0)),
        cols_(std::exchange(other.cols_, 0)),
        storage_(std::move(other.storage_)) {}
  TERN_INLINE matrix& operator=(matrix other) noexcept {
    rows_ = other.rows_;
    cols_ = other.cols_;
    std::swap(storage_, other.storage_);
    return *this;
  }

  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  T* data() { return reinterpret_cast<T*>(storage_.data()); }
  const T* data() const { return reinterpret_cast<const T*>(storage_.data()); }
  T& operator()(std::size_t r, std::size_t c) { return data()[r * cols_ + c]; }
  const T& operator()(std::size_t r, std::size_t c) const { return data()[r * cols_ + c]; }
  T* row(std::size_t r) { return data() + r * cols_; }
  const T* row(std::size_t r) const { return data() + r * cols_; }
  TERN_INLINE matrix_view<T> view() { return {data(), rows_, cols_}; }
  TERN_INLINE matrix_view<const T> view() const { return {data(), rows_, cols_}; }
  TERN_INLINE operator matrix_view<T>() { return view(); }
  TERN_INLINE operator matrix_view<const T>() const { return view(); }

 private:
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  aligned_bytes storage_;
};

/// How tern reads and writes a matrix type M that is not its own. To specialise:
///   element_type        float, half, bfloat16 or int32 (inputs are real)
///   row_major(m)        a matrix_view<const element_type> of m, or an owner of a copy that converts to one
///   view(m)             a matrix_view<element_type> of m, written through
///   make(m, rows, cols) a float matrix of m's family: the result of a layer
template <class M>
struct matrix_traits;

template <class T>
struct matrix_traits<matrix<T>> {
  using element_type = T;
  TERN_INLINE static matrix_view<const T> row_major(const matrix<T>& m) { return m.view(); }
  TERN_INLINE static matrix_view<T> view(matrix<T>& m) { return m.view(); }
  TERN_INLINE static matrix<float> make(const matrix<T>&, std::size_t rows, std::size_t cols) { return {rows, cols}; }
};
template <class T>
struct matrix_traits<matrix_view<T>> {
  using element_type = std::remove_const_t<T>;
  TERN_INLINE static matrix_view<const element_type> row_major(const matrix_view<T>& m) { return m; }
  TERN_INLINE static matrix_view<T> view(const matrix_view<T>& m) { return m; }
  TERN_INLINE static matrix<float> make(const matrix_view<T>&, std::size_t rows, std::size_t cols) {
    return {rows, cols};
  }
};

/// A view of a row-major matrix of any known type, written through. Column-major types are refused at compile time.
template <class M>
TERN_INLINE auto view(M& m) {
  return matrix_traits<std::remove_const_t<M>>::view(m);
}

/// Anything that quantizers and layers take as a real matrix: tern's own views and owners, and what eigen.hpp adds.
template <class M>
concept real_matrix = real_element<typename matrix_traits<std::remove_cvref_t<M>>::element_type>;

/// Anything that a product can be written to.
template <class M>
concept output_matrix = output_element<typename matrix_traits<std::remove_cvref_t<M>>::element_type> &&
    !std::is_const_v<std::remove_reference_t<decltype(*tern::view(std::declval<M&>()).data())>>;

namespace detail {

/// The matrix as a view, or as an owner of a row-major copy where it has another order: keep it while the view is used.
template <real_matrix M>
TERN_INLINE decltype(auto) row_major(const M& m) {
  return matrix_traits<M>::row_major(m);
}
template <real_matrix M>
using real_view = matrix_view<const typename matrix_traits<M>::element_type>;

}  // namespace detail

}  // namespace tern::inline v0_1
