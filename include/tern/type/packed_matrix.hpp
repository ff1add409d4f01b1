// SPDX-License-Identifier: MIT
/// Packed weights: one layout for every machine, owned or viewed in place.
///
/// Rows of W stand in panels of 16, the last padded with zero rows. The storage is four sections, each starting at a
/// multiple of 64 bytes:
///
///   codes   [panels][planes][blocks][64 * n]    the codec's blocks, zero levels in the padding
///   scales  [panels][planes][groups][16]        float, half or bfloat16; per tensor one panel's worth, 16 equal values
///   zeros   as scales, int8                     only in formats with zero points
///   sums    [panels][planes][groups][16] int32  sums of levels, only in formats with sums; serve zero points of x
///
/// These bytes are what is mapped from a file or copied to a device, as they are. See codec.hpp for the blocks.
#pragma once

#include <cstring>  // std::memcpy
#include <span>

#include <tern/memory.hpp>
#include <tern/type/encoder.hpp>
#include <tern/type/quantized_matrix.hpp>

namespace tern::inline v0_1 {

/// The run-time facts that, with the codec, fix every byte of a packed matrix.
struct packed_format {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t planes = 1;
  tern::granularity granularity = per_channel;
  scale_type scales = scale_type::float32;
  bool has_zeros = false;
  bool has_sums = false;

  friend bool operator==(const packed_format&, const packed_format&) = default;
};

namespace detail::inline TERN_TU {

/// Where the sections of a packed matrix end, in bytes.
struct packed_sections {
  std::size_t codes, scales, zeros, sums;
};

/// What of a codec decides on the sections.
struct codec_sizes {
  std::string_view name;
  std::size_t group_multiple, block_inputs, block_bytes;
};

inline packed_sections section_ends(const packed_format& f, const codec_sizes& codec) {
  if (f.planes == 0) fail<range_error>({"packed_view: planes must be at least 1"});
  if (f.granularity.kind == granularity::sharing::input)
    fail<range_error>(
        {"packed_view: a product cannot have a scale for each input; quantise per tensor, channel or group"});
  const std::size_t group = f.granularity.group;
  if (f.granularity.kind == granularity::sharing::group && (group == 0 || group % codec.group_multiple != 0))
    fail<range_error>({"packed_view: groups of codec ", codec.name, " are multiples of ", codec.group_multiple,
                       " inputs, not ", group});
  const std::size_t panels = ceil_div(f.rows, panel_rows);
  const std::size_t runs = checked_product(f.planes, f.granularity.groups(f.cols));
  const std::size_t blocks = ceil_div(f.cols, codec.block_inputs);
  const bool shared = f.granularity.kind == granularity::sharing::tensor;
  const std::size_t scale_count = checked_product(checked_product(shared ? 1 : panels, runs), panel_rows);
  const std::size_t sum_count = checked_product(checked_product(panels, runs), panel_rows);
  packed_sections end{};
  end.codes = checked_product(checked_product(panels, f.planes), checked_product(blocks, codec.block_bytes));
  end.scales = checked_sum(end.codes, round_up(checked_product(scale_count, bytes_of(f.scales)), 64));
  end.zeros = checked_sum(end.scales, f.has_zeros ? round_up(scale_count, 64) : 0);
  end.sums = checked_sum(end.zeros, f.has_sums ? checked_product(sum_count, sizeof(std::int32_t)) : 0);
  return end;
}

}  // namespace detail::inline TERN_TU

/// A packed matrix in memory that somebody else owns. The bytes are checked for size, not scanned, and not copied.
template <codec Codec>
class packed_view {
  static_assert(Codec::group_multiple % block_inputs<Codec> == 0,
                "a codec's groups must be whole blocks of 4 * fold inputs");
  static_assert(Codec::fold >= 1 && Codec::fold <= largest_fold, "a codec codes 1 to 16 inputs together");
  static_assert(Codec::bytes >= 1 && Codec::bytes <= 4, "a codec's inputs take 1 to 4 bytes");

