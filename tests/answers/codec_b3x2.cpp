// SPDX-License-Identifier: MIT
#include "products.hpp"

namespace answers {

void codec_b3x2(sink& out) { codec_products<tern::b3x2>(out); }

}  // namespace answers
