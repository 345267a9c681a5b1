// Exactly which tensors each of the reference's configurations trains, by rules written down here a second time and in
// the reference's own terms: its model has the slices of in_proj and x_proj as modules of their own, and its layer
// freezing looks for substrings of their names.

#include <algorithm>
#include <filesystem>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mpeft/core/fs.h"
#include "mpeft/model/mamba_lm.h"
#include "mpeft/peft/peft_method.h"
#include "mpeft/peft/staged_method.h"

namespace mpeft::peft {
namespace {

namespace sfs = std::filesystem;
using nlohmann::json;
using Names = std::set<std::string>;

constexpr int64_t kLayers = 2;

const std::string kRoot = "base_model.model.";

// Modules of one layer's mixer in the reference.
const std::vector<std::string> kModules = {"in_proj_x", "in_proj_z", "conv1d",  "x_proj_dt",
                                           "x_proj_B",  "x_proj_C",  "dt_proj", "out_proj"};

std::string mixer(int64_t layer) { return "backbone.layers." + std::to_string(layer) + ".mixer."; }

// All parameters of the reference's model.
Names reference_parameters() {
  Names all = {"backbone.embedding.weight", "backbone.norm_f.weight"};
  for (int64_t i = 0; i < kLayers; ++i) {
    all.insert("backbone.layers." + std::to_string(i) + ".norm.weight");
    for (const char* name : {"A_log", "D", "conv1d.bias", "dt_proj.bias"}) all.insert(mixer(i) + name);
    for (const auto& module : kModules) all.insert(mixer(i) + module + ".weight");
  }
  return all;
}

// Slices that all train are one weight of ours.
Names joined(Names names) {
  for (int64_t i = 0; i < kLayers; ++i) {
    for (const auto& [whole, slices] : std::vector<std::pair<std::string, std::vector<std::string>>>{
             {"in_proj", {"in_proj_x", "in_proj_z"}}, {"x_proj", {"x_proj_dt", "x_proj_B", "x_proj_C"}}}) {
      const auto weight = [&](const std::string& module) { return mixer(i) + module + ".weight"; };
      if (!std::all_of(slices.begin(), slices.end(), [&](const auto& s) { return names.contains(weight(s)); }))
        continue;
      for (const auto& slice : slices) names.erase(weight(slice));
      names.insert(weight(whole));
    }
  }
  return names;
}

Names lora_names(const std::vector<std::string>& targets) {
  Names names;
  for (const auto& target : targets) {
    if (target == "embedding") {  // PEFT's names of an adapter on transformers' embedding
      names.insert({"backbone.embeddings.lora_embedding_A", "backbone.embeddings.lora_embedding_B"});
      continue;
    }
    for (int64_t i = 0; i < kLayers; ++i) {
      for (const char* part : {".lora_A.weight", ".lora_B.weight"}) names.insert(mixer(i) + target + part);
    }
  }
  return names;
}

Names of_every_layer(const std::vector<std::string>& names) {
  Names all;
  for (int64_t i = 0; i < kLayers; ++i) {
    for (const auto& name : names) all.insert(mixer(i) + name);
  }
  return all;
}

// What the last stage trains; `warm_up` is what the first of two does.
struct Expected {
  Names last, warm_up;
};

Expected expected_names(const json& config) {
  const std::string type = config.at("peft_type");
  if (type == "LORA") return {lora_names(config.at("target_modules")), {}};
  if (type == "LAYER_FREEZE") {
    Names chosen;
    for (const auto& name : reference_parameters()) {
      for (const std::string part : config.at("trainable_layers")) {
        if (name.find(part) != std::string::npos) chosen.insert(name);
      }
    }
    return {joined(chosen), {}};
  }
  if (type == "BITFIT") return {of_every_layer({"conv1d.bias", "dt_proj.bias"}), {}};
  if (type == "SSMPEFT") {
    std::vector<std::string> states = {"ssmpeft.initial_state"};
    if (config.value("conv_init_state", false)) states.emplace_back("ssmpeft.conv_state");
    return {of_every_layer(states), {}};
  }
  if (type == "SD_LORA") {
    Names lora = lora_names({"out_proj"}), warm_up = lora;
    lora.merge(of_every_layer({"A_log.sdt_delta", "x_proj_B.sdt_delta", "x_proj_C.sdt_delta"}));
    warm_up.merge(of_every_layer({"A_log.sdt_warmup"}));
    return {lora, warm_up};
  }
  ADD_FAILURE() << type << ": the reference has no configuration of it";
  return {};
}

Names trained_names(const std::string& config, const std::string& where, std::string* next_stage) {
  model::MambaConfig sizes;
  sizes.d_model = 32;
  sizes.n_layer = kLayers;
  sizes.vocab_size = 61;
  model::MambaLM model(sizes);
  const auto method = make_peft_method(config, where);
  method->inject_shapes(model);
  Names names;
  for (const auto& parameter : method->parameters()) {
    EXPECT_TRUE(parameter.name.starts_with(kRoot)) << parameter.name;
    names.insert(parameter.name.substr(kRoot.size()));
  }
  if (!stage_of(*method).is_last()) *next_stage = next_stage_json(*method);
  return names;
}

TEST(TrainedNamesTest, AreThoseOfTheReferenceForEachOfItsConfigurations) {
  size_t n_files = 0;
  for (const auto& entry : sfs::recursive_directory_iterator(sfs::path(MPEFT_SOURCE_DIR) / "cfg/peft")) {
    if (entry.path().extension() != ".json") continue;
    ++n_files;
    const std::string text = fs::read_file(entry.path()), where = entry.path().string();
    const auto expected = expected_names(json::parse(text));
    std::string next;
    const Names first = trained_names(text, where, &next);
    if (expected.warm_up.empty()) {
      EXPECT_EQ(first, expected.last) << where;
      EXPECT_EQ(next, "") << where;
    } else {
      EXPECT_EQ(first, expected.warm_up) << where;
      ASSERT_NE(next, "") << where;
      EXPECT_EQ(trained_names(next, where, nullptr), expected.last) << where;
    }
  }
  EXPECT_EQ(n_files, 129U);
}

}  // namespace
}  // namespace mpeft::peft
