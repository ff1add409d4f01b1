// SPDX-License-Identifier: MIT
/// TERN_PIN_ISA takes the choice away in one unit, and units that are pinned differently live in one program.
#define UNIT unpinned
#include "isa/pinned.inc"
#include "support/catch.hpp"

TEST_CASE("a unit pinned to scalar runs on scalar", "[isa]") {
  const auto unit = tern_test::pinned_to_scalar(), free = tern_test::unpinned();
  CHECK(unit.best_name == "scalar");
  CHECK(free.best_name == tern::isa::best_name());
  CHECK(unit.result == free.result);
}

#if defined(TERN_X86)
TEST_CASE("a unit pinned to avx2 runs on avx2", "[isa]") {
  TERN_REQUIRE_ISA(tern::isa::avx2);
  const auto unit = tern_test::pinned_to_avx2();
  CHECK(unit.best_name == "avx2");
  CHECK(unit.result == tern_test::unpinned().result);
}
#endif
