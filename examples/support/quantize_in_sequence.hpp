// SPDX-License-Identifier: MIT
/// Quantising a model layer after layer: each map is calibrated on what it is given behind those that are quantised
/// already, its weights corrected beforehand for what has become of these inputs (tern/quantize/corrected_weights.hpp).
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <tern/quantize/corrected_weights.hpp>

#include "embedder.hpp"
#include "quantize_layer.hpp"

namespace demo {

/// The maps of a layer that are quantised at a time, by their places in bert::maps(): those with the same inputs.
struct stage {
  std::size_t first, count;
};
inline constexpr std::array<stage, 4> stages{{{0, 3}, {3, 1}, {4, 1}, {5, 1}}};

/// A few sentences and where they are in the float model and in the quantised one.
struct sentence_batch {
  std::span<const token_ids> sentences;
  tern::matrix<float> hidden, quantized_hidden;                // what the layer is given
  std::array<tern::matrix<float>, stages.size()> inputs = {};  // what its stages are given in the float model
};

inline tern::matrix<float> copy_of(tern::matrix_view<const float> m) {
  tern::matrix<float> copy(m.rows(), m.cols());
  std::copy_n(m.data(), m.rows() * m.cols(), copy.data());
  return copy;
}

/// Quantises the linear maps of `model`, still float, one stage after the other.
///
/// @param sentences  what calibrates
/// @param quantized  is told of each map, by quantized(map, layer)
/// Cost: each layer runs once in float and five times quantised, over all sentences; 4 (3 K + I) bytes a token for width
///       K and intermediate width I.
template <class Quantized>
void quantize_in_sequence(bert& model, const method& how, std::span<const token_ids> sentences, embedder& threads,
                          Quantized&& quantized) {
  constexpr std::size_t batch_size = 16;
  const bert whole = model;
  bert_workspace& workspace = threads.workspace();
  std::vector<sentence_batch> batches;
  for (std::size_t begin = 0; begin < sentences.size(); begin += batch_size) {
    const auto some = sentences.subspan(begin, std::min(batch_size, sentences.size() - begin));
    std::size_t tokens = 0;
    for (const token_ids& ids : some) tokens += ids.size();
    tern::matrix<float> hidden(tokens, model.config().width);
    model.look_up(some, hidden, workspace);
    batches.push_back({some, hidden, hidden});
  }
  for (std::size_t l = 0; l < model.config().layers; ++l) {
    const std::span<const linear_map> maps = whole.maps().subspan(6 * l, 6);
    for (sentence_batch& batch : batches)
      whole.apply_layer(l, batch.sentences, batch.hidden, workspace, [&](const linear_map& map, auto x) {
        for (std::size_t s = 0; s < stages.size(); ++s)
          if (map.name == maps[stages[s].first].name) batch.inputs[s] = copy_of(x);
      });
    for (std::size_t s = 0; s < stages.size(); ++s) {
      const std::size_t inputs = maps[stages[s].first].weight.cols();
      calibration seen{tern::hessian(inputs)};
      tern::cross_moment cross(inputs);
      for (sentence_batch& batch : batches) {
        tern::matrix<float> hidden = batch.quantized_hidden;
        model.apply_layer(l, batch.sentences, hidden, workspace, [&](const linear_map& map, auto x) {
          if (map.name != maps[stages[s].first].name) return;
          seen.hessian.observe(x, threads.executor());
          cross.observe(batch.inputs[s], x, threads.executor());
        });
      }
      for (const linear_map& map : maps.subspan(stages[s].first, stages[s].count)) {
        constexpr double damp = 0.3;  // of the correction: 0.1 to 1 are as good on all-MiniLM-L6-v2, 0.01 is worse
        const tern::matrix<float> w =
            tern::corrected_weights(copy_of(map.weight), cross, seen.hessian, damp, threads.executor());
        const quantized_layer q = quantize(w, how, &seen, threads.executor(), [](auto, auto) { return true; },
                                           {map.bias.begin(), map.bias.end()});
        model.exchange(map.name, q.layer);
        quantized(map, q);
      }
    }
    for (sentence_batch& batch : batches) model.apply_layer(l, batch.sentences, batch.quantized_hidden, workspace);
  }
}

}  // namespace demo
