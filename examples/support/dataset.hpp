// SPDX-License-Identifier: MIT
/// Labelled images in two parts, one to train on and one held out: the embedded digits, or IDX files (idx.hpp).
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "random.hpp"

namespace demo {

/// The dense matrix of the examples: row-major, as tern views it without a copy. One image per row.
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

struct image_set {
  matrix pixels;            ///< [images x side * side], levels in [0, 1]
  std::vector<int> labels;  ///< 0 .. classes - 1

  Eigen::Index size() const { return pixels.rows(); }
};

struct dataset {
  std::string name;
  Eigen::Index side = 0;  ///< images are side x side pixels
  int classes = 0;
  image_set train = {};
  image_set test = {};
};

/// The number of parts that load_digits cuts the images into: each is the test set of one split.
inline constexpr int digit_splits = 5;

/// Splits the 1,797 embedded digits: the images are shuffled once, and split s tests on its own fifth of them.
inline dataset load_digits(int split) {
  static constexpr const char* images[] = {
#include "../data/digits.inc"
  };
  constexpr Eigen::Index side = 8;
  constexpr Eigen::Index pixels = side * side;
  constexpr float white = 16.0f;

  std::vector<std::size_t> order(std::size(images));
  std::iota(order.begin(), order.end(), std::size_t{0});
  random_source(2024).shuffle(order);

  dataset data{.name = "digits 8x8", .side = side, .classes = 10};
  const auto tested = [&](std::size_t i) { return i % digit_splits == static_cast<std::size_t>(split); };
  const auto fill = [&](image_set& part, bool test) {
    std::vector<const char*> chosen;
    for (std::size_t i = 0; i < order.size(); ++i)
      if (tested(i) == test) chosen.push_back(images[order[i]]);
    part.pixels.resize(static_cast<Eigen::Index>(chosen.size()), pixels);
    for (Eigen::Index i = 0; i < part.size(); ++i) {
      const char* image = chosen[static_cast<std::size_t>(i)];
      for (Eigen::Index j = 0; j < pixels; ++j) {
        const int level = image[j] <= '9' ? image[j] - '0' : image[j] - 'a' + 10;
        part.pixels(i, j) = static_cast<float>(level) / white;
      }
      part.labels.push_back(image[pixels] - '0');
    }
  };
  fill(data.train, false);
  fill(data.test, true);
  return data;
}

}  // namespace demo
