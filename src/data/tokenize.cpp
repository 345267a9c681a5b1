#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "mpeft/data/dataset.h"

namespace mpeft::data {
namespace {

// All examples that one record makes: one, or one a reference text while training.
std::vector<Example> tokenize_one(const TextExample& text, const TextDataset& dataset, const text::Tokenizer& tokenizer,
                                  bool for_training) {
  Example base;
  for (const auto& part : text.input_parts) {
    const auto ids = tokenizer.encode(part);
    base.ids.insert(base.ids.end(), ids.begin(), ids.end());
  }
  base.prompt_length = static_cast<int64_t>(base.ids.size());
  base.references = text.references;
  base.record = text.record;

  const std::vector<std::string> only = {text.target};
  const auto& targets = for_training && !text.references.empty() ? text.references : only;
  std::vector<Example> examples;
  for (const auto& target : targets) {
    Example example = base;
    const auto ids = tokenizer.encode(target);
    example.ids.insert(example.ids.end(), ids.begin(), ids.end());
    if (dataset.end_token_after_target) example.ids.push_back(tokenizer.eos_id());
    examples.push_back(std::move(example));
  }
  return examples;
}

}  // namespace

TokenizedDataset tokenize(const TextDataset& dataset, const text::Tokenizer& tokenizer, const TokenizeOptions& options) {
  const size_t n = dataset.examples.size();
  std::vector<std::vector<Example>> per_record(n);  // filled by several threads, joined in order
  std::atomic<size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto work = [&] {
    try {
      for (size_t i = next++; i < n; i = next++) per_record[i] = tokenize_one(dataset.examples[i], dataset, tokenizer, options.for_training);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(failure_mutex);
      failure = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  const size_t n_threads = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 1 + n / 64);
  for (size_t i = 1; i < n_threads; ++i) threads.emplace_back(work);
  work();
  for (auto& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);

  TokenizedDataset result;
  result.metrics = dataset.metrics;
  for (auto& examples : per_record) {
    for (auto& example : examples) {
      if (options.max_length > 0 && static_cast<int64_t>(example.ids.size()) > options.max_length) {
        ++result.n_dropped;
      } else {
        result.examples.push_back(std::move(example));
      }
    }
  }
  return result;
}

}  // namespace mpeft::data
