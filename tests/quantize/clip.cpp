// SPDX-License-Identifier: MIT
#include <tern/quantize/clip.hpp>
#include <tern/quantize/synthetic.hpp>

#include <cmath>
#include <limits>

#include "support/catch.hpp"
#include "support/textbook.hpp"

using tern::magnitude_counts;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float largest = std::numeric_limits<float>::max();

magnitude_counts counts_of(std::vector<float> values) {
  magnitude_counts counts;
  const std::size_t size = values.size();
  counts.observe(tern::matrix<float>(1, size, std::move(values)));
  return counts;
}

bool same(const magnitude_counts& a, const magnitude_counts& b) {
  return std::equal(a.entries().begin(), a.entries().end(), b.entries().begin(), b.entries().end());
}

/// Numbers with a heavy tail, many of them equal, some zero.
std::vector<float> draw(std::size_t size, unsigned seed) {
  const auto heavy = tern::synthetic_weights(1, size, tern::weight_distribution::student_t4, seed);
  std::vector<float> values(size);
  for (std::size_t i = 0; i < size; ++i) values[i] = static_cast<float>(tern::bfloat16(heavy(0, i)));
  for (std::size_t i = 0; i < size; i += 10) values[i] = 0;
  return values;
}

std::vector<float> sorted_magnitudes(std::vector<float> values) {
  for (float& v : values) v = std::fabs(v);
  std::sort(values.begin(), values.end());
  return values;
}

/// The formula of mse_clip over a plain sorted list with its duplicates counted.
float textbook_mse_clip(const std::vector<float>& values, unsigned bits) {
  const auto a = sorted_magnitudes(values);
  const float q = static_cast<float>((1 << (bits - 1)) - 1);
  float best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 100; i >= 1; --i) {
    const float c = static_cast<float>(double(a.back()) * i / 100), scale = c / q;
    double sum = 0;
    for (std::size_t j = 0; j < a.size();) {
      std::size_t next = j;
      while (next < a.size() && a[next] == a[j]) ++next;
      const float code = std::clamp(std::rint(a[j] / scale), -q, q);
      const double error = double(a[j]) - double(code) * double(scale);
      sum = std::fma(static_cast<double>(next - j), error * error, sum);
      j = next;
    }
    if (sum < least) least = sum, best = c;
  }
  return best;
}

/// KL(P || R) as entropy_clip's documentation describes it, in whole vectors and with the C library's logarithm.
double textbook_divergence(const std::vector<double>& histogram, std::size_t i, std::size_t levels) {
  std::vector<double> p(histogram.begin(), histogram.begin() + std::ptrdiff_t(i)), r(i);
  double total = 0, kept = 0;
  for (const double h : histogram) total += h;
  for (const double h : p) kept += h;
  const auto without_tail = p;
  p[i - 1] += total - kept;
  for (std::size_t l = 0; l < levels; ++l) {
    double mass = 0, present = 0;
    for (std::size_t j = l * i / levels; j < (l + 1) * i / levels; ++j) mass += without_tail[j], present += p[j] > 0;
    for (std::size_t j = l * i / levels; j < (l + 1) * i / levels; ++j) r[j] = p[j] > 0 ? mass / present : 0;
  }
  double sum_r = 0, divergence = 0;
  for (const double v : r) sum_r += v;
  for (std::size_t j = 0; j < i; ++j)
    if (p[j] > 0) divergence += p[j] / total * std::log(p[j] / total / (r[j] > 0 ? r[j] / sum_r : 1e-12));
  return divergence;
}

/// How far the divergence of the clip c is above the least.
double excess_divergence(const std::vector<float>& values, unsigned bits, std::size_t bins, float c) {
  const auto a = sorted_magnitudes(values);
  const auto am = static_cast<double>(a.back());
  std::vector<double> histogram(bins);
  for (const float v : a)
    if (v > 0) ++histogram[std::min(bins - 1, static_cast<std::size_t>(double(v) * double(bins) / am))];
  const std::size_t levels = std::size_t{1} << (bits - 1);
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = bins; i >= levels; --i) least = std::min(least, textbook_divergence(histogram, i, levels));
  const auto chosen = static_cast<std::size_t>(std::rint(double(c) * double(bins) / am - 0.5));
  return textbook_divergence(histogram, std::min(chosen, bins), levels) - least;
}

}  // namespace

