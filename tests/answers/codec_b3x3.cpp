// SPDX-License-Identifier: MIT
#include "products.hpp"

namespace answers {

void codec_b3x3(sink& out) { codec_products<tern::b3x3>(out); }

}  // namespace answers
