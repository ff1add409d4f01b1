// SPDX-License-Identifier: MIT
/// Scales that move outliers of activations into the weights: y = (x / s) (W s)^T, one s for each input.
///
/// SmoothQuant takes s from the largest magnitudes that calibration saw; AWQ from mean squares, with the exponent that
/// leaves least error in the outputs (migrate.hpp). The division can also be folded into whatever makes x, a
/// normalisation or another layer; then the layer stays a plain one, made from weights(W).
#pragma once

#include <cmath>
#include <vector>

#include <tern/parallel.hpp>
#include <tern/view.hpp>

namespace tern::inline v0_1 {

/// Division of K inputs by scales of their own.
///
/// Exactness: one division, or product for weights, rounded to float; powers of two round nothing (short of underflow).
class input_scaling {
 public:
  TERN_INLINE input_scaling() = default;
  TERN_INLINE_COPIES(input_scaling);
  /// @param scales  [K], each above 0 and finite
  /// Errors: range_error naming the input whose scale is not.
  TERN_INLINE explicit input_scaling(std::vector<float> scales) : scales_(std::move(scales)) {
    for (std::size_t k = 0; k < scales_.size(); ++k)
      if (!(scales_[k] > 0.0f && scales_[k] <= std::numeric_limits<float>::max()))
        detail::fail<range_error>({"input_scaling: scale ", k, " is ", scales_[k], ", not above 0 and finite"});
  }

  std::size_t inputs() const { return scales_.size(); }
  std::span<const float> scales() const { return scales_; }

  /// out = x / s, row by row.
  /// @param x    [M x K] float, half or bfloat16
  /// @param out  [M x K] float; may be x itself, and must not overlap it otherwise
  /// @param ex   who works on the rows; the result does not depend on it
  /// Errors: shape_error when x or out is not of K inputs or out not of the shape of x.
  template <class Tu = tu_tag, real_matrix X, executor Executor = serial_executor>
  void apply(const X& x, matrix_view<float> out, const Executor& ex = {}) const {
    each<Tu>(x, out, ex, [](float value, float scale) { return value / scale; });
  }
  /// W s: what a layer behind the scaling is made from.
  template <class Tu = tu_tag, real_matrix W>
  matrix<float> weights(const W& w) const {
    decltype(auto) rows = detail::row_major(w);
    const detail::real_view<W> view = rows;
    matrix<float> out(view.rows(), view.cols());
    each<Tu>(view, out.view(), serial_executor{}, [](float value, float scale) { return value * scale; });
    return out;
  }

 private:
  template <class Tu, class X, class Executor, class F>
  void each(const X& x, matrix_view<float> out, const Executor& ex, F f) const {
    decltype(auto) rows = detail::row_major(x);
    const detail::real_view<X> view = rows;
    if (view.cols() != inputs() || out.cols() != inputs() || out.rows() != view.rows())
      detail::fail<shape_error>({"input_scaling: x is ", view.rows(), "x", view.cols(), " and out ", out.rows(), "x",
                                 out.cols(), ", but there are ", inputs(), " scales"});
    detail::for_each_part(view.rows(), ex, [&](std::size_t, std::size_t begin, std::size_t end) {
      for (std::size_t m = begin; m < end; ++m)
        for (std::size_t k = 0; k < inputs(); ++k) out(m, k) = f(static_cast<float>(view(m, k)), scales_[k]);
    });
  }

  std::vector<float> scales_;
};

}  // namespace tern::inline v0_1
