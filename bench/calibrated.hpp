// SPDX-License-Identifier: MIT
/// What knowledge of the activations is worth: layers whose inputs are correlated, and the SNR of their outputs on tokens that
/// the quantizers have not seen.
#pragma once

#include <cmath>
#include <cstdio>
#include <functional>

#include <tern/quantize/gptq.hpp>
#include <tern/quantize/hadamard.hpp>
#include <tern/quantize/migrate.hpp>
#include <tern/quantize/mixed_precision.hpp>
#include <tern/quantize/output_refit.hpp>
#include <tern/quantize/synthetic.hpp>

namespace calibrated {

/// Correlated activations: independent inputs of variance 1, 1/2, 1/3, ..., rotated three times; then, where there are
/// outliers, four channels twelve times larger.
inline tern::matrix<float> draw_inputs(std::size_t tokens, std::size_t inputs, std::uint64_t seed, bool outliers) {
  auto x = tern::synthetic_weights(tokens, inputs, tern::weight_distribution::gauss, seed);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t k = 0; k < inputs; ++k) x(t, k) *= 50 / std::sqrt(static_cast<float>(k + 1));
  for (const std::uint64_t turn : {11u, 12u, 13u}) {
    const tern::hadamard_rotation r(inputs, turn);
    r.apply(x, x.view());
  }
  for (const std::size_t k : {17u, 99u, 250u, 400u})
    for (std::size_t t = 0; outliers && k < inputs && t < tokens; ++t) x(t, k) *= 12;
  return x;
}

/// 48 x 512 weights, and what calibration and the tokens that count have seen.
struct layer {
  tern::matrix<float> w;
  tern::hessian seen{512}, held_out{512};

  /// Rotated: the same layer behind a Hadamard rotation of its inputs.
  layer(tern::weight_distribution distribution, bool outliers, bool rotated)
      : w(tern::synthetic_weights(48, 512, distribution, 22)) {
    auto x = draw_inputs(2048, 512, 23, outliers), y = draw_inputs(1024, 512, 24, outliers);
    if (rotated) {
      const tern::hadamard_rotation r(512, 7);
      w = r.weights(w);
      r.apply(x, x.view());
      r.apply(y, y.view());
    }
    seen.observe(x);
    held_out.observe(y);
  }
  double snr_db(const tern::matrix<float>& w_hat) const { return tern::output_distortion(w, w_hat, held_out).snr_db; }
};

/// What weights become: so many planes, or integers of so many bits; scales for groups of 128.
struct target {
  const char* name;
  std::size_t planes;
  unsigned bits;
};
inline constexpr target targets[] = {{"k=1", 1, 0}, {"k=2", 2, 0}, {"k=3", 3, 0}, {"int3", 0, 3}, {"int4", 0, 4}};
inline constexpr tern::granularity groups = tern::per_group(128);

using method = std::function<double(const layer&, const target&)>;  // the SNR in dB

inline tern::quantized_matrix round(const tern::matrix<float>& w, const target& t,
                                    std::span<const float> importance = {}) {
  if (t.planes == 0) return tern::quantize_mse(w, groups, {.bits = t.bits});
  return tern::decompose(w, {.planes = t.planes,
                             .granularity = groups,
                             .method = tern::decompose_method::alternating,
                             .importance = importance});
}

inline tern::quantized_matrix feed(const layer& l, const target& t, bool weighted) {
  const tern::gptq_options options{.granularity = groups, .weighted = weighted};
  return t.planes == 0 ? tern::gptq_int(l.w, l.seen, {.bits = t.bits}, options)
                       : tern::gptq_decompose(l.w, l.seen, t.planes, options);
}

