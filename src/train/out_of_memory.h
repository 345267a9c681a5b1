#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace mpeft::train {

/// What was being computed when the GPU's memory ran out.
struct OutOfMemoryPlace {
  int64_t step = 0;              ///< optimizer steps done
  int64_t rows = 0, seqlen = 0;  ///< of the micro-batch; 0 rows: an evaluation
  int64_t batch_size = 1;
  int64_t gradient_accumulation_steps = 1;
  std::filesystem::path output_dir;
};

/// The error for people: where, how much (the allocator's own numbers from `library_message`), what is safe, and what
/// to try: a quarter of the batch with four times the accumulation, which is the same training.
std::string out_of_memory_message(const OutOfMemoryPlace& place, const std::string& library_message);

}  // namespace mpeft::train
