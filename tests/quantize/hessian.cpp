// SPDX-License-Identifier: MIT
#include <tern/quantize/hessian.hpp>

#include <tern/io/hessian_blob.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "support/backward_executor.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern_test::backward_executor;
using tern_test::contains;

namespace {

/// Backwards and in three parts.
bool same_sums(const tern::hessian& a, const tern::hessian& b) {
  if (a.inputs() != b.inputs() || a.tokens() != b.tokens()) return false;
  for (std::size_t i = 0; i < a.inputs(); ++i)
    for (std::size_t j = 0; j < a.inputs(); ++j)
      if (a.sum(i, j) != b.sum(i, j)) return false;
  return true;
}

/// Three loops.
double plain_sum(const tern::matrix<float>& x, std::size_t i, std::size_t j) {
  double sum = 0;
  for (std::size_t t = 0; t < x.rows(); ++t)
    sum = std::fma(static_cast<double>(x(t, i)), static_cast<double>(x(t, j)), sum);
  return sum;
}

}  // namespace

TEST_CASE("hessian: every sum is that of the plain loop", "[quantize]") {
  const std::size_t inputs = GENERATE(as<std::size_t>(), 1, 5, 127, 128, 130),
                    tokens = GENERATE(as<std::size_t>(), 1, 300);
  const auto x = tern_test::draw_matrix(tokens, inputs, 1);
  tern::hessian h(inputs);
  CHECK(h.empty());
  CHECK(h(0, 0) == 0.0);
  h.observe(x);
  CHECK(h.tokens() == tokens);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < inputs; ++i)
    for (std::size_t j = 0; j < inputs; ++j) {
      wrong += h.sum(i, j) != plain_sum(x, i, j);
      wrong += h(i, j) != plain_sum(x, i, j) / static_cast<double>(tokens);
    }
  CHECK(wrong == 0);
}

TEST_CASE("hessian: neither the cut into batches nor the executor changes a bit", "[quantize]") {
  const auto x = tern_test::draw_matrix(600, 140, 2);
  tern::hessian whole(140);
  whole.observe(x);
  for (const std::size_t cut : {std::size_t{1}, std::size_t{7}, std::size_t{256}, std::size_t{599}}) {
    tern::hessian parts(140);
    for (std::size_t t = 0; t < 600; t += cut)
      parts.observe(tern::matrix_view<const float>(x.row(t), std::min(cut, 600 - t), 140), backward_executor{});
    CHECK(same_sums(parts, whole));
  }
}

TEST_CASE("hessian: half and bfloat16", "[quantize]") {
  const auto x = tern_test::draw_matrix(20, 9, 3);
  tern::matrix<tern::half> narrow(20, 9);
  tern::matrix<tern::bfloat16> brain(20, 9);
  tern::matrix<float> wide(20, 9), wide_brain(20, 9);
  for (std::size_t i = 0; i < 180; ++i) {
    narrow.data()[i] = tern::half(x.data()[i]), wide.data()[i] = narrow.data()[i];
    brain.data()[i] = tern::bfloat16(x.data()[i]), wide_brain.data()[i] = brain.data()[i];
  }
  tern::hessian a(9), b(9), c(9), d(9);
  a.observe(narrow), b.observe(wide), c.observe(brain), d.observe(wide_brain);
  CHECK(same_sums(a, b));
  CHECK(same_sums(c, d));
  CHECK(!same_sums(a, d));
}

TEST_CASE("hessian: merging adds sums and tokens", "[quantize]") {
  const auto x = tern_test::draw_matrix(30, 11, 4), y = tern_test::draw_matrix(50, 11, 5);
  tern::hessian a(11), b(11), merged(11), other(11);
  a.observe(x), b.observe(y);
  merged = a, merged.merge(b);
  other = b, other.merge(a);
  CHECK(same_sums(merged, other));
  CHECK(merged.tokens() == 80);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < 11; ++i)
    for (std::size_t j = 0; j < 11; ++j) wrong += merged.sum(i, j) != plain_sum(x, i, j) + plain_sum(y, i, j);
  CHECK(wrong == 0);
  CHECK_THROWS_WITH(merged.merge(tern::hessian(12)), contains("12 inputs do not merge with 11"));
}

TEST_CASE("hessian: what it refuses it has not seen", "[quantize]") {
  tern::hessian h(3);
  CHECK_THROWS_AS(h.observe(tern::matrix<float>(2, 4)), tern::shape_error);
  auto x = tern_test::draw_matrix(5, 3, 6);
  x(4, 1) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(h.observe(x), contains("row 4, column 1"));
  CHECK(h.empty());
  CHECK(h.sum(0, 0) == 0.0);
  CHECK_THROWS_AS(tern::importances(h), tern::range_error);
  h.observe(tern::matrix<float>(2, 3));
  CHECK_THROWS_WITH(tern::importances(h), contains("all activations were 0"));
  h.observe(tern::matrix<float>(0, 3));
  CHECK(h.tokens() == 2);
}

TEST_CASE("hessian: importances are mean squares relative to their mean and above 0", "[quantize]") {
  tern::hessian h(3);
  h.observe(tern::matrix<float>(1, 3, {2.0f, 0.0f, 2.0f}));
  CHECK(tern::importances(h) == std::vector<float>{1.5f, 0x1p-20f, 1.5f});
}

