// SPDX-License-Identifier: MIT
/// AMX-INT8: Intel Xeon from Sapphire Rapids. For 16 tokens and more; fewer run on AVX512-VNNI.
///
/// tdpbssd multiplies a tile of 16 tokens x 64 inputs by one of 64 inputs x 16 outputs and adds to 16 x 16 int32 sums, all
/// signed and exact. Decoded operands of the packed layout are such tiles as they stand: a vector of 16 rows x 4 inputs is
/// one tile row, 16 of them a tile. Quantised activations are tiles in place. No sum needs a correction.
///
/// The bound: a tdpbssd starts every 16 cycles, a tile loads in 8 from the first-level cache. A square of 2 x 2 tiles of sums
/// needs one load a product. Weights stay in the first-level cache, one chunk (640 inputs of two panels) for all tokens of a
/// part; activations come from the second level, so a part has as many tokens as fit there; sums wait in memory between
/// chunks. What keeps tiles busy:
///
///   - The core holds about one step, 8 writes of tiles, in flight, and stores wait 52 cycles for their sums: so tiles are
///     stored within the first step of the next square, each just before it is needed.
///   - Vector code runs between squares, on data long ready: int32 sums become results of the square before (scales of
///     small groups two groups at once), the next chunk is decoded, and lines of y are asked for a square ahead.
///
/// All memory is on the stack: 122 KiB. The last tile of tokens overlaps the one before it instead of being cut: tokens there
/// are computed twice, to the same bits. The tile configuration that the thread had is put back at the end; tile contents
/// are lost, as in any call.
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

inline constexpr std::size_t tile_rows = 16;
inline constexpr std::size_t tile_inputs = 64;
inline constexpr std::size_t tile_quads = tile_inputs / quad_inputs;
inline constexpr std::size_t tile_bytes = tile_quads * vector_bytes;
/// Most quads of a chunk, ten tiles a panel: two panels are 20 KiB, and whole blocks of five quads fill them.
inline constexpr std::size_t chunk_quads = 160;
template <codec Codec>
inline constexpr std::size_t chunk_blocks = chunk_quads / (tile_quads * Codec::fold) * tile_quads;
/// Runs of a chunk that are folded into results together: they halve the traffic of results, four leave the cache.
inline constexpr std::size_t chunk_runs = 2;
/// Tokens of a part: 32 KiB of waiting sums and as much of results, and activations in 5/8 of 2 MiB of second-level cache.
inline constexpr std::size_t part_tokens = 256;
inline constexpr std::size_t part_bytes = std::size_t{5} << 18;

/// The memory image of a tile configuration: palette 1, eight whole tiles.
struct alignas(64) configuration {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(configuration) == 64);

// Assembly, because the intrinsics of g++ 12 take no template parameter as a tile, do not say that a load reads memory, and
// say that a configuration is 8 bytes, so that one on the stack is optimised away.
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

/// Sums, or results, of 2 x 16 tokens x 2 panels; tile t of sums holds tokens 16 (t / 2) and on of panel t % 2.
template <class T>
struct alignas(64) square {
  static constexpr std::size_t token_lanes = 2 * panel_rows;
  T at[2 * tile_rows][2][panel_rows];
};
using sum_square = square<std::int32_t>;

template <int Tile>
TERN_INLINE void store_sums(sum_square& to) {
  store_tile<Tile>(to.at[Tile / 2 * tile_rows][Tile % 2], sizeof to.at[0]);
}
/// Stores the sums of the square before and begins the next at what has been summed so far, or 0.
template <int Tile>
TERN_INLINE void turn_over(sum_square& before, const sum_square* so_far) {
  store_sums<Tile>(before);
  if (so_far != nullptr)
    load_tile<Tile>(so_far->at[Tile / 2 * tile_rows][Tile % 2], sizeof so_far->at[0]);
  else
    zero_tile<Tile>();
}

