// SPDX-License-Identifier: MIT
/// Every instruction set quantises a token to the codes of the one rule, with prefix sums behind them and zeros beyond.
#include "kernel/problem.hpp"
#include "support/catch.hpp"

using namespace tern_test;

namespace {

using elements = tern::type_list<float, tern::half, tern::bfloat16>;

/// "" where the row becomes the reference's codes and scale, the sums are theirs, and only the row's places are written.
template <class Isa, class T>
std::string row_difference(const std::vector<T>& x) {
  constexpr std::int32_t canary = -77;
  constexpr std::int8_t canary_code = -77;
  const tern::quantized_activations layout(1, x.size());
  const std::size_t stride = layout.view().row_stride(), sums = layout.view().prefix_stride();
  std::vector<std::int8_t> codes(stride + 1, canary_code), want(x.size());
  std::vector<std::int32_t> prefix(sums + 1, canary);
  const float scale = tern::kernel::run_quantize_row(Isa{}, x.data(), x.size(), codes.data(), stride, prefix.data());

  const std::vector<float> reals(x.begin(), x.end());
  const float want_scale = tern::kernel::reference::quantize_row(reals.data(), reals.size(), want.data());
  if (codes[stride] != canary_code || prefix[sums] != canary) return "wrote beyond the row";
  if (std::bit_cast<std::uint32_t>(scale) != std::bit_cast<std::uint32_t>(want_scale)) return "scale";
  if (want_scale < 0) return "";
  std::int32_t sum = 0;
  for (std::size_t k = 0; k < stride; ++k) {
    if (k % tern::prefix_inputs == 0 && k / tern::prefix_inputs < sums && prefix[k / tern::prefix_inputs] != sum)
      return "sum of the inputs before " + std::to_string(k);
    const std::int8_t code = k < x.size() ? want[k] : std::int8_t{0};
    if (codes[k] != code) return "code " + std::to_string(k);
    sum += code;
  }
  return prefix[sums - 1] == sum ? "" : "sum of all inputs";
}

/// Rows of every length about the vectors, of values that `next` gives.
template <class Isa, class T, class Next>
void check_rows(Next&& next) {
  for (const std::size_t inputs : sizes{0, 1, 3, 15, 16, 17, 31, 32, 33, 45, 63, 64, 65, 100, 257, 1000}) {
    std::vector<T> x;
    for (std::size_t k = 0; k < inputs; ++k) x.push_back(T(next()));
    INFO(inputs << " inputs of " << sizeof(T) << " bytes");
    REQUIRE(row_difference<Isa>(x) == "");
  }
}

template <class Isa, class T>
void check_element() {
  dice d(1);
  for (int i = 0; i < 10; ++i) check_rows<Isa, T>([&] { return d.real(); });
  // Ties: halves where the scale is 1, 2 or 2^-5.
  for (const float scale : {1.0f, 2.0f, 0.03125f})
    check_rows<Isa, T>([&, first = true]() mutable {
      const float x = first ? 127.0f : static_cast<float>(d.between(-253, 253)) / 2;
      first = false;
      return x * scale;
    });
  check_rows<Isa, T>([] { return 0.0f; });
  check_rows<Isa, T>([] { return -0.0f; });
  check_rows<Isa, T>([&] { return std::ldexp(d.real(), -18); });   // subnormal in half
  check_rows<Isa, T>([&] { return std::ldexp(d.real(), -100); });  // about the bound below which all is zero
  check_rows<Isa, T>([&] { return std::ldexp(d.real(), -140); });  // subnormal in float
  check_rows<Isa, T>([&] { return std::ldexp(d.real(), 123); });   // infinity in half, the largest in float
  for (const float least : {0x1p-100f, std::nextafter(0x1p-100f, 0.0f), std::numeric_limits<float>::denorm_min()})
    check_rows<Isa, T>([&] { return d.below(2) != 0 ? least : -least; });
}

template <class Isa, class... Ts>
void check_elements(tern::type_list<Ts...>) {
  (check_element<Isa, Ts>(), ...);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("quantize_row follows the one rule", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  check_elements<TestType>(elements{});
}

TEMPLATE_LIST_TEST_CASE("quantize_row refuses NaN and infinity wherever they stand", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const float bad :
       {infinity, -infinity, std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
    for (std::size_t k = 0; k < 37; ++k) {
      std::vector<float> x(37, 1.0f);
      x[k] = bad;
      CHECK(row_difference<TestType>(x) == "");
      std::int8_t codes[128];
      std::int32_t prefix[8];
      CHECK(tern::kernel::run_quantize_row(TestType{}, x.data(), x.size(), codes, 64, prefix) == -1.0f);
    }
  }
}
