// SPDX-License-Identifier: MIT
#include <tern/io/safetensors.hpp>
#include <tern/io/safetensors_writer.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <numbers>

#include "support/catch.hpp"

using tern::format_error;
using tern::io_error;
using tern::range_error;
using tern::safetensors_file;
using tern::safetensors_tensor;
using tern::safetensors_view;
using tern::shape_error;
using tern_test::contains;

namespace {

/// A directory of the test's own, gone afterwards.
class directory {
 public:
  directory() {
    std::string name = (std::filesystem::temp_directory_path() / "tern_safetensors_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~directory() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  std::string path_;
};

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }
std::string text_of(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

/// Length, header, and so many bytes of data: 0, 1, 2, ...
std::string file_of(std::string_view header, std::size_t data_bytes = 0) {
  std::string file;
  for (unsigned i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> 8 * i & 255);
  file += header;
  for (std::size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i);
  return file;
}

/// What reading says; other errors than format_error pass through and fail the test.
std::string refusal(const std::string& file) {
  // Of the file's size, so that the address sanitizer sees who reads on.
  const std::vector<std::byte> bytes(bytes_of(file).begin(), bytes_of(file).end());
  try {
    safetensors_view view(bytes);
    return "none";
  } catch (const format_error& e) {
    return e.what();
  }
}
std::string refusal(std::string_view header, std::size_t data_bytes) { return refusal(file_of(header, data_bytes)); }

/// What f() throws.
template <class Error>
std::string message(auto&& f) {
  try {
    f();
    return "none";
  } catch (const Error& e) {
    return e.what();
  }
}

struct type_and_bits {
  const char* dtype;
  std::size_t bits;
};
constexpr type_and_bits types[] = {{"BOOL", 8}, {"F4", 4},          {"F6_E2M3", 6},     {"F6_E3M2", 6}, {"U8", 8},
                                   {"I8", 8},   {"F8_E5M2", 8},     {"F8_E4M3", 8},     {"F8_E8M0", 8}, {"I16", 16},
                                   {"U16", 16}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F16", 16},    {"BF16", 16},
                                   {"I32", 32}, {"U32", 32},        {"F32", 32},        {"C64", 64},    {"F64", 64},
                                   {"I64", 64}, {"U64", 64}};

}  // namespace

TEST_CASE("safetensors: a small file, byte by byte", "[io]") {
  const std::array<std::int8_t, 3> codes = {1, -1, 0};
  tern::matrix<float> w(1, 2, {1.0f, -2.0f});
  const safetensors_tensor tensors[] = {tern::tensor_of("codes", std::span(codes)), tern::tensor_of("w\"\n", w)};
  const auto file = tern::save_safetensors(tensors, {{"format", "pt"}});
  // The header with its length is filled up to a multiple of 64, and the larger elements come first.
  std::string want =
      R"({"__metadata__":{"format":"pt"},"w\"\u000a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
      R"("codes":{"dtype":"I8","shape":[3],"data_offsets":[8,11]}})";
  want.resize(192 - 8, ' ');
  want = std::string("\xb8\0\0\0\0\0\0\0", 8) + want + std::string("\0\0\x80\x3f\0\0\0\xc0\1\xff\0", 11);
  CHECK(text_of(file) == want);

  CHECK(text_of(tern::save_safetensors({})) == std::string("\x38\0\0\0\0\0\0\0{}", 10) + std::string(54, ' '));
  CHECK(safetensors_view(tern::save_safetensors({})).tensors().empty());
}

TEST_CASE("safetensors: every type and kind of shape comes back, where it can be viewed", "[io]") {
  std::vector<std::byte> memory(24 * 8);
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<std::byte>(7 * i);
  std::vector<safetensors_tensor> tensors;
  const std::span<const std::byte> bytes = memory;
  for (const auto& [dtype, bits] : types) {
    const std::string name = dtype;
    tensors.emplace_back(name + " 4x3x2", dtype, std::vector<std::size_t>{4, 3, 2}, bytes.first(24 * bits / 8));
    tensors.emplace_back(name + " 4", dtype, std::vector<std::size_t>{4}, bytes.last(4 * bits / 8));
    tensors.emplace_back(name + " 7x0", dtype, std::vector<std::size_t>{7, 0}, bytes.first(0));
    if (bits >= 8)
      tensors.emplace_back(name + " scalar", dtype, std::vector<std::size_t>{}, bytes.subspan(5, bits / 8));
  }
  tensors.emplace_back("odd", "U8", std::vector<std::size_t>{1}, bytes.first(1));  // else 8-bit types could come first
  std::string ascii;
  for (char c = 0; c < 127; ++c) ascii += c;
  const tern::safetensors_metadata metadata = {{"", "empty key"}, {ascii, ""}, {"\x7f\xc3\xa9", "\xf0\x9f\x90\xa6"}};
  const auto file = tern::save_safetensors(tensors, metadata);
  const safetensors_view view(file);
  CHECK(view.metadata() == metadata);
  REQUIRE(view.tensors().size() == tensors.size());

  std::size_t at = file.size();
  for (const safetensors_tensor& t : tensors) at -= t.bytes.size();
  CHECK(at % 64 == 0);
  // Multiples of 64 bytes, and then what falls in the size of its elements.
  std::size_t before = 65;
  for (const safetensors_tensor& t : view.tensors()) {
    CHECK(t.bytes.data() == file.data() + at);
    const bool whole = t.bytes.size() % 64 == 0;
    if (whole) CHECK(at % 64 == 0);
    at += t.bytes.size();
    const auto type = std::find_if(std::begin(types), std::end(types), [&](auto& x) { return x.dtype == t.dtype; });
    const std::size_t rank = whole ? 65 : type->bits;
    CHECK(rank <= before);
    before = rank;
  }
  CHECK(at == file.size());
  for (const safetensors_tensor& t : tensors) {
    const safetensors_tensor* const same = view.find(t.name);
    REQUIRE(same != nullptr);
    CHECK(&view.at(t.name) == same);
    CHECK(same->name == t.name);
    CHECK(same->dtype == t.dtype);
    CHECK(same->shape == t.shape);
    CHECK(text_of(same->bytes) == text_of(t.bytes));
    for (const auto& [dtype, bits] : types)
      if (t.dtype == dtype && bits >= 8)
        CHECK(static_cast<std::size_t>(same->bytes.data() - file.data()) % (bits / 8) == 0);
  }
  CHECK(text_of(tern::save_safetensors(view.tensors(), view.metadata())) == text_of(file));
}

TEST_CASE("safetensors: a file of the format's own library", "[io]") {
  const safetensors_file file(TERN_TEST_DATA "/python.safetensors");
  CHECK(file.metadata() == tern::safetensors_metadata{{"format", "np"}, {"note", "caf\xc3\xa9\t\x01"}});
  std::vector<std::string> names;
  for (const safetensors_tensor& t : file.tensors()) names.push_back(t.name);
  CHECK(names == std::vector<std::string>{"int64", "float64", "no rows", "scalar", "weight", "bfloat16", "half", "int8",
                                          "a \"name\" of \xc3\xbcmlauts \\ \n", "uint8", "bool"});

  constexpr float inf = std::numeric_limits<float>::infinity();
  const std::array<float, 6> weights = {1.5f, -2.0f, 3.25f, 0.0f, 1e-40f, -inf};
  const auto w = file.view<float>("weight");
  REQUIRE((w.rows() == 2 && w.cols() == 3));
  CHECK(std::equal(weights.begin(), weights.end(), w.data()));
  CHECK(w.data() == reinterpret_cast<const float*>(file.at("weight").bytes.data()));

  const std::array<float, 8> halves = {0.0f, -0.0f, 1.0f, -2.5f, 65504.0f, 0x1p-24f, inf, -inf};
  const auto half = file.to_float("half");
  REQUIRE((half.rows() == 2 && half.cols() == 4));
  CHECK(std::equal(halves.begin(), halves.end(), half.data()));
  CHECK(std::signbit(half(0, 1)));
  CHECK(std::equal(halves.begin(), halves.end(), file.view<tern::half>("half").data()));

  const std::array<float, 3> bfloats = {1.0f, -3.140625f, 0x1.fep+127f};
  const auto bfloat16 = file.to_float("bfloat16");
  REQUIRE((bfloat16.rows() == 1 && bfloat16.cols() == 3));
  CHECK(std::equal(bfloats.begin(), bfloats.end(), bfloat16.data()));
  CHECK(std::equal(bfloats.begin(), bfloats.end(), file.at("bfloat16").elements<tern::bfloat16>().begin()));

  const auto int8 = file.view<std::int8_t>("int8");
  REQUIRE((int8.rows() == 1 && int8.cols() == 6));
  for (int i = 0; i < 6; ++i) CHECK(int8(0, static_cast<std::size_t>(i)) == -128 + 51 * i);
  CHECK(file.at("uint8").shape == std::vector<std::size_t>{1, 2, 3});
  const auto uint8 = file.at("uint8").elements<std::uint8_t>();
  for (std::size_t i = 0; i < 6; ++i) CHECK(uint8[i] == 51 * i);

  CHECK(file.at("scalar").shape.empty());
  CHECK(file.view<float>("scalar")(0, 0) == 0.5f);
  CHECK(file.to_float("scalar")(0, 0) == 0.5f);
  CHECK((file.view<float>("no rows").rows() == 0 && file.view<float>("no rows").cols() == 5));
  CHECK((file.to_float("no rows").rows() == 0 && file.to_float("no rows").cols() == 5));
  std::int64_t integers[2];
  CHECK(file.at("int64").dtype == "I64");
  REQUIRE(file.at("int64").bytes.size() == sizeof integers);
  std::memcpy(integers, file.at("int64").bytes.data(), sizeof integers);
  CHECK((integers[0] == -1 && integers[1] == std::int64_t{1} << 62));
  double pi;
  REQUIRE(file.at("float64").bytes.size() == sizeof pi);
  std::memcpy(&pi, file.at("float64").bytes.data(), sizeof pi);
  CHECK(pi == std::numbers::pi);
  CHECK(text_of(file.at("bool").bytes) == std::string("\1\0\1", 3));
  CHECK(file.view<std::uint8_t>("a \"name\" of \xc3\xbcmlauts \\ \n")(0, 0) == 7);
}

TEST_CASE("safetensors: what a view cannot be", "[io]") {
  const std::string text = file_of(R"({"odd":{"dtype":"F32","shape":[2],"data_offsets":[1,9]},
    "byte":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"cube":{"dtype":"U8","shape":[1,2,3],"data_offsets":[9,15]},
    "new":{"dtype":"X\u0007","shape":[3,3],"data_offsets":[15,16]}}   )",
                                   16);
  tern::aligned_bytes memory(text.size() + 64);
  const std::size_t shift = 64 - (text.size() - 16) % 64;  // the data lie at a multiple of 64
  std::memcpy(memory.data() + shift, text.data(), text.size());
  const safetensors_view view(std::span<const std::byte>(memory).subspan(shift, text.size()));

