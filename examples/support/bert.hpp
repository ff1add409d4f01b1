// SPDX-License-Identifier: MIT
/// BERT as an encoder of sentences, in float by Eigen, each of its linear maps exchangeable.
///
///     demo::bert model("minilm");                                    // the folder of a sentence-transformers model
///     demo::bert_workspace workspace;
///     model.embed(sentences, embeddings, workspace);                 // sentences: ids from demo::wordpiece
///     model.exchange("encoder.layer.0.intermediate.dense", layer);   // a tern::any_linear, in the place of that map
///
/// The tokens of a batch of sentences stand one below the other, without padding: linear maps run over all of them at
/// once, attention over each sentence alone.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <numbers>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <tern/io/safetensors.hpp>
#include <tern/tern.hpp>
#include <unsupported/Eigen/SpecialFunctions>

namespace demo {

/// What config.json and sentence_bert_config.json say of a model.
struct bert_config {
  std::size_t width = 0;         ///< hidden_size: of a token's vector
  std::size_t heads = 0;         ///< num_attention_heads
  std::size_t layers = 0;        ///< num_hidden_layers
  std::size_t intermediate = 0;  ///< intermediate_size
  std::size_t vocabulary = 0;    ///< vocab_size
  std::size_t positions = 0;     ///< max_position_embeddings
  std::size_t longest = 0;       ///< max_seq_length: tokens of a sentence, [CLS] and [SEP] among them
  float epsilon = 0;             ///< layer_norm_eps
};

inline nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(fmt::format("cannot read {}", path));
  try {
    return nlohmann::json::parse(file);
  } catch (const nlohmann::json::exception& error) {
    throw std::runtime_error(fmt::format("{}: {}", path, error.what()));
  }
}

/// Errors: std::runtime_error that names the file and the member that is missing or makes no sense.
inline bert_config read_bert_config(const std::string& folder) {
  const auto size = [](const nlohmann::json& json, const std::string& path, const char* name) {
    constexpr std::size_t most = 1u << 20;
    const auto member = json.find(name);
    if (member == json.end() || !member->is_number_unsigned() || *member < 1u || *member > most)
      throw std::runtime_error(fmt::format("{}: {} is to be a number from 1 to {}", path, name, most));
    return member->get<std::size_t>();
  };
  const std::string path = folder + "/config.json", sentences_path = folder + "/sentence_bert_config.json";
  const nlohmann::json json = read_json(path), sentences = read_json(sentences_path);
  const auto expect = [&](const char* name, const char* value) {
    if (const auto member = json.find(name); member == json.end() || *member != value)
      throw std::runtime_error(fmt::format("{}: {} is to be \"{}\"", path, name, value));
  };
  expect("model_type", "bert");
  expect("hidden_act", "gelu");
  bert_config config{.width = size(json, path, "hidden_size"),
                     .heads = size(json, path, "num_attention_heads"),
                     .layers = size(json, path, "num_hidden_layers"),
                     .intermediate = size(json, path, "intermediate_size"),
                     .vocabulary = size(json, path, "vocab_size"),
                     .positions = size(json, path, "max_position_embeddings"),
                     .longest = size(sentences, sentences_path, "max_seq_length")};
  const auto epsilon = json.find("layer_norm_eps");
  if (epsilon == json.end() || !epsilon->is_number() || !(*epsilon > 0.0) || *epsilon > 1.0)
    throw std::runtime_error(fmt::format("{}: layer_norm_eps is to be a number above 0", path));
  config.epsilon = epsilon->get<float>();
  if (config.width % config.heads != 0)
    throw std::runtime_error(fmt::format("{}: {} heads do not share {} values", path, config.heads, config.width));
  if (config.longest < 2 || config.longest > config.positions)
    throw std::runtime_error(
        fmt::format("{}: sentences of {} tokens for {} positions", sentences_path, config.longest, config.positions));
  return config;
}

/// y = x W^T + bias, by the float weights or by whatever stands in for them.
struct linear_map {
  std::string name;                            ///< the file's tensors are NAME.weight and NAME.bias
  tern::matrix_view<const float> weight = {};  ///< [outputs x inputs], the file's
  std::span<const float> bias = {};            ///< [outputs], the file's
  std::size_t stored_bytes = 0;                ///< of the weight in the file
  /// x [tokens x inputs] gives y [tokens x outputs]. Called from several threads at once, each with its own workspace.
  std::function<void(tern::matrix_view<const float> x, tern::matrix_view<float> y, std::span<std::byte> workspace)>
      apply;
  /// Bytes of workspace, aligned to 64, that apply needs for so many tokens. Empty: none.
  std::function<std::size_t(std::size_t tokens)> workspace_bytes = {};
};

