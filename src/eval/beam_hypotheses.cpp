#include "eval/beam_hypotheses.h"

#include <algorithm>
#include <cmath>

#include "mpeft/core/check.h"

namespace mpeft::eval {

void BeamHypotheses::step(const std::vector<BeamCandidate>& candidates) {
  MPEFT_ASSERT(!is_done_, "a finished beam search was continued");
  ++length_;
  const bool is_last_step = length_ == options_.max_new_tokens;
  const bool may_finish = !(options_.early_stopping && is_full());

  std::vector<Beam> next;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto& candidate = candidates[i];
    const auto& parent_ids = running_.at(static_cast<size_t>(candidate.parent)).ids;
    if (is_last_step || (options_.eos_id && candidate.token == *options_.eos_id)) {
      // A text that ends below rank num_beams is dropped: the second half of the candidates only keeps the beam wide.
      if (may_finish && static_cast<int64_t>(i) < options_.num_beams) finish(candidate, parent_ids);
    } else if (static_cast<int64_t>(next.size()) < options_.num_beams) {
      Beam beam{candidate.log_prob, candidate.parent, {}};
      beam.ids.reserve(parent_ids.size() + 1);
      beam.ids = parent_ids;
      beam.ids.push_back(candidate.token);
      next.push_back(std::move(beam));
    }
  }
  n_parents_ = static_cast<int64_t>(running_.size());
  running_ = std::move(next);
  is_done_ = is_last_step || (options_.early_stopping && is_full()) || !can_improve();
}

void BeamHypotheses::finish(const BeamCandidate& candidate, const std::vector<text::TokenId>& parent_ids) {
  Finished hypothesis{candidate.log_prob / length_divisor(), parent_ids};
  hypothesis.ids.push_back(candidate.token);
  const auto place = std::upper_bound(finished_.begin(), finished_.end(), hypothesis.score,
                                      [](float score, const Finished& other) { return score > other.score; });
  finished_.insert(place, std::move(hypothesis));
  if (static_cast<int64_t>(finished_.size()) > options_.num_beams) finished_.pop_back();
}

// The likeliest running beam is taken as if it ended here: its log-probability can only fall, but so can the divisor's
// effect rise, so that this is transformers' heuristic and not a bound.
bool BeamHypotheses::can_improve() const {
  if (!is_full()) return true;
  return running_.front().log_prob / length_divisor() > finished_.back().score;
}

float BeamHypotheses::length_divisor() const {
  return static_cast<float>(std::pow(static_cast<double>(length_), options_.length_penalty));
}

Generation BeamHypotheses::best() const {
  MPEFT_ASSERT(!finished_.empty(), "no finished beam");
  return {finished_.front().ids, finished_.front().score};
}

}  // namespace mpeft::eval
