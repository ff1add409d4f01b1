// SPDX-License-Identifier: MIT
/// The fast Walsh-Hadamard transform: 2^n floats times the matrix of +-1 in n stages of sums and differences.
///
///     for (half = 1; half < size; half *= 2)   x[i], x[i + half] = x[i] + x[i + half], x[i] - x[i + half]
///
/// Stages come in this order, so every element is one tree of additions, and the vectors of AVX2 and AVX-512 are a choice
/// of speed alone. Those within a vector are a shuffle and an fma each; then eight vectors go through three stages between
/// a load and a store: 4096 floats are read and written four times at most.
///
/// Nanoseconds of rotating a token, products with signs included, on one processor with AVX-512 (g++ 12 -O2), beside
/// quantising it to int8 there and, before, two stages a pass with the first two in scalars:
///
///     K, blocks of       quantise   before   16 bytes   AVX2   AVX-512
///     384, 128                124      500        170    100        64
///     1536, 512               450     1800        880    440       300
///     2560, 512               740     2900       1470    730       490
///     4096, 4096             1170     5000       2980   1460       900
///     14336, 2048            4450    19000       9600   5300      4400
///
/// Quantising each row while it is still in cache, rather than all rows when all are rotated, would gain nothing for one
/// token, and for 64 and 512 tokens 0.9 and 2.5 of the 90 microseconds that a token takes in a layer of 4096 x 4096.
#pragma once

#include <utility>

#include <tern/isa/detect.hpp>

#define TERN_LANES(bytes) using lanes [[gnu::vector_size(bytes)]] = float

namespace tern::inline v0_1::detail::inline TERN_TU::hadamard {
#if defined(__AVX512F__)
TERN_LANES(64);
#elif defined(__AVX__)
TERN_LANES(32);
#else
TERN_LANES(16);  // a vector on every machine
#endif
#include <tern/quantize/hadamard_stages.inc>
}  // namespace tern::inline v0_1::detail::inline TERN_TU::hadamard

#if defined(TERN_X86) && !defined(TERN_PIN_ISA)
TERN_REGION_BEGIN("avx2,fma")
namespace tern::inline v0_1::detail::inline TERN_TU::hadamard_avx2 {
TERN_LANES(32);
#include <tern/quantize/hadamard_stages.inc>
}  // namespace tern::inline v0_1::detail::inline TERN_TU::hadamard_avx2
TERN_REGION_END
TERN_REGION_BEGIN("avx512f,fma")
namespace tern::inline v0_1::detail::inline TERN_TU::hadamard_avx512 {
TERN_LANES(64);
#include <tern/quantize/hadamard_stages.inc>
}  // namespace tern::inline v0_1::detail::inline TERN_TU::hadamard_avx512
TERN_REGION_END
#endif
#undef TERN_LANES

namespace tern::inline v0_1::detail::inline TERN_TU {

/// The loops of one region.
struct hadamard_kernel {
  void (*transform)(float* x, std::size_t size) = hadamard::transform;
  void (*multiply)(float* out, const float* x, const float* y, std::size_t size) = hadamard::multiply;
};

/// Those that this machine can run, the best last.
struct hadamard_kernels {
  hadamard_kernel all[3];
  std::size_t count = 1;

  hadamard_kernels() {
#if defined(TERN_X86) && !defined(TERN_PIN_ISA)
    const isa::x86_features& has = isa::x86_features::get();
    if (has.avx2) all[count++] = {hadamard_avx2::transform, hadamard_avx2::multiply};
    if (has.avx512vnni) all[count++] = {hadamard_avx512::transform, hadamard_avx512::multiply};
#endif
  }
  const hadamard_kernel& best() const { return all[count - 1]; }
};

}  // namespace tern::inline v0_1::detail::inline TERN_TU
