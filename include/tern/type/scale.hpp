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

/// What shares one scale: the matrix, a row, or `group` consecutive inputs of a row (the last group may be shorter).
struct granularity {
  enum class sharing : std::uint8_t { tensor, row, group };

  sharing kind = sharing::row;
  std::size_t group = 0;  // inputs, for sharing::group only

  /// Groups in a row of `cols` inputs; never 0, so that an empty row still has a scale.
  /// Errors: range_error for groups of no inputs.
  TERN_INLINE constexpr std::size_t groups(std::size_t cols) const {
    if (kind == sharing::group && group == 0)
      detail::fail<range_error>({"granularity: a group needs at least one input"});
    return kind == sharing::group && cols != 0 ? detail::ceil_div(cols, group) : 1;
  }
  /// Inputs of one group, `cols` where a row has only one.
  constexpr std::size_t group_inputs(std::size_t cols) const { return kind == sharing::group ? group : cols; }

  friend bool operator==(const granularity&, const granularity&) = default;
};

/// One scale for the whole matrix.
inline constexpr granularity per_tensor{granularity::sharing::tensor, 0};
/// One scale for each row of W, that is for each output.
inline constexpr granularity per_channel{granularity::sharing::row, 0};
/// One scale for each row of X.
inline constexpr granularity per_token{granularity::sharing::row, 0};
/// One scale for every `inputs` consecutive inputs of a row.
TERN_INLINE constexpr granularity per_group(std::size_t inputs) {
  if (inputs == 0) detail::fail<range_error>({"per_group: a group needs at least one input"});
  return {granularity::sharing::group, inputs};
}

/// How the scales of a packed matrix are stored.
enum class scale_type : std::uint8_t { float32, float16, bfloat16 };

constexpr std::size_t bytes_of(scale_type type) { return type == scale_type::float32 ? 4 : 2; }

}  // namespace tern::inline v0_1
