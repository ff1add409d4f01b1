// SPDX-License-Identifier: MIT
/// Blobs in files, one each: save_file, load_file, read_blob_info_file. mapped_file.hpp is how to use one in place.
///
///     tern::save_file("layer.tern", layer);
///     const auto same_layer = tern::load_file<tern::bit_linear>("layer.tern");
#pragma once

#include <cstdio>
#include <string>

#include <tern/io/blob.hpp>
#include <tern/io/new_file.hpp>

namespace tern::inline v0_1 {
namespace detail::inline TERN_TU {

/// A file that holds one blob, its header read and checked.
class blob_file {
 public:
  explicit blob_file(const std::string& path) : path_(path), file_(std::fopen(path.c_str(), "rb")) {
    if (file_ == nullptr) fail_io("blob", "cannot open", path);
  }
  blob_file(const blob_file&) = delete;
  blob_file& operator=(const blob_file&) = delete;
  ~blob_file() { std::fclose(file_); }

  /// Errors: format_error, also when the file has another size than its header says: no size is believed before that.
  blob_info read_info() {
    std::byte header[sizeof(blob_header)];
    const std::size_t size = read(header);
    const blob_info info = read_header({header, size});
    if (std::fseek(file_, 0, SEEK_END) != 0) fail_io("blob", "cannot find the size of", path_);
    const long end = std::ftell(file_);
    if (end < 0) fail_io("blob", "cannot find the size of", path_);
    check_size(info, static_cast<std::size_t>(end));
    return info;
  }
  aligned_bytes read_all() {
    aligned_bytes bytes(read_info().blob_bytes);
    if (std::fseek(file_, 0, SEEK_SET) != 0) fail_io("blob", "cannot read", path_);
    if (const std::size_t size = read(bytes); size != bytes.size())
      fail<format_error>({"blob: ", bytes.size(), " bytes are cut to ", size});
    return bytes;
  }

 private:
  /// Fills `bytes`, or as much of it as the file has.
  std::size_t read(std::span<std::byte> bytes) {
    const std::size_t size = std::fread(bytes.data(), 1, bytes.size(), file_);
    if (size != bytes.size() && std::ferror(file_) != 0) fail_io("blob", "cannot read", path_);
    return size;
  }

  std::string path_;
  std::FILE* file_;
};

/// All bytes of a file. Errors: io_error with the path and the reason, in the name of `who`.
inline std::vector<std::byte> read_file(const char* who, const std::string& path) {
  struct open_file {
    std::FILE* file;
    ~open_file() {
      if (file != nullptr) std::fclose(file);
    }
  } const in{std::fopen(path.c_str(), "rb")};
  if (in.file == nullptr) fail_io(who, "cannot open", path);
  std::vector<std::byte> bytes;
  for (;;) {
    const std::size_t size = bytes.size(), more = greater(size, std::size_t{4096});
    bytes.resize(size + more);
    const std::size_t got = std::fread(bytes.data() + size, 1, more, in.file);
    bytes.resize(size + got);
    if (got == more) continue;
    if (std::ferror(in.file) != 0) fail_io(who, "cannot read", path);
    return bytes;
  }
}

}  // namespace detail::inline TERN_TU

inline namespace TERN_TU {

/// Writes the blob of x to a file: to PATH.tmp0 and when that is on disk renames it, so that at any moment, and
/// whatever fails, PATH holds either what it held before or all of the blob.
///
/// Cost:   reads the storage twice and copies nothing of it.
/// Errors: io_error with path and reason; the temporary file is then removed.
template <blob_source X>
void save_file(const std::string& path, const X& x) {
  const auto& parts = detail::contents(x);
  detail::check_bias(parts);
  detail::new_file file("save_file", path);
  detail::write_blob(x, parts, [&](std::span<const std::byte> part) { file.write(part); });
  file.commit();
}

/// A matrix or layer from a file with one blob. See load().
///
/// Cost:   reads the file once; takes the size of the file besides the result's own memory while it runs.
/// Errors: io_error with path and reason; format_error as load().
template <class T>
T load_file(const std::string& path) {
  return tern::load<T>(detail::blob_file(path).read_all());
}

/// What a file with one blob holds; reads its first 192 bytes.
/// Errors: io_error with path and reason; format_error as read_blob_info().
inline blob_info read_blob_info_file(const std::string& path) { return detail::blob_file(path).read_info(); }

}  // namespace TERN_TU
}  // namespace tern::inline v0_1
