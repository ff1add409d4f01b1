// SPDX-License-Identifier: MIT
/// What methods of quantisation make of a sentence encoder: closeness to the float embeddings, size, speed.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <tern/io/hessian_blob.hpp>
#include <tern/io/safetensors_layer.hpp>

#include "embedder.hpp"
#include "progress.hpp"
#include "quantize_in_sequence.hpp"
#include "quantize_layer.hpp"
#include "svg_chart.hpp"

namespace demo {

/// A method by which all linear maps of the model are quantised.
struct table_method {
  std::string family;   ///< a curve of the chart
  std::string variant;  ///< a point of it
  method how;
  bool counted = false;      ///< bits as if packed to the bit: tern stores these integers in wider fields
  bool in_sequence = false;  ///< layer after layer, each calibrated behind those before it

  std::string name() const { return variant.empty() ? family : family + ", " + variant; }
};

inline std::vector<table_method> table_methods() {
  constexpr tern::granularity row = tern::per_channel, group_160 = tern::per_group(160);
  constexpr std::size_t sweeps = 5;  // of coordinate descent: 20 are no better
  using fit = tern::decompose_method;
  std::vector<table_method> out;
  const auto integers = [&](unsigned bits, tern::granularity granularity, const std::string& variant) {
    const method how{.kind = weight_kind::integers, .bits = bits, .granularity = granularity};
    out.push_back({fmt::format("INT{} MSE clip", bits), variant, how, bits != 4 && bits != 8});
  };
  // Of 8 bits, what is lost is in the activations, where a few inputs are 10 times as large as most.
  const method int8{.kind = weight_kind::integers, .bits = 8, .clip = tern::int_clip::absmax};
  const auto add_int8 = [&](const char* variant, const auto& change) {
    out.push_back({"INT8 absmax", variant, int8});
    change(out.back().how);
  };
  add_int8("rows", [](method&) {});
  add_int8("rows, float activations", [](method& how) { how.activations = activation_kind::real; });
  add_int8("rows, SmoothQuant 0.5", [](method& how) { how.smoothquant = 0.5; });
  add_int8("rows, LLM.int8() from 6", [](method& how) { how.outlier_columns = 6.0f; });
  add_int8("rows, Hadamard", [](method& how) { how.hadamard = true; });
  integers(5, row, "rows");
  integers(5, tern::per_group(128), "groups of 128");
  integers(4, row, "rows");
  integers(4, tern::per_group(128), "groups of 128");
  integers(4, tern::per_group(16), "groups of 16");
  integers(3, row, "rows");
  integers(3, tern::per_group(48), "groups of 48");
  integers(3, tern::per_group(32), "groups of 32");
  for (const auto& [bits, group] : {std::pair(5u, 128u), {4u, 128u}, {3u, 32u}}) {
    integers(bits, tern::per_group(group), fmt::format("groups of {}, Hadamard + GPTQ", group));
    out.back().how.hadamard = out.back().how.gptq = true;
    table_method best = out.back();
    best.how.sweeps = sweeps, best.how.refit_outputs = 2, best.in_sequence = true;
    best.variant = fmt::format("groups of {}, in sequence", group);
    out.push_back(best);
  }
  for (std::size_t planes = 1; planes <= 3; ++planes) {
    const auto add = [&](const char* family, const char* codec, method how) {
      out.push_back({family, fmt::format("k = {}{}", planes, codec), std::move(how)});
    };
    const method free{.kind = weight_kind::planes, .planes = planes, .codec = "b3"};
    method greedy = free;
    greedy.fit = fit::greedy;
    greedy.rule = tern::base_rule::absmean;
    add("greedy absmean", "", greedy);
    add("alternating", "", free);
    // The smallest codec in groups of 160; of one plane, there is no code to choose.
    method code{.kind = planes == 1 ? weight_kind::ternary : weight_kind::trit_code,
                .planes = planes,
                .granularity = group_160};
    const char* small = planes == 1 ? ", b3" : planes == 2 ? ", b3x2" : ", b3x3";
    method fast = code;
    fast.granularity = row;
    fast.codec = planes == 2 ? "n4" : "n6";
    if (planes > 1) add("plane code, rows", planes == 2 ? ", n4" : ", n6", fast);
    add("plane code, groups", small, code);
    code.hadamard = true;
    add("+ Hadamard", small, code);
    code.hadamard = false;
    code.gptq = fast.gptq = true;
    if (planes > 1) add("plane code, rows, + GPTQ", planes == 2 ? ", n4" : ", n6", fast);
    add("+ GPTQ", small, code);
    code.hadamard = true;
    add("+ Hadamard + GPTQ", small, code);
    code.refit_outputs = 2;
    add("+ Hadamard + GPTQ + refit", small, code);
    code.sweeps = sweeps;
    add("+ Hadamard + GPTQ + descent + refit", small, code);
    add("the same in sequence", small, code);
    out.back().in_sequence = true;
  }
  return out;
}

/// Sentences a second on 1 and 2 threads, a sentence and 32 at a time.
struct table_speed {
  std::size_t threads, batch;
};
inline constexpr std::array<table_speed, 4> table_speeds{{{1, 1}, {1, 32}, {2, 1}, {2, 32}}};

struct table_row {
  std::string family, variant;
  bool counted = false;
  double bits = 32;         ///< per weight of the linear maps, scales included
  double linear_bytes = 0;  ///< of the linear maps' weights
  double file_bytes = 0;    ///< with all other tensors as they are in the model's file
  double output_snr_db = std::numeric_limits<double>::infinity();  ///< mean over the maps, on the calibration's inputs
  double mean_cosine = 1, least_cosine = 1;                        ///< of a sentence's embedding and its float one
  double spearman = 1;                                             ///< of the similarities of all pairs of sentences
  std::array<double, table_speeds.size()> sentences_per_second{};
  std::array<double, bert_part_names.size()>
      part_seconds{};  ///< of a sentence, 1 thread, one at a time: least of all rounds

