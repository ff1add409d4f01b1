// SPDX-License-Identifier: MIT
#if defined(__x86_64__)
#define TERN_PIN_ISA avx2
#define UNIT pinned_to_avx2
#include "isa/pinned.inc"
#endif
