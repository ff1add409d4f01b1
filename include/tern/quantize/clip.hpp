// SPDX-License-Identifier: MIT
/// Calibration that clips: from the distribution of magnitudes to the largest one that keeps a code of its own.
///
/// The magnitudes of all batches are counted exactly, and a clip is chosen from the counts: a percentile, the least
/// squared error, or the least divergence of distributions (TensorRT's "entropy"). A clip c quantises with c in the
/// place of max |x|:
///
///     tern::magnitude_counts seen;
///     for (const auto& batch : batches) seen.observe(batch);
///     const float c = tern::mse_clip(seen);
///     const float scale = tern::value_range{-c, c}.symmetric_scale();
#pragma once

#include <tern/quantize/calibrate.hpp>
#include <tern/quantize/logarithm.hpp>
#include <tern/quantize/sorted.hpp>

namespace tern::inline v0_1 {

/// A magnitude and how often it was seen.
struct magnitude_count {
  float magnitude = 0.0f;
  std::uint64_t count = 0;

  TERN_INLINE friend bool operator==(const magnitude_count&, const magnitude_count&) = default;
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

/// The magnitudes of a matrix, counted, ascending. Errors: range_error naming row and column of a NaN or infinity.
template <real_matrix M>
std::vector<magnitude_count> count_magnitudes(const char* what, const M& x) {
  decltype(auto) rows = row_major(x);
  const real_view<M> view = rows;
  check_finite(what, view);
  std::vector<std::uint32_t> bits;  // without the sign: they order as the magnitudes do
  bits.reserve(view.rows() * view.cols());
  for (std::size_t m = 0; m < view.rows(); ++m)
    for (std::size_t k = 0; k < view.cols(); ++k) bits.push_back(largest_magnitude(view.row(m) + k, 1));
  std::vector<std::uint32_t> spare(bits.size());
  radix_sort(bits.data(), spare.data(), bits.size(), 0);
  std::vector<magnitude_count> counts;
  for (const std::uint32_t magnitude : bits) {
    const auto value = std::bit_cast<float>(magnitude);
    if (counts.empty() || counts.back().magnitude != value) counts.push_back({value, 0});
    ++counts.back().count;
  }
  return counts;
}

/// The counts of both, ascending.
inline std::vector<magnitude_count> merge_counts(std::span<const magnitude_count> a,
                                                 std::span<const magnitude_count> b) {
  std::vector<magnitude_count> merged;
  merged.reserve(a.size() + b.size());
  for (std::size_t i = 0, j = 0; i < a.size() || j < b.size();) {
    const bool from_a = j == b.size() || (i < a.size() && a[i].magnitude <= b[j].magnitude);
    const bool from_b = i == a.size() || (j < b.size() && b[j].magnitude <= a[i].magnitude);
    merged.push_back(from_a ? a[i++] : b[j]);
    if (from_a && from_b) merged.back().count += b[j].count;
    j += from_b;
  }
  merged.shrink_to_fit();  // what is kept is as many entries as there are distinct values
  return merged;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1 {

/// The magnitudes of all batches, exactly: a multiset of |x|, kept as (magnitude, count), ascending.
///
/// As good as having all the data at hand: nothing depends on the order of batches or on how data was cut into them.
///
/// Cost:   16 bytes a distinct magnitude (at most 32768 of them, for data born in half or bfloat16; of data born in float
///         nearly every value is one) and, while a batch is counted, 8 an element. Each observe() and merge() writes
///         all distinct magnitudes anew: show few large batches rather than many small ones.
/// Errors: observe() throws range_error naming row and column of a NaN or infinity, and has then counted nothing of the
///         batch.
class magnitude_counts {
 public:
  /// @param x  [M x K] real matrix: tern's or Eigen's
  template <class Tu = tu_tag, real_matrix M>
  void observe(const M& x) {
    entries_ = detail::merge_counts(entries_, detail::count_magnitudes("magnitude_counts", x));
  }
  /// As if this one had been shown the other's batches as well.
  template <class Tu = tu_tag>
  void merge(const magnitude_counts& other) {
    entries_ = detail::merge_counts(entries_, other.entries_);
  }
  TERN_INLINE void clear() { entries_.clear(); }
  bool empty() const { return entries_.empty(); }
  /// Distinct magnitudes, ascending, with their counts.
  std::span<const magnitude_count> entries() const { return entries_; }
  /// Values seen.
  TERN_INLINE std::uint64_t total() const {
    std::uint64_t sum = 0;
    for (const magnitude_count& e : entries_) sum += e.count;
    return sum;
  }

 private:
  std::vector<magnitude_count> entries_;
};

}  // namespace tern::inline v0_1

namespace tern::inline v0_1::detail::inline TERN_TU {

inline void check_observed(const char* what, const magnitude_counts& counts) {
  if (counts.empty()) fail<range_error>({what, ": nothing observed"});
}

/// The magnitude at a place of the sorted multiset.
inline float order_statistic(std::span<const magnitude_count> entries, std::uint64_t place) {
  std::size_t i = 0;
  for (; i + 1 < entries.size() && place >= entries[i].count; ++i) place -= entries[i].count;
  return entries[i].magnitude;
}

/// The Kullback-Leibler divergence KL(P || R). P is a histogram cut after `bins` bins, the last of which takes the `tail`;
/// R is the same without the tail and in `levels` levels. Level l has the bins from l bins / levels to (l + 1) bins /
/// levels, rounded down, and its mass is spread evenly over those where P > 0. Where R would be 0 it is 1e-12.
inline double clipped_divergence(const std::uint64_t* histogram, std::size_t bins, std::size_t levels,
                                 std::uint64_t kept, std::uint64_t tail) {
  const auto total = static_cast<double>(kept + tail);
  const auto p = [&](std::size_t j) { return histogram[j] + (j + 1 == bins ? tail : 0); };
  double divergence = 0;
  for (std::size_t l = 0; l < levels; ++l) {
    const std::size_t begin = l * bins / levels, end = (l + 1) * bins / levels;
    std::uint64_t mass = 0, present = 0;
    for (std::size_t j = begin; j < end; ++j) mass += histogram[j], present += p(j) != 0;
    const double r =
        mass == 0 ? 1e-12 : static_cast<double>(mass) / static_cast<double>(present) / static_cast<double>(kept);
    for (std::size_t j = begin; j < end; ++j) {
      if (p(j) == 0) continue;
      const double share = static_cast<double>(p(j)) / total;
      divergence = std::fma(share, natural_logarithm(share / r), divergence);
    }
  }
  return divergence;
}

}  // namespace tern::inline v0_1::detail::inline TERN_TU

namespace tern::inline v0_1::inline TERN_TU {

/// The p-quantile of the magnitudes: between order statistics a(0) <= a(1) <= ..., linearly,
///
///     at = p (n - 1);  c = a(floor at) + (at - floor at) (a(floor at + 1) - a(floor at))
///
/// What lies above c saturates, and its energy is lost: the true signal-to-noise ratio of heavy-tailed data often falls
/// by tens of dB. Good where outliers do not matter to the task; measure it, against the original (distortion.hpp).
///
/// @param p  in [0, 1]; 1 is max |x|
/// Errors: range_error when p is outside [0, 1] or nothing was observed.
/// Source: torch.quantile, interpolation 'linear'; in double here, and without its limit of 16M elements.
///
///     // magnitudes 1 2 3 5:   percentile_clip(seen, 0.5) is 2.5
inline float percentile_clip(const magnitude_counts& counts, double p) {
  if (!(p >= 0 && p <= 1)) detail::fail<range_error>({"percentile_clip: ", static_cast<float>(p), " is not in [0, 1]"});
  detail::check_observed("percentile_clip", counts);
  const std::uint64_t last = counts.total() - 1;
  const std::uint64_t place = detail::lesser(last, static_cast<std::uint64_t>(p * static_cast<double>(last)));
  // The fraction of the exact product; below 0 where the product was rounded up to an integer.
  const double beyond = std::fma(p, static_cast<double>(last), -static_cast<double>(place));
  const float a = detail::order_statistic(counts.entries(), place);
  const float b = detail::order_statistic(counts.entries(), detail::lesser(last, place + 1));
  return detail::step_towards(a, b, beyond < 0 ? 0 : beyond);
}

/// The clip of least squared error, of a hundred: c = am i / 100, am = max |x|, i = 1 .. 100, that minimises
///
///     sum (x - code * scale)^2,   scale = c / Q,  code = clamp(rint(x / scale), -Q, Q),  Q = 2^(bits - 1) - 1
///
/// The sum runs over magnitudes ascending, in double, by fma; that of quantize_mse runs over rows ascending, so that the
/// two may differ where two clips are equally good but for rounding. The larger clip wins ties. All hundred are tried:
/// the error has more than one minimum in c. Only those below 2^-100 are not, which quantise everything to zero; where am is
/// such a one, c = am.
///
/// @param bits  2 .. 16
/// Cost:   100 divisions and fused multiply-adds a distinct magnitude.
/// Errors: range_error when bits is out of range or nothing was observed.
inline float mse_clip(const magnitude_counts& counts, unsigned bits = 8) {
  detail::check_bits("mse_clip", bits, 16);
  detail::check_observed("mse_clip", counts);
  const float am = counts.entries().back().magnitude;
  const auto largest_code = static_cast<float>(detail::largest_code(bits));
  float best = am;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 100; i > 0; --i) {
    const auto c = static_cast<float>(static_cast<double>(am) * i / 100.0);
    if (c < 0x1p-100f) break;
    const float scale = c / largest_code;
    double sum = 0;
    for (const magnitude_count& e : counts.entries()) {
      const float code = detail::nearest_whole(e.magnitude / scale, largest_code);
      // code * scale is exact: 15 bits times 24.
      const double error = static_cast<double>(e.magnitude) - static_cast<double>(code) * static_cast<double>(scale);
      sum = std::fma(static_cast<double>(e.count), error * error, sum);
    }
    if (sum < least) least = sum, best = c;
  }
  return best;
}

struct entropy_options {
  unsigned bits = 8;        // 2 .. 8: 2^(bits - 1) levels of magnitude
  std::size_t bins = 2048;  // of the histogram; from the number of levels to 16384
};

/// The clip whose quantised distribution of magnitudes is nearest to the original one in the sense of information.
///
/// A histogram of `bins` equal bins from 0 to am = max |x|. For every i from 2^(bits - 1) to bins: P is its first i bins,
/// the last of them with all that lies beyond; R the same without what lies beyond, merged into 2^(bits - 1) levels,
/// each spread evenly over its bins where P > 0; both normalised. Where R is 0 and P is not, R counts as 1e-12. The i of
/// least KL(P || R) is taken, the larger one of equals, and
///
///     c = (i + 0.5) am / bins, at most am
///
/// Zeros are not counted: every clip represents them exactly, and after a ReLU they would hide everything else. The
/// result depends on the number of bins, and on chance where there are few samples: give it many more values than
/// bins.
///
/// Exactness: the same on every machine; the logarithm is the library's own.
/// Cost:   about bins^2 / 2 logarithms, 2 million by default.
/// Errors: range_error when bits or bins is out of range or nothing was observed.
/// Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017.
inline float entropy_clip(const magnitude_counts& counts, const entropy_options& options = {}) {
  detail::check_bits("entropy_clip", options.bits, 8);
  const std::size_t bins = options.bins, levels = std::size_t{1} << (options.bits - 1);
  if (bins < levels || bins > 16384)
    detail::fail<range_error>({"entropy_clip: ", bins, " bins are not in ", levels, " .. 16384"});
  detail::check_observed("entropy_clip", counts);
  const auto am = static_cast<double>(counts.entries().back().magnitude);
  if (am == 0) return 0.0f;
  std::vector<std::uint64_t> histogram(bins);
  std::uint64_t kept = 0;  // values in the first i bins
  for (const magnitude_count& e : counts.entries()) {
    if (e.magnitude == 0.0f) continue;
    // The product is exact, 24 bits times 15; am itself belongs to the last bin.
    const double place = static_cast<double>(e.magnitude) * static_cast<double>(bins) / am;
    histogram[detail::lesser(bins - 1, static_cast<std::size_t>(place))] += e.count;
    kept += e.count;
  }
  std::size_t best = bins;
  double least = std::numeric_limits<double>::infinity();
  std::uint64_t tail = 0;
  for (std::size_t i = bins; i >= levels; --i) {
    const double divergence = detail::clipped_divergence(histogram.data(), i, levels, kept, tail);
    if (divergence < least) least = divergence, best = i;
    kept -= histogram[i - 1];
    tail += histogram[i - 1];
  }
  const double c = am * static_cast<double>(2 * best + 1) / static_cast<double>(2 * bins);
  return static_cast<float>(detail::lesser(c, am));
}

}  // namespace tern::inline v0_1::inline TERN_TU
