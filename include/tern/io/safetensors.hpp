// SPDX-License-Identifier: MIT
/// Reads safetensors: the format in which models are passed around (https://github.com/huggingface/safetensors).
///
///     const tern::safetensors_file file("model.safetensors");             // mapped; valid as long as file is
///     for (const tern::safetensors_tensor& t : file.tensors()) ...        // name, dtype, shape, bytes
///     const tern::matrix_view<const float> w = file.view<float>("w");     // in place
///     const tern::matrix<float> v = file.to_float("v");                   // a copy, from F32, F16 or BF16
///
/// The header is JSON, which nlohmann/json 3.9 or newer parses (CMake: tern::safetensors). This is the one header of tern that
/// needs it, and costs whoever uses it some seconds to compile: include it where files are read, and pass tensors on.
///
/// | bytes | what                                                                                                    |
/// |-------|---------------------------------------------------------------------------------------------------------|
/// | 8     | length N of the header, u64, little-endian, at most 100,000,000                                         |
/// | N     | a JSON object, from '{' on: {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...},  |
/// |       | optionally with "__metadata__": {"KEY": "VALUE", ...}; white space may follow it                        |
/// | rest  | the tensors' bytes. Offsets count from its start; each byte belongs to one tensor                       |
///
/// A header is checked in full before anything is returned; whatever the bytes are, the worst is a format_error that names
/// the tensor. Errors are also what the format's own library lets pass: two tensors of one name, members other than the
/// three, null as metadata, white space before the object. Laxer is this: a tensor of an unknown type is listed.
#pragma once

#include <algorithm>  // std::sort, std::lower_bound
#include <nlohmann/json.hpp>

#include <tern/io/safetensors_tensor.hpp>
#if __has_include(<sys/mman.h>)
#include <tern/io/mapped_file.hpp>
#endif

namespace tern::inline v0_1 {
namespace detail::inline TERN_TU {

/// Named in the type of the parser, so that its functions are this unit's own as tern's are (config.hpp, TERN_TU). No more:
/// nothing is converted.
template <class, class>
struct no_serializer {};
using json = nlohmann::basic_json<std::map, std::vector, std::string, bool, std::int64_t, std::uint64_t, double,
                                  std::allocator, no_serializer>;

/// Takes what the parser finds, piece by piece, and refuses whatever may not stand where it stands. So it need not be told
/// how deep a hostile file is nested: three levels are expected anywhere. The names of the functions are nlohmann's.
class safetensors_parser {
 public:
  struct entry {
    safetensors_tensor tensor;
    std::vector<std::uint64_t> offsets;
    bool has_dtype = false, has_shape = false, has_offsets = false;
  };

  std::vector<entry> entries;  // in the order of the header
  safetensors_metadata metadata;

  bool start_object(std::size_t) {
    if (at_ == place::begin) return go(place::file);
    if (at_ == place::entry) return go(place::tensor);
    if (at_ == place::metadata) return go(place::pairs);
    refuse("an object");
  }
  bool key(const std::string& name) {
    if (at_ == place::file && name == metadata_key) {
      if (std::exchange(has_metadata_, true)) refuse_again(name);
      return go(place::metadata);
    }
    if (at_ == place::file) {
      entries.emplace_back().tensor.name = name;
      return go(place::entry);
    }
    if (at_ == place::pairs) {
      const auto [pair, is_new] = metadata.try_emplace(name);
      if (!is_new) refuse_again(name);
      value_ = &pair->second;
      return go(place::value);
    }
    entry& e = entries.back();
    if (name == "dtype") return member(e.has_dtype, name, place::dtype);
    if (name == "shape") return member(e.has_shape, name, place::shape);
    if (name == "data_offsets") return member(e.has_offsets, name, place::offsets);
    fail<format_error>({where().c_str(), "a member ", shown(name).c_str(), ", which the format does not have"});
  }
  bool end_object() {
    if (at_ == place::pairs) return go(place::file);
    if (at_ == place::file) return true;
    const entry& e = entries.back();
    if (const char* missing = !e.has_dtype     ? "dtype"
                              : !e.has_shape   ? "shape"
                              : !e.has_offsets ? "data_offsets"
                                               : nullptr)
      fail<format_error>({where().c_str(), missing, " is missing"});
    return go(place::file);
  }
  bool start_array(std::size_t) {
    if (at_ == place::shape) return go(place::extents);
    if (at_ == place::offsets) return go(place::pair);
    refuse("an array");
  }
  bool end_array() {
    if (const std::size_t count = entries.back().offsets.size(); at_ == place::pair && count != 2)
      fail<format_error>({where().c_str(), "data_offsets has ", count, " numbers, not 2"});
    return go(place::tensor);
  }
  bool string(std::string& text) {
    if (at_ == place::dtype) {
      entries.back().tensor.dtype = std::move(text);
      return go(place::tensor);
    }
    if (at_ != place::value) refuse("a string");
    *value_ = std::move(text);
    return go(place::pairs);
  }
  bool number_unsigned(std::uint64_t number) {
    if (at_ == place::extents) {
      if (number > static_cast<std::size_t>(-1) / 2)
        fail<format_error>({where().c_str(), "extent ", number, " does not fit memory"});
      entries.back().tensor.shape.push_back(static_cast<std::size_t>(number));
    } else if (at_ == place::pair) {
      entries.back().offsets.push_back(number);
    } else {
      refuse("a number");
    }
    return true;
  }
  bool number_integer(std::int64_t number) { refuse(number == 0 ? "-0" : std::to_string(number)); }
  bool number_float(double, const std::string& text) { refuse(text.substr(0, 40)); }
  bool boolean(bool value) { refuse(value ? "true" : "false"); }
  bool null() { refuse("null"); }
  bool binary(auto&) { refuse("bytes"); }
  bool parse_error(std::size_t, const std::string&, const auto& e) {
    fail<format_error>({"safetensors: the header is no JSON: ", std::string_view(e.what()).substr(0, 300)});
  }