inline double greedy(const layer& l, const target& t) {
  if (t.planes == 0) return l.snr_db(tern::dequantize(tern::quantize_absmax(l.w, groups, {.bits = t.bits})));
  return l.snr_db(tern::dequantize(tern::decompose(l.w, {.planes = t.planes, .granularity = groups})));
}
inline double rounded(const layer& l, const target& t) { return l.snr_db(tern::dequantize(round(l.w, t))); }
/// Integers have no fit with importances but inside error feedback.
inline double important(const layer& l, const target& t) {
  if (t.planes == 0) return std::nan("");
  return l.snr_db(tern::dequantize(round(l.w, t, tern::importances(l.seen))));
}
inline double migrated(const layer& l, const target& t) {
  const auto quantize = [&](const tern::matrix<float>& v) { return round(v, t); };
  const auto scaling = tern::awq_scaling(l.w, l.seen, quantize, {.steps = 10}).scaling;
  auto w_hat = tern::dequantize(quantize(scaling.weights(l.w)));
  scaling.apply(w_hat, w_hat.view());
  return l.snr_db(w_hat);
}
inline double fed(const layer& l, const target& t) { return l.snr_db(tern::dequantize(feed(l, t, false))); }
inline double fed_weighted(const layer& l, const target& t) { return l.snr_db(tern::dequantize(feed(l, t, true))); }
inline double refitted(const layer& l, const target& t) {
  auto q = feed(l, t, true);
  tern::refit_outputs(q, l.w, l.seen);
  return l.snr_db(tern::dequantize(q));
}
/// One to four planes a row, by as many bits as with so many in all rows.
inline double mixed(const layer& l, std::size_t planes_of_all) {
  constexpr std::size_t most = 4;
  const auto curves = tern::plane_curves(l.w, l.seen, most, {.granularity = groups});
  double budget = 0;
  for (const auto& curve : curves) budget += curve[planes_of_all - 1].bits;
  const auto chosen = tern::choose_precision(curves, budget);
  tern::matrix<float> w_hat(l.w.rows(), l.w.cols());
  const auto importance = tern::importances(l.seen);
  for (std::size_t planes = 1; planes <= most; ++planes) {
    const auto all = tern::dequantize(round(l.w, {"", planes, 0}, importance));
    for (std::size_t n = 0; n < l.w.rows(); ++n)
      for (std::size_t k = 0; chosen[n] + 1 == planes && k < l.w.cols(); ++k) w_hat(n, k) = all(n, k);
  }
  return l.snr_db(w_hat);
}

inline void print_mixed() {
  layer l(tern::weight_distribution::gauss, false, false);
  for (std::size_t n = 0; n < l.w.rows(); ++n)
    for (std::size_t k = 0; k < l.w.cols(); ++k) l.w(n, k) *= std::exp2(static_cast<float>(n % 5) - 2);
  std::puts("\nRows of 1/4 to 4 times the size, k planes in all rows, and as many bits spent by the row");
  for (const std::size_t planes : {std::size_t{2}, std::size_t{3}})
    std::printf("k=%zu  %5.2f  %5.2f\n", planes, important(l, {"", planes, 0}), mixed(l, planes));
}

inline void print() {
  const struct {
    const char* name;
    method snr_db;
  } methods[] = {{"greedy absmean; absmax", greedy}, {"alternating; MSE clip", rounded},
                 {"  with AWQ's scales", migrated},  {"  with importances", important},
                 {"GPTQ, inputs alike", fed},        {"GPTQ", fed_weighted},
                 {"  and refitted", refitted}};
  std::puts("\n48 x 512 weights in groups of 128, correlated activations, SNR in dB of outputs not calibrated with");
  for (const auto distribution : {tern::weight_distribution::gauss, tern::weight_distribution::student_t4})
    for (const bool outliers : {false, true}) {
      std::printf("\n%-26s", distribution == tern::weight_distribution::gauss ? "gauss" : "t4");
      for (const target& t : targets) std::printf(" | %-13s", t.name);
      std::printf("\n%-26s", outliers ? "4 channels 12 times larger" : "");
      for (std::size_t i = 0; i < std::size(targets); ++i) std::printf(" | plain rotated");
      std::puts("");
      const layer plain(distribution, outliers, false), rotated(distribution, outliers, true);
      for (const auto& m : methods) {
        std::printf("%-26s", m.name);
        for (const target& t : targets) {
          const double as_it_is = m.snr_db(plain, t);
          if (std::isnan(as_it_is))
            std::printf(" | %13s", "");
          else
            std::printf(" | %5.2f   %5.2f", as_it_is, m.snr_db(rotated, t));
        }
        std::puts("");
        std::fflush(stdout);
      }
    }
  print_mixed();
}

}  // namespace calibrated
