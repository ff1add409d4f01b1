// SPDX-License-Identifier: MIT
#include "support/recipe.hpp"

#include <algorithm>
#include <cmath>

#include "../support/catch.hpp"
#include "../support/textbook.hpp"

using demo::matches, demo::method, demo::parse_recipe, demo::weight_kind;
using tern_test::contains, tern_test::draw_matrix, tern_test::same;

namespace {

/// What parsing says.
std::string refusal(const std::string& text) {
  try {
    parse_recipe(text);
    return "none";
  } catch (const tern::range_error& e) {
    return e.what();
  }
}
/// A recipe of one rule with this option.
std::string of_option(const std::string& option) {
  return R"({"rules": [{"match": "a", "kind": "keep"}, {"match": "*", "kind": "int", )" + option + "}]}";
}

demo::calibration calibrated(const tern::matrix<float>& x) {
  demo::calibration c{tern::hessian(x.cols())};
  c.hessian.observe(x);
  tern::input_maxima maxima(x.cols());
  maxima.observe(x);
  c.maxima.assign(maxima.maxima().begin(), maxima.maxima().end());
  return c;
}

/// Whether a layer computes, bit for bit, what another does.
bool alike(const tern::any_linear& a, const auto& b) {
  const auto x = draw_matrix(3, a.in_features(), 9);
  return same(a(x), b(x));
}

}  // namespace

TEST_CASE("recipe: patterns", "[examples]") {
  CHECK(matches("", ""));
  CHECK(!matches("", "a"));
  CHECK(matches("*", ""));
  CHECK(matches("*", "abc"));
  CHECK(matches("a?c", "abc"));
  CHECK(!matches("a?c", "ac"));
  CHECK(matches("*.weight", "layer.0.weight"));
  CHECK(!matches("*.weight", "layer.0.weights"));
  CHECK(matches("*a*ab", "aaab"));
  CHECK(matches("a*b*c", "a.b.b.c"));
  CHECK(!matches("a*b*c", "a.b.b.d"));
  CHECK(matches("**", "x"));
  CHECK(!matches("layer.1.*", "layer.10.x"));
}

TEST_CASE("recipe: the first rule that matches", "[examples]") {
  const auto r =
      parse_recipe(R"({"rules": [{"match": "*bias", "kind": "f16"}, {"match": "a*", "kind": "int", "bits": 4},
                                            {"match": "a.b", "kind": "keep"}]})");
  REQUIRE(demo::rule_for(r, "a.b") != nullptr);
  CHECK(demo::rule_for(r, "a.b")->how.bits == 4);
  CHECK(demo::rule_for(r, "a.bias")->how.kind == weight_kind::f16);
  CHECK(demo::rule_for(r, "b.weight") == nullptr);
}

