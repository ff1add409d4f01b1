// SPDX-License-Identifier: MIT
/// Trains a small network to read handwritten digits, then runs it on tern's packed kernels in every precision they have.
///
///     digits                      the embedded 8 x 8 digits: a table, and a chart in digits.svg
///     digits --splits 5           the mean of five splits into training and test images
///     digits --data DIR           Fashion-MNIST, or MNIST, from its four IDX files
///     digits --check FILE         no training: stored networks must give exactly the stored results
#include <CLI/CLI.hpp>
#include <Eigen/Core>
#include <algorithm>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <tern/eigen.hpp>
#include <tern/tern.hpp>

#include "support/dataset.hpp"
#include "support/idx.hpp"
#include "support/measure.hpp"
#include "support/mlp.hpp"
#include "support/progress.hpp"
#include "support/result.hpp"
#include "support/svg_chart.hpp"
#include "support/weights_file.hpp"

namespace demo {
namespace {

/// Trains the float network and the ternary one, by the same recipe and from the same start.
networks train_both(const dataset& data, const std::vector<Eigen::Index>& hidden, training recipe, int split) {
  std::vector<Eigen::Index> sizes{data.train.pixels.cols()};
  sizes.insert(sizes.end(), hidden.begin(), hidden.end());
  sizes.push_back(data.classes);
  const auto trained = [&](const char* how, bool ternary) {
    random_source random(static_cast<std::uint64_t>(100 + split));
    mlp net = random_mlp(sizes, random);
    recipe.ternary = ternary;
    progress_bar bar(fmt::format("training {:<7}, {} images, {} epochs", how, data.train.size(), recipe.epochs));
    train(net, data.train, data.side, recipe, random, [&](float done) { bar(done); });
    return net;
  };
  mlp plain = trained("float", false);
  return {std::move(plain), trained("ternary", true)};
}

/// All rows of the table.
///
/// @param seconds  how long each of the two timings of a row may take
std::vector<result> measure_all(const networks& nets, const image_set& test, double seconds) {
  std::vector<result> rows{measure_float(nets.plain, test, seconds)};
  for (const tern::granularity shared : {tern::per_tensor, tern::per_channel}) {
    const char* per = shared == tern::per_tensor ? "tensor" : "channel";
    rows.push_back(
        measure_packed<tern::int8_linear>(fmt::format("INT8 absmax, per {}", per), nets.plain, test, seconds,
                                          [&](const matrix& w) { return tern::quantize_absmax(w, shared); }));
    rows.push_back(
        measure_packed<tern::int8_linear>(fmt::format("INT8 zero-point, per {}", per), nets.plain, test, seconds,
                                          [&](const matrix& w) { return tern::quantize_zero_point(w, shared); }));
  }
  rows.push_back(measure_packed<llm_int8_layer>(
      fmt::format("LLM.int8(), outliers from {}", llm_int8_layer::outliers_from), nets.plain, test, seconds,
      [](const matrix& w) { return tern::quantize_absmax(w, tern::per_channel); }));
  rows.push_back(measure_packed<tern::int4_linear>(
      "INT4 mse, per channel", nets.plain, test, seconds,
      [](const matrix& w) { return tern::quantize_mse(w, tern::per_channel, {.bits = 4}); }));
  for (std::size_t planes = 1; planes <= 3; ++planes)
    rows.push_back(measure_packed<tern::multi_ternary_linear>(
        fmt::format("post-training ternary, k = {}", planes), nets.plain, test, seconds,
        [&](const matrix& w) { return tern::decompose(w, {.planes = planes, .granularity = tern::per_channel}); }));
  for (std::size_t planes = 2; planes <= 3; ++planes)
    rows.push_back(measure_packed<tern::multi_ternary_linear>(
        fmt::format("refined ternary, k = {}", planes), nets.plain, test, seconds, [&](const matrix& w) {
          return tern::decompose(w, {.planes = planes, .method = tern::decompose_method::alternating});
        }));
  const auto plane_code = [&]<class Codec>(Codec, const char* name, std::size_t planes) {
    rows.push_back(measure_packed<tern::linear<tern::trit_code_matrix<Codec>>>(
        name, nets.plain, test, seconds,
        [&](const matrix& w) { return tern::quantize_trit_code(w, {.planes = planes}); }));
  };
  plane_code(tern::n4{}, "plane code, k = 2, n4", 2);
  plane_code(tern::b3x2{}, "plane code, k = 2, b3x2", 2);
  plane_code(tern::n6{}, "plane code, k = 3, n6", 3);
  plane_code(tern::b3x3{}, "plane code, k = 3, b3x3", 3);
  const auto absmean = [](const matrix& w) { return tern::quantize_absmean(w); };
  rows.push_back(measure_packed<tern::bit_linear>("QAT W1.58A8, i2", nets.ternary, test, seconds, absmean));
  rows.push_back(measure_packed<tern::linear<tern::ternary_matrix<tern::b3>>>("QAT W1.58A8, b3", nets.ternary, test,
                                                                              seconds, absmean));
  return rows;
}

/// Accuracy and error of the weights against the bits stored per weight. LLM.int8() stores what INT8 per channel does.
chart chart_of(const std::vector<result>& rows, const std::string& data) {
  chart chart{.title = data + ": what the bits of a weight buy",
              .x_label = "bits stored per weight, scales included",
              .x_ticks = {2, 4, 8, 16, 32},
              .panels = {{.title = "test accuracy, %"},
                         {.title = "signal-to-noise ratio of the weights, dB", .least = 0, .most = 10}},
              .series = {{.name = "float", .colour = "#333333", .shape = marker::square},
                         {.name = "INT8 absmax", .colour = "#0072b2", .shape = marker::circle},
                         {.name = "INT8 zero-point", .colour = "#56b4e9", .shape = marker::diamond},
                         {.name = "INT4 mse", .colour = "#999999", .shape = marker::circle},
                         {.name = "post-training ternary", .colour = "#e69f00", .joined = true},
                         {.name = "refined ternary", .colour = "#cc79a7", .joined = true},
                         {.name = "plane code", .colour = "#009e73", .shape = marker::diamond},
                         {.name = "QAT W1.58A8, i2", .colour = "#d55e00", .shape = marker::triangle_up},
                         {.name = "QAT W1.58A8, b3", .colour = "#d55e00", .shape = marker::triangle_down}}};
  for (const result& row : rows)
    for (chart_series& series : chart.series) {
      if (!row.name.starts_with(series.name)) continue;
      // What follows the name of the series tells its points apart. Points that all but coincide with others have none.
      const std::string label = row.name.size() > series.name.size() ? row.name.substr(series.name.size() + 2) : "";
      const bool greedy = series.name == "post-training ternary";
      const bool labelled = greedy || series.name == "refined ternary" || series.name == "INT8 zero-point";
      const std::string accuracy_label = greedy ? label : "";
      const std::string snr_label = labelled ? label : "";
      series.points.push_back({row.bits_per_weight, {row.accuracy(), row.snr_db}, {accuracy_label, snr_label}});
    }
  return chart;
}

/// Runs stored networks on the test images of the first split. Returns whether all results are exactly the stored ones.
bool check(const std::string& path) {
  const stored_networks stored = read_networks(path);
  const std::vector<result> rows = measure_all(stored.nets, load_digits(0).test, 0.0);
  bool all_same = rows.size() == stored.expected.size();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const expectation e = r < stored.expected.size() ? stored.expected[r] : expectation{};
    const bool same = rows[r].name == e.name && rows[r].correct == e.correct && rows[r].fingerprint == e.fingerprint;
    fmt::print("{:<6} {} of {} {:016x} {}\n", same ? "ok" : "WRONG", rows[r].correct, rows[r].images,
               rows[r].fingerprint, rows[r].name);
    if (!same) fmt::print("stored {} of {} {:016x} {}\n", e.correct, rows[r].images, e.fingerprint, e.name);
    all_same = all_same && same;
  }
  return all_same;
}

struct options {
  std::string data;
  std::vector<Eigen::Index> hidden{256, 128};
  int epochs = 0;  // 0: as the data asks for
  int splits = 1;
  std::string svg = "digits.svg";
  std::string save;
  std::string check;
};

int run(const options& options) {
  Eigen::setNbThreads(1);  // the kernels are timed on one thread, and so is Eigen
  if (!options.check.empty()) return check(options.check) ? 0 : 1;

  constexpr double seconds_per_timing = 0.1;
  const bool embedded = options.data.empty();
  training recipe;
  if (!embedded) recipe.epochs = 5, recipe.max_shift = 0;
  if (options.epochs > 0) recipe.epochs = options.epochs;

  std::vector<std::vector<result>> splits;
  std::string name;
  for (int split = 0; split < options.splits; ++split) {
    const dataset data = embedded ? load_digits(split) : load_idx(options.data);
    name = data.name;
    networks nets = train_both(data, options.hidden, recipe, split);
    if (!options.save.empty()) round_to_half(nets);
    splits.push_back(measure_all(nets, data.test, seconds_per_timing));
    if (!options.save.empty()) write_networks(options.save, nets, splits.back());
  }
  const std::vector<result> rows = mean_of_splits(splits);

  print_table(rows);
  fmt::print("\nfloat: Eigen, compiled for {}. The others: tern, {} kernels, int8 activations.\n",
             Eigen::SimdInstructionSetsInUse(), tern::isa::best_name());
  fmt::print("Times are medians on one thread: {} images in one batch, and images one at a time.\n",
             splits.front().front().images);
  if (options.splits > 1) fmt::print("All numbers are means of {} splits.\n", options.splits);
  write_svg(options.svg, chart_of(rows, name));
  fmt::print("Chart: {}\n", options.svg);
  return 0;
}

}  // namespace
}  // namespace demo

int main(int argc, char** argv) {
  demo::options options;
  CLI::App app("Trains a network to read handwritten digits and runs it in every precision of tern.", "digits");
  app.add_option("--svg", options.svg, "Where the chart goes")->capture_default_str();
  app.add_option("--hidden", options.hidden, "Sizes of the hidden layers")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--epochs", options.epochs, "Passes over the images (default: 80; with --data 5)")
      ->check(CLI::PositiveNumber);
  auto* splits = app.add_option("--splits", options.splits, "Splits of the digits to take the mean of")
                     ->check(CLI::Range(1, demo::digit_splits))
                     ->capture_default_str();
  auto* data = app.add_option("--data", options.data, "A folder with Fashion-MNIST or MNIST in IDX files, .gz or plain")
                   ->check(CLI::ExistingDirectory)
                   ->excludes(splits);
  app.add_option("--save-weights", options.save, "Where to store the networks and their results, for --check")
      ->excludes(data)
      ->excludes(splits);
  app.add_option("--check", options.check, "Run stored networks, and fail unless each result is the stored one");
  CLI11_PARSE(app, argc, argv);
  try {
    return demo::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "digits: {}\n", error.what());
    return 1;
  }
}
