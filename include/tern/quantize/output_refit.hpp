// SPDX-License-Identifier: MIT
/// The best scales for given codes, measured in the outputs: what decompose()'s refit is for weights alone.
///
/// For a group of a row, codes T_p [planes x inputs of the group] and everything else held fixed, the scales move by
///
///     G delta = b,   G_ij = T_i H_gg T_j^T,   b_i = T_i (H r^T)_g,   r = w - w_hat
///
/// which is least squares; groups take turns, ascending, each with what the ones before it have become (block
/// coordinate descent), in as many rounds as asked for. Per channel there is one group and one round is the optimum.
#pragma once

#include <tern/quantize/output_error.hpp>
#include <tern/quantize/progress.hpp>
#include <tern/quantize/refit.hpp>
#include <tern/quantize/rounding.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// A strip of rows while their scales are fitted.
class output_refitter {
 public:
  static constexpr std::size_t strip = 64;

  /// @param unit  what H is multiplied by: float_unit(h)
  output_refitter(std::size_t planes, std::size_t inputs, std::size_t group, double unit)
      : unit_(unit), rest_(strip, inputs), pulls_(strip * group), moments_(strip * planes * group) {}

  /// Rows first .. first + rows of q.
  void run(quantized_matrix& q, matrix_view<const float> w, const hessian& h, std::size_t first, std::size_t rows,
           std::size_t rounds) {
    for (std::size_t n = 0; n < rows; ++n) update_rest(q, w, first, n, 0, q.cols);
    for (std::size_t round = 0; round < rounds; ++round)
      for (std::size_t g = 0; g < q.groups(); ++g) {
        const std::size_t begin = g * q.group_inputs(), size = lesser(q.group_inputs(), q.cols - begin);
        for (std::size_t i = 0; i < rows * size; ++i) pulls_[i] = 0;
        for (std::size_t c = 0; c < size; c += product_cols)
          products_.add(
              pulls_.data() + c, size, rows, lesser(product_cols, size - c), q.cols,
              [&](std::size_t n, std::size_t k) { return rest_(n, k); },
              [&](std::size_t k, std::size_t j) { return static_cast<float>(h(k, begin + c + j) * unit_); });
        take_moments(q, h, first, rows, begin, size);
        for (std::size_t n = 0; n < rows; ++n)
          if (move_scales(q, first, n, g, size)) update_rest(q, w, first, n, begin, begin + size);
      }
  }

 private:
  void update_rest(const quantized_matrix& q, matrix_view<const float> w, std::size_t first, std::size_t n,
                   std::size_t begin, std::size_t end) {
    for (std::size_t k = begin; k < end; ++k) {
      double value = static_cast<double>(w(first + n, k));  // codes times floats, exact; one rounding at the end
      for (std::size_t p = 0; p < q.planes; ++p)
        value -= static_cast<double>(q.scale(p, first + n, k / q.group_inputs())) * q.code_row(p, first + n)[k];
      rest_(n, k) = static_cast<float>(value);
    }
  }
  /// T H_gg for all planes of all rows.
  void take_moments(const quantized_matrix& q, const hessian& h, std::size_t first, std::size_t rows, std::size_t begin,
                    std::size_t size) {
    for (std::size_t i = 0; i < rows * q.planes * size; ++i) moments_[i] = 0;
    for (std::size_t c = 0; c < size; c += product_cols)
      products_.add(
          moments_.data() + c, size, rows * q.planes, lesser(product_cols, size - c), size,
          [&](std::size_t r, std::size_t k) {
            return static_cast<float>(q.code_row(r % q.planes, first + r / q.planes)[begin + k]);
          },
          [&](std::size_t k, std::size_t j) { return static_cast<float>(h(begin + k, begin + c + j) * unit_); });
  }
  /// @return whether the scales changed
  bool move_scales(quantized_matrix& q, std::size_t first, std::size_t n, std::size_t g, std::size_t size) {
    const std::size_t row = first + n, begin = g * q.group_inputs();
    const double* const pull = pulls_.data() + n * size;
    const double* const moments = moments_.data() + n * q.planes * size;
    normal_equations equations;
    for (std::size_t j = 0; j < q.planes; ++j) {
      const std::int8_t* const codes = q.code_row(j, row) + begin;
      for (std::size_t k = 0; k < size; ++k) {
        const auto code = static_cast<double>(codes[k]);
        equations.b[j] += mul_rn(pull[k], code);
        for (std::size_t i = 0; i < q.planes; ++i) equations.g[i][j] += mul_rn(moments[i * size + k], code);
      }
    }

    const plane_values delta = solve_normal(equations, q.planes);
    plane_values wanted{}, moved{};
    for (std::size_t p = 0; p < q.planes; ++p) wanted[p] = static_cast<double>(q.scale(p, row, g)) + delta[p];
    if (!fits_float(wanted, q.planes)) return false;
    for (std::size_t p = 0; p < q.planes; ++p)
      moved[p] = static_cast<double>(static_cast<float>(wanted[p])) - static_cast<double>(q.scale(p, row, g));
    // Rounded to float the step may lead beyond the minimum; what does not lower the error is not taken.
    if (!(fitted_error(equations, q.planes, 0.0, moved) < 0)) return false;
    for (std::size_t p = 0; p < q.planes; ++p) q.scales[q.scale_index(p, row, g)] = static_cast<float>(wanted[p]);
    return true;
  }

