#include "train/out_of_memory.h"

#include <algorithm>

#include "mpeft/checkpoint/training_folder.h"
#include "mpeft/core/strings.h"

namespace mpeft::train {
namespace {

// The sentences of LibTorch's message that hold numbers: "Tried to allocate 2.00 GiB. GPU 0 has a total capacity of
// 79.11 GiB of which 1.20 GiB is free."
std::string numbers_of(const std::string& library_message) {
  const size_t begin = library_message.find("Tried to allocate");
  if (begin == std::string::npos) return "";
  const size_t free = library_message.find(" is free.", begin);
  return " (" +
         library_message.substr(
             begin, free == std::string::npos ? library_message.find('\n', begin) - begin : free + 8 - begin) +
         ")";
}

}  // namespace

std::string out_of_memory_message(const OutOfMemoryPlace& place, const std::string& library_message) {
  std::string text =
      place.rows > 0
          ? mpeft::str("out of GPU memory at step ", place.step + 1, numbers_of(library_message), ": batch ",
                       place.rows, " × ", with_thousands(place.seqlen), " tokens")
          : mpeft::str("out of GPU memory in the evaluation after step ", place.step, numbers_of(library_message));
  if (const auto latest = checkpoint::latest_training_folder(place.output_dir)) {
    text += mpeft::str("\n  the last checkpoint is intact: ", latest->path.string());
  }
  if (place.rows == 0) return text + "\n  try a smaller --set eval_batch_size=…";
  if (place.batch_size == 1) return text + "\n  try --set max_length=… (longer examples are left out), or --prec bf16";
  const int64_t batch_size = std::max<int64_t>(1, place.batch_size / 4);
  return text + mpeft::str("\n  try --set batch_size=", batch_size, " --set gradient_accumulation_steps=",
                           place.gradient_accumulation_steps * ((place.batch_size + batch_size - 1) / batch_size));
}

}  // namespace mpeft::train
