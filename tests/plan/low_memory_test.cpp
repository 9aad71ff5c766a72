// SPDX-License-Identifier: Apache-2.0
// Memory for time: whatever is kept of the forward pass, and whatever is made again, the weights come
// out with the same bits; what Memory::low chooses needs less memory and says what it costs.
#include "plan/low_memory.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <map>

#include "backend/backend.h"
#include "kernels/op.h"
#include "run/executor.h"
#include "support/random_model.h"
#include "tanul/models.h"
#include "tanul/recipe.h"
#include "tanul/trainer.h"
#include "train/trainer_impl.h"

namespace tanul {
namespace {

StepGraphOptions training(const Model& model, int64_t batch) {
  StepGraphOptions options;
  options.batch = batch;
  options.samples = PortTypes(DType::f32);
  options.targets = default_targets(model);
  options.optimizer = Sgd{0.05f, 0.9f};
  return options;
}

PlanOptions cpu_options(int threads = 2) {
  PlanOptions options;
  options.threads = threads;
  options.implementations = [](OpKind kind) -> const ImplementationList& {
    return cpu_implementations(kind);
  };
  return options;
}

using Bytes = std::vector<std::byte>;

// Trains a few steps on made-up data, in memory that starts as NaN, and hands out everything that
// persists, by name, and the losses.
class StepRun {
 public:
  StepRun(const Model& model, const StepGraphOptions& options)
      : backend_(open_backend(find_device("cpu"), 2)), plan_(model, options, cpu_options()) {
    scratch_ = DeviceMemory(*backend_, plan_.scratch_bytes());
    std::memset(scratch_.data(), 0xFF, static_cast<size_t>(plan_.scratch_bytes()));
    const Graph& graph = plan_.step_graph().graph;
    for (ValueId id : plan_.persistent_values()) start(graph.value(id));
    plan_.bind([this](const std::string& name) { return memory_.at(name).data(); }, scratch_.data(),
               &block_);
  }

  std::map<std::string, Bytes> train(int steps) {
    std::map<std::string, Bytes> result;
    const StepGraph& step = plan_.step_graph();
    for (int s = 0; s < steps; ++s) {
      block_ = {7, static_cast<uint64_t>(s), 0.05f, 0};
      for (const StepGraph::Input& input : step.inputs) fill_f32(input.samples, s);
      for (const StepGraph::Loss& loss : step.losses) fill_target(loss, s);
      run_plan(*backend_, plan_);
      for (const StepGraph::Loss& loss : step.losses) {
        const std::byte* at = plan_.address(loss.loss);
        EXPECT_TRUE(std::isfinite(*reinterpret_cast<const float*>(at))) << "in step " << s;
        Bytes& losses = result["loss " + step.graph.value(loss.loss).name];
        losses.insert(losses.end(), at, at + 4);
      }
    }
    for (const auto& [name, memory] : memory_) {
      result[name] = Bytes(memory.data(), memory.data() + memory.bytes());
    }
    return result;
  }

  const Plan& plan() const { return plan_; }

 private:
  void start(const Value& value) {
    const int64_t elems = value.shape.elems();
    DeviceMemory memory(*backend_, elems * 4);
    auto* to = reinterpret_cast<float*>(memory.data());
    const std::string& source = value.starts_as.empty() ? value.name : value.starts_as;
    const Philox random{3, philox_stream(source.c_str()), 0};
    const bool is_weight = value.kind == ValueKind::parameter || !value.starts_as.empty();
    for (int64_t i = 0; i < elems; ++i) {
      const auto at = static_cast<size_t>(i);
      if (is_weight) {
        to[i] = 0.4f * (random.uniform24(static_cast<uint64_t>(i)) - 0.5f);
      } else if (!value.constant.empty()) {
        to[i] = value.constant[value.constant.size() == 1 ? 0 : at];
      } else {
        to[i] = value.name.find("deviation") != std::string::npos ? 1.0f : 0.0f;
      }
    }
    memory_[value.name] = std::move(memory);
  }

  void fill_f32(ValueId id, int step) {
    const Value& value = plan_.step_graph().graph.value(id);
    const Philox random{5, philox_stream(value.name.c_str()), static_cast<uint32_t>(step)};
    auto* to = reinterpret_cast<float*>(plan_.address(id));
    for (int64_t i = 0; i < value.shape.elems(); ++i) {
      to[i] = random.uniform24(static_cast<uint64_t>(i));
    }
  }

