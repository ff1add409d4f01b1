// SPDX-License-Identifier: MIT
#include <tern/error.hpp>

#include <cstdint>
#include <limits>

#include "support/catch.hpp"

TEST_CASE("errors: one base, a text with the numbers in it", "[error]") {
  using tern::detail::fail;
  CHECK_THROWS_WITH(fail<tern::shape_error>({"x is ", 4, "x", std::size_t{512}, ", ", std::int8_t{-3}, ", ", 0.5f,
                                             std::string_view(" end")}),
                    "x is 4x512, -3, 0.5 end");
  CHECK_THROWS_AS(fail<tern::shape_error>({"a"}), tern::error);
  CHECK_THROWS_AS(fail<tern::range_error>({"a"}), tern::error);
  CHECK_THROWS_AS(fail<tern::isa_error>({"a"}), std::exception);
}

TEST_CASE("message: every integer", "[error]") {
  constexpr auto least = std::numeric_limits<std::int64_t>::min();
  constexpr tern::detail::message_part part(least);  // no constant if its negation overflowed
  CHECK(tern::detail::join({part, " ", std::int8_t{-128}, " ", std::numeric_limits<std::uint64_t>::max()}) ==
        "-9223372036854775808 -128 18446744073709551615");
}

TEST_CASE("sizes: products that do not fit are refused", "[error]") {
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  static_assert(tern::detail::checked_product(1000, 1000) == 1000000);
  static_assert(tern::detail::checked_product(0, most) == 0 && tern::detail::checked_product(most, 0) == 0);
  CHECK_THROWS_AS(tern::detail::checked_product(most, 2), tern::range_error);
  CHECK_THROWS_AS(tern::detail::checked_product(2, most), tern::range_error);
  CHECK_THROWS_AS(tern::detail::checked_product(most / 3 + 1, 3), tern::range_error);
  static_assert(tern::detail::ceil_div(0, 4) == 0 && tern::detail::ceil_div(1, 4) == 1 &&
                tern::detail::ceil_div(4, 4) == 1 && tern::detail::ceil_div(5, 4) == 2);
  static_assert(tern::detail::round_up(0, 64) == 0 && tern::detail::round_up(65, 64) == 128);
}

TEST_CASE("sizes: sums that do not fit are refused", "[error]") {
  constexpr std::size_t all = std::numeric_limits<std::size_t>::max(), most = all / 2;
  static_assert(tern::detail::checked_sum(most, 0) == most && tern::detail::checked_sum(0, most) == most);
  static_assert(tern::detail::checked_sum(most - 5, 5) == most);
  CHECK_THROWS_AS(tern::detail::checked_sum(most, 1), tern::range_error);
  CHECK_THROWS_AS(tern::detail::checked_sum(1, most), tern::range_error);
  CHECK_THROWS_AS(tern::detail::checked_sum(all, 0), tern::range_error);
  CHECK_THROWS_AS(tern::detail::checked_sum(0, all), tern::range_error);
  CHECK_THROWS_AS(tern::detail::checked_sum(all, 2), tern::range_error);  // which wraps to 1
}
