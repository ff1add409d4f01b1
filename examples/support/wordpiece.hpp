// SPDX-License-Identifier: MIT
/// BERT's tokenizer for uncased models: text to the numbers of its word pieces.
///
///     const demo::wordpiece tokenizer("vocab.txt");
///     tokenizer("Snow fell.", 256)     // {101, 4586, 3062, 1012, 102} with BERT's vocabulary: [CLS] snow fell . [SEP]
///
/// Unicode's tables are those of utf8proc. Hugging Face's are older (Unicode 8): marks and punctuation of scripts that came
/// later are taken for letters there.
#pragma once

#include <utf8proc.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace demo {

/// Tokenizes as the Hugging Face tokenizer of BERT does, id for id:
///
/// 1. [CLS], [SEP], [MASK], [PAD] and [UNK] spelt out in the text are those tokens.
/// 2. Control and format characters, private ones and bytes that are no UTF-8 are dropped, other white space is a space,
///    and Chinese characters are words of their own.
/// 3. Accents are taken off (NFD without its nonspacing marks), and letters are lower case.
/// 4. Words end at white space; each punctuation mark is a word.
/// 5. A word is cut into pieces of the vocabulary, the longest first. Where that fails, and for words of more than 100
///    characters, it is [UNK].
///
/// Source: J. Devlin et al., "BERT", arXiv:1810.04805; Y. Wu et al., arXiv:1609.08144 (WordPiece).
class wordpiece {
 public:
  /// @param vocabulary  path of a text file with a piece a line, whose number is its id; "##" begins what continues a word
  explicit wordpiece(const std::string& vocabulary) {
    std::ifstream file(vocabulary, std::ios::binary);
    if (!file) throw std::runtime_error(fmt::format("cannot read the vocabulary {}", vocabulary));
    for (std::string line; std::getline(file, line); ++size_) {
      if (line.ends_with('\r')) line.pop_back();
      const auto id = static_cast<std::int32_t>(size_);
      const bool continues = line.starts_with("##") && line.size() > 2;
      if (continues) line.erase(0, 2);
      (continues ? continuations_ : beginnings_).insert_or_assign(std::move(line), id);
    }
    for (std::size_t i = 0; i < specials.size(); ++i) {
      const auto found = beginnings_.find(specials[i]);
      if (found == beginnings_.end()) throw std::runtime_error(fmt::format("{} has no {}", vocabulary, specials[i]));
      special_ids_[i] = found->second;
    }
  }

  /// Pieces in the vocabulary: ids are below.
  std::size_t size() const { return size_; }

  /// The ids of a text, from [CLS] to [SEP].
  ///
  /// @param most  the largest number of ids, 2 at least: what is longer loses its end, but not the [SEP]
  std::vector<std::int32_t> operator()(std::string_view text, std::size_t most) const {
    std::vector<std::int32_t> ids{special_ids_[cls]};
    for (std::size_t begin = 0; begin < text.size();) {
      const auto [end, special] = find_special(text, begin);
      add_words(normalized(text.substr(begin, end - begin)), ids);
      if (special < specials.size()) ids.push_back(special_ids_[special]);
      begin = end + (special < specials.size() ? specials[special].size() : 0);
    }
    if (ids.size() > most - 1) ids.resize(most - 1);
    ids.push_back(special_ids_[sep]);
    return ids;
  }

 private:
  using code_point = utf8proc_int32_t;

  /// Finds std::string_view in a map of std::string.
  struct text_hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  using piece_map = std::unordered_map<std::string, std::int32_t, text_hash, std::equal_to<>>;

  static constexpr std::array<std::string_view, 5> specials{"[CLS]", "[SEP]", "[UNK]", "[MASK]", "[PAD]"};
  static constexpr std::size_t cls = 0, sep = 1, unk = 2;
  static constexpr std::size_t longest_word = 100;

  /// Where the next special token is, and which; at the end of the text, none.
  static std::pair<std::size_t, std::size_t> find_special(std::string_view text, std::size_t from) {
    for (std::size_t at = text.find('[', from); at != text.npos; at = text.find('[', at + 1))
      for (std::size_t i = 0; i < specials.size(); ++i)
        if (text.substr(at).starts_with(specials[i])) return {at, i};
    return {text.size(), specials.size()};
  }

