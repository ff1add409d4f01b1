// SPDX-License-Identifier: MIT
/// Test cases that meet every pair of choices, which is where nearly all faults of combinations show, without the full product.
#pragma once

#include <set>
#include <tuple>
#include <vector>

#include "kernel/problem.hpp"

namespace tern_test {

/// Rows of choices, row[i] < counts[i], such that for any two factors every pair of their choices is in some row.
/// Greedy: each row starts at a pair not yet met and is the best of a few random ones.
inline std::vector<std::vector<std::size_t>> all_pairs(const std::vector<std::size_t>& counts, std::size_t seed) {
  using pair = std::tuple<std::size_t, std::size_t, std::size_t, std::size_t>;  // factor, choice, factor, choice
  std::set<pair> open;
  for (std::size_t i = 0; i < counts.size(); ++i)
    for (std::size_t j = i + 1; j < counts.size(); ++j)
      for (std::size_t a = 0; a < counts[i]; ++a)
        for (std::size_t b = 0; b < counts[j]; ++b) open.insert({i, a, j, b});

  const auto pairs_of = [](const std::vector<std::size_t>& row) {
    std::vector<pair> pairs;
    for (std::size_t i = 0; i < row.size(); ++i)
      for (std::size_t j = i + 1; j < row.size(); ++j) pairs.push_back({i, row[i], j, row[j]});
    return pairs;
  };

  dice d(seed);
  std::vector<std::vector<std::size_t>> rows;
  while (!open.empty()) {
    const auto [i, a, j, b] = *open.begin();
    std::vector<std::size_t> best;
    std::size_t most = 0;
    for (int attempt = 0; attempt < 12; ++attempt) {
      std::vector<std::size_t> row;
      for (const std::size_t count : counts) row.push_back(d.below(count));
      row[i] = a;
      row[j] = b;
      std::size_t met = 0;
      for (const pair& p : pairs_of(row)) met += open.count(p);
      if (met > most) {
        most = met;
        best = row;
      }
    }
    for (const pair& p : pairs_of(best)) open.erase(p);
    rows.push_back(best);
  }
  return rows;
}

/// Facts that meet every pair of shapes, granularities, scale types, planes, zero points, outputs and bias.
/// Groups are multiples of `multiple`. What has no meaning is replaced: int32 outputs have one plane, one scale a row, no bias.
inline std::vector<facts> all_facts(std::size_t multiple, bool float_activations, std::size_t seed) {
  // Int8 tokens come in tiles of 4 and 16, by pairs of 16 on AMX, and in blocks of 64 and 256; float ones in fours.
  const std::vector<std::size_t> tokens =
      float_activations ? std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 8, 9}
                        : std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 48, 63, 65, 130, 257, 290};
  const std::vector<std::size_t> outputs{0, 1, 15, 16, 17, 31, 33, 63, 64, 65, 80, 130};
  // Around quads (4), blocks (16, 20), prefix sums (16), strips (80, 240) and a decoded chunk (128 quads: 512, 500).
  const std::vector<std::size_t> inputs{0,  1,  3,  4,   5,   15,  16,  17,  19,  20,  21,  63,  64,  65,
                                        79, 80, 81, 127, 128, 129, 159, 160, 161, 241, 499, 501, 513, 1027};
  const std::vector<tern::granularity> sharing{tern::per_tensor,
                                               tern::per_channel,
                                               tern::per_group(multiple),
                                               tern::per_group(2 * multiple),
                                               tern::per_group(3 * multiple),
                                               tern::per_group(8 * multiple)};
  std::vector<facts> all;
  for (const auto& row :
       all_pairs({tokens.size(), outputs.size(), inputs.size(), sharing.size(), 3, 3, 2, 2, 2, 4}, seed)) {
    facts f{tokens[row[0]],
            outputs[row[1]],
            inputs[row[2]],
            sharing[row[3]],
            static_cast<tern::scale_type>(row[4]),
            1 + row[5],
            row[6] != 0 && !float_activations,
            row[7] != 0,
            row[8] != 0,
            static_cast<output_type>(row[9])};
    if (float_activations && f.output == output_type::int32) f.output = output_type::float32;
    if (f.output == output_type::int32) {
      f.planes = 1;
      f.bias = false;
      if (f.granularity.groups(f.inputs) != 1) f.granularity = tern::per_channel;
    }
    all.push_back(f);
  }
  return all;
}

}  // namespace tern_test
