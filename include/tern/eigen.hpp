// SPDX-License-Identifier: MIT
/// Eigen in and out. Include it beside tern.hpp; tern itself needs no Eigen.
///
/// Row-major Eigen matrices are viewed in place. Column-major ones (Eigen's default), expressions and transposes are copied
/// where an argument is read, and refused at compile time where tern would have to write through a view. A vector is one
/// token: a layer maps it to a vector. Eigen::half and Eigen::bfloat16 are tern's half and bfloat16, bit for bit.
#pragma once

#include <Eigen/Core>

#include <tern/view.hpp>

namespace tern::inline v0_1 {

namespace detail {

template <class Derived>
void take_dense(const Eigen::DenseBase<Derived>&);
template <class M>
concept eigen_dense = requires(const M& m) {
  detail::take_dense(m);
};

template <class Scalar>
struct eigen_element {
  using type = Scalar;
};
template <>
struct eigen_element<Eigen::half> {
  using type = half;
};
template <>
struct eigen_element<Eigen::bfloat16> {
  using type = bfloat16;
};
static_assert(sizeof(Eigen::half) == sizeof(half) && sizeof(Eigen::bfloat16) == sizeof(bfloat16));

}  // namespace detail

template <detail::eigen_dense M>
struct matrix_traits<M> {
  using scalar = typename M::Scalar;
  using element_type = typename detail::eigen_element<scalar>::type;
  using row_major_copy = Eigen::Matrix<scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  static constexpr bool is_vector = bool(M::IsVectorAtCompileTime);
  static constexpr bool has_memory = (int(M::Flags) & Eigen::DirectAccessBit) != 0;
  /// Rows lie in memory one after the other, elements of a row next to each other.
  static constexpr bool viewable =
      has_memory && (bool(M::IsRowMajor) || is_vector) && Eigen::internal::inner_stride_at_compile_time<M>::ret == 1;

  /// A copy in row-major order that converts to a view of itself.
  struct copy {
    row_major_copy data;
    operator matrix_view<const element_type>() const { return matrix_traits<row_major_copy>::row_major(data); }
  };

  static auto row_major(const M& m) {
    if constexpr (viewable)
      return in_place<const element_type>(m.data(), m);
    else if constexpr (is_vector && int(M::ColsAtCompileTime) == 1)
      return copy{row_major_copy(m.transpose())};
    else
      return copy{row_major_copy(m)};
  }
  static auto view(auto& m) {
    static_assert(
        viewable,
        "tern writes rows: declare the matrix Eigen::RowMajor, or copy it (column-major has no row-major view)");
    return in_place<element_type>(m.data(), m);
  }
  static auto make(const M&, std::size_t rows, std::size_t cols) {
    const auto r = static_cast<Eigen::Index>(rows), c = static_cast<Eigen::Index>(cols);
    if constexpr (is_vector)
      return result<Eigen::Matrix<float, M::RowsAtCompileTime == 1 ? 1 : Eigen::Dynamic,
                                  M::RowsAtCompileTime == 1 ? Eigen::Dynamic : 1>>(c);
    else
      return Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>(r, c);
  }

 private:
  template <class V>
  static V result(Eigen::Index size) {
    return V(size);
  }
  template <class T, class Pointer>
  static matrix_view<T> in_place(Pointer data, const M& m) {
    const auto rows = static_cast<std::size_t>(is_vector ? 1 : m.rows());
    const auto cols = static_cast<std::size_t>(is_vector ? m.size() : m.cols());
    const auto stride = is_vector ? cols : static_cast<std::size_t>(m.outerStride());
    return {reinterpret_cast<T*>(data), rows, cols, stride};
  }
};

/// A copy of a matrix as Eigen's default, column-major.
template <class T>
Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic> to_eigen(const matrix<T>& m) {
  using row_major = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  return Eigen::Map<const row_major>(m.data(), static_cast<Eigen::Index>(m.rows()),
                                     static_cast<Eigen::Index>(m.cols()));
}

}  // namespace tern::inline v0_1
