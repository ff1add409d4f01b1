// SPDX-License-Identifier: MIT
/// Products and layers of one codec: codec_products<Codec>(out) and layer_answers<Layer>(out, name, options...).
#pragma once

#include <tern/io/blob.hpp>
#include <tern/linear.hpp>
#include <tern/matmul.hpp>
#include <tern/quantize/synthetic.hpp>

#include "answers.hpp"

namespace answers {

/// Everything about a product but its values.
struct product_case {
  std::size_t tokens = 1, outputs = 1, inputs = 1, planes = 1;
  tern::granularity granularity = tern::per_channel;
  tern::scale_type scales = tern::scale_type::float32;
  bool x_zeros = false, w_zeros = false, bias = false;
  std::size_t y = 0;  // float, half, bfloat16, int32
};

/// Any case, but no more work than the slowest emulator has time for.
inline product_case draw_case(dice& d, std::size_t group_multiple) {
  product_case c;
  c.tokens = d.one_of({1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 63, 64, 65, 70});
  c.outputs = d.one_of({1, 5, 15, 16, 17, 31, 33, 48, 64, 100});
  c.inputs = d.one_of({1, 3, 4, 15, 16, 17, 20, 31, 63, 64, 65, 79, 80, 127, 128, 139, 160, 257, 320, 515});
  while (c.tokens * c.outputs * c.inputs > 200000) c.tokens = (c.tokens + 1) / 2;
  const std::size_t multiples = d.one_of({1, 2, 3, 8});
  const tern::granularity sharing[] = {tern::per_tensor, tern::per_channel,
                                       tern::per_group(multiples * group_multiple)};
  c.granularity = sharing[d.below(3)];
  c.scales = static_cast<tern::scale_type>(d.below(3));
  c.planes = d.one_of({1, 1, 2, 3});
  c.x_zeros = d.below(4) == 0;
  c.w_zeros = d.below(4) == 0;
  c.bias = d.flip();
  c.y = d.below(4);
  if (c.y == 3) {
    c.bias = false;
    c.planes = 1;
    if (c.granularity.kind == tern::granularity::sharing::group) c.granularity = tern::per_channel;
  }
  return c;
}

template <tern::codec Codec>
Codec draw_codec(dice& d) {
  if constexpr (std::same_as<Codec, tern::n4>) {
    const std::size_t which = d.below(6);
    if (which < 4) return tern::n4(tern::trit_codes_of_2[which]);
    if (which == 4) return tern::n4();
    const int least = d.between(-63, 0);  // any table that spans 63 at most
    std::int8_t table[16] = {};
    for (std::size_t v = 1; v < 16; ++v) table[v] = d.code(least, least + 63);
    return tern::n4::from_state(table);
  } else if constexpr (requires { Codec(tern::trit_code()); }) {
    const std::size_t which = d.below(5);
    if (Codec::planes() == 2) return Codec(which == 4 ? tern::trit_code{{17, 14}} : tern::trit_codes_of_2[which]);
    return Codec(which == 4 ? tern::trit_code{{16, 11, 4}} : tern::trit_codes_of_3[which]);
  } else {
    return Codec();
  }
}

/// A level that the codec holds.
template <tern::codec Codec>
std::int8_t draw_level(dice& d, const Codec& codec) {
  for (;;) {
    std::uint8_t bytes[Codec::bytes];
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(d.below(256));
    const std::int8_t level = codec.decode(bytes, d.below(Codec::fold));
    if (codec.holds(level)) return level;
  }
}

template <tern::codec Codec>
tern::packed_matrix<Codec> draw_weights(dice& d, const product_case& c) {
  const auto codec = draw_codec<Codec>(d);
  tern::quantized_matrix q(c.planes, c.outputs, c.inputs, c.granularity);
  for (std::int8_t& level : q.codes) level = draw_level(d, codec);
  for (float& scale : q.scales) scale = d.real();
  if (c.w_zeros) q.zeros.resize(q.scales.size());
  for (std::int8_t& zero : q.zeros) zero = d.code();
  return tern::packed_matrix<Codec>(q, {.scales = c.scales, .sums = c.x_zeros}, codec);
}

/// Y = X W^T in batches, where x(begin, end) makes the left operand of some tokens.
template <class Y, class X, tern::codec Codec>
void put_product(sink& out, std::size_t tokens, const X& x, const tern::packed_matrix<Codec>& w,
                 std::span<const float> bias) {
  tern::matrix<Y> y(tokens, w.rows());
  out.parts(tokens, [&](std::size_t begin, std::size_t end) {
    tern::matmul(x(begin, end), w, rows_of(y, begin, end), bias, out.ex);
  });
  out.put(y);
}

struct codes {
  tern::matrix<std::int8_t> x;
  std::vector<float> scales;
  std::vector<std::int32_t> zeros;

