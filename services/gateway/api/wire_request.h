// Request bytes to messages. gRPC's own parsing would answer a malformed request, invalid UTF-8
// included, with UNIMPLEMENTED or INTERNAL and no word about the field; so the service takes the
// bytes and parses here.
#ifndef TESSERA_SERVICES_GATEWAY_API_WIRE_REQUEST_H_
#define TESSERA_SERVICES_GATEWAY_API_WIRE_REQUEST_H_

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tessera::gateway {

// INVALID_ARGUMENT: names the first text field whose bytes are no UTF-8, with the offset, or says
// that the bytes are no such message.
absl::Status ParseRequest(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

// Path of the first text field of the serialized message that is not UTF-8, e.g.
// "messages[2].content[0].text", and in *offset the byte in it. Empty: there is none.
std::string FindInvalidText(absl::string_view bytes, const google::protobuf::Descriptor& type,
                            size_t* offset);

}  // namespace tessera::gateway

#endif  // TESSERA_SERVICES_GATEWAY_API_WIRE_REQUEST_H_
