#pragma once

#include <string>

#include "mpeft/peft/peft_method.h"

namespace mpeft::peft {

/// One part of the training of a method that trains in several, one after the other, each from the base model on.
struct MethodStage {
  int64_t number = 1;
  int64_t count = 1;  ///< stages of the method; 1 for most
  std::string name;   ///< "warm-up"; "" for the last stage, which is the training proper
  int64_t steps = 0;  ///< optimizer steps; 0: as many as the run has
  bool is_last() const { return number == count; }
};

/// What a method that trains in stages is besides a PeftMethod: one object does one stage.
class StagedMethod {
 public:
  virtual ~StagedMethod() = default;

  /// Which part of the training this object does.
  virtual MethodStage stage() const = 0;

  /// The configuration of the method of the next stage, decided by what this one has trained; it goes onto a fresh copy
  /// of the base model. Call unless stage() is the last. Throws TrainingStopped when nothing can be decided.
  virtual std::string next_stage_json() const = 0;
};

/// The stage of any method: the only one of those that have no stages.
MethodStage stage_of(const PeftMethod& method);

/// next_stage_json() of a method whose stage is not the last.
std::string next_stage_json(const PeftMethod& method);

}  // namespace mpeft::peft
