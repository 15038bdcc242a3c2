#include "worker/transport/communicator.h"

namespace tessera::transport {

absl::Status Communicator::AllToAllV(const SendParts& send, const RecvParts& receive,
                                     absl::Time deadline) {
  return StartAllToAllV(send, receive)->Wait(deadline);
}

}  // namespace tessera::transport