  void fill_target(const StepGraph::Loss& loss, int step) {
    const Graph& graph = plan_.step_graph().graph;
    const Value& value = graph.value(loss.target);
    if (value.dtype == DType::f32) return fill_f32(loss.target, step);
    const auto classes = static_cast<uint64_t>(graph.value(loss.x).shape[1]);
    const Philox random{6, philox_stream(value.name.c_str()), static_cast<uint32_t>(step)};
    auto* to = reinterpret_cast<int32_t*>(plan_.address(loss.target));
    for (int64_t i = 0; i < value.shape.elems(); ++i) {
      to[i] = static_cast<int32_t>(random.below(2 * static_cast<uint64_t>(i), classes));
    }
  }

  std::unique_ptr<Backend> backend_;
  Plan plan_;
  DeviceMemory scratch_;
  StepBlock block_{};
  std::map<std::string, DeviceMemory> memory_;
};

void expect_same_bits(const std::map<std::string, Bytes>& expected,
                      const std::map<std::string, Bytes>& got, const std::string& what) {
  ASSERT_EQ(expected.size(), got.size()) << what;
  for (const auto& [name, bytes] : expected) {
    EXPECT_TRUE(got.at(name) == bytes) << what << ": \"" << name << "\" differs";
  }
}

// Every value of the forward pass is kept, remade or fleeting, as the draw wants it.
Keeping random_keeping(const StepGraph& step, test::Draw& draw) {
  Keeping keeping(step.graph.values.size());
  const int64_t kept = 1 + draw.below(4);  // in 5
  for (Keep& keep : keeping) {
    const int64_t drawn = draw.below(10);
    keep = drawn < 2 * kept ? Keep::kept : drawn % 2 == 0 ? Keep::remade : Keep::fleeting;
  }
  return keeping;
}

TEST(LowMemory, RandomNetworksTrainToTheSameBitsWhateverIsKept) {
  int64_t remade = 0;
  for (uint32_t which = 0; which < 60; ++which) {
    const Model model = test::random_model(which);
    StepGraphOptions options = training(model, 2 + which % 4);
    if (which % 3 == 0) options.clip_norm = 1;
    if (which % 3 == 1) options.optimizer = Adam{};
    options.keeping = Keeping{};
    StepRun everything(model, options);
    const auto expected = everything.train(3);
    const StepGraph step = make_step_graph(model, options);
    test::Draw draw(1000 + which);
    for (int trial = 0; trial < 4; ++trial) {
      options.keeping = random_keeping(step, draw);
      StepRun run(model, options);
      remade += static_cast<int64_t>(run.plan().step_graph().remade.size());
      expect_same_bits(expected, run.train(3),
                       "model " + std::to_string(which) + ", trial " + std::to_string(trial));
    }
    options.keeping.reset();  // as it is without asking
    expect_same_bits(expected, StepRun(model, options).train(3),
                     "model " + std::to_string(which) + ", normal");
    options.memory = Memory::low;
    expect_same_bits(expected, StepRun(model, options).train(3),
                     "model " + std::to_string(which) + ", low");
  }
  EXPECT_GT(remade, 1000);
}

struct Net {
  const char* name;
  std::function<void(ModelBuilder&)> build;
};

Var block(ModelBuilder& m, Var x, int64_t out) {
  return m.relu(m.batch_norm(m.conv2d(x, {.out = out, .kernel = 3, .pad = 1, .bias = false})));
}

// Each is there for a way in which values are shared or kept.
const std::vector<Net>& nets() {
  static const std::vector<Net> all{
      {"dropout: the same mask again",
       [](ModelBuilder& m) {
         Var x = m.input({2, 12, 12});
         for (int i = 0; i < 4; ++i) {
           x = m.tanh(m.dropout(m.conv2d(x, {.out = 6, .kernel = 3, .pad = 1}),
                                {.p = 0.3, .spatial = i % 2 == 1}));
         }
         x = m.dropout(m.linear(m.flatten(x), {.out = 20}), {.p = 0.5});
         m.softmax_cross_entropy(m.linear(x, {.out = 5}));
       }},
      {"inception: four branches from one value",
       [](ModelBuilder& m) {
         Var x = m.input({3, 10, 10});
         for (int i = 0; i < 3; ++i) {
           const Var pooled = m.max_pool2d(x, {.kernel = 3, .stride = 1, .pad = 1});
           const Var wide = m.relu(m.conv2d(block(m, x, 4), {.out = 4, .kernel = 5, .pad = 2}));
           x = m.concat({block(m, x, 4), wide, m.conv2d(pooled, {.out = 2, .kernel = 1}),
                         m.avg_pool2d(x, {.kernel = 3, .stride = 1, .pad = 1})});
         }
         m.softmax_cross_entropy(m.linear(m.flatten(m.global_avg_pool2d(x)), {.out = 4}));
       }},
      {"dense connections",
       [](ModelBuilder& m) {
         Var x = m.input({2, 8, 8});
         for (int i = 0; i < 6; ++i) x = m.concat({x, block(m, x, 4)});
         m.softmax_cross_entropy(m.linear(m.flatten(m.global_avg_pool2d(x)), {.out = 3}));
       }},
      {"weights that several layers share",
       [](ModelBuilder& m) {
         Var x = m.relu(m.conv2d(m.input({2, 8, 8}), {.out = 4, .kernel = 3, .pad = 1}));
         x = m.relu(m.conv2d(x, {.out = 4, .kernel = 3, .pad = 1, .name = "shared"}));
         for (int i = 0; i < 4; ++i) {
           x = m.tanh(m.conv2d(x, {.out = 4, .kernel = 3, .pad = 1, .share = "shared"}));
         }
         m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
       }},
      {"norms with statistics of their own, activations that keep their input",
       [](ModelBuilder& m) {
         Var x = m.conv2d(m.input({4, 8, 8}), {.out = 8, .kernel = 3, .pad = 1});
         x = m.gelu(m.group_norm(x, {.groups = 2}));
         x = m.silu(m.instance_norm(m.conv2d(x, {.out = 8, .kernel = 3, .pad = 1})));
         x = m.prelu(m.local_response_norm(m.conv2d(x, {.out = 8, .kernel = 3, .pad = 1})));
         x = m.mish(m.layer_norm(m.conv2d(x, {.out = 8, .kernel = 3, .pad = 1})));
         x = m.scale_shift(m.hardswish(m.rms_norm(x)));
         m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
       }},
      {"an hourglass with two losses, one over positions",
       [](ModelBuilder& m) {
         const Var x = m.input({3, 16, 16});
         const Var top = block(m, x, 6);
         const Var middle = block(m, m.max_pool2d(top, {.kernel = 2}), 8);
         const Var bottom = block(m, m.max_pool2d(middle, {.kernel = 2}), 12);
         const Var up = m.concat({middle, m.upsample(bottom, {.scale = {2, 2}})});
         const Var last = m.concat(
             {top, m.conv_transpose2d(block(m, up, 8), {.out = 6, .kernel = 2, .stride = 2})});
         m.softmax_cross_entropy(m.conv2d(last, {.out = 3, .kernel = 1}));
         m.mean_squared_error(m.linear(m.flatten(bottom), {.out = 2}), {.weight = 0.25});
       }},
      {"two inputs and arithmetic",
       [](ModelBuilder& m) {
         const Var a = block(m, m.input({2, 8, 8}, "a"), 4);
         const Var b = block(m, m.input({2, 8, 8}, "b"), 4);
         const Var product = m.multiply(a, b);
         const Var gate = m.softmax(m.subtract(product, m.maximum(a, b)));
         const Var ratio = m.divide(gate, m.softplus(block(m, gate, 4)));
         const Var both = m.flatten(m.reduce_mean(m.add(ratio, product), {2}));
         m.binary_cross_entropy(m.linear(both, {.out = 4}));
         m.huber(m.linear(both, {.out = 2}), {});
       }},
      {"batch norm that is frozen, and one behind another",
       [](ModelBuilder& m) {
         Var x = m.conv2d(m.input({2, 8, 8}), {.out = 6, .kernel = 3, .pad = 1});
         x = m.relu(m.batch_norm(x, {.frozen = true}));
         x = m.batch_norm(m.batch_norm(m.conv2d(x, {.out = 6, .kernel = 3, .pad = 1})));
         x = m.relu(m.batch_norm(x, {.frozen = true}));
         m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
       }},
      {"views and pads on the way",
       [](ModelBuilder& m) {
         Var x = m.relu(m.conv2d(m.input({4, 6, 6}), {.out = 8, .kernel = 3, .pad = 1}));
         x = m.channel_shuffle(m.pad(x, {.pad = {1}}), 2);
         x = m.relu(m.conv2d(x, {.out = 8, .kernel = 3}));
         x = m.pixel_unshuffle(m.pixel_shuffle(x, 2), 2);
         x = m.sigmoid(m.linear(m.reshape(x, {8 * 36}), {.out = 36}));
         x = m.conv2d(m.reshape(x, {1, 6, 6}), {.out = 2, .kernel = 3});
         m.mean_absolute_error(m.flatten(x));
       }},
      {"volumes",
       [](ModelBuilder& m) {
         Var x = m.input({2, 6, 6, 6});
         for (int i = 0; i < 3; ++i) {
           x = m.elu(m.batch_norm(m.conv3d(x, {.out = 4, .kernel = 3, .pad = 1})));
         }
         m.focal(m.linear(m.flatten(m.max_pool3d(x, {.kernel = 2})), {.out = 3}), {});
       }},
  };
  return all;
}

TEST(LowMemory, NetworksTrainToTheSameBits) {
  int that_remade_more = 0;
  for (const Net& net : nets()) {
    ModelBuilder m("net");
    net.build(m);
    const Model model = m.build();
    StepGraphOptions options = training(model, 6);
    StepRun normal(model, options);
    const auto expected = normal.train(4);
    options.memory = Memory::low;
    StepRun low(model, options);
    expect_same_bits(expected, low.train(4), net.name);
    EXPECT_LE(low.plan().info().total_bytes, normal.plan().info().total_bytes) << net.name;
    that_remade_more +=
        low.plan().step_graph().remade.size() > normal.plan().step_graph().remade.size();

    // Nothing but what the loss and the optimizer keep: all of the forward pass runs again.
    const StepGraph step = make_step_graph(model, options);
    for (Keep keep : {Keep::remade, Keep::fleeting}) {
      options.keeping = Keeping(step.graph.values.size(), keep);
      expect_same_bits(expected, StepRun(model, options).train(4), net.name);
    }
  }
  EXPECT_GE(that_remade_more, 7);
}

// What a trainer adds: batches of several sizes, evaluation in between, gradients gathered over
// batches, averages of weights, penalties, frozen groups.
TEST(LowMemory, TrainersEndWithTheSameBits) {
  struct Case {
    Model model;
    TrainerOptions options;
  };
  const auto resnet8 =
      load_recipe(std::string(TANUL_SOURCE_DIR) + "/examples/models/resnet8.toml").model;
  const TrainerOptions plain{.device = "cpu", .batch = 16, .optimizer = Sgd{0.02f, 0.9f}};
  TrainerOptions rich = plain;
  rich.optimizer = AdamW{0.002f};
  rich.clip_norm = 2;
  rich.accumulate = 2;
  rich.ema_decay = 0.9;
  rich.l2 = 1e-4;
  rich.lookahead = {2, 0.5};
  TrainerOptions frozen = plain;
  frozen.groups = {{.pattern = "conv1.*", .frozen = true}};
  for (const Case& c : {Case{models::caffe_lenet(), plain}, Case{resnet8, plain},
                        Case{resnet8, rich}, Case{models::lenet5(), frozen}}) {
    const Shape shape = c.model.input_shape();
    const int64_t count = 40;  // two batches and a smaller one
    std::vector<int64_t> extents{count};
    extents.insert(extents.end(), shape.begin(), shape.end());
    Tensor samples(Shape(extents), DType::u8);
    Tensor labels({count}, DType::i32);
    const Philox random{9, philox_stream("low memory"), 0};
    for (int64_t i = 0; i < samples.elems(); ++i) {
      samples.data<uint8_t>()[i] =
          static_cast<uint8_t>(random.below(static_cast<uint64_t>(2 * i), 256));
    }
    for (int64_t i = 0; i < count; ++i) labels.data<int32_t>()[i] = static_cast<int32_t>(i % 10);
    const DataView data(samples, labels);

    std::vector<TensorFile> states;
    std::vector<double> losses;
    std::vector<int64_t> peaks;
    for (Memory memory : {Memory::normal, Memory::low}) {
      TrainerOptions options = c.options;
      options.memory = memory;
      Trainer trainer(c.model, options);
      trainer.train_epoch(data);
      losses.push_back(trainer.evaluate(data).loss);
      losses.push_back(trainer.train_epoch(data).loss);
      states.push_back(trainer.state());
      peaks.push_back(trainer.peak_tensor_bytes());
    }
    EXPECT_LE(peaks[1], peaks[0]) << c.model.name();
    EXPECT_EQ(losses[0], losses[2]);
    EXPECT_EQ(losses[1], losses[3]);
    ASSERT_EQ(states[0].tensors.size(), states[1].tensors.size());
    for (size_t i = 0; i < states[0].tensors.size(); ++i) {
      const auto& [name, a] = states[0].tensors[i];
      const Tensor& b = states[1].tensors[i].second;
      EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())), 0)
          << c.model.name() << ": " << name;
    }
  }
}

