// SPDX-License-Identifier: MIT
/// Weights to small integers: absmax, zero points, the clip of least error, given clips; distortion; what they pack to.
#include <tern/io/blob.hpp>
#include <tern/quantize/distortion.hpp>
#include <tern/quantize/weights.hpp>

#include "answers.hpp"

namespace answers {
namespace {

/// All but snr_db, which is the C library's logarithm.
void put_distortion(sink& out, const tern::distortion_result& d) {
  for (const double value :
       {d.max_error, d.mean_error, d.mse, d.relative_frobenius, d.cosine, d.sparsity, d.signal, d.noise})
    out.put(value);
}

struct weights_case {
  kind of;
  tern::granularity granularity;
  tern::matrix<float> w;
};

std::vector<weights_case> draw_cases(std::uint64_t seed) {
  dice d(seed);
  std::vector<weights_case> cases;
  for (const kind k : kinds)
    for (const tern::granularity g : {tern::per_tensor, tern::per_channel, tern::per_input, tern::per_group(16),
                                      tern::per_group(23), tern::per_group(128)}) {
      const std::size_t rows = d.one_of({1, 3, 17}), cols = d.one_of({1, 31, 64, 130});
      cases.push_back({k, g, draw(d, k, rows, cols)});
    }
  return cases;
}

}  // namespace

void weights(sink& out) {
  const auto cases = draw_cases(20);
  out.begin("quantize_absmax");
  for (const auto& c : cases) {
    for (const auto expression : {tern::expression::divide, tern::expression::normalise, tern::expression::reciprocal})
      for (const auto rounding : {tern::rounding::half_even, tern::rounding::half_away})
        for (const unsigned bits : {2u, 4u, 8u})
          out.put(tern::quantize_absmax(c.w, c.granularity, {bits, rounding, expression}, out.ex));
    out.put(tern::quantize_absmax<std::int16_t>(c.w, c.granularity, {.bits = 12}, out.ex));
    out.put(tern::quantize_absmax<std::int16_t>(c.w, c.granularity, {.bits = 16}, out.ex));
    out.put(tern::quantize_absmax(converted<tern::bfloat16>(c.w), c.granularity, {}, out.ex));
  }

  out.begin("quantize_zero_point");
  for (const auto& c : cases)
    for (const unsigned bits : {2u, 5u, 8u}) {
      out.put(tern::quantize_zero_point(c.w, c.granularity, {bits}, out.ex));
      out.put(tern::quantize_zero_point<std::uint8_t>(c.w, c.granularity, {bits}, out.ex));
    }

  out.begin("quantize_mse");
  for (const auto& c : cases) {
    for (const unsigned bits : {2u, 4u, 8u}) out.put(tern::quantize_mse(c.w, c.granularity, {bits}, out.ex));
    out.put(tern::quantize_mse<std::int16_t>(c.w, c.granularity, {11}, out.ex));
  }

  out.begin("quantize_clipped");
  dice d(21);
  for (const auto& c : cases) {
    const auto q = tern::quantize_absmax(c.w, c.granularity);
    std::vector<float> clips;
    for (const float scale : q.scales) {
      const int part = d.between(0, 200);
      clips.push_back(scale * static_cast<float>(part));
    }
    out.put(tern::quantize_clipped(c.w, clips, c.granularity, {4}, out.ex));
    out.put(tern::quantize_clipped<std::int16_t>(c.w, clips, c.granularity, {16}, out.ex));
  }

  out.begin("dequantize and distortion");
  for (const auto& c : cases) {
    const auto back = tern::dequantize(tern::quantize_mse(c.w, c.granularity, {3}));
    out.put(back);
    put_distortion(out, tern::distortion(c.w, back));
    put_distortion(out, tern::distortion(back, c.w));
    put_distortion(out, tern::distortion(converted<tern::half>(back), c.w));
  }

  auto odd = draw(d, kind::bell, 3, 20);
  const auto plain = odd;
  odd(1, 5) = std::numeric_limits<float>::infinity();
  put_distortion(out, tern::distortion(plain, odd));
  odd(2, 7) = std::numeric_limits<float>::quiet_NaN();
  put_distortion(out, tern::distortion(plain, odd));
  put_distortion(out, tern::distortion(odd, plain));

  out.begin("packed int8 and int4");
  for (const auto& c : cases) {
    // Scales of 16 bits hold neither the largest nor the smallest of float32.
    const bool extreme = c.of == kind::tiny || c.of == kind::huge || c.of == kind::subnormal || c.of == kind::far;
    const bool packs = c.granularity.kind != tern::granularity::sharing::input && c.granularity.group % 16 == 0;
    if (!packs) continue;
    for (const auto scales : {tern::scale_type::float32, tern::scale_type::float16, tern::scale_type::bfloat16}) {
      if (extreme && scales == tern::scale_type::float16) continue;
      const tern::int8_matrix eight(tern::quantize_zero_point(c.w, c.granularity), {.scales = scales});
      const tern::int4_matrix four(tern::quantize_zero_point(c.w, c.granularity, {4}),
                                   {.scales = scales, .sums = true});
      out.put_bytes(eight.storage());
      out.put_bytes(tern::save(four));
      out.put(tern::dequantize(eight));
      out.put(tern::unpack(four));
    }
  }
}

}  // namespace answers