/// Sees the inputs of each linear map, map by map, before it is applied.
using linear_observer = std::function<void(const linear_map& map, tern::matrix_view<const float> x)>;

/// The parts that the time of a sentence goes to.
enum class bert_part { embedding, linear, attention, gelu, norm };
inline constexpr std::array<const char*, 5> bert_part_names{"embedding", "linear maps", "attention", "GELU",
                                                            "layer norm"};

/// The memory that bert::embed runs in: grows to the largest batch it has seen. One for each thread.
struct bert_workspace {
  tern::matrix<float> hidden, query, key, value, context, intermediate, scores;
  tern::aligned_bytes maps;
  std::array<double, bert_part_names.size()> seconds{};  ///< spent so far, by bert_part

  /// @param longest  tokens of the longest sentence
  void grow(const bert_config& config, std::size_t tokens, std::size_t longest, std::size_t map_bytes) {
    const auto grow = [](tern::matrix<float>& m, std::size_t rows, std::size_t cols) {
      if (m.rows() * m.cols() < rows * cols) m = tern::matrix<float>(rows, cols);
    };
    for (tern::matrix<float>* m : {&hidden, &query, &key, &value, &context}) grow(*m, tokens, config.width);
    grow(intermediate, tokens, config.intermediate);
    grow(scores, longest, padded(longest));
    if (maps.size() < map_bytes) maps = tern::aligned_bytes(map_bytes);
  }
  /// Rows of scores are filled up to whole vectors, so that exponentials are taken by vectors only.
  static constexpr std::size_t padded(std::size_t tokens) { return (tokens + 15) / 16 * 16; }
};

/// The encoder, mean pooling, and embeddings of length 1. Its pooler, a layer on top of [CLS], is for other uses: these
/// embeddings do without. Copies share the file and what is read from it, but not which maps are exchanged.
///
/// Exactness: Eigen's sums have the order of its vectors: the last bits differ between machines and compilers.
/// Cost:      memory in the workspace only, but for what Eigen packs operands of large products in.
/// Source:    J. Devlin et al., "BERT", arXiv:1810.04805; N. Reimers, I. Gurevych, "Sentence-BERT", arXiv:1908.10084.
class bert {
 public:
  /// Reads config.json, sentence_bert_config.json and model.safetensors, whose F32 tensors stay where they are.
  ///
  /// Errors: std::runtime_error, or tern's for what is no safetensors file, that names the file, and the tensor that is
  ///         missing or has another shape.
  explicit bert(const std::string& folder) : parameters_(std::make_shared<const parameters>(folder)) {
    for (const linear_map& map : parameters_->maps) maps_.push_back(map);
  }

  const bert_config& config() const { return parameters_->config; }
  /// Six for each layer: query, key, value, attention output, intermediate, output.
  std::span<const linear_map> maps() const { return maps_; }

  /// Puts another layer in the place of the map of that name.
  ///
  /// @param layer  tern::any_linear, or what can be called as it is; kept
  /// Errors: std::runtime_error when there is no map of that name or the layer has another shape.
  template <class Layer>
  void exchange(std::string_view name, Layer layer) {
    const auto found = std::find_if(maps_.begin(), maps_.end(), [&](const linear_map& m) { return m.name == name; });
    if (found == maps_.end()) throw std::runtime_error(fmt::format("the model has no linear map {}", name));
    if (layer.in_features() != found->weight.cols() || layer.out_features() != found->weight.rows())
      throw std::runtime_error(fmt::format("{} maps {} values to {}, not {} to {}", name, found->weight.cols(),
                                           found->weight.rows(), layer.in_features(), layer.out_features()));
    const auto kept = std::make_shared<const Layer>(std::move(layer));
    found->apply = [kept](auto x, auto y, auto workspace) { (*kept)(x, y, workspace); };
    found->workspace_bytes = [kept](std::size_t tokens) { return kept->workspace_bytes(tokens); };
  }

  /// Errors: std::runtime_error when ids are not of the vocabulary, or are none or too many.
  void check(std::span<const std::int32_t> ids) const {
    if (ids.empty() || ids.size() > config().positions)
      throw std::runtime_error(fmt::format("a sentence of {} tokens, not 1 to {}", ids.size(), config().positions));
    for (const std::int32_t id : ids)
      if (id < 0 || static_cast<std::size_t>(id) >= config().vocabulary)
        throw std::runtime_error(fmt::format("token {} of a vocabulary of {}", id, config().vocabulary));
  }