TEST_CASE("magnitude_counts: by hand", "[calibrate]") {
  magnitude_counts counts = counts_of({3, -1, 0, 1, -3, -0.0f, 3, 0x1p-149f});
  const std::vector<tern::magnitude_count> want = {{0, 2}, {0x1p-149f, 1}, {1, 2}, {3, 3}};
  CHECK(std::equal(counts.entries().begin(), counts.entries().end(), want.begin(), want.end()));
  CHECK(counts.total() == 8);
  counts.clear();
  CHECK(counts.empty());
  CHECK(counts.total() == 0);
  counts.observe(tern::matrix<float>(3, 0));
  CHECK(counts.empty());
}

TEST_CASE("magnitude_counts: the order and the cut of batches do not matter", "[calibrate]") {
  auto values = draw(5000, 1);
  values[7] = -largest;
  const auto whole = counts_of(values);
  CHECK(whole.total() == 5000);
  auto shuffled = values;
  std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(2));
  magnitude_counts pieces, half, other_half;
  std::size_t begin = 0;
  for (const std::size_t rows : std::vector<std::size_t>{1, 0, 9, 300, 690}) {
    const tern::matrix_view<const float> batch(shuffled.data() + begin, rows, 5);
    pieces.observe(batch);
    (rows % 2 == 0 ? half : other_half).observe(batch);
    begin += rows * 5;
  }
  CHECK(same(pieces, whole));
  CHECK(!same(half, whole));
  half.merge(other_half);
  CHECK(same(half, whole));
  // Every entry, against a sorted list.
  const auto sorted = sorted_magnitudes(values);
  std::size_t at = 0, wrong = 0;
  for (const auto& entry : whole.entries())
    for (std::uint64_t i = 0; i < entry.count; ++i) wrong += sorted[at++] != entry.magnitude;
  CHECK(wrong == 0);
}

TEST_CASE("magnitude_counts: data born in 16 bits takes no more entries than there are magnitudes", "[calibrate]") {
  tern::matrix<tern::half> all(256, 256);
  for (std::size_t i = 0; i < 65536; ++i)
    all.data()[i].bits = static_cast<std::uint16_t>((i & 0x7fff) < 0x7c00 ? i : 0);
  magnitude_counts counts;
  for (int batch = 0; batch < 3; ++batch) counts.observe(all);
  CHECK(counts.entries().size() == 0x7c00);
  CHECK(counts.total() == 3 * 65536);
}

TEST_CASE("magnitude_counts: a batch with NaN or infinity counts nothing", "[calibrate]") {
  magnitude_counts counts = counts_of({1});
  tern::matrix<float> x(2, 3);
  x(1, 2) = GENERATE(as<float>(), infinity, not_a_number);
  CHECK_THROWS_AS(counts.observe(x), tern::range_error);
  CHECK_THROWS_WITH(counts.observe(x), "magnitude_counts: the value at row 1, column 2 is not finite");
  CHECK(counts.total() == 1);
}

TEST_CASE("clips: nothing observed", "[calibrate]") {
  const magnitude_counts none;
  CHECK_THROWS_AS(tern::percentile_clip(none, 0.5), tern::range_error);
  CHECK_THROWS_WITH(tern::percentile_clip(none, 0.5), "percentile_clip: nothing observed");
  CHECK_THROWS_WITH(tern::mse_clip(none), "mse_clip: nothing observed");
  CHECK_THROWS_WITH(tern::entropy_clip(none), "entropy_clip: nothing observed");
}