double forward_flops(const PlanInfo& plan) {
  double sum = 0;
  for (const StepInfo& step : plan.steps) {
    if (step.phase == "load" || step.phase == "forward") sum += step.flops;
  }
  return sum;
}

// Shares of the memory for activations, gradients and workspace that is left, as measured with room for
// other workspaces; the arithmetic is never more than one forward pass.
TEST(LowMemory, KnownNetworksNeedClearlyLess) {
  struct Known {
    Model model;
    int64_t batch;
    double most_left;
  };
  for (const Known& known :
       {Known{models::vgg_bn_small(), 8, 0.75}, Known{models::vgg(16), 8, 0.55},
        Known{models::resnet(18), 8, 0.55}, Known{models::resnet(50), 8, 0.40},
        Known{models::cifar_resnet(56), 8, 0.40}, Known{models::mobilenet_v2(), 8, 0.35}}) {
    TrainerOptions options{.device = "cpu", .batch = known.batch};
    const PlanInfo normal = make_plan(known.model, options);
    options.memory = Memory::low;
    const PlanInfo low = make_plan(known.model, options);
    const std::string name = known.model.name();
    EXPECT_LT(static_cast<double>(low.activation_bytes),
              known.most_left * static_cast<double>(normal.activation_bytes))
        << name;
    EXPECT_LE(low.flops, normal.flops + forward_flops(normal)) << name;
    EXPECT_EQ(low.normal_total_bytes, normal.total_bytes) << name;
    EXPECT_EQ(low.normal_flops, normal.flops) << name;
    EXPECT_EQ(normal.normal_total_bytes, normal.total_bytes) << name;
    EXPECT_EQ(normal.normal_flops, normal.flops) << name;
  }
}

