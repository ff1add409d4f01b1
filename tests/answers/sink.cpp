// SPDX-License-Identifier: MIT
#include <cstdio>
#include <tern/io/crc32.hpp>

#include "answers.hpp"

namespace answers {

void sink::begin(std::string name) { sections_.push_back({std::move(name), bytes_.size(), bytes_.size()}); }

void sink::put_bytes(std::span<const std::byte> bytes) {
  section& s = sections_.back();
  if (trace_)
    std::printf("%s +%zu: %zu bytes, %08x\n", s.name.c_str(), bytes_.size() - s.begin, bytes.size(),
                static_cast<unsigned>(tern::detail::crc32(bytes)));
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  s.end = bytes_.size();
}

void sink::put(double value) {
  auto bits = std::bit_cast<std::uint64_t>(value);
  if ((bits & 0x7fffffffffffffffu) > 0x7ff0000000000000u) bits = 0x7ff8000000000000u;
  put(bits);
}

void sink::put(std::span<const float> values) {
  std::vector<std::uint32_t> all;
  all.reserve(values.size());
  for (const float& value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    all.push_back((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits);
  }
  put_bytes(std::as_bytes(std::span(all)));
}

namespace {

template <class T>
std::vector<std::uint16_t> bits_of(std::span<const T> values, unsigned infinity, std::uint16_t nan) {
  std::vector<std::uint16_t> all;
  all.reserve(values.size());
  for (const T& value : values) all.push_back((value.bits & 0x7fffu) > infinity ? nan : value.bits);
  return all;
}

}  // namespace

void sink::put(std::span<const tern::half> values) {
  const auto bits = bits_of(values, 0x7c00u, 0x7e00u);
  put_bytes(std::as_bytes(std::span(bits)));
}

void sink::put(std::span<const tern::bfloat16> values) {
  const auto bits = bits_of(values, 0x7f80u, 0x7fc0u);
  put_bytes(std::as_bytes(std::span(bits)));
}

void sink::put(const tern::activations_view& x) {
  const std::size_t sums = (x.cols() + tern::prefix_inputs - 1) / tern::prefix_inputs + 1;
  for (std::size_t m = 0; m < x.rows(); ++m) {
    put(std::span<const std::int8_t>(x.codes(m), x.cols()));
    put(std::span<const std::int32_t>(x.prefix(m), sums));
    put(x.scale(m));
    if (x.has_zeros()) put(std::span<const std::int32_t>(&x.zero(m), 1));
  }
}

std::string_view name_of(kind k) {
  switch (k) {
    case kind::bell:
      return "bell";
    case kind::wide:
      return "wide";
    case kind::far:
      return "far";
    case kind::halves:
      return "halves";
    case kind::grid:
      return "grid";
    case kind::bfloats:
      return "bfloats";
    case kind::outliers:
      return "outliers";
    case kind::one_sided:
      return "one_sided";
    case kind::tiny:
      return "tiny";
    case kind::huge:
      return "huge";
    case kind::subnormal:
      return "subnormal";
    case kind::zero:
      return "zero";
    case kind::constant:
      return "constant";
    case kind::ties:
      return "ties";
  }
  return "";
}

namespace {

/// Of values whose largest magnitude is `most`, one at or beside a tie between two codes of 2, 4 or 8 bits: where a product
/// that a compiler does not round, because it fuses it with a sum, goes the other way.
float near_tie(dice& d, float most) {
  const int limits[] = {1, 7, 127};
  const int limit = limits[d.below(3)];
  if (d.below(16) == 0) return most;
  const float steps = static_cast<float>(d.between(-limit, limit - 1)) + 0.5f;
  const float tie = steps / (static_cast<float>(limit) / most);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(tie) + static_cast<std::uint32_t>(d.between(-1, 1)));
}

/// A value of a matrix of that kind; `unit` is drawn once for each row.
float draw_value(dice& d, kind k, float unit) {
  switch (k) {
    case kind::bell:
      return d.bell();
    case kind::wide:  // twenty powers of two
      return d.real(-12, 7);
    case kind::far:  // so far apart that sums in double round
      return d.real(-60, 14);
    case kind::halves:  // ties of every symmetric rounding, where 127 units are the largest magnitude
      return unit * 0.5f * static_cast<float>(d.between(-254, 254));
    case kind::grid:  // few distinct values: equal errors, equal sums, equal levels
      return 0.25f * static_cast<float>(d.between(-4, 4));
    case kind::bfloats:
      return static_cast<float>(tern::bfloat16(d.bell()));
    case kind::outliers: {
      const float value = d.bell();
      return d.below(40) == 0 ? value * 64 : value;
    }
    case kind::one_sided: {
      const float value = d.bell();
      return value < 0 ? 0.0f : value + unit;
    }
    case kind::tiny:  // about 2^-100, where rows begin to count as zero
      return d.real(-103, -99);
    case kind::huge:
      return d.real(120, 126);
    case kind::subnormal:
      return d.real(-127, -124);
    case kind::zero:
      return d.flip() ? 0.0f : -0.0f;
    case kind::constant:
      return d.flip() ? unit : -unit;
    case kind::ties:
      return near_tie(d, unit);
  }
  return 0;
}

}  // namespace

tern::matrix<float> draw(dice& d, kind k, std::size_t rows, std::size_t cols) {
  tern::matrix<float> m(rows, cols);
  for (std::size_t r = 0; r < rows; ++r) {
    // A power of two for halves, so that 127 units divide by 127 to a unit.
    const float unit = k == kind::halves ? std::bit_cast<float>(static_cast<std::uint32_t>(d.between(110, 130)) << 23)
                                         : d.positive(-6, 0);
    for (std::size_t c = 0; c < cols; ++c) m(r, c) = draw_value(d, k, unit);
    if (k == kind::ties && cols != 0) m(r, cols / 2) = unit;
    if (k == kind::halves && cols != 0) m(r, cols / 2) = d.flip() ? 127 * unit : -127 * unit;
  }
  return m;
}

std::vector<float> draw_bias(dice& d, std::size_t count) {
  std::vector<float> bias(count);
  for (float& b : bias) b = d.real();
  return bias;
}

}  // namespace answers
