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
using coded = std::array<std::uint8_t, Codec::bytes>;

template <class Codec>
coded<Codec> encode(const group<Codec>& levels, const Codec& codec = {}) {
  coded<Codec> bytes;
  codec.encode(levels.data(), bytes.data());
  return bytes;
}
template <class Codec>
group<Codec> decode(const coded<Codec>& bytes, const Codec& codec = {}) {
  group<Codec> levels;
  for (std::size_t p = 0; p < Codec::fold; ++p) levels[p] = codec.decode(bytes.data(), p);
  return levels;
}
template <class Codec>
std::uint8_t byte_of(const group<Codec>& levels) {
  return encode<Codec>(levels)[0];
}

template <class Codec>
std::vector<std::int8_t> levels_of(const Codec& codec) {
  std::vector<std::int8_t> levels;
  for (int level = -128; level < 128; ++level)
    if (codec.holds(level)) levels.push_back(static_cast<std::int8_t>(level));
  return levels;
}

/// Every group of levels that the codec holds has bytes of its own and comes back; where there are more than a million
/// groups, every level at every place beside each of five others.
template <class Codec>
void check_round_trips(const Codec& codec, std::size_t expected_levels) {
  const std::vector<std::int8_t> levels = levels_of(codec);
  CHECK(levels.size() == expected_levels);
  double all = 1;
  for (std::size_t p = 0; p < Codec::fold; ++p) all *= static_cast<double>(levels.size());
  std::set<coded<Codec>> seen;
  std::size_t groups = 0, wrong = 0;
  const auto meet = [&](const group<Codec>& each) {
    const auto bytes = encode(each, codec);
    wrong += decode(bytes, codec) != each;
    seen.insert(bytes);
    ++groups;
  };
  if (all <= 1e6) {
    group<Codec> each;
    std::array<std::size_t, Codec::fold> at{};
    while (true) {
      for (std::size_t p = 0; p < Codec::fold; ++p) each[p] = levels[at[p]];
      meet(each);
      std::size_t p = 0;
      while (p < Codec::fold && ++at[p] == levels.size()) at[p++] = 0;
      if (p == Codec::fold) break;
    }
    CHECK(seen.size() == groups);
  } else {
    for (std::size_t p = 0; p < Codec::fold; ++p)
      for (std::size_t l = 0; l < levels.size(); ++l)
        for (std::size_t other = 0; other < 5; ++other) {
          group<Codec> each;
          for (std::size_t f = 0; f < Codec::fold; ++f) each[f] = levels[(other * 7 + f * 11) % levels.size()];
          each[p] = levels[l];
          meet(each);
        }
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("codec: every group of levels round trips, each to bytes of its own", "[codec]") {
  check_round_trips(tern::i2(), 4);
  check_round_trips(tern::b3(), 3);
  check_round_trips(tern::i8(), 256);
  check_round_trips(tern::n4(), 16);
  for (const tern::trit_code& code : tern::trit_codes_of_2) {
    check_round_trips(tern::n4(code), 9);
    check_round_trips(tern::b3x2(code), 9);
  }
  for (const tern::trit_code& code : tern::trit_codes_of_3) {
    check_round_trips(tern::n6(code), 27);
    check_round_trips(tern::b3x3(code), 27);
  }
}

TEMPLATE_LIST_TEST_CASE("codec: every byte decodes to small levels, so a mapped file needs no scan", "[codec]",
                        tern::codecs) {
  const TestType codec;
  const std::vector<std::int8_t> levels = levels_of(codec);
  for (unsigned byte = 0; byte < 256; ++byte)
    for (std::size_t v = 0; v < TestType::bytes; ++v) {
      coded<TestType> bytes{};
      bytes[v] = static_cast<std::uint8_t>(byte);
      for (const std::int8_t level : decode<TestType>(bytes)) {
        CHECK(level >= levels.front());
        CHECK(level <= levels.back());
      }
    }
}

TEST_CASE("trit_code: levels and trits are a bijection", "[codec]") {
  std::set<int> levels;
  for (int t0 = -1; t0 <= 1; ++t0)
    for (int t1 = -1; t1 <= 1; ++t1) {
      const std::int8_t trits[2] = {static_cast<std::int8_t>(t0), static_cast<std::int8_t>(t1)};
      const int level = tern::trit_codes_of_2[0].level(trits);
      CHECK(level == 3 * t0 + 2 * t1);
      std::int8_t back[3] = {9, 9, 9};
      CHECK(tern::trit_codes_of_2[0].trits_of(level, back));
      CHECK(back[0] == t0);
      CHECK(back[1] == t1);
      levels.insert(level);
    }
  CHECK(levels == std::set<int>{-5, -3, -2, -1, 0, 1, 2, 3, 5});
  std::int8_t trits[3];
  CHECK_FALSE(tern::trit_codes_of_2[0].trits_of(4, trits));
  CHECK_FALSE(tern::trit_codes_of_3[0].trits_of(10, trits));
  for (const tern::trit_code bad :
       {tern::trit_code{}, tern::trit_code{{2, 1, 1}}, tern::trit_code{{3, 2, 1}}, tern::trit_code{{2, 3}},
        tern::trit_code{{4, 2, 2}}, tern::trit_code{{3, -2}}, tern::trit_code{{20, 12}}, tern::trit_code{{2, 0, 1}}})
    CHECK_FALSE(bad.valid());
  CHECK(tern::trit_code{{2, 1}}.valid() == false);  // 2 - 1 = 1
  CHECK(tern::trit_code{{17, 14}}.valid());
}

TEST_CASE("codec: what a plane code cannot be, and what a table cannot", "[codec]") {
  CHECK_THROWS_AS(tern::n4(tern::trit_codes_of_3[0]), tern::range_error);
  CHECK_THROWS_AS(tern::n4(tern::trit_code{{2, 1}}), tern::range_error);
  CHECK_THROWS_AS(tern::n6(tern::trit_codes_of_2[0]), tern::range_error);
  CHECK_THROWS_AS(tern::b3x2(tern::trit_codes_of_3[0]), tern::range_error);
  CHECK_THROWS_AS(tern::b3x3(tern::trit_codes_of_2[0]), tern::range_error);
  std::array<std::int8_t, 16> table{};
  CHECK(tern::n4::from_state(table).holds(0));
  table[3] = -40;
  table[4] = 23;
  CHECK(tern::n4::from_state(table).least() == -40);
  table[4] = 24;
  CHECK_THROWS_WITH(tern::n4::from_state(table), "codec n4: levels -40 .. 24 span more than 63");
  table.fill(5);
  CHECK_THROWS_WITH(tern::n4::from_state(table), tern_test::contains("0 is not in its table"));
  CHECK_THROWS_WITH(tern::n4::from_state(std::span<const std::int8_t>(table).first(15)),
                    "codec n4: 15 levels instead of 16");
  CHECK_THROWS_WITH(tern::n6::from_state(std::span<const std::int8_t>(table).first(2)),
                    "codec: a plane code has 3 integers, not 2");
  CHECK(tern::n6::from_state(tern::n6(tern::trit_code{{8, 7, 5}}).state()) == tern::n6(tern::trit_code{{8, 7, 5}}));
  CHECK(tern::b3x2::from_state(tern::b3x2(tern::trit_code{{4, 3}}).state()) == tern::b3x2(tern::trit_code{{4, 3}}));
}

// The golden bytes below are on users' disks. They are derived by hand from the table in codec.hpp, and may be changed
// only together with the version of the format, never to make a test pass.

TEST_CASE("codec i2: golden bytes", "[codec][golden]") {
  const auto byte = byte_of<tern::i2>;
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
  const auto byte = byte_of<tern::b3>;
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
    const auto levels = decode<tern::b3>({static_cast<std::uint8_t>(byte)});
    for (std::size_t p = 0; p < 5; ++p)
      CHECK(levels[p] == static_cast<int>((byte * power_of_3[p] & 0xFF) * 3 >> 8) - 1);
    if (byte_of<tern::b3>(levels) != byte) idle.push_back(static_cast<int>(byte));
  }
  CHECK(idle == std::vector<int>{1, 20, 40, 60, 79, 99, 119, 138, 158, 178, 197, 217, 237});
}

TEST_CASE("codec i8: golden bytes", "[codec][golden]") {
  const auto byte = [](std::int8_t level) { return byte_of<tern::i8>({level}); };
  CHECK(byte(0) == 0x00);
  CHECK(byte(127) == 0x7F);
  CHECK(byte(-1) == 0xFF);
  CHECK(byte(-128) == 0x80);
}

TEST_CASE("codec n4: golden bytes", "[codec][golden]") {
  CHECK(byte_of<tern::n4>({0, 0}) == 0x00);
  CHECK(byte_of<tern::n4>({7, -8}) == 0x87);
  CHECK(byte_of<tern::n4>({-1, 1}) == 0x1F);
  // (3, 2): 5 = 3 + 2 is 0101, -1 = -3 + 2 is 0111, -2 = -2 is 1100.
  const tern::n4 code(tern::trit_code{{3, 2}});
  CHECK(encode({5, -1}, code)[0] == 0x75);
  CHECK(encode({-2, 3}, code)[0] == 0x1C);
  CHECK(decode<tern::n4>({0x2A}, code) == group<tern::n4>{0, 0});  // fields 10: no trits
}

TEST_CASE("codecs n6 and b3x2 and b3x3: golden bytes", "[codec][golden]") {
  // (9, 5, 3): 17 = 9 + 5 + 3; -4 = -9 + 5; 1 = 9 - 5 - 3; 0.
  // Nibbles 0101, 0111, 1101, 0000; fields 01, 00, 11, 00.
  CHECK(encode<tern::n6>({17, -4, 1, 0}) == coded<tern::n6>{0x75, 0x0D, 0x31});
  CHECK(decode<tern::n6>({0x22, 0x82, 0xAA}) == group<tern::n6>{0, 0, 0, 0});
  CHECK(decode<tern::n6>({0x02, 0x00, 0x01}) == group<tern::n6>{3, 0, 0, 0});
  // First trits 1 -1 0 0 1, second 1 1 0 -1 0 of (3, 2): levels 5 -1 0 -2 3.
  CHECK(encode<tern::b3x2>({5, -1, 0, -2, 3}) ==
        coded<tern::b3x2>{byte_of<tern::b3>({1, -1, 0, 0, 1}), byte_of<tern::b3>({1, 1, 0, -1, 0})});
  CHECK(encode<tern::b3x3>({17, -4, 1, 0, -3}) == coded<tern::b3x3>{byte_of<tern::b3>({1, -1, 1, 0, 0}),
                                                                    byte_of<tern::b3>({1, 1, -1, 0, 0}),
                                                                    byte_of<tern::b3>({1, 0, -1, 0, -1})});
}

TEMPLATE_LIST_TEST_CASE("codec: a block is 16 rows and groups are whole blocks", "[codec]", tern::codecs) {
  CHECK(tern::block_inputs<TestType> * tern::panel_rows ==
        tern::block_bytes<TestType> * TestType::fold / TestType::bytes);
  CHECK(TestType::group_multiple % tern::block_inputs<TestType> == 0);
}
