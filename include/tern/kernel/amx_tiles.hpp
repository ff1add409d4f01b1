// SPDX-License-Identifier: MIT
/// Squares of AMX-INT8 tiles: 32 tokens times two panels, from products to results.
///
/// tdpbssd multiplies a tile of 16 tokens x 64 inputs by one of 64 inputs x 16 outputs and adds to 16 x 16 int32 sums,
/// all signed and exact. One starts every 16 cycles, and a tile loads in 8 from the first-level cache: a square of 2 x
/// 2 tiles of sums needs one load a product. The core holds about 8 writes of tiles in flight, a step of a square; what
/// follows waits. Stores wait 52 cycles for their sums, so a square is stored within the first step of the next one,
/// and its sums become results after that.
#pragma once

#include <tern/config.hpp>

#if defined(TERN_X86)

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

inline constexpr std::size_t tile_rows = 16;
inline constexpr std::size_t tile_inputs = 64;
inline constexpr std::size_t tile_quads = tile_inputs / quad_inputs;
inline constexpr std::size_t tile_bytes = tile_quads * vector_bytes;

/// The memory image of a tile configuration: palette 1, eight whole tiles.
struct alignas(64) configuration {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(configuration) == 64);

// Assembly, because the intrinsics of g++ 12 take no template parameter as a tile, do not say that a load reads memory,
// and say that a configuration is 8 bytes, so that one on the stack is optimised away.
TERN_INLINE void load_configuration(const configuration& c) { __asm__ volatile("ldtilecfg %0" : : "m"(c) : "memory"); }
TERN_INLINE void store_configuration(configuration& c) { __asm__ volatile("sttilecfg %0" : "=m"(c)); }
TERN_INLINE void release_tiles() { __asm__ volatile("tilerelease"); }
template <int Tile>
TERN_INLINE void load_tile(const void* at, std::size_t stride) {
  __asm__ volatile("{tileloadd (%0,%1,1), %%tmm%c2|tileloadd %%tmm%c2, [%0+%1*1]}"
                   :
                   : "r"(at), "r"(stride), "i"(Tile)
                   : "memory");
}
/// For what will not be read again soon: it takes less of the first-level cache.
template <int Tile>
TERN_INLINE void load_tile_once(const void* at, std::size_t stride) {
  __asm__ volatile("{tileloaddt1 (%0,%1,1), %%tmm%c2|tileloaddt1 %%tmm%c2, [%0+%1*1]}"
                   :
                   : "r"(at), "r"(stride), "i"(Tile)
                   : "memory");
}
template <int Tile>
TERN_INLINE void store_tile(void* at, std::size_t stride) {
  __asm__ volatile("{tilestored %%tmm%c2, (%0,%1,1)|tilestored [%0+%1*1], %%tmm%c2}"
                   :
                   : "r"(at), "r"(stride), "i"(Tile)
                   : "memory");
}
template <int Tile>
TERN_INLINE void zero_tile() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(Tile));
}
template <int Sums, int Tokens, int Weights>
TERN_INLINE void multiply_tile() {
  __asm__ volatile("{tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0|tdpbssd %%tmm%c0, %%tmm%c1, %%tmm%c2}"
                   :
                   : "i"(Sums), "i"(Tokens), "i"(Weights));
}

/// Configures the tiles, and puts back what the thread had configured.
class configuration_guard {
 public:
  configuration_guard() {
    store_configuration(before_);
    load_configuration(configuration());
  }
  configuration_guard(const configuration_guard&) = delete;
  configuration_guard& operator=(const configuration_guard&) = delete;
  ~configuration_guard() {
    if (before_.palette == 0)
      release_tiles();
    else
      load_configuration(before_);
  }

 private:
  configuration before_;
};

/// Sums, or results, of up to 32 tokens x 2 panels. Tile t has 16 tokens of panel t % 2: the first 16 where t < 2.
template <class T>
struct alignas(64) square {
  T tile[4][tile_rows][panel_rows];
};
using sum_square = square<std::int32_t>;

template <int Tile>
TERN_INLINE void store_sums(sum_square& to) {
  store_tile<Tile>(to.tile[Tile], vector_bytes);
}

