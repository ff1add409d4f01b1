// SPDX-License-Identifier: MIT
/// A tour of quantization in seven demonstrations: symmetric, asymmetric, per channel, bit depths, calibration, an int8
/// matrix product, and what every method of tern makes of random weights, as a table and a chart.
///
///     quantization_tour                  the chart goes to tour.svg
///     quantization_tour --rows 512       the weights of the last demonstration: 512 x 4096
///
/// The first six follow a PyTorch demo of quantization, quantity by quantity. Its functions are in tern::compat, bit
/// for bit; here tern's canonical quantizers do the work, and their codes are checked to be the same. Values differ
/// from the demo's as its random numbers do. What has a known answer is checked: exit status 1 if something is wrong.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <tern/quantize/clip.hpp>
#include <tern/quantize/compat.hpp>
#include <tern/quantize/synthetic.hpp>
#include <tern/tern.hpp>

#include "support/progress.hpp"
#include "support/random.hpp"
#include "support/svg_chart.hpp"
#include "support/weight_methods.hpp"

namespace demo {
namespace {

using tensor = tern::matrix<float>;  // a vector of n values is 1 x n

/// Normal values, the same on every machine: tern's synthetic weights, which have deviation 0.02, scaled.
tensor random_normal(std::size_t rows, std::size_t cols, float deviation, std::uint64_t seed = 42) {
  tensor x = tern::synthetic_weights(rows, cols, tern::weight_distribution::gauss, seed);
  for (std::size_t i = 0; i < rows * cols; ++i) x.data()[i] *= 50.0f * deviation;
  return x;
}

/// f of every value.
template <class F>
tensor map(tensor x, F f) {
  std::transform(x.data(), x.data() + x.rows() * x.cols(), x.data(), f);
  return x;
}

std::span<const float> values(const tensor& x) { return {x.data(), x.rows() * x.cols()}; }

std::string range_of(std::span<const float> x) {
  return fmt::format("[{:.2f}, {:.2f}]", std::ranges::min(x), std::ranges::max(x));
}
float largest_magnitude(const tensor& x) {
  const auto [least, most] = std::ranges::minmax(values(x));
  return std::max(-least, most);
}

void print_mean_and_deviation(const tensor& x) {
  double sum = 0, squares = 0;
  for (const float value : values(x)) sum += static_cast<double>(value);
  const auto count = static_cast<double>(values(x).size());
  for (const float value : values(x)) squares += std::pow(static_cast<double>(value) - sum / count, 2);
  fmt::print("  Mean: {:.2f}, Std: {:.2f}\n", sum / count, std::sqrt(squares / (count - 1)));
}

void print_heading(const std::string& text) { fmt::print("\n{0:=<60}\n{1}\n{0:=<60}\n", "", text); }

void print_errors(const tern::distortion_result& error) {
  fmt::print("  Max error: {:.4f}\n  Mean error: {:.4f}\n  SNR: {:.2f} dB\n", error.max_error, error.mean_error,
             error.snr_db);
}

/// Counts what was checked, and says what is wrong.
struct checks {
  int done = 0;
  int wrong = 0;

