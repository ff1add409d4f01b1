// SPDX-License-Identifier: MIT
/// The values that a kernel's bounds are derived from: bytes that no quantizer writes, -128, the deepest products, the ends of
/// the floats.
#include "kernel/problem.hpp"
#include "support/catch.hpp"

using namespace tern_test;

namespace {

constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();

/// Bytes of one value, or random ones; blocks that the padding of rows and of inputs fills as well.
template <class Isa, class Codec>
void compare_bytes(std::initializer_list<std::size_t> depths, const Codec& codec = {}) {
  dice d(1);
  // 0xAA is four fields of -2 to i2 and 0xFF five trits of +1 to b3: largest operands on either side of zero.
  for (const int byte : {0x00, 0x55, 0x7F, 0x80, 0xAA, 0xFF, -1}) {
    for (const std::size_t inputs : depths) {
      // Tiles of 16 tokens and more at two depths, which end inside of a tile's inputs.
      const bool deep_tiles = inputs == 79 || inputs == 516;
      const facts f{.tokens = deep_tiles ? 33u : 7u, .outputs = 17, .inputs = inputs, .output = output_type::int32};
      const raw_weights<Codec> w(
          f, [&] { return byte < 0 ? d.byte() : static_cast<std::uint8_t>(byte); }, codec);
      // Four neighbours are all pairs of the largest codes of either sign.
      const auto x = activations(f.tokens, inputs,
                                 [&](std::size_t m, std::size_t k) { return (m >> k % 2 & 1) != 0 ? 127 : -128; });
      tern::kernel::product<tern::activations_view, Codec> a{x.view(), w.view(), {}};
      a.y.type = output_type::int32;
      const canvas all = reference(a);
      INFO(Codec::name() << " byte " << byte << ", " << f.text());
      for (const std::size_t tokens : sizes{1, 2, 3, 4, 7, 16, 33}) {
        for (std::size_t m = 0; m < 4 && m + tokens <= f.tokens; ++m) {
          INFO("tokens " << m << " to " << m + tokens);
          REQUIRE(tiles_difference<Isa>(a, all, {{m, m + tokens, 0, a.w.panels()}}) == "");
        }
      }
    }
  }
}

/// Groups and planes of random bytes, with int8 and with float activations: every byte value is legal everywhere.
template <class Isa, class Codec>
void compare_groups_of_bytes() {
  for (std::size_t seed = 0; seed < 40; ++seed) {
    dice d(seed);
    const facts f{.tokens = 1 + d.below(40),
                  .outputs = 1 + d.below(90),
                  .inputs = 1 + d.below(700),
                  .granularity = tern::per_group(Codec::group_multiple * (1 + d.below(4))),
                  .planes = 1 + d.below(3)};
    const raw_weights<Codec> w(
        f, [&] { return d.byte(); }, draw_codec<Codec>(d));
    const auto x = draw_activations(d, f);
    const tern::matrix<float> reals(f.tokens, f.inputs, draw_reals(d, f.tokens * f.inputs));
    INFO(Codec::name() << ": " << f.text());
    REQUIRE(difference<Isa>(tern::kernel::product<tern::activations_view, Codec>{x.view(), w.view(), {}}) == "");
    REQUIRE(difference<Isa>(tern::kernel::product<tern::kernel::float_view, Codec>{reals.view(), w.view(), {}}) == "");
  }
}

/// Levels and codes that fill int16 sums: all levels the largest, the least, and taking turns, against all codes -128 or 127.
/// Rows differ, so that a full sum stands beside empty ones. One token, a few, and many, whose chunks are twice as long.
template <class Isa, class Codec>
void compare_full_sums(const Codec& codec, int lowest, int highest, std::size_t inputs) {
  tern::quantized_matrix q(1, 19, inputs, tern::per_channel);
  q.scales.assign(q.rows, 1.0f);
  for (std::size_t n = 0; n < q.rows; ++n)
    for (std::size_t k = 0; k < inputs; ++k) {
      const bool high = n % 3 == 0 || (n % 3 == 1 && k % 8 < 4);
      q.code_row(0, n)[k] = static_cast<std::int8_t>(high ? highest : lowest);
    }
  const tern::packed_matrix<Codec> w(q, {}, codec);
  for (const std::size_t tokens : sizes{1, 7, 19}) {
    for (const int code : {-128, 127}) {
      const auto x = activations(tokens, inputs, [&](std::size_t, std::size_t) { return code; });
      tern::kernel::product<tern::activations_view, Codec> a{x.view(), w.view(), {}};
      a.y.type = output_type::int32;
      INFO(Codec::name() << " levels " << lowest << " .. " << highest << ", codes " << code << ", K " << inputs
                         << ", M " << tokens);
      REQUIRE(difference<Isa>(a) == "");
    }
  }
}

template <class Isa, class... Codecs>
void compare_full_sums_of(const tern::trit_code& code, tern::type_list<Codecs...>) {
  (compare_full_sums<Isa>(Codecs(code), -code.largest(), code.largest(), 523), ...);
}

template <class Isa, class... Codecs>
void compare_groups(tern::type_list<Codecs...>) {
  (compare_groups_of_bytes<Isa, Codecs>(), ...);
}

/// The only element of the product of `inputs` equal codes by equal levels, on 1 token and on 3.
template <class Isa, class Codec>
void check_sum(std::int64_t inputs, int code, int zero_x, int level, int zero_w, const Codec& codec = {}) {
  const std::int64_t expected = inputs * (code - zero_x) * (level - zero_w);
  REQUIRE(std::abs(expected) <= most);
  const auto depth = static_cast<std::size_t>(inputs);
  REQUIRE(depth <= tern::max_inputs(zero_x != 0, zero_w != 0));
  tern::quantized_matrix q(1, 1, depth, tern::per_channel);
  q.codes.assign(depth, static_cast<std::int8_t>(level));
  if (zero_w != 0) q.zeros.assign(1, static_cast<std::int8_t>(zero_w));
  const tern::packed_matrix<Codec> w(q, {.sums = true}, codec);
  for (const std::size_t tokens : sizes{1, 3, 17}) {
    const std::vector<std::int32_t> zeros(zero_x != 0 ? tokens : 0, zero_x);
    const auto x = activations(
        tokens, depth, [&](std::size_t, std::size_t) { return code; }, zeros);
    tern::kernel::product<tern::activations_view, Codec> a{x.view(), w.view(), {}};
    a.y.type = output_type::int32;
    INFO(Codec::name() << ", K " << inputs << ": (" << code << " - " << zero_x << ") (" << level << " - " << zero_w
                       << ")");
    CHECK(static_cast<std::int32_t>(computed<Isa>(a).bits(tokens - 1, 0)) == expected);
    CHECK(difference<Isa>(a) == "");
  }
}

/// Scales, biases and float activations of every kind, NaN and infinity included.
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float subnormal = std::numeric_limits<float>::denorm_min();
constexpr float largest = std::numeric_limits<float>::max();
constexpr float ends[] = {0.0f,   -0.0f,  1.0f,      -1.5f, subnormal, -subnormal, 1e-40f,
                          1e-38f, 3e-20f, -70000.0f, 6e-8f, 1e30f,     largest,    -largest};
const float not_finite[] = {infinity, -infinity, std::bit_cast<float>(0x7fc00000u), std::bit_cast<float>(0xffc54321u)};

}  // namespace

