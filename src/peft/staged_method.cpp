#include "mpeft/peft/staged_method.h"

#include "mpeft/core/check.h"

namespace mpeft::peft {

MethodStage stage_of(const PeftMethod& method) {
  const auto* staged = dynamic_cast<const StagedMethod*>(&method);
  return staged == nullptr ? MethodStage() : staged->stage();
}

std::string next_stage_json(const PeftMethod& method) {
  const auto* staged = dynamic_cast<const StagedMethod*>(&method);
  MPEFT_ASSERT(staged != nullptr && !staged->stage().is_last(), method.type(), ": no stage comes next");
  return staged->next_stage_json();
}

}  // namespace mpeft::peft
