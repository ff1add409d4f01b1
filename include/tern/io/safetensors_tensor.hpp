// SPDX-License-Identifier: MIT
/// One tensor of a safetensors file: what safetensors.hpp reads and safetensors_writer.hpp writes.
///
///     const tern::safetensors_tensor t = tern::tensor_of("weight", W);      // of a matrix: F32, [rows, cols], its bytes
///     const tern::matrix_view<const float> same = t.view<float>();          // in place
#pragma once

#include <map>
#include <string>
#include <vector>

#include <tern/view.hpp>

namespace tern::inline v0_1 {

/// The strings that a file carries besides its tensors, by key.
using safetensors_metadata = std::map<std::string, std::string>;

namespace detail {

template <class T>
struct safetensors_dtype {};
template <>
struct safetensors_dtype<float> {
  static constexpr const char* name = "F32";
};
template <>
struct safetensors_dtype<half> {
  static constexpr const char* name = "F16";
};
template <>
struct safetensors_dtype<bfloat16> {
  static constexpr const char* name = "BF16";
};
template <>
struct safetensors_dtype<std::int8_t> {
  static constexpr const char* name = "I8";
};
template <>
struct safetensors_dtype<std::uint8_t> {
  static constexpr const char* name = "U8";
};

}  // namespace detail

/// What tensors can be viewed as: float, half, bfloat16, int8, uint8.
template <class T>
concept safetensors_element = requires {
  detail::safetensors_dtype<T>::name;
};

namespace detail::inline TERN_TU {

/// Headers are at most this long, by the format.
inline constexpr std::size_t max_safetensors_header = 100'000'000;
/// The key of the metadata, which no tensor may have.
inline constexpr std::string_view metadata_key = "__metadata__";

/// Bits of an element of each type that the format knows, 0 for any other word.
constexpr std::size_t dtype_bits(std::string_view dtype) {
  struct entry {
    std::string_view name;
    std::size_t bits;
  };
  constexpr entry entries[] = {{"F64", 64},    {"I64", 64},    {"U64", 64},        {"C64", 64},        {"F32", 32},
                               {"I32", 32},    {"U32", 32},    {"F16", 16},        {"BF16", 16},       {"I16", 16},
                               {"U16", 16},    {"I8", 8},      {"U8", 8},          {"BOOL", 8},        {"F8_E4M3", 8},
                               {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6},
                               {"F6_E3M2", 6}, {"F4", 4}};
  for (const entry& e : entries)
    if (e.name == dtype) return e.bits;
  return 0;
}

/// The string as JSON writes it: quotes, backslashes and what is below a space escaped.
inline std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20) {
      out += "\\u00";
      out += static_cast<char>('0' + byte / 16);
      out += "0123456789abcdef"[byte % 16];
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + '"';
}

/// A name in a message, as JSON, and not all of it where it is long: it comes from a file.
inline std::string shown(std::string_view text) {
  return text.size() <= 100 ? json_string(text) : json_string(text.substr(0, 100)) + "...";
}

/// tensor "w", F32 [64, 128]
template <class Tensor>
std::string describe(const Tensor& t) {
  std::string out = "tensor " + shown(t.name) + ", " + (dtype_bits(t.dtype) != 0 ? t.dtype : shown(t.dtype)) + " [";
  for (std::size_t i = 0; i < t.shape.size() && i < 8; ++i) {
    if (i != 0) out += ", ";
    out += std::to_string(t.shape[i]);
  }
  return out + (t.shape.size() > 8 ? ", ...]" : "]");
}

/// Whether a tensor of a known type has the bytes that type and shape ask for.
///
/// Errors: Error when it has not; when they are more than memory holds, the extents of 0 left out, so that no product of
/// extents overflows; when elements of 4 or 6 bits do not fill the last byte.
template <class Error, class Tensor>
void check_bytes(const char* who, const Tensor& t) {
  // Eight elements take as many bytes as one takes bits.
  const std::size_t bits = dtype_bits(t.dtype), most = static_cast<std::size_t>(-1) / 2 / bits * 8 - 8;
  std::size_t count = 1;
  bool empty = false;
  for (const std::size_t extent : t.shape) {
    empty = empty || extent == 0;
    if (extent != 0 && count > most / extent) fail<Error>({who, describe(t).c_str(), ", does not fit memory"});
    if (extent != 0) count *= extent;
  }
  if (empty) count = 0;
  if (count % 8 * bits % 8 != 0) fail<Error>({who, describe(t).c_str(), ", ends within a byte"});
  if (const std::size_t size = count / 8 * bits + count % 8 * bits / 8; size != t.bytes.size())
    fail<Error>({who, describe(t).c_str(), ", takes ", size, " bytes, not ", t.bytes.size()});
}

template <class T, class Tensor>
std::span<const T> elements_of(const Tensor& t) {
  const char* const dtype = safetensors_dtype<T>::name;
  if (t.dtype != dtype) fail<format_error>({"safetensors: ", describe(t).c_str(), ", does not hold ", dtype});
  check_bytes<shape_error>("safetensors: ", t);
  if (t.bytes.empty()) return {};
  if (const auto past = reinterpret_cast<std::uintptr_t>(t.bytes.data()) % alignof(T); past != 0)
    fail<shape_error>({"safetensors: ", describe(t).c_str(), ", lies ", past, " bytes behind a multiple of ",
                       alignof(T), "; to_float() takes any address"});
  return {reinterpret_cast<const T*>(t.bytes.data()), t.bytes.size() / sizeof(T)};
}

/// Calls f(rows, cols).
template <class Tensor, class F>
auto with_matrix_shape(const Tensor& t, F&& f) {
  if (t.shape.size() > 2)
    fail<shape_error>({"safetensors: ", describe(t).c_str(), ", has ", t.shape.size(), " dimensions; a matrix has 2"});
  return f(t.shape.size() == 2 ? t.shape[0] : 1, t.shape.empty() ? 1 : t.shape.back());
}

template <class T, class Tensor>
void convert_to_float(const Tensor& t, float* out) {
  for (std::size_t i = 0; i < t.bytes.size() / sizeof(T); ++i) {
    T element;
    std::memcpy(&element, t.bytes.data() + i * sizeof(T), sizeof(T));
    out[i] = element;
  }
}

template <class Tensor>
matrix<float> to_float(const Tensor& t) {
  return detail::with_matrix_shape(t, [&](std::size_t rows, std::size_t cols) {
    const auto convert = t.dtype == "F32"    ? convert_to_float<float, Tensor>
                         : t.dtype == "F16"  ? convert_to_float<half, Tensor>
                         : t.dtype == "BF16" ? convert_to_float<bfloat16, Tensor>
                                             : nullptr;
    if (convert == nullptr)
      fail<format_error>({"safetensors: ", describe(t).c_str(), ", holds none of F32, F16 and BF16"});
    check_bytes<shape_error>("safetensors: ", t);
    matrix<float> out(rows, cols);
    convert(t, out.data());
    return out;
  });
}

}  // namespace detail::inline TERN_TU

