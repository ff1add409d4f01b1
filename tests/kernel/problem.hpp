// SPDX-License-Identifier: MIT
/// Random products, outputs between canaries, and the comparison with the reference.
///
///   dice                 random numbers, the same on every machine
///   facts                everything about a product but its values
///   draw_codec<Codec>    a codec in any state it may have
///   problem<Codec>       a product of int8 activations, with drawn values
///   float_problem<Codec> the same with float activations
///   canvas               a place for Y, in which every byte that is not Y's has a known value
///   difference<Isa>(a)   "" where the kernel of Isa writes what the reference writes, else the first element that differs
#pragma once

#include <cmath>  // std::ldexp
#include <cstring>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <tern/kernel/dispatch.hpp>
#include <tern/kernel/reference.hpp>
#include <vector>

namespace tern_test {

using tern::kernel::output_type;

/// For range-for: for (const std::size_t k : sizes{1, 16}).
using sizes = std::initializer_list<std::size_t>;

class dice {
 public:
  explicit dice(std::size_t seed) : engine_(static_cast<std::mt19937::result_type>(seed)) {}

  std::size_t below(std::size_t n) { return engine_() % n; }
  int between(int least, int most) {
    return least + static_cast<int>(below(static_cast<std::size_t>(most - least + 1)));
  }
  std::int8_t code(int least = -128, int most = 127) { return static_cast<std::int8_t>(between(least, most)); }
  std::uint8_t byte() { return static_cast<std::uint8_t>(below(256)); }
  /// A float of either sign, 2^-4 <= |x| < 2^4, with eight random bits: exact in half, not in bfloat16.
  float real() {
    const float magnitude = std::ldexp(static_cast<float>(256 + below(256)), between(-12, -5));
    return below(2) != 0 ? magnitude : -magnitude;
  }

 private:
  std::mt19937 engine_;
};

struct facts {
  std::size_t tokens = 1, outputs = 1, inputs = 1;
  tern::granularity granularity = tern::per_channel;
  tern::scale_type scales = tern::scale_type::float32;
  std::size_t planes = 1;
  bool x_zeros = false, w_zeros = false, bias = false;
  output_type output = output_type::float32;

  std::string text() const {
    std::ostringstream s;
    s << "M" << tokens << "_N" << outputs << "_K" << inputs << ", sharing " << static_cast<int>(granularity.kind)
      << " of " << granularity.group << ", scale type " << static_cast<int>(scales) << ", planes " << planes
      << ", zeros " << x_zeros << w_zeros << ", bias " << bias << ", output type " << static_cast<int>(output);
    return s.str();
  }
};

/// Codes over all of int8, a scale and perhaps a zero point for each token.
inline tern::quantized_activations draw_activations(dice& d, const facts& f) {
  tern::matrix<std::int8_t> codes(f.tokens, f.inputs);
  std::vector<float> scales;
  std::vector<std::int32_t> zeros;
  for (std::size_t m = 0; m < f.tokens; ++m) {
    for (std::size_t k = 0; k < f.inputs; ++k) codes(m, k) = d.code();
    scales.push_back(d.real());
    if (f.x_zeros) zeros.push_back(d.code());
  }
  return tern::quantized_activations::from_codes(codes.view(), scales, zeros);
}

/// Any plane code of the library, or one that goes to the bound.
inline tern::trit_code draw_trit_code(dice& d, std::size_t planes) {
  const std::size_t at = d.below(5);
  if (planes == 2) return at == 4 ? tern::trit_code{{17, 14}} : tern::trit_codes_of_2[at];
  return at == 4 ? tern::trit_code{{16, 11, 4}} : tern::trit_codes_of_3[at];
}

template <tern::codec Codec>
Codec draw_codec(dice& d) {
  if constexpr (std::same_as<Codec, tern::n4>) {
    if (d.below(3) == 0) return tern::n4();
    if (d.below(2) == 0) return tern::n4(draw_trit_code(d, 2));
    const int least = d.between(-63, 0);  // any table that spans 63 at most
    std::int8_t table[16] = {};
    for (std::size_t v = 1; v < 16; ++v) table[v] = d.code(least, least + 63);
    return tern::n4::from_state(table);
  } else if constexpr (requires { Codec(tern::trit_code()); }) {
    return Codec(draw_trit_code(d, Codec::bytes));
  } else {
    return Codec();
  }
}

/// A level that the codec holds: what it makes of random bytes.
template <tern::codec Codec>
std::int8_t draw_level(dice& d, const Codec& codec) {
  std::uint8_t bytes[Codec::bytes];
  for (std::uint8_t& byte : bytes) byte = d.byte();
  return codec.decode(bytes, d.below(Codec::fold));
}

/// Levels over all that the codec holds, scales and perhaps zero points as the granularity says.
template <tern::codec Codec>
tern::quantized_matrix draw_weights(dice& d, const facts& f, const Codec& codec = {}) {
  tern::quantized_matrix q(f.planes, f.outputs, f.inputs, f.granularity);
  for (std::int8_t& level : q.codes) do
      level = draw_level(d, codec);
    while (!codec.holds(level));  // n6 decodes bytes that no level has
  for (float& scale : q.scales) scale = d.real();
  if (f.w_zeros) q.zeros.resize(q.scales.size());
  for (std::int8_t& zero : q.zeros) zero = d.code();
  return q;
}

inline std::vector<float> draw_reals(dice& d, std::size_t n) {
  std::vector<float> reals(n);
  for (float& x : reals) x = d.real();
  return reals;
}

/// Storage of an element of y.
constexpr std::size_t bytes_of(output_type type) {
  return type == output_type::float32 || type == output_type::int32 ? 4 : 2;
}

/// Y at an odd place in a buffer, its rows apart, all bytes 0xA5 at first.
class canvas {
 public:
  canvas(std::size_t tokens, std::size_t outputs, output_type type)
      : type_(type),
        outputs_(outputs),
        stride_(outputs + gap),
        bytes_(bytes_of(type) * (first + tokens * stride_ + gap)) {
    std::memset(bytes_.data(), canary, bytes_.size());
  }
  tern::kernel::output output() {
    tern::kernel::output y;
    y.data = bytes_.data() + first * bytes_of(type_);
    y.row_stride = stride_;
    y.type = type_;
    return y;
  }
  /// The bits of an element.
  std::uint32_t bits(std::size_t m, std::size_t n) const { return element(first + m * stride_ + n); }

