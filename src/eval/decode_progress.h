#pragma once

#include "mpeft/eval/generate.h"

namespace mpeft::eval {

/// Counts what the decoders report.
class DecodeProgress {
 public:
  DecodeProgress(const GenerateProgress& callback, int64_t n_prompts) : callback_(callback), n_prompts_(n_prompts) {}

  void add(int64_t n_done, int64_t n_tokens) {
    n_done_ += n_done;
    n_tokens_ += n_tokens;
    if (callback_) callback_(n_done_, n_prompts_, n_tokens_);
  }

 private:
  const GenerateProgress& callback_;
  int64_t n_prompts_;
  int64_t n_done_ = 0;
  int64_t n_tokens_ = 0;
};

}  // namespace mpeft::eval
