// SPDX-License-Identifier: MIT
/// The layout of a blob, and what its header says.
///
/// A blob is a header of 192 bytes, the storage of the packed matrix as it is (packed_matrix.hpp), and the bias; behind
/// them, where LLM.int8() has weights of 16 bits for outliers, a blob of the remainder, what the codes leave of W.
/// Integers are little-endian. The layout is a promise; another one would be another version.
///
/// | offset | type    | content                                                                                   |
/// |--------|---------|-------------------------------------------------------------------------------------------|
/// | 0      | u8[8]   | magic: 89 54 52 4E 0D 0A 1A 0A; as in PNG, a transfer as text or in 7 bits damages it     |
/// | 8      | u32     | version of this layout: 2 with bytes of a remainder, else 1                               |
/// | 12     | u32     | bytes of the header: 192                                                                  |
/// | 16     | u64     | bytes of the whole blob, a multiple of 64                                                 |
/// | 24     | u64     | rows of W: outputs                                                                        |
/// | 32     | u64     | columns of W: inputs                                                                      |
/// | 40     | u64     | planes, at least 1                                                                        |
/// | 48     | u64     | inputs of a group; 0 unless scales are per group                                          |
/// | 56     | u8      | scales are per: 0 tensor, 1 row, 2 group                                                  |
/// | 57     | u8      | type of the scales: 0 float32, 1 float16, 2 bfloat16                                      |
/// | 58     | u8      | 1 where the storage has zero points, else 0                                               |
/// | 59     | u8      | 1 where the storage has sums of levels, else 0                                            |
/// | 60     | u32     | bytes of the codec's state: 0 for i2, b3, i8; at most 16                                  |
/// | 64     | u8[32]  | name of the codec: 1 to 32 of the ASCII characters 21 to 7E, zeros behind                 |
/// | 96     | i8[16]  | state of the codec, zeros behind                                                          |
/// | 112    | u64     | offset of the storage: 192                                                                |
/// | 120    | u64     | bytes of the storage, a multiple of 64                                                    |
/// | 128    | u64     | offset of the bias: the end of the storage                                                |
/// | 136    | u64     | count of the bias, float32: as many as rows, or 0 for none                                |
/// | 144    | u32     | 1 for an LLM.int8() layer, else 0                                                         |
/// | 148    | f32     | its threshold, at least 0; 0 for anything else                                            |
/// | 152    | u64     | bytes of the remainder, 0 for none: the end of an LLM.int8() layer's blob is one of its   |
/// |        |         | own, of this layout, codec i8, rows x columns, one plane, without bias                    |
/// | 160    | u8[24]  | zeros                                                                                     |
/// | 184    | u32     | CRC-32 of the bytes from 192 to the end: storage, bias, zeros that pad it to 64, and the  |
/// |        |         | remainder                                                                                 |
/// | 188    | u32     | CRC-32 of the bytes from 0 to 187                                                         |
///
/// Every byte follows from what was saved, so equal matrices give equal blobs. All reading functions check the header
/// in full, before they allocate or touch anything else; whatever the bytes are, the worst is a format_error.
#pragma once

#include <cstddef>  // offsetof

#include <tern/io/crc32.hpp>
#include <tern/type/packed_matrix.hpp>

namespace tern::inline v0_1 {

/// What a blob holds, to choose a type by.
struct blob_info {
  packed_format format;
  std::size_t bias_count = 0;  // N, or 0 for no bias
  std::size_t storage_bytes = 0;
  std::size_t blob_bytes = 0;
  bool is_llm_int8 = false;  // an LLM.int8() layer, and its threshold
  float outlier_threshold = 0;
  std::size_t remainder_bytes = 0;  // of the blob at the end, where its weights for outliers have 16 bits; else 0
  std::uint32_t payload_crc = 0;
  std::uint32_t state_bytes = 0;
  std::int8_t state[16] = {};
  char codec_name[33] = {};

