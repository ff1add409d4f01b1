// SPDX-License-Identifier: MIT
#include <tern/io/safetensors_layer.hpp>

#include <algorithm>
#include <memory>
#include <random>

#include "io/blobs.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern::any_linear;
using tern::format_error;
using tern::safetensors_tensor;
using tern_test::contains, tern_test::draw_matrix, tern_test::draw_quantized, tern_test::same;

namespace {

constexpr std::size_t outputs = 21, inputs = 96;

std::vector<float> bias_of(std::size_t count) {
  const auto b = draw_matrix(1, count, 2);
  return std::vector<float>(b.data(), b.data() + count);
}

tern::input_scaling scaling_of(std::size_t count, float first = 0.3f) {
  std::vector<float> scales(count);
  for (std::size_t k = 0; k < count; ++k) scales[k] = first + 0.1f * static_cast<float>(k % 11);
  return tern::input_scaling(scales);
}

struct own_activations : tern::float_activations {};

/// The file of one layer "w", its description and tensors changed by somebody.
struct changed_file {
  std::shared_ptr<const tern::layer_tensors> of;
  std::string description;
  std::vector<safetensors_tensor> tensors;
  std::vector<tern::aligned_bytes> owned = {};

  explicit changed_file(std::shared_ptr<const tern::layer_tensors> layer)
      : of(std::move(layer)),
        description(of->metadata().at("tern:w")),
        tensors(of->tensors().begin(), of->tensors().end()) {}

