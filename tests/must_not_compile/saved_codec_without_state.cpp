// SPDX-License-Identifier: MIT
// expect: a codec with members is saved by state_size, state\(\) and from_state\(\)
#include "../static/hostile.hpp"

tern::aligned_bytes saved(const tern::packed_matrix<hostile::codec>& w) {
#if MUST_NOT_COMPILE
  return tern::save(w);
#else
  return tern::aligned_bytes(w.storage_bytes());
#endif
}
