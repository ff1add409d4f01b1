// SPDX-License-Identifier: MIT
/// What weights cost in exactness: the relative Frobenius error of Y = X W^T against a product in double.
#pragma once

#include <cmath>
#include <string>

#include <tern/quantize/synthetic.hpp>
#include <tern/tern.hpp>

namespace bench {

/// 64 outputs of 4096 inputs, 16 tokens, both Gaussian.
inline tern::matrix<float> gaussian_weights() {
  return tern::synthetic_weights(64, 4096, tern::weight_distribution::gauss, 1);
}
inline tern::matrix<float> gaussian_tokens() {
  return tern::synthetic_weights(16, 4096, tern::weight_distribution::gauss, 2);
}

/// The error of a product by `packed`, which stands for w.
template <class Packed>
double relative_error(const tern::matrix<float>& w, const Packed& packed) {
  const auto x = gaussian_tokens();
  tern::matrix<float> y(x.rows(), w.rows());
  tern::matmul(tern::quantize_activations(x), packed, y);
  double error = 0, signal = 0;
  for (std::size_t m = 0; m < x.rows(); ++m)
    for (std::size_t n = 0; n < w.rows(); ++n) {
      double exact = 0;
      for (std::size_t k = 0; k < w.cols(); ++k) exact += static_cast<double>(x(m, k)) * static_cast<double>(w(n, k));
      const double off = exact - static_cast<double>(y(m, n));
      error += off * off;
      signal += exact * exact;
    }
  return std::sqrt(error / signal);
}

/// Calls f(name, error) for the weights of bench_matmul, made by the quantizers that suit them:
/// error/i8_token x <weights>_<granularity>[/trained]. `trained` is for W that are ternary from the start.
template <class F>
void for_each_error(F&& f) {
  const std::string of = "error/i8_token x ";
  f(of + "i8_channel", [] {
    const auto w = gaussian_weights();
    return relative_error(w, tern::int8_matrix(tern::quantize_absmax(w)));
  });
  f(of + "n4_channel", [] {
    const auto w = gaussian_weights();
    return relative_error(w, tern::int4_matrix(tern::quantize_mse(w, tern::per_channel, {.bits = 4})));
  });
  f(of + "n4_group128h", [] {
    const auto w = gaussian_weights();
    return relative_error(w, tern::int4_matrix(tern::quantize_mse(w, tern::per_group(128), {.bits = 4}),
                                               {.scales = tern::scale_type::float16}));
  });
  const auto ternary = [&]<class Codec>(Codec) {
    const std::string name = of + std::string(Codec::name()) + "_channel";
    f(name, [] {
      const auto w = gaussian_weights();
      return relative_error(w, tern::ternary_matrix<Codec>(tern::quantize_absmean(w, tern::per_channel)));
    });
    f(name + "/trained", [] {
      const auto q = tern::quantize_absmean(gaussian_weights(), tern::per_channel);
      return relative_error(tern::dequantize(q), tern::ternary_matrix<Codec>(q));
    });
  };
  ternary(tern::i2());
  ternary(tern::b3());
  f(of + "n4-code32_channel", [] {
    const auto w = gaussian_weights();
    return relative_error(w, tern::trit_code_matrix<tern::n4>(tern::quantize_trit_code(w, {.code = {{3, 2}}})));
  });
  f(of + "n6_channel", [] {
    const auto w = gaussian_weights();
    return relative_error(w, tern::trit_code_matrix<tern::n6>(tern::quantize_trit_code(w, {.planes = 3})));
  });
  f(of + "i2-planes2_channel", [] {
    const auto w = gaussian_weights();
    return relative_error(w, tern::multi_ternary_matrix<tern::i2>(
                                 tern::decompose(w, {.planes = 2, .method = tern::decompose_method::alternating})));
  });
}

}  // namespace bench
