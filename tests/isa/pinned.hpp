// SPDX-License-Identifier: MIT
/// What a translation unit with TERN_PIN_ISA says of itself and computes: defined by pinned.inc.
#pragma once

#include <string_view>
#include <vector>

namespace tern_test {

struct pinned_unit {
  std::string_view best_name;
  std::vector<float> result;
};

pinned_unit unpinned();
pinned_unit pinned_to_scalar();
pinned_unit pinned_to_avx2();

}  // namespace tern_test
