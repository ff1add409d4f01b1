// SPDX-License-Identifier: MIT
/// What rotation and knowledge of the activations are worth, in dB: reference values of an independent implementation
/// in numpy. A sample of other weights moves them by tenths.
#include <tern/quantize/gptq.hpp>
#include <tern/quantize/hadamard.hpp>
#include <tern/quantize/migrate.hpp>
#include <tern/quantize/output_refit.hpp>
#include <tern/quantize/synthetic.hpp>

#include <cmath>

#include "support/catch.hpp"

using tern::decompose_method, tern::weight_distribution;

namespace {

double snr(const tern::matrix<float>& w, const tern::quantized_matrix& q) {
  return tern::distortion(w, tern::dequantize(q)).snr_db;
}

/// Correlated activations: independent inputs of variance 1, 1/2, 1/3, ..., rotated three times.
tern::matrix<float> draw_inputs(std::size_t tokens, std::size_t inputs, std::uint64_t seed, bool outliers) {
  auto x = tern::synthetic_weights(tokens, inputs, weight_distribution::gauss, seed);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t k = 0; k < inputs; ++k) x(t, k) *= 50 / std::sqrt(static_cast<float>(k + 1));
  for (const std::uint64_t turn : {11u, 12u, 13u}) {
    const tern::hadamard_rotation r(inputs, turn);
    r.apply(x, x.view());
  }
  for (const std::size_t k : {17u, 99u, 250u, 400u})
    for (std::size_t t = 0; outliers && t < tokens; ++t) x(t, k) *= 12;
  return x;
}

}  // namespace

TEST_CASE("activation aware: rotated weights quantise as Gaussian ones", "[quantize]") {
  struct row {
    weight_distribution distribution;
    double ternary[2], code_row[2], code_group[2], int4[2], int8[2];  // plain, rotated
    double sampling;  // what 64 rows with such tails leave to chance, without rotation
  };
  const row table[] = {
      {weight_distribution::gauss, {7.22, 7.21}, {15.40, 15.38}, {15.87, 15.86}, {16.21, 16.06}, {41.40, 41.24}, 0.3},
      {weight_distribution::laplace, {5.81, 7.22}, {13.21, 15.36}, {13.97, 15.85}, {12.10, 16.07}, {37.07, 41.24}, 0.6},
      {weight_distribution::student_t4, {5.11, 7.22}, {11.26, 15.39}, {12.71, 15.86}, {7.80, 16.08}, {32.39, 41.28}, 1},
  };
  for (const row& expected : table) {
    const auto w = tern::synthetic_weights(64, 4096, expected.distribution, 21);
    const auto rotated = tern::hadamard_rotation(4096).weights(w);
    const tern::trit_code code{{3, 2}};
    const auto check = [&](const double(&wanted)[2], const auto& quantize) {
      CHECK(std::fabs(snr(w, quantize(w)) - wanted[0]) < expected.sampling);
      CHECK(std::fabs(snr(rotated, quantize(rotated)) - wanted[1]) < 0.3);
    };
    check(expected.ternary, [](const auto& v) { return tern::quantize_ternary(v, tern::ternary_optimum{}); });
    check(expected.code_row, [&](const auto& v) { return tern::quantize_trit_code(v, {.code = code}); });
    check(expected.code_group, [&](const auto& v) {
      return tern::quantize_trit_code(v, {.granularity = tern::per_group(128), .code = code});
    });
    check(expected.int4, [](const auto& v) { return tern::quantize_absmax(v, tern::per_channel, {.bits = 4}); });
    check(expected.int8, [](const auto& v) { return tern::quantize_absmax(v); });
  }
}

TEST_CASE("activation aware: error feedback is worth three decibels", "[quantize]") {
  struct row {
    std::size_t planes;
    double rtn[2], diagonal[2], gptq[2], both[2], refitted[2];  // correlated; with outlier channels
  };
  const row table[] = {
      {1, {7.31, 7.57}, {7.22, 7.90}, {10.48, 11.21}, {10.48, 11.56}, {10.51, 11.58}},
      {2, {15.38, 15.75}, {15.44, 16.63}, {19.04, 19.81}, {19.06, 20.68}, {19.08, 20.69}},
      {3, {24.58, 24.55}, {24.62, 25.64}, {28.20, 28.65}, {28.21, 29.61}, {28.23, 29.63}},
  };
  const auto w = tern::synthetic_weights(48, 512, weight_distribution::gauss, 22);
  for (const std::size_t outliers : {std::size_t{0}, std::size_t{1}}) {
    tern::hessian h(512), held_out(512);
    h.observe(draw_inputs(2048, 512, 23, outliers == 1));
    held_out.observe(draw_inputs(1024, 512, 24, outliers == 1));
    const auto importance = tern::importances(h);
    const auto of = [&](const tern::quantized_matrix& q) {
      return tern::output_distortion(w, tern::dequantize(q), held_out).snr_db;
    };
    // Which channels are the outliers, and how large, is another draw than the reference's: a decibel.
    const double sampling = outliers == 1 ? 1.2 : 0.5;
    for (const row& expected : table) {
      tern::decompose_options o{.planes = expected.planes, .method = decompose_method::alternating};
      const double rtn = of(tern::decompose(w, o));
      o.importance = importance;
      const double diagonal = of(tern::decompose(w, o));
      const double gptq = of(tern::gptq_decompose(w, h, expected.planes, {.weighted = false}));
      auto fed = tern::gptq_decompose(w, h, expected.planes);
      const double both = of(fed);
      tern::refit_outputs(fed, w, h);
      const double refitted = of(fed);
      INFO(expected.planes << " planes, outliers " << outliers << ": " << rtn << " " << diagonal << " " << gptq << " "
                           << both << " " << refitted);
      CHECK(std::fabs(rtn - expected.rtn[outliers]) < sampling);
      CHECK(diagonal > expected.diagonal[outliers] - sampling);
      CHECK(std::fabs(gptq - expected.gptq[outliers]) < sampling);
      CHECK(both > expected.both[outliers] - sampling);
      CHECK(refitted > expected.refitted[outliers] - sampling);
      CHECK(gptq > rtn + 3);
      CHECK(refitted > both - 0.1);
      if (outliers == 1) CHECK(both > gptq + 0.2);
    }
  }
}
