// SPDX-License-Identifier: MIT
/// AMX-INT8: Intel Xeon from Sapphire Rapids. For 16 tokens and more; fewer run on AVX512-VNNI.
///
/// tdpbssd multiplies a tile of 16 tokens x 64 inputs by one of 64 inputs x 16 outputs and adds to 16 x 16 int32 sums, all
/// signed and exact. Decoded operands of the packed layout are such tiles as they stand: a vector of 16 rows x 4 inputs is
/// one tile row, 16 of them a tile; int8 weights need no decoding at all. Quantised activations are tiles in place. So sums
/// come out exact, without the corrections of unsigned levels.
///
/// Two panels are decoded at once, 1024 inputs, and multiplied by 32 tokens at a time: 2 x 2 tiles
/// of sums, each operand tile used twice. Sums of 256 tokens wait while inputs pass. All of this
/// stands on the stack: 96 KiB.
///
/// The tile configuration that the thread had is put back afterwards; tile contents are not, as in any call.
#pragma once

#include <immintrin.h>

#include <cstring>

#include <tern/kernel/avx512vnni.hpp>

#if defined(__GNUC__) && !defined(__clang__)  // see avx512vnni.hpp
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

TERN_REGION_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c,amx-tile,amx-int8")
namespace tern::inline v0_1::kernel::inline TERN_TU::amx {

using namespace avx512vnni;  // rows of 16 lanes; what is declared here goes before

/// Signed levels, so that a raw sum is the exact one.
template <codec Codec>
struct decoder {
  static constexpr std::int32_t x_sum = 0;
  static constexpr bool negated = false;

  avx512vnni::decoder<Codec> of_avx512;

  explicit decoder(const Codec& codec) : of_avx512(codec) {}
  TERN_INLINE void levels(const std::uint8_t* block, std::int8_t* out) const { of_avx512.levels(block, out); }
};

#include <tern/kernel/loop.inc>

inline constexpr std::size_t tile_rows = 16;
inline constexpr std::size_t tile_inputs = 64;
inline constexpr std::size_t tile_quads = tile_inputs / quad_inputs;
inline constexpr std::size_t tile_bytes = 1024;
/// Inputs decoded at once, in quads: 16 KiB for each of the two panels.
inline constexpr std::size_t decoded_quads = 256;
/// Tokens whose sums are kept: 32 KiB of them and as much of results.
inline constexpr std::size_t block_tokens = 256;

/// The memory image of a tile configuration: palette 1; sums in tiles 0 to 3, tokens in 4 and 5, weights in 6 and 7.
struct alignas(64) configuration {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {};

  configuration() = default;
  configuration(std::size_t first_tokens, std::size_t second_tokens) {
    rows[0] = rows[1] = rows[4] = static_cast<std::uint8_t>(first_tokens);
    rows[2] = rows[3] = rows[5] = static_cast<std::uint8_t>(second_tokens);
    rows[6] = rows[7] = tile_rows;
  }
};
static_assert(sizeof(configuration) == 64);

// Assembly, because the intrinsics of g++ 12 say that they read 8 bytes, and a configuration on the stack is optimised away.
TERN_INLINE void load_configuration(const configuration& c) { __asm__ volatile("ldtilecfg %0" : : "m"(c) : "memory"); }
TERN_INLINE void store_configuration(configuration& c) { __asm__ volatile("sttilecfg %0" : "=m"(c)); }

/// Puts back what the thread had configured.
class configuration_guard {
 public:
  configuration_guard() { store_configuration(before_); }
  configuration_guard(const configuration_guard&) = delete;
  configuration_guard& operator=(const configuration_guard&) = delete;
  ~configuration_guard() {
    if (before_.palette == 0)
      _tile_release();
    else
      load_configuration(before_);
  }

 private:
  configuration before_;
};

/// Sums of 16 or 32 tokens x 2 panels: acc [tokens][2][16] += X W^T over `steps` times 64 inputs.
template <bool Both>
TERN_NOINLINE void multiply_tiles(const std::int8_t* x, std::size_t stride, const std::int8_t* first,
                                  const std::int8_t* second, std::size_t steps, std::int32_t* acc) {
  constexpr std::size_t acc_stride = 2 * panel_rows * sizeof(std::int32_t);
  std::int32_t* const acc_below = acc + tile_rows * 2 * panel_rows;
  __asm__ volatile("" : : : "memory");  // _tile_loadd of g++ 12 does not say that it reads memory
  _tile_loadd(0, acc, acc_stride);
  _tile_loadd(1, acc + panel_rows, acc_stride);
  if constexpr (Both) {
    _tile_loadd(2, acc_below, acc_stride);
    _tile_loadd(3, acc_below + panel_rows, acc_stride);
  }
  for (std::size_t s = 0; s < steps; ++s, x += tile_inputs, first += tile_bytes, second += tile_bytes) {
    _tile_loadd(6, first, vector_bytes);
    _tile_loadd(4, x, stride);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, second, vector_bytes);
    _tile_dpbssd(1, 4, 7);
    if constexpr (Both) {
      _tile_loadd(5, x + tile_rows * stride, stride);
      _tile_dpbssd(2, 5, 6);
      _tile_dpbssd(3, 5, 7);
    }
  }
  _tile_stored(0, acc, acc_stride);
  _tile_stored(1, acc + panel_rows, acc_stride);
  if constexpr (Both) {
    _tile_stored(2, acc_below, acc_stride);
    _tile_stored(3, acc_below + panel_rows, acc_stride);
  }
}

