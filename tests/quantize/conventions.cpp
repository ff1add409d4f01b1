// SPDX-License-Identifier: MIT
/// Where four quantization projects disagree, row by row, and which of their answers tern gives.
///
///   bitlinear  the PyTorch functional BitLinear API       rust   the Rust bitnet-quantize crate
///   demo       a PyTorch quantization demo                notes  notes on absmax and zero-point quantization
#include <tern/matmul.hpp>
#include <tern/quantize/compat.hpp>
#include <tern/quantize/distortion.hpp>
#include <tern/quantize/ste.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/catch.hpp"

namespace compat = tern::compat;
using real = tern::matrix<float>;
using values = std::vector<float>;
using ints = std::vector<int>;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float least = std::numeric_limits<float>::denorm_min();  // 2^-149

real row_of(values x) {
  const std::size_t count = x.size();
  return {1, count, std::move(x)};
}
values elements(const real& x) { return {x.data(), x.data() + x.rows() * x.cols()}; }

template <class T>
ints as_ints(const std::vector<T>& codes) {
  return {codes.begin(), codes.end()};
}
ints as_ints(const real& codes) {
  const auto all = elements(codes);
  return as_ints(all);
}
ints as_ints(const tern::matrix<std::int8_t>& codes) {
  return {codes.data(), codes.data() + codes.rows() * codes.cols()};
}

/// The codes inside what activation_quant returns, for one row of largest magnitude 1e-5 or more.
ints bitlinear_codes(const real& x, unsigned bits = 8) {
  float am = 1e-5f;
  for (const float value : elements(x)) am = std::max(am, std::fabs(value));
  ints codes;
  for (const float y : elements(compat::activation_quant(x, bits)))
    codes.push_back(static_cast<int>(std::rint(y / am * static_cast<float>((1 << (bits - 1)) - 1))));
  return codes;
}
compat::quantized_activations rust(const real& x, unsigned bits = 8) {
  return compat::quantize_activations(x.data(), {x.rows(), x.cols()}, {.activation_bits = bits});
}
bool all_nan(const values& x) {
  return std::all_of(x.begin(), x.end(), [](float value) { return value != value; });
}

/// Uniform on [-1, 1) and close to normal, by integers: the same on every machine.
struct dice {
  std::uint32_t state = 12345;

  float uniform() {
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(static_cast<int>(state >> 8) - (1 << 23)) * 0x1p-23f;
  }
  float normal() {
    float sum = 0;
    for (int i = 0; i < 3; ++i) sum += uniform();
    return sum;  // of variance 1
  }
};

}  // namespace

TEST_CASE("row 1: ties go to even but in the Rust crate", "[conventions]") {
  const real x = row_of({254, 1, 3, 5, -1, -5});
  const ints even = {127, 0, 2, 2, 0, -2}, away = {127, 1, 2, 3, -1, -3};
  CHECK(bitlinear_codes(x) == even);
  CHECK(as_ints(rust(x).data) == away);
  CHECK(as_ints(compat::symmetric_quantize(x).quantized) == even);
  CHECK(as_ints(compat::absmax_quantize(x).quantized) == even);
  CHECK(as_ints(tern::quantize_absmax(x).codes) == even);
  const auto q = tern::quantize_activations(x);
  for (std::size_t k = 0; k < 6; ++k) CHECK(q.code(0, k) == even[k]);
  CHECK(as_ints(tern::quantize_absmax(x, tern::per_channel, {.rounding = tern::rounding::half_away}).codes) == away);
}

