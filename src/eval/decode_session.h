#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels/glue/device_graph.h"
#include "mpeft/model/token_stepper.h"

namespace mpeft::eval {

/// Continues up to `capacity` texts a token at a time: states in two buffers that take turns, so that rows follow their
/// parents by index and not by a copy; on a GPU each turn is one recorded graph. The model stays as it is while this
/// lives (TokenStepper), in eval mode.
class DecodeSession {
 public:
  /// True where a session is faster than MambaLM::forward_hidden: bf16 or fp16 on a GPU.
  static bool suits(const model::MambaLM& model);

  DecodeSession(model::MambaLM model, int64_t capacity);

  int64_t capacity() const { return tokens_.size(0); }

  /// Starts from the states of a batch of at most `capacity` rows.
  void load(const model::InferenceCache& cache);

  /// The states of the texts that continue rows `parents` (n) int64.
  model::InferenceCache rows(const at::Tensor& parents) const;

  /// Advances n <= capacity texts: tokens (n) int64 on the device, text i continuing row parents[i] (absent: i) of the
  /// step before. Returns the logits of the next token, fp32 (n, vocab_size), valid until the next step; the caller may
  /// write into them.
  at::Tensor step(const at::Tensor& tokens, const std::optional<at::Tensor>& parents);

 private:
  void run();

  model::MambaLM model_;
  model::TokenStepper stepper_;
  model::InferenceCache states_[2];
  ops::DeviceGraph graphs_[2];  ///< from states_[i] to the other
  int current_ = 0;             ///< where the states after the last step are
  int64_t n_steps_ = 0;
  bool may_record_;
  at::Tensor tokens_, parents_, identity_;  ///< (capacity) int64
  at::Tensor logits_;                       ///< (capacity, vocab_size) fp32
};

/// The sessions of one model, by capacity: recording costs tens of steps, so batches share them.
class DecodeSessions {
 public:
  explicit DecodeSessions(model::MambaLM model) : model_(std::move(model)) {}

  /// A session for `rows` texts, of at most twice that capacity; null where none suits the model.
  DecodeSession* acquire(int64_t rows);

 private:
  model::MambaLM model_;
  std::vector<std::unique_ptr<DecodeSession>> sessions_;
};

}  // namespace mpeft::eval
