// SPDX-License-Identifier: MIT
#include <tern/type/packed_matrix.hpp>

#include <array>
#include <cmath>
#include <limits>
#include <random>

#include "support/catch.hpp"

using tern::packed_format;
using tern::packed_matrix;
using tern::packed_view;
using tern::quantized_matrix;
using tern::scale_type;

namespace {

/// Random codes over all that Codec holds and scales that every scale type stores exactly.
template <class Codec>
quantized_matrix draw(std::mt19937& random, std::size_t planes, std::size_t rows, std::size_t cols,
                      tern::granularity granularity, bool zeros) {
  quantized_matrix q(planes, rows, cols, granularity);
  std::vector<std::int8_t> levels;
  for (int level = -128; level < 128; ++level)
    if (Codec{}.holds(level)) levels.push_back(static_cast<std::int8_t>(level));
  for (auto& code : q.codes) code = levels[random() % levels.size()];
  for (float& scale : q.scales) scale = std::ldexp(static_cast<float>(random() % 256) - 128.0f, -10);
  if (zeros) q.zeros.resize(q.scales.size());
  for (auto& zero : q.zeros) zero = static_cast<std::int8_t>(random() % 256);
  return q;
}

bool same(const quantized_matrix& a, const quantized_matrix& b) {
  return a.planes == b.planes && a.rows == b.rows && a.cols == b.cols && a.granularity == b.granularity &&
         a.codes == b.codes && a.scales == b.scales && a.zeros == b.zeros;
}

void append(std::vector<std::byte>& out, const auto& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}
void pad(std::vector<std::byte>& out) { out.resize((out.size() + 63) / 64 * 64); }

/// The storage of q written byte after byte from the table in packed_matrix.hpp and nothing else: one section after the
/// other, in each section panels, planes, groups or blocks, rows; zeros wherever W has no element.
template <class Codec>
std::vector<std::byte> expected_storage(const quantized_matrix& q, scale_type scales, bool sums) {
  const std::size_t panels = (q.rows + 15) / 16, block = 4 * Codec::fold, blocks = (q.cols + block - 1) / block;
  const bool shared = q.granularity == tern::per_tensor;
  const auto code = [&](std::size_t p, std::size_t n, std::size_t k) {
    return n < q.rows && k < q.cols ? q.codes[(p * q.rows + n) * q.cols + k] : std::int8_t{0};
  };
  std::vector<std::byte> out;
  for (std::size_t panel = 0; panel < panels; ++panel)
    for (std::size_t p = 0; p < q.planes; ++p)
      for (std::size_t b = 0; b < blocks; ++b)
        for (std::size_t v = 0; v < Codec::bytes; ++v)
          for (std::size_t r = 0; r < 16; ++r)
            for (std::size_t i = 0; i < 4; ++i) {
              std::array<std::int8_t, Codec::fold> levels;
              for (std::size_t f = 0; f < Codec::fold; ++f) levels[f] = code(p, 16 * panel + r, b * block + 4 * f + i);
              std::array<std::uint8_t, Codec::bytes> bytes;
              Codec{}.encode(levels.data(), bytes.data());
              append(out, bytes[v]);
            }
  const auto for_scales = [&](auto&& f) {
    for (std::size_t panel = 0; panel < (shared ? 1 : panels); ++panel)
      for (std::size_t p = 0; p < q.planes; ++p)
        for (std::size_t g = 0; g < q.groups(); ++g)
          for (std::size_t r = 0; r < 16; ++r) f(p, shared ? 0 : 16 * panel + r, g, shared || 16 * panel + r < q.rows);
    pad(out);
  };
  for_scales([&](std::size_t p, std::size_t n, std::size_t g, bool exists) {
    const float scale = exists ? q.scale(p, n, g) : 0.0f;
    if (scales == scale_type::float32) append(out, scale);
    if (scales == scale_type::float16) append(out, tern::half(scale).bits);
    if (scales == scale_type::bfloat16) append(out, tern::bfloat16(scale).bits);
  });
  if (!q.zeros.empty())
    for_scales([&](std::size_t p, std::size_t n, std::size_t g, bool exists) {
      append(out, exists ? q.zero(p, n, g) : std::int8_t{0});
    });
  if (sums)
    for (std::size_t panel = 0; panel < panels; ++panel)
      for (std::size_t p = 0; p < q.planes; ++p)
        for (std::size_t g = 0; g < q.groups(); ++g)
          for (std::size_t r = 0; r < 16; ++r) {
            std::int32_t sum = 0;
            for (std::size_t k = g * q.group_inputs(); k < std::min(q.cols, (g + 1) * q.group_inputs()); ++k)
              sum += code(p, 16 * panel + r, k);
            append(out, sum);
          }
  return out;
}

/// A copy of bytes at an address that is `offset` beyond a multiple of 64.
class foreign_memory {
 public:
  explicit foreign_memory(std::span<const std::byte> bytes, std::size_t offset = 0)
      : memory_(offset + bytes.size()), offset_(offset) {
    std::copy(bytes.begin(), bytes.end(), memory_.data() + offset);
  }
  std::span<const std::byte> bytes() const { return std::span<const std::byte>(memory_).subspan(offset_); }

