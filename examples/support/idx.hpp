// SPDX-License-Identifier: MIT
/// Reads the IDX files of MNIST and its relatives, compressed by gzip or plain.
///
/// An IDX file is a big-endian header (two zero bytes, the element type, the number of dimensions, 32 bits per dimension)
/// and the elements, the last dimension fastest. These data sets hold unsigned bytes, type 8.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "dataset.hpp"

namespace demo {

struct idx_file {
  std::vector<std::size_t> shape;
  std::vector<std::uint8_t> elements;
};

/// Reads an IDX file of unsigned bytes.
///
/// @param dimensions  the number of dimensions that the file must have
/// Errors: std::runtime_error naming the file, when it cannot be read, is no such file, or ends early or late.
inline idx_file read_idx(const std::filesystem::path& path, std::size_t dimensions) {
  const auto fail = [&](const std::string& why) { throw std::runtime_error(path.string() + ": " + why); };
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.string().c_str(), "rb"), gzclose);
  if (!file) fail("cannot be opened");
  const auto read = [&](std::span<std::uint8_t> bytes) {
    constexpr std::size_t most = std::size_t{1} << 20;  // gzread counts in int
    for (std::size_t at = 0; at < bytes.size();) {
      const auto count = static_cast<unsigned>(std::min(most, bytes.size() - at));
      const int got = gzread(file.get(), bytes.data() + at, count);
      if (got < 0) fail("is not a valid gzip file");
      if (got == 0) fail(fmt::format("ends {} bytes early", bytes.size() - at));
      at += static_cast<std::size_t>(got);
    }
  };
  const auto read_word = [&] {
    std::array<std::uint8_t, 4> b{};
    read(b);
    return std::uint32_t{b[0]} << 24 | std::uint32_t{b[1]} << 16 | std::uint32_t{b[2]} << 8 | std::uint32_t{b[3]};
  };

  constexpr std::uint32_t unsigned_bytes = 8;
  const std::uint32_t expected = unsigned_bytes << 8 | static_cast<std::uint32_t>(dimensions);
  const std::uint32_t magic = read_word();
  if (magic != expected)
    fail(fmt::format("begins with {:#010x}; an IDX file of {} dimensions of unsigned bytes with {:#010x}", magic,
                     dimensions, expected));
  idx_file idx;
  std::size_t count = 1;
  for (std::size_t d = 0; d < dimensions; ++d) {
    constexpr std::size_t most_elements = std::size_t{1} << 30;
    idx.shape.push_back(read_word());
    if (idx.shape.back() == 0 || idx.shape.back() > most_elements / count)
      fail(fmt::format("has an implausible shape: dimension {} is {}", d, idx.shape.back()));
    count *= idx.shape.back();
  }
  idx.elements.resize(count);
  read(idx.elements);
  if (gzgetc(file.get()) != -1) fail(fmt::format("goes on after its {} elements", count));
  return idx;
}

/// Reads one part of an MNIST-like data set, e.g. "train": PART-images-idx3-ubyte.gz and PART-labels-idx1-ubyte.gz.
///
/// @param side  set to the images' height and width
/// Errors: std::runtime_error as read_idx, or when images are not square, or images and labels do not match.
inline image_set read_idx_images(const std::filesystem::path& folder, const std::string& part, Eigen::Index& side) {
  const auto path = [&](const std::string& what) {
    const std::filesystem::path plain = folder / (part + what);
    return std::filesystem::exists(plain) ? plain : std::filesystem::path(plain.string() + ".gz");
  };
  const idx_file images = read_idx(path("-images-idx3-ubyte"), 3);
  const idx_file labels = read_idx(path("-labels-idx1-ubyte"), 1);
  if (images.shape[1] != images.shape[2])
    throw std::runtime_error(fmt::format("{}: images of {} x {} pixels are not square",
                                         path("-images-idx3-ubyte").string(), images.shape[1], images.shape[2]));
  if (images.shape[0] != labels.shape[0])
    throw std::runtime_error(
        fmt::format("{}: {} images but {} labels", folder.string(), images.shape[0], labels.shape[0]));
  side = static_cast<Eigen::Index>(images.shape[1]);
  using bytes = Eigen::Matrix<std::uint8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const bytes> levels(images.elements.data(), static_cast<Eigen::Index>(images.shape[0]), side * side);
  return {levels.cast<float>() / 255.0f, {labels.elements.begin(), labels.elements.end()}};
}

/// Reads an MNIST-like data set: the four files of a folder such as /usr/share/datasets/fashion-mnist.
///
/// Errors: std::runtime_error as read_idx_images, or when a label is not a digit or the parts differ in size of image.
inline dataset load_idx(const std::filesystem::path& folder) {
  dataset data{.name = folder.filename().string(), .classes = 10};
  Eigen::Index test_side = 0;
  data.train = read_idx_images(folder, "train", data.side);
  data.test = read_idx_images(folder, "t10k", test_side);
  if (data.side != test_side)
    throw std::runtime_error(fmt::format("{}: images to train on are {} pixels wide, those to test on {}",
                                         folder.string(), data.side, test_side));
  for (const std::vector<int>* labels : {&data.train.labels, &data.test.labels})
    for (const int label : *labels)
      if (label >= data.classes) throw std::runtime_error(fmt::format("{}: label {}", folder.string(), label));
  return data;
}

}  // namespace demo