  /// @param sentences   S sequences of ids
  /// @param embeddings  [S x width], written in full
  /// Errors: as check(), nothing being written then.
  void embed(std::span<const std::vector<std::int32_t>> sentences, tern::matrix_view<float> embeddings,
             bert_workspace& workspace, const linear_observer& observe = {}) const {
    run here = start(sentences, workspace, observe);
    const tern::matrix_view<float> hidden = here.rows(workspace.hidden);
    here.look_up(hidden);
    for (std::size_t l = 0; l < config().layers; ++l) here.apply_layer(l, hidden);
    here.pool(hidden, embeddings);
  }

  /// The two parts of embed for whoever needs what is between layers: what the first layer is given, and one layer.
  ///
  /// @param hidden  [tokens of all sentences x width]
  /// Errors: as check(), nothing being written then.
  void look_up(std::span<const std::vector<std::int32_t>> sentences, tern::matrix_view<float> hidden,
               bert_workspace& workspace) const {
    start(sentences, workspace, {}).look_up(hidden);
  }
  void apply_layer(std::size_t layer, std::span<const std::vector<std::int32_t>> sentences,
                   tern::matrix_view<float> hidden, bert_workspace& workspace,
                   const linear_observer& observe = {}) const {
    start(sentences, workspace, observe).apply_layer(layer, hidden);
  }

 private:
  using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using const_matrix_map = Eigen::Map<const matrix, Eigen::Unaligned, Eigen::OuterStride<>>;
  using matrix_map = Eigen::Map<matrix, Eigen::Unaligned, Eigen::OuterStride<>>;
  using row_map = Eigen::Map<Eigen::ArrayXf>;
  using const_row_map = Eigen::Map<const Eigen::ArrayXf>;

  static Eigen::Index index(std::size_t i) { return static_cast<Eigen::Index>(i); }
  static const_matrix_map eigen(tern::matrix_view<const float> m) {
    return {m.data(), index(m.rows()), index(m.cols()), Eigen::OuterStride<>(index(m.row_stride()))};
  }
  static matrix_map eigen(tern::matrix_view<float> m) {
    return {m.data(), index(m.rows()), index(m.cols()), Eigen::OuterStride<>(index(m.row_stride()))};
  }
  static row_map row(tern::matrix_view<float> m, std::size_t r) { return {m.row(r), index(m.cols())}; }

  struct layer_norm {
    const float *weight, *bias;
  };
  struct layer_norms {
    layer_norm attention, output;
  };

  /// What is read from the files.
  struct parameters {
    explicit parameters(const std::string& folder)
        : config(read_bert_config(folder)), path(folder + "/model.safetensors"), file(path) {
      words = tensor("embeddings.word_embeddings.weight", config.vocabulary, config.width);
      positions = tensor("embeddings.position_embeddings.weight", config.positions, config.width);
      types = tensor("embeddings.token_type_embeddings.weight", 0, config.width);
      embedding_norm = norm("embeddings.LayerNorm");
      for (std::size_t l = 0; l < config.layers; ++l) {
        const std::string prefix = fmt::format("encoder.layer.{}.", l);
        for (const char* name :
             {"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"})
          add_map(prefix + name, config.width, config.width);
        add_map(prefix + "intermediate.dense", config.intermediate, config.width);
        add_map(prefix + "output.dense", config.width, config.intermediate);
        layers.push_back({norm(prefix + "attention.output.LayerNorm"), norm(prefix + "output.LayerNorm")});
      }
    }

