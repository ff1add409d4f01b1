// SPDX-License-Identifier: MIT
/// A packed matrix or a layer as bytes that describe themselves: save, load, view in place. blob_header.hpp has the layout.
///
///     const tern::aligned_bytes blob = tern::save(layer);
///     const auto same_layer = tern::load<tern::bit_linear>(blob);      // checks the checksum, copies
///     const auto [w, bias] = tern::view_blob<tern::i2>(blob);          // in place: nothing scanned, nothing copied
///     tern::matmul(x, w, y, bias);
#pragma once

#include <vector>

#include <tern/io/blob_header.hpp>

namespace tern::inline v0_1 {

template <class Weights, class Activations>
class linear;
class llm_int8_linear;

/// Weights and bias in place.
template <codec Codec>
struct blob_view {
  packed_view<Codec> weights;   // [N x K]
  std::span<const float> bias;  // [N] or empty
};

namespace detail::inline TERN_TU {

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
template <class Weights, class Activations>
struct codec_in<linear<Weights, Activations>> : codec_in<Weights> {};
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
template <class Weights, class Activations>
blob_view<codec_of<Weights>> contents(const linear<Weights, Activations>& layer) {
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

/// f(w) for what an LLM.int8() layer keeps beside its codes, where it does: a packed view. f must be generic: any other
/// would be compiled for every source, and where it writes a blob, without end.
template <class X>
void with_remainder(const X& x, auto&& f) {
  if constexpr (std::same_as<X, llm_int8_linear>)
    if (x.remainder().cols() != 0) f(x.remainder().view());
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
  h.payload_crc = crc32(padding, crc32(bias, crc32(storage)));
  set_outliers(source, h);
  with_remainder(source, [&](const auto& w) {
    h.version = 2;
    detail::write_blob(w, contents(w), [&](std::span<const std::byte> part) {
      h.payload_crc = crc32(part, h.payload_crc);
      h.remainder_bytes += part.size();
    });
  });
  h.blob_bytes = h.bias_offset + bias.size() + padding.size() + h.remainder_bytes;
  h.header_crc = header_crc(h);

  sink(std::as_bytes(std::span(&h, 1)));
  sink(storage);
  sink(bias);
  sink(padding);
  with_remainder(source, [&](const auto& w) { detail::write_blob(w, contents(w), sink); });
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
  std::size_t size = sizeof(detail::blob_header) +
                     detail::checked_sum(parts.weights.storage_bytes(), detail::padded_bias_bytes(parts));
  detail::with_remainder(x, [&](const auto& w) { size = detail::checked_sum(size, tern::blob_size(w)); });
  return size;
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
  const std::size_t size = tern::blob_size(x);
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
  const std::size_t padding = bytes.size() - info.remainder_bytes - end;
  if (!detail::all_zero(bytes.data() + end, padding))
    detail::fail<format_error>({"blob: the ", padding, " bytes behind the bias must be 0"});
}

/// Weights and bias of a blob in place, in a mapped file for instance. The header is checked; storage and bias are
/// neither scanned nor copied, and stay the owner's. The remainder of an LLM.int8() layer, where it has one, is another
/// blob: view_blob<i8>(bytes.last(info.remainder_bytes)), with info = read_blob_info(bytes).
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

template <class T>
T load(std::span<const std::byte> bytes);

}  // namespace TERN_TU

namespace detail::inline TERN_TU {

/// The LLM.int8() layer of a blob whose header is checked.
/// @param weights  of the blob, in place
template <std::same_as<llm_int8_linear> Layer>
Layer llm_int8_layer(std::span<const std::byte> blob, const blob_info& info, const packed_view<i8>& weights,
                     std::vector<float> bias) {
  const bool has_remainder = info.remainder_bytes != 0;
  int8_matrix remainder;
  if (has_remainder) remainder = tern::load<int8_matrix>(blob.last(info.remainder_bytes));
  return detail::as_format_error([&] {
    return Layer(int8_matrix(weights), std::move(bias),
                 {.threshold = info.outlier_threshold, .outlier_bits = has_remainder ? 16u : 8u}, std::move(remainder));
  });
}

}  // namespace detail::inline TERN_TU

inline namespace TERN_TU {

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
    return detail::llm_int8_layer<T>(bytes, info, parts.weights,
                                     std::vector<float>(parts.bias.begin(), parts.bias.end()));
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
