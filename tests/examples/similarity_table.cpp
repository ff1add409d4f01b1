// SPDX-License-Identifier: MIT
#include "support/similarity_table.hpp"

#include "../support/catch.hpp"
#include "temporary_folder.hpp"

TEST_CASE("similarity_table: ranks of all pairs share the mean where similarities are equal") {
  // Pairs in the order (0,1) (0,2) (0,3) (1,2) (1,3) (2,3): similarities 3, 1, 1, 3, 3, 1.
  const tern::matrix<float> embeddings(4, 2, {1, 0, 3, 0, 1, 0, 1, 0});
  CHECK(demo::similarity_ranks(embeddings) == std::vector<double>{4, 1, 1, 4, 4, 1});
  // Similarities 2, -1, 3.
  const tern::matrix<float> others(3, 2, {1, 0, 2, 5, -1, 1});
  CHECK(demo::similarity_ranks(others) == std::vector<double>{1, 0, 2});
}

TEST_CASE("similarity_table: correlation") {
  CHECK(std::fabs(demo::correlation({0, 1, 2, 3}, {0, 1, 2, 3}) - (1)) < 1e-12);
  CHECK(std::fabs(demo::correlation({0, 1, 2, 3}, {3, 2, 1, 0}) - (-1)) < 1e-12);
  CHECK(std::fabs(demo::correlation({0, 1, 2, 3}, {1, 0, 3, 2}) - (0.6)) < 1e-12);  // 1 - 6 * 4 / (4 * 15)
}

TEST_CASE("similarity_table: sections of a file of sentences") {
  const tern_test::temporary_folder folder;
  folder.write("lines.txt", "# a comment\n\n# one\na\nb\n\n# two\nc\n# three\n");
  using lines = std::vector<std::string>;
  const std::string path = folder / "lines.txt";
  CHECK(demo::read_sentences(path) == lines{"a", "b", "c"});
  CHECK(demo::read_sentences(path, "one") == lines{"a", "b"});
  CHECK(demo::read_sentences(path, "two") == lines{"c"});
  CHECK_THROWS_WITH(demo::read_sentences(path, "three"), tern_test::contains("no sentences in a section # three"));
  CHECK_THROWS_WITH(demo::read_sentences(folder / "none"), tern_test::contains("cannot read"));
}
