#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <iostream>

#include <ATen/Parallel.h>
#include <ATen/ops/log_softmax.h>
#include <nlohmann/json.hpp>

#include "kernels/bench/gpu_peaks.h"
#include "mpeft/core/error.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"
#include "mpeft/eval/generate.h"
#include "mpeft/eval/logits.h"
#include "mpeft/model/factory.h"
#include "mpeft/model/init.h"
#include "mpeft/model/precision.h"
#include "mpeft/train/device.h"

#include "app/commands/bench_options.h"

namespace mpeft::app {
namespace {

using Ids = std::vector<std::vector<text::TokenId>>;

model::MambaLM make_subject(const model::MambaConfig& config, at::Device device, at::ScalarType dtype) {
  model::MambaLM model(config);
  model::init_parameters(model, kBenchSeed);
  model::place_parameters(model, device, dtype);
  model->eval();
  return model;
}

Ids random_prompts(int64_t rows, int64_t length, int64_t vocab_size) {
  Random random(kBenchSeed);
  Ids prompts(static_cast<size_t>(rows));
  for (auto& prompt : prompts) {
    for (int64_t i = 0; i < length; ++i) {
      prompt.push_back(static_cast<text::TokenId>(random.below(static_cast<uint64_t>(vocab_size))));
    }
  }
  return prompts;
}

eval::GenerateOptions greedy(int64_t rows, int64_t tokens) {
  eval::GenerateOptions options;
  options.batch_size = rows;
  options.max_new_tokens = tokens;
  return options;
}

/// Generated texts have the probabilities that they have when they are read at once.
void validate(at::Device device, at::ScalarType dtype, int64_t rows) {
  model::MambaConfig config;
  config.d_model = 64;
  config.n_layer = 2;
  config.vocab_size = 101;
  auto model = make_subject(config, device, dtype);
  auto texts = random_prompts(rows, 9, config.vocab_size);
  const auto results = eval::generate(model, texts, greedy(rows, 12));
  for (size_t i = 0; i < texts.size(); ++i)
    texts[i].insert(texts[i].end(), results[i].ids.begin(), results[i].ids.end());
  const auto logits = eval::compute_logits(model, texts, rows);
  const double tolerance = dtype == at::kFloat ? 1e-4 : dtype == at::kHalf ? 5e-3 : 3e-2;
  for (size_t i = 0; i < texts.size(); ++i) {
    const at::Tensor log_probs = at::log_softmax(logits[i], -1);
    double score = 0;
    const size_t first = texts[i].size() - results[i].ids.size();
    for (size_t t = first; t < texts[i].size(); ++t) {
      score += log_probs[static_cast<int64_t>(t) - 1][texts[i][t]].item<double>();
    }
    score /= static_cast<double>(results[i].ids.size());
    if (!(std::abs(score - results[i].score) <= tolerance * std::abs(score))) {
      throw Error(ExitCode::kInternal,
                  mpeft::str("generate: the tokens of row ", i, " have a mean log-probability of ", results[i].score,
                             ", and of ", score, " when the text is read at once: not timed"));
    }
  }
}

/// Seconds that `tokens` new tokens take, prompt included.
double seconds_of(model::MambaLM& model, const Ids& prompts, int64_t tokens) {
  const auto begin = std::chrono::steady_clock::now();
  eval::generate(model, prompts, greedy(static_cast<int64_t>(prompts.size()), tokens));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median_of_5(const std::function<double()>& value) {
  std::vector<double> values;
  for (int i = 0; i < 5; ++i) values.push_back(value());
  std::nth_element(values.begin(), values.begin() + 2, values.end());
  return values[2];
}

}  // namespace

void bench_generate(const BenchOptions& options) {
  const at::Device device = train::resolve_device(options.device);
  const auto dtype =
      model::dtype_from_string(options.prec.empty() ? (device.is_cuda() ? "bf16" : "fp32") : options.prec);
  if (options.threads > 0) at::set_num_threads(options.threads);
  if (options.rows.empty() || *std::min_element(options.rows.begin(), options.rows.end()) < 1 || options.prompt < 1 ||
      options.tokens < 2) {
    throw ConfigError("bench generate: expected --rows and --prompt of at least 1, --tokens of at least 2");
  }
  const auto config = model::find_model_config(options.model);
  for (const int64_t rows : options.rows) validate(device, dtype, rows);

  auto model = make_subject(config, device, dtype);
  double weight_bytes = 0;
  for (const auto& parameter : model->parameters()) weight_bytes += static_cast<double>(parameter.nbytes());
  const double bandwidth = ops::gpu_peaks(device, dtype).bytes;
  const double floor_ms = bandwidth > 0 ? weight_bytes / bandwidth : 0;
  nlohmann::json list = nlohmann::json::array();
  if (!options.json_output) {
    std::cout << options.model << ", greedy, prompts of " << options.prompt << " tokens, " << options.tokens
              << " new ones, " << model::to_string(dtype) << ", " << train::describe_device(device)
              << "; medians of 5\n    rows   ms/token    tokens/s   prompt ms   of floor (one read of the weights)\n";
  }
  for (const int64_t rows : options.rows) {
    const auto prompts = random_prompts(rows, options.prompt, config.vocab_size);
    seconds_of(model, prompts, options.tokens);
    const double short_s = median_of_5([&] { return seconds_of(model, prompts, 1); });
    const double long_s = median_of_5([&] { return seconds_of(model, prompts, options.tokens); });
    const double ms = (long_s - short_s) * 1e3 / static_cast<double>(options.tokens - 1);
    if (options.json_output) {
      list.push_back({{"op", "generate"},
                      {"model", options.model},
                      {"rows", rows},
                      {"prompt", options.prompt},
                      {"tokens", options.tokens},
                      {"prec", model::to_string(dtype)},
                      {"device", train::describe_device(device)},
                      {"ms_per_token", ms},
                      {"prompt_ms", short_s * 1e3},
                      {"floor_ms", floor_ms}});
      continue;
    }
    std::cout << bench_cell(mpeft::str(rows), 8) << bench_cell(fixed(ms, 3), 11)
              << bench_cell(with_thousands(static_cast<int64_t>(static_cast<double>(rows) / ms * 1e3)), 12)
              << bench_cell(fixed(short_s * 1e3, 2), 12)
              << bench_cell(floor_ms > 0 ? fixed(100 * floor_ms / ms, 0) + " %" : "-", 11) << std::endl;
  }
  if (options.json_output) std::cout << list.dump() << '\n';
}

}  // namespace mpeft::app