TEST_CASE("row 2: only the demo reaches -128 and only by a subnormal scale", "[conventions]") {
  const real x = row_of({-190 * least, 190 * least});  // 190 / 127 rounds to one least
  CHECK(as_ints(compat::symmetric_quantize(x).quantized) == ints{-128, 127});
  CHECK(as_ints(rust(x).data) == ints{-127, 127});
  CHECK(bitlinear_codes(x) == ints{0, 0});
  CHECK_THROWS_AS(compat::absmax_quantize(x), tern::range_error);
  CHECK(as_ints(tern::quantize_absmax(x).codes) == ints{0, 0});
  CHECK(as_ints(tern::quantize_absmax(row_of({-1, 1})).codes) == ints{-127, 127});
  CHECK(as_ints(tern::quantize_clipped(row_of({-9, 9}), 1.0f).codes) == ints{-127, 127});
  // Kernels are exact for -128 all the same.
  const tern::matrix<std::int8_t> codes(1, 40, std::vector<std::int8_t>(40, -128));
  const auto activations = tern::quantized_activations::from_codes(codes.view(), values{1.0f});
  const tern::int8_matrix w(tern::quantized_matrix::from_codes(codes.view(), values{1.0f}));
  tern::matrix<std::int32_t> y(1, 1);
  tern::matmul(activations, w, y);
  CHECK(y(0, 0) == 40 * 16384);
}

TEST_CASE("row 3: three expressions for one quotient", "[conventions]") {
  // Numbers born in bfloat16, 2000 rows of 100; the codes of all rows one after the other.
  dice d;
  real x(2000, 100);
  for (std::size_t i = 0; i < 200000; ++i) x.data()[i] = static_cast<float>(tern::bfloat16(d.normal()));
  const auto by_rows = [&](auto codes_of) {
    ints all;
    for (std::size_t m = 0; m < x.rows(); ++m)
      for (const int code : codes_of(row_of({x.row(m), x.row(m) + x.cols()}))) all.push_back(code);
    return all;
  };
  using tern::expression;
  const auto policy = [&](tern::absmax_options options) {
    return as_ints(tern::quantize_absmax(x, tern::per_channel, options).codes);
  };
  const auto divide = policy({}), normalise = policy({.expression = expression::normalise}),
             reciprocal = policy({.expression = expression::reciprocal});
  const auto differing = [](const ints& a, const ints& b) {
    int count = 0;
    for (std::size_t i = 0; i < a.size(); ++i) count += a[i] != b[i];
    return count;
  };
  for (const int count :
       {differing(divide, normalise), differing(divide, reciprocal), differing(normalise, reciprocal)})
    CHECK((0 < count && count < 200));
  // Each is its project's.
  CHECK(by_rows([](const real& row) { return bitlinear_codes(row); }) == normalise);
  CHECK(by_rows([](const real& row) { return as_ints(compat::symmetric_quantize(row).quantized); }) == divide);
  CHECK(as_ints(rust(x).data) == policy({.rounding = tern::rounding::half_away}));
  CHECK(differing(as_ints(rust(x).data), divide) > 0);
  // The notes' factor is rounded twice by torch, fl(fl(1 / am) * 127): the reciprocal up to that.
  const auto notes = by_rows([](const real& row) { return as_ints(compat::absmax_quantize(row).quantized); });
  CHECK(differing(notes, reciprocal) < differing(notes, divide));
  // The stored scale is the multiplier in all three.
  CHECK(tern::quantize_absmax(x, tern::per_channel, {.expression = expression::reciprocal}).scales ==
        tern::quantize_absmax(x).scales);
}

TEST_CASE("row 4: the scale multiplies but in the notes", "[conventions]") {
  const real x = row_of({254, 100});                                    // codes 127 and 50
  CHECK(compat::activation_quant(x)(0, 1) == 50.0f / 127.0f * 254.0f);  // the largest magnitude is the scale
  CHECK(rust(x).scales == values{2});
  CHECK(compat::symmetric_quantize(x).scale == 2.0f);
  const float factor = 1.0f / 254.0f * 127.0f;
  CHECK(factor < 0.51f);  // codes per unit
  CHECK(compat::absmax_quantize(x).dequantized(0, 1) == 50.0f / factor);
  CHECK(tern::quantize_absmax(x).scales == values{2});
  CHECK(tern::quantize_activations(x).scale(0) == 2.0f);
}

