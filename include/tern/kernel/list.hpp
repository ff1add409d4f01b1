// SPDX-License-Identifier: MIT
/// The instruction sets, best first. To add one: write kernel/<name>.hpp, include it here, name it in the list. The library,
/// the tests and the benches take them from this list.
#pragma once

// Each is empty where the architecture is another.
#include <tern/kernel/amx.hpp>
#include <tern/kernel/avx2.hpp>
#include <tern/kernel/avx512vnni.hpp>
#include <tern/kernel/avxvnni.hpp>
#include <tern/kernel/neon.hpp>
#include <tern/kernel/neon_dotprod.hpp>
#include <tern/kernel/neon_i8mm.hpp>
#include <tern/kernel/scalar.hpp>
#include <tern/kernel/wasm_simd128.hpp>

namespace tern::inline v0_1::isa {

/// Every instruction set that the architecture compiled for may have; usable() tells whether this machine does.
#if defined(TERN_X86)
using all = type_list<amx, avx512vnni, avxvnni, avx2, scalar>;
#elif defined(TERN_ARM64)
using all = type_list<neon_i8mm, neon_dotprod, neon, scalar>;
#elif defined(__wasm_simd128__)
using all = type_list<wasm_simd128, scalar>;
#else
using all = type_list<scalar>;
#endif

}  // namespace tern::inline v0_1::isa
