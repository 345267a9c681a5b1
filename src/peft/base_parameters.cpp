#include "peft/base_parameters.h"

#include "mpeft/core/strings.h"
#include "mpeft/peft/target.h"

namespace mpeft::peft {
namespace {

void add(std::vector<BaseParameter>& list, const std::string& path, const at::Tensor& tensor) {
  if (tensor.defined()) list.push_back({path, tensor, nullptr, ""});
}

void add_projection(std::vector<BaseParameter>& list, const std::string& parent, const std::string& name,
                    const model::Projection& projection) {
  list.push_back({parent + name + ".weight", projection->weight, projection, ""});
  for (const auto& slice : projection->options().slices)
    list.push_back({parent + slice.name + ".weight", projection->weight, projection, slice.name});
  add(list, parent + name + ".bias", projection->bias);
}

}  // namespace

std::vector<BaseParameter> list_base_parameters(model::MambaLM& model) {
  std::vector<BaseParameter> list;
  add(list, "backbone.embeddings.weight", model->backbone->embeddings->weight);
  for (size_t i = 0; i < model->backbone->layers.size(); ++i) {
    auto& block = *model->backbone->layers[i];
    auto& mixer = *block.mixer;
    const std::string layer = mpeft::str("backbone.layers.", i, "."), parent = layer + "mixer.";
    add(list, layer + "norm.weight", block.norm->weight);
    add(list, parent + "A_log", mixer.A_log);
    add(list, parent + "D", mixer.D);
    add_projection(list, parent, "in_proj", mixer.in_proj);
    add(list, parent + "conv1d.weight", mixer.conv1d->weight);
    add(list, parent + "conv1d.bias", mixer.conv1d->bias);
    add_projection(list, parent, "x_proj", mixer.x_proj);
    add_projection(list, parent, "dt_proj", mixer.dt_proj);
    add_projection(list, parent, "out_proj", mixer.out_proj);
  }
  add(list, "backbone.norm_f.weight", model->backbone->norm_f->weight);
  if (!model->config().tie_embeddings) add_projection(list, "", "lm_head", model->lm_head);
  return list;
}

bool has_components(const std::string& path, const std::string& pattern) {
  return ("." + path + ".").find("." + pattern + ".") != std::string::npos;
}

NamedParameter thaw(const BaseParameter& parameter) {
  at::Tensor tensor = parameter.tensor;
  if (parameter.slice.empty()) {
    tensor.set_requires_grad(true);
  } else {
    tensor = model::Projection(parameter.projection)->thaw_rows(parameter.slice);
  }
  constexpr std::string_view kWeight = ".weight";
  const bool is_weight = parameter.path.ends_with(kWeight);
  return {"base_model.model." + parameter.path, tensor,
          is_weight ? parameter.path.substr(0, parameter.path.size() - kWeight.size()) : parameter.path};
}

void merge_rows(model::MambaLM& model) {
  for (auto& target : list_targets(model)) {
    if (target.projection && !target.is_slice) target.projection->merge_adapters();
  }
}

}  // namespace mpeft::peft
