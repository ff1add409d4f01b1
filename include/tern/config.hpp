// SPDX-License-Identifier: MIT
/// Every macro of the library and what it is for.
///
/// Set by the user, all optional:
///   TERN_PIN_ISA          one tag name, e.g. avx2: removes the run-time choice of instruction set
///   TERN_ALLOW_FAST_MATH  accepts -ffast-math and with it results that differ between builds
///   TERN_ON_ERROR(e)      replaces `throw e`; must not return (the default without exceptions is std::terminate)
///
/// Set here:
///   TERN_X86, TERN_AARCH64                    the architecture compiled for
///   TERN_REGION_BEGIN(features), TERN_REGION_END   a region whose functions use more instructions than the unit's flags
///   TERN_INLINE                               inlined always: atoms, which cannot be called across regions
///   TERN_NOINLINE                             a loop that wants the registers for itself
///   TERN_UNROLL                               before a loop of constant count over accumulators: keeps them in registers
///   TERN_UNROLL_TWICE                         before an inner loop whose copies of accumulators weigh
///   TERN_ASSUME(condition)                    a precondition that the public function has checked
///   TERN_TU                                   an inline namespace, named after the unit's instruction-set flags
#pragma once

#include <bit>      // std::endian
#include <climits>  // CHAR_BIT
#include <cstddef>
#include <cstdint>
#include <limits>

#include <tern/version.hpp>

#if defined(__FAST_MATH__) && !defined(TERN_ALLOW_FAST_MATH)
#error \
    "tern promises one result on every machine, and -ffast-math breaks it; define TERN_ALLOW_FAST_MATH to build all the same"
#endif
#if !defined(__GNUC__) && !defined(__clang__)
#error "tern is built with g++ 11 or clang 14 and newer; MSVC has no per-function instruction sets (use clang-cl)"
#endif

static_assert(std::endian::native == std::endian::little, "tern's packed bytes are little-endian; this machine is not");
static_assert(CHAR_BIT == 8 && std::numeric_limits<float>::is_iec559, "tern needs 8-bit bytes and IEEE 754 floats");

#if defined(__x86_64__) || defined(_M_X64)
#define TERN_X86 1
#elif defined(__aarch64__) || defined(_M_ARM64)
#define TERN_AARCH64 1
#endif

#define TERN_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define TERN_REGION_BEGIN(features) \
  TERN_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define TERN_REGION_END TERN_PRAGMA(clang attribute pop)
#else
#define TERN_REGION_BEGIN(features) TERN_PRAGMA(GCC push_options) TERN_PRAGMA(GCC target(features))
#define TERN_REGION_END TERN_PRAGMA(GCC pop_options)
#endif

#define TERN_INLINE inline __attribute__((always_inline))
#define TERN_NOINLINE __attribute__((noinline))

// g++ -O2 keeps small counted loops, and with them arrays of accumulators in memory; clang unrolls them unasked.
#if defined(__clang__)
#define TERN_UNROLL
#define TERN_UNROLL_TWICE _Pragma("clang loop unroll_count(2)")
#else
#define TERN_UNROLL _Pragma("GCC unroll 16")
#define TERN_UNROLL_TWICE _Pragma("GCC unroll 2")
#endif

#if defined(__clang__)
#define TERN_ASSUME(condition) __builtin_assume(condition)
#else
#define TERN_ASSUME(condition) ((condition) ? static_cast<void>(0) : __builtin_unreachable())
#endif

// TERN_TU. A function template that is compiled with other -m flags in two translation units is one weak symbol, and the
// linker may keep the copy that the older machine cannot run. So every function that loops over data lives in an inline
// namespace named after the flags: one letter pair for each instruction set that the compiler may use unasked.
#if defined(__SSE3__)
#define TERN_TU_1 _s3
#else
#define TERN_TU_1
#endif
#if defined(__SSSE3__)
#define TERN_TU_2 _ss3
#else
#define TERN_TU_2
#endif
#if defined(__SSE4_1__)
#define TERN_TU_3 _s41
#else
#define TERN_TU_3
#endif
#if defined(__SSE4_2__)
#define TERN_TU_4 _s42
#else
#define TERN_TU_4
#endif
#if defined(__POPCNT__)
#define TERN_TU_5 _pc
#else
#define TERN_TU_5
#endif
#if defined(__AVX__)
#define TERN_TU_6 _avx
#else
#define TERN_TU_6
#endif
#if defined(__F16C__)
#define TERN_TU_7 _f16c
#else
#define TERN_TU_7
#endif
#if defined(__FMA__)
#define TERN_TU_8 _fma
#else
#define TERN_TU_8
#endif
#if defined(__BMI__) || defined(__LZCNT__)
#define TERN_TU_9 _bmi
#else
#define TERN_TU_9
#endif
#if defined(__BMI2__)
#define TERN_TU_10 _bmi2
#else
#define TERN_TU_10
#endif
#if defined(__AVX2__)
#define TERN_TU_11 _avx2
#else
#define TERN_TU_11
#endif
#if defined(__AVXVNNI__)
#define TERN_TU_12 _avxvnni
#else
#define TERN_TU_12
#endif
#if defined(__GFNI__)
#define TERN_TU_13 _gfni
#else
#define TERN_TU_13
#endif
#if defined(__AVX512F__)
#define TERN_TU_14 _avx512
#else
#define TERN_TU_14
#endif
#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define TERN_TU_15 _bwvldq
#else
#define TERN_TU_15
#endif
#if defined(__AVX512VNNI__)
#define TERN_TU_16 _vnni
#else
#define TERN_TU_16
#endif
#if defined(__AVX512VBMI__) || defined(__AVX512VBMI2__)
#define TERN_TU_17 _vbmi
#else
#define TERN_TU_17
#endif
#if defined(__AVX512FP16__) || defined(__AVX512BF16__)
#define TERN_TU_18 _fp16
#else
#define TERN_TU_18
#endif
#if defined(__ARM_FEATURE_DOTPROD)
#define TERN_TU_19 _dotprod
#else
#define TERN_TU_19
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8) || defined(__ARM_FEATURE_SVE)
#define TERN_TU_20 _i8mm
#else
#define TERN_TU_20
#endif
#if defined(TERN_PIN_ISA)
#define TERN_TU_PIN TERN_PIN_ISA
#else
#define TERN_TU_PIN
#endif
#define TERN_TU_PASTE_(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u) \
  tu##a##b##c##d##e##f##g##h##i##j##k##l##m##n##o##p##q##r##s##t##_##u
#define TERN_TU_PASTE(...) TERN_TU_PASTE_(__VA_ARGS__)
#define TERN_TU                                                                                                    \
  TERN_TU_PASTE(TERN_TU_1, TERN_TU_2, TERN_TU_3, TERN_TU_4, TERN_TU_5, TERN_TU_6, TERN_TU_7, TERN_TU_8, TERN_TU_9, \
                TERN_TU_10, TERN_TU_11, TERN_TU_12, TERN_TU_13, TERN_TU_14, TERN_TU_15, TERN_TU_16, TERN_TU_17,    \
                TERN_TU_18, TERN_TU_19, TERN_TU_20, TERN_TU_PIN)

namespace tern::inline v0_1::inline TERN_TU {
/// Names this unit's flags in the type of a member function template that reaches a kernel.
struct tu_tag {};
}  // namespace tern::inline v0_1::inline TERN_TU
