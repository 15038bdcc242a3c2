#include "worker/service/stage_rendezvous.h"

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/base/status_macros.h"

namespace tessera::worker {
namespace {

constexpr uint64_t kMaxBytes = 64 << 10;

absl::Status SendText(transport::Communicator& all, int peer, std::string_view text,
                      absl::Time deadline) {
  const uint64_t size = text.size();
  TESSERA_RETURN_IF_ERROR(
      all.Send(peer, {reinterpret_cast<const std::byte*>(&size), sizeof size}, deadline));
  if (size == 0) return absl::OkStatus();
  return all.Send(peer, {reinterpret_cast<const std::byte*>(text.data()), text.size()}, deadline);
}

absl::StatusOr<std::string> ReceiveText(transport::Communicator& all, int peer,
                                        absl::Time deadline) {
  uint64_t size = 0;
  TESSERA_RETURN_IF_ERROR(
      all.Recv(peer, {reinterpret_cast<std::byte*>(&size), sizeof size}, deadline));
  if (size > kMaxBytes) {
    return absl::InternalError(absl::StrCat("rank ", peer, " announces ", size, " bytes"));
  }
  std::string text(size, '\0');
  if (size == 0) return text;
  TESSERA_RETURN_IF_ERROR(
      all.Recv(peer, {reinterpret_cast<std::byte*>(text.data()), text.size()}, deadline));
  return text;
}

}  // namespace

transport::Rendezvous StageRendezvous(transport::Communicator& all, const group::GroupShape& shape,
                                      const group::GroupPlace& place) {
  return [&all, shape, place](std::string_view, std::string_view mine,
                              absl::Time deadline) -> absl::StatusOr<std::vector<std::string>> {
    // The first column gathers, then tells the others.
    const auto number = [&](int64_t column) {
      return static_cast<int>(place.stage * shape.columns + column);
    };
    std::vector<std::string> texts(static_cast<size_t>(shape.columns));
    if (place.column > 0) {
      TESSERA_RETURN_IF_ERROR(SendText(all, number(0), mine, deadline));
      for (std::string& text : texts) {
        TESSERA_ASSIGN_OR_RETURN(text, ReceiveText(all, number(0), deadline));
      }
      return texts;
    }
    texts[0] = std::string(mine);
    for (int64_t column = 1; column < shape.columns; ++column) {
      TESSERA_ASSIGN_OR_RETURN(texts[static_cast<size_t>(column)],
                               ReceiveText(all, number(column), deadline));
    }
    for (int64_t column = 1; column < shape.columns; ++column) {
      for (const std::string& text : texts) {
        TESSERA_RETURN_IF_ERROR(SendText(all, number(column), text, deadline));
      }
    }
    return texts;
  };
}

}  // namespace tessera::worker
