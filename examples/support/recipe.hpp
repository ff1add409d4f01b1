// SPDX-License-Identifier: MIT
/// Recipes: which tensors of a model are quantised how, in JSON.
///
///     {"budget": 3.4,
///      "rules": [{"match": "*.attention.*.weight", "kind": "trit_code", "planes": 3, "granularity": 160, "hadamard": true},
///                {"match": "*.dense.weight", "kind": "trit_code", "choices": [{"planes": 2}, {"planes": 3}]}]}
///
/// The first rule whose pattern ("*" is any text, "?" any character) matches a tensor's name decides; what none matches is
/// kept. With a budget, in stored bits per weight over all tensors that the rules quantise, one of each rule's choices,
/// which are options that replace the rule's own, is taken for each tensor, by measured error: the relative one of its
/// outputs, or of its weights without calibration, times its number of weights and the rule's "importance" (left out: 1).
///
/// | option            | values                                                        | of                                  |
/// |-------------------|---------------------------------------------------------------|-------------------------------------|
/// | "kind"            | "int", "ternary", "planes", "trit_code", "keep", "f16", "bf16" |                                    |
/// | "bits"            | 2 to 8                                                        | int                                 |
/// | "clip"            | "mse", "absmax"                                               | int                                 |
/// | "zero_point"      | true                                                          | int                                 |
/// | "rule"            | "optimum", "absmean", "twn", "absmax"                         | ternary; greedy planes              |
/// | "planes"          | 1 to 5; 2 or 3                                                | planes; trit_code                   |
/// | "fit"             | "alternating", "balanced", "refit", "greedy"                  | planes                              |
/// | "code"            | [3, 2], [9, 5, 3], ...; null: the best one                    | trit_code                           |
/// | "granularity"     | "channel", "tensor", or the inputs of a group                 |                                     |
/// | "codec"           | "i2", "b3", "n4", "n6", "b3x2", "b3x3", "i8"                  |                                     |
/// | "scales"          | "F16", "BF16", "F32"                                          |                                     |
/// | "activations"     | "int8", "float"                                               | float: codecs n4 and i8             |
/// | "hadamard"        | true, or {"seed": 1, "block": 128}                            |                                     |
/// | "weighted"        | true                                                          | with calibration, as all that follow |
/// | "gptq"            | true, or {"damp": 0.01, "sweeps": 0}                          |                                     |
/// | "refit_outputs"   | rounds                                                        |                                     |
/// | "smoothquant"     | alpha, 0 to 1                                                 |                                     |
/// | "awq"             | true                                                          |                                     |
/// | "outlier_columns" | a magnitude of activations: LLM.int8()                        | int with 8 bits                     |
#pragma once

#include <fstream>
#include <iterator>

#include <nlohmann/json.hpp>

#include "quantize_layer.hpp"

namespace demo {

using nlohmann::ordered_json;

struct rule {
  std::string match;
  method how;
  std::vector<method> choices = {};  ///< in place of `how`, where there is a budget
  double importance = 1;             ///< of an error of the tensors that match, where there is a budget

  friend bool operator==(const rule&, const rule&) = default;
};

struct recipe {
  std::vector<rule> rules;
  std::optional<double> budget = {};  ///< bits per weight

