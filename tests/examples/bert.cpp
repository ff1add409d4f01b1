// SPDX-License-Identifier: MIT
#include "support/bert.hpp"

#include <Eigen/Core>
#include <iterator>
#include <set>

#include <tern/any_linear.hpp>

#include "../support/catch.hpp"
#include "support/embedder.hpp"
#include "support/oracle.hpp"
#include "temporary_folder.hpp"

namespace {

const std::string tiny = TERN_EXAMPLES_DATA "/tiny_bert";

std::vector<demo::token_ids> oracle_ids() {
  std::vector<demo::token_ids> ids;
  for (const demo::expected_sentence& e : demo::read_oracle(tiny + "/oracle.json").sentences) ids.push_back(e.ids);
  return ids;
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The tiny model with `from` replaced by `to`, which is as long, in one of its files.
std::string message_of(const std::string& name, const std::string& from, const std::string& to) {
  const tern_test::temporary_folder folder;
  folder.copy_files_of(tiny);
  std::string bytes = contents(tiny + "/" + name);
  REQUIRE(bytes.find(from) != bytes.npos);
  folder.write(name, bytes.replace(bytes.find(from), from.size(), to));
  try {
    const demo::bert model(folder.path());
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("bert: the embeddings of transformers in double precision for batches of any size") {
  const demo::bert model(tiny);
  const demo::oracle oracle = demo::read_oracle(tiny + "/oracle.json");
  const std::vector<demo::token_ids> ids = oracle_ids();
  demo::embedder embed(1);
  for (const std::size_t batch : {1u, 2u, 5u, 22u}) {
    const tern::matrix<float> embeddings = embed(model, ids, batch);
    REQUIRE(embeddings.rows() == 22);
    for (std::size_t s = 0; s < ids.size(); ++s) {
      CAPTURE(batch, oracle.sentences[s].text);
      CHECK(1 - demo::cosine(demo::row_of(embeddings, s), oracle.sentences[s].embedding) < oracle.tolerance);
      CHECK(std::fabs(demo::dot(demo::row_of(embeddings, s), demo::row_of(embeddings, s)) - 1) < 1e-6);
    }
  }
}

TEST_CASE("bert: threads change nothing") {
  const demo::bert model(tiny);
  const std::vector<demo::token_ids> ids = oracle_ids();
  demo::embedder embed(3);
  for (const std::size_t batch : {1u, 4u}) {
    const tern::matrix<float> one = embed(model, ids, batch, 1), three = embed(model, ids, batch, 3);
    CHECK(std::equal(one.data(), one.data() + one.rows() * one.cols(), three.data()));
  }
}

TEST_CASE("bert: an observer sees the inputs of each map") {
  const demo::bert model(tiny);
  const std::vector<demo::token_ids> ids = oracle_ids();
  std::size_t tokens = 0;
  for (const demo::token_ids& sentence : ids) tokens += sentence.size();
  tern::matrix<float> embeddings(ids.size(), 48);
  demo::bert_workspace workspace;
  std::multiset<std::string> seen;
  model.embed(ids, embeddings, workspace, [&](const demo::linear_map& map, tern::matrix_view<const float> x) {
    seen.insert(map.name);
    CHECK(x.rows() == tokens);
    CHECK(x.cols() == (map.name.ends_with("1.output.dense") || map.name.ends_with("0.output.dense") ? 96 : 48));
  });
  CHECK(seen.size() == 12);
  for (const demo::linear_map& map : model.maps()) CHECK(seen.count(map.name) == 1);
}

TEST_CASE("bert: maps are exchanged by name and in this copy only") {
  const demo::bert model(tiny);
  const std::vector<demo::token_ids> ids = oracle_ids();
  demo::embedder embed(1);
  const tern::matrix<float> wanted = embed(model, ids);
  demo::bert exchanged = model;
  for (const demo::linear_map& map : model.maps())
    exchanged.exchange(map.name, tern::any_linear(tern::int8_linear::from_float(map.weight, map.bias)));
  const tern::matrix<float> got = embed(exchanged, ids), same = embed(model, ids);
  double farthest = 0;
  for (std::size_t s = 0; s < ids.size(); ++s)
    farthest = std::max(farthest, 1 - demo::cosine(demo::row_of(got, s), demo::row_of(wanted, s)));
  CHECK(farthest > 1e-6);  // not the float map any more
  CHECK(farthest < 1e-2);
  CHECK(std::equal(wanted.data(), wanted.data() + wanted.rows() * wanted.cols(), same.data()));

  const auto small = tern::int8_linear::from_float(tern::matrix<float>(48, 47), std::vector<float>(48));
  CHECK_THROWS_WITH(exchanged.exchange("encoder.layer.0.attention.self.query", small),
                    tern_test::contains("maps 48 values to 48, not 47 to 48"));
  CHECK_THROWS_WITH(exchanged.exchange("pooler.dense", small), tern_test::contains("no linear map pooler.dense"));
}

TEST_CASE("bert: sentences that the model cannot take") {
  const demo::bert model(tiny);
  tern::matrix<float> y(1, 48);
  demo::bert_workspace workspace;
  const auto embed = [&](demo::token_ids ids) {
    model.embed(std::vector<demo::token_ids>(1, std::move(ids)), y, workspace);
  };
  CHECK_THROWS_WITH(embed({}), tern_test::contains("a sentence of 0 tokens"));
  CHECK_THROWS_WITH(embed(demo::token_ids(65, 1)), tern_test::contains("a sentence of 65 tokens, not 1 to 64"));
  CHECK_THROWS_WITH(embed({0, 376}), tern_test::contains("token 376 of a vocabulary of 376"));
  CHECK_THROWS_WITH(embed({0, -1}), tern_test::contains("token -1 of"));
  CHECK_NOTHROW(embed(demo::token_ids(64, 375)));
}

TEST_CASE("bert: files that are no such model say what is wrong with them") {
  const std::string weights = "model.safetensors", config = "config.json";
  CHECK_THAT(message_of(weights, "encoder.layer.1.output.dense.bias", "encoder.layer.1.output.dense.biaz"),
             tern_test::contains("has no tensor encoder.layer.1.output.dense.bias"));
  CHECK_THAT(message_of(config, "\"hidden_size\": 48", "\"hidden_size\": 52"),
             tern_test::contains("tensor embeddings.word_embeddings.weight has the shape [376, 48], not [376, 52]"));
  CHECK_THAT(
      message_of(config, "\"intermediate_size\": 96", "\"intermediate_size\": 97"),
      tern_test::contains("tensor encoder.layer.0.intermediate.dense.weight has the shape [96, 48], not [97, 48]"));
  CHECK_THAT(message_of(config, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
             tern_test::contains("has no tensor encoder.layer.2.attention.self.query.weight"));
  CHECK_THAT(message_of(config, "\"num_attention_heads\": 4", "\"num_attention_heads\": 5"),
             tern_test::contains("5 heads do not share 48 values"));
  CHECK_THAT(message_of(config, "\"hidden_size\": 48", "\"hidden_size\": -48"),
             tern_test::contains("hidden_size is to be a number from 1"));
  CHECK_THAT(message_of(config, "\"hidden_size\": 48", "\"hidden_size\": 4.8"),
             tern_test::contains("hidden_size is to be a number from 1"));
  CHECK_THAT(message_of(config, "\"hidden_size\": 48", "\"hidden_size\": 9999999999"),
             tern_test::contains("from 1 to 1048576"));
  CHECK_THAT(message_of(config, "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"relu\""),
             tern_test::contains("hidden_act is to be \"gelu\""));
  CHECK_THAT(message_of(config, "1e-12", "-1"), tern_test::contains("layer_norm_eps is to be a number above 0"));
  CHECK_THAT(message_of(config, "{", "["), tern_test::contains("config.json: "));
  CHECK_THAT(message_of("sentence_bert_config.json", "48", "65"),
             tern_test::contains("sentences of 65 tokens for 64 positions"));
  CHECK_THAT(message_of("sentence_bert_config.json", "max_seq_length", "max_length"),
             tern_test::contains("max_seq_length is to be"));
  CHECK_THROWS_WITH(demo::bert(tiny + "/none"), tern_test::contains("cannot read"));
}
