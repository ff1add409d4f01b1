// SPDX-License-Identifier: MIT
/// Catch2 of either major version, and what may be skipped.
///
///   SKIP(reason)            ends the test case as skipped. It fails instead if the reason names an instruction set that the
///                           environment's TERN_PROMISE_ISA lists ("scalar avx2": what this machine is known to run).
///   TERN_REQUIRE_ISA(Tag)   SKIP("no avx2") where this machine cannot run the tag.
///   tern_test::contains(s)  the matcher "has the substring s", which the two versions name differently.
///
/// Catch2 3 has a SKIP. Catch2 2 has not: there the test case is left by the exception of a failed REQUIRE, which Catch
/// swallows, without a failure counted; main.cpp reports the skips and exits with 4, as Catch2 3 does, if all were skipped.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#define TERN_CATCH2_V3 1
#include <catch2/catch_approx.hpp>
#include <catch2/catch_session.hpp>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <cstdlib>  // std::getenv
#include <iostream>
#include <map>
#include <string>
#include <string_view>

namespace tern_test {

/// Whether two lists of words, each word of letters, digits and underscores, have one in common.
inline bool share_a_word(std::string_view a, std::string_view b) {
  static constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz_0123456789";
  for (std::size_t begin = 0; (begin = a.find_first_of(letters, begin)) != a.npos;) {
    const std::string_view word = a.substr(begin, a.find_first_not_of(letters, begin) - begin);
    for (std::size_t at = 0; (at = b.find(word, at)) != b.npos; at += word.size()) {
      const bool starts = at == 0 || letters.find(b[at - 1]) == letters.npos;
      const bool ends = at + word.size() == b.size() || letters.find(b[at + word.size()]) == letters.npos;
      if (starts && ends) return true;
    }
    begin += word.size();
  }
  return false;
}

inline bool is_promised(std::string_view reason) {
  const char* promised = std::getenv("TERN_PROMISE_ISA");
  return promised != nullptr && share_a_word(promised, reason);
}

/// Reasons of the skipped test cases by name; Catch2 3 keeps its own count.
inline std::map<std::string, std::string> skipped;

inline void skip(const std::string& reason) {
  if (is_promised(reason)) FAIL("TERN_PROMISE_ISA is set, so this may not be skipped: " << reason);
#ifdef TERN_CATCH2_V3
  SKIP(reason);
#else
  skipped[Catch::getResultCapture().getCurrentTestName()] = reason;
  throw Catch::TestFailureException();
#endif
}

#ifdef TERN_CATCH2_V3
inline auto contains(const std::string& text) { return Catch::Matchers::ContainsSubstring(text); }
#else
inline auto contains(const std::string& text) { return Catch::Matchers::Contains(text); }
#endif

template <class Tag>
void require_isa() {
  if (!Tag::usable()) skip("no " + std::string(Tag::name()));
}

}  // namespace tern_test

#undef SKIP
#define SKIP(reason) ::tern_test::skip(reason)
#define TERN_REQUIRE_ISA(...) ::tern_test::require_isa<__VA_ARGS__>()
