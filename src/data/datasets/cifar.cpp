// CIFAR-10 (Krizhevsky 2009), binary version, as text: the middle 24 x 24 pixels of an image written as numbers, red,
// green and blue of one pixel after the other, row by row. https://www.cs.toronto.edu/~kriz/cifar.html
#include <array>
#include <charconv>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

#include "data/data_files.h"
#include "data/dataset_source.h"
#include "data/record_errors.h"

namespace mpeft::data {
namespace {

constexpr size_t kSide = 32, kCrop = 24, kMargin = (kSide - kCrop) / 2;
constexpr size_t kPlane = kSide * kSide;
constexpr size_t kRecordBytes = 1 + 3 * kPlane;  // label, then the planes of red, green and blue
constexpr size_t kClasses = 10;

// The numbers of the crop, separated by blanks: 24 * 24 * 3 of them.
std::string crop_text(const uint8_t* planes) {
  std::string text;
  text.reserve(kCrop * kCrop * 3 * 4);
  for (size_t y = kMargin; y < kMargin + kCrop; ++y) {
    for (size_t x = kMargin; x < kMargin + kCrop; ++x) {
      for (size_t channel = 0; channel < 3; ++channel) {
        std::array<char, 4> digits;
        const auto end =
            std::to_chars(digits.data(), digits.data() + digits.size(), planes[channel * kPlane + y * kSide + x]).ptr;
        if (!text.empty()) text += ' ';
        text.append(digits.data(), end);
      }
    }
  }
  return text;
}

class Cifar : public DatasetSource {
 public:
  explicit Cifar(const SourceContext& context)
      : data_root_(context.data_root), n_bad_allowed_(context.skip_bad_records) {
    const auto& options = context.options;
    if (!context.name.variant.empty() || !context.name.path.empty()) {
      throw ConfigError("data: cifar has no variants (cifar, cifar-tvt, cifar_1000, cifar-tvt_1000)");
    }
    folder_ = data_root_ + "/" + options["folder"].as_string("cifar-10-batches-bin");
    train_files_ = options["train_files"].as_strings(
        {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"});
    test_file_ = options["test_file"].as_string("test_batch.bin");
  }

  std::string instruction() const override {
    return "What does this picture of 24 by 24 pixels show? Answer 0 for an airplane, 1 for an automobile, 2 for a "
           "bird, 3 for a cat, 4 for a deer, 5 for a dog, 6 for a frog, 7 for a horse, 8 for a ship, 9 for a truck.";
  }
  std::vector<std::string> metrics() const override { return {"accuracy"}; }
  bool end_token_after_target() const override { return false; }
  std::vector<std::string> classes() const override {
    std::vector<std::string> digits;
    for (size_t i = 0; i < kClasses; ++i) digits.push_back(str(i));
    return digits;
  }
  SplitIndices tvt_split(int64_t n) const override { return python_train_test_split(n, /*train_size=*/0.8, kTvtSeed); }

  /// CIFAR is published with a training and a test part: the latter serves for validation too, unless the name says
  /// `-tvt`.
  SourceRecords read(Split split) const override {
    SourceRecords result;
    if (split != Split::kTrain) {
      read_file(test_file_, "test_file", 0, result);
      return result;
    }
    int64_t n_read = 0;
    for (const auto& name : train_files_) n_read += read_file(name, "train_files", n_read, result);
    return result;
  }

 private:
  // Records are numbered through all files of a split, from `first` in this one. Returns how many the file holds.
  int64_t read_file(const std::string& name, const std::string& option, int64_t first, SourceRecords& result) const {
    const std::string path =
        locate_official_file({"cifar", folder_, name, option,
                              "https://www.cs.toronto.edu/~kriz/cifar.html (binary version)", "cifar", data_root_});
    result.files.push_back(path);
    const fs::MappedFile file(path);
    if (file.size() == 0) throw DataError(path + ": is empty; expected records of 3,073 bytes");
    RecordErrors errors(path, n_bad_allowed_);
    const auto n_whole = static_cast<int64_t>(file.size() / kRecordBytes);
    for (int64_t i = 0; i < n_whole; ++i) {
      const uint8_t* record = file.data() + static_cast<size_t>(i) * kRecordBytes;
      if (record[0] >= kClasses) {
        errors.add(i + 1, str("label ", int{record[0]}, ": expected 0 to 9"));
      } else {
        result.records.push_back({crop_text(record + 1), {str(int{record[0]})}, first + i});
      }
    }
    if (const size_t left = file.size() % kRecordBytes; left > 0) {
      errors.add(n_whole + 1,
                 str("ends after ", left, " of ", kRecordBytes, " bytes; is the file whole, and the binary version?"));
    }
    if (const std::string note = errors.note(); !note.empty()) result.notes.push_back(note);
    return n_whole;
  }

  std::string data_root_, folder_;
  int64_t n_bad_allowed_;
  std::vector<std::string> train_files_;
  std::string test_file_;
};

}  // namespace

std::unique_ptr<DatasetSource> make_cifar(const SourceContext& context) { return std::make_unique<Cifar>(context); }

}  // namespace mpeft::data
