// SPDX-License-Identifier: MIT
/// What the processor and the operating system can run, asked from the hardware.
#pragma once

#include <tern/config.hpp>

// Single functions of large headers are declared as these declare them.
#if defined(TERN_X86)
#include <cpuid.h>
#elif defined(TERN_ARM64) && (defined(__linux__) || defined(__FreeBSD__))
#include <sys/auxv.h>
#elif defined(TERN_ARM64) && defined(__APPLE__)
extern "C" int sysctlbyname(const char* name, void* value, std::size_t* size, void* set, std::size_t set_size);
#elif defined(TERN_ARM64) && defined(_WIN32)
extern "C" __declspec(dllimport) int __stdcall IsProcessorFeaturePresent(unsigned long feature);
#endif

namespace tern::inline v0_1::isa::inline TERN_TU {

#if defined(TERN_X86)

/// CPUID and XGETBV, read once. (clang 14 and 16 refuse __builtin_cpu_supports for the newer names.)
struct x86_features {
  bool avx2 = false;        // with FMA and F16C, which every AVX2 processor has, and the system saves the upper halves
  bool avxvnni = false;     // and AVX2
  bool amx = false;         // TILE and INT8, and AVX512-VNNI, and the system saves tiles of those that may use them
  bool avx512vnni = false;  // F, BW, DQ, VL and VNNI, and the system saves masks and all of the 32 registers

  x86_features() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) return;
    const bool fma = (c >> 12 & 1) != 0, osxsave = (c >> 27 & 1) != 0, avx = (c >> 28 & 1) != 0,
               f16c = (c >> 29 & 1) != 0;
    if (!osxsave || !avx) return;
    const std::uint64_t saved = xgetbv();
    const bool saves_ymm = (saved & 0x6) == 0x6, saves_zmm = (saved & 0xE6) == 0xE6;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return;
    avx2 = saves_ymm && fma && f16c && (b >> 5 & 1) != 0;
    const bool f = (b >> 16 & 1) != 0, dq = (b >> 17 & 1) != 0, bw = (b >> 30 & 1) != 0, vl = (b >> 31 & 1) != 0;
    avx512vnni = avx2 && saves_zmm && f && dq && bw && vl && (c >> 11 & 1) != 0;
    const bool amx_tile = (d >> 24 & 1) != 0, amx_int8 = (d >> 25 & 1) != 0, saves_tiles = (saved & 0x60000) == 0x60000;
    amx = avx512vnni && amx_tile && amx_int8 && saves_tiles;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) avxvnni = avx2 && (a >> 4 & 1) != 0;
  }

  static const x86_features& get() {
    static const x86_features features;
    return features;
  }

 private:
  /// XCR0, the register states that the system saves; the instruction itself needs no compiler flag this way.
  static std::uint64_t xgetbv() {
    std::uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return static_cast<std::uint64_t>(high) << 32 | low;
  }
};

/// Whether this process may use tiles. Linux gives them to who asks, arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), once
/// for the process and for good: signal frames grow, so a thread with a small alternate stack refuses (ENOSPC), and later ones
/// cannot be set up. So it is asked when AMX is first considered, and not by programs that pin something else.
inline bool may_use_tiles() {
#if defined(__linux__)
  static const bool granted = [] {
    long result = 158;  // arch_prctl
    __asm__ volatile("syscall" : "+a"(result) : "D"(0x1023L), "S"(18L) : "rcx", "r11", "memory");
    return result == 0;
  }();
  return granted;
#else
  return false;
#endif
}

#elif defined(TERN_ARM64)

/// What the operating system tells, asked once: the processor's own registers are not for programs to read.
struct arm_features {
  // Where it does not tell, what the unit is compiled for.
#if defined(__ARM_FEATURE_DOTPROD)
  bool dotprod = true;
#else
  bool dotprod = false;
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
  bool i8mm = true;  // and dotprod
#else
  bool i8mm = false;
#endif

  arm_features() {
#if defined(__linux__) || defined(__FreeBSD__)
    // HWCAP_ASIMDDP and HWCAP2_I8MM, which older headers do not name.
    dotprod = (auxiliary(16) >> 20 & 1) != 0;
    i8mm = dotprod && (auxiliary(26) >> 13 & 1) != 0;
#elif defined(__APPLE__)
    // macOS 12 and iOS 15 know these names.
    dotprod = dotprod || has("hw.optional.arm.FEAT_DotProd");
    i8mm = i8mm || (dotprod && has("hw.optional.arm.FEAT_I8MM"));
#elif defined(_WIN32)
    // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE and PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE.
    dotprod = IsProcessorFeaturePresent(43) != 0;
    i8mm = dotprod && IsProcessorFeaturePresent(66) != 0;
#endif
  }

  static const arm_features& get() {
    static const arm_features features;
    return features;
  }

 private:
#if defined(__linux__)
  static unsigned long auxiliary(unsigned long type) { return getauxval(type); }
#elif defined(__FreeBSD__)
  static unsigned long auxiliary(int type) {
    unsigned long value = 0;
    return elf_aux_info(type == 16 ? AT_HWCAP : AT_HWCAP2, &value, sizeof value) == 0 ? value : 0;
  }
#elif defined(__APPLE__)
  static bool has(const char* name) {
    int value = 0;
    std::size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
  }
#endif
};

#endif

}  // namespace tern::inline v0_1::isa::inline TERN_TU
