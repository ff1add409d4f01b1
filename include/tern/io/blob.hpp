// SPDX-License-Identifier: MIT
/// A packed matrix or a layer as bytes that describe themselves: save, load, view in place.
///
/// A blob is a header of 192 bytes, the storage of the packed matrix as it is (packed_matrix.hpp), and the bias.
/// Integers are little-endian. The layout is a promise; another one would be another version.
///
/// | offset | type    | content                                                                                   |
/// |--------|---------|-------------------------------------------------------------------------------------------|
/// | 0      | u8[8]   | magic: 89 54 52 4E 0D 0A 1A 0A; as in PNG, a transfer as text or in 7 bits damages it     |
/// | 8      | u32     | version of this layout: 1                                                                 |
/// | 12     | u32     | bytes of the header: 192                                                                  |
/// | 16     | u64     | bytes of the whole blob, a multiple of 64                                                 |
/// | 24     | u64     | rows of W: outputs                                                                        |
/// | 32     | u64     | columns of W: inputs                                                                      |
/// | 40     | u64     | planes, at least 1                                                                        |
/// | 48     | u64     | inputs of a group; 0 unless scales are per group                                          |
/// | 56     | u8      | scales are per: 0 tensor, 1 row, 2 group                                                  |
/// | 57     | u8      | type of the scales: 0 float32, 1 float16, 2 bfloat16                                      |
/// | 58     | u8      | 1 where the storage has zero points, else 0                                               |
/// | 59     | u8      | 1 where the storage has sums of levels, else 0                                            |
/// | 60     | u32     | bytes of the codec's state: 0 for i2, b3, i8; at most 16                                  |
/// | 64     | u8[32]  | name of the codec: 1 to 32 of the ASCII characters 21 to 7E, zeros behind                 |
/// | 96     | i8[16]  | state of the codec, zeros behind                                                          |
/// | 112    | u64     | offset of the storage: 192                                                                |
/// | 120    | u64     | bytes of the storage, a multiple of 64                                                    |
/// | 128    | u64     | offset of the bias: the end of the storage                                                |
/// | 136    | u64     | count of the bias, float32: as many as rows, or 0 for none                                |
/// | 144    | u32     | 1 for an LLM.int8() layer, else 0                                                         |
/// | 148    | f32     | its threshold, at least 0; 0 for anything else                                            |
/// | 152    | u8[32]  | zeros                                                                                     |
/// | 184    | u32     | CRC-32 of the bytes from 192 to the end: storage, bias, and the zeros that pad it to 64   |
/// | 188    | u32     | CRC-32 of the bytes from 0 to 187                                                         |
///
/// Every byte follows from what was saved, so equal matrices give equal blobs. All reading functions check the header
/// in full, before they allocate or touch anything else; whatever the bytes are, the worst is a format_error.
///
///     const tern::aligned_bytes blob = tern::save(layer);
///     const auto same_layer = tern::load<tern::bit_linear>(blob);      // checks the checksum, copies
///     const auto [w, bias] = tern::view_blob<tern::i2>(blob);          // in place: nothing scanned, nothing copied
///     tern::matmul(x, w, y, bias);
#pragma once

#include <cstddef>  // offsetof
#include <vector>

#include <tern/io/crc32.hpp>
#include <tern/type/packed_matrix.hpp>

namespace tern::inline v0_1 {

template <class Weights>
class linear;
class llm_int8_linear;

/// Weights and bias in place.
template <codec Codec>
struct blob_view {
  packed_view<Codec> weights;   // [N x K]
  std::span<const float> bias;  // [N] or empty
};

/// What a blob holds, to choose a type by.
struct blob_info {
  packed_format format;
  std::size_t bias_count = 0;  // N, or 0 for no bias
  std::size_t storage_bytes = 0;
  std::size_t blob_bytes = 0;
  bool is_llm_int8 = false;  // an LLM.int8() layer, and its threshold
  float outlier_threshold = 0;
  std::uint32_t payload_crc = 0;
  std::uint32_t state_bytes = 0;
  std::int8_t state[16] = {};
  char codec_name[33] = {};