TEST_CASE("percentile_clip: by hand", "[calibrate]") {
  const auto counts = counts_of({5, -1, 2, -3});
  CHECK(tern::percentile_clip(counts, 0) == 1);
  CHECK(tern::percentile_clip(counts, 0.25) == 1.75f);
  CHECK(tern::percentile_clip(counts, 0.5) == 2.5f);
  CHECK(tern::percentile_clip(counts, 0.75) == 3.5f);
  CHECK(tern::percentile_clip(counts, 1) == 5);
  CHECK(tern::percentile_clip(counts_of({-7}), 0.3) == 7);
  CHECK(tern::percentile_clip(counts_of({2, 2, 2, 4}), 0.5) == 2);
  // 0.3 * 10 rounds up to 3: the fourth magnitude itself, not a step below it towards minus 1e38.
  CHECK(tern::percentile_clip(counts_of({0, 0, 0, 1, 1e38f, 1e38f, 1e38f, 1e38f, 1e38f, 1e38f, 1e38f}), 0.3) == 1);
}

TEST_CASE("percentile_clip: order statistics of many values", "[calibrate]") {
  const auto values = draw(1025, 3);
  const auto counts = counts_of(values);
  const auto sorted = sorted_magnitudes(values);
  for (int i = 0; i <= 4096; ++i) {  // places that are multiples of a quarter, exactly
    const std::size_t place = std::size_t(i) / 4;
    const auto a = static_cast<double>(sorted[place]),
               b = static_cast<double>(sorted[std::min<std::size_t>(place + 1, 1024)]);
    REQUIRE(tern::percentile_clip(counts, i / 4096.0) == static_cast<float>(a + (i % 4) * 0.25 * (b - a)));
  }
}

TEST_CASE("percentile_clip: p must be a probability", "[calibrate]") {
  const auto counts = counts_of({1});
  for (const double bad : {-0.01, 1.01, double(not_a_number)})
    CHECK_THROWS_AS(tern::percentile_clip(counts, bad), tern::range_error);
  CHECK_THROWS_WITH(tern::percentile_clip(counts, 1.5), "percentile_clip: 1.5 is not in [0, 1]");
}

TEST_CASE("mse_clip: by hand", "[calibrate]") {
  // Two bits have the codes 0 and 1 only, so the scale is c. Of the clips 1 .. 100 those from 2 on round the ones to zero,
  // with an error of 1 each (a tie at 2); at 1 all that is lost is 99^2. So 9801 ones are worth the hundred, if not
  // fewer: at 100 the error is the number of ones, and equal errors keep the larger clip.
  std::vector<float> values(9802, 1.0f);
  values[500] = -100;
  CHECK(tern::mse_clip(counts_of(values), 2) == 100);
  values.push_back(-1);
  CHECK(tern::mse_clip(counts_of(values), 2) == 1);
  // One one: c = 100 rounds it to zero and errs by 1, less than any other.
  CHECK(tern::mse_clip(counts_of({1, 100}), 2) == 100);
}

TEST_CASE("mse_clip: as the textbook says", "[calibrate]") {
  const unsigned bits = GENERATE(2u, 3u, 4u, 8u, 16u);
  for (const unsigned seed : {4u, 5u, 6u}) {
    const auto values = draw(2000, seed);
    CHECK(tern::mse_clip(counts_of(values), bits) == textbook_mse_clip(values, bits));
  }
}

TEST_CASE("mse_clip: clips heavy tails at 4 bits", "[calibrate]") {
  const auto values = draw(20000, 7);
  CHECK(tern::mse_clip(counts_of(values), 4) < 0.5f * sorted_magnitudes(values).back());
}

TEST_CASE("mse_clip: zeros, tiny and huge values, ties", "[calibrate]") {
  CHECK(tern::mse_clip(counts_of({0, 0})) == 0);
  CHECK(tern::mse_clip(counts_of({0x1p-120f, 0x1p-149f})) == 0x1p-120f);
  CHECK(tern::mse_clip(counts_of({0x1p-100f})) == 0x1p-100f);
  CHECK(tern::mse_clip(counts_of({largest, 0})) == largest);
  // The example that clips at 1, in a unit where that would be a scale of 1 and zero codes.
  std::vector<float> tiny(9803, 0x1p-106f);
  tiny[0] = 100 * 0x1p-106f;
  CHECK(tern::mse_clip(counts_of(tiny), 2) == 100 * 0x1p-106f);
  // Steps of 2: no error.
  CHECK(tern::mse_clip(counts_of({254, 2, 4})) == 254);
}

