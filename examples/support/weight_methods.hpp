// SPDX-License-Identifier: MIT
/// tern's quantizers of weights in one list: what each stores a weight in, and how close to it that is.
#pragma once

#include <array>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <tern/quantize/synthetic.hpp>
#include <tern/tern.hpp>

#include "progress.hpp"
#include "svg_chart.hpp"

namespace demo {

inline constexpr tern::granularity per_128 = tern::per_group(128);

/// What a method makes of a matrix of weights.
struct stored_weights {
  double bits = 0;    ///< stored per weight: codes, padding, scales of 16 bits
  double snr_db = 0;  ///< of what is stored against the weights
};

/// Told the part of the work done, 0 to 1.
using on_progress = std::function<void(float)>;

struct weight_method {
  std::string family;   ///< a curve of the chart
  std::string variant;  ///< a point of it
  bool has_groups;      ///< whether there is a form with a scale for every 128 inputs
  std::function<stored_weights(const tern::matrix<float>&, tern::granularity, const on_progress&)> store;
};

/// Packs with scales of 16 bits and measures what was packed.
template <class Packed>
stored_weights store_as(const tern::matrix<float>& w, const auto& quantized) {
  const Packed packed(quantized, {.scales = tern::scale_type::float16});
  return {packed.bits_per_weight(), tern::distortion(w, tern::dequantize(packed)).snr_db};
}

/// Integers: int8 and int4 as they are packed. int3 has no packed form; its bits are counted.
inline stored_weights store_integers(const tern::matrix<float>& w, const tern::quantized_matrix& q, unsigned bits) {
  if (bits == 8) return store_as<tern::int8_matrix>(w, q);
  if (bits == 4) return store_as<tern::int4_matrix>(w, q);
  const double scales = static_cast<double>(q.scales.size()) / static_cast<double>(q.codes.size());
  return {bits + 16 * scales, tern::distortion(w, tern::dequantize(q)).snr_db};
}

/// Ternary planes: 1.6 bits a trit, but 2 where 128 inputs share a gamma: codec b3 takes groups of multiples of 20.
inline stored_weights store_planes(const tern::matrix<float>& w, const tern::quantized_matrix& q) {
  return q.granularity == per_128 ? store_as<tern::multi_ternary_matrix<tern::i2>>(w, q)
                                  : store_as<tern::multi_ternary_matrix<tern::b3>>(w, q);
}

/// Plane codes of two or three planes: likewise. n4 and n6, with 2 bits a trit, are the fast codecs of these.
inline stored_weights store_plane_code(const tern::matrix<float>& w, const tern::quantized_trit_code& q) {
  if (q.granularity == per_128)
    return q.code.planes() == 2 ? store_as<tern::trit_code_matrix<tern::n4>>(w, q)
                                : store_as<tern::trit_code_matrix<tern::n6>>(w, q);
  return q.code.planes() == 2 ? store_as<tern::trit_code_matrix<tern::b3x2>>(w, q)
                              : store_as<tern::trit_code_matrix<tern::b3x3>>(w, q);
}

inline std::vector<weight_method> weight_methods() {
  using tern::base_rule, tern::decompose_method, tern::granularity;
  using weights = tern::matrix<float>;
  std::vector<weight_method> methods;
  for (const unsigned bits : {3u, 4u, 8u})
    methods.push_back(
        {"int absmax", fmt::format("int{}", bits), true, [=](const weights& w, granularity g, const on_progress&) {
           return store_integers(w, tern::quantize_absmax(w, g, {.bits = bits}), bits);
         }});
  for (const unsigned bits : {3u, 4u, 8u})
    methods.push_back(
        {"int mse", fmt::format("int{}", bits), true, [=](const weights& w, granularity g, const on_progress&) {
           return store_integers(w, tern::quantize_mse(w, g, {.bits = bits}), bits);
         }});

  // The other ternary rules, absmean and the optimum, are the first points of the greedy curves.
  methods.push_back({"ternary twn", "k = 1", true, [](const weights& w, granularity g, const on_progress&) {
                       return store_planes(w, tern::quantize_ternary(w, tern::twn{}, g));
                     }});
  const auto add_planes = [&](const char* family, std::size_t least, tern::decompose_options options) {
    constexpr std::size_t most = 5, most_in_groups = 4;  // about 8 bits, as int8
    for (options.planes = least; options.planes <= most; ++options.planes)
      methods.push_back({family, fmt::format("k = {}", options.planes), options.planes <= most_in_groups,
                         [options](const weights& w, granularity g, const on_progress& progress) mutable {
                           options.granularity = g;
                           const auto report = [&](std::size_t done, std::size_t total) {
                             progress(static_cast<float>(done) / static_cast<float>(total));
                             return true;
                           };
                           return store_planes(w, tern::decompose(w, options, tern::serial_executor{}, report));
                         }});
  };
  add_planes("greedy absmean", 1, {.base = base_rule::absmean});
  add_planes("greedy optimum", 1, {.base = base_rule::optimum});
  add_planes("refit", 2, {.method = decompose_method::greedy_refit, .base = base_rule::optimum});
  add_planes("alternating", 1, {.method = decompose_method::alternating});
  add_planes("balanced", 2, {.method = decompose_method::balanced});
  for (const std::size_t planes : {2u, 3u})
    methods.push_back(
        {"plane code", fmt::format("k = {}", planes), true, [=](const weights& w, granularity g, const on_progress&) {
           return store_plane_code(w, tern::quantize_trit_code(w, {.planes = planes, .granularity = g}));
         }});
  return methods;
}

/// A method's results on the three distributions, with a scale per row and with one for every 128 inputs.
struct method_results {
  std::string family;
  std::string variant;
  bool has_groups = false;
  std::array<stored_weights, 3> per_row = {};
  std::array<stored_weights, 3> per_group = {};

