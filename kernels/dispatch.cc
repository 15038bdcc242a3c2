// Which tables this build holds and which of them this machine can run.
#include "kernels/cpu_features.h"
#include "kernels/kernels.h"

namespace tessera::kernels {

namespace reference {
extern const KernelTable kTable;
}

namespace {

struct NamedBackend {
  std::string_view name;
  Backend backend;
};

// Best first.
constexpr NamedBackend kBackends[] = {
    {"avx512bf16", Backend::kCpuAvx512Bf16},
    {"avx2", Backend::kCpuAvx2},
    {"generic", Backend::kCpuGeneric},
    {"reference", Backend::kReference},
};

}  // namespace

const KernelTable* KernelsFor(Backend backend) {
  return backend == Backend::kReference ? &reference::kTable : RunnableIsaTable(backend);
}

const KernelTable* BestCpuKernels() {
  for (const NamedBackend& candidate : kBackends) {
    if (const KernelTable* table = KernelsFor(candidate.backend)) return table;
  }
  return &reference::kTable;
}

const KernelTable* KernelsByName(std::string_view name) {
  if (name == "auto") return BestCpuKernels();
  for (const NamedBackend& candidate : kBackends) {
    if (candidate.name == name) return KernelsFor(candidate.backend);
  }
  return nullptr;
}

std::vector<std::string> RunnableKernelNames() {
  std::vector<std::string> names;
  for (const NamedBackend& candidate : kBackends) {
    if (KernelsFor(candidate.backend) != nullptr) names.emplace_back(candidate.name);
  }
  return names;
}

}  // namespace tessera::kernels
