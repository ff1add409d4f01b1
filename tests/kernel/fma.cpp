// SPDX-License-Identifier: MIT
/// The fma of every instruction set rounds once, seen through the epilogue: with one input, x = w = 1, a product is
/// r = fma(1, scale(n), 0) = scale(n) and y(m, n) = fma(scale(n), scale_x(m), bias(n)), for any three floats.
#include "kernel/problem.hpp"
#include "support/catch.hpp"

using namespace tern_test;

namespace {

/// y of one input where all codes are 1.
template <class Isa>
std::string fma_difference(const std::vector<float>& of_w, const std::vector<float>& of_x,
                           const std::vector<float>& bias) {
  tern::quantized_matrix q(1, of_w.size(), 1, tern::per_channel);
  q.codes.assign(of_w.size(), 1);
  q.scales = of_w;
  const tern::packed_matrix<tern::i8> w(q);
  const auto x = activations(of_x.size(), 1, [](std::size_t, std::size_t) { return 1; });
  for (std::size_t m = 0; m < of_x.size(); ++m) x.view().scale(m) = of_x[m];
  return difference<Isa>(tern::kernel::product<tern::activations_view, tern::i8>{x.view(), w.view(), {}, bias.data()});
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("sums next to ties are rounded once", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  // (1 + i 2^-23)(1 - i 2^-23) is 1 - i^2 2^-46, half of the last place of the biases: where m is n, in a double it is a tie
  // for i < 2^8. Then all of that where the results are subnormal.
  constexpr std::size_t count = 200;
  for (const float unit : {1.0f, 0x1p-75f})
    for (const float sign : {1.0f, -1.0f})
      for (int last = 0; last < 4; ++last) {
        std::vector<float> of_w, of_x, bias;
        for (std::size_t i = 0; i < count; ++i) {
          const float offset = static_cast<float>(i) * 0x1p-23f;
          of_w.push_back(unit * (1 + offset));
          of_x.push_back(sign * unit * (1 - offset));
          // 2^24 + 2 last; or 2^-126 + 2^-149 last, where the product is about half of 2^-149.
          const float large = 0x1p24f + 2 * static_cast<float>(last);
          bias.push_back(unit == 1.0f ? large : 0x1p-126f + static_cast<float>(last) * 0x1p-149f);
        }
        INFO("unit " << unit << ", sign " << sign << ", last " << last);
        REQUIRE(fma_difference<TestType>(of_w, of_x, bias) == "");
      }
}