  CHECK(view.find("absent") == nullptr);
  CHECK(message<range_error>([&] { (void)view.view<float>("absent"); }) == "safetensors: no tensor \"absent\"");
  CHECK(message<range_error>([&] { (void)view.to_float("od"); }) == "safetensors: no tensor \"od\"");
  CHECK(message<shape_error>([&] { (void)view.view<float>("odd"); }) ==
        "safetensors: tensor \"odd\", F32 [2], lies 1 bytes behind a multiple of 4; to_float() takes any address");
  float want;
  std::memcpy(&want, "\5\6\7\x8", 4);
  CHECK(view.to_float("odd")(0, 1) == want);
  CHECK(message<format_error>([&] { (void)view.view<std::int8_t>("byte"); }) ==
        "safetensors: tensor \"byte\", U8 [1], does not hold I8");
  CHECK(message<format_error>([&] { (void)view.at("byte").elements<tern::half>(); }) ==
        "safetensors: tensor \"byte\", U8 [1], does not hold F16");
  CHECK(message<format_error>([&] { (void)view.to_float("byte"); }) ==
        "safetensors: tensor \"byte\", U8 [1], holds none of F32, F16 and BF16");
  CHECK(message<shape_error>([&] { (void)view.view<std::uint8_t>("cube"); }) ==
        "safetensors: tensor \"cube\", U8 [1, 2, 3], has 3 dimensions; a matrix has 2");
  CHECK(message<shape_error>([&] { (void)view.to_float("cube"); }) ==
        "safetensors: tensor \"cube\", U8 [1, 2, 3], has 3 dimensions; a matrix has 2");
  CHECK(tern::batch(view.at("cube").elements<std::uint8_t>().data(), view.at("cube").shape)(1, 2) == 14);

