#include "worker/service/model_revision.h"

#include <fstream>
#include <iterator>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace tessera::worker {

absl::StatusOr<Digest> ModelRevision(const std::string& model_dir) {
  Sha256Fields fields;
  for (const std::string_view name :
       {"config.json", "processor_config.json", "tokenizer.json", "model.safetensors.index.json"}) {
    std::ifstream file(model_dir + "/" + std::string(name), std::ios::binary);
    if (!file.is_open()) {
      if (name == "config.json") {
        return absl::NotFoundError("the model's folder has no config.json");
      }
      continue;
    }
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    if (file.bad()) {
      return absl::InvalidArgumentError(absl::StrCat(std::string(name), " cannot be read"));
    }
    fields.Add(name).Add(content);
  }
  return fields.Finish();
}

}  // namespace tessera::worker
