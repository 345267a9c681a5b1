#include "eval/beam_search.h"

#include <algorithm>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/topk.h>

#include "eval/beam_hypotheses.h"
#include "eval/next_token_logits.h"

namespace mpeft::eval {
namespace {

struct Search {
  int64_t prompt;
  BeamHypotheses beams;
};

/// log-probability of each running beam, (rows, 1) fp32.
at::Tensor running_log_probs(const std::vector<Search>& searches, at::Device device) {
  std::vector<float> values;
  for (const auto& search : searches) {
    for (const auto& beam : search.beams.running()) values.push_back(beam.log_prob);
  }
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size()), 1}, at::kFloat);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<float>());
  return tensor.to(device);
}

/// Feeds each search its 2 num_beams likeliest continuations. scores (rows, vocab_size) fp32.
void step_searches(std::vector<Search>& searches, const at::Tensor& scores, const GenerateOptions& options) {
  const auto n_searches = static_cast<int64_t>(searches.size());
  const int64_t vocab_size = scores.size(-1);
  const int64_t n_candidates = 2 * options.num_beams;
  const auto [top, flat] = at::topk(scores.view({n_searches, -1}), n_candidates);  // (searches, candidates), best first
  // The step's one transfer to the host. fp64 holds fp32 and the indices exactly.
  const at::Tensor packed = at::cat({top.to(at::kDouble), flat.to(at::kDouble)}, 1).to(at::kCPU);
  const double* values = packed.const_data_ptr<double>();
  std::vector<BeamCandidate> candidates(static_cast<size_t>(n_candidates));
  for (auto& search : searches) {
    for (int64_t i = 0; i < n_candidates; ++i) {
      const auto index = static_cast<int64_t>(values[n_candidates + i]);
      candidates[static_cast<size_t>(i)] = {static_cast<float>(values[i]), index / vocab_size,
                                            static_cast<text::TokenId>(index % vocab_size)};
    }
    search.beams.step(candidates);
    values += 2 * n_candidates;
  }
}

/// Hands in the searches that are done and returns the rows of the old batch that the running beams continue.
std::vector<int64_t> collect(std::vector<Search>& searches, std::vector<Generation>& results) {
  std::vector<int64_t> parents;
  std::vector<Search> open;
  int64_t first_row = 0;
  for (auto& search : searches) {
    if (search.beams.is_done()) {
      results[search.prompt] = search.beams.best();
    } else {
      for (const auto& beam : search.beams.running()) parents.push_back(first_row + beam.parent);
    }
    first_row += search.beams.n_parents();
    if (!search.beams.is_done()) open.push_back(std::move(search));
  }
  searches = std::move(open);
  return parents;
}

bool is_identity(const std::vector<int64_t>& index, int64_t n_rows) {
  if (static_cast<int64_t>(index.size()) != n_rows) return false;
  for (int64_t i = 0; i < n_rows; ++i) {
    if (index[static_cast<size_t>(i)] != i) return false;
  }
  return true;
}

}  // namespace

void decode_beams(model::MambaLM& model, const std::vector<IdList>& prompts, const std::vector<int64_t>& rows,
                  const GenerateOptions& options, DecodeSessions& sessions, DecodeProgress& progress,
                  std::vector<Generation>& results) {
  std::vector<Search> searches;
  for (const int64_t prompt : rows) searches.push_back({prompt, BeamHypotheses(options)});
  // One row a prompt until the first step has chosen its beams: the prompt is read, and its state kept, once.
  DecodeState state = read_prompts(model, prompts, rows);

  for (int64_t n_made = 0;; ++n_made) {
    at::Tensor scores = at::log_softmax(next_token_logits(model, state), -1);  // (rows, vocab_size)
    mask_forbidden(scores, options, n_made);
    scores.add_(running_log_probs(searches, scores.device()));
    const auto n_tokens = static_cast<int64_t>(searches.size());
    step_searches(searches, scores, options);
    const auto parents = collect(searches, results);
    progress.add(n_tokens - static_cast<int64_t>(searches.size()), n_tokens);
    if (searches.empty()) return;

    if (!is_identity(parents, scores.size(0))) select_rows(state, to_tensor(parents, scores.device()));
    std::vector<int64_t> tokens;
    for (const auto& search : searches) {
      for (const auto& beam : search.beams.running()) tokens.push_back(beam.ids.back());
    }
    advance(model, state, to_tensor(tokens, scores.device()), sessions);
  }
}

}  // namespace mpeft::eval