    /// The tensor in place, or a copy where it is of another type than float or lies badly.
    ///
    /// @param rows  0 for any number above 0; 1 for a vector too
    tern::matrix_view<const float> tensor(const std::string& name, std::size_t rows, std::size_t cols) {
      const tern::safetensors_tensor* found = file.find(name);
      if (found == nullptr) throw std::runtime_error(fmt::format("{} has no tensor {}", path, name));
      const std::vector<std::size_t>& shape = found->shape;
      const bool fits = (shape.size() == 2 && (rows == 0 ? shape[0] > 0 : shape[0] == rows) && shape[1] == cols) ||
                        (shape.size() == 1 && rows == 1 && shape[0] == cols);
      if (!fits)
        throw std::runtime_error(fmt::format("{}: tensor {} has the shape [{}], not [{}, {}] as config.json asks for",
                                             path, name, fmt::join(shape, ", "), rows == 0 ? "N" : std::to_string(rows),
                                             cols));
      const bool in_place =
          found->dtype == "F32" && reinterpret_cast<std::uintptr_t>(found->bytes.data()) % alignof(float) == 0;
      if (in_place) return found->view<float>();
      copies.push_back(found->to_float());
      return std::as_const(copies.back()).view();
    }
    layer_norm norm(const std::string& name) {
      return {tensor(name + ".weight", 1, config.width).data(), tensor(name + ".bias", 1, config.width).data()};
    }
    void add_map(const std::string& name, std::size_t outputs, std::size_t inputs) {
      const tern::matrix_view<const float> weight = tensor(name + ".weight", outputs, inputs);
      const std::span<const float> bias(tensor(name + ".bias", 1, outputs).data(), outputs);
      const auto apply = [=](tern::matrix_view<const float> x, tern::matrix_view<float> y, std::span<std::byte>) {
        matrix_map out = eigen(y);
        out.noalias() = eigen(x) * eigen(weight).transpose();
        out.rowwise() += Eigen::Map<const Eigen::RowVectorXf>(bias.data(), index(bias.size()));
      };
      maps.push_back({name, weight, bias, file.at(name + ".weight").bytes.size(), apply});
    }

    bert_config config;
    std::string path;
    tern::safetensors_file file;
    std::deque<tern::matrix<float>> copies;  // of which the views of earlier ones stay valid
    tern::matrix_view<const float> words, positions, types;
    layer_norm embedding_norm{};
    std::vector<layer_norms> layers;
    std::vector<linear_map> maps;
  };

  /// One call of embed.
  struct run {
    const bert& model;
    std::span<const std::vector<std::int32_t>> sentences;
    std::size_t tokens;
    bert_workspace& workspace;
    const linear_observer& observe;
    std::chrono::steady_clock::time_point last = std::chrono::steady_clock::now();

    const parameters& p() const { return *model.parameters_; }
    const bert_config& config() const { return p().config; }
    tern::matrix_view<float> rows(tern::matrix<float>& m) const { return {m.data(), tokens, config().width}; }

    void apply_layer(std::size_t l, tern::matrix_view<float> hidden) {
      const tern::matrix_view<float> query = rows(workspace.query), key = rows(workspace.key),
                                     value = rows(workspace.value), context = rows(workspace.context);
      const tern::matrix_view<float> intermediate(workspace.intermediate.data(), tokens, config().intermediate);
      const std::span maps = model.maps().subspan(6 * l, 6);
      apply(maps[0], hidden, query);
      apply(maps[1], hidden, key);
      apply(maps[2], hidden, value);
      attend(query, key, value, context);
      apply(maps[3], context, query);
      add_and_normalize(query, hidden, p().layers[l].attention);
      apply(maps[4], hidden, intermediate);
      gelu(intermediate);
      apply(maps[5], intermediate, query);
      add_and_normalize(query, hidden, p().layers[l].output);
    }

    /// Books the time since the last call.
    void lap(bert_part part) {
      const auto now = std::chrono::steady_clock::now();
      workspace.seconds[static_cast<std::size_t>(part)] += std::chrono::duration<double>(now - last).count();
      last = now;
    }

    /// A token's vector: of its word, of its place, and of the first kind of sentence.
    void look_up(tern::matrix_view<float> hidden) {
      std::size_t t = 0;
      for (const std::vector<std::int32_t>& ids : sentences)
        for (std::size_t i = 0; i < ids.size(); ++i, ++t) {
          const auto part = [&](tern::matrix_view<const float> m, std::size_t r) {
            return const_row_map(m.row(r), index(m.cols()));
          };
          row(hidden, t) =
              part(p().words, static_cast<std::size_t>(ids[i])) + part(p().positions, i) + part(p().types, 0);
          normalize(row(hidden, t), p().embedding_norm);
        }
      lap(bert_part::embedding);
    }

    void apply(const linear_map& map, tern::matrix_view<const float> x, tern::matrix_view<float> y) {
      if (observe) observe(map, x);
      map.apply(x, y, workspace.maps);
      lap(bert_part::linear);
    }

