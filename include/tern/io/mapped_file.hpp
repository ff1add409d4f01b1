// SPDX-License-Identifier: MIT
/// A file as read-only memory: what blobs are viewed in without being copied.
///
/// Needs POSIX; included by the user. Elsewhere read the file into aligned_bytes, or use load_file (blob_file.hpp).
///
///     const tern::mapped_file file("layer.tern");
///     const auto [w, bias] = tern::view_blob<tern::i2>(file.bytes());     // valid as long as file is
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>  // std::strerror
#include <span>
#include <string>
#include <utility>  // std::exchange

#include <tern/error.hpp>

namespace tern::inline v0_1 {

namespace detail::inline TERN_TU {

/// Maps a regular file whole. An empty one is no bytes at no address, since there is nothing to map.
inline std::span<const std::byte> map_file(const std::string& path) {
  // Without O_NONBLOCK a FIFO would wait for somebody to write to it; on regular files the flag means nothing.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail<io_error>({"mapped_file: cannot open ", path.c_str(), ": ", std::strerror(errno)});
  struct stat facts;
  int reason = ::fstat(descriptor, &facts) == 0 ? 0 : errno;
  const bool regular = reason == 0 && S_ISREG(facts.st_mode);
  const std::uint64_t size = regular ? static_cast<std::uint64_t>(facts.st_size) : 0;
  const bool fits = size <= static_cast<std::size_t>(-1) / 2;
  void* data = nullptr;
  if (size != 0 && fits) {
    data = ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED) reason = errno;
  }
  ::close(descriptor);  // the mapping stays
  if (reason != 0) fail<io_error>({"mapped_file: cannot map ", path.c_str(), ": ", std::strerror(reason)});
  if (!regular) fail<io_error>({"mapped_file: ", path.c_str(), " is not a regular file"});
  if (!fits) fail<io_error>({"mapped_file: ", path.c_str(), " has ", size, " bytes, too many for this address space"});
  return {static_cast<const std::byte*>(data), static_cast<std::size_t>(size)};
}

}  // namespace detail::inline TERN_TU

/// Owns the mapping of a whole file. Aligned to a page. Changes that others make to the file may show, and a file that
/// is cut short while it is mapped kills its readers (SIGBUS): replace files, as save_file does, rather than write into
/// them.
///
/// Errors: io_error with path and reason when the file cannot be opened or mapped, or is not a regular one.
class mapped_file {
 public:
  mapped_file() = default;
  TERN_INLINE explicit mapped_file(const std::string& path) : bytes_(detail::map_file(path)) {}
  TERN_INLINE mapped_file(mapped_file&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  TERN_INLINE mapped_file& operator=(mapped_file other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  TERN_INLINE ~mapped_file() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }

  TERN_INLINE std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace tern::inline v0_1
