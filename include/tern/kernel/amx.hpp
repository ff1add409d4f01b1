// SPDX-License-Identifier: MIT
/// AMX-INT8: Intel Xeon from Sapphire Rapids. For 16 tokens and more; fewer run on AVX512-VNNI.
///
/// Decoded operands of the packed layout are tiles as they stand: a vector of 16 rows x 4 inputs is one tile row, 16 of
/// them a tile. Quantised activations are tiles in place. No sum needs a correction.
///
/// Weights stay in the first-level cache, one chunk of two panels for all tokens of a part; activations come from the
/// second level, so a part has as many tokens as fit there; sums wait in memory between chunks. Vector code is nearly
/// free while it fits behind the products in flight, so it comes in small shares, after every stride of two steps:
/// blocks of the next chunk are decoded, and a tile of sums of the square before becomes results.
///
/// All memory is on the stack: 131 KiB. The last tile of tokens overlaps the one before it instead of being cut: tokens
/// there are computed twice, to the same bits. The tile configuration that the thread had is put back at the end; tile
/// contents are lost, as in any call.
#pragma once

#include <tern/config.hpp>

#if defined(TERN_X86)

#include <cstring>

#include <tern/kernel/amx_tiles.hpp>

#if defined(__GNUC__) && !defined(__clang__)  // see avx512vnni.hpp
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

TERN_REGION_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c,amx-tile,amx-int8")
namespace tern::inline v0_1::kernel::inline TERN_TU::amx {

/// Most quads of a chunk, of each panel: ten tiles, whole blocks of every codec. Two panels of this chunk and of the
/// next are 40 KiB, which fit the first-level cache together.
inline constexpr std::size_t chunk_quads = 160;
template <codec Codec>
  requires(chunk_quads % Codec::fold == 0 && chunk_quads % tile_quads == 0)
inline constexpr std::size_t chunk_blocks = chunk_quads / Codec::fold;
/// Steps of 64 inputs of a square, 128 cycles or more, after which vector code has its turn.
inline constexpr std::size_t stride_steps = 2;
/// Tokens of a part: 32 KiB of waiting sums and as much of results, and activations in 5/8 of the second-level cache,
/// which has 2 MiB.
inline constexpr std::size_t part_tokens = 256;
inline constexpr std::size_t part_bytes = std::size_t{5} << 18;
/// Results of one call that a cache would keep; more than that are written past the caches, which saves reading their lines.
inline constexpr std::size_t kept_bytes = std::size_t{2} << 20;

/// What is decoded at once of two panels (of the last one alone where they are odd): some blocks of one run, or whole
/// runs of equal size.
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
  const std::size_t most_runs = c.begins && c.ends ? chunk_quads / tile_quads / steps_of<Codec>(c.blocks) : 1;
  while (c.runs < most_runs && group + c.runs < w.groups() &&
         w.group_begin(group + c.runs + 1) - w.group_begin(group + c.runs) == run.end - run.begin)
    ++c.runs;
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

/// Whether the blocks of a chunk are tiles already: whole tiles of int8.
template <codec Codec>
constexpr bool in_place(const chunk& c) {
  return std::same_as<Codec, i8> && c.blocks % tile_quads == 0;
}

template <codec Codec>
const std::int8_t* blocks_in_place(const packed_view<Codec>& w, const chunk& c, std::size_t i) {
  return reinterpret_cast<const std::int8_t*>(w.codes(c.panel + i, c.plane) + c.block * block_bytes<Codec>);
}

/// The decoding of a chunk, which can stop after any block.
template <codec Codec>
struct decoding {
  avx512vnni::decoder<Codec> decoder;                // its levels() are signed
  std::size_t left = 0;                              // blocks of each panel
  std::size_t panels = 0, run_blocks = 0, done = 0;  // done: of the run
  const std::uint8_t* codes[2] = {};
  std::int8_t* out[2] = {};

  void start(const packed_view<Codec>& w, const chunk& c, std::int8_t (*operands)[chunk_quads * vector_bytes]) {
    left = in_place<Codec>(c) ? 0 : c.runs * c.blocks, panels = c.panels, run_blocks = c.blocks, done = 0;
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
          if (padding != 0) std::memset(to, 0, padding);
          to += padding;
        }
        codes[i] = from;
        out[i] = to;
      }
      if (done == run_blocks) done = 0;
    }
  }
};

