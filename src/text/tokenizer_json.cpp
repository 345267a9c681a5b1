#include "text/tokenizer_json.h"

#include <algorithm>
#include <unordered_set>

#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/json.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"

namespace mpeft::text {
namespace {

using Json = nlohmann::json;

// Real files nest five levels deep; the parser and the destructor of the document are not asked to prove themselves.
constexpr int kMaxDepth = 64;
constexpr size_t kMaxAddedTokenBytes = 4096;

void check_depth(std::string_view content, const std::string& path) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < content.size(); ++i) {
    const char c = content[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth)
        throw DataError(str(path, ": nested more than ", kMaxDepth, " levels deep: no tokenizer.json"));
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
}

// A value and the way to it, for messages: "model.merges[3]".
class Value {
 public:
  Value(const Json* json, std::string where, const std::string* path)
      : json_(json), where_(std::move(where)), path_(path) {}

  [[noreturn]] void fail(const std::string& what) const { throw DataError(str(*path_, ": ", where_, ": ", what)); }

  const Json& json() const { return *json_; }
  bool is_null() const { return json_ == nullptr || json_->is_null(); }

  // The member `key`; a null Value when it is absent.
  Value operator[](const char* key) const {
    if (is_null()) return {nullptr, name_of(key), path_};
    if (!json_->is_object()) fail(str("expected an object, got ", kind()));
    const auto it = json_->find(key);
    return {it == json_->end() ? nullptr : &*it, name_of(key), path_};
  }
  Value at(size_t i) const { return {&(*json_)[i], str(where_, "[", i, "]"), path_}; }

  size_t array_size() const {
    if (is_null() || !json_->is_array()) fail(str("expected a list, got ", kind()));
    return json_->size();
  }
  const std::string& string() const {
    if (is_null() || !json_->is_string()) fail(str("expected a string, got ", kind()));
    return json_->get_ref<const std::string&>();
  }
  bool boolean(bool absent) const {
    if (is_null()) return absent;
    if (!json_->is_boolean()) fail(str("expected true or false, got ", kind()));
    return json_->get<bool>();
  }
  TokenId id() const {
    if (is_null() || !json_->is_number_integer()) fail(str("expected an id (a whole number), got ", kind()));
    const bool fits = json_->is_number_unsigned() && json_->get<uint64_t>() < static_cast<uint64_t>(kMaxVocab);
    if (!fits) fail(str("id ", json_->dump(), " is outside [0, ", kMaxVocab, ")"));
    return json_->get<TokenId>();
  }
  std::string type() const { return (*this)["type"].string(); }

 private:
  std::string kind() const { return json_ == nullptr ? "nothing" : json_->type_name(); }
  std::string name_of(const char* key) const { return where_.empty() ? key : where_ + "." + key; }