  /// Where this differs from `want`, canaries included; "" if nowhere. Minus zero differs from zero; a NaN is like any other,
  /// since the processor takes its payload from the operand that the compiler happened to put first.
  std::string difference(const canvas& want) const {
    if (bytes_ == want.bytes_) return "";
    std::ostringstream s;
    for (std::size_t i = 0; i < bytes_.size() / bytes_of(type_); ++i) {
      if (element(i) == want.element(i) || (is_nan(element(i)) && is_nan(want.element(i)))) continue;
      const std::size_t m = (i - first) / stride_, n = (i - first) % stride_;
      s << (i < first || n >= outputs_ ? "outside of y: " : "") << "y(" << m << ", " << n << ") is 0x" << std::hex
        << element(i) << ", not 0x" << want.element(i);
      break;
    }
    return s.str();
  }
  /// Copies outputs [n, n_end) of tokens [m, m_end) from another canvas of the same shape.
  void copy(const canvas& from, std::size_t m, std::size_t m_end, std::size_t n, std::size_t n_end) {
    for (; m < m_end && n < n_end; ++m) {
      const std::size_t at = (first + m * stride_ + n) * bytes_of(type_);
      std::memcpy(bytes_.data() + at, from.bytes_.data() + at, (n_end - n) * bytes_of(type_));
    }
  }

 private:
  static constexpr std::size_t first = 3, gap = 5;
  static constexpr int canary = 0xA5;

  std::uint32_t element(std::size_t i) const {
    std::uint32_t bits = 0;
    std::memcpy(&bits, bytes_.data() + i * bytes_of(type_), bytes_of(type_));
    return bits;
  }

  bool is_nan(std::uint32_t bits) const {
    if (type_ == output_type::float32) return (bits & 0x7fffffffu) > 0x7f800000u;
    if (type_ == output_type::float16) return (bits & 0x7fffu) > 0x7c00u;
    return type_ == output_type::bfloat16 && (bits & 0x7fffu) > 0x7f80u;
  }

