// SPDX-License-Identifier: MIT
#include "products.hpp"

namespace answers {

void codec_n4(sink& out) {
  codec_products<tern::n4>(out);
  layer_answers<tern::trit_code_linear>(
      out, "trit_code_linear",
      std::vector<tern::trit_code_options>{{}, {.granularity = tern::per_group(48)}, {.code = {{7, 5}}}});
  layer_answers<tern::int4_linear>(
      out, "int4_linear", std::vector<tern::granularity>{tern::per_group(128), tern::per_channel, tern::per_tensor});
}

}  // namespace answers
