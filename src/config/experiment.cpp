#include "mpeft/config/experiment.h"

#include <algorithm>
#include <charconv>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "config/experiment_files.h"

namespace mpeft::config {
namespace {

constexpr int64_t kMaxCount = 1'000'000'000;

std::string required(const Node& root, const std::string& key, const std::string& what) {
  const Node node = root[key];
  const std::string value = node.as_string();
  if (value.empty() && !node.is_list() && !node.is_map()) node.problem("missing: " + what);
  return value;
}

uint64_t read_seed(const Node& node) {
  return static_cast<uint64_t>(node.is_null() ? 42 : node.as_int_in(42, 0, INT64_MAX));
}

// `null` says the same as an absent key where the reference writes it so.
int64_t count_or_null(const Node& node, int64_t fallback, int64_t low) {
  return node.is_null() ? fallback : node.as_int_in(fallback, low, kMaxCount);
}

std::map<int64_t, double> read_metric_floors(const Node& node) {
  std::map<int64_t, double> floors;
  if (!node.is_present() || node.is_null()) return floors;
  if (!node.is_map()) {
    node.problem("expected a map of epoch: value, as {3: 0.5}");
    return floors;
  }
  for (const std::string& key : node.keys()) {
    const Node value = node[key];
    int64_t epoch = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), epoch);
    if (error != std::errc() || end != key.data() + key.size() || epoch < 1) {
      value.problem("expected the number of an epoch (1 or more) as the key, got '" + key + "'");
    } else {
      floors[epoch] = value.as_double(0);
    }
  }
  return floors;
}

