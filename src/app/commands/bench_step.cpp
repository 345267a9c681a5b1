#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>

#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <nlohmann/json.hpp>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/bench/gpu_peaks.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"
#include "mpeft/model/factory.h"
#include "mpeft/model/init.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/peft_method.h"
#include "mpeft/peft/staged_method.h"
#include "mpeft/train/device.h"
#include "mpeft/train/loss.h"
#include "mpeft/train/step_runner.h"

#include "app/commands/bench_options.h"

namespace mpeft::app {
namespace {

/// What one line of the table measures.
struct Variant {
  std::string name;     ///< the adapter file, or "full fine-tuning"
  std::string content;  ///< of the file
};

struct Measurement {
  double ms = 0;
  uint64_t peak_bytes = 0;
  int64_t n_trainable = 0;
  double floor_ms = 0;  ///< 0: unknown
};

std::vector<Variant> read_variants(const BenchOptions& options) {
  std::vector<Variant> variants;
  for (const auto& file : options.peft) variants.push_back({file, fs::read_file(file, 4 << 20)});
  if (variants.empty()) variants.push_back({"full fine-tuning", ""});
  return variants;
}

/// Values of a model's parameters: to draw a billion of them takes longer than to measure a step.
using Weights = std::vector<at::Tensor>;

/// Initialised (with `weights`, or drawn and kept in them); on the CPU in fp32.
model::MambaLM make_base(const model::MambaConfig& config, Weights& weights) {
  model::MambaLM model(config);
  if (weights.empty()) {
    model::init_parameters(model, kBenchSeed);
    for (const auto& parameter : model->parameters()) weights.push_back(parameter.detach().clone());
  } else {
    const torch::NoGradGuard no_grad;
    const auto parameters = model->parameters();
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i].copy_(weights[i]);
  }
  return model;
}

/// With the adapter on it and what trains marked. A method that trains in stages is in its last, as if nothing had
/// moved in those before.
model::MambaLM make_subject(const model::MambaConfig& config, const Variant& variant,
                            std::unique_ptr<peft::PeftMethod>& method, Weights& weights) {
  auto model = make_base(config, weights);
  if (variant.content.empty()) {
    for (auto& parameter : model->parameters()) parameter.set_requires_grad(true);
    return model;
  }
  method = peft::make_peft_method(variant.content, variant.name);
  method->inject(model, kBenchSeed);
  while (!peft::stage_of(*method).is_last()) {
    method = peft::make_peft_method(peft::next_stage_json(*method), variant.name);
    model = make_base(config, weights);
    method->inject(model, kBenchSeed);
  }
  return model;
}

std::vector<optim::TrainedParameter> optimized_parameters(model::MambaLM& model, const peft::PeftMethod* method) {
  std::vector<optim::TrainedParameter> parameters;
  for (const auto& p : peft::trained_parameters(model, method)) {
    parameters.push_back({p.name, p.tensor, p.lr_scale, p.weight_decay});
  }
  return parameters;
}

/// Random ids; the last `labels` tokens of each row carry loss (0: all).
data::Batch random_batch(int64_t rows, int64_t seqlen, int64_t labels, int64_t vocab_size) {
  data::Batch batch;
  batch.rows = rows;
  batch.seqlen = seqlen;
  batch.lengths.assign(static_cast<size_t>(rows), seqlen);
  Random random(kBenchSeed);
  for (int64_t i = 0; i < rows * seqlen; ++i) {
    batch.ids.push_back(static_cast<int64_t>(random.below(static_cast<uint64_t>(vocab_size))));
  }
  const int64_t first = labels > 0 ? std::max<int64_t>(seqlen - labels, 0) : 0;
  for (int64_t i = 0; i < rows * seqlen; ++i) {
    const bool is_last = i % seqlen == seqlen - 1;
    const bool is_labelled = i % seqlen >= first;
    batch.labels.push_back(!is_labelled ? data::kIgnoreLabel
                           : is_last    ? batch.ids[static_cast<size_t>(i - i % seqlen)]
                                        : batch.ids[static_cast<size_t>(i + 1)]);
  }
  return batch;
}

// --- validation ---

/// The loss and every gradient as one fp64 vector on the CPU.
at::Tensor loss_and_gradients(model::MambaLM& model, const peft::PeftMethod* method, const data::Batch& batch) {
  model->eval();  // no dropout
  std::vector<at::Tensor> inputs;
  for (const auto& parameter : peft::trained_parameters(model, method)) inputs.push_back(parameter.tensor);
  const at::Tensor loss = train::token_loss_sum(model, batch);
  auto results = torch::autograd::grad({loss}, inputs, {}, {}, false, /*allow_unused=*/true);
  std::vector<at::Tensor> flat{loss.detach().reshape({1}).to(at::kCPU, at::kDouble)};
  for (const auto& gradient : results) {
    if (gradient.defined()) flat.push_back(gradient.reshape({-1}).to(at::kCPU, at::kDouble));
  }
  return at::cat(flat);
}

/// Compares a step of a small model on the device with the same in fp64 on the CPU, weights rounded alike.
void validate(const Variant& variant, at::Device device, at::ScalarType dtype) {
  model::MambaConfig config;
  config.d_model = 48;
  config.n_layer = 2;
  config.vocab_size = 101;
  const auto batch = random_batch(3, 37, 11, config.vocab_size);
  std::unique_ptr<peft::PeftMethod> method, method_64;
  Weights weights;
  auto model = make_subject(config, variant, method, weights);
  auto model_64 = make_subject(config, variant, method_64, weights);
  model::place_parameters(model, device, dtype);
  model::place_parameters(model_64, at::kCPU, dtype);
  model::place_parameters(model_64, at::kCPU, at::kDouble);
  const at::Tensor ours = loss_and_gradients(model, method.get(), batch);
  const at::Tensor truth = loss_and_gradients(model_64, method_64.get(), batch);
  const double error = ours.sizes() == truth.sizes() ? at::linalg_vector_norm(ours - truth).item<double>() /
                                                           at::linalg_vector_norm(truth).item<double>()
                                                     : 1.0;
  const double tolerance = dtype == at::kFloat ? 1e-4 : dtype == at::kHalf ? 2e-2 : 5e-2;
  if (!(error <= tolerance)) {
    throw Error(ExitCode::kInternal,
                mpeft::str(variant.name, ": loss and gradients of a small model differ from fp64 by ", error,
                           ", more than ", tolerance, ": not timed"));
  }
}

// --- the step ---

/// Time of the matrix products at the device's peak: forward, gradient of the activations, gradient of what trains.
double floor_of(model::MambaLM& model, const data::Batch& batch, at::Device device) {
  const double peak = ops::gpu_peaks(device, model->compute_dtype).flops;
  if (peak == 0) return 0;
  const auto tokens = static_cast<double>(batch.rows * batch.seqlen), labels = static_cast<double>(batch.n_labels());
  double flops = 0;
  const auto projection = [&](const model::Projection& p, double n) {
    const double once = 2 * n * static_cast<double>(p->weight.numel());
    flops += (p->weight.requires_grad() ? 3 : 2) * once;
  };
  for (const auto& block : model->backbone->layers) {
    for (const auto* p :
         {&block->mixer->in_proj, &block->mixer->x_proj, &block->mixer->dt_proj, &block->mixer->out_proj})
      projection(*p, tokens);
  }
  projection(model->lm_head, labels);
  return flops / peak;
}

Measurement measure(const model::MambaConfig& config, const Variant& variant, const data::Batch& batch,
                    at::Device device, at::ScalarType dtype, bool use_graphs, Weights& weights) {
  std::unique_ptr<peft::PeftMethod> method;
  auto model = make_subject(config, variant, method, weights);
  model::place_parameters(model, device, dtype);
  model->train();
  const auto parameters = optimized_parameters(model, method.get());
  train::StepRunner runner(model, parameters, {}, dtype == at::kHalf, use_graphs);
  const auto time_steps = [&](int n) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < n; ++i) runner.step({batch}, /*learning_rate=*/1e-4);
    train::synchronize(device);
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count() / n;
  };

  train::seed_generators(device, kBenchSeed);
  if (device.is_cuda()) at::getDeviceAllocator(device.type())->resetPeakStats(device.index());
  double once = time_steps(3);  // allocations, library handles, choice of algorithms, recording
  once = std::min(once, time_steps(1));
  const int steps = std::clamp(static_cast<int>(200.0 / once), 1, 20);
  const int samples = std::clamp(static_cast<int>(4000.0 / (once * steps)), 3, 15);
  std::vector<double> times;
  for (int i = 0; i < samples; ++i) times.push_back(time_steps(steps));
  std::nth_element(times.begin(), times.begin() + samples / 2, times.end());

  Measurement result;
  result.ms = times[static_cast<size_t>(samples / 2)];
  result.peak_bytes = train::peak_memory_bytes(device);
  for (const auto& parameter : parameters) result.n_trainable += parameter.tensor.numel();
  result.floor_ms = floor_of(model, batch, device);
  if (runner.take_statistics().consecutive_bad > 0) {
    throw Error(ExitCode::kTrainingStopped,
                variant.name + ": the loss or the gradient was not finite: not a time worth knowing");
  }
  return result;
}

}  // namespace

