// SPDX-License-Identifier: MIT
#include <tern/type/codec.hpp>

#include <array>
#include <set>
#include <vector>

#include "support/catch.hpp"

namespace {

template <class Codec>
using group = std::array<std::int8_t, Codec::fold>;

template <class Codec>
group<Codec> decode(std::uint8_t byte) {
  group<Codec> levels;
  for (std::size_t p = 0; p < Codec::fold; ++p) levels[p] = Codec{}.decode(byte, p);
  return levels;
}

/// Calls f with every group of levels that a byte of Codec can hold.
template <class Codec, class F>
void for_all_groups(F&& f) {
  group<Codec> levels;
  levels.fill(Codec::lowest);
  while (true) {
    f(levels);
    std::size_t p = 0;
    while (p < Codec::fold && levels[p] == Codec::highest) levels[p++] = Codec::lowest;
    if (p == Codec::fold) return;
    ++levels[p];
  }
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("codec: every group of levels round trips, each to a byte of its own", "[codec]",
                        tern::codecs) {
  std::set<std::uint8_t> bytes;
  std::size_t groups = 0, wrong = 0;
  for_all_groups<TestType>([&](const group<TestType>& levels) {
    const std::uint8_t byte = TestType{}.encode(levels.data());
    wrong += decode<TestType>(byte) != levels;
    bytes.insert(byte);
    ++groups;
  });
  CHECK(wrong == 0);
  CHECK(bytes.size() == groups);
  CHECK(groups == (TestType::name() == "b3" ? 243 : 256));
}

TEMPLATE_LIST_TEST_CASE("codec: every byte decodes to legal levels, so a mapped file needs no scan", "[codec]",
                        tern::codecs) {
  for (unsigned byte = 0; byte < 256; ++byte)
    for (const std::int8_t level : decode<TestType>(static_cast<std::uint8_t>(byte))) {
      CHECK(level >= TestType::lowest);
      CHECK(level <= TestType::highest);
    }
}

// The golden bytes below are on users' disks. They are derived by hand from the table in codec.hpp, and may be changed
// only together with the version of the format, never to make a test pass.

TEST_CASE("codec i2: golden bytes", "[codec][golden]") {
  const auto byte = [](group<tern::i2> levels) { return tern::i2{}.encode(levels.data()); };
  CHECK(byte({0, 0, 0, 0}) == 0x00);
  CHECK(byte({1, 1, 1, 1}) == 0x55);
  CHECK(byte({-1, -1, -1, -1}) == 0xFF);
  CHECK(byte({-2, -2, -2, -2}) == 0xAA);
  CHECK(byte({1, 0, 0, 0}) == 0x01);
  CHECK(byte({0, -1, 0, 0}) == 0x0C);
  CHECK(byte({0, 0, 1, 0}) == 0x10);
  CHECK(byte({1, 0, -1, -2}) == 0xB1);
}

TEST_CASE("codec b3: golden bytes", "[codec][golden]") {
  const auto byte = [](group<tern::b3> levels) { return tern::b3{}.encode(levels.data()); };
  CHECK(byte({-1, -1, -1, -1, -1}) == 0);
  CHECK(byte({0, 0, 0, 0, 0}) == 128);      // v = 121: 128 > 121 * 256 / 243 = 127.5
  CHECK(byte({1, 1, 1, 1, 1}) == 255);      // v = 242
  CHECK(byte({1, -1, -1, -1, -1}) == 171);  // v = 162, the most significant
  CHECK(byte({-1, -1, -1, -1, 0}) == 2);    // v = 1, the least significant
  CHECK(byte({-1, 0, 1, 1, -1}) == 0x36);   // v = 0 1 2 2 0 in base 3 = 51
}

/// The trit digits of ggml's TQ1_0, with its own arithmetic: byte * 3^p modulo 256, times 3, the upper byte.
TEST_CASE("codec b3: decodes as TQ1_0 does, and has its 13 idle bytes", "[codec][golden]") {
  static constexpr unsigned power_of_3[] = {1, 3, 9, 27, 81};
  std::vector<int> idle;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto levels = decode<tern::b3>(static_cast<std::uint8_t>(byte));
    for (std::size_t p = 0; p < 5; ++p)
      CHECK(levels[p] == static_cast<int>((byte * power_of_3[p] & 0xFF) * 3 >> 8) - 1);
    if (tern::b3{}.encode(levels.data()) != byte) idle.push_back(static_cast<int>(byte));
  }
  CHECK(idle == std::vector<int>{1, 20, 40, 60, 79, 99, 119, 138, 158, 178, 197, 217, 237});
}

TEST_CASE("codec i8: golden bytes", "[codec][golden]") {
  const auto byte = [](std::int8_t level) { return tern::i8{}.encode(&level); };
  CHECK(byte(0) == 0x00);
  CHECK(byte(127) == 0x7F);
  CHECK(byte(-1) == 0xFF);
  CHECK(byte(-128) == 0x80);
}

TEMPLATE_LIST_TEST_CASE("codec: a block is 16 rows and groups are whole blocks", "[codec]", tern::codecs) {
  CHECK(tern::block_inputs<TestType> * tern::panel_rows == tern::block_bytes * TestType::fold);
  CHECK(TestType::group_multiple % tern::block_inputs<TestType> == 0);
}
