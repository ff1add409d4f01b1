// SPDX-License-Identifier: MIT
/// Slices: what shares a scale. The matrix, a row, a group of a row, or a column.
///
/// Every quantizer of weights is a rule for one slice, in scalar code with its sums in double, in a fixed order: the same codes
/// and scales on every machine. Slices do not depend on each other, so an executor may share them out.
#pragma once

#include <tern/parallel.hpp>
#include <tern/type/quantized_matrix.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Largest magnitude as its bit pattern, which orders floats and makes NaN and infinity the largest of all.
template <real_element T>
std::uint32_t largest_magnitude(const T* x, std::size_t count) {
  std::uint32_t largest = 0;
  for (std::size_t k = 0; k < count; ++k)
    largest = detail::greater(largest, std::bit_cast<std::uint32_t>(static_cast<float>(x[k])) & 0x7fffffffu);
  return largest;
}

/// Largest magnitude of a matrix, which is NaN or infinity where there is one.
template <real_element T>
float largest_magnitude(matrix_view<const T> x) {
  std::uint32_t largest = 0;
  for (std::size_t m = 0; m < x.rows(); ++m) largest = detail::greater(largest, largest_magnitude(x.row(m), x.cols()));
  return std::bit_cast<float>(largest);
}

/// Names the first NaN or infinity of a matrix, if there is one.
/// Errors: range_error naming row and column.
template <real_element T>
void check_finite(const char* what, matrix_view<const T> x) {
  for (std::size_t m = 0; m < x.rows(); ++m) {
    if (largest_magnitude(x.row(m), x.cols()) < 0x7f800000u) continue;
    for (std::size_t k = 0; k < x.cols(); ++k)
      if (largest_magnitude(x.row(m) + k, 1) >= 0x7f800000u)
        fail<range_error>({what, ": the value at row ", m, ", column ", k, " is not finite"});
  }
}

/// The matrix as rows of floats: itself where it is that, or else a copy. Keep what is returned while a view of it is used.
template <real_matrix M>
decltype(auto) float_rows(const M& m) {
  if constexpr (std::same_as<typename matrix_traits<M>::element_type, float>) {
    return row_major(m);
  } else {
    decltype(auto) rows = row_major(m);
    const real_view<M> view = rows;
    matrix<float> copy(view.rows(), view.cols());
    for (std::size_t n = 0; n < view.rows(); ++n)
      for (std::size_t k = 0; k < view.cols(); ++k) copy(n, k) = static_cast<float>(view(n, k));
    return copy;
  }
}

/// A slice of a matrix of floats and where it stands.
struct slice {
  matrix_view<const float> w;
  std::size_t first_input;
};

/// Calls f(i, row, group) for each slice, i counting them in the order of the scales of one plane.
template <executor Executor, class Code, class F>
void for_each_slice(const basic_quantized_matrix<Code>& q, const Executor& ex, F&& f) {
  const std::size_t groups = q.groups();
  detail::for_each_part(q.scale_rows() * groups, ex, [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t s = begin; s < end; ++s) f(s, s / groups, s % groups);
  });
}

/// The slice at a row and a group of q: of w, and of the codes of a plane of q.
template <class Code>
slice slice_of(const basic_quantized_matrix<Code>& q, matrix_view<const float> w, std::size_t row, std::size_t group) {
  const std::size_t begin = group * q.group_inputs();
  const std::size_t offset = q.rows == 0 ? 0 : row * w.row_stride() + begin;  // nothing may be added to a null pointer
  return {matrix_view<const float>(w.data() + offset, q.granularity.rows_share() ? q.rows : 1,
                                   detail::lesser(q.group_inputs(), q.cols - begin), w.row_stride()),
          begin};
}
template <class Code>
matrix_view<Code> codes_of(basic_quantized_matrix<Code>& q, std::size_t plane, std::size_t row, std::size_t group) {
  const std::size_t begin = group * q.group_inputs();
  return {q.rows == 0 ? nullptr : q.code_row(plane, row) + begin, q.granularity.rows_share() ? q.rows : 1,
          detail::lesser(q.group_inputs(), q.cols - begin), q.cols};
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU
