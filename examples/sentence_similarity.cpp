// SPDX-License-Identifier: MIT
/// Compares sentences by meaning: all-MiniLM-L6-v2, a BERT of six layers, from text to embeddings in C++.
///
///     sentence_similarity                             a few sentences: their similarities, the nearest pairs
///     sentence_similarity "It rained." "Wet weather." ...
///     sentence_similarity --file lines.txt            the nearest pairs of the lines of a file
///     sentence_similarity --quantized FILE ...        the same with the layers of FILE, from quantize_safetensors
///     sentence_similarity --table                     what each method of quantisation does to size, speed and embeddings
///     sentence_similarity --calibrate FILE            what quantize_safetensors needs to know of the layers' inputs
///     sentence_similarity --check FILE                tokens and embeddings must be those that Python computed
///
/// cmake/bootstrap.sh minilm fetches the model. Others of the kind, BERT with mean pooling, can be named by --model.
#include <CLI/CLI.hpp>
#include <Eigen/Core>
#include <algorithm>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <tern/tern.hpp>

#include "support/bert.hpp"
#include "support/embedder.hpp"
#include "support/oracle.hpp"
#include "support/similarity_table.hpp"
#include "support/svg_chart.hpp"
#include "support/wordpiece.hpp"

namespace demo {
namespace {

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

/// The model's own tokenizer, cutting off what is too long for it.
class model_tokenizer {
 public:
  model_tokenizer(const std::string& folder, const bert_config& config)
      : tokenizer_(folder + "/vocab.txt"), longest_(config.longest) {
    if (tokenizer_.size() != config.vocabulary)
      throw std::runtime_error(fmt::format("{}/vocab.txt has {} lines for a vocabulary of {}", folder,
                                           tokenizer_.size(), config.vocabulary));
  }

  token_ids operator()(std::string_view sentence) const { return tokenizer_(sentence, longest_); }
  std::vector<token_ids> operator()(const std::vector<std::string>& sentences) const {
    std::vector<token_ids> ids;
    for (const std::string& sentence : sentences) ids.push_back((*this)(sentence));
    return ids;
  }

