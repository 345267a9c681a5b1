#pragma once

#include <cstdint>
#include <vector>

#include "mpeft/eval/generate.h"

namespace mpeft::eval {

/// A continuation of a running beam by one token.
struct BeamCandidate {
  float log_prob;  ///< of the whole new text, given the prompt
  int64_t parent;  ///< which running beam
  text::TokenId token;
};

/// The beams of one prompt: which candidates go on, which are finished, and when nothing can get better. The rules are
/// those of Hugging Face transformers' beam search (`length_penalty`, `early_stopping`), in fp32 as there, so that the
/// same candidates give the same texts.
class BeamHypotheses {
 public:
  explicit BeamHypotheses(const GenerateOptions& options) : options_(options), running_(1) {}

  /// One step: `candidates` are the 2 num_beams likeliest continuations, likeliest first.
  void step(const std::vector<BeamCandidate>& candidates);

  /// No further step can change best().
  bool is_done() const { return is_done_; }

  /// The beams that go on. After a step there are num_beams of them; before the first there is one, the prompt.
  struct Beam {
    float log_prob = 0.0F;
    int64_t parent = 0;  ///< which beam of the step before it continues
    std::vector<text::TokenId> ids;
  };
  const std::vector<Beam>& running() const { return running_; }

  /// How many beams ran before the last step: rows of the batch that its candidates came from.
  int64_t n_parents() const { return n_parents_; }

  /// The finished text with the best score. Call when is_done().
  Generation best() const;

 private:
  struct Finished {
    float score;
    std::vector<text::TokenId> ids;
  };
  void finish(const BeamCandidate& candidate, const std::vector<text::TokenId>& parent_ids);
  bool can_improve() const;
  float length_divisor() const;
  bool is_full() const { return static_cast<int64_t>(finished_.size()) == options_.num_beams; }

  const GenerateOptions& options_;
  std::vector<Beam> running_;
  std::vector<Finished> finished_;  ///< best first, at most num_beams
  int64_t n_parents_ = 1;
  int64_t length_ = 0;  ///< new tokens of every running beam
  bool is_done_ = false;
};

}  // namespace mpeft::eval