TEST_CASE("recipe: what is parsed, option by option, and printed", "[examples]") {
  const std::string text = R"({"remark": "all options", "budget": 3.5, "rules": [
    {"match": "1", "kind": "int", "bits": 3, "clip": "absmax", "granularity": 64, "codec": "i8", "scales": "F32", "activations": "float",
     "hadamard": {"seed": 18446744073709551615, "block": 32}, "gptq": {"damp": 0.25, "sweeps": 4}, "refit_outputs": 3},
    {"match": "2", "kind": "int", "zero_point": true, "granularity": "tensor", "scales": "BF16", "smoothquant": 0.75},
    {"match": "3", "kind": "ternary", "rule": "twn", "awq": true, "hadamard": true, "weighted": true},
    {"match": "4", "kind": "planes", "planes": 5, "fit": "refit", "gptq": true, "hadamard": false},
    {"match": "5", "importance": 2.5, "kind": "trit_code", "code": [9, 5, 3], "outlier_columns": 6.5,
     "choices": [{"code": null, "planes": 3}, {"outlier_columns": null, "kind": "bf16"}, {}]}]})";
  const auto r = parse_recipe(text);
  REQUIRE(r.rules.size() == 5);
  CHECK(r.budget == 3.5);
  CHECK(r.rules[0].how == method{.kind = weight_kind::integers,
                                 .bits = 3,
                                 .clip = tern::int_clip::absmax,
                                 .granularity = tern::per_group(64),
                                 .codec = "i8",
                                 .scales = tern::scale_type::float32,
                                 .activations = demo::activation_kind::real,
                                 .hadamard = true,
                                 .seed = 0xffffffffffffffffu,
                                 .block = 32,
                                 .gptq = true,
                                 .damp = 0.25,
                                 .sweeps = 4,
                                 .refit_outputs = 3});
  CHECK(r.rules[1].how == method{.kind = weight_kind::integers,
                                 .zero_point = true,
                                 .granularity = tern::per_tensor,
                                 .scales = tern::scale_type::bfloat16,
                                 .smoothquant = 0.75});
  CHECK(
      r.rules[2].how ==
      method{
          .kind = weight_kind::ternary, .rule = tern::base_rule::twn, .hadamard = true, .weighted = true, .awq = true});
  CHECK(r.rules[3].how ==
        method{.kind = weight_kind::planes, .planes = 5, .fit = tern::decompose_method::greedy_refit, .gptq = true});
  const method code{.kind = weight_kind::trit_code, .code = {{9, 5, 3}}, .outlier_columns = 6.5f};
  CHECK(r.rules[4].how == code);
  CHECK((r.rules[4].importance == 2.5 && r.rules[0].importance == 1));
  REQUIRE(r.rules[4].choices.size() == 3);
  CHECK(r.rules[4].choices[0] == method{.kind = weight_kind::trit_code, .planes = 3, .outlier_columns = 6.5f});
  CHECK(r.rules[4].choices[1] == method{.kind = weight_kind::bf16, .code = {{9, 5, 3}}});
  CHECK(r.rules[4].choices[2] == code);
  CHECK(parse_recipe(demo::to_text(r)) == r);
}

TEST_CASE("recipe: what is refused, with the rule and the option", "[examples]") {
  CHECK(refusal("") == "recipe: not JSON");
  CHECK(refusal("{\"rules\": [}") == "recipe: not JSON");
  CHECK(refusal("[]") == "recipe: an object with a list of \"rules\" is wanted");
  CHECK(refusal("{\"rules\": {}}") == "recipe: an object with a list of \"rules\" is wanted");
  CHECK(refusal("{\"rules\": [], \"buget\": 3}") == "recipe: there is no member \"buget\"");
  CHECK(refusal("{\"rules\": [], \"budget\": 3}") == "recipe: choices need a budget, and a budget choices");
  CHECK(refusal(of_option("\"choices\": [{\"bits\": 4}]")) == "recipe: choices need a budget, and a budget choices");
  CHECK(refusal(of_option("\"importance\": 2")) == "recipe: rule 2: \"importance\" goes with choices");
  CHECK(refusal(of_option("\"choices\": [{\"bits\": 4}], \"importance\": -1")) ==
        "recipe: rule 2: \"importance\" is a number from 0 to 1e+30, not -1");
  CHECK(refusal("{\"rules\": [1]}") == "recipe: rule 1: a rule is an object, not 1");
  CHECK(refusal("{\"rules\": [{\"kind\": \"keep\"}]}") == "recipe: rule 1: \"match\", a pattern, is missing");
  CHECK(refusal("{\"rules\": [{\"match\": \"a\"}]}") == "recipe: rule 1: \"kind\" is missing");
  CHECK(refusal(of_option("\"bitz\": 4")) == "recipe: rule 2: there is no option \"bitz\"");
  CHECK(refusal(of_option("\"bits\": 9")) == "recipe: rule 2: \"bits\" is an integer from 2 to 8, not 9");
  CHECK(refusal(of_option("\"bits\": 4.5")) == "recipe: rule 2: \"bits\" is an integer from 2 to 8, not 4.5");
  CHECK(refusal(of_option("\"bits\": -4")) == "recipe: rule 2: \"bits\" is an integer from 2 to 8, not -4");
  CHECK(refusal(of_option("\"clip\": \"kl\"")) == "recipe: rule 2: \"clip\" is one of \"mse\", \"absmax\", not \"kl\"");
  CHECK(refusal(of_option("\"activations\": \"F16\"")) ==
        "recipe: rule 2: \"activations\" is one of \"int8\", \"float\", not \"F16\"");
  CHECK(refusal(of_option("\"gptq\": 1")) == "recipe: rule 2: \"gptq\" is true, false or an object, not 1");
  CHECK(refusal(of_option("\"gptq\": {\"dump\": 1}")) == "recipe: rule 2: \"gptq\" has damp and sweeps, not dump");
  CHECK(refusal(of_option("\"awq\": 1")) == "recipe: rule 2: \"awq\" is true or false, not 1");
  CHECK(refusal(of_option("\"code\": [3]")) ==
        "recipe: rule 2: \"code\" is a plane code such as [3, 2] or [9, 5, 3], not [3]");
  CHECK_THAT(refusal(of_option("\"code\": [2, 1]")), contains("not [2,1]"));  // no bijection
  CHECK_THAT(refusal(of_option("\"code\": [259, 2]")), contains("\"code\" is a plane code"));
  CHECK_THAT(refusal(of_option("\"granularity\": \"row\"")), contains("not \"row\""));
  CHECK_THAT(refusal(of_option("\"granularity\": 0")), contains("not 0"));
  CHECK_THAT(refusal(of_option("\"smoothquant\": 1.5")), contains("a number from 0 to 1, not 1.5"));
  CHECK_THAT(refusal(of_option("\"codec\": 4")), contains("\"codec\" is the name of one"));
  CHECK_THROWS_AS(demo::read_recipe("none.json"), tern::io_error);
}

