#include "app/experiment_data.h"

#include <algorithm>
#include <filesystem>

#include "mpeft/checkpoint/model_folder.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/data/token_cache.h"
#include "mpeft/train/device.h"

#include "app/version.h"

namespace mpeft::app {

namespace sfs = std::filesystem;

at::Device experiment_device(const config::ExperimentConfig& config) {
  if (config.device != "auto") return train::resolve_device(config.device);
  return train::resolve_device(config.backend == "cpu" ? "cpu" : config.backend == "cuda" ? "0" : "");
}

namespace {

// The snapshot of a repository in the hub cache that holds a tokenizer; "" for none.
sfs::path tokenizer_in_hub(const std::string& id) {
  for (const auto& folder : checkpoint::hub_snapshots(id)) {
    if (sfs::exists(folder / "tokenizer.json")) return folder / "tokenizer.json";
  }
  return {};
}

// The tokenizer of the weights' own folder. Where only the weights are missing, which is for others to say, it is still
// found.
sfs::path tokenizer_beside(const std::string& model) {
  if (model.ends_with(".yaml") || model.ends_with(".yml")) return {};
  try {
    return checkpoint::find_model_folder(model).path / "tokenizer.json";
  } catch (const CheckpointError&) {
    const sfs::path in_hub = tokenizer_in_hub(model);
    return in_hub.empty() ? sfs::path(model) / "tokenizer.json" : in_hub;
  }
}

}  // namespace

std::string find_tokenizer(const std::string& named, const std::string& model, const std::string& data_root) {
  constexpr const char* kPublished = "EleutherAI/gpt-neox-20b";
  std::vector<sfs::path> candidates;
  std::string id = named;
  if (named.empty()) {
    id = kPublished;
    if (const auto beside = tokenizer_beside(model); !beside.empty()) candidates.push_back(beside);
    candidates.push_back(sfs::path(data_root) / "tokenizer/20B_tokenizer.json");
  } else {
    candidates.emplace_back(named);
  }
  std::vector<std::string> tried;
  for (const auto& candidate : candidates) {
    if (sfs::exists(candidate)) return candidate.string();
    tried.push_back(candidate.string());
  }
  if (const auto in_hub = tokenizer_in_hub(id); !in_hub.empty()) return in_hub.string();
  tried.push_back("the hub cache for " + id);
  throw DataError(mpeft::str("no tokenizer; looked for\n  ", join(tried, "\n  "),
                             "\n  name one (train: --set tokenizer=PATH; mpeft: --tokenizer PATH), or fetch the "
                             "published models' on a machine with a network:\n  hf download ",
                             kPublished, " tokenizer.json"));
}

ExperimentTokenizer open_tokenizer(const config::ExperimentConfig& config) {
  const std::string path = find_tokenizer(config.tokenizer, config.model, config.data_root);
  return {text::make_tokenizer(path), path};
}

data::DatasetRequest dataset_request(const config::ExperimentConfig& config, bool for_training) {
  data::DatasetRequest request;
  request.name = for_training || config.val_data.empty() ? config.data : config.val_data;
  request.split = for_training ? data::Split::kTrain : data::split_from_string(config.val_data_split);
  request.data_root = config.data_root;
  request.options = config.data_options;
  request.prompt = config.prompt;
  request.shares_file = config.val_data.empty() || data::is_one_dataset(config.data, config.val_data, config.data_root);
  return request;
}

data::TokenizedDataset tokenize_dataset(const config::ExperimentConfig& config, const data::TextDataset& dataset,
                                        const text::Tokenizer& tokenizer, bool for_training, bool with_references) {
  data::TokenizeOptions options;
  options.max_length = config.max_length;
  options.for_training = for_training;
  options.with_references = with_references;
  options.n_threads = config.num_data_workers;
  data::TokenCacheOptions cache;
  if (config.token_cache) cache.folder = data::token_cache_folder();
  cache.program = version() + " " + git_commit();
  return data::tokenize_cached(dataset, tokenizer, options, cache);
}

void require_examples(const config::ExperimentConfig& config, const data::TextDataset& dataset,
                      const data::TokenizedDataset& tokens, const std::string& purpose) {
  if (!tokens.examples.empty()) return;
  const int64_t limit = config.max_length > 0 ? config.max_length : dataset.max_length;
  const std::string reason =
      tokens.n_dropped > 0 ? mpeft::str("all ", tokens.n_dropped, " are longer than ", limit, " tokens (max_length)")
                           : "no record is left of " + join(dataset.source_files, ", ");
  std::string message = mpeft::str("no example for ", purpose, ": ", reason);
  for (const auto& note : dataset.notes) message += "\n  " + note;
  throw DataError(message);
}

TokenizedSplit read_split(const config::ExperimentConfig& config, const text::Tokenizer& tokenizer, bool for_training) {
  constexpr size_t kDebugExamples = 16;
  TokenizedSplit split;
  split.text = data::read_dataset(dataset_request(config, for_training));
  if (config.debug && split.text.examples.size() > kDebugExamples) split.text.examples.resize(kDebugExamples);
  split.tokens = tokenize_dataset(config, split.text, tokenizer, for_training, /*with_references=*/!for_training);
  require_examples(config, split.text, split.tokens, for_training ? "training" : "evaluation");
  std::vector<data::TextExample>().swap(split.text.examples);
  return split;
}

eval::GenerateOptions generate_options(const config::ExperimentConfig& config, const text::Tokenizer& tokenizer,
                                       int64_t vocab_size) {
  const auto& section = config.eval_gen;
  eval::GenerateOptions options;
  options.max_new_tokens = section.max_new_tokens > 0 ? section.max_new_tokens : section.max_length;
  options.min_new_tokens = std::max<int64_t>(0, section.min_length);
  options.num_beams = section.num_beams;
  options.do_sample = section.do_sample;
  options.filter = {section.temperature, section.top_k, section.top_p};
  options.length_penalty = section.length_penalty;
  options.seed = config.seed;
  options.eos_id = tokenizer.eos_id();
  options.n_valid_tokens = std::min(tokenizer.vocab_size(), vocab_size);
  if (config.eval_batch_size > 0) options.batch_size = config.eval_batch_size;
  return options;
}

}  // namespace mpeft::app
