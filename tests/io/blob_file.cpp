// SPDX-License-Identifier: MIT
#include <tern/io/blob_file.hpp>
#include <tern/io/mapped_file.hpp>

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <tern/linear.hpp>
#include <thread>

#include "io/blobs.hpp"
#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern::format_error;
using tern::io_error;
using tern_test::contains;
using tern_test::draw_matrix;
using tern_test::equal;

namespace {

/// A directory of the test's own, gone afterwards.
class directory {
 public:
  directory() {
    std::string name = (std::filesystem::temp_directory_path() / "tern_blob_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~directory() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) all.push_back(entry.path().filename());
    return all;
  }

 private:
  std::string path_;
};

void write(const std::string& path, std::span<const std::byte> bytes) {
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  REQUIRE(file != nullptr);
  REQUIRE(std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size());
  REQUIRE(std::fclose(file) == 0);
}

tern::int8_linear draw_layer(unsigned seed, std::size_t outputs = 21) {
  const auto bias = draw_matrix(1, outputs, seed + 1);
  return tern::int8_linear::from_float(draw_matrix(outputs, 70, seed),
                                       std::vector<float>(bias.data(), bias.data() + outputs));
}

const std::vector<std::string> only_layer = {"layer.tern"};

}  // namespace

TEST_CASE("blob_file: a file holds the bytes of save, and nothing else is left", "[io]") {
  const directory here;
  const std::string path = here / "layer.tern";
  const auto layer = draw_layer(1);
  tern::save_file(path, layer);
  CHECK(here.names() == only_layer);
  const tern::mapped_file file(path);
  CHECK(equal(file.bytes(), tern::save(layer)));

  const auto copy = tern::load_file<tern::int8_linear>(path);
  const auto x = draw_matrix(3, 70, 9);
  CHECK(tern_test::same(copy(x), layer(x)));
  const auto info = tern::read_blob_info_file(path);
  CHECK(info.codec() == "i8");
  CHECK(info.format == layer.weights().format());
  CHECK(info.bias_count == 21);
  CHECK_THROWS_AS(tern::load_file<tern::bit_linear>(path), format_error);
}

TEST_CASE("mapped_file: a layer used in place", "[io]") {
  const directory here;
  const auto layer = draw_layer(2);
  tern::save_file(here / "layer.tern", layer);
  const tern::mapped_file file(here / "layer.tern");
  tern::verify_payload(file.bytes());
  const auto [weights, bias] = tern::view_blob<tern::i8>(file.bytes());
  CHECK(weights.storage().data() == file.bytes().data() + 192);
  const auto x = draw_matrix(3, 70, 9);
  tern::matrix<float> y(3, 21);
  tern::matmul(tern::quantize_activations(x), weights, y, bias);
  CHECK(tern_test::same(y, layer(x)));
}

TEST_CASE("mapped_file: one owner at a time", "[io]") {
  const directory here;
  const std::vector<std::byte> a(5000, std::byte{1}), b(70, std::byte{2});
  write(here / "a", a);
  write(here / "b", b);
  tern::mapped_file first(here / "a"), second(here / "b");
  const std::byte* const data = first.bytes().data();
  tern::mapped_file moved = std::move(first);
  CHECK(first.bytes().empty());
  CHECK(moved.bytes().data() == data);
  CHECK(equal(moved.bytes(), a));
  moved = std::move(second);
  CHECK(equal(moved.bytes(), b));
  CHECK(second.bytes().empty());
  moved = {};
  CHECK(moved.bytes().empty());
}

TEST_CASE("mapped_file: what cannot be mapped", "[io]") {
  const directory here;
  write(here / "empty", {});
  CHECK(tern::mapped_file(here / "empty").bytes().empty());
  CHECK_THROWS_AS(tern::read_blob_info(tern::mapped_file(here / "empty").bytes()), format_error);
  CHECK_THROWS_AS(tern::mapped_file(here / "absent"), io_error);
  CHECK_THROWS_WITH(tern::mapped_file(here / "absent"),
                    "mapped_file: cannot open " + (here / "absent") + ": No such file or directory");
  CHECK_THROWS_AS(tern::mapped_file(here / "."), io_error);
  CHECK_THROWS_WITH(tern::mapped_file("/dev/null"), "mapped_file: /dev/null is not a regular file");
  REQUIRE(::mkfifo((here / "fifo").c_str(), 0600) == 0);  // nobody writes to it, and nobody waits
  CHECK_THROWS_WITH(tern::mapped_file(here / "fifo"), "mapped_file: " + (here / "fifo") + " is not a regular file");
}

TEST_CASE("blob_file: saving again replaces the file, and who has it mapped keeps the old one", "[io]") {
  const directory here;
  const std::string path = here / "layer.tern";
  const auto large = draw_layer(3, 200), small = draw_layer(4, 10);
  tern::save_file(path, large);
  const tern::mapped_file old(path);
  tern::save_file(path, small);
  CHECK(equal(old.bytes(), tern::save(large)));
  CHECK(tern::load_file<tern::int8_linear>(path).out_features() == 10);
  CHECK(here.names() == only_layer);
}

TEST_CASE("blob_file: a save that fails leaves what was there", "[io]") {
  const directory here;
  const std::string path = here / "layer.tern";
  const auto before = draw_layer(5);
  tern::save_file(path, before);
  SECTION("no room") {
    // A file-size limit stands for a full disk: the write fails with EFBIG rather than ENOSPC.
    rlimit old{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
    const rlimit tight{4096, old.rlim_max};
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const auto larger = draw_layer(6, 400);
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &tight) == 0);
    std::string message;
    try {
      tern::save_file(path, larger);
    } catch (const io_error& e) {
      message = e.what();
    }
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &old) == 0);
    std::signal(SIGXFSZ, handler);
    CHECK(message == "save_file: cannot write " + path + ".tmp0: File too large");
  }
  SECTION("a bias that does not fit the weights") {
    const std::vector<float> three(3);
    const tern::blob_view<tern::i8> parts{before.weights().view(), three};
    CHECK_THROWS_AS(tern::save_file(path, parts), tern::shape_error);
  }
  CHECK(equal(tern::mapped_file(path).bytes(), tern::save(before)));
  CHECK(here.names() == only_layer);
}

