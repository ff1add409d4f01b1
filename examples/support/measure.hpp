// SPDX-License-Identifier: MIT
/// Fills the rows of the table: runs a network, float or packed, over the test images.
#pragma once

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <tern/eigen.hpp>
#include <tern/tern.hpp>

#include "mlp.hpp"
#include "packed_mlp.hpp"
#include "result.hpp"

namespace demo {

/// Hashes the bits of all scores (FNV-1a over 32-bit words).
inline std::uint64_t fingerprint(tern::matrix_view<const float> scores) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (std::size_t i = 0; i < scores.rows(); ++i)
    for (std::size_t j = 0; j < scores.cols(); ++j)
      hash = (hash ^ std::bit_cast<std::uint32_t>(scores(i, j))) * 0x100000001b3u;
  return hash;
}

/// Calls f(0), f(1), ... for the given time, thrice at least, and returns the median duration of a call in microseconds.
template <class F>
double median_microseconds(double seconds, F f) {
  using clock = std::chrono::steady_clock;
  using microseconds = std::chrono::duration<double, std::micro>;
  const clock::time_point start = clock::now();
  std::vector<double> times;
  while (times.size() < 3 || microseconds(clock::now() - start).count() < 1e6 * seconds) {
    const clock::time_point before = clock::now();
    f(times.size());
    times.push_back(microseconds(clock::now() - before).count());
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

/// The row of the float network, which runs in Eigen.
inline result measure_float(const mlp& net, const image_set& test, double seconds) {
  result row{.name = "float"};
  row.correct = count_correct(forward(net, test.pixels), test.labels);
  row.images = static_cast<int>(test.size());
  for (const dense& layer : net) row.weight_bytes += static_cast<double>(layer.weight.size()) * sizeof(float);
  row.bits_per_weight = 8.0 * sizeof(float);
  row.snr_db = std::numeric_limits<double>::infinity();
  row.batch_us =
      median_microseconds(seconds, [&](std::size_t) { forward(net, test.pixels); }) / static_cast<double>(test.size());
  row.single_us = median_microseconds(
      seconds, [&](std::size_t i) { forward(net, test.pixels.row(static_cast<Eigen::Index>(i) % test.size())); });
  return row;
}

/// The row of a network whose weights are quantised and packed: quantize(W) gives codes and scales, Layer packs and runs them.
template <class Layer, class Quantizer>
result measure_packed(std::string name, const mlp& net, const image_set& test, double seconds, Quantizer quantize) {
  const tern::matrix_view<const float> images(test.pixels.data(), static_cast<std::size_t>(test.pixels.rows()),
                                              static_cast<std::size_t>(test.pixels.cols()));
  packed_mlp<Layer> packed(net, quantize, images.rows());
  result row{.name = std::move(name)};

  const tern::matrix_view<const float> scores = packed(images);
  row.correct = count_correct(
      Eigen::Map<const matrix>(scores.data(), test.size(), static_cast<Eigen::Index>(scores.cols())), test.labels);
  row.images = static_cast<int>(test.size());
  row.fingerprint = fingerprint(scores);

  double weights = 0.0;
  double signal = 0.0;
  double noise = 0.0;
  for (std::size_t l = 0; l < net.size(); ++l) {
    const auto count = static_cast<double>(net[l].weight.size());
    const auto& stored = packed.layers()[l].weights();
    weights += count;
    row.weight_bytes += static_cast<double>(stored.storage_bytes());
    signal += net[l].weight.cast<double>().squaredNorm();
    noise += count * tern::distortion(net[l].weight, tern::dequantize(stored)).mse;
  }
  row.bits_per_weight = 8.0 * row.weight_bytes / weights;
  row.snr_db = 10.0 * std::log10(signal / noise);

  row.batch_us =
      median_microseconds(seconds, [&](std::size_t) { packed(images); }) / static_cast<double>(images.rows());
  row.single_us = median_microseconds(seconds, [&](std::size_t i) {
    packed({images.row(i % images.rows()), 1, images.cols()});
  });
  return row;
}

}  // namespace demo
