// SPDX-License-Identifier: MIT
/// Conversions, codecs, and the numbers that everything else is made of.
#include <tern/io/crc32.hpp>
#include <tern/quantize/decompose.hpp>
#include <tern/quantize/synthetic.hpp>
#include <tern/type/codec.hpp>

#include "answers.hpp"

namespace answers {
namespace {

/// Every 16-bit pattern as a float, and floats on both sides of every rounding boundary as 16 bits.
template <class Storage>
void conversions(sink& out, const std::string& name, Storage (*between)(std::uint32_t)) {
  out.begin(name + " to float");
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    Storage storage;
    storage.bits = static_cast<std::uint16_t>(bits);
    out.put(static_cast<float>(storage));
  }
  out.begin("float to " + name);
  std::vector<Storage> all;
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) all.push_back(between(bits));
  dice d(1);
  for (int i = 0; i < 50000; ++i) {
    const auto bits = static_cast<std::uint32_t>(d.next() >> 32);
    all.push_back(Storage(std::bit_cast<float>(bits)));
  }
  out.put(std::span<const Storage>(all));
}

/// Halfway between two halves, one float below it, or one above.
tern::half near_half(std::uint32_t bits) {
  tern::half low, high;
  low.bits = static_cast<std::uint16_t>(bits);
  high.bits = static_cast<std::uint16_t>(bits + 1);
  const auto a = std::bit_cast<std::uint32_t>(static_cast<float>(low));
  const auto b = std::bit_cast<std::uint32_t>(static_cast<float>(high));
  return tern::half(std::bit_cast<float>((a & b) + ((a ^ b) >> 1) + bits % 3 - 1));
}
tern::bfloat16 near_bfloat16(std::uint32_t bits) {
  return tern::bfloat16(std::bit_cast<float>(bits << 16 | (0x7fffu + bits % 3)));
}

template <tern::codec Codec>
void codec_bytes(sink& out, const Codec& codec) {
  dice d(2);
  for (int i = 0; i < 1024; ++i) {
    std::uint8_t bytes[Codec::bytes];
    // One byte in order, so that each value of the first is met.
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(i < 256 ? i : static_cast<int>(d.below(256)));
    std::int8_t levels[Codec::fold];
    for (std::size_t p = 0; p < Codec::fold; ++p) levels[p] = codec.decode(bytes, p);
    out.put(std::span<const std::int8_t>(levels));
    bool held = true;
    for (const std::int8_t level : levels) held &= codec.holds(level);
    if (!held) continue;
    codec.encode(levels, bytes);
    out.put_bytes(std::as_bytes(std::span(bytes)));
  }
}

template <class... Codecs>
void all_codecs(sink& out, tern::type_list<Codecs...>) {
  (codec_bytes(out, Codecs()), ...);
}

}  // namespace

void numbers(sink& out) {
  conversions(out, "half", near_half);
  conversions(out, "bfloat16", near_bfloat16);

  out.begin("codecs");
  all_codecs(out, tern::codecs{});
  for (const tern::trit_code& code : tern::trit_codes_of_2) codec_bytes(out, tern::n4(code));
  for (const tern::trit_code& code : tern::trit_codes_of_3) codec_bytes(out, tern::b3x3(code));

  out.begin("logarithms and powers");
  dice d(3);
  for (int i = 0; i < 2000; ++i) out.put(tern::detail::natural_logarithm(static_cast<double>(d.positive(-100, 100))));
  for (int i = 0; i < 2000; ++i) out.put(tern::detail::power_of_ten(static_cast<double>(d.real(-8, 7))));

  out.begin("roundings");
  for (int i = 0; i < 4000; ++i) {
    const float x = i < 2000 ? 0.5f * static_cast<float>(d.between(-600, 600)) : d.real(-4, 21);
    const float divisor = i < 2000 ? 1.0f : d.positive(-1, 0);
    for (const auto ties : {tern::rounding::half_even, tern::rounding::half_away})
      out.put(static_cast<double>(tern::detail::nearest_whole(x / divisor, 4194304.0f, ties)));
  }

  using distribution = tern::weight_distribution;
  out.begin("synthetic weights");
  for (const auto which : {distribution::gauss, distribution::laplace, distribution::student_t4})
    out.put(tern::synthetic_weights(20, 100, which, 7));

  out.begin("checksums");
  std::vector<std::byte> bytes;
  for (int i = 0; i < 300; ++i) {
    out.put(std::uint64_t{tern::detail::crc32(bytes)});
    bytes.push_back(static_cast<std::byte>(d.below(256)));
  }
}

}  // namespace answers