 private:
  wordpiece tokenizer_;
  std::size_t longest_;
};

/// Whether tokens and embeddings are those of the file, in batches of one, two and all sentences.
bool check(const bert& model, const model_tokenizer& tokenizer, embedder& embed, const oracle& expected) {
  std::size_t wrong = 0;
  std::vector<token_ids> sentences;
  std::vector<const expected_sentence*> embedded;
  for (const expected_sentence& e : expected.sentences) {
    const token_ids ids = tokenizer(e.text);
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
    const tern::matrix<float> embeddings = embed(model, sentences, batch);
    for (std::size_t s = 0; s < embedded.size(); ++s) {
      const std::span<const float> got = row_of(embeddings, s), want = embedded[s]->embedding;
      if (got.size() != want.size())
        throw std::runtime_error(fmt::format("{} values expected, {} computed", want.size(), got.size()));
      const double distance = 1.0 - cosine(got, want);
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
      all.push_back({dot(row_of(embeddings, i), row_of(embeddings, j)), i, j});
    if (sentences.size() > largest_matrix) continue;
    fmt::print("\n{:4}", i + 1);
    for (std::size_t j = 0; j < sentences.size(); ++j)
      fmt::print("{:6.2f}", dot(row_of(embeddings, i), row_of(embeddings, j)));
    fmt::print("  {}", sentences[i]);
  }
  if (sentences.size() <= largest_matrix) fmt::print("\n");
  pairs = std::min(pairs, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(pairs), all.end(),
                    [](const pair& a, const pair& b) { return a.similarity > b.similarity; });
  fmt::print("\nThe nearest pairs:\n");
  for (const pair& p : std::span(all).first(pairs))
    fmt::print("{:6.3f}  {}\n        {}\n", p.similarity, sentences[p.first], sentences[p.second]);
}

struct options {
  std::vector<std::string> sentences;
  std::string file;
  std::string model = "build/minilm";
  std::vector<std::string> quantized;
  std::string check;
  std::size_t pairs = 5;
  std::size_t threads = 1;
  bool table = false;
  std::size_t rounds = 9;
  std::string json;
  std::string svg;
  std::string calibrate;
};

/// The table, or only what quantize_safetensors needs to calibrate.
void run_table(const bert& model, const model_tokenizer& tokenizer, const options& options) {
  embedder threads(2);
  const std::vector<token_ids> calibration_set = tokenizer(read_sentences(options.file, "calibration"));
  const calibrations seen = calibrate(model, calibration_set, threads);
  if (!options.calibrate.empty()) save_calibration(options.calibrate, seen);
  if (!options.table) return;

  const std::vector<token_ids> evaluation_set = tokenizer(read_sentences(options.file, "evaluation"));
  std::size_t tokens = 0;
  for (const token_ids& ids : evaluation_set) tokens += ids.size();
  const std::size_t bytes = std::filesystem::file_size(options.model + "/model.safetensors");
  const std::vector<table_row> rows = make_table(model, table_methods(), options.quantized, seen, calibration_set,
                                                 evaluation_set, threads, bytes, options.rounds);
  print_table(rows);
  fmt::print("\n* as if packed to the bit: tern stores INT3 as INT4 and INT5 as INT8.\n");
  fmt::print("Embeddings of {} sentences of {:.1f} tokens against the float ones; calibration on {} others.\n",
             evaluation_set.size(), static_cast<double>(tokens) / static_cast<double>(evaluation_set.size()),
             calibration_set.size());
  fmt::print("Speed: threads x sentences at a time. Float by Eigen, compiled for {}; the others by tern, {} kernels.\n",
             Eigen::SimdInstructionSetsInUse(), tern::isa::best_name());
  print_parts(rows);
  if (!options.json.empty()) write_json(options.json, rows);
  if (!options.svg.empty()) write_svg(options.svg, chart_of(rows));
}

int run(const options& options) {
  Eigen::setNbThreads(1);  // threads share the sentences, not the products
  if (!std::filesystem::exists(options.model + "/model.safetensors"))
    throw std::runtime_error(
        fmt::format("there is no {}/model.safetensors: `cmake/bootstrap.sh minilm` fetches a model to build/minilm",
                    options.model));
  bert model(options.model);
  const model_tokenizer tokenizer(options.model, model.config());
  if (options.table || !options.calibrate.empty()) {
    run_table(model, tokenizer, options);
    return 0;
  }
  for (const std::string& path : options.quantized) {
    const table_row row = exchange_file(model, path, nullptr);
    fmt::print("{}: linear maps of {:.2f} bits a weight\n", path, row.bits);
  }
  embedder embed(options.threads);
  if (!options.check.empty()) return check(model, tokenizer, embed, read_oracle(options.check)) ? 0 : 1;

  std::vector<std::string> sentences = options.file.empty() ? options.sentences : read_sentences(options.file);
  if (sentences.empty()) sentences = some_sentences;
  print_similarities(sentences, embed(model, tokenizer(sentences)), options.pairs);
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
  auto* quantized = app.add_option("--quantized", options.quantized,
                                   "Layers to use, a file from quantize_safetensors; with --table, a row for each file")
                        ->allow_extra_args(false)
                        ->check(CLI::ExistingFile);
  app.add_option("--pairs", options.pairs, "How many of the nearest pairs to print")->capture_default_str();
  app.add_option("--threads", options.threads, "Threads")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--check", options.check, "Fail unless tokens and embeddings are those of this file")
      ->check(CLI::ExistingFile)
      ->excludes(quantized)
      ->excludes(sentences);
  auto* table = app.add_flag("--table", options.table,
                             "What quantisation does to the embeddings of the --file's \"# evaluation\" section");
  app.add_option("--rounds", options.rounds, "Rounds of timing of the table")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--json", options.json, "Where the table goes as JSON")->needs(table);
  app.add_option("--svg", options.svg, "Where its chart goes")->needs(table);
  app.add_option(
      "--calibrate", options.calibrate,
      "Writes what the linear maps are given by the --file's \"# calibration\" section, for quantize_safetensors");
  CLI11_PARSE(app, argc, argv);
  if ((options.table || !options.calibrate.empty()) && options.file.empty())
    options.file = "examples/data/sentences.txt";
  try {
    return demo::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "sentence_similarity: {}\n", error.what());
    return 1;
  }
}
