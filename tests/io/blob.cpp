// SPDX-License-Identifier: MIT
#include <tern/io/blob.hpp>

#include <tern/llm_int8_linear.hpp>

#include "io/blobs.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern::format_error;
using tern::packed_matrix;
using tern::scale_type;
using tern_test::contains;
using tern_test::draw_matrix;
using tern_test::draw_packed;
using tern_test::equal;
using tern_test::fix_checksums;
using tern_test::levels16;
using tern_test::put;
using tern_test::saved_codecs;
using tern_test::shifted8;

namespace {

using layers =
    tern::type_list<tern::bit_linear, tern::multi_ternary_linear, tern::int8_linear,
                    tern::linear<tern::ternary_matrix<tern::b3>>, tern::linear<tern::multi_ternary_matrix<tern::b3>>>;

/// Bytes that the caller may damage, aligned to 64.
std::span<std::byte> bytes_of(tern::aligned_bytes& blob) { return blob; }

/// Whether f() throws a format_error. Other errors pass through and fail the test.
bool refuses(auto&& f) {
  try {
    f();
    return false;
  } catch (const format_error&) {
    return true;
  }
}

tern::bit_linear small_layer() {
  tern::quantized_matrix q(1, 2, 6, tern::per_channel);
  q.codes = {1, -1, 0, 1, 0, -1, -1, -1, -1, 0, 1, 1};
  q.scales = {0.5f, 1.5f};
  return tern::bit_linear(q, {1.0f, -2.0f}, {.sums = true});
}

/// LLM.int8() with weights of 16 bits for outliers: 2.5 and -1.5, and beside them 31.75 and 0.25.
tern::llm_int8_linear wide_layer() {
  tern::quantized_matrix w(1, 1, 2, tern::per_channel), rest(1, 1, 2, tern::per_channel);
  w.codes = {5, -3};
  w.scales = {0.5f};
  rest.codes = {127, 1};
  rest.scales = {0.25f};
  return tern::llm_int8_linear(tern::int8_matrix(w), {}, {.threshold = 2.5f, .outlier_bits = 16},
                               tern::int8_matrix(rest));
}

/// Bytes of a blob as written in a table of offsets and lines of 16; zeros elsewhere.
struct line {
  std::size_t offset;
  std::array<unsigned, 16> bytes;
};
std::vector<std::byte> from_lines(std::size_t size, const std::vector<line>& lines) {
  std::vector<std::byte> bytes(size);
  for (const line& l : lines)
    for (std::size_t i = 0; i < 16; ++i) bytes[l.offset + i] = static_cast<std::byte>(l.bytes[i]);
  return bytes;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("blob: every format and shape comes back", "[io]", saved_codecs) {
  const std::size_t cols = GENERATE(as<std::size_t>(), 0, 1, 16, 21, 40, 133);
  const auto granularity =
      GENERATE(as<tern::granularity>(), tern::per_tensor, tern::per_channel, tern::per_group(TestType::group_multiple),
               tern::per_group(3 * TestType::group_multiple));
  const auto scales = GENERATE(scale_type::float32, scale_type::float16, scale_type::bfloat16);
  for (const std::size_t rows : std::vector<std::size_t>{0, 1, 16, 33})
    for (const std::size_t planes : std::vector<std::size_t>{1, 3})
      for (const bool zeros : {false, true})
        for (const bool sums : {false, true}) {
          INFO(planes << " planes of " << rows << "x" << cols << ", zeros " << zeros << ", sums " << sums);
          const auto w = draw_packed<TestType>(7, planes, rows, cols, granularity, scales, zeros, sums);
          const tern::aligned_bytes blob = tern::save(w);
          REQUIRE(blob.size() == tern::blob_size(w));
          CHECK(blob.size() == 192 + w.storage_bytes());

          const tern::blob_info info = tern::read_blob_info(blob);
          CHECK(info.codec() == TestType::name());
          CHECK(info.format == w.format());
          CHECK(info.bias_count == 0);
          CHECK(info.storage_bytes == w.storage_bytes());
          CHECK(info.blob_bytes == blob.size());

          const auto copy = tern::load<packed_matrix<TestType>>(blob);
          CHECK(copy.format() == w.format());
          CHECK(equal(copy.storage(), w.storage()));
          const auto back = unpack(copy), original = unpack(w);
          CHECK(back.codes == original.codes);
          CHECK(back.scales == original.scales);
          CHECK(back.zeros == original.zeros);
          CHECK(equal(tern::save(copy), blob));

          const auto parts = tern::view_blob<TestType>(blob);
          CHECK(parts.weights.storage().data() == blob.data() + 192);
          CHECK(parts.weights.format() == w.format());
          CHECK(parts.bias.empty());
          CHECK(unpack(parts.weights).codes == original.codes);
          CHECK(equal(tern::save(parts), blob));
          CHECK(equal(tern::save(w.view()), blob));
        }
}

TEMPLATE_LIST_TEST_CASE("blob: layers give the same outputs", "[io]", layers) {
  const std::size_t outputs = GENERATE(as<std::size_t>(), 0, 1, 16, 37),
                    inputs = GENERATE(as<std::size_t>(), 0, 1, 133);
  const bool with_bias = GENERATE(true, false);
  const auto drawn = draw_matrix(1, with_bias ? outputs : 0, 2);
  const std::vector<float> bias(drawn.data(), drawn.data() + drawn.cols());
  const auto layer = TestType::from_float(draw_matrix(outputs, inputs, 1), bias);
  const auto x = draw_matrix(5, inputs, 3);
  const auto y = layer(x);

  const tern::aligned_bytes blob = tern::save(layer);
  CHECK(blob.size() == tern::blob_size(layer));
  CHECK(tern::read_blob_info(blob).bias_count == bias.size());
  const auto copy = tern::load<TestType>(blob);
  CHECK(std::equal(copy.bias().begin(), copy.bias().end(), bias.begin(), bias.end()));
  CHECK(tern_test::same(copy(x), y));
  CHECK(equal(tern::save(copy), blob));

  // In place, by the type of the layer, of its weights, or of their codec.
  const auto [weights, bias_in_place] = tern::view_blob<TestType>(blob);
  tern::matrix<float> out(5, outputs);
  tern::matmul(tern::quantize_activations(x), weights, out, bias_in_place);
  CHECK(tern_test::same(out, y));
  using weights_type = typename TestType::weights_type;
  CHECK(tern::view_blob<weights_type>(blob).bias.data() == bias_in_place.data());
  CHECK(tern::view_blob<typename weights_type::codec_type>(blob).weights.rows() == outputs);
}

TEST_CASE("blob: the strong types", "[io]") {
  const auto check = []<class T>(const T& w) {
    const auto copy = tern::load<T>(tern::save(w));
    CHECK(copy.format() == w.format());
    CHECK(equal(copy.storage(), w.storage()));
  };
  const auto w = draw_matrix(35, 70, 4);
  check(tern::ternary_matrix<>(tern::quantize_absmean(w)));
  check(tern::ternary_matrix<tern::b3>(tern::quantize_absmean(w, tern::per_group(20))));
  check(tern::multi_ternary_matrix<>(tern::decompose(w, {.planes = 3})));
  check(tern::multi_ternary_matrix<tern::b3>(tern::decompose(w, {.planes = 2})));
  check(tern::int8_matrix(tern::quantize_zero_point(w, tern::per_group(16))));
  check(tern::int4_matrix(tern::quantize_mse(w, tern::per_group(16), {.bits = 4})));
  const auto pairs = tern::quantize_trit_code(w, {.code = {{7, 5}}}),
             triples = tern::quantize_trit_code(w, {.planes = 3});
  check(tern::trit_code_matrix<>(pairs));
  check(tern::trit_code_matrix<tern::n6>(triples));
  check(tern::trit_code_matrix<tern::b3x3>(triples));
  CHECK(tern::load<tern::trit_code_matrix<>>(tern::save(tern::trit_code_matrix<>(pairs))).view().get_codec() ==
        tern::n4(pairs.code));
}

TEST_CASE("blob: an LLM.int8() layer keeps its threshold and is nothing else", "[io]") {
  const auto w = draw_matrix(20, 70, 5), x = draw_matrix(6, 70, 6);
  const auto drawn = draw_matrix(1, 20, 7);
  const std::vector<float> bias(drawn.data(), drawn.data() + 20);
  const auto layer = tern::llm_int8_linear::from_float(w, bias, {.threshold = 2.5f});
  const tern::aligned_bytes blob = tern::save(layer);
  const tern::blob_info info = tern::read_blob_info(blob);
  CHECK(info.is_llm_int8);
  CHECK(info.outlier_threshold == 2.5f);
  const auto copy = tern::load<tern::llm_int8_linear>(blob);
  CHECK(copy.threshold() == 2.5f);
  CHECK(tern_test::same(copy(x), layer(x)));
  CHECK(equal(tern::save(copy), blob));
  CHECK(tern::view_blob<tern::llm_int8_linear>(blob).bias.size() == 20);
  CHECK_THROWS_WITH(tern::load<tern::int8_linear>(blob), "blob: holds an LLM.int8() layer");
  CHECK_THROWS_AS(tern::load<tern::int8_linear>(blob), format_error);
  CHECK_THROWS_WITH(tern::load<tern::llm_int8_linear>(tern::save(tern::int8_linear::from_float(w, bias))),
                    "blob: holds no LLM.int8() layer");
  tern::aligned_bytes damaged = blob;
  const auto refuses = [&](std::size_t offset, auto value) {
    damaged = blob;
    put(damaged, offset, value);
    fix_checksums(damaged);
    CHECK_THROWS_AS(tern::read_blob_info(damaged), format_error);
  };
  refuses(144, std::uint32_t{2});
  refuses(144, std::uint32_t{0});  // with a threshold
  refuses(148, -1.0f);
  damaged = tern::save(tern::int8_linear::from_float(w));
  put(damaged, 148, -0.0f);  // nothing but +0 stands beside the flag 0
  fix_checksums(damaged);
  CHECK_THROWS_AS(tern::read_blob_info(damaged), format_error);
  refuses(148, std::numeric_limits<float>::quiet_NaN());
  refuses(64, 'n');  // codec n8
  // Weights that such a layer does not take.
  damaged = tern::save(tern::int8_matrix(tern::quantize_zero_point(w)));
  put(damaged, 144, std::uint32_t{1});
  fix_checksums(damaged);
  CHECK_THROWS_AS(tern::load<tern::llm_int8_linear>(damaged), format_error);
}

TEST_CASE("blob: an LLM.int8() layer with weights of 16 bits for outliers", "[io]") {
  const auto scales = GENERATE(scale_type::float32, scale_type::bfloat16);
  const std::size_t outputs = GENERATE(as<std::size_t>(), 0, 1, 20), inputs = GENERATE(as<std::size_t>(), 0, 1, 70);
  const bool with_bias = GENERATE(true, false);
  const auto w = draw_matrix(outputs, inputs, 5);
  const auto drawn = draw_matrix(1, with_bias ? outputs : 0, 7);
  const std::vector<float> bias(drawn.data(), drawn.data() + drawn.cols());
  const auto layer =
      tern::llm_int8_linear::from_float(w, bias, {.threshold = 1.5f, .outlier_bits = 16}, {.scales = scales});
  const tern::aligned_bytes blob = tern::save(layer);
  CHECK(blob.size() == tern::blob_size(layer));
  const tern::blob_info info = tern::read_blob_info(blob);
  CHECK(info.remainder_bytes == (inputs == 0 ? 0 : 192 + layer.remainder().storage_bytes()));
  const auto copy = tern::load<tern::llm_int8_linear>(blob);
  CHECK(copy.threshold() == 1.5f);
  const auto x = draw_matrix(6, inputs, 6);
  CHECK(tern_test::same(copy(x), layer(x)));
  CHECK(equal(tern::save(copy), blob));
  // In place, and from any address.
  const auto [weights, bias_in_place] = tern::view_blob<tern::llm_int8_linear>(blob);
  CHECK(weights.storage().data() == blob.data() + 192);
  CHECK(equal(weights.storage(), layer.weights().storage()));
  CHECK(bias_in_place.size() == bias.size());
  if (info.remainder_bytes != 0) {
    CHECK(copy.remainder().format() == layer.remainder().format());
    CHECK(equal(copy.remainder().storage(), layer.remainder().storage()));
    const auto rest = std::span<const std::byte>(blob).last(info.remainder_bytes);
    CHECK(equal(tern::view_blob<tern::i8>(rest).weights.storage(), layer.remainder().storage()));
    CHECK(equal(tern::save(layer.remainder()), rest));
  }
  tern::aligned_bytes memory(blob.size() + 1);
  const auto odd = bytes_of(memory).subspan(1);
  tern::save(layer, odd);
  CHECK(equal(tern::save(tern::load<tern::llm_int8_linear>(odd)), blob));
  CHECK_THROWS_AS(tern::load<tern::int8_linear>(blob), format_error);
}

TEST_CASE("blob: a remainder that contradicts its layer", "[io]") {
  tern::aligned_bytes blob = tern::save(wide_layer());
  const auto bytes = bytes_of(blob);
  const auto u64 = [&](std::size_t offset, std::uint64_t value) { put(bytes, offset, value); };
  constexpr std::uint64_t huge = std::uint64_t{1} << 62, most = ~std::uint64_t{0};
  bool header = true;  // whether the header alone says so
  const auto of_remainder = [&](std::size_t offset, auto value) {
    put(bytes, 384 + offset, value);
    fix_checksums(bytes.subspan(384));
    header = false;
  };
  SECTION("a version that has none") { put(bytes, 8, GENERATE(as<std::uint32_t>(), 0, 1, 3)); }
  SECTION("a version that has one") { u64(152, 0); }
  SECTION("its size") { u64(152, GENERATE_COPY(as<std::uint64_t>(), 64, 192, 383, 385, 448, 576, 768, huge, most)); }
  SECTION("its size and the blob's, no multiples of 64") {
    tern::aligned_bytes grown(769);
    std::copy_n(blob.data(), 768, grown.data());
    put(grown, 16, std::uint64_t{769});
    put(grown, 152, std::uint64_t{385});
    fix_checksums(grown);
    CHECK_THROWS_WITH(tern::read_blob_info(grown), "blob: a remainder of 385 bytes in a blob of 769");
    u64(152, 385);
  }
  SECTION("its size, whose lower 32 bits are what they should be") { put(bytes, 156, std::uint8_t{1}); }
  SECTION("no such layer") { u64(144, 0); }
  SECTION("no columns") { u64(32, 0); }
  SECTION("zeros of the header") { put(bytes, 160 + GENERATE(range(std::size_t{0}, std::size_t{24})), std::byte{1}); }
  SECTION("another magic") { of_remainder(0, 'x'); }
  SECTION("another version") { of_remainder(8, std::uint32_t{2}); }
  SECTION("another size") { of_remainder(16, std::uint64_t{320}); }
  SECTION("other rows") { of_remainder(24, std::uint64_t{2}); }
  SECTION("other columns") { of_remainder(32, std::uint64_t{3}); }
  SECTION("other planes") { of_remainder(40, std::uint64_t{2}); }
  SECTION("another codec") { of_remainder(64, 'n'); }
  SECTION("an LLM.int8() layer itself") { of_remainder(144, std::uint32_t{1}); }
  SECTION("a checksum of its own that is wrong") {
    of_remainder(32, std::uint64_t{2});
    put(bytes, 384 + 184, std::uint32_t{1});
    put(bytes, 384 + 188, tern_test::crc32_by_bits(bytes.subspan(384, 188)));
  }
  SECTION("groups") {
    const tern::int8_matrix groups(tern::quantize_absmax(draw_matrix(1, 2, 1), tern::per_group(16)));
    REQUIRE(tern::blob_size(groups) == 384);
    tern::save(groups, bytes.subspan(384));
    header = false;
  }
  fix_checksums(bytes);
  CHECK(refuses([&] { tern::read_blob_info(bytes); }) == header);
  CHECK_THROWS_AS(tern::load<tern::llm_int8_linear>(bytes), format_error);
}

TEST_CASE("blob: every flipped bit of a remainder and every truncation is found", "[io]") {
  tern::aligned_bytes blob = tern::save(wide_layer());
  const auto bytes = bytes_of(blob);
  std::size_t missed = 0;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= std::byte{static_cast<unsigned char>(1u << bit % 8)};
    missed += !refuses([&] { tern::load<tern::llm_int8_linear>(bytes); });
    bytes[bit / 8] ^= std::byte{static_cast<unsigned char>(1u << bit % 8)};
  }
  for (std::size_t size = 0; size < bytes.size(); ++size)
    missed += !refuses([&] { tern::load<tern::llm_int8_linear>(bytes.first(size)); });
  CHECK(missed == 0);
  CHECK_NOTHROW(tern::load<tern::llm_int8_linear>(bytes));
}

TEST_CASE("blob: a codec's state goes along", "[io]") {
  const auto w = draw_packed<levels16>(1, 1, 5, 30);
  const tern::aligned_bytes blob = tern::save(w);
  const tern::blob_info info = tern::read_blob_info(blob);
  const auto state = info.codec_state();
  const auto table = tern_test::codec_to_save<levels16>().table;
  CHECK(std::equal(state.begin(), state.end(), table.begin(), table.end()));
  CHECK(tern::load<packed_matrix<levels16>>(blob).view().get_codec().table == table);
  CHECK(tern::view_blob<shifted8>(tern::save(draw_packed<shifted8>(1, 1, 5, 30))).weights.get_codec().shift == -77);
}

TEST_CASE("blob: equal matrices give equal bytes, whatever else is in a granularity", "[io]") {
  tern::quantized_matrix q(1, 3, 20, tern::per_channel);
  const tern::aligned_bytes blob = tern::save(tern::ternary_matrix<>(q));
  q.granularity.group = 5;  // means nothing beside sharing::row
  CHECK(equal(tern::save(tern::ternary_matrix<>(q)), blob));
}

// Golden bytes: on users' disks, derived by hand from the table in blob_header.hpp, the checksums by zlib's crc32(). They may
// be changed only together with the version of the layout, never to make a test pass.

TEST_CASE("blob: golden bytes of a layer", "[io][golden]") {
  const auto want =
      from_lines(448, {{0, {0x89, 0x54, 0x52, 0x4E, 0x0D, 0x0A, 0x1A, 0x0A, 0x01, 0, 0, 0, 0xC0, 0, 0, 0}},
                       {16, {0xC0, 0x01, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}},
                       {32, {6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}},
                       {48, {0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0}},
                       {64, {0x69, 0x32}},
                       {112, {0xC0, 0, 0, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0}},
                       {128, {0x80, 0x01, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}},
                       {176, {0, 0, 0, 0, 0, 0, 0, 0, 0x75, 0x82, 0x03, 0x3B, 0x7A, 0xC0, 0xE7, 0x65}},
                       {192, {0x01, 0x0F, 0x00, 0x01, 0x07, 0x07, 0x03, 0x00}},
                       {256, {0x00, 0x00, 0x00, 0x3F, 0x00, 0x00, 0xC0, 0x3F}},
                       {320, {0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF}},
                       {384, {0x00, 0x00, 0x80, 0x3F, 0x00, 0x00, 0x00, 0xC0}}});
  CHECK(equal(tern::save(small_layer()), want));
}

TEST_CASE("blob: golden bytes of a header with everything in it", "[io][golden]") {
  const auto want =
      from_lines(192, {{0, {0x89, 0x54, 0x52, 0x4E, 0x0D, 0x0A, 0x1A, 0x0A, 0x01, 0, 0, 0, 0xC0, 0, 0, 0}},
                       {16, {0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                       {32, {20, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0}},
                       {48, {8, 0, 0, 0, 0, 0, 0, 0, 2, 2, 1, 0, 16, 0, 0, 0}},
                       {64, {0x6C, 0x65, 0x76, 0x65, 0x6C, 0x73, 0x31, 0x36}},
                       {96, {0x80, 0xA6, 0xC3, 0xD8, 0xE7, 0xF3, 0xFB, 0, 1, 5, 0x0E, 0x1A, 0x29, 0x3E, 0x5B, 0x7F}},
                       {112, {0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                       {128, {0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                       {176, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7A, 0x07, 0x80, 0xB0}}});
  const tern::packed_view<levels16> w({}, {0, 20, 3, tern::per_group(8), scale_type::bfloat16, true, false},
                                      tern_test::codec_to_save<levels16>());
  CHECK(equal(tern::save(w), want));
}

TEST_CASE("blob: golden bytes of LLM.int8() with weights of 16 bits for outliers", "[io][golden]") {
  const auto want =
      from_lines(768, {{0, {0x89, 0x54, 0x52, 0x4E, 0x0D, 0x0A, 0x1A, 0x0A, 0x02, 0, 0, 0, 0xC0, 0, 0, 0}},
                       {16, {0, 0x03, 0, 0, 0, 0, 0, 0, 0x01, 0, 0, 0, 0, 0, 0, 0}},
                       {32, {0x02, 0, 0, 0, 0, 0, 0, 0, 0x01, 0, 0, 0, 0, 0, 0, 0}},
                       {48, {0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0, 0, 0x01, 0, 0, 0, 0}},
                       {64, {0x69, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                       {112, {0xC0, 0, 0, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0}},
                       {128, {0x80, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                       {144, {0x01, 0, 0, 0, 0, 0, 0x20, 0x40, 0x80, 0x01, 0, 0, 0, 0, 0, 0}},
                       {176, {0, 0, 0, 0, 0, 0, 0, 0, 0x79, 0x02, 0xE1, 0x05, 0x75, 0x7F, 0x69, 0xA5}},
                       {192, {0x05, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                       {256, {0, 0, 0, 0x3F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                       {320, {0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                       {384, {0x89, 0x54, 0x52, 0x4E, 0x0D, 0x0A, 0x1A, 0x0A, 0x01, 0, 0, 0, 0xC0, 0, 0, 0}},
                       {400, {0x80, 0x01, 0, 0, 0, 0, 0, 0, 0x01, 0, 0, 0, 0, 0, 0, 0}},
                       {416, {0x02, 0, 0, 0, 0, 0, 0, 0, 0x01, 0, 0, 0, 0, 0, 0, 0}},
                       {432, {0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0, 0, 0x01, 0, 0, 0, 0}},
                       {448, {0x69, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                       {496, {0xC0, 0, 0, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0}},
                       {512, {0x80, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                       {560, {0, 0, 0, 0, 0, 0, 0, 0, 0x3F, 0xB3, 0x4F, 0xAC, 0xB1, 0x1D, 0x56, 0x23}},
                       {576, {0x7F, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                       {640, {0, 0, 0x80, 0x3E, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
                       {704, {0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}});
  const tern::llm_int8_linear layer = wide_layer();
  CHECK(equal(tern::save(layer), want));
  CHECK(tern::load<tern::llm_int8_linear>(want).threshold() == 2.5f);
}

TEST_CASE("blob: every truncation and every extension is refused", "[io]") {
  const tern::aligned_bytes blob = tern::save(small_layer());
  tern::aligned_bytes grown(blob.size() + 200);
  std::copy_n(blob.data(), blob.size(), grown.data());
  const std::span<const std::byte> bytes = grown;
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    INFO(size);
    const auto some = bytes.first(size);
    const bool wrong = size != blob.size();
    CHECK(refuses([&] { tern::read_blob_info(some); }) == wrong);
    CHECK(refuses([&] { tern::verify_payload(some); }) == wrong);
    CHECK(refuses([&] { tern::view_blob<tern::i2>(some); }) == wrong);
    CHECK(refuses([&] { tern::load<tern::bit_linear>(some); }) == wrong);
  }
  CHECK_THROWS_WITH(tern::read_blob_info(bytes.first(447)), "blob: 448 bytes are cut to 447");
  CHECK_THROWS_WITH(tern::read_blob_info(bytes.first(512)), "blob: 448 bytes are grown to 512");
  CHECK_THROWS_WITH(tern::read_blob_info(bytes.first(100)), contains("cut to 100 bytes, fewer than the 192"));
  CHECK_THROWS_AS(tern::read_blob_info({}), format_error);
}

TEST_CASE("blob: every flipped bit is found, in the header by all, behind it by load and verify_payload", "[io]") {
  tern::aligned_bytes blob = tern::save(small_layer());
  const auto bytes = bytes_of(blob);
  std::size_t missed = 0, scanned = 0;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    const std::byte mask{static_cast<unsigned char>(1u << bit % 8)};
    bytes[bit / 8] ^= mask;
    const bool in_header = bit / 8 < 192;
    missed += !refuses([&] { tern::load<tern::bit_linear>(bytes); });
    missed += !refuses([&] { tern::verify_payload(bytes); });
    if (in_header) {
      missed += !refuses([&] { tern::read_blob_info(bytes); });
      missed += !refuses([&] { tern::view_blob<tern::i2>(bytes); });
    } else {
      scanned += refuses([&] { tern::view_blob<tern::i2>(bytes); });
    }
    bytes[bit / 8] ^= mask;
  }
  CHECK(missed == 0);
  CHECK(scanned == 0);
  CHECK_NOTHROW(tern::load<tern::bit_linear>(bytes));
  bytes[200] ^= std::byte{1};
  CHECK_THROWS_WITH(tern::verify_payload(bytes), contains("contents are damaged: their checksum is"));
}

TEST_CASE("blob: what text mode and seven bits do to a file is told from its first bytes", "[io]") {
  tern::aligned_bytes blob = tern::save(small_layer());
  const auto bytes = bytes_of(blob);
  SECTION("seven bits") { bytes[0] &= std::byte{0x7F}; }
  SECTION("CR LF to LF") { std::memmove(bytes.data() + 4, bytes.data() + 5, bytes.size() - 5); }
  SECTION("LF to CR LF") { bytes[7] = std::byte{'\r'}; }
  CHECK_THROWS_AS(tern::read_blob_info(bytes), format_error);
  CHECK_THROWS_WITH(tern::read_blob_info(bytes), "blob: 448 bytes that do not begin as a blob of tern does");
}

TEST_CASE("blob: another type than was saved is refused", "[io]") {
  const tern::aligned_bytes layer = tern::save(small_layer());
  CHECK_THROWS_AS(tern::view_blob<tern::i8>(layer), format_error);
  CHECK_THROWS_WITH(tern::view_blob<tern::i8>(layer), "blob: holds codec i2, not i8");
  CHECK_THROWS_WITH(tern::load<tern::int8_linear>(layer), "blob: holds codec i2, not i8");
  CHECK_THROWS_AS(tern::load<tern::ternary_matrix<>>(layer), format_error);
  CHECK_THROWS_WITH(tern::load<tern::ternary_matrix<>>(layer),
                    "blob: holds 2 biases, which need a layer to be loaded into");
  CHECK(tern::load<tern::multi_ternary_linear>(layer).weights().planes() == 1);

  const tern::aligned_bytes planes = tern::save(draw_packed<tern::i2>(1, 2, 5, 30));
  CHECK_THROWS_AS(tern::load<tern::ternary_matrix<>>(planes), format_error);
  CHECK_THROWS_WITH(tern::load<tern::ternary_matrix<>>(planes), "blob: ternary_matrix: one plane, not 2");
  CHECK_THROWS_AS(tern::load<tern::bit_linear>(planes), format_error);
  CHECK(tern::load<tern::multi_ternary_linear>(planes).bias().empty());
  CHECK_THROWS_AS(tern::load<tern::int8_matrix>(tern::save(draw_packed<tern::i8>(1, 2, 5, 30))), format_error);
}

TEST_CASE("blob: loads from any address, views only where vectors can be read", "[io]") {
  const auto layer = small_layer();
  tern::aligned_bytes memory(448 + 64);
  const std::size_t offset = GENERATE(as<std::size_t>(), 1, 4, 16, 32);
  const auto bytes = bytes_of(memory).subspan(offset, 448);
  tern::save(layer, bytes);
  CHECK(equal(bytes, tern::save(layer)));
  CHECK(tern::read_blob_info(bytes).format == layer.weights().format());
  CHECK_NOTHROW(tern::verify_payload(bytes));
  CHECK(equal(tern::load<tern::bit_linear>(bytes).weights().storage(), layer.weights().storage()));
  CHECK_THROWS_AS(tern::view_blob<tern::i2>(bytes), tern::shape_error);
  CHECK_THROWS_WITH(tern::view_blob<tern::i2>(bytes), contains("aligned to 64"));
}

TEST_CASE("blob: what does not fit is not written", "[io]") {
  const auto layer = small_layer();
  tern::aligned_bytes memory(512);
  const auto bytes = bytes_of(memory);
  const std::size_t size = GENERATE(as<std::size_t>(), 0, 447, 449, 512);
  CHECK_THROWS_AS(tern::save(layer, bytes.first(size)), tern::shape_error);
  CHECK_THROWS_WITH(tern::save(layer, bytes.first(size)),
                    "save: a blob of 448 bytes does not go into " + std::to_string(size));
  const std::vector<float> three(3);
  const tern::blob_view<tern::i2> parts{layer.weights().view(), three};
  CHECK_THROWS_AS(tern::save(parts, bytes.first(448)), tern::shape_error);
  CHECK_THROWS_WITH(tern::save(parts, bytes.first(448)), "save: 3 biases for 2 outputs");
  CHECK(equal(bytes, tern::aligned_bytes(512)));
}

/// Headers that somebody wrote with the right checksums.
TEST_CASE("blob: headers that contradict themselves or no memory could hold", "[io]") {
  constexpr std::uint64_t huge = std::uint64_t{1} << 62, most = ~std::uint64_t{0};
  tern::aligned_bytes blob = tern::save(small_layer());
  const auto bytes = bytes_of(blob);
  const auto u64 = [&](std::size_t offset, std::uint64_t value) { put(bytes, offset, value); };
  const auto u32 = [&](std::size_t offset, std::uint32_t value) { put(bytes, offset, value); };
  const auto u8 = [&](std::size_t offset, std::uint8_t value) { put(bytes, offset, value); };

  SECTION("version") { u32(8, GENERATE(as<std::uint32_t>(), 0, 2, 3, 0x01000000)); }
  SECTION("bytes of the header") { u32(12, GENERATE(as<std::uint32_t>(), 0, 191, 256, 0xFFFFFFFF)); }
  SECTION("bytes of the blob") { u64(16, GENERATE_COPY(as<std::uint64_t>(), 0, 191, 192, 384, 447, 512, huge, most)); }
  SECTION("rows") { u64(24, GENERATE_COPY(as<std::uint64_t>(), 0, 1, 3, 17, huge, huge * 2 - 1, most)); }
  SECTION("rows, and a bias as long") {
    const auto rows = GENERATE_COPY(as<std::uint64_t>(), 17, huge, huge + 2, huge * 2, most - 15, most);
    u64(24, rows);
    u64(136, rows);
  }
  SECTION("columns") { u64(32, GENERATE_COPY(as<std::uint64_t>(), 0, 17, huge, huge * 2 - 1, most)); }
  SECTION("planes") { u64(40, GENERATE_COPY(as<std::uint64_t>(), 0, 2, huge, most)); }
  SECTION("rows, columns and planes whose product wraps to what it should be") {
    const auto root = std::uint64_t{1} << GENERATE(35, 19);  // its square is 0 in 64 bits, in 32 bits
    u64(24, root + 2);
    u64(32, root + 6);
    u64(40, std::uint64_t{1} << 10 | 1);
  }
  SECTION("sizes whose lower 32 bits are what they should be") {
    u8(GENERATE(as<std::size_t>(), 20, 28, 36, 44, 52, 116, 124, 132, 140), 1);
  }
  SECTION("a group beside scales per row") { u64(48, GENERATE_COPY(as<std::uint64_t>(), 1, 16, most)); }
  SECTION("groups") {
    u8(56, 2);
    u64(48, GENERATE_COPY(as<std::uint64_t>(), 0, 1, 4, 15, 17, huge + 1, most));
  }
  SECTION("granularity") { u8(56, GENERATE(as<std::uint8_t>(), 3, 4, 255)); }
  SECTION("type of scales") { u8(57, GENERATE(as<std::uint8_t>(), 3, 128, 255)); }
  SECTION("zero points") { u8(58, GENERATE(as<std::uint8_t>(), 1, 2, 255)); }
  SECTION("sums") { u8(59, GENERATE(as<std::uint8_t>(), 0, 2, 255)); }
  SECTION("size of the state") { u32(60, GENERATE(as<std::uint32_t>(), 1, 16, 17, 0xFFFFFFFF)); }
  SECTION("no name") { u64(64, 0); }
  SECTION("a longer name") { u8(66, 'x'); }
  SECTION("something behind the name") { u8(GENERATE(as<std::size_t>(), 67, 95), 'x'); }
  SECTION("characters no name has") { u8(65, GENERATE(as<std::uint8_t>(), ' ', '\n', 0x7F, 0xC3)); }
  SECTION("a state where there is none") { u8(GENERATE(as<std::size_t>(), 96, 111), 1); }
  SECTION("offset of the storage") { u64(112, GENERATE_COPY(as<std::uint64_t>(), 0, 128, 193, 256, huge, most)); }
  SECTION("bytes of the storage") {
    u64(120, GENERATE_COPY(as<std::uint64_t>(), 0, 128, 191, 256, 320, huge, most - 63, most));
  }
  SECTION("bytes of the storage and all that follows from them") {
    const auto size = GENERATE_COPY(as<std::uint64_t>(), 0, 128, 256, most - 191, most - 127, most - 63);
    u64(120, size);
    u64(128, 192 + size);
  }
  SECTION("offset of the bias") { u64(128, GENERATE_COPY(as<std::uint64_t>(), 0, 192, 383, 385, 448, huge, most)); }
  SECTION("count of the bias") { u64(136, GENERATE_COPY(as<std::uint64_t>(), 0, 1, 3, huge + 2, most)); }
  SECTION("zeros of the header") { u8(144 + GENERATE(range(std::size_t{0}, std::size_t{40})), 1); }
  fix_checksums(bytes);
  CHECK_THROWS_AS(tern::view_blob<tern::i2>(bytes), format_error);
  CHECK_THROWS_AS(tern::load<tern::bit_linear>(bytes), format_error);
  CHECK_THROWS_AS(tern::load<tern::multi_ternary_linear>(bytes), format_error);
}

TEST_CASE("blob: what is wrong with a header of any codec is found without knowing the codec", "[io]") {
  tern::aligned_bytes blob = tern::save(small_layer());
  const auto bytes = bytes_of(blob);
  SECTION("characters no name has") {
    put(bytes, 65, GENERATE(as<std::uint8_t>(), ' ', '\n', 0x7F, 0xC3));
    fix_checksums(bytes);
    CHECK_THROWS_WITH(tern::read_blob_info(bytes), contains("visible ASCII"));
  }
  SECTION("storage that begins in the header") {
    put(bytes, 112, std::uint64_t{128});
    put(bytes, 120, std::uint64_t{256});
    fix_checksums(bytes);
    CHECK_THROWS_WITH(tern::read_blob_info(bytes), "blob: storage of 256 bytes from 128 in a blob of 448");
  }
  SECTION("a type of scales that no version has") {
    put(bytes, 57, std::uint8_t{3});
    fix_checksums(bytes);
    CHECK_THROWS_WITH(tern::read_blob_info(bytes), "blob: scale type 3 is none of 0, 1 and 2");
  }
}

TEST_CASE("blob: zeros behind the bias are checked with the contents", "[io]") {
  tern::aligned_bytes blob = tern::save(small_layer());
  const std::size_t at = 392 + GENERATE(range(std::size_t{0}, std::size_t{56}));
  put(bytes_of(blob), at, std::byte{1});
  fix_checksums(blob);
  CHECK_NOTHROW(tern::view_blob<tern::i2>(blob));
  CHECK_THROWS_AS(tern::verify_payload(blob), format_error);
  CHECK_THROWS_WITH(tern::load<tern::bit_linear>(blob), "blob: the 56 bytes behind the bias must be 0");
}

TEST_CASE("blob: a state that its codec refuses", "[io]") {
  tern::aligned_bytes blob = tern::save(draw_packed<levels16>(1, 1, 5, 30));
  SECTION("its values") {
    put(bytes_of(blob), 103, std::byte{2});
    fix_checksums(blob);
    CHECK_THROWS_WITH(tern::view_blob<levels16>(blob), "blob: levels16: none of the levels is 0");
  }
  SECTION("its size") {
    put(bytes_of(blob), 60, std::uint32_t{15});
    put(bytes_of(blob), 111, std::byte{0});
    fix_checksums(blob);
    CHECK_THROWS_WITH(tern::view_blob<levels16>(blob), "blob: codec levels16 has 16 bytes of state, not 15");
  }
  CHECK_THROWS_AS(tern::view_blob<levels16>(blob), format_error);
  CHECK_THROWS_AS(tern::load<packed_matrix<levels16>>(blob), format_error);
}

/// No storage at all is what an enormous matrix without rows takes too: nothing is allocated for it.
TEST_CASE("blob: matrices without elements, of any other size", "[io]") {
  tern::aligned_bytes blob = tern::save(tern::ternary_matrix<>());
  CHECK(blob.size() == 192);
  CHECK(tern::load<tern::bit_linear>(blob).in_features() == 0);
  constexpr std::size_t enormous = static_cast<std::size_t>(-1) / 64;
  put(bytes_of(blob), 32, std::uint64_t{enormous});
  fix_checksums(blob);
  CHECK(tern::load<tern::ternary_matrix<>>(blob).cols() == enormous);
  // But planes are looped over: as many as bytes, and no more.
  put(bytes_of(blob), 40, std::uint64_t{192});
  fix_checksums(blob);
  CHECK(tern::load<tern::multi_ternary_matrix<>>(blob).planes() == 192);
  put(bytes_of(blob), 40, std::uint64_t{193});
  fix_checksums(blob);
  CHECK_THROWS_WITH(tern::load<tern::multi_ternary_matrix<>>(blob), "blob: 193 planes without rows in a blob of 192");
}