 public:
  using codec_type = Codec;

  packed_view() = default;

  /// @param storage  [storage_bytes(format)] bytes, aligned to 64
  /// Errors: shape_error on a wrong size or alignment; range_error on a group that the codec cannot serve.
  TERN_INLINE packed_view(std::span<const std::byte> storage, const packed_format& format, Codec codec = {})
      : format_(format), codec_(codec), data_(storage.data()) {
    const std::size_t expected = storage_bytes(format);
    if (storage.size() != expected)
      detail::fail<shape_error>({"packed_view: ", format.rows, "x", format.cols, " in codec ", Codec::name(), " takes ",
                                 expected, " bytes, not ", storage.size()});
    if (reinterpret_cast<std::uintptr_t>(data_) % storage_alignment != 0)
      detail::fail<shape_error>({"packed_view: storage must be aligned to 64 bytes"});
    groups_ = format.granularity.groups(format.cols);
    const detail::packed_sections end = section_ends(format);
    scales_ = data_ + end.codes;
    zeros_ = data_ + end.scales;
    sums_ = data_ + end.zeros;
  }

  /// Bytes of a matrix of this format, padding included.
  TERN_INLINE static std::size_t storage_bytes(const packed_format& format) { return section_ends(format).sums; }

  const packed_format& format() const { return format_; }
  const Codec& get_codec() const { return codec_; }
  std::size_t rows() const { return format_.rows; }
  std::size_t cols() const { return format_.cols; }
  std::size_t planes() const { return format_.planes; }
  std::size_t groups() const { return groups_; }
  bool has_zeros() const { return format_.has_zeros; }
  bool has_sums() const { return format_.has_sums; }
  std::size_t panels() const { return detail::ceil_div(format_.rows, panel_rows); }
  /// Blocks of one plane of one panel.
  std::size_t blocks() const { return detail::ceil_div(format_.cols, block_inputs<Codec>); }
  TERN_INLINE std::size_t storage_bytes() const { return storage_bytes(format_); }
  TERN_INLINE std::span<const std::byte> storage() const { return {data_, storage_bytes()}; }
  /// Bits stored for each weight of W: codes of all planes, scales, zero points, sums and padding.
  TERN_INLINE double bits_per_weight() const {
    const double weights = static_cast<double>(rows()) * static_cast<double>(cols());
    return weights == 0 ? 0 : 8.0 * static_cast<double>(storage_bytes()) / weights;
  }

  /// The blocks of one plane of one panel: blocks() x block_bytes<Codec>.
  const std::uint8_t* codes(std::size_t panel, std::size_t plane) const {
    return reinterpret_cast<const std::uint8_t*>(data_) + (panel * planes() + plane) * blocks() * block_bytes<Codec>;
  }
  /// The 16 scales of one run of one panel, stored as format().scales.
  const std::byte* scales(std::size_t panel, std::size_t plane, std::size_t group) const {
    return scales_ + scale_row(panel, plane, group) * panel_rows * bytes_of(format_.scales);
  }
  /// The 16 zero points of one run of one panel; only with has_zeros().
  const std::int8_t* zeros(std::size_t panel, std::size_t plane, std::size_t group) const {
    return reinterpret_cast<const std::int8_t*>(zeros_) + scale_row(panel, plane, group) * panel_rows;
  }
  /// The 16 sums of levels of one run of one panel; only with has_sums().
  const std::int32_t* sums(std::size_t panel, std::size_t plane, std::size_t group) const {
    return reinterpret_cast<const std::int32_t*>(sums_) + run(panel, plane, group) * panel_rows;
  }
  /// The inputs of a group: [group_begin(g), group_begin(g + 1)).
  std::size_t group_begin(std::size_t group) const {
    const std::size_t begin = group * format_.granularity.group_inputs(format_.cols);
    return begin < format_.cols ? begin : format_.cols;
  }

