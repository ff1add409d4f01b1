// SPDX-License-Identifier: MIT
/// Every macro of the library and what it is for.
///
/// Set by the user, all optional:
///   TERN_PIN_ISA          one tag name, e.g. avx2: removes the run-time choice of instruction set
///   TERN_ALLOW_FAST_MATH  accepts -ffast-math and with it results that differ between builds
///   TERN_ON_ERROR(e)      replaces `throw e`; must not return (the default without exceptions is std::terminate)
///
/// Set here:
///   TERN_X86, TERN_ARM64                      the architecture compiled for, where it has kernels of its own
///   TERN_REGION_BEGIN(features), TERN_REGION_END   a region whose functions use more instructions than the unit's flags
///   TERN_INST                                 begins the assembly of an ARM instruction that is given by its number
///   TERN_INLINE                               inlined always: atoms, which cannot be called across regions
///   TERN_INLINE_COPIES(type)                  copies, moves and the destructor of a class, compiler-made and inlined always
///   TERN_NOINLINE                             a loop that wants the registers for itself
///   TERN_UNROLL                               before a loop of constant count over accumulators: keeps them in registers
///   TERN_UNROLL_TWICE                         before an inner loop whose copies of accumulators weigh
///   TERN_TU                                   an inline namespace, named after the unit's instruction-set flags
#pragma once

#include <bit>      // std::endian
#include <climits>  // CHAR_BIT
#include <cstddef>
#include <cstdint>
#include <limits>

#include <tern/version.hpp>

#if (defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
     (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)) &&                                \
    !defined(TERN_ALLOW_FAST_MATH)
#error \
    "tern promises one result on every machine, and -ffast-math breaks it; define TERN_ALLOW_FAST_MATH to build all the same"
#endif
#if !defined(__GNUC__) && !defined(__clang__)
#error "tern is built with g++ 11 or clang 14 and newer; MSVC has no per-function instruction sets (use clang-cl)"
#endif

// 16 is how compilers say that only binary16 is computed as declared, with AVX512-FP16.
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 16
#error "tern needs float arithmetic that rounds to float; on 32-bit x86 build with -msse2 -mfpmath=sse"
#endif

static_assert(std::endian::native == std::endian::little, "tern's packed bytes are little-endian; this machine is not");
static_assert(CHAR_BIT == 8 && std::numeric_limits<float>::is_iec559, "tern needs 8-bit bytes and IEEE 754 floats");

#if defined(__x86_64__) || defined(_M_X64)
#define TERN_X86 1
#elif defined(__aarch64__)
#define TERN_ARM64 1
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

// On ARM no region lets functions use more instructions and leaves them what else the unit is compiled for: g++'s intrinsics of
// dot products need arch=armv8.2-a, and so does binutils 2.40 to assemble them, which takes other extensions away; clang 14 and
// 15 declare them only in units that have them. A number is accepted everywhere: where %0 is "v7", .Ltern_%0 is 7.
#define TERN_INST                                                                                                     \
  ".ifndef .Ltern_v0\n.irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n" \
  ".equ .Ltern_v\\n,\\n\n.endr\n.endif\n.inst "

#define TERN_INLINE inline __attribute__((always_inline))
// An assignment that runs out of memory leaves its target as it was: members assigned one by one could be of two objects.
#define TERN_INLINE_COPIES(type)                                                 \
  TERN_INLINE type(const type&) = default;                                       \
  TERN_INLINE type(type&&) noexcept = default;                                   \
  TERN_INLINE type& operator=(const type& other) { return *this = type(other); } \
  TERN_INLINE type& operator=(type&&) noexcept = default;                        \
  TERN_INLINE ~type() = default
#define TERN_NOINLINE __attribute__((noinline))

// nvcc hands pragmas of the host compiler on, and warns all the same that it does not know this one.
#if defined(__NVCC__)
#pragma nv_diag_suppress 1675
#endif

// g++ -O2 keeps small counted loops, and with them arrays of accumulators in memory; clang unrolls them unasked.
#if defined(__clang__)
#define TERN_UNROLL _Pragma("clang loop unroll(full)")
#define TERN_UNROLL_TWICE _Pragma("clang loop unroll_count(2)")
#else
#define TERN_UNROLL _Pragma("GCC unroll 16")
#define TERN_UNROLL_TWICE _Pragma("GCC unroll 2")
#endif