  const Json* json_;
  std::string where_;
  const std::string* path_;
};

void read_normalizer(const Value& value, TokenizerJson& out) {
  if (value.is_null()) return;
  const std::string type = value.type();
  if (type == "NFC") {
    out.nfc = true;
  } else if (type == "Sequence") {
    const Value steps = value["normalizers"];
    for (size_t i = 0; i < steps.array_size(); ++i) read_normalizer(steps.at(i), out);
  } else {
    value.fail(str("normalizer '", type, "' is not supported (NFC, null or a Sequence of them)"));
  }
}

void read_split(const Value& value, PreTokenizer& out) {
  if (const std::string& behavior = value["behavior"].string(); behavior != "Isolated") {
    value["behavior"].fail(str("'", behavior, "' is not supported (Isolated)"));
  }
  const Value regex = value["pattern"]["Regex"];
  const Value text = regex.is_null() ? value["pattern"]["String"] : regex;
  try {
    out.splits.push_back(std::make_shared<SplitPattern>(text.string(), regex.is_null()));
  } catch (const DataError& e) {
    value["pattern"].fail(e.what());
  }
}

void read_byte_level(const Value& value, PreTokenizer& out) {
  out.add_prefix_space = value["add_prefix_space"].boolean(true);
  out.use_regex = value["use_regex"].boolean(true);
}

void read_pre_tokenizer(const Value& value, PreTokenizer& out) {
  if (value.is_null()) value.fail("missing: only byte-level BPE is supported (a ByteLevel pre-tokenizer)");
  const std::string type = value.type();
  if (type == "ByteLevel") return read_byte_level(value, out);
  if (type != "Sequence")
    value.fail(str("pre-tokenizer '", type, "' is not supported (ByteLevel, or Split then ByteLevel)"));
  const Value steps = value["pretokenizers"];
  const size_t n = steps.array_size();
  for (size_t i = 0; i < n; ++i) {
    const Value step = steps.at(i);
    const std::string kind = step.type();
    if (i + 1 == n && kind == "ByteLevel") return read_byte_level(step, out);
    if (kind != "Split") step.fail(str("'", kind, "' is not supported here (Split steps, then one ByteLevel)"));
    read_split(step, out);
  }
  value.fail("ends without ByteLevel: only byte-level BPE is supported");
}

std::vector<AddedToken> read_added_tokens(const Value& value) {
  std::vector<AddedToken> tokens;
  if (value.is_null()) return tokens;
  const size_t n = value.array_size();
  for (size_t i = 0; i < n; ++i) {
    const Value entry = value.at(i);
    AddedToken token;
    token.id = entry["id"].id();
    token.content = entry["content"].string();
    if (token.content.empty()) entry["content"].fail("is empty");
    if (token.content.size() > kMaxAddedTokenBytes) {
      entry["content"].fail(str(token.content.size(), " bytes are more than the limit of ", kMaxAddedTokenBytes));
    }
    token.special = entry["special"].boolean(false);
    token.normalized = entry["normalized"].boolean(!token.special);
    token.single_word = entry["single_word"].boolean(false);
    token.lstrip = entry["lstrip"].boolean(false);
    token.rstrip = entry["rstrip"].boolean(false);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

void read_vocab(const Value& value, TokenizerJson& out) {
  if (value.is_null() || !value.json().is_object()) value.fail("expected an object of token: id");
  std::vector<bool> seen;
  out.vocab.reserve(value.json().size());
  for (const auto& [token, number] : value.json().items()) {
    const TokenId id = Value(&number, "", nullptr).json().is_number_unsigned() && number.get<uint64_t>() < kMaxVocab
                           ? number.get<TokenId>()
                           : value[token.c_str()].id();
    if (static_cast<size_t>(id) >= seen.size())
      seen.resize(std::max<size_t>(static_cast<size_t>(id) + 1, seen.size() * 2));
    if (seen[static_cast<size_t>(id)]) value.fail(str("id ", id, " is given to two tokens, one of them '", token, "'"));
    seen[static_cast<size_t>(id)] = true;
    out.vocab.emplace_back(token, id);
  }
  if (out.vocab.empty()) value.fail("is empty");
}

void read_merges(const Value& value, TokenizerJson& out) {
  const size_t n = value.array_size();
  out.merges.reserve(n);
  for (size_t i = 0; i < n; ++i) {
    const Json& json = value.json()[i];
    if (json.is_string()) {
      const auto& text = json.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
        value.at(i).fail(str("expected two tokens with a space between, got '", text, "'"));
      }
      out.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    } else {
      const Value pair = value.at(i);
      if (pair.array_size() != 2) pair.fail("expected two tokens");
      out.merges.emplace_back(pair.at(0).string(), pair.at(1).string());
    }
  }
}

void read_model(const Value& value, TokenizerJson& out) {
  if (value.is_null()) value.fail("missing: this is no tokenizer.json");
  // Old files have no type; theirs is recognised by the merges.
  const std::string type = value["type"].is_null() ? "BPE" : value.type();
  if (type != "BPE") value.fail(str("'", type, "' is not supported (BPE)"));
  const auto neutral = [&](const char* key, auto&& is_neutral) {
    const Value option = value[key];
    if (!option.is_null() && !is_neutral(option.json()))
      option.fail(str(option.json().dump(), " is not supported (null)"));
  };
  neutral("dropout", [](const Json& v) { return v.is_number() && v.get<double>() == 0; });
  neutral("continuing_subword_prefix", [](const Json& v) { return v == ""; });
  neutral("end_of_word_suffix", [](const Json& v) { return v == ""; });
  out.ignore_merges = value["ignore_merges"].boolean(false);
  out.needs_all_bytes = !value["unk_token"].is_null() || value["byte_fallback"].boolean(false);
  read_vocab(value["vocab"], out);
  read_merges(value["merges"], out);
}

void check_decoder(const Value& value) {
  const std::string type = value.is_null() ? "null" : value.type();
  if (type != "ByteLevel") value.fail(str("decoder '", type, "' is not supported (ByteLevel)"));
}

}  // namespace

TokenizerJson parse_tokenizer_json(std::string_view content, const std::string& path) {
  check_depth(content, path);
  const Json document = parse_json_or_throw<DataError>(content, path, {.max_depth = 0});
  const Value root(&document, "", &path);
  if (!document.is_object()) throw DataError(path + ": expected a JSON object (a tokenizer.json)");
  TokenizerJson out;
  try {
    read_normalizer(root["normalizer"], out);
    read_pre_tokenizer(root["pre_tokenizer"], out.pre_tokenizer);
    check_decoder(root["decoder"]);
    out.added_tokens = read_added_tokens(root["added_tokens"]);
    read_model(root["model"], out);
    for (const char* key : {"truncation", "padding"}) {
      if (!root[key].is_null()) log::warning(str(path, ": ", key, ": ignored, lengths are a setting of the data"));
    }
  } catch (const Json::exception& e) {  // every access above is checked first; this is the second net
    throw DataError(str(path, ": ", json_reason(e)));
  }
  return out;
}

}  // namespace mpeft::text