  // A type of another time is listed, its size on trust.
  CHECK(view.at("new").bytes.size() == 1);
  CHECK(message<format_error>([&] { (void)view.view<float>("new"); }) ==
        "safetensors: tensor \"new\", \"X\\u0007\" [3, 3], does not hold F32");

  // A tensor made by hand is what its maker says, and is checked where it is used.
  const safetensors_tensor wrong("wrong", "F32", {2, 2}, view.tensors()[1].bytes);
  CHECK(message<shape_error>([&] { (void)wrong.view<float>(); }) ==
        "safetensors: tensor \"wrong\", F32 [2, 2], takes 16 bytes, not 8");
  CHECK(message<shape_error>([&] { (void)wrong.to_float(); }) ==
        "safetensors: tensor \"wrong\", F32 [2, 2], takes 16 bytes, not 8");
}

TEST_CASE("safetensors: lengths that are wrong", "[io]") {
  const std::string good = file_of(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 3);
  CHECK(refusal(good) == "none");
  for (std::size_t size = 0; size < good.size(); ++size) {
    CAPTURE(size);
    CHECK_THAT(refusal(good.substr(0, size)), contains("safetensors: "));
  }
  CHECK(refusal(good.substr(0, 7)) == "safetensors: 7 bytes, fewer than the 8 of the header's length");
  CHECK(refusal(good.substr(0, 60)) == "safetensors: a header of 53 bytes in a file of 60");
  CHECK(refusal(good.substr(0, 30)) == "safetensors: a header of 53 bytes in a file of 30");
  CHECK(refusal(good.substr(0, 63)) ==
        "safetensors: tensor \"a\", U8 [3], data_offsets 0 to 3 end behind the data of 2");
  CHECK(refusal(good + "x") == "safetensors: 1 bytes of data at 3 belong to no tensor");
  CHECK(refusal(std::string(8, '\0')) == "safetensors: the header does not begin with '{'");
  CHECK(refusal(std::string("\0\xe1\xf5\5\0\0\0\0{}", 10)) ==
        "safetensors: a header of 100000000 bytes in a file of 10");
  CHECK(refusal(std::string("\1\xe1\xf5\5\0\0\0\0{}", 10)) ==
        "safetensors: a header of 100000001 bytes, of at most 100000000");
  CHECK(refusal(std::string(8, '\xff') + "{}") ==
        "safetensors: a header of 18446744073709551615 bytes, of at most 100000000");
}

