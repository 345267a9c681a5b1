#include "app/merge_adapter.h"

#include <algorithm>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"
#include "mpeft/eval/logits.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/adapter.h"

namespace mpeft::app {
namespace {

// Texts of random ids: enough to see that merged and adapted model agree.
std::vector<std::vector<text::TokenId>> probe_ids(int64_t vocab_size) {
  Random random(7);
  std::vector<std::vector<text::TokenId>> lists;
  for (const int64_t length : {1, 17, 64}) {
    auto& ids = lists.emplace_back();
    for (int64_t i = 0; i < length; ++i)
      ids.push_back(static_cast<text::TokenId>(random.below(static_cast<uint64_t>(vocab_size))));
  }
  return lists;
}

}  // namespace

AdaptedModel load_adapted(const std::string& model, const std::filesystem::path& adapter) {
  AdaptedModel adapted;
  auto loaded = model::make_model(model, /*seed=*/0);
  adapted.model = loaded.model;
  adapted.source = loaded.source;
  adapted.method = peft::load_adapter(adapted.model, adapter);
  for (auto& parameter : adapted.model->parameters()) parameter.set_requires_grad(false);
  model::place_parameters(adapted.model, at::kCPU, at::kFloat);
  adapted.model->eval();
  return adapted;
}

double merge_checked(AdaptedModel& adapted, double tolerance) {
  const auto probes = probe_ids(adapted.model->config().vocab_size);
  const auto before = eval::compute_logits(adapted.model, probes);
  adapted.method->merge(adapted.model);
  adapted.model->eval();
  const auto after = eval::compute_logits(adapted.model, probes);
  double worst = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const double difference = ((after[i] - before[i]).norm() / before[i].norm()).item<double>();
    if (!(difference <= tolerance)) {  // so is NaN
      throw CheckpointError(mpeft::str("merging would change the logits by ", difference,
                                       " (relative L2), more than --tolerance ", tolerance, "; nothing was written"));
    }
    worst = std::max(worst, difference);
  }
  return worst;
}

void copy_tokenizer(const model::ModelSource& source, const std::filesystem::path& folder) {
  const auto tokenizer = source.folder / "tokenizer.json";
  if (source.folder.empty() || !std::filesystem::exists(tokenizer)) return;
  fs::write_file_atomic(folder / "tokenizer.json", fs::read_file(tokenizer));
}

}  // namespace mpeft::app
