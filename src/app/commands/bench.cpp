#include <algorithm>
#include <chrono>
#include <iostream>

#include <ATen/Parallel.h>
#include <nlohmann/json.hpp>

#include "kernels/bench/op_bench.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"
#include "mpeft/model/precision.h"
#include "mpeft/text/tokenizer.h"
#include "mpeft/train/device.h"

#include "app/commands/bench_options.h"
#include "app/commands/command.h"

namespace mpeft::app {
namespace {

using nlohmann::json;

constexpr int64_t kVocabSize = 50280;

// Shapes (batch, channels, seqlen): those of the published comparisons on a GPU, smaller ones on the processor.
std::vector<ops::BenchShape> default_shapes(const std::string& what, bool on_gpu) {
  std::vector<ops::BenchShape> shapes;
  const auto add = [&](int64_t batch, int64_t channels, int64_t seqlen) {
    ops::BenchShape shape;
    shape.batch = batch;
    shape.channels = what == "norm" ? channels / 2 : what == "loss" ? kVocabSize : channels;  // norm: over d_model
    shape.seqlen = seqlen;
    shapes.push_back(shape);
  };
  if (what == "loss") {  // labelled rows of a batch of 4
    for (const int64_t labels : {16, 64, 512}) add(4, 0, on_gpu ? labels : labels / 8);
    return shapes;
  }
  if (!on_gpu) {
    add(1, 1536, 512);
    add(4, 1536, 512);
    return shapes;
  }
  add(1, 1536, 512);
  for (const int64_t seqlen : {128, 256, 512, 600, 2048}) add(4, 1536, seqlen);
  for (const int64_t seqlen : {512, 600, 2048}) add(4, 4096, seqlen);
  for (const int64_t seqlen : {512, 2048}) add(4, 5120, seqlen);
  add(1, 5120, 8192);
  add(32, 1536, 512);
  return shapes;
}

void print_rows(const std::vector<ops::BenchRow>& rows, bool as_json) {
  if (as_json) {
    json list = json::array();
    for (const auto& row : rows) {
      list.push_back({{"op", row.op},
                      {"pass", row.pass},
                      {"dtype", row.dtype},
                      {"batch", row.shape.batch},
                      {"seqlen", row.shape.seqlen},
                      {"channels", row.shape.channels},
                      {"implementation", row.implementation},
                      {"threads", row.threads},
                      {"ms", row.ms},
                      {"giga_elements_per_s", row.giga_elements},
                      {"gigabytes_per_s", row.gigabytes},
                      {"floor_ms", row.floor_ms}});
    }
    std::cout << list.dump() << '\n';
    return;
  }
  const auto cell = bench_cell;
  std::cout
      << "(batch, channels, seqlen)  pass        dtype      on         ms    G elt/s  per core    GB/s  of floor\n";
  for (const auto& row : rows) {
    const std::string shape = mpeft::str(row.shape.batch, ", ", row.shape.channels, ", ", row.shape.seqlen);
    std::cout << cell(shape, 24) << "  " << row.pass << std::string(12 - std::min<size_t>(11, row.pass.size()), ' ')
              << row.dtype << std::string(11 - std::min<size_t>(10, row.dtype.size()), ' ') << row.implementation
              << cell(fixed(row.ms, 4), 9) << cell(fixed(row.giga_elements, 2), 11)
              << cell(row.threads > 0 ? fixed(row.giga_elements_per_core, 2) : "-", 10)
              << cell(fixed(row.gigabytes, 1), 8)
              << cell(row.floor_ms > 0 ? fixed(row.percent_of_floor, 0) + " %" : "-", 10) << '\n';
  }
}

void bench_operator(const BenchOptions& options) {
  const at::Device device = train::resolve_device(options.device);
  const auto dtype =
      model::dtype_from_string(options.prec.empty() ? (device.is_cuda() ? "bf16" : "fp32") : options.prec);
  if (options.threads > 0) at::set_num_threads(options.threads);
  auto shapes = default_shapes(options.what, device.is_cuda());
  if (!options.shape.empty()) {
    if (options.shape.size() != 3 || *std::min_element(options.shape.begin(), options.shape.end()) < 1) {
      throw ConfigError("--shape: expected three positive numbers: batch,channels,seqlen");
    }
    shapes = {ops::BenchShape{options.shape[0], options.shape[2], options.shape[1]}};
  }
  const auto rows = options.what == "scan"   ? ops::bench_selective_scan(device, dtype, shapes)
                    : options.what == "conv" ? ops::bench_causal_conv1d(device, dtype, shapes)
                    : options.what == "norm" ? ops::bench_rms_norm(device, dtype, shapes)
                                             : ops::bench_cross_entropy(device, dtype, shapes);
  print_rows(rows, options.json_output);
}

void bench_tokenizer(const BenchOptions& options) {
  if (options.tokenizer.empty() || options.text.empty())
    throw ConfigError("bench tokenizer needs --tokenizer PATH and --text FILE");
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  const auto load_begin = Clock::now();
  const auto tokenizer = text::make_tokenizer(options.tokenizer);
  const double load_seconds = seconds_since(load_begin);
  const std::string text = fs::read_file(options.text, uint64_t{1} << 30);
  const auto lines = split(text, '\n');

  std::vector<double> encode_times, decode_times;
  size_t n_tokens = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::vector<std::vector<text::TokenId>> ids;
    ids.reserve(lines.size());
    auto begin = Clock::now();
    for (const auto& line : lines) ids.push_back(tokenizer->encode(line));
    encode_times.push_back(seconds_since(begin));
    n_tokens = 0;
    for (const auto& list : ids) n_tokens += list.size();
    begin = Clock::now();
    size_t n_bytes = 0;
    for (const auto& list : ids) n_bytes += tokenizer->decode(list, false).size();
    decode_times.push_back(seconds_since(begin));
    if (repeat == 0 && n_bytes + lines.size() - 1 != text.size() && is_valid_utf8(text)) {
      std::cerr << "note: the decoded text has another length than the input (normalisation)\n";
    }
  }
  const auto median = [](std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + 2, values.end());
    return values[2];
  };
  const double megabytes = static_cast<double>(text.size()) / 1e6;
  const double encode = megabytes / median(encode_times), decode = megabytes / median(decode_times);
  if (options.json_output) {
    std::cout << json({{"load_s", load_seconds},
                       {"encode_mb_per_s", encode},
                       {"decode_mb_per_s", decode},
                       {"tokens", n_tokens}})
                     .dump()
              << '\n';
    return;
  }
  std::cout << "one thread, " << fixed(megabytes, 2) << " MB in " << with_thousands(static_cast<int64_t>(lines.size()))
            << " lines, " << with_thousands(static_cast<int64_t>(n_tokens)) << " tokens (medians of 5)\n  load    "
            << human_duration(load_seconds) << "\n  encode  " << fixed(encode, 1) << " MB/s\n  decode  "
            << fixed(decode, 1) << " MB/s\n";
}

}  // namespace

