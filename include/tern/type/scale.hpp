// SPDX-License-Identifier: MIT
/// Scales: which real numbers the levels mean, and per what.
///
///     real = (level - zero) * scale
///
/// Granularity is a run-time value. Kernels see one form only: for each panel, an ordered list of runs (plane, group), each
/// with a row of 16 scales. Per channel is one group of K inputs; per tensor is per channel with one row for all panels.
#pragma once

#include <tern/error.hpp>
#include <tern/view.hpp>

namespace tern::inline v0_1 {

/// What shares one scale: the matrix, a row, `group` consecutive inputs of a row (the last group may be shorter), or an input,
/// that is a column. Kernels serve the first three: the scale of an input would have to be inside the sum.
struct granularity {
  enum class sharing : std::uint8_t { tensor, row, group, input };

  sharing kind = sharing::row;
  std::size_t group = 0;  // inputs, for sharing::group only

  /// Groups in a row of `cols` inputs; never 0, so that an empty row still has a scale.
  /// Errors: range_error for groups of no inputs.
  TERN_INLINE constexpr std::size_t groups(std::size_t cols) const {
    if (kind == sharing::group && group == 0)
      detail::fail<range_error>({"granularity: a group needs at least one input"});
    if (cols == 0) return 1;
    return kind == sharing::group ? detail::ceil_div(cols, group) : kind == sharing::input ? cols : 1;
  }
  /// Inputs of one group, `cols` where a row has only one.
  constexpr std::size_t group_inputs(std::size_t cols) const {
    return kind == sharing::group ? group : kind == sharing::input ? 1 : cols;
  }
  /// Whether all rows share their scales.
  constexpr bool rows_share() const { return kind == sharing::tensor || kind == sharing::input; }

  friend bool operator==(const granularity&, const granularity&) = default;
};

/// One scale for the whole matrix.
inline constexpr granularity per_tensor{granularity::sharing::tensor, 0};
/// One scale for each row of W, that is for each output.
inline constexpr granularity per_channel{granularity::sharing::row, 0};
/// One scale for each row of X.
inline constexpr granularity per_token{granularity::sharing::row, 0};
/// One scale for each input, that is for each column of W or X.
inline constexpr granularity per_input{granularity::sharing::input, 0};
/// One scale for every `inputs` consecutive inputs of a row.
TERN_INLINE constexpr granularity per_group(std::size_t inputs) {
  if (inputs == 0) detail::fail<range_error>({"per_group: a group needs at least one input"});
  return {granularity::sharing::group, inputs};
}

/// How the scales of a packed matrix are stored.
enum class scale_type : std::uint8_t { float32, float16, bfloat16 };

constexpr std::size_t bytes_of(scale_type type) { return type == scale_type::float32 ? 4 : 2; }

}  // namespace tern::inline v0_1