/// Some steps of 64 inputs of a square.
struct square_steps {
  const std::int8_t* x[2] = {};  // the first token of each of two tiles
  std::size_t x_stride;
  const std::int8_t* w[2] = {};  // decoded panels
  std::size_t steps = 0;
  sum_square* before = nullptr;  // where sums begin: the place of those that are in the tiles; else null
  const sum_square* so_far;      // where sums begin: what has been summed so far; null: 0
};
/// Stores the sums of the square before and begins new ones.
template <int Tile>
TERN_INLINE void turn_over(const square_steps& p) {
  store_sums<Tile>(*p.before);
  if (p.so_far != nullptr)
    load_tile<Tile>(p.so_far->tile[Tile], vector_bytes);
  else
    zero_tile<Tile>();
}
/// Leaves the sums in tiles 0 to 3.
template <bool TwoTiles, bool TwoPanels>
TERN_NOINLINE void multiply_square(const square_steps& p) {
  const std::int8_t *x0 = p.x[0], *x1 = p.x[1], *w0 = p.w[0], *w1 = p.w[1];
  const std::size_t x_stride = p.x_stride;
  bool begins = p.before != nullptr;
  for (std::size_t s = p.steps; s != 0; --s) {
    load_tile<6>(w0, vector_bytes);
    load_tile_once<4>(x0, x_stride);
    if (begins) turn_over<0>(p);
    multiply_tile<0, 4, 6>();
    if constexpr (TwoPanels) load_tile<7>(w1, vector_bytes);
    if (begins) turn_over<1>(p);
    if constexpr (TwoPanels) multiply_tile<1, 4, 7>();
    if constexpr (TwoTiles) load_tile_once<5>(x1, x_stride);
    if (begins) turn_over<2>(p);
    if constexpr (TwoTiles) multiply_tile<2, 5, 6>();
    if (begins) turn_over<3>(p);
    if constexpr (TwoTiles && TwoPanels) multiply_tile<3, 5, 7>();
    begins = false;
    x0 += tile_inputs, x1 += tile_inputs, w0 += tile_bytes, w1 += tile_bytes;
  }
}
TERN_INLINE void multiply_square(const square_steps& p, std::size_t tiles, std::size_t panels) {
  if (tiles == 2)
    panels == 2 ? multiply_square<true, true>(p) : multiply_square<true, false>(p);
  else
    panels == 2 ? multiply_square<false, true>(p) : multiply_square<false, false>(p);
}

/// Runs whose sums become results together: two halve the traffic of results.
inline constexpr std::size_t fold_runs = 2;
/// What ends a run of two panels: scales, and what corrects sums for zero points.
struct alignas(64) run_terms {
  float scales[2][panel_rows];
  std::int32_t zeros[2][panel_rows];     // of w
  std::int32_t change_x[2][panel_rows];  // inputs zero_w - sum(w), to be multiplied by zero_x
  std::size_t begin, end;                // inputs

  template <codec Codec>
  void set(const product<activations_view, Codec>& a, std::size_t panel, std::size_t panels, std::size_t plane,
           std::size_t group) {
    begin = a.w.group_begin(group), end = a.w.group_begin(group + 1);
    for (std::size_t i = 0; i < panels; ++i) {
      store(scales[i], load_scales(a.w.scales(panel + i, plane, group), a.w.format().scales));
      const std::int8_t* zeros_w = a.w.has_zeros() ? a.w.zeros(panel + i, plane, group) : nullptr;
      const std::int32_t* sums_w = a.x.has_zeros() ? a.w.sums(panel + i, plane, group) : nullptr;
      if (zeros_w == nullptr && sums_w == nullptr) continue;
      for (std::size_t n = 0; n < panel_rows; ++n) {
        zeros[i][n] = zeros_w != nullptr ? zeros_w[n] : 0;
        change_x[i][n] = static_cast<std::int32_t>(end - begin) * zeros[i][n] - (sums_w != nullptr ? sums_w[n] : 0);
      }
    }
  }
};

/// The end of up to fold_runs runs of a square, tile by tile, at a time when the sums have been stored.
struct ending {
  const activations_view* x;
  const float* bias;
  output y;
  std::size_t outputs;
  bool has_zeros;
  bool y_passes_caches;  // whole lines of float, more than a cache would keep
  std::size_t panel = 0, panels = 0, runs = 0;
  bool first = false, last = false;  // runs of the panels
  std::size_t tokens[2] = {};        // the first of each 16
  std::size_t next = 4, tiles = 4;   // tiles that are not ended yet
  sum_square* sums = nullptr;        // [runs]
  const run_terms* terms = nullptr;  // [runs]
  square<float>* r = nullptr;

  std::size_t column(std::size_t t) const { return (panel + t % 2) * panel_rows; }
  /// Whether results of a tile go to y straight away.
  bool direct(std::size_t t) const {
    return last && y.type == output_type::float32 && column(t) + panel_rows <= outputs;
  }
};
TERN_INLINE ints times(const std::int32_t* a, std::int32_t b) {
  return {_mm512_mullo_epi32(load512(a), _mm512_set1_epi32(b))};
}

