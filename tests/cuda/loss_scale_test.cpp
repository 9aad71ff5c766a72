// SPDX-License-Identifier: Apache-2.0
// Loss scaling inside of a recorded step: an overflow is found, its update left out and the scale lowered by
// replays that the host only starts.
#include <gtest/gtest.h>

#include <cstring>

#include "backend/module_loader.h"
#include "core/philox.h"
#include "support/fake_cuda.h"
#include "tanul/trainer.h"

namespace tanul::test {
namespace {

Model net() {
  ModelBuilder m("net");
  Var x = m.relu(m.conv2d(m.input({1, 6, 6}), {.out = 3, .kernel = 3}));
  SoftmaxCrossEntropyOptions loss;
  loss.weight = 4;
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}), loss);
  return m.build();
}

TrainerOptions options_of(const std::string& device) {
  TrainerOptions options;
  options.device = device;
  options.batch = 4;
  options.optimizer = AdamW{5e-3f};
  options.ema_decay = 0.9;
  options.lookahead = {2, 0.5};
  options.clip_norm = 1;
  options.precision = Precision::fp16;
  options.normalization = Normalization{{0.5f}, {0.3f}};
  return options;
}

constexpr float kScale = 256;  // small enough for products in fp16, too

struct Batch {
  Tensor samples{Shape{4, 1, 6, 6}};
  Tensor labels{Shape{4}, DType::i32};
};

Batch batch(uint64_t seed) {
  Batch result;
  const Philox random{seed, philox_stream("batch"), 0};
  for (int64_t i = 0; i < result.samples.elems(); ++i) {
    result.samples.data<float>()[i] = random.uniform24(static_cast<uint64_t>(i));
  }
  for (int64_t i = 0; i < 4; ++i) {
    result.labels.data<int32_t>()[i] = static_cast<int32_t>((i + static_cast<int64_t>(seed)) % 3);
  }
  return result;
}

void step(Trainer& trainer, uint64_t seed) {
  const Batch b = batch(seed);
  trainer.step(b.samples, b.labels);
}

// All but the scale.
std::string bytes_of(const Trainer& trainer) {
  std::string bytes;
  for (const auto& [name, tensor] : trainer.state().tensors) {
    if (name == "loss_scale") continue;
    bytes.append(static_cast<const char*>(tensor.raw()), static_cast<size_t>(tensor.bytes()));
  }
  return bytes;
}

void set_scale(Trainer& trainer, float scale, float left_out) {
  TensorFile file = trainer.state();
  for (auto& [name, tensor] : file.tensors) {
    if (name != "loss_scale") continue;
    tensor.data<float>()[0] = scale;
    tensor.data<float>()[2] = left_out;
  }
  trainer.load_state(file);
}

TEST(CudaLossScale, AnOverflowInAReplaySkipsExactlyOneUpdate) {
  FakeCuda fake;
  {
    const ModuleInPlace in_place(fake.module());
    Trainer clean(net(), options_of("cuda")), hit(net(), options_of("cuda"));
    for (Trainer* trainer : {&clean, &hit}) set_scale(*trainer, kScale, 0);
    for (uint64_t at = 0; at < 6; ++at) {
      step(clean, at);
      if (at == 3) {  // walked, recorded, replayed: this is a replay, too
        set_scale(hit, 0x1p127f, 0);
        const std::string before = bytes_of(hit);
        step(hit, 77);
        EXPECT_TRUE(bytes_of(hit) == before);
        EXPECT_EQ(hit.loss_scale()->scale, 0x1p126);
        EXPECT_EQ(hit.loss_scale()->left_out, 1);
        set_scale(hit, kScale, 1);
      }
      step(hit, at);
    }
    EXPECT_TRUE(bytes_of(clean) == bytes_of(hit));
    EXPECT_EQ(fake.calls_of("cudaStreamBeginCapture"), 2);
    EXPECT_EQ(clean.loss_scale()->good_steps, 6);
  }
  EXPECT_TRUE(fake.violations().empty());
  EXPECT_TRUE(fake.leaks().empty());
}

}  // namespace
}  // namespace tanul::test
