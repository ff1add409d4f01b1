// SPDX-License-Identifier: MIT
/// A kernel computes the tokens and panels it is asked for, writes nothing else, and no output depends on its neighbours.
#include <algorithm>

#include "kernel/problem.hpp"
#include "support/catch.hpp"

using namespace tern_test;

namespace {

/// Runs tiles into a fresh canvas, which must then hold that part of the whole result and canaries everywhere else.
template <class Isa, class X, class Codec>
std::string tiles_difference(tern::kernel::product<X, Codec> a, const canvas& all,
                             const std::vector<tern::kernel::tile>& tiles) {
  canvas got(a.x.rows(), a.w.rows(), a.y.type), want(a.x.rows(), a.w.rows(), a.y.type);
  a.y = got.output();
  for (const tern::kernel::tile& t : tiles) {
    tern::kernel::run_tile(Isa{}, a, t);
    want.copy(all, t.token_begin, t.token_end, t.panel_begin * tern::panel_rows,
              std::min(t.panel_end * tern::panel_rows, a.w.rows()));
  }
  return got.difference(want);
}

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

template <class Isa, class... Codecs>
void check_codecs(tern::type_list<Codecs...>) {
  (check_codec<Isa, Codecs>(), ...);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("a tile writes its part of y and nothing else", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  check_codecs<TestType>(tern::codecs{});
}
