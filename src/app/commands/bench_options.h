#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mpeft/model/mamba_lm.h"

namespace mpeft::app {

/// Weights, ids and adapters of a measurement are the same each time.
constexpr uint64_t kBenchSeed = 42;

/// The options of `mpeft bench`; each measurement reads those it knows.
struct BenchOptions {
  std::string what;
  std::string device, prec;
  std::vector<int64_t> shape;         ///< operators: batch, channels, seqlen
  int threads = 0;                    ///< processor threads; 0: all
  std::string tokenizer, text;        ///< tokenizer
  std::string model = "130m";         ///< step, generate: a size of cfg/models
  std::vector<std::string> peft;      ///< step: adapter configurations; none: everything trains
  int64_t batch = 4, seqlen = 512;    ///< step
  int64_t labels = 64;                ///< step: labelled tokens a row; 0: all
  bool no_graphs = false;             ///< step: kernel by kernel, as `cuda_graphs: false` trains
  std::vector<int64_t> rows{1, 5};    ///< generate
  int64_t prompt = 128, tokens = 64;  ///< generate: of each row
  bool json_output = false;
};

/// `text` behind spaces, at least one, so that it ends at `width`.
std::string bench_cell(const std::string& text, size_t width);

/// A training step with random weights: milliseconds, tokens a second, peak memory, beside the time of its matrix
/// products at the device's peak. First a step of a small model is compared with fp64; throws Error when they differ.
void bench_step(const BenchOptions& options);

/// Greedy decoding with random weights: milliseconds a token, beside the time of one read of the weights. First the
/// tokens' probabilities are compared with those of the whole text read at once; throws Error when they differ.
void bench_generate(const BenchOptions& options);

}  // namespace mpeft::app
