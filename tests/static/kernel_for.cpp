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

using tern::b3x2;
using tern::b3x3;
using tern::n4;
using tern::n6;

/// Whether Isa brings kernels for every codec of the library, none of them its base's.
template <class Isa>
constexpr bool serves_all = serves<Isa, i2, Isa>&& serves<Isa, b3, Isa>&& serves<Isa, n4, Isa>&& serves<Isa, n6, Isa>&&
    serves<Isa, b3x2, Isa>&& serves<Isa, b3x3, Isa>&& serves<Isa, i8, Isa>;

using tern::isa::scalar;
static_assert(serves_all<scalar>);
static_assert(serves<scalar, hostile::codec, scalar>);

#if defined(TERN_X86)
using tern::isa::amx;
using tern::isa::avx2;
using tern::isa::avx512vnni;
using tern::isa::avxvnni;
static_assert(serves_all<avx2> && serves_all<avxvnni> && serves_all<avx512vnni> && serves_all<amx>);
static_assert(serves<avx2, hostile::codec, scalar> && serves<avxvnni, hostile::codec, scalar>);
static_assert(serves<avx512vnni, hostile::codec, scalar> && serves<amx, hostile::codec, scalar>);

static_assert(std::is_same_v<tern::isa::all, tern::type_list<amx, avx512vnni, avxvnni, avx2, scalar>>);
#elif defined(TERN_ARM64)
using tern::isa::neon;
using tern::isa::neon_dotprod;
using tern::isa::neon_i8mm;
static_assert(serves_all<neon> && serves_all<neon_dotprod> && serves_all<neon_i8mm>);
static_assert(serves<neon, hostile::codec, scalar> && serves<neon_dotprod, hostile::codec, scalar>);
static_assert(serves<neon_i8mm, hostile::codec, scalar>);

static_assert(std::is_same_v<tern::isa::all, tern::type_list<neon_i8mm, neon_dotprod, neon, scalar>>);
#elif defined(__wasm_simd128__)
using tern::isa::wasm_simd128;
static_assert(serves_all<wasm_simd128> && serves<wasm_simd128, hostile::codec, scalar>);

static_assert(std::is_same_v<tern::isa::all, tern::type_list<wasm_simd128, scalar>>);
#else
static_assert(std::is_same_v<tern::isa::all, tern::type_list<scalar>>);
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
