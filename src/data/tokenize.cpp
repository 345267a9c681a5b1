#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "mpeft/data/dataset.h"

namespace mpeft::data {
namespace {

// One row of the result: which example, which of its texts is the target.
struct Row {
  size_t example;
  const std::string* target;
};

std::vector<Row> rows_of(const TextDataset& dataset, bool for_training) {
  std::vector<Row> rows;
  for (size_t i = 0; i < dataset.examples.size(); ++i) {
    const auto& example = dataset.examples[i];
    if (for_training && !example.references.empty()) {
      for (const auto& reference : example.references) rows.push_back({i, &reference});
    } else {
      rows.push_back({i, &example.target});
    }
  }
  return rows;
}

Example tokenize_row(const TextExample& text, const std::string& target, bool end_token,
                     const text::Tokenizer& tokenizer) {
  Example example;
  for (const auto& part : text.input_parts) {
    const auto ids = tokenizer.encode(part);
    example.ids.insert(example.ids.end(), ids.begin(), ids.end());
  }
  example.prompt_length = static_cast<int64_t>(example.ids.size());
  const auto ids = tokenizer.encode(target);
  example.ids.insert(example.ids.end(), ids.begin(), ids.end());
  if (end_token) example.ids.push_back(tokenizer.eos_id());
  example.references = text.references.empty() ? std::vector<std::string>{text.target} : text.references;
  example.record = text.record;
  example.group = text.group;
  example.db_id = text.db_id;
  return example;
}

}  // namespace

TokenizedDataset tokenize(const TextDataset& dataset, const text::Tokenizer& tokenizer,
                          const TokenizeOptions& options) {
  const auto rows = rows_of(dataset, options.for_training);
  std::vector<Example> examples(rows.size());

  // Threads take rows in small runs; each row has its own place in the result, so their order plays no part.
  constexpr size_t kRun = 64;
  const size_t n_cores = std::max(1U, std::thread::hardware_concurrency());
  const size_t wanted = options.n_threads > 0 ? static_cast<size_t>(options.n_threads) : n_cores;
  const size_t n_threads = std::clamp<size_t>(rows.size() / kRun, 1, std::min<size_t>(wanted, 64));
  std::atomic<size_t> next{0};
  std::vector<std::exception_ptr> failures(n_threads);
  const auto work = [&](size_t thread) {
    try {
      for (size_t begin = next.fetch_add(kRun); begin < rows.size(); begin = next.fetch_add(kRun)) {
        for (size_t i = begin; i < std::min(begin + kRun, rows.size()); ++i) {
          examples[i] = tokenize_row(dataset.examples[rows[i].example], *rows[i].target, dataset.end_token_after_target,
                                     tokenizer);
        }
      }
    } catch (...) {
      failures[thread] = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < n_threads; ++i) threads.emplace_back(work, i);
  work(0);
  for (auto& thread : threads) thread.join();
  for (const auto& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }

  TokenizedDataset result;
  result.metrics = dataset.metrics;
  result.classes = dataset.classes;
  result.databases = dataset.databases;
  const int64_t max_length = options.max_length > 0 ? options.max_length : dataset.max_length;
  for (auto& example : examples) {
    const auto length = static_cast<int64_t>(example.ids.size());
    if (length == 0 || (max_length > 0 && length > max_length)) {
      ++result.n_dropped;
    } else {
      result.examples.push_back(std::move(example));
    }
  }
  return result;
}

}  // namespace mpeft::data
