// SPDX-License-Identifier: MIT
/// usable() says what the operating system says.
#include <tern/kernel/list.hpp>

#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <vector>

#include "support/catch.hpp"

namespace {

/// What /proc/cpuinfo calls the features that a tag needs.
const std::map<std::string_view, std::vector<std::string>> needed{
    {"scalar", {}},
    {"avx2", {"avx2", "fma", "f16c"}},
    {"avxvnni", {"avx2", "fma", "f16c", "avx_vnni"}},
    {"amx", {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "amx_tile", "amx_int8"}},
    {"avx512vnni", {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}},
    {"neon", {"asimd"}},
    {"neon_dotprod", {"asimd", "asimddp"}},
    {"neon_i8mm", {"asimd", "asimddp", "i8mm"}},
};
#if defined(TERN_ARM64)
constexpr const char* everywhere = "asimd";
#elif defined(TERN_X86)
constexpr const char* everywhere = "sse2";
#endif

std::set<std::string> cpu_flags() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags", 0) != 0 && line.rfind("Features", 0) != 0) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    return {std::istream_iterator<std::string>(words), {}};
  }
  return {};
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("usable() agrees with /proc/cpuinfo", "[isa]", tern::isa::all) {
#if defined(__wasm__)
  CHECK(TestType::usable());  // a module that loads can run all that it holds
  return;
#endif
  const std::set<std::string> flags = cpu_flags();
  if (flags.empty()) SKIP("no /proc/cpuinfo");
#if defined(TERN_ARM64) || defined(TERN_X86)
  if (flags.count(everywhere) == 0) SKIP("/proc/cpuinfo is of another architecture: the machine is emulated");
#endif
  REQUIRE(needed.count(TestType::name()) == 1);  // else name the tag's features above
  bool has_all = true;
  for (const std::string& flag : needed.at(TestType::name())) has_all = has_all && flags.count(flag) != 0;
  CHECK(TestType::usable() == has_all);
}

TEST_CASE("scalar is usable everywhere", "[isa]") { CHECK(tern::isa::scalar::usable()); }
