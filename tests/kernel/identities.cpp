// SPDX-License-Identifier: MIT
/// What algebra says of products, on the kernels alone: these hold whatever the reference says.
#include <algorithm>
#include <numeric>

#include "kernel/problem.hpp"
#include "support/catch.hpp"

using namespace tern_test;

namespace {

/// Trits and int8 codes of a product with sums as its result: Y [tokens x outputs].
struct integers {
  std::size_t tokens, outputs, inputs;
  tern::matrix<std::int8_t> x;
  tern::quantized_matrix w;
  std::vector<std::int32_t> zeros;

  integers(dice& d, std::size_t tokens_, std::size_t outputs_, std::size_t inputs_)
      : tokens(tokens_), outputs(outputs_), inputs(inputs_), x(tokens_, inputs_) {
    w = tern::quantized_matrix(1, outputs, inputs, tern::per_channel);
    for (std::size_t m = 0; m < tokens; ++m)
      for (std::size_t k = 0; k < inputs; ++k) x(m, k) = d.code(-100, 100);
    for (std::int8_t& trit : w.codes) trit = d.code(-1, 1);
    w.scales.assign(w.scales.size(), 1.0f);
  }

  /// The outputs' bits, row by row: sums, or floats whose sums they are.
  template <class Isa, class Codec>
  std::vector<std::uint32_t> result(output_type type = output_type::int32) const {
    const tern::packed_matrix<Codec> packed(w, {.sums = true});
    const auto codes = tern::quantized_activations::from_codes(x.view(), std::vector<float>(tokens, 1.0f), zeros);
    tern::kernel::product<tern::activations_view, Codec> a{codes.view(), packed.view(), {}};
    a.y.type = type;
    const canvas y = computed<Isa>(a);
    std::vector<std::uint32_t> bits;
    for (std::size_t m = 0; m < tokens; ++m)
      for (std::size_t n = 0; n < w.rows; ++n) bits.push_back(y.bits(m, n));
    return bits;
  }
};

template <class Isa, class Codec>
void check_permutation(dice& d, const integers& a) {
  std::vector<std::size_t> order(a.inputs);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t k = a.inputs; k > 1; --k) std::swap(order[k - 1], order[d.below(k)]);
  integers b = a;
  for (std::size_t k = 0; k < a.inputs; ++k) {
    for (std::size_t m = 0; m < a.tokens; ++m) b.x(m, k) = a.x(m, order[k]);
    for (std::size_t n = 0; n < a.outputs; ++n) b.w.code_row(0, n)[k] = a.w.code_row(0, n)[order[k]];
  }
  CHECK(b.template result<Isa, Codec>() == a.template result<Isa, Codec>());
}

template <class Isa, class Codec>
void check_negation(const integers& a) {
  integers b = a;
  for (std::int8_t& trit : b.w.codes) trit = static_cast<std::int8_t>(-trit);
  auto negated = b.template result<Isa, Codec>();
  for (std::uint32_t& sum : negated) sum = 0u - sum;
  CHECK(negated == a.template result<Isa, Codec>());
}

/// Codes and their zero point moved alike mean the same.
template <class Isa, class Codec>
void check_shift(dice& d, const integers& a) {
  integers b = a;
  b.zeros.resize(a.tokens);
  for (std::size_t m = 0; m < a.tokens; ++m) {
    b.zeros[m] = d.between(-28, 27);
    for (std::size_t k = 0; k < a.inputs; ++k) b.x(m, k) = static_cast<std::int8_t>(a.x(m, k) + b.zeros[m]);
  }
  CHECK(b.template result<Isa, Codec>() == a.template result<Isa, Codec>());
}

/// The first outputs and the last are those of matrices with fewer rows.
template <class Isa, class Codec>
void check_split(const integers& a, std::size_t at) {
  integers top = a, bottom = a;
  top.w.rows = at;
  bottom.w.rows = a.outputs - at;
  const auto middle = a.w.codes.begin() + static_cast<std::ptrdiff_t>(at * a.inputs);
  top.w.codes.assign(a.w.codes.begin(), middle);
  bottom.w.codes.assign(middle, a.w.codes.end());
  top.w.scales.resize(at);
  bottom.w.scales.resize(a.outputs - at);
  const auto all = a.template result<Isa, Codec>(), first = top.template result<Isa, Codec>(),
             last = bottom.template result<Isa, Codec>();
  std::vector<std::uint32_t> joined;
  for (std::size_t m = 0; m < a.tokens; ++m) {
    for (std::size_t n = 0; n < at; ++n) joined.push_back(first[m * at + n]);
    for (std::size_t n = 0; n < a.outputs - at; ++n) joined.push_back(last[m * (a.outputs - at) + n]);
  }
  CHECK(joined == all);
}