/// sum - zero_w sum(x) + (n zero_w - sum(w)) zero_x, modulo 2^32: only the result has to fit.
inline void correct_sums(const ending& e, std::size_t t) {
  for (std::size_t j = 0; j < e.runs; ++j) {
    const run_terms& terms = e.terms[j];
    for (std::size_t row = 0; row < tile_rows; ++row) {
      const std::size_t m = e.tokens[t / 2] + row;
      const std::int32_t sum_x = e.x->sum(m, terms.begin, terms.end), zero_x = e.x->has_zeros() ? e.x->zero(m) : 0;
      std::int32_t* const sums = e.sums[j].tile[t][row];
      store(sums, add(load(sums), subtract(times(terms.change_x[t % 2], zero_x), times(terms.zeros[t % 2], sum_x))));
    }
  }
}

/// r = fma(float(sum), scale, r) over the runs, to r or, with scale_x and bias, to y.
template <std::size_t Runs, bool Direct>
TERN_NOINLINE void fold(const ending& e, std::size_t t) {
  floats scales[Runs];
  TERN_UNROLL for (std::size_t j = 0; j < Runs; ++j) scales[j] = load(e.terms[j].scales[t % 2]);
  const std::int32_t* sums = e.sums->tile[t][0];
  const float* r = e.r->tile[t][0];
  float* out = Direct ? e.y.at<float>(e.tokens[t / 2], e.column(t)) : e.r->tile[t][0];
  const std::size_t out_stride = Direct ? e.y.row_stride : panel_rows;
  const float* const scale_x = Direct ? &e.x->scale(e.tokens[t / 2]) : nullptr;
  // Without a bias -0: fma(a, b, -0) is a * b.
  const floats bias = Direct && e.bias != nullptr ? load(e.bias + e.column(t)) : broadcast(-0.0f);
  const __mmask16 earlier_runs = e.first ? 0 : 0xFFFF;
  for (std::size_t m = 0; m < tile_rows; ++m) {
    floats value = {_mm512_maskz_loadu_ps(earlier_runs, r)};
    TERN_UNROLL for (std::size_t j = 0; j < Runs; ++j) value =
        fma(to_floats(load(sums + j * (sizeof(sum_square) / sizeof *sums))), scales[j], value);
    if (Direct) value = fma(value, broadcast(scale_x[m]), bias);
    if (Direct && e.y_passes_caches)
      _mm512_stream_ps(out, value.v);
    else
      store(out, value);
    sums += panel_rows, r += panel_rows, out += out_stride;
  }
}

inline void end_tile(const ending& e, std::size_t t) {
  if (e.has_zeros) correct_sums(e, t);
  if (e.y.type == output_type::int32) {
    const std::size_t bytes = detail::lesser(panel_rows, e.outputs - e.column(t)) * sizeof(std::int32_t);
    for (std::size_t row = 0; row < tile_rows; ++row)
      std::memcpy(e.y.at<std::int32_t>(e.tokens[t / 2] + row, e.column(t)), e.sums->tile[t][row], bytes);
  } else if (e.direct(t)) {
    e.runs == 1 ? fold<1, true>(e, t) : fold<fold_runs, true>(e, t);
  } else {
    e.runs == 1 ? fold<1, false>(e, t) : fold<fold_runs, false>(e, t);
    for (std::size_t row = 0; e.last && row < tile_rows; ++row) {
      const std::size_t m = e.tokens[t / 2] + row;
      finish_row(e.y, e.bias, e.outputs, m, e.panel + t % 2, e.r->tile[t][row], e.x->scale(m));
    }
  }
}
TERN_NOINLINE inline void end_tiles(ending& e, std::size_t count) {
  for (; count != 0 && e.next < e.tiles; ++e.next) {
    if (e.next % 2 >= e.panels) continue;
    end_tile(e, e.next);
    --count;
  }
}
/// Asks for the lines of y that end_tiles will write a square later. Always inline: g++ drops calls that only prefetch.
TERN_INLINE void prefetch_outputs(const ending& e) {
  if (!e.direct(0) || e.y_passes_caches) return;
  for (std::size_t t = 0; t < e.tiles; t += 2)
    for (std::size_t row = 0; row < tile_rows; ++row) {
      const float* const y = e.y.at<float>(e.tokens[t / 2] + row, e.column(0));
      __builtin_prefetch(y, 1);
      __builtin_prefetch(y + panel_rows * (e.panels - 1), 1);
      __builtin_prefetch(y + panel_rows * e.panels - 1, 1);  // rows of y need not begin at a line
    }
}

}  // namespace tern::inline v0_1::kernel::inline TERN_TU::amx
TERN_REGION_END
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#endif