/// Many tokens, as described at the head of the file.
///
/// Tiles of activations may reach up to 63 inputs beyond a run, into the next group, the next row, or the section
/// behind the codes: they meet zero levels there.
template <codec Codec>
void multiply_by_tiles(const product<activations_view, Codec>& a, const tile& t) {
  constexpr std::size_t most_squares = part_tokens / (2 * tile_rows);
  alignas(64) std::int8_t operands[2][2][chunk_quads * vector_bytes];  // of this chunk and of the next
  sum_square waiting[most_squares];
  square<float> r[most_squares];
  sum_square sums[2][fold_runs];  // of the runs before and of these
  run_terms terms[2][chunk_quads / tile_quads];
  decoding<Codec> next{avx512vnni::decoder<Codec>(a.w.get_codec())};
  const std::size_t y_bytes =
      (t.token_end - t.token_begin) * (t.panel_end - t.panel_begin) * panel_rows * sizeof(float);
  const bool whole_lines = reinterpret_cast<std::uintptr_t>(a.y.data) % 64 == 0 && a.y.row_stride % panel_rows == 0;
  ending e{&a.x, a.bias, a.y, a.w.rows(), a.x.has_zeros() || a.w.has_zeros(), whole_lines && y_bytes > kept_bytes};
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
    std::size_t side = 0, sums_side = 0;
    next.start(a.w, now, operands[side]);
    next.advance(next.left);
    sum_square* before = sums[1];  // the tiles hold nothing yet
    for (bool more = true; more; side ^= 1) {
      more = !now.last || now.panel + now.panels != t.panel_end;
      const chunk after = more ? chunk_after(a.w, now, t.panel_end) : now;
      if (more) next.start(a.w, after, operands[side ^ 1]);
      for (std::size_t j = 0; now.ends && j < now.runs; ++j)
        terms[side][j].set(a, now.panel, now.panels, now.plane, now.group + j);
      const std::size_t steps = steps_of<Codec>(now.blocks), strides = detail::ceil_div(steps, stride_steps);
      const std::size_t block_share = detail::ceil_div(next.left, squares * now.runs * strides);
      const std::size_t tile_share = detail::ceil_div(std::size_t{4}, detail::lesser(now.runs, fold_runs) * strides);
      for (std::size_t q = 0; q < squares; ++q) {
        const std::size_t square_tiles = detail::lesser(std::size_t{2}, tiles - 2 * q);
        const std::size_t first[2] = {begin + detail::lesser(2 * q * tile_rows, tokens - tile_rows),
                                      begin + detail::lesser((2 * q + 1) * tile_rows, tokens - tile_rows)};
        square_steps p{.x_stride = x_stride, .so_far = now.begins ? nullptr : &waiting[q]};
        for (std::size_t i = 0; i < now.panels; ++i)
          p.w[i] = in_place<Codec>(now) ? blocks_in_place(a.w, now, i) : operands[side][i];
        for (std::size_t j = 0; j < now.runs; ++j) {
          for (std::size_t i = 0; i < 2; ++i)
            p.x[i] = a.x.codes(first[i]) + (now.block + j * now.blocks) * block_inputs<Codec>;
          p.before = before;
          for (std::size_t s = 0; s < steps; s += stride_steps) {
            p.steps = detail::lesser(stride_steps, steps - s);
            multiply_square(p, square_tiles, now.panels);
            p.before = nullptr;
            for (std::size_t i = 0; i < 2; ++i) p.x[i] += p.steps * tile_inputs, p.w[i] += p.steps * tile_bytes;
            next.advance(block_share);
            end_tiles(e, tile_share);
          }
          const std::size_t of_fold = j % fold_runs;
          before = now.ends ? &sums[sums_side][of_fold] : &waiting[q];
          if (of_fold + 1 != fold_runs && j + 1 != now.runs) continue;
          end_tiles(e, e.tiles);  // what is left
          if (!now.ends) continue;
          e.panel = now.panel, e.panels = now.panels, e.runs = of_fold + 1;
          e.first = now.first && j < fold_runs;
          e.last = now.last && j + 1 == now.runs;
          e.tokens[0] = first[0], e.tokens[1] = first[1];
          e.next = 0, e.tiles = 2 * square_tiles;
          e.sums = sums[sums_side];
          e.terms = terms[side] + (j - of_fold);
          e.r = &r[q];
          sums_side ^= 1;
          prefetch_outputs(e);
        }
      }
      now = after;
    }
    store_sums<0>(*before), store_sums<1>(*before), store_sums<2>(*before), store_sums<3>(*before);
    end_tiles(e, e.tiles);
  }
  if (e.y_passes_caches) _mm_sfence();  // before other threads are told
}

}  // namespace tern::inline v0_1::kernel::inline TERN_TU::amx
TERN_REGION_END
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

namespace tern::inline v0_1::isa {

/// AMX-INT8 beside AVX512-VNNI: Intel Xeon from Sapphire Rapids, on Linux. The first question whether it is usable asks
/// the system for the process's permission; where it is refused the answer is no.
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
  if (amx::loop_for(t.token_end - t.token_begin) != kernel::token_loop::tiles || t.panel_begin == t.panel_end ||
      a.w.cols() == 0)
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

#endif
