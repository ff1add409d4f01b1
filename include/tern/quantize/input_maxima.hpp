// SPDX-License-Identifier: MIT
/// The largest magnitude of each input of a layer: what SmoothQuant scales by and where LLM.int8() finds its outliers.
#pragma once

#include <cmath>
#include <vector>

#include <tern/quantize/slices.hpp>

namespace tern::inline v0_1 {

/// The largest magnitude of each input over all batches, in whatever order and cut they come.
///
/// Errors: observe() throws shape_error for another number of inputs and range_error naming row and column of a NaN or
///         infinity, and has then seen nothing of the batch; merge() shape_error.
class input_maxima {
 public:
  TERN_INLINE input_maxima() = default;
  TERN_INLINE_COPIES(input_maxima);
  TERN_INLINE explicit input_maxima(std::size_t inputs) : maxima_(inputs) {}

  /// @param x  [T x K] real matrix: tern's or Eigen's
  template <class Tu = tu_tag, real_matrix X>
  void observe(const X& x) {
    decltype(auto) rows = detail::row_major(x);
    const detail::real_view<X> view = rows;
    if (view.cols() != maxima_.size())
      detail::fail<shape_error>(
          {"input_maxima: x is ", view.rows(), "x", view.cols(), ", not of ", maxima_.size(), " inputs"});
    detail::check_finite("input_maxima", view);
    for (std::size_t m = 0; m < view.rows(); ++m)
      for (std::size_t k = 0; k < view.cols(); ++k)
        maxima_[k] = detail::greater(maxima_[k], std::fabs(static_cast<float>(view(m, k))));
  }
  template <class Tu = tu_tag>
  void merge(const input_maxima& other) {
    if (other.maxima_.size() != maxima_.size())
      detail::fail<shape_error>({"input_maxima: ", other.maxima_.size(), " inputs do not merge with ", maxima_.size()});
    for (std::size_t k = 0; k < maxima_.size(); ++k) maxima_[k] = detail::greater(maxima_[k], other.maxima_[k]);
  }
  std::span<const float> maxima() const { return maxima_; }

 private:
  std::vector<float> maxima_;
};

}  // namespace tern::inline v0_1