std::string bench_cell(const std::string& text, size_t width) {
  return std::string(width > text.size() ? width - text.size() : 1, ' ') + text;
}

void add_bench_command(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  auto* command = app.add_subcommand(
      "bench", "measure an operator, a training step, decoding or the tokenizer; checked against the reference first");
  command->footer(
      "  mpeft bench scan --device cpu --threads 1\n"
      "  mpeft bench loss --shape 4,50280,64\n"
      "  mpeft bench step --model 130m --peft a.json b.json --batch 4 --seqlen 512\n"
      "  mpeft bench generate --model 130m --rows 1,5,160\n"
      "  mpeft bench tokenizer --tokenizer data/sample/tokenizer.json --text README.md");
  command->add_option("what", options->what, "scan, conv, norm, loss, step, generate or tokenizer")
      ->required()
      ->check(CLI::IsMember({"scan", "conv", "norm", "loss", "step", "generate", "tokenizer"}));
  command->add_option("--device", options->device, "number of a GPU, or cpu (default: the first GPU if there is one)");
  command->add_option("--prec", options->prec, "bf16, fp16 or fp32 (default: bf16 on a GPU, fp32 on the processor)");
  command->add_option("--shape", options->shape, "operators: batch,channels,seqlen (default: a table of shapes)")
      ->delimiter(',');
  command->add_option("--threads", options->threads, "processor threads (default: all)");
  command->add_option("--model", options->model, "step, generate: a size of cfg/models, with random weights")
      ->capture_default_str();
  command->add_option("--peft", options->peft,
                      "step: adapter configurations, a line of the table each (none: everything trains)");
  command->add_option("--batch", options->batch, "step: rows")->capture_default_str();
  command->add_option("--seqlen", options->seqlen, "step: tokens of a row")->capture_default_str();
  command->add_option("--labels", options->labels, "step: labelled tokens of a row, 0: all")->capture_default_str();
  command->add_flag("--no-graphs", options->no_graphs, "step: without CUDA graphs");
  command->add_option("--rows", options->rows, "generate: texts decoded together, a line of the table each")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--prompt", options->prompt, "generate: tokens of a prompt")->capture_default_str();
  command->add_option("--tokens", options->tokens, "generate: new tokens")->capture_default_str();
  command->add_option("--tokenizer", options->tokenizer, "tokenizer: tokenizer.json or .model");
  command->add_option("--text", options->text, "tokenizer: a text file");
  command->add_flag("--json", options->json_output, "one JSON document on standard output");
  command->callback([options] {
    if (options->what == "tokenizer") return bench_tokenizer(*options);
    if (options->what == "step") return bench_step(*options);
    if (options->what == "generate") return bench_generate(*options);
    bench_operator(*options);
  });
}

}  // namespace mpeft::app
