#include "services/gateway/prompt/tokenizer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/gateway/prompt/added_tokens.h"
#include "services/gateway/prompt/bpe.h"
#include "services/gateway/prompt/model_files.h"
#include "services/gateway/prompt/pre_tokenizer.h"
#include "services/gateway/prompt/tokenizer_json.h"
#include "services/gateway/prompt/utf8.h"

namespace tessera::prompt {
namespace {

// The matchers of one AddedTokens mode.
struct Matchers {
  AddedTokenMatcher plain;
  AddedTokenMatcher normalized;
};

class ByteLevelTokenizer final : public Tokenizer {
 public:
  ByteLevelTokenizer(TokenizerSpec spec, PreTokenizer pre_tokenizer, SpecialTokens special)
      : bpe_(spec.byte_ids, spec.merges),
        pre_tokenizer_(std::move(pre_tokenizer)),
        special_(special),
        token_bytes_(std::move(spec.token_bytes)) {
    const std::vector<int32_t> harmless = {special.image,    special.ref_open,  special.ref_close,
                                           special.det_open, special.det_close, special.grounding};
    for (const AddedToken& token : spec.added_tokens) {
      const auto index = static_cast<size_t>(token.id);
      if (index >= token_bytes_.size()) token_bytes_.resize(index + 1);
      if (index >= is_special_.size()) is_special_.resize(index + 1);
      token_bytes_[index] = token.content;
      is_special_[index] = is_special_[index] || token.special;
      (token.normalized ? all_.normalized : all_.plain).Add(token.content, token.id);
      if (std::find(harmless.begin(), harmless.end(), token.id) == harmless.end()) continue;
      (token.normalized ? no_control_.normalized : no_control_.plain).Add(token.content, token.id);
    }
  }

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              AddedTokens added) const override {
    if (const size_t at = FindInvalidUtf8(text); at != std::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("invalid UTF-8 at byte offset ", at));
    }
    const Matchers& matchers = added == AddedTokens::kAll ? all_ : no_control_;
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 3 + 8);
    for (const TextSpan& span : SplitByAddedTokens(text, matchers.plain, matchers.normalized)) {
      if (span.id >= 0) {
        ids.push_back(span.id);
        continue;
      }
      TESSERA_ASSIGN_OR_RETURN(const std::vector<std::string_view> pieces,
                               pre_tokenizer_.Split(span.text));
      for (const std::string_view piece : pieces) bpe_.Encode(piece, &ids);
    }
    return ids;
  }

  std::string_view TokenBytes(int32_t id) const override {
    if (id < 0 || id >= size()) return {};
    return token_bytes_[static_cast<size_t>(id)];
  }

  bool IsSpecial(int32_t id) const override {
    return id >= 0 && static_cast<size_t>(id) < is_special_.size() &&
           is_special_[static_cast<size_t>(id)];
  }

  const SpecialTokens& special() const override { return special_; }
  int32_t size() const override { return static_cast<int32_t>(token_bytes_.size()); }

 private:
  BpeModel bpe_;
  PreTokenizer pre_tokenizer_;
  SpecialTokens special_;
  std::vector<std::string> token_bytes_;
  std::vector<bool> is_special_;
  Matchers all_;
  Matchers no_control_;
};

// The processor's view of the added tokens: finds them by content and adds what is missing (golden
// README, point 5).
class Vocabulary {
 public:
  explicit Vocabulary(TokenizerSpec* spec) : spec_(spec) {
    next_id_ = static_cast<int32_t>(spec->token_bytes.size());
    for (const AddedToken& token : spec->added_tokens) next_id_ = std::max(next_id_, token.id + 1);
  }

