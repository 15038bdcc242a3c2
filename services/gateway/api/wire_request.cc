#include "services/gateway/api/wire_request.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <map>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "services/gateway/prompt/utf8.h"
#include "services/rpc/status_details.h"

namespace tessera::gateway {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// The API's messages are four levels deep; a hostile request may be deeper.
constexpr int kMaxDepth = 16;

bool FindInvalid(absl::string_view bytes, const Descriptor& type, const std::string& prefix,
                 int depth, std::string* path, size_t* offset) {
  CodedInputStream input(reinterpret_cast<const uint8_t*>(bytes.data()),
                         static_cast<int>(bytes.size()));
  std::map<int, int> counts;  // of repeated fields
  while (const uint32_t tag = input.ReadTag()) {
    const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    if (WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&input, tag)) return false;
      continue;
    }
    uint32_t size = 0;
    if (!input.ReadVarint32(&size)) return false;
    const auto begin = static_cast<size_t>(input.CurrentPosition());
    if (size > bytes.size() - begin || !input.Skip(static_cast<int>(size))) return false;
    if (field == nullptr) continue;
    const absl::string_view value = bytes.substr(begin, size);
    std::string name = absl::StrCat(prefix, field->name());
    if (field->is_repeated()) absl::StrAppend(&name, "[", counts[field->number()]++, "]");
    if (field->type() == FieldDescriptor::TYPE_STRING) {
      const size_t at = prompt::FindInvalidUtf8(std::string_view(value.data(), value.size()));
      if (at != std::string::npos) {
        *path = name;
        *offset = at;
        return true;
      }
    } else if (field->type() == FieldDescriptor::TYPE_MESSAGE && depth < kMaxDepth) {
      if (FindInvalid(value, *field->message_type(), name + ".", depth + 1, path, offset))
        return true;
    }
  }
  return false;
}

}  // namespace

std::string FindInvalidText(absl::string_view bytes, const Descriptor& type, size_t* offset) {
  std::string path;
  FindInvalid(bytes, type, "", 0, &path, offset);
  return path;
}

absl::Status ParseRequest(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  {
    grpc::ByteBuffer copy = bytes;  // counts references to the same slices
    grpc::ProtoBufferReader reader(&copy);
    if (message->ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  }
  message->Clear();
  grpc::Slice whole;
  if (!bytes.DumpToSingleSlice(&whole).ok())
    return absl::InvalidArgumentError("the request cannot be read");
  size_t offset = 0;
  const std::string path =
      FindInvalidText(absl::string_view(reinterpret_cast<const char*>(whole.begin()), whole.size()),
                      *message->GetDescriptor(), &offset);
  if (!path.empty())
    return rpc::BadFieldError(path, absl::StrCat("invalid UTF-8 at byte offset ", offset));
  return absl::InvalidArgumentError(
      absl::StrCat("the request is not a serialized ", message->GetDescriptor()->full_name()));
}

}  // namespace tessera::gateway