TEST_CASE("quantize: is what the library's quantizers make, packed", "[examples]") {
  const auto w = draw_matrix(20, 80, 1);
  const tern::pack_options half{.scales = tern::scale_type::float16};
  CHECK(alike(demo::quantize(w, {.kind = weight_kind::integers, .clip = tern::int_clip::absmax}).layer,
              tern::int8_linear(tern::quantize_absmax(w, tern::per_channel), {}, half)));
  CHECK(alike(demo::quantize(w, {.kind = weight_kind::integers, .bits = 4, .granularity = tern::per_group(16)}).layer,
              tern::int4_linear(tern::quantize_mse(w, tern::per_group(16), {.bits = 4}), {}, half)));
  CHECK(alike(
      demo::quantize(w, {.kind = weight_kind::integers, .zero_point = true, .granularity = tern::per_tensor}).layer,
      tern::int8_linear(tern::quantize_zero_point(w, tern::per_tensor), {}, half)));
  CHECK(alike(demo::quantize(w, {.kind = weight_kind::ternary, .rule = tern::base_rule::absmean}).layer,
              tern::linear<tern::ternary_matrix<tern::b3>>(tern::quantize_absmean(w, tern::per_channel), {}, half)));
  CHECK(alike(demo::quantize(w, {.kind = weight_kind::planes, .planes = 3}).layer,
              tern::multi_ternary_linear(
                  tern::decompose(w, {.planes = 3, .method = tern::decompose_method::alternating}), {}, half)));
  CHECK(alike(demo::quantize(w, {.kind = weight_kind::trit_code, .scales = tern::scale_type::float32}).layer,
              tern::trit_code_linear(tern::quantize_trit_code(w))));

  const auto float_layer = demo::quantize(w, {.kind = weight_kind::integers,
                                              .clip = tern::int_clip::absmax,
                                              .activations = demo::activation_kind::real})
                               .layer;
  CHECK(float_layer.has_float_activations());
  CHECK(alike(float_layer, tern::int8_weight_only_linear(tern::quantize_absmax(w, tern::per_channel), {}, half)));

  // With a bias, a rotation, and what calibration knows.
  const auto x = draw_matrix(200, 80, 2);
  const auto c = calibrated(x);
  const std::vector<float> bias(20, 0.5f);
  const tern::hadamard_rotation r(80, 5);
  const method rotated{
      .kind = weight_kind::trit_code, .planes = 3, .scales = tern::scale_type::float32, .hadamard = true, .seed = 5};
  using code_layer = tern::linear<tern::trit_code_matrix<tern::n6>>;
  CHECK(alike(demo::quantize(
                  w, rotated, nullptr, tern::serial_executor{}, [](auto, auto) { return true; }, bias)
                  .layer,
              tern::rotated_linear<code_layer>::from_float(w, bias, r)));
  const auto s = tern::smoothquant_scaling(c.maxima, w);
  CHECK(alike(demo::quantize(w,
                             {.kind = weight_kind::integers,
                              .clip = tern::int_clip::absmax,
                              .scales = tern::scale_type::float32,
                              .smoothquant = 0.5},
                             &c)
                  .layer,
              tern::scaled_linear<tern::int8_linear>::from_float(w, std::vector<float>(), s)));
  const float threshold = 3.2f;
  const method outliers{.kind = weight_kind::integers,
                        .clip = tern::int_clip::absmax,
                        .scales = tern::scale_type::float32,
                        .outlier_columns = threshold};
  const auto columns = tern::outlier_columns(c.maxima, threshold);
  REQUIRE(!columns.empty());
  const tern::any_linear split = demo::quantize(w, outliers, &c).layer;
  CHECK(std::equal(columns.begin(), columns.end(), split.outlier_columns().begin(), split.outlier_columns().end()));
  const auto codes = tern::quantize_absmax(w);
  const auto w_hat = split.dequantized();
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < w.cols(); ++k) {
      const bool is_outlier = std::find(columns.begin(), columns.end(), k) != columns.end();
      if (is_outlier) CHECK(std::fabs(w_hat(n, k) - w(n, k)) < codes.scales[n] / 200);  // half a step of a 127th
      if (!is_outlier) CHECK(w_hat(n, k) == static_cast<float>(codes.code_row(0, n)[k]) * codes.scales[n]);
    }
  CHECK(alike(demo::quantize(w, {.kind = weight_kind::integers, .bits = 4, .gptq = true, .refit_outputs = 1}, &c).layer,
              [&] {
                auto q = tern::gptq_int(w, c.hessian);
                tern::refit_outputs(q, w, c.hessian, 1);
                return tern::int4_linear(q, {}, half);
              }()));
}

