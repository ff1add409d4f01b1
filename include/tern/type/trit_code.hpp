// SPDX-License-Identifier: MIT
/// Integer plane codes: several ternary planes whose gammas are small integers times one step,
///
///     W ~ d sum_p c_p T_p,      for instance c = (3, 2): levels d {0, +-1, +-2, +-3, +-5}
///
/// so that the planes combine into one small integer before the product: one product, one scale, exact. A code is a bijection
/// from its trits to its levels.
#pragma once

#include <array>

#include <tern/config.hpp>

namespace tern::inline v0_1 {

/// The integers c of a code of two or three planes, descending; c[2] is 0 with two.
struct trit_code {
  std::array<std::int8_t, 3> c{};

  TERN_INLINE constexpr std::size_t planes() const { return c[2] == 0 ? 2 : 3; }
  /// The largest level: all trits 1.
  TERN_INLINE constexpr int largest() const { return c[0] + c[1] + c[2]; }
  TERN_INLINE constexpr int level(const std::int8_t* trits) const {
    return c[0] * trits[0] + c[1] * trits[1] + (planes() == 3 ? c[2] * trits[2] : 0);
  }
  /// The trits of a level, one for each plane. @return false where the code has no such level
  TERN_INLINE constexpr bool trits_of(int level, std::int8_t* trits) const {
    for (int t0 = -1; t0 <= 1; ++t0)
      for (int t1 = -1; t1 <= 1; ++t1) {
        const int rest = level - c[0] * t0 - c[1] * t1;
        if (rest != 0 && rest != c[2] && rest != -c[2]) continue;
        trits[0] = static_cast<std::int8_t>(t0);
        trits[1] = static_cast<std::int8_t>(t1);
        if (planes() == 3) trits[2] = static_cast<std::int8_t>(rest == 0 ? 0 : rest == c[2] ? 1 : -1);
        return true;
      }
    return false;
  }
  /// Whether c is descending, all levels differ, and none is beyond 31: what the codecs hold.
  TERN_INLINE constexpr bool valid() const {
    if (c[1] < 1 || c[0] <= c[1] || c[2] < 0 || (c[2] != 0 && c[1] <= c[2]) || largest() > 31) return false;
    bool seen[63] = {};
    const int last = planes() == 3 ? 1 : 0;
    for (int t0 = -1; t0 <= 1; ++t0)
      for (int t1 = -1; t1 <= 1; ++t1)
        for (int t2 = -last; t2 <= last; ++t2) {
          bool& here = seen[31 + c[0] * t0 + c[1] * t1 + c[2] * t2];
          if (here) return false;
          here = true;
        }
    return true;
  }

  friend bool operator==(const trit_code&, const trit_code&) = default;
};

/// The codes from which a quantizer chooses, for two planes and for three: the best of all small integers on Gaussian, Laplace
/// and Student-t weights.
inline constexpr trit_code trit_codes_of_2[] = {{{3, 2}}, {{7, 5}}, {{4, 3}}, {{3, 1}}};
inline constexpr trit_code trit_codes_of_3[] = {{{9, 5, 3}}, {{8, 7, 5}}, {{9, 6, 2}}, {{9, 3, 1}}};

}  // namespace tern::inline v0_1