/// A chunk times up to 32 tokens.
struct square_product {
  const std::int8_t* x[2];  // the first token of each of two tiles
  std::size_t x_stride;
  const std::int8_t* w[2];   // decoded panels, run after run
  std::size_t runs, steps;   // steps of 64 inputs, each run
  std::size_t run_inputs;    // from a run to the next in x
  const sum_square* so_far;  // null where the runs begin
  sum_square* sums;          // [runs]
};
/// Leaves the sums of the last run in the tiles. `before` is where the sums that are there belong.
template <bool TwoTiles, bool TwoPanels>
TERN_NOINLINE void multiply_square(const square_product& p, sum_square* before) {
  const std::int8_t *w0 = p.w[0], *w1 = p.w[1];
  const std::size_t x_stride = p.x_stride, steps = p.steps;
  for (std::size_t j = 0; j < p.runs; ++j) {
    const std::int8_t *x0 = p.x[0] + j * p.run_inputs, *x1 = p.x[1] + j * p.run_inputs;
    for (std::size_t s = 0; s < steps; ++s) {
      load_tile<6>(w0, vector_bytes);
      load_tile_once<4>(x0, x_stride);
      if (s == 0) turn_over<0>(*before, p.so_far);
      multiply_tile<0, 4, 6>();
      if constexpr (TwoPanels) load_tile<7>(w1, vector_bytes);
      if (s == 0) turn_over<1>(*before, p.so_far);
      if constexpr (TwoPanels) multiply_tile<1, 4, 7>();
      if constexpr (TwoTiles) load_tile_once<5>(x1, x_stride);
      if (s == 0) turn_over<2>(*before, p.so_far);
      if constexpr (TwoTiles) multiply_tile<2, 5, 6>();
      if (s == 0) turn_over<3>(*before, p.so_far);
      if constexpr (TwoTiles && TwoPanels) multiply_tile<3, 5, 7>();
      x0 += tile_inputs, x1 += tile_inputs, w0 += tile_bytes, w1 += tile_bytes;
    }
    before = p.sums + j;
  }
}

/// What is decoded at once of two panels (of the last one alone where they are odd): some blocks of one run, or
/// chunk_runs whole runs of equal size.
struct chunk {
  std::size_t panel, panels, plane, group, runs;
  std::size_t block, blocks;  // the first block, in its plane; blocks of each run
  bool begins, ends;          // the chunk has the first and the last block of its runs
  bool first, last;           // run of the panels
};
template <codec Codec>
constexpr std::size_t steps_of(std::size_t blocks) {
  return detail::ceil_div(blocks * Codec::fold, tile_quads);
}
template <codec Codec>
chunk chunk_at(const packed_view<Codec>& w, std::size_t panel, std::size_t panel_end, std::size_t plane,
               std::size_t group, std::size_t block) {
  const run_span<Codec> run(w, plane, group);
  chunk c{panel, detail::lesser(std::size_t{2}, panel_end - panel), plane, group, 1, block, 0, false, false, false,
          false};
  c.blocks = detail::lesser(chunk_blocks<Codec>, run.block_end - block);
  c.begins = block == run.block_begin;
  c.ends = block + c.blocks == run.block_end;
  const std::size_t after = group + chunk_runs;
  if (c.begins && c.ends && after <= w.groups() && chunk_runs * steps_of<Codec>(c.blocks) * tile_quads <= chunk_quads &&
      w.group_begin(after) - w.group_begin(after - 1) == run.end - run.begin)
    c.runs = chunk_runs;
  c.first = plane == 0 && group == 0;
  c.last = c.ends && plane + 1 == w.planes() && group + c.runs == w.groups();
  return c;
}
/// The chunk behind c; behind the last of two panels the first of the next two.
template <codec Codec>
chunk chunk_after(const packed_view<Codec>& w, const chunk& c, std::size_t panel_end) {
  if (!c.ends) return chunk_at(w, c.panel, panel_end, c.plane, c.group, c.block + c.blocks);
  std::size_t panel = c.panel, plane = c.plane, group = c.group + c.runs;
  if (group == w.groups()) group = 0, ++plane;
  if (plane == w.planes()) plane = 0, panel += 2;
  return chunk_at(w, panel, panel_end, plane, group, w.group_begin(group) / block_inputs<Codec>);
}

/// Whether the blocks of a chunk are tiles already: int8 needs no copy where few tokens would not repay it.
template <codec Codec>
constexpr bool in_place(const chunk& c, std::size_t squares) {
  return std::same_as<Codec, i8> && c.blocks % tile_quads == 0 && squares <= 2;
}

/// The decoding of a chunk, which can stop after any block.
template <codec Codec>
struct decoding {
  avx512vnni::decoder<Codec> decoder;  // its levels() are signed
  std::size_t left = 0;                              // blocks of each panel
  std::size_t panels = 0, run_blocks = 0, done = 0;  // done: of the run
  const std::uint8_t* codes[2] = {};
  std::int8_t* out[2] = {};

