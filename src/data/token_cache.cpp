#include "mpeft/data/token_cache.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"

#include "data/token_rows.h"

namespace mpeft::data {
namespace {

namespace sfs = std::filesystem;

constexpr const char* kExtension = ".tokens";
constexpr size_t kHashChars = 64;

// An entry is a header and a payload: n_rows x {prompt length, length} as uint32, then all ids as int32.
struct Header {
  char magic[8];
  uint64_t n_rows;
  uint64_t n_ids;
  char payload_hash[kHashChars];  // SHA-256 in hex
};
constexpr char kMagic[8] = {'M', 'P', 'T', 'O', 'K', 'E', 'N', '1'};  // the digit is the format
static_assert(sizeof(Header) == 24 + kHashChars);

struct RowLengths {
  uint32_t prompt;
  uint32_t all;
};

// SHA-256 over any amount of text: of each megabyte together with what came before.
class TextHash {
 public:
  void add(std::string_view text) {
    const uint64_t size = text.size();  // so that "ab", "c" is not "a", "bc"
    buffer_.append(reinterpret_cast<const char*>(&size), sizeof size);
    buffer_.append(text);
    if (buffer_.size() > (size_t{1} << 20)) buffer_ = fs::sha256(buffer_);
  }
  std::string hex() const { return fs::sha256(buffer_); }

