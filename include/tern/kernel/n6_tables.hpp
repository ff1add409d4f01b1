// SPDX-License-Identifier: MIT
/// The levels of codec n6, by lookups in tables of 16 bytes.
#pragma once

#include <tern/type/codec.hpp>

namespace tern::inline v0_1::kernel::inline TERN_TU {

/// What the first two trits give by their nibble, and the third by two neighbouring fields: the lower one, the higher one. A
/// level is the sum of two lookups.
struct n6_tables {
  alignas(16) std::int8_t pair[16], low[16], high[16];

  /// @param from_least  whether lookups add up to the distance from the least level instead of the level
  n6_tables(const n6& codec, bool from_least) {
    const trit_code& code = codec.code();
    const int of_pair = from_least ? code.c[0] + code.c[1] : 0, of_third = from_least ? code.c[2] : 0;
    for (unsigned v = 0; v < 16; ++v) {
      const auto byte = static_cast<std::uint8_t>(v);
      const std::uint8_t nibble[3] = {byte, 0, 0}, fields[3] = {0, 0, byte};
      pair[v] = static_cast<std::int8_t>(codec.decode(nibble, 0) + of_pair);
      low[v] = static_cast<std::int8_t>(codec.decode(fields, 0) + of_third);
      high[v] = static_cast<std::int8_t>(codec.decode(fields, 1) + of_third);
    }
  }
};

}  // namespace tern::inline v0_1::kernel::inline TERN_TU
