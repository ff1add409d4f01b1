// SPDX-License-Identifier: MIT
// The message names the line of the concept that is not met.
// expect: c\.decode\(bytes, p\)
#include <tern/type/packed_matrix.hpp>

struct codec : tern::i8 {
#if MUST_NOT_COMPILE
  void decode(const std::uint8_t*, std::size_t) const = delete;
#endif
};

tern::packed_matrix<codec> pack(const tern::quantized_matrix& q) { return tern::packed_matrix<codec>(q); }