TEMPLATE_LIST_TEST_CASE("all byte values are legal and no sum overflows", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  // Where int16 sums are full: strips of 80 and 240, runs of 168 and 252, chunks of 512 and 500.
  compare_bytes<TestType, tern::i2>({1, 79, 80, 96, 161, 168, 172, 240, 252, 256, 260, 500, 512, 516, 1280});
  compare_bytes<TestType, tern::b3>({1, 79, 80, 96, 161, 168, 172, 240, 252, 256, 260, 500, 512, 516, 1280});
  compare_bytes<TestType, tern::i8>({1, 79, 256, 516});
  // Codecs of looked-up levels, from either end of what a table may span: the largest offset that AVX2 sums over 8 quads in
  // int16, 15, and what it widens after two, 63; then the smallest and the largest plane codes. See also the next test.
  for (const int span : {15, 63}) {
    for (const int least : {-span, 0}) {
      std::int8_t table[16] = {};
      table[0] = table[15] = static_cast<std::int8_t>(least);
      table[5] = static_cast<std::int8_t>(least + span);
      compare_bytes<TestType>({1, 79, 516}, tern::n4::from_state(table));
    }
  }
  compare_bytes<TestType>({1, 79, 516}, tern::b3x2(tern::trit_code{{3, 2}}));
  compare_bytes<TestType>({1, 79, 516}, tern::n4(tern::trit_code{{17, 14}}));
  compare_bytes<TestType>({1, 79, 516}, tern::n6(tern::trit_code{{16, 11, 4}}));
  compare_bytes<TestType>({1, 79, 516}, tern::b3x2(tern::trit_code{{17, 14}}));
  compare_bytes<TestType>({1, 79, 516}, tern::b3x3(tern::trit_code{{16, 11, 4}}));
  compare_groups<TestType>(tern::codecs{});
}

