#include <iostream>

#include <nlohmann/json.hpp>

#include "mpeft/text/tokenizer.h"

#include "app/commands/command.h"

namespace mpeft::app {

void add_tokenize_command(CLI::App& app) {
  struct Options {
    std::string tokenizer;
    std::string input = "-";
    bool decode = false;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("tokenize", "text to token ids and back");
  command->footer(
      "One JSON string a line in, one list of ids a line out; --decode turns it round.\n"
      "  echo '\"Hello world\"' | mpeft tokenize --tokenizer data/sample/tokenizer.json");
  command->add_option("--tokenizer", options->tokenizer, "tokenizer.json, SentencePiece .model, or a folder with one")
      ->required();
  command->add_option("input", options->input, "file; - is standard input")->capture_default_str();
  command->add_flag("--decode", options->decode, "ids to text");
  command->add_flag("--json", options->json, "one JSON document: a list with an item per line");
  command->callback([options] {
    const auto tokenizer = text::make_tokenizer(options->tokenizer);
    bool first = true;
    const auto put = [&](const nlohmann::json& value) {
      if (options->json) std::cout << (first ? "[" : ",\n");
      std::cout << value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      if (!options->json) std::cout << '\n';
      first = false;
    };
    for_each_line(options->input, [&](int64_t number, const std::string& line) {
      if (options->decode) {
        put(tokenizer->decode(ids_of_line(line, number), /*skip_special=*/false));
      } else {
        put(tokenizer->encode(json_string_of_line(line, number)));
      }
    });
    if (options->json) std::cout << (first ? "[]\n" : "]\n");
  });
}

}  // namespace mpeft::app