  /// One level: row n, input k of plane p.
  TERN_INLINE std::int8_t level(std::size_t p, std::size_t n, std::size_t k) const {
    const std::size_t in_block = k % block_inputs<Codec>;
    const std::uint8_t* block = codes(n / panel_rows, p) + k / block_inputs<Codec> * block_bytes<Codec>;
    std::uint8_t bytes[Codec::bytes];
    for (std::size_t v = 0; v < Codec::bytes; ++v)
      bytes[v] = block[v * vector_bytes + quad_inputs * (n % panel_rows) + in_block % quad_inputs];
    return codec_.decode(bytes, in_block / quad_inputs);
  }
  TERN_INLINE float scale(std::size_t p, std::size_t n, std::size_t group) const {
    const std::byte* at = scales(n / panel_rows, p, group) + n % panel_rows * bytes_of(format_.scales);
    if (format_.scales == scale_type::float32) {
      float value;
      std::memcpy(&value, at, sizeof value);
      return value;
    }
    std::uint16_t bits;
    std::memcpy(&bits, at, sizeof bits);
    return format_.scales == scale_type::float16 ? detail::half_to_float(bits) : detail::bfloat16_to_float(bits);
  }
  std::int8_t zero(std::size_t p, std::size_t n, std::size_t group) const {
    return has_zeros() ? zeros(n / panel_rows, p, group)[n % panel_rows] : std::int8_t{0};
  }

 private:
  TERN_INLINE static detail::packed_sections section_ends(const packed_format& f) {
    return detail::section_ends(f, {Codec::name(), Codec::group_multiple, block_inputs<Codec>, block_bytes<Codec>});
  }
  std::size_t run(std::size_t panel, std::size_t plane, std::size_t group) const {
    return (panel * planes() + plane) * groups_ + group;
  }
  std::size_t scale_row(std::size_t panel, std::size_t plane, std::size_t group) const {
    return run(format_.granularity.kind == granularity::sharing::tensor ? 0 : panel, plane, group);
  }

  packed_format format_;
  [[no_unique_address]] Codec codec_{};
  std::size_t groups_ = 1;
  const std::byte* data_ = nullptr;
  const std::byte* scales_ = nullptr;
  const std::byte* zeros_ = nullptr;
  const std::byte* sums_ = nullptr;
};

/// Choices of packing that the codes do not make.
struct pack_options {
  scale_type scales = scale_type::float32;  // float16 holds 6.1e-5 to 65504 in full precision, down to 6e-8 in less
  bool sums = false;  // keep sums of levels (codec i8 always does): needed where x has zero points
};

/// A packed matrix that owns its storage.
///
/// Errors: range_error when a code does not fit the codec, a scale is not finite or the group not a multiple of
///         Codec::group_multiple; shape_error when the parts of q do not fit together.
/// Cost:   one pass over the codes, O(planes N K).
template <codec Codec>
class packed_matrix {
 public:
  using codec_type = Codec;

  TERN_INLINE packed_matrix() = default;
  template <class Tu = tu_tag>
  explicit packed_matrix(const quantized_matrix& q, const pack_options& options = {}, Codec codec = {}, Tu = {});
  TERN_INLINE packed_matrix(const packed_matrix& other) : packed_matrix(other.view()) {}
  TERN_INLINE packed_matrix(packed_matrix&& other) noexcept { swap(other); }
  TERN_INLINE ~packed_matrix() = default;
  TERN_INLINE packed_matrix& operator=(packed_matrix other) noexcept {
    swap(other);
    return *this;
  }
  /// Copies a matrix that lives elsewhere.
  TERN_INLINE explicit packed_matrix(const packed_view<Codec>& view) : storage_(view.storage_bytes()) {
    if (view.storage_bytes() != 0) std::memcpy(storage_.data(), view.storage().data(), view.storage_bytes());
    view_ = {storage_, view.format(), view.get_codec()};
  }