TEMPLATE_LIST_TEST_CASE("sums in int16 are full and do not overflow", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  // How many products int16 takes depends on the span of the levels. Three strips of the least span: 63 blocks of 8 inputs.
  for (int span = 0; span <= tern::n4::largest_span; ++span) {
    for (const int least : {-span, -span / 2, 0}) {
      std::int8_t table[16] = {};
      table[3] = static_cast<std::int8_t>(least);
      table[12] = static_cast<std::int8_t>(least + span);
      compare_full_sums<TestType>(tern::n4::from_state(table), least, least + span, span < 8 ? 1515 : 523);
    }
  }
  for (const tern::trit_code& code : tern::trit_codes_of_2)
    compare_full_sums_of<TestType>(code, tern::type_list<tern::n4, tern::b3x2>{});
  for (const tern::trit_code& code : tern::trit_codes_of_3)
    compare_full_sums_of<TestType>(code, tern::type_list<tern::n6, tern::b3x3>{});
  // Every other span that a plane code has: twice the largest level.
  for (int c = 2; c <= 30; ++c) {
    const tern::trit_code code{{static_cast<std::int8_t>(c), 1}};
    if (code.valid()) compare_full_sums_of<TestType>(code, tern::type_list<tern::n4, tern::b3x2>{});
  }
  for (int c = 2; c <= 24; ++c) {
    const tern::trit_code code{{static_cast<std::int8_t>(c), 5, 2}};
    if (code.valid()) compare_full_sums_of<TestType>(code, tern::type_list<tern::n6, tern::b3x3>{});
  }
}

TEMPLATE_LIST_TEST_CASE("the deepest products are exact", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  check_sum<TestType, tern::i8>(131071, -128, 0, -128, 0);
  check_sum<TestType, tern::i8>(131071, 127, 0, -128, 0);
  check_sum<TestType, tern::i8>(65793, -128, 127, -128, 0);
  check_sum<TestType, tern::i8>(65793, 127, -128, -128, 0);
  check_sum<TestType, tern::i8>(65793, -128, 0, -128, 127);
  check_sum<TestType, tern::i8>(65793, -128, 0, 127, -128);
  check_sum<TestType, tern::i8>(33025, -128, 127, -128, 127);
  check_sum<TestType, tern::i8>(33025, 127, -128, 127, -128);
  check_sum<TestType, tern::i8>(33025, 127, -128, -128, 127);
  check_sum<TestType, tern::i2>(131071, -128, 0, -2, 0);
  check_sum<TestType, tern::i2>(131071, -128, 0, 1, 0);
  check_sum<TestType, tern::b3>(131071, -128, 0, 1, 0);
  check_sum<TestType, tern::b3>(131071, -128, 0, -1, 0);
  check_sum<TestType, tern::b3>(33025, 127, -128, -1, 127);
  check_sum<TestType, tern::n4>(131071, -128, 0, -8, 0);
  check_sum<TestType, tern::n4>(131071, -128, 0, 7, 0);
  check_sum<TestType, tern::n6>(131071, -128, 0, -20, 0, tern::n6(tern::trit_code{{8, 7, 5}}));
  check_sum<TestType, tern::n6>(131071, -128, 0, 20, 0, tern::n6(tern::trit_code{{8, 7, 5}}));
  check_sum<TestType, tern::b3x3>(33025, 127, -128, -17, 127);
  check_sum<TestType, tern::b3x2>(131071, 127, 0, -5, 0);
}