  std::string name() const { return family.starts_with("int") ? variant + family.substr(3) : family + ", " + variant; }
};

/// Runs every method on synthetic weights [rows x 4096], with a bar for each distribution.
inline std::vector<method_results> measure_methods(std::size_t rows) {
  const std::vector<weight_method> methods = weight_methods();
  std::vector<method_results> results;
  for (const weight_method& method : methods) results.push_back({method.family, method.variant, method.has_groups});
  const char* const names[] = {"Gauss", "Laplace", "Student t, 4 degrees of freedom"};
  for (std::size_t d = 0; d < 3; ++d) {
    const auto w = tern::synthetic_weights(rows, 4096, static_cast<tern::weight_distribution>(d), d + 1);
    progress_bar bar(names[d]);
    float done = 0;
    const float share = 0.5f / static_cast<float>(methods.size());
    for (std::size_t i = 0; i < methods.size(); ++i) {
      const auto report = [&](float part) { bar(done + part * share); };
      results[i].per_row[d] = methods[i].store(w, tern::per_channel, report);
      done += share;
      if (methods[i].has_groups) results[i].per_group[d] = methods[i].store(w, per_128, report);
      done += share;
    }
  }
  return results;
}

/// What rate-distortion theory allows Gaussian weights: 20 log10 2.
inline constexpr double gauss_db_per_bit = 6.0206;

/// The chart's six panels: distributions side by side, a scale per row above a scale for every 128 inputs.
inline chart chart_of(const std::vector<method_results>& results, std::size_t rows) {
  chart chart{
      .title = fmt::format(
          "Signal-to-noise ratio of {} x 4096 quantized random weights, dB. Dashed: the bound for Gaussian weights",
          rows),
      .x_label = "bits stored per weight, scales included",
      .x_ticks = {1, 2, 3, 4, 5, 6, 7, 8},
      .linear_x = true,
      .columns = 3};
  for (const char* scales : {"a scale per row", "a scale for every 128 inputs"})
    for (const char* distribution : {"Gauss", "Laplace", "Student t"})
      chart.panels.push_back({.title = fmt::format("{}, {}", distribution, scales), .least = 0, .most = 50});

  chart_series bound{
      .name = "6.02 dB a bit", .colour = "#999999", .shape = marker::none, .joined = true, .dashed = true};
  for (const double bits : {1.0, 8.0})
    bound.points.push_back({bits, std::vector<double>(6, gauss_db_per_bit * bits), std::vector<std::string>(6)});
  chart.series = {std::move(bound),
                  {.name = "int absmax", .colour = "#9a9a9a", .shape = marker::square},
                  {.name = "int mse", .colour = "#333333", .shape = marker::square},
                  {.name = "greedy absmean", .colour = "#cc79a7"},
                  {.name = "greedy optimum", .colour = "#56b4e9"},
                  {.name = "refit", .colour = "#0072b2", .shape = marker::triangle_up},
                  {.name = "alternating", .colour = "#d55e00"},
                  {.name = "balanced", .colour = "#e69f00", .shape = marker::triangle_down},
                  {.name = "plane code", .colour = "#009e73", .shape = marker::diamond}};
  constexpr double nowhere = std::numeric_limits<double>::infinity();
  for (chart_series& series : chart.series) {
    series.joined = true;
    series.label_at_end = true;
    for (const method_results& r : results) {
      if (r.family != series.name) continue;
      const auto &row = r.per_row, &group = r.per_group;
      series.points.push_back(
          {row[0].bits, {row[0].snr_db, row[1].snr_db, row[2].snr_db, nowhere, nowhere, nowhere}, {}});
      if (!r.has_groups) continue;
      series.points.push_back(
          {group[0].bits, {nowhere, nowhere, nowhere, group[0].snr_db, group[1].snr_db, group[2].snr_db}, {}});
    }
  }
  return chart;
}

}  // namespace demo