 private:
  /// What comes next: a value, or the next member or element of what is named.
  enum class place { begin, file, entry, tensor, dtype, shape, extents, offsets, pair, metadata, pairs, value };

  bool go(place next) {
    at_ = next;
    return true;
  }
  bool member(bool& has, const std::string& name, place next) {
    if (std::exchange(has, true)) refuse_again(name);
    return go(next);
  }
  std::string where() const {
    const bool in_metadata = at_ == place::metadata || at_ == place::pairs || at_ == place::value;
    if (in_metadata) return "safetensors: __metadata__: ";
    if (at_ == place::begin || at_ == place::file) return "safetensors: header: ";
    return "safetensors: tensor " + shown(entries.back().tensor.name) + ": ";
  }
  [[noreturn]] void refuse(std::string_view found) const {
    const char* wanted = "an object";
    if (at_ == place::dtype) wanted = "dtype as a string";
    if (at_ == place::shape) wanted = "shape as an array";
    if (at_ == place::extents) wanted = "an extent, an integer of at least 0,";
    if (at_ == place::offsets) wanted = "data_offsets as an array";
    if (at_ == place::pair) wanted = "an offset, an integer of at least 0,";
    if (at_ == place::value) wanted = "a string";
    fail<format_error>({where().c_str(), "wanted ", wanted, " and found ", found});
  }
  [[noreturn]] void refuse_again(const std::string& name) const {
    fail<format_error>({where().c_str(), shown(name).c_str(), " appears twice"});
  }

  place at_ = place::begin;
  bool has_metadata_ = false;
  std::string* value_ = nullptr;  // the metadata's string that comes next
};

/// The header between length and data, the length checked.
inline std::string_view safetensors_header_in(std::span<const std::byte> bytes) {
  std::uint64_t size;
  if (bytes.size() < sizeof size)
    fail<format_error>(
        {"safetensors: ", bytes.size(), " bytes, fewer than the ", sizeof size, " of the header's length"});
  std::memcpy(&size, bytes.data(), sizeof size);
  if (size > max_safetensors_header)
    fail<format_error>({"safetensors: a header of ", size, " bytes, of at most ", max_safetensors_header});
  if (size > bytes.size() - sizeof size)
    fail<format_error>({"safetensors: a header of ", size, " bytes in a file of ", bytes.size()});
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + sizeof size,
                                static_cast<std::size_t>(size));
  if (!header.starts_with('{')) fail<format_error>({"safetensors: the header does not begin with '{'"});
  // The parser takes a zero byte for the end of its input.
  if (const std::size_t zero = header.find('\0'); zero != header.npos)
    fail<format_error>({"safetensors: byte ", zero, " of the header is 0"});
  return header;
}

/// Sets the tensors' bytes, once it is checked that they are all of `data` and nothing twice.
inline void assign_bytes(std::vector<safetensors_parser::entry>& entries, std::span<const std::byte> data) {
  using entry = safetensors_parser::entry;
  const auto refuse = [](const entry& e, const char* what, std::uint64_t number) {
    fail<format_error>({"safetensors: ", describe(e.tensor).c_str(), ", data_offsets ", e.offsets[0], " to ",
                        e.offsets[1], what, number});
  };
  std::stable_sort(entries.begin(), entries.end(),
                   [](const entry& a, const entry& b) { return a.offsets < b.offsets; });
  std::uint64_t end = 0;
  for (entry& e : entries) {
    const std::uint64_t from = e.offsets[0], to = e.offsets[1];
    if (from > to) refuse(e, " end before they begin, in data of ", data.size());
    if (to > data.size()) refuse(e, " end behind the data of ", data.size());
    if (from < end) refuse(e, " overlap what ends at ", end);
    if (from > end) refuse(e, " leave a hole behind ", end);
    e.tensor.bytes = data.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from));
    if (dtype_bits(e.tensor.dtype) != 0) check_bytes<format_error>("safetensors: ", e.tensor);
    end = to;
  }
  if (end != data.size())
    fail<format_error>({"safetensors: ", data.size() - end, " bytes of data at ", end, " belong to no tensor"});
}

