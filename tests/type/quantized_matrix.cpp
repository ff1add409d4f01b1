// SPDX-License-Identifier: MIT
#include <tern/type/quantized_matrix.hpp>

#include "support/catch.hpp"

using tern::quantized_matrix;

TEST_CASE("granularity: groups of a row", "[scale]") {
  CHECK(tern::per_tensor.groups(100) == 1);
  CHECK(tern::per_channel.groups(100) == 1);
  CHECK(tern::per_channel == tern::per_token);
  CHECK(tern::per_group(16).groups(48) == 3);
  CHECK(tern::per_group(16).groups(49) == 4);
  CHECK(tern::per_group(16).groups(1) == 1);
  CHECK(tern::per_group(16).groups(0) == 1);  // an empty row still has a scale
  CHECK(tern::per_group(16).group_inputs(100) == 16);
  CHECK(tern::per_channel.group_inputs(100) == 100);
  CHECK_THROWS_AS(tern::per_group(0), tern::range_error);
  CHECK(tern::bytes_of(tern::scale_type::float32) == 4);
  CHECK(tern::bytes_of(tern::scale_type::float16) == 2);
  CHECK(tern::bytes_of(tern::scale_type::bfloat16) == 2);
}

TEST_CASE("quantized_matrix: the place of each scale", "[quantized_matrix]") {
  quantized_matrix q(2, 3, 40, tern::per_group(16));
  CHECK(q.codes.size() == 2 * 3 * 40);
  CHECK(q.scales.size() == 2 * 3 * 3);
  for (std::size_t i = 0; i < q.scales.size(); ++i) q.scales[i] = static_cast<float>(i);
  float next = 0;
  for (std::size_t p = 0; p < 2; ++p)
    for (std::size_t n = 0; n < 3; ++n)
      for (std::size_t g = 0; g < 3; ++g) CHECK(q.scale(p, n, g) == next++);
  CHECK(q.zero(1, 2, 2) == 0);
  q.zeros.resize(q.scales.size());
  q.zeros.back() = -7;
  CHECK(q.zero(1, 2, 2) == -7);
  CHECK(q.code_row(1, 2) == q.codes.data() + 5 * 40);
}

TEST_CASE("quantized_matrix: per tensor has one scale a plane, which all rows share", "[quantized_matrix]") {
  quantized_matrix q(2, 3, 40, tern::per_tensor);
  q.scales = {0.5f, 0.25f};
  CHECK_NOTHROW(q.check());
  CHECK(q.scale(0, 2, 0) == 0.5f);
  CHECK(q.scale(1, 2, 0) == 0.25f);
}

TEST_CASE("quantized_matrix: per input has one scale a column, which all rows share", "[quantized_matrix]") {
  tern::basic_quantized_matrix<std::int16_t> q(2, 3, 4, tern::per_input);
  CHECK(q.scales.size() == 2 * 4);
  CHECK((q.groups() == 4 && q.group_inputs() == 1 && q.scale_rows() == 1));
  q.scales = {1, 2, 3, 4, 5, 6, 7, 8};
  CHECK_NOTHROW(q.check());
  CHECK(q.scale(0, 2, 3) == 4.0f);
  CHECK(q.scale(1, 0, 0) == 5.0f);
  CHECK(q.scale(1, 2, 0) == 5.0f);
  CHECK(tern::per_input.groups(0) == 1);
  q.codes.front() = 32767;
  CHECK(q.code_row(0, 0)[0] == 32767);
  tern::basic_quantized_matrix<std::uint8_t> u(1, 1, 2, tern::per_tensor);
  u.zeros = {200};
  CHECK(u.zero(0, 0, 0) == 200);
}

TEST_CASE("quantized_matrix: sizes that do not follow are refused, with the numbers", "[quantized_matrix]") {
  quantized_matrix q(2, 3, 40, tern::per_group(16));
  CHECK_NOTHROW(q.check());
  SECTION("codes") {
    q.codes.pop_back();
    CHECK_THROWS_AS(q.check(), tern::shape_error);
    CHECK_THROWS_WITH(q.check(), tern_test::contains("2 planes of 3x40 need 240 codes, not 239"));
  }
  SECTION("scales") {
    q.scales.push_back(1);
    CHECK_THROWS_AS(q.check(), tern::shape_error);
    CHECK_THROWS_WITH(q.check(), tern_test::contains("need 18 scales, not 19"));
  }
  SECTION("zero points") {
    q.zeros.resize(2);
    CHECK_THROWS_AS(q.check(), tern::shape_error);
    CHECK_THROWS_WITH(q.check(), tern_test::contains("2 zero points for 18 scales"));
  }
  SECTION("planes") {
    q.planes = 0;
    CHECK_THROWS_AS(q.check(), tern::range_error);
  }
  SECTION("a size that does not fit memory") {
    q.rows = q.cols = static_cast<std::size_t>(-1) / 16;
    CHECK_THROWS_AS(q.check(), tern::range_error);
  }
  SECTION("a group of no inputs, which per_group() refuses but a field can hold") {
    q.granularity.group = 0;
    CHECK_THROWS_AS(q.check(), tern::range_error);
  }
}

TEST_CASE("quantized_matrix: from codes [out x in] and gamma [out]", "[quantized_matrix]") {
  // A row stride of 4 around codes of 3.
  const std::int8_t codes[] = {1, 0, -1, 99, 0, 1, 1, 99};
  const std::vector<float> gamma = {0.5f, 2.0f};
  const auto q = quantized_matrix::from_codes({codes, 2, 3, 4}, gamma);
  CHECK(q.codes == std::vector<std::int8_t>{1, 0, -1, 0, 1, 1});
  CHECK(q.scales == gamma);
  CHECK(q.granularity == tern::per_channel);
  CHECK(q.planes == 1);
  CHECK_THROWS_AS(quantized_matrix::from_codes({codes, 2, 3, 4}, std::span(gamma).first(1)), tern::shape_error);
  CHECK(quantized_matrix::from_codes({codes, 2, 3, 4}, std::span(gamma).first(1), tern::per_tensor).scale(0, 1, 0) ==
        0.5f);
}