  // The token's id, or nullopt. An entry of the plain vocabulary becomes an added token.
  std::optional<int32_t> Find(std::string_view content) {
    for (const AddedToken& token : spec_->added_tokens) {
      if (token.content == content) return token.id;
    }
    const auto& entries = spec_->token_bytes;
    const auto entry =
        content.empty() ? entries.end() : std::find(entries.begin(), entries.end(), content);
    if (entry == entries.end()) return std::nullopt;
    return Add(content, static_cast<int32_t>(entry - entries.begin()));
  }

  int32_t FindOrAdd(std::string_view content) {
    const std::optional<int32_t> id = Find(content);
    return id.has_value() ? *id : Add(content, next_id_++);
  }

 private:
  int32_t Add(std::string_view content, int32_t id) {
    spec_->added_tokens.push_back(
        {id, std::string(content), /*normalized=*/false, /*special=*/true});
    return id;
  }

  TokenizerSpec* spec_;
  int32_t next_id_ = 0;
};

absl::StatusOr<SpecialTokens> ResolveSpecialTokens(const SpecialTokenNames& names,
                                                   TokenizerSpec* spec) {
  Vocabulary vocabulary(spec);
  SpecialTokens special;
  const std::optional<int32_t> bos = vocabulary.Find(names.bos);
  const std::optional<int32_t> eos = vocabulary.Find(names.eos);
  if (!bos.has_value() || !eos.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer.json has no token '", bos.has_value() ? names.eos : names.bos,
                     "', which is needed as ", bos.has_value() ? "eos_token" : "bos_token"));
  }
  special.bos = *bos;
  special.eos = *eos;
  special.pad = vocabulary.FindOrAdd(names.pad.empty() ? names.processor_pad : names.pad);
  special.image = vocabulary.FindOrAdd("<image>");
  special.ref_open = vocabulary.FindOrAdd("<|ref|>");
  special.ref_close = vocabulary.FindOrAdd("<|/ref|>");
  special.det_open = vocabulary.FindOrAdd("<|det|>");
  special.det_close = vocabulary.FindOrAdd("<|/det|>");
  special.grounding = vocabulary.FindOrAdd("<|grounding|>");
  special.user = vocabulary.FindOrAdd("<|User|>");
  special.assistant = vocabulary.FindOrAdd("<|Assistant|>");
  return special;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Build(std::string_view tokenizer_json,
                                                 const SpecialTokenNames& names) {
  TESSERA_ASSIGN_OR_RETURN(TokenizerSpec spec, ParseTokenizerJson(tokenizer_json));
  TESSERA_ASSIGN_OR_RETURN(const SpecialTokens special, ResolveSpecialTokens(names, &spec));
  TESSERA_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Create(spec.split_rules));
  return std::make_unique<ByteLevelTokenizer>(std::move(spec), std::move(pre_tokenizer), special);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& model_dir) {
  TESSERA_ASSIGN_OR_RETURN(const std::string json, ReadModelFile(model_dir, "tokenizer.json"));
  TESSERA_ASSIGN_OR_RETURN(const std::string config,
                           ReadOptionalModelFile(model_dir, "tokenizer_config.json"));
  TESSERA_ASSIGN_OR_RETURN(const std::string map,
                           ReadOptionalModelFile(model_dir, "special_tokens_map.json"));
  TESSERA_ASSIGN_OR_RETURN(const std::string processor,
                           ReadOptionalModelFile(model_dir, "processor_config.json"));
  TESSERA_ASSIGN_OR_RETURN(const SpecialTokenNames names,
                           ParseSpecialTokenNames(config, map, processor));
  return Build(json, names);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Parse(
    std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  TESSERA_ASSIGN_OR_RETURN(const SpecialTokenNames names,
                           ParseSpecialTokenNames(tokenizer_config_json, "", ""));
  return Build(tokenizer_json, names);
}

std::string Decode(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  std::string bytes;
  for (const int32_t id : ids) {
    if (skip_special && tokenizer.IsSpecial(id)) continue;
    bytes.append(tokenizer.TokenBytes(id));
  }
  return LossyUtf8(bytes);
}

}  // namespace tessera::prompt
