// SPDX-License-Identifier: MIT
/// A kernel computes the tokens and panels it is asked for, writes nothing else, and no output depends on its neighbours.
#include <algorithm>

#include "kernel/problem.hpp"
#include "support/catch.hpp"

using namespace tern_test;

namespace {

template <class Isa, class X, class Codec>
void check_tiles(dice& d, const tern::kernel::product<X, Codec>& a) {
  const canvas all = reference(a);
  const auto range = [&](std::size_t n) {
    std::size_t begin = d.below(n + 1), end = d.below(n + 1);
    if (begin > end) std::swap(begin, end);
    return std::pair(begin, end);
  };
  for (int i = 0; i < 20; ++i) {
    const auto [m, m_end] = range(a.x.rows());
    const auto [n, n_end] = range(a.w.panels());
    INFO("tokens " << m << " to " << m_end << ", panels " << n << " to " << n_end);
    REQUIRE(tiles_difference<Isa>(a, all, {{m, m_end, n, n_end}}) == "");
  }
  // Token by token, which takes the loop for one token, then the same panel by panel from the last to the first.
  std::vector<tern::kernel::tile> tokens, panels;
  for (std::size_t m = 0; m < a.x.rows(); ++m) tokens.push_back({m, m + 1, 0, a.w.panels()});
  for (std::size_t n = a.w.panels(); n-- > 0;) panels.push_back({0, a.x.rows(), n, n + 1});
  REQUIRE(tiles_difference<Isa>(a, all, tokens) == "");
  REQUIRE(tiles_difference<Isa>(a, all, panels) == "");
}

template <class Isa, class Codec>
void check_codec() {
  for (std::size_t seed = 0; seed < 4; ++seed) {
    dice d(seed);
    facts f{.tokens = 70, .outputs = 150, .inputs = 75, .granularity = tern::per_group(3 * Codec::group_multiple)};
    f.planes = 2;
    f.x_zeros = f.w_zeros = f.bias = seed % 2 != 0;
    f.output = static_cast<output_type>(seed);
    if (f.output == output_type::int32) f = {.tokens = 70, .outputs = 150, .inputs = 75, .output = f.output};
    INFO(Codec::name() << ": " << f.text());
    check_tiles<Isa>(d, problem<Codec>(d, f).product());
    f.tokens = 9;
    f.output = output_type::float32;
    check_tiles<Isa>(d, float_problem<Codec>(d, f).product());
  }
}

/// Numbers of tokens up to all of them and of panels up to all, the last of which is not full, from the front and up to the
/// end: every tile of 4, 2 and 1 tokens at the end of every kind of block, and every number of panels left of a set.
template <class Isa, class Codec>
void check_counts(facts f, const std::vector<std::size_t>& counts, std::size_t panels) {
  f.tokens = counts.back();
  f.outputs = tern::panel_rows * panels - 5;
  dice d(f.inputs);
  const problem<Codec> p(d, f);
  const auto a = p.product();
  const canvas all = reference(a);
  INFO(Codec::name() << ": " << f.text());
  for (const std::size_t tokens : counts) {
    for (std::size_t n = 1; n <= panels; ++n) {
      INFO(tokens << " tokens, " << n << " panels");
      REQUIRE(tiles_difference<Isa>(a, all, {{0, tokens, 0, n}}) == "");
      REQUIRE(tiles_difference<Isa>(a, all, {{f.tokens - tokens, f.tokens, panels - n, panels}}) == "");
    }
  }
}

/// A few tokens with all remainders of several sets of panels, where they are cheap, then many tokens with those of one set.
template <class Isa, class Codec>
void check_counts(const facts& f) {
  check_counts<Isa, Codec>(f, {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17}, 9);
  check_counts<Isa, Codec>(f, {31, 63, 64, 65, 67, 128, 129}, 4);
}

/// Runs and where they end: around blocks, prefix sums and decoded chunks of 128 and 256 inputs (120 and 240 of base 3), as
/// the whole depth and as groups that are shorter than a chunk, longer, and no divisor of it.
template <class Isa, class Codec>
void check_depths() {
  constexpr std::size_t block = tern::block_inputs<Codec>, multiple = Codec::group_multiple;
  std::vector<std::size_t> depths{block - 1, block, block + 1};
  for (const std::size_t chunk : sizes{120, 128, 240, 256, 360, 384, 480, 512, 768})
    depths.insert(depths.end(), {chunk - block, chunk - 1, chunk, chunk + 1, chunk + block});
  for (const std::size_t tokens : sizes{1, 3, 17}) {
    facts f{.tokens = tokens, .outputs = 17, .planes = 2};
    for (const std::size_t depth : depths) {
      dice d(depth);
      f.inputs = depth;
      f.granularity = tern::per_channel;
      INFO(Codec::name() << ": " << f.text());
      REQUIRE(difference<Isa>(problem<Codec>(d, f).product()) == "");
    }
    for (const std::size_t of_multiple : sizes{1, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 24, 31}) {
      dice d(of_multiple);
      f.inputs = 2 * of_multiple * multiple + d.below(of_multiple * multiple);
      f.granularity = tern::per_group(of_multiple * multiple);
      f.x_zeros = of_multiple % 3 == 0;
      f.w_zeros = of_multiple % 2 == 0;
      INFO(Codec::name() << ": " << f.text());
      REQUIRE(difference<Isa>(problem<Codec>(d, f).product()) == "");
    }
  }
}

template <class Isa, class... Codecs>
void check_codecs(tern::type_list<Codecs...>) {
  (check_codec<Isa, Codecs>(), ...);
}

template <class Isa, class... Codecs>
void check_edges(tern::type_list<Codecs...>) {
  // One run that is one chunk; one of several; several of several; with zero points and 16 bits a number.
  (check_counts<Isa, Codecs>({.inputs = 91}), ...);
  (check_counts<Isa, Codecs>({.inputs = 333, .output = output_type::int32}), ...);
  (check_counts<Isa, Codecs>({.inputs = 330,
                              .granularity = tern::per_group(4 * Codecs::group_multiple),
                              .scales = tern::scale_type::float16,
                              .planes = 2,
                              .bias = true,
                              .output = output_type::float16}),
   ...);
  (check_counts<Isa, Codecs>({.inputs = 170,
                              .granularity = tern::per_group(9 * Codecs::group_multiple),
                              .scales = tern::scale_type::bfloat16,
                              .x_zeros = true,
                              .w_zeros = true,
                              .output = output_type::bfloat16}),
   ...);
  (check_depths<Isa, Codecs>(), ...);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("a tile writes its part of y and nothing else", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  check_codecs<TestType>(tern::codecs{});
}

TEMPLATE_LIST_TEST_CASE("every number of tokens and panels and every end of a run", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  check_edges<TestType>(tern::codecs{});
}
