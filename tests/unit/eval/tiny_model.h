#pragma once

#include <string>

#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/model/factory.h"
#include "mpeft/model/precision.h"

namespace mpeft::eval {

/// A random model of the golden files, fp32 on the CPU.
inline model::MambaLM golden_model(const std::string& name) {
  auto model = model::make_model(MPEFT_TEST_GOLDEN_DIR "/" + name, 0).model;
  model::place_parameters(model, at::kCPU, at::kFloat);
  return model;
}

/// The one whose logits, loss and gradients are known.
inline model::MambaLM tiny_model() { return golden_model("model/tiny"); }

/// The one whose texts are known: they end at many different steps.
inline model::MambaLM decoding_model() { return golden_model("eval/model"); }

inline checkpoint::TensorMap tiny_cases() {
  return checkpoint::read_safetensors(MPEFT_TEST_GOLDEN_DIR "/model/tiny/cases.safetensors");
}

}  // namespace mpeft::eval
