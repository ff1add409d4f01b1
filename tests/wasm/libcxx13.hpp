// SPDX-License-Identifier: MIT
/// What tern asks of the standard library and LLVM 13's libc++, the one of Debian's emscripten, has not. Included before
/// everything else by run.sh (em++ -include); no part of tern, whose users have libc++ 14 or newer with emscripten 3.1.24.
#pragma once

#include <bit>
#include <charconv>
#include <cstdio>
#include <cstdlib>

#if _LIBCPP_VERSION < 14000
namespace std {

template <class To, class From>
constexpr To bit_cast(const From& from) noexcept {
  return __builtin_bit_cast(To, from);
}

/// The shortest digits that read back as the same float: nine always do.
inline to_chars_result to_chars(char* first, char* last, float value) {
  int written = 0;
  for (int digits = 1; digits <= 9; ++digits) {
    written = snprintf(first, static_cast<size_t>(last - first), "%.*g", digits, static_cast<double>(value));
    if (strtof(first, nullptr) == value) break;
  }
  return {first + written, errc()};
}

}  // namespace std
#endif
