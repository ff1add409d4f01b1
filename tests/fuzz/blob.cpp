// SPDX-License-Identifier: MIT
/// Blobs of any bytes: reading them ends in a format_error or in a matrix that can be used and saved again; aborts
/// otherwise.
///
///   clang++-16 -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -DTERN_LIBFUZZER -Iinclude -Itests tests/fuzz/blob.cpp
///   fuzz_blob FILE...            without libFuzzer: those inputs, and then 20,000 damaged blobs; see reader.hpp
///   fuzz_blob --corpus FOLDER    writes the corpus
///
/// The first byte of an input says what to do to the rest, which is a blob: bit 0 makes its sizes fit each other, bit 1
/// its checksums right, a remainder's too, so that what lies behind those checks is reached; bit 2 puts it at an odd
/// address.
#include <tern/llm_int8_linear.hpp>

#include <cstring>
#include <new>

#include "fuzz/reader.hpp"
#include "io/blobs.hpp"

namespace {

using namespace tern_test;

enum : std::uint8_t { fit_sizes = 1, right_checksums = 2, odd_address = 4 };

/// What f() returns, or a default where it throws the error that files may give.
template <class F>
auto accepted(F&& f, bool& ok) {
  try {
    ok = true;
    return f();
  } catch (const tern::format_error&) {
    ok = false;
    return decltype(f()){};
  }
}

/// A product with whatever was loaded, if it is of a size for that.
template <tern::codec Codec>
void use(const tern::packed_view<Codec>& w, std::span<const float> bias) {
  if (w.rows() > 64 || w.cols() > 300 || w.planes() > 8) return;
  const tern::quantized_activations x(2, w.cols());
  tern::matrix<float> y(2, w.rows());
  tern::matmul(tern::isa::scalar{}, x, w, y, bias);
}

template <tern::codec Codec>
void read(std::span<const std::byte> aligned, std::span<const std::byte> bytes) {
  bool viewed = false, loaded = false;
  const auto parts = accepted([&] { return tern::view_blob<Codec>(aligned); }, viewed);
  if (viewed) {
    require(parts.weights.storage().data() == aligned.data() + 192, "the view is not in place");
    require(192 + parts.weights.storage_bytes() + parts.bias.size_bytes() <= aligned.size(), "the view is too large");
    use(parts.weights, parts.bias);
  }
  const auto layer = accepted([&] { return tern::load<tern::linear<tern::packed_matrix<Codec>>>(bytes); }, loaded);
  if (loaded) {
    require(viewed, "loaded what could not be viewed");
    require(equal(tern::save(layer), bytes), "saved again, it is another blob");
    use(layer.weights().view(), layer.bias());
  }
  bool is_matrix = false;
  accepted([&] { return tern::load<tern::packed_matrix<Codec>>(bytes); }, is_matrix);
  require(is_matrix == (loaded && layer.bias().empty()), "a matrix and a layer without bias are not the same");
}

/// The blob at the end of a blob, as the header says; nothing where no header fits.
std::span<std::byte> remainder_in(std::span<std::byte> blob) {
  std::uint64_t size;
  std::memcpy(&size, blob.data() + 152, sizeof size);
  return size < 192 || size > blob.size() - 192 ? std::span<std::byte>() : blob.last(static_cast<std::size_t>(size));
}

void fit(std::span<std::byte> blob) {
  std::uint64_t biases;
  std::memcpy(&biases, blob.data() + 136, sizeof biases);
  const std::uint64_t payload = blob.size() - 192 - remainder_in(blob).size();
  const std::uint64_t bias_bytes = biases > payload / 4 ? 0 : (4 * biases + 63) / 64 * 64;
  put(blob, 16, std::uint64_t{blob.size()});
  put(blob, 120, payload - bias_bytes);
  put(blob, 128, 192 + payload - bias_bytes);
}

void set_checksums(std::span<std::byte> blob) {
  put(blob, 184, tern::detail::crc32(blob.subspan(192)));
  put(blob, 188, tern::detail::crc32(blob.first(188)));
}

/// A copy that starts `offset` behind a multiple of 64 and ends where its memory ends, so that reading on is found.
class exact_copy {
 public:
  exact_copy(std::span<const std::byte> bytes, std::size_t offset)
      : memory_(static_cast<std::byte*>(::operator new(bytes.size() + offset, alignment))),
        bytes_(memory_ + offset, bytes.size()) {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
  }
  exact_copy(const exact_copy&) = delete;
  exact_copy& operator=(const exact_copy&) = delete;
  ~exact_copy() { ::operator delete(memory_, alignment); }
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  static constexpr std::align_val_t alignment{tern::storage_alignment};

