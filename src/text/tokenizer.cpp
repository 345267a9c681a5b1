#include "mpeft/text/tokenizer.h"

#include <filesystem>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

#include "text/hf_bpe_tokenizer.h"
#include "text/sentencepiece_tokenizer.h"
#include "text/tokenizer_json.h"

namespace mpeft::text {
namespace {

// The largest published tokenizers have 33 MB; parsing takes about ten times the file in memory.
constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;

constexpr const char* kNames[] = {"tokenizer.json", "20B_tokenizer.json", "spiece.model", "tokenizer.model"};

fs::Path find_file(const fs::Path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    throw DataError(path.string() +
                    ": no such file or folder (wanted a tokenizer.json, a SentencePiece .model or a "
                    "folder with one of them)");
  }
  if (!std::filesystem::is_directory(status)) return path;
  for (const char* name : kNames) {
    if (std::filesystem::exists(path / name, error)) return path / name;
  }
  throw DataError(str(path.string(), ": no tokenizer in this folder; looked for ",
                      join({std::begin(kNames), std::end(kNames)}, ", ")));
}

bool looks_like_json(std::string_view content) {
  const std::string_view start = trim(content.substr(0, 64));
  return start.starts_with('{') || start.starts_with('[');
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& path) {
  const fs::Path file = find_file(path);
  const std::string content = fs::read_file(file, kMaxFileBytes);
  if (content.empty()) throw DataError(file.string() + ": the file is empty");
  const std::string fingerprint = fs::sha256(content);
  // The name decides where it can; a file of any other name is judged by how it begins.
  const std::string suffix = file.extension().string();
  if (suffix == ".json" || (suffix != ".model" && looks_like_json(content))) {
    return std::make_unique<HfBpeTokenizer>(parse_tokenizer_json(content, file.string()), fingerprint, file.string());
  }
  return std::make_unique<SentencePieceTokenizer>(content, fingerprint, file.string());
}

}  // namespace mpeft::text
