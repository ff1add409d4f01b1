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
#define _WIN32 1
#define __declspec(attribute)
#define __stdcall

#include <tern/isa/detect.hpp>

bool tern_test_windows() { return tern::isa::arm_features::get().i8mm; }

#endif
