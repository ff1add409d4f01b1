// SPDX-License-Identifier: MIT
/// Writes safetensors: the format in which models are passed around (https://github.com/huggingface/safetensors).
///
///     const tern::safetensors_tensor tensors[] = {tern::tensor_of("weight", W), {"ids", "I64", {3}, bytes_of_ids}};
///     tern::save_safetensors_file("model.safetensors", tensors, {{"format", "pt"}});
///
/// Needs the standard library only; reading, in safetensors.hpp, needs a JSON parser.
#pragma once

#include <set>

#include <tern/io/new_file.hpp>
#include <tern/io/safetensors_tensor.hpp>

namespace tern::inline v0_1 {
namespace detail::inline TERN_TU {

/// Whether the bytes are UTF-8 (RFC 3629): no longer form of a shorter one, no surrogates, nothing above U+10FFFF.
inline bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto at = [&](std::size_t k) -> unsigned { return static_cast<unsigned char>(text[k]); };
    const unsigned lead = at(i++);
    if (lead < 0x80) continue;
    const std::size_t more = lead >= 0xC2 && lead < 0xE0   ? 1
                             : lead >= 0xE0 && lead < 0xF0 ? 2
                             : lead >= 0xF0 && lead < 0xF5 ? 3
                                                           : 0;
    if (more == 0 || text.size() - i < more) return false;
    // What the second byte may be excludes the longer forms, the surrogates and the end of the range.
    const unsigned least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (at(i) < least || at(i) > most) return false;
    for (std::size_t k = 1; k < more; ++k)
      if (at(i + k) < 0x80 || at(i + k) > 0xBF) return false;
    i += more;
  }
  return true;
}

inline void check_utf8(std::string_view text) {
  if (!is_utf8(text)) fail<range_error>({"save_safetensors: a string of ", text.size(), " bytes is not UTF-8"});
}

/// Calls f(tensor) for those of a multiple of 64 bytes, and then for the others by falling size of an element; as they come
/// where that says nothing. If the first lies at a multiple of 64, so do all of a multiple of 64 bytes, which blobs are, and
/// every other one lies at a multiple of its element's size.
inline void for_each_as_stored(std::span<const safetensors_tensor> tensors, auto&& f) {
  for (const safetensors_tensor& t : tensors)
    if (t.bytes.size() % storage_alignment == 0) f(t);
  for (const std::size_t bits : {64u, 32u, 16u, 8u, 6u, 4u})
    for (const safetensors_tensor& t : tensors)
      if (t.bytes.size() % storage_alignment != 0 && dtype_bits(t.dtype) == bits) f(t);
}

/// Length and header as they stand in the file, all that is written checked.
inline std::string safetensors_header(std::span<const safetensors_tensor> tensors,
                                      const safetensors_metadata& metadata) {
  std::set<std::string_view> names;
  for (const safetensors_tensor& t : tensors) {
    if (dtype_bits(t.dtype) == 0)
      fail<range_error>({"save_safetensors: ", describe(t).c_str(), ", is of a type that the format does not know"});
    check_bytes<shape_error>("save_safetensors: ", t);
    if (t.name == metadata_key) fail<range_error>({"save_safetensors: a tensor cannot have the name ", metadata_key});
    if (!names.insert(t.name).second) fail<range_error>({"save_safetensors: a second tensor ", shown(t.name).c_str()});
    check_utf8(t.name);
  }

  std::string header(8, '\0');
  const auto separate = [&] { header += header.size() == 8 ? '{' : ','; };
  if (!metadata.empty()) {
    separate();
    header += json_string(metadata_key) + ':';
    char before = '{';
    for (const auto& [key, value] : metadata) {
      check_utf8(key);
      check_utf8(value);
      header += before + json_string(key) + ':' + json_string(value);
      before = ',';
    }
    header += '}';
  }
  std::size_t begin = 0;
  for_each_as_stored(tensors, [&](const safetensors_tensor& t) {
    separate();
    header += json_string(t.name) + ":{\"dtype\":\"" + t.dtype + "\",\"shape\":[";
    for (std::size_t i = 0; i < t.shape.size(); ++i) {
      if (i != 0) header += ',';
      header += std::to_string(t.shape[i]);
    }
    const std::size_t end = checked_sum(begin, t.bytes.size());
    header += "],\"data_offsets\":[" + std::to_string(begin) + ',' + std::to_string(end) + "]}";
    begin = end;
  });
  if (header.size() == 8) header += '{';
  header += '}';
  header.resize(round_up(header.size(), storage_alignment), ' ');
  const std::uint64_t size = header.size() - 8;
  if (size > max_safetensors_header)
    fail<range_error>({"save_safetensors: a header of ", size, " bytes, of at most ", max_safetensors_header});
  std::memcpy(header.data(), &size, sizeof size);
  return header;
}

}  // namespace detail::inline TERN_TU

inline namespace TERN_TU {

/// A safetensors file of these tensors in memory.
///
/// Tensors of a multiple of 64 bytes come first, at multiples of 64, and then the others by falling element size. So all of
/// them can be viewed in place: each lies at a multiple of its element's size, and a blob (blob.hpp), as a U8 tensor, where
/// view_blob() wants it. Equal tensors give equal files.
///
/// @param tensors   of different names in UTF-8, none of them "__metadata__"
/// @param metadata  strings in UTF-8
///
/// Cost:   copies the bytes once.
/// Errors: shape_error when a tensor has not the bytes that type and shape ask for; range_error for a type that the
///         format does not know, a name that is not allowed, or a header of more than 100 MB.
inline aligned_bytes save_safetensors(std::span<const safetensors_tensor> tensors,
                                      const safetensors_metadata& metadata = {}) {
  const std::string header = detail::safetensors_header(tensors, metadata);
  std::size_t size = header.size();
  for (const safetensors_tensor& t : tensors) size = detail::checked_sum(size, t.bytes.size());
  aligned_bytes out(size);
  std::byte* at = out.data();
  const auto append = [&](std::span<const std::byte> part) {
    if (!part.empty()) std::memcpy(at, part.data(), part.size());
    at += part.size();
  };
  append(std::as_bytes(std::span(header)));
  detail::for_each_as_stored(tensors, [&](const safetensors_tensor& t) { append(t.bytes); });
  return out;
}

/// Writes the file that save_safetensors() describes; as save_file() does it, so that at any moment PATH holds either what
/// it held before or all of the new. The tensors may be those of the file that it replaces.
///
/// Cost:   copies nothing.
/// Errors: as save_safetensors(), before anything is written; io_error with path and reason.
inline void save_safetensors_file(const std::string& path, std::span<const safetensors_tensor> tensors,
                                  const safetensors_metadata& metadata = {}) {
  const std::string header = detail::safetensors_header(tensors, metadata);
  detail::new_file file("save_safetensors_file", path);
  file.write(std::as_bytes(std::span(header)));
  detail::for_each_as_stored(tensors, [&](const safetensors_tensor& t) { file.write(t.bytes); });
  file.commit();
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1
