#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mpeft/config/generation.h"
#include "mpeft/config/node.h"

namespace mpeft::config {

/// Everything an experiment file can say, with the value that holds when it does not. Keys are spelt as the members.
struct ExperimentConfig {
  // What is trained on what.
  std::string model;               ///< folder, id in the hub cache, or a file of cfg/models (random weights); required
  std::string tokenizer;           ///< file, folder or id; "" is the one beside the model
  std::string data;                ///< data set, see data/dataset.h; required
  std::string val_data;            ///< "" is `data`
  std::string val_data_split;      ///< "train", "val" or "test"; default "val"
  std::string data_root = "data";  ///< folder that holds the data sets
  std::string prompt;              ///< "" is the data set's own instruction
  Node data_options;               ///< read by the data set; problems found in it later are its own (Node::detached)
  std::vector<std::string> peft;   ///< adapter JSON files, applied together; none is full fine-tuning

  // Numbers of the training.
  std::string prec = "bf16";   ///< "bf16", "fp16" or "fp32"
  bool master_weights = true;  ///< fp32 masters of what trains; false trains in `prec` as the reference does
  int64_t num_epochs = 10;
  int64_t max_steps = 0;  ///< optimizer steps after which training ends; 0: num_epochs alone decides
  int64_t batch_size = 4;
  int64_t gradient_accumulation_steps = 1;
  int64_t max_length = 0;  ///< longer examples (tokens) are dropped and counted; 0: the data set's own limit
  std::string optim = "adamw_torch";
  double learning_rate = 5e-4;
  double weight_decay = 0;              ///< of matrices; biases, norms, A_log and D of the base have none
  double max_grad_norm = 1.0;           ///< 0: no clipping
  std::string lr_scheduler = "linear";  ///< "linear" (to 0), "cosine", "constant"
  int64_t warmup_steps = 0;
  uint64_t seed = 42;  ///< covers initial values, data order and dropout

  // Evaluation.
  bool skip_eval = false;
  int64_t eval_epochs = 1;            ///< evaluate after every so many epochs (and after the last)
  bool eval_before_training = false;  ///< also evaluate before the first step (epoch 0): what the training adds
  int64_t eval_batch_size = 0;        ///< 0: chosen by evaluation
  bool generate = true;               ///< false for `eval_gen: null`: no evaluation by generation
  Generation eval_gen;
  std::map<int64_t, double> min_eval_metric_after_epoch;  ///< epoch (1-based) -> value of the first metric that ends it
  std::string predictions_format = "jsonl";               ///< "jsonl" or "yaml"

  // The run.
  std::string backend = "auto";  ///< kernels: "auto", "cuda" or "cpu"
  std::string device = "auto";   ///< "auto", "cpu" or the number of a GPU
  int64_t num_data_workers = 8;  ///< threads that tokenise; the data does not depend on it
  bool token_cache = true;       ///< keep what was tokenised in the user's cache folder (data/token_cache.h)
  int64_t log_steps = 10;        ///< optimizer steps between the lines of metrics.jsonl
  double save_minutes = 30;      ///< also save within an epoch when the last checkpoint is so old; 0: never
  int64_t save_total_limit = 2;  ///< checkpoints kept beside the best one; 0: all
  bool cuda_graphs = true;       ///< on a GPU, record what a batch's shape does and replay it; same results
  bool debug = false;            ///< a few examples and steps of everything, to see that it runs
  bool resume = false;
  bool overwrite = false;
  bool lock = false;       ///< one process at a time; others skip the experiment
  bool no_save = false;    ///< neither checkpoints nor the adapter are written
  std::string output_dir;  ///< resolved; see experiment_output_dir

  std::string path;  ///< the file this came from; not a key
};

/// What the command line adds to the file.
struct ExperimentOverrides {
  /// "key=value" of each --set, the value as YAML; applied in order, over the file.
  std::vector<std::string> set = {};
  /// Typed flags by their key ("model", "--model"'s text); applied after `set`. Of resume and overwrite, which
  /// contradict each other, the one given here switches off the other of the file.
  std::map<std::string, std::string> flags = {};
};

/// How much load_experiment looks at besides the text.
struct LoadOptions {
  bool check_files = true;  ///< adapter files, model and tokenizer files that are named as files must exist
  /// What is wrong with the name of a data set, "" for nothing (data::dataset_name_problem); null: not looked at.
  std::function<std::string(const std::string& name)> data_problem = nullptr;
};

/// Reads and checks an experiment. Throws ConfigError with every problem, one a line, `file:line:col: key: message`, in
/// the order of the file.
/// A relative adapter path is looked for in the working folder, then upwards from the experiment's own folder.
ExperimentConfig load_experiment(const std::string& path, const ExperimentOverrides& overrides = {},
                                 const LoadOptions& options = {});

/// As load_experiment, from text; `name` stands for the path.
ExperimentConfig load_experiment_from_string(const std::string& yaml, const std::string& name,
                                             const ExperimentOverrides& overrides = {},
                                             const LoadOptions& options = {});

/// Every effective value as YAML; loading it gives the same configuration.
std::string dump_yaml(const ExperimentConfig& config);

/// What differs between two configurations of one experiment in what is trained and measured, each "key: old → new" in
/// the order of dump_yaml. Where and how it runs (device, threads, folders, checkpoints kept, resume, ...) does not
/// count, nor from which working folder model, tokenizer and adapters are named.
std::vector<std::string> changed_settings(const ExperimentConfig& before, const ExperimentConfig& now);

/// Those of changed_settings that a run may not change when it goes on from a checkpoint: it would be neither
/// experiment. It may change how often it is measured, whether it saves, and what it trains to when the learning rate
/// does not hang on it (`lr_scheduler: constant`). Files may have moved: their contents are for others to compare.
std::vector<std::string> changes_against_resume(const ExperimentConfig& before, const ExperimentConfig& now);

/// Whether `now` is the experiment `before`, trained longer, so that its first steps are those of `before`. How it is
/// measured may differ too, but not that it leaves a result: else that of `before` would stand for it.
bool is_extension(const ExperimentConfig& before, const ExperimentConfig& now);

/// What the run in an output folder was asked for: its cfg.yaml. None where an older version, or nobody, left one that
/// can be read: that cannot be compared.
std::optional<ExperimentConfig> saved_experiment(const std::string& output_dir);

/// The folder in output_dir that a finished run leaves, unless no_save: what was trained.
inline const char* result_folder(const ExperimentConfig& config) { return config.peft.empty() ? "model" : "adapter"; }

/// Where an experiment writes when nothing else is said: `cfg/exps/A/b.yaml` -> `weights/A/b`, `cfg/b.yaml` ->
/// `weights/b`, `x/y.yaml` -> `weights/x/y`; for a file outside the working folder `weights/<stem>`.
std::string experiment_output_dir(const std::string& config_path);

/// The keys of an experiment file, sorted (for help texts and for completion).
std::vector<std::string> experiment_keys();

}  // namespace mpeft::config
