#include "eval/decode_session.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>

#include "mpeft/core/check.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"

namespace mpeft::eval {
namespace {

// Texts that end at once are not worth a recording, which costs tens of steps.
constexpr int64_t kStepsBeforeRecording = 4;

}  // namespace

bool DecodeSession::suits(const model::MambaLM& model) {
  const bool is_half = model->compute_dtype == at::kBFloat16 || model->compute_dtype == at::kHalf;
  return is_half && ops::DeviceGraph::is_available(model->device());
}

DecodeSession::DecodeSession(model::MambaLM model, int64_t capacity)
    : model_(model), stepper_(std::move(model)), may_record_(ops::DeviceGraph::is_available(model_->device())) {
  for (auto& states : states_) states = stepper_.make_states(capacity);
  const auto options = at::TensorOptions().device(model_->device()).dtype(at::kLong);
  tokens_ = at::zeros({capacity}, options);
  identity_ = at::arange(capacity, options);
  parents_ = identity_.clone();
  logits_ = at::empty({capacity, model_->config().vocab_size}, options.dtype(at::kFloat));
}

void DecodeSession::load(const model::InferenceCache& cache) {
  for (size_t i = 0; i < cache.layers.size(); ++i) {
    const auto& layer = cache.layers[i];
    const int64_t n = layer.scan.size(0);
    MPEFT_ASSERT(n <= capacity(), "more rows than the session has room for");
    states_[current_].layers[i].conv.narrow(0, 0, n).copy_(layer.conv);
    states_[current_].layers[i].scan.narrow(0, 0, n).copy_(layer.scan);
  }
}

model::InferenceCache DecodeSession::rows(const at::Tensor& parents) const {
  model::InferenceCache cache = states_[current_];
  cache.select_rows(parents);
  return cache;
}

// Rows behind the texts that are still there go on with what stands in their places: valid ids, nobody's results.
at::Tensor DecodeSession::step(const at::Tensor& tokens, const std::optional<at::Tensor>& parents) {
  const int64_t n = tokens.size(0);
  MPEFT_ASSERT(n <= capacity(), "more rows than the session has room for");
  tokens_.narrow(0, 0, n).copy_(tokens);
  parents_.narrow(0, 0, n).copy_(parents ? *parents : identity_.narrow(0, 0, n));

  auto& graph = graphs_[current_];
  if (may_record_ && !graph.is_recorded() && n_steps_ >= kStepsBeforeRecording) {
    try {
      graph.record(model_->device(), [this] { run(); });
    } catch (const c10::Error& error) {
      may_record_ = false;
      log::warning(mpeft::str("decoding goes on without a CUDA graph: ", error.what_without_backtrace()));
    }
  }
  graph.is_recorded() ? graph.replay() : run();
  current_ = 1 - current_;
  ++n_steps_;
  return logits_.narrow(0, 0, n);
}

void DecodeSession::run() {
  const at::NoGradGuard no_grad;
  const at::Tensor hidden = stepper_.step(tokens_, parents_, states_[current_], states_[1 - current_]);
  logits_.copy_(model_->lm_head->step(hidden));
}

DecodeSession* DecodeSessions::acquire(int64_t rows) {
  if (!DecodeSession::suits(model_)) return nullptr;
  for (auto& session : sessions_) {
    if (session->capacity() >= rows && session->capacity() <= 2 * rows) return session.get();
  }
  sessions_.push_back(std::make_unique<DecodeSession>(model_, rows));
  return sessions_.back().get();
}

}  // namespace mpeft::eval
