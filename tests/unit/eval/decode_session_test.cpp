#include "eval/decode_session.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include "kernels/registration.h"
#include "mpeft/model/init.h"
#include "mpeft/model/precision.h"

namespace mpeft::eval {
namespace {

enum class Kind { kPlain, kProjectionAdapters, kScanAdapter };

/// y + 0.1 x A^T B^T.
class LowRank : public torch::nn::Module, public model::ProjectionAdapter {
 public:
  LowRank(int64_t in_features, int64_t out_features) {
    A = register_parameter("A", at::randn({2, in_features}) * 0.1, /*requires_grad=*/false);
    B = register_parameter("B", at::randn({out_features, 2}), /*requires_grad=*/false);
  }
  at::Tensor forward(const at::Tensor& x, at::Tensor y) override {
    return y + at::matmul(at::matmul(x, A.to(x.scalar_type()).t()), B.to(x.scalar_type()).t());
  }
  at::Tensor weight_delta() const override { return at::mm(B, A); }
  at::Tensor A, B;
};

/// Faster decay: something the fused step does not know.
class FasterDecay : public torch::nn::Module, public model::ScanAdapter {
 public:
  at::Tensor change_A_log(const at::Tensor& A_log) override { return A_log + 0.5; }
};

model::MambaLM make_model(Kind kind, at::Device device, at::ScalarType dtype) {
  model::MambaConfig config;
  config.d_model = 64;
  config.n_layer = 2;
  config.vocab_size = 101;
  model::MambaLM model(config);
  model::init_parameters(model, 3);
  torch::manual_seed(7);
  for (auto& block : model->backbone->layers) {
    auto& mixer = *block->mixer;
    if (kind == Kind::kProjectionAdapters) {
      for (auto* p : {&mixer.in_proj, &mixer.x_proj, &mixer.dt_proj, &mixer.out_proj}) {
        const auto adapter = std::make_shared<LowRank>((*p)->weight.size(1), (*p)->weight.size(0));
        (*p)->attach("adapted", adapter, adapter);
      }
    }
    if (kind == Kind::kScanAdapter) {
      const auto adapter = std::make_shared<FasterDecay>();
      mixer.attach("decay", adapter, adapter);
    }
  }
  model::place_parameters(model, device, dtype);
  model->eval();
  return model;
}

struct Case {
  const char* device;
  Kind kind;
};

class DecodeSessionTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (std::string(GetParam().device) != "cuda") return;
    if (!ops::built_with_cuda()) GTEST_SKIP() << "built without CUDA";
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU on this machine";
  }
};

INSTANTIATE_TEST_SUITE_P(Models, DecodeSessionTest,
                         ::testing::Values(Case{"cpu", Kind::kPlain}, Case{"cpu", Kind::kProjectionAdapters},
                                           Case{"cpu", Kind::kScanAdapter}, Case{"cuda", Kind::kPlain},
                                           Case{"cuda", Kind::kProjectionAdapters}, Case{"cuda", Kind::kScanAdapter}),
                         [](const auto& test) {
                           const std::string kind = test.param.kind == Kind::kPlain ? "Plain"
                                                    : test.param.kind == Kind::kProjectionAdapters
                                                        ? "ProjectionAdapters"
                                                        : "ScanAdapter";
                           return test.param.device + ("_" + kind);
                         });

/// A step of the module path: what the session must equal.
at::Tensor module_step(model::MambaLM& model, model::InferenceCache& cache, const at::Tensor& tokens) {
  return model->forward_head(model->forward_hidden(tokens.unsqueeze(1), {}, &cache).squeeze(1)).to(at::kFloat);
}

TEST_P(DecodeSessionTest, EqualsTheModulesStepByStepThroughReorderingAndShrinking) {
  const at::NoGradGuard no_grad;
  const at::Device device(GetParam().device);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    auto model = make_model(GetParam().kind, device, dtype);
    const double tolerance = dtype == at::kFloat ? (device.is_cpu() ? 2e-6 : 1e-5) : 2e-2;
    const auto prompt = at::randint(101, {6, 5}, at::kLong).to(device);
    model::InferenceCache cache;
    model->forward_hidden(prompt, {}, &cache);
    DecodeSession session(model, 8);
    session.load(cache);
    const std::vector<std::optional<std::vector<int64_t>>> turns{
        std::nullopt, {{5, 5, 0, 2, 1, 1}}, std::nullopt, {{1, 0, 3, 2}}, {{3, 3, 3, 0}}, std::nullopt,
        std::nullopt, {{0, 2, 1}},          {{2, 2, 0}},  std::nullopt,   {{1, 1}},       {{1, 0, 0, 0, 1, 0, 1, 1}}};
    int64_t n = 6;
    for (size_t turn = 0; turn < turns.size(); ++turn) {
      std::optional<at::Tensor> parents;
      if (turns[turn]) {
        parents = at::tensor(*turns[turn], at::kLong).to(device);
        n = parents->size(0);
        cache.select_rows(*parents);
      }
      const auto tokens = at::randint(101, {n}, at::kLong).to(device);
      const auto expected = module_step(model, cache, tokens);
      const auto ours = session.step(tokens, parents);
      ASSERT_EQ(ours.sizes(), expected.sizes());
      const double error = (ours - expected).norm().item<double>() / expected.norm().item<double>();
      // A product of 8 rows, some of them nobody's, rounds otherwise than one of 6: the conformance test of the methods
      // compares equal numbers of rows bit by bit.
      EXPECT_LE(error, tolerance) << "turn " << turn;
    }
    // what a smaller session takes over
    const auto kept = at::tensor(std::vector<int64_t>{4, 1}, at::kLong).to(device);
    cache.select_rows(kept);
    DecodeSession smaller(model, 2);
    smaller.load(session.rows(kept));
    const auto tokens = at::randint(101, {2}, at::kLong).to(device);
    const auto expected = module_step(model, cache, tokens);
    const double error = (smaller.step(tokens, {}) - expected).norm().item<double>() / expected.norm().item<double>();
    EXPECT_LE(error, tolerance);
  }
}

TEST(DecodeSessions, AreForHalfPrecisionOnAGpu) {
  DecodeSessions on_cpu(make_model(Kind::kPlain, at::kCPU, at::kBFloat16));
  EXPECT_EQ(on_cpu.acquire(4), nullptr);
}

TEST(DecodeSessions, AreSharedByBatchesOfLikeSizes) {
  if (!ops::built_with_cuda() || !at::hasCUDA()) GTEST_SKIP() << "no GPU on this machine, or built without CUDA";
  DecodeSessions sessions(make_model(Kind::kPlain, at::kCUDA, at::kBFloat16));
  DecodeSession* const first = sessions.acquire(8);
  EXPECT_EQ(sessions.acquire(5), first);
  EXPECT_NE(sessions.acquire(3), first);
  EXPECT_EQ(sessions.acquire(8), first);
}

}  // namespace
}  // namespace mpeft::eval
