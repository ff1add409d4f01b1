// SPDX-License-Identifier: MIT
// Packed bytes of the other order are refused, not misread. Compilers for such machines answer by the same macro.
// expect: tern's packed bytes are little-endian; this machine is not
#if MUST_NOT_COMPILE
#undef __BYTE_ORDER__
#define __BYTE_ORDER__ __ORDER_BIG_ENDIAN__
#endif
#include <tern/tern.hpp>
