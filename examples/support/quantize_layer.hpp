// SPDX-License-Identifier: MIT
/// How a matrix of weights is to be quantised, as data, and doing it.
#pragma once

#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <tern/any_linear.hpp>
#include <tern/quantize/gptq.hpp>
#include <tern/quantize/migrate.hpp>
#include <tern/quantize/output_refit.hpp>

namespace demo {

enum class weight_kind { keep, f16, bf16, integers, ternary, planes, trit_code };
enum class activation_kind { int8, real };

/// What becomes of a matrix. recipe.hpp reads it from JSON; what does not apply to the kind is ignored.
struct method {
  weight_kind kind = weight_kind::keep;
  unsigned bits = 8;                                                 ///< of integers, 2 to 8
  tern::int_clip clip = tern::int_clip::mse;                         ///< of integers
  bool zero_point = false;                                           ///< of integers; then the clip is the range
  tern::base_rule rule = tern::base_rule::optimum;                   ///< of ternary, and of greedy planes
  std::size_t planes = 2;                                            ///< of planes, 1 to 5, and of plane codes, 2 or 3
  tern::decompose_method fit = tern::decompose_method::alternating;  ///< of planes
  tern::trit_code code = {};                                         ///< of plane codes; left out: the best one
  tern::granularity granularity = tern::per_channel;
  std::string codec = {};  ///< left out: the smallest that holds such levels in such groups
  tern::scale_type scales = tern::scale_type::float16;

  activation_kind activations = activation_kind::int8;

  bool hadamard = false;  ///< rotates the inputs
  std::uint64_t seed = 1;
  std::size_t block = 0;  ///< of the rotation; 0: hadamard.hpp's rule

  // These need calibration.
  bool weighted = false;                      ///< scales fitted with the importances of the inputs
  bool gptq = false;                          ///< error feedback
  double damp = 0.01;                         ///< of gptq
  std::size_t sweeps = 0;                     ///< of coordinate descent after gptq, at most
  std::size_t refit_outputs = 0;              ///< rounds of refitting the scales in the outputs
  std::optional<double> smoothquant = {};     ///< alpha
  bool awq = false;                           ///< the exponent by search
  std::optional<float> outlier_columns = {};  ///< LLM.int8(): columns whose activations reach this are left out of int8

