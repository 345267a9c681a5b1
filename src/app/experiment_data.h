#pragma once

#include <memory>

#include <c10/core/Device.h>

#include "mpeft/config/experiment.h"
#include "mpeft/data/dataset.h"
#include "mpeft/eval/generate.h"
#include "mpeft/text/tokenizer.h"

namespace mpeft::app {

/// The device that `device:` and `backend:` ask for; "auto" is the first GPU if there is one. Throws ConfigError.
at::Device experiment_device(const config::ExperimentConfig& config);

/// The tokenizer of an experiment and the file it came from.
struct ExperimentTokenizer {
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::string path;
};

/// The file or folder of the tokenizer `named` (file, folder or id), or else of the one beside the model's weights, or
/// else of the published models' (`tokenizer/20B_tokenizer.json` under the data root, or EleutherAI/gpt-neox-20b in the
/// hub cache). In the hub cache the commit of refs/main comes first, as for weights. Throws DataError that lists where
/// it looked.
std::string find_tokenizer(const std::string& named, const std::string& model, const std::string& data_root);

/// The one that find_tokenizer finds for the experiment.
ExperimentTokenizer open_tokenizer(const config::ExperimentConfig& config);

/// The request for one split of the experiment's data (`data:`, or `val_data:` for evaluation).
data::DatasetRequest dataset_request(const config::ExperimentConfig& config, bool for_training);

/// A data set as the experiment tokenises it: its limit, its threads, through the token cache unless `token_cache` is
/// false.
data::TokenizedDataset tokenize_dataset(const config::ExperimentConfig& config, const data::TextDataset& dataset,
                                        const text::Tokenizer& tokenizer, bool for_training,
                                        bool with_references = true);

/// Throws DataError that says why nothing is left of a data set, when nothing is: no record, or all of them too long.
/// `purpose`: "training", "evaluation".
void require_examples(const config::ExperimentConfig& config, const data::TextDataset& dataset,
                      const data::TokenizedDataset& tokens, const std::string& purpose);

/// One split as it was read and as tokens.
struct TokenizedSplit {
  data::TextDataset text;  ///< without its examples: the tokens stand for them
  data::TokenizedDataset tokens;
};

/// The split that an experiment trains on (without references), or is evaluated on: with `debug` a few examples. Throws
/// DataError, also when nothing is left of it.
TokenizedSplit read_split(const config::ExperimentConfig& config, const text::Tokenizer& tokenizer, bool for_training);

/// How evaluation generates: what `eval_gen` asks for.
eval::GenerateOptions generate_options(const config::ExperimentConfig& config, const text::Tokenizer& tokenizer,
                                       int64_t vocab_size);

}  // namespace mpeft::app