// TERN_TU. A function template that is compiled with other -m flags in two translation units is one weak symbol, and the
// linker may keep the copy that the older machine cannot run. So functions that loop over data live in an inline namespace
// named after the flags of the unit, and what stays outside is inlined always.
//
// TERN_FLAG(macro, name) is `name` where the compiler defines macro as 1, and nothing elsewhere: TERN_COMMA_1 puts a comma
// before the name, which makes it the second argument of TERN_SECOND.
#define TERN_COMMA_1 ,
#define TERN_SECOND(first, second, ...) second
#define TERN_FLAG_EXPANDED(...) TERN_SECOND(__VA_ARGS__, , )
#define TERN_FLAG_VALUE(value, name) TERN_FLAG_EXPANDED(TERN_COMMA_##value name)
#define TERN_FLAG(macro, name) TERN_FLAG_VALUE(macro, name)
#if defined(TERN_PIN_ISA)
#define TERN_TU_PIN TERN_PIN_ISA
#else
#define TERN_TU_PIN
#endif
#define TERN_TU_PASTE_(f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20, \
                       f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31, f32, f33, f34, f35, f36, f37, f38, f39, \
                       f40, f41, f42, f43, f44, f45, f46, f47, f48, f49, f50, f51, f52, pin)                          \
  tu##f0##f1##f2##f3##f4##f5##f6##f7##f8##f9##f10##f11##f12##f13##f14##f15##f16##f17##f18##f19##f20##f21##f22##f23##f24##f25##f26##f27##f28##f29##f30##f31##f32##f33##f34##f35##f36##f37##f38##f39##f40##f41##f42##f43##f44##f45##f46##f47##f48##f49##f50##f51##f52##_##pin
#define TERN_TU_PASTE(...) TERN_TU_PASTE_(__VA_ARGS__)
#define TERN_TU                                                                                               \
  TERN_TU_PASTE(TERN_FLAG(__SSE3__, _sse3), TERN_FLAG(__SSSE3__, _ssse3), TERN_FLAG(__SSE4_1__, _sse41),      \
                TERN_FLAG(__SSE4_2__, _sse42), TERN_FLAG(__POPCNT__, _popcnt), TERN_FLAG(__MOVBE__, _movbe),  \
                TERN_FLAG(__LZCNT__, _lzcnt), TERN_FLAG(__BMI__, _bmi), TERN_FLAG(__BMI2__, _bmi2),           \
                TERN_FLAG(__AVX__, _avx), TERN_FLAG(__F16C__, _f16c), TERN_FLAG(__FMA__, _fma),               \
                TERN_FLAG(__AVX2__, _avx2), TERN_FLAG(__AVXVNNI__, _avxvnni), TERN_FLAG(__GFNI__, _gfni),     \
                TERN_FLAG(__AVX512F__, _f), TERN_FLAG(__AVX512CD__, _cd), TERN_FLAG(__AVX512BW__, _bw),       \
                TERN_FLAG(__AVX512DQ__, _dq), TERN_FLAG(__AVX512VL__, _vl), TERN_FLAG(__AVX512VNNI__, _vnni), \
                TERN_FLAG(__AVX512VBMI__, _vbmi), TERN_FLAG(__AVX512VBMI2__, _vbmi2),                         \
                TERN_FLAG(__AVX512VPOPCNTDQ__, _vp), TERN_FLAG(__AVX512BF16__, _bf16),                        \
                TERN_FLAG(__AVX512FP16__, _fp16), TERN_FLAG(__SSE4A__, _sse4a), TERN_FLAG(__XOP__, _xop),     \
                TERN_FLAG(__FMA4__, _fma4), TERN_FLAG(__TBM__, _tbm), TERN_FLAG(__AVXVNNIINT8__, _int8),      \
                TERN_FLAG(__AVXIFMA__, _ifma), TERN_FLAG(__AVX512IFMA__, _ifma512),                           \
                TERN_FLAG(__AVX512BITALG__, _bitalg), TERN_FLAG(__ARM_FEATURE_DOTPROD, _dotprod),             \
                TERN_FLAG(__ARM_FEATURE_MATMUL_INT8, _i8mm), TERN_FLAG(__ARM_FEATURE_SVE, _sve),              \
                TERN_FLAG(__ARM_FEATURE_SVE2, _sve2), TERN_FLAG(__ARM_FEATURE_ATOMICS, _lse),                 \
                TERN_FLAG(__ARM_FEATURE_RCPC, _rcpc), TERN_FLAG(__ARM_FEATURE_CRC32, _crc),                   \
                TERN_FLAG(__ARM_FEATURE_QRDMX, _rdm), TERN_FLAG(__ARM_FEATURE_FP16_SCALAR_ARITHMETIC, _half), \
                TERN_FLAG(__ARM_FEATURE_FP16_FML, _fml), TERN_FLAG(__ARM_FEATURE_BF16, _bf),                  \
                TERN_FLAG(__ARM_FEATURE_COMPLEX, _complex), TERN_FLAG(__ARM_FEATURE_JCVT, _jcvt),             \
                TERN_FLAG(__ARM_FEATURE_FRINT, _frint), TERN_FLAG(__ARM_FEATURE_SHA3, _sha3),                 \
                TERN_FLAG(__ARM_FEATURE_MOPS, _mops), TERN_FLAG(__ARM_FEATURE_CSSC, _cssc),                   \
                TERN_FLAG(__wasm_simd128__, _simd128), TERN_FLAG(__wasm_relaxed_simd__, _relaxed), TERN_TU_PIN)

namespace tern::inline v0_1::inline TERN_TU {
/// Names this unit's flags in the type of a member function template that reaches a kernel.
struct tu_tag {};
}  // namespace tern::inline v0_1::inline TERN_TU
