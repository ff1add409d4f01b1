// SPDX-License-Identifier: MIT
/// Codes and scales before packing: what quantizers return and what packed matrices are made from.
#pragma once

#include <vector>

#include <tern/type/codec.hpp>
#include <tern/type/scale.hpp>

namespace tern::inline v0_1 {

namespace detail::inline TERN_TU {

/// Out of line, for many members call it and its messages weigh.
template <class Matrix>
TERN_NOINLINE void check_sizes(const Matrix& q) {
  if (q.planes == 0) fail<range_error>({"quantized_matrix: planes must be at least 1"});
  const std::size_t code_count = checked_product(q.planes, checked_product(q.rows, q.cols));
  const std::size_t scale_count = q.scale_count();
  if (q.codes.size() != code_count)
    fail<shape_error>({"quantized_matrix: ", q.planes, " planes of ", q.rows, "x", q.cols, " need ", code_count,
                       " codes, not ", q.codes.size()});
  if (q.scales.size() != scale_count)
    fail<shape_error>({"quantized_matrix: ", q.planes, " planes of ", q.rows, "x", q.cols, " with ", q.groups(),
                       " groups a row need ", scale_count, " scales, not ", q.scales.size()});
  if (!q.zeros.empty() && q.zeros.size() != scale_count)
    fail<shape_error>({"quantized_matrix: ", q.zeros.size(), " zero points for ", scale_count, " scales"});
}

}  // namespace detail::inline TERN_TU

/// A real matrix as a sum of planes of small integers with scales: W(n,k) ~ sum_p (code_p(n,k) - zero_p) * scale_p.
///
/// codes   [planes x rows x cols], row-major
/// scales  [planes x rows x groups] float; per tensor [planes], per input [planes x cols]
/// zeros   the shape of scales, in codes; empty when every zero point is 0
///
/// A plain value: fill it by hand, or by a quantizer. Packing takes int8 and checks it.
template <class Code>
struct basic_quantized_matrix {
  static_assert(std::same_as<Code, std::int8_t> || std::same_as<Code, std::uint8_t> || std::same_as<Code, std::int16_t>,
                "codes are int8, uint8 or int16");

  std::size_t planes = 1;
  std::size_t rows = 0;
  std::size_t cols = 0;
  tern::granularity granularity = per_channel;
  std::vector<Code> codes;
  std::vector<float> scales;
  std::vector<Code> zeros;

  TERN_INLINE basic_quantized_matrix() = default;
  TERN_INLINE_COPIES(basic_quantized_matrix);
  /// Zero codes, zero scales, no zero points.
  TERN_INLINE basic_quantized_matrix(std::size_t planes_, std::size_t rows_, std::size_t cols_,
                                     tern::granularity granularity_)
      : planes(planes_),
        rows(rows_),
        cols(cols_),
        granularity(granularity_),
        codes(detail::checked_product(planes_, detail::checked_product(rows_, cols_))),
        scales(scale_count()) {}

  TERN_INLINE std::size_t groups() const { return granularity.groups(cols); }
  std::size_t group_inputs() const { return granularity.group_inputs(cols); }
  /// Rows that have scales of their own.
  std::size_t scale_rows() const { return granularity.rows_share() ? 1 : rows; }

  TERN_INLINE std::size_t scale_count() const {
    return detail::checked_product(planes, detail::checked_product(scale_rows(), groups()));
  }

  Code* code_row(std::size_t plane, std::size_t row) { return codes.data() + (plane * rows + row) * cols; }
  const Code* code_row(std::size_t plane, std::size_t row) const { return codes.data() + (plane * rows + row) * cols; }
  /// The place in scales and zeros of one group of one row.
  TERN_INLINE std::size_t scale_index(std::size_t plane, std::size_t row, std::size_t group) const {
    const std::size_t scale_row = granularity.rows_share() ? 0 : row;
    return (plane * scale_rows() + scale_row) * groups() + group;
  }
  TERN_INLINE float scale(std::size_t plane, std::size_t row, std::size_t group) const {
    return scales[scale_index(plane, row, group)];
  }
  TERN_INLINE Code zero(std::size_t plane, std::size_t row, std::size_t group) const {
    return zeros.empty() ? Code{0} : zeros[scale_index(plane, row, group)];
  }

  /// Errors: shape_error when a vector's size does not follow from planes, rows, cols and granularity.
  TERN_INLINE void check() const { detail::check_sizes(*this); }

  /// One plane from given codes and scales: codes [rows x cols]; scales [rows], [1 x rows], or as the granularity says.
  template <class Tu = tu_tag>
  static basic_quantized_matrix from_codes(matrix_view<const Code> codes, std::span<const float> scales,
                                           tern::granularity granularity = per_channel) {
    basic_quantized_matrix q(1, codes.rows(), codes.cols(), granularity);
    for (std::size_t n = 0; n < q.rows; ++n)
      for (std::size_t k = 0; k < q.cols; ++k) q.code_row(0, n)[k] = codes(n, k);
    q.scales = std::vector<float>(scales.begin(), scales.end());
    q.check();
    return q;
  }
};

/// Codes in int8: what products are made of.
using quantized_matrix = basic_quantized_matrix<std::int8_t>;

/// Levels of a plane code with their steps: one plane of levels, codes(n,k) = sum_p c_p t_p(n,k), and which code it is.
struct quantized_trit_code : quantized_matrix {
  trit_code code;

  TERN_INLINE quantized_trit_code() = default;
  TERN_INLINE_COPIES(quantized_trit_code);
  TERN_INLINE quantized_trit_code(quantized_matrix levels, const trit_code& code_)
      : quantized_matrix(std::move(levels)), code(code_) {}
};

}  // namespace tern::inline v0_1
