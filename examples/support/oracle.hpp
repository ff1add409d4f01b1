// SPDX-License-Identifier: MIT
/// What Python's libraries make of some sentences: ids of tokens, and embeddings. data/make_tiny_bert.py writes such files.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "bert.hpp"

namespace demo {

struct expected_sentence {
  std::string text;  ///< any bytes
  std::vector<std::int32_t> ids;
  std::vector<float> embedding;  ///< of length 1; empty where only the ids are known
};

struct oracle {
  double tolerance = 0;  ///< the largest 1 - cosine of an embedding
  std::vector<expected_sentence> sentences;
};

inline std::string bytes_of_hex(const std::string& digits) {
  if (digits.size() % 2 != 0) throw std::runtime_error(fmt::format("{} hex digits are no bytes", digits.size()));
  std::string bytes;
  for (std::size_t i = 0; i < digits.size(); i += 2)
    bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  return bytes;
}

/// Errors: std::runtime_error that names the file.
inline oracle read_oracle(const std::string& path) {
  const nlohmann::json json = read_json(path);
  try {
    oracle out;
    json.at("tolerance").get_to(out.tolerance);
    for (const nlohmann::json& entry : json.at("sentences")) {
      const bool is_text = entry.contains("text");
      expected_sentence& sentence = out.sentences.emplace_back();
      sentence.text = is_text ? entry.at("text").get<std::string>() : bytes_of_hex(entry.at("bytes"));
      entry.at("ids").get_to(sentence.ids);
      if (entry.contains("embedding")) entry.at("embedding").get_to(sentence.embedding);
    }
    if (out.sentences.empty()) throw std::runtime_error("no sentences");
    return out;
  } catch (const std::exception& error) {
    throw std::runtime_error(fmt::format("{}: {}", path, error.what()));
  }
}

}  // namespace demo
