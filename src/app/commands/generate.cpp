#include "mpeft/eval/generate.h"

#include <iostream>

#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/train/progress.h"

#include "app/commands/command.h"
#include "app/model_options.h"

namespace mpeft::app {

void add_generate_command(CLI::App& app) {
  struct Options {
    ModelOptions model;
    eval::GenerateOptions generate;
    std::string input = "-";
    bool json_output = false;
    bool sample = false;
  };
  auto options = std::make_shared<Options>();
  auto& generate = options->generate;
  auto* command = app.add_subcommand("generate", "continue prompts: greedy, sampling or beam search");
  command->footer(
      "Prompts in, one JSON string a line; {\"prompt\", \"text\", \"ids\", \"score\"} a line out, in the same order.\n"
      "  echo '\"capital : Oslo : Norway###\"' | mpeft generate --model weights/quickstart/base/model --num-beams 5");
  options->model.add_to(*command);
  command->add_option("input", options->input, "file; - is standard input")->capture_default_str();
  command->add_option(
      "--tokenizer", options->model.tokenizer,
      "file, folder or hub id (default: the one beside the model's weights, else the published models')");
  command->add_option("--max-new-tokens", generate.max_new_tokens, "most tokens of a continuation")
      ->capture_default_str();
  command->add_option("--min-new-tokens", generate.min_new_tokens, "least tokens before the end token may come")
      ->capture_default_str();
  command->add_option("--num-beams", generate.num_beams, "beams; 1: greedy, or sampling")->capture_default_str();
  command->add_flag("--sample", options->sample, "sample (also switched on by --top-k, --top-p, --temperature)");
  auto* top_k = command->add_option("--top-k", generate.filter.top_k, "sample among the k likeliest tokens");
  auto* top_p =
      command->add_option("--top-p", generate.filter.top_p, "sample among the likeliest tokens that hold this mass");
  auto* temperature = command->add_option("--temperature", generate.filter.temperature, "logits are divided by it");
  command->add_option("--batch-size", generate.batch_size, "prompts decoded together")->capture_default_str();
  command->add_flag("--json", options->json_output, "one JSON document: a list");
  command->callback([options, top_k, top_p, temperature] {
    auto& settings = options->generate;
    settings.do_sample = options->sample || top_k->count() + top_p->count() + temperature->count() > 0;
    settings.seed = options->model.seed;
    const auto tokenizer = load_tokenizer(options->model);
    settings.eos_id = tokenizer->eos_id();

    std::vector<std::string> prompts;
    std::vector<std::vector<text::TokenId>> ids;
    for_each_line(options->input, [&](int64_t number, const std::string& line) {
      prompts.push_back(json_string_of_line(line, number));
      ids.push_back(tokenizer->encode(prompts.back()));
      if (ids.back().empty()) throw DataError(mpeft::str("line ", number, ": an empty prompt cannot be continued"));
    });
    auto model = load_model(options->model);
    if (options->model.tokenizer.empty() && tokenizer->vocab_size() > model->config().vocab_size) {
      throw ConfigError(mpeft::str("the tokenizer that was found for ", options->model.model, " has ",
                                   tokenizer->vocab_size(), " ids, the model an embedding of ",
                                   model->config().vocab_size,
                                   " rows: they do not belong together; name the model's with --tokenizer"));
    }
    settings.n_valid_tokens = std::min(tokenizer->vocab_size(), model->config().vocab_size);
    train::Progress progress("generate", static_cast<int64_t>(prompts.size()));
    const auto results = eval::generate(model, ids, settings, [&](int64_t done, int64_t, int64_t n_tokens) {
      progress.update(done, mpeft::str(with_thousands(n_tokens), " tokens"));
    });
    progress.clear();
    nlohmann::json list = nlohmann::json::array();
    for (size_t i = 0; i < results.size(); ++i) {
      list.push_back({{"prompt", prompts[i]},
                      {"text", tokenizer->decode(results[i].ids, /*skip_special=*/true)},
                      {"ids", results[i].ids},
                      {"score", results[i].score}});
    }
    const auto dump = [](const nlohmann::json& value) {
      return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    };
    if (options->json_output) {
      std::cout << dump(list) << '\n';
    } else {
      for (const auto& item : list) std::cout << dump(item) << '\n';
    }
  });
}

}  // namespace mpeft::app