TEST_CASE("safetensors: headers that are not what the format says", "[io]") {
  struct bad {
    std::string header, says;
  };
  const std::string a = R"("a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]})";
  const auto bad_headers = std::vector<bad>{
      // No JSON, or not all of it.
      {"", "does not begin with '{'"},
      {" {" + a + "}", "does not begin with '{'"},
      {"\xef\xbb\xbf{" + a + "}", "does not begin with '{'"},
      {"[1]", "does not begin with '{'"},
      {"{", "the header is no JSON: "},
      {"{" + a, "the header is no JSON: "},
      {"{" + a + ",}", "the header is no JSON: "},
      {"{" + a + "} x", "the header is no JSON: "},
      {"{" + a + "}{}", "the header is no JSON: "},
      {"{" + a + "} // remark", "the header is no JSON: "},
      {std::string("{}\0{", 4), "byte 2 of the header is 0"},
      {"{\"\xff\":1}", "the header is no JSON: "},
      {"{\"\xc0\xaf\":1}", "the header is no JSON: "},
      {"{\"\xed\xa0\x80\":1}", "the header is no JSON: "},
      {R"({"\ud800":1})", "the header is no JSON: "},
      {"{\"\n\":1}", "the header is no JSON: "},
      {R"({"a":{"dtype":"U8","shape":[1e999],"data_offsets":[0,3]}})", "the header is no JSON: "},
      // Values of the wrong kind, wherever one can stand.
      {R"({"a":1})", R"(safetensors: tensor "a": wanted an object and found a number)"},
      {R"({"a":[]})", R"(tensor "a": wanted an object and found an array)"},
      {R"({"a":null})", R"(tensor "a": wanted an object and found null)"},
      {R"({"a":{"dtype":8,"shape":[3],"data_offsets":[0,3]}})", R"("a": wanted dtype as a string and found a number)"},
      {R"({"a":{"dtype":["U8"],"shape":[3],"data_offsets":[0,3]}})", R"(wanted dtype as a string and found an array)"},
      {R"({"a":{"dtype":"U8","shape":3,"data_offsets":[0,3]}})", R"("a": wanted shape as an array and found a number)"},
      {R"({"a":{"dtype":"U8","shape":{},"data_offsets":[0,3]}})", R"(wanted shape as an array and found an object)"},
      {R"({"a":{"dtype":"U8","shape":["3"],"data_offsets":[0,3]}})", "at least 0, and found a string"},
      {R"({"a":{"dtype":"U8","shape":[[3]],"data_offsets":[0,3]}})", "at least 0, and found an array"},
      {R"({"a":{"dtype":"U8","shape":[true],"data_offsets":[0,3]}})", "at least 0, and found true"},
      {R"({"a":{"dtype":"U8","shape":[-3],"data_offsets":[0,3]}})",
       R"("a": wanted an extent, an integer of at least 0, and found -3)"},
      {R"({"a":{"dtype":"U8","shape":[3.0],"data_offsets":[0,3]}})", "at least 0, and found 3.0"},
      {R"({"a":{"dtype":"U8","shape":[36893488147419103232],"data_offsets":[0,3]}})", "and found 36893488147419103232"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":3}})", "wanted data_offsets as an array and found a number"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":["0",3]}})",
       R"("a": wanted an offset, an integer of at least 0, and found a string)"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[-1,3]}})", "and found -1"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[-0,3]}})", "and found -0"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3e0]}})", "and found 3e0"},
      {R"({"__metadata__":null,)" + a + "}", "safetensors: __metadata__: wanted an object and found null"},
      {R"({"__metadata__":"pt",)" + a + "}", "__metadata__: wanted an object and found a string"},
      {R"({"__metadata__":{"k":1},)" + a + "}", "__metadata__: wanted a string and found a number"},
      {R"({"__metadata__":{"k":{}},)" + a + "}", "__metadata__: wanted a string and found an object"},
      {R"({"__metadata__":{"k":false},)" + a + "}", "__metadata__: wanted a string and found false"},
      // Members that are missing, unknown, or there twice.
      {R"({"a":{}})", R"(tensor "a": dtype is missing)"},
      {R"({"a":{"shape":[3],"data_offsets":[0,3]}})", R"(tensor "a": dtype is missing)"},
      {R"({"a":{"dtype":"U8","data_offsets":[0,3]}})", R"(tensor "a": shape is missing)"},
      {R"({"a":{"dtype":"U8","shape":[3]}})", R"(tensor "a": data_offsets is missing)"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[]}})", R"("a": data_offsets has 0 numbers, not 2)"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[3]}})", R"("a": data_offsets has 1 numbers, not 2)"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3,3]}})", R"("a": data_offsets has 3 numbers, not 2)"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3],"x":{}}})",
       R"("a": a member "x", which the format does)"},
      {R"({"a":{"dtype":"U8","dtype":"I8","shape":[3],"data_offsets":[0,3]}})", R"(tensor "a": "dtype" appears twice)"},
      {R"({"a":{"dtype":"U8","shape":[],"shape":[3],"data_offsets":[0,3]}})", R"(tensor "a": "shape" appears twice)"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3],"data_offsets":[0,3]}})",
       R"("data_offsets" appears twice)"},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)" + a + "}", R"(tensor "a" appears twice)"},
      {R"({"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[3,3]},)" + a + "}", R"(tensor "a" appears twice)"},
      {R"({"__metadata__":{},"__metadata__":{},)" + a + "}", R"("__metadata__" appears twice)"},
      {R"({"__metadata__":{"k":"1","k":"1"},)" + a + "}", R"(__metadata__: "k" appears twice)"},
      // Shapes and offsets that contradict each other or the file.
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,3]}})", R"(tensor "a", U8 [2], takes 2 bytes, not 3)"},
      {R"({"a":{"dtype":"U8","shape":[],"data_offsets":[0,3]}})", R"(tensor "a", U8 [], takes 1 bytes, not 3)"},
      {R"({"a":{"dtype":"I32","shape":[3],"data_offsets":[0,3]}})", R"(tensor "a", I32 [3], takes 12 bytes, not 3)"},
      {R"({"a":{"dtype":"U8","shape":[3,0],"data_offsets":[0,3]}})", R"(tensor "a", U8 [3, 0], takes 0 bytes, not 3)"},
      {R"({"a":{"dtype":"F4","shape":[7],"data_offsets":[0,3]}})", R"(tensor "a", F4 [7], ends within a byte)"},
      {R"({"a":{"dtype":"F6_E2M3","shape":[3],"data_offsets":[0,3]}})",
       R"(tensor "a", F6_E2M3 [3], ends within a byte)"},
      {R"({"a":{"dtype":"F6_E3M2","shape":[8],"data_offsets":[0,3]}})", R"(F6_E3M2 [8], takes 6 bytes, not 3)"},
      {R"({"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,3]}})",
       R"("a": extent 9223372036854775808 does not fit memory)"},
      {R"({"a":{"dtype":"U8","shape":[65536,65536,65536,65536,3],"data_offsets":[0,3]}})",
       R"(tensor "a", U8 [65536, 65536, 65536, 65536, 3], does not fit memory)"},
      {R"({"a":{"dtype":"F64","shape":[65536,65536,65536,4096],"data_offsets":[0,3]}})", "does not fit memory"},
      {R"({"a":{"dtype":"U8","shape":[0,65536,65536,65536,65536],"data_offsets":[0,0]}})", "does not fit memory"},
      {R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,3]}})",
       "U8 [1, 1, 1, 1, 1, 1, 1, 1, ...], takes 4 bytes, not 3"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[3,0]}})",
       R"(tensor "a", U8 [3], data_offsets 3 to 0 end before they begin, in data of 3)"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "data_offsets 0 to 4 end behind the data of 3"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[18446744073709551613,18446744073709551615]}})",
       "data_offsets 18446744073709551613 to 18446744073709551615 end behind the data of 3"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", "data_offsets 1 to 3 leave a hole behind 0"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
       R"(tensor "b", U8 [1], data_offsets 2 to 3 leave a hole behind 1)"},
      {R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
       R"(tensor "b", U8 [2], data_offsets 1 to 3 overlap what ends at 2)"},
      {"{" + a + R"(,"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})",
       "data_offsets 0 to 3 overlap what ends at 3"},
      {"{" + a + R"(,"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}})",
       "data_offsets 1 to 1 overlap what ends at 3"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "1 bytes of data at 2 belong to no tensor"},
      {"{}", "3 bytes of data at 0 belong to no tensor"},
      {R"({"a":{"dtype":"WHAT","shape":[9],"data_offsets":[0,2]}})", "1 bytes of data at 2 belong to no tensor"},
  };
  for (const auto& [header, says] : bad_headers) {
    CAPTURE(header);
    CHECK_THAT(refusal(header, 3), contains(says));
  }
}