TEST_CASE("row 5: a row of zeros", "[conventions]") {
  const real x(2, 3);
  CHECK(elements(compat::activation_quant(x)) == values(6));  // divided by 1e-5
  CHECK(rust(x).scales == values{1, 1});
  CHECK(as_ints(rust(x).data) == ints(6));
  CHECK(compat::symmetric_quantize(x).scale == 0.0f);
  CHECK(all_nan(elements(compat::symmetric_quantize(x).quantized)));
  CHECK_THROWS_AS(compat::absmax_quantize(x), tern::range_error);  // casts NaN to int8
  const auto q = tern::quantize_absmax(x);
  CHECK(q.scales == values{1, 1});
  CHECK(as_ints(q.codes) == ints(6));
  CHECK(tern::quantize_activations(x).scale(1) == 1.0f);
  const float below = std::nextafter(0x1p-100f, 0.0f);
  CHECK(tern::quantize_absmax(row_of({below})).scales == values{1});
  CHECK(as_ints(tern::quantize_absmax(row_of({below})).codes) == ints{0});
  CHECK(as_ints(tern::quantize_absmax(row_of({0x1p-100f})).codes) == ints{127});
}

TEST_CASE("row 6: small rows", "[conventions]") {
  // Below 1e-5 the BitLinear API loses resolution, and all of it below 3.9e-8.
  CHECK(bitlinear_codes(row_of({1e-6f, -1e-6f})) == ints{13, -13});
  CHECK(bitlinear_codes(row_of({4e-8f})) == ints{1});
  CHECK(bitlinear_codes(row_of({3.9e-8f})) == ints{0});
  CHECK(bitlinear_codes(row_of({1e-5f})) == ints{127});
  // The Rust crate is exact down to where am / 127 is no longer a normal number; at 63 least the scale is 0.
  CHECK(as_ints(rust(row_of({1e-6f, -2.5e-7f})).data) == ints{127, -32});
  const real tiny = row_of({63 * least, -least, 0});
  CHECK(rust(tiny).scales == values{0});
  CHECK(as_ints(rust(tiny).data) == ints{127, -127, 0});
  CHECK(elements(compat::dequantize_activations(rust(tiny))) == values(3));
  CHECK(rust(row_of({64 * least})).scales == values{least});
  // So is the demo, whose codes then are infinities that the clamp catches, and NaN for 0.
  const auto demo = elements(compat::symmetric_quantize(tiny).quantized);
  CHECK((demo[0] == 127.0f && demo[1] == -128.0f && demo[2] != demo[2]));
  // The notes' factor 127 / am overflows below 3.73e-37.
  CHECK_THROWS_AS(compat::absmax_quantize(row_of({3.73e-37f, 0})), tern::range_error);
  CHECK(as_ints(compat::absmax_quantize(row_of({3.74e-37f, 0})).quantized) == ints{127, 0});
  // tern: full resolution down to 2^-100, zero below.
  CHECK(as_ints(tern::quantize_absmax(row_of({1e-6f, -2.5e-7f})).codes) == ints{127, -32});
  CHECK(as_ints(tern::quantize_absmax(row_of({1e-30f, -0.25e-30f})).codes) == ints{127, -32});
  CHECK(as_ints(tern::quantize_absmax(tiny).codes) == ints{0, 0, 0});
  CHECK(as_ints(tern::quantize_absmax(row_of({3.7e-37f})).codes) == ints{0});
}

TEST_CASE("row 7: affine codes from 0 up or around 0", "[conventions]") {
  const real x = row_of({-100, 155, 0, 31.25f});
  const ints from_zero = {0, 255, 100, 131}, around_zero = {-128, 127, -28, 3};
  CHECK(as_ints(compat::asymmetric_quantize(x).quantized) == from_zero);
  CHECK(as_ints(compat::zeropoint_quantize(x).quantized) == around_zero);
  CHECK(as_ints(tern::quantize_zero_point(x).codes) == around_zero);
  CHECK(as_ints(tern::quantize_zero_point<std::uint8_t>(x).codes) == from_zero);
}

