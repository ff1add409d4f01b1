// SPDX-License-Identifier: MIT
// isa/detect.hpp as another system's compilers read it, with what its headers would declare: compiled on 64-bit ARM
// Linux, never run.
#if defined(__aarch64__) && defined(__linux__)

#include <bit>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <limits>

#undef __linux__
#define __APPLE__ 1

#include <tern/isa/detect.hpp>

bool tern_test_apple() { return tern::isa::arm_features::get().i8mm; }

#endif