TEST_CASE("safetensors: headers that are unusual and right", "[io]") {
  const std::string a = R"("a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]})";
  for (
      const std::string& header : std::vector<std::string>{
          "{" + a + "}",
          "{" + a + "}       ",
          "{" + a + "}\n\t ",
          "{ \n" + a + " }",
          R"({"a":{"data_offsets":[0,3],"shape":[3],"dtype":"U8"}})",
          "{" + a + R"(,"__metadata__":{}})",
          R"({"__metadata__":{"dtype":"x","\u0000":"\ud83d\udc26"},)" + a + "}",
          R"({"a":{"dtype":"U8","shape":[1,3,1],"data_offsets":[0,3]}})",
          R"({"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}})",
          R"({"a":{"dtype":"WHAT","shape":[9],"data_offsets":[0,3]}})",
          "{" + a + R"(,"":{"dtype":"F64","shape":[0],"data_offsets":[3,3]}})",
          R"({"z":{"dtype":"F64","shape":[2,0],"data_offsets":[0,0]},)" + a + "}",
          R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},"a":{"dtype":"F16","shape":[],"data_offsets":[0,2]}})",
      }) {
    CAPTURE(header);
    CHECK(refusal(header, 3) == "none");
  }
  const std::string file = file_of(R"({"__metadata__":{"\u0000":"\ud83d\udc26"}})");
  CHECK(safetensors_view(bytes_of(file)).metadata() ==
        tern::safetensors_metadata{{std::string(1, '\0'), "\xf0\x9f\x90\xa6"}});
  CHECK(safetensors_view().tensors().empty());
}

