// SPDX-License-Identifier: MIT
/// A user's codec and instruction sets at run time; static/kernel_for.cpp pins who serves whom.
#include "static/hostile.hpp"

#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern_test::draw_matrix;
using tern_test::same;
using tern_test::textbook_layer;

namespace {

constexpr hostile::codec masked{0x5A};

/// 13 levels 0 or 1 in two bytes.
struct wide_codec {
  static constexpr std::string_view name() { return "wide"; }
  static constexpr std::size_t fold = 13;
  static constexpr std::size_t bytes = 2;
  static constexpr std::size_t group_multiple = 52;

  constexpr bool holds(int level) const { return level == 0 || level == 1; }
  constexpr void encode(const std::int8_t* levels, std::uint8_t* out) const {
    out[0] = out[1] = 0;
    for (std::size_t p = 0; p < fold; ++p) out[p / 8] = static_cast<std::uint8_t>(out[p / 8] | levels[p] << p % 8);
  }
  constexpr std::int8_t decode(const std::uint8_t* in, std::size_t p) const {
    return static_cast<std::int8_t>(in[p / 8] >> p % 8 & 1);
  }
};

/// Levels -8 .. 7 with zero points.
tern::quantized_matrix draw_levels(std::size_t rows, std::size_t cols, tern::granularity granularity) {
  std::mt19937 random(7);
  tern::quantized_matrix q(2, rows, cols, granularity);
  for (auto& level : q.codes) level = static_cast<std::int8_t>(static_cast<int>(random() % 16) - 8);
  for (float& scale : q.scales) scale = static_cast<float>(random() % 100) / 64;
  q.zeros.resize(q.scales.size());
  for (auto& zero : q.zeros) zero = static_cast<std::int8_t>(random() % 256);
  return q;
}

template <class Isa, class Weights>
tern::matrix<float> multiply_on(Isa isa, const tern::matrix<float>& x, const Weights& w) {
  const auto q = tern::quantize_activations(x);
  tern::matrix<float> y(x.rows(), w.rows());
  tern::matmul(isa, q, w, y);
  return y;
}

}  // namespace

TEST_CASE("a user's codec packs, unpacks and pads with its own zeros", "[hostile]") {
  const auto q = draw_levels(17, 43, tern::per_channel);
  const tern::packed_matrix<hostile::codec> w(q, {.sums = true}, masked);
  CHECK(w.view().get_codec() == masked);
  const auto back = tern::unpack(w);
  CHECK(back.codes == q.codes);
  CHECK(back.zeros == q.zeros);
  // The last panel has one row; everything behind it holds level 0 twice.
  const std::uint8_t* block = w.view().codes(1, 0);
  for (std::size_t i = 4; i < 64; ++i) CHECK(block[i] == (0x88 ^ 0x5A));

  tern::packed_matrix<hostile::codec> copy = w;
  CHECK(copy.view().get_codec() == masked);
  const auto moved = std::move(copy);
  CHECK(tern::unpack(moved).codes == q.codes);
  CHECK(tern::unpack(tern::packed_view<hostile::codec>(w.storage(), w.format(), masked)).codes == q.codes);

  auto too_large = q;
  too_large.codes[0] = 8;
  CHECK_THROWS_WITH((tern::packed_matrix<hostile::codec>(too_large)),
                    tern_test::contains("is not a level of codec hostile"));
}

TEST_CASE("blocks of 52 inputs end where no other token's codes are", "[hostile]") {
  // Weights of somebody else's, whose padding holds no zero levels: it meets the zeros behind the codes of each token.
  constexpr std::size_t inputs = 173;
  tern::quantized_matrix q(1, 1, inputs, tern::per_tensor);
  q.scales = {1};
  const tern::packed_matrix<wide_codec> packed(q);
  tern::aligned_bytes bytes(packed.storage_bytes());
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes.data()[i] = i < 4 * tern::block_bytes<wide_codec> ? std::byte{0xFF} : packed.storage()[i];
  const tern::packed_view<wide_codec> w(bytes, packed.format());
  for (const std::size_t tokens : std::vector<std::size_t>{1, 2, 5}) {
    const std::vector<std::int8_t> ones(tokens * inputs, 1);
    const std::vector<float> x_scales(tokens, 1.0f);
    const auto x = tern::quantized_activations::from_codes({ones.data(), tokens, inputs}, x_scales);
    tern::matrix<float> y(tokens, 1);
    tern::matmul(x, w, y);
    for (std::size_t m = 0; m < tokens; ++m) CHECK(y(m, 0) == 173);
  }
}

TEMPLATE_LIST_TEST_CASE("a user's codec multiplies on every instruction set", "[hostile]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  const std::size_t tokens = GENERATE(as<std::size_t>(), 1, 6), inputs = GENERATE(as<std::size_t>(), 0, 1, 43, 170);
  const auto q = draw_levels(35, inputs, tern::per_group(32));
  const tern::packed_matrix<hostile::codec> w(q, {}, masked);
  const auto x = draw_matrix(tokens, inputs, 8);
  CHECK(same(multiply_on(TestType{}, x, w), textbook_layer(q, {}, x)));

  tern::matrix<float> y(tokens, 35), reference(tokens, 35);
  tern::matmul(tern::quantize_activations(x), w, y);  // the best of this machine
  CHECK(same(y, textbook_layer(q, {}, x)));
  tern::matmul(TestType{}, x, w, y);
  const tern::kernel::product<tern::kernel::float_view, hostile::codec> a{x.view(), w, reference.view()};
  tern::kernel::reference::matmul(a);
  CHECK(same(y, reference));
}

TEST_CASE("a user's codec in a layer", "[hostile]") {
  const auto x = draw_matrix(3, 43, 9);
  const auto layer = tern::linear<tern::ternary_matrix<hostile::codec>>::from_float(draw_matrix(35, 43, 12));
  CHECK(same(layer(x), textbook_layer(tern::unpack(layer.weights()), {}, x)));
  CHECK(tern::dequantize(layer.weights()).rows() == 35);
}

TEST_CASE("a user's instruction set runs its own kernels, and its base's where it has none", "[hostile]") {
  TERN_REQUIRE_ISA(foreign::base);
  const auto q = tern::quantize_absmean(draw_matrix(35, 43, 10));
  const auto x = draw_matrix(6, 43, 11);
  const auto want = textbook_layer(q, {}, x);
  const auto calls_of = [&](auto isa, const auto& w) {
    foreign::calls = 0;
    CHECK(same(multiply_on(isa, x, w), want));
    return foreign::calls;
  };
  const tern::ternary_matrix<tern::b3> b3(q);
  const tern::ternary_matrix<tern::i2> i2(q);
  CHECK(calls_of(foreign::isa{}, b3) == 1);
  CHECK(calls_of(foreign::isa{}, i2) == 0);
  CHECK(calls_of(foreign::plain{}, b3) == 0);
  CHECK(calls_of(foreign::greedy{}, i2) == 1);

  tern::quantized_activations codes(6, 43);
  tern::quantize_activations(foreign::isa{}, x.view(), codes.storage());
  CHECK(codes.code(5, 42) == tern::quantize_activations(x).code(5, 42));
}