  changed_file& replace(const std::string& from, const std::string& to) {
    const std::size_t at = description.find(from);
    REQUIRE(at != std::string::npos);
    description.replace(at, from.size(), to);
    return *this;
  }
  safetensors_tensor& tensor(const std::string& name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
  }
  /// A copy of a tensor's bytes, which the tensor then has.
  std::span<std::byte> writable(const std::string& name) {
    safetensors_tensor& t = tensor(name);
    owned.emplace_back(t.bytes.size());
    std::memcpy(owned.back().data(), t.bytes.data(), t.bytes.size());
    t.bytes = std::as_const(owned.back());
    return owned.back();
  }
  any_linear load(std::span<const float> bias = {}) const {
    const tern::aligned_bytes bytes = tern::save_safetensors(tensors, {{"tern:w", description}});
    return tern::load_any_linear(tern::safetensors_view(bytes), "w", bias);
  }
  /// What loading says; other errors than format_error pass through and fail the test.
  std::string refusal() const {
    try {
      load();
      return "none";
    } catch (const format_error& e) {
      return e.what();
    }
  }
};

std::shared_ptr<const tern::layer_tensors> tensors_of(const any_linear& layer) {
  const auto out = std::make_shared<tern::layer_tensors>();
  out->add("w", layer);
  return out;
}

/// Saves and loads a layer: blob, transforms, columns, description and outputs are the same.
void check_same(const any_linear& layer) {
  const auto out = tensors_of(layer);
  const tern::aligned_bytes bytes = tern::save_safetensors(out->tensors(), out->metadata());
  const tern::safetensors_view file(bytes);
  CHECK(static_cast<std::size_t>(file.at("w").bytes.data() - bytes.data()) % 64 == 0);
  const any_linear loaded = tern::load_any_linear(file, "w");
  const tern::aligned_bytes blob = layer.blob(), other = loaded.blob();
  CHECK(tern_test::equal(blob, other));
  CHECK(tern_test::equal(layer.outlier_weights().storage(), loaded.outlier_weights().storage()));
  CHECK(loaded.storage_bytes() == layer.storage_bytes());
  CHECK(std::equal(layer.outlier_columns().begin(), layer.outlier_columns().end(), loaded.outlier_columns().begin(),
                   loaded.outlier_columns().end()));
  CHECK(tensors_of(loaded)->metadata() == out->metadata());
  const auto x = draw_matrix(3, layer.in_features(), 7);
  const any_linear viewed = tern::view_any_linear(file, "w");
  CHECK(same(viewed(x), layer(x)));
  CHECK(tern_test::equal(viewed.blob(), blob));
  CHECK(same(loaded(x), layer(x)));
  CHECK(same(loaded.dequantized(), layer.dequantized()));
}

template <class Codec>
any_linear layer_of(const tern::quantized_matrix& q, tern::scale_type scales, std::vector<tern::any_transform> t,
                    std::vector<float> bias = {}) {
  return any_linear(
      tern::linear<tern::packed_matrix<Codec>>(
          tern::packed_matrix<Codec>(q, {.scales = scales}, tern_test::codec_to_save<Codec>()), std::move(bias)),
      std::move(t));
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("safetensors layer: every codec by granularity by transform comes back", "[io]", tern::codecs) {
  std::mt19937 random(1);
  const tern::hadamard_rotation r(inputs, 0xffffffffffffffffu, 32);
  const auto s = scaling_of(inputs);
  const std::vector<std::vector<tern::any_transform>> transforms = {
      {}, {r}, {s}, {s, r}, {r, s, scaling_of(inputs, 2)}};
  const tern::scale_type scale_types[] = {tern::scale_type::float32, tern::scale_type::float16,
                                          tern::scale_type::bfloat16};
  std::size_t turn = 0;
  for (const tern::granularity granularity :
       {tern::per_tensor, tern::per_channel, tern::per_group(TestType::group_multiple)})
    for (const auto& t : transforms) {
      const bool zeros = std::same_as<TestType, tern::i8> && turn % 2 == 0;
      const std::size_t planes = 1 + turn % 3;
      const auto q = draw_quantized<TestType>(random, planes, outputs, inputs, granularity, zeros);
      check_same(
          layer_of<TestType>(q, scale_types[turn % 3], t, turn % 2 == 0 ? bias_of(outputs) : std::vector<float>()));
      ++turn;
    }
}

TEST_CASE("safetensors layer: float activations come back", "[io]") {
  const auto w = draw_matrix(outputs, inputs, 1);
  const any_linear layer(tern::int8_weight_only_linear::from_float(w, bias_of(outputs)));
  check_same(layer);
  check_same(
      any_linear(tern::int8_weight_only_linear::from_float(w), {scaling_of(inputs), tern::hadamard_rotation(inputs)}));
  check_same(any_linear(tern::linear<tern::int4_matrix, tern::float_activations>::from_float(w)));
  const auto good = tensors_of(layer);
  CHECK_THAT(good->metadata().at("tern:w"), contains(R"(, "activations": "float", "transforms": [])"));
  CHECK(changed_file(good).load().has_float_activations());

  // Without the word they are int8, as in files that know none; no other word is known.
  const std::string text = R"("activations": "float", )";
  const any_linear int8 = changed_file(good).replace(text, "").load();
  CHECK(!int8.has_float_activations());
  const auto x = draw_matrix(3, inputs, 7);
  CHECK(same(int8(x), tern::int8_linear::from_float(w, bias_of(outputs))(x)));
  CHECK(!same(int8(x), layer(x)));
  const std::string says = "safetensors: layer \"w\": ";
  for (const char* value : {"\"int8\"", "\"Float\"", "\"\"", "32", "true", "null", "[\"float\"]", "{}"})
    CHECK(changed_file(good).replace("\"float\"", value).refusal() == says + "activations that are not \"float\"");
  CHECK(changed_file(good).replace(text, text + text).refusal() == says + "the description has \"activations\" twice");
  // They come with integers of 8 and 4 bits.
  const auto trits = tensors_of(any_linear(tern::bit_linear::from_float(w)));
  CHECK(changed_file(trits).replace("\"transforms\"", text + "\"transforms\"").refusal() ==
        says + "float activations with codec i2");
  tern::layer_tensors out;
  const any_linear real_trits(tern::linear<tern::ternary_matrix<>, tern::float_activations>::from_float(w));
  CHECK_THROWS_AS(out.add("w", real_trits), tern::range_error);
  CHECK_THROWS_WITH(out.add("w", real_trits), contains("has float activations with codec i2, not n4 or i8"));
  // A policy of the program's own would come back as another one.
  const any_linear own(tern::linear<tern::int8_matrix, own_activations>::from_float(w));
  CHECK(own.has_own_activations());
  CHECK(!real_trits.has_own_activations());
  CHECK_THROWS_AS(out.add("w", own), tern::range_error);
  CHECK_THROWS_WITH(out.add("w", own), contains("a policy that is neither"));
  CHECK(out.tensors().empty());
  CHECK(out.metadata().empty());
  // LLM.int8() layers have int8 activations.
  for (const auto& llm : {any_linear(tern::llm_int8_static_linear::from_float(w, {3, 4})),
                          any_linear(tern::llm_int8_linear::from_float(w))})
    CHECK(changed_file(tensors_of(llm)).replace("\"transforms\"", text + "\"transforms\"").refusal() ==
          says + "the description has \"activations\", which such a layer does not");
}

TEST_CASE("safetensors layer: LLM.int8() and int4 come back", "[io]") {
  const auto w = draw_matrix(outputs, inputs, 1);
  for (const float threshold : {0.0f, 0.1f, 6.0f, std::numeric_limits<float>::infinity()})
    check_same(any_linear(tern::llm_int8_linear::from_float(w, bias_of(outputs), {.threshold = threshold})));
  check_same(any_linear(tern::llm_int8_linear::from_float(w, bias_of(outputs), {.threshold = 1, .outlier_bits = 16})));
  check_same(any_linear(tern::llm_int8_static_linear::from_float(w, {0, 50, 95}, bias_of(outputs))));
  check_same(any_linear(tern::llm_int8_static_linear::from_float(w, {}), {scaling_of(inputs)}));
  const tern::int8_matrix packed(tern::quantize_absmax(w, tern::per_tensor), {.scales = tern::scale_type::float16});
  check_same(any_linear(tern::llm_int8_static_linear(packed, {7, 8}), {tern::hadamard_rotation(inputs)}));
  const tern::packed_matrix<tern::i8> own(tern::quantize_absmax(draw_matrix(outputs, 2, 8)));
  check_same(any_linear(tern::llm_int8_static_linear(packed, {7, 8}, own)));
  check_same(any_linear(tern::int4_linear::from_float(w), {tern::hadamard_rotation(inputs)}));
  check_same(any_linear(tern::int8_linear::from_float(tern::matrix<float>(0, inputs)),
                        {tern::hadamard_rotation(inputs), scaling_of(inputs)}));
  check_same(any_linear(tern::int8_linear::from_float(tern::matrix<float>(outputs, 0)), {scaling_of(0)}));
}

TEST_CASE("safetensors layer: the description, letter by letter", "[io]") {
  tern::quantized_trit_code q(tern::quantized_matrix(1, 32, 320, tern::per_group(160)), {{9, 5, 3}});
  using layer = tern::linear<tern::trit_code_matrix<tern::b3x3>>;
  const any_linear rotated(layer(q, {}, {.scales = tern::scale_type::float16}),
                           {scaling_of(320), tern::hadamard_rotation(320, 7)});
  tern::layer_tensors out;
  // 2 panels of 16 blocks of 192 bytes, 2 x 2 x 16 scales of 2; 4 x 320 and 192 of the blob's header.
  CHECK(out.add("a.weight", rotated) == 192 + 6144 + 128 + 1280);
  out.add("b", any_linear(tern::llm_int8_static_linear::from_float(draw_matrix(16, 16, 1), {3, 4})));
  out.add("c", any_linear(tern::llm_int8_linear::from_float(draw_matrix(16, 16, 1))));
  out.add_metadata("format", "pt");
  const std::string end = R"("scales": "F32", "zero_points": false, "bias": false, "bits_per_weight": )";
  const tern::safetensors_metadata want = {
      {"format", "pt"},
      {"tern:a.weight",
       R"({"version": 1, "codec": "b3x3", "shape": [32, 320], "planes": 1, "code": [9, 5, 3], "granularity": "group", )"
       R"("group": 160, "scales": "F16", "zero_points": false, "bias": false, "bits_per_weight": 5.9000, )"
       R"("transforms": [{"input_scale": "a.weight.input_scale"}, {"hadamard": {"seed": 7, "block": 64}}]})"},
      {"tern:b", R"({"version": 1, "codec": "i8", "shape": [16, 16], "planes": 1, "granularity": "channel", )" + end +
                     R"(20.5000, "transforms": [], "outlier_columns": "b.outlier_columns", )"
                     R"("outlier_weights": "b.outlier_weights"})"},
      {"tern:c", R"({"version": 1, "codec": "i8", "shape": [16, 16], "planes": 1, "granularity": "channel", )" + end +
                     R"(12.0000, "transforms": [], "outliers_from": 6})"}};
  CHECK(out.metadata() == want);
  std::vector<std::string> names;
  for (const auto& t : out.tensors()) names.push_back(t.name + " " + t.dtype + " " + std::to_string(t.shape.at(0)));
  CHECK(names == std::vector<std::string>{"a.weight U8 6464", "a.weight.input_scale F32 320", "b U8 576",
                                          "b.outlier_columns I64 2", "b.outlier_weights U8 448", "c U8 576"});
  const tern::aligned_bytes bytes = tern::save_safetensors(out.tensors(), out.metadata());
  const tern::safetensors_view file(bytes);
  CHECK(tern::quantized_names(file) == std::vector<std::string>{"a.weight", "b", "c"});

  // Another program may write the same JSON otherwise.
  changed_file other(tensors_of(any_linear(tern::int8_linear::from_float(draw_matrix(16, 16, 1)))));
  other.description =
      R"({"transforms":[],"bits_per_weight":12,"zero_points":false,"scales":"F32","granularity":"channel","bias":false,
          "planes":1,"shape":[16,16],"codec":"i8","version":1})";
  CHECK(other.refusal() == "none");
}