  // Both point into this object, so not into a temporary one.
  TERN_INLINE std::string_view codec() const& { return codec_name; }
  TERN_INLINE std::span<const std::int8_t> codec_state() const& { return {state, state_bytes}; }
  void codec() const&& = delete;
  void codec_state() const&& = delete;
};

namespace detail::inline TERN_TU {

/// The header as it stands in the file.
struct blob_header {
  std::uint8_t magic[8] = {0x89, 'T', 'R', 'N', '\r', '\n', 0x1A, '\n'};
  std::uint32_t version = 1;
  std::uint32_t header_bytes = 192;
  std::uint64_t blob_bytes = 0;
  std::uint64_t rows = 0, cols = 0, planes = 0, group = 0;
  std::uint8_t sharing = 0, scales = 0, has_zeros = 0, has_sums = 0;
  std::uint32_t state_bytes = 0;
  char codec[32] = {};
  std::int8_t state[16] = {};
  std::uint64_t storage_offset = 192, storage_bytes = 0;
  std::uint64_t bias_offset = 0, bias_count = 0;
  std::uint32_t is_llm_int8 = 0;
  float outlier_threshold = 0;
  std::uint64_t remainder_bytes = 0;
  std::uint8_t zeros[24] = {};
  std::uint32_t payload_crc = 0;
  std::uint32_t header_crc = 0;
};
static_assert(sizeof(blob_header) == 192 && sizeof(blob_header) % storage_alignment == 0 &&
              std::is_trivially_copyable_v<blob_header>);
static_assert(offsetof(blob_header, sharing) == 56 && offsetof(blob_header, codec) == 64 &&
              offsetof(blob_header, storage_offset) == 112 && offsetof(blob_header, is_llm_int8) == 144 &&
              offsetof(blob_header, remainder_bytes) == 152 && offsetof(blob_header, payload_crc) == 184 &&
              offsetof(blob_header, header_crc) == 188);
static_assert(static_cast<int>(granularity::sharing::tensor) == 0 && static_cast<int>(granularity::sharing::row) == 1 &&
              static_cast<int>(granularity::sharing::group) == 2 && static_cast<int>(scale_type::float32) == 0 &&
              static_cast<int>(scale_type::float16) == 1 && static_cast<int>(scale_type::bfloat16) == 2);

inline std::uint32_t header_crc(const blob_header& h) {
  return crc32(std::as_bytes(std::span(&h, 1)).first(offsetof(blob_header, header_crc)));
}

constexpr bool all_zero(const auto* values, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (values[i] != std::remove_cvref_t<decltype(*values)>{}) return false;
  return true;
}

/// Whether a name is 1 to 32 visible ASCII characters.
constexpr bool is_codec_name(std::string_view name) {
  for (const char c : name)
    if (c < 0x21 || c > 0x7E) return false;
  return !name.empty() && name.size() <= sizeof(blob_header::codec);
}

/// What the first 192 bytes say, once everything in them that needs no codec is checked.
inline blob_info read_header(std::span<const std::byte> bytes) {
  const blob_header want;
  blob_header h;
  // Magic and version come first: they tell a file of another kind from a damaged one.
  const std::size_t begin = lesser(bytes.size(), sizeof h.magic);
  if (begin == 0 || std::memcmp(bytes.data(), want.magic, begin) != 0)
    fail<format_error>({"blob: ", bytes.size(), " bytes that do not begin as a blob of tern does"});
  if (bytes.size() < sizeof h)
    fail<format_error>({"blob: cut to ", bytes.size(), " bytes, fewer than the ", sizeof h, " of the header"});
  std::memcpy(&h, bytes.data(), sizeof h);
  if (h.version < 1 || h.version > 2)
    fail<format_error>({"blob: version ", h.version, " of the layout; this program reads versions 1 and 2"});
  if (const std::uint32_t crc = header_crc(h); crc != h.header_crc)
    fail<format_error>({"blob: the header is damaged: its checksum is ", crc, ", not ", h.header_crc});

  // From here on the header is what somebody wrote, who may have been careless or hostile.
  if (h.header_bytes != want.header_bytes)
    fail<format_error>({"blob: a header of ", h.header_bytes, " bytes, not ", want.header_bytes});
  for (const std::uint64_t size : {h.blob_bytes, h.rows, h.cols, h.planes, h.group, h.remainder_bytes})
    if (size > static_cast<std::size_t>(-1) / 2) fail<format_error>({"blob: size ", size, " does not fit memory"});
  if (h.sharing > static_cast<std::uint8_t>(granularity::sharing::group))
    fail<format_error>({"blob: granularity ", h.sharing, " is none of 0, 1 and 2"});
  if (h.scales > static_cast<std::uint8_t>(scale_type::bfloat16))
    fail<format_error>({"blob: scale type ", h.scales, " is none of 0, 1 and 2"});
  if (h.has_zeros > 1 || h.has_sums > 1)
    fail<format_error>({"blob: flags ", h.has_zeros, " and ", h.has_sums, " are not 0 or 1"});
  if (static_cast<granularity::sharing>(h.sharing) != granularity::sharing::group && h.group != 0)
    fail<format_error>({"blob: groups of ", h.group, " inputs in a matrix whose scales are not per group"});
  if (!all_zero(h.zeros, sizeof h.zeros)) fail<format_error>({"blob: bytes 160 to 183 must be 0"});
  if (h.is_llm_int8 > 1 || !(h.outlier_threshold >= 0) ||
      (h.is_llm_int8 == 0 && std::bit_cast<std::uint32_t>(h.outlier_threshold) != 0))
    fail<format_error>({"blob: flag ", h.is_llm_int8, " and threshold ", h.outlier_threshold, " of LLM.int8()"});
  if ((h.version == 2) != (h.remainder_bytes != 0))
    fail<format_error>({"blob: a remainder of ", h.remainder_bytes, " bytes in version ", h.version, " of the layout"});
  if (h.remainder_bytes != 0 && (h.is_llm_int8 == 0 || h.cols == 0))
    fail<format_error>({"blob: a remainder of ", h.remainder_bytes, " bytes beside ", h.cols, " columns",
                        h.is_llm_int8 == 0 ? " of no LLM.int8() layer" : ""});

  blob_info info;
  std::memcpy(info.codec_name, h.codec, sizeof h.codec);  // and a zero behind
  const std::size_t name_size = info.codec().size();
  if (!is_codec_name(info.codec()) || !all_zero(h.codec + name_size, sizeof h.codec - name_size))
    fail<format_error>({"blob: the name of the codec is not 1 to 32 visible ASCII characters"});
  if (h.state_bytes > sizeof h.state || !all_zero(h.state + h.state_bytes, sizeof h.state - h.state_bytes))
    fail<format_error>({"blob: ", h.state_bytes, " bytes of codec state, of 16 that must be 0 behind it"});
  if (h.is_llm_int8 != 0 && info.codec() != i8::name())
    fail<format_error>({"blob: an LLM.int8() layer in codec ", info.codec()});
  std::memcpy(info.state, h.state, sizeof h.state);
  info.state_bytes = h.state_bytes;

  // The sections follow each other and end with the blob. Each subtraction is of something that was found to be no
  // larger.
  if (h.storage_offset != want.storage_offset || h.storage_bytes % storage_alignment != 0 ||
      h.blob_bytes < h.storage_offset || h.storage_bytes > h.blob_bytes - h.storage_offset)
    fail<format_error>(
        {"blob: storage of ", h.storage_bytes, " bytes from ", h.storage_offset, " in a blob of ", h.blob_bytes});
  std::uint64_t left = h.blob_bytes - h.storage_offset - h.storage_bytes;
  if (h.remainder_bytes > left || h.remainder_bytes % storage_alignment != 0)
    fail<format_error>({"blob: a remainder of ", h.remainder_bytes, " bytes in a blob of ", h.blob_bytes});
  left -= h.remainder_bytes;
  if (h.bias_count != 0 && h.bias_count != h.rows)
    fail<format_error>({"blob: ", h.bias_count, " biases for ", h.rows, " outputs"});
  if (h.bias_offset != h.storage_offset + h.storage_bytes || h.bias_count > left / sizeof(float) ||
      (h.bias_count * sizeof(float) + storage_alignment - 1) / storage_alignment * storage_alignment != left)
    fail<format_error>({"blob: ", h.bias_count, " biases from ", h.bias_offset, " in a blob of ", h.blob_bytes});

  // Without columns rows take no bytes, and without rows planes: nothing else would bound what a reader loops over.
  if (h.cols == 0 && h.rows > h.blob_bytes)
    fail<format_error>({"blob: ", h.rows, " rows without columns in a blob of ", h.blob_bytes});
  if (h.rows == 0 && h.planes > h.blob_bytes)
    fail<format_error>({"blob: ", h.planes, " planes without rows in a blob of ", h.blob_bytes});
  info.format.rows = static_cast<std::size_t>(h.rows);
  info.format.cols = static_cast<std::size_t>(h.cols);
  info.format.planes = static_cast<std::size_t>(h.planes);
  info.format.granularity = {static_cast<granularity::sharing>(h.sharing), static_cast<std::size_t>(h.group)};
  info.format.scales = static_cast<scale_type>(h.scales);
  info.format.has_zeros = h.has_zeros != 0;
  info.format.has_sums = h.has_sums != 0;
  info.bias_count = static_cast<std::size_t>(h.bias_count);
  info.storage_bytes = static_cast<std::size_t>(h.storage_bytes);
  info.blob_bytes = static_cast<std::size_t>(h.blob_bytes);
  info.is_llm_int8 = h.is_llm_int8 != 0;
  info.outlier_threshold = h.outlier_threshold;
  info.remainder_bytes = static_cast<std::size_t>(h.remainder_bytes);
  info.payload_crc = h.payload_crc;
  return info;
}

/// Errors: format_error when there are not as many bytes as the header says.
inline void check_size(const blob_info& info, std::size_t size) {
  if (info.blob_bytes != size)
    fail<format_error>(
        {"blob: ", info.blob_bytes, " bytes are ", size < info.blob_bytes ? "cut" : "grown", " to ", size});
}

}  // namespace detail::inline TERN_TU

}  // namespace tern::inline v0_1
