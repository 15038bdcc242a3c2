#include "services/rpc/ready_line.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace tessera::rpc {

absl::Status WriteReadyLine(int fd, const std::string& address,
                            const std::string& metrics_address) {
  if (fd < 0) return absl::OkStatus();
  // Addresses hold no character that JSON would escape: the configuration allows host:port only.
  std::string line = absl::StrCat("{\"address\":\"", address, "\"");
  if (!metrics_address.empty())
    absl::StrAppend(&line, ",\"metrics_address\":\"", metrics_address, "\"");
  line += "}\n";
  size_t written = 0;
  while (written < line.size()) {
    const ssize_t count = write(fd, line.data() + written, line.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const std::string reason = strerror(errno);
      close(fd);
      return absl::UnavailableError(absl::StrCat("cannot write the ready line: ", reason));
    }
    written += static_cast<size_t>(count);
  }
  close(fd);
  return absl::OkStatus();
}

}  // namespace tessera::rpc
