// SPDX-License-Identifier: MIT
/// Observers, ranges and clips.
#include <tern/quantize/clip.hpp>

#include "answers.hpp"

namespace answers {

void calibration(sink& out) {
  out.begin("observers");
  dice d(60);
  for (const kind k : kinds) {
    tern::min_max_observer bounds;
    tern::moving_average_observer average(0.1);
    for (int batch = 0; batch < 5; ++batch) {
      const std::size_t tokens = d.one_of({1, 3, 8});
      const auto x = draw(d, k, tokens, 40);
      bounds.observe(x);
      average.observe(converted<tern::bfloat16>(x));
    }
    for (const tern::value_range& range : {bounds.range(), average.range()}) {
      out.put(range.least);
      out.put(range.most);
      for (const unsigned bits : {2u, 8u, 16u}) {
        out.put(range.symmetric_scale(bits));
        out.put(range.pytorch_symmetric_scale(bits));
        for (const tern::affine_scale& s : {range.affine(bits), range.pytorch_affine(bits)}) {
          out.put(s.scale);
          out.put(std::span<const std::int32_t>(&s.zero, 1));
        }
      }
    }
  }

  out.begin("clips");
  for (const kind k : kinds) {
    tern::magnitude_counts seen;
    for (int batch = 0; batch < 3; ++batch) {
      const std::size_t tokens = d.one_of({1, 7, 20});
      seen.observe(draw(d, k, tokens, 150));
      const auto more = draw(d, k, 2, 50);
      tern::magnitude_counts other;
      other.observe(converted<tern::bfloat16>(more));
      seen.merge(other);
    }
    for (const tern::magnitude_count& e : seen.entries()) {
      out.put(e.magnitude);
      out.put(e.count);
    }
    for (const double p : {0.0, 0.1, 1.0 / 3, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0})
      out.put(tern::percentile_clip(seen, p));
    for (const unsigned bits : {2u, 4u, 8u, 12u}) out.put(tern::mse_clip(seen, bits));
    for (const unsigned bits : {2u, 4u, 8u}) out.put(tern::entropy_clip(seen, {.bits = bits, .bins = 300}));
  }
  tern::magnitude_counts seen;
  seen.observe(draw(d, kind::outliers, 50, 100));
  out.put(tern::entropy_clip(seen, {.bins = 1024}));
}

}  // namespace answers
