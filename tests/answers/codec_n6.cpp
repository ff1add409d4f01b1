// SPDX-License-Identifier: MIT
#include "products.hpp"

namespace answers {

void codec_n6(sink& out) {
  codec_products<tern::n6>(out);
  layer_answers<tern::linear<tern::trit_code_matrix<tern::n6>>>(
      out, "plane codes in n6", std::vector<tern::trit_code_options>{{.granularity = tern::per_group(48)}});
}

}  // namespace answers
