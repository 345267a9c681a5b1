#include <array>
#include <charconv>
#include <cmath>
#include <sstream>

#include <yaml-cpp/emitter.h>

#include "mpeft/config/experiment.h"
#include "mpeft/core/strings.h"

namespace mpeft::config {
namespace {

// The shortest text that reads back as the same double; 0.0005 rather than 5e-04 where that is short.
std::string number(double value) {
  std::array<char, 400> buffer;
  const bool plain = value == 0 || (std::abs(value) >= 1e-6 && std::abs(value) < 1e9);
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                          plain ? std::chars_format::fixed : std::chars_format::general);
  return {buffer.data(), error == std::errc() ? end : buffer.data()};
}

class Writer {
 public:
  Writer() { out_ << YAML::BeginMap; }

  void null(const char* key) { out_ << YAML::Key << key << YAML::Value << YAML::Null; }
  // Texts are quoted, so that a folder named `1` or `no` stays a text.
  void text(const char* key, const std::string& value) {
    out_ << YAML::Key << key << YAML::Value << YAML::DoubleQuoted << value;
  }
  void text_or_null(const char* key, const std::string& value) { value.empty() ? null(key) : text(key, value); }
  void word(const char* key, const std::string& value) { out_ << YAML::Key << key << YAML::Value << value; }
  void integer(const char* key, int64_t value) { out_ << YAML::Key << key << YAML::Value << value; }
  void real(const char* key, double value) { word(key, number(value)); }
  void flag(const char* key, bool value) { word(key, value ? "true" : "false"); }
  void begin(const char* key) { out_ << YAML::Key << key << YAML::Value << YAML::Flow << YAML::BeginMap; }
  void end() { out_ << YAML::EndMap; }
  void texts_or_null(const char* key, const std::vector<std::string>& values) {
    if (values.empty()) return null(key);
    if (values.size() == 1) return text(key, values.front());
    out_ << YAML::Key << key << YAML::Value << YAML::BeginSeq;
    for (const auto& value : values) out_ << YAML::DoubleQuoted << value;
    out_ << YAML::EndSeq;
  }
  std::string finish() {
    out_ << YAML::EndMap;
    return std::string(out_.c_str()) + "\n";
  }

 private:
  YAML::Emitter out_;
};

void write_generation(Writer& out, const ExperimentConfig& config) {
  if (!config.generate) return out.null("eval_gen");
  const Generation& generation = config.eval_gen;
  out.begin("eval_gen");
  out.integer("max_length", generation.max_length);
  out.integer("max_new_tokens", generation.max_new_tokens);
  out.integer("min_length", generation.min_length);
  out.integer("num_beams", generation.num_beams);
  out.real("length_penalty", generation.length_penalty);
  out.integer("top_k", generation.top_k);
  out.real("top_p", generation.top_p);
  out.real("temperature", generation.temperature);
  out.flag("do_sample", generation.do_sample);
  out.end();
}

void write_metric_floors(Writer& out, const ExperimentConfig& config) {
  if (config.min_eval_metric_after_epoch.empty()) return out.null("min_eval_metric_after_epoch");
  out.begin("min_eval_metric_after_epoch");
  for (const auto& [epoch, value] : config.min_eval_metric_after_epoch) out.real(std::to_string(epoch).c_str(), value);
  out.end();
}

// The section as it was written, one level in.
std::string data_options_text(const Node& node) {
  if (!node.is_map() || node.dump() == "{}") return "data_options: null\n";
  std::string text = "data_options:\n";
  for (const std::string& line : split(node.dump(), '\n')) text += line.empty() ? "\n" : "  " + line + "\n";
  return text;
}

}  // namespace

std::string dump_yaml(const ExperimentConfig& config) {
  Writer out;
  out.text_or_null("model", config.model);
  out.text_or_null("tokenizer", config.tokenizer);
  out.text_or_null("data", config.data);
  out.text_or_null("val_data", config.val_data);
  out.word("val_data_split", config.val_data_split.empty() ? "val" : config.val_data_split);
  out.text("data_root", config.data_root);
  out.text_or_null("prompt", config.prompt);
  out.texts_or_null("peft", config.peft);

  out.word("prec", config.prec);
  out.flag("master_weights", config.master_weights);
  out.integer("num_epochs", config.num_epochs);
  out.integer("max_steps", config.max_steps);
  out.integer("batch_size", config.batch_size);
  out.integer("gradient_accumulation_steps", config.gradient_accumulation_steps);
  out.integer("max_length", config.max_length);
  out.word("optim", config.optim);
  out.real("learning_rate", config.learning_rate);
  out.real("weight_decay", config.weight_decay);
  out.real("max_grad_norm", config.max_grad_norm);
  out.word("lr_scheduler", config.lr_scheduler);
  out.integer("warmup_steps", config.warmup_steps);
  out.integer("seed", static_cast<int64_t>(config.seed));

  out.flag("skip_eval", config.skip_eval);
  out.integer("eval_epochs", config.eval_epochs);
  out.flag("eval_before_training", config.eval_before_training);
  out.integer("eval_batch_size", config.eval_batch_size);
  write_generation(out, config);
  write_metric_floors(out, config);
  out.word("predictions_format", config.predictions_format);

  out.word("backend", config.backend);
  out.word("device", config.device);
  out.integer("num_data_workers", config.num_data_workers);
  out.flag("token_cache", config.token_cache);
  out.integer("log_steps", config.log_steps);
  out.real("save_minutes", config.save_minutes);
  out.integer("save_total_limit", config.save_total_limit);
  out.flag("cuda_graphs", config.cuda_graphs);
  out.flag("debug", config.debug);
  out.flag("resume", config.resume);
  out.flag("overwrite", config.overwrite);
  out.flag("lock", config.lock);
  out.flag("no_save", config.no_save);
  out.text_or_null("output_dir", config.output_dir);
  return out.finish() + data_options_text(config.data_options);
}

}  // namespace mpeft::config
