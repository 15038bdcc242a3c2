#include "services/cli/check/model_check.h"

#include <cstdlib>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "services/cli/check/compare.h"
#include "services/cli/check/golden_case.h"
#include "services/cli/check/greedy_check.h"
#include "services/cli/check/model_probe.h"

namespace tessera::check {
namespace {

constexpr double kVisionTolerance = 1e-4;
constexpr double kRouterWeightTolerance = 1e-4;
constexpr double kLayerTolerance = 1e-3;
constexpr double kLogitTolerance = 2e-3;
constexpr double kMinCosine = 0.99;
constexpr int64_t kBlockSizeTokens = 16;
// Where the last chosen and the first rejected score are nearer than this, another order of
// summation may choose the other expert (README, section 1): such a layer may differ in this many
// rows.
constexpr double kNearTie = 1e-5;
constexpr double kNearTieRows = 2;

using Tensor = GoldenTensors::Tensor;

// Compares one case's tensors with what the probe saw.
class TensorComparison {
 public:
  TensorComparison(const GoldenCase& golden, const ModelProbe& probe,
                   const model::ModelConfig& config, Report* report)
      : golden_(golden), probe_(probe), config_(config), report_(report) {}

  void CompareVision() {
    const int64_t width = config_.vision.width;
    const int64_t patches = config_.vision.patches();
    if (const Tensor* tensor = Find("vision_out_rows")) {
      const std::vector<int64_t> rows =
          Ints(nlohmann::json::parse(golden_.tensors.Metadata("vision_rows"), nullptr, false));
      std::vector<float> ours;
      const auto tiles = static_cast<int64_t>(probe_.vision().size()) / (patches * width);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        for (const int64_t row : rows)
          AppendRow(probe_.vision(), tile * patches + row, width, &ours);
      }
      Error("vision rows", kVisionTolerance, ours, *tensor);
    }
    if (const Tensor* tensor = Find("vision_out_tile0")) {
      Error("vision rows", kVisionTolerance, Head(probe_.vision(), tensor->values.size()), *tensor);
    }
    if (const Tensor* tensor = Find("projector_out_tile0")) {
      Error("projector", kVisionTolerance, Head(probe_.projector(), tensor->values.size()),
            *tensor);
    }
  }

  void CompareEmbeddings() {
    const int64_t hidden = config_.language.hidden_size;
    if (const Tensor* tensor = Find("inputs_embeds"))
      Error("input embeddings", kVisionTolerance, probe_.embeddings(), *tensor);
    if (const Tensor* tensor = Find("inputs_embeds_rows")) {
      Error("input embeddings", kVisionTolerance, Rows(probe_.embeddings(), hidden), *tensor);
    }
  }

  void CompareRouter() {
    const int64_t top_k = config_.language.num_experts_per_tok;
    for (const auto& [layer, ids] : probe_.router_ids()) {
      const Tensor* tensor = Find(absl::StrCat("router_ids.layer", layer));
      if (tensor == nullptr) continue;
      const std::vector<int32_t> theirs(tensor->values.begin(), tensor->values.end());
      if (IsNearTie(layer)) {
        report_->Add("router rows at near ties", Measure::kMismatches, kNearTieRows,
                     RowMismatches(ids, theirs, top_k), Case(layer));
      } else {
        report_->AddMismatches("router ids", CountMismatches(ids, theirs), Case(layer));
      }
    }
    for (const auto& [layer, weights] : probe_.router_weights()) {
      const std::string name = absl::StrCat("router_weights.layer", layer);
      if (const Tensor* tensor = Find(name))
        Error("router weights", kRouterWeightTolerance, weights, *tensor);
      if (const Tensor* tensor = Find(name + "_rows")) {
        Error("router weights", kRouterWeightTolerance, Rows(weights, top_k), *tensor);
      }
    }
  }

  void CompareStates(absl::Span<const float> logits) {
    if (const Tensor* tensor = Find("layer_hidden_last"))
      Error("layer states", kLayerTolerance, probe_.last_hidden(), *tensor);
    if (const Tensor* tensor = Find("layer_hidden_mid"))
      Error("layer states", kLayerTolerance, probe_.mid_hidden(), *tensor);
    if (const Tensor* tensor = Find("final_norm_last"))
      Error("final norm", kLayerTolerance, probe_.final_norm(), *tensor);
    if (const Tensor* tensor = Find("logits_last"))
      Error("logits", kLogitTolerance, logits, *tensor);
    const Tensor* ids = Find("logits_mid_top16_ids");
    const Tensor* values = Find("logits_mid_top16_values");
    if (ids != nullptr && values != nullptr) {
      std::vector<float> ours;
      for (const double id : ids->values)
        AppendRow(probe_.mid_logits(), static_cast<int64_t>(id), 1, &ours);
      Error("logits", kLogitTolerance, ours, *values);
    }
    if (const Tensor* tensor = Find("argmax_all")) {
      const std::vector<int32_t> theirs(tensor->values.begin(), tensor->values.end());
      report_->AddMismatches("argmax", CountMismatches(probe_.arg_max(), theirs), golden_.name);
    }
  }

