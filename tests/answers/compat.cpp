// SPDX-License-Identifier: MIT
/// Other projects' quantizers, bit for bit.
#include <tern/quantize/compat.hpp>

#include "answers.hpp"

namespace answers {

void compat(sink& out) {
  namespace compat = tern::compat;
  dice d(70);
  for (const kind k : kinds) {
    // A scale of zero, or a code that no int8 is, is an error in some of them.
    if (k == kind::zero || k == kind::huge || k == kind::tiny || k == kind::subnormal || k == kind::far) continue;
    out.begin("compat of " + std::string(name_of(k)));
    const auto x = draw(d, k, 6, 64);
    for (const unsigned bits : {2u, 4u, 8u, 16u}) {
      const auto symmetric = compat::symmetric_quantize(x, bits);
      out.put(symmetric.quantized);
      out.put(symmetric.scale);
      out.put(compat::symmetric_dequantize(symmetric.quantized, symmetric.scale));
      const auto asymmetric = compat::asymmetric_quantize(x, bits);
      out.put(asymmetric.quantized);
      out.put(asymmetric.scale);
      out.put(asymmetric.zero_point);
      out.put(compat::activation_quant(x, bits));
    }
    for (const int dim : {0, 1}) {
      const auto channels = compat::per_channel_quantize(x, 8, dim);
      out.put(channels.quantized);
      out.put(std::span<const float>(channels.scales));
      const auto back = compat::per_channel_dequantize(channels.quantized, channels.scales, dim);
      const auto error = compat::compute_quantization_error(x, back);  // but for snr_db, the C library's logarithm
      out.put(error.max_error);
      out.put(error.mean_error);
      out.put(error.mse);
    }
    for (const auto& pair : {compat::absmax_quantize(x), compat::zeropoint_quantize(x)}) {
      out.put(pair.quantized);
      out.put(pair.dequantized);
    }
    const auto tokens = compat::quantize_activations(x.data(), {6, 64});
    out.put(std::span<const std::int8_t>(tokens.data));
    out.put(std::span<const float>(tokens.scales));
    out.put(compat::quantize_ste(x.data(), {2, 3, 64}));
    out.put(compat::quantize_weights(x, 16));
    const auto planes = compat::greedy_ternary_decomposition(x, 3);
    out.put(planes.ternary);
    out.put(planes.gammas);
    const auto tokens_x = draw(d, kind::bell, 3, 64);
    out.put(compat::multi_ternary_linear(tokens_x, planes.ternary, planes.gammas, draw_bias(d, 6)));
  }

  out.begin("compat of no numbers");
  auto x = draw(d, kind::bell, 4, 32);
  x(1, 3) = std::numeric_limits<float>::quiet_NaN();
  x(2, 4) = std::numeric_limits<float>::infinity();
  x(3, 31) = -std::numeric_limits<float>::infinity();
  const auto tokens = compat::quantize_activations(x.data(), {4, 32});
  out.put(std::span<const std::int8_t>(tokens.data));
  out.put(std::span<const float>(tokens.scales));
  out.put(compat::quantize_weights(x, 16));
  out.put(compat::symmetric_quantize(x).quantized);
  out.put(compat::activation_quant(x));
}

}  // namespace answers