  friend bool operator==(const method&, const method&) = default;
};

/// What is known about the inputs of a layer.
struct calibration {
  tern::hessian hessian;
  std::vector<float> maxima = {};  ///< [K], the largest magnitudes; empty where only the Hessian is known
};

/// Told (done, total), may cancel by returning false.
using layer_progress = std::function<bool(std::size_t, std::size_t)>;

struct quantized_layer {
  tern::any_linear layer;
  std::size_t bytes = 0;     ///< stored: codes, scales, padding, scales of inputs
  double bits = 0;           ///< the same, per weight, in bits
  double ideal_bits = 0;     ///< as if codes were packed to the bit (trits in log2 3) and nothing were padded
  double weight_signal = 0;  ///< energies, which add up over layers
  double weight_noise = 0;
  double weight_snr_db = 0;
  double output_signal = 0;  ///< of outputs, a token; 0 without calibration
  double output_noise = 0;
  std::optional<double> output_snr_db = {};
};

[[noreturn]] inline void refuse(const std::string& text) { throw tern::range_error(text); }

/// "int4 mse g128 gptq hadamard"
inline std::string short_name(const method& m) {
  static constexpr const char *rules[] = {"absmean", "twn", "absmax", "optimum"},
                              *fits[] = {"greedy", "refit", "alternating", "balanced"};
  std::string name;
  switch (m.kind) {
    case weight_kind::keep:
      return "kept";
    case weight_kind::f16:
      return "F16";
    case weight_kind::bf16:
      return "BF16";
    case weight_kind::integers:
      name = fmt::format("int{} {}", m.bits,
                         m.zero_point                    ? "zero point"
                         : m.clip == tern::int_clip::mse ? "mse"
                                                         : "absmax");
      break;
    case weight_kind::ternary:
      name = fmt::format("ternary {}", m.gptq ? "" : rules[static_cast<int>(m.rule)]);
      break;
    case weight_kind::planes:
      name = fmt::format("{} planes {}", m.planes, m.gptq ? "" : fits[static_cast<int>(m.fit)]);
      break;
    case weight_kind::trit_code:
      name = fmt::format("trit code k={}", m.code == tern::trit_code{} ? m.planes : m.code.planes());
      break;
  }
  if (name.back() == ' ') name.pop_back();
  if (m.granularity.kind == tern::granularity::sharing::tensor) name += " tensor";
  if (m.granularity.kind == tern::granularity::sharing::group) name += fmt::format(" g{}", m.granularity.group);
  if (m.weighted) name += " weighted";
  if (m.gptq) name += m.sweeps == 0 ? " gptq" : " gptq descent";
  if (m.refit_outputs != 0) name += " refit";
  if (m.hadamard) name += " hadamard";
  if (m.smoothquant) name += fmt::format(" smooth {:g}", *m.smoothquant);
  if (m.awq) name += " awq";
  if (m.outlier_columns) name += fmt::format(" outliers {:g}", *m.outlier_columns);
  if (m.activations == activation_kind::real) name += " float activations";
  return name;
}

/// The Hessian of x / s.
inline tern::hessian scaled_hessian(const tern::hessian& h, std::span<const float> scales) {
  std::vector<double> sums;
  for (std::size_t i = 0; i < h.inputs(); ++i)
    for (std::size_t j = 0; j <= i; ++j)
      sums.push_back(h.sum(i, j) / (static_cast<double>(scales[i]) * static_cast<double>(scales[j])));
  return tern::hessian::from_sums(h.inputs(), h.tokens(), sums);
}

/// The Hessian of x D H: that of x, rows and then columns rotated, in double.
inline tern::hessian rotated_hessian(const tern::hessian& h, const tern::hadamard_rotation& rotation) {
  const std::size_t inputs = h.inputs(), block = rotation.block();
  // H D of the first unit vector of each block: the signs, times the scale of H.
  tern::matrix<float> signs(1, inputs);
  for (std::size_t k = 0; k < rotation.rotated(); k += block) signs(0, k) = 1;
  rotation.undo(signs, signs.view());
  std::vector<double> sums(inputs * inputs);
  const auto rotate = [&](double* row) {
    for (std::size_t k = 0; k < rotation.rotated(); ++k) row[k] *= static_cast<double>(signs(0, k));
    for (std::size_t begin = 0; begin < rotation.rotated(); begin += block)
      for (std::size_t half = 1; half < block; half *= 2)
        for (std::size_t i = 0; i < block; ++i)
          if ((i & half) == 0) {
            double &a = row[begin + i], &b = row[begin + i + half];
            const double sum = a + b, difference = a - b;
            a = sum, b = difference;
          }
  };
  const auto transpose = [&] {
    for (std::size_t i = 0; i < inputs; ++i)
      for (std::size_t j = 0; j < i; ++j) std::swap(sums[i * inputs + j], sums[j * inputs + i]);
  };
  for (std::size_t i = 0; i < inputs; ++i)
    for (std::size_t j = 0; j < inputs; ++j) sums[i * inputs + j] = h.sum(i, j);
  for (int side = 0; side < 2; ++side) {
    for (std::size_t i = 0; i < inputs; ++i) rotate(&sums[i * inputs]);
    transpose();
  }
  std::vector<double> lower;
  for (std::size_t i = 0; i < inputs; ++i) lower.insert(lower.end(), &sums[i * inputs], &sums[i * inputs] + i + 1);
  return tern::hessian::from_sums(inputs, h.tokens(), lower);
}

/// Codes, scales, and the code where they are levels of one.
inline tern::quantized_trit_code quantize_codes(const tern::matrix<float>& w, const method& m, const tern::hessian* h,
                                                tern::executor_reference ex, const layer_progress& progress) {
  const tern::gptq_options feedback{.granularity = m.granularity, .damp = m.damp, .sweeps = m.sweeps};
  std::vector<float> importance;
  if (m.weighted) importance = tern::importances(*h);
  tern::quantized_trit_code q;
  switch (m.kind) {
    case weight_kind::integers:
      if (m.gptq)
        q = {tern::gptq_int(w, *h, {.bits = m.bits, .clip = m.clip}, feedback, ex, progress), {}};
      else if (m.zero_point)
        q = {tern::quantize_zero_point(w, m.granularity, {.bits = m.bits}, ex), {}};
      else if (m.clip == tern::int_clip::mse)
        q = {tern::quantize_mse(w, m.granularity, {.bits = m.bits}, ex), {}};
      else
        q = {tern::quantize_absmax(w, m.granularity, {.bits = m.bits}, ex), {}};
      break;
    case weight_kind::ternary:
      if (m.gptq)
        q = {tern::gptq_decompose(w, *h, 1, feedback, ex, progress), {}};
      else if (m.rule == tern::base_rule::absmean)
        q = {tern::quantize_ternary(w, tern::absmean{}, m.granularity, ex), {}};
      else if (m.rule == tern::base_rule::twn)
        q = {tern::quantize_ternary(w, tern::twn{}, m.granularity, ex), {}};
      else if (m.rule == tern::base_rule::absmax)
        q = {tern::quantize_ternary(w, tern::ternary_absmax{}, m.granularity, ex), {}};
      else
        q = {tern::quantize_ternary(w, tern::ternary_optimum{importance}, m.granularity, ex), {}};
      break;
    case weight_kind::planes:
      if (m.gptq)
        q = {tern::gptq_decompose(w, *h, m.planes, feedback, ex, progress), {}};
      else
        q = {tern::decompose(w,
                             {.planes = m.planes,
                              .granularity = m.granularity,
                              .method = m.fit,
                              .base = m.rule,
                              .importance = importance},
                             ex, progress),
             {}};
      break;
    case weight_kind::trit_code:
      if (m.gptq)
        q = tern::gptq_trit_code(w, *h, {.planes = m.planes, .code = m.code}, feedback, ex, progress);
      else
        q = tern::quantize_trit_code(
            w, {.planes = m.planes, .granularity = m.granularity, .code = m.code, .importance = importance}, ex,
            progress);
      break;
    default:
      refuse(short_name(m) + " makes no layer");
  }
  if (m.refit_outputs != 0) tern::refit_outputs(q, w, *h, m.refit_outputs, ex);
  return q;
}

/// The codec that a method without one gets: for trits, 5 to a byte where groups allow it.
inline std::string codec_of(const method& m) {
  if (!m.codec.empty()) return m.codec;
  const bool fives = m.granularity.kind != tern::granularity::sharing::group || m.granularity.group % 20 == 0;
  const std::size_t planes = m.code == tern::trit_code{} ? m.planes : m.code.planes();
  switch (m.kind) {
    case weight_kind::integers:
      return m.bits == 2 && !m.zero_point ? "i2" : m.bits <= 4 ? "n4" : "i8";
    case weight_kind::trit_code:
      return planes == 2 ? (fives ? "b3x2" : "n4") : (fives ? "b3x3" : "n6");
    default:
      return fives ? "b3" : "i2";
  }
}

template <class Codec>
tern::any_linear pack_layer(const tern::quantized_trit_code& q, const method& m, std::vector<float> bias,
                            std::vector<tern::any_transform> transforms) {
  Codec codec;
  if constexpr (requires { Codec(q.code); })
    if (q.code != tern::trit_code{}) codec = Codec(q.code);
  tern::packed_matrix<Codec> weights(q, {.scales = m.scales}, codec);
  const auto make = [&]<class Activations>(Activations) {
    return tern::any_linear(tern::linear<tern::packed_matrix<Codec>, Activations>(std::move(weights), std::move(bias)),
                            std::move(transforms));
  };
  if (m.activations == activation_kind::int8) return make(tern::int8_activations{});
  if constexpr (std::same_as<Codec, tern::i8> || std::same_as<Codec, tern::n4>)  // what files have
    return make(tern::float_activations{});
  else
    refuse(fmt::format("float activations go with codecs n4 and i8, not {}", Codec::name()));
}

template <class... Codecs>
tern::any_linear pack_layer(tern::type_list<Codecs...>, const std::string& codec, const tern::quantized_trit_code& q,
                            const method& m, std::vector<float> bias, std::vector<tern::any_transform> transforms) {
  tern::any_linear layer;
  const auto try_codec = [&]<class Codec>(Codec) {
    if (codec != Codec::name()) return false;
    if (const std::size_t group = q.granularity.group; group % Codec::group_multiple != 0)
      refuse(fmt::format("codec {} takes groups that are multiples of {} inputs, not {}", codec, Codec::group_multiple,
                         group));
    layer = pack_layer<Codec>(q, m, std::move(bias), std::move(transforms));
    return true;
  };
  if (!(try_codec(Codecs{}) || ...)) refuse("there is no codec " + codec);
  return layer;
}

/// Bits that the codes of a weight would take if they were packed to the bit, and the scales.
inline double ideal_bits(const tern::quantized_trit_code& q, const method& m) {
  const double count = static_cast<double>(q.rows) * static_cast<double>(q.cols);
  const double code = m.kind == weight_kind::integers    ? static_cast<double>(m.bits)
                      : m.kind == weight_kind::trit_code ? static_cast<double>(q.code.planes()) * std::log2(3.0)
                                                         : static_cast<double>(q.planes) * std::log2(3.0);
  const double scale = 8.0 * static_cast<double>(tern::bytes_of(m.scales)) + (q.zeros.empty() ? 0 : m.bits);
  return code + scale * static_cast<double>(q.scales.size()) / count;
}

/// The weights of outlier columns in 16 bits: what they have in `codes`, and in a second plane what that leaves of W.
inline tern::packed_matrix<tern::i8> column_weights(const tern::matrix<float>& w, const tern::int8_matrix& codes,
                                                    const std::vector<std::size_t>& columns) {
  const tern::packed_view<tern::i8>& view = codes.view();
  tern::matrix<float> rest(w.rows(), columns.size());
  const auto level = [&](std::size_t n, std::size_t j) { return view.level(0, n, columns[j]); };
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t j = 0; j < columns.size(); ++j)
      rest(n, j) = std::fma(-view.scale(0, n, 0), static_cast<float>(level(n, j)), w(n, columns[j]));
  const tern::quantized_matrix of_rest = tern::quantize_absmax(rest);
  tern::quantized_matrix q(2, w.rows(), columns.size(), tern::per_channel);
  for (std::size_t n = 0; n < w.rows(); ++n) {
    q.scales[q.scale_index(0, n, 0)] = view.scale(0, n, 0);
    q.scales[q.scale_index(1, n, 0)] = of_rest.scale(0, n, 0);
    for (std::size_t j = 0; j < columns.size(); ++j) {
      q.code_row(0, n)[j] = level(n, j);
      q.code_row(1, n)[j] = of_rest.code_row(0, n)[j];
    }
  }
  return tern::packed_matrix<tern::i8>(q);
}

