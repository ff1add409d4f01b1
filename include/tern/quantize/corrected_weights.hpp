// SPDX-License-Identifier: MIT
/// Weights for inputs that are not what they were: a layer behind layers that are quantised already is given x_q where it
/// was given x, and these are the weights whose outputs from x_q are nearest to the float model's.
///
///     tern::hessian h(K);          // of the inputs x_q
///     tern::cross_moment c(K);     // of x and x_q
///     const auto moved = tern::corrected_weights(w, c, h);          // then quantise these, with h
///     const auto q = tern::gptq_trit_code(moved, h, {.planes = 2}, {.granularity = tern::per_group(160)});
///
/// With C = E[x^T x_q], H = E[x_q^T x_q] and a damping d that is a part of H's mean diagonal,
///
///     W' = W + W (C - H) (H + d I)^-1      minimises  E |x W^T - x_q W'^T|^2 + d |W' - W|^2
///
/// and what a quantised Q adds to that error is E |x_q (W' - Q)^T|^2, which is what error feedback makes small: the
/// layer makes up for what the layers before it have lost as far as its inputs tell. Where C = H nothing moves.
#pragma once

#include <tern/quantize/cross_moment.hpp>
#include <tern/quantize/feedback.hpp>
#include <tern/quantize/rounding.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

inline constexpr std::size_t correction_strip = 64;  // rows

/// A strip of rows while X (L L^T) = B is solved, in two passes: Z M^T = B, and X M = Z D^-2, L being M D.
/// An element is one sum in double, rounded to float when it is complete.
class correction_solver {
 public:
  explicit correction_solver(std::size_t inputs)
      : solved_(correction_strip, inputs), sums_(correction_strip * inputs) {}

  /// @param pull  [K x K] (C - H) times unit
  /// @param m     M below the diagonal, D on it
  void run(matrix_view<const float> w, const matrix<float>& pull, const matrix<float>& m, double unit,
           std::size_t first, std::size_t rows, matrix<float>& out) {
    const std::size_t count = w.cols();
    for (double& sum : sums_) sum = 0;
    for (std::size_t c = 0; c < count; c += product_cols)
      products_.add(
          sums_.data() + c, count, rows, lesser(product_cols, count - c), count,
          [&](std::size_t n, std::size_t k) { return w(first + n, k); },
          [&](std::size_t k, std::size_t j) { return pull(k, c + j); });
    for (std::size_t begin = 0; begin < count; begin += product_cols) {
      const std::size_t end = lesser(begin + product_cols, count);
      products_.add(
          sums_.data() + begin, count, rows, end - begin, begin,
          [&](std::size_t n, std::size_t k) { return -solved_(n, k); },
          [&](std::size_t k, std::size_t j) { return m(begin + j, k); });
      for (std::size_t n = 0; n < rows; ++n)
        for (std::size_t c = begin; c < end; ++c) {
          double sum = sums_[n * count + c];
          for (std::size_t i = begin; i < c; ++i)
            sum -= static_cast<double>(solved_(n, i)) * static_cast<double>(m(c, i));  // exact product
          solved_(n, c) = static_cast<float>(sum);
        }
    }
    for (std::size_t n = 0; n < rows; ++n)
      for (std::size_t c = 0; c < count; ++c) {
        const auto d = static_cast<double>(m(c, c));
        sums_[n * count + c] = static_cast<double>(solved_(n, c)) / (d * d) / unit;
      }
    for (std::size_t end = count; end > 0;) {
      const std::size_t begin = end - lesser(product_cols, end);
      products_.add(
          sums_.data() + begin, count, rows, end - begin, count - end,
          [&](std::size_t n, std::size_t k) { return -solved_(n, count - 1 - k); },
          [&](std::size_t k, std::size_t j) { return m(count - 1 - k, begin + j); });
      for (std::size_t n = 0; n < rows; ++n)
        for (std::size_t c = end; c-- > begin;) {
          double* const sums = sums_.data() + n * count;
          solved_(n, c) = static_cast<float>(sums[c]);
          const auto value = static_cast<double>(solved_(n, c));
          for (std::size_t j = begin; j < c; ++j) sums[j] -= value * static_cast<double>(m(c, j));  // exact product
        }
      end = begin;
    }
    for (std::size_t n = 0; n < rows; ++n)
      for (std::size_t k = 0; k < count; ++k)
        out(first + n, k) =
            static_cast<float>(static_cast<double>(w(first + n, k)) + static_cast<double>(solved_(n, k)));
  }

