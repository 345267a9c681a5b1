// The gradients of every PEFT method: right, and none that nobody asks for.
#include <algorithm>
#include <map>
#include <set>

#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include "mpeft/peft/target.h"
#include "mpeft/train/loss.h"

#include "conformance/peft_cases.h"

namespace mpeft::peft::conformance {
namespace {

// Shapes of all tensors that operations compute while `work` runs, and by which; a view is not computed, nor is what
// lies in one of `storages`.
template <typename Work>
std::map<std::vector<int64_t>, std::string> computed_shapes(const std::set<const void*>& storages, const Work& work) {
  static std::map<std::vector<int64_t>, std::string> found;
  static const std::set<const void*>* known = nullptr;
  found.clear();
  known = &storages;
  const auto handle = at::addGlobalCallback(
      at::RecordFunctionCallback(nullptr,
                                 [](const at::RecordFunction& function, at::ObserverContext*) {
                                   static const std::set<std::string> views = {
                                       "aten::detach",  "aten::t",       "aten::transpose",  "aten::view",
                                       "aten::reshape", "aten::expand",  "aten::slice",      "aten::narrow",
                                       "aten::select",  "aten::permute", "aten::as_strided", "aten::alias",
                                       "aten::squeeze", "aten::flatten", "aten::unsqueeze",  "aten::resolve_conj"};
                                   if (views.contains(function.name())) return;
                                   for (const auto& value : function.outputs()) {
                                     if (!value.isTensor() || !value.toTensor().defined()) continue;
                                     const at::Tensor& tensor = value.toTensor();
                                     if (known->contains(tensor.storage().data())) continue;
                                     found.emplace(tensor.sizes().vec(), function.name());
                                   }
                                 })
          .needsOutputs(true)
          .scopes({at::RecordScope::FUNCTION}));
  work();
  at::removeCallback(handle);
  return found;
}

TEST_P(EveryPeftMethod, GradientsEqualFiniteDifferences) {
  auto subject = make_subject(GetParam(), at::kDouble);
  disturb(*subject.method);
  subject.model->eval();  // dropout off
  const data::Batch batch = batch_of_step(1);
  train::token_loss_sum(subject.model, batch).backward();
  const bool is_dora = GetParam().json.find("\"use_dora\": true") != std::string::npos;
  const torch::NoGradGuard no_grad;
  double phase = 0.5;
  for (auto& [name, tensor, site, lr_scale, weight_decay] : subject.method->parameters()) {
    // DoRA's gradient takes the norm for a constant (Liu et al. 2024, section 4.3), so only that of the magnitude is
    // the function's; dora_test.cpp checks the others.
    if (is_dora && name.find("lora_magnitude_vector") == std::string::npos) continue;
    ASSERT_TRUE(tensor.grad().defined()) << name;
    const at::Tensor start = tensor.detach().clone();
    const at::Tensor wave = at::cos(at::arange(tensor.numel(), at::kDouble) * 0.91 + phase++).view(tensor.sizes());
    at::Tensor largest = at::zeros_like(start);  // one entry alone: where the gradient is largest
    largest.view({-1}).index_fill_(0, tensor.grad().abs().argmax(), 1.0);
    for (const at::Tensor& direction : {wave, largest}) {
      const auto loss_at = [&, &value = tensor](double distance) {
        value.copy_(start + direction * distance);
        return train::token_loss_sum(subject.model, batch).item<double>();
      };
      constexpr double kStep = 1e-5;
      const double expected = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
      tensor.copy_(start);
      const double found = (tensor.grad() * direction).sum().item<double>();
      EXPECT_NEAR(found, expected, 2e-6 * std::max(1.0, std::abs(expected))) << name;
    }
  }
}

// Neither a frozen weight, nor the rows of one whose others train, nor the dense table of which SD_LORA trains columns.
TEST_P(EveryPeftMethod, BackwardComputesNothingForFrozenWeights) {
  auto subject = make_subject(GetParam());
  disturb(*subject.method);
  subject.model->train();
  const auto& sizes = subject.model->config();
  std::set<std::vector<int64_t>> frozen, trained;  // shapes
  std::set<const void*> storages;
  for (const auto& item : subject.model->named_parameters()) {
    storages.insert(item.value().storage().data());
    const auto shape = item.value().sizes().vec();
    (item.value().requires_grad() ? trained : frozen).insert(shape);
    if (item.value().requires_grad()) trained.insert({shape.rbegin(), shape.rend()});  // of a product, either way round
  }
  for (const auto& target : list_targets(subject.model)) {
    if (target.is_slice && !target.projection->weight.requires_grad())
      frozen.insert({target.out_features, target.in_features});
    if (target.conv) frozen.insert({target.out_features, target.in_features});  // as the operator sees the kernel
  }
  for (const auto& parameter : subject.method->parameters()) {
    const auto acts_on = [&](const char* part) { return parameter.site.find(part) != std::string::npos; };
    // Terms of the scan have the shape of A, and the scan sums the gradient of the whole of A in registers.
    for (const char* part : {".A_log", ".extra_states", ".param_transform", ".state_offset_tuning", ".ssmpeft"}) {
      if (acts_on(part)) trained.insert({sizes.d_inner(), sizes.d_state});
    }
    if (acts_on(".conv1d")) trained.insert({sizes.d_inner(), sizes.d_conv});
  }
  // LoRAs on slices of one projection are computed as one, whose A has the ranks of all.
  std::map<std::string, std::vector<int64_t>> joint_A;
  for (const auto& parameter : subject.method->parameters()) {
    if (!parameter.name.ends_with("lora_A.weight")) continue;
    auto& shape = joint_A[parameter.site.substr(0, parameter.site.rfind("proj"))];
    shape = {(shape.empty() ? 0 : shape[0]) + parameter.tensor.size(0), parameter.tensor.size(1)};
  }
  for (const auto& [projection, shape] : joint_A) trained.insert(shape);
  const at::Tensor loss = train::token_loss_sum(subject.model, batch_of_step(1));
  const auto computed = computed_shapes(storages, [&] { loss.backward(); });
  EXPECT_GT(computed.size(), 5U);  // the backward was seen
  for (const auto& shape : frozen) {
    const auto it = computed.find(shape);
    EXPECT_TRUE(it == computed.end() || trained.contains(shape)) << at::IntArrayRef(shape) << " by " << it->second;
  }
}

}  // namespace
}  // namespace mpeft::peft::conformance