  std::byte* memory_;
  std::span<std::byte> bytes_;
};

void run_blob(std::uint8_t what, std::span<const std::byte> input) {
  const exact_copy aligned(input, 0);
  if (input.size() >= 192 && (what & fit_sizes) != 0) fit(aligned.bytes());
  if (input.size() >= 192 && (what & right_checksums) != 0) {
    if (const std::span<std::byte> remainder = remainder_in(aligned.bytes()); !remainder.empty())
      set_checksums(remainder);
    set_checksums(aligned.bytes());
  }
  const exact_copy anywhere(aligned.bytes(), (what & odd_address) != 0 ? 1 : 0);
  bool known = false;
  const tern::blob_info info = accepted([&] { return tern::read_blob_info(anywhere.bytes()); }, known);
  require(!known || info.blob_bytes == input.size(), "another size than the input's");
  // Exceptions are most of the time, so the codecs that differ by name only are not all tried.
  const auto read_if_named = [&]<class Codec>(Codec) {
    if (info.codec() == Codec::name()) read<Codec>(aligned.bytes(), anywhere.bytes());
  };
  [&]<class... Codecs>(tern::type_list<Codecs...>) { (read_if_named(Codecs()), ...); }(saved_codecs());
  if (info.is_llm_int8) {
    bool ok = false;
    const auto layer = accepted([&] { return tern::load<tern::llm_int8_linear>(anywhere.bytes()); }, ok);
    require(!ok || equal(tern::save(layer), aligned.bytes()), "saved again, it is another blob");
    if (ok && layer.out_features() <= 64 && layer.in_features() <= 300) {
      tern::matrix<float> x(1, layer.in_features());
      for (std::size_t k = 0; k < x.cols(); ++k) x(0, k) = static_cast<float>(k * k);
      layer(x);
    }
    accepted([&] { return tern::load<tern::int8_linear>(anywhere.bytes()); }, ok);
    require(!ok, "loaded as a layer without outliers");
  }
  if (info.codec() != tern::i8::name()) {
    bool ok = false;
    accepted([&] { return tern::view_blob<tern::i8>(aligned.bytes()); }, ok);
    require(!ok, "viewed as another codec");
    accepted([&] { return tern::load<tern::int8_linear>(anywhere.bytes()); }, ok);
    require(!ok, "loaded as another codec");
  }
}

void run(std::span<const std::uint8_t> input) {
  if (!input.empty()) run_blob(input[0], std::as_bytes(input.subspan(1)));
}

#if !defined(TERN_LIBFUZZER)
/// Small blobs of every codec and kind: what the corpus is made of.
std::vector<fuzz_input> blobs() {
  std::vector<fuzz_input> all;
  const auto add = [&](const tern::aligned_bytes& blob) {
    all.push_back({static_cast<std::uint8_t>(all.size() % 8)});
    for (std::size_t i = 0; i < blob.size(); ++i) all.back().push_back(static_cast<std::uint8_t>(blob.data()[i]));
  };
  const auto add_codec = [&]<class Codec>(Codec) {
    add(tern::save(draw_packed<Codec>(1, 1, 1, 3)));
    add(tern::save(draw_packed<Codec>(2, 2, 3, 2 * Codec::group_multiple + 1, tern::per_group(Codec::group_multiple),
                                      tern::scale_type::float16, true, true)));
    const auto w = draw_packed<Codec>(3, 1, 5, 9, tern::per_tensor, tern::scale_type::bfloat16);
    const std::vector<float> bias = {1, 2, 3, 4, 5};
    add(tern::save(tern::blob_view<Codec>{w.view(), bias}));
  };
  [&]<class... Codecs>(tern::type_list<Codecs...>) { (add_codec(Codecs()), ...); }(saved_codecs());
  add(tern::save(tern::bit_linear{}));
  const tern::int8_matrix w(draw_packed<tern::i8>(4, 1, 3, 7).view()), rest(draw_packed<tern::i8>(5, 1, 3, 7).view());
  add(tern::save(tern::llm_int8_linear(w, {1, 2, 3})));
  add(tern::save(tern::llm_int8_linear(w, {1, 2, 3}, {.outlier_bits = 16}, rest)));
  return all;
}

/// A few bytes of a good blob changed, most of them in its header.
void damage(std::mt19937& random, fuzz_input& input) {
  input[0] = static_cast<std::uint8_t>(random() % 8);
  for (std::size_t changes = 1 + random() % 3; changes-- > 0;) {
    const std::size_t at = 1 + random() % (random() % 4 == 0 ? input.size() - 1 : 192);
    input[at] = static_cast<std::uint8_t>(random() % 2 == 0 ? input[at] ^ 1u << random() % 8 : random());
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
int main(int argc, char** argv) { return tern_test::fuzz_main(argc, argv, blobs(), damage, run); }
#endif
