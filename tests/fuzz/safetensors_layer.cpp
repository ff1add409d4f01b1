// SPDX-License-Identifier: MIT
/// Quantised layers in safetensors, of any description, any scales of inputs, any columns and a blob changed anywhere: loading
/// one ends in a format_error, or in a layer that computes, and that is described and loaded alike when saved again; aborts
/// otherwise.
///
///   clang++-16 -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -DTERN_LIBFUZZER -DTERN_PIN_ISA=avx2 -Iinclude -Itests
///     tests/fuzz/safetensors_layer.cpp
///   fuzz_safetensors_layer FILE...            without libFuzzer: those inputs, and then 20,000 damaged ones; see reader.hpp
///   fuzz_safetensors_layer --corpus FOLDER    writes the corpus
///
/// An input is: a byte that chooses one of the layers below; a byte with the number of changes to its blob, each of two bytes
/// that follow, a place and a value, after which the checksums are made right again, every second one to the blob of the
/// weights of outlier columns, where there is one; a byte with the number of scales of inputs
/// and 4 bytes for each; a byte with the number of columns and 8 bytes for each; and the description.
#include <tern/io/safetensors_layer.hpp>

#include "fuzz/reader.hpp"

namespace {

constexpr std::size_t inputs = 40;

using tern_test::require;

/// A layer of each codec, of the kinds of LLM.int8() and of float activations, with what it is saved as.
struct seed_layer {
  tern::aligned_bytes blob, outlier_blob;
  std::vector<float> scales;
  std::vector<std::int64_t> columns;
  std::string description;
};

template <class Codec>
tern::any_linear layer_of(std::size_t planes, tern::granularity granularity, std::vector<tern::any_transform> t) {
  tern::quantized_matrix q(planes, 3, inputs, granularity);
  for (std::size_t i = 0; i < q.codes.size(); ++i) q.codes[i] = static_cast<std::int8_t>(i % 3) - 1;
  for (float& scale : q.scales) scale = 0.25f;
  if (!Codec{}.holds(1)) q.codes.assign(q.codes.size(), 0);
  return tern::any_linear(
      tern::linear<tern::packed_matrix<Codec>>(tern::packed_matrix<Codec>(q, {}), std::vector<float>(planes % 2 * 3)),
      std::move(t));
}

const std::vector<seed_layer>& seed_layers() {
  static const std::vector<seed_layer> all = [] {
    const tern::hadamard_rotation r(inputs, 3, 8);
    const tern::input_scaling s(std::vector<float>(inputs, 2.0f));
    tern::matrix<float> w(3, inputs);
    for (std::size_t i = 0; i < 3 * inputs; ++i) w.data()[i] = static_cast<float>(i % 11) - 5.0f;
    const std::vector<float> bias(3, 1.0f);
    const tern::any_linear layers[] = {
        layer_of<tern::i2>(1, tern::per_tensor, {}),
        layer_of<tern::i2>(2, tern::per_group(16), {r}),
        layer_of<tern::b3>(2, tern::per_channel, {s}),
        layer_of<tern::n4>(1, tern::per_group(32), {s, r}),
        layer_of<tern::n6>(1, tern::per_channel, {}),
        layer_of<tern::b3x2>(1, tern::per_group(20), {r}),
        layer_of<tern::b3x3>(1, tern::per_tensor, {r, s}),
        tern::any_linear(tern::int8_linear::from_float(w), {s}),
        tern::any_linear(tern::llm_int8_linear::from_float(w)),
        tern::any_linear(tern::llm_int8_static_linear::from_float(w, {1, 7}), {s}),
        tern::any_linear(tern::llm_int8_linear::from_float(w, bias, {.outlier_bits = 16})),
        tern::any_linear(tern::int8_weight_only_linear::from_float(w), {s, r}),
    };
    std::vector<seed_layer> out;
    for (const tern::any_linear& layer : layers) {
      tern::layer_tensors saved;
      saved.add("w", layer);
      seed_layer seed{layer.blob(),
                      layer.outlier_columns().empty() ? tern::aligned_bytes() : tern::save(layer.outlier_weights()),
                      {},
                      {},
                      saved.metadata().at("tern:w")};
      for (const tern::any_transform& t : layer.transforms())
        if (const auto* scaling = std::get_if<tern::input_scaling>(&t))
          seed.scales.assign(scaling->scales().begin(), scaling->scales().end());
      seed.columns.assign(layer.outlier_columns().begin(), layer.outlier_columns().end());
      out.push_back(std::move(seed));
    }
    return out;
  }();
  return all;
}

void use(const tern::any_linear& layer) {
  if (layer.in_features() <= 4096 && layer.out_features() <= 4096) {
    const tern::matrix<float> x(2, layer.in_features());
    const auto y = layer(x);
    require(y.rows() == 2 && y.cols() == layer.out_features(), "outputs of another shape");
    require(layer.dequantized().cols() == layer.in_features(), "weights of another shape");
  }
  tern::layer_tensors saved;
  saved.add("w", layer);
  const tern::aligned_bytes bytes = tern::save_safetensors(saved.tensors(), saved.metadata());
  const tern::any_linear same = tern::load_any_linear(tern::safetensors_view(bytes), "w");
  tern::layer_tensors again;
  again.add("w", same);
  require(again.metadata() == saved.metadata(), "described otherwise when loaded");
  const tern::aligned_bytes blob = layer.blob(), other = same.blob();
  require(blob.size() == other.size() && std::memcmp(blob.data(), other.data(), blob.size()) == 0, "another blob");
  require(
      tern::detail::crc32(layer.outlier_weights().storage()) == tern::detail::crc32(same.outlier_weights().storage()),
      "other outlier weights");
}

/// Reads an input from its beginning; zeros behind its end.
class reader {
 public:
  explicit reader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  std::uint8_t byte() {
    if (bytes_.empty()) return 0;
    const std::uint8_t first = bytes_[0];
    bytes_ = bytes_.subspan(1);
    return first;
  }
  template <class T>
  std::vector<T> list() {
    std::vector<T> values(byte());
    for (T& value : values) {
      std::uint8_t bytes[sizeof(T)];
      for (std::uint8_t& b : bytes) b = byte();
      std::memcpy(&value, bytes, sizeof value);
    }
    return values;
  }
  std::string rest() const { return std::string(reinterpret_cast<const char*>(bytes_.data()), bytes_.size()); }

