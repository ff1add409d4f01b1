// SPDX-License-Identifier: MIT
/// Quantises the matrices of a safetensors model by a recipe, and says what each costs and loses.
///
///     quantize_safetensors --in model.safetensors --recipe examples/recipes/ternary-2.json --out model.tern.safetensors
///
/// support/recipe.hpp tells what a recipe is, tern/io/safetensors_layer_writer.hpp what the written file holds. What no rule
/// matches is written as it was, and so is what is no matrix of F32, F16 or BF16, unless a rule casts it.
///
/// Error feedback and its like need calibration, a safetensors file with, under the name of a weight, either the inputs of its
/// layer, [tokens x inputs], or their Hessian (U8: what tern/io/hessian_blob.hpp saves).
///
/// Exit codes: 0, 1 for an error, 2 when --verify finds a difference, above 100 for wrong arguments.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <tern/io/hessian_blob.hpp>
#include <tern/io/safetensors_layer.hpp>
#include <tern/quantize/mixed_precision.hpp>
#include <tern/quantize/synthetic.hpp>

#include "support/progress.hpp"
#include "support/recipe.hpp"
#include "support/svg_chart.hpp"

namespace demo {
namespace {

#if defined(_OPENMP)
using executor = tern::openmp_executor;
executor make_executor(int threads) { return executor(threads); }
#else
using executor = tern::serial_executor;
executor make_executor(int threads) {
  if (threads > 1) refuse("--threads: built without OpenMP, it has one");
  return {};
}
#endif

struct options {
  std::string in, recipe, out, calibration, svg, example;
  int threads = 0;
  bool verify = false;
};

/// A line of the table: a tensor and what became of it.
struct entry {
  const tern::safetensors_tensor* tensor;
  method how;
  std::vector<method> choices;
  double importance = 1;  ///< of its error, where there are choices
  quantized_layer result = {};
  std::size_t bytes_after = 0;