/// A tensor: name, type, shape, and bytes that are somebody else's.
///
/// dtype  the format's word: F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL C64, F8_E4M3 F8_E5M2 F8_E8M0
///        F8_E4M3FNUZ F8_E5M2FNUZ F6_E2M3 F6_E3M2 F4, or in a file that is read any other
/// shape  row-major, the last extent is of neighbours; empty for a single number; extents may be 0
/// bytes  the elements, little-endian
struct safetensors_tensor {
  std::string name;
  std::string dtype;
  std::vector<std::size_t> shape;
  std::span<const std::byte> bytes;

  TERN_INLINE safetensors_tensor() = default;
  TERN_INLINE safetensors_tensor(std::string name_, std::string dtype_, std::vector<std::size_t> shape_,
                                 std::span<const std::byte> bytes_)
      : name(std::move(name_)), dtype(std::move(dtype_)), shape(std::move(shape_)), bytes(bytes_) {}
  TERN_INLINE_COPIES(safetensors_tensor);

  /// All elements in place, whatever the shape. tern::batch makes a matrix of more than two dimensions.
  ///
  /// Errors: format_error when they are of another type; shape_error when they are not aligned to their size, which the
  ///         format does not promise (files that tern writes are).
  template <safetensors_element T, class Tu = tu_tag>
  std::span<const T> elements() const {
    return detail::elements_of<T>(*this);
  }

  /// The matrix in place, [rows x cols]; one dimension is one row, a single number 1 x 1.
  ///
  /// Errors: as elements(); shape_error for more than two dimensions.
  template <safetensors_element T, class Tu = tu_tag>
  matrix_view<const T> view() const {
    return detail::with_matrix_shape(*this, [&](std::size_t rows, std::size_t cols) {
      return matrix_view<const T>(detail::elements_of<T>(*this).data(), rows, cols);
    });
  }

  /// A copy of the matrix in float, from F32, F16 or BF16 at any address.
  ///
  /// Exactness: exact; a NaN stays one.
  /// Errors:    format_error for other types; shape_error for more than two dimensions.
  template <class Tu = tu_tag>
  matrix<float> to_float() const {
    return detail::to_float(*this);
  }
};

inline namespace TERN_TU {

/// The tensor of a matrix, whose elements stay where they are: it must outlive the tensor.
///
/// @param m  [rows x cols], rows next to each other
///
/// Errors: shape_error when there is something between the rows.
template <class T>
  requires safetensors_element<std::remove_const_t<T>> safetensors_tensor tensor_of(std::string name,
                                                                                    const matrix_view<T>& m) {
    if (m.rows() > 1 && m.cols() != 0 && m.row_stride() != m.cols())
      detail::fail<shape_error>({"tensor_of: rows of ", m.cols(), " elements at a stride of ", m.row_stride()});
    const std::span<const T> elements(m.data(), detail::checked_product(m.rows(), m.cols()));
    return {std::move(name),
            detail::safetensors_dtype<std::remove_const_t<T>>::name,
            {m.rows(), m.cols()},
            std::as_bytes(elements)};
  }
template <safetensors_element T>
safetensors_tensor tensor_of(std::string name, const matrix<T>& m) {
  return tern::tensor_of(std::move(name), m.view());
}
template <safetensors_element T>
void tensor_of(std::string name, const matrix<T>&& m) = delete;  // it would be gone

/// The tensor of a vector, one dimension: tensor_of("bias", std::span(bias)).
template <class T, std::size_t Extent>
  requires safetensors_element<std::remove_const_t<T>> safetensors_tensor tensor_of(std::string name,
                                                                                    std::span<T, Extent> elements) {
    const std::span<const std::byte> bytes = std::as_bytes(elements);
    return {std::move(name), detail::safetensors_dtype<std::remove_const_t<T>>::name, {elements.size()}, bytes};
  }

}  // namespace TERN_TU
}  // namespace tern::inline v0_1