TEMPLATE_LIST_TEST_CASE("scales and biases at the ends of the floats", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  dice d(5);
  const auto end = [&] { return ends[d.below(std::size(ends))]; };
  for (std::size_t seed = 0; seed < 200; ++seed) {
    facts f{.tokens = 1 + d.below(5), .outputs = 40, .inputs = 48, .granularity = tern::per_group(16), .planes = 2};
    f.output = static_cast<output_type>(d.below(3));
    tern::quantized_matrix q = draw_weights<tern::i2>(d, f);
    for (float& scale : q.scales) scale = end();
    const tern::packed_matrix<tern::i2> w(q);
    const tern::quantized_activations x = draw_activations(d, f);
    for (std::size_t m = 0; m < f.tokens; ++m) x.view().scale(m) = end();
    std::vector<float> bias;
    for (std::size_t n = 0; n < f.outputs; ++n) bias.push_back(d.below(8) != 0 ? end() : infinity);
    tern::kernel::product<tern::activations_view, tern::i2> a{
        x.view(), w.view(), {}, seed % 2 != 0 ? bias.data() : nullptr};
    a.y.type = f.output;
    INFO(f.text());
    REQUIRE(difference<TestType>(a) == "");
  }
}

TEMPLATE_LIST_TEST_CASE("float activations at the ends of the floats", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  for (std::size_t seed = 0; seed < 200; ++seed) {
    dice d(seed);
    const facts f{.tokens = 1 + d.below(5),
                  .outputs = 20,
                  .inputs = 1 + d.below(50),
                  .planes = 1 + d.below(2),
                  .output = static_cast<output_type>(d.below(3))};
    float_problem<tern::b3> p(d, f);
    for (std::size_t m = 0; m < f.tokens; ++m)
      for (std::size_t k = 0; k < f.inputs; ++k) p.at(m, k) = ends[d.below(std::size(ends))];
    for (std::size_t i = 0; i < seed % 4; ++i) p.at(0, d.below(f.inputs)) = not_finite[d.below(std::size(not_finite))];
    INFO(f.text());
    REQUIRE(difference<TestType>(p.product()) == "");
  }
}

TEMPLATE_LIST_TEST_CASE("infinity times a zero weight is NaN, minus zeros sum to plus zero", "[kernel]",
                        tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  tern::quantized_matrix q(1, 3, 5, tern::per_channel);
  q.codes = {0, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, 0, 0, 0, 0};
  q.scales = {2, 2, 2};
  const tern::packed_matrix<tern::i2> w(q);
  const std::vector<float> x[2] = {{infinity, 1, 1, 1, 1}, {-0.0f, -0.0f, -0.0f, -0.0f, -0.0f}};
  const auto result = [&](const std::vector<float>& row, std::size_t n) {
    const tern::kernel::product<tern::kernel::float_view, tern::i2> a{{row.data(), 1, 5}, w.view(), {}};
    return std::bit_cast<float>(computed<TestType>(a).bits(0, n));
  };
  CHECK(std::isnan(result(x[0], 0)));
  CHECK(result(x[0], 1) == infinity);
  CHECK(result(x[0], 2) == -infinity);
  CHECK(std::bit_cast<std::uint32_t>(result(x[1], 0)) == 0);
  CHECK(std::bit_cast<std::uint32_t>(result(x[1], 1)) == 0);
  CHECK(std::bit_cast<std::uint32_t>(result(x[1], 2)) == 0);
}
