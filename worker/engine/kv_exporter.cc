#include "worker/engine/kv_exporter.h"

#include <algorithm>

#include "services/base/check.h"

namespace tessera::engine {
namespace {

// Bounds the copy of a long prefix that was known already.
constexpr int64_t kMostRowsAtOnce = 512;

}  // namespace

void KvExporter::Register(Sequence& sequence) const {
  sequence.exported.assign(layers_.size(), sequence.request.kv_export_from);
}

void KvExporter::OnKvWritten(int64_t local_layer) {
  TESSERA_CHECK(local_layer >= 0 && local_layer < static_cast<int64_t>(layers_.size()));
  for (const Part& part : step_) Export(*part.sequence, local_layer, part.end);
}

void KvExporter::ExportAll(Sequence& sequence, int64_t end) {
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    Export(sequence, static_cast<int64_t>(layer), end);
  }
}

void KvExporter::Export(Sequence& sequence, int64_t layer, int64_t end) {
  int64_t& done = sequence.exported[layer];
  const int64_t row_bytes = kv::RowBytes(shape_);
  while (done < end) {
    const int64_t num_rows = std::min(end - done, kMostRowsAtOnce);
    rows_.resize(num_rows * row_bytes);
    kv::ReadRows(layers_[layer], shape_, sequence.blocks, done, num_rows, absl::MakeSpan(rows_));
    sequence.request.kv_export->OnRows(layer, done, num_rows, rows_);
    done += num_rows;
  }
}

}  // namespace tessera::engine
