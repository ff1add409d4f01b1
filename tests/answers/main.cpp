// SPDX-License-Identifier: MIT
/// answers [--threads N] [--batch B] [--isa NAME] [--check TABLE] [--trace] [--list-isas] [FILE]
///
/// Computes a few thousand results of every kind that tern promises to be the same on every machine, from numbers that it
/// draws itself, writes them to FILE as bytes and to standard output as a table: size, CRC-32 and name of each section,
/// and of all.
///
///   --threads N    parts of products and quantizers go to so many threads (1)
///   --batch B      tokens are quantised and multiplied so many in a call; 0: all at once (0)
///   --isa NAME     the instruction set, as TERN_FORCE_ISA, for where there is no environment
///   --check TABLE  compares with such a table and names the sections that differ: exit status 1
///   --trace        a line for each result, to find with diff where two builds part
///   --list-isas    the instruction sets that this machine can run, best first, and nothing else
///
/// None of these may change a byte. The table of this program is expected.txt beside it. It may be written anew in two cases
/// only: results were added here, or a change of results is intended and CHANGELOG.md tells users of it.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tern/io/crc32.hpp>
#include <tern/kernel/dispatch.hpp>

#include "answers.hpp"

namespace {

struct line {
  std::string name;
  std::size_t size;
  std::uint32_t crc;

  std::string text() const {
    char numbers[32];
    std::snprintf(numbers, sizeof numbers, "%9zu %08x ", size, static_cast<unsigned>(crc));
    return numbers + name;
  }
};

std::vector<line> table_of(const answers::sink& out) {
  const std::span<const std::byte> bytes(out.bytes());
  std::vector<line> table;
  for (const auto& s : out.sections())
    table.push_back({s.name, s.end - s.begin, tern::detail::crc32(bytes.subspan(s.begin, s.end - s.begin))});
  table.push_back({"all", bytes.size(), tern::detail::crc32(bytes)});
  return table;
}

std::vector<std::string> read_lines(const char* path) {
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) {
    std::fprintf(stderr, "answers: cannot read %s\n", path);
    std::exit(2);
  }
  std::vector<std::string> lines;
  char text[256];
  while (std::fgets(text, sizeof text, file) != nullptr) {
    text[std::strcspn(text, "\r\n")] = 0;
    lines.emplace_back(text);
  }
  std::fclose(file);
  return lines;
}

/// Prints what differs. @return how many lines
int differences(const std::vector<line>& table, const std::vector<std::string>& expected) {
  int count = 0;
  for (std::size_t i = 0; i < table.size() || i < expected.size(); ++i) {
    const std::string got = i < table.size() ? table[i].text() : "nothing";
    const std::string want = i < expected.size() ? expected[i] : "nothing";
    if (got == want) continue;
    ++count;
    std::fprintf(stderr, "differs: %s\n    not: %s\n", got.c_str(), want.c_str());
  }
  return count;
}

template <class... Tags>
void list_isas(tern::type_list<Tags...>) {
  const auto print = [](bool usable, std::string_view name) {
    if (usable) std::printf("%.*s\n", static_cast<int>(name.size()), name.data());
  };
  (print(Tags::usable(), Tags::name()), ...);
}

[[noreturn]] void fail_usage() {
  std::fputs("usage: answers [--threads N] [--batch B] [--isa NAME] [--check TABLE] [--trace] [--list-isas] [FILE]\n",
             stderr);
  std::exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t threads = 1, batch = 0;
  const char* expected = nullptr;
  const char* path = nullptr;
  bool trace = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const auto value = [&] { return i + 1 < argc ? argv[++i] : (fail_usage(), nullptr); };
    if (word == "--list-isas") return list_isas(tern::isa::chosen{}), 0;
    if (word == "--threads" && ANSWERS_THREADS)
      threads = std::strtoul(value(), nullptr, 10);
    else if (word == "--batch")
      batch = std::strtoul(value(), nullptr, 10);
    else if (word == "--isa")
      setenv("TERN_FORCE_ISA", value(), 1);
    else if (word == "--check")
      expected = value();
    else if (word == "--trace")
      trace = true;
    else if (path == nullptr && !word.starts_with("-"))
      path = argv[i];
    else
      fail_usage();
  }

  answers::sink out(threads, batch, trace);
  for (const auto theme :
       {answers::numbers, answers::weights, answers::ternary, answers::decompositions, answers::activation_aware,
        answers::activations, answers::calibration, answers::compat, answers::codec_i2, answers::codec_b3,
        answers::codec_n4, answers::codec_n6, answers::codec_b3x2, answers::codec_b3x3, answers::codec_i8})
    theme(out);
  const std::vector<line> table = table_of(out);
  for (const line& l : table) std::printf("%s\n", l.text().c_str());

  if (path != nullptr) {
    std::FILE* file = std::fopen(path, "wb");
    if (file == nullptr || std::fwrite(out.bytes().data(), 1, out.bytes().size(), file) != out.bytes().size() ||
        std::fclose(file) != 0) {
      std::fprintf(stderr, "answers: cannot write %s\n", path);
      return 2;
    }
  }
  return expected == nullptr || differences(table, read_lines(expected)) == 0 ? 0 : 1;
}