TEST_CASE("row 8: the affine scale multiplies but in the notes", "[conventions]") {
  const real x = row_of({-200, 310, 100});
  CHECK(compat::asymmetric_quantize(x).scale == 2.0f);
  const float factor = 1.0f / 510.0f * 255.0f;
  CHECK(factor < 0.51f);
  const float zero = std::rint(factor * 200.0f - 128.0f);
  CHECK(compat::zeropoint_quantize(x).dequantized(0, 2) == (std::rint(100.0f * factor + zero) - zero) / factor);
  CHECK(tern::quantize_zero_point(x).scales == values{2});
}

TEST_CASE("row 9: the sign of the zero point", "[conventions]") {
  const real x = row_of({-100, 155, 0});  // one step is 1: x = (q - zero) * 1 in all of them
  const auto demo = compat::asymmetric_quantize(x);
  CHECK(demo.zero_point == 100.0f);
  CHECK(elements(compat::asymmetric_dequantize(demo.quantized, demo.scale, demo.zero_point)) == values{-100, 155, 0});
  const auto notes = compat::zeropoint_quantize(x);
  CHECK(notes.quantized(0, 2) == -28);
  CHECK(notes.dequantized(0, 2) == 0.0f);
  const auto q = tern::quantize_zero_point(x);
  CHECK(as_ints(q.zeros) == ints{-28});
  CHECK(elements(tern::dequantize(q)) == values{-100, 155, 0});
  const auto u = tern::quantize_zero_point<std::uint8_t>(x);
  CHECK(as_ints(u.zeros) == ints{100});
  CHECK(elements(tern::dequantize(u)) == values{-100, 155, 0});
}

TEST_CASE("row 10: one-sided data", "[conventions]") {
  const real x = row_of({10, 10.5f, 11});
  const auto demo = compat::asymmetric_quantize(x);
  CHECK(demo.zero_point == 0.0f);  // clamped from -2550
  CHECK(as_ints(demo.quantized) == ints{255, 255, 255});
  CHECK(elements(compat::asymmetric_dequantize(demo.quantized, demo.scale, demo.zero_point)) == values{1, 1, 1});
  // Not clamped, the zero point leaves int8 and the values stay.
  const auto notes = compat::zeropoint_quantize(x);
  CHECK(as_ints(notes.quantized) == ints{-128, 0, 127});
  for (std::size_t k = 0; k < 3; ++k) CHECK(std::fabs(notes.dequantized(0, k) - x(0, k)) < 0.51f / 255);
  // tern widens the range to [0, 11]: 0 is a code, and the values stay within half a step.
  const auto q = tern::quantize_zero_point(x);
  CHECK(as_ints(q.zeros) == ints{-128});
  CHECK(q.scales == values{11.0f / 255.0f});
  CHECK(as_ints(q.codes) == ints{104, 115, 127});
  for (std::size_t k = 0; k < 3; ++k) CHECK(std::fabs(tern::dequantize(q)(0, k) - x(0, k)) < 0.501f * 11 / 255);
  CHECK(as_ints(tern::quantize_zero_point<std::uint8_t>(x).zeros) == ints{0});
}

TEST_CASE("row 11: where the zero point enters", "[conventions]") {
  // 0.5 of a step above zero: added before rounding, the tie falls by the parity of the zero point.
  const real even = row_of({-100, 155, 0.5f}), odd = row_of({-101, 154, 0.5f});
  CHECK(as_ints(compat::asymmetric_quantize(even).quantized)[2] == 100);
  CHECK(as_ints(compat::asymmetric_quantize(odd).quantized)[2] == 102);
  REQUIRE(1.0f / 255.0f * 255.0f == 1.0f);
  CHECK(as_ints(compat::zeropoint_quantize(even).quantized)[2] == -28);
  CHECK(as_ints(compat::zeropoint_quantize(odd).quantized)[2] == -26);
  // Added after it, in integers, the code is the zero point's in both.
  CHECK(as_ints(tern::quantize_zero_point<std::uint8_t>(even).codes)[2] == 100);
  CHECK(as_ints(tern::quantize_zero_point<std::uint8_t>(odd).codes)[2] == 101);
  CHECK(as_ints(tern::quantize_zero_point(odd).codes)[2] == -27);
}

