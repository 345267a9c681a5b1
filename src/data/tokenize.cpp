#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "mpeft/data/dataset.h"

#include "data/token_rows.h"

namespace mpeft::data {
namespace {

// Encodes texts one after the other. The instruction begins every one of them: its ids are kept.
class RowEncoder {
 public:
  RowEncoder(const text::Tokenizer& tokenizer, bool end_token) : tokenizer_(tokenizer), end_token_(end_token) {}

  TokenRow encode(const TextExample& example, const std::string& target) {
    TokenRow row;
    for (size_t i = 0; i < example.input_parts.size(); ++i) {
      const auto& part = example.input_parts[i];
      if (i > 0 || example.input_parts.size() == 1) {
        append(tokenizer_.encode(part), row.ids);
        continue;
      }
      if (part != first_part_) {
        first_ids_ = tokenizer_.encode(part);
        first_part_ = part;
      }
      append(first_ids_, row.ids);
    }
    row.prompt_length = static_cast<int64_t>(row.ids.size());
    append(tokenizer_.encode(target), row.ids);
    if (end_token_) row.ids.push_back(tokenizer_.eos_id());
    return row;
  }

 private:
  static void append(const std::vector<text::TokenId>& ids, std::vector<text::TokenId>& to) {
    to.insert(to.end(), ids.begin(), ids.end());
  }

  const text::Tokenizer& tokenizer_;
  bool end_token_;
  std::string first_part_;
  std::vector<text::TokenId> first_ids_;  // of first_part_; the encoding of "" is empty
};

}  // namespace

std::vector<RowSource> rows_of(const TextDataset& dataset, bool for_training) {
  std::vector<RowSource> rows;
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

std::vector<TokenRow> encode_rows(const TextDataset& dataset, const std::vector<RowSource>& sources,
                                  const text::Tokenizer& tokenizer, int64_t wanted_threads) {
  std::vector<TokenRow> rows(sources.size());

  // Threads take rows in small runs; each row has its own place in the result, so their order plays no part.
  constexpr size_t kRun = 64;
  const size_t n_cores = std::max(1U, std::thread::hardware_concurrency());
  const size_t wanted = wanted_threads > 0 ? static_cast<size_t>(wanted_threads) : n_cores;
  const size_t n_threads = std::clamp<size_t>(rows.size() / kRun, 1, std::min<size_t>(wanted, 64));
  std::atomic<size_t> next{0};
  std::vector<std::exception_ptr> failures(n_threads);
  const auto work = [&](size_t thread) {
    try {
      RowEncoder encoder(tokenizer, dataset.end_token_after_target);
      for (size_t begin = next.fetch_add(kRun); begin < rows.size(); begin = next.fetch_add(kRun)) {
        for (size_t i = begin; i < std::min(begin + kRun, rows.size()); ++i)
          rows[i] = encoder.encode(dataset.examples[sources[i].example], *sources[i].target);
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
  return rows;
}

TokenizedDataset assemble(const TextDataset& dataset, const std::vector<RowSource>& sources,
                          std::vector<TokenRow>&& rows, const TokenizeOptions& options) {
  TokenizedDataset result;
  result.metrics = dataset.metrics;
  result.classes = dataset.classes;
  result.databases = dataset.databases;
  const int64_t max_length = options.max_length > 0 ? options.max_length : dataset.max_length;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto length = static_cast<int64_t>(rows[i].ids.size());
    if (length == 0 || (max_length > 0 && length > max_length)) {
      ++result.n_dropped;
      continue;
    }
    const auto& text = dataset.examples[sources[i].example];
    Example example;
    example.ids = std::move(rows[i].ids);
    example.prompt_length = rows[i].prompt_length;
    if (options.with_references)
      example.references = text.references.empty() ? std::vector<std::string>{text.target} : text.references;
    example.record = text.record;
    example.group = text.group;
    example.db_id = text.db_id;
    result.examples.push_back(std::move(example));
  }
  return result;
}

TokenizedDataset tokenize(const TextDataset& dataset, const text::Tokenizer& tokenizer,
                          const TokenizeOptions& options) {
  const auto sources = rows_of(dataset, options.for_training);
  return assemble(dataset, sources, encode_rows(dataset, sources, tokenizer, options.n_threads), options);
}

}  // namespace mpeft::data
