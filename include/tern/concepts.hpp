// SPDX-License-Identifier: MIT
/// The requirement tables of the library's customisation points.
///
/// | concept   | a type T satisfies it when                                                             | instances          |
/// |-----------|----------------------------------------------------------------------------------------|--------------------|
/// | codec     | T says how levels become bytes: name, fold, group_multiple, lowest, highest,           | i2, b3, i8         |
/// |           | encode(levels) -> byte, decode(byte, p) -> level; 0 is a level (the padding)           |                    |
/// | isa_tag   | T is empty, has name() and usable(), and derives from the tag it falls back to         | scalar, avx2       |
/// | executor  | T has concurrency() -> size and parallel_for(n, f), which calls f(0) ... f(n - 1) once | serial_executor    |
///
/// A codec folds `fold` inputs of one row into a byte; where the bytes stand is the layout's business (codec.hpp), so a codec
/// never sees a matrix. It is a value: one that carries a table (4 bits that index 16 levels) keeps it as a member, and the
/// packed matrix keeps the codec.
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
    requires(const C c, const std::int8_t* levels, std::uint8_t byte, std::size_t p) {
  { C::name() } -> std::convertible_to<std::string_view>;
  { C::fold } -> std::convertible_to<std::size_t>;            // inputs a byte
  { C::group_multiple } -> std::convertible_to<std::size_t>;  // scales change only at multiples of this
  { C::lowest } -> std::convertible_to<int>;
  { C::highest } -> std::convertible_to<int>;
  { c.encode(levels) } -> std::same_as<std::uint8_t>;  // levels[0 .. fold), each in [lowest, highest]
  { c.decode(byte, p) } -> std::same_as<std::int8_t>;  // any byte; p in [0, fold)
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