TEST_CASE("safetensors layer: in place and elsewhere", "[io]") {
  const auto layer = tern::bit_linear::from_float(draw_matrix(outputs, inputs, 1));
  tern::layer_tensors out;
  const std::vector<std::byte> odd(3), even(4), half_line(32);
  out.add({"odd", "U8", {3}, odd});
  out.add({"even", "F32", {1}, even});
  out.add({"half", "F64", {4}, half_line});  // 32 bytes: what came behind would not lie at 64
  out.add("w", any_linear(layer));
  tern::layer_tensors moved = std::move(out);
  const tern::aligned_bytes bytes = tern::save_safetensors(moved.tensors(), moved.metadata());
  const tern::safetensors_view file(bytes);
  CHECK(file.tensors()[0].name == "w");
  const auto [weights, bias] = tern::view_blob<tern::bit_linear>(file.at("w").bytes);
  CHECK(tern_test::equal(weights.storage(), layer.weights().storage()));
  CHECK(weights.storage().data() == file.at("w").bytes.data() + 192);

  // A file at an odd address is loaded all the same, and cannot be viewed.
  const auto x = draw_matrix(2, inputs, 3);
  std::vector<std::byte> shifted(bytes.size() + 1);
  std::memcpy(shifted.data() + 1, bytes.data(), bytes.size());
  const tern::safetensors_view odd_file(std::span<const std::byte>(shifted).subspan(1));
  CHECK(same(tern::load_any_linear(odd_file, "w")(x), layer(x)));
  CHECK_THROWS_AS(tern::view_any_linear(odd_file, "w"), format_error);

  // What is viewed shows what the bytes become; what is loaded has its own, and its checksum tells.
  tern::aligned_bytes changing = bytes;
  const tern::safetensors_view live(changing);
  const any_linear loaded = tern::load_any_linear(live, "w"), viewed = tern::view_any_linear(live, "w");
  CHECK(same(loaded(x), layer(x)));
  CHECK(same(viewed(x), layer(x)));
  const std::ptrdiff_t at = live.at("w").bytes.data() - std::as_const(changing).data() + 192;
  changing.data()[at] ^= std::byte{0xff};
  CHECK(same(loaded(x), layer(x)));
  CHECK(!same(viewed(x), layer(x)));
  CHECK(!same(tern::view_any_linear(live, "w")(x), layer(x)));
  CHECK_THROWS_WITH(tern::load_any_linear(live, "w"), contains("the contents are damaged"));
}

