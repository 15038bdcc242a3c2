#include "services/gateway/prompt/bpe.h"

#include <algorithm>
#include <queue>

namespace tessera::prompt {
namespace {

uint64_t PairKey(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

}  // namespace

BpeModel::BpeModel(const std::array<int32_t, 256>& byte_ids, const std::vector<BpeMerge>& merges)
    : byte_ids_(byte_ids), byte_pairs_(256 * 256) {
  pairs_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeMerge& merge = merges[rank];
    pairs_[PairKey(merge.left, merge.right)] = {static_cast<uint32_t>(rank), merge.result};
  }
  absl::flat_hash_map<int32_t, size_t> byte_of_id;
  for (size_t byte = 0; byte < 256; ++byte) {
    if (byte_ids_[byte] >= 0) byte_of_id[byte_ids_[byte]] = byte;
  }
  for (const BpeMerge& merge : merges) {
    const auto left = byte_of_id.find(merge.left);
    const auto right = byte_of_id.find(merge.right);
    if (left == byte_of_id.end() || right == byte_of_id.end()) continue;
    byte_pairs_[left->second * 256 + right->second] =
        pairs_.find(PairKey(merge.left, merge.right))->second;
  }
}

BpeModel::Entry BpeModel::Find(int32_t left, int32_t right) const {
  const auto it = pairs_.find(PairKey(left, right));
  return it == pairs_.end() ? Entry{} : it->second;
}

void BpeModel::Encode(std::string_view piece, std::vector<int32_t>* ids) const {
  if (piece.size() <= kSmallPieceBytes) {
    EncodeSmall(piece, ids);
  } else {
    EncodeLarge(piece, ids);
  }
}

// Words are short: a scan over an array beats a heap.
void BpeModel::EncodeSmall(std::string_view piece, std::vector<int32_t>* ids) const {
  std::array<int32_t, kSmallPieceBytes> tokens;
  std::array<uint8_t, kSmallPieceBytes> bytes;
  std::array<Entry, kSmallPieceBytes> pairs;  // pairs[i]: tokens i and i + 1
  size_t count = 0;
  for (const char c : piece) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte_ids_[byte] < 0) continue;
    bytes[count] = byte;
    tokens[count++] = byte_ids_[byte];
  }
  for (size_t i = 0; i + 1 < count; ++i) pairs[i] = byte_pairs_[bytes[i] * 256 + bytes[i + 1]];
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == kNoRank) break;
    tokens[best] = pairs[best].result;
    std::copy(tokens.begin() + best + 2, tokens.begin() + count, tokens.begin() + best + 1);
    std::copy(pairs.begin() + best + 1, pairs.begin() + count - 1, pairs.begin() + best);
    --count;
    if (best + 1 < count) pairs[best] = Find(tokens[best], tokens[best + 1]);
    if (best > 0) pairs[best - 1] = Find(tokens[best - 1], tokens[best]);
  }
  ids->insert(ids->end(), tokens.begin(), tokens.begin() + count);
}

void BpeModel::EncodeLarge(std::string_view piece, std::vector<int32_t>* ids) const {
  struct Node {
    int32_t token;
    int32_t previous;
    int32_t next;  // -1: last
    Entry pair;    // with the next node; no rank: nothing to merge, or the node is gone
  };
  struct Candidate {
    uint32_t rank;
    int32_t node;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : node > other.node;
    }
  };
  std::vector<Node> nodes;
  nodes.reserve(piece.size());
  for (const char c : piece) {
    const int32_t token = byte_ids_[static_cast<uint8_t>(c)];
    if (token < 0) continue;
    const auto index = static_cast<int32_t>(nodes.size());
    nodes.push_back({token, index - 1, index + 1, {}});
  }
  if (nodes.empty()) return;
  nodes.back().next = -1;
  std::vector<Candidate> first;
  for (size_t i = 0; i + 1 < nodes.size(); ++i) {
    nodes[i].pair = Find(nodes[i].token, nodes[i + 1].token);
    if (nodes[i].pair.rank != kNoRank) {
      first.push_back({nodes[i].pair.rank, static_cast<int32_t>(i)});
    }
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>(),
                                                                               std::move(first));
  const auto refresh = [&](int32_t index) {
    Node& node = nodes[index];
    node.pair = node.next < 0 ? Entry{} : Find(node.token, nodes[node.next].token);
    if (node.pair.rank != kNoRank) queue.push({node.pair.rank, index});
  };
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Node& node = nodes[top.node];
    if (node.pair.rank != top.rank) continue;  // the pair has changed since
    node.token = node.pair.result;
    Node& gone = nodes[node.next];
    node.next = gone.next;
    gone.pair = {};
    if (node.next >= 0) nodes[node.next].previous = top.node;
    refresh(top.node);
    if (node.previous >= 0) refresh(node.previous);
  }
  for (int32_t i = 0; i >= 0; i = nodes[i].next) ids->push_back(nodes[i].token);
}

}  // namespace tessera::prompt
