// SPDX-License-Identifier: MIT
/// A folder that is gone at the end of the test.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace tern_test {

class temporary_folder {
 public:
  temporary_folder() { std::filesystem::create_directories(path_); }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  ~temporary_folder() { std::filesystem::remove_all(path_); }

  std::string path() const { return path_.string(); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  void write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  void copy_files_of(const std::string& folder) const {
    std::filesystem::copy(folder, path_, std::filesystem::copy_options::recursive);
  }

 private:
  // Test cases of one program run one after the other; programs have numbers of their own.
  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("tern_examples_" + std::to_string(::getpid()));
};

}  // namespace tern_test