/// Decodes `blocks` blocks to whole tiles, zeros behind. Int8 blocks that fill their tiles are used where they are.
template <codec Codec>
const std::int8_t* decode(const decoder<Codec>& d, const std::uint8_t* codes, std::size_t blocks, std::int8_t* out) {
  const std::size_t quads = blocks * Codec::fold;
  if (std::same_as<Codec, i8> && quads % tile_quads == 0) return reinterpret_cast<const std::int8_t*>(codes);
  for (std::size_t b = 0; b < blocks; ++b)
    d.levels(codes + b * block_bytes<Codec>, out + b * Codec::fold * vector_bytes);
  std::memset(out + quads * vector_bytes, 0, (detail::round_up(quads, tile_quads) - quads) * vector_bytes);
  return out;
}

/// Many tokens, as described at the head of the file.
///
/// Tiles of activations may reach up to 63 inputs beyond a run, into the next group, the next row, or the section behind the
/// codes: they meet zero levels there.
template <codec Codec>
void multiply_by_tiles(const product<activations_view, Codec>& a, const tile& t) {
  const decoder<Codec> d(a.w.get_codec());
  alignas(64) std::int8_t operands[2][decoded_quads * vector_bytes];
  alignas(64) std::int32_t acc[block_tokens][2][panel_rows];
  alignas(64) float r[block_tokens][2][panel_rows];
  constexpr std::size_t chunk_blocks = decoded_quads / Codec::fold;
  const std::size_t stride = a.x.row_stride();
  const configuration_guard guard;

  for (std::size_t first = t.token_begin; first < t.token_end; first += block_tokens) {
    const std::size_t tokens = detail::lesser(block_tokens, t.token_end - first);
    const std::size_t rest = tokens % (2 * tile_rows);
    const configuration whole(tile_rows, tile_rows);
    const configuration last(rest < tile_rows ? rest : tile_rows, rest > tile_rows ? rest - tile_rows : 1);
    for (std::size_t panel = t.panel_begin; panel < t.panel_end; panel += 2) {
      const std::size_t panels = detail::lesser(std::size_t{2}, t.panel_end - panel);
      std::memset(r, 0, tokens * sizeof *r);
      for (std::size_t p = 0; p < a.w.planes(); ++p) {
        for (std::size_t g = 0; g < a.w.groups(); ++g) {
          const run_span<Codec> run(a.w, p, g);
          std::memset(acc, 0, tokens * sizeof *acc);
          for (std::size_t b = run.block_begin; b < run.block_end; b += chunk_blocks) {
            const std::size_t blocks = detail::lesser(chunk_blocks, run.block_end - b);
            const std::size_t steps = detail::ceil_div(blocks * Codec::fold, tile_quads);
            const std::int8_t* w[2];
            for (std::size_t i = 0; i < panels; ++i)
              w[i] = decode(d, a.w.codes(panel + i, p) + b * block_bytes<Codec>, blocks, operands[i]);
            if (panels == 1) w[1] = w[0];
            const std::int8_t* x = a.x.codes(first) + b * block_inputs<Codec>;
            if (tokens >= 2 * tile_rows) load_configuration(whole);
            std::size_t m = 0;
            for (; m + 2 * tile_rows <= tokens; m += 2 * tile_rows)
              multiply_tiles<true>(x + m * stride, stride, w[0], w[1], steps, acc[m][0]);
            if (rest == 0) continue;
            load_configuration(last);
            if (rest > tile_rows)
              multiply_tiles<true>(x + m * stride, stride, w[0], w[1], steps, acc[m][0]);
            else
              multiply_tiles<false>(x + m * stride, stride, w[0], w[1], steps, acc[m][0]);
          }
          for (std::size_t i = 0; i < panels; ++i)
            for (std::size_t m = 0; m < tokens; ++m) finish_integers(a, first + m, panel + i, run, acc[m][i], r[m][i]);
        }
      }
      for (std::size_t i = 0; i < panels; ++i)
        for (std::size_t m = 0; m < tokens; ++m)
          finish_row(a.y, a.bias, a.w.rows(), first + m, panel + i, r[m][i], a.x.scale(first + m));
    }
  }
}

}  // namespace tern::inline v0_1::kernel::inline TERN_TU::amx
TERN_REGION_END
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

namespace tern::inline v0_1::isa {

/// AMX-INT8 beside AVX512-VNNI: Intel Xeon from Sapphire Rapids, on Linux. The first question whether it is usable asks the
/// system for the process's permission; where it is refused the answer is no.
struct amx : avx512vnni {
  static constexpr std::string_view name() { return "amx"; }
  TERN_INLINE static bool usable() { return x86_features::get().amx && may_use_tiles(); }
};

inline namespace TERN_TU {

/// Tiles for 16 tokens and more of int8 activations; everything else is AVX512-VNNI's.
template <codec Codec>
  requires requires { sizeof(kernel::avx512vnni::decoder<Codec>); }
amx run(amx, const kernel::product<activations_view, Codec>& a, const kernel::tile& t) {
  if (t.token_end - t.token_begin < kernel::amx::tile_rows)
    kernel::avx512vnni::multiply(a, t);
  else
    kernel::amx::multiply_by_tiles(a, t);
  return {};
}
template <codec Codec>
  requires requires { sizeof(kernel::avx512vnni::decoder<Codec>); }
amx run(amx, const kernel::product<kernel::float_view, Codec>& a, const kernel::tile& t) {
  kernel::avx512vnni::multiply(a, t);
  return {};
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1::isa
