#include "app/overview.h"

#include <algorithm>
#include <string_view>

#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"
#include "mpeft/peft/trainable_report.h"
#include "mpeft/train/device.h"

namespace mpeft::app {
namespace {

void log_line(std::string_view name, const std::string& text) {
  log::info(mpeft::str(name, std::string(12 - std::min<size_t>(name.size(), 11), ' '), text));
}

std::string trainable_text(const peft::TrainableReport& report) {
  return mpeft::str(with_thousands(report.n_trainable), " trainable = ", fixed(100 * report.share(), 3), " %");
}

std::string model_text(const TrainedModel& trained, const std::string& prec, int64_t n_total) {
  std::string text = mpeft::str(trained.source.description, "   ", with_thousands(n_total), " weights   ", prec);
  const auto& files = trained.source.weight_files;
  if (!files.empty()) text += mpeft::str("   (", files.front().filename().string(), files.size() > 1 ? ", …)" : ")");
  return text;
}

std::string split_text(std::string_view name, const TokenizedSplit& split, std::string_view dropped) {
  return mpeft::str(name, " ", with_thousands(static_cast<int64_t>(split.tokens.examples.size())), " (",
                    split.tokens.n_dropped, dropped, ")");
}

// "tokens p50 412 p95 987 max 1,536   labels 6.1 %": how long, and how much of it carries loss.
std::string length_text(const std::vector<data::Example>& examples) {
  std::vector<int64_t> lengths;
  int64_t n_tokens = 0, n_labels = 0;
  for (const auto& example : examples) {
    lengths.push_back(static_cast<int64_t>(example.ids.size()));
    n_tokens += lengths.back();
    n_labels += lengths.back() - example.prompt_length;
  }
  std::sort(lengths.begin(), lengths.end());
  return mpeft::str("tokens p50 ", with_thousands(lengths[lengths.size() / 2]), " p95 ",
                    with_thousands(lengths[lengths.size() * 95 / 100]), " max ", with_thousands(lengths.back()),
                    "   labels ", fixed(100.0 * static_cast<double>(n_labels) / static_cast<double>(n_tokens), 1),
                    " %");
}

// What is known before the first step: the weights as they lie on the device; of what trains also the gradient and
// AdamW's two moments, each as large.
std::string memory_text(const model::MambaLM& model) {
  uint64_t weights = 0, training = 0;
  for (const auto& parameter : model->parameters()) {
    weights += parameter.nbytes();
    if (parameter.requires_grad()) training += 3 * parameter.nbytes();
  }
  return mpeft::str("weights ", human_bytes(weights), "   gradients and optimizer ", human_bytes(training),
                    "   activations come on top");
}

}  // namespace

void log_method(const std::string& type, std::span<const StageSummary> stages) {
  for (size_t i = 0; i < stages.size(); ++i) {
    const std::string stage = stage_text(stages[i].stage);
    log_line(i == 0 ? "adapter" : "", mpeft::str(i == 0 ? type : "then", stage.empty() ? "" : " ", stage, "   ",
                                                 trainable_text(stages[i].report)));
    for (const auto& covered : stages[i].report.coverage()) log_line("", covered);
  }
}

void log_overview(const config::ExperimentConfig& config, TrainedModel& trained, std::span<const StageSummary> stages,
                  const TokenizedSplit& train, const TokenizedSplit* validation, at::Device device,
                  int64_t steps_per_epoch) {
  const auto report = peft::report_trainable(trained.model);
  log_line("experiment", mpeft::str(config.path, "  →  ", config.output_dir));
  log_line("model", model_text(trained, config.prec, report.n_total));
  if (trained.method) {
    log_method(trained.method->type(), stages);
  } else {
    log_line("training", "full fine-tuning   " + trainable_text(report));
  }
  log_line("data", mpeft::str(config.data, "   ", split_text("train", train, " dropped as too long"),
                              validation ? "   " + split_text(config.val_data_split, *validation, " dropped") : "",
                              "   ", length_text(train.tokens.examples)));
  for (const auto& note : train.text.notes) log_line("", note);
  if (validation) {
    for (const auto& note : validation->text.notes) log_line("", config.val_data_split + ": " + note);
  }
  log_line("step", mpeft::str("batch ", config.batch_size, " × accumulation ", config.gradient_accumulation_steps, ", ",
                              with_thousands(steps_per_epoch), " steps an epoch, ", config.num_epochs, " epochs"));
  log_line("memory", memory_text(trained.model));
  log_line("device", train::describe_device(device));
}

}  // namespace mpeft::app
