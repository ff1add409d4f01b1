// SPDX-License-Identifier: MIT
/// One row of the table of a comparison: what a network's weights take, how close they are, how good and how fast it is.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace demo {

struct result {
  std::string name;
  int correct = 0;                ///< test images classified correctly
  int images = 0;                 ///< test images
  double weight_bytes = 0;        ///< all that is stored for the weight matrices: codes, padding, scales, zero points
  double bits_per_weight = 0;     ///< the same per weight of the float network
  double snr_db = 0;              ///< energy of the float weights over that of the error, all layers together
  double batch_us = 0;            ///< microseconds per image, all test images in one batch
  double single_us = 0;           ///< microseconds per image, one at a time
  std::uint64_t fingerprint = 0;  ///< of the bits of all scores; 0 where they depend on the machine

  double accuracy() const { return 100.0 * correct / images; }
};

/// The same rows over several splits: counts of images are added, all else is averaged.
inline std::vector<result> mean_of_splits(const std::vector<std::vector<result>>& splits) {
  std::vector<result> mean = splits.front();
  for (std::size_t s = 1; s < splits.size(); ++s)
    for (std::size_t r = 0; r < mean.size(); ++r) {
      const auto average = [&](double result::*value) {
        mean[r].*value += (splits[s][r].*value - mean[r].*value) / static_cast<double>(s + 1);
      };
      mean[r].correct += splits[s][r].correct;
      mean[r].images += splits[s][r].images;
      average(&result::weight_bytes);
      average(&result::bits_per_weight);
      average(&result::snr_db);
      average(&result::batch_us);
      average(&result::single_us);
    }
  return mean;
}

inline void print_table(const std::vector<result>& rows) {
  std::size_t width = 0;
  for (const result& row : rows) width = std::max(width, row.name.size());
  fmt::print("\n{:<{}} {:>9} {:>10} {:>8} {:>8} {:>18}\n", "", width, "test", "weight", "bits per", "weight",
             "us per image");
  fmt::print("{:<{}} {:>9} {:>10} {:>8} {:>8} {:>9} {:>8}\n", "weights", width, "accuracy", "bytes", "weight", "SNR",
             "batch", "single");
  for (const result& row : rows) {
    const std::string snr = std::isfinite(row.snr_db) ? fmt::format("{:.1f} dB", row.snr_db) : "-";
    fmt::print("{:<{}} {:>7.2f} % {:>10.0f} {:>8.2f} {:>8} {:>9.2f} {:>8.2f}\n", row.name, width, row.accuracy(),
               row.weight_bytes, row.bits_per_weight, snr, row.batch_us, row.single_us);
  }
}

}  // namespace demo
