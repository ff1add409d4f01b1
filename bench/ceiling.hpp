// SPDX-License-Identifier: MIT
/// What this machine can do at most, measured in the process that runs the kernels: speeds are quoted as a part of it.
///
/// The loops are assembly: no compiler spills, reorders or drops what is measured, and the program needs no -m flags.
/// A virtual machine often shares each core with a neighbour on the other hyperthread, who comes and goes within
/// milliseconds and takes half of the decoder. The peak of two instructions a step hardly notices, kernels do. So each
/// reading also counts nops a cycle: 4 to 6 on a core that is ours alone, about half of it on a shared one.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <tern/tern.hpp>

namespace bench {

/// Seconds that f() takes.
template <class F>
double seconds(F&& f) {
  using clock = std::chrono::steady_clock;
  const clock::time_point start = clock::now();
  f();
  return std::chrono::duration<double>(clock::now() - start).count();
}

#if defined(TERN_X86)

#define BENCH_REPEAT(times, body) ".p2align 6; 1: .rept " #times "; " body " .endr; dec %0; jnz 1b; "
// Each step multiplies into a register of its own and adds, to one of six sums, the product of three steps before.
#define BENCH_SIX_STEPS \
  BENCH_STEP(6, 0, 9)   \
  BENCH_STEP(7, 1, 10) BENCH_STEP(8, 2, 11) BENCH_STEP(9, 3, 6) BENCH_STEP(10, 4, 7) BENCH_STEP(11, 5, 8)

/// 48 steps a turn: 32 products of the bytes in ymm14 and ymm15, added as int16. Of 65 orders of the instructions none
/// was more than 2 % faster or slower.
inline void maddubs_paddw(std::uint64_t turns) {
#define BENCH_STEP(product, sum, ready) \
  "vpmaddubsw %%ymm14, %%ymm15, %%ymm" #product "; vpaddw %%ymm" #ready ", %%ymm" #sum ", %%ymm" #sum "; "
  __asm__ volatile("vpcmpeqd %%ymm14, %%ymm14, %%ymm14; vpcmpeqd %%ymm15, %%ymm15, %%ymm15; "  //
                   BENCH_REPEAT(8, BENCH_SIX_STEPS) "vzeroupper"
                   : "+r"(turns)
                   :
                   : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                     "xmm11", "xmm14", "xmm15");
#undef BENCH_STEP
}

/// The same with exact pairs: each product is widened to int32 before it is added. ymm13 holds the ones.
inline void maddubs_maddwd_paddd(std::uint64_t turns) {
#define BENCH_STEP(product, sum, ready)                                            \
  "vpmaddubsw %%ymm14, %%ymm15, %%ymm" #product "; vpmaddwd %%ymm13, %%ymm" #ready \
  ", %%ymm12;"                                                                     \
  "vpaddd %%ymm12, %%ymm" #sum ", %%ymm" #sum "; "
  __asm__ volatile(
      "vpcmpeqd %%ymm14, %%ymm14, %%ymm14; vpcmpeqd %%ymm15, %%ymm15, %%ymm15; "
      "vpabsw %%ymm15, %%ymm13; "  //
      BENCH_REPEAT(8, BENCH_SIX_STEPS) "vzeroupper"
      : "+r"(turns)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15");
#undef BENCH_STEP
}

// 48 times vpdpbusd a turn, into twelve sums: it takes five cycles, and two start in each. \\n is the number that .irp counts.
#define BENCH_DPBUSD(prefix, reg)                                                                                     \
  BENCH_REPEAT(4, ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11; " prefix "vpdpbusd %%" reg "15, %%" reg "15, %%" reg \
                  "\\n; .endr; ")                                                                                     \
  "vzeroupper" : "+r"(turns)                                                                                          \
      : : "cc",                                                                                                       \
          "xmm0",                                                                                                     \
          "xmm1",                                                                                                     \
          "xmm2",                                                                                                     \
          "xmm3",                                                                                                     \
          "xmm4",                                                                                                     \
          "xmm5",                                                                                                     \
          "xmm6",                                                                                                     \
          "xmm7",                                                                                                     \
          "xmm8",                                                                                                     \
          "xmm9",                                                                                                     \
          "xmm10",                                                                                                    \
          "xmm11",                                                                                                    \
          "xmm15"
inline void dpbusd_256(std::uint64_t turns) { __asm__ volatile(BENCH_DPBUSD("%{vex%} ", "ymm")); }
inline void dpbusd_512(std::uint64_t turns) { __asm__ volatile(BENCH_DPBUSD("", "zmm")); }
#undef BENCH_DPBUSD

/// The memory image of a tile configuration: palette 1, eight tiles of 16 rows x 64 bytes.
struct alignas(64) eight_tiles {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// 48 times tdpbssd a turn, into six sums: it takes 52 cycles, and one starts in 16. Only where isa::amx::usable(), which
/// asks the system for tiles. Both operands are loaded from the configuration itself; their values do not matter.
inline void tdpbssd(std::uint64_t turns) {
  static constexpr eight_tiles tiles;
  __asm__ volatile(
      "ldtilecfg %1; tilezero %%tmm0; tilezero %%tmm1; tilezero %%tmm2; tilezero %%tmm3; tilezero %%tmm4; "
      "tilezero %%tmm5; tileloadd (%2, %3), %%tmm6; tileloadd (%2, %3), %%tmm7; "  //
      BENCH_REPEAT(8, ".irp n, 0, 1, 2, 3, 4, 5; tdpbssd %%tmm7, %%tmm6, %%tmm\\n; .endr; ") "tilerelease"
      : "+r"(turns)
      : "m"(tiles), "r"(&tiles), "r"(std::uint64_t{0})
      : "cc", "memory");
}

/// GMAC/s of one of the loops above right now, which do 48 times `macs` a turn; takes about 15 microseconds.
inline double gmacs(void (*loop)(std::uint64_t), std::uint64_t macs = 32, std::uint64_t turns = 1200) {
  return static_cast<double>(turns * 48 * macs) / seconds([&] { loop(turns); }) * 1e-9;
}
inline double dpbusd_256_peak() { return gmacs(dpbusd_256); }
inline double dpbusd_512_peak() { return gmacs(dpbusd_512, 64); }
inline double maddubs_peak() { return gmacs(maddubs_paddw); }
inline double tdpbssd_peak() { return gmacs(tdpbssd, 16 * 16 * 64, 50); }

/// Events a nanosecond of loop(turns), `each` events a turn: the middle of three tries, should one be interrupted.
inline double rate(void (*loop)(std::uint64_t), std::uint64_t turns, double each) {
  double rates[3];
  for (double& r : rates) r = static_cast<double>(turns) * each / seconds([&] { loop(turns); }) * 1e-9;
  std::sort(rates, rates + 3);
  return rates[1];
}

/// The clock in GHz, by a chain of additions: one a cycle. (Of registers: recent cores fold constants at rename.)
inline double clock_ghz() {
  constexpr auto additions = [](std::uint64_t turns) {
    std::uint64_t sum = 1;
    __asm__ volatile(BENCH_REPEAT(100, "add %1, %1;") : "+r"(turns), "+r"(sum) : : "cc");
  };
  return rate(additions, 40, 100);
}

/// Nops in a nanosecond: the width of the core's front end times its clock.
inline double nops_per_ns() {
  constexpr auto nops = [](std::uint64_t turns) { __asm__ volatile(BENCH_REPEAT(100, "nop;") : "+r"(turns) : : "cc"); };
  return rate(nops, 80, 100);
}

#undef BENCH_SIX_STEPS
#undef BENCH_REPEAT

/// A function that measures the peak which a kernel of instruction set Isa is compared with; null where there is none.
template <class Isa>
inline constexpr double (*peak_of)() = nullptr;
template <>
inline constexpr double (*peak_of<tern::isa::avx2>)() = maddubs_peak;
template <>
inline constexpr double (*peak_of<tern::isa::avxvnni>)() = dpbusd_256_peak;
template <>
inline constexpr double (*peak_of<tern::isa::avx512vnni>)() = dpbusd_512_peak;
template <>
inline constexpr double (*peak_of<tern::isa::amx>)() = tdpbssd_peak;

#else

inline double clock_ghz() { return 0; }
inline double nops_per_ns() { return 0; }
template <class Isa>
inline constexpr double (*peak_of)() = nullptr;

#endif

}  // namespace bench