  const packed_view<Codec>& view() const { return view_; }
  operator const packed_view<Codec>&() const { return view_; }
  std::size_t rows() const { return view_.rows(); }
  std::size_t cols() const { return view_.cols(); }
  std::size_t planes() const { return view_.planes(); }
  const packed_format& format() const { return view_.format(); }
  TERN_INLINE std::size_t storage_bytes() const { return view_.storage_bytes(); }
  std::span<const std::byte> storage() const { return view_.storage(); }
  double bits_per_weight() const { return view_.bits_per_weight(); }

 private:
  TERN_INLINE void swap(packed_matrix& other) noexcept {
    std::swap(storage_, other.storage_);
    std::swap(view_, other.view_);
  }

  aligned_bytes storage_;
  packed_view<Codec> view_;
};

namespace detail {

/// Writes 16 scales of a run; rows beyond the last get scale 0 and zero point 0.
TERN_INLINE void store_scale(std::byte* at, scale_type type, float scale) {
  if (type == scale_type::float32) {
    std::memcpy(at, &scale, sizeof scale);
  } else {
    const std::uint16_t bits = type == scale_type::float16 ? float_to_half(scale) : float_to_bfloat16(scale);
    std::memcpy(at, &bits, sizeof bits);
  }
}

// Out of line: the loops around them are unrolled, and a message is a hundred instructions.
inline namespace TERN_TU {

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_level(std::string_view codec, int code, std::size_t plane,
                                                              std::size_t row, std::size_t column) {
  fail<range_error>({"pack: code ", code, " at plane ", plane, ", row ", row, ", column ", column,
                     " is not a level of codec ", codec});
}
[[noreturn, gnu::cold, gnu::noinline]] inline void fail_scale(float scale, std::string_view what, std::size_t plane,
                                                              std::size_t row, std::size_t group) {
  fail<range_error>({"pack: scale ", scale, " of plane ", plane, ", row ", row, ", group ", group, what});
}

}  // namespace TERN_TU

TERN_INLINE bool is_finite(float x) { return (std::bit_cast<std::uint32_t>(x) & 0x7fffffffu) < 0x7f800000u; }

}  // namespace detail

template <codec Codec>
template <class Tu>
packed_matrix<Codec>::packed_matrix(const quantized_matrix& q, const pack_options& options, Codec codec, Tu) {
  q.check();
  const packed_format format{q.rows,
                             q.cols,
                             q.planes,
                             q.granularity,
                             options.scales,
                             !q.zeros.empty(),
                             options.sums || std::same_as<Codec, i8>};
  storage_ = aligned_bytes(packed_view<Codec>::storage_bytes(format));
  view_ = {storage_, format, codec};
  // The view's pointers are into storage_, which this constructor may write.
  const auto writable = [](auto* p) { return const_cast<std::remove_const_t<std::remove_pointer_t<decltype(p)>>*>(p); };

  const detail::encoder<Codec> encode(codec);
  for (std::size_t panel = 0; panel < view_.panels(); ++panel) {
    for (std::size_t p = 0; p < q.planes; ++p) {
      std::uint8_t* out = writable(view_.codes(panel, p));
      for (std::size_t b = 0; b < view_.blocks(); ++b, out += block_bytes<Codec>) {
        for (std::size_t r = 0; r < panel_rows; ++r) {
          const std::size_t n = panel * panel_rows + r;
          const std::int8_t* row = n < q.rows ? q.code_row(p, n) : nullptr;
          for (std::size_t i = 0; i < quad_inputs; ++i) {
            std::int8_t levels[Codec::fold] = {};
            for (std::size_t f = 0; f < Codec::fold; ++f) {
              const std::size_t k = b * block_inputs<Codec> + quad_inputs * f + i;
              if (row == nullptr || k >= q.cols) continue;
              levels[f] = row[k];
              if (!encode.holds(row[k])) detail::fail_level(Codec::name(), row[k], p, n, k);
            }
            std::uint8_t bytes[Codec::bytes];
            encode(levels, bytes);
            for (std::size_t v = 0; v < Codec::bytes; ++v) out[v * vector_bytes + quad_inputs * r + i] = bytes[v];
          }
        }
      }
    }
  }

  const bool shared = q.granularity.kind == granularity::sharing::tensor;
  for (std::size_t panel = 0; panel < (shared ? 1 : view_.panels()); ++panel) {
    for (std::size_t p = 0; p < q.planes; ++p) {
      for (std::size_t g = 0; g < q.groups(); ++g) {
        for (std::size_t r = 0; r < panel_rows; ++r) {
          const std::size_t n = panel * panel_rows + r;
          if (!shared && n >= q.rows) continue;
          const float scale = q.scale(p, n, g);
          if (!detail::is_finite(scale)) detail::fail_scale(scale, " is not finite", p, n, g);
          detail::store_scale(writable(view_.scales(panel, p, g)) + r * bytes_of(format.scales), format.scales, scale);
          if (!detail::is_finite(view_.scale(p, n, g)))
            detail::fail_scale(
                scale,
                format.scales == scale_type::float16 ? " is too large for binary16" : " is too large for bfloat16", p,
                n, g);
          if (scale != 0 && view_.scale(p, n, g) == 0)
            detail::fail_scale(scale, " is too small for 16 bits and would become 0", p, n, g);
          if (format.has_zeros) writable(view_.zeros(panel, p, g))[r] = q.zero(p, n, g);
        }
      }
    }
  }
  if (!format.has_sums) return;
  for (std::size_t p = 0; p < q.planes; ++p) {
    for (std::size_t n = 0; n < q.rows; ++n) {
      for (std::size_t g = 0; g < q.groups(); ++g) {
        std::uint32_t sum = 0;  // modulo 2^32: depths beyond max_inputs are refused by the product
        for (std::size_t k = view_.group_begin(g); k < view_.group_begin(g + 1); ++k)
          sum += static_cast<std::uint32_t>(std::int32_t{q.code_row(p, n)[k]});
        writable(view_.sums(n / panel_rows, p, g))[n % panel_rows] = static_cast<std::int32_t>(sum);
      }
    }
  }
}

/// Codes and scales of a packed matrix, for inspection and repacking: exact but for scales that were stored in 16 bits.
template <codec Codec, class Tu = tu_tag>
quantized_matrix unpack(const packed_view<Codec>& w) {
  quantized_matrix q(w.planes(), w.rows(), w.cols(), w.format().granularity);
  const Codec codec = w.get_codec();  // a copy: the int8 that are written below could be w's
  if (w.has_zeros()) q.zeros.resize(q.scales.size());
  for (std::size_t p = 0; p < q.planes; ++p) {
    for (std::size_t n = 0; n < q.rows; ++n) {
      std::int8_t* row = q.code_row(p, n);
      const std::uint8_t* quad = w.codes(n / panel_rows, p) + quad_inputs * (n % panel_rows);
      for (std::size_t begin = 0; begin < q.cols; begin += block_inputs<Codec>, quad += block_bytes<Codec>) {
        for (std::size_t i = 0; i < quad_inputs; ++i) {
          std::uint8_t bytes[Codec::bytes];
          for (std::size_t v = 0; v < Codec::bytes; ++v) bytes[v] = quad[v * vector_bytes + i];
          for (std::size_t f = 0; f < Codec::fold; ++f)
            if (const std::size_t k = begin + quad_inputs * f + i; k < q.cols) row[k] = codec.decode(bytes, f);
        }
      }
    }
    for (std::size_t n = 0; n < q.scale_rows(); ++n) {
      for (std::size_t g = 0; g < q.groups(); ++g) {
        const std::size_t at = q.scale_index(p, n, g);
        // Per tensor with no rows at all still has one scale; its storage has a row of 16.
        q.scales[at] = w.scale(p, n, g);
        if (w.has_zeros()) q.zeros[at] = w.zero(p, n, g);
      }
    }
  }
  return q;
}
template <codec Codec, class Tu = tu_tag>
quantized_matrix unpack(const packed_matrix<Codec>& w) {
  return unpack<Codec, Tu>(w.view());
}

namespace detail::inline TERN_TU {

inline void check_trits(const quantized_matrix& q, std::size_t most_planes) {
  q.check();
  if (q.planes > most_planes)
    fail<shape_error>({"ternary_matrix: one plane, not ", q.planes, "; use multi_ternary_matrix"});
  if (!q.zeros.empty()) fail<shape_error>({"ternary_matrix: trits have no zero points"});
  for (std::size_t at = 0; at < q.codes.size(); ++at)
    if (q.codes[at] < -1 || q.codes[at] > 1)
      fail<range_error>({"ternary_matrix: code ", static_cast<int>(q.codes[at]), " at plane ", at / (q.rows * q.cols),
                         ", row ", at / q.cols % q.rows, ", column ", at % q.cols, " is not a trit"});
}

}  // namespace detail::inline TERN_TU

/// One ternary plane: levels -1, 0, +1, one scale (gamma) per tensor, channel or group.
template <codec Codec = i2>
class ternary_matrix : public packed_matrix<Codec> {
 public:
  TERN_INLINE ternary_matrix() = default;
  TERN_INLINE_COPIES(ternary_matrix);
  /// Errors: shape_error when q has more than one plane or zero points; range_error when a code is not a trit.
  template <class Tu = tu_tag>
  explicit ternary_matrix(const quantized_matrix& q, const pack_options& options = {}, Tu = {})
      : packed_matrix<Codec>((check(q, 1), q), options) {}

