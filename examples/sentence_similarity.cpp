// SPDX-License-Identifier: MIT
/// Compares sentences by meaning: all-MiniLM-L6-v2, a BERT of six layers, from text to embeddings in C++.
///
///     sentence_similarity                             a few sentences: their similarities, the nearest pairs
///     sentence_similarity "It rained." "Wet weather." ...
///     sentence_similarity --file lines.txt            the nearest pairs of the lines of a file
///     sentence_similarity --quantized FILE ...        the same with the layers of FILE, from quantize_safetensors
///     sentence_similarity --check FILE                tokens and embeddings must be those that Python computed
///
/// cmake/bootstrap.sh minilm fetches the model. Others of the kind, BERT with mean pooling, can be named by --model.
#include <CLI/CLI.hpp>
#include <Eigen/Core>
#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <tern/io/safetensors_layer.hpp>
#include <tern/tern.hpp>
#include <tern/thread_pool.hpp>
#include <unsupported/Eigen/CXX11/ThreadPool>

#include "support/bert.hpp"
#include "support/oracle.hpp"
#include "support/wordpiece.hpp"

namespace demo {
namespace {

using token_ids = std::vector<std::int32_t>;

const std::vector<std::string> some_sentences{
    "A dog is chasing a ball across the park.",
    "The puppy ran after its toy on the grass.",
    "The central bank raised interest rates again.",
    "Borrowing money has become more expensive.",
    "Stars are born in cold clouds of gas and dust.",
    "Gravity pulls interstellar clouds together until they shine.",
    "Add the flour and knead the dough for ten minutes.",
    "She has been playing the violin since she was five.",
};

/// A model, its tokenizer, and threads that embed sentences with them.
class embedder {
 public:
  embedder(const std::string& folder, std::size_t threads)
      : model(folder), tokenizer_(folder + "/vocab.txt"), pool_(static_cast<int>(threads) - 1), workspaces_(threads) {
    if (tokenizer_.size() != model.config().vocabulary)
      throw std::runtime_error(fmt::format("{}/vocab.txt has {} lines for a vocabulary of {}", folder,
                                           tokenizer_.size(), model.config().vocabulary));
  }

  token_ids tokens(std::string_view sentence) const { return tokenizer_(sentence, model.config().longest); }
  /// @param batch  sentences that a thread takes at a time
  tern::matrix<float> embed(std::span<const token_ids> sentences, std::size_t batch = 32) {
    const tern::pool_executor executor(pool_, static_cast<int>(workspaces_.size()));
    return embed_all(model, sentences, batch, workspaces_, executor);
  }

  bert model;

