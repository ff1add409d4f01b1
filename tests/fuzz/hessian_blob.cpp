// SPDX-License-Identifier: MIT
/// Saved Hessians of any bytes: reading them ends in a format_error, or in a Hessian that is saved again as the same bytes and
/// that quantizers can work with, or refuse; aborts otherwise.
///
///   clang++-16 -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -DTERN_LIBFUZZER -Iinclude -Itests
///     tests/fuzz/hessian_blob.cpp
///   fuzz_hessian_blob FILE...            without libFuzzer: those inputs, and then 20,000 damaged ones; see reader.hpp
///   fuzz_hessian_blob --corpus FOLDER    writes the corpus
///
/// The first byte of an input says what to do to the rest: bit 0 makes its inputs fit its size, bit 1 its checksums right, so
/// that what lies behind those checks is reached; bit 2 puts it at an odd address.
#include <tern/io/hessian_blob.hpp>
#include <tern/quantize/gptq.hpp>
#include <tern/quantize/output_error.hpp>

#include <cmath>
#include <cstring>

#include "fuzz/reader.hpp"

namespace {

using tern_test::accepts, tern_test::require;

enum : std::uint8_t { fit_size = 1, right_checksums = 2, odd_address = 4 };
constexpr std::size_t header_bytes = 64;

template <class T>
void put(std::span<std::uint8_t> bytes, std::size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

/// What quantizers make of any sums, positive definite or not.
void use(const tern::hessian& h) {
  const std::size_t inputs = h.inputs();
  if (inputs > 12) return;
  accepts<tern::range_error>([&] {
    for (const float importance : tern::importances(h))
      require(importance > 0 && std::isfinite(importance), "an importance that is none");
  });
  tern::matrix<float> w(2, inputs);
  for (std::size_t i = 0; i < 2 * inputs; ++i) w.data()[i] = static_cast<float>(i % 7) - 2.5f;
  accepts<tern::range_error>([&] {
    const auto w_hat = tern::dequantize(tern::gptq_int(w, h, {}, {.granularity = tern::per_group(4)}));
    for (std::size_t i = 0; i < 2 * inputs; ++i) require(std::isfinite(w_hat.data()[i]), "a weight that is not finite");
    (void)tern::output_distortion(w, w_hat, h);
  });
}

void run(std::span<const std::uint8_t> input) {
  if (input.empty()) return;
  const std::uint8_t what = input[0];
  const std::size_t offset = (what & odd_address) != 0 ? 1 : 0;
  std::vector<std::uint8_t> memory(offset);
  memory.insert(memory.end(), input.begin() + 1, input.end());
  memory.shrink_to_fit();  // reading on is found
  std::span<std::uint8_t> file = std::span(memory).subspan(offset);
  if (file.size() >= header_bytes && (what & fit_size) != 0) {
    std::uint64_t inputs = 0;
    while (header_bytes + 4 * (inputs + 1) * (inputs + 2) <= file.size()) ++inputs;
    file = file.first(header_bytes + 4 * inputs * (inputs + 1));
    put(file, 16, inputs);
  }
  const auto bytes = std::as_bytes(std::span<const std::uint8_t>(file));
  if (file.size() >= header_bytes && (what & right_checksums) != 0) {
    put(file, 12, tern::detail::crc32(bytes.subspan(header_bytes)));
    put(file, 60, tern::detail::crc32(bytes.first(60)));
  }
  tern::hessian h;
  if (!accepts<tern::format_error>([&] { h = tern::load_hessian(bytes); })) return;
  const tern::aligned_bytes again = tern::save_hessian(h);
  require(again.size() == bytes.size() && std::memcmp(again.data(), bytes.data(), bytes.size()) == 0,
          "saved again, it is other bytes");
  use(h);
}

#if !defined(TERN_LIBFUZZER)
/// Good inputs: what the corpus is made of.
std::vector<tern_test::fuzz_input> good() {
  std::vector<tern_test::fuzz_input> all;
  for (const std::size_t inputs : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{5}, std::size_t{12}})
    for (const std::size_t tokens : {std::size_t{0}, std::size_t{1}, std::size_t{40}}) {
      tern::hessian h(inputs);
      tern::matrix<float> x(tokens, inputs);
      for (std::size_t i = 0; i < tokens * inputs; ++i) x.data()[i] = static_cast<float>(i * i % 31) / 8 - 2;
      h.observe(x);
      const tern::aligned_bytes blob = tern::save_hessian(h);
      all.push_back({static_cast<std::uint8_t>(all.size() % 8)});
      for (std::size_t i = 0; i < blob.size(); ++i) all.back().push_back(static_cast<std::uint8_t>(blob.data()[i]));
    }
  return all;
}

/// A few bytes changed, half of them in the header.
void damage(std::mt19937& random, tern_test::fuzz_input& input) {
  input[0] = static_cast<std::uint8_t>(random() % 8);
  for (std::size_t changes = 1 + random() % 3; changes-- > 0;) {
    const std::size_t at = 1 + random() % (random() % 2 == 0 ? input.size() - 1 : header_bytes);
    input[at] = static_cast<std::uint8_t>(random() % 2 == 0 ? input[at] ^ 1u << random() % 8 : random());
  }
}
#endif

}  // namespace

#if defined(TERN_LIBFUZZER)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  run({data, size});
  return 0;
}
#else
int main(int argc, char** argv) { return tern_test::fuzz_main(argc, argv, good(), damage, run); }
#endif