TEST_CASE("hessian: saved and loaded", "[quantize]") {
  for (const std::size_t inputs : {std::size_t{0}, std::size_t{1}, std::size_t{33}}) {
    tern::hessian h(inputs);
    h.observe(tern_test::draw_matrix(40, inputs, 7));
    const auto bytes = tern::save_hessian(h);
    CHECK(bytes.size() == 64 + inputs * (inputs + 1) * 4);
    CHECK(same_sums(tern::load_hessian(bytes), h));
    const auto path = (std::filesystem::temp_directory_path() / "tern_test.hessian").string();
    tern::save_hessian_file(path, h);
    CHECK(same_sums(tern::load_hessian_file(path), h));
    std::filesystem::remove(path);
    CHECK_THROWS_AS(tern::load_hessian_file(path), tern::io_error);
  }
}

TEST_CASE("hessian: any damaged byte and any other length is a format error", "[quantize]") {
  tern::hessian h(3);
  h.observe(tern_test::draw_matrix(4, 3, 8));
  const tern::aligned_bytes good = tern::save_hessian(h);
  for (std::size_t i = 0; i < good.size(); ++i) {
    tern::aligned_bytes bad = good;
    bad.data()[i] ^= std::byte{4};
    INFO(i);
    CHECK_THROWS_AS(tern::load_hessian(bad), tern::format_error);
  }
  for (std::size_t size = 0; size < good.size(); ++size)
    CHECK_THROWS_AS(tern::load_hessian(std::span<const std::byte>(good).first(size)), tern::format_error);
  std::vector<std::byte> longer(good.data(), good.data() + good.size());
  longer.resize(good.size() + 8);
  CHECK_THROWS_AS(tern::load_hessian(longer), tern::format_error);
}

TEST_CASE("hessian: importances of sums at the ends of double", "[quantize]") {
  const auto of = [](double first, double second) {
    return tern::importances(tern::hessian::from_sums(2, 1, std::vector<double>{first, 0, second}));
  };
  CHECK(of(3, 1) == std::vector<float>{1.5f, 0.5f});
  CHECK(of(1, 0) == std::vector<float>{2.0f, 0x1p-20f});
  CHECK(of(0, std::numeric_limits<double>::denorm_min()) == std::vector<float>{0x1p-20f, 2.0f});
  CHECK_THROWS_AS(of(1e308, 1e308), tern::range_error);
}

TEST_CASE("hessian: right checksums make no nonsense a Hessian", "[quantize]") {
  tern::hessian h(3);
  h.observe(tern_test::draw_matrix(4, 3, 9));
  const tern::aligned_bytes good = tern::save_hessian(h);
  // Written at an offset of the header or of the sums, and both checksums made right.
  const auto message = [&](std::size_t offset, auto value) {
    std::vector<std::byte> bytes(good.data(), good.data() + good.size());
    std::memcpy(bytes.data() + offset, &value, sizeof value);
    const std::span<const std::byte> all = bytes;
    const std::uint32_t sums = tern::detail::crc32(all.subspan(64));
    std::memcpy(bytes.data() + 12, &sums, sizeof sums);
    const std::uint32_t header = tern::detail::crc32(all.first(60));
    std::memcpy(bytes.data() + 60, &header, sizeof header);
    try {
      return same_sums(tern::load_hessian(bytes), h) ? std::string("same") : std::string("another");
    } catch (const tern::format_error& e) {
      return std::string(e.what());
    }
  };
  CHECK(message(0, std::uint8_t{0x89}) == "same");
  CHECK(message(24, std::uint64_t{5}) == "another");
  CHECK(message(8, std::uint32_t{2}) == "hessian: version 2 of the layout; this program reads version 1");
  for (const std::size_t zero : {std::size_t{32}, std::size_t{59}})
    CHECK(message(zero, std::uint8_t{1}) == "hessian: bytes 32 to 59 must be 0");
  // ~0 - 3 = -4: 4 K (K + 1) is 48 modulo 2^64, as for K = 3.
  for (const std::uint64_t inputs : {std::uint64_t{0}, std::uint64_t{4}, std::uint64_t{1} << 63,
                                     (std::uint64_t{1} << 32) + 2, ~std::uint64_t{0} - 3, ~std::uint64_t{0}})
    CHECK(message(16, inputs) == "hessian: 48 bytes of sums for " + std::to_string(inputs) + " inputs");
  CHECK(message(64 + 8, std::numeric_limits<double>::infinity()) == "hessian: sum 1 is not finite");
  CHECK(message(64 + 40, std::numeric_limits<double>::quiet_NaN()) == "hessian: sum 5 is not finite");
  CHECK(message(64 + 8, -1.0) == "another");
  CHECK(message(64, -1.0) == "hessian: sum 0, of squares, is negative");
  CHECK(message(64 + 16, -1.0) == "hessian: sum 2, of squares, is negative");
  CHECK(message(64 + 40, -1.0) == "hessian: sum 5, of squares, is negative");
  CHECK(message(24, std::uint64_t{0}) == "hessian: sum 0 is of no tokens, and not 0");
  CHECK_THROWS_AS(tern::hessian::from_sums(2, 1, std::vector<double>(4)), tern::shape_error);
  // Refused before memory for 2^30 x 2^30 sums is asked for.
  CHECK_THROWS_AS(tern::hessian::from_sums(std::size_t{1} << 30, 1, std::vector<double>(4)), tern::shape_error);
}