TEST_CASE("safetensors: nesting and names of any size", "[io]") {
  constexpr std::size_t deep = 1'000'000;
  CHECK_THAT(refusal("{\"a\":" + std::string(deep, '['), 0), contains("wanted an object and found an array"));
  CHECK_THAT(refusal(R"({"a":{"dtype":"U8","shape":)" + std::string(deep, '['), 0), contains("found an array"));
  std::string objects = "{";
  for (std::size_t i = 0; i < deep; ++i) objects += "\"a\":{";
  CHECK_THAT(refusal(objects, 0), contains("a member \"a\", which the format does not have"));
  // Of a long name, or a long list, a message has the beginning.
  const std::string name(deep, 'n');
  CHECK(refusal("{\"" + name + "\":0}", 0) ==
        "safetensors: tensor \"" + name.substr(0, 100) + "\"...: wanted an object and found a number");
  CHECK(refusal("{\"" + name + "\"x", 0).size() < 400);
  std::string ones = "1";
  for (std::size_t i = 1; i < 1000; ++i) ones += ",1";
  CHECK_THAT(refusal(R"({"a":{"dtype":"U8","shape":[)" + ones + R"(],"data_offsets":[0,3]}})", 3),
             contains("tensor \"a\", U8 [1, 1, 1, 1, 1, 1, 1, 1, ...], takes 1 bytes, not 3"));
  CHECK(refusal(R"({"a":{"dtype":"U8","shape":[)" + ones + R"(,3],"data_offsets":[0,3]}})", 3) == "none");
}