 private:
  product_workspace products_;
  matrix<float> solved_;      // [strip x K]: Z, then X from its end on
  std::vector<double> sums_;  // [strip x K]
};

template <executor Executor, progress_callback Progress>
matrix<float> correct_rows(matrix_view<const float> w, const cross_moment& c, const hessian& h, double damp,
                           const Executor& ex, Progress& progress) {
  constexpr const char* what = "corrected_weights";
  const std::size_t count = w.cols(), strips = ceil_div(w.rows(), correction_strip);
  if (!(damp >= 0 && damp <= std::numeric_limits<double>::max()))
    fail<range_error>({what, ": damp ", static_cast<float>(damp), " is not finite and at least 0"});
  check_hessian(what, h, count);
  if (c.inputs() != count)
    fail<shape_error>({what, ": the cross moments are of ", c.inputs(), " inputs but w has ", count});
  if (c.tokens() != h.tokens())
    fail<range_error>({what, ": the cross moments are of ", c.tokens(), " tokens but the Hessian of ", h.tokens()});
  check_finite(what, w);
  matrix<float> out(w.rows(), count);
  progress_meter<Progress> meter(progress, ceil_div(count, product_cols) + strips);
  if (count != 0) {
    double trace = 0;
    std::vector<std::size_t> order(count);
    for (std::size_t k = 0; k < count; ++k) trace += h(k, k), order[k] = k;
    const feedback_factor factor =
        factor_hessian(what, h, std::move(order), mul_rn(damp, trace / static_cast<double>(count)), ex, meter);
    const double unit = float_unit(h);
    matrix<float> pull(count, count);
    for_each_part(count, ex, [&](std::size_t, std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i)
        for (std::size_t j = 0; j < count; ++j) pull(i, j) = static_cast<float>((c(i, j) - h(i, j)) * unit);
    });
    std::vector<correction_solver> work;
    for (std::size_t i = 0; i < part_count(strips, ex); ++i) work.emplace_back(count);
    for_each_part(strips, ex, [&](std::size_t part, std::size_t begin, std::size_t end) {
      for (std::size_t s = begin; s < end && !meter.cancelled(); ++s) {
        const std::size_t first = s * correction_strip;
        work[part].run(w, pull, factor.m, unit, first, lesser(correction_strip, w.rows() - first), out);
        meter.add_one();
      }
    });
  }
  meter.finish(what);
  check_finite("corrected_weights: with so little damping", std::as_const(out).view());
  return out;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// The weights whose outputs from the inputs that a layer is given, x_q, are nearest to those that w had from x.
///
///     W' = W + W (C - H) (H + d I)^-1,     C = E[x^T x_q],  H = E[x_q^T x_q],  d = damp mean(H(k,k))
///
/// @param w         [N x K] tern's or Eigen's
/// @param c         of x and x_q, K
/// @param h         of x_q, of the same tokens
/// @param damp      how much is not to be trusted: the larger, the less weights move. Of a transformer's
///                  embeddings, 0.1 to 1 served better than 0.01
/// @param ex        who works; the result does not depend on it
/// @param progress  told (done, total) in panels of the factorisation and strips of 64 rows, may cancel
/// @return [N x K]
/// Exactness: the same bits on every machine: no operation but sums in double of exact products, in one order.
/// Cost:      K^3 / 6 + 2 N K^2 products; 8 K^2 bytes.
/// Errors:    shape_error when c or h is not of K inputs; range_error for a Hessian that has seen nothing or not as many
///            tokens, that is not positive definite with this damping, for a damp that is negative or not finite, naming
///            row and column of a NaN or infinity in w or, with next to no damping, in the result; cancelled_error.
/// Source:    Y. Li et al., "GPTAQ", arXiv:2504.02692; S. Zhang et al., "Qronos", arXiv:2505.11695.
template <real_matrix M, executor Executor = serial_executor, progress_callback Progress = no_progress>
matrix<float> corrected_weights(const M& w, const cross_moment& c, const hessian& h, double damp = 0.3,
                                const Executor& ex = {}, Progress progress = {}) {
  decltype(auto) rows = detail::float_rows(w);
  return detail::correct_rows(matrix_view<const float>(rows), c, h, damp, ex, progress);
}

}  // namespace tern::inline v0_1::inline TERN_TU
