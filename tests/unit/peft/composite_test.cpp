#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/peft/adapter.h"
#include "mpeft/peft/peft_method.h"

#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace mpeft::peft {
namespace {

using ::testing::HasSubstr;

std::string lora(const std::string& targets) {
  return R"({"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": )" + targets + "}";
}

class CompositeTest : public ::testing::Test {
 protected:
  std::unique_ptr<PeftMethod> make(const std::string& a, const std::string& b) {
    return make_peft_method_from_files({folder_.write("a.json", a), folder_.write("b.json", b)});
  }
  std::string message_of(const std::string& a, const std::string& b) {
    try {
      auto model = test::make_tiny_model();
      make(a, b)->inject(model, 0);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  test::TemporaryFolder folder_;
};

TEST_F(CompositeTest, IsItsPartsTogether) {
  auto together = test::make_tiny_model(), one = test::make_tiny_model();
  const auto both = make(lora(R"(["in_proj_x"])"), R"({"peft_type": "BITFIT"})");
  both->inject(together, 7);
  EXPECT_EQ(both->type(), "COMPOSITE");
  const auto alone = make_peft_method_from_files({folder_ / "a.json"});
  alone->inject(one, 7);
  EXPECT_EQ(alone->type(), "LORA");
  const auto all = both->parameters(), first = alone->parameters();
  ASSERT_EQ(all.size(), 2U * 2U + 2U * 2U);
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(all[i].name, first[i].name);
    EXPECT_TRUE(at::equal(all[i].tensor, first[i].tensor));  // the same initial values as alone
  }
  EXPECT_EQ(all.back().name, "base_model.model.backbone.layers.1.mixer.dt_proj.bias");
}

TEST_F(CompositeTest, IsOneAdapterFolder) {
  auto model = test::make_tiny_model(), again = test::make_tiny_model();
  const auto method =
      make(lora(R"(["out_proj"])"), R"({"peft_type": "LAYER_FREEZE", "trainable_layers": ["x_proj_B"]})");
  method->inject(model, 7);
  save_adapter(*method, "base", folder_ / "adapter");
  const auto loaded = load_adapter(again, folder_ / "adapter");
  const auto a = method->parameters(), b = loaded->parameters();
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    EXPECT_TRUE(at::equal(a[i].tensor, b[i].tensor)) << a[i].name;
  }
}

TEST_F(CompositeTest, OverlapsAreErrorsInWords) {
  const std::string in_a = (folder_ / "a.json").string(), in_b = (folder_ / "b.json").string();
  EXPECT_EQ(message_of(lora(R"(["out_proj"])"), lora(R"(["x_proj", "out_proj"])")),
            in_b + ": LORA changes backbone.layers.0.mixer.out_proj, but " + in_a +
                " (LORA) changes it too: adapters that are applied together must not overlap");
  EXPECT_THAT(message_of(lora(R"(["in_proj"])"), lora(R"(["in_proj_z"])")),
              HasSubstr("changes backbone.layers.0.mixer.in_proj_z, but " + in_a +
                        " (LORA) changes backbone.layers.0.mixer.in_proj, of which it is a part or the whole"));
  EXPECT_THAT(message_of(lora(R"(["x_proj_C"])"), R"({"peft_type": "LAYER_FREEZE", "trainable_layers": ["x_proj"]})"),
              HasSubstr("LAYER_FREEZE changes backbone.layers.0.mixer.x_proj, but"));
  EXPECT_THAT(
      message_of(R"({"peft_type": "BITFIT"})", R"({"peft_type": "LAYER_FREEZE", "trainable_layers": ["conv1d"]})"),
      HasSubstr("conv1d.bias"));
  EXPECT_EQ(message_of(lora(R"(["dt_proj"])"), R"({"peft_type": "BITFIT"})"), "no error");
}

TEST_F(CompositeTest, MessagesStartWithThePartTheyAreAbout) {
  EXPECT_THAT(message_of(lora(R"(["out_proj"])"), lora(R"(["x_prj"])")),
              HasSubstr("b.json: target_modules: 'x_prj' matches no module"));
  const auto message = [](const std::string& json) -> std::string {
    try {
      make_peft_method(json, "t.json");
    } catch (const ConfigError& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_THAT(message(R"({"peft_type": "COMPOSITE", "adapters": [{"peft_type": "LORA"}]})"),
              HasSubstr("t.json: adapters[0]: target_modules: missing"));
  EXPECT_THAT(message(R"({"peft_type": "COMPOSITE"})"), HasSubstr("t.json: adapters: expected a list"));
  EXPECT_THAT(message(R"({"peft_type": "COMPOSITE", "adapters": [{"peft_type": "COMPOSITE", "adapters":
                      [{"peft_type": "BITFIT"}]}]})"),
              HasSubstr("a composite within a composite"));
}

}  // namespace
}  // namespace mpeft::peft