  output_type type_;
  std::size_t outputs_, stride_;
  std::vector<std::byte> bytes_;
};

/// All of a product: every token, every panel.
template <class X, tern::codec Codec>
tern::kernel::tile whole(const tern::kernel::product<X, Codec>& a) {
  return {0, a.x.rows(), 0, a.w.panels()};
}

/// The result of the reference. a.y is a canvas of a.y.type, whatever else it says.
template <class X, tern::codec Codec>
canvas reference(tern::kernel::product<X, Codec> a) {
  canvas y(a.x.rows(), a.w.rows(), a.y.type);
  a.y = y.output();
  tern::kernel::reference::matmul(a);
  return y;
}

template <class Isa, class X, tern::codec Codec>
canvas computed(tern::kernel::product<X, Codec> a) {
  canvas y(a.x.rows(), a.w.rows(), a.y.type);
  a.y = y.output();
  tern::kernel::run_tile(Isa{}, a, whole(a));
  return y;
}

template <class Isa, class X, tern::codec Codec>
std::string difference(const tern::kernel::product<X, Codec>& a) {
  return computed<Isa>(a).difference(reference(a));
}

/// Runs tiles into a fresh canvas, which must then hold that part of the whole result and canaries everywhere else.
template <class Isa, class X, tern::codec Codec>
std::string tiles_difference(tern::kernel::product<X, Codec> a, const canvas& all,
                             const std::vector<tern::kernel::tile>& tiles) {
  canvas got(a.x.rows(), a.w.rows(), a.y.type), want(a.x.rows(), a.w.rows(), a.y.type);
  a.y = got.output();
  for (const tern::kernel::tile& t : tiles) {
    tern::kernel::run_tile(Isa{}, a, t);
    want.copy(all, t.token_begin, t.token_end, t.panel_begin * tern::panel_rows,
              tern::detail::lesser(t.panel_end * tern::panel_rows, a.w.rows()));
  }
  return got.difference(want);
}

/// Weights in a drawn codec.
template <tern::codec Codec>
tern::packed_matrix<Codec> draw_packed(dice& d, const facts& f, const tern::pack_options& options) {
  const Codec codec = draw_codec<Codec>(d);
  return tern::packed_matrix<Codec>(draw_weights<Codec>(d, f, codec), options, codec);
}

template <tern::codec Codec>
struct problem {
  tern::quantized_activations x;
  tern::packed_matrix<Codec> w;
  std::vector<float> bias;
  output_type output;

  problem(dice& d, const facts& f)
      : x(draw_activations(d, f)),
        w(draw_packed<Codec>(d, f, {.scales = f.scales, .sums = f.x_zeros})),
        bias(draw_reals(d, f.bias ? f.outputs : 0)),
        output(f.output) {}

  /// The arguments of a kernel, but for the place of y.
  tern::kernel::product<tern::activations_view, Codec> product() const {
    tern::kernel::product<tern::activations_view, Codec> a{
        x.view(), w.view(), {}, bias.empty() ? nullptr : bias.data()};
    a.y.type = output;
    return a;
  }
};

/// Float activations at an odd place, their rows apart.
template <tern::codec Codec>
struct float_problem {
  std::size_t tokens, inputs;
  std::vector<float> x;
  tern::packed_matrix<Codec> w;
  std::vector<float> bias;
  output_type output;

  float_problem(dice& d, const facts& f)
      : tokens(f.tokens),
        inputs(f.inputs),
        x(draw_reals(d, 1 + f.tokens * stride())),
        w(draw_packed<Codec>(d, f, {.scales = f.scales})),
        bias(draw_reals(d, f.bias ? f.outputs : 0)),
        output(f.output) {}

  std::size_t stride() const { return inputs + 3; }
  float& at(std::size_t m, std::size_t k) { return x[1 + m * stride() + k]; }

  tern::kernel::product<tern::kernel::float_view, Codec> product() const {
    const tern::kernel::float_view view(x.data() + 1, tokens, inputs, stride());
    tern::kernel::product<tern::kernel::float_view, Codec> a{view, w.view(), {}, bias.empty() ? nullptr : bias.data()};
    a.y.type = output;
    return a;
  }
};

/// A packed matrix whose blocks, padding included, are set byte by byte; scales 1 unless drawn over.
template <tern::codec Codec>
class raw_weights {
 public:
  template <class Byte>
  raw_weights(const facts& f, Byte&& next_byte, const Codec& codec = {}) {
    tern::quantized_matrix q(f.planes, f.outputs, f.inputs, f.granularity);
    q.scales.assign(q.scales.size(), 1.0f);
    const tern::packed_matrix<Codec> zero(q, {.scales = f.scales}, codec);
    storage_ = tern::aligned_bytes(zero.storage_bytes());
    const std::span<std::byte> bytes = storage_;
    if (!bytes.empty()) std::memcpy(bytes.data(), zero.storage().data(), bytes.size());
    for (std::size_t i = 0; i < zero.view().panels() * f.planes * zero.view().blocks() * tern::block_bytes<Codec>; ++i)
      bytes[i] = static_cast<std::byte>(next_byte());
    view_ = {bytes, zero.format(), codec};
  }
  const tern::packed_view<Codec>& view() const { return view_; }

 private:
  tern::aligned_bytes storage_;
  tern::packed_view<Codec> view_;
};

/// Activations of one token rule: code(m, k).
template <class Code>
tern::quantized_activations activations(std::size_t tokens, std::size_t inputs, Code&& code,
                                        std::span<const std::int32_t> zeros = {}) {
  tern::matrix<std::int8_t> codes(tokens, inputs);
  for (std::size_t m = 0; m < tokens; ++m)
    for (std::size_t k = 0; k < inputs; ++k) codes(m, k) = static_cast<std::int8_t>(code(m, k));
  return tern::quantized_activations::from_codes(codes.view(), std::vector<float>(tokens, 1.0f), zeros);
}

}  // namespace tern_test