TEST_CASE("mse_clip: bits", "[calibrate]") {
  const auto counts = counts_of({1});
  for (const unsigned bad : {0u, 1u, 17u, 4000000000u}) CHECK_THROWS_AS(tern::mse_clip(counts, bad), tern::range_error);
  CHECK_THROWS_WITH(tern::mse_clip(counts, 1), "mse_clip: codes of 1 bits; they have 2 to 16");
}

TEST_CASE("entropy_clip: as the textbook says", "[calibrate]") {
  const auto values = draw(30000, 9);
  const auto counts = counts_of(values);
  struct golden {
    unsigned bits;
    std::size_t bins;
    float clip;
  };
  for (const auto& [bits, bins, clip] :
       {golden{8, 2048, 0x1.924b8p-3f}, golden{2, 300, 0x1.d9a74p-5f}, golden{3, 300, 0x1.5ef5c2p-4f},
        golden{4, 300, 0x1.d117e4p-4f}, golden{7, 300, 0x1.99740ep-3f}}) {
    INFO(bits << " bits");
    CHECK(tern::entropy_clip(counts, {.bits = bits, .bins = bins}) == clip);
    CHECK(clip < 0.95f * counts.entries().back().magnitude);
    CHECK(excess_divergence(values, bits, bins, clip) < 1e-12);
  }
}

TEST_CASE("entropy_clip: zeros are skipped", "[calibrate]") {
  const auto values = draw(5000, 10);
  auto rectified = values;
  rectified.resize(200000);  // zeros
  const tern::entropy_options options{.bits = 5, .bins = 512};
  CHECK(tern::entropy_clip(counts_of(rectified), options) == tern::entropy_clip(counts_of(values), options));
  CHECK(tern::entropy_clip(counts_of({0, 0, 0})) == 0);
}

TEST_CASE("entropy_clip: what levels hold exactly is not clipped", "[calibrate]") {
  std::vector<float> uniform;
  for (int i = 1; i <= 2048; ++i) uniform.push_back(static_cast<float>(i));
  CHECK(tern::entropy_clip(counts_of(uniform)) == 2048);
  CHECK(tern::entropy_clip(counts_of({3})) == 3);
  CHECK(tern::entropy_clip(counts_of({largest, -largest})) == largest);
  CHECK(tern::entropy_clip(counts_of({0x1p-149f})) == 0x1p-149f);
}

TEST_CASE("entropy_clip: of equal divergences the larger clip", "[calibrate]") {
  // Four bins of 6, 1, 0, 1 values, two levels. Cut after two bins: P = 6 2, R = 6 1 (of 7). After three: P = 6 1 1,
  // R = 6 .5 .5. Both give 6/8 ln(7/8) + 2/8 ln(14/8) = 0.040; all four bins give 0.248.
  const auto counts = counts_of({0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 1.5f, 4});
  CHECK(tern::entropy_clip(counts, {.bits = 2, .bins = 4}) == 3.5f);
}

TEST_CASE("entropy_clip: options", "[calibrate]") {
  const auto counts = counts_of({1, 2});
  for (const unsigned bad : {0u, 1u, 9u}) CHECK_THROWS_AS(tern::entropy_clip(counts, {.bits = bad}), tern::range_error);
  CHECK_THROWS_WITH(tern::entropy_clip(counts, {.bits = 9}), "entropy_clip: codes of 9 bits; they have 2 to 8");
  CHECK_THROWS_AS(tern::entropy_clip(counts, {.bins = 16385}), tern::range_error);
  CHECK_THROWS_WITH(tern::entropy_clip(counts, {.bits = 4, .bins = 7}), "entropy_clip: 7 bins are not in 8 .. 16384");
  CHECK(tern::entropy_clip(counts, {.bits = 8, .bins = 128}) == 2);
}
