// SPDX-License-Identifier: MIT
#include <tern/io/crc32.hpp>

#include "io/blobs.hpp"
#include "support/catch.hpp"

namespace {

std::uint32_t crc_of(std::string_view text) { return tern::detail::crc32(std::as_bytes(std::span(text))); }

}  // namespace

TEST_CASE("crc32: the values of zlib", "[io][golden]") {
  CHECK(crc_of("") == 0);
  CHECK(crc_of("a") == 0xE8B7BE43u);
  CHECK(crc_of("123456789") == 0xCBF43926u);
  CHECK(crc_of("The quick brown fox jumps over the lazy dog") == 0x414FA339u);
}

TEST_CASE("crc32: every length and start, in one piece and in two", "[io]") {
  std::mt19937 random(1);
  std::vector<std::byte> memory(80);
  for (std::byte& byte : memory) byte = static_cast<std::byte>(random());
  std::size_t wrong = 0;
  for (std::size_t begin = 0; begin < 9; ++begin)
    for (std::size_t size = 0; size < 70; ++size) {
      const auto bytes = std::span<const std::byte>(memory).subspan(begin, size);
      const std::uint32_t want = tern_test::crc32_by_bits(bytes);
      wrong += tern::detail::crc32(bytes) != want;
      for (std::size_t cut = 0; cut <= size; cut += 7)
        wrong += tern::detail::crc32(bytes.subspan(cut), tern::detail::crc32(bytes.first(cut))) != want;
    }
  CHECK(wrong == 0);
}