  void expect(bool holds, const std::string& what) {
    ++done;
    if (holds) return;
    ++wrong;
    fmt::print("  WRONG: {}\n", what);
  }
  /// The demo's float-valued codes are tern's integers.
  template <class Code>
  void expect_codes(const tern::basic_quantized_matrix<Code>& q, const tensor& original) {
    expect(std::ranges::equal(q.codes, values(original), {}, [](Code c) { return static_cast<float>(c); }),
           "other codes than the original's");
  }
};

void demo_symmetric(checks& checks) {
  print_heading("DEMO 1: Symmetric Quantization");
  const tensor x = random_normal(1, 1000, 10);
  fmt::print("\nOriginal tensor:\n  Shape: [{}]\n  Range: {}\n", x.cols(), range_of(values(x)));
  print_mean_and_deviation(x);
  for (const unsigned bits : {8u, 4u}) {
    const auto q = tern::quantize_absmax(x, tern::per_tensor, {.bits = bits});
    const auto [least, most] = std::ranges::minmax(q.codes);
    fmt::print("\nINT{} Quantization:\n  Scale: {:.6f}\n  Quantized range: [{}, {}]\n", bits, q.scales[0], least, most);
    print_errors(tern::distortion(x, tern::dequantize(q)));
    checks.expect_codes(q, tern::compat::symmetric_quantize(x, bits).quantized);
  }
}

void demo_asymmetric(checks& checks) {
  print_heading("DEMO 2: Asymmetric Quantization");
  const tensor x = map(random_normal(1, 1000, 5), [](float v) { return std::max(v + 2.0f, 0.0f); });  // mostly positive
  fmt::print("\nOriginal tensor (ReLU activations):\n  Range: {}\n", range_of(values(x)));
  print_mean_and_deviation(x);

  const auto symmetric = tern::quantize_absmax(x, tern::per_tensor);
  fmt::print("\nSymmetric INT8:\n  Scale: {:.6f}\n", symmetric.scales[0]);
  print_errors(tern::distortion(x, tern::dequantize(symmetric)));

  const auto asymmetric = tern::quantize_zero_point<std::uint8_t>(x, tern::per_tensor);
  fmt::print("\nAsymmetric INT8:\n  Scale: {:.6f}, Zero point: {}\n", asymmetric.scales[0], asymmetric.zeros[0]);
  print_errors(tern::distortion(x, tern::dequantize(asymmetric)));
  checks.expect_codes(asymmetric, tern::compat::asymmetric_quantize(x).quantized);  // since the range holds 0
}

void demo_per_channel(checks& checks) {
  print_heading("DEMO 3: Per-Channel Quantization");
  tensor w = random_normal(256, 512, 1);  // channels of different magnitude
  for (std::size_t n = 0; n < 128; ++n)
    for (float& value : std::span(w.row(n), w.cols())) value *= n < 64 ? 10.0f : 0.1f;
  fmt::print("\nWeight matrix:\n  Shape: [{}, {}]\n  Overall range: {}\n", w.rows(), w.cols(), range_of(values(w)));
  for (const std::size_t n : {0u, 100u})
    fmt::print("  Channel {} range: {}\n", n, range_of(values(w).subspan(n * w.cols(), w.cols())));

  const auto by_tensor = tern::quantize_absmax(w, tern::per_tensor);
  const auto tensor_error = tern::distortion(w, tern::dequantize(by_tensor));
  fmt::print("\nPer-tensor quantization:\n  Single scale: {:.6f}\n  Max error: {:.4f}\n  SNR: {:.2f} dB\n",
             by_tensor.scales[0], tensor_error.max_error, tensor_error.snr_db);

  const auto by_channel = tern::quantize_absmax(w, tern::per_channel);
  const auto channel_error = tern::distortion(w, tern::dequantize(by_channel));
  const auto [least, most] = std::ranges::minmax(by_channel.scales);
  fmt::print("\nPer-channel quantization:\n  Scale range: [{:.6f}, {:.6f}]\n  Max error: {:.4f}\n  SNR: {:.2f} dB\n",
             least, most, channel_error.max_error, channel_error.snr_db);
  fmt::print("  Improvement: {:.2f} dB\n", channel_error.snr_db - tensor_error.snr_db);
  const auto original = tern::compat::per_channel_quantize(w);
  checks.expect_codes(by_channel, original.quantized);
  checks.expect(by_channel.scales == original.scales, "other scales than the original's");
}

void demo_bit_depths(checks& checks) {
  print_heading("DEMO 4: Bit Depth Comparison");
  const tensor x = random_normal(1, 10000, 5);
  const double count = 10000;
  fmt::print("\nOriginal tensor: {} values\n  FP32 size: {:.2f} KB\n", count, count * 4 / 1024);
  fmt::print("\n{0:-<60}\n{1:<8} {2:<12} {3:<12} {4:<12}\n{0:-<60}\n", "", "Bits", "Size (KB)", "SNR (dB)",
             "Compression");
  for (const unsigned bits : {2u, 4u, 8u, 16u}) {
    const auto q = tern::quantize_absmax<std::int16_t>(x, tern::per_tensor, {.bits = bits});
    const double bytes = count * bits / 8 + 4;  // and the scale
    fmt::print("{:<8} {:<12.2f} {:<12.2f} {:.2f}x\n", bits, bytes / 1024,
               tern::distortion(x, tern::dequantize(q)).snr_db, count * 4 / bytes);
    checks.expect_codes(q, tern::compat::symmetric_quantize(x, bits).quantized);
  }
}

void demo_calibration(checks& checks) {
  print_heading("DEMO 5: Calibration Strategies");
  tensor x = random_normal(1, 1000, 2);
  const tensor outliers = random_normal(1, 10, 50, 43);
  random_source random(42);
  for (const float outlier : values(outliers)) x(0, random.below(1000)) = outlier;
  tern::magnitude_counts seen;
  seen.observe(x);
  const float percentile = tern::percentile_clip(seen, 0.99);
  fmt::print("\nData statistics:\n  Min: {:.2f}, Max: {:.2f}\n", std::ranges::min(values(x)),
             std::ranges::max(values(x)));
  print_mean_and_deviation(x);
  fmt::print("  99th percentile: {:.2f}\n", percentile);

  const auto clipped_snr = [&](float clip) {
    return tern::distortion(x, tern::dequantize(tern::quantize_clipped(x, clip))).snr_db;
  };
  const float largest = largest_magnitude(x);
  fmt::print("\nMin-max calibration:\n  Clipping range: +-{:.2f}\n  SNR: {:.2f} dB\n", largest, clipped_snr(largest));

  const tensor clipped = map(x, [=](float v) { return std::clamp(v, -percentile, percentile); });
  const auto q = tern::quantize_clipped(x, percentile);
  const double against_clipped = tern::distortion(clipped, tern::dequantize(q)).snr_db;
  fmt::print("\n99th percentile calibration:\n  Clipping range: +-{:.2f}\n", percentile);
  fmt::print("  SNR: {:.2f} dB against the clipped data\n", against_clipped);
  fmt::print(
      "  SNR: {:.2f} dB against the data: what clipping cuts off is lost too, only the first number forgets it\n",
      clipped_snr(percentile));
  fmt::print("  Values clipped: {}\n",
             std::ranges::count_if(values(x), [=](float v) { return std::fabs(v) > percentile; }));
  checks.expect_codes(q, tern::compat::symmetric_quantize(clipped).quantized);

  const float best = tern::mse_clip(seen);
  fmt::print("\nLeast-squares calibration (tern::mse_clip):\n  Clipping range: +-{:.2f}\n  SNR: {:.2f} dB\n", best,
             clipped_snr(best));
  checks.expect(clipped_snr(best) >= clipped_snr(largest), "the clip of least error is worse than none");
}

void demo_matmul(checks& checks) {
  print_heading("DEMO 6: Quantized Matrix Multiplication");
  const tensor a = random_normal(64, 128, 2), b_transposed = random_normal(256, 128, 3, 43);  // W of tern's X W^T
  fmt::print("\nMatrix shapes: A [64, 128] @ B [128, 256] = C [64, 256]\n");

  // The int8 kernel: sums exact in int32, scales applied once at the end.
  const tern::quantized_activations a_int8 = tern::quantize_activations_per_tensor(a);
  const tern::int8_matrix b_int8(tern::quantize_absmax(b_transposed, tern::per_tensor));
  tensor c_int8(64, 256);
  tern::matmul(a_int8, b_int8, c_int8);

  const tensor a_hat = tern::dequantize(a_int8), b_hat = tern::dequantize(b_int8);
  tensor c(64, 256);
  double largest_error = 0, sum = 0, relative_sum = 0;
  bool within_bound = true;
  for (std::size_t m = 0; m < c.rows(); ++m)
    for (std::size_t n = 0; n < c.cols(); ++n) {
      double exact = 0, of_int8 = 0, magnitudes = 0;
      for (std::size_t k = 0; k < a.cols(); ++k) {
        exact += static_cast<double>(a(m, k)) * static_cast<double>(b_transposed(n, k));
        const double product = static_cast<double>(a_hat(m, k)) * static_cast<double>(b_hat(n, k));
        of_int8 += product;
        magnitudes += std::fabs(product);
      }
      c(m, n) = static_cast<float>(exact);
      const auto got = static_cast<double>(c_int8(m, n));
      const double error = std::fabs(exact - got);
      largest_error = std::max(largest_error, error);
      sum += error;
      relative_sum += error / std::fabs(exact);
      // Four roundings to float, of a_hat, of b_hat and two in the kernel, are 2^-22; twice that for their products.
      within_bound = within_bound && std::fabs(of_int8 - got) <= magnitudes * 0x1p-21;
    }
  checks.expect(within_bound, "the int8 product is not that of the dequantized matrices");

  const double count = 64 * 256;
  fmt::print("\nResults:\n  FP32 result range: {}\n  INT8 result range: {}\n", range_of(values(c)),
             range_of(values(c_int8)));
  fmt::print("  Max error: {:.4f}\n  Mean error: {:.4f}\n", largest_error, sum / count);
  fmt::print("  Relative error: {:.4f}% on average: some elements of C are near 0\n", 100 * relative_sum / count);
  fmt::print("  Relative error: {:.4f}% of the Frobenius norm\n", 100 * tern::distortion(c, c_int8).relative_frobenius);

  const double inputs = 64 * 128 + 128 * 256, scales = 8;
  const double fp32_bytes = 4 * (inputs + count), int8_bytes = inputs + 4 * count + scales;
  fmt::print("\nMemory usage:\n  FP32: {:.2f} KB\n  INT8: {:.2f} KB\n  Savings: {:.1f}%\n", fp32_bytes / 1024,
             int8_bytes / 1024, 100 * (1 - int8_bytes / fp32_bytes));
}

void print_tradeoff(const std::vector<method_results>& results) {
  fmt::print("\n{:<22} {:^30} {:^30}\n", "", "a scale per row", "a scale for every 128 inputs");
  fmt::print("{0:<22} {1:>6}{2:>8}{3:>8}{4:>8} {1:>6}{2:>8}{3:>8}{4:>8}\n", "SNR in dB", "bits", "Gauss", "Laplace",
             "t4");
  for (const method_results& r : results) {
    fmt::print("{:<22}", r.name());
    const auto print = [](const std::array<stored_weights, 3>& at) {
      fmt::print(" {:6.2f}{:8.2f}{:8.2f}{:8.2f}", at[0].bits, at[0].snr_db, at[1].snr_db, at[2].snr_db);
    };
    print(r.per_row);
    if (r.has_groups) print(r.per_group);
    fmt::print("\n");
  }
}

void demo_tradeoff(checks& checks, std::size_t rows, const std::string& svg) {
  print_heading("DEMO 7: What the Bits of a Weight Buy");
  fmt::print("\nRandom weights, {} x 4096:\n", rows);
  const std::vector<method_results> results = measure_methods(rows);
  print_tradeoff(results);
  fmt::print(
      "\nBits as tern packs them, with scales of 16 bits (int3 is not packed: counted). Greedy absmean with k = 1 is\n"
      "BitNet's rule. Trits take 1.6 bits with a scale per row, 2 in groups of 128.\n");
  write_svg(svg, chart_of(results, rows));
  fmt::print("Chart: {}\n", svg);

  // Each of these searches where the one before it searched, and more. Scales of 16 bits may cost a little of that.
  const auto never_better = [&](const char* simple, const char* thorough) {
    int matches = 0;
    for (const method_results& s : results)
      for (const method_results& t : results) {
        if (s.family != simple || t.family != thorough || s.variant != t.variant) continue;
        ++matches;
        const std::string wrong = fmt::format("{} is better than {}", s.name(), t.name());
        for (std::size_t d = 0; d < 3; ++d) {
          checks.expect(s.per_row[d].snr_db <= t.per_row[d].snr_db + 0.05, wrong + " by rows");
          if (s.has_groups && t.has_groups)
            checks.expect(s.per_group[d].snr_db <= t.per_group[d].snr_db + 0.05, wrong + " in groups");
        }
      }
    checks.expect(matches > 0, fmt::format("{} and {} have nothing in common", simple, thorough));
  };
  never_better("int absmax", "int mse");
  never_better("ternary twn", "greedy optimum");
  never_better("greedy optimum", "refit");
  never_better("refit", "alternating");
  for (const method_results& r : results) {
    const auto within_bound = [&](const stored_weights& gauss) {
      checks.expect(gauss.snr_db < gauss_db_per_bit * gauss.bits,
                    r.name() + " beats the bound of rate-distortion theory");
    };
    within_bound(r.per_row[0]);
    if (r.has_groups) within_bound(r.per_group[0]);
  }
}

int run(std::size_t rows, const std::string& svg) {
  print_heading("Foundation Models: Quantization");
  checks checks;
  demo_symmetric(checks);
  demo_asymmetric(checks);
  demo_per_channel(checks);
  demo_bit_depths(checks);
  demo_calibration(checks);
  demo_matmul(checks);
  demo_tradeoff(checks, rows, svg);

  print_heading("Key Takeaways:");
  fmt::print(
      "1. Quantization maps FP32 to INT8/INT4 for compression\n"
      "2. Symmetric: best for weights (centered at 0)\n"
      "3. Asymmetric: best for activations (arbitrary range)\n"
      "4. Per-channel: better accuracy for heterogeneous data\n"
      "5. Calibration: clip for the least error against the data, not against the clipped data\n"
      "6. INT8 provides ~4x compression with minimal accuracy loss\n"
      "7. Below INT4: ternary planes fitted together, not one after the other\n");
  fmt::print("{:=<60}\n{} checks, {} wrong\n", "", checks.done, checks.wrong);
  return checks.wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace demo

int main(int argc, char** argv) {
  std::size_t rows = 64;
  std::string svg = "tour.svg";
  CLI::App app("A tour of quantization, from one scale to every method of tern.", "quantization_tour");
  app.add_option("--rows", rows, "Rows of 4096 random weights that every method quantizes")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--svg", svg, "Where the chart goes")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return demo::run(rows, svg);
  } catch (const std::exception& error) {
    fmt::print(stderr, "quantization_tour: {}\n", error.what());
    return 1;
  }
}
