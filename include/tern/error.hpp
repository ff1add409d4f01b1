// SPDX-License-Identifier: MIT
/// The errors tern reports. Each message carries the numbers: "matmul: x is 4x512 but w is 64x256; the depths must agree".
///
/// Programmer errors that cost nothing to check once per call are thrown by the public function, before anything is
/// written. Without exceptions (-fno-exceptions) the error goes to TERN_ON_ERROR(e), by default std::terminate.
#pragma once

#include <charconv>
#include <concepts>
#include <exception>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>  // std::move

#include <tern/config.hpp>

namespace tern::inline v0_1 {

/// The base of every error of the library.
class error : public std::exception {
 public:
  explicit error(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

/// Sizes that do not fit together: depths, outputs, buffers, workspaces.
class shape_error : public error {
  using error::error;
};

/// A value outside its range: NaN or infinity in a quantizer, a code that its codec cannot hold, too many inputs.
class range_error : public error {
  using error::error;
};

/// Bytes that are not what they should be: a truncated file, a wrong magic number, a checksum that fails.
class format_error : public error {
  using error::error;
};

/// A file that cannot be opened, read or written. The message has the path and the reason.
class io_error : public error {
  using error::error;
};

/// A long operation that its progress callback stopped. Nothing was written.
class cancelled_error : public error {
  using error::error;
};

/// An instruction set that is unknown or that this machine does not have.
class isa_error : public error {
  using error::error;
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

/// A piece of a message: text or a number. Trivial, so that a check costs its caller no clean-up code.
class message_part {
 public:
  constexpr message_part(const char* text) : text_(text) {}
  constexpr message_part(std::string_view text) : text_(text) {}
  constexpr message_part(std::unsigned_integral auto number) : magnitude_(number) {}
  constexpr message_part(std::signed_integral auto number)
      : negative_(number < 0),
        magnitude_(number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number)) {}
  constexpr message_part(float number) : real_(number), is_real_(true) {}

  void append_to(std::string& out) const {
    if (is_real_) {
      char digits[32];  // the shortest that read back as the same float
      out.append(digits, std::to_chars(digits, digits + sizeof digits, real_).ptr);
    }
    if (text_.data() == nullptr && !is_real_) (negative_ ? out += '-' : out) += std::to_string(magnitude_);
    out += text_;
  }

 private:
  std::string_view text_;
  float real_ = 0;
  bool is_real_ = false, negative_ = false;
  std::uint64_t magnitude_ = 0;
};

inline std::string join(std::initializer_list<message_part> parts) {
  std::string message;
  for (const message_part& part : parts) part.append_to(message);
  return message;
}

template <class Error>
[[noreturn]] void raise(Error e) {
#if defined(TERN_ON_ERROR)
  TERN_ON_ERROR(e);
  std::terminate();
#elif defined(__cpp_exceptions)
  throw e;
#else
  static_cast<void>(e);
  std::terminate();
#endif
}

/// Throws Error with the parts joined into one message: fail<shape_error>({"x has ", x.cols(), " columns"}). Cold and out of
/// line, so that a check stays one compare.
template <class Error>
[[noreturn, gnu::cold, gnu::noinline]] void fail(std::initializer_list<message_part> parts) {
  raise(Error(join(parts)));
}

/// a * b, or a range_error where it does not fit: sizes come from files too.
constexpr std::size_t checked_product(std::size_t a, std::size_t b) {
  if (b != 0 && a > static_cast<std::size_t>(-1) / 2 / b)
    fail<range_error>({"size ", a, " x ", b, " does not fit memory"});
  return a * b;
}

/// a + b, checked in the same way.
constexpr std::size_t checked_sum(std::size_t a, std::size_t b) {
  constexpr std::size_t most = static_cast<std::size_t>(-1) / 2;
  if (a > most || b > most - a) fail<range_error>({"size ", a, " + ", b, " does not fit memory"});
  return a + b;
}

// <algorithm> costs every includer a fifth of a second; these two are what tern needs of it.
template <class T>
constexpr T lesser(T a, T b) {
  return b < a ? b : a;
}
template <class T>
constexpr T greater(T a, T b) {
  return a < b ? b : a;
}

constexpr std::size_t ceil_div(std::size_t a, std::size_t b) { return a / b + (a % b != 0); }
constexpr std::size_t round_up(std::size_t a, std::size_t b) { return ceil_div(a, b) * b; }

}  // namespace tern::inline v0_1::detail::inline TERN_TU
