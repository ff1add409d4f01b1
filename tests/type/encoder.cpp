// SPDX-License-Identifier: MIT
/// Tables in place of a codec's searches: the same answers and the same bytes for every level.
#include <tern/type/encoder.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

#include "support/catch.hpp"

namespace {

/// Every level at every place, beside zeros and beside itself.
template <class Codec>
void check_encoder(const Codec& codec) {
  const tern::detail::encoder<Codec> encode(codec);
  for (int level = -128; level <= 127; ++level) {
    CAPTURE(Codec::name(), level);
    REQUIRE(encode.holds(static_cast<std::int8_t>(level)) == codec.holds(level));
    if (!codec.holds(level)) continue;
    for (std::size_t place = 0; place <= Codec::fold; ++place) {
      std::array<std::int8_t, Codec::fold> levels{};
      for (std::size_t f = 0; f < Codec::fold; ++f)
        if (place == f || place == Codec::fold) levels[f] = static_cast<std::int8_t>(level);
      std::array<std::uint8_t, Codec::bytes> expected{}, bytes{};
      codec.encode(levels.data(), expected.data());
      encode(levels.data(), bytes.data());
      REQUIRE(bytes == expected);
      for (std::size_t f = 0; f < Codec::fold; ++f) REQUIRE(codec.decode(bytes.data(), f) == levels[f]);
    }
  }
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("encoder: what the codec says and writes, for every level", "[codec]", tern::codecs) {
  check_encoder(TestType());
}

TEST_CASE("encoder: tables and plane codes of every kind", "[codec]") {
  for (const tern::trit_code& code : tern::trit_codes_of_2) {
    check_encoder(tern::n4(code));
    check_encoder(tern::b3x2(code));
  }
  for (const tern::trit_code& code : tern::trit_codes_of_3) {
    check_encoder(tern::n6(code));
    check_encoder(tern::b3x3(code));
  }
  check_encoder(tern::b3x2(tern::trit_code{{17, 14}}));  // the largest levels of all

  // Of equal levels the first nibble counts, as for the codec.
  std::array<std::int8_t, 16> table{};
  for (std::size_t v = 0; v < 16; ++v) table[v] = static_cast<std::int8_t>(static_cast<int>(v / 2) * 9 - 31);
  table[3] = 0;
  check_encoder(tern::n4::from_state(table));
}