  std::string name() const { return variant.empty() ? family : family + ", " + variant; }
};

/// What the maps were given: by the name of the map.
using calibrations = std::map<std::string, std::shared_ptr<const calibration>>;

/// Runs the float model over sentences and observes what its maps are given. Query, key and value are given the same.
inline calibrations calibrate(const bert& model, std::span<const token_ids> sentences, embedder& threads) {
  progress_bar bar(fmt::format("calibration, {} sentences", sentences.size()));
  std::map<std::string, std::shared_ptr<calibration>> seen;
  const auto source = [](const linear_map& map) {
    const std::size_t at = map.name.find(".self.");
    return at == map.name.npos ? map.name : map.name.substr(0, at);
  };
  for (const linear_map& map : model.maps()) {
    std::shared_ptr<calibration>& c = seen[source(map)];
    if (c == nullptr) c = std::make_shared<calibration>(calibration{tern::hessian(map.weight.cols())});
  }
  const auto observe = [&](const linear_map& map, tern::matrix_view<const float> x) {
    if (map.name.ends_with(".key") || map.name.ends_with(".value")) return;
    calibration& c = *seen.at(source(map));
    c.hessian.observe(x, threads.executor());
    c.maxima.resize(x.cols());
    for (std::size_t t = 0; t < x.rows(); ++t)
      for (std::size_t k = 0; k < x.cols(); ++k) c.maxima[k] = std::max(c.maxima[k], std::fabs(x(t, k)));
  };
  constexpr std::size_t batch = 16;
  tern::matrix<float> embeddings(batch, model.config().width);
  for (std::size_t begin = 0; begin < sentences.size(); begin += batch) {
    const std::size_t count = std::min(batch, sentences.size() - begin);
    model.embed(sentences.subspan(begin, count), {embeddings.data(), count, embeddings.cols()}, threads.workspace(),
                observe);
    bar(static_cast<float>(begin + count) / static_cast<float>(sentences.size()));
  }
  calibrations out;
  for (const linear_map& map : model.maps()) out[map.name] = seen.at(source(map));
  return out;
}

/// The similarities of all pairs, as ranks: those that are equal share the mean of theirs.
inline std::vector<double> similarity_ranks(const tern::matrix<float>& embeddings) {
  std::vector<double> similarities;
  for (std::size_t i = 0; i < embeddings.rows(); ++i)
    for (std::size_t j = i + 1; j < embeddings.rows(); ++j)
      similarities.push_back(dot(row_of(embeddings, i), row_of(embeddings, j)));
  std::vector<std::size_t> order(similarities.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return similarities[a] < similarities[b]; });
  std::vector<double> ranks(order.size());
  for (std::size_t first = 0, last; first < order.size(); first = last) {
    for (last = first + 1; last < order.size() && similarities[order[last]] == similarities[order[first]];) ++last;
    for (std::size_t i = first; i < last; ++i) ranks[order[i]] = static_cast<double>(first + last - 1) / 2;
  }
  return ranks;
}

