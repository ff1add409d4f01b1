// SPDX-License-Identifier: MIT
/// Activations to int8, on the chosen instruction set, and fake quantisation.
#include <tern/quantize/ste.hpp>

#include "answers.hpp"

namespace answers {
namespace {

template <class T>
void quantize_all(sink& out, const char* name) {
  out.begin(name);
  dice d(50);
  for (const kind k : kinds)
    for (const std::size_t inputs : std::initializer_list<std::size_t>{0, 1, 15, 16, 17, 48, 63, 64, 127, 130, 333}) {
      const std::size_t tokens = d.one_of({1, 2, 5, 19});
      const auto wide = draw(d, k, tokens, inputs);
      // Rows of the largest floats are infinite as halves, which is an error.
      if (std::is_same_v<T, tern::half> && k == kind::huge) continue;
      const auto x = converted<T>(wide);
      out.parts(tokens, [&](std::size_t begin, std::size_t end) {
        tern::aligned_bytes storage(tern::activations_view::storage_bytes(end - begin, inputs));
        out.put(tern::quantize_activations(rows_of(x, begin, end), storage, out.ex));
      });
    }
}

/// Every finite half and bfloat16, each with a partner that is the row's largest.
template <class T>
void every_pattern(sink& out, const char* name) {
  out.begin(name);
  tern::matrix<T> x(256, 257);
  for (std::size_t m = 0; m < 256; ++m)
    for (std::size_t k = 0; k < 257; ++k) {
      auto bits = static_cast<std::uint16_t>(m << 8 | (k & 255u));
      const T last = T(std::numeric_limits<float>::infinity());
      if ((bits & 0x7fffu) >= last.bits) bits &= 0x83ffu;
      x(m, k).bits = bits;
    }
  out.parts(256, [&](std::size_t begin, std::size_t end) {
    tern::aligned_bytes storage(tern::activations_view::storage_bytes(end - begin, 257));
    out.put(tern::quantize_activations(rows_of(x, begin, end), storage, out.ex));
  });
}

}  // namespace

void activations(sink& out) {
  quantize_all<float>(out, "quantize_activations of float");
  quantize_all<tern::half>(out, "quantize_activations of half");
  quantize_all<tern::bfloat16>(out, "quantize_activations of bfloat16");
  every_pattern<tern::half>(out, "quantize_activations of every half");
  every_pattern<tern::bfloat16>(out, "quantize_activations of every bfloat16");

  // x / scale at and beside the ties k + 1/2: the quotient of floats must round as IEEE says.
  out.begin("quantize_activations of ties");
  dice d(51);
  tern::matrix<float> x(64, 510);
  for (std::size_t m = 0; m < 64; ++m) {
    const float largest = d.positive();
    const float scale = largest / 127.0f;
    for (std::size_t k = 0; k < 509; ++k) {
      const float tie = (static_cast<float>(k) * 0.5f - 127.0f) * scale;
      x(m, k) = std::bit_cast<float>(std::bit_cast<std::uint32_t>(tie) + static_cast<std::uint32_t>(d.between(-1, 1)));
      if (!(x(m, k) <= largest) || !(x(m, k) >= -largest)) x(m, k) = 0;
    }
    x(m, 509) = largest;
  }
  out.parts(64, [&](std::size_t begin, std::size_t end) {
    tern::aligned_bytes storage(tern::activations_view::storage_bytes(end - begin, 510));
    out.put(tern::quantize_activations(rows_of(x, begin, end), storage, out.ex));
  });

  out.begin("quantize_activations, one scale or zero points");
  for (const kind k : kinds) {
    const std::size_t tokens = d.one_of({1, 6}), inputs = d.one_of({1, 16, 77});
    const auto drawn = draw(d, k, tokens, inputs);
    out.put(tern::quantize_activations_per_tensor(drawn).view());
    out.put(tern::quantize_activations_per_tensor(drawn, 0.013f).view());
    const auto q = tern::quantize_activations_zero_point(drawn);
    out.put(q.view());
    out.put(tern::dequantize(q.view()));
  }

  out.begin("fake quantisation and gradients");
  for (const kind k : kinds) {
    const auto w = draw(d, k, 4, 50);
    const auto gradient = draw(d, kind::bell, 4, 50);
    out.put(tern::fake_quantize_activations(w));
    out.put(tern::fake_quantize_activations_zero_point(w));
    out.put(tern::fake_quantize_absmean(w));
    out.put(tern::fake_quantize_absmax(w));
    out.put(tern::fake_quantize_zero_point(w));
    out.put(tern::ste_backward_clipped(gradient, w, 0.5f));
    out.put(tern::ste_backward_clipped(gradient, w, tern::value_range{-0.25f, 0.5f}));
    const auto q = tern::quantize_absmean(w, tern::per_group(20));
    out.put(tern::ste_backward_clipped(gradient, w, q.scales, q.granularity));
  }
}

}  // namespace answers