TEST_CASE("row 12: a constant", "[conventions]") {
  const auto demo = [](float c) {
    const auto r = compat::asymmetric_quantize(row_of({c, c}));
    return std::pair(r.quantized(0, 0), compat::asymmetric_dequantize(r.quantized, r.scale, r.zero_point)(0, 0));
  };
  CHECK(demo(3) == std::pair(255.0f, 0.0f));  // the value is lost
  CHECK(demo(-3) == std::pair(0.0f, 0.0f));
  CHECK(demo(0).first != demo(0).first);
  CHECK(compat::zeropoint_quantize(row_of({3, 3})).dequantized(0, 0) == 3.0f);
  CHECK(compat::zeropoint_quantize(row_of({-3, -3})).dequantized(0, 0) == -3.0f);
  CHECK(compat::zeropoint_quantize(row_of({0, 0})).dequantized(0, 0) == 0.0f);
  // tern: an end of the range, exactly.
  CHECK(tern::dequantize(tern::quantize_zero_point(row_of({3, 3})))(0, 0) == 255 * (3.0f / 255));
  CHECK(tern::dequantize(tern::quantize_zero_point(row_of({-3, -3})))(0, 0) == -255 * (3.0f / 255));
  const auto zeros = tern::quantize_zero_point(row_of({0, 0}));
  CHECK(zeros.scales == values{1});
  CHECK((zeros.codes[0] == 0 && zeros.zeros[0] == 0));
}

TEST_CASE("row 13: what shares a scale", "[conventions]") {
  const real x(2, 4, {127, -1, 2, 0, 1, 254, -508, 3});
  CHECK(compat::activation_quant(x)(0, 0) == 127.0f);  // rows
  CHECK(rust(x).scales == values{1, 4});
  CHECK(compat::symmetric_quantize(x).scale == 4.0f);
  CHECK(compat::per_channel_quantize(x).scales == values{1, 4});
  CHECK(compat::per_channel_quantize(x, 8, 1).scales == values{1, 2, 4, 3.0f / 127});
  CHECK(compat::absmax_quantize(x).quantized(0, 0) == 32);  // the tensor: 31.75
  CHECK(tern::quantize_absmax(x, tern::per_tensor).scales == values{4});
  CHECK(tern::quantize_absmax(x, tern::per_channel).scales == values{1, 4});
  CHECK(tern::quantize_absmax(x, tern::per_group(2)).scales == values{1, 2.0f / 127, 2, 4});
  CHECK(tern::quantize_absmax(x, tern::per_input).scales == values{1, 2, 4, 3.0f / 127});
}

TEST_CASE("row 14: the rank", "[conventions]") {
  values data(2 * 4 * 8 * 16);
  dice d;
  for (float& value : data) value = d.normal();
  CHECK_THROWS_WITH(compat::quantize_activations(data.data(), {64}), tern_test::contains("must be 2D or 3D"));
  CHECK_THROWS_AS(compat::quantize_activations(data.data(), {2, 4, 8, 16}), tern::shape_error);
  CHECK(compat::quantize_activations(data.data(), {8, 8, 16}).scales.size() == 64);
  const auto view = tern::batch(std::as_const(data).data(), {2, 4, 8, 16});
  CHECK(compat::activation_quant(view).rows() == 64);
  CHECK(compat::symmetric_quantize(view).quantized.rows() == 64);
  CHECK(compat::absmax_quantize(view).quantized.rows() == 64);
  CHECK(tern::quantize_activations(view).rows() == 64);
  CHECK(tern::quantize_activations(tern::batch(std::as_const(data).data(), {64})).rows() == 1);
  CHECK(tern::quantize_absmax(view).scales.size() == 64);
}

