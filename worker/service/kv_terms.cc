#include "worker/service/kv_terms.h"

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"
#include "tessera/v1/worker.pb.h"

namespace tessera::worker {
namespace {

const char* DTypeName(kernels::DType dtype) {
  return dtype == kernels::DType::kF32 ? "f32" : "bf16";
}

template <typename Value>
absl::Status CheckSame(const char* what, const Value& theirs, const Value& ours) {
  if (theirs == ours) return absl::OkStatus();
  // The caller chooses the text: it is quoted up to a bound.
  return absl::FailedPreconditionError(absl::StrCat(
      "a handoff with ", what, " ", absl::StrCat(theirs).substr(0, 64), ", this rank has ", ours));
}

}  // namespace

void SetTerms(v1::OpenHandoffRequest& request, const KvTerms& terms) {
  request.set_model_revision(terms.model_revision);
  request.set_numerics(terms.numerics);
  request.set_kv_dtype(DTypeName(terms.dtype));
  request.set_row_elements(static_cast<int32_t>(terms.row_elements));
  request.set_num_layers(static_cast<int32_t>(terms.num_layers));
}

absl::Status CheckTerms(const v1::OpenHandoffRequest& request, const KvTerms& terms) {
  TESSERA_RETURN_IF_ERROR(
      CheckSame("model revision", request.model_revision(), terms.model_revision));
  TESSERA_RETURN_IF_ERROR(CheckSame("numerics", request.numerics(), terms.numerics));
  TESSERA_RETURN_IF_ERROR(
      CheckSame<std::string>("dtype", request.kv_dtype(), DTypeName(terms.dtype)));
  TESSERA_RETURN_IF_ERROR(
      CheckSame<int64_t>("elements per row", request.row_elements(), terms.row_elements));
  return CheckSame<int64_t>("layers", request.num_layers(), terms.num_layers);
}

}  // namespace tessera::worker
