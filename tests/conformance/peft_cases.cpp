#include "conformance/peft_cases.h"

#include <algorithm>
#include <cctype>

#include "mpeft/core/fs.h"
#include "mpeft/model/init.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/staged_method.h"

namespace mpeft::peft::conformance {
namespace {

namespace sfs = std::filesystem;

std::string test_name(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return text;
}

// A configuration, and those of the stages after it, each decided by a disturbed adapter of the one before.
void add_cases(std::vector<Case>& cases, const std::string& name, std::string json, const std::string& where) {
  for (int stage = 1;; ++stage) {
    const std::string suffix = stage == 1 ? "" : "_stage" + std::to_string(stage);
    cases.push_back({test_name(name) + suffix, json, where + suffix});
    // A configuration that cannot be made fails in its own tests, not while the list of tests is made.
    try {
      const auto method = make_peft_method(json, where);
      if (stage_of(*method).is_last()) return;
      auto model = make_base();
      method->inject(model, /*seed=*/11);
      disturb(*method);
      json = next_stage_json(*method);
    } catch (const std::exception&) {
      return;
    }
  }
}

const std::vector<data::Example>& examples() {
  static const auto list = [] {
    std::vector<data::Example> made;
    for (int i = 0; i < 6; ++i) {
      data::Example& example = made.emplace_back();
      for (int t = 0; t < 4 + 2 * (i % 3); ++t) example.ids.push_back((7 * i + 11 * t + t * t) % 61);
      example.prompt_length = 1 + i % 3;
    }
    return made;
  }();
  return list;
}

}  // namespace

void PrintTo(const Case& c, std::ostream* out) { *out << c.where; }

std::vector<sfs::path> config_files() {
  std::vector<sfs::path> files;
  const sfs::path root = sfs::path(MPEFT_SOURCE_DIR) / "cfg/peft";
  if (!sfs::exists(root)) return files;
  for (const auto& entry : sfs::recursive_directory_iterator(root)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto& method : peft_method_names()) {
    int n = 0;
    for (const auto& example : peft_method_examples(method)) {
      const std::string name = method + "_example" + std::to_string(++n);
      add_cases(cases, name, example, name);
    }
  }
  for (const auto& file : config_files()) {
    const std::string name = file.lexically_relative(MPEFT_SOURCE_DIR).replace_extension().string();
    add_cases(cases, name, fs::read_file(file), file.string());
  }
  return cases;
}

model::MambaLM make_base() {
  model::MambaConfig config;
  config.d_model = 40;
  config.dt_rank = 7;
  config.n_layer = 2;
  config.vocab_size = 61;
  model::MambaLM model(config);
  model::init_parameters(model, /*seed=*/5);
  return model;
}

Subject make_subject(const Case& c, at::ScalarType dtype, at::Device device) {
  Subject subject;
  subject.model = make_base();
  subject.method = make_peft_method(c.json, c.where);
  subject.method->inject(subject.model, /*seed=*/11);
  model::place_parameters(subject.model, device, dtype);
  return subject;
}

void disturb(const PeftMethod& method, double size) {
  const torch::NoGradGuard no_grad;
  double phase = 1;
  for (auto& parameter : method.parameters()) {
    const at::Tensor wave = at::sin(at::arange(parameter.tensor.numel(), at::kDouble) * 1.37 + phase++);
    parameter.tensor.add_((wave * size).view(parameter.tensor.sizes()));
  }
}

double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).to(at::kDouble).norm() / b.to(at::kDouble).norm()).item<double>();
}

data::Batch batch_of_step(int step) {
  const auto& all = examples();
  const size_t n = all.size(), first = static_cast<size_t>(step) % n;
  return data::collate({&all[first], &all[(first + 1) % n], &all[(first + 2) % n]}, /*pad_id=*/0);
}

}  // namespace mpeft::peft::conformance