TEST_CASE("row 15: NaN", "[conventions]") {
  const std::size_t at = GENERATE(as<std::size_t>(), 0, 1, 2);
  real x(2, 3, {1, -2, 4, 3, 254, 1});
  x(0, at) = nan_value;
  const auto fake = elements(compat::activation_quant(x));
  CHECK(all_nan({fake.begin(), fake.begin() + 3}));
  CHECK(fake[4] == 254.0f);
  const auto q = rust(x);
  CHECK(q.data[at] == 0);
  CHECK(q.scales[0] == (at == 2 ? 2.0f : 4.0f) / 127.0f);
  CHECK(all_nan(elements(compat::symmetric_quantize(x).quantized)));
  CHECK(all_nan(elements(compat::asymmetric_quantize(x).quantized)));
  CHECK_THROWS_AS(compat::absmax_quantize(x), tern::range_error);
  CHECK_THROWS_AS(compat::zeropoint_quantize(x), tern::range_error);
  const auto place = tern_test::contains("row 0, column " + std::to_string(at) + " is not finite");
  CHECK_THROWS_WITH(tern::quantize_absmax(x), place);
  CHECK_THROWS_WITH(tern::quantize_zero_point(x), place);
  CHECK_THROWS_WITH(tern::quantize_mse(x), place);
  CHECK_THROWS_WITH(tern::quantize_clipped(x, 1.0f), place);
  CHECK_THROWS_WITH(tern::quantize_activations(x), place);
  CHECK_THROWS_WITH(tern::quantize_activations_per_tensor(x, 1.0f), place);
}

TEST_CASE("row 16: infinity", "[conventions]") {
  const real x(2, 3, {1, infinity, -2, 3, 254, 1});
  const auto fake = elements(compat::activation_quant(x));
  CHECK(all_nan({fake.begin(), fake.begin() + 3}));
  CHECK(fake[4] == 254.0f);
  const auto q = rust(x);
  CHECK(q.scales[0] == infinity);
  CHECK(ints(q.data.begin(), q.data.begin() + 3) == ints{0, 0, 0});
  const auto back = elements(compat::dequantize_activations(q));
  CHECK(all_nan({back.begin(), back.begin() + 3}));
  const auto demo = compat::symmetric_quantize(x);
  CHECK(all_nan(elements(compat::symmetric_dequantize(demo.quantized, demo.scale))));
  CHECK_THROWS_AS(compat::absmax_quantize(x), tern::range_error);
  CHECK_THROWS_AS(compat::zeropoint_quantize(x), tern::range_error);
  CHECK_THROWS_WITH(tern::quantize_absmax(x), tern_test::contains("row 0, column 1 is not finite"));
  CHECK_THROWS_WITH(tern::quantize_activations(x), tern_test::contains("row 0, column 1 is not finite"));
}

TEST_CASE("row 17: what comes out", "[conventions]") {
  const real x = row_of({1, -0.3f, 0.7f});
  static_assert(std::is_same_v<decltype(compat::activation_quant(x)), real>);
  static_assert(std::is_same_v<decltype(compat::quantized_activations::data), std::vector<std::int8_t>>);
  static_assert(std::is_same_v<decltype(compat::symmetric_result::quantized), real>);
  static_assert(std::is_same_v<decltype(compat::quantized_pair::quantized), tern::matrix<std::int8_t>>);
  static_assert(std::is_same_v<decltype(compat::quantized_pair::dequantized), real>);
  static_assert(std::is_same_v<decltype(tern::quantize_absmax(x).codes), std::vector<std::int8_t>>);
  CHECK(as_ints(compat::symmetric_quantize(x).quantized) == ints{127, -38, 89});  // integers as floats
  CHECK(compat::activation_quant(x)(0, 1) == 38.0f / 127.0f * -1.0f);             // values
  CHECK(elements(tern::fake_quantize_activations(x)) == elements(tern::dequantize(tern::quantize_activations(x))));
}

