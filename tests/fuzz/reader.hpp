// SPDX-License-Identifier: MIT
/// What the fuzz targets of readers share: a target is run(input), which aborts where a reader breaks its word, and beside
/// libFuzzer a program that replays files and damages good inputs.
#pragma once

#include <tern/error.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tern_test {

using fuzz_input = std::vector<std::uint8_t>;

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

/// Whether f() returns, and does not throw one of the errors.
template <class... Errors>
bool accepts(auto&& f) {
  try {
    f();
    return true;
  } catch (const tern::error& e) {
    require((false || ... || (dynamic_cast<const Errors*>(&e) != nullptr)), e.what());
    return false;
  }
}

inline fuzz_input read_input(const char* path) {
  std::FILE* const file = std::fopen(path, "rb");
  require(file != nullptr, path);
  fuzz_input input(1 << 20);
  input.resize(std::fread(input.data(), 1, input.size(), file));
  std::fclose(file);
  return input;
}

inline void write_corpus(const std::string& folder, const std::vector<fuzz_input>& good) {
  std::size_t n = 0;
  for (const fuzz_input& input : good) {
    std::FILE* const file = std::fopen((folder + "/" + std::to_string(n++)).c_str(), "wb");
    require(file != nullptr, "cannot write the corpus");
    std::fwrite(input.data(), 1, input.size(), file);
    std::fclose(file);
  }
}

///   fuzz_NAME FILE...            those inputs, and then 20,000 damaged ones
///   fuzz_NAME --corpus FOLDER    writes the corpus
/// @param good    inputs that are not refused: what the corpus is made of
/// @param damage  damage(random, input): changes a good input
template <class Run, class Damage>
int fuzz_main(int argc, char** argv, const std::vector<fuzz_input>& good, Damage&& damage, Run&& run) {
  if (argc == 3 && std::string_view(argv[1]) == "--corpus") {
    write_corpus(argv[2], good);
    return 0;
  }
  for (int i = 1; i < argc; ++i) run(read_input(argv[i]));
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    fuzz_input input = good[random() % good.size()];
    damage(random, input);
    if (random() % 8 == 0) input.resize(random() % input.size());
    run(input);
  }
  std::printf("%d files and 20000 damaged inputs: refused, or read and written alike\n", argc - 1);
  return 0;
}

}  // namespace tern_test
