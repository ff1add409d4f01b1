// SPDX-License-Identifier: MIT
// expect: sse9
#if MUST_NOT_COMPILE
#define TERN_PIN_ISA sse9
#else
#define TERN_PIN_ISA scalar
#endif
#include <tern/kernel/dispatch.hpp>

std::string_view name() { return tern::isa::best_name(); }
