// SPDX-License-Identifier: MIT
/// Every kernel equals the reference, bit for bit, over every pair of what a product can be made of.
#include "kernel/pairs.hpp"
#include "support/catch.hpp"

using namespace tern_test;

namespace {

template <class Isa, class Problem, class Codec>
void compare(bool float_activations) {
  for (std::size_t seed = 0; const facts& f : all_facts(Codec::group_multiple, float_activations, Codec::fold)) {
    dice d(seed++);
    INFO(Codec::name() << ": " << f.text());
    REQUIRE(difference<Isa>(Problem(d, f).product()) == "");
  }
}

template <class Isa, class... Codecs>
void compare_all(tern::type_list<Codecs...>) {
  (compare<Isa, problem<Codecs>, Codecs>(false), ...);
  (compare<Isa, float_problem<Codecs>, Codecs>(true), ...);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("every pair of facts gives the reference's bits", "[kernel]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  compare_all<TestType>(tern::codecs{});
}

TEST_CASE("all_pairs meets every pair", "[kernel]") {
  const std::vector<std::size_t> counts{3, 5, 2, 4};
  const auto rows = all_pairs(counts, 1);
  CHECK(rows.size() >= 20);
  CHECK(rows.size() < 40);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    for (std::size_t j = i + 1; j < counts.size(); ++j) {
      std::set<std::pair<std::size_t, std::size_t>> met;
      for (const auto& row : rows) met.insert({row[i], row[j]});
      CHECK(met.size() == counts[i] * counts[j]);
    }
  }
}
