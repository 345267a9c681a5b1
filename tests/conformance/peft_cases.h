#pragma once

#include <filesystem>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "mpeft/data/collator.h"
#include "mpeft/model/mamba_lm.h"
#include "mpeft/peft/peft_method.h"

#include "support/tiny_model.h"

// defines: Case, all_cases, config_files, Subject, make_base, make_subject, disturb, relative_difference,
// batch_of_step, EveryPeftMethod
//
// What the tests of every PEFT method share: the methods, for each example that a registered one gives of itself and
// for each file of cfg/peft, and a tiny model to apply them to.

namespace mpeft::peft::conformance {

using test::logits_of;
using test::some_ids;

struct Case {
  std::string name;   // of the test
  std::string json;   // the configuration
  std::string where;  // the file or example that it came from
};

void PrintTo(const Case& c, std::ostream* out);

std::vector<Case> all_cases();
std::vector<std::filesystem::path> config_files();

struct Subject {
  model::MambaLM model{nullptr};
  std::unique_ptr<PeftMethod> method;
};

/// 80 channels, so that the reference's share of 1 % of them is one; sizes that differ from each other, from the number
/// of tokens in a batch and from twice the number of states, so that a shape says whose gradient it is.
model::MambaLM make_base();
Subject make_subject(const Case& c, at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU);
/// Moves every trained value away from where it started, the same way each time, so that all of the adapter acts.
void disturb(const PeftMethod& method, double size = 0.1);

double relative_difference(const at::Tensor& a, const at::Tensor& b);
/// Three rows of different length, two of them of the step before.
data::Batch batch_of_step(int step);

class EveryPeftMethod : public ::testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() { at::set_num_threads(1); }  // the operations are tiny
};

}  // namespace mpeft::peft::conformance