/// Groups of scale 1 add up to the sum over all inputs, as floats: sums below 2^24 are exact.
template <class Isa, class Codec>
void check_groups(const integers& a) {
  integers b = a;
  b.w.granularity = tern::per_group(2 * Codec::group_multiple);
  b.w.scales.assign(a.outputs * b.w.groups(), 1.0f);
  CHECK(b.template result<Isa, Codec>(output_type::float32) == a.template result<Isa, Codec>(output_type::float32));
}

template <class Isa, class Codec>
void check_all(dice& d, const integers& a) {
  INFO(Codec::name() << " M" << a.tokens << "_N" << a.outputs << "_K" << a.inputs);
  check_permutation<Isa, Codec>(d, a);
  check_negation<Isa, Codec>(a);
  check_shift<Isa, Codec>(d, a);
  check_split<Isa, Codec>(a, d.below(a.outputs + 1));
  check_groups<Isa, Codec>(a);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("sums permute, negate, shift, split and group", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  for (std::size_t seed = 0; seed < 60; ++seed) {
    dice d(seed);
    const std::size_t tokens = 1 + d.below(seed % 4 != 0 ? 9 : 40);
    const std::size_t outputs = 1 + d.below(70), inputs = 1 + d.below(600);
    const integers a(d, tokens, outputs, inputs);
    check_all<TestType, tern::i2>(d, a);
    check_all<TestType, tern::b3>(d, a);
    check_all<TestType, tern::i8>(d, a);
    check_all<TestType, tern::n4>(d, a);
    check_all<TestType, tern::b3x2>(d, a);  // of (3, 2): 1 = 3 - 2
    CHECK(a.template result<TestType, tern::b3>() == a.template result<TestType, tern::i2>());
    CHECK(a.template result<TestType, tern::i8>() == a.template result<TestType, tern::i2>());
    CHECK(a.template result<TestType, tern::n4>() == a.template result<TestType, tern::i2>());
  }
}

TEMPLATE_LIST_TEST_CASE("planes with gammas are the fma chain over single planes", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  for (std::size_t seed = 0; seed < 20; ++seed) {
    dice d(seed);
    const facts f{.tokens = 1 + d.below(6), .outputs = 37, .inputs = 1 + d.below(300), .planes = 3};
    const auto x = draw_activations(d, f);
    const auto q = draw_weights<tern::i2>(d, f);
    const tern::packed_matrix<tern::i2> w(q);
    const canvas y =
        computed<TestType>(tern::kernel::product<tern::activations_view, tern::i2>{x.view(), w.view(), {}});

    tern::matrix<float> r(f.tokens, f.outputs);
    for (std::size_t p = 0; p < f.planes; ++p) {
      tern::quantized_matrix plane(1, f.outputs, f.inputs, tern::per_channel);
      std::copy_n(q.code_row(p, 0), plane.codes.size(), plane.codes.begin());
      const tern::packed_matrix<tern::i2> packed(plane);
      tern::kernel::product<tern::activations_view, tern::i2> a{x.view(), packed.view(), {}};
      a.y.type = output_type::int32;
      const canvas sums = computed<TestType>(a);
      for (std::size_t m = 0; m < f.tokens; ++m)
        for (std::size_t n = 0; n < f.outputs; ++n)
          r(m, n) = std::fma(static_cast<float>(static_cast<std::int32_t>(sums.bits(m, n))), q.scale(p, n, 0), r(m, n));
    }
    bool same = true;
    for (std::size_t m = 0; m < f.tokens; ++m)
      for (std::size_t n = 0; n < f.outputs; ++n)
        same = same && y.bits(m, n) == std::bit_cast<std::uint32_t>(r(m, n) * x.scale(m));
    INFO(f.text());
    CHECK(same);
  }
}