  bool is_quantised() const { return how.kind > weight_kind::bf16; }
  std::size_t count() const {
    std::size_t product = 1;
    for (const std::size_t extent : tensor->shape) product *= extent;
    return product;
  }
};

/// f(), whose errors name the tensor.
template <class F>
auto for_tensor(const std::string& name, F&& f) {
  try {
    return f();
  } catch (const std::exception& e) {
    throw std::runtime_error(fmt::format("tensor \"{}\": {}", name, e.what()));
  }
}

/// Refuses, before hours of work, what would stop in their midst.
void check_calibrated(const std::vector<entry>& entries, const tern::safetensors_view& calibrations) {
  for (const entry& e : entries) {
    if (!e.is_quantised() || calibrations.find(e.tensor->name) != nullptr) continue;
    for_tensor(e.tensor->name, [&] {
      if (e.choices.empty()) check_method(e.how, nullptr);
      for (const method& choice : e.choices) check_method(choice, nullptr);
    });
  }
}

bool is_real(const tern::safetensors_tensor& t) { return t.dtype == "F32" || t.dtype == "F16" || t.dtype == "BF16"; }

/// What the recipe does to each tensor, in the order of the file.
std::vector<entry> plan(const tern::safetensors_view& file, const recipe& recipe) {
  std::vector<entry> entries;
  for (const tern::safetensors_tensor& t : file.tensors()) {
    entry e{&t, {}, {}};
    const rule* const rule = rule_for(recipe, t.name);
    if (rule != nullptr && is_real(t)) {
      e.how = rule->how;
      if (e.is_quantised() && (t.shape.size() != 2 || e.count() == 0)) e.how = {};
      if (e.is_quantised()) e.choices = rule->choices, e.importance = rule->importance;
    }
    entries.push_back(std::move(e));
  }
  return entries;
}

std::unique_ptr<calibration> calibrate(const tern::safetensors_view& file, const tern::safetensors_tensor& weight,
                                       const executor& ex) {
  const tern::safetensors_tensor* const t = file.find(weight.name);
  if (t == nullptr) return nullptr;
  auto out = std::make_unique<calibration>();
  const auto check_inputs = [&](std::size_t inputs) {
    if (inputs != weight.shape[1])
      refuse(fmt::format("the calibration is of {} inputs, the weights have {}", inputs, weight.shape[1]));
  };
  if (t->dtype == "U8") {
    out->hessian = tern::load_hessian(t->bytes);
    check_inputs(out->hessian.inputs());
  } else {
    const tern::matrix<float> x = t->to_float();
    check_inputs(x.cols());  // before a Hessian, inputs by inputs, is made
    out->hessian = tern::hessian(x.cols());
    out->hessian.observe(x, ex);
    tern::input_maxima maxima(x.cols());
    maxima.observe(x);
    out->maxima.assign(maxima.maxima().begin(), maxima.maxima().end());
  }
  return out;
}

/// Quantises one tensor, and moves the bar by its part.
quantized_layer quantise(const entry& e, const method& how, const tern::safetensors_view& calibrations,
                         const executor& ex, const std::function<void(double)>& progress) {
  return for_tensor(e.tensor->name, [&] {
    const auto known = calibrate(calibrations, *e.tensor, ex);
    return quantize(e.tensor->to_float(), how, known.get(), ex, [&](std::size_t done, std::size_t total) {
      progress(static_cast<double>(done) / static_cast<double>(total));
      return true;
    });
  });
}

/// The relative error of a layer: of its outputs where calibration tells, else of its weights. It adds up over layers, each
/// of which passes on what the one before gets wrong, whatever the sizes of their outputs.
double relative_error(const quantized_layer& q) {
  if (q.output_snr_db) return q.output_signal == 0 ? 0 : q.output_noise / q.output_signal;
  return q.weight_signal == 0 ? 0 : q.weight_noise / q.weight_signal;
}

/// Takes one of the choices of each tensor so that all of them fit the budget. Errors are by weights, as bits are: what
/// a choice gains for its bits does not depend on the size of the tensor.
void choose(std::vector<entry>& entries, double budget, const tern::safetensors_view& calibrations,
            const executor& ex) {
  std::vector<std::vector<tern::precision>> curves;
  std::vector<std::vector<method>> methods;
  std::vector<entry*> chosen;
  double available = 0, all = 0, done = 0;
  for (const entry& e : entries)
    if (e.is_quantised()) all += static_cast<double>(e.count() * std::max<std::size_t>(1, e.choices.size()));
  progress_bar bar("Measuring");
  for (entry& e : entries) {
    const auto weights = static_cast<double>(e.count());
    if (e.is_quantised()) available += budget * weights;
    if (!e.is_quantised()) continue;
    std::vector<std::pair<tern::precision, method>> points;
    for (const method& choice : e.choices.empty() ? std::vector<method>{e.how} : e.choices) {
      const quantized_layer q = quantise(e, choice, calibrations, ex,
                                         [&](double part) { bar(static_cast<float>((done + part * weights) / all)); });
      points.push_back({{8.0 * static_cast<double>(q.bytes), e.importance * weights * relative_error(q)}, choice});
      done += weights;
    }
    // Bits ascend, and of as many bits the best choice stays.
    std::ranges::stable_sort(points, [](const auto& a, const auto& b) {
      return a.first.bits != b.first.bits ? a.first.bits < b.first.bits : a.first.error < b.first.error;
    });
    chosen.push_back(&e);
    curves.emplace_back(), methods.emplace_back();
    for (const auto& [point, choice] : points)
      if (curves.back().empty() || curves.back().back().bits < point.bits)
        curves.back().push_back(point), methods.back().push_back(choice);
  }
  const auto best = tern::choose_precision(curves, available);
  for (std::size_t i = 0; i < best.size(); ++i) chosen[i]->how = methods[i][best[i]];
}

/// The tensor in 16 bits. Its bytes go to `owned`.
template <class T>
tern::safetensors_tensor cast(const tern::safetensors_tensor& t, std::vector<tern::aligned_bytes>& owned) {
  const tern::safetensors_tensor flat(t.name, t.dtype, {t.bytes.size() / (t.dtype == "F32" ? 4 : 2)}, t.bytes);
  const tern::matrix<float> values = flat.to_float();
  owned.emplace_back(values.cols() * sizeof(T));
  T* const out = reinterpret_cast<T*>(owned.back().data());
  for (std::size_t i = 0; i < values.cols(); ++i) {
    out[i] = T(values(0, i));
    if (std::isfinite(values(0, i)) && !std::isfinite(static_cast<float>(out[i])))
      refuse(fmt::format("element {}, {:g}, is too large for {}", i, static_cast<double>(values(0, i)),
                         tern::detail::safetensors_dtype<T>::name));
  }
  return {t.name, tern::detail::safetensors_dtype<T>::name, t.shape, std::as_const(owned.back())};
}

std::string decibels(double snr) { return std::isfinite(snr) ? fmt::format("{:.2f}", snr) : "exact"; }

void print_table(const std::vector<entry>& entries, bool calibrated) {
  std::size_t name = 6, how = 6;
  for (const entry& e : entries)
    if (e.is_quantised() || e.bytes_after != e.tensor->bytes.size())
      name = std::max(name, e.tensor->name.size()), how = std::max(how, short_name(e.how).size());
  fmt::print("\n{:<{}}  {:>12}  {:<{}}  {:>7} {:>7}  {:>9}{}\n", "tensor", name, "shape", "method", how, "bits",
             "ideal", "weights", calibrated ? "   outputs" : "");
  double bits = 0, ideal = 0, weights = 0, signal = 0, noise = 0;
  std::size_t before = 0, after = 0, kept = 0, kept_bytes = 0;
  for (const entry& e : entries) {
    before += e.tensor->bytes.size(), after += e.bytes_after;
    if (!e.is_quantised() && e.bytes_after == e.tensor->bytes.size()) {
      ++kept, kept_bytes += e.bytes_after;
      continue;
    }
    std::string shape;
    for (const std::size_t extent : e.tensor->shape) shape += fmt::format("{}{}", shape.empty() ? "" : " x ", extent);
    fmt::print("{:<{}}  {:>12}  {:<{}}", e.tensor->name, name, shape, short_name(e.how), how);
    if (e.is_quantised()) {
      const auto count = static_cast<double>(e.count());
      fmt::print("  {:7.3f} {:7.3f}  {:>6} dB", e.result.bits, e.result.ideal_bits, decibels(e.result.weight_snr_db));
      if (e.result.output_snr_db) fmt::print(" {:>6} dB", decibels(*e.result.output_snr_db));
      bits += e.result.bits * count, ideal += e.result.ideal_bits * count, weights += count;
      signal += e.result.weight_signal, noise += e.result.weight_noise;
    }
    fmt::print("\n");
  }
  if (weights != 0)
    fmt::print("{:<{}}  {:>12}  {:<{}}  {:7.3f} {:7.3f}  {:>6} dB\n", "all of these", name, "", "", how, bits / weights,
               ideal / weights, decibels(10 * std::log10(signal / noise)));
  fmt::print("{} tensors kept as they are, {} bytes.\n", kept, kept_bytes);
  fmt::print("Tensors: {} bytes before, {} after, {:.2f} times smaller.\n", before, after,
             static_cast<double>(before) / static_cast<double>(after));
}

void draw(const std::string& path, const std::vector<entry>& entries, bool calibrated) {
  static constexpr const char* colours[] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b"};
  chart picture{.title = "Signal-to-noise ratio of quantised layers against the bits they store",
                .x_label = "bits stored per weight",
                .x_ticks = {},
                .linear_x = true,
                .panels = {{.title = "SNR of weights in dB", .least = 0}}};
  if (calibrated) picture.panels.push_back({.title = "SNR of outputs in dB", .least = 0});
  double least = 32, most = 0;
  for (const entry& e : entries) {
    if (!e.is_quantised()) continue;
    const std::string name = short_name(e.how);
    auto series = std::ranges::find(picture.series, name, &chart_series::name);
    if (series == picture.series.end()) {
      const std::size_t number = picture.series.size();
      picture.series.push_back(
          {.name = name, .colour = colours[number % std::size(colours)], .shape = static_cast<marker>(number % 5)});
      series = picture.series.end() - 1;
    }
    chart_point point{.x = e.result.bits, .y = {e.result.weight_snr_db}, .labels = {}};
    if (calibrated) point.y.push_back(e.result.output_snr_db.value_or(std::numeric_limits<double>::quiet_NaN()));
    series->points.push_back(std::move(point));
    least = std::min(least, e.result.bits), most = std::max(most, e.result.bits);
  }
  if (picture.series.empty()) refuse("--svg: nothing was quantised");
  for (double tick = std::floor(least); tick <= std::ceil(most); ++tick) picture.x_ticks.push_back(tick);
  write_svg(path, picture);
  fmt::print("Chart: {}\n", path);
}

bool same_transforms(std::span<const tern::any_transform> a, std::span<const tern::any_transform> b) {
  return std::ranges::equal(a, b, [](const tern::any_transform& s, const tern::any_transform& t) {
    if (s.index() != t.index()) return false;
    if (const auto* rotation = std::get_if<tern::hadamard_rotation>(&s)) {
      const auto& other = std::get<tern::hadamard_rotation>(t);
      return rotation->inputs() == other.inputs() && rotation->seed() == other.seed() &&
             rotation->block() == other.block();
    }
    return std::ranges::equal(std::get<tern::input_scaling>(s).scales(), std::get<tern::input_scaling>(t).scales());
  });
}

/// Whether a layer of the file is the one in memory: the same bytes, kind of activations, transforms, columns and their weights,
/// bits of outputs.
bool same_layer(const tern::any_linear& a, const tern::any_linear& b) {
  const auto same_bytes = [](std::span<const std::byte> s, std::span<const std::byte> t) {
    return std::ranges::equal(s, t);
  };
  if (!same_bytes(a.blob(), b.blob()) || !same_bytes(a.outlier_weights().storage(), b.outlier_weights().storage()))
    return false;
  if (a.has_float_activations() != b.has_float_activations()) return false;
  if (!same_transforms(a.transforms(), b.transforms())) return false;
  if (!std::ranges::equal(a.outlier_columns(), b.outlier_columns())) return false;
  const auto x = tern::synthetic_weights(3, a.in_features(), tern::weight_distribution::gauss, 1);
  const auto y = a(x), z = b(x);
  return std::memcmp(y.data(), z.data(), 3 * a.out_features() * sizeof(float)) == 0;
}

/// Reads the written file again. @return how many tensors differ from what is in memory
std::size_t count_differences(const std::string& path, const std::vector<entry>& entries,
                              const tern::layer_tensors& written) {
  const tern::safetensors_file file(path);
  std::size_t wrong = 0, layers = 0;
  const auto check = [&](const std::string& name, bool good) {
    if (!good) ++wrong, fmt::print(stderr, "quantize_safetensors: tensor \"{}\" is not what was written\n", name);
  };
  for (const tern::safetensors_tensor& t : written.tensors()) {
    const tern::safetensors_tensor* const read = file.find(t.name);
    check(t.name, read != nullptr && read->dtype == t.dtype && read->shape == t.shape &&
                      std::ranges::equal(read->bytes, t.bytes));
  }
  for (const entry& e : entries) {
    if (!e.is_quantised()) continue;
    ++layers;
    check(e.tensor->name, same_layer(e.result.layer, tern::load_any_linear(file, e.tensor->name)));
  }
  check("of another name", file.tensors().size() == written.tensors().size());
  check("__metadata__", file.metadata() == written.metadata());
  fmt::print("Verified: {} tensors, {} of them quantised layers, {} differences.\n", file.tensors().size(), layers,
             wrong);
  return wrong;
}

int run(const options& o) {
  const tern::safetensors_file file(o.in);
  const recipe recipe = read_recipe(o.recipe);
  const executor ex = make_executor(o.threads);
  tern::safetensors_file calibration_file;
  if (!o.calibration.empty()) calibration_file = tern::safetensors_file(o.calibration);
  if (!tern::quantized_names(file).empty()) refuse(o.in + " holds quantised layers already");

  std::vector<entry> entries = plan(file, recipe);
  if (std::ranges::none_of(entries, &entry::is_quantised))
    refuse("no rule of the recipe quantises a tensor of the model");
  check_calibrated(entries, calibration_file);
  if (recipe.budget) choose(entries, *recipe.budget, calibration_file, ex);

  tern::layer_tensors written;
  std::vector<tern::aligned_bytes> casts;
  double all = 0, done = 0;
  for (const entry& e : entries) all += e.is_quantised() ? static_cast<double>(e.count()) : 0;
  bool calibrated = false;
  {
    progress_bar bar("Quantising");
    for (entry& e : entries) {
      if (e.is_quantised()) {
        const auto weights = static_cast<double>(e.count());
        e.result = quantise(e, e.how, calibration_file, ex,
                            [&](double part) { bar(static_cast<float>((done + part * weights) / all)); });
        done += weights;
        calibrated = calibrated || e.result.output_snr_db;
        e.bytes_after = written.add(e.tensor->name, e.result.layer);
        if (!o.verify) e.result.layer = {};
        continue;
      }
      const tern::safetensors_tensor t = for_tensor(e.tensor->name, [&] {
        return e.how.kind == weight_kind::f16    ? cast<tern::half>(*e.tensor, casts)
               : e.how.kind == weight_kind::bf16 ? cast<tern::bfloat16>(*e.tensor, casts)
                                                 : *e.tensor;
      });
      e.bytes_after = t.bytes.size();
      written.add(t);
    }
  }
  for (const auto& [key, value] : file.metadata()) written.add_metadata(key, value);
  tern::save_safetensors_file(o.out, written.tensors(), written.metadata());

  print_table(entries, calibrated);
  if (!o.svg.empty()) draw(o.svg, entries, calibrated);
  fmt::print("Written: {}\n", o.out);
  return o.verify && count_differences(o.out, entries, written) != 0 ? 2 : 0;
}

/// Writes a small model and activations to calibrate it with: two blocks of an embedding model, all random.
int write_example(const std::string& folder) {
  const auto draw = [](std::size_t rows, std::size_t cols, std::uint32_t seed) {
    return tern::synthetic_weights(rows, cols, tern::weight_distribution::laplace, seed);
  };
  std::vector<tern::matrix<float>> matrices;
  std::vector<std::string> names;
  const auto add = [&](const std::string& name, tern::matrix<float> m) {
    names.push_back(name), matrices.push_back(std::move(m));
  };
  add("embeddings.word.weight", draw(50, 64, 1));
  add("block.0.query.weight", draw(64, 64, 2));
  add("block.0.query.bias", draw(1, 64, 3));
  add("block.0.LayerNorm.weight", draw(1, 64, 4));
  add("block.0.up.weight", draw(160, 64, 5));
  add("block.0.down.weight", draw(64, 160, 6));
  add("block.1.up.weight", draw(170, 64, 7));
  add("block.1.down.weight", draw(50, 170, 8));
  std::vector<tern::safetensors_tensor> model, activations;
  for (std::size_t i = 0; i < names.size(); ++i) {
    model.push_back(tern::tensor_of(names[i], matrices[i]));
    if (matrices[i].rows() == 1) model.back().shape = {matrices[i].cols()};
  }
  // An input is half its neighbour; two channels are larger.
  std::vector<tern::matrix<float>> inputs;
  std::vector<tern::aligned_bytes> hessians;
  for (std::size_t i = 0; i < names.size(); ++i) {
    auto x = tern::synthetic_weights(500, matrices[i].cols(), tern::weight_distribution::gauss,
                                     static_cast<std::uint32_t>(20 + i));
    for (std::size_t t = 0; t < x.rows(); ++t)
      for (std::size_t k = 1; k < x.cols(); ++k) x(t, k) = 0.5f * x(t, k - 1) + x(t, k) * (k % 40 == 7 ? 8.0f : 1.0f);
    inputs.push_back(std::move(x));
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == "block.0.up.weight") {  // a Hessian instead of what it was made of
      tern::hessian h(inputs[i].cols());
      h.observe(inputs[i]);
      hessians.push_back(tern::save_hessian(h));
      activations.push_back({names[i], "U8", {hessians.back().size()}, std::as_const(hessians.back())});
    } else if (matrices[i].rows() > 1) {
      activations.push_back(tern::tensor_of(names[i], inputs[i]));
    }
  }
  tern::save_safetensors_file(folder + "/model.safetensors", model, {{"format", "pt"}});
  tern::save_safetensors_file(folder + "/activations.safetensors", activations);
  fmt::print("Written: {0}/model.safetensors, {0}/activations.safetensors\n", folder);
  return 0;
}

}  // namespace
}  // namespace demo