TEST_CASE("safetensors layer: a bias of its own", "[io]") {
  const auto w = draw_matrix(outputs, inputs, 1), x = draw_matrix(2, inputs, 3);
  const auto bias = bias_of(outputs);
  const changed_file plain(tensors_of(any_linear(tern::int8_linear::from_float(w))));
  CHECK(same(plain.load(bias)(x), tern::int8_linear::from_float(w, bias)(x)));
  CHECK_THROWS_WITH(plain.load(bias_of(20)), contains("layer \"w\": 20 biases for 21 outputs"));
  CHECK_THROWS_AS(plain.load(bias_of(20)), tern::shape_error);
  const changed_file with(tensors_of(any_linear(tern::int8_linear::from_float(w, bias))));
  CHECK_THROWS_WITH(with.load(bias), contains("a bias is given, and the blob has one"));
  CHECK_THROWS_AS(tern::load_any_linear(tern::safetensors_view(), "w"), tern::range_error);
}

TEST_CASE("safetensors layer: descriptions that contradict the tensors", "[io]") {
  const auto w = draw_matrix(outputs, inputs, 1);
  using trits = tern::trit_code_linear;
  const auto good =
      tensors_of(any_linear(trits(tern::quantize_trit_code(w, {.granularity = tern::per_group(32), .code = {{7, 5}}})),
                            {scaling_of(inputs), tern::hadamard_rotation(inputs, 3, 32)}));
  CHECK(changed_file(good).refusal() == "none");
  const auto says = [&](const std::string& from, const std::string& to) {
    return changed_file(good).replace(from, to).refusal();
  };
  const std::string layer = "safetensors: layer \"w\": ";
  const auto contradiction = [&](const std::string& name) {
    return layer + "the description's \"" + name + "\" is not what the tensors say";
  };
  CHECK(says("\"n4\"", "\"i2\"") == contradiction("codec"));
  CHECK(says("\"n4\"", "1") == contradiction("codec"));
  CHECK(says("[21, 96]", "[96, 21]") == contradiction("shape"));
  CHECK(says("[21, 96]", "[21, 96, 1]") == contradiction("shape"));
  CHECK(says("\"planes\": 1", "\"planes\": 2") == contradiction("planes"));
  CHECK(says("[7, 5]", "[3, 2]") == contradiction("code"));
  CHECK(says("\"granularity\": \"group\"", "\"granularity\": \"channel\"") == contradiction("granularity"));
  CHECK(says("\"group\": 32", "\"group\": 16") == contradiction("group"));
  CHECK(says("\"F32\"", "\"F16\"") == contradiction("scales"));
  CHECK(says("\"zero_points\": false", "\"zero_points\": true") == contradiction("zero_points"));
  CHECK(says("\"bias\": false", "\"bias\": true") == contradiction("bias"));
  CHECK(says("\"bits_per_weight\": ", "\"bits_per_weight\": 1") == contradiction("bits_per_weight"));
  CHECK(says("\"bias\": false, ", "") == layer + "the description's \"bias\" is missing");
  CHECK(says("\"bias\": false", "\"bias\": false, \"new\": 1") ==
        layer + "the description has \"new\", which such a layer does not");
  CHECK(says("\"bias\": false", "\"bias\": false, \"bias\": false") == layer + "the description has \"bias\" twice");
  CHECK(says("\"version\": 1", "\"version\": 2") ==
        layer + "the description is not of version 1, which this program reads");
  CHECK(says("\"version\": 1, ", "") == layer + "the description is not of version 1, which this program reads");
  CHECK(says("}", "") == layer + "the description is no JSON object");
  CHECK(says("{\"version\": 1", "{\"x\": [[[[[[[[1]]]]]]]], \"version\": 1") ==
        layer + "the description is nested too deeply");

  // Transforms.
  CHECK(says("\"seed\": 3", "\"seed\": -3") == layer + "a rotation without seed or block");
  CHECK(says("\"seed\": 3, ", "") == layer + "a rotation without seed or block");
  CHECK(says("{\"seed\": 3, \"block\": 32}", "[3, 32]") == layer + "a rotation without seed or block");
  CHECK(says("\"seed\": 3", "\"seed\": 3, \"sign\": 1") == contradiction("transforms"));
  CHECK_THAT(says("\"block\": 32", "\"block\": 33"), contains("33 is not a power of two"));
  CHECK(says("\"block\": 32", "\"block\": 0") == contradiction("transforms"));
  CHECK(says("\"hadamard\"", "\"fourier\"") == layer + "transform 1 is neither a rotation nor an input_scale");
  CHECK(says("\"transforms\"", "\"transform\"") == layer + "the description has no list of transforms");
  CHECK(says("\"w.input_scale\"", "7") == layer + "transform 0 is neither a rotation nor an input_scale");
  CHECK(says("\"w.input_scale\"", "\"v\"") == layer + "the tensor \"v\" is missing");
  CHECK(says("\"w.input_scale\"", "\"w\"") == layer + "tensor \"w\", U8 [2112], should be F32 of one dimension");

  // No more than 16 of them, which the writer keeps to.
  const auto repeated = [&](std::size_t times) {
    return any_linear(tern::int8_linear::from_float(w),
                      std::vector<tern::any_transform>(times, tern::hadamard_rotation(inputs)));
  };
  check_same(repeated(16));
  CHECK_THROWS_WITH(tensors_of(repeated(17)), contains("layer \"w\" has 17 transforms, of at most 16"));
  CHECK(changed_file(tensors_of(repeated(16))).replace("}}]", "}}, {}]").refusal() ==
        layer + "17 transforms, of at most 16");

  for (const char* text : {"", "1", "[]", "null", "{}", "{", "\"w\"", "{\"version\": 1}"}) {
    changed_file file(good);
    file.description = text;
    CHECK_THAT(file.refusal(), contains("layer \"w\": the description"));
  }
}