void bench_step(const BenchOptions& options) {
  const at::Device device = train::resolve_device(options.device);
  const auto dtype =
      model::dtype_from_string(options.prec.empty() ? (device.is_cuda() ? "bf16" : "fp32") : options.prec);
  if (options.threads > 0) at::set_num_threads(options.threads);
  if (options.batch < 1 || options.seqlen < 2 || options.labels < 0) {
    throw ConfigError("bench step: expected --batch of at least 1, --seqlen of at least 2, --labels of at least 0");
  }
  const auto config = model::find_model_config(options.model);
  const auto batch = random_batch(options.batch, options.seqlen, options.labels, config.vocab_size);
  const auto variants = read_variants(options);
  for (const auto& variant : variants) validate(variant, device, dtype);  // all of them before the first is timed

  nlohmann::json list = nlohmann::json::array();
  size_t width = 8;
  for (const auto& variant : variants) width = std::max(width, variant.name.size());
  if (!options.json_output) {
    std::cout << options.model << ", batch " << options.batch << " x " << options.seqlen << " tokens, "
              << with_thousands(batch.n_labels()) << " of them labelled, " << model::to_string(dtype) << ", "
              << train::describe_device(device) << "; medians\n"
              << "trained" << std::string(width - 7, ' ')
              << "     weights   ms/step   to first    tokens/s      memory   of GEMM peak\n";
  }
  double first_ms = 0;
  Weights weights;  // of the first line's model, for all
  for (const auto& variant : variants) {
    const auto m = measure(config, variant, batch, device, dtype, !options.no_graphs, weights);
    if (first_ms == 0) first_ms = m.ms;
    const double tokens_per_s = static_cast<double>(options.batch * options.seqlen) / m.ms * 1e3;
    if (options.json_output) {
      list.push_back({{"op", "step"},
                      {"model", options.model},
                      {"peft", variant.content.empty() ? "" : variant.name},
                      {"batch", options.batch},
                      {"seqlen", options.seqlen},
                      {"labels", batch.n_labels()},
                      {"prec", model::to_string(dtype)},
                      {"device", train::describe_device(device)},
                      {"trainable", m.n_trainable},
                      {"ms", m.ms},
                      {"relative", m.ms / first_ms},
                      {"tokens_per_s", tokens_per_s},
                      {"peak_bytes", m.peak_bytes},
                      {"floor_ms", m.floor_ms}});
      continue;
    }
    std::cout << variant.name << std::string(width - variant.name.size(), ' ')
              << bench_cell(with_thousands(m.n_trainable), 12) << bench_cell(fixed(m.ms, 2), 10)
              << bench_cell(fixed(m.ms / first_ms, 2), 11)
              << bench_cell(with_thousands(static_cast<int64_t>(tokens_per_s)), 12)
              << bench_cell(human_bytes(m.peak_bytes), 12)
              << bench_cell(m.floor_ms > 0 ? fixed(100 * m.floor_ms / m.ms, 0) + " %" : "-", 15) << std::endl;
  }
  if (options.json_output) std::cout << list.dump() << '\n';
}

}  // namespace mpeft::app
