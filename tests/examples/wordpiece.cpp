// SPDX-License-Identifier: MIT
#include "support/wordpiece.hpp"

#include <fstream>

#include "../support/catch.hpp"
#include "support/oracle.hpp"
#include "temporary_folder.hpp"

namespace {

using ids = std::vector<std::int32_t>;

const std::string tiny = TERN_EXAMPLES_DATA "/tiny_bert";

/// [CLS] is 0, [SEP] 1, [UNK] 2, then [MASK], [PAD] and the pieces from 5 on.
demo::wordpiece tokenizer_of(const std::string& pieces, const tern_test::temporary_folder& folder) {
  folder.write("vocab.txt", "[CLS]\n[SEP]\n[UNK]\n[MASK]\n[PAD]\n" + pieces);
  return demo::wordpiece(folder / "vocab.txt");
}

}  // namespace

TEST_CASE("wordpiece: the ids of Hugging Face's tokenizer for difficult texts") {
  const demo::wordpiece tokenizer(tiny + "/vocab.txt");
  const demo::oracle oracle = demo::read_oracle(tiny + "/oracle.json");
  CHECK(tokenizer.size() == 376);
  REQUIRE(oracle.sentences.size() == 22);
  for (const demo::expected_sentence& e : oracle.sentences) {
    CAPTURE(e.text);
    CHECK(tokenizer(e.text, 48) == e.ids);
  }
}

TEST_CASE("wordpiece: the longest piece comes first and a word without pieces is unknown") {
  const tern_test::temporary_folder folder;
  const demo::wordpiece tokenizer = tokenizer_of("a\nab\n##c\n##cd\n##d\nabcx\n##\n#\n", folder);
  CHECK(tokenizer("abcd", 9) == ids{0, 6, 8, 1});
  CHECK(tokenizer("abcdd", 9) == ids{0, 6, 8, 9, 1});
  CHECK(tokenizer("acab", 9) == ids{0, 2, 1});  // a ##c, and nothing for ##ab: all of the word is unknown
  CHECK(tokenizer("ABCX a", 9) == ids{0, 10, 5, 1});
  CHECK(tokenizer("cd", 9) == ids{0, 2, 1});
  CHECK(tokenizer("##c", 9) == ids{0, 12, 12, 2, 1});  // marks are words of their own, and c begins one
}

TEST_CASE("wordpiece: what is too long loses its end but not the last token") {
  const tern_test::temporary_folder folder;
  const demo::wordpiece tokenizer = tokenizer_of("a\nb\n", folder);
  CHECK(tokenizer("a b a b", 6) == ids{0, 5, 6, 5, 6, 1});
  CHECK(tokenizer("a b a b", 5) == ids{0, 5, 6, 5, 1});
  CHECK(tokenizer("a b a b", 2) == ids{0, 1});
  CHECK(tokenizer("", 2) == ids{0, 1});
}

TEST_CASE("wordpiece: bytes that are no UTF-8 are dropped") {
  const tern_test::temporary_folder folder;
  const demo::wordpiece tokenizer = tokenizer_of("ab\n", folder);
  for (const std::string bad :
       {"\xff", "\x80", "\xc0\xaf", "\xed\xa0\x80", "\xe4\xb8", "\xf5\x80\x80\x80", "\xef\xbf\xbd"}) {
    CAPTURE(bad);
    CHECK(tokenizer("a" + bad + "b", 9) == ids{0, 5, 1});
    CHECK(tokenizer("ab" + bad, 9) == ids{0, 5, 1});
    CHECK(tokenizer(bad + "ab", 9) == ids{0, 5, 1});
  }
}

TEST_CASE("wordpiece: line ends of Windows and files that are no vocabulary") {
  const tern_test::temporary_folder folder;
  folder.write("windows.txt", "[CLS]\r\n[SEP]\r\n[UNK]\r\n[MASK]\r\n[PAD]\r\nab\r\n");
  CHECK(demo::wordpiece(folder / "windows.txt")("ab", 9) == ids{0, 5, 1});
  folder.write("wrong.txt", "[CLS]\n[UNK]\n[MASK]\n[PAD]\n");
  CHECK_THROWS_WITH(demo::wordpiece(folder / "wrong.txt"), tern_test::contains("wrong.txt has no [SEP]"));
  CHECK_THROWS_WITH(demo::wordpiece(folder / "none.txt"), tern_test::contains("cannot read the vocabulary"));
}