  friend bool operator==(const recipe&, const recipe&) = default;
};

/// Whether a name matches a pattern of "*", any text, "?", any character, and characters that stand for themselves.
inline bool matches(std::string_view pattern, std::string_view name) {
  std::size_t p = 0, n = 0, star = pattern.npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++, resume = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p, ++n;
    } else if (star != pattern.npos) {
      p = star + 1, n = ++resume;  // the last star takes one character more
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// The words of an option's values, in the order of its enumeration.
template <class Enum>
struct words;
template <>
struct words<weight_kind> {
  static constexpr const char* all[] = {"keep", "f16", "bf16", "int", "ternary", "planes", "trit_code"};
};
template <>
struct words<activation_kind> {
  static constexpr const char* all[] = {"int8", "float"};
};
template <>
struct words<tern::int_clip> {
  static constexpr const char* all[] = {"mse", "absmax"};
};
template <>
struct words<tern::base_rule> {
  static constexpr const char* all[] = {"absmean", "twn", "absmax", "optimum"};
};
template <>
struct words<tern::decompose_method> {
  static constexpr const char* all[] = {"greedy", "refit", "alternating", "balanced"};
};
template <>
struct words<tern::scale_type> {
  static constexpr const char* all[] = {"F32", "F16", "BF16"};
};

template <class Enum>
Enum word_value(const std::string& option, const ordered_json& value) {
  std::string wanted;
  for (std::size_t i = 0; i < std::size(words<Enum>::all); ++i) {
    if (value == words<Enum>::all[i]) return static_cast<Enum>(i);
    wanted += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", words<Enum>::all[i]);
  }
  refuse(fmt::format("\"{}\" is one of {}, not {}", option, wanted, value.dump()));
}
template <class Enum>
const char* word_of(Enum value) {
  return words<Enum>::all[static_cast<std::size_t>(value)];
}

inline double number_value(const std::string& option, const ordered_json& value, double least, double most) {
  if (!value.is_number() || !(value.get<double>() >= least && value.get<double>() <= most))
    refuse(fmt::format("\"{}\" is a number from {:g} to {:g}, not {}", option, least, most, value.dump()));
  return value.get<double>();
}
inline std::uint64_t integer_value(const std::string& option, const ordered_json& value, std::uint64_t least,
                                   std::uint64_t most) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() < least || value.get<std::uint64_t>() > most)
    refuse(fmt::format("\"{}\" is an integer from {} to {}, not {}", option, least, most, value.dump()));
  return value.get<std::uint64_t>();
}
inline bool truth_value(const std::string& option, const ordered_json& value) {
  if (!value.is_boolean()) refuse(fmt::format("\"{}\" is true or false, not {}", option, value.dump()));
  return value.get<bool>();
}
/// The members of an option that is true, false, or an object; an empty one for the former two.
inline ordered_json members_value(const std::string& option, const ordered_json& value, bool& on) {
  on = !value.is_boolean() || value.get<bool>();
  if (value.is_object()) return value;
  if (!value.is_boolean()) refuse(fmt::format("\"{}\" is true, false or an object, not {}", option, value.dump()));
  return ordered_json::object();
}

inline constexpr std::uint64_t most_inputs = 131071;  // of a product

inline tern::granularity granularity_value(const ordered_json& value) {
  if (value == "channel") return tern::per_channel;
  if (value == "tensor") return tern::per_tensor;
  if (!value.is_number())
    refuse("\"granularity\" is \"channel\", \"tensor\" or the inputs of a group, not " + value.dump());
  return tern::per_group(integer_value("granularity", value, 1, most_inputs));
}

inline tern::trit_code code_value(const ordered_json& value) {
  tern::trit_code code;
  bool good = value.is_array() && (value.size() == 2 || value.size() == 3);
  for (std::size_t i = 0; good && i < value.size(); ++i) {
    good = value[i].is_number_unsigned() && value[i].get<std::uint64_t>() <= 31;
    if (good) code.c[i] = static_cast<std::int8_t>(value[i].get<int>());
  }
  if (!good || !code.valid()) refuse("\"code\" is a plane code such as [3, 2] or [9, 5, 3], not " + value.dump());
  return code;
}

