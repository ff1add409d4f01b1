// SPDX-License-Identifier: MIT
#include <tern/llm_int8_linear.hpp>

#include "products.hpp"

namespace answers {
namespace {

/// y = 1 * 1 * x_scale: what a kernel makes of any float as half and as bfloat16, at and beside every boundary.
template <class Y, int Shift>
void stores(sink& out, const char* name, std::uint32_t boundary) {
  out.begin(name);
  codes x{tern::matrix<std::int8_t>(65536, 1), {}, {}};
  for (std::uint32_t i = 0; i < 65536; ++i) {
    x.x(i, 0) = 1;
    // Each 16-bit prefix of a float, with one of the five bit patterns about the boundary behind it.
    const std::uint32_t beside[] = {boundary - 1, boundary, boundary + 1, boundary << 1, 0};
    std::uint32_t bits = i << 16 | (beside[i % 5] & 0xffffu);
    if ((bits & 0x7f800000u) == 0x7f800000u) bits &= 0xbfffffffu;
    x.scales.push_back(std::bit_cast<float>(bits));
  }
  tern::quantized_matrix q(1, 1, 1, tern::per_channel);
  q.codes[0] = 1;
  q.scales[0] = 1;
  put_product<Y>(out, 65536, x, tern::int8_matrix(q), {});
}

/// Scales of every finite 16-bit pattern as a kernel loads them.
void loads(sink& out, const char* name, tern::scale_type type, std::uint32_t infinity) {
  out.begin(name);
  std::vector<float> scales;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto pattern = static_cast<std::uint16_t>(bits);
    if ((bits & 0x7fffu) >= infinity) continue;
    scales.push_back(type == tern::scale_type::float16 ? tern::detail::half_to_float(pattern)
                                                       : tern::detail::bfloat16_to_float(pattern));
  }
  tern::quantized_matrix q(1, scales.size(), 1, tern::per_channel);
  for (std::int8_t& code : q.codes) code = 1;
  q.scales = scales;
  const codes x{tern::matrix<std::int8_t>(1, 1, {1}), {1.0f}, {}};
  put_product<float>(out, 1, x, tern::int8_matrix(q, {.scales = type}), {});
}

/// All tokens at once, however many a call is to have: the outlier columns are those of the batch.
void llm_int8(sink& out) {
  out.begin("layers: llm_int8_linear");
  dice d(91);
  for (const float threshold : {0.0f, 3.0f, 6.0f, std::numeric_limits<float>::infinity()})
    for (const kind k : {kind::bell, kind::outliers, kind::wide, kind::zero}) {
      const std::size_t outputs = d.one_of({1, 16, 37}), inputs = d.one_of({1, 33, 64, 150}),
                        tokens = d.one_of({1, 5, 20});
      const auto w = draw(d, kind::bell, outputs, inputs);
      const auto x = draw(d, k, tokens, inputs);
      const auto bias = draw_bias(d, d.flip() ? outputs : 0);
      const auto scales = static_cast<tern::scale_type>(d.below(3));
      const auto layer = tern::llm_int8_linear::from_float(w, bias, {.threshold = threshold}, {.scales = scales});
      out.put_bytes(tern::save(layer));
      tern::matrix<float> y(tokens, outputs);
      layer(x, y, out.ex);
      out.put(y);
      tern::matrix<tern::half> narrow(tokens, outputs);
      layer(converted<tern::bfloat16>(x), narrow, out.ex);
      out.put(narrow);
    }
}

}  // namespace

void codec_i8(sink& out) {
  codec_products<tern::i8>(out);
  stores<tern::half, 13>(out, "i8: outputs in half", 0x1000);
  stores<tern::bfloat16, 16>(out, "i8: outputs in bfloat16", 0x8000);
  loads(out, "i8: every scale in half", tern::scale_type::float16, 0x7c00);
  loads(out, "i8: every scale in bfloat16", tern::scale_type::bfloat16, 0x7f80);
  layer_answers<tern::int8_linear>(
      out, "int8_linear", std::vector<tern::granularity>{tern::per_channel, tern::per_tensor, tern::per_group(64)});
  llm_int8(out);
}

}  // namespace answers
