// SPDX-License-Identifier: MIT
/// Quantised layers out of safetensors files. safetensors_layer_writer.hpp has the format, and writes them.
///
///     const tern::safetensors_file file("model.tern.safetensors");
///     for (const std::string& name : tern::quantized_names(file)) ...
///     const tern::any_linear layer = tern::load_any_linear(file, "mlp.weight", bias);          // checked, copied
///     const tern::any_linear same = tern::view_any_linear(file, "mlp.weight", bias);           // in the mapped file
///
/// Where the kind of a layer is known and it has no transforms, its tensor is a blob like any other:
///
///     const auto [w, bias] = tern::view_blob<tern::i2>(file.at("mlp.weight").bytes);         // in place
///     const auto same = tern::load<tern::bit_linear>(file.at("mlp.weight").bytes);
///
/// Needs nlohmann/json as safetensors.hpp does. Whatever the bytes are, the worst is a format_error that names the tensor.
#pragma once

#include <tern/io/safetensors.hpp>
#include <tern/io/safetensors_layer_writer.hpp>

namespace tern::inline v0_1::detail::inline TERN_TU {

/// Named in the type of JSON values, so that their functions are this unit's own, as in safetensors.hpp.
template <class T, class Enabled>
struct value_serializer : nlohmann::adl_serializer<T, Enabled> {};
using json_value = nlohmann::basic_json<std::map, std::vector, std::string, bool, std::int64_t, std::uint64_t, double,
                                        std::allocator, value_serializer>;

/// "safetensors: layer "w": " for messages.
inline std::string layer_prefix(std::string_view name) { return "safetensors: layer " + shown(name) + ": "; }

/// f(), with any error of the library as a format_error that names the layer.
template <class F>
auto in_layer([[maybe_unused]] std::string_view name, F&& f) {
#if defined(__cpp_exceptions)
  try {
    return f();
  } catch (const error& e) {
    fail<format_error>({layer_prefix(name).c_str(), e.what()});
  }
#else
  return f();
#endif
}

/// The JSON object of a layer. What no description needs is refused: more than six levels, a member twice.
inline json_value parse_description(std::string_view text) {
  std::vector<std::set<std::string>> members;  // of the objects that are open
  const json_value::parser_callback_t check = [&](int depth, json_value::parse_event_t event, json_value& value) {
    if (depth > 6) fail<format_error>({"the description is nested too deeply"});
    if (event == json_value::parse_event_t::object_start) members.emplace_back();
    if (event == json_value::parse_event_t::object_end) members.pop_back();
    if (event == json_value::parse_event_t::key)
      if (const auto* name = value.get_ptr<const std::string*>(); !members.back().insert(*name).second)
        fail<format_error>({"the description has ", shown(*name).c_str(), " twice"});
    return true;
  };
  json_value value = json_value::parse(text.begin(), text.end(), check, false);
  if (!value.is_object()) fail<format_error>({"the description is no JSON object"});
  return value;
}

/// The member of an object, or null.
inline const json_value* member(const json_value& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(name);
  return at == object.end() ? nullptr : &*at;
}
inline const std::string* string_member(const json_value& object, const char* name) {
  const json_value* const value = member(object, name);
  return value == nullptr ? nullptr : value->get_ptr<const std::string*>();
}
inline const std::uint64_t* number_member(const json_value& object, const char* name) {
  const json_value* const value = member(object, name);
  return value == nullptr ? nullptr : value->get_ptr<const std::uint64_t*>();
}

inline const safetensors_tensor& tensor_of_layer(const safetensors_view& file, const std::string& name,
                                                 std::string_view dtype) {
  const safetensors_tensor* const tensor = file.find(name);
  if (tensor == nullptr) fail<format_error>({"the tensor ", shown(name).c_str(), " is missing"});
  if (tensor->dtype != dtype || tensor->shape.size() != 1)
    fail<format_error>({describe(*tensor).c_str(), ", should be ", dtype, " of one dimension"});
  return *tensor;
}

/// Whether the description says that activations are float. Absent, they are int8.
inline bool read_float_activations(const json_value& description) {
  const json_value* const value = member(description, "activations");
  if (value != nullptr && *value != "float") fail<format_error>({"activations that are not \"float\""});
  return value != nullptr;
}

inline std::vector<any_transform> read_transforms(const safetensors_view& file, const json_value& description,
                                                  std::size_t inputs) {
  std::vector<any_transform> transforms;
  const json_value* const list = member(description, "transforms");
  if (list == nullptr || !list->is_array()) fail<format_error>({"the description has no list of transforms"});
  if (list->size() > most_transforms) fail<format_error>({list->size(), " transforms, of at most ", most_transforms});
  for (const json_value& each : *list) {
    if (const json_value* const rotation = member(each, "hadamard")) {
      const std::uint64_t *const seed = number_member(*rotation, "seed"), *const block =
                                                                              number_member(*rotation, "block");
      if (seed == nullptr || block == nullptr) fail<format_error>({"a rotation without seed or block"});
      transforms.emplace_back(hadamard_rotation(inputs, *seed, static_cast<std::size_t>(*block)));
    } else if (const std::string* const name = string_member(each, "input_scale")) {
      const safetensors_tensor& tensor = tensor_of_layer(file, *name, "F32");
      if (tensor.shape[0] != inputs)
        fail<format_error>({describe(tensor).c_str(), ", should have ", inputs, " elements"});
      const matrix<float> scales = tensor.to_float();
      transforms.emplace_back(input_scaling(std::vector<float>(scales.data(), scales.data() + inputs)));
    } else {
      fail<format_error>({"transform ", transforms.size(), " is neither a rotation nor an input_scale"});
    }
  }
  return transforms;
}

inline std::vector<std::size_t> read_columns(const safetensors_view& file, const json_value& description) {
  const std::string* const name = string_member(description, "outlier_columns");
  if (name == nullptr) return {};
  const std::span<const std::byte> bytes = tensor_of_layer(file, *name, "I64").bytes;
  std::vector<std::size_t> columns(bytes.size() / sizeof(std::int64_t));
  for (std::size_t j = 0; j < columns.size(); ++j) {
    std::uint64_t column;  // negative ones are too large
    std::memcpy(&column, bytes.data() + j * sizeof column, sizeof column);
    columns[j] = static_cast<std::size_t>(column);
    if (columns[j] != column) fail<format_error>({"outlier column ", column});
  }
  return columns;
}

/// The weights of the columns, whatever the tensor's bytes are. Shapes come before anything is made by them.
inline packed_matrix<i8> read_column_weights(const safetensors_view& file, const json_value& description,
                                             std::size_t outputs, std::size_t columns) {
  const std::string* const name = string_member(description, "outlier_weights");
  if (name == nullptr) fail<format_error>({"the description has outlier_columns but no outlier_weights"});
  const std::span<const std::byte> bytes = tensor_of_layer(file, *name, "U8").bytes;
  const packed_format format = tern::read_blob_info(bytes).format;
  if (format.rows != outputs || format.cols != columns || format.planes < 1 || format.planes > 2)
    fail<format_error>({"the weights of ", columns, " outlier columns are ", format.planes, " planes of ", format.rows,
                        "x", format.cols, " for ", outputs, " outputs"});
  return tern::load<packed_matrix<i8>>(bytes);
}

/// The layer of a blob whose header is checked. What it says of its own size is checked before anything is allocated by it.
/// @param bytes     aligned to 64
/// @param bias      where the blob has none
/// @param in_place  whether weights stay where they are, if such a layer can
template <codec Codec>
any_linear layer_of_codec(const safetensors_view& file, const json_value& description, std::span<const std::byte> bytes,
                          const blob_info& info, std::vector<float> bias, bool in_place) {
  const blob_view<Codec> parts = tern::view_blob<Codec>(bytes);
  if (!parts.bias.empty()) bias.assign(parts.bias.begin(), parts.bias.end());
  std::vector<any_transform> transforms = read_transforms(file, description, parts.weights.cols());
  if constexpr (std::same_as<Codec, i8>) {
    if (info.is_llm_int8)
      return any_linear(llm_int8_layer<llm_int8_linear>(bytes, info, parts.weights, std::move(bias)),
                        std::move(transforms));
    if (std::vector<std::size_t> columns = read_columns(file, description); !columns.empty()) {
      auto of_columns = read_column_weights(file, description, parts.weights.rows(), columns.size());
      return any_linear(llm_int8_static_linear(int8_matrix(parts.weights), std::move(columns), std::move(of_columns),
                                               std::move(bias)),
                        std::move(transforms));
    }
  }
  const auto make = [&]<class Activations>(Activations) {
    if (in_place)
      return any_linear(linear<packed_view<Codec>, Activations>(parts.weights, std::move(bias)), std::move(transforms));
    return any_linear(linear<packed_matrix<Codec>, Activations>(packed_matrix<Codec>(parts.weights), std::move(bias)),
                      std::move(transforms));
  };
  if (read_float_activations(description)) {
    if constexpr (stores_float_activations<Codec>)
      return make(float_activations{});
    else
      fail<format_error>({"float activations with codec ", Codec::name()});
  }
  return make(int8_activations{});
}

/// The function for the codec's name. Errors: format_error when there is no such codec.
template <codec... Codecs>
auto layer_function(std::string_view codec, type_list<Codecs...>) {
  decltype(&layer_of_codec<i8>) function = nullptr;
  ((Codecs::name() == codec ? void(function = &layer_of_codec<Codecs>) : void()), ...);
  if (function == nullptr) fail<format_error>({"codec ", codec, " is none of tern's"});
  return function;
}

/// Errors: format_error naming the first member that is not what the layer says.
inline void check_description(const json_value& says, const json_value& is) {
  for (const auto& [name, value] : is.items())
    if (const json_value* const said = member(says, name.c_str()); said == nullptr || *said != value)
      fail<format_error>({"the description's ", shown(name).c_str(), said == nullptr ? " is missing" : " is not ",
                          said == nullptr ? "" : "what the tensors say"});
  for (const auto& [name, value] : says.items())
    if (member(is, name.c_str()) == nullptr)
      fail<format_error>({"the description has ", shown(name).c_str(), ", which such a layer does not"});
}

inline any_linear read_layer(const safetensors_view& file, const std::string& name, std::string_view text,
                             std::span<const float> bias, bool in_place) {
  const json_value description = parse_description(text);
  if (const std::uint64_t* const version = number_member(description, "version"); version == nullptr || *version != 1)
    fail<format_error>({"the description is not of version 1, which this program reads"});
  std::span<const std::byte> bytes = tensor_of_layer(file, name, "U8").bytes;
  aligned_bytes aligned;
  if (!in_place && !is_aligned(bytes)) {
    aligned = aligned_bytes(bytes.size());
    if (!bytes.empty()) std::memcpy(aligned.data(), bytes.data(), bytes.size());
    bytes = aligned;
  }
  const blob_info info = tern::read_blob_info(bytes);
  // Without rows nothing that is stored would bound what transforms allocate.
  const packed_format& format = info.format;
  if (format.rows == 0 && format.cols > max_inputs(false, false))
    fail<format_error>({"no outputs of ", format.cols, " inputs"});
  if (info.bias_count != 0 && !bias.empty()) fail<format_error>({"a bias is given, and the blob has one"});
  if (!in_place) tern::verify_payload(bytes);
  const any_linear layer = layer_function(info.codec(), codecs{})(
      file, description, bytes, info, std::vector<float>(bias.begin(), bias.end()), in_place);
  check_description(description, parse_description(layer_description(name, layer, info)));
  return layer;
}

inline any_linear find_layer(const safetensors_view& file, std::string_view name, std::span<const float> bias,
                             bool in_place) {
  const auto text = file.metadata().find(std::string(layer_key) + std::string(name));
  if (text == file.metadata().end()) fail<range_error>({"safetensors: no quantised layer ", shown(name).c_str()});
  if (!bias.empty()) {
    const std::size_t outputs = in_layer(
        name, [&] { return tern::read_blob_info(tensor_of_layer(file, std::string(name), "U8").bytes).format.rows; });
    if (bias.size() != outputs)
      fail<shape_error>({layer_prefix(name).c_str(), bias.size(), " biases for ", outputs, " outputs"});
  }
  return in_layer(name, [&] { return read_layer(file, std::string(name), text->second, bias, in_place); });
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// The names of the quantised layers of a file, ascending: those that the metadata describe.
inline std::vector<std::string> quantized_names(const safetensors_view& file) {
  std::vector<std::string> names;
  for (const auto& [key, value] : file.metadata())
    if (key.starts_with(detail::layer_key)) names.push_back(key.substr(detail::layer_key.size()));
  return names;
}

/// Loads a quantised layer: what its tensors and its description in the metadata say, which must be the same thing.
///
/// @param file  a safetensors_view or safetensors_file; may go away afterwards
/// @param name  one of quantized_names(file)
/// @param bias  [N] or empty: where the file has it as a tensor of its own
///
/// Exactness: the layer gives the bits that the saved one gave.
/// Cost:      reads the bytes twice, for the checksum and to copy them.
/// Errors:    range_error when the file has no layer of that name; shape_error for a bias of another size; format_error naming
///            the layer when tensors are missing or of another type, when the blob is damaged, and when the description
///            contradicts them; also when the blob has a bias and one is given.
inline any_linear load_any_linear(const safetensors_view& file, std::string_view name,
                                  std::span<const float> bias = {}) {
  return detail::find_layer(file, name, bias, false);
}

/// The same with the weights in place, where the file is in memory: it must outlive the layer. Codes and scales are neither
/// scanned nor copied, so their checksum is not looked at. Layers of LLM.int8() are copied all the same.
///
/// Cost:   O(1), and the scales of inputs; nothing of a mapped file is read before it is used.
/// Errors: as load_any_linear; format_error also when the blob does not lie at a multiple of 64, where tern writes it.
inline any_linear view_any_linear(const safetensors_view& file, std::string_view name,
                                  std::span<const float> bias = {}) {
  return detail::find_layer(file, name, bias, true);
}

}  // namespace tern::inline v0_1::inline TERN_TU