 private:
  wordpiece tokenizer_;
  Eigen::ThreadPool pool_;  // the calling thread works too
  std::vector<bert_workspace> workspaces_;
};

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}
std::span<const float> row(const tern::matrix<float>& m, std::size_t r) { return {m.row(r), m.cols()}; }

/// Puts the layers of a file in the places of the model's own.
void exchange_layers(bert& model, const tern::safetensors_file& file) {
  std::size_t exchanged = 0;
  const std::vector<std::string> names = tern::quantized_names(file);
  for (const linear_map& map : model.maps()) {
    const std::string name = map.name + ".weight";
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    model.exchange(map.name, tern::load_any_linear(file, name, {map.bias.begin(), map.bias.end()}));
    ++exchanged;
  }
  fmt::print("{} of {} linear maps are quantised.\n", exchanged, model.maps().size());
}

/// Whether tokens and embeddings are those of the file, in batches of one, two and all sentences.
bool check(embedder& embedder, const oracle& expected) {
  std::size_t wrong = 0;
  std::vector<token_ids> sentences;
  std::vector<const expected_sentence*> embedded;
  for (const expected_sentence& e : expected.sentences) {
    const token_ids ids = embedder.tokens(e.text);
    if (ids != e.ids) {
      ++wrong;
      fmt::print("WRONG tokens of \"{}\": {}, not {}\n", e.text, fmt::join(ids, " "), fmt::join(e.ids, " "));
    }
    if (e.embedding.empty()) continue;
    sentences.push_back(e.ids);
    embedded.push_back(&e);
  }
  double farthest = 0;
  for (const std::size_t batch : {std::size_t{1}, std::size_t{2}, sentences.size()}) {
    const tern::matrix<float> embeddings = embedder.embed(sentences, batch);
    for (std::size_t s = 0; s < embedded.size(); ++s) {
      const std::span<const float> got = row(embeddings, s), want = embedded[s]->embedding;
      if (got.size() != want.size())
        throw std::runtime_error(fmt::format("{} values expected, {} computed", want.size(), got.size()));
      const double distance = 1.0 - dot(got, want) / std::sqrt(dot(got, got) * dot(want, want));
      farthest = std::max(farthest, distance);
      if (distance <= expected.tolerance) continue;
      ++wrong;
      fmt::print("WRONG embedding of \"{}\": cosine 1 - {:.1e}\n", embedded[s]->text, distance);
    }
  }
  fmt::print("{} sentences tokenized, {} embedded: cosine to the oracle's 1 - {:.1e} at least. {}\n",
             expected.sentences.size(), embedded.size(), farthest, wrong == 0 ? "ok" : fmt::format("{} WRONG", wrong));
  return wrong == 0;
}

void print_similarities(const std::vector<std::string>& sentences, const tern::matrix<float>& embeddings,
                        std::size_t pairs) {
  struct pair {
    double similarity;
    std::size_t first, second;
  };
  constexpr std::size_t largest_matrix = 12;
  std::vector<pair> all;
  if (sentences.size() <= largest_matrix) {
    fmt::print("\n    ");
    for (std::size_t j = 1; j <= sentences.size(); ++j) fmt::print("{:6}", j);
  }
  for (std::size_t i = 0; i < sentences.size(); ++i) {
    for (std::size_t j = i + 1; j < sentences.size(); ++j)
      all.push_back({dot(row(embeddings, i), row(embeddings, j)), i, j});
    if (sentences.size() > largest_matrix) continue;
    fmt::print("\n{:4}", i + 1);
    for (std::size_t j = 0; j < sentences.size(); ++j)
      fmt::print("{:6.2f}", dot(row(embeddings, i), row(embeddings, j)));
    fmt::print("  {}", sentences[i]);
  }
  pairs = std::min(pairs, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(pairs), all.end(),
                    [](const pair& a, const pair& b) { return a.similarity > b.similarity; });
  fmt::print("\nThe nearest pairs:\n");
  for (const pair& p : std::span(all).first(pairs))
    fmt::print("{:6.3f}  {}\n        {}\n", p.similarity, sentences[p.first], sentences[p.second]);
}

/// The lines of a text file that are neither empty nor begin with '#'.
std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(fmt::format("cannot read {}", path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);)
    if (!line.empty() && line.front() != '#') lines.push_back(line);
  return lines;
}

struct options {
  std::vector<std::string> sentences;
  std::string file;
  std::string model = "build/minilm";
  std::string quantized;
  std::string check;
  std::size_t pairs = 5;
  std::size_t threads = 1;
};

int run(const options& options) {
  Eigen::setNbThreads(1);  // threads share the sentences, not the products
  if (!std::filesystem::exists(options.model + "/model.safetensors"))
    throw std::runtime_error(
        fmt::format("there is no {}/model.safetensors: `cmake/bootstrap.sh minilm` fetches a model to build/minilm",
                    options.model));
  embedder embedder(options.model, options.threads);
  if (!options.quantized.empty()) exchange_layers(embedder.model, tern::safetensors_file(options.quantized));
  if (!options.check.empty()) return check(embedder, read_oracle(options.check)) ? 0 : 1;

  std::vector<std::string> sentences = options.file.empty() ? options.sentences : read_lines(options.file);
  if (sentences.empty()) sentences = some_sentences;
  std::vector<token_ids> tokens;
  for (const std::string& sentence : sentences) tokens.push_back(embedder.tokens(sentence));
  print_similarities(sentences, embedder.embed(tokens), options.pairs);
  return 0;
}

}  // namespace
}  // namespace demo

int main(int argc, char** argv) {
  demo::options options;
  CLI::App app("Compares sentences by meaning, with a transformer whose layers can be tern's.", "sentence_similarity");
  auto* sentences = app.add_option("sentences", options.sentences, "Sentences to compare (default: a few)");
  app.add_option("--file", options.file, "A file of sentences, one a line")
      ->check(CLI::ExistingFile)
      ->excludes(sentences);
  app.add_option("--model", options.model, "The model's folder: config.json, vocab.txt, model.safetensors ...")
      ->capture_default_str();
  auto* quantized = app.add_option("--quantized", options.quantized, "Quantised layers to use, a safetensors file")
                        ->check(CLI::ExistingFile);
  app.add_option("--pairs", options.pairs, "How many of the nearest pairs to print")->capture_default_str();
  app.add_option("--threads", options.threads, "Threads")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--check", options.check, "Fail unless tokens and embeddings are those of this file")
      ->check(CLI::ExistingFile)
      ->excludes(quantized)
      ->excludes(sentences);
  CLI11_PARSE(app, argc, argv);
  try {
    return demo::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "sentence_similarity: {}\n", error.what());
    return 1;
  }
}