  // Layer states alone: what a bf16 run can be held to.
  void CompareCosines() {
    const int64_t hidden = config_.language.hidden_size;
    if (const Tensor* tensor = Find("layer_hidden_last"))
      Cosine("layer states", probe_.last_hidden(), *tensor, hidden);
    if (const Tensor* tensor = Find("layer_hidden_mid"))
      Cosine("layer states", probe_.mid_hidden(), *tensor, hidden);
    if (const Tensor* tensor = Find("vision_out_tile0")) {
      Cosine("vision rows", Head(probe_.vision(), tensor->values.size()), *tensor,
             config_.vision.width);
    }
    if (const Tensor* tensor = Find("projector_out_tile0")) {
      Cosine("projector", Head(probe_.projector(), tensor->values.size()), *tensor, hidden);
    }
  }

 private:
  const Tensor* Find(const std::string& name) const { return golden_.tensors.Find(name); }
  // An exact tie (gap 0) is decided by the reference's rule, so it counts as decided.
  bool IsNearTie(int64_t layer) const {
    const nlohmann::json& gap =
        Member(Member(golden_.json, "router_min_gaps"), absl::StrCat("expert_gap.layer", layer));
    return gap.is_number() && gap.get<double>() > 0 && gap.get<double>() < kNearTie;
  }
  static double RowMismatches(absl::Span<const int32_t> ours, absl::Span<const int32_t> theirs,
                              int64_t top_k) {
    if (ours.size() != theirs.size()) return std::numeric_limits<double>::infinity();
    double rows = 0;
    for (size_t i = 0; i < ours.size(); i += static_cast<size_t>(top_k)) {
      rows += CountMismatches(ours.subspan(i, top_k), theirs.subspan(i, top_k)) > 0 ? 1 : 0;
    }
    return rows;
  }
  std::string Case(int64_t layer) const { return absl::StrCat(golden_.name, " layer ", layer); }

  static void AppendRow(absl::Span<const float> all, int64_t row, int64_t cols,
                        std::vector<float>* rows) {
    if (row < 0 || (row + 1) * cols > static_cast<int64_t>(all.size()))
      return;  // the sizes then differ, which fails
    rows->insert(rows->end(), all.begin() + row * cols, all.begin() + (row + 1) * cols);
  }
  static absl::Span<const float> Head(absl::Span<const float> all, size_t count) {
    return all.subspan(0, count);
  }

  // The rows that `row_index` names.
  std::vector<float> Rows(absl::Span<const float> all, int64_t cols) const {
    std::vector<float> rows;
    const Tensor* index = Find("row_index");
    if (index == nullptr) return rows;
    for (const double row : index->values) AppendRow(all, static_cast<int64_t>(row), cols, &rows);
    return rows;
  }

  void Error(const std::string& quantity, double tolerance, absl::Span<const float> ours,
             const Tensor& theirs) {
    report_->Add(quantity, Measure::kAbsoluteError, tolerance,
                 MaxAbsoluteError(ours, theirs.values), golden_.name);
  }
  void Cosine(const std::string& quantity, absl::Span<const float> ours, const Tensor& theirs,
              int64_t cols) {
    report_->Add(quantity, Measure::kCosine, kMinCosine, MinCosine(ours, theirs.values, cols),
                 golden_.name);
  }

  const GoldenCase& golden_;
  const ModelProbe& probe_;
  const model::ModelConfig& config_;
  Report* report_;
};

std::string BaseName(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

absl::Status CheckModelCase(const std::string& model_dir, const std::string& case_name,
                            const Options& options, model::VlModel& model, Report* report) {
  TESSERA_ASSIGN_OR_RETURN(const GoldenCase golden, ReadCase(model_dir, case_name));
  const absl::StatusOr<std::vector<prompt::TiledImage>> tiles = ReadTiles(model_dir, golden);
  if (absl::IsNotFound(tiles.status())) {
    report->Skip(case_name, std::string(tiles.status().message()));
    return absl::OkStatus();
  }
  TESSERA_RETURN_IF_ERROR(tiles.status());
  ModelProbe probe(std::atoll(golden.tensors.Metadata("mid_position").c_str()));
  TESSERA_ASSIGN_OR_RETURN(const EncodedPrompt encoded,
                           EncodedPrompt::Create(model, golden, *tiles, &probe));
  const auto length = static_cast<int64_t>(golden.ids.size());
  ModelRunner runner(model, length + kMaxGreedyTokens, kBlockSizeTokens);
  TESSERA_RETURN_IF_ERROR(runner.Prefill(encoded.prompt(), length, &probe));

  TensorComparison comparison(golden, probe, model.config(), report);
  if (options.compute == kernels::Compute::kBF16) {
    comparison.CompareCosines();
    return CheckFirstToken(golden, runner, report);
  }
  comparison.CompareVision();
  comparison.CompareEmbeddings();
  comparison.CompareRouter();
  comparison.CompareStates(runner.logits());
  return CheckGreedy(golden, encoded.prompt(), model.config(), runner, report);
}

absl::Status CheckModel(const std::string& model_dir, const Options& options, Report* report) {
  report->SetSubject(BaseName(model_dir));
  model::LoadOptions load;
  load.compute = options.compute;
  load.table = options.table;
  load.pool = options.pool;
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<model::VlModel> model,
                           model::VlModel::Load(model_dir, load));
  for (const std::string& name : ListCases(model_dir)) {
    TESSERA_RETURN_IF_ERROR(CheckModelCase(model_dir, name, options, *model, report));
  }
  return absl::OkStatus();
}

}  // namespace tessera::check
