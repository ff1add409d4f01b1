// SPDX-License-Identifier: MIT
/// Threads that embed sentences, and files of sentences.
#pragma once

#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <tern/thread_pool.hpp>
#include <unsupported/Eigen/CXX11/ThreadPool>

#include "bert.hpp"

namespace demo {

using token_ids = std::vector<std::int32_t>;

/// Threads, and a workspace for each.
class embedder {
 public:
  explicit embedder(std::size_t threads) : pool_(static_cast<int>(threads) - 1), workspaces_(threads) {}

  /// The embeddings, [sentences x width].
  ///
  /// @param batch    sentences that a thread takes at a time
  /// @param threads  how many of the threads work; 0 for all
  tern::matrix<float> operator()(const bert& model, std::span<const token_ids> sentences, std::size_t batch = 32,
                                 std::size_t threads = 0) {
    const std::span<bert_workspace> workspaces(workspaces_.data(), threads == 0 ? workspaces_.size() : threads);
    return embed_all(model, sentences, batch, workspaces, executor());
  }
  tern::pool_executor<Eigen::ThreadPool> executor() {
    return tern::pool_executor(pool_, static_cast<int>(workspaces_.size()));
  }
  bert_workspace& workspace() { return workspaces_.front(); }

 private:
  Eigen::ThreadPool pool_;  // the calling thread works too
  std::vector<bert_workspace> workspaces_;
};

inline double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}
inline double cosine(std::span<const float> a, std::span<const float> b) {
  return dot(a, b) / std::sqrt(dot(a, a) * dot(b, b));
}
inline std::span<const float> row_of(const tern::matrix<float>& m, std::size_t r) { return {m.row(r), m.cols()}; }

/// The lines of a text file that are neither empty nor begin with '#'.
///
/// @param section  only those between the line "# SECTION" and the next that begins with '#'; empty for all
/// Errors: std::runtime_error when the file cannot be read or has no such lines.
inline std::vector<std::string> read_sentences(const std::string& path, const std::string& section = "") {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(fmt::format("cannot read {}", path));
  std::vector<std::string> lines;
  bool wanted = section.empty();
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#') && !section.empty()) wanted = line == "# " + section;
    if (wanted && !line.empty() && !line.starts_with('#')) lines.push_back(line);
  }
  if (lines.empty())
    throw std::runtime_error(
        fmt::format("{} has no sentences{}", path, section.empty() ? "" : " in a section # " + section));
  return lines;
}

}  // namespace demo