    /// softmax(Q K^T / sqrt(d)) V, for each sentence and head. Rows are divided by their sums at the end.
    void attend(tern::matrix_view<const float> query, tern::matrix_view<const float> key,
                tern::matrix_view<const float> value, tern::matrix_view<float> context) {
      const std::size_t size = config().width / config().heads;
      const float scale = 1.0f / std::sqrt(static_cast<float>(size));
      std::size_t first = 0;
      for (const std::vector<std::int32_t>& ids : sentences) {
        const std::size_t count = ids.size(), padded = bert_workspace::padded(count);
        const tern::matrix_view<float> all_scores(workspace.scores.data(), count, padded);
        const tern::matrix_view<float> known_scores(workspace.scores.data(), count, count, padded);
        for (std::size_t h = 0; h < config().heads; ++h) {
          const auto part = [&]<class T>(tern::matrix_view<T> m) {
            return eigen(tern::matrix_view<T>(m.row(first) + h * size, count, size, m.row_stride()));
          };
          matrix_map scores = eigen(known_scores), out = part(context);
          scores.noalias() = part(query) * part(key).transpose();
          for (std::size_t t = 0; t < count; ++t) {
            row_map r = row(all_scores, t);
            r.tail(index(padded - count)) = std::numeric_limits<float>::lowest();
            r = ((r - r.maxCoeff()) * scale).max(-80.0f).exp();  // nothing to a float sum, but no subnormal number
          }
          out.noalias() = scores * part(value);
          for (std::size_t t = 0; t < count; ++t) out.row(index(t)) /= row(all_scores, t).sum();
        }
        first += count;
      }
      lap(bert_part::attention);
    }

    /// x (1 + erf(x / sqrt 2)) / 2
    void gelu(tern::matrix_view<float> x) {
      for (std::size_t t = 0; t < x.rows(); ++t) {
        row_map r = row(x, t);
        r = 0.5f * r * (1.0f + (r * (1.0f / std::numbers::sqrt2_v<float>)).erf());
      }
      lap(bert_part::gelu);
    }

    void normalize(row_map r, const layer_norm& norm) const {
      r -= r.mean();
      const float scale = 1.0f / std::sqrt(r.square().mean() + config().epsilon);
      r = r * scale * const_row_map(norm.weight, r.size()) + const_row_map(norm.bias, r.size());
    }
    void add_and_normalize(tern::matrix_view<float> x, tern::matrix_view<float> hidden, const layer_norm& norm) {
      for (std::size_t t = 0; t < tokens; ++t) {
        row_map r = row(hidden, t);
        r += row(x, t);
        normalize(r, norm);
      }
      lap(bert_part::norm);
    }

    void pool(tern::matrix_view<const float> hidden, tern::matrix_view<float> embeddings) const {
      std::size_t first = 0;
      for (std::size_t s = 0; s < sentences.size(); ++s) {
        auto out = eigen(embeddings).row(index(s));
        out = eigen(hidden).middleRows(index(first), index(sentences[s].size())).colwise().mean();
        out /= std::max(out.norm(), 1e-12f);
        first += sentences[s].size();
      }
    }
  };

  /// Checks, and grows the workspace.
  run start(std::span<const std::vector<std::int32_t>> sentences, bert_workspace& workspace,
            const linear_observer& observe) const {
    std::size_t tokens = 0, longest = 0, map_bytes = 0;
    for (const std::vector<std::int32_t>& ids : sentences) {
      check(ids);
      tokens += ids.size();
      longest = std::max(longest, ids.size());
    }
    for (const linear_map& map : maps_)
      if (map.workspace_bytes) map_bytes = std::max(map_bytes, map.workspace_bytes(tokens));
    workspace.grow(config(), tokens, longest, map_bytes);
    return run{*this, sentences, tokens, workspace, observe};
  }

  std::shared_ptr<const parameters> parameters_;
  std::vector<linear_map> maps_;
};

/// The embeddings [sentences x width] of any number of sentences, batch by batch.
///
/// @param batch       sentences that a thread takes at a time
/// @param workspaces  one for each thread that is to work; they may be used again
/// Errors: as bert::check().
template <tern::executor Executor>
tern::matrix<float> embed_all(const bert& model, std::span<const std::vector<std::int32_t>> sentences,
                              std::size_t batch, std::span<bert_workspace> workspaces, const Executor& executor) {
  for (const std::vector<std::int32_t>& ids : sentences) model.check(ids);
  tern::matrix<float> embeddings(sentences.size(), model.config().width);
  std::atomic<std::size_t> next = 0;
  executor.parallel_for(workspaces.size(), [&](std::size_t part) {
    for (std::size_t begin; (begin = next.fetch_add(batch)) < sentences.size();) {
      const std::size_t count = std::min(batch, sentences.size() - begin);
      const tern::matrix_view<float> out(embeddings.row(begin), count, embeddings.cols());
      model.embed(sentences.subspan(begin, count), out, workspaces[part]);
    }
  });
  return embeddings;
}

}  // namespace demo