  /// Copies packed bytes, from a file for instance.
  /// Errors: shape_error when there is more than one plane, or zero points.
  TERN_INLINE explicit ternary_matrix(const packed_view<Codec>& w) : packed_matrix<Codec>(w) {
    if (w.planes() != 1) detail::fail<shape_error>({"ternary_matrix: one plane, not ", w.planes()});
    if (w.has_zeros()) detail::fail<shape_error>({"ternary_matrix: trits have no zero points"});
  }

  /// Checks that q holds trits in at most `most_planes` planes, without zero points.
  TERN_INLINE static void check(const quantized_matrix& q, std::size_t most_planes) {
    detail::check_trits(q, most_planes);
  }
};

/// A sum of ternary planes with free scales: W ~ sum_p gamma_p T_p, each gamma per tensor, channel or group.
template <codec Codec = i2>
class multi_ternary_matrix : public packed_matrix<Codec> {
 public:
  TERN_INLINE multi_ternary_matrix() = default;
  TERN_INLINE_COPIES(multi_ternary_matrix);
  /// Errors: range_error when a code is not a trit; shape_error when q has zero points.
  template <class Tu = tu_tag>
  explicit multi_ternary_matrix(const quantized_matrix& q, const pack_options& options = {}, Tu = {})
      : packed_matrix<Codec>((ternary_matrix<Codec>::check(q, q.planes), q), options) {}
  /// Copies packed bytes, from a file for instance. Errors: shape_error when there are zero points.
  TERN_INLINE explicit multi_ternary_matrix(const packed_view<Codec>& w) : packed_matrix<Codec>(w) {
    if (w.has_zeros()) detail::fail<shape_error>({"multi_ternary_matrix: trits have no zero points"});
  }
};

/// Planes whose gammas are small integers times one step: one product, one scale per tensor, channel or group. For speed
/// in n4 (two planes) and n6 (three), for size in b3x2 and b3x3.
template <codec Codec = n4>
class trit_code_matrix : public packed_matrix<Codec> {
 public:
  TERN_INLINE trit_code_matrix() = default;
  TERN_INLINE_COPIES(trit_code_matrix);
  /// Errors: range_error when the codec has another number of planes or a code is not a level; shape_error on zero points.
  template <class Tu = tu_tag>
  explicit trit_code_matrix(const quantized_trit_code& q, const pack_options& options = {}, Tu = {})
      : packed_matrix<Codec>((check(q), q), options, Codec(q.code)) {}
  /// Copies packed bytes, from a file for instance.
  /// Errors: shape_error when there is more than one plane of levels, or zero points; range_error when the table of n4 is not
  ///         a plane code's.
  TERN_INLINE explicit trit_code_matrix(const packed_view<Codec>& w) : packed_matrix<Codec>(w) {
    if (w.planes() != 1) detail::fail<shape_error>({"trit_code_matrix: one plane of levels, not ", w.planes()});
    if (w.has_zeros()) detail::fail<shape_error>({"trit_code_matrix: plane codes have no zero points"});
    if constexpr (std::same_as<Codec, n4>) {
      const std::span<const std::int8_t> table = w.get_codec().state();
      const trit_code code{{table[1], table[4]}};  // the levels of the trits (1, 0) and (0, 1)
      if (w.rows() != 0 && (!code.valid() || !(n4(code) == w.get_codec())))
        detail::fail<range_error>({"trit_code_matrix: the codec's table is not a plane code's"});
    }
  }

