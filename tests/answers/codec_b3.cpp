// SPDX-License-Identifier: MIT
#include "products.hpp"

namespace answers {

void codec_b3(sink& out) {
  codec_products<tern::b3>(out);
  layer_answers<tern::linear<tern::ternary_matrix<tern::b3>>>(
      out, "ternary in b3", std::vector<tern::granularity>{tern::per_tensor, tern::per_channel, tern::per_group(40)});
}

}  // namespace answers
