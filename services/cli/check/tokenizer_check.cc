#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/cli/check/compare.h"
#include "services/cli/check/data_checks.h"
#include "services/cli/check/golden_files.h"
#include "services/gateway/prompt/utf8.h"

namespace tessera::check {
namespace {

using nlohmann::json;

std::string LineName(const json& line) { return absl::StrCat("line ", Member(line, "i").dump()); }

// `decoded` is left out where it is the text, `decoded_skip_special` where it is the same as
// `decoded`.
int64_t DecodeMismatches(const prompt::Tokenizer& tokenizer, const json& line,
                         const std::string& text) {
  const std::vector<int32_t> ids = Ids(Member(line, "ids"));
  const std::string plain = line.contains("decoded") ? Text(line, "decoded") : text;
  const std::string skipped =
      line.contains("decoded_skip_special") ? Text(line, "decoded_skip_special") : plain;
  return (prompt::Decode(tokenizer, ids, false) != plain ? 1 : 0) +
         (prompt::Decode(tokenizer, ids, true) != skipped ? 1 : 0);
}

absl::Status CheckEncode(const prompt::Tokenizer& tokenizer, const std::string& path,
                         Report* report) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<json> lines, ReadJsonLines(path));
  for (const json& line : lines) {
    const std::string text = Text(line, "text");
    const auto ids = tokenizer.Encode(text, prompt::AddedTokens::kAll);
    const std::vector<int32_t> expected = Ids(Member(line, "ids"));
    report->AddMismatches("encoding", ids.ok() ? CountMismatches(*ids, expected) : 1,
                          LineName(line));
    report->AddMismatches("decoding", DecodeMismatches(tokenizer, line, text),
                          absl::StrCat("encode ", LineName(line)));
  }
  return absl::OkStatus();
}

absl::Status CheckDecode(const prompt::Tokenizer& tokenizer, const std::string& path,
                         Report* report) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<json> lines, ReadJsonLines(path));
  for (const json& line : lines) {
    report->AddMismatches("decoding", DecodeMismatches(tokenizer, line, ""),
                          absl::StrCat("decode ", LineName(line)));
  }
  return absl::OkStatus();
}

// Every prefix, and the stream: what has been sent never holds U+FFFD for a character that a later
// token completes.
absl::Status CheckStream(const prompt::Tokenizer& tokenizer, const std::string& path,
                         Report* report) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<json> lines, ReadJsonLines(path));
  for (const json& line : lines) {
    const std::vector<int32_t> ids = Ids(Member(line, "ids"));
    const json& prefixes = Member(line, "prefix_decoded");
    prompt::Utf8Assembler assembler;
    std::string streamed;
    int64_t mismatches = prefixes.size() == ids.size() ? 0 : 1;
    for (size_t i = 0; i < ids.size() && i < prefixes.size(); ++i) {
      const std::string expected = prefixes[i].is_string() ? prefixes[i].get<std::string>() : "";
      streamed += assembler.Append(tokenizer.TokenBytes(ids[i]));
      prompt::Utf8Assembler copy = assembler;
      mismatches += streamed + copy.Flush() != expected ? 1 : 0;
      mismatches +=
          prompt::Decode(tokenizer, {ids.begin(), ids.begin() + static_cast<int64_t>(i) + 1},
                         false) != expected
              ? 1
              : 0;
    }
    report->AddMismatches("streaming", mismatches, LineName(line));
  }
  return absl::OkStatus();
}

bool HasLines(const std::string& dir, const std::string& name, const std::string& kind) {
  const std::string path = absl::StrCat(dir, "/", name, ".", kind, ".jsonl");
  return FileExists(path) || FileExists(path + ".gz");
}

}  // namespace

absl::StatusOr<std::unique_ptr<prompt::Tokenizer>> ReadTokenizer(const std::string& folder) {
  TESSERA_ASSIGN_OR_RETURN(const std::string tokenizer, ReadText(folder + "/tokenizer.json"));
  absl::StatusOr<std::string> config = ReadText(folder + "/tokenizer_config.json");
  if (!config.ok() && !absl::IsNotFound(config.status())) return config.status();
  return prompt::Tokenizer::Parse(tokenizer, config.ok() ? *config : "");
}

absl::Status CheckTokenizers(const std::string& dir, Report* report) {
  constexpr char kRaw[] = "_raw";
  for (const std::string& name : ListFolder(dir)) {
    const std::string folder = absl::StrCat(dir, "/", name);
    if (!IsFolder(folder)) continue;
    std::string lines = name;
    if (!HasLines(dir, lines, "encode") && name.size() > 4 &&
        name.substr(name.size() - 4) == kRaw) {
      lines = name.substr(0, name.size() - 4);
    }
    report->SetSubject(name);
    TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<prompt::Tokenizer> tokenizer,
                             ReadTokenizer(folder));
    const std::string prefix = absl::StrCat(dir, "/", lines);
    if (HasLines(dir, lines, "encode"))
      TESSERA_RETURN_IF_ERROR(CheckEncode(*tokenizer, prefix + ".encode.jsonl", report));
    if (HasLines(dir, lines, "decode"))
      TESSERA_RETURN_IF_ERROR(CheckDecode(*tokenizer, prefix + ".decode.jsonl", report));
    if (HasLines(dir, lines, "stream"))
      TESSERA_RETURN_IF_ERROR(CheckStream(*tokenizer, prefix + ".stream.jsonl", report));
  }
  return absl::OkStatus();
}

}  // namespace tessera::check