 private:
  tern::aligned_bytes memory_;
  std::size_t offset_;
};

std::vector<std::byte> hex(std::initializer_list<unsigned> head, std::size_t size, unsigned rest = 0) {
  std::vector<std::byte> out;
  for (const unsigned byte : head) out.push_back(static_cast<std::byte>(byte));
  out.resize(size, static_cast<std::byte>(rest));
  return out;
}

template <class Codec>
std::vector<std::byte> section(const packed_matrix<Codec>& w, std::size_t begin, std::size_t end) {
  return {w.storage().begin() + static_cast<std::ptrdiff_t>(begin),
          w.storage().begin() + static_cast<std::ptrdiff_t>(end)};
}

/// 2 x 6, of which the golden bytes are made.
quantized_matrix golden_matrix() {
  quantized_matrix q(1, 2, 6, tern::per_channel);
  q.codes = {1, -1, 0, 1, 0, -1, -1, -1, -1, 0, 1, 1};
  q.scales = {0.5f, 1.5f};
  return q;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("packed_matrix: the bytes of the layout, and back, for every shape and format",
                        "[packed_matrix]", tern::codecs) {
  const std::size_t cols = GENERATE(as<std::size_t>(), 0, 1, 3, 4, 15, 16, 17, 19, 20, 21, 33, 40, 59, 80);
  const std::size_t group = GENERATE(as<std::size_t>(), 0, 1, 2, 3) * TestType::group_multiple;
  const auto granularity =
      group == 0 ? GENERATE(as<tern::granularity>(), tern::per_tensor, tern::per_channel) : tern::per_group(group);
  const auto scales = GENERATE(scale_type::float32, scale_type::float16, scale_type::bfloat16);
  std::mt19937 random(static_cast<unsigned>(cols));
  for (const std::size_t rows : std::vector<std::size_t>{0, 1, 15, 16, 17, 33})
    for (const std::size_t planes : std::vector<std::size_t>{1, 3})
      for (const bool zeros : {false, true}) {
        INFO(planes << " planes of " << rows << "x" << cols << ", group " << group << ", zeros " << zeros);
        const bool sums = zeros;
        const auto q = draw<TestType>(random, planes, rows, cols, granularity, zeros);
        const packed_matrix<TestType> w(q, {scales, sums});
        CHECK(w.format() == packed_format{rows, cols, planes, granularity, scales, !q.zeros.empty(),
                                          sums || std::is_same_v<TestType, tern::i8>});
        const auto expected = expected_storage<TestType>(q, scales, w.format().has_sums);
        CHECK(w.storage_bytes() == expected.size());
        CHECK(std::equal(expected.begin(), expected.end(), w.storage().begin(), w.storage().end()));
        CHECK(same(unpack(w), q));
      }
}

TEMPLATE_LIST_TEST_CASE("packed_matrix: elements, scales and zero points by index", "[packed_matrix]", tern::codecs) {
  std::mt19937 random(3);
  const std::size_t group = 2 * TestType::group_multiple;
  const auto q = draw<TestType>(random, 2, 19, 2 * group + 5, tern::per_group(group), true);
  const packed_matrix<TestType> w(q, {scale_type::float16, true});
  const packed_view<TestType>& v = w;
  CHECK(v.panels() == 2);
  CHECK(v.groups() == 3);
  CHECK(v.group_begin(1) == group);
  CHECK(v.group_begin(3) == q.cols);
  std::size_t wrong = 0;
  for (std::size_t p = 0; p < 2; ++p)
    for (std::size_t n = 0; n < q.rows; ++n) {
      for (std::size_t k = 0; k < q.cols; ++k) wrong += v.level(p, n, k) != q.code_row(p, n)[k];
      for (std::size_t g = 0; g < 3; ++g) {
        wrong += v.scale(p, n, g) != q.scale(p, n, g);
        wrong += v.zero(p, n, g) != q.zero(p, n, g);
      }
    }
  CHECK(wrong == 0);
}

// Golden bytes of whole matrices: on users' disks, derived by hand. They may be changed only together with the version
// of the format, never to make a test pass.

TEST_CASE("packed_matrix: golden bytes in i2", "[packed_matrix][golden]") {
  const packed_matrix<tern::i2> w(golden_matrix(), {scale_type::float32, true});
  REQUIRE(w.storage_bytes() == 3 * 64);
  // Row 0, inputs 0 and 4: 1, 0 -> 0x01; 1 and 5: -1, -1 -> 0x0F; 2: 0; 3: 1.
  // Row 1: -1, 1 -> 0x07 twice; -1 -> 0x03; 0.
  CHECK(section(w, 0, 64) == hex({0x01, 0x0F, 0x00, 0x01, 0x07, 0x07, 0x03, 0x00}, 64));
  CHECK(section(w, 64, 128) == hex({0x00, 0x00, 0x00, 0x3F, 0x00, 0x00, 0xC0, 0x3F}, 64));
  CHECK(section(w, 128, 192) == hex({0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF}, 64));
}

TEST_CASE("packed_matrix: golden bytes in b3", "[packed_matrix][golden]") {
  const packed_matrix<tern::b3> w(golden_matrix(), {scale_type::float16});
  REQUIRE(w.storage_bytes() == 2 * 64);
  // Row 0: digits 21111 = 202 -> 213; 00111 = 13 -> 14; 11111 -> 128; 21111.
  // Row 1: 02111 = 67 -> 71 twice; 01111 = 40 -> 43; 128.
  CHECK(section(w, 0, 64) == hex({213, 14, 128, 213, 71, 71, 43, 128}, 64, 128));
  CHECK(section(w, 64, 128) == hex({0x00, 0x38, 0x00, 0x3E}, 64));
}

TEST_CASE("packed_matrix: golden bytes in i8", "[packed_matrix][golden]") {
  quantized_matrix q = golden_matrix();
  q.zeros = {3, -2};
  const packed_matrix<tern::i8> w(q, {scale_type::bfloat16});
  REQUIRE(w.storage_bytes() == 5 * 64);
  CHECK(section(w, 0, 64) == hex({0x01, 0xFF, 0x00, 0x01, 0xFF, 0xFF, 0xFF, 0x00}, 64));
  CHECK(section(w, 64, 128) == hex({0x00, 0xFF, 0x00, 0x00, 0x01, 0x01, 0x00, 0x00}, 64));
  CHECK(section(w, 128, 192) == hex({0x00, 0x3F, 0xC0, 0x3F}, 64));
  CHECK(section(w, 192, 256) == hex({0x03, 0xFE}, 64));
  CHECK(section(w, 256, 320) == hex({0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF}, 64));
}

TEST_CASE("packed_matrix: bits per weight count every byte stored", "[packed_matrix]") {
  const auto zeros = [](std::size_t rows, std::size_t cols, tern::granularity granularity = tern::per_channel) {
    return quantized_matrix(1, rows, cols, granularity);
  };
  // 16 x 64: 256 bytes of codes, 64 of scales.
  CHECK(packed_matrix<tern::i2>(zeros(16, 64)).bits_per_weight() == 8.0 * (256 + 64) / (16 * 64));
  CHECK(packed_matrix<tern::i2>(zeros(16, 64), {scale_type::float32, true}).bits_per_weight() ==
        8.0 * (256 + 64 + 64) / (16 * 64));
  CHECK(packed_matrix<tern::b3>(zeros(32, 160), {scale_type::float16}).bits_per_weight() == 1.7);
  CHECK(packed_matrix<tern::b3>(zeros(32, 1600, tern::per_group(160)), {scale_type::float16}).bits_per_weight() == 1.7);
  CHECK(packed_matrix<tern::i8>(zeros(16, 16)).bits_per_weight() == 8.0 * (256 + 64 + 64) / (16 * 16));
  // Padding counts: one weight takes a block and a row of scales.
  CHECK(packed_matrix<tern::i2>(zeros(1, 1)).bits_per_weight() == 8.0 * 128);
}

TEST_CASE("packed_matrix: no weights are no problem", "[packed_matrix]") {
  CHECK(packed_matrix<tern::i2>().storage_bytes() == 0);
  CHECK(packed_matrix<tern::i2>().rows() == 0);
  const packed_matrix<tern::i2> copy = packed_matrix<tern::i2>();
  CHECK(unpack(copy).codes.empty());
}

TEST_CASE("packed_matrix: copies are their own, moves leave nothing behind", "[packed_matrix]") {
  std::mt19937 random(4);
  const auto q = draw<tern::b3>(random, 2, 33, 45, tern::per_group(20), true);
  const auto other = draw<tern::b3>(random, 1, 2, 3, tern::per_tensor, false);
  packed_matrix<tern::b3> original(q, {.sums = true});
  packed_matrix<tern::b3> copy = original;
  CHECK(copy.storage().data() != original.storage().data());
  CHECK(std::equal(copy.storage().begin(), copy.storage().end(), original.storage().begin(), original.storage().end()));
  CHECK(copy.format() == original.format());

  original = packed_matrix<tern::b3>(other);
  CHECK(same(unpack(copy), q));
  CHECK(same(unpack(original), other));

  const std::byte* const memory = copy.storage().data();
  packed_matrix<tern::b3> moved = std::move(copy);
  CHECK(moved.storage().data() == memory);
  CHECK(same(unpack(moved), q));
  auto& same_object = moved;
  moved = same_object;
  CHECK(same(unpack(moved), q));
}

TEMPLATE_LIST_TEST_CASE("packed_view: matrices in foreign memory", "[packed_matrix]", tern::codecs) {
  std::mt19937 random(5);
  const auto q = draw<TestType>(random, 2, 17, 50, tern::per_channel, true);
  const packed_matrix<TestType> w(q, {scale_type::bfloat16, true});
  foreign_memory memory(w.storage());
  const packed_view<TestType> view(memory.bytes(), w.format());
  CHECK(same(unpack(view), q));
  CHECK(view.storage().data() == memory.bytes().data());
  CHECK(same(unpack(packed_matrix<TestType>(view)), q));
}

TEST_CASE("packed_view: a wrong size or place is refused", "[packed_matrix]") {
  const packed_matrix<tern::i2> w(quantized_matrix(1, 17, 50, tern::per_channel));
  const std::vector<std::byte> larger(w.storage_bytes() + 64);
  using view = packed_view<tern::i2>;
  CHECK_THROWS_AS(view(w.storage().first(w.storage_bytes() - 1), w.format()), tern::shape_error);
  CHECK_THROWS_WITH(view(w.storage().first(511), w.format()),
                    "packed_view: 17x50 in codec i2 takes 640 bytes, not 511");
  CHECK_THROWS_AS(view(foreign_memory(larger).bytes(), w.format()), tern::shape_error);
  const std::size_t offset = GENERATE(as<std::size_t>(), 1, 4, 16, 32);
  CHECK_THROWS_AS(view(foreign_memory(w.storage(), offset).bytes(), w.format()), tern::shape_error);
  CHECK_THROWS_WITH(view(foreign_memory(w.storage(), offset).bytes(), w.format()),
                    tern_test::contains("aligned to 64"));
}

/// Sizes come from files: no header may make a small buffer look large enough.
TEST_CASE("packed_view: formats that no memory can hold are refused", "[packed_matrix]") {
  const tern::aligned_bytes memory(1024);
  const std::span<const std::byte> bytes = memory;
  using view = packed_view<tern::i2>;
  constexpr std::size_t huge = static_cast<std::size_t>(-1) / 4 + 1;
  CHECK_THROWS_AS(view(bytes, {.rows = huge, .cols = huge}), tern::range_error);
  CHECK_THROWS_AS(view(bytes, {.rows = huge, .cols = 1}), tern::range_error);
  CHECK_THROWS_AS(view(bytes, {.rows = 1, .cols = 16, .planes = huge}), tern::range_error);
  CHECK_THROWS_AS(view(bytes, {.rows = 1, .cols = 16, .planes = 0}), tern::range_error);
  // Four sections, of 4 + 4 + 1 + 4 bytes a row, each below half of the largest std::size_t, whose 13th part counts the
  // rows: a sum that wraps to 208 at most.
  constexpr std::size_t rows = (std::size_t(-1) / 13 / 16 + 1) * 16;
  CHECK_THROWS_AS(view::storage_bytes({rows, 16, 1, tern::per_group(16), scale_type::float32, true, true}),
                  tern::range_error);
}

TEMPLATE_LIST_TEST_CASE("packing: groups that cut a block are refused", "[packed_matrix]", tern::codecs) {
  const std::size_t group = GENERATE(as<std::size_t>(), 1, 4, 15, 17, 24, 30);
  const quantized_matrix q(1, 4, 120, tern::per_group(group));
  CHECK_THROWS_AS(packed_matrix<TestType>(q), tern::range_error);
  CHECK_THROWS_WITH(packed_matrix<TestType>(q),
                    tern_test::contains(std::string(TestType::name()) + " are multiples of " +
                                        std::to_string(TestType::group_multiple)));
  CHECK_THROWS_WITH(packed_matrix<TestType>(q), tern_test::contains("not " + std::to_string(group)));
}

TEST_CASE("packing: codes outside of the codec are refused, with their place", "[packed_matrix]") {
  quantized_matrix q(3, 5, 7, tern::per_channel);
  q.code_row(2, 4)[6] = static_cast<std::int8_t>(GENERATE(2, -3, 127, -128));
  CHECK_THROWS_AS(packed_matrix<tern::i2>(q), tern::range_error);
  CHECK_THROWS_WITH(packed_matrix<tern::i2>(q), tern_test::contains("pack: code " + std::to_string(q.codes.back()) +
                                                                    " at plane 2, row 4, column 6"));
  CHECK_THROWS_AS(packed_matrix<tern::b3>(q), tern::range_error);
  CHECK_NOTHROW(packed_matrix<tern::i8>(q));
  q.code_row(2, 4)[6] = -2;
  CHECK_NOTHROW(packed_matrix<tern::i2>(q));
  CHECK_THROWS_WITH(packed_matrix<tern::b3>(q), tern_test::contains("is not a level of codec b3"));
}

TEST_CASE("packing: scales that are not finite, or not in 16 bits, are refused", "[packed_matrix]") {
  quantized_matrix q(1, 2, 40, tern::per_group(20));
  const auto pack = [&](scale_type type) { return packed_matrix<tern::b3>(q, {type}); };
  SECTION("NaN and infinity") {
    q.scales.back() = GENERATE(std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN());
    CHECK_THROWS_AS(pack(scale_type::float32), tern::range_error);
    CHECK_THROWS_WITH(pack(scale_type::bfloat16), tern_test::contains("of plane 0, row 1, group 1 is not finite"));
  }
  SECTION("overflow of half") {
    q.scales.back() = -65519.0f;
    CHECK(unpack(pack(scale_type::float16)).scales.back() == -65504.0f);
    q.scales.back() = 65520.0f;
    CHECK_THROWS_AS(pack(scale_type::float16), tern::range_error);
    CHECK_THROWS_WITH(pack(scale_type::float16), tern_test::contains("row 1, group 1 is too large for binary16"));
    CHECK_NOTHROW(pack(scale_type::bfloat16));
  }
  SECTION("overflow of bfloat16") {
    q.scales.back() = std::numeric_limits<float>::max();
    CHECK_NOTHROW(pack(scale_type::float32));
    CHECK_THROWS_AS(pack(scale_type::bfloat16), tern::range_error);
    CHECK_THROWS_WITH(pack(scale_type::bfloat16), tern_test::contains("too large for bfloat16"));
  }
}

TEST_CASE("packing: scales in 16 bits are the rounded ones", "[packed_matrix]") {
  quantized_matrix q(1, 1, 4, tern::per_channel);
  q.scales = {0.1f};
  CHECK(packed_matrix<tern::i2>(q, {scale_type::float16}).view().scale(0, 0, 0) ==
        static_cast<float>(tern::half(0.1f)));
  CHECK(packed_matrix<tern::i2>(q, {scale_type::bfloat16}).view().scale(0, 0, 0) ==
        static_cast<float>(tern::bfloat16(0.1f)));
}

TEST_CASE("ternary_matrix: one plane of trits without zero points", "[packed_matrix]") {
  quantized_matrix q(1, 3, 20, tern::per_channel);
  CHECK_NOTHROW(tern::ternary_matrix<tern::b3>(q));
  SECTION("codes") {
    q.code_row(0, 2)[7] = -2;  // i2 could hold it
    CHECK_THROWS_AS(tern::ternary_matrix<>(q), tern::range_error);
    CHECK_THROWS_WITH(tern::ternary_matrix<>(q), "ternary_matrix: code -2 at plane 0, row 2, column 7 is not a trit");
    CHECK_THROWS_AS(tern::multi_ternary_matrix<>(q), tern::range_error);
  }
  SECTION("planes") {
    const quantized_matrix two(2, 3, 20, tern::per_channel);
    CHECK_THROWS_AS(tern::ternary_matrix<>(two), tern::shape_error);
    CHECK_THROWS_AS(tern::int8_matrix(two), tern::shape_error);
    CHECK(tern::multi_ternary_matrix<>(two).planes() == 2);
  }
  SECTION("zero points") {
    q.zeros.resize(3);
    CHECK_THROWS_AS(tern::ternary_matrix<>(q), tern::shape_error);
    CHECK_THROWS_AS(tern::multi_ternary_matrix<>(q), tern::shape_error);
    CHECK(tern::int8_matrix(q).format().has_zeros);
  }
  SECTION("sizes that do not fit together are told before any code is looked at") {
    q.rows = 0;
    q.codes.assign(1, 5);
    CHECK_THROWS_AS(tern::ternary_matrix<>(q), tern::shape_error);
  }
}

TEST_CASE("trit_code_matrix: one plane of levels of one code", "[packed_matrix]") {
  tern::quantized_trit_code q{quantized_matrix(1, 3, 20, tern::per_channel), tern::trit_code{{4, 3}}};
  q.scales = {0.5f, 1.0f, 2.0f};
  q.code_row(0, 1)[3] = -7;
  q.code_row(0, 2)[19] = 1;
  CHECK(same(unpack(tern::trit_code_matrix<>(q)), q));
  CHECK(same(unpack(tern::trit_code_matrix<tern::b3x2>(q)), q));
  CHECK(tern::trit_code_matrix<>(q).view().get_codec() == tern::n4(q.code));
  CHECK_THROWS_WITH(tern::trit_code_matrix<tern::n6>(q), "codec: not a plane code of 3 planes");
  SECTION("a level that the code does not have") {
    q.code_row(0, 2)[19] = 2;
    CHECK_THROWS_AS(tern::trit_code_matrix<>(q), tern::range_error);
    CHECK_THROWS_WITH(tern::trit_code_matrix<>(q),
                      "pack: code 2 at plane 0, row 2, column 19 is not a level of codec n4");
  }
  SECTION("zero points") {
    q.zeros.resize(3);
    CHECK_THROWS_AS(tern::trit_code_matrix<>(q), tern::shape_error);
  }
  SECTION("more planes of levels") {
    static_cast<quantized_matrix&>(q) = quantized_matrix(2, 3, 20, tern::per_channel);
    CHECK_THROWS_AS(tern::trit_code_matrix<>(q), tern::shape_error);
    const packed_matrix<tern::n4> two(q, {}, tern::n4(q.code));
    CHECK_THROWS_AS(tern::trit_code_matrix<>(two.view()), tern::shape_error);
    CHECK_THROWS_AS(tern::int4_matrix(two.view()), tern::shape_error);
  }
}

TEST_CASE("int4_matrix: levels -8 to 7 and no other table", "[packed_matrix]") {
  quantized_matrix q(1, 2, 16, tern::per_group(16));
  q.scales = {1.0f, 0.25f};
  q.codes[0] = -8;
  q.codes[31] = 7;
  CHECK(same(unpack(tern::int4_matrix(q)), q));
  CHECK(tern::int4_matrix(q).bits_per_weight() == 8.0 * (2 * 64 + 64) / 32);
  q.zeros = {3, -100};
  CHECK(same(unpack(tern::int4_matrix(q)), q));
  q.codes[5] = 8;
  CHECK_THROWS_WITH(tern::int4_matrix(q), "pack: code 8 at plane 0, row 0, column 5 is not a level of codec n4");
  const packed_matrix<tern::n4> code(quantized_matrix(1, 2, 16, tern::per_channel), {},
                                     tern::n4(tern::trit_code{{3, 2}}));
  CHECK_THROWS_AS(tern::int4_matrix(code.view()), tern::range_error);
}

TEST_CASE("packing: a scale for each input has no product", "[packed_matrix]") {
  CHECK_THROWS_AS(packed_matrix<tern::i8>(quantized_matrix(1, 4, 16, tern::per_input)), tern::range_error);
  CHECK_THROWS_WITH(packed_matrix<tern::i8>(quantized_matrix(1, 4, 16, tern::per_input)),
                    tern_test::contains("a scale for each input"));
}