  static bool is_control(code_point c) {
    if (c == '\t' || c == '\n' || c == '\r') return false;
    switch (utf8proc_category(c)) {
      case UTF8PROC_CATEGORY_CC:
      case UTF8PROC_CATEGORY_CF:
      case UTF8PROC_CATEGORY_CO:
        return true;
      default:
        return false;
    }
  }
  /// Of what is no control character.
  static bool is_space(code_point c) {
    const utf8proc_category_t category = utf8proc_category(c);
    return c == '\t' || c == '\n' || c == '\r' || category == UTF8PROC_CATEGORY_ZS ||
           category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
  }
  /// All that is neither letter nor digit in ASCII, and Unicode's punctuation.
  static bool is_punctuation(code_point c) {
    if (c < 128)
      return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
    const utf8proc_category_t category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
  }
  static bool is_chinese(code_point c) {
    constexpr std::pair<code_point, code_point> blocks[] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df},
                                                            {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b820, 0x2ceaf},
                                                            {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};
    for (const auto& [first, last] : blocks)
      if (c >= first && c <= last) return true;
    return false;
  }

  static void append(std::string& text, code_point c) {
    std::array<utf8proc_uint8_t, 4> bytes;
    const utf8proc_ssize_t count = utf8proc_encode_char(c, bytes.data());
    text.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(count));
  }
  static const utf8proc_uint8_t* bytes_of(std::string_view text) {
    return reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  }

  /// Steps 2 and 3.
  static std::vector<code_point> normalized(std::string_view text) {
    std::string clean;
    while (!text.empty()) {
      code_point c;
      const utf8proc_ssize_t count = utf8proc_iterate(bytes_of(text), static_cast<utf8proc_ssize_t>(text.size()), &c);
      text.remove_prefix(count > 0 ? static_cast<std::size_t>(count) : 1);
      if (count <= 0 || c == 0xfffd || is_control(c)) continue;
      if (is_space(c)) c = ' ';
      const bool chinese = is_chinese(c);
      if (chinese) clean += ' ';
      append(clean, c);
      if (chinese) clean += ' ';
    }
    const auto decompose = [&](std::vector<code_point>& into) {
      return utf8proc_decompose(bytes_of(clean), static_cast<utf8proc_ssize_t>(clean.size()), into.data(),
                                static_cast<utf8proc_ssize_t>(into.size()),
                                static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE));
    };
    std::vector<code_point> out;
    const utf8proc_ssize_t needed = decompose(out);
    if (needed < 0) throw std::runtime_error(fmt::format("cannot decompose: {}", utf8proc_errmsg(needed)));
    out.resize(static_cast<std::size_t>(needed));
    decompose(out);
    std::erase_if(out, [](code_point c) { return utf8proc_category(c) == UTF8PROC_CATEGORY_MN; });
    for (code_point& c : out) c = utf8proc_tolower(c);
    return out;
  }

  /// Step 4.
  void add_words(const std::vector<code_point>& text, std::vector<std::int32_t>& ids) const {
    std::string word;
    std::vector<std::size_t> ends;  // of its characters, in bytes
    const auto finish = [&] {
      if (!ends.empty()) add_pieces(word, ends, ids);
      word.clear();
      ends.clear();
    };
    for (const code_point c : text) {
      const bool alone = is_punctuation(c);
      if (alone || is_space(c)) finish();
      if (is_space(c)) continue;
      append(word, c);
      ends.push_back(word.size());
      if (alone) finish();
    }
    finish();
  }

  /// Step 5.
  void add_pieces(std::string_view word, const std::vector<std::size_t>& ends, std::vector<std::int32_t>& ids) const {
    const std::size_t before = ids.size();
    bool known = ends.size() <= longest_word;
    for (std::size_t begin = 0, first = 0; known && begin < word.size();) {
      known = false;
      for (std::size_t last = ends.size(); last > first && !known; --last) {
        const piece_map& pieces = begin == 0 ? beginnings_ : continuations_;
        const auto found = pieces.find(word.substr(begin, ends[last - 1] - begin));
        if (found == pieces.end()) continue;
        ids.push_back(found->second);
        begin = ends[last - 1];
        first = last;
        known = true;
      }
    }
    if (known) return;
    ids.resize(before);
    ids.push_back(special_ids_[unk]);
  }

  std::size_t size_ = 0;
  piece_map beginnings_, continuations_;  // the latter without their "##"
  std::array<std::int32_t, specials.size()> special_ids_{};
};

}  // namespace demo