TEST_CASE("safetensors: writer and reader agree on what is UTF-8", "[io]") {
  // Strings of up to four bytes around all the borders of RFC 3629; the reader's answer is that of its JSON parser.
  std::vector<std::string> strings;
  const std::vector<unsigned> tails = {0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
  const auto add = [&](auto... bytes) { strings.push_back({static_cast<char>(bytes)...}); };
  for (unsigned lead = 0x20; lead < 256; ++lead) {
    if (lead == '"' || lead == '\\') continue;
    add(lead);
    for (const unsigned b : tails) add(lead, b);
    if (lead < 0xe0) continue;
    for (const unsigned b : tails)
      for (const unsigned c : tails) {
        add(lead, b, c);
        if (lead >= 0xf0)
          for (const unsigned d : {0x7fu, 0x80u, 0xbfu, 0xc0u}) add(lead, b, c, d);
      }
  }
  std::size_t accepted = 0;
  for (const std::string& s : strings) {
    const bool reader = refusal("{\"__metadata__\":{\"" + s + "\":\"\"}}", 0) == "none";
    const bool writer = message<range_error>([&] { (void)tern::save_safetensors({}, {{s, ""}}); }) == "none";
    CAPTURE(std::vector<int>(s.begin(), s.end()));
    REQUIRE(writer == reader);
    accepted += writer;
  }
  CHECK(strings.size() > 10000);
  CHECK(accepted > 1000);
}

TEST_CASE("safetensors: what cannot be written", "[io]") {
  const std::array<std::byte, 8> eight{};
  const auto refused = [&]<class Error>(Error*, std::vector<safetensors_tensor> tensors,
                                        tern::safetensors_metadata metadata = {}) {
    const directory here;
    const auto in_file = message<Error>([&] { tern::save_safetensors_file(here / "x", tensors, metadata); });
    CHECK(here.files() == 0);
    CHECK(message<Error>([&] { (void)tern::save_safetensors(tensors, metadata); }) == in_file);
    return in_file;
  };
  shape_error* const shape = nullptr;
  range_error* const range = nullptr;
  CHECK(refused(shape, {{"w", "F32", {3}, eight}}) == "save_safetensors: tensor \"w\", F32 [3], takes 12 bytes, not 8");
  CHECK(refused(shape, {{"w", "F4", {3}, eight}}) == "save_safetensors: tensor \"w\", F4 [3], ends within a byte");
  CHECK(refused(shape, {{"w", "F32", {static_cast<std::size_t>(-1), 0}, {}}}) ==
        "save_safetensors: tensor \"w\", F32 [" + std::to_string(static_cast<std::size_t>(-1)) +
            ", 0], does not fit memory");
  CHECK(refused(range, {{"w", "f32", {2}, eight}}) ==
        "save_safetensors: tensor \"w\", \"f32\" [2], is of a type that the format does not know");
  CHECK(refused(range, {{"__metadata__", "F32", {2}, eight}}) ==
        "save_safetensors: a tensor cannot have the name __metadata__");
  CHECK(refused(range, {{"w", "F32", {2}, eight}, {"v", "F32", {2}, eight}, {"w", "U8", {8}, eight}}) ==
        "save_safetensors: a second tensor \"w\"");
  CHECK(refused(range, {{"\xff", "F32", {2}, eight}}) == "save_safetensors: a string of 1 bytes is not UTF-8");
  CHECK(refused(range, {}, {{"k", "1234\xc3"}}) == "save_safetensors: a string of 5 bytes is not UTF-8");
  const tern::safetensors_metadata large = {{"k", std::string(100'000'000 / 6, '\1')}};  // six bytes each in JSON
  CHECK(message<range_error>([&] { (void)tern::save_safetensors({}, large); }) ==
        "save_safetensors: a header of 100000056 bytes, of at most 100000000");

  const tern::matrix<float> w(4, 4);
  const tern::matrix_view<const float> half(w.data(), 4, 2, 4);
  CHECK(message<shape_error>([&] { (void)tern::tensor_of("w", half); }) ==
        "tensor_of: rows of 2 elements at a stride of 4");
  CHECK(tern::tensor_of("w", tern::matrix_view<const float>(w.data(), 1, 2, 4)).shape ==
        std::vector<std::size_t>{1, 2});
  CHECK(tern::tensor_of("w", tern::matrix_view<const float>(w.data(), 3, 0, 4)).bytes.empty());
}

TEST_CASE("safetensors: tensors of matrices and vectors are their bytes in place", "[io]") {
  const auto check = [](auto element, const char* dtype) {
    using T = decltype(element);
    static_assert(
        !requires { tern::tensor_of("m", tern::matrix<T>(2, 3)); }, "its elements would be gone");
    tern::matrix<T> m(2, 3);
    m(1, 2) = element;
    const auto t = tern::tensor_of("m", m);
    CHECK(t.name == "m");
    CHECK(t.dtype == dtype);
    CHECK(t.shape == std::vector<std::size_t>{2, 3});
    CHECK(t.bytes.data() == reinterpret_cast<const std::byte*>(m.data()));
    CHECK(t.bytes.size() == 6 * sizeof(T));
    CHECK(&t.template view<T>()(1, 2) == &m(1, 2));
    CHECK(tern::tensor_of("m", m.view()).bytes.data() == t.bytes.data());
    const auto v = tern::tensor_of("v", std::span(m.data(), 6));
    CHECK(v.dtype == dtype);
    CHECK(v.shape == std::vector<std::size_t>{6});
    CHECK(&v.template elements<T>()[5] == &m(1, 2));
  };
  check(1.0f, "F32");
  check(tern::half(1.0f), "F16");
  check(tern::bfloat16(1.0f), "BF16");
  check(std::int8_t{1}, "I8");
  check(std::uint8_t{1}, "U8");
  static_assert(!tern::safetensors_element<double> && !tern::safetensors_element<bool>);
}

TEST_CASE("safetensors_file: written whole or not at all, also over itself", "[io]") {
  const directory here;
  const std::string path = here / "model.safetensors";
  tern::matrix<float> w(3, 5);
  for (std::size_t i = 0; i < 15; ++i) w.data()[i] = static_cast<float>(i);
  const std::vector<safetensors_tensor> tensors = {tern::tensor_of("w", w)};
  tern::save_safetensors_file(path, tensors, {{"k", "v"}});
  CHECK(here.files() == 1);
  CHECK(text_of(tern::mapped_file(path).bytes()) == text_of(tern::save_safetensors(tensors, {{"k", "v"}})));

  const safetensors_file old(path);
  std::vector<safetensors_tensor> more(old.tensors().begin(), old.tensors().end());
  more.emplace_back("pi", "F64", std::vector<std::size_t>{}, std::as_bytes(std::span(&std::numbers::pi, 1)));
  tern::save_safetensors_file(path, more);
  CHECK(here.files() == 1);
  const safetensors_file now(path);
  CHECK(now.tensors().size() == 2);
  CHECK(now.view<float>("w")(2, 4) == 14.0f);
  CHECK(old.view<float>("w")(2, 4) == 14.0f);
  CHECK(old.find("pi") == nullptr);

  CHECK(message<io_error>([&] { tern::save_safetensors_file(here / "absent/x", tensors); }) ==
        "save_safetensors_file: cannot create " + (here / "absent/x") + ".tmp0: No such file or directory");
  CHECK(message<io_error>([&] { safetensors_file(here / "absent"); }) ==
        "mapped_file: cannot open " + (here / "absent") + ": No such file or directory");
  CHECK(message<format_error>([&] { safetensors_file(TERN_TEST_DATA "/make_safetensors.py"); }) != "none");
}

TEST_CASE("safetensors_file: views move with the file", "[io]") {
  const directory here;
  const tern::matrix<float> w(1, 1, {2.5f});
  const safetensors_tensor tensors[] = {tern::tensor_of("w", w)};
  tern::save_safetensors_file(here / "a", tensors);
  safetensors_file first(here / "a");
  const auto view = first.view<float>("w");
  const safetensors_file second = std::move(first);
  CHECK(second.view<float>("w").data() == view.data());
  safetensors_file third;
  CHECK(third.tensors().empty());
  third = safetensors_file(here / "a");
  CHECK(third.view<float>("w")(0, 0) == 2.5f);
  const safetensors_view copy = third;  // valid as long as third
  CHECK(copy.view<float>("w").data() == third.view<float>("w").data());
  CHECK(view(0, 0) == 2.5f);
}

TEST_CASE("safetensors_file: opening costs the header", "[io]") {
  if (sizeof(void*) < 8) SKIP("no address space for 8 GiB");
  const directory here;
  constexpr std::uint64_t size = std::uint64_t{1} << 33;  // all of it a hole
  const std::string header = file_of(R"({"w":{"dtype":"U8","shape":[8,1073741824],"data_offsets":[0,8589934592]}})");
  std::FILE* const file = std::fopen((here / "large").c_str(), "wb");
  REQUIRE(file != nullptr);
  REQUIRE(std::fwrite(header.data(), 1, header.size(), file) == header.size());
  REQUIRE(std::fclose(file) == 0);
  std::filesystem::resize_file(here / "large", header.size() + size);

  rusage before{}, after{};
  REQUIRE(::getrusage(RUSAGE_SELF, &before) == 0);
  const safetensors_file large(here / "large");
  CHECK(large.view<std::uint8_t>("w").rows() == 8);
  REQUIRE(::getrusage(RUSAGE_SELF, &after) == 0);
  // Who touches all of it has a fault for each of 2,097,152 pages of 4 KiB, or, where the system maps 16 at once, for
  // 131,072 of them. qemu has 13,000 of its own.
  CHECK(after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt < 65'536);
  CHECK(large.view<std::uint8_t>("w")(7, 1073741823) == 0);
}
