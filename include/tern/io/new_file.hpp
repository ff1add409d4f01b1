// SPDX-License-Identifier: MIT
/// A file that appears under its path when it is complete, and else leaves everything as it was.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstring>  // std::strerror
#include <span>
#include <string>
#include <utility>  // std::exchange

#if __has_include(<unistd.h>)
#include <unistd.h>  // fsync
#endif

#include <tern/error.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// "save_file: cannot write PATH: No space left on device".
[[noreturn]] inline void fail_io(const char* who, const char* what, const std::string& path) {
  fail<io_error>({who, ": ", what, " ", path.c_str(), ": ", std::strerror(errno)});
}

class new_file {
 public:
  /// Opens PATH.tmp0, or the next number that nobody uses: a crash may have left one behind, or two programs may save
  /// at once.
  ///
  /// @param who  the public function that writes the file, for messages
  new_file(const char* who, const std::string& path) : who_(who), path_(path) {
    for (unsigned n = 0; file_ == nullptr && n < 100; ++n) {
      temporary_ = path + ".tmp" + std::to_string(n);
      file_ = std::fopen(temporary_.c_str(), "wbx");
      if (file_ == nullptr && errno != EEXIST) break;
    }
    if (file_ == nullptr) fail_io(who_, "cannot create", temporary_);
  }
  new_file(const new_file&) = delete;
  new_file& operator=(const new_file&) = delete;
  ~new_file() {
    if (file_ != nullptr) std::fclose(file_);
    if (!temporary_.empty()) std::remove(temporary_.c_str());
  }

  void write(std::span<const std::byte> bytes) {
    if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size())
      fail_io(who_, "cannot write", temporary_);
  }
  /// Puts the file in the place of what stood there.
  void commit() {
    bool written = std::fflush(file_) == 0;
#if __has_include(<unistd.h>)
    // Else a power cut after the rename can leave the name with no contents.
    written = written && ::fsync(::fileno(file_)) == 0;
#endif
    if (!written) fail_io(who_, "cannot write", temporary_);
    if (std::fclose(std::exchange(file_, nullptr)) != 0) fail_io(who_, "cannot write", temporary_);
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail_io(who_, "cannot replace", path_);
    temporary_.clear();
  }

 private:
  const char* who_;
  std::string path_, temporary_;
  std::FILE* file_ = nullptr;
};

}  // namespace tern::inline v0_1::detail::inline TERN_TU