  void start(const packed_view<Codec>& w, const chunk& c, std::int8_t (*operands)[chunk_quads * vector_bytes]) {
    left = c.runs * c.blocks, panels = c.panels, run_blocks = c.blocks, done = 0;
    for (std::size_t i = 0; i < panels; ++i) {
      codes[i] = w.codes(c.panel + i, c.plane) + c.block * block_bytes<Codec>;
      out[i] = operands[i];
    }
  }
  void advance(std::size_t blocks) {
    for (std::size_t n = 0; left != 0 && blocks != 0; left -= n, blocks -= n) {
      n = detail::lesser(detail::lesser(blocks, left), run_blocks - done);
      done += n;
      for (std::size_t i = 0; i < panels; ++i) {
        const std::uint8_t* from = codes[i];
        std::int8_t* to = out[i];
        for (std::size_t b = 0; b < n; ++b, from += block_bytes<Codec>, to += Codec::fold * vector_bytes) {
          prefetch_block<Codec>(from);
          decoder.levels(from, to);
        }
        if (done == run_blocks) {  // zeros behind the run, up to a whole tile
          const std::size_t padding = steps_of<Codec>(done) * tile_bytes - done * Codec::fold * vector_bytes;
          std::memset(to, 0, padding);
          to += padding;
        }
        codes[i] = from;
        out[i] = to;
      }
      if (done == run_blocks) done = 0;
    }
  }
};

/// What ends a run of two panels: scales, and what corrects sums for zero points.
struct alignas(64) run_terms {
  float scales[2][panel_rows];
  std::int32_t zeros[2][panel_rows];     // of w
  std::int32_t change_x[2][panel_rows];  // inputs zero_w - sum(w), to be multiplied by zero_x
  std::size_t begin, end;                // inputs

  template <codec Codec>
  void set(const product<activations_view, Codec>& a, const chunk& c, std::size_t group) {
    begin = a.w.group_begin(group), end = a.w.group_begin(group + 1);
    for (std::size_t i = 0; i < c.panels; ++i) {
      store(scales[i], load_scales(a.w.scales(c.panel + i, c.plane, group), a.w.format().scales));
      const std::int8_t* zeros_w = a.w.has_zeros() ? a.w.zeros(c.panel + i, c.plane, group) : nullptr;
      const std::int32_t* sums_w = a.x.has_zeros() ? a.w.sums(c.panel + i, c.plane, group) : nullptr;
      for (std::size_t n = 0; n < panel_rows; ++n) {
        zeros[i][n] = zeros_w != nullptr ? zeros_w[n] : 0;
        change_x[i][n] = static_cast<std::int32_t>(end - begin) * zeros[i][n] - (sums_w != nullptr ? sums_w[n] : 0);
      }
    }
  }
};

/// The end of the runs of a chunk for one square, at a time when its sums have long been stored.
struct ending {
  const activations_view* x;
  const float* bias;
  output y;
  std::size_t outputs;
  bool has_zeros;
  chunk c{};
  std::size_t tokens[2] = {};        // the first of each tile
  std::size_t rows = 0;              // 16 or 32; 0 when there is nothing to end
  sum_square* sums = nullptr;        // [runs]
  const run_terms* terms = nullptr;  // [runs]
  square<float>* r = nullptr;

  std::size_t token(std::size_t row) const { return tokens[row / tile_rows] + row % tile_rows; }
  std::size_t column(std::size_t i) const { return (c.panel + i) * panel_rows; }
  /// Whether results of a panel go to y straight away.
  bool direct(std::size_t i) const {
    return c.last && y.type == output_type::float32 && column(i) + panel_rows <= outputs;
  }
};
TERN_INLINE ints times(const std::int32_t* a, std::int32_t b) {
  return {_mm512_mullo_epi32(load512(a), _mm512_set1_epi32(b))};
}

/// sum - zero_w sum(x) + (n zero_w - sum(w)) zero_x, modulo 2^32: only the result has to fit.
inline void correct_sums(const ending& e) {
  for (std::size_t j = 0; j < e.c.runs; ++j) {
    const run_terms& t = e.terms[j];
    for (std::size_t row = 0; row < e.rows; ++row) {
      const std::size_t m = e.token(row);
      const std::int32_t sum_x = e.x->sum(m, t.begin, t.end), zero_x = e.x->has_zeros() ? e.x->zero(m) : 0;
      for (std::size_t i = 0; i < e.c.panels; ++i) {
        std::int32_t* const sums = e.sums[j].at[row][i];
        store(sums, add(load(sums), subtract(times(t.change_x[i], zero_x), times(t.zeros[i], sum_x))));
      }
    }
  }
}