TEST_CASE("safetensors layer: tensors that are missing or wrong", "[io]") {
  const auto w = draw_matrix(outputs, inputs, 1);
  const std::string layer = "safetensors: layer \"w\": ";
  const auto good = tensors_of(any_linear(tern::llm_int8_static_linear::from_float(w, {3, 4}), {scaling_of(inputs)}));
  CHECK(changed_file(good).refusal() == "none");

  changed_file missing(good);
  missing.tensors.erase(missing.tensors.begin());
  CHECK(missing.refusal() == layer + "the tensor \"w\" is missing");
  changed_file signed_bytes(good);
  signed_bytes.tensor("w").dtype = "I8";
  CHECK_THAT(signed_bytes.refusal(), contains("should be U8 of one dimension"));
  changed_file flat(good);
  flat.tensor("w").shape = {1, flat.tensor("w").bytes.size()};
  CHECK_THAT(flat.refusal(), contains("should be U8 of one dimension"));

  // The blob: damaged, cut, of another kind.
  changed_file damaged(good);
  damaged.writable("w")[300] ^= std::byte{1};
  CHECK_THAT(damaged.refusal(), contains(layer) && contains("the contents are damaged"));
  changed_file header(good);
  header.writable("w")[30] ^= std::byte{1};
  CHECK_THAT(header.refusal(), contains(layer) && contains("the header is damaged"));
  changed_file cut(good);
  cut.tensor("w").bytes = cut.tensor("w").bytes.first(256);
  cut.tensor("w").shape = {256};
  CHECK_THAT(cut.refusal(), contains(layer) && contains("are cut to 256"));
  changed_file foreign(good);
  const std::span<std::byte> named = foreign.writable("w");
  tern_test::put(named, 64, "q9");
  tern_test::fix_checksums(named);
  CHECK(foreign.refusal() == layer + "codec q9 is none of tern's");

  // Scales of inputs.
  changed_file few(good);
  few.tensor("w.input_scale").bytes = few.tensor("w.input_scale").bytes.first(95 * 4);
  few.tensor("w.input_scale").shape = {95};
  CHECK(few.refusal() == layer + "tensor \"w.input_scale\", F32 [95], should have 96 elements");
  changed_file negative(good);
  tern_test::put(negative.writable("w.input_scale"), 8, -1.0f);
  CHECK(negative.refusal() == layer + "input_scaling: scale 2 is -1, not above 0 and finite");

  // Columns.
  const auto columns = [&](std::int64_t first, std::int64_t second) {
    changed_file file(good);
    const std::span<std::byte> bytes = file.writable("w.outlier_columns");
    tern_test::put(bytes, 0, first);
    tern_test::put(bytes, 8, second);
    return file.refusal();
  };
  CHECK(columns(3, 5) == "none");  // nothing contradicts it
  // Weights of the columns.
  changed_file narrow(good);
  const tern::aligned_bytes other =
      tern::save(tern::packed_matrix<tern::i8>(tern::quantize_absmax(draw_matrix(21, 3, 4))));
  narrow.tensor("w.outlier_weights").bytes = other;
  narrow.tensor("w.outlier_weights").shape = {other.size()};
  CHECK_THAT(narrow.refusal(), contains(layer) && contains("the weights of 2 outlier columns are 1 planes of 21x3"));
  changed_file trits(good);
  const tern::aligned_bytes of_trits = tern::save(tern::bit_linear::from_float(draw_matrix(21, 2, 4)).weights());
  trits.tensor("w.outlier_weights").bytes = of_trits;
  trits.tensor("w.outlier_weights").shape = {of_trits.size()};
  CHECK_THAT(trits.refusal(), contains(layer) && contains("holds codec i2, not i8"));
  changed_file weightless(good);
  weightless.replace(", \"outlier_weights\": \"w.outlier_weights\"", "");
  CHECK(weightless.refusal() == layer + "the description has outlier_columns but no outlier_weights");
  changed_file worn(good);
  worn.writable("w.outlier_weights")[200] ^= std::byte{1};
  CHECK_THAT(worn.refusal(), contains(layer) && contains("the contents are damaged"));

  CHECK_THAT(columns(4, 3), contains("does not ascend"));
  CHECK_THAT(columns(4, 4), contains("does not ascend"));
  CHECK_THAT(columns(4, 96), contains("is not one of 96"));
  CHECK_THAT(columns(-1, 3), contains("column 18446744073709551615"));
  changed_file none(good);
  none.replace(", \"outlier_columns\": \"w.outlier_columns\", \"outlier_weights\": \"w.outlier_weights\"", "");
  CHECK_THAT(none.refusal(), contains("\"bits_per_weight\" is not what the tensors say"));
  CHECK_THAT(changed_file(good).replace("\"w.outlier_columns\"", "\"w.input_scale\"").refusal(),
             contains("should be I64 of one dimension"));

  // Weights of the columns.
  const auto with_weights = [&](const auto& weights) {
    changed_file file(good);
    file.owned.push_back(tern::save(weights));
    safetensors_tensor& t = file.tensor("w.outlier_weights");
    t.bytes = std::as_const(file.owned.back());
    t.shape = {t.bytes.size()};
    return file.refusal();
  };
  const auto packed = [&](std::size_t planes, std::size_t rows, std::size_t cols) {
    return tern::packed_matrix<tern::i8>(tern::quantized_matrix(planes, rows, cols, tern::per_channel));
  };
  const std::string weights = layer + "the weights of 2 outlier columns are ";
  CHECK(with_weights(packed(1, outputs, 2)) ==
        layer + "the description's \"bits_per_weight\" is not what the tensors say");
  CHECK(with_weights(packed(3, outputs, 2)) == weights + "3 planes of 21x2 for 21 outputs");
  CHECK(with_weights(packed(2, 20, 2)) == weights + "2 planes of 20x2 for 21 outputs");
  CHECK(with_weights(packed(2, outputs, 3)) == weights + "2 planes of 21x3 for 21 outputs");
  CHECK_THAT(with_weights(tern::packed_matrix<tern::i2>(tern::quantized_matrix(1, outputs, 2, tern::per_channel))),
             contains("holds codec i2, not i8"));
  CHECK_THAT(with_weights(tern::int8_matrix(tern::quantize_absmax(draw_matrix(outputs, 2, 1), tern::per_group(16)))),
             contains("not one for every 16 inputs"));
  changed_file damaged_weights(good);
  damaged_weights.writable("w.outlier_weights")[200] ^= std::byte{1};
  CHECK_THAT(damaged_weights.refusal(), contains("the contents are damaged"));
  CHECK(changed_file(good).replace(", \"outlier_weights\": \"w.outlier_weights\"", "").refusal() ==
        layer + "the description has outlier_columns but no outlier_weights");

  // Columns of a layer that cannot have them.
  changed_file ternary(tensors_of(any_linear(tern::bit_linear::from_float(w))));
  ternary.replace("[]", "[], \"outlier_columns\": \"c\"");
  ternary.owned.emplace_back(8);
  ternary.tensors.push_back({"c", "I64", {1}, std::as_const(ternary.owned.back())});
  CHECK(ternary.refusal() == layer + "the description has \"outlier_columns\", which such a layer does not");

  // LLM.int8() that is none, and the reverse.
  changed_file threshold(tensors_of(any_linear(tern::llm_int8_linear::from_float(w))));
  CHECK_THAT(changed_file(threshold).replace("from\": 6", "from\": 7").refusal(),
             contains("\"outliers_from\" is not what the tensors say"));
  CHECK_THAT(changed_file(threshold).replace(", \"outliers_from\": 6", "").refusal(),
             contains("\"outliers_from\" is missing"));
}

TEST_CASE("safetensors layer: nothing is allocated on the word of a blob without rows", "[io]") {
  const auto of_columns = [](std::uint64_t cols, std::uint64_t planes) {
    changed_file file(tensors_of(any_linear(tern::linear<tern::packed_matrix<tern::i2>>(tern::packed_matrix<tern::i2>(
                                                tern::quantized_matrix(1, 0, 64, tern::per_channel))),
                                            {tern::hadamard_rotation(64)})));
    const std::span<std::byte> bytes = file.writable("w");
    tern_test::put(bytes, 32, cols);
    tern_test::put(bytes, 40, planes);
    tern_test::fix_checksums(bytes);
    return file.refusal();
  };
  constexpr std::uint64_t many = std::uint64_t{1} << (sizeof(std::size_t) == 8 ? 60 : 28);
  CHECK_THAT(of_columns(many, 1), contains("no outputs of"));
  CHECK_THAT(of_columns(64, many), contains("planes without rows"));
}