inline double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const auto count = static_cast<double>(a.size());
  const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / count;
  const double mean_b = std::accumulate(b.begin(), b.end(), 0.0) / count;
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return ab / std::sqrt(aa * bb);
}

/// Writes what the maps were given, as quantize_safetensors takes it: a Hessian under the name of each weight.
inline void save_calibration(const std::string& path, const calibrations& seen) {
  std::map<const calibration*, tern::aligned_bytes> blobs;  // some maps share theirs
  std::vector<tern::safetensors_tensor> tensors;
  for (const auto& [name, c] : seen) {
    if (!blobs.contains(c.get())) blobs.emplace(c.get(), tern::save_hessian(c->hessian));
    const std::span<const std::byte> bytes = std::as_const(blobs.at(c.get()));
    tensors.push_back({name + ".weight", "U8", {bytes.size()}, bytes});
  }
  tern::save_safetensors_file(path, tensors);
}

/// Puts the layers of a file, from quantize_safetensors, in the places of the model's own, and fills in what is known then.
///
/// @param seen  null: nothing is measured
/// Errors: std::runtime_error when the file has none of the model's maps.
inline table_row exchange_file(bert& model, const std::string& path, const calibrations* seen) {
  const tern::safetensors_file file(path);
  const std::vector<std::string> names = tern::quantized_names(file);
  table_row row{.family = path, .variant = "", .output_snr_db = 0};
  double weights = 0, exchanged = 0;
  const std::vector<linear_map> maps(model.maps().begin(), model.maps().end());
  for (const linear_map& map : maps) {
    const std::string name = map.name + ".weight";
    const auto count = static_cast<double>(map.weight.rows() * map.weight.cols());
    weights += count;
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      row.linear_bytes += count * sizeof(float);
      continue;
    }
    const tern::any_linear layer = tern::load_any_linear(file, name, {map.bias.begin(), map.bias.end()});
    row.linear_bytes += static_cast<double>(layer.storage_bytes());
    if (seen != nullptr)
      row.output_snr_db += tern::output_distortion(map.weight, layer.dequantized(), seen->at(map.name)->hessian).snr_db;
    model.exchange(map.name, layer);
    ++exchanged;
  }
  if (exchanged == 0) throw std::runtime_error(fmt::format("{} has none of the model's linear maps", path));
  row.bits = 8 * row.linear_bytes / weights;
  row.output_snr_db /= exchanged;
  return row;
}