// Chains: what is kept grows as the root of the depth, not as the depth (T. Chen et al., 2016).
TEST(LowMemory, AChainFourTimesAsDeepNeedsTwiceTheMemory) {
  const auto arena = [](int depth, Memory memory) {
    ModelBuilder m("chain");
    Var x = m.input({8, 16, 16});
    for (int i = 0; i < depth; ++i) x = m.tanh(m.conv2d(x, {.out = 8, .kernel = 3, .pad = 1}));
    m.softmax_cross_entropy(m.linear(m.flatten(m.global_avg_pool2d(x)), {.out = 4}));
    return static_cast<double>(
        make_plan(m.build(), {.device = "cpu", .batch = 8, .memory = memory}).activation_bytes);
  };
  EXPECT_GT(arena(64, Memory::normal), 3.3 * arena(16, Memory::normal));
  EXPECT_LT(arena(64, Memory::low), 2.2 * arena(16, Memory::low));
  EXPECT_LT(arena(64, Memory::low), 0.35 * arena(64, Memory::normal));
}

TEST(LowMemory, PredictionIsNotTouched) {
  TrainerOptions options{.device = "cpu", .batch = 8};
  const PlanInfo normal = make_plan(models::resnet(18), options, false);
  options.memory = Memory::low;
  const PlanInfo low = make_plan(models::resnet(18), options, false);
  EXPECT_EQ(low.total_bytes, normal.total_bytes);
  EXPECT_EQ(low.steps.size(), normal.steps.size());
}

}  // namespace
}  // namespace tanul