  tern::quantized_activations operator()(std::size_t begin, std::size_t end) const {
    const auto some = [&](const auto& all) {
      return std::span(all).subspan(all.empty() ? 0 : begin, all.empty() ? 0 : end - begin);
    };
    return tern::quantized_activations::from_codes(rows_of(x, begin, end), some(scales), some(zeros));
  }
};

inline codes draw_codes(dice& d, const product_case& c) {
  codes x{tern::matrix<std::int8_t>(c.tokens, c.inputs), {}, {}};
  for (std::size_t i = 0; i < c.tokens * c.inputs; ++i) x.x.data()[i] = d.code();
  for (std::size_t m = 0; m < c.tokens; ++m) {
    x.scales.push_back(d.real());
    if (c.x_zeros) x.zeros.push_back(d.code());
  }
  return x;
}

template <class X, tern::codec Codec>
void put_product(sink& out, const product_case& c, const X& x, const tern::packed_matrix<Codec>& w,
                 std::span<const float> bias) {
  if (c.y == 0) put_product<float>(out, c.tokens, x, w, bias);
  if (c.y == 1) put_product<tern::half>(out, c.tokens, x, w, bias);
  if (c.y == 2) put_product<tern::bfloat16>(out, c.tokens, x, w, bias);
  if constexpr (std::same_as<X, codes>)
    if (c.y == 3) put_product<std::int32_t>(out, c.tokens, x, w, bias);
}

/// int8 activations, random; the packed bytes too.
template <tern::codec Codec>
void random_products(sink& out, const std::string& name) {
  out.begin(name + ": products");
  dice d(80);
  for (int i = 0; i < 60; ++i) {
    const product_case c = draw_case(d, Codec::group_multiple);
    const auto w = draw_weights<Codec>(d, c);
    const codes x = draw_codes(d, c);
    const auto bias = draw_bias(d, c.bias ? c.outputs : 0);
    out.put_bytes(w.storage());
    put_product(out, c, x, w, bias);
  }
}

/// More panels and tokens than any kernel takes at once; many groups, and depths that end within blocks.
template <tern::codec Codec>
void large_products(sink& out, const std::string& name) {
  out.begin(name + ": large products");
  dice d(83);
  const product_case cases[] = {
      {.tokens = 1, .outputs = 600, .inputs = 333, .bias = true},
      {.tokens = 1, .outputs = 290, .inputs = 331, .planes = 2, .granularity = tern::per_group(80)},
      {.tokens = 20, .outputs = 300, .inputs = 161, .granularity = tern::per_group(80)},
      {.tokens = 133, .outputs = 275, .inputs = 90, .x_zeros = true, .w_zeros = true}};
  for (const product_case& c : cases) {
    const auto w = draw_weights<Codec>(d, c);
    const codes x = draw_codes(d, c);
    const auto bias = draw_bias(d, c.bias ? c.outputs : 0);
    put_product(out, c, x, w, bias);
  }
}

/// Sums as large as they get: the largest level times the largest activation, over runs long enough for any accumulator of
/// 16 bits, and over the longest run that int32 holds.
template <tern::codec Codec>
void largest_sums(sink& out, const std::string& name) {
  out.begin(name + ": largest sums");
  const Codec codec;
  int least = 0, most = 0;
  for (int level = -128; level < 128; ++level)
    if (codec.holds(level)) least = level < least ? level : least, most = level;
  const std::size_t deepest = Codec::bytes == 1 ? tern::max_inputs(false, false) : 20000;  // packing them takes a while
  for (const std::size_t inputs : {std::size_t{1999}, deepest}) {
    const std::size_t tokens = inputs > 2000 ? 1 : 5, outputs = inputs > 2000 ? 2 : 18;
    tern::quantized_matrix q(1, outputs, inputs, tern::per_channel);
    for (std::size_t n = 0; n < outputs; ++n) {
      q.scales[n] = 0.11f;
      for (std::size_t k = 0; k < inputs; ++k)
        q.code_row(0, n)[k] = static_cast<std::int8_t>(n % 2 == 0 ? least : most);
    }
    const tern::packed_matrix<Codec> w(q, {}, codec);
    product_case c{.tokens = tokens, .outputs = outputs, .inputs = inputs};
    for (const int x_code : {-128, 127}) {
      codes x{tern::matrix<std::int8_t>(tokens, inputs), std::vector<float>(tokens, 0.37f), {}};
      for (std::size_t i = 0; i < tokens * inputs; ++i) x.x.data()[i] = static_cast<std::int8_t>(x_code);
      for (const std::size_t y : {std::size_t{0}, std::size_t{3}}) {
        c.y = y;
        put_product(out, c, x, w, {});
      }
    }
  }
}

/// Scales whose products are subnormal, infinite, or zero; zeros of both signs; biases that cancel.
template <tern::codec Codec>
void extreme_scales(sink& out, const std::string& name) {
  out.begin(name + ": extreme scales");
  dice d(81);
  constexpr int exponents[] = {-127, -126, -75, -64, -1, 0, 63, 64, 100, 126};
  for (int i = 0; i < 12; ++i) {
    product_case c{.tokens = 9, .outputs = 35, .inputs = 40, .bias = i % 2 == 0, .y = static_cast<std::size_t>(i) % 3};
    c.planes = 1 + static_cast<std::size_t>(i) % 2;
    const auto codec = draw_codec<Codec>(d);
    tern::quantized_matrix q(c.planes, c.outputs, c.inputs, tern::per_channel);
    for (std::int8_t& level : q.codes) level = draw_level(d, codec);
    for (float& scale : q.scales) {
      const int exponent = exponents[d.below(std::size(exponents))];
      scale = d.real(exponent, exponent);
      if (d.below(8) == 0) scale = d.flip() ? 0.0f : -0.0f;
    }
    const tern::packed_matrix<Codec> w(q, {}, codec);
    codes x = draw_codes(d, c);
    for (float& scale : x.scales) {
      const int exponent = exponents[d.below(std::size(exponents))];
      scale = d.real(exponent, exponent);
      if (d.below(8) == 0) scale = d.flip() ? 0.0f : -0.0f;
    }
    std::vector<float> bias = draw_bias(d, c.bias ? c.outputs : 0);
    for (float& b : bias) {
      const int exponent = exponents[d.below(std::size(exponents))];
      b = d.real(exponent, exponent);
    }
    put_product(out, c, x, w, bias);
  }
}

/// Float activations: of every size, infinite, NaN, subnormal.
template <tern::codec Codec>
void float_products(sink& out, const std::string& name) {
  out.begin(name + ": float activations");
  dice d(82);
  for (int i = 0; i < 24; ++i) {
    product_case c = draw_case(d, Codec::group_multiple);
    while (c.tokens * c.outputs * c.inputs > 40000) c.tokens /= 2, c.outputs = (c.outputs + 1) / 2;
    c.y %= 3;
    c.x_zeros = false;
    const auto w = draw_weights<Codec>(d, c);
    tern::matrix<float> x(c.tokens, c.inputs);
    for (std::size_t j = 0; j < c.tokens * c.inputs; ++j)
      x.data()[j] = i % 3 == 0 ? d.real(-127, 126) : d.real(-12, 12);
    if (i % 6 == 1 && c.tokens != 0) {
      x(0, 0) = std::numeric_limits<float>::infinity();
      x(c.tokens - 1, c.inputs / 2) = -std::numeric_limits<float>::infinity();
      x(c.tokens / 2, c.inputs - 1) = std::numeric_limits<float>::quiet_NaN();
    }
    const auto bias = draw_bias(d, c.bias ? c.outputs : 0);
    put_product(
        out, c, [&](std::size_t begin, std::size_t end) { return rows_of(x, begin, end); }, w, bias);
  }
}

template <tern::codec Codec>
void codec_products(sink& out) {
  const std::string name(Codec::name());
  random_products<Codec>(out, name);
  large_products<Codec>(out, name);
  largest_sums<Codec>(out, name);
  extreme_scales<Codec>(out, name);
  float_products<Codec>(out, name);
}

/// What a layer makes of x in every type of x and y.
template <class Y, class Layer, class X>
void put_layer(sink& out, const Layer& layer, const tern::matrix<X>& x) {
  tern::matrix<Y> y(x.rows(), layer.out_features());
  out.parts(x.rows(), [&](std::size_t begin, std::size_t end) {
    tern::aligned_bytes workspace(layer.workspace_bytes(end - begin));
    layer(rows_of(x, begin, end), rows_of(y, begin, end), workspace, out.ex);
  });
  out.put(y);
}

/// Layers from float weights of several kinds: their blobs, and their outputs.
template <class Layer, class Options>
void layer_answers(sink& out, const std::string& name, const std::vector<Options>& all_options) {
  out.begin("layers: " + name);
  dice d(90);
  for (const Options& options : all_options)
    for (const kind k : {kind::bell, kind::wide, kind::grid, kind::bfloats, kind::outliers, kind::zero}) {
      const std::size_t outputs = d.one_of({1, 16, 37}), inputs = d.one_of({1, 33, 64, 150}),
                        tokens = d.one_of({1, 4, 9, 66});
      const auto w = draw(d, k, outputs, inputs);
      const auto x = draw(d, kind::bell, tokens, inputs);
      const auto bias = draw_bias(d, d.flip() ? outputs : 0);
      const auto scales = static_cast<tern::scale_type>(d.below(3));
      const auto layer = Layer::from_float(w, bias, options, {.scales = scales});
      out.put_bytes(tern::save(layer));
      put_layer<float>(out, layer, x);
      put_layer<tern::bfloat16>(out, layer, converted<tern::half>(x));
      put_layer<tern::half>(out, layer, converted<tern::bfloat16>(x));
    }
}

}  // namespace answers
