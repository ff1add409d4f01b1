// SPDX-License-Identifier: MIT
/// Aligned memory: what packed matrices are stored in and what layers work in.
#pragma once

#include <span>
#include <vector>

#include <tern/config.hpp>

namespace tern::inline v0_1 {

/// Alignment of packed storage and of workspaces: a cache line, and the widest vector of any instruction set.
inline constexpr std::size_t storage_alignment = 64;

/// An owner of zeroed bytes aligned to 64.
///
///     tern::aligned_bytes workspace(layer.workspace_bytes(tokens));
///     layer(x, y, workspace);
class aligned_bytes {
 public:
  TERN_INLINE aligned_bytes() = default;
  TERN_INLINE_COPIES(aligned_bytes);
  TERN_INLINE explicit aligned_bytes(std::size_t size)
      : size_(size), lines_(size / sizeof(line) + (size % sizeof(line) != 0)) {}

  std::size_t size() const { return lines_.empty() ? 0 : size_; }  // 0 too when moved from
  std::byte* data() { return reinterpret_cast<std::byte*>(lines_.data()); }
  const std::byte* data() const { return reinterpret_cast<const std::byte*>(lines_.data()); }
  operator std::span<std::byte>() { return {data(), size()}; }
  operator std::span<const std::byte>() const { return {data(), size()}; }

 private:
  struct alignas(storage_alignment) line {
    std::byte bytes[storage_alignment];
  };

  std::size_t size_ = 0;
  std::vector<line> lines_;
};

}  // namespace tern::inline v0_1
