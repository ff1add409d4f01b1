// SPDX-License-Identifier: MIT
/// The requirement tables of the library's customisation points.
///
/// | concept   | a type T satisfies it when                                                             | instances          |
/// |-----------|----------------------------------------------------------------------------------------|--------------------|
/// | codec     | T says how `fold` levels become `bytes` bytes: name, group_multiple, holds(level),     | i2, b3, n4, n6, i8 |
/// |           | encode(levels, bytes), decode(bytes, p) -> level; 0 is a level (the padding)           | b3x2, b3x3         |
/// | isa_tag   | T is empty, has name() and usable(), and derives from the tag it falls back to         | scalar, avx2, amx  |
/// | executor  | T has concurrency() -> size and parallel_for(n, f), which calls f(0) ... f(n - 1) once | serial_executor    |
///
/// A codec folds `fold` inputs of one row into `bytes` bytes; where the bytes stand is the layout's business (codec.hpp), so a
/// codec never sees a matrix. It is a value: one that carries a table (4 bits that index 16 levels) keeps it as a member, and
/// the packed matrix keeps the codec. A codec that is not empty can be stored too (io/blob.hpp) when it has state_size,
/// state() and from_state().
#pragma once

#include <concepts>
#include <string_view>
#include <type_traits>

#include <tern/config.hpp>

namespace tern::inline v0_1 {

/// A list of types: instruction sets and codecs, for the library, its tests and its benches.
template <class... Ts>
struct type_list {
  static constexpr std::size_t size = sizeof...(Ts);
};

template <class C>
concept codec = std::copyable<C> && std::default_initializable<C> &&
    requires(const C c, const std::int8_t* levels, std::uint8_t* out, const std::uint8_t* bytes, int level,
             std::size_t p) {
  { C::name() } -> std::convertible_to<std::string_view>;
  { C::fold } -> std::convertible_to<std::size_t>;            // inputs that are coded together,
  { C::bytes } -> std::convertible_to<std::size_t>;           // and the bytes they take
  { C::group_multiple } -> std::convertible_to<std::size_t>;  // scales change only at multiples of this
  { c.holds(level) } -> std::same_as<bool>;
  c.encode(levels, out);                                // levels[0 .. fold), all held -> out[0 .. bytes)
  { c.decode(bytes, p) } -> std::same_as<std::int8_t>;  // any bytes; p in [0, fold)
};

template <class T>
concept isa_tag = std::is_empty_v<T> && std::default_initializable<T> && requires {
  { T::name() } -> std::convertible_to<std::string_view>;
  { T::usable() } -> std::same_as<bool>;
};

template <class E>
concept executor = requires(const E& e, std::size_t n, void (*f)(std::size_t)) {
  { e.concurrency() } -> std::convertible_to<std::size_t>;
  e.parallel_for(n, f);
};

}  // namespace tern::inline v0_1