 private:
  std::string buffer_;
};

std::string key_of(const TextDataset& dataset, const std::vector<RowSource>& rows, const text::Tokenizer& tokenizer,
                   const std::string& program) {
  TextHash hash;
  hash.add({kMagic, sizeof kMagic});
  hash.add(program);
  hash.add(tokenizer.fingerprint());
  hash.add(str(dataset.end_token_after_target ? tokenizer.eos_id() : -1, " ", rows.size()));
  for (const auto& row : rows) {
    const auto& parts = dataset.examples[row.example].input_parts;
    hash.add(str(parts.size()));
    for (const auto& part : parts) hash.add(part);
    hash.add(*row.target);
  }
  return hash.hex();
}

int64_t text_bytes(const TextDataset& dataset, const std::vector<RowSource>& rows) {
  size_t bytes = 0;
  for (const auto& row : rows) {
    for (const auto& part : dataset.examples[row.example].input_parts) bytes += part.size();
    bytes += row.target->size();
  }
  return static_cast<int64_t>(bytes);
}

// Throws DataError with the reason (without the path) for a file that is not the entry it should be.
std::vector<TokenRow> read_entry(const sfs::path& path, size_t n_rows, int64_t vocab_size) {
  const fs::MappedFile file(path);
  const auto require = [](bool ok, const char* reason) {
    if (!ok) throw DataError(reason);
  };
  Header header;
  require(file.size() >= sizeof header, "ends within the header");
  std::memcpy(&header, file.data(), sizeof header);
  require(std::equal(kMagic, kMagic + sizeof kMagic, header.magic), "not a token cache");
  const uint64_t payload_size = file.size() - sizeof header;
  require(header.n_rows == n_rows && header.n_rows <= payload_size / sizeof(RowLengths), "another number of rows");
  const uint64_t ids_size = payload_size - header.n_rows * sizeof(RowLengths);
  require(ids_size % sizeof(int32_t) == 0 && header.n_ids == ids_size / sizeof(int32_t), "another number of ids");
  const std::string_view payload = file.view().substr(sizeof header);
  require(fs::sha256(payload) == std::string_view(header.payload_hash, kHashChars), "damaged: another hash");

  std::vector<TokenRow> rows(n_rows);
  uint64_t left = header.n_ids;
  const char* ids = payload.data() + header.n_rows * sizeof(RowLengths);
  for (size_t i = 0; i < n_rows; ++i) {
    RowLengths lengths;
    std::memcpy(&lengths, payload.data() + i * sizeof lengths, sizeof lengths);
    require(lengths.prompt <= lengths.all && lengths.all <= left, "impossible lengths");
    left -= lengths.all;
    rows[i].prompt_length = lengths.prompt;
    rows[i].ids.resize(lengths.all);
    std::memcpy(rows[i].ids.data(), ids, lengths.all * sizeof(int32_t));
    ids += lengths.all * sizeof(int32_t);
    for (const auto id : rows[i].ids) require(id >= 0 && id < vocab_size, "an id outside the vocabulary");
  }
  require(left == 0, "impossible lengths");
  return rows;
}

void write_entry(const sfs::path& path, const std::vector<TokenRow>& rows) {
  Header header;
  std::copy(kMagic, kMagic + sizeof kMagic, header.magic);
  header.n_rows = rows.size();
  header.n_ids = 0;
  std::string payload;
  for (const auto& row : rows) {
    header.n_ids += row.ids.size();
    const RowLengths lengths{static_cast<uint32_t>(row.prompt_length), static_cast<uint32_t>(row.ids.size())};
    payload.append(reinterpret_cast<const char*>(&lengths), sizeof lengths);
  }
  for (const auto& row : rows)
    payload.append(reinterpret_cast<const char*>(row.ids.data()), row.ids.size() * sizeof(int32_t));
  const std::string hash = fs::sha256(payload);
  std::copy(hash.begin(), hash.end(), header.payload_hash);
  fs::write_file_atomic(path, [&](int fd) {
    fs::write_all(fd, &header, sizeof header, path);
    fs::write_all(fd, payload.data(), payload.size(), path);
  });
}

struct Entry {
  sfs::path path;
  uint64_t size;
  sfs::file_time_type used;
};

// Deletes the least recently used entries above the limit but for `written`, and what interrupted runs left
// half-written. Other processes may delete the same ones at the same time.
void prune(const std::string& folder, uint64_t max_bytes, const sfs::path& written) {
  std::error_code error;
  std::vector<Entry> entries;
  uint64_t total = 0;
  const auto now = sfs::file_time_type::clock::now();
  for (const auto& item : sfs::directory_iterator(folder, error)) {
    const std::string name = item.path().filename().string();
    std::error_code size_error, time_error;
    const uint64_t size = item.file_size(size_error);
    const auto used = item.last_write_time(time_error);
    if (size_error || time_error) continue;
    if (name.starts_with('.') && name.find(std::string(kExtension) + ".tmp-") != std::string::npos) {
      if (now - used > std::chrono::hours(24)) sfs::remove(item.path(), error);
    } else if (name.ends_with(kExtension)) {
      total += size;
      // Its time of writing, of the kernel's coarse clock, can be before that of an entry that was just read.
      if (item.path() != written) entries.push_back({item.path(), size, used});
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  for (size_t i = 0; i < entries.size() && total > max_bytes; ++i) {
    sfs::remove(entries[i].path, error);
    total -= entries[i].size;
  }
}

}  // namespace

std::string token_cache_folder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  // The XDG rules: a relative path is to be ignored.
  if (const std::string cache = variable("XDG_CACHE_HOME"); cache.starts_with('/')) return cache + "/mamba-peft/tokens";
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.cache/mamba-peft/tokens";
}

TokenizedDataset tokenize_cached(const TextDataset& dataset, const text::Tokenizer& tokenizer,
                                 const TokenizeOptions& options, const TokenCacheOptions& cache) {
  const auto sources = rows_of(dataset, options.for_training);
  const auto encode = [&] { return encode_rows(dataset, sources, tokenizer, options.n_threads); };
  if (cache.folder.empty() || text_bytes(dataset, sources) < cache.min_text_bytes)
    return assemble(dataset, sources, encode(), options);

  const sfs::path path = sfs::path(cache.folder) / (key_of(dataset, sources, tokenizer, cache.program) + kExtension);
  std::error_code ignored;
  if (sfs::is_regular_file(path, ignored)) {  // to open a pipe would wait for its writer
    try {
      auto rows = read_entry(path, sources.size(), tokenizer.vocab_size());
      sfs::last_write_time(path, sfs::file_time_type::clock::now(), ignored);  // used now, for prune
      log::debug("tokens from " + path.string());
      return assemble(dataset, sources, std::move(rows), options);
    } catch (const DataError& e) {
      log::warning(str("token cache: ", path.string(), ": ", e.what(), "; tokenising again"));
    }
  }
  auto rows = encode();
  try {
    write_entry(path, rows);
    prune(cache.folder, cache.max_bytes, path);
  } catch (const DataError& e) {
    log::warning(str("token cache: ", e.what(), "; the run goes on without it (token_cache: false switches it off)"));
  }
  return assemble(dataset, sources, std::move(rows), options);
}

}  // namespace mpeft::data
