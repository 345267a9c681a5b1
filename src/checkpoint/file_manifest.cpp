#include "checkpoint/file_manifest.h"

#include <map>

#include "mpeft/core/fs.h"

#include "checkpoint/json_file.h"
#include "checkpoint/messages.h"

namespace mpeft::checkpoint {
namespace {

using std::filesystem::path;

constexpr const char* kManifest = "files.json";
constexpr int kVersion = 1;

void verify_file(const path& folder, const std::string& name, const nlohmann::json& expected) {
  const path file = folder / name;
  const path relative = path(name).lexically_normal();
  if (relative.empty() || relative.is_absolute() || *relative.begin() == "..") {
    fail((folder / kManifest).string(), ": refused: ", quote(name), " leads out of the folder");
  }
  const auto size = expected.find("size");
  const auto hash = expected.find("sha256");
  if (size == expected.end() || !size->is_number_unsigned() || hash == expected.end() || !hash->is_string()) {
    fail((folder / kManifest).string(), ": ", quote(name), ": expected 'size' and 'sha256'");
  }
  std::error_code error;
  const uint64_t found = std::filesystem::file_size(file, error);
  if (error) fail(file.string(), ": is missing: ", error.message());
  if (found != size->get<uint64_t>()) fail(file.string(), ": ", found, " bytes, expected ", size->get<uint64_t>());
  if (fs::sha256_file(file) != hash->get<std::string>()) fail(file.string(), ": does not match its SHA-256 checksum");
}

}  // namespace

void write_file_manifest(const path& folder) {
  nlohmann::json files = nlohmann::json::object();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_directory()) continue;
    files[entry.path().lexically_relative(folder).generic_string()] = {{"size", entry.file_size()},
                                                                       {"sha256", fs::sha256_file(entry.path())}};
  }
  const nlohmann::json manifest = {{"version", kVersion}, {"files", files}};
  fs::write_file_atomic(folder / kManifest, manifest.dump(2) + "\n");
}

void verify_file_manifest(const path& folder) {
  const std::string where = (folder / kManifest).string();
  const nlohmann::json manifest = read_json_object(folder / kManifest);
  const auto version = manifest.find("version");
  if (version == manifest.end() || *version != kVersion) fail(where, ": expected version ", kVersion);
  const auto files = manifest.find("files");
  if (files == manifest.end() || !files->is_object()) fail(where, ": 'files' is missing or not an object");
  for (const auto& [name, expected] : files->items()) verify_file(folder, name, expected);
}

}  // namespace mpeft::checkpoint