/// 16 tokens of a panel: r = fma(float(sum), scale, r) over the runs, to r or, with scale_x and bias, to y.
template <std::size_t Runs, bool Direct>
TERN_NOINLINE void fold(const ending& e, std::size_t i, std::size_t row) {
  floats scales[Runs];
  TERN_UNROLL for (std::size_t j = 0; j < Runs; ++j) scales[j] = load(e.terms[j].scales[i]);
  const std::int32_t* sums = e.sums->at[row][i];
  const float* r = e.r->at[row][i];
  float* out = Direct ? e.y.at<float>(e.token(row), e.column(i)) : e.r->at[row][i];
  const std::size_t out_stride = Direct ? e.y.row_stride : square<float>::token_lanes;
  const float* const scale_x = Direct ? &e.x->scale(e.token(row)) : nullptr;
  // Without a bias -0: fma(a, b, -0) is a * b.
  const floats bias = Direct && e.bias != nullptr ? load(e.bias + e.column(i)) : broadcast(-0.0f);
  const __mmask16 earlier_runs = e.c.first ? 0 : 0xFFFF;
  for (std::size_t m = 0; m < tile_rows; ++m) {
    floats value = {_mm512_maskz_loadu_ps(earlier_runs, r)};
    TERN_UNROLL for (std::size_t j = 0; j < Runs; ++j) value =
        fma(to_floats(load(sums + j * (sizeof(sum_square) / sizeof *sums))), scales[j], value);
    store(out, Direct ? fma(value, broadcast(scale_x[m]), bias) : value);
    sums += sum_square::token_lanes, r += square<float>::token_lanes, out += out_stride;
  }
}

TERN_NOINLINE inline void end_runs(ending& e) {
  if (e.rows != 0 && e.has_zeros) correct_sums(e);
  for (std::size_t i = 0; e.rows != 0 && i < e.c.panels; ++i) {
    if (e.y.type == output_type::int32) {
      const std::size_t bytes = detail::lesser(panel_rows, e.outputs - e.column(i)) * sizeof(std::int32_t);
      for (std::size_t row = 0; row < e.rows; ++row)
        std::memcpy(e.y.at<std::int32_t>(e.token(row), e.column(i)), e.sums->at[row][i], bytes);
      continue;
    }
    const bool direct = e.direct(i), one = e.c.runs == 1;
    const auto fold_tile =
        direct ? (one ? fold<1, true> : fold<chunk_runs, true>) : (one ? fold<1, false> : fold<chunk_runs, false>);
    for (std::size_t row = 0; row < e.rows; row += tile_rows) fold_tile(e, i, row);
    for (std::size_t row = 0; e.c.last && !direct && row < e.rows; ++row)
      finish_row(e.y, e.bias, e.outputs, e.token(row), e.c.panel + i, e.r->at[row][i], e.x->scale(e.token(row)));
  }
  e.rows = 0;
}
/// Asks for the lines of y that end_runs will write a square later. Always inline: g++ drops calls that only prefetch.
TERN_INLINE void prefetch_outputs(const ending& e) {
  if (!e.direct(0)) return;
  for (std::size_t row = 0; row < e.rows; ++row) {
    const float* const y = e.y.at<float>(e.token(row), e.column(0));
    __builtin_prefetch(y, 1);
    __builtin_prefetch(y + panel_rows * (e.c.panels - 1), 1);
  }
}

