#include "mpeft/eval/logits.h"

#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"

#include "app/commands/command.h"
#include "app/model_options.h"

namespace mpeft::app {

void add_logits_command(CLI::App& app) {
  struct Options {
    ModelOptions model;
    std::string input = "-";
    std::string output;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("logits", "logits of token ids, for comparing with other implementations");
  command->footer(
      "Lists of ids in, one a line; a safetensors file out whose tensors 0, 1, … are fp32 (seqlen, vocab_size).\n"
      "  echo '[1, 2, 3]' | mpeft logits --model cfg/models/tiny.yaml --prec fp32 --output logits.safetensors");
  options->model.add_to(*command);
  command->add_option("input", options->input, "file; - is standard input")->capture_default_str();
  command->add_option("--output", options->output, "safetensors file to write")->required();
  command->callback([options] {
    std::vector<std::vector<text::TokenId>> lists;
    for_each_line(options->input,
                  [&](int64_t number, const std::string& line) { lists.push_back(ids_of_line(line, number)); });
    auto model = load_model(options->model);
    const auto logits = eval::compute_logits(model, lists);
    checkpoint::TensorMap tensors;
    for (size_t i = 0; i < logits.size(); ++i) tensors.emplace(std::to_string(i), logits[i]);
    checkpoint::write_safetensors(options->output, tensors);
    log::info(mpeft::str("wrote ", options->output, ": ", logits.size(), " tensors"));
  });
}

}  // namespace mpeft::app
