// SPDX-License-Identifier: MIT
/// The quotients of the quantizer, x / scale for a row of x, correctly rounded, and their codes.
///
/// A division takes a device some twenty instructions; by a reciprocal that is known to twice the precision it takes four, and
/// not a bit differs. With y = fl(1/s) and rest = fl((1 - s y) y), where 1 - s y is exact, y + rest = (1/s)(1 + d), |d| < 2^-46.
///
///     q = fma(x, y, fl(x rest))     within 0.51 units in the last place of x/s: one of the two floats around it
///     r = fma(-s, q, x)             the remainder, exact for such a q
///     fma(r, y, q)                  = fl(x/s)
///
/// The last step is Markstein's theorem: y is the reciprocal correctly rounded, q is next to the quotient, r is exact. It wants
/// no underflow: with s in 2^-60 .. 2^60, whatever quotient is not below 1/4, and so rounds to 0 either way, has x >= 2^-62,
/// and r is a multiple of 2^-109. Rows of other scales are divided.
/// Source: P. Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor", IBM J. Res. Dev. 34, 1990.
#pragma once

#include <tern/cuda/device/intrinsics.hpp>

namespace tern::inline v0_1::cuda::device {

/// The step of a token whose largest magnitude has these bits: 1 for a row of zeros, NaN where the row is not finite.
__device__ inline float step_of(std::uint32_t largest) {
  if (largest >= 0x7f800000u) return __uint_as_float(0x7fc00000u);
  const float am = __uint_as_float(largest);
  return am < 0x1p-100f ? 1.0f : __fdiv_rn(am, 127.0f);
}

/// A scale of activations that quotients are wanted by.
class divisor {
 public:
  __device__ explicit divisor(float scale) {
    scale_ = scale;
    inverse_ = __frcp_rn(scale);
    rest_ = __fmul_rn(__fmaf_rn(-scale, inverse_, 1.0f), inverse_);
    divides_ = !(scale >= 0x1p-60f && scale <= 0x1p60f);
  }

  /// The codes of four inputs as the bytes of a word: rint(x / scale) to even. No magnitude is above the row's largest, am, and
  /// with scale = fl(am / 127) the quotient is at most 127 (1 + 2^-23), so no code is out of range. Rows of zeros, whose scale is
  /// 1, and rows that are not finite have codes of 0.
  __device__ std::uint32_t quad(const float (&x)[4]) const {
    std::uint32_t code[4];
    if (divides_) {
      if (scale_ != scale_) return 0;
#pragma unroll
      for (unsigned i = 0; i < 4; ++i) code[i] = rounded(__fdiv_rn(x[i], scale_));
    } else {
#pragma unroll
      for (unsigned i = 0; i < 4; ++i) code[i] = rounded(quotient(x[i]));
    }
    return __byte_perm(__byte_perm(code[0], code[1], 0x0040), __byte_perm(code[2], code[3], 0x0040), 0x5410);
  }

 private:
  /// To an integer in the lowest bits: beside 1.5 2^23 a unit in the last place is 1, and even where it is even.
  __device__ static std::uint32_t rounded(float x) { return __float_as_uint(__fadd_rn(x, 12582912.0f)); }

  __device__ float quotient(float x) const {
    const float q = __fmaf_rn(x, inverse_, __fmul_rn(x, rest_));
    return __fmaf_rn(__fmaf_rn(-scale_, q, x), inverse_, q);
  }

  float scale_, inverse_, rest_;
  bool divides_;
};

}  // namespace tern::inline v0_1::cuda::device
