// SPDX-License-Identifier: MIT
/// Safetensors of any bytes: reading them ends in a format_error, or in tensors that are all of the data, can be viewed, and
/// are read alike when written again; aborts otherwise.
///
///   clang++-16 -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -DTERN_LIBFUZZER -Iinclude -Itests tests/fuzz/safetensors.cpp
///   fuzz_safetensors FILE...            without libFuzzer: those inputs, and then 20,000 damaged files
///   fuzz_safetensors --corpus FOLDER    writes the corpus
///
/// The first byte of an input says what to do to the rest. Bit 0: it is a header without its length, as long as its text,
/// and behind it come as many bytes of data as the second byte says; else it is a whole file. Bit 1 puts it at an odd
/// address.
#include <tern/io/safetensors.hpp>
#include <tern/io/safetensors_writer.hpp>

#include "fuzz/reader.hpp"

namespace {

using tern_test::accepts, tern_test::require;

enum : std::uint8_t { only_header = 1, odd_address = 2 };

template <class T>
void use(const tern::safetensors_tensor& t, const char* dtype, double& sum) {
  const bool viewed = accepts<tern::format_error, tern::shape_error>([&] {
    for (const T element : t.elements<T>()) sum += static_cast<double>(element);
  });
  const bool aligned = t.bytes.empty() || reinterpret_cast<std::uintptr_t>(t.bytes.data()) % alignof(T) == 0;
  require(viewed == (t.dtype == dtype && aligned), "viewed as another type, or at an address that is not aligned");
  const bool is_matrix = accepts<tern::format_error, tern::shape_error>([&] {
    const auto m = t.view<T>();
    if (m.cols() != 0 && m.rows() != 0) sum += static_cast<double>(m(m.rows() - 1, m.cols() - 1));
  });
  require(is_matrix == (viewed && t.shape.size() <= 2), "a matrix of more than two dimensions, or of fewer none");
}

void use_all(const tern::safetensors_view& view, std::span<const std::byte> data) {
  const std::byte* at = data.data();
  bool known = true;
  double sum = 0;
  for (const tern::safetensors_tensor& t : view.tensors()) {
    require(t.bytes.data() == at, "a hole, or bytes of two tensors");
    at += t.bytes.size();
    require(&view.at(t.name) == &t, "not found by its name");
    known = known && tern::detail::dtype_bits(t.dtype) != 0;
    use<float>(t, "F32", sum);
    use<tern::half>(t, "F16", sum);
    use<tern::bfloat16>(t, "BF16", sum);
    use<std::int8_t>(t, "I8", sum);
    use<std::uint8_t>(t, "U8", sum);
    const bool real = t.dtype == "F32" || t.dtype == "F16" || t.dtype == "BF16";
    const bool converted = accepts<tern::format_error, tern::shape_error>([&] { (void)t.to_float(); });
    require(converted == (real && t.shape.size() <= 2), "converted to float or not, and should not be or be");
  }
  require(at == data.data() + data.size(), "bytes of no tensor");
  if (!known) return;

  const tern::aligned_bytes again = tern::save_safetensors(view.tensors(), view.metadata());
  const tern::safetensors_view same(again);
  require(same.metadata() == view.metadata() && same.tensors().size() == view.tensors().size(), "other metadata");
  for (const tern::safetensors_tensor& t : view.tensors()) {
    const tern::safetensors_tensor& u = same.at(t.name);
    require(t.dtype == u.dtype && t.shape == u.shape, "another type or shape");
    require(std::equal(t.bytes.begin(), t.bytes.end(), u.bytes.begin(), u.bytes.end()), "other bytes");
  }
}

void run(std::span<const std::uint8_t> input) {
  if (input.empty()) return;
  const std::uint8_t what = input[0];
  const std::size_t offset = (what & odd_address) != 0 ? 1 : 0;
  std::vector<std::uint8_t> bytes(offset);
  input = input.subspan(1);
  if ((what & only_header) != 0) {
    if (input.empty()) return;
    const std::uint64_t size = input.size() - 1;
    bytes.resize(offset + sizeof size);
    std::memcpy(bytes.data() + offset, &size, sizeof size);
    bytes.insert(bytes.end(), input.begin() + 1, input.end());
    bytes.resize(bytes.size() + input[0], 0x40);
  } else {
    bytes.insert(bytes.end(), input.begin(), input.end());
  }
  bytes.shrink_to_fit();  // reading on is found
  const auto file = std::as_bytes(std::span(bytes)).subspan(offset);
  tern::safetensors_view view;
  if (!accepts<tern::format_error>([&] { view = tern::safetensors_view(file); })) return;
  std::uint64_t size;
  std::memcpy(&size, file.data(), sizeof size);
  use_all(view, file.subspan(8 + static_cast<std::size_t>(size)));
}

#if !defined(TERN_LIBFUZZER)
using input = tern_test::fuzz_input;

/// Good inputs: what the corpus is made of.
std::vector<input> good() {
  std::vector<input> all;
  const auto add_header = [&](std::uint8_t what, std::uint8_t data_bytes, std::string_view header) {
    all.push_back({static_cast<std::uint8_t>(what | only_header), data_bytes});
    all.back().insert(all.back().end(), header.begin(), header.end());
  };
  for (const std::uint8_t what : {std::uint8_t{0}, std::uint8_t{odd_address}}) {
    add_header(what, 0, "{}");
    add_header(what, 24, R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})");
    add_header(
        what, 8,
        R"({"__metadata__":{"format":"pt","\u00e9\n":""},"v":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}  )");
    add_header(
        what, 9,
        R"({"b":{"dtype":"BF16","shape":[1,2,2],"data_offsets":[1,9]},"a":{"dtype":"I8","shape":[],"data_offsets":[0,1]}})");
    add_header(
        what, 5,
        R"({"":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"e":{"dtype":"F64","shape":[3,0],"data_offsets":[5,5]}})");
    add_header(
        what, 6,
        R"({"x":{"dtype":"F4","shape":[6],"data_offsets":[0,3]},"y":{"dtype":"?","shape":[9],"data_offsets":[3,6]}})");
    add_header(
        what, 8,
        R"({"s":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[4,8]},"t":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}})");
  }
  const std::vector<std::byte> zeros(16);
  const tern::safetensors_tensor tensors[] = {{"ids", "I64", {2}, zeros}, {"w.0", "F32", {2, 2}, zeros}};
  const tern::aligned_bytes file = tern::save_safetensors(tensors, {{"k", "v"}});
  all.push_back({0});
  for (const std::byte byte : std::span<const std::byte>(file)) all.back().push_back(static_cast<std::uint8_t>(byte));
  return all;
}

/// A few bytes of a good input changed, digits and punctuation of its own most of all.
void damage(std::mt19937& random, input& bytes) {
  static constexpr std::string_view letters = "0123456789{}[]\",:-.eFU\\";
  for (std::size_t changes = 1 + random() % 3; changes-- > 0;) {
    const std::size_t at = random() % bytes.size();
    const std::uint32_t kind = random() % 8;
    bytes[at] = kind == 0   ? static_cast<std::uint8_t>(random())
                : kind == 1 ? static_cast<std::uint8_t>(bytes[at] ^ 1u << random() % 8)
                            : static_cast<std::uint8_t>(letters[random() % letters.size()]);
  }
}
#endif

}  // namespace

#if defined(TERN_LIBFUZZER)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  run({data, size});
  return 0;
}
#else
int main(int argc, char** argv) { return tern_test::fuzz_main(argc, argv, good(), damage, run); }
#endif
