#pragma once

#include <vector>

#include "mpeft/eval/generate.h"

#include "eval/decode_progress.h"
#include "eval/decode_session.h"
#include "eval/padded_ids.h"

namespace mpeft::eval {

/// Greedy decoding or sampling of the prompts that `rows` names, as one batch; writes results[row].
void decode_single(model::MambaLM& model, const std::vector<IdList>& prompts, const std::vector<int64_t>& rows,
                   const GenerateOptions& options, DecodeSessions& sessions, DecodeProgress& progress,
                   std::vector<Generation>& results);

}  // namespace mpeft::eval