/// Quantises all linear maps of `model` by the method, and fills in what is known then.
inline table_row exchange_all(bert& model, const table_method& m, const calibrations& seen, embedder& threads) {
  progress_bar bar(m.name());
  table_row row{.family = m.family, .variant = m.variant, .counted = m.counted};
  double weights = 0, bits = 0, snr = 0;
  std::size_t done = 0;
  const std::vector<linear_map> maps(model.maps().begin(), model.maps().end());
  for (const linear_map& map : maps) {
    const auto report = [&](std::size_t part, std::size_t whole) {
      const double maps_done = static_cast<double>(done) + static_cast<double>(part) / static_cast<double>(whole);
      bar(static_cast<float>(maps_done) / static_cast<float>(maps.size()));
      return true;
    };
    const std::size_t count = map.weight.rows() * map.weight.cols();
    tern::matrix<float> w(map.weight.rows(), map.weight.cols());
    std::copy_n(map.weight.data(), count, w.data());
    const quantized_layer q =
        quantize(w, m.how, seen.at(map.name).get(), threads.executor(), report, {map.bias.begin(), map.bias.end()});
    model.exchange(map.name, q.layer);
    const double layer_bits = m.counted ? q.ideal_bits : q.bits;
    weights += static_cast<double>(count);
    bits += layer_bits * static_cast<double>(count);
    snr += q.output_snr_db.value();
    report(1, 1), ++done;
  }
  row.bits = bits / weights;
  row.linear_bytes = bits / 8;
  row.output_snr_db = snr / static_cast<double>(maps.size());
  return row;
}

/// The same, layer after layer; `sentences` calibrate. Outputs are compared on the inputs of the float model, as above.
inline table_row exchange_in_sequence(bert& model, const table_method& m, const calibrations& seen,
                                      std::span<const token_ids> sentences, embedder& threads) {
  progress_bar bar(m.name());
  table_row row{.family = m.family, .variant = m.variant, .counted = m.counted, .output_snr_db = 0};
  double weights = 0, bits = 0, done = 0;
  const auto maps = static_cast<double>(model.maps().size());
  quantize_in_sequence(model, m.how, sentences, threads, [&](const linear_map& map, const quantized_layer& q) {
    const auto count = static_cast<double>(map.weight.rows() * map.weight.cols());
    weights += count;
    bits += (m.counted ? q.ideal_bits : q.bits) * count;
    row.output_snr_db += tern::output_distortion(map.weight, q.layer.dequantized(), seen.at(map.name)->hessian).snr_db;
    bar(static_cast<float>(++done / maps));
  });
  row.bits = bits / weights;
  row.linear_bytes = bits / 8;
  row.output_snr_db /= maps;
  return row;
}

/// Sets the speeds of rows: medians over rounds in which all rows take turns, on the first of the sentences; and where the
/// time of a sentence goes.
inline void measure_speeds(std::vector<table_row>& rows, const std::vector<bert>& models,
                           std::span<const token_ids> sentences, embedder& threads, std::size_t rounds) {
  progress_bar bar(fmt::format("{} rounds of timing, {} sentences each", rounds, sentences.size()));
  std::vector<std::array<std::vector<double>, table_speeds.size()>> times(rows.size());
  for (std::size_t round = 0; round < rounds; ++round)
    for (std::size_t s = 0; s < table_speeds.size(); ++s)
      for (std::size_t r = 0; r < rows.size(); ++r) {
        threads.workspace().seconds = {};
        const auto start = std::chrono::steady_clock::now();
        threads(models[r], sentences, table_speeds[s].batch, table_speeds[s].threads);
        times[r][s].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        if (s == 0)
          for (std::size_t p = 0; p < bert_part_names.size(); ++p) {
            const double seconds = threads.workspace().seconds[p] / static_cast<double>(sentences.size());
            double& least = rows[r].part_seconds[p];
            least = round == 0 ? seconds : std::min(least, seconds);
          }
        const std::size_t done = (round * table_speeds.size() + s) * rows.size() + r;
        bar(static_cast<float>(done) / static_cast<float>(rounds * table_speeds.size() * rows.size()));
      }
  for (std::size_t r = 0; r < rows.size(); ++r)
    for (std::size_t s = 0; s < table_speeds.size(); ++s) {
      std::vector<double>& t = times[r][s];
      const auto middle = t.begin() + static_cast<std::ptrdiff_t>(t.size() / 2);
      std::nth_element(t.begin(), middle, t.end());
      rows[r].sentences_per_second[s] = static_cast<double>(sentences.size()) / *middle;
    }
}

