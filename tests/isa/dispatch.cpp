// SPDX-License-Identifier: MIT
/// Which instruction set serves what: kernel_for at compile time, choice by name and by rank at run time.
#include <tern/kernel/dispatch.hpp>

#include <cstdlib>

#include "support/catch.hpp"

namespace {

namespace isa = tern::isa;

/// A tag that no machine has, with an instruction set of its own to fall back to.
struct imaginary : isa::scalar {
  static constexpr std::string_view name() { return "imaginary"; }
  static bool usable() { return false; }
};
using with_imaginary = tern::type_list<imaginary, isa::scalar>;

/// One bit a weight, 0 or 1: a codec that no instruction set knows but scalar, which takes all.
struct bits {
  static constexpr std::string_view name() { return "bits"; }
  static constexpr std::size_t fold = 4, bytes = 1, group_multiple = 16;
  bool holds(int level) const { return level == 0 || level == 1; }
  void encode(const std::int8_t* levels, std::uint8_t* out) const {
    *out = static_cast<std::uint8_t>(levels[0] | levels[1] << 1 | levels[2] << 2 | levels[3] << 3);
  }
  std::int8_t decode(const std::uint8_t* in, std::size_t p) const { return static_cast<std::int8_t>(*in >> p & 1); }
};

/// The type that kernel_for promises is Expected, and running an empty tile returns it.
template <class Isa, class Expected, class X, class Codec>
void check_cell() {
  STATIC_REQUIRE(std::is_same_v<tern::kernel::kernel_for<Isa, X, Codec>, Expected>);
  const auto ran = tern::kernel::run_tile(Isa{}, tern::kernel::product<X, Codec>{}, tern::kernel::tile{0, 0, 0, 0});
  CHECK(ran.name() == Expected::name());
}

template <class Isa, class Expected, class... Codecs>
void check_row(tern::type_list<Codecs...>) {
  (check_cell<Isa, Expected, tern::activations_view, Codecs>(), ...);
  (check_cell<Isa, Expected, tern::kernel::float_view, Codecs>(), ...);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("every tag has kernels of its own for every codec", "[isa]", tern::isa::all) {
  TERN_REQUIRE_ISA(TestType);
  check_row<TestType, TestType>(tern::codecs{});
}

TEST_CASE("what a tag has no kernel for runs on the tag it derives from", "[isa]") {
  check_row<imaginary, isa::scalar>(tern::codecs{});
  check_row<isa::scalar, isa::scalar>(tern::type_list<bits>{});
#if defined(TERN_X86)
  check_row<isa::avx2, isa::scalar>(tern::type_list<bits>{});
#elif defined(TERN_ARM64)
  check_row<isa::neon, isa::scalar>(tern::type_list<bits>{});
#endif
}

TEST_CASE("instruction sets are found by name", "[isa]") {
  CHECK(isa::find("scalar", with_imaginary{}) == 1);
  CHECK(isa::find("scalar", isa::all{}) == isa::all::size - 1);
  CHECK_THROWS_AS(isa::find("imaginary", with_imaginary{}), tern::isa_error);
  CHECK_THROWS_WITH(isa::find("imaginary", with_imaginary{}), tern_test::contains("this machine has no imaginary"));
  for (const char* unknown : {"avx9", "", "Scalar", "scalar ", "scala"}) {
    CHECK_THROWS_AS(isa::find(unknown, with_imaginary{}), tern::isa_error);
    CHECK_THROWS_WITH(isa::find(unknown, with_imaginary{}),
                      tern_test::contains('"' + std::string(unknown) + "\"; there are: imaginary scalar"));
  }
}

TEST_CASE("the best is the first that is usable", "[isa]") {
  CHECK(isa::find_best(with_imaginary{}) == 1);
  CHECK(isa::find_best(tern::type_list<isa::scalar, imaginary>{}) == 0);
  const auto name = [](auto tag) { return std::string_view(tag.name()); };
  CHECK(isa::visit(0, name, with_imaginary{}) == "imaginary");
  CHECK(isa::visit(1, name, with_imaginary{}) == "scalar");
}

TEST_CASE("best_name is what the environment forces, else the best", "[isa]") {
  const char* forced = std::getenv("TERN_FORCE_ISA");
  const auto name = [](auto tag) { return std::string_view(tag.name()); };
  const std::string_view best = isa::visit(isa::find_best(isa::all{}), name, isa::all{});
  CHECK(isa::best_name() == (forced != nullptr && *forced != 0 ? std::string_view(forced) : best));
  CHECK(isa::with_best(name) == isa::best_name());
}
