// SPDX-License-Identifier: MIT
/// A Hessian as bytes that describe themselves: save_hessian, load_hessian, and the same with files. Calibration is
/// slow, and one Hessian serves every quantizer.
///
/// | offset | type    | content                                                                          |
/// |--------|---------|----------------------------------------------------------------------------------|
/// | 0      | u8[8]   | magic: 89 54 52 48 0D 0A 1A 0A ("TRH" where a blob has "TRN")                    |
/// | 8      | u32     | version of this layout: 1                                                        |
/// | 12     | u32     | CRC-32 of the sums                                                               |
/// | 16     | u64     | K, inputs                                                                        |
/// | 24     | u64     | tokens                                                                           |
/// | 32     | u8[28]  | zeros                                                                            |
/// | 60     | u32     | CRC-32 of the bytes from 0 to 59                                                 |
/// | 64     | f64[]   | sum_t x(t,i) x(t,j), j <= i, row after row: K (K + 1) / 2, finite; little-endian |
///
/// Every byte follows from what was observed. Whatever bytes are read, the worst is a format_error.
#pragma once

#include <tern/io/blob_file.hpp>
#include <tern/quantize/hessian.hpp>

namespace tern::inline v0_1 {

namespace detail::inline TERN_TU {

struct hessian_header {
  std::uint8_t magic[8] = {0x89, 'T', 'R', 'H', '\r', '\n', 0x1A, '\n'};
  std::uint32_t version = 1;
  std::uint32_t sums_crc = 0;
  std::uint64_t inputs = 0, tokens = 0;
  std::uint8_t zeros[28] = {};
  std::uint32_t header_crc = 0;
};
static_assert(sizeof(hessian_header) == 64 && std::is_trivially_copyable_v<hessian_header> &&
              offsetof(hessian_header, inputs) == 16 && offsetof(hessian_header, header_crc) == 60);

inline std::uint32_t header_crc(const hessian_header& h) {
  return crc32(std::as_bytes(std::span(&h, 1)).first(offsetof(hessian_header, header_crc)));
}

}  // namespace detail::inline TERN_TU

inline namespace TERN_TU {

/// The bytes of a Hessian: 64 and 4 K (K + 1).
inline aligned_bytes save_hessian(const hessian& h) {
  const std::size_t inputs = h.inputs(), count = inputs * (inputs + 1) / 2;
  aligned_bytes out(sizeof(detail::hessian_header) + count * sizeof(double));
  std::byte* at = out.data() + sizeof(detail::hessian_header);
  for (std::size_t i = 0; i < inputs; ++i)
    for (std::size_t j = 0; j <= i; ++j, at += sizeof(double)) {
      const double sum = h.sum(i, j);
      std::memcpy(at, &sum, sizeof sum);
    }
  detail::hessian_header header;
  header.inputs = inputs;
  header.tokens = h.tokens();
  header.sums_crc = detail::crc32(std::span<const std::byte>(out).subspan(sizeof header));
  header.header_crc = detail::header_crc(header);
  std::memcpy(out.data(), &header, sizeof header);
  return out;
}

/// The Hessian that was saved.
/// Errors: format_error when the bytes are not one, are damaged, cut or grown, or hold a sum that is not finite, one of
///         squares that is negative, or one of no tokens that is not 0.
inline hessian load_hessian(std::span<const std::byte> bytes) {
  const detail::hessian_header want;
  detail::hessian_header h;
  if (bytes.size() < sizeof h)
    detail::fail<format_error>({"hessian: ", bytes.size(), " bytes, fewer than the ", sizeof h, " of the header"});
  std::memcpy(&h, bytes.data(), sizeof h);
  if (std::memcmp(h.magic, want.magic, sizeof h.magic) != 0)
    detail::fail<format_error>({"hessian: ", bytes.size(), " bytes that do not begin as a Hessian of tern does"});
  if (h.version != want.version)
    detail::fail<format_error>(
        {"hessian: version ", h.version, " of the layout; this program reads version ", want.version});
  if (const std::uint32_t crc = detail::header_crc(h); crc != h.header_crc)
    detail::fail<format_error>({"hessian: the header is damaged: its checksum is ", crc, ", not ", h.header_crc});
  if (!detail::all_zero(h.zeros, sizeof h.zeros)) detail::fail<format_error>({"hessian: bytes 32 to 59 must be 0"});
  const std::span<const std::byte> payload = bytes.subspan(sizeof h);
  // 2^26 inputs would be 2^54 bytes: below, nothing overflows.
  if (h.inputs > std::uint64_t{1} << 26 || h.inputs * (h.inputs + 1) / 2 * sizeof(double) != payload.size())
    detail::fail<format_error>({"hessian: ", payload.size(), " bytes of sums for ", h.inputs, " inputs"});
  if (const std::uint32_t crc = detail::crc32(payload); crc != h.sums_crc)
    detail::fail<format_error>({"hessian: the sums are damaged: their checksum is ", crc, ", not ", h.sums_crc});
  std::vector<double> sums(payload.size() / sizeof(double));
  if (!sums.empty()) std::memcpy(sums.data(), payload.data(), payload.size());
  for (std::size_t i = 0, row = 0; i < sums.size(); ++i) {
    const bool on_diagonal = i == row * (row + 3) / 2;
    if (on_diagonal) ++row;
    if (!(sums[i] - sums[i] == 0)) detail::fail<format_error>({"hessian: sum ", i, " is not finite"});
    if (on_diagonal && sums[i] < 0) detail::fail<format_error>({"hessian: sum ", i, ", of squares, is negative"});
    if (h.tokens == 0 && sums[i] != 0) detail::fail<format_error>({"hessian: sum ", i, " is of no tokens, and not 0"});
  }
  return hessian::from_sums(static_cast<std::size_t>(h.inputs), h.tokens, sums);
}

/// Writes save_hessian(h) to a file: PATH holds either what it held before or all of it, see save_file().
/// Errors: io_error with path and reason.
inline void save_hessian_file(const std::string& path, const hessian& h) {
  detail::new_file file("save_hessian_file", path);
  file.write(tern::save_hessian(h));
  file.commit();
}

/// The Hessian in a file. Errors: io_error with path and reason; format_error as load_hessian().
inline hessian load_hessian_file(const std::string& path) {
  return tern::load_hessian(detail::read_file("load_hessian_file", path));
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1