 private:
  TERN_INLINE static void check(const quantized_trit_code& q) {
    if (q.planes != 1) detail::fail<shape_error>({"trit_code_matrix: one plane of levels, not ", q.planes});
    if (!q.zeros.empty()) detail::fail<shape_error>({"trit_code_matrix: plane codes have no zero points"});
  }
};

/// Four-bit weights, -8 .. 7, with or without zero points.
class int4_matrix : public packed_matrix<n4> {
 public:
  TERN_INLINE int4_matrix() = default;
  TERN_INLINE_COPIES(int4_matrix);
  /// Errors: shape_error when q has more than one plane; range_error when a code is not within -8 .. 7.
  template <class Tu = tu_tag>
  explicit int4_matrix(const quantized_matrix& q, const pack_options& options = {}, Tu = {})
      : packed_matrix<n4>((check(q.planes), q), options) {}
  /// Copies packed bytes, from a file for instance.
  /// Errors: shape_error when there is more than one plane; range_error when the table of the codec is not int4's.
  TERN_INLINE explicit int4_matrix(const packed_view<n4>& w) : packed_matrix<n4>(w) {
    check(w.planes());
    if (!(w.get_codec() == n4())) detail::fail<range_error>({"int4_matrix: the codec's table is not int4's"});
  }

 private:
  TERN_INLINE static void check(std::size_t planes) {
    if (planes != 1) detail::fail<shape_error>({"int4_matrix: one plane, not ", planes});
  }
};

/// Eight-bit weights, with or without zero points.
class int8_matrix : public packed_matrix<i8> {
 public:
  TERN_INLINE int8_matrix() = default;
  TERN_INLINE_COPIES(int8_matrix);
  /// Errors: shape_error when q has more than one plane.
  template <class Tu = tu_tag>
  explicit int8_matrix(const quantized_matrix& q, const pack_options& options = {}, Tu = {})
      : packed_matrix<i8>((check(q), q), options) {}
  /// Copies packed bytes, from a file for instance. Errors: shape_error when there is more than one plane.
  TERN_INLINE explicit int8_matrix(const packed_view<i8>& w) : packed_matrix<i8>(w) {
    if (w.planes() != 1) detail::fail<shape_error>({"int8_matrix: one plane, not ", w.planes()});
  }

 private:
  TERN_INLINE static void check(const quantized_matrix& q) {
    if (q.planes != 1) detail::fail<shape_error>({"int8_matrix: one plane, not ", q.planes});
  }
};

}  // namespace tern::inline v0_1