/// Sets how close embeddings are to the float ones.
inline void compare_embeddings(table_row& row, const tern::matrix<float>& embeddings, const tern::matrix<float>& wanted,
                               const std::vector<double>& wanted_ranks) {
  double sum = 0;
  row.least_cosine = 1;
  for (std::size_t s = 0; s < wanted.rows(); ++s) {
    const double c = cosine(row_of(embeddings, s), row_of(wanted, s));
    sum += c;
    row.least_cosine = std::min(row.least_cosine, c);
  }
  row.mean_cosine = sum / static_cast<double>(wanted.rows());
  row.spearman = correlation(similarity_ranks(embeddings), wanted_ranks);
}

/// The whole table. The first row is of the model as it is, the last ones of files from quantize_safetensors.
///
/// @param file_bytes  of the model's file
/// @param rounds      of timing
inline std::vector<table_row> make_table(const bert& model, const std::vector<table_method>& methods,
                                         const std::vector<std::string>& files, const calibrations& seen,
                                         std::span<const token_ids> calibration_set,
                                         std::span<const token_ids> evaluation_set, embedder& threads,
                                         std::size_t file_bytes, std::size_t rounds) {
  constexpr std::size_t timed_sentences = 64;
  std::vector<table_row> rows(1);
  rows[0].family = "float";
  for (const linear_map& map : model.maps()) rows[0].linear_bytes += static_cast<double>(map.stored_bytes);
  const double others = static_cast<double>(file_bytes) - rows[0].linear_bytes;
  std::vector<bert> models{model};
  const tern::matrix<float> wanted = threads(model, evaluation_set);
  const std::vector<double> wanted_ranks = similarity_ranks(wanted);
  const auto add = [&](const auto& exchange) {
    models.push_back(model);
    rows.push_back(exchange(models.back()));
    compare_embeddings(rows.back(), threads(models.back(), evaluation_set), wanted, wanted_ranks);
  };
  for (const table_method& m : methods)
    add([&](bert& each) {
      return m.in_sequence ? exchange_in_sequence(each, m, seen, calibration_set, threads)
                           : exchange_all(each, m, seen, threads);
    });
  for (const std::string& path : files) add([&](bert& each) { return exchange_file(each, path, &seen); });
  for (table_row& row : rows) row.file_bytes = others + row.linear_bytes;
  measure_speeds(rows, models, evaluation_set.first(std::min(timed_sentences, evaluation_set.size())), threads, rounds);
  return rows;
}

inline void print_table(const std::vector<table_row>& rows) {
  std::size_t width = 0;
  for (const table_row& row : rows) width = std::max(width, row.name().size());
  fmt::print("\n{:<{}} {:>7} {:>13} {:>7} {:>16} {:>9} {:>27}\n", "", width, "bits per", "MB", "output", "cosine", "",
             "sentences per second");
  fmt::print("{:<{}} {:>7} {:>6} {:>7} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>6}\n", "weights", width, "weight",
             "linear", "file", "SNR", "mean", "least", "Spearman", "1 x 1", "1 x 32", "2 x 1", "2 x 32");
  for (const table_row& row : rows) {
    const std::string snr = std::isfinite(row.output_snr_db) ? fmt::format("{:.1f} dB", row.output_snr_db) : "-";
    fmt::print("{:<{}} {:>6.2f}{} {:>6.2f} {:>7.2f} {:>8} {:>8.5f} {:>8.5f} {:>8.5f}", row.name(), width, row.bits,
               row.counted ? '*' : ' ', row.linear_bytes / 1e6, row.file_bytes / 1e6, snr, row.mean_cosine,
               row.least_cosine, row.spearman);
    for (const double speed : row.sentences_per_second) fmt::print(" {:>6.0f}", speed);
    fmt::print("\n");
  }
}

/// Where the time of a sentence goes, in the float row and the fastest other one.
inline void print_parts(const std::vector<table_row>& rows) {
  const auto fastest = std::max_element(rows.begin() + 1, rows.end(), [](const table_row& a, const table_row& b) {
    return a.sentences_per_second[0] < b.sentences_per_second[0];
  });
  fmt::print("\nMilliseconds of a sentence, one at a time on one thread:");
  for (const table_row* row : {&rows[0], &*fastest}) {
    fmt::print("\n{}:", row->name());
    for (std::size_t p = 0; p < bert_part_names.size(); ++p)
      fmt::print("{} {} {:.3f}", p == 0 ? "" : ",", bert_part_names[p], 1e3 * row->part_seconds[p]);
  }
  fmt::print("\n");
}