TEST_CASE("row 18: more than eight bits", "[conventions]") {
  const real x = row_of({1, -1, 0.25f});
  // The Rust crate casts to i8, which saturates: 255 becomes 127 and -255 becomes -128.
  CHECK(as_ints(rust(x, 9).data) == ints{127, -128, 64});
  for (unsigned bits = 10; bits <= 16; ++bits) CHECK(as_ints(rust(x, bits).data) == ints{127, -128, 127});
  CHECK(rust(x, 1).scales == values{infinity});  // Q is 0
  CHECK_THROWS_AS(rust(x, 0), tern::range_error);
  CHECK(bitlinear_codes(x, 9) == ints{255, -255, 64});
  CHECK(as_ints(compat::symmetric_quantize(x, 16).quantized) == ints{32767, -32767, 8192});
  CHECK_THROWS_WITH(tern::quantize_absmax(x, tern::per_channel, {.bits = 9}),
                    tern_test::contains("9 bits do not fit int8; use quantize_absmax<std::int16_t>"));
  CHECK(as_ints(tern::quantize_absmax<std::int16_t>(x, tern::per_channel, {.bits = 9}).codes) == ints{255, -255, 64});
  CHECK(as_ints(tern::quantize_absmax<std::int16_t>(x, tern::per_channel, {.bits = 16}).codes) ==
        ints{32767, -32767, 8192});
  for (const unsigned bits : {0u, 1u, 17u, 32u})
    CHECK_THROWS_AS(tern::quantize_absmax<std::int16_t>(x, tern::per_channel, {.bits = bits}), tern::range_error);
}

TEST_CASE("row 19: a symmetric observer that divides by 127.5 saturates", "[conventions]") {
  const real x = row_of({255, -255, 128});
  const auto observed = tern::quantize_activations_per_tensor(x, 255 / 127.5f);
  CHECK(ints{observed.code(0, 0), observed.code(0, 1), observed.code(0, 2)} == ints{127, -127, 64});
  CHECK(tern::dequantize(observed)(0, 0) == 254.0f);  // 255 is beyond the last code
  CHECK(tern::dequantize(tern::quantize_activations_per_tensor(x))(0, 0) == 255.0f);
  // Its floor of 1.19e-7 crushes small tensors.
  const real small = row_of({1e-8f});
  CHECK(tern::quantize_activations_per_tensor(small, 1.1920929e-7f).code(0, 0) == 0);
  CHECK(tern::quantize_activations_per_tensor(small).code(0, 0) == 127);
}

TEST_CASE("row 20: an error against the clipped tensor says nothing", "[conventions]") {
  dice d;
  real x(1, 1000);
  for (std::size_t k = 0; k < 1000; ++k) x(0, k) = 2 * d.normal();
  for (std::size_t k = 0; k < 10; ++k) x(0, 100 * k + 7) = 80 * d.uniform();
  auto magnitudes = elements(x);
  for (float& value : magnitudes) value = std::fabs(value);
  std::sort(magnitudes.begin(), magnitudes.end());
  const float clip = magnitudes[989];  // the 99th percentile
  real clipped(1, 1000);
  for (std::size_t k = 0; k < 1000; ++k) clipped(0, k) = std::clamp(x(0, k), -clip, clip);

  const auto demo = compat::symmetric_quantize(clipped);
  const auto demo_back = compat::symmetric_dequantize(demo.quantized, demo.scale);
  const auto whole = compat::symmetric_quantize(x);
  const auto whole_back = compat::symmetric_dequantize(whole.quantized, whole.scale);
  const double flattering = compat::compute_quantization_error(clipped, demo_back).snr_db;
  const double honest = compat::compute_quantization_error(x, demo_back).snr_db;
  const double min_max = compat::compute_quantization_error(x, whole_back).snr_db;
  CHECK(flattering > 40);
  CHECK(honest < 6);
  CHECK(min_max > honest + 15);
  CHECK(min_max < flattering - 8);
  // The same clip here, and its distortion against the original.
  const auto q = tern::quantize_clipped(x, clip);
  CHECK(as_ints(q.codes) == as_ints(demo.quantized));
  CHECK(std::fabs(tern::distortion(x, tern::dequantize(q)).snr_db - honest) < 1e-3);
  // The clip of least error is no worse than min-max.
  CHECK(tern::distortion(x, tern::dequantize(tern::quantize_mse(x))).snr_db >= min_max - 1e-3);
}

