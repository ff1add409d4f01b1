// SPDX-License-Identifier: MIT
/// CRC-32 as zlib, gzip and PNG compute it, so that other tools can check what tern writes.
///
/// The polynomial is 0xEDB88320 (reflected), start and final xor are all ones. It finds damage within any 32
/// consecutive bits, and in up to 11 KB any three flipped bits wherever they are (P. Koopman, "32-bit cyclic redundancy
/// codes for Internet applications", DSN 2002). Eight bytes a step from eight tables (M. Kounavis and F. Berry, "A
/// systematic approach to building high performance, software-based, CRC generators", ISCC 2005): table t holds the
/// remainders of bytes with t zero bytes behind them.
#pragma once

#include <cstring>  // std::memcpy
#include <span>

#include <tern/config.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

struct crc32_tables {
  std::uint32_t at[8][256];

  constexpr crc32_tables() : at{} {
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      std::uint32_t remainder = byte;
      for (int bit = 0; bit < 8; ++bit) remainder = remainder >> 1 ^ ((remainder & 1u) != 0 ? 0xEDB88320u : 0u);
      at[0][byte] = remainder;
    }
    for (int t = 1; t < 8; ++t)
      for (int byte = 0; byte < 256; ++byte) at[t][byte] = at[t - 1][byte] >> 8 ^ at[0][at[t - 1][byte] & 255u];
  }
};
inline constexpr crc32_tables crc32_table;

/// The checksum of `bytes`, or of what gave `before` followed by `bytes`: crc32(b, crc32(a)) is that of a and b in a
/// row.
inline std::uint32_t crc32(std::span<const std::byte> bytes, std::uint32_t before = 0) {
  constexpr auto& t = crc32_table.at;
  std::uint32_t crc = ~before;
  std::size_t i = 0;
  for (; bytes.size() - i >= 8; i += 8) {
    std::uint64_t v;
    std::memcpy(&v, bytes.data() + i, sizeof v);
    v ^= crc;
    crc = t[7][v & 255] ^ t[6][v >> 8 & 255] ^ t[5][v >> 16 & 255] ^ t[4][v >> 24 & 255] ^ t[3][v >> 32 & 255] ^
          t[2][v >> 40 & 255] ^ t[1][v >> 48 & 255] ^ t[0][v >> 56];
  }
  for (; i < bytes.size(); ++i) crc = crc >> 8 ^ t[0][(crc ^ static_cast<std::uint32_t>(bytes[i])) & 255u];
  return ~crc;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU
