// SPDX-License-Identifier: MIT
/// Weights to trits: every rule, plain and weighted, and what they pack to.
#include <tern/io/blob.hpp>
#include <tern/quantize/ternary.hpp>

#include "answers.hpp"

namespace answers {

void ternary(sink& out) {
  struct rule {
    const char* name;
    tern::quantized_matrix (*quantize)(const tern::matrix<float>&, tern::granularity, const workers&);
  };
  const rule rules[] = {
      {"absmean", [](const tern::matrix<float>& w, tern::granularity g,
                     const workers& ex) { return tern::quantize_ternary(w, tern::absmean{}, g, ex); }},
      {"twn", [](const tern::matrix<float>& w, tern::granularity g,
                 const workers& ex) { return tern::quantize_ternary(w, tern::twn{}, g, ex); }},
      {"ternary_absmax", [](const tern::matrix<float>& w, tern::granularity g,
                            const workers& ex) { return tern::quantize_ternary(w, tern::ternary_absmax{}, g, ex); }},
      {"ternary_optimum", [](const tern::matrix<float>& w, tern::granularity g,
                             const workers& ex) { return tern::quantize_ternary(w, tern::ternary_optimum{}, g, ex); }},
      {"ternary_optimum, weighted",
       [](const tern::matrix<float>& w, tern::granularity g, const workers& ex) {
         dice d(31);
         std::vector<float> importance(w.cols());
         for (float& h : importance) h = d.positive(-8, 8);
         return tern::quantize_ternary(w, tern::ternary_optimum{importance}, g, ex);
       }},
  };
  for (const rule& r : rules) {
    out.begin(r.name);
    dice d(30);
    for (const kind k : kinds)
      for (const tern::granularity g :
           {tern::per_tensor, tern::per_channel, tern::per_input, tern::per_group(80), tern::per_group(13)}) {
        const std::size_t rows = d.one_of({1, 5, 18}), cols = d.one_of({1, 80, 96, 201});
        const auto w = draw(d, k, rows, cols);
        const auto q = r.quantize(w, g, out.ex);
        out.put(q);
        if (g.kind == tern::granularity::sharing::input || g.group % 80 != 0) continue;
        out.put_bytes(tern::ternary_matrix<tern::i2>(q).storage());
        out.put_bytes(tern::save(tern::ternary_matrix<tern::b3>(q, {.scales = tern::scale_type::bfloat16})));
      }
  }
}

}  // namespace answers