/// Many tokens, as described at the head of the file.
///
/// Tiles of activations may reach up to 63 inputs beyond a run, into the next group, the next row, or the section behind the
/// codes: they meet zero levels there.
template <codec Codec>
void multiply_by_tiles(const product<activations_view, Codec>& a, const tile& t) {
  constexpr std::size_t most_squares = part_tokens / (2 * tile_rows);
  alignas(64) std::int8_t operands[2][2][chunk_quads * vector_bytes];  // of this chunk and of the next
  sum_square waiting[most_squares];
  square<float> r[most_squares];
  sum_square sums[2][chunk_runs];  // of this square and of the one before
  run_terms terms[2][chunk_runs];
  decoding<Codec> next{avx512vnni::decoder<Codec>(a.w.get_codec())};
  ending e{&a.x, a.bias, a.y, a.w.rows(), a.x.has_zeros() || a.w.has_zeros()};
  const configuration_guard guard;

  const std::size_t x_stride = a.x.row_stride(), all = t.token_end - t.token_begin;
  const std::size_t fitting = part_bytes / x_stride / (2 * tile_rows) * (2 * tile_rows);
  const std::size_t most = detail::lesser(part_tokens, detail::greater(4 * tile_rows, fitting));
  const std::size_t parts = detail::ceil_div(all, most);
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t begin = t.token_begin + part * all / parts;
    const std::size_t tokens = t.token_begin + (part + 1) * all / parts - begin;
    const std::size_t tiles = detail::ceil_div(tokens, tile_rows), squares = detail::ceil_div(tiles, std::size_t{2});
    chunk now = chunk_at(a.w, t.panel_begin, t.panel_end, 0, 0, 0);
    std::size_t side = 0, square_side = 0;
    next.start(a.w, now, operands[side]);
    next.advance(in_place<Codec>(now, squares) ? 0 : next.left);
    sum_square* before = sums[1];  // the tiles hold nothing yet
    for (bool more = true; more; side ^= 1) {
      more = !now.last || now.panel + now.panels != t.panel_end;
      const chunk after = more ? chunk_after(a.w, now, t.panel_end) : now;
      if (more) next.start(a.w, after, operands[side ^ 1]);
      const std::size_t share = in_place<Codec>(after, squares) ? 0 : detail::ceil_div(next.left, squares);
      for (std::size_t j = 0; now.ends && j < now.runs; ++j) terms[side][j].set(a, now, now.group + j);
      for (std::size_t q = 0; q < squares; ++q) {
        const bool two_tiles = 2 * q + 1 < tiles, two_panels = now.panels == 2;
        square_product p{{},
                         x_stride,
                         {operands[side][0], operands[side][1]},
                         now.runs,
                         steps_of<Codec>(now.blocks),
                         now.blocks * block_inputs<Codec>,
                         now.begins ? nullptr : &waiting[q],
                         now.ends ? sums[square_side] : &waiting[q]};
        for (std::size_t i = 0; in_place<Codec>(now, squares) && i < now.panels; ++i)
          p.w[i] = reinterpret_cast<const std::int8_t*>(a.w.codes(now.panel + i, now.plane)) + now.block * vector_bytes;
        std::size_t first[2];
        for (std::size_t i = 0; i < 2; ++i) {
          first[i] = begin + detail::lesser((2 * q + i) * tile_rows, tokens - tile_rows);
          p.x[i] = a.x.codes(first[i]) + now.block * block_inputs<Codec>;
        }
        const auto multiply = two_tiles ? (two_panels ? multiply_square<true, true> : multiply_square<true, false>)
                                        : (two_panels ? multiply_square<false, true> : multiply_square<false, false>);
        multiply(p, before);
        before = p.sums + (now.runs - 1);
        end_runs(e);
        next.advance(share);
        if (!now.ends) continue;
        e.c = now;
        e.rows = two_tiles ? 2 * tile_rows : tile_rows;
        for (std::size_t i = 0; i < 2; ++i) e.tokens[i] = first[i];
        e.sums = sums[square_side];
        e.terms = terms[side];
        e.r = &r[q];
        square_side ^= 1;
        prefetch_outputs(e);
      }
      now = after;
    }
    store_sums<0>(*before), store_sums<1>(*before), store_sums<2>(*before), store_sums<3>(*before);
    end_runs(e);
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
  static constexpr kernel::token_loop loop_for(std::size_t tokens) {
    return tokens < kernel::amx::tile_rows ? avx512vnni::loop_for(tokens) : kernel::token_loop::tiles;
  }
};

inline namespace TERN_TU {

/// Tiles for 16 tokens and more of int8 activations; everything else is AVX512-VNNI's.
template <codec Codec>
  requires requires { sizeof(kernel::avx512vnni::decoder<Codec>); }
amx run(amx, const kernel::product<activations_view, Codec>& a, const kernel::tile& t) {
  if (amx::loop_for(t.token_end - t.token_begin) != kernel::token_loop::tiles || t.panel_begin == t.panel_end || a.w.cols() == 0)
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