/// Sets one option.
inline void set_option(method& m, const std::string& option, const ordered_json& value) {
  if (option == "kind") {
    m.kind = word_value<weight_kind>(option, value);
  } else if (option == "bits") {
    m.bits = static_cast<unsigned>(integer_value(option, value, 2, 8));
  } else if (option == "clip") {
    m.clip = word_value<tern::int_clip>(option, value);
  } else if (option == "zero_point") {
    m.zero_point = truth_value(option, value);
  } else if (option == "rule") {
    m.rule = word_value<tern::base_rule>(option, value);
  } else if (option == "planes") {
    m.planes = integer_value(option, value, 1, 5);
  } else if (option == "fit") {
    m.fit = word_value<tern::decompose_method>(option, value);
  } else if (option == "code") {
    m.code = value.is_null() ? tern::trit_code{} : code_value(value);
  } else if (option == "granularity") {
    m.granularity = granularity_value(value);
  } else if (option == "codec") {
    if (!value.is_string()) refuse("\"codec\" is the name of one, not " + value.dump());
    m.codec = value.get<std::string>();
  } else if (option == "scales") {
    m.scales = word_value<tern::scale_type>(option, value);
  } else if (option == "activations") {
    m.activations = word_value<activation_kind>(option, value);
  } else if (option == "hadamard") {
    const ordered_json members = members_value(option, value, m.hadamard);
    for (const auto& [name, each] : members.items()) {
      if (name == "seed")
        m.seed = integer_value("seed", each, 0, static_cast<std::uint64_t>(-1));
      else if (name == "block")
        m.block = integer_value("block", each, 0, most_inputs);
      else
        refuse("\"hadamard\" has seed and block, not " + name);
    }
  } else if (option == "weighted") {
    m.weighted = truth_value(option, value);
  } else if (option == "gptq") {
    const ordered_json members = members_value(option, value, m.gptq);
    for (const auto& [name, each] : members.items()) {
      if (name == "damp")
        m.damp = number_value("damp", each, 0, 1e6);
      else if (name == "sweeps")
        m.sweeps = integer_value("sweeps", each, 0, 1000);
      else
        refuse("\"gptq\" has damp and sweeps, not " + name);
    }
  } else if (option == "refit_outputs") {
    m.refit_outputs = integer_value(option, value, 0, 100);
  } else if (option == "smoothquant") {
    m.smoothquant.reset();
    if (!value.is_null()) m.smoothquant = number_value(option, value, 0, 1);
  } else if (option == "awq") {
    m.awq = truth_value(option, value);
  } else if (option == "outlier_columns") {
    m.outlier_columns.reset();
    if (!value.is_null()) m.outlier_columns = static_cast<float>(number_value(option, value, 0, 1e30));
  } else {
    refuse(fmt::format("there is no option \"{}\"", option));
  }
}

/// A method with the options of a JSON object set.
/// Errors: tern::range_error naming the option.
inline method parse_method(const ordered_json& object, method m = {}) {
  if (!object.is_object()) refuse("a method is an object, not " + object.dump());
  for (const auto& [option, value] : object.items()) set_option(m, option, value);
  return m;
}

/// The options in which m differs from another one: parse_method(to_json(m, from), from) is m.
inline ordered_json to_json(const method& m, const method& from = {}) {
  ordered_json out = ordered_json::object();
  const auto set_if = [&](const char* option, bool differs, auto&& value) {
    if (differs) out[option] = value();
  };
  const auto optional = [](const auto& value) { return value ? ordered_json(*value) : ordered_json(nullptr); };
  set_if("kind", m.kind != from.kind, [&] { return word_of(m.kind); });
  set_if("bits", m.bits != from.bits, [&] { return m.bits; });
  set_if("clip", m.clip != from.clip, [&] { return word_of(m.clip); });
  set_if("zero_point", m.zero_point != from.zero_point, [&] { return m.zero_point; });
  set_if("rule", m.rule != from.rule, [&] { return word_of(m.rule); });
  set_if("planes", m.planes != from.planes, [&] { return m.planes; });
  set_if("fit", m.fit != from.fit, [&] { return word_of(m.fit); });
  set_if("code", m.code != from.code, [&]() -> ordered_json {
    if (m.code == tern::trit_code{}) return nullptr;
    return std::vector<int>(m.code.c.begin(), m.code.c.begin() + static_cast<std::ptrdiff_t>(m.code.planes()));
  });
  set_if("granularity", m.granularity != from.granularity, [&]() -> ordered_json {
    if (m.granularity.kind == tern::granularity::sharing::group) return m.granularity.group;
    return m.granularity == tern::per_tensor ? "tensor" : "channel";
  });
  set_if("codec", m.codec != from.codec, [&] { return m.codec; });
  set_if("scales", m.scales != from.scales, [&] { return word_of(m.scales); });
  set_if("activations", m.activations != from.activations, [&] { return word_of(m.activations); });
  set_if("hadamard", m.hadamard != from.hadamard || m.seed != from.seed || m.block != from.block, [&] {
    return m.hadamard ? ordered_json{{"seed", m.seed}, {"block", m.block}} : ordered_json(false);
  });
  set_if("weighted", m.weighted != from.weighted, [&] { return m.weighted; });
  set_if("gptq", m.gptq != from.gptq || m.damp != from.damp || m.sweeps != from.sweeps, [&] {
    return m.gptq ? ordered_json{{"damp", m.damp}, {"sweeps", m.sweeps}} : ordered_json(false);
  });
  set_if("refit_outputs", m.refit_outputs != from.refit_outputs, [&] { return m.refit_outputs; });
  set_if("smoothquant", m.smoothquant != from.smoothquant, [&] { return optional(m.smoothquant); });
  set_if("awq", m.awq != from.awq, [&] { return m.awq; });
  set_if("outlier_columns", m.outlier_columns != from.outlier_columns, [&] { return optional(m.outlier_columns); });
  return out;
}

