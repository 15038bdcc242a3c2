// The engine's events on the wire.
#ifndef TESSERA_WORKER_SERVICE_DECODE_EVENTS_H_
#define TESSERA_WORKER_SERVICE_DECODE_EVENTS_H_

#include "tessera/v1/worker.pb.h"
#include "worker/engine/engine.h"

namespace tessera::worker {

// Appends one token; its position is the caller's to say.
void AppendToken(v1::DecodedTokens& tokens, const engine::TokenEvent& event);
// reason: kStopToken or kLength.
void SetFinished(v1::DecodeFinished& finished, engine::FinishReason reason,
                 const engine::Usage& usage);

}  // namespace tessera::worker

#endif  // TESSERA_WORKER_SERVICE_DECODE_EVENTS_H_