TEST_CASE("quantize: bits, stored and ideal", "[examples]") {
  const auto w = draw_matrix(32, 160, 1);
  const double log3 = std::log2(3.0);
  const auto q = demo::quantize(w, {.kind = weight_kind::trit_code, .planes = 2, .granularity = tern::per_group(80)});
  // Two panels of 8 blocks of 20 inputs, 128 bytes each, and for each row two scales of 2 bytes.
  CHECK(q.bytes == 2 * 8 * 128 + 32 * 2 * 2);
  CHECK(q.bits == 8.0 * static_cast<double>(q.bytes) / (32 * 160));
  CHECK(std::fabs(q.ideal_bits - (2 * log3 + 2 * 16.0 / 160)) < 1e-12);
  CHECK(demo::quantize(w, {.kind = weight_kind::integers, .bits = 3}).ideal_bits == 3 + 0.1);
  CHECK(demo::quantize(w, {.kind = weight_kind::integers, .bits = 3}).bytes == 32 * 160 / 2 + 32 * 2);
  CHECK(demo::quantize(w, {.kind = weight_kind::integers, .bits = 5}).layer.storage_bytes() ==
        32 * 160 + 32 * 2 + 32 * 4);  // int8 has sums of levels
  const auto direct = tern::distortion(w, q.layer.dequantized());
  CHECK(q.weight_snr_db == direct.snr_db);
  CHECK(!q.output_snr_db);
}