 private:
  std::span<const std::uint8_t> bytes_;
};

void fix_checksums(std::span<std::byte> blob) {
  const std::uint32_t payload = tern::detail::crc32(blob.subspan(192));
  std::memcpy(blob.data() + 184, &payload, sizeof payload);
  const std::uint32_t header = tern::detail::crc32(blob.first(188));
  std::memcpy(blob.data() + 188, &header, sizeof header);
}

void run(std::span<const std::uint8_t> input) {
  reader in(input);
  const seed_layer& seed = seed_layers()[in.byte() % seed_layers().size()];
  tern::aligned_bytes blob = seed.blob, outlier_blob = seed.outlier_blob;
  const std::size_t changes = in.byte();
  for (std::size_t i = 0; i < changes; ++i) {
    const std::span<std::byte> bytes = i % 2 == 1 && outlier_blob.size() != 0 ? outlier_blob : blob;
    const std::size_t at = in.byte();
    bytes[at % bytes.size()] = std::byte{in.byte()};
  }
  fix_checksums(blob);
  if (outlier_blob.size() != 0) fix_checksums(outlier_blob);
  const auto scales = in.list<float>();
  const auto columns = in.list<std::int64_t>();
  const std::string description = in.rest();
  if (!tern::detail::is_utf8(description)) return;

  const tern::safetensors_tensor tensors[] = {
      {"w", "U8", {blob.size()}, std::as_const(blob)},
      tern::tensor_of("w.input_scale", std::span(scales)),
      {"w.outlier_columns", "I64", {columns.size()}, std::as_bytes(std::span(columns))},
      {"w.outlier_weights", "U8", {outlier_blob.size()}, std::as_const(outlier_blob)}};
  const tern::aligned_bytes file = tern::save_safetensors(tensors, {{"tern:w", description}});
  try {
    use(tern::load_any_linear(tern::safetensors_view(file), "w"));
    use(tern::view_any_linear(tern::safetensors_view(file), "w"));
  } catch (const tern::error& e) {
    require(dynamic_cast<const tern::format_error*>(&e) != nullptr, e.what());
  }
}

#if !defined(TERN_LIBFUZZER)
using input = tern_test::fuzz_input;

/// Good inputs: what the corpus is made of.
std::vector<input> good() {
  std::vector<input> all;
  for (const seed_layer& seed : seed_layers()) {
    input& in = all.emplace_back();
    const auto append = [&](const auto& values) {
      in.push_back(static_cast<std::uint8_t>(values.size()));
      for (const std::byte b : std::as_bytes(std::span(values))) in.push_back(static_cast<std::uint8_t>(b));
    };
    in.push_back(static_cast<std::uint8_t>(all.size() - 1));
    in.push_back(0);
    append(seed.scales);
    append(seed.columns);
    in.insert(in.end(), seed.description.begin(), seed.description.end());
  }
  return all;
}

/// A few bytes of a good input changed, digits and punctuation most of all; some with changes to the blob.
void damage(std::mt19937& random, input& bytes) {
  static constexpr std::string_view letters = "0123456789{}[]\",:-.tfn";
  for (std::size_t changes = random() % 3; changes-- > 0;) {
    const std::size_t at = random() % bytes.size();
    bytes[at] = random() % 4 == 0 ? static_cast<std::uint8_t>(random())
                                  : static_cast<std::uint8_t>(letters[random() % letters.size()]);
  }
  if (random() % 4 == 0) {
    bytes[1] = static_cast<std::uint8_t>(1 + random() % 2);
    for (std::size_t i = 0; i < bytes[1]; ++i) {
      const std::uint8_t change[] = {static_cast<std::uint8_t>(random()), static_cast<std::uint8_t>(random() % 5)};
      bytes.insert(bytes.begin() + 2, std::begin(change), std::end(change));
    }
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
int main(int argc, char** argv) {
  for (const seed_layer& seed : seed_layers()) require(seed.blob.size() != 0, "no layer");
  return tern_test::fuzz_main(argc, argv, good(), damage, run);
}
#endif