TEST_CASE("row 21: the demo divides by 127 whatever its comments say", "[conventions]") {
  const auto demo = compat::symmetric_quantize(row_of({-1, 1}));
  CHECK(demo.scale == 1.0f / 127.0f);  // not 1 / 128
  CHECK(as_ints(demo.quantized) == ints{-127, 127});
  CHECK(tern::quantize_absmax(row_of({-1, 1})).scales == values{1.0f / 127.0f});
  CHECK(compat::symmetric_quantize(row_of({-1, 1}), 4).scale == 1.0f / 7.0f);
}

TEST_CASE("fragile places: ranges and zero points beyond float", "[conventions]") {
  // max - min overflows.
  const real wide = row_of({-3e38f, 3e38f, 1});
  const auto demo = compat::asymmetric_quantize(wide);
  CHECK(demo.scale == infinity);
  CHECK(all_nan(elements(compat::asymmetric_dequantize(demo.quantized, demo.scale, demo.zero_point))));
  CHECK(all_nan(elements(compat::zeropoint_quantize(wide).dequantized)));
  CHECK_THROWS_WITH(tern::quantize_zero_point(wide), tern_test::contains("the range of slice 0 overflows float"));
  CHECK_THROWS_AS(tern::quantize_activations_zero_point(wide), tern::range_error);
  // Near 1e6 and of width 0.75 the notes' zero point is -340000128, where floats are 32 apart: half a step is 0.0015, but what
  // comes back is wrong by much more.
  const real far = row_of({1e6f, 1e6f + 0.0625f, 1e6f + 0.75f});
  const auto notes = compat::zeropoint_quantize(far);
  float worst = 0;
  for (std::size_t k = 0; k < 3; ++k) worst = std::max(worst, std::fabs(notes.dequantized(0, k) - far(0, k)));
  CHECK(worst == 0.0625f);
  // Widened to hold 0 the zero point is an int8, and the error is half of a step of 3922.
  const auto q = tern::quantize_zero_point(far);
  CHECK(as_ints(q.zeros) == ints{-128});
  CHECK(std::fabs(tern::dequantize(q)(0, 1) - far(0, 1)) < 1.0f);  // all are the last code
}

TEST_CASE("fragile places: signs of zero, empty means, the constant in SNR", "[conventions]") {
  const real x = row_of({-0.0f, 1, -1e-9f});
  CHECK(std::signbit(compat::symmetric_quantize(x).quantized(0, 0)));
  CHECK(std::signbit(compat::activation_quant(x)(0, 2)));
  CHECK(tern::quantize_absmax(x).codes[2] == 0);
  CHECK(!std::signbit(tern::dequantize(tern::quantize_absmax(x))(0, 2)));
  CHECK(!std::signbit(tern::fake_quantize_activations(x)(0, 0)));

  CHECK_THROWS_AS(compat::compute_quantization_error(real(0, 3), real(0, 3)), tern::shape_error);
  CHECK(tern::quantize_absmean(real(2, 0), tern::per_channel).scales == values{0, 0});

  // Data of 1e-4 cannot reach more than 20 dB by the demo's measure, even if nothing differs; zeros give -infinity.
  const real small = row_of({1e-4f, -1e-4f});
  CHECK(std::fabs(compat::compute_quantization_error(small, small).snr_db - 20) < 1e-4);
  CHECK(std::isinf(tern::distortion(small, small).snr_db));
  CHECK(compat::compute_quantization_error(real(1, 2), real(1, 2)).snr_db == -std::numeric_limits<double>::infinity());
}