inline rule parse_rule(ordered_json object) {
  if (!object.is_object()) refuse("a rule is an object, not " + object.dump());
  if (!object.contains("match") || !object["match"].is_string()) refuse("\"match\", a pattern, is missing");
  if (!object.contains("kind")) refuse("\"kind\" is missing");
  rule r{.match = object["match"].get<std::string>(), .how = {}};
  const ordered_json choices = object.value("choices", ordered_json::array());
  if (object.contains("importance")) {
    r.importance = number_value("importance", object["importance"], 0, 1e30);
    if (choices.empty()) refuse("\"importance\" goes with choices");
  }
  for (const char* const member : {"match", "choices", "importance"}) object.erase(member);
  r.how = parse_method(object);
  if (!choices.is_array()) refuse("\"choices\" is a list of options, not " + choices.dump());
  for (const ordered_json& choice : choices) r.choices.push_back(parse_method(choice, r.how));
  return r;
}

/// Errors: tern::range_error that names the rule and the option; for text that is no JSON, too.
inline recipe parse_recipe(const std::string& text) {
  const ordered_json object = ordered_json::parse(text, nullptr, false, true);
  if (object.is_discarded()) refuse("recipe: not JSON");
  if (!object.is_object() || !object.contains("rules") || !object["rules"].is_array())
    refuse("recipe: an object with a list of \"rules\" is wanted");
  recipe out;
  for (const auto& [name, value] : object.items()) {
    if (name == "rules" || name == "remark") continue;
    if (name != "budget") refuse(fmt::format("recipe: there is no member \"{}\"", name));
    out.budget = number_value("budget", value, 0, 32);
  }
  bool has_choices = false;
  for (const ordered_json& each : object["rules"]) {
    try {
      out.rules.push_back(parse_rule(each));
    } catch (const tern::error& e) {
      refuse(fmt::format("recipe: rule {}: {}", out.rules.size() + 1, e.what()));
    }
    has_choices = has_choices || !out.rules.back().choices.empty();
  }
  if (has_choices != out.budget.has_value()) refuse("recipe: choices need a budget, and a budget choices");
  return out;
}

inline recipe read_recipe(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw tern::io_error("recipe: cannot open " + path);
  return parse_recipe(std::string(std::istreambuf_iterator<char>(in), {}));
}

inline std::string to_text(const recipe& r) {
  ordered_json out;
  if (r.budget) out["budget"] = *r.budget;
  out["rules"] = ordered_json::array();
  for (const rule& each : r.rules) {
    ordered_json object = {{"match", each.match}};
    if (each.importance != 1) object["importance"] = each.importance;
    object["kind"] = word_of(each.how.kind);
    object.update(to_json(each.how));
    for (const method& choice : each.choices) object["choices"].push_back(to_json(choice, each.how));
    out["rules"].push_back(std::move(object));
  }
  return out.dump(2);
}

/// The first rule that matches, or null.
inline const rule* rule_for(const recipe& r, std::string_view name) {
  for (const rule& each : r.rules)
    if (matches(each.match, name)) return &each;
  return nullptr;
}

}  // namespace demo