inline void write_json(const std::string& path, const std::vector<table_row>& rows) {
  nlohmann::json all = nlohmann::json::array();
  for (const table_row& row : rows) {
    nlohmann::json& entry = all.emplace_back();
    entry["family"] = row.family;
    entry["variant"] = row.variant;
    entry["counted"] = row.counted;
    entry["bits_per_weight"] = row.bits;
    entry["linear_bytes"] = row.linear_bytes;
    entry["file_bytes"] = row.file_bytes;
    if (std::isfinite(row.output_snr_db)) entry["output_snr_db"] = row.output_snr_db;
    entry["mean_cosine"] = row.mean_cosine;
    entry["least_cosine"] = row.least_cosine;
    entry["spearman"] = row.spearman;
    for (std::size_t p = 0; p < bert_part_names.size(); ++p) entry["seconds"][bert_part_names[p]] = row.part_seconds[p];
    for (std::size_t s = 0; s < table_speeds.size(); ++s)
      entry["sentences_per_second"].push_back({{"threads", table_speeds[s].threads},
                                               {"batch", table_speeds[s].batch},
                                               {"value", row.sentences_per_second[s]}});
  }
  std::ofstream out(path);
  out << all.dump(1) << '\n';
  out.close();
  if (!out) throw std::runtime_error(path + ": cannot be written");
}

/// Closeness of embeddings and of outputs against bits.
inline chart chart_of(const std::vector<table_row>& rows) {
  chart chart{.title = "all-MiniLM-L6-v2: what the bits of a weight buy",
              .x_label = "bits stored per weight, scales included",
              .x_ticks = {1.5, 2, 3, 4, 5, 6, 8},
              .panels = {{.title = "embeddings: -10 log10(1 - mean cosine)", .least = 0, .most = 10},
                         {.title = "outputs of the maps: SNR in dB", .least = 0, .most = 10}},
              .series = {{.name = "INT", .colour = "#333333", .shape = marker::square},
                         {.name = "INT + Hadamard + GPTQ", .colour = "#999999", .shape = marker::square},
                         {.name = "INT in sequence", .colour = "#999999", .shape = marker::diamond},
                         {.name = "greedy absmean", .colour = "#cc79a7", .joined = true},
                         {.name = "alternating", .colour = "#d55e00", .joined = true},
                         {.name = "plane code, rows", .colour = "#56b4e9", .shape = marker::diamond},
                         {.name = "plane code, groups", .colour = "#0072b2", .joined = true},
                         {.name = "+ Hadamard", .colour = "#e69f00", .joined = true},
                         {.name = "plane code, rows, + GPTQ", .colour = "#56b4e9", .shape = marker::triangle_up},
                         {.name = "+ GPTQ", .colour = "#009e73", .joined = true},
                         {.name = "+ Hadamard + GPTQ + refit", .colour = "#009e73", .shape = marker::triangle_up},
                         {.name = "the same in sequence", .colour = "#000000", .shape = marker::diamond}}};
  for (const table_row& row : rows)
    for (chart_series& series : chart.series) {
      const bool integer = row.family.starts_with("INT");
      const bool helped = row.variant.ends_with("GPTQ");
      const bool in_sequence = row.variant.ends_with("in sequence");
      const char* const integers = helped ? "INT + Hadamard + GPTQ" : in_sequence ? "INT in sequence" : "INT";
      if (series.name != (integer ? integers : row.family)) continue;
      const std::string label = integer ? row.family.substr(3, 1) : "";
      series.points.push_back({row.bits, {-10 * std::log10(1 - row.mean_cosine), row.output_snr_db}, {label, label}});
    }
  return chart;
}

}  // namespace demo
