// SPDX-License-Identifier: MIT
/// Trained networks as text, with the results they must give: what `digits --save-weights` writes and `--check` reads.
///
///     tern digits 1
///     network 64 128 64 10          layer sizes; then for each output of each layer one line of binary16 numbers, four
///     b5a33c01...                   hexadecimal digits each: the bias and the weights
///     network 64 128 64 10          the float network comes first, the one trained for ternary weights second
///     ...
///     expect 353 4d3a... NAME       for each row of the table: test images classified correctly, fingerprint of the scores
#pragma once

#include <charconv>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <tern/view.hpp>

#include "mlp.hpp"
#include "result.hpp"

namespace demo {

struct expectation {
  std::string name;
  int correct = 0;
  std::uint64_t fingerprint = 0;
};

/// The network trained in float, and the one trained to be ternary (its float master weights).
struct networks {
  mlp plain;
  mlp ternary;
};

struct stored_networks {
  networks nets;
  std::vector<expectation> expected;
};

/// Rounds all parameters to binary16, as the file holds them.
inline void round_to_half(networks& nets) {
  const auto round = [](float value) { return static_cast<float>(tern::half(value)); };
  for (mlp* net : {&nets.plain, &nets.ternary})
    for (dense& layer : *net) {
      layer.weight = layer.weight.unaryExpr(round).eval();
      layer.bias = layer.bias.unaryExpr(round).eval();
    }
}

/// Writes networks whose parameters are binary16 numbers, and their rows of the table as what --check must find.
inline void write_networks(const std::string& path, const networks& nets, const std::vector<result>& results) {
  std::ofstream out(path);
  const auto hex = [](float value) { return fmt::format("{:04x}", tern::half(value).bits); };
  out << "tern digits 1\n";
  for (const mlp* net : {&nets.plain, &nets.ternary}) {
    out << "network " << net->front().weight.cols();
    for (const dense& layer : *net) out << ' ' << layer.weight.rows();
    out << '\n';
    for (const dense& layer : *net)
      for (Eigen::Index n = 0; n < layer.weight.rows(); ++n) {
        out << hex(layer.bias(n));
        for (const float w : layer.weight.row(n)) out << hex(w);
        out << '\n';
      }
  }
  for (const result& row : results)
    out << fmt::format("expect {} {:016x} {}\n", row.correct, row.fingerprint, row.name);
  out.close();
  if (!out) throw std::runtime_error(path + ": cannot be written");
}

/// Errors: std::runtime_error naming the file and the line that is not as it should be.
inline stored_networks read_networks(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  int number = 0;
  const auto fail = [&](const std::string& why) {
    throw std::runtime_error(fmt::format("{}, line {}: {}", path, number, why));
  };
  const auto next_line = [&] {
    ++number;
    return static_cast<bool>(std::getline(in, line));
  };
  const auto parse_half = [&](std::size_t at) {
    tern::half value;
    const char* end = line.data() + at + 4;
    if (std::from_chars(line.data() + at, end, value.bits, 16).ptr != end) fail("not a hexadecimal number");
    return static_cast<float>(value);
  };
  if (!next_line() || line != "tern digits 1") fail("not a file of weights of this program");

  stored_networks stored;
  for (mlp* net : {&stored.nets.plain, &stored.nets.ternary}) {
    std::string word;
    Eigen::Index inputs = 0;
    Eigen::Index outputs = 0;
    next_line();
    std::istringstream sizes(line);
    if (!(sizes >> word >> inputs) || word != "network") fail("a network was expected");
    for (; sizes >> outputs; inputs = outputs) {
      if (inputs < 1 || outputs < 1 || inputs > 65536 || outputs > 65536) fail("a layer of an implausible size");
      net->push_back({matrix(outputs, inputs), Eigen::RowVectorXf(outputs)});
    }
    if (net->empty()) fail("a network without layers");
    for (dense& layer : *net)
      for (Eigen::Index n = 0; n < layer.weight.rows(); ++n) {
        const auto count = static_cast<std::size_t>(layer.weight.cols());
        if (!next_line() || line.size() != 4 * (count + 1)) fail(fmt::format("{} numbers were expected", count + 1));
        layer.bias(n) = parse_half(0);
        for (std::size_t k = 0; k < count; ++k) layer.weight(n, static_cast<Eigen::Index>(k)) = parse_half(4 * (k + 1));
      }
  }
  while (next_line()) {
    expectation e;
    std::string word;
    std::istringstream fields(line);
    if (!(fields >> word >> e.correct >> std::hex >> e.fingerprint >> std::ws) || word != "expect" ||
        !std::getline(fields, e.name))
      fail("an expectation was expected");
    stored.expected.push_back(e);
  }
  return stored;
}

}  // namespace demo
