// SPDX-License-Identifier: MIT
/// Quantised layers as tensors of a safetensors file that describe themselves. safetensors_layer.hpp reads them.
///
///     tern::layer_tensors out;
///     out.add("mlp.weight", layer);                                    // an any_linear: its blob, and what it needs
///     out.add(file.at("mlp.bias"));                                    // a tensor as it is; its bytes stay in place
///     tern::save_safetensors_file("model.tern.safetensors", out.tensors(), out.metadata());
///
/// A layer NAME is these tensors. The layout is a promise; another one would have another version.
///
/// | tensor                  | type, shape | content                                                                   |
/// |-------------------------|-------------|---------------------------------------------------------------------------|
/// | NAME                    | U8 [bytes]  | a blob of tern as it is, see blob_header.hpp: codes, scales, checksums;   |
/// |                         |             | a multiple of 64 bytes, which the writer puts at a multiple of 64         |
/// | NAME.input_scale        | F32 [K]     | the scales of an input_scaling; of a second one NAME.input_scale.1, ...   |
/// | NAME.outlier_columns    | I64 [count] | columns of a static LLM.int8() layer, ascending; only where it has any    |
/// | NAME.outlier_weights    | U8 [bytes]  | with them: a blob of the weights that they are multiplied by, codec "i8", |
/// |                         |             | [N x count], one or two planes                                            |
///
/// The metadata have a key "tern:NAME", whose value is a JSON object of these members, all of them unless it says "only",
/// and no others. But for the activations, the transforms and the names of tensors all of it follows from the blob: it is there
/// for people and for other programs, and a reader refuses what contradicts the blob.
///
/// | member            | value                                                                                        |
/// |-------------------|----------------------------------------------------------------------------------------------|
/// | "version"         | 1                                                                                            |
/// | "codec"           | "i2", "b3", "n4", "n6", "b3x2", "b3x3" or "i8"                                               |
/// | "shape"           | [outputs, inputs]                                                                            |
/// | "planes"          | ternary planes with a scale each; 1 for integers, and for a plane code, which has one scale  |
/// | "code"            | only of a plane code: its two or three integers, [9, 5, 3]                                   |
/// | "state"           | only of another codec with a state: its bytes; of n4 the 16 levels that nibbles index        |
/// | "granularity"     | what shares a scale: "tensor", "channel" (a row) or "group"                                  |
/// | "group"           | only of groups: inputs in one                                                                |
/// | "scales"          | how scales are stored: "F32", "F16" or "BF16"                                                |
/// | "zero_points"     | whether there are some                                                                       |
/// | "bias"            | whether the blob has it; else it is a tensor of its own, or there is none                    |
/// | "bits_per_weight" | any_linear::bits_per_weight(), to four decimals                                              |
/// | "activations"     | only where they are not int8: "float", as they are, with codecs "n4" and "i8"                |
/// | "transforms"      | of the inputs, as they are applied: {"hadamard": {"seed": 1, "block": 128}}, the rotation of |
/// |                   | hadamard.hpp, or {"input_scale": "NAME.input_scale"}, the tensor; 16 at most                 |
/// | "outlier_columns" | only of a static LLM.int8() layer: "NAME.outlier_columns", the tensor                        |
/// | "outlier_weights" | with it: "NAME.outlier_weights", the tensor                                                  |
/// | "outliers_from"   | only of an LLM.int8() layer: its threshold, or "inf"                                         |
#pragma once

#include <charconv>

#include <tern/any_linear.hpp>
#include <tern/io/safetensors_writer.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Before the name of a layer in the keys of the metadata.
inline constexpr std::string_view layer_key = "tern:";

/// Each takes memory by the number of inputs: more of them would let a small file ask for any amount.
inline constexpr std::size_t most_transforms = 16;

/// Whether files have float activations with such weights: each codec costs a reader its kernels.
template <class Codec>
inline constexpr bool stores_float_activations = std::same_as<Codec, i8> || std::same_as<Codec, n4>;

inline std::string json_list(const auto& numbers) {
  std::string out = "[";
  for (const auto number : numbers) {
    if (out.size() > 1) out += ", ";
    out += std::to_string(number);
  }
  out += ']';
  return out;
}

