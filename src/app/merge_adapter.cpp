#include "app/merge_adapter.h"

#include <algorithm>

#include <ATen/ops/isfinite.h>

#include "mpeft/core/error.h"
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

AdaptedModel load_adapted(const std::string& model, const std::filesystem::path& adapter, uint64_t seed) {
  AdaptedModel adapted;
  auto loaded = model::make_model(model, seed);
  adapted.model = loaded.model;
  adapted.source = loaded.source;
  for (const auto& item : adapted.model->named_parameters())
    adapted.base_dtypes.emplace(item.key(), item.value().scalar_type());
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

void add_dtype_option(CLI::App& command, std::string& dtype) {
  command.add_option("--dtype", dtype, "bf16, fp16 or fp32: of a merged model's weights (default: that of the base's)")
      ->check(CLI::IsMember({"bf16", "fp16", "fp32"}));
}

void round_weights(AdaptedModel& adapted, const std::string& name) {
  const torch::NoGradGuard no_grad;
  for (auto& item : adapted.model->named_parameters()) {
    const auto in_base = adapted.base_dtypes.find(item.key());
    const auto dtype = !name.empty()                          ? model::dtype_from_string(name)
                       : in_base != adapted.base_dtypes.end() ? in_base->second
                                                              : at::kFloat;
    const at::Tensor rounded = item.value().detach().to(dtype);
    if (!at::isfinite(rounded).all().item<bool>()) {
      throw CheckpointError(mpeft::str(item.key(), ": holds values that ", model::to_string(dtype),
                                       " cannot; nothing was written: choose another --dtype"));
    }
    item.value().set_data(rounded);
  }
}

std::vector<std::filesystem::path> files_beside(const model::ModelSource& source) {
  std::vector<std::filesystem::path> files;
  if (source.folder.empty()) return files;
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"}) {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(source.folder / name, ignored)) files.push_back(source.folder / name);
  }
  return files;
}

}  // namespace mpeft::app