std::string read_device(const Node& node) {
  const std::string device = node.as_string("auto");
  const bool number = !device.empty() && device.size() <= 4 &&
                      std::all_of(device.begin(), device.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (device != "auto" && device != "cpu" && !number) {
    node.problem("expected auto, cpu or the number of a GPU, got '" + device + "'");
  }
  return device;
}

void read_run(const Node& root, ExperimentConfig& config) {
  config.backend = root["backend"].as_one_of(config.backend, {"auto", "cuda", "cpu"});
  config.device = read_device(root["device"]);
  config.num_data_workers = root["num_data_workers"].as_int_in(config.num_data_workers, 0, 4096);
  config.token_cache = root["token_cache"].as_bool(config.token_cache);
  config.log_steps = root["log_steps"].as_int_in(config.log_steps, 1, kMaxCount);
  config.save_minutes = root["save_minutes"].as_double_in(config.save_minutes, 0, 1e6);
  config.save_total_limit = count_or_null(root["save_total_limit"], config.save_total_limit, 0);
  config.cuda_graphs = root["cuda_graphs"].as_bool(config.cuda_graphs);
  config.debug = root["debug"].as_bool(false);
  config.resume = root["resume"].as_bool(false);
  config.overwrite = root["overwrite"].as_bool(false);
  config.lock = root["lock"].as_bool(false);
  config.no_save = root["no_save"].as_bool(false);
  config.output_dir = root["output_dir"].as_string();
}

void read_training(const Node& root, ExperimentConfig& config) {
  config.prec = root["prec"].as_one_of(config.prec, {"bf16", "fp16", "fp32"});
  config.master_weights = root["master_weights"].as_bool(true);
  config.num_epochs = root["num_epochs"].as_int_in(config.num_epochs, 1, kMaxCount);
  config.max_steps = count_or_null(root["max_steps"], 0, 0);
  config.batch_size = root["batch_size"].as_int_in(config.batch_size, 1, 1 << 20);
  config.gradient_accumulation_steps =
      root["gradient_accumulation_steps"].as_int_in(config.gradient_accumulation_steps, 1, 1 << 20);
  config.max_length = count_or_null(root["max_length"], 0, 0);
  config.optim = root["optim"].as_one_of(config.optim, {"adamw_torch"});
  config.learning_rate = root["learning_rate"].as_double_in(config.learning_rate, 0, 1e3);
  config.weight_decay = root["weight_decay"].as_double_in(0, 0, 1e3);
  config.max_grad_norm = root["max_grad_norm"].as_double_in(config.max_grad_norm, 0, 1e9);
  config.lr_scheduler = root["lr_scheduler"].as_one_of(config.lr_scheduler, {"linear", "cosine", "constant"});
  config.warmup_steps = root["warmup_steps"].as_int_in(0, 0, kMaxCount);
  config.seed = read_seed(root["seed"]);
}

void read_evaluation(const Node& root, ExperimentConfig& config) {
  config.skip_eval = root["skip_eval"].as_bool(false);
  config.eval_before_training = root["eval_before_training"].as_bool(false);
  config.eval_epochs = root["eval_epochs"].as_int_in(config.eval_epochs, 1, kMaxCount);
  config.eval_batch_size = count_or_null(root["eval_batch_size"], 0, 0);
  const Node generation = root["eval_gen"];
  config.generate = !generation.is_null();
  config.eval_gen = make_generation(generation);
  config.min_eval_metric_after_epoch = read_metric_floors(root["min_eval_metric_after_epoch"]);
  config.predictions_format = root["predictions_format"].as_one_of(config.predictions_format, {"jsonl", "yaml"});
}

// What each key may say alone, but not together.
void check_combinations(const Node& root, const ExperimentConfig& config) {
  if (config.resume && config.overwrite) {
    root["resume"].problem("contradicts overwrite: one goes on from the last checkpoint, the other deletes it");
  }
  if (config.resume && config.no_save)
    root["resume"].problem("contradicts no_save: there is no checkpoint to go on from");
  if (config.skip_eval && !config.min_eval_metric_after_epoch.empty()) {
    root["min_eval_metric_after_epoch"].problem("contradicts skip_eval: without evaluation there is no metric");
  }
  if (!config.min_eval_metric_after_epoch.empty() &&
      config.min_eval_metric_after_epoch.rbegin()->first > config.num_epochs) {
    root["min_eval_metric_after_epoch"].problem(str("epoch ", config.min_eval_metric_after_epoch.rbegin()->first,
                                                    " is after the last (num_epochs is ", config.num_epochs, ")"));
  }
  if (config.max_steps > 0 && config.warmup_steps >= config.max_steps) {
    root["warmup_steps"].problem(
        str("the warm-up of ", config.warmup_steps, " steps never ends: max_steps is ", config.max_steps));
  }
}

void apply(Node& root, const ExperimentOverrides& overrides, Problems& problems) {
  const auto guarded = [&](const auto& change) {
    try {
      change();
    } catch (const ConfigError& e) {
      problems.add(e.what());
    }
  };
  for (const std::string& assignment : overrides.set) {
    const size_t equals = assignment.find('=');
    if (equals == std::string::npos || equals == 0) {
      problems.add("--set " + assignment + ": expected key=value");
      continue;
    }
    guarded([&] { root.set(std::string(trim(assignment.substr(0, equals))), assignment.substr(equals + 1), "--set"); });
  }
  // A flag is the later word: `--overwrite` on a file that says `resume: true`, and the other way round.
  for (const auto& [flag, other] : {std::pair{"resume", "overwrite"}, std::pair{"overwrite", "resume"}}) {
    if (overrides.flags.contains(flag) && !overrides.flags.contains(other)) root.set(other, "false");
  }
  for (const auto& [key, text] : overrides.flags) {
    guarded([&] { root.set_text(key, text, "--" + flag_of_key(key)); });
  }
}

void check_data_name(const Node& node, const LoadOptions& options) {
  const std::string name = node.is_scalar() ? node.as_string() : "";
  const std::string problem = name.empty() ? "" : options.data_problem(name);
  if (!problem.empty()) node.problem(problem);
}

ExperimentConfig read_experiment(Node root, const std::string& path, Problems& problems,
                                 const ExperimentOverrides& overrides, const LoadOptions& options) {
  if (!root.is_map() && !root.is_null()) {
    root.problem("expected a map of keys (as `model: state-spaces/mamba-130m`)");
    problems.throw_if_any();
  }
  apply(root, overrides, problems);

  ExperimentConfig config;
  config.path = path;
  config.model = required(root, "model", "a folder, a hub id or a file of cfg/models");
  config.tokenizer = root["tokenizer"].as_string();
  config.data = required(root, "data", "the name of a data set");
  config.val_data = root["val_data"].as_string();
  config.val_data_split =
      root["val_data_split"].is_null() ? "val" : root["val_data_split"].as_one_of("val", {"train", "val", "test"});
  config.data_root = root["data_root"].as_string(config.data_root);
  config.prompt = root["prompt"].as_string();
  config.data_options = root["data_options"].detached();
  if (config.data_options.is_present() && !config.data_options.is_map() && !config.data_options.is_null()) {
    root["data_options"].problem("expected a map of keys");
  }
  config.peft = read_peft_files(root["peft"], path, options.check_files);
  if (options.check_files) {
    check_named_file(root["model"]);
    check_named_file(root["tokenizer"]);
  }
  if (options.data_problem) {
    for (const char* key : {"data", "val_data"}) check_data_name(root[key], options);
  }
  read_training(root, config);
  read_evaluation(root, config);
  read_run(root, config);
  check_combinations(root, config);
  if (config.output_dir.empty()) config.output_dir = experiment_output_dir(path);
  root.report_unknown_keys();
  problems.throw_if_any();
  return config;
}

}  // namespace

ExperimentConfig load_experiment(const std::string& path, const ExperimentOverrides& overrides,
                                 const LoadOptions& options) {
  check_experiment_path(path);
  Problems problems;
  return read_experiment(Node::from_file(path, problems), path, problems, overrides, options);
}

ExperimentConfig load_experiment_from_string(const std::string& yaml, const std::string& name,
                                             const ExperimentOverrides& overrides, const LoadOptions& options) {
  Problems problems;
  return read_experiment(Node::from_string(yaml, name, problems), name, problems, overrides, options);
}

std::vector<std::string> experiment_keys() {
  // The dump writes every key, so it is the list.
  Problems problems;
  auto keys = Node::from_string(dump_yaml(ExperimentConfig()), "defaults", problems).keys();
  std::sort(keys.begin(), keys.end());
  return keys;
}

}  // namespace mpeft::config
