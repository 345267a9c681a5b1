// How much memory loading takes. MPEFT_LARGE_FILE_MB sets the size of the file (default 96).
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "mpeft/checkpoint/model_folder.h"
#include "mpeft/checkpoint/safetensors.h"

#include "unit/checkpoint/file_builders.h"
#include "unit/checkpoint/test_tools.h"

namespace mpeft::checkpoint {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kTensors = 12;

int64_t file_mebibytes() {
  const char* value = std::getenv("MPEFT_LARGE_FILE_MB");
  return value == nullptr ? 96 : std::atoll(value);
}

// A line of /proc/self/status in MiB: VmRSS counts touched pages of mapped files, RssAnon does not.
double status_mebibytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key + ":", 0) == 0) return std::atof(line.c_str() + key.size() + 1) / 1024;
  }
  return -1;
}

// Sets VmHWM, the peak of VmRSS, back to VmRSS. Containers may forbid it.
bool reset_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5";
  return static_cast<bool>(file.flush());
}

class LoadingMemory : public testing::TestWithParam<const char*> {
 protected:
  // A model folder of kTensors bf16 tensors, written in pieces so that the test itself stays small.
  void write_model() {
    n_elements_ = file_mebibytes() * kMiB / kTensors / 2;
    const auto path = folder_ / GetParam();
    std::ofstream out(path, std::ios::binary);
    const std::string tensor(static_cast<size_t>(n_elements_) * 2, '\x3f');
    if (path.extension() == ".safetensors") {
      std::string header = "{";
      for (int64_t i = 0; i < kTensors; ++i) {
        header += str(i == 0 ? "" : ",", "\"w", i, "\":{\"dtype\":\"BF16\",\"shape\":[", n_elements_,
                      "],\"data_offsets\":[", i * n_elements_ * 2, ",", (i + 1) * n_elements_ * 2, "]}");
      }
      header += "}";
      header.append((8 - header.size() % 8) % 8, ' ');
      out << safetensors_file(header);
      for (int64_t i = 0; i < kTensors; ++i) out << tensor;
    } else {
      std::string body = "}";
      std::vector<ZipInput> inputs;
      for (int64_t i = 0; i < kTensors; ++i) {
        const std::string key = std::to_string(i + 10);  // headers of 40 bytes keep the data aligned
        body += pickle::text(str("w", i)) +
                pickle::tensor(pickle::storage("BFloat16Storage", key, n_elements_), 0, pickle::tuple({n_elements_}),
                               pickle::tuple({1})) +
                "s";
        inputs.push_back({"ar/data/" + key, tensor});
      }
      inputs.push_back({"ar/data.pkl", pickle::whole(body)});
      out << make_zip(inputs);
    }
    ASSERT_TRUE(out.flush());
  }

  TemporaryFolder folder_;
  int64_t n_elements_ = 0;
};

TEST_P(LoadingMemory, IsOnlyTouchedPagesAndOneTensorBesideTheParameters) {
  write_model();
  const double file = static_cast<double>(file_mebibytes());
  const double anonymous_before = status_mebibytes("RssAnon");
  const double resident_before = status_mebibytes("VmRSS");

  TensorMap weights = read_model_weights(folder_.path());
  ASSERT_EQ(static_cast<int64_t>(weights.size()), kTensors);
  EXPECT_LT(status_mebibytes("RssAnon") - anonymous_before, 8) << "reading must copy nothing";
  // Each tensor of a zip archive has a header of its own, and the kernel maps the whole folio (up to 2 MiB of page
  // cache) around a touched page.
  EXPECT_LT(status_mebibytes("VmRSS") - resident_before, 8 + 2 * kTensors) << "reading must touch only the headers";

  const bool has_peak = reset_peak();
  std::vector<at::Tensor> parameters;
  for (int64_t i = 0; i < kTensors; ++i) {
    parameters.push_back(at::empty({n_elements_}, at::kBFloat16));
    parameters.back().copy_(take_tensor(weights, str("w", i)));
  }
  EXPECT_EQ(bytes_in_order(parameters.back().slice(0, 0, 2)), "\x3f\x3f\x3f\x3f");
  const double peak = status_mebibytes(has_peak ? "VmHWM" : "VmRSS") - resident_before;
  RecordProperty("peak_over_file", std::to_string(peak / file));
  std::printf("[ memory   ] %s: peak %.1f MiB for a file of %.0f MiB (%.3f x)%s\n", GetParam(), peak, file, peak / file,
              has_peak ? "" : " (at the end: the peak cannot be reset here)");
  EXPECT_LT(peak, 1.2 * file);
}

INSTANTIATE_TEST_SUITE_P(Formats, LoadingMemory, testing::Values("model.safetensors", "pytorch_model.bin"),
                         [](const auto& test) {
                           return std::string(test.param).find("bin") == std::string::npos ? "Safetensors" : "TorchZip";
                         });

}  // namespace
}  // namespace mpeft::checkpoint