TEST_CASE("quantize: Hessians behind transforms are those of transformed inputs", "[examples]") {
  for (const std::size_t inputs : {std::size_t{96}, std::size_t{70}}) {
    auto x = draw_matrix(300, inputs, 3);
    for (std::size_t t = 0; t < 300; ++t)
      for (std::size_t k = 1; k < inputs; ++k) x(t, k) += 0.7f * x(t, k - 1);
    const auto h = calibrated(x).hessian;
    const auto check_near = [&](const tern::hessian& got, const tern::matrix<float>& transformed) {
      const auto want = calibrated(transformed).hessian;
      double largest = 0, error = 0;
      for (std::size_t i = 0; i < inputs; ++i)
        for (std::size_t j = 0; j < inputs; ++j) {
          largest = std::fmax(largest, std::fabs(want(i, j)));
          error = std::fmax(error, std::fabs(want(i, j) - got(i, j)));
        }
      CHECK(got.tokens() == 300);
      CHECK(error < 1e-6 * largest);  // x A is rounded to float, 2^-24 a stage
    };
    const tern::hadamard_rotation r(inputs, 11);
    tern::matrix<float> rotated(300, inputs), scaled(300, inputs);
    r.apply(x, rotated.view());
    check_near(demo::rotated_hessian(h, r), rotated);
    std::vector<float> scales(inputs);
    for (std::size_t k = 0; k < inputs; ++k) scales[k] = 0.5f + static_cast<float>(k % 7);
    tern::input_scaling(scales).apply(x, scaled.view());
    check_near(demo::scaled_hessian(h, scales), scaled);
  }
}

TEST_CASE("quantize: what goes with what", "[examples]") {
  const auto w = draw_matrix(8, 64, 1);
  const auto c = calibrated(draw_matrix(100, 64, 2));
  const demo::calibration only_hessian{c.hessian};
  const auto says = [&](const method& m, const demo::calibration* known) {
    try {
      demo::quantize(w, m, known);
      return std::string("none");
    } catch (const tern::range_error& e) {
      return std::string(e.what());
    }
  };
  const method int8{.kind = weight_kind::integers};
  method m = int8;
  CHECK(says(m, nullptr) == "none");
  m.gptq = true;
  CHECK(says(m, nullptr) == "int8 mse gptq needs calibration: activations, or their Hessian");
  CHECK(says(m, &only_hessian) == "none");
  m.zero_point = true;
  CHECK(says(m, &c) == "zero points go neither with gptq nor with refit_outputs");
  m = int8;
  m.smoothquant = 0.5;
  CHECK_THAT(says(m, &only_hessian), contains("needs activations"));
  m.awq = true;
  CHECK(says(m, &c) == "awq and smoothquant exclude each other");
  m = int8;
  m.outlier_columns = 3.0f;
  CHECK(says(m, &c) == "none");
  m.activations = demo::activation_kind::real;
  CHECK(says(m, &c) == "outlier columns are for int8 activations; float ones need none");
  m.activations = demo::activation_kind::int8;
  CHECK(says({.kind = weight_kind::trit_code, .activations = demo::activation_kind::real}, nullptr) ==
        "float activations go with codecs n4 and i8, not b3x2");
  m.hadamard = true;
  CHECK_THAT(says(m, &c), contains("outlier columns go with int8"));
  CHECK(says({.kind = weight_kind::trit_code, .granularity = tern::per_group(32), .codec = "b3x2"}, nullptr) ==
        "codec b3x2 takes groups that are multiples of 20 inputs, not 32");
  CHECK(says({.kind = weight_kind::ternary, .granularity = tern::per_group(32)}, nullptr) == "none");  // i2
  CHECK(says({.kind = weight_kind::ternary, .codec = "i3"}, nullptr) == "there is no codec i3");
  CHECK_THAT(says({.kind = weight_kind::integers, .codec = "i2"}, nullptr), contains("is not a level of codec i2"));
  CHECK(says({}, nullptr) == "kept makes no layer");
}
