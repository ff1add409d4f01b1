// SPDX-License-Identifier: MIT
/// Which kernel serves which operands, pinned for every cell of the table: no fallback is silent.
#include <tern/tern.hpp>

#include "hostile.hpp"

namespace {

using tern::activations_view;
using tern::b3;
using tern::i2;
using tern::i8;
using tern::kernel::float_view;
using tern::kernel::kernel_for;

template <class Isa, class Codec, class Expected>
constexpr bool serves = std::is_same_v<kernel_for<Isa, activations_view, Codec>, Expected>&&
    std::is_same_v<kernel_for<Isa, float_view, Codec>, Expected>;

using tern::isa::scalar;
static_assert(serves<scalar, i2, scalar>);
static_assert(serves<scalar, b3, scalar>);
static_assert(serves<scalar, i8, scalar>);
static_assert(serves<scalar, hostile::codec, scalar>);

#if defined(TERN_X86)
using tern::isa::avx2;
static_assert(serves<avx2, i2, avx2>);
static_assert(serves<avx2, b3, avx2>);
static_assert(serves<avx2, i8, avx2>);
static_assert(serves<avx2, hostile::codec, scalar>);

static_assert(std::is_same_v<tern::isa::all, tern::type_list<avx2, scalar>>);
#else
static_assert(std::is_same_v<tern::isa::all, tern::type_list<scalar>>);
#endif
using tern::b3x2;
using tern::b3x3;
using tern::n4;
using tern::n6;
static_assert(serves<scalar, n4, scalar> && serves<scalar, n6, scalar>);
static_assert(serves<scalar, b3x2, scalar> && serves<scalar, b3x3, scalar>);
#if defined(TERN_X86)
static_assert(serves<avx2, n4, avx2> && serves<avx2, n6, avx2>);
static_assert(serves<avx2, b3x2, avx2> && serves<avx2, b3x3, avx2>);
#endif
static_assert(std::is_same_v<tern::codecs, tern::type_list<i2, b3, n4, n6, b3x2, b3x3, i8>>,
              "a new codec needs its rows in this table");

// A user's instruction sets: the base's kernels where they have none.
static_assert(serves<foreign::plain, i2, foreign::base>);
static_assert(serves<foreign::plain, b3, foreign::base>);
static_assert(serves<foreign::plain, i8, foreign::base>);
static_assert(serves<foreign::plain, hostile::codec, scalar>);
static_assert(std::is_same_v<kernel_for<foreign::isa, activations_view, b3>, foreign::isa>);
static_assert(std::is_same_v<kernel_for<foreign::isa, float_view, b3>, foreign::base>);
static_assert(serves<foreign::isa, i2, foreign::base>);
static_assert(serves<foreign::isa, hostile::codec, scalar>);
static_assert(serves<foreign::greedy, i8, foreign::greedy>);
static_assert(serves<foreign::greedy, hostile::codec, foreign::greedy>);

}  // namespace