inline bool needs_calibration(const method& m) {
  return m.weighted || m.gptq || m.awq || m.refit_outputs != 0 || m.smoothquant || m.outlier_columns;
}

/// Errors: tern::range_error for what the method asks of a calibration that is not there, or options that do not go together.
inline void check_method(const method& m, const calibration* c) {
  if (c == nullptr && needs_calibration(m)) refuse(short_name(m) + " needs calibration: activations, or their Hessian");
  if (c != nullptr && c->maxima.empty() && (m.smoothquant || m.outlier_columns))
    refuse(short_name(m) + " needs activations; a Hessian does not say how large they get");
  if (m.awq && m.smoothquant) refuse("awq and smoothquant exclude each other");
  if (m.zero_point && (m.gptq || m.refit_outputs != 0))
    refuse("zero points go neither with gptq nor with refit_outputs");
  if (m.outlier_columns && (m.kind != weight_kind::integers || m.bits != 8 || m.zero_point || m.hadamard ||
                            m.granularity.kind == tern::granularity::sharing::group))
    refuse("outlier columns go with int8 per channel or tensor, without zero points or rotation");
  if (m.outlier_columns && m.activations == activation_kind::real)
    refuse("outlier columns are for int8 activations; float ones need none");
}

/// Quantises W [N x K] for a layer. With a calibration the error in the outputs is measured too.
///
/// @param bias  [N] or empty
/// Errors: tern::range_error for options that do not go together or that need a calibration; those of the quantizers.
template <tern::executor Executor = tern::serial_executor>
quantized_layer quantize(
    const tern::matrix<float>& w, const method& m, const calibration* c = nullptr, const Executor& executor = {},
    const layer_progress& progress = [](auto, auto) { return true; }, std::vector<float> bias = {}) {
  check_method(m, c);
  const tern::executor_reference ex(executor);
  std::vector<tern::any_transform> transforms;
  tern::matrix<float> transformed = w;
  std::optional<tern::hessian> hessian;
  std::vector<float> maxima;
  if (c != nullptr) hessian = c->hessian, maxima = c->maxima;

  if (m.smoothquant || m.awq) {
    tern::input_scaling scaling;
    if (m.smoothquant) {
      scaling = tern::smoothquant_scaling(maxima, w, {.alpha = *m.smoothquant});
    } else {
      method plain = m;
      plain.gptq = plain.weighted = false;
      plain.refit_outputs = 0;
      const auto quantize_plainly = [&](const tern::matrix<float>& v) -> tern::quantized_matrix {
        return quantize_codes(v, plain, nullptr, ex, [](auto, auto) { return true; });
      };
      scaling = tern::awq_scaling(w, *hessian, quantize_plainly, {}, ex).scaling;
    }
    transformed = scaling.weights(transformed);
    if (hessian) hessian = scaled_hessian(*hessian, scaling.scales());
    for (std::size_t k = 0; k < maxima.size(); ++k) maxima[k] /= scaling.scales()[k];
    transforms.emplace_back(std::move(scaling));
  }
  if (m.hadamard) {
    const tern::hadamard_rotation rotation(w.cols(), m.seed, m.block);
    transformed = rotation.weights(transformed);
    if (hessian) hessian = rotated_hessian(*hessian, rotation);
    transforms.emplace_back(rotation);
  }

  const tern::quantized_trit_code q = quantize_codes(transformed, m, hessian ? &*hessian : nullptr, ex, progress);
  quantized_layer out;
  if (m.outlier_columns) {
    const tern::int8_matrix codes(q, {.scales = m.scales});
    std::vector<std::size_t> columns = tern::outlier_columns(maxima, *m.outlier_columns);
    tern::packed_matrix<tern::i8> of_columns = column_weights(transformed, codes, columns);
    out.layer = tern::any_linear(
        tern::llm_int8_static_linear(codes, std::move(columns), std::move(of_columns), std::move(bias)),
        std::move(transforms));
  } else {
    out.layer = pack_layer(tern::codecs{}, codec_of(m), q, m, std::move(bias), std::move(transforms));
  }
  const double count = static_cast<double>(w.rows()) * static_cast<double>(w.cols());
  out.bytes = out.layer.storage_bytes();
  out.bits = out.layer.bits_per_weight();
  // Scales of inputs and outlier columns are stored as they are.
  double others = 0;
  if (const auto outliers = static_cast<double>(out.layer.outlier_columns().size()); outliers != 0)
    others = 8.0 * (8.0 * outliers + static_cast<double>(out.layer.outlier_weights().storage_bytes()));
  if (m.smoothquant || m.awq) others += 8.0 * 4.0 * static_cast<double>(w.cols());
  out.ideal_bits = ideal_bits(q, m) + others / count;

  const tern::matrix<float> w_hat = out.layer.dequantized();
  const auto weights = tern::distortion(w, w_hat);
  out.weight_signal = weights.signal, out.weight_noise = weights.noise, out.weight_snr_db = weights.snr_db;
  if (c != nullptr) {
    const auto outputs = tern::output_distortion(w, w_hat, c->hessian, ex);
    out.output_signal = outputs.signal, out.output_noise = outputs.noise, out.output_snr_db = outputs.snr_db;
  }
  return out;
}

}  // namespace demo
