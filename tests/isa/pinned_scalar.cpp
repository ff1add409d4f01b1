// SPDX-License-Identifier: MIT
#define TERN_PIN_ISA scalar
#define UNIT pinned_to_scalar
#include "isa/pinned.inc"
