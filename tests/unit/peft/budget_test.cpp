#include <filesystem>

#include <gtest/gtest.h>

#include "mpeft/peft/peft_method.h"
#include "mpeft/peft/trainable_report.h"

namespace mpeft::peft {
namespace {

struct Budget {
  const char* file;   // of cfg/peft
  double percent[3];  // of base and adapter: 130m, 1.4b, 2.8b
  double rounding;    // half a unit of the last published digit
};

// The published shares.
constexpr Budget kBudgets[] = {
    {"lora/r8/lora_all_no_embed_conv.json", {1.92, 0.97, 0.80}, 0.005},
    {"lora/r8/lora_inoutproj.json", {1.02, 0.51, 0.42}, 0.005},
    {"lora/r8/lora_inproj.json", {0.68, 0.34, 0.28}, 0.005},
    {"lora/r8/lora_inproj_x.json", {0.34, 0.17, 0.14}, 0.005},
    {"lora/r8/lora_outproj.json", {0.34, 0.17, 0.14}, 0.005},
    {"lora/r8/lora_xproj_dtproj.json", {0.92, 0.46, 0.38}, 0.005},
    {"lora/r2/lora_outproj_xproj_dt_proj.json", {0.32, 0.16, 0.13}, 0.005},
    {"lora/r3/lora_outproj_xproj.json", {0.39, 0.19, 0.16}, 0.005},
    {"lora/r5/lora_outproj_dtproj.json", {0.36, 0.18, 0.15}, 0.005},
    {"bitfit/conv_dt.json", {0.057, 0.029, 0.024}, 0.0005},
    {"layer_freeze/A_log_B_C_D_delta_conv.json", {4.31, 4.46, 4.44}, 0.005},
    {"layer_freeze/A_log.json", {0.46, 0.23, 0.19}, 0.005},
    {"layer_freeze/x_proj.json", {2.28, 2.29, 2.27}, 0.005},
    {"layer_freeze/dt_proj.json", {1.40, 1.85, 1.91}, 0.005},
    {"layer_freeze/conv.json", {0.14, 0.07, 0.06}, 0.005},
    {"layer_freeze/D_norm.json", {0.043, 0.022, 0.018}, 0.0005},
    {"ssm_peft/init_state_zero.json", {0.455, 0.229, 0.189}, 0.0005},
    {"ssm_peft/init_state_conv_state_zero.json", {0.54, 0.27, 0.22}, 0.005},
};

model::MambaConfig size_of(int i) {
  model::MambaConfig config;  // 130m
  if (i == 1) {
    config.d_model = 2048;
    config.n_layer = 48;
  } else if (i == 2) {
    config.d_model = 2560;
    config.n_layer = 64;
  }
  return config;
}

TEST(BudgetTest, SharesEqualThePublishedOnes) {
  for (int size = 0; size < 3; ++size) {
    for (const auto& budget : kBudgets) {
      model::MambaLM model(size_of(size));  // its weights are never touched, so they take no memory
      const auto file = std::filesystem::path(MPEFT_SOURCE_DIR) / "cfg/peft" / budget.file;
      make_peft_method_from_files({file})->inject_shapes(model);
      EXPECT_NEAR(100 * report_trainable(model).share(), budget.percent[size], budget.rounding + 1e-9)
          << budget.file << " on size " << size;
    }
  }
}

TEST(BudgetTest, BaseCountsAreThePublishedModels) {
  constexpr int64_t kCounts[] = {129135360, 1372178432, 2768345600};
  for (int size = 0; size < 3; ++size) {
    model::MambaLM model(size_of(size));
    EXPECT_EQ(report_trainable(model).n_total, kCounts[size]);
  }
}

}  // namespace
}  // namespace mpeft::peft
