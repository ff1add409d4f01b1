// SPDX-License-Identifier: MIT
/// The report names what products really run on: its facts come from the functions that choose.
#include <tern/tern.hpp>

#include <cstdlib>

#include "static/hostile.hpp"
#include "support/catch.hpp"

using tern::kernel::token_loop;
using tern_test::contains;

TEST_CASE("the report names shape, codec, instruction set and loop", "[report]") {
  const tern::packed_matrix<tern::b3> w(tern::quantized_matrix(1, 48, 40, tern::per_channel));
  const std::string best(tern::isa::best_name());
  CHECK_THAT(tern::kernel_report(1, w), Catch::Matchers::StartsWith("1 token by 48 x 40 in b3: " + best + ", "));
#if defined(TERN_PIN_ISA)
  const bool forced = true;
#else
  const char* name = std::getenv("TERN_FORCE_ISA");
  const bool forced = name != nullptr && *name != 0;
#endif
  CHECK_THAT(tern::kernel_report(1, w),
             contains(forced ? ", as TERN_FORCE_ISA or TERN_PIN_ISA says\n" : ", the best usable here"));
  CHECK_THAT(tern::kernel_report(1, w), contains(best == "scalar" ? "\nfew tokens: " : "\none token: "));
  CHECK_THAT(tern::kernel_report(2, w.view()), contains("2 tokens by 48 x 40"));
  CHECK_THAT(tern::kernel_report(2, w), contains("\nfew tokens: "));
}

TEST_CASE("the report says when an instruction set has no kernel for a codec", "[report]") {
  const tern::packed_matrix<hostile::codec> w(tern::quantized_matrix(1, 3, 4, tern::per_channel));
  const std::string report = tern::kernel_report(100, w);
  CHECK_THAT(report, contains("100 tokens by 3 x 4 in hostile: scalar, "));
  CHECK_THAT(report, contains("\nmany tokens: "));
  if (tern::isa::best_name() != "scalar")
    CHECK_THAT(report, contains("; " + std::string(tern::isa::best_name()) + " has no kernel for this codec\n"));
}

TEMPLATE_LIST_TEST_CASE("every instruction set says which loop serves how many tokens", "[report]", tern::isa::all) {
  CHECK(TestType::loop_for(1) == (TestType::name() == "scalar" ? token_loop::few : token_loop::one));
  CHECK(TestType::loop_for(2) == token_loop::few);
  CHECK((TestType::loop_for(1000) == token_loop::many || TestType::loop_for(1000) == token_loop::tiles));
}