  double unit_;
  product_workspace products_;
  matrix<float> rest_;                   // w - w_hat
  std::vector<double> pulls_, moments_;  // (r H)_g [strip x group]; T H_gg [strip x planes x group]
};

template <executor Executor, progress_callback Progress>
void refit_outputs_rows(quantized_matrix& q, matrix_view<const float> w, const hessian& h, std::size_t rounds,
                        const Executor& ex, Progress& progress) {
  q.check();
  if (w.rows() != q.rows || w.cols() != q.cols)
    fail<shape_error>({"refit_outputs: w is ", w.rows(), "x", w.cols(), " but q is ", q.rows, "x", q.cols});
  if (q.granularity.rows_share())
    fail<range_error>({"refit_outputs: scales are per channel or per group, not shared by rows"});
  if (!q.zeros.empty()) fail<range_error>({"refit_outputs: codes have no zero points"});
  if (q.planes > most_joint_planes)
    fail<range_error>({"refit_outputs: at most ", most_joint_planes, " planes, not ", q.planes});
  check_hessian("refit_outputs", h, q.cols);
  check_finite("refit_outputs", w);
  const std::size_t strips = ceil_div(q.rows, output_refitter::strip);
  progress_meter<Progress> meter(progress, strips);
  quantized_matrix refitted = q;  // q stays as it is when the callback says stop
  if (q.cols != 0) {
    std::vector<output_refitter> work;
    const std::size_t group = lesser(q.group_inputs(), q.cols);
    const double unit = float_unit(h);
    for (std::size_t i = 0; i < part_count(strips, ex); ++i) work.emplace_back(q.planes, q.cols, group, unit);
    for_each_part(strips, ex, [&](std::size_t part, std::size_t begin, std::size_t end) {
      for (std::size_t s = begin; s < end && !meter.cancelled(); ++s) {
        const std::size_t first = s * output_refitter::strip;
        work[part].run(refitted, w, h, first, lesser(output_refitter::strip, q.rows - first), rounds);
        meter.add_one();
      }
    });
  }
  meter.finish("refit_outputs");
  q.scales = std::move(refitted.scales);
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// Moves the scales of q to where they cause the least error in the outputs; codes stay. Worth 0.02 to 0.2 dB after
/// error feedback, more where activations have outlier channels, and it works on what any quantizer made.
///
///     minimises trace((W - W_hat) H (W - W_hat)^T) over the scales
///
/// @param q         planes, levels of a plane code, or integers; per channel or per group, no zero points
/// @param w         [N x K] what q stands for: tern's or Eigen's
/// @param h         of the layer's inputs, K
/// @param rounds    of block coordinate descent over the groups of a row; per channel the second has nothing to do
/// @param ex        who works; the result does not depend on it
/// @param progress  told (done, total) in strips of 64 rows, may cancel: q is then as it was
/// Exactness: the same on every machine; H is rounded to float.
/// Cost:      a round N K^2 products, and N K G for groups of G inputs and each plane.
/// Errors:    shape_error when sizes differ; range_error for scales per tensor or input, zero points, more than 5
///            planes, a Hessian that has seen nothing, or naming row and column of a NaN or infinity in w;
///            cancelled_error.
template <real_matrix M, executor Executor = serial_executor, progress_callback Progress = no_progress>
void refit_outputs(quantized_matrix& q, const M& w, const hessian& h, std::size_t rounds = 2, const Executor& ex = {},
                   Progress progress = {}) {
  decltype(auto) rows = detail::float_rows(w);
  detail::refit_outputs_rows(q, matrix_view<const float>(rows), h, rounds, ex, progress);
}

}  // namespace tern::inline v0_1::inline TERN_TU