/// @param by_name  places in `tensors`, in the order of the names
inline void read_safetensors(std::span<const std::byte> bytes, std::vector<safetensors_tensor>& tensors,
                             std::vector<std::size_t>& by_name, safetensors_metadata& metadata) {
  const std::string_view header = safetensors_header_in(bytes);
  safetensors_parser parser;
  if (!json::sax_parse(header.begin(), header.end(), &parser))
    fail<format_error>({"safetensors: the header is no JSON"});
  assign_bytes(parser.entries, bytes.subspan(8 + header.size()));
  for (safetensors_parser::entry& e : parser.entries) {
    by_name.push_back(tensors.size());
    tensors.push_back(std::move(e.tensor));
  }
  std::sort(by_name.begin(), by_name.end(),
            [&](std::size_t a, std::size_t b) { return tensors[a].name < tensors[b].name; });
  for (std::size_t i = 1; i < by_name.size(); ++i)
    if (const std::string& name = tensors[by_name[i]].name; name == tensors[by_name[i - 1]].name)
      fail<format_error>({"safetensors: tensor ", shown(name).c_str(), " appears twice"});
  metadata = std::move(parser.metadata);
}

inline const safetensors_tensor* find_tensor(std::span<const safetensors_tensor> tensors,
                                             std::span<const std::size_t> by_name, std::string_view name) {
  const auto at = std::lower_bound(by_name.begin(), by_name.end(), name,
                                   [&](std::size_t i, std::string_view other) { return tensors[i].name < other; });
  return at != by_name.end() && tensors[*at].name == name ? &tensors[*at] : nullptr;
}

inline const safetensors_tensor& tensor_at(const safetensors_tensor* tensor, std::string_view name) {
  if (tensor == nullptr) fail<range_error>({"safetensors: no tensor ", shown(name).c_str()});
  return *tensor;
}

}  // namespace detail::inline TERN_TU

/// A safetensors file in memory that is somebody else's, its header read and checked.
///
/// Cost:   opening reads the header and nothing of the data, whatever its size; finding a name is a binary search.
/// Errors: format_error when the bytes are not a whole safetensors file.
class safetensors_view {
 public:
  TERN_INLINE safetensors_view() = default;
  TERN_INLINE_COPIES(safetensors_view);
  /// @param bytes  the whole file, any alignment
  TERN_INLINE explicit safetensors_view(std::span<const std::byte> bytes) {
    detail::read_safetensors(bytes, tensors_, by_name_, metadata_);
  }

  /// In the order of their bytes.
  std::span<const safetensors_tensor> tensors() const { return tensors_; }
  const safetensors_metadata& metadata() const { return metadata_; }

  /// The tensor of that name, or null.
  TERN_INLINE const safetensors_tensor* find(std::string_view name) const {
    return detail::find_tensor(tensors_, by_name_, name);
  }
  /// Errors: range_error when there is none of that name.
  TERN_INLINE const safetensors_tensor& at(std::string_view name) const { return detail::tensor_at(find(name), name); }

  /// at(name).view<T>() and at(name).to_float().
  template <safetensors_element T, class Tu = tu_tag>
  matrix_view<const T> view(std::string_view name) const {
    return at(name).template view<T, Tu>();
  }
  template <class Tu = tu_tag>
  matrix<float> to_float(std::string_view name) const {
    return at(name).template to_float<Tu>();
  }

 private:
  std::vector<safetensors_tensor> tensors_;
  std::vector<std::size_t> by_name_;
  safetensors_metadata metadata_;
};

#if __has_include(<sys/mman.h>)
/// A safetensors file, mapped: what it views is valid as long as it is, and moves with it. Needs POSIX; elsewhere read the
/// file into aligned_bytes and view them.
///
/// Cost:   opening reads the header and nothing of the data, whatever its size.
/// Errors: io_error with path and reason; format_error when it is not a whole safetensors file.
class safetensors_file : private mapped_file, public safetensors_view {
 public:
  TERN_INLINE safetensors_file() = default;
  TERN_INLINE explicit safetensors_file(const std::string& path)
      : mapped_file(path), safetensors_view(mapped_file::bytes()) {}
  TERN_INLINE safetensors_file(safetensors_file&&) noexcept = default;
  TERN_INLINE safetensors_file& operator=(safetensors_file&&) noexcept = default;
  TERN_INLINE ~safetensors_file() = default;
};
#endif

}  // namespace tern::inline v0_1