int main(int argc, char** argv) {
  demo::options o;
  CLI::App app("Quantises the matrices of a safetensors model by a recipe.", "quantize_safetensors");
  auto* const in = app.add_option("--in", o.in, "The model: safetensors");
  auto* const recipe = app.add_option("--recipe", o.recipe, "What to do with which tensor: JSON, see examples/recipes");
  auto* const out = app.add_option("--out", o.out, "Where the quantised model goes");
  in->needs(recipe, out);
  app.add_option("--calibration", o.calibration,
                 "Inputs of layers, or their Hessians, under the weights' names: safetensors")
      ->needs(in);
  app.add_option("--threads", o.threads, "At most so many; 0: what the machine has")->check(CLI::Range(0, 1024));
  app.add_option("--svg", o.svg, "Where a chart goes, of SNR against bits")->needs(in);
  app.add_flag("--verify", o.verify, "Read the file again and compare codes, scales and outputs, bit for bit")
      ->needs(in);
  app.add_option("--example", o.example, "Write a small random model and activations to this folder, and no more")
      ->excludes(in);
  app.footer("Exit codes: 0, 1 for an error, 2 when --verify finds a difference.");
  CLI11_PARSE(app, argc, argv);
  try {
    if (!o.example.empty()) return demo::write_example(o.example);
    if (o.in.empty()) throw std::runtime_error("--in, --recipe and --out are required; --help tells more");
    return demo::run(o);
  } catch (const std::exception& error) {
    fmt::print(stderr, "quantize_safetensors: {}\n", error.what());
    return 1;
  }
}
