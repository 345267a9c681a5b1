#include <filesystem>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"
#include "mpeft/eval/logits.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/adapter.h"

#include "app/commands/command.h"
#include "app/model_options.h"

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

void add_merge_command(CLI::App& app) {
  struct Options {
    std::string model, adapter, output;
    double tolerance = 1e-4;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("merge", "write a model folder with an adapter's change in its weights");
  command->footer(
      "Logits are compared before and after on the CPU in fp32; nothing is written when they differ.\n"
      "  mpeft merge --model weights/quickstart/base/model --adapter weights/quickstart/lora/adapter --output merged");
  command->add_option("--model", options->model, "folder or hub id")->required();
  command->add_option("--adapter", options->adapter, "adapter folder")->required();
  command->add_option("--output", options->output, "folder to write")->required();
  command->add_option("--tolerance", options->tolerance, "largest relative L2 difference of the logits")
      ->capture_default_str();
  command->callback([options] {
    if (std::filesystem::exists(options->output))
      throw ConfigError(options->output + ": exists already; name another --output");
    auto loaded = model::make_model(options->model, /*seed=*/0);
    const auto method = peft::load_adapter(loaded.model, options->adapter);
    for (auto& parameter : loaded.model->parameters()) parameter.set_requires_grad(false);
    model::place_parameters(loaded.model, at::kCPU, at::kFloat);
    loaded.model->eval();

    const auto probes = probe_ids(loaded.model->config().vocab_size);
    const auto before = eval::compute_logits(loaded.model, probes);
    method->merge(loaded.model);
    const auto after = eval::compute_logits(loaded.model, probes);
    double worst = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      worst = std::max(worst, ((after[i] - before[i]).norm() / before[i].norm()).item<double>());
    }
    if (!(worst <= options->tolerance)) {
      throw CheckpointError(mpeft::str("merging would change the logits by ", worst,
                                       " (relative L2), more than --tolerance ", options->tolerance,
                                       "; nothing was written"));
    }
    model::save_model(loaded.model, options->output);
    const auto tokenizer = loaded.source.folder / "tokenizer.json";
    if (!loaded.source.folder.empty() && std::filesystem::exists(tokenizer)) {
      fs::write_file_atomic(std::filesystem::path(options->output) / "tokenizer.json", fs::read_file(tokenizer));
    }
    log::info(mpeft::str("wrote ", options->output, "; logits before and after differ by ", worst, " (relative L2)"));
  });
}

}  // namespace mpeft::app