  // Both point into this object, so not into a temporary one.
  TERN_INLINE std::string_view codec() const& { return codec_name; }
  TERN_INLINE std::span<const std::int8_t> codec_state() const& { return {state, state_bytes}; }
  void codec() const&& = delete;
  void codec_state() const&& = delete;
};

namespace detail::inline TERN_TU {

/// The header as it stands in the file.
struct blob_header {
  std::uint8_t magic[8] = {0x89, 'T', 'R', 'N', '\r', '\n', 0x1A, '\n'};
  std::uint32_t version = 1;
  std::uint32_t header_bytes = 192;
  std::uint64_t blob_bytes = 0;
  std::uint64_t rows = 0, cols = 0, planes = 0, group = 0;
  std::uint8_t sharing = 0, scales = 0, has_zeros = 0, has_sums = 0;
  std::uint32_t state_bytes = 0;
  char codec[32] = {};
  std::int8_t state[16] = {};
  std::uint64_t storage_offset = 192, storage_bytes = 0;
  std::uint64_t bias_offset = 0, bias_count = 0;
  std::uint32_t is_llm_int8 = 0;
  float outlier_threshold = 0;
  std::uint8_t zeros[32] = {};
  std::uint32_t payload_crc = 0;
  std::uint32_t header_crc = 0;
};
static_assert(sizeof(blob_header) == 192 && sizeof(blob_header) % storage_alignment == 0 &&
              std::is_trivially_copyable_v<blob_header>);
static_assert(offsetof(blob_header, sharing) == 56 && offsetof(blob_header, codec) == 64 &&
              offsetof(blob_header, storage_offset) == 112 && offsetof(blob_header, is_llm_int8) == 144 &&
              offsetof(blob_header, payload_crc) == 184 && offsetof(blob_header, header_crc) == 188);
static_assert(static_cast<int>(granularity::sharing::tensor) == 0 && static_cast<int>(granularity::sharing::row) == 1 &&
              static_cast<int>(granularity::sharing::group) == 2 && static_cast<int>(scale_type::float32) == 0 &&
              static_cast<int>(scale_type::float16) == 1 && static_cast<int>(scale_type::bfloat16) == 2);

inline std::uint32_t header_crc(const blob_header& h) {
  return crc32(std::as_bytes(std::span(&h, 1)).first(offsetof(blob_header, header_crc)));
}

constexpr bool all_zero(const auto* values, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (values[i] != std::remove_cvref_t<decltype(*values)>{}) return false;
  return true;
}

/// Whether a name is 1 to 32 visible ASCII characters.
constexpr bool is_codec_name(std::string_view name) {
  for (const char c : name)
    if (c < 0x21 || c > 0x7E) return false;
  return !name.empty() && name.size() <= sizeof(blob_header::codec);
}

/// A codec that is more than its type: the levels it decodes to are in a state, which goes to the header.
template <class Codec>
concept codec_with_state = requires(const Codec& c, std::span<const std::int8_t> state) {
  { Codec::state_size } -> std::convertible_to<std::size_t>;
  { c.state() } -> std::convertible_to<std::span<const std::int8_t>>;
  { Codec::from_state(state) } -> std::same_as<Codec>;  // range_error where there is no such state
};

/// Bytes of the state of a codec, 0 for an empty class.
template <class Codec>
constexpr std::size_t state_bytes() {
  static_assert(is_codec_name(Codec::name()), "a blob takes codec names of 1 to 32 visible ASCII characters");
  if constexpr (std::is_empty_v<Codec>) {
    return 0;
  } else {
    static_assert(codec_with_state<Codec>,
                  "a codec with members is saved by state_size, state() and from_state(), which it lacks");
    static_assert(Codec::state_size >= 1 && Codec::state_size <= sizeof(blob_header::state),
                  "a codec's state is 1 to 16 bytes");
    return Codec::state_size;
  }
}

/// The codec of a codec, of weights, of a layer.
template <class T>
struct codec_in {
  using type = T;
};
template <class T>
  requires requires { typename T::codec_type; }
struct codec_in<T> {
  using type = typename T::codec_type;
};
template <class Weights>
struct codec_in<linear<Weights>> : codec_in<Weights> {};
template <>
struct codec_in<llm_int8_linear> : codec_in<i8> {};
template <class T>
using codec_of = typename codec_in<T>::type;

template <codec Codec>
blob_view<Codec> contents(const packed_view<Codec>& w) {
  return {w, {}};
}
template <codec Codec>
blob_view<Codec> contents(const packed_matrix<Codec>& w) {
  return {w.view(), {}};
}
template <codec Codec>
const blob_view<Codec>& contents(const blob_view<Codec>& parts) {
  return parts;
}
template <class Weights>
blob_view<codec_of<Weights>> contents(const linear<Weights>& layer) {
  return {layer.weights().view(), layer.bias()};
}

template <std::same_as<llm_int8_linear> Layer>
blob_view<i8> contents(const Layer& layer) {
  return {layer.weights().view(), layer.bias()};
}

/// What a header says of an LLM.int8() layer, and of anything else.
template <class X>
void set_outliers(const X& x, auto& header) {
  if constexpr (std::same_as<X, llm_int8_linear>) {
    header.is_llm_int8 = 1;
    header.outlier_threshold = x.threshold();
  }
}

/// Bytes of the bias with its padding.
template <codec Codec>
std::size_t padded_bias_bytes(const blob_view<Codec>& x) {
  return round_up(x.bias.size_bytes(), storage_alignment);
}

/// Errors: shape_error when a bias does not go with the weights; a layer has checked its own.
template <codec Codec>
void check_bias(const blob_view<Codec>& x) {
  if (!x.bias.empty() && x.bias.size() != x.weights.rows())
    fail<shape_error>({"save: ", x.bias.size(), " biases for ", x.weights.rows(), " outputs"});
}

/// Hands the bytes of the blob of `source`, whose contents are x, to sink(span), part by part.
template <class Source, codec Codec, class Sink>
void write_blob(const Source& source, const blob_view<Codec>& x, Sink&& sink) {
  static constexpr std::byte zeros[storage_alignment] = {};
  const std::span<const std::byte> storage = x.weights.storage(), bias = std::as_bytes(x.bias);
  const std::span<const std::byte> padding(zeros, padded_bias_bytes(x) - bias.size());
  const packed_format& format = x.weights.format();

  blob_header h;
  h.rows = format.rows;
  h.cols = format.cols;
  h.planes = format.planes;
  // A group beside another kind of sharing means nothing, and equal matrices give equal blobs.
  h.group = format.granularity.kind == granularity::sharing::group ? format.granularity.group : 0;
  h.sharing = static_cast<std::uint8_t>(format.granularity.kind);
  h.scales = static_cast<std::uint8_t>(format.scales);
  h.has_zeros = format.has_zeros;
  h.has_sums = format.has_sums;
  h.state_bytes = state_bytes<Codec>();
  constexpr std::string_view name = Codec::name();
  std::memcpy(h.codec, name.data(), name.size());
  if constexpr (state_bytes<Codec>() != 0) {
    const std::span<const std::int8_t> state = x.weights.get_codec().state();
    std::memcpy(h.state, state.data(), state_bytes<Codec>());
  }
  h.storage_bytes = storage.size();
  h.bias_offset = h.storage_offset + h.storage_bytes;
  h.bias_count = x.bias.size();
  h.blob_bytes = h.bias_offset + bias.size() + padding.size();
  set_outliers(source, h);
  h.payload_crc = crc32(padding, crc32(bias, crc32(storage)));
  h.header_crc = header_crc(h);

  sink(std::as_bytes(std::span(&h, 1)));
  sink(storage);
  sink(bias);
  sink(padding);
}

/// What the first 192 bytes say, once everything in them that needs no codec is checked.
inline blob_info read_header(std::span<const std::byte> bytes) {
  const blob_header want;
  blob_header h;
  // Magic and version come first: they tell a file of another kind from a damaged one.
  const std::size_t begin = lesser(bytes.size(), sizeof h.magic);
  if (begin == 0 || std::memcmp(bytes.data(), want.magic, begin) != 0)
    fail<format_error>({"blob: ", bytes.size(), " bytes that do not begin as a blob of tern does"});
  if (bytes.size() < sizeof h)
    fail<format_error>({"blob: cut to ", bytes.size(), " bytes, fewer than the ", sizeof h, " of the header"});
  std::memcpy(&h, bytes.data(), sizeof h);
  if (h.version != want.version)
    fail<format_error>({"blob: version ", h.version, " of the layout; this program reads version ", want.version});
  if (const std::uint32_t crc = header_crc(h); crc != h.header_crc)
    fail<format_error>({"blob: the header is damaged: its checksum is ", crc, ", not ", h.header_crc});

  // From here on the header is what somebody wrote, who may have been careless or hostile.
  if (h.header_bytes != want.header_bytes)
    fail<format_error>({"blob: a header of ", h.header_bytes, " bytes, not ", want.header_bytes});
  for (const std::uint64_t size : {h.blob_bytes, h.rows, h.cols, h.planes, h.group})
    if (size > static_cast<std::size_t>(-1) / 2) fail<format_error>({"blob: size ", size, " does not fit memory"});
  if (h.sharing > static_cast<std::uint8_t>(granularity::sharing::group))
    fail<format_error>({"blob: granularity ", h.sharing, " is none of 0, 1 and 2"});
  if (h.scales > static_cast<std::uint8_t>(scale_type::bfloat16))
    fail<format_error>({"blob: scale type ", h.scales, " is none of 0, 1 and 2"});
  if (h.has_zeros > 1 || h.has_sums > 1)
    fail<format_error>({"blob: flags ", h.has_zeros, " and ", h.has_sums, " are not 0 or 1"});
  if (static_cast<granularity::sharing>(h.sharing) != granularity::sharing::group && h.group != 0)
    fail<format_error>({"blob: groups of ", h.group, " inputs in a matrix whose scales are not per group"});
  if (!all_zero(h.zeros, sizeof h.zeros)) fail<format_error>({"blob: bytes 152 to 183 must be 0"});
  if (h.is_llm_int8 > 1 || !(h.outlier_threshold >= 0) || (h.is_llm_int8 == 0 && h.outlier_threshold != 0))
    fail<format_error>({"blob: flag ", h.is_llm_int8, " and threshold ", h.outlier_threshold, " of LLM.int8()"});

  blob_info info;
  std::memcpy(info.codec_name, h.codec, sizeof h.codec);  // and a zero behind
  const std::size_t name_size = info.codec().size();
  if (!is_codec_name(info.codec()) || !all_zero(h.codec + name_size, sizeof h.codec - name_size))
    fail<format_error>({"blob: the name of the codec is not 1 to 32 visible ASCII characters"});
  if (h.state_bytes > sizeof h.state || !all_zero(h.state + h.state_bytes, sizeof h.state - h.state_bytes))
    fail<format_error>({"blob: ", h.state_bytes, " bytes of codec state, of 16 that must be 0 behind it"});
  if (h.is_llm_int8 != 0 && info.codec() != i8::name())
    fail<format_error>({"blob: an LLM.int8() layer in codec ", info.codec()});
  std::memcpy(info.state, h.state, sizeof h.state);
  info.state_bytes = h.state_bytes;

  // The sections follow each other and end with the blob. Each subtraction is of something that was found to be no
  // larger.
  if (h.storage_offset != want.storage_offset || h.storage_bytes % storage_alignment != 0 ||
      h.blob_bytes < h.storage_offset || h.storage_bytes > h.blob_bytes - h.storage_offset)
    fail<format_error>(
        {"blob: storage of ", h.storage_bytes, " bytes from ", h.storage_offset, " in a blob of ", h.blob_bytes});
  const std::uint64_t left = h.blob_bytes - h.storage_offset - h.storage_bytes;
  if (h.bias_count != 0 && h.bias_count != h.rows)
    fail<format_error>({"blob: ", h.bias_count, " biases for ", h.rows, " outputs"});
  if (h.bias_offset != h.storage_offset + h.storage_bytes || h.bias_count > left / sizeof(float) ||
      (h.bias_count * sizeof(float) + storage_alignment - 1) / storage_alignment * storage_alignment != left)
    fail<format_error>({"blob: ", h.bias_count, " biases from ", h.bias_offset, " in a blob of ", h.blob_bytes});

  info.format.rows = static_cast<std::size_t>(h.rows);
  info.format.cols = static_cast<std::size_t>(h.cols);
  info.format.planes = static_cast<std::size_t>(h.planes);
  info.format.granularity = {static_cast<granularity::sharing>(h.sharing), static_cast<std::size_t>(h.group)};
  info.format.scales = static_cast<scale_type>(h.scales);
  info.format.has_zeros = h.has_zeros != 0;
  info.format.has_sums = h.has_sums != 0;
  info.bias_count = static_cast<std::size_t>(h.bias_count);
  info.storage_bytes = static_cast<std::size_t>(h.storage_bytes);
  info.blob_bytes = static_cast<std::size_t>(h.blob_bytes);
  info.is_llm_int8 = h.is_llm_int8 != 0;
  info.outlier_threshold = h.outlier_threshold;
  info.payload_crc = h.payload_crc;
  return info;
}

/// Errors: format_error when there are not as many bytes as the header says.
inline void check_size(const blob_info& info, std::size_t size) {
  if (info.blob_bytes != size)
    fail<format_error>(
        {"blob: ", info.blob_bytes, " bytes are ", size < info.blob_bytes ? "cut" : "grown", " to ", size});
}

/// f(), with any error of the library as a format_error: what a file's contents make a constructor refuse is wrong with
/// the file.
template <class F>
auto as_format_error(F&& f) {
#if defined(__cpp_exceptions)
  try {
    return f();
  } catch (const error& e) {
    fail<format_error>({"blob: ", e.what()});
  }
#else
  return f();
#endif
}

template <class Codec>
Codec codec_from(const blob_info& info) {
  if (info.codec() != Codec::name()) fail<format_error>({"blob: holds codec ", info.codec(), ", not ", Codec::name()});
  if (info.state_bytes != state_bytes<Codec>())
    fail<format_error>(
        {"blob: codec ", Codec::name(), " has ", state_bytes<Codec>(), " bytes of state, not ", info.state_bytes});
  if constexpr (state_bytes<Codec>() == 0)
    return Codec{};
  else
    return detail::as_format_error([&] { return Codec::from_state(info.codec_state()); });
}

inline bool is_aligned(std::span<const std::byte> bytes) {
  return reinterpret_cast<std::uintptr_t>(bytes.data()) % storage_alignment == 0;
}

}  // namespace detail::inline TERN_TU

inline namespace TERN_TU {

/// What can be saved: a packed view or matrix of any codec, a layer, or a blob_view of both its parts.
template <class X>
concept blob_source = requires(const X& x) {
  detail::contents(x);
};

/// Bytes of the blob of x, a multiple of 64.
template <blob_source X>
std::size_t blob_size(const X& x) {
  const auto& parts = detail::contents(x);
  return sizeof(detail::blob_header) +
         detail::checked_sum(parts.weights.storage_bytes(), detail::padded_bias_bytes(parts));
}

/// Writes the blob of x.
///
/// @param out  [blob_size(x)] bytes, any alignment; must not overlap x
///
/// Cost:   reads the storage twice, for its checksum and to copy it.
/// Errors: shape_error when out has another size, or a blob_view's bias another size than its weights have rows;
///         nothing is then written.
template <blob_source X>
void save(const X& x, std::span<std::byte> out) {
  const auto& parts = detail::contents(x);
  const std::size_t size = tern::blob_size(parts);
  if (out.size() != size) detail::fail<shape_error>({"save: a blob of ", size, " bytes does not go into ", out.size()});
  detail::check_bias(parts);
  std::byte* at = out.data();
  detail::write_blob(x, parts, [&](std::span<const std::byte> part) {
    if (!part.empty()) std::memcpy(at, part.data(), part.size());
    at += part.size();
  });
}

/// The blob of x.
template <blob_source X>
aligned_bytes save(const X& x) {
  aligned_bytes out(tern::blob_size(x));
  tern::save(x, out);
  return out;
}

/// What a blob holds. Reads the header only.
///
/// @param bytes  a whole blob, any alignment
///
/// Errors: format_error for a header that is damaged or contradicts itself, and when bytes has another size than it
/// says.
inline blob_info read_blob_info(std::span<const std::byte> bytes) {
  const blob_info info = detail::read_header(bytes);
  detail::check_size(info, bytes.size());
  return info;
}

/// Checks what views take on trust: the checksum of storage and bias, and the zeros behind the bias.
///
/// Cost:   one pass over the bytes.
/// Errors: format_error
inline void verify_payload(std::span<const std::byte> bytes) {
  const blob_info info = tern::read_blob_info(bytes);
  const std::uint32_t crc = detail::crc32(bytes.subspan(sizeof(detail::blob_header)));
  if (crc != info.payload_crc)
    detail::fail<format_error>({"blob: the contents are damaged: their checksum is ", crc, ", not ", info.payload_crc});
  const std::size_t end = sizeof(detail::blob_header) + info.storage_bytes + info.bias_count * sizeof(float);
  if (!detail::all_zero(bytes.data() + end, bytes.size() - end))
    detail::fail<format_error>({"blob: the ", bytes.size() - end, " bytes behind the bias must be 0"});
}

/// Weights and bias of a blob in place, in a mapped file for instance. The header is checked; storage and bias are
/// neither scanned nor copied, and stay the owner's.
///
/// @tparam T     the codec, or a matrix or layer type that has it: i2, ternary_matrix<b3>, int8_linear
/// @param bytes  a whole blob, aligned to 64
///
/// Cost:   O(1).
/// Errors: shape_error when bytes is not aligned; format_error when it is no blob, of another codec, or when its sizes
///         do not follow from its format.
template <class T>
blob_view<detail::codec_of<T>> view_blob(std::span<const std::byte> bytes) {
  using codec_type = detail::codec_of<T>;
  const blob_info info = tern::read_blob_info(bytes);
  const codec_type codec = detail::codec_from<codec_type>(info);
  if (!detail::is_aligned(bytes))
    detail::fail<shape_error>({"view_blob: bytes must be aligned to ", storage_alignment, "; load() takes any"});
  const std::span<const std::byte> payload = bytes.subspan(sizeof(detail::blob_header));
  return {detail::as_format_error(
              [&] { return packed_view<codec_type>(payload.first(info.storage_bytes), info.format, codec); }),
          {reinterpret_cast<const float*>(payload.data() + info.storage_bytes), info.bias_count}};
}

/// A matrix or layer of its own from a blob, checksums checked.
///
/// @tparam T     ternary_matrix<i2>, multi_ternary_matrix<b3>, int8_matrix, packed_matrix<Codec>, linear<Weights>,
///               llm_int8_linear, ...
/// @param bytes  a whole blob, any alignment
///
/// Cost:   reads the bytes twice, for the checksum and to copy them; once more where they are not aligned to 64.
/// Errors: format_error when bytes is no blob, is damaged, holds another codec, or what T refuses: more than one plane
///         for a ternary_matrix, or a bias for anything but a layer.
///
///     const auto layer = tern::load<tern::bit_linear>(tern::save(other_layer));      // gives what other_layer gives
template <class T>
T load(std::span<const std::byte> bytes) {
  if (!detail::is_aligned(bytes)) {
    aligned_bytes aligned(bytes.size());
    if (!bytes.empty()) std::memcpy(aligned.data(), bytes.data(), bytes.size());
    return tern::load<T>(aligned);
  }
  const auto parts = tern::view_blob<T>(bytes);
  tern::verify_payload(bytes);
  const blob_info info = tern::read_blob_info(bytes);
  if (info.is_llm_int8 != std::same_as<T, llm_int8_linear>)
    detail::fail<format_error>({"blob: holds ", info.is_llm_int8 ? "an" : "no", " LLM.int8() layer"});
  if constexpr (std::same_as<T, llm_int8_linear>) {
    return detail::as_format_error([&] {
      return T(int8_matrix(parts.weights), std::vector<float>(parts.bias.begin(), parts.bias.end()),
               {.threshold = info.outlier_threshold});
    });
  } else if constexpr (requires { typename T::weights_type; }) {
    return detail::as_format_error([&] {
      return T(typename T::weights_type(parts.weights), std::vector<float>(parts.bias.begin(), parts.bias.end()));
    });
  } else {
    if (!parts.bias.empty())
      detail::fail<format_error>({"blob: holds ", parts.bias.size(), " biases, which need a layer to be loaded into"});
    return detail::as_format_error([&] { return T(parts.weights); });
  }
}

}  // namespace TERN_TU
}  // namespace tern::inline v0_1