/// A number as JSON, the shortest that reads back as the same float; infinity as a string.
inline std::string json_number(float number) {
  char digits[32];
  if (!(number <= std::numeric_limits<float>::max())) return "\"inf\"";
  return std::string(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

/// To four decimals, by integers: the same text everywhere.
inline std::string json_decimal(double number) {
  const auto units = static_cast<std::uint64_t>(number * 1e4 + 0.5);
  const std::string fraction = std::to_string(10000 + units % 10000);
  return std::to_string(units / 10000) + "." + fraction.substr(1);
}

/// The members that a codec's state gives: the plane code, the state, or nothing.
inline std::string codec_members(const blob_info& info) {
  const std::span<const std::int8_t> state = info.codec_state();
  if (state.empty()) return "";
  const bool is_n4 = info.codec() == n4::name();
  const bool is_code = info.codec() == n6::name() || info.codec() == b3x2::name() || info.codec() == b3x3::name();
  trit_code code{};
  if (is_n4) code = {{state[1], state[4]}};  // the levels of the trits (1, 0) and (0, 1)
  if (is_code) code = {{state[0], state[1], state[2]}};
  if (is_code || (is_n4 && code.valid() && n4(code) == n4::from_state(state)))
    return "\"code\": " + json_list(std::span(code.c).first(code.planes())) + ", ";
  return "\"state\": " + json_list(state) + ", ";
}

inline std::string scale_name(std::string_view layer, std::size_t which) {
  std::string name(layer);
  name += ".input_scale";
  if (which != 0) name += '.', name += std::to_string(which);
  return name;
}
inline std::string columns_name(std::string_view layer) { return std::string(layer) + ".outlier_columns"; }
inline std::string column_weights_name(std::string_view layer) { return std::string(layer) + ".outlier_weights"; }

/// The value of the layer's key.
/// @param blob  layer.blob(), or the one that it was loaded from
inline std::string layer_description(std::string_view name, const any_linear& layer, const blob_info& blob) {
  const packed_format& format = blob.format;
  const auto kind = static_cast<std::size_t>(format.granularity.kind);
  static constexpr const char *sharing[] = {"tensor", "channel", "group"}, *scales[] = {"F32", "F16", "BF16"};
  std::string out = "{\"version\": 1, \"codec\": " + json_string(blob.codec());
  out += ", \"shape\": " + json_list(std::array{format.rows, format.cols});
  out += ", \"planes\": " + std::to_string(format.planes) + ", " + codec_members(blob);
  out += std::string("\"granularity\": \"") + sharing[kind];
  if (format.granularity.kind == granularity::sharing::group)
    out += "\", \"group\": " + std::to_string(format.granularity.group) + ", \"scales\": \"";
  else
    out += "\", \"scales\": \"";
  out += scales[static_cast<std::size_t>(format.scales)];
  out += std::string("\", \"zero_points\": ") + (format.has_zeros ? "true" : "false");
  out += std::string(", \"bias\": ") + (blob.bias_count != 0 ? "true" : "false");
  out += ", \"bits_per_weight\": " + json_decimal(layer.bits_per_weight());
  if (layer.has_float_activations()) out += ", \"activations\": \"float\"";
  out += ", \"transforms\": [";
  std::size_t scalings = 0;
  for (const any_transform& t : layer.transforms()) {
    if (&t != layer.transforms().data()) out += ", ";
    if (const auto* rotation = std::get_if<hadamard_rotation>(&t))
      out += "{\"hadamard\": {\"seed\": " + std::to_string(rotation->seed()) +
             ", \"block\": " + std::to_string(rotation->block()) + "}}";
    else
      out += "{\"input_scale\": " + json_string(scale_name(name, scalings++)) + "}";
  }
  out += "]";
  if (!layer.outlier_columns().empty()) {
    out += ", \"outlier_columns\": " + json_string(columns_name(name));
    out += ", \"outlier_weights\": " + json_string(column_weights_name(name));
  }
  if (blob.is_llm_int8) out += ", \"outliers_from\": " + json_number(blob.outlier_threshold);
  return out + "}";
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1 {

/// Collects tensors and metadata for save_safetensors(): of quantised layers, whose bytes it owns, and others.
class layer_tensors {
 public:
  TERN_INLINE layer_tensors() = default;
  TERN_INLINE layer_tensors(layer_tensors&&) noexcept = default;
  TERN_INLINE layer_tensors& operator=(layer_tensors&&) noexcept = default;
  TERN_INLINE ~layer_tensors() = default;

  /// @param name  the tensor whose place the layer takes
  /// @return bytes of all its tensors
  /// Cost:   a copy of the packed weights.
  /// Errors: range_error for more than 16 transforms, float activations with another codec than n4 and i8, or a policy of the
  ///         program's own for activations; shape_error for a layer that holds none.
  template <class Tu = tu_tag>
  std::size_t add(const std::string& name, const any_linear& layer) {
    if (layer.transforms().size() > detail::most_transforms)
      detail::fail<range_error>({"layer_tensors: layer ", detail::shown(name).c_str(), " has ",
                                 layer.transforms().size(), " transforms, of at most ", detail::most_transforms});
    if (layer.has_own_activations())
      detail::fail<range_error>(
          {"layer_tensors: layer ", detail::shown(name).c_str(),
           " has activations by a policy that is neither int8_activations nor float_activations"});
    const std::size_t first = owned_.size();
    aligned_bytes blob = layer.blob();
    const blob_info info = tern::read_blob_info(blob);
    if (layer.has_float_activations() && info.codec() != i8::name() && info.codec() != n4::name())
      detail::fail<range_error>({"layer_tensors: layer ", detail::shown(name).c_str(),
                                 " has float activations with codec ", info.codec(), ", not n4 or i8"});
    metadata_[std::string(detail::layer_key) + name] = detail::layer_description(name, layer, info);
    owned_.push_back(std::move(blob));
    append(name, "U8", 1);
    std::size_t scalings = 0;
    for (const any_transform& t : layer.transforms())
      if (const auto* scaling = std::get_if<input_scaling>(&t)) {
        own<Tu>(scaling->scales());
        append(detail::scale_name(name, scalings++), "F32", sizeof(float));
      }
    if (const std::span<const std::size_t> columns = layer.outlier_columns(); !columns.empty()) {
      own<Tu>(std::span<const std::int64_t>(std::vector<std::int64_t>(columns.begin(), columns.end())));
      append(detail::columns_name(name), "I64", sizeof(std::int64_t));
      owned_.push_back(tern::save(layer.outlier_weights()));
      append(detail::column_weights_name(name), "U8", 1);
    }
    std::size_t bytes = 0;
    for (std::size_t i = first; i < owned_.size(); ++i) bytes += owned_[i].size();
    return bytes;
  }
  /// A tensor of any kind, whose bytes stay where they are.
  TERN_INLINE void add(safetensors_tensor tensor) { tensors_.push_back(std::move(tensor)); }
  /// A string beside the layers'.
  TERN_INLINE void add_metadata(const std::string& key, const std::string& value) { metadata_[key] = value; }

  /// Valid as long as this is, and until the next add().
  std::span<const safetensors_tensor> tensors() const& { return tensors_; }
  void tensors() && = delete;  // their bytes would be gone
  const safetensors_metadata& metadata() const { return metadata_; }

 private:
  template <class Tu, class T>
  void own(std::span<const T> values) {
    owned_.emplace_back(values.size_bytes());
    if (!values.empty()) std::memcpy(owned_.back().data(), values.data(), values.size_bytes());
  }
  /// The tensor of what was owned last. Its bytes do not move when their owner does.
  TERN_INLINE void append(std::string name, const char* dtype, std::size_t element_bytes) {
    const std::span<const std::byte> bytes = std::as_const(owned_.back());
    tensors_.push_back({std::move(name), dtype, {bytes.size() / element_bytes}, bytes});
  }

  std::vector<aligned_bytes> owned_;
  std::vector<safetensors_tensor> tensors_;
  safetensors_metadata metadata_;
};

}  // namespace tern::inline v0_1
