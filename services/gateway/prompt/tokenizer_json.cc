#include "services/gateway/prompt/tokenizer_json.h"

#include <simdjson.h>

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/gateway/prompt/byte_alphabet.h"
#include "services/gateway/prompt/split_rules.h"

namespace tessera::prompt {
namespace {

using simdjson::dom::element;
using Vocabulary = absl::flat_hash_map<std::string_view, int32_t>;

absl::Status Wrong(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("tokenizer.json: ", path, " ", what));
}

bool IsAbsentOrNull(element parent, const char* key) {
  element value;
  return parent[key].get(value) != simdjson::SUCCESS || value.is_null();
}

// Options of the model that would change the result and that no supported tokenizer uses.
absl::Status CheckModelOptions(element model) {
  std::string_view type = "BPE";
  if (!IsAbsentOrNull(model, "type") && model["type"].get(type) != simdjson::SUCCESS) {
    return Wrong("model.type", "is not a text");
  }
  if (type != "BPE")
    return Wrong("model.type", absl::StrCat("'", std::string(type), "' is not supported"));
  for (const char* key : {"dropout", "unk_token"}) {
    if (!IsAbsentOrNull(model, key)) {
      return Wrong(absl::StrCat("model.", key), "other than null is not supported");
    }
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    std::string_view text;
    if (!IsAbsentOrNull(model, key) &&
        (model[key].get(text) != simdjson::SUCCESS || !text.empty())) {
      return Wrong(absl::StrCat("model.", key), "other than null or empty is not supported");
    }
  }
  for (const char* key : {"byte_fallback", "ignore_merges"}) {
    bool on = false;
    if (!IsAbsentOrNull(model, key) && (model[key].get(on) != simdjson::SUCCESS || on)) {
      return Wrong(absl::StrCat("model.", key), "other than false is not supported");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckNormalizerAndDecoder(element root) {
  if (!IsAbsentOrNull(root, "normalizer")) {
    std::string_view type;
    simdjson::dom::array parts;
    if (root["normalizer"]["type"].get(type) != simdjson::SUCCESS || type != "Sequence" ||
        root["normalizer"]["normalizers"].get(parts) != simdjson::SUCCESS || parts.size() != 0) {
      return Wrong("normalizer", "other than null or an empty Sequence is not supported");
    }
  }
  std::string_view decoder;
  if (root["decoder"]["type"].get(decoder) != simdjson::SUCCESS || decoder != "ByteLevel") {
    return Wrong("decoder.type", "other than 'ByteLevel' is not supported");
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> ReadId(element value, const std::string& path) {
  int64_t id = -1;
  if (value.get(id) != simdjson::SUCCESS) return Wrong(path, "is not an integer");
  if (id < 0 || id >= kMaxTokenId) {
    return Wrong(path, absl::StrCat("is ", id, ", not an id from 0 to ", kMaxTokenId - 1));
  }
  return static_cast<int32_t>(id);
}

absl::Status ReadVocabulary(element model, Vocabulary* vocabulary, TokenizerSpec* spec) {
  simdjson::dom::object entries;
  if (model["vocab"].get(entries) != simdjson::SUCCESS) {
    return Wrong("model.vocab", "is not an object");
  }
  vocabulary->reserve(entries.size());
  spec->token_bytes.reserve(entries.size());
  std::vector<bool> used;
  used.reserve(entries.size());
  const std::string path = "model.vocab: an id";
  for (const auto entry : entries) {
    absl::StatusOr<int32_t> id = ReadId(entry.value, path);
    if (!id.ok()) return id.status();
    const auto index = static_cast<size_t>(*id);
    if (index >= used.size()) {
      used.resize(index + 1);
      spec->token_bytes.resize(index + 1);
    }
    if (used[index]) return Wrong("model.vocab", absl::StrCat("has the id ", *id, " twice"));
    used[index] = true;
    spec->token_bytes[index] = BytesOfVocabularyEntry(entry.key);
    (*vocabulary)[entry.key] = *id;
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    const auto it = vocabulary->find(ByteAlphabetCharacter(static_cast<uint8_t>(byte)));
    spec->byte_ids[byte] = it == vocabulary->end() ? -1 : it->second;
  }
  return absl::OkStatus();
}

// "left right", or ["left", "right"] as newer files write it.
bool ReadMergeHalves(element merge, std::string_view* left, std::string_view* right) {
  std::string_view text;
  if (merge.get(text) == simdjson::SUCCESS) {
    const size_t blank = text.find(' ');
    if (blank == std::string_view::npos || text.find(' ', blank + 1) != std::string_view::npos) {
      return false;
    }
    *left = text.substr(0, blank);
    *right = text.substr(blank + 1);
    return true;
  }
  simdjson::dom::array halves;
  return merge.get(halves) == simdjson::SUCCESS && halves.size() == 2 &&
         halves.at(0).get(*left) == simdjson::SUCCESS &&
         halves.at(1).get(*right) == simdjson::SUCCESS;
}

absl::Status ReadMerges(element model, const Vocabulary& vocabulary, TokenizerSpec* spec) {
  simdjson::dom::array merges;
  if (model["merges"].get(merges) != simdjson::SUCCESS) {
    return Wrong("model.merges", "is not a list");
  }
  spec->merges.reserve(vocabulary.size());
  std::string joined;
  size_t index = 0;
  for (const element merge : merges) {
    std::string_view left;
    std::string_view right;
    if (!ReadMergeHalves(merge, &left, &right)) {
      return Wrong(absl::StrCat("model.merges[", index, "]"), "is not a pair of tokens");
    }
    joined.assign(left).append(right);
    const auto left_id = vocabulary.find(left);
    const auto right_id = vocabulary.find(right);
    const auto result_id = vocabulary.find(joined);
    if (left_id == vocabulary.end() || right_id == vocabulary.end() ||
        result_id == vocabulary.end()) {
      return Wrong(absl::StrCat("model.merges[", index, "]"),
                   "names or makes a token that is not in model.vocab");
    }
    spec->merges.push_back({left_id->second, right_id->second, result_id->second});
    ++index;
  }
  return absl::OkStatus();
}

absl::StatusOr<AddedToken> ReadAddedToken(element node, const std::string& path) {
  AddedToken token;
  element id;
  if (node["id"].get(id) != simdjson::SUCCESS) return Wrong(path, "has no 'id'");
  TESSERA_ASSIGN_OR_RETURN(token.id, ReadId(id, absl::StrCat(path, ".id")));
  std::string_view content;
  if (node["content"].get(content) != simdjson::SUCCESS || content.empty()) {
    return Wrong(path, "has no text 'content', or an empty one");
  }
  token.content = std::string(content);
  for (const char* key : {"single_word", "lstrip", "rstrip"}) {
    bool on = false;
    if (!IsAbsentOrNull(node, key) && (node[key].get(on) != simdjson::SUCCESS || on)) {
      return Wrong(absl::StrCat(path, ".", key), "other than false is not supported");
    }
  }
  if (node["normalized"].get(token.normalized) != simdjson::SUCCESS ||
      node["special"].get(token.special) != simdjson::SUCCESS) {
    return Wrong(path, "lacks a boolean 'normalized' or 'special'");
  }
  return token;
}

absl::Status ReadAddedTokens(element root, TokenizerSpec* spec) {
  if (IsAbsentOrNull(root, "added_tokens")) return absl::OkStatus();
  simdjson::dom::array tokens;
  if (root["added_tokens"].get(tokens) != simdjson::SUCCESS) {
    return Wrong("added_tokens", "is not a list");
  }
  for (const element node : tokens) {
    TESSERA_ASSIGN_OR_RETURN(
        AddedToken token,
        ReadAddedToken(node, absl::StrCat("added_tokens[", spec->added_tokens.size(), "]")));
    spec->added_tokens.push_back(std::move(token));
  }
  return absl::OkStatus();
}

// A special token's name is a text, or an object with its content.
absl::StatusOr<std::string> ReadName(element root, const char* file, const char* key,
                                     std::string absent) {
  if (IsAbsentOrNull(root, key)) return absent;
  std::string_view text;
  if (root[key].get(text) == simdjson::SUCCESS ||
      root[key]["content"].get(text) == simdjson::SUCCESS) {
    return std::string(text);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(file, ": ", key, " is neither a text nor an object with a text 'content'"));
}

absl::Status ReadNames(std::string_view json, const char* file, SpecialTokenNames* names) {
  if (json.empty()) return absl::OkStatus();
  simdjson::dom::parser parser;
  element root;
  if (parser.parse(simdjson::padded_string(json)).get(root) != simdjson::SUCCESS ||
      !root.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(file, " is not a JSON object"));
  }
  TESSERA_ASSIGN_OR_RETURN(names->bos, ReadName(root, file, "bos_token", names->bos));
  TESSERA_ASSIGN_OR_RETURN(names->eos, ReadName(root, file, "eos_token", names->eos));
  TESSERA_ASSIGN_OR_RETURN(names->pad, ReadName(root, file, "pad_token", names->pad));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerSpec> ParseTokenizerJson(std::string_view json) {
  simdjson::dom::parser parser;
  element root;
  if (const auto error = parser.parse(simdjson::padded_string(json)).get(root);
      error != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer.json is not valid JSON: ", simdjson::error_message(error)));
  }
  if (!root.is_object()) return absl::InvalidArgumentError("tokenizer.json is not a JSON object");
  element model;
  if (root["model"].get(model) != simdjson::SUCCESS || !model.is_object()) {
    return Wrong("model", "is not an object");
  }
  TESSERA_RETURN_IF_ERROR(CheckNormalizerAndDecoder(root));
  TESSERA_RETURN_IF_ERROR(CheckModelOptions(model));
  TokenizerSpec spec;
  Vocabulary vocabulary;
  TESSERA_RETURN_IF_ERROR(ReadVocabulary(model, &vocabulary, &spec));
  TESSERA_RETURN_IF_ERROR(ReadMerges(model, vocabulary, &spec));
  TESSERA_RETURN_IF_ERROR(ReadAddedTokens(root, &spec));
  element pre_tokenizer;
  if (root["pre_tokenizer"].get(pre_tokenizer) != simdjson::SUCCESS || !pre_tokenizer.is_object()) {
    return Wrong("pre_tokenizer", "is not an object");
  }
  absl::StatusOr<std::vector<SplitRule>> rules = ReadSplitRules(pre_tokenizer);
  if (!rules.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("tokenizer.json: ", rules.status().message()));
  }
  spec.split_rules = *std::move(rules);
  return spec;
}

absl::StatusOr<SpecialTokenNames> ParseSpecialTokenNames(std::string_view tokenizer_config_json,
                                                         std::string_view special_tokens_map_json,
                                                         std::string_view processor_config_json) {
  SpecialTokenNames names;
  SpecialTokenNames processor;
  TESSERA_RETURN_IF_ERROR(ReadNames(processor_config_json, "processor_config.json", &processor));
  if (!processor.pad.empty()) names.processor_pad = processor.pad;
  TESSERA_RETURN_IF_ERROR(ReadNames(special_tokens_map_json, "special_tokens_map.json", &names));
  TESSERA_RETURN_IF_ERROR(ReadNames(tokenizer_config_json, "tokenizer_config.json", &names));
  return names;
}

}  // namespace tessera::prompt
