// SPDX-License-Identifier: MIT
/// Every usable instruction set against the reference on products of any shape, granularity and bytes; aborts on a difference.
///
///   clang++-16 -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -DTERN_LIBFUZZER -Iinclude -Itests tests/fuzz/kernels_agree.cpp
///   fuzz_kernels_agree [CASES] [SEED]    without libFuzzer: that many pseudo-random inputs, 300 unless told
#include <cstdio>
#include <cstdlib>

#include "kernel/problem.hpp"

namespace {

using namespace tern_test;

/// The fuzzer's bytes, one after the other; zeros when they are used up.
class source {
 public:
  source(const std::uint8_t* data, std::size_t size) : data_(data), end_(data + size) {}
  std::uint8_t byte() { return data_ != end_ ? *data_++ : std::uint8_t{0}; }
  std::size_t below(std::size_t n) {
    const std::size_t high = byte();
    return (high << 8 | byte()) % n;
  }
  /// Any bits, NaN and infinity too.
  float real() {
    std::uint32_t bits = 0;
    for (int i = 0; i < 4; ++i) bits = bits << 8 | byte();
    return std::bit_cast<float>(bits);
  }

 private:
  const std::uint8_t* data_;
  const std::uint8_t* end_;
};

template <class X, class Codec, class... Tags>
void compare(const tern::kernel::product<X, Codec>& a, const facts& f, tern::type_list<Tags...>) {
  const canvas want = reference(a);
  const auto check = [&]<class Tag>(Tag) {
    if (!Tag::usable()) return;
    const std::string difference = computed<Tag>(a).difference(want);
    if (difference.empty()) return;
    std::fprintf(stderr, "%s, %s, %s activations, %s: %s\n", std::string(Tag::name()).c_str(),
                 std::string(Codec::name()).c_str(), std::is_same_v<X, tern::kernel::float_view> ? "float" : "int8",
                 f.text().c_str(), difference.c_str());
    std::abort();
  };
  (check(Tags{}), ...);
}

/// A codec in a state of the fuzzer's choice.
template <class Codec>
Codec codec_of(source& s) {
  dice d(s.below(65536));
  return draw_codec<Codec>(d);
}

template <class Codec>
void run(source& s) {
  const Codec codec = codec_of<Codec>(s);
  facts f{.tokens = s.below(20), .outputs = s.below(100), .inputs = s.below(700)};
  if (s.below(4) == 0) f.tokens += 60;
  if (s.below(16) == 0) f.tokens += 250;
  if (s.below(2) != 0)
    f.granularity = tern::per_group(Codec::group_multiple * (1 + s.below(s.below(2) != 0 ? 9 : 40)));
  else if (s.below(2) != 0)
    f.granularity = tern::per_tensor;
  f.scales = static_cast<tern::scale_type>(s.below(3));
  f.planes = 1 + s.below(3);
  f.x_zeros = s.below(2) != 0;
  f.w_zeros = s.below(2) != 0;
  f.bias = s.below(2) != 0;
  f.output = static_cast<output_type>(s.below(4));
  if (f.output == output_type::int32) {
    f.planes = 1;
    f.bias = false;
    f.granularity = tern::per_channel;
  }

  // Codes and zero points are the fuzzer's bytes, padding included. Scales may be any floats: a mapped file is not scanned.
  tern::aligned_bytes storage(tern::packed_view<Codec>::storage_bytes(
      {f.outputs, f.inputs, f.planes, f.granularity, f.scales, f.w_zeros, f.x_zeros}));
  const std::span<std::byte> bytes = storage;
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(s.byte());
  const tern::packed_view<Codec> w(
      bytes, {f.outputs, f.inputs, f.planes, f.granularity, f.scales, f.w_zeros, f.x_zeros}, codec);
  for (std::size_t n = 0; f.x_zeros && n < f.outputs; ++n)
    for (std::size_t p = 0; p < f.planes; ++p)
      for (std::size_t g = 0; g < w.groups(); ++g) {
        std::int32_t sum = 0;
        for (std::size_t k = w.group_begin(g); k < w.group_begin(g + 1); ++k) sum += w.level(p, n, k);
        const_cast<std::int32_t*>(w.sums(n / tern::panel_rows, p, g))[n % tern::panel_rows] = sum;
      }

  std::vector<std::int32_t> zeros(f.x_zeros ? f.tokens : 0);
  for (std::int32_t& zero : zeros) zero = static_cast<std::int8_t>(s.byte());
  const auto x = activations(
      f.tokens, f.inputs, [&](std::size_t, std::size_t) { return static_cast<std::int8_t>(s.byte()); }, zeros);
  for (std::size_t m = 0; m < f.tokens; ++m) x.view().scale(m) = s.real();
  std::vector<float> bias(f.bias ? f.outputs : 0);
  for (float& b : bias) b = s.real();

  tern::kernel::product<tern::activations_view, Codec> a{x.view(), w, {}, bias.empty() ? nullptr : bias.data()};
  a.y.type = f.output;
  compare(a, f, tern::isa::all{});

  if (f.output == output_type::int32) return;
  tern::matrix<float> reals(f.tokens, f.inputs);
  for (std::size_t i = 0; i < f.tokens * f.inputs; ++i) reals.data()[i] = s.real();
  tern::kernel::product<tern::kernel::float_view, Codec> b{reals.view(), w, {}, a.bias};
  b.y.type = f.output;
  compare(b, f, tern::isa::all{});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  source s(data, size);
  [&]<class... Codecs>(tern::type_list<Codecs...>) {
    std::size_t choice = s.below(sizeof...(Codecs));
    ((choice-- == 0 ? run<Codecs>(s) : void()), ...);
  }(tern::codecs{});
  return 0;
}

#if !defined(TERN_LIBFUZZER)
int main(int argc, char** argv) {
  const std::size_t cases = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 300;
  const std::size_t seed = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1;
  for (std::size_t i = 0; i < cases; ++i) {
    dice d(seed + i);
    std::vector<std::uint8_t> input(d.below(120000));
    for (std::uint8_t& byte : input) byte = d.byte();
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%zu cases, the same as the reference:", cases);
  [&]<class... Tags>(tern::type_list<Tags...>) {
    ((Tags::usable() ? std::printf(" %s", std::string(Tags::name()).c_str()) : 0), ...);
  }(tern::isa::all{});
  std::puts("");
}
#endif
