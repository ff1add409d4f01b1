// SPDX-License-Identifier: MIT
#include "products.hpp"

namespace answers {

void codec_i2(sink& out) {
  codec_products<tern::i2>(out);
  layer_answers<tern::bit_linear>(
      out, "bit_linear", std::vector<tern::granularity>{tern::per_tensor, tern::per_channel, tern::per_group(32)});
  using method = tern::decompose_method;
  layer_answers<tern::multi_ternary_linear>(
      out, "multi_ternary_linear",
      std::vector<tern::decompose_options>{
          {},
          {.planes = 3, .granularity = tern::per_group(64)},
          {.planes = 2, .granularity = tern::per_tensor, .method = method::greedy_refit},
          {.planes = 2, .method = method::alternating},
          {.planes = 3, .method = method::balanced}});
}

}  // namespace answers