TEST_CASE("blob_file: places that cannot be written", "[io]") {
  const directory here;
  const auto layer = draw_layer(7);
  CHECK_THROWS_AS(tern::save_file(here / "absent/layer.tern", layer), io_error);
  CHECK_THROWS_WITH(tern::save_file(here / "absent/layer.tern", layer),
                    "save_file: cannot create " + (here / "absent/layer.tern") + ".tmp0: No such file or directory");
  // A directory of that name cannot be replaced by a file.
  std::filesystem::create_directory(here / "layer.tern");
  CHECK_THROWS_AS(tern::save_file(here / "layer.tern", layer), io_error);
  CHECK_THROWS_WITH(tern::save_file(here / "layer.tern", layer), contains("cannot replace " + (here / "layer.tern")));
  CHECK(here.names() == only_layer);
}

TEST_CASE("blob_file: temporary files that others left or are writing are not touched", "[io]") {
  const directory here;
  const std::string path = here / "layer.tern";
  const std::vector<std::byte> theirs(10, std::byte{7});
  write(path + ".tmp0", theirs);
  const auto layer = draw_layer(8);
  tern::save_file(path, layer);
  CHECK(equal(tern::mapped_file(path).bytes(), tern::save(layer)));
  CHECK(equal(tern::mapped_file(path + ".tmp0").bytes(), theirs));
  CHECK(here.names().size() == 2);
}

TEST_CASE("blob_file: threads that save to one path leave one of the files whole", "[io]") {
  const directory here;
  const std::string path = here / "layer.tern";
  const auto a = draw_layer(10, 30), b = draw_layer(11, 50);
  {
    std::jthread other([&] {
      for (int i = 0; i < 20; ++i) tern::save_file(path, a);
    });
    for (int i = 0; i < 20; ++i) tern::save_file(path, b);
  }
  const std::size_t outputs = tern::load_file<tern::int8_linear>(path).out_features();
  CHECK((outputs == 30 || outputs == 50));
  CHECK(here.names() == only_layer);
}

TEST_CASE("blob_file: files that are no blob, or not a whole one", "[io]") {
  const directory here;
  const std::string path = here / "layer.tern";
  const tern::aligned_bytes blob = tern::save(draw_layer(12));
  const std::span<const std::byte> bytes = blob;
  SECTION("cut") {
    write(path, bytes.first(GENERATE_COPY(as<std::size_t>(), 0, 7, 8, 191, 192, 193, bytes.size() - 1)));
    CHECK_THROWS_AS(tern::read_blob_info_file(path), format_error);
  }
  SECTION("grown") {
    std::vector<std::byte> grown(bytes.begin(), bytes.end());
    grown.push_back(std::byte{0});
    write(path, grown);
    CHECK_THROWS_AS(tern::read_blob_info_file(path), format_error);
  }
  SECTION("damaged behind the header") {
    std::vector<std::byte> damaged(bytes.begin(), bytes.end());
    damaged[300] ^= std::byte{4};
    write(path, damaged);
    CHECK_NOTHROW(tern::read_blob_info_file(path));
  }
  SECTION("a size that no memory holds, with the right checksums") {
    std::vector<std::byte> absurd(bytes.begin(), bytes.end());
    constexpr std::uint64_t size = static_cast<std::size_t>(-1) / 256 * 64;
    tern_test::put(absurd, 16, size + 192);
    tern_test::put(absurd, 120, size);
    tern_test::put(absurd, 128, size + 192);
    tern_test::put(absurd, 136, std::uint64_t{0});
    tern_test::fix_checksums(absurd);
    write(path, absurd);
    CHECK_THROWS_WITH(tern::read_blob_info_file(path), contains("are cut to"));
  }
  CHECK_THROWS_AS(tern::load_file<tern::int8_linear>(path), format_error);
}

TEST_CASE("blob_file: what cannot be read", "[io]") {
  const directory here;
  CHECK_THROWS_AS(tern::load_file<tern::int8_linear>(here / "absent"), io_error);
  CHECK_THROWS_WITH(tern::read_blob_info_file(here / "absent"),
                    "blob: cannot open " + (here / "absent") + ": No such file or directory");
  CHECK_THROWS_AS(tern::load_file<tern::int8_linear>(here / "."), io_error);
  CHECK_THROWS_WITH(tern::load_file<tern::int8_linear>(here / "."), contains("Is a directory"));
  CHECK_THROWS_AS(tern::load_file<tern::int8_linear>("/dev/zero"), format_error);
}
