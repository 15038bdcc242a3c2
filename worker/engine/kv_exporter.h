// Hands the rows of prompts over while a step writes them.
#ifndef TESSERA_WORKER_ENGINE_KV_EXPORTER_H_
#define TESSERA_WORKER_ENGINE_KV_EXPORTER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "worker/engine/sequence.h"
#include "worker/kv/kv_rows.h"
#include "worker/model/model.h"

namespace tessera::engine {

// Of the step loop's thread. No row of a sequence is handed over twice, also if it is computed
// again.
class KvExporter final : public model::KvObserver {
 public:
  // layers: the pages, [num_layers]; they outlive the exporter.
  KvExporter(absl::Span<const kernels::PagedKv> layers, const kv::RowShape& shape)
      : layers_(layers), shape_(shape) {}

  // Prepares a sequence with kv_export; before any other call with it.
  void Register(Sequence& sequence) const;

  // The next step writes the rows of `sequence` before `end`. The sequence stays until EndStep.
  void AddToStep(Sequence& sequence, int64_t end) { step_.push_back({&sequence, end}); }
  bool StepExports() const { return !step_.empty(); }
  void OnKvWritten(int64_t local_layer) override;
  void EndStep() { step_.clear(); }

  // Hands over what is in the pages of all layers before `end` and was not yet.
  void ExportAll(Sequence& sequence, int64_t end);

 private:
  struct Part {
    Sequence* sequence = nullptr;
    int64_t end = 0;
  };

  void Export(Sequence& sequence, int64_t layer, int64_t end);

  const absl::Span<const kernels::PagedKv> layers_;
  const kv::RowShape shape_;
  std::vector<Part> step_;
  std::vector<std::byte> rows_;
};

}  // namespace tessera::engine

#endif  // TESSERA_WORKER_ENGINE_KV_EXPORTER_H_
