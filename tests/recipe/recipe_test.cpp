// SPDX-License-Identifier: Apache-2.0
#include "tanul/recipe.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/file.h"
#include "recipe/keys.h"

namespace tanul {
namespace {

const std::string kModels = std::string(TANUL_SOURCE_DIR) + "/examples/models/";

// A small network with `layers`, then `rest`, in a file m.toml; layers start at line 3, column 3.
std::string with_layers(const std::string& layers, const std::string& rest = "") {
  return "input = [1, 8, 8]\nlayers = [\n  " + layers + "\n]\nloss = \"mean_squared_error\"\n" +
         rest;
}

// [data], [train] or [blocks] behind a network of one layer; they start at line 4.
std::string with_tables(const std::string& tables) {
  return "input = [1, 8, 8]\nlayers = [\"flatten\", { linear = { out = 3 } }]\n"
         "loss = \"softmax_cross_entropy\"\n" +
         tables;
}

Recipe parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_recipe(text, "m.toml", overrides);
}

std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse(text, overrides);
  } catch (const Error& e) {
    EXPECT_TRUE(e.is_user_error()) << e.what();
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return e.what();
  }
  return "no error";
}

// --- the shipped models ---

TEST(Recipe, ShippedModelsHaveTheirParameterCounts) {
  const std::vector<std::pair<std::string, int64_t>> models{
      {"lenet5", 61'706}, {"caffe_lenet", 431'080}, {"mlp", 1'863'690}, {"resnet8", 77'418}};
  for (const auto& [name, parameters] : models) {
    const Recipe recipe = load_recipe(kModels + name + ".toml");
    EXPECT_EQ(recipe.model.name(), name);
    EXPECT_EQ(recipe.model.parameter_count(), parameters) << name;
    EXPECT_EQ(recipe.model.input_shape(), (Shape{1, 28, 28})) << name;
    EXPECT_EQ(recipe.model.output_shape(), Shape{10}) << name;
    EXPECT_EQ(recipe.model.loss(), LossKind::softmax_cross_entropy) << name;
  }
}

TEST(Recipe, LenetSaysHowItTrains) {
  const Recipe recipe = load_recipe(kModels + "lenet5.toml");
  EXPECT_EQ(recipe.fit.epochs, 10);
  EXPECT_EQ(recipe.trainer.epochs, 10);
  EXPECT_EQ(recipe.trainer.batch, 64);
  const auto& sgd = std::get<Sgd>(recipe.trainer.optimizer);
  EXPECT_EQ(sgd.lr, 0.05f);
  EXPECT_EQ(sgd.momentum, 0.9f);
  EXPECT_EQ(recipe.trainer.schedule.kind, Schedule::Kind::cosine);
  EXPECT_EQ(recipe.trainer.schedule.warmup, 0.5);
  EXPECT_TRUE(recipe.data.normalize_fit);
  EXPECT_FALSE(recipe.trainer.normalization);
  EXPECT_EQ(recipe.data.validation, 0.1);
  EXPECT_EQ(recipe.model.parameters()[0].name, "conv1.weight");
  EXPECT_EQ(recipe.model.parameters()[0].init.kind, Init::Kind::he_normal);
}

// --- the format ---

TEST(Recipe, DefaultsAreThoseOfTheHeaders) {
  const Recipe recipe = parse(with_tables(""));
  const TrainerOptions trainer;
  EXPECT_EQ(recipe.model.name(), "m");
  EXPECT_EQ(recipe.trainer.batch, trainer.batch);
  EXPECT_EQ(std::get<Sgd>(recipe.trainer.optimizer).lr, Sgd{}.lr);
  EXPECT_EQ(recipe.trainer.seed, trainer.seed);
  EXPECT_EQ(recipe.fit.epochs, FitOptions{}.epochs);
  EXPECT_EQ(recipe.data.validation, DataOptions{}.validation);
  EXPECT_EQ(recipe.trainer.schedule.kind, Schedule::Kind::constant);
}

TEST(Recipe, EveryLayerAndOptionIsRead) {
  const Recipe recipe = parse(R"(
name = "all"
input = [2, 9, 12]
layers = [
  { conv2d = { out = 4, kernel = [3, 2], stride = [2, 1], pad = [1, 0, 2, 1], dilation = [1, 2], groups = 2, bias = false, init = { he_uniform = { fan = "out", gain = 2 } } }, name = "stem" },
  "sigmoid", "tanh",
  { max_pool2d = { kernel = 2, stride = 1, pad = [0, 1], ceil_mode = true }, name = "p" },
  { avg_pool2d = { kernel = 3, stride = 1, pad = 1, count_include_pad = false } },
  { concat = { axis = 0 }, from = ["pool1", "p"] },
  { conv2d = { out = 8, kernel = 1, bias_init = { constant = { value = 0.5 } }, init = { truncated_normal = { std = 0.1 } } }, repeat = 2 },
  { relu = {}, from = "concat1" },
  { add = {}, from = ["conv2", "relu1"] },
  { dropout = { p = 0.25 } }, "global_avg_pool2d", "flatten",
  { linear = { out = 3, init = "lecun_normal" } },
]
loss = { softmax_cross_entropy = { label_smoothing = 0.1, class_weights = [1, 2, 0.5], ignore_index = -1 } }
[data]
path = "/data/x"
normalize = { mean = [0.1, 0.2], std = [1, 2] }
augment = { crop = 4, flip = true }
validation = 0.2
test = 0.1
stratified = false
[train]
epochs = 7
batch = 5
optimizer = { adamw = { lr = 1e-3, beta1 = 0.8, beta2 = 0.99, eps = 1e-6, weight_decay = 0.1 } }
schedule = { step = { every = 2, gamma = 0.5, warmup = 1 } }
clip_norm = 2.5
clip_value = 0.5
decay_biases = false
decay_norms_and_biases = false
l1 = 1e-5
l2 = 1e-4
ema_decay = 0.99
accumulate = 4
lookahead = { k = 6, alpha = 0.8 }
groups = [ { match = "stem.*", lr_scale = 0.1, weight_decay = 0 }, { match = "*.bias", frozen = true } ]
from = { file = "w.safetensors", match = "conv*", strict = true, freeze = ["conv1.*"] }
drop_last = true
shuffle = false
seed = 42
patience = 3
keep_best = false
init = { normal = { mean = 0, std = 0.01 } }
device = "cpu"
threads = 2
precise_convolutions = true
precision = "bf16"
deterministic = false
memory = "low"
tune = true
data_on_device = false
force = { conv2d_fwd = "im2col_gemm" }
)");
  EXPECT_EQ(recipe.model.output_shape(), Shape{3});
  const auto& parameters = recipe.model.parameters();
  ASSERT_EQ(parameters.size(), 7u);
  EXPECT_EQ(parameters[0].name, "stem.weight");
  EXPECT_EQ(parameters[0].shape, (Shape{4, 1, 3, 2}));
  EXPECT_EQ(parameters[0].init.kind, Init::Kind::he_uniform);
  EXPECT_EQ(parameters[0].init.fan, Fan::out);
  EXPECT_EQ(parameters[0].init.gain, 2);
  EXPECT_EQ(parameters[1].init.b, 0.1);
  EXPECT_EQ(parameters[2].name, "conv1.bias");
  EXPECT_EQ(parameters[2].init.a, 0.5);
  EXPECT_EQ(parameters[3].name, "conv2.weight");
  EXPECT_EQ(recipe.data.path, "/data/x");
  EXPECT_FALSE(recipe.data.normalize_fit);
  EXPECT_EQ(recipe.trainer.normalization->deviation[1], 2.f);
  EXPECT_EQ(recipe.data.test, 0.1);
  EXPECT_FALSE(recipe.data.stratified);
  const TrainerOptions& t = recipe.trainer;
  const auto& adamw = std::get<AdamW>(t.optimizer);
  EXPECT_EQ(adamw.beta1, 0.8f);
  EXPECT_EQ(adamw.weight_decay, 0.1f);
  EXPECT_EQ(t.schedule.kind, Schedule::Kind::step);
  EXPECT_EQ(t.schedule.every, 2);
  EXPECT_EQ(t.schedule.gamma, 0.5);
  EXPECT_EQ(t.schedule.warmup, 1);
  EXPECT_EQ(t.clip_norm, 2.5);
  EXPECT_FALSE(t.decay_biases);
  EXPECT_FALSE(t.decay_norms_and_biases);
  EXPECT_EQ(t.clip_value, 0.5);
  EXPECT_EQ(t.l1, 1e-5);
  EXPECT_EQ(t.l2, 1e-4);
  EXPECT_EQ(t.ema_decay, 0.99);
  EXPECT_EQ(t.accumulate, 4);
  EXPECT_EQ(t.lookahead.k, 6);
  EXPECT_EQ(t.lookahead.alpha, 0.8);
  ASSERT_EQ(t.groups.size(), 3u);
  EXPECT_EQ(t.groups[0].pattern, "conv1.*");  // what `from` freezes goes before the groups
  EXPECT_TRUE(t.groups[0].frozen);
  EXPECT_EQ(t.groups[1].pattern, "stem.*");
  EXPECT_EQ(t.groups[1].lr_scale, 0.1);
  EXPECT_EQ(t.groups[1].weight_decay, 0.0);
  EXPECT_FALSE(t.groups[2].weight_decay.has_value());
  EXPECT_TRUE(t.groups[2].frozen);
  EXPECT_EQ(recipe.start.weights, "w.safetensors");
  EXPECT_EQ(recipe.start.load.pattern, "conv*");
  EXPECT_TRUE(recipe.start.load.strict);
  EXPECT_TRUE(t.drop_last);
  EXPECT_EQ(t.augmentation.crop, 4);
  EXPECT_TRUE(t.augmentation.flip);
  EXPECT_FALSE(t.shuffle);
  EXPECT_EQ(t.seed, 42u);
  EXPECT_EQ(t.device, "cpu");
  EXPECT_EQ(t.threads, 2);
  EXPECT_TRUE(t.precise_convolutions);
  EXPECT_EQ(t.precision, Precision::bf16);
  EXPECT_FALSE(t.deterministic);
  EXPECT_EQ(t.memory, Memory::low);
  EXPECT_EQ(t.tune, std::optional<bool>(true));
  EXPECT_FALSE(t.data_on_device);
  ASSERT_EQ(t.force.size(), 1u);
  EXPECT_EQ(t.force[0].second, "im2col_gemm");
  EXPECT_EQ(recipe.fit.patience, 3);
  EXPECT_FALSE(recipe.fit.keep_best);
}

TEST(Recipe, EveryLossAndOptionIsRead) {
  const std::vector<std::pair<LossKind, std::string>> losses = {
      {LossKind::softmax_cross_entropy,
       "{ softmax_cross_entropy = { label_smoothing = 0.1, class_weights = [1, 2, 0.5], "
       "ignore_index = -1, reduction = \"sum\" } }"},
      {LossKind::binary_cross_entropy,
       "{ binary_cross_entropy = { from_probabilities = false, class_weights = [1, 2, 3], "
       "positive_weights = [0.5, 1, 2], reduction = \"none\" } }"},
      {LossKind::binary_cross_entropy,
       "{ binary_cross_entropy = { from_probabilities = true, class_weights = [], "
       "positive_weights = [], reduction = \"mean\" } }"},
      {LossKind::focal, "{ focal = { alpha = 0.75, gamma = 1.5, reduction = \"sum\" } }"},
      {LossKind::focal, "{ focal = { alpha = \"none\", gamma = 2, reduction = \"mean\" } }"},
      {LossKind::negative_log_likelihood,
       "{ negative_log_likelihood = { class_weights = [1, 2, 3], ignore_index = 255, reduction = "
       "\"mean\" } }"},
      {LossKind::kl_divergence,
       "{ kl_divergence = { log_target = true, reduction = \"batch_mean\" } }"},
      {LossKind::hinge, "{ hinge = { squared = true, reduction = \"mean\" } }"},
      {LossKind::multi_margin,
       "{ multi_margin = { p = 2, margin = 0.5, class_weights = [1, 2, 3], reduction = \"mean\" } "
       "}"},
      {LossKind::mean_squared_error, "{ mean_squared_error = { reduction = \"batch_mean\" } }"},
      {LossKind::mean_absolute_error, "{ mean_absolute_error = { reduction = \"sum\" } }"},
      {LossKind::smooth_l1, "{ smooth_l1 = { beta = 0.5, reduction = \"mean\" } }"},
      {LossKind::huber, "{ huber = { delta = 2.5, reduction = \"mean\" } }"},
      {LossKind::poisson_nll,
       "{ poisson_nll = { log_input = false, full = true, eps = 1e-06, reduction = \"mean\" } }"},
  };
  for (const auto& [kind, loss] : losses) {
    SCOPED_TRACE(loss);
    const Recipe recipe =
        parse("input = [4]\nlayers = [ { linear = { out = 3 } } ]\nloss = " + loss + "\n");
    EXPECT_EQ(recipe.model.loss(), kind);
    // What is written out is what was read: every key arrived.
    EXPECT_NE(recipe.resolved_toml.find("loss = " + loss), std::string::npos)
        << recipe.resolved_toml;
    EXPECT_EQ(parse(recipe.resolved_toml).resolved_toml, recipe.resolved_toml);
  }
  EXPECT_EQ(parse("input = [4]\nlayers = [ \"relu\" ]\nloss = \"kl_divergence\"\n").model.loss(),
            LossKind::kl_divergence);
}

// Signals and volumes; padding that is worked out; weights that are shared, also within a block.
TEST(Recipe, ConvolutionAndPoolingOverOneAndThreeAxes) {
  const Recipe signal = parse(R"(
input = [4, 40]
layers = [
  { conv1d = { out = 8, kernel = 6, stride = 2, pad = "same", groups = "depthwise" } },
  { max_pool1d = { kernel = 3, stride = 2, dilation = 2, pad = [1, 2] } },
  { avg_pool1d = { kernel = 3, stride = 2, pad = "same_lower" } },
  { conv_transpose1d = { out = 3, kernel = 4, stride = 3, pad = 1, output_padding = 2 } },
  { adaptive_max_pool = { out = 5 } }, "global_avg_pool", "flatten", { linear = { out = 3 } },
]
loss = "softmax_cross_entropy"
)");
  const std::string& text = signal.resolved_toml;
  for (
      const char* line :
      {R"({ conv1d = { out = 8, kernel = 6, stride = 2, dilation = 1, pad = [2, 2], groups = 4,)",
       R"({ max_pool1d = { kernel = 3, stride = 2, dilation = 2, pad = [1, 2], ceil_mode = false })",
       R"({ avg_pool1d = { kernel = 3, stride = 2, pad = [1, 0], ceil_mode = false, count_include_pad)",
       R"({ conv_transpose1d = { out = 3, kernel = 4, stride = 3, dilation = 1, pad = [1, 1], output_padding = 2,)",
       R"({ adaptive_max_pool = { out = [5] })"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\nis not in\n" << text;
  }
  EXPECT_EQ(parse(text).resolved_toml, text);
  EXPECT_EQ(signal.model.parameters()[0].shape, (Shape{8, 1, 6}));

  const Recipe volume = parse(R"(
input = [2, 6, 8, 8]
layers = [
  { conv3d = { out = 2, kernel = [1, 3, 3], pad = "same" }, name = "stem" },
  { twice = {}, repeat = 2 },
  { conv3d = { out = 2, kernel = [1, 3, 3], pad = [0, 1, 1], share = "stem" } },
  { conv3d = { out = 2, kernel = 3, pad = 1, share = "twice2.conv1" } },
  { avg_pool3d = { kernel = [2, 4, 4], pad = [0, 0, 0, 1, 0, 1] } },
  { conv_transpose3d = { out = 1, kernel = 2, stride = 2 } }, "global_max_pool", "flatten",
  { linear = { out = 3 } },
]
loss = "softmax_cross_entropy"
[blocks.twice]
layers = [
  { conv3d = { out = 2, kernel = 3, pad = 1 } }, "relu",
  { conv3d = { out = 2, kernel = 3, pad = 1, share = "conv1" } },
]
)");
  std::vector<std::string> names;
  for (const ParameterInfo& p : volume.model.parameters()) {
    if (!p.is_bias) names.push_back(p.name + " " + p.shape.str_x());
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"stem.weight 2x2x1x3x3", "twice1.conv1.weight 2x2x3x3x3",
                                      "twice2.conv1.weight 2x2x3x3x3",
                                      "conv_transpose1.weight 2x1x2x2x2", "linear1.weight 3x1"}));
  EXPECT_EQ(parse(volume.resolved_toml).resolved_toml, volume.resolved_toml);
}

// The same parameter shapes as the hand-written network, in the same order.
TEST(Recipe, BlocksUnfoldToTheHandWrittenNetwork) {
  const Recipe blocks = parse(R"(
input = [3, 8, 8]
layers = [ { basic = { out = 3 }, repeat = 2 }, { basic = { out = 6, stride = 2 }, name = "last" }, { relu = {}, from = "last.conv1" } ]
loss = "mean_squared_error"
[blocks.basic]
params = { out = "required", stride = 1 }
main = [ { unit = { out = "$out", stride = "$stride" } }, { conv2d = { out = "$out", kernel = 3, pad = 1 } } ]
shortcut = [ { conv2d = { out = "$out", kernel = 1, stride = "$stride" } } ]
shortcut_when = "shapes_differ"
then = ["relu"]
[blocks.unit]
params = { out = 1, stride = 1 }
layers = [ { conv2d = { out = "$out", kernel = 3, stride = "$stride", pad = 1 } }, "relu" ]
)");
  std::vector<std::string> names;
  for (const ParameterInfo& p : blocks.model.parameters()) {
    if (!p.is_bias) names.push_back(p.name + " " + p.shape.str_x());
  }
  EXPECT_EQ(names, (std::vector<std::string>{
                       "basic1.unit1.conv1.weight 3x3x3x3", "basic1.conv1.weight 3x3x3x3",
                       "basic2.unit1.conv1.weight 3x3x3x3", "basic2.conv1.weight 3x3x3x3",
                       "last.unit1.conv1.weight 6x3x3x3", "last.conv1.weight 6x6x3x3",
                       "last.conv2.weight 6x3x1x1"}));
  EXPECT_NE(blocks.resolved_toml.find(R"({ relu = {}, name = "relu1", from = "last.conv1" })"),
            std::string::npos)
      << blocks.resolved_toml;
  EXPECT_NE(blocks.resolved_toml.find(
                R"({ add = {}, name = "basic1.add1", from = ["basic1.conv1", "input"] })"),
            std::string::npos)
      << blocks.resolved_toml;
}

TEST(Recipe, ResolvedTomlIsAFixedPoint) {
  std::vector<std::string> texts;
  for (const char* name : {"lenet5", "caffe_lenet", "mlp", "resnet8"}) {
    texts.push_back(read_file(kModels + name + ".toml"));
  }
  texts.push_back(with_layers(
      R"({ conv2d = { out = 2, kernel = 3, init = { uniform = { low = -0.1, high = 1e-7 } } } }, "relu",
         { conv2d = { out = 2, kernel = 3, init = { glorot_normal = { gain = "following" } } }, name = "z" })",
      "[data]\ntargets = \"samples\"\npath = \"a \\\"b\\\" \\\\ c\\u0001\"\nnormalize = \"none\"\n"
      "[train]\noptimizer = { sgd = { lr = 0.1, momentum = 0.9, nesterov = true } }\n"
      "schedule = \"step\"\nforce = { conv2d_fwd = \"naive\" }\nseed = 9223372036854775807\n"));
  texts.push_back(with_tables("[data]\nnormalize = { mean = [0.1307], std = [0.3081] }\n"));
  texts.push_back(with_tables("[data]\naugment = { crop = 1, flip = true }\n"));
  for (const std::string& text : texts) {
    const Recipe first = parse(text);
    const Recipe second = parse(first.resolved_toml);
    EXPECT_EQ(first.resolved_toml, second.resolved_toml);
    EXPECT_EQ(first.model.name(), second.model.name());
    ASSERT_EQ(first.model.parameters().size(), second.model.parameters().size());
    for (size_t i = 0; i < first.model.parameters().size(); ++i) {
      EXPECT_EQ(first.model.parameters()[i].name, second.model.parameters()[i].name);
      EXPECT_EQ(first.model.parameters()[i].shape, second.model.parameters()[i].shape);
      EXPECT_EQ(first.model.parameters()[i].init.str(), second.model.parameters()[i].init.str());
    }
    EXPECT_EQ(learning_rate(first.trainer.optimizer), learning_rate(second.trainer.optimizer));
    EXPECT_EQ(first.trainer.seed, second.trainer.seed);
  }
}

// --- overrides ---

TEST(Recipe, OverridesGoBeforeTheFile) {
  const std::string text = read_file(kModels + "lenet5.toml");
  const Recipe recipe =
      parse(text, {"train.epochs=3", "train.optimizer.sgd.lr=0.1", "train.device=cuda:1",
                   "data.path=/some/folder", "layers.0.conv2d.out=8", "name=other",
                   "loss.softmax_cross_entropy.label_smoothing=0.1", "train.init=glorot_uniform"});
  EXPECT_EQ(recipe.fit.epochs, 3);
  EXPECT_EQ(std::get<Sgd>(recipe.trainer.optimizer).lr, 0.1f);
  EXPECT_EQ(std::get<Sgd>(recipe.trainer.optimizer).momentum, 0.9f);
  EXPECT_EQ(recipe.trainer.device, "cuda:1");
  EXPECT_EQ(recipe.data.path, "/some/folder");
  EXPECT_EQ(recipe.model.parameters()[0].shape[0], 8);
  EXPECT_EQ(recipe.model.name(), "other");
  EXPECT_NE(recipe.resolved_toml.find("label_smoothing = 0.1"), std::string::npos);
  EXPECT_EQ(recipe.model.parameters()[0].init.kind, Init::Kind::glorot_uniform);
  EXPECT_EQ(
      std::get<Adam>(parse(text, {"train.optimizer={ adam = { lr = 0.5 } }"}).trainer.optimizer).lr,
      0.5f);
}

TEST(Recipe, OverrideErrorsNameTheOverride) {
  const std::string text = read_file(kModels + "lenet5.toml");
  const std::vector<std::pair<std::string, std::string>> cases{
      {"train.epoch=3",
       R"(--set train.epoch=3: [train] has no key "epoch"; did you mean "epochs"?)"},
      {"trian.epochs=3",
       R"(--set trian.epochs=3: the model file has no key "trian"; did you mean "train"?)"},
      {"train.epochs=three",
       R"(--set train.epochs=three: [train]: epochs must be a whole number, not a string ("three"))"},
      {"train.epochs",
       "--set train.epochs: an override is written key.path=value, for instance train.epochs=3"},
      {"train.epochs.x=1",
       R"(--set train.epochs.x=1: train.epochs is a whole number (10), it has no "x")"},
      {"layers.99=relu",
       R"(--set layers.99=relu: layers is a list of 12; "99" is no position in it (from 0))"},
      {"train..epochs=3", R"(--set train..epochs=3: "train..epochs" is no path of keys)"},
      {"train.epochs=[1", "--set train.epochs=[1: "},
      {"train.epochs=1\nseed=2", R"(--set train.epochs=1\nseed=2: holds more than one value)"},
      {"train.optimizer.sdg.lr=1", R"([train] optimizer must be one name)"},
  };
  for (const auto& [override_text, expected] : cases) {
    EXPECT_NE(error_of(text, {override_text}).find(expected), std::string::npos)
        << error_of(text, {override_text});
  }
}

// --- bad files ---

struct BadFile {
  const char* reason;
  std::string text;
  std::string message;  // the whole of it, or where it ends in … its beginning
};

std::string deep_list(int depth) {
  return "x = " + std::string(static_cast<size_t>(depth), '[') +
         std::string(static_cast<size_t>(depth), ']');
}

std::string deep_key(int parts) {
  std::string key = "[a";
  for (int i = 1; i < parts; ++i) key += ".a";
  return key + "]\n";
}

// Each block holds the one before twice.
std::string doubling_blocks(const std::string& innermost) {
  std::string text = with_layers("\"b14\"", "[blocks.b0]\nlayers = [" + innermost + "]\n");
  for (int i = 1; i <= 14; ++i) {
    const std::string inner = "\"b" + std::to_string(i - 1) + "\"";
    text += "[blocks.b" + std::to_string(i) + "]\nlayers = [" + inner + ", " + inner + "]\n";
  }
  return text;
}

// Each block hands its parameter on twice.
std::string doubling_parameters() {
  std::string text = with_layers("{ b14 = { p = [\"relu\"] } }",
                                 "[blocks.b0]\nparams = { p = [] }\nlayers = \"$p\"\n");
  for (int i = 1; i <= 14; ++i) {
    text += "[blocks.b" + std::to_string(i) + "]\nparams = { p = [] }\nlayers = [{ b" +
            std::to_string(i - 1) + " = { p = [\"$p\", \"$p\"] } }]\n";
  }
  return text;
}

std::vector<BadFile> bad_files() {
  return {
      {"misspelt option", with_layers("{ conv2d = { out = 6, kernal = 5 }, name = \"conv2\" },"),
       R"(m.toml:3:25: conv2d "conv2" has no key "kernal"; did you mean "kernel"?)"},
      {"option of nothing near", with_layers("{ dropout = { zzzzzz = 5 } },"),
       R"(m.toml:3:17: dropout "dropout1" has no key "zzzzzz"; possible: p, spatial)"},
      {"option where there is none", with_layers("{ relu = { slope = 5 } },"),
       R"(m.toml:3:14: relu "relu1" has no key "slope"; it takes none)"},
      {"unknown layer by name", with_layers("\"rellu\","),
       R"(m.toml:3:3: there is no layer or block "rellu"; did you mean "relu"?)"},
      {"unknown layer as a table", with_layers("{ conv = { out = 6 } },"),
       R"(m.toml:3:5: there is no layer or block "conv"; did you mean "conv2d"?)"},
      {"wrong type", with_layers("{ conv2d = { out = \"six\", kernel = 5 } },"),
       R"(m.toml:3:22: conv2d "conv1": out must be a whole number, not a string ("six"))"},
      {"a fraction where a whole number is needed",
       with_layers("{ conv2d = { out = 6.5, kernel = 5 } },"),
       R"(m.toml:3:22: conv2d "conv1": out must be a whole number, not a number (6.5))"},
      {"zero outputs", with_layers("{ conv2d = { out = 0, kernel = 5 } },"),
       R"(m.toml:3:22: conv2d "conv1": out must be at least 1, got 0)"},
      {"beyond 32 bits", with_layers("{ conv2d = { out = 99999999999, kernel = 5 } },"),
       R"(m.toml:3:22: conv2d "conv1": out must be at most 16777216, got 99999999999)"},
      {"beyond 64 bits", with_layers("{ conv2d = { out = 99999999999999999999, kernel = 5 } },"),
       "m.toml:3:42: …"},
      {"missing option", with_layers("{ conv2d = { out = 6 } },"),
       R"(m.toml:3:14: conv2d "conv1" needs the key "kernel")"},
      {"missing options", with_layers("\"conv2d\","),
       R"(m.toml:3:3: conv2d "conv1" needs the key "out")"},
      {"three numbers of padding",
       with_layers("{ conv2d = { out = 6, kernel = 5, pad = [1, 2, 3] } },"),
       R"(m.toml:3:43: conv2d "conv1": pad must be a whole number, [height, width] or [top, left, bottom, right], not a list of 3)"},
      {"padding by a word", with_layers("{ conv2d = { out = 6, kernel = 5, pad = \"valid\" } },"),
       R"(m.toml:3:43: conv2d "conv1": pad must be a whole number, [height, width] or [top, left, bottom, right], "same" or "same_lower", not a string ("valid"))"},
      {"same padding of a transposed convolution",
       with_layers("{ conv_transpose2d = { out = 6, kernel = 5, pad = \"same\" } },"),
       R"(m.toml:3:53: conv_transpose2d "conv_transpose1": pad must be a whole number, [height, width] or [top, left, bottom, right], not a string ("same"))"},
      {"a volume's kernel for an image", with_layers("{ max_pool2d = { kernel = [1, 2, 3] } },"),
       R"(m.toml:3:29: max_pool2d "pool1": kernel must be a whole number or [height, width], not a list of 3)"},
      {"a signal's layer for an image",
       with_layers("{ conv1d = { out = 6, kernel = 5, pad = \"same\" } },"),
       R"(m.toml:3:5: conv1d "conv1": x has the shape [1, 8, 8] a sample, {C, L} is expected)"},
      {"an average with dilation", with_layers("{ avg_pool2d = { kernel = 2, dilation = 2 } },"),
       R"(m.toml:3:32: avg_pool2d "pool1" has no key "dilation"…)"},
      {"groups by another word",
       with_layers("{ conv2d = { out = 6, kernel = 5, groups = \"depth\" } },"),
       R"(m.toml:3:46: conv2d "conv1": groups must be a whole number, not a string ("depth"))"},
      {"weights of a layer that is not there",
       with_layers("{ conv2d = { out = 6, kernel = 5 } }, { conv2d = { out = 6, kernel = 5, share "
                   "= \"cnv1\" } },"),
       R"(m.toml:3:83: conv2d "conv2": there is no layer "cnv1" before it; did you mean "conv1"?)"},
      {"weights of another shape",
       with_layers("{ conv2d = { out = 6, kernel = 5 } }, { conv2d = { out = 6, kernel = 3, share "
                   "= \"conv1\" } },"),
       R"(m.toml:3:43: conv2d "conv2": share: "conv1" has the weight [6, 1, 5, 5], but [6, 6, 3, 3] is needed here)"},
      {"negative padding", with_layers("{ conv2d = { out = 6, kernel = 5, pad = [1, -2] } },"),
       R"(m.toml:3:47: conv2d "conv1": pad must be at least 0, got -2)"},
      {"a kernel as text", with_layers("{ conv2d = { out = 6, kernel = \"5x5\" } },"),
       R"(m.toml:3:34: conv2d "conv1": kernel must be a whole number or [height, width], not a string ("5x5"))"},
      {"a bias as a number", with_layers("{ linear = { out = 6, bias = 0 } },"),
       R"(m.toml:3:32: linear "linear1": bias must be true or false, not a whole number (0))"},
      {"p of 1", with_layers("{ dropout = { p = 1 } },"),
       R"(m.toml:3:21: dropout "dropout1": p must be less than 1, got 1)"},
      {"shapes do not fit", with_layers("\"relu\", { linear = { out = 10 } },"),
       R"(m.toml:3:13: linear "linear1": x has the shape [1, 8, 8] a sample, {F} is expected; put a flatten in front)"},
      {"kernel larger than the image", with_layers("{ conv2d = { out = 1, kernel = 9 } },"),
       R"(m.toml:3:5: conv2d "conv1": …)"},
      {"groups that do not divide",
       with_layers("{ conv2d = { out = 6, kernel = 5, groups = 4 } },"),
       R"(m.toml:3:5: conv2d "conv1": groups must divide …)"},
      {"two layers in one table", with_layers("{ relu = {}, tanh = {} },"),
       "m.toml:3:16: one entry of layers names both relu and tanh; each stands in braces of its "
       "own"},
      {"no layer in a table", with_layers("{ name = \"x\" },"),
       "m.toml:3:3: this entry of layers names no layer and no block"},
      {"a number as a layer", with_layers("7,"),
       R"(m.toml:3:3: a layer is a name ("relu") or a table ({ conv2d = { … } }), not a whole number (7))"},
      {"a name twice", with_layers("{ relu = {}, name = \"a\" }, { relu = {}, name = \"a\" },"),
       R"(m.toml:3:50: relu "a": there is a layer of that name already; names are unique)"},
      {"a name with blanks", with_layers("{ relu = {}, name = \"a b\" },"),
       R"(m.toml:3:23: relu: name must be made of letters, digits, _ - and ., got "a b")"},
      {"the reserved name", with_layers("{ relu = {}, name = \"input\" },"),
       R"(m.toml:3:23: relu: name: "input" means the samples)"},
      {"unknown from", with_layers("\"relu\", { tanh = {}, from = \"rellu1\" },"),
       R"(m.toml:3:31: tanh "tanh1": there is no layer "rellu1" before it; did you mean "relu1"?)"},
      {"from a later layer", with_layers("{ tanh = {}, from = \"relu1\" }, \"relu\","),
       R"(m.toml:3:23: tanh "tanh1": there is no layer "relu1" before it)"},
      {"from as a number", with_layers("{ tanh = {}, from = 1 },"),
       R"(m.toml:3:23: tanh "tanh1": from must be a layer's name, not a whole number (1))"},
      {"a sum of one", with_layers("\"relu\", { add = {}, from = \"relu1\" },"),
       R"(m.toml:3:30: add "add1" needs from = ["…", "…"], the names of two layers)"},
      {"a sum of nothing", with_layers("\"add\","),
       R"(m.toml:3:3: add "add1" needs from = ["…", "…"], the names of two layers)"},
      {"repeat of 0", with_layers("{ relu = {}, repeat = 0 },"),
       "m.toml:3:25: a layer: repeat must be at least 1, got 0"},
      {"too many layers", with_layers("{ relu = {}, repeat = 9999 }, { relu = {}, repeat = 9 },"),
       "m.toml:3:35: the network has more than 10000 layers"},
      {"no layers", with_layers(""), "m.toml:2:10: layers is empty"},
      {"layers as text", "input = [1, 8, 8]\nlayers = \"relu\"\nloss = \"mean_squared_error\"",
       R"(m.toml:2:10: layers must be a list of layers, not a string ("relu"))"},
      {"no input", "layers = [\"relu\"]\nloss = \"mean_squared_error\"",
       R"(m.toml:1:1: the model file needs the key "input": [C, H, W] of one sample)"},
      {"no loss", "input = [4]\nlayers = [\"relu\"]",
       R"(m.toml:1:1: the model file needs the key "loss"; possible: softmax_cross_entropy, )"
       "binary_cross_entropy, focal, negative_log_likelihood, kl_divergence, hinge, multi_margin, "
       "mean_squared_error, mean_absolute_error, smooth_l1, huber, poisson_nll"},
      {"an empty file", "",
       R"(m.toml:1:1: the model file needs the key "input": [C, H, W] of one sample)"},
      {"input of 0", "input = [1, 0, 8]\nlayers = [\"relu\"]\nloss = \"mean_squared_error\"",
       "m.toml:1:13: input must be a list of 1 to 4 whole numbers of 1 or more, [C, H, W] for "
       "images, not a whole number (0)"},
      {"a name with a slash",
       "name = \"../x\"\ninput = [4]\nlayers = [\"relu\"]\nloss = \"mean_squared_error\"",
       R"(m.toml:1:8: name must be made of letters, digits, _ - and ., got "../x")"},
      {"unknown top key", "input = [4]\nlayer = []\n",
       R"(m.toml:2:1: the model file has no key "layer"; did you mean "layers"?)"},
      {"unknown loss", "input = [4]\nlayers = [\"relu\"]\nloss = \"mse\"\n",
       R"(m.toml:3:8: loss: there is no "mse"; possible: softmax_cross_entropy, )"
       "binary_cross_entropy, focal, negative_log_likelihood, kl_divergence, hinge, multi_margin, "
       "mean_squared_error, mean_absolute_error, smooth_l1, huber, poisson_nll"},
      {"unknown reduction",
       "input = [4]\nlayers = [\"relu\"]\nloss = { huber = { reduction = \"average\" } }\n",
       R"(m.toml:3:32: loss huber: reduction must be one of "mean", "sum", "none", "batch_mean", )"
       R"(got "average")"},
      {"a delta of 0", "input = [4]\nlayers = [\"relu\"]\nloss = { huber = { delta = 0 } }\n",
       "m.toml:3:28: loss huber: delta must be greater than 0, got 0"},
      {"a power of 3", "input = [4]\nlayers = [\"relu\"]\nloss = { multi_margin = { p = 3 } }\n",
       "m.toml:3:31: loss multi_margin: p must be at most 2, got 3"},
      {"class weights of another number",
       "input = [4]\nlayers = [\"relu\"]\nloss = { softmax_cross_entropy = { class_weights = [1, "
       "2] } }\n",
       "m.toml:3:10: softmax_…"},
      {"smoothing beyond 1",
       "input = [4]\nlayers = [\"relu\"]\nloss = { softmax_cross_entropy = { label_smoothing = 2 } "
       "}\n",
       "m.toml:3:54: loss softmax_cross_entropy: label_smoothing must be at most 1, got 2"},

      {"unknown initialiser", with_layers("{ linear = { out = 2, init = \"he_norml\" } },"),
       R"(m.toml:3:32: linear "linear1": init: there is no "he_norml"; did you mean "he_normal"?)"},
      {"an initialiser without its number",
       with_layers("{ linear = { out = 2, init = \"normal\" } },"),
       R"(m.toml:3:32: linear "linear1": init normal needs the key "std")"},
      {"a negative deviation",
       with_layers("{ linear = { out = 2, init = { normal = { std = -1 } } } },"),
       R"(m.toml:3:51: linear "linear1": init normal: std must be at least 0, got -1)"},
      {"low above high",
       with_layers("{ linear = { out = 2, init = { uniform = { low = 2, high = 1 } } } },"),
       R"(m.toml:3:52: linear "linear1": init uniform: low must be at most high, got 2 and 1)"},
      {"unknown fan",
       with_layers("{ linear = { out = 2, init = { he_normal = { fan = \"up\" } } } },"),
       R"(m.toml:3:54: linear "linear1": init he_normal: fan must be "in" or "out", got "up")"},

      {"unknown [train] key", with_tables("[train]\nepoch = 3\n"),
       R"(m.toml:5:1: [train] has no key "epoch"; did you mean "epochs"?)"},
      {"unknown precision", with_tables("[train]\nprecision = \"bf61\"\n"),
       R"(m.toml:5:13: [train]: precision must be "fp32", "tf32", "bf16" or "fp16", got "bf61"; did you mean "bf16"?)"},
      {"no precision at all", with_tables("[train]\nprecision = \"double\"\n"),
       R"(m.toml:5:13: [train]: precision must be "fp32", "tf32", "bf16" or "fp16", got "double")"},
      {"determinism by words", with_tables("[train]\ndeterministic = \"no\"\n"),
       R"(m.toml:5:17: [train]: deterministic must be true or false, not a string ("no"))"},
      {"unknown tune", with_tables("[train]\ntune = \"on\"\n"),
       R"(m.toml:5:8: [train]: tune must be "auto", true or false, got "on")"},
      {"unknown memory", with_tables("[train]\nmemory = \"small\"\n"),
       R"(m.toml:5:10: [train]: memory must be "normal" or "low", got "small")"},
      {"no epochs", with_tables("[train]\nepochs = 0\n"),
       "m.toml:5:10: [train]: epochs must be at least 1, got 0"},
      {"unknown optimizer", with_tables("[train]\noptimizer = \"adamm\"\n"),
       R"(m.toml:5:13: [train] optimizer: there is no "adamm"; did you mean "adam"?)"},
      {"two optimizers", with_tables("[train]\noptimizer = { sgd = {}, adam = {} }\n"),
       "m.toml:5:13: [train] optimizer must be one name, or a table of one name with its options, "
       "not a table of sgd adam"},
      {"unknown optimizer key", with_tables("[train]\noptimizer = { sgd = { momentun = 0.9 } }\n"),
       R"(m.toml:5:23: optimizer sgd has no key "momentun"; did you mean "momentum"?)"},
      {"learning rate of 0", with_tables("[train]\noptimizer = { sgd = { lr = 0 } }\n"),
       "m.toml:5:28: optimizer sgd: lr must be greater than 0, got 0"},
      {"a learning rate that is not finite",
       with_tables("[train]\noptimizer = { sgd = { lr = nan } }\n"),
       "m.toml:5:28: optimizer sgd: lr must be finite, got nan"},
      {"nesterov without momentum",
       with_tables("[train]\noptimizer = { sgd = { nesterov = true } }\n"),
       "m.toml:5:34: optimizer sgd: nesterov needs a momentum above 0 and no dampening, got 0 and "
       "0"},
      {"unknown schedule", with_tables("[train]\nschedule = \"cosin\"\n"),
       R"(m.toml:5:12: [train] schedule: there is no "cosin"; did you mean "cosine"?)"},
      {"a warm-up without end",
       with_tables("[train]\nepochs = 2\nschedule = { cosine = { warmup = 2 } }\n"),
       "m.toml:6:12: [train] schedule: a warm-up of 2 epochs does not end within the 2 epochs of "
       "the run"},
      {"a mode that is none",
       with_tables("[train]\nschedule = { cyclic = { mode = \"triangle\" } }\n"),
       R"(m.toml:5:32: schedule cyclic: mode must be one of "triangular", "triangular2", "exp_range", got "triangle"…)"},
      {"a table without points", with_tables("[train]\nschedule = \"table\"\n"),
       "m.toml:5:12: [train] schedule: schedule table: there are no points"},
      {"points that are no pairs",
       with_tables("[train]\nschedule = { table = { points = [1, 2] } }\n"),
       "m.toml:5:33: schedule table: points must be a list of pairs …"},
      {"a group without a pattern", with_tables("[train]\ngroups = [ { lr_scale = 2 } ]\n"),
       "m.toml:5:12: a group needs the key \"match\": \"conv1.*\""},
      {"from nowhere", with_tables("[train]\nfrom = { match = \"conv*\" }\n"),
       "m.toml:5:8: [train] from needs the key \"file\""},
      {"freeze as text", with_tables("[train]\nfrom = { file = \"a\", freeze = \"b\" }\n"),
       "m.toml:5:31: [train] from: freeze must be a list of strings, not a string (\"b\")"},
      {"[train] as a list", with_tables("train = 3\n"),
       "m.toml:4:9: [train] must be a table, not a whole number (3)"},
      {"a negative seed", with_tables("[train]\nseed = -1\n"),
       "m.toml:5:8: [train]: seed must be at least 0, got -1"},
      {"a date", with_tables("[train]\nseed = 2024-01-01\n"),
       "m.toml:5:8: [train]: seed must be a whole number, not a date or time"},

      {"unknown targets", with_tables("[data]\ntargets = \"sample\"\n"),
       "m.toml:5:11: [data]: targets must be \"labels\" or \"samples\", got \"sample\"; did you "
       "mean "
       "\"samples\"?"},
      {"unknown normalisation", with_tables("[data]\nnormalize = \"fitt\"\n"),
       R"(m.toml:5:13: [data]: normalize must be "fit", "none" or { mean = […], std = […] }, got "fitt"; did you mean "fit"?)"},
      {"normalisation of three channels",
       with_tables("[data]\nnormalize = { mean = [1, 2, 3], std = [1] }\n"),
       "m.toml:5:22: [data] normalize: mean needs one number per channel (1), got 3"},
      {"an unknown augmentation", with_tables("[data]\naugment = { crops = 1 }\n"),
       R"(m.toml:5:13: [data] augment has no key "crops"; did you mean "crop"?)"},
      {"a crop as large as the image", with_tables("[data]\naugment = { crop = 100000 }\n"),
       "m.toml:5:20: [data] augment: crop must be at most 7, got 100000"},
      {"augmented samples as targets",
       with_tables("[data]\ntargets = \"samples\"\naugment = { flip = true }\n"),
       "m.toml:6:11: [data]: augment would move the samples but not the targets, which are the "
       "samples too"},
      {"a deviation of 0", with_tables("[data]\nnormalize = { mean = [1], std = [0] }\n"),
       "m.toml:5:34: [data] normalize: std must be greater than 0, got 0"},
      {"everything set aside", with_tables("[data]\nvalidation = 1.0\n"),
       "m.toml:5:14: [data]: validation must be less than 1, got 1"},
      {"validation and test take all", with_tables("[data]\nvalidation = 0.5\ntest = 0.5\n"),
       "m.toml:6:8: [data]: validation and test together must leave something to train on, got 0.5 "
       "and 0.5"},

      {"unknown parameter",
       with_layers("{ b = { outt = 3 } },",
                   "[blocks.b]\nparams = { out = 1 }\nlayers = [\"relu\"]\n"),
       R"(m.toml:3:11: block "b" has no parameter "outt"; did you mean "out"?)"},
      {"missing parameter",
       with_layers("\"b\",", "[blocks.b]\nparams = { out = \"required\" }\nlayers = [\"relu\"]\n"),
       R"(m.toml:3:3: block "b" needs its parameter "out")"},
      {"unknown $parameter",
       with_layers("\"b\",",
                   "[blocks.b]\nparams = { out = 1 }\nlayers = [{ linear = { out = \"$ot\" } }]\n"),
       R"(m.toml:8:30: block "b" has no parameter "ot"; did you mean "out"?)"},
      {"a parameter of a bad value, placed where it was given",
       with_layers("{ b = { out = -3 } },",
                   "[blocks.b]\nparams = { out = 1 }\nlayers = [{ conv2d = { out = \"$out\", "
                   "kernel = 1 } }]\n"),
       R"(m.toml:3:17: conv2d "b1.conv1": out must be at least 1, got -3)"},
      {"a block that uses itself",
       with_layers("\"a\",", "[blocks.a]\nlayers = [\"b\"]\n[blocks.b]\nlayers = [\"a\"]\n"),
       R"(m.toml:9:11: block "a" uses itself: a -> b -> a)"},
      {"a block named like a layer",
       with_layers("\"relu\",", "[blocks.relu]\nlayers = [\"tanh\"]\n"),
       R"(m.toml:6:9: block "relu": the name means something else already)"},
      {"a block of neither kind", with_layers("\"a\",", "[blocks.a]\nthen = []\n"),
       R"(m.toml:6:9: block "a" needs either layers (a sequence) or main (a residual sum))"},
      {"unknown key of a block", with_layers("\"a\",", "[blocks.a]\nmian = []\n"),
       R"(m.toml:7:1: block "a" has no key "mian"; did you mean "main"?)"},
      {"a shortcut without main",
       with_layers("\"a\",", "[blocks.a]\nlayers = [\"relu\"]\nshortcut = []\n"),
       R"(m.toml:8:12: block "a": shortcut belongs to main, not to layers)"},
      {"a sum whose shapes differ",
       with_layers("\"a\",", "[blocks.a]\nmain = [{ conv2d = { out = 5, kernel = 1 } }]\n"),
       R"(m.toml:3:3: add "a1.add1": …)"},
      {"blocks that double without a layer", doubling_blocks(""), "m.toml:…"},
      {"blocks that double with layers", doubling_blocks("\"relu\""), "m.toml:…"},
      {"parameters that double", doubling_parameters(), "m.toml:…"},

      {"no TOML", "input = [1, 8, 8\nlayers", "m.toml:2:…"},
      {"a key twice", "name = \"a\"\nname = \"b\"\n", "m.toml:2:…"},
      {"an open string", "name = \"a\n", "m.toml:1:…"},
      {"no text", std::string("\x00\x01\x02\xff\xfe", 5), "m.toml:1:…"},
      {"lists in lists in lists", deep_list(100'000), "m.toml:1:…"},
      {"tables in tables in tables", deep_key(100'000),
       "m.toml:1:33: a key of more than 16 parts; nothing in a model file nests that deep"},
      {"a huge file", std::string(2 << 20, '#'),
       "m.toml:1:1: a model file of 2097152 bytes; at most 1048576 are read"},
  };
}

// Every optimizer, schedule and initialiser is read, written out and read again as the same.
TEST(Recipe, EveryKindReadsBackAsItWasWritten) {
  std::vector<std::string> trains;
  for (const std::string& kind : recipe::optimizer_kinds()) {
    trains.push_back("optimizer = \"" + kind + "\"\n");
  }
  for (const std::string& kind : recipe::schedule_kinds()) {
    trains.push_back(kind == "table" ? "schedule = { table = { points = [[0, 1], [5.5, 0.1]] } }\n"
                                     : "schedule = \"" + kind + "\"\n");
  }
  trains.push_back("schedule = { multi_step = { milestones = [2, 5], gamma = 0.5 } }\n");
  trains.push_back("schedule = { one_cycle = { momentum_low = 0.85, momentum_high = 0.95 } }\n");
  trains.push_back("schedule = { cyclic = { mode = \"exp_range\", gamma = 0.9 } }\n");
  trains.push_back("init = \"lsuv\"\n");
  trains.push_back("init = { lsuv = { batch = 64, orthogonal = false } }\n");
  trains.push_back("init = \"whitening\"\n");
  trains.push_back("init = { orthogonal = { gain = \"following\" } }\n");
  trains.push_back("init = { dirac = { groups = 2 } }\n");
  trains.push_back("groups = [ { match = \"linear1.*\", lr_scale = 0.5 } ]\n");
  trains.push_back("from = { file = \"a.safetensors\" }\nlookahead = {}\n");
  for (const std::string& text : trains) {
    SCOPED_TRACE(text);
    const Recipe first = parse(with_tables("[train]\n" + text));
    EXPECT_EQ(parse(first.resolved_toml).resolved_toml, first.resolved_toml);
  }
  const Recipe lsuv = parse(with_tables("[train]\ninit = { lsuv = { batch = 64 } }\n"));
  ASSERT_TRUE(lsuv.start.lsuv.has_value());
  EXPECT_EQ(lsuv.start.batch, 64);
  EXPECT_TRUE(lsuv.start.lsuv->orthogonal);
  const Recipe muon = parse(with_tables(
      "[train]\noptimizer = { muon = { lr = 0.05, ns_steps = 3, adamw_lr = 1e-4 } }\n"));
  EXPECT_EQ(std::get<Muon>(muon.trainer.optimizer).lr, 0.05f);
  EXPECT_EQ(std::get<Muon>(muon.trainer.optimizer).ns_steps, 3);
  EXPECT_EQ(std::get<Muon>(muon.trainer.optimizer).adamw.lr, 1e-4f);
}

TEST(Recipe, BadFilesAreRefusedByPlaceAndRule) {
  const std::string open_end = "…";
  for (const BadFile& bad : bad_files()) {
    SCOPED_TRACE(bad.reason);
    const std::string got = error_of(bad.text);
    if (bad.message.size() > open_end.size() &&
        bad.message.compare(bad.message.size() - open_end.size(), open_end.size(), open_end) == 0) {
      const std::string start = bad.message.substr(0, bad.message.size() - open_end.size());
      EXPECT_EQ(got.substr(0, start.size()), start) << got;
    } else {
      EXPECT_EQ(got, bad.message);
    }
  }
}

TEST(Recipe, AMissingFileIsNamed) {
  try {
    load_recipe("/nowhere/m.toml");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::not_found);
    EXPECT_STREQ(e.what(), "/nowhere/m.toml: no such file");
  }
}

// Every prefix of a good file is read or refused, never worse.
TEST(Recipe, PrefixesOfAFileNeverCrash) {
  const std::string text = read_file(kModels + "resnet8.toml");
  for (size_t length = 0; length < text.size(); length += 7) {
    try {
      parse(text.substr(0, length));
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).rfind("m.toml:", 0), 0u) << e.what();
    }
  }
}

// --- the documentation ---

// Every TOML example of the page that is a whole recipe.
TEST(Recipe, TheDocumentationsExamplesAreRecipes) {
  const std::string text = read_file(std::string(TANUL_SOURCE_DIR) + "/docs/MODEL.md");
  const std::string fence = "```toml\n";
  std::vector<int64_t> parameters;
  for (size_t at = text.find(fence); at != std::string::npos; at = text.find(fence, at)) {
    at += fence.size();
    const std::string example = text.substr(at, text.find("```", at) - at);
    parameters.push_back(parse(example).model.parameter_count());
  }
  EXPECT_EQ(parameters, (std::vector<int64_t>{61'706, 11'689'512}));  // LeNet-5, ResNet-18
}

TEST(Recipe, LayersThatMoveAndCombineTakeTheirOptions) {
  const Recipe recipe = parse(R"(
input = [2, 6, 6]
layers = [
  { scale_shift = { init = { constant = { value = 0.5 } } } },
  { pad = { pad = [1, 0, 1, 2], mode = "reflect" }, name = "wide" },
  { conv2d = { out = 8, kernel = 1 } },
  { pad = { channels = [2, 4], value = 0.25 }, from = "wide" },
  { add = {}, from = ["conv1", "pad1"] },
  { pixel_shuffle = { factor = 2 } },
  { crop = { begin = [1, 2], size = [12, 12] } },
  { pixel_unshuffle = { factor = 3 } },
  { channel_shuffle = { groups = 3 }, name = "mixed" },
  { slice = { end = 9 }, name = "first" },
  { slice = { begin = 9 }, from = "mixed", name = "second" },
  { reduce_mean = { axes = [1, 2], keep = true } },
  { multiply = {}, from = ["first", "reduce_mean1"] },
  { divide = {}, from = ["multiply1", "second"] },
  { maximum = {}, from = ["divide1", "first"] },
  { minimum = {}, from = ["maximum1", "second"] },
  { upsample = { size = [5, 6], mode = "linear" } },
  { upsample = { scale = 1.5, mode = "cubic", align_corners = true } },
  { upsample = { scale = [1, 2.5] } },
  { transpose = { perm = [1, 2, 0] }, name = "last" },
  { flatten = { axis = 1 } },
  { reshape = { shape = [7, -1, 9] } },
  { reduce_sum = { axes = 0 }, name = "sum" },
  { reduce_sum = { axes = [0, 1], keep = false }, from = "last" },
  { subtract = {}, from = ["sum", "reduce_sum1"] },
  "flatten", { linear = { out = 3 } },
]
loss = "softmax_cross_entropy"
)");
  const std::string& text = recipe.resolved_toml;
  for (const char* line :
       {R"({ scale_shift = { scale = true, shift = true, init = { constant = { value = 0.5 } })",
        R"({ pad = { pad = [1, 0, 1, 2], mode = "reflect", value = 0 })",
        R"({ pad = { mode = "constant", value = 0.25, channels = [2, 4] })",
        R"({ crop = { begin = [1, 2], size = [12, 12] })",
        R"({ slice = { axis = 0, begin = 9, end = 18 })",
        R"({ reduce_mean = { axes = [1, 2], keep = true })",
        R"({ upsample = { size = [5, 6], mode = "linear", align_corners = false })",
        R"({ upsample = { scale = 1.5, mode = "cubic", align_corners = true })",
        R"({ upsample = { scale = [1, 2.5], mode = "nearest", align_corners = false })",
        R"({ flatten = { axis = 1 })", R"({ reshape = { shape = [7, 22, 9] })"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\nis not in\n" << text;
  }
  EXPECT_EQ(parse(text).resolved_toml, text);
  EXPECT_EQ(recipe.model.parameters()[0].init.str(), "constant(0.5)");
  EXPECT_EQ(recipe.model.output_shape(), Shape{3});

  EXPECT_EQ(error_of(with_layers("{ pad = { channels = 3 } }")),
            "m.toml:3:24: pad \"pad1\": channels must be [before, after], got 1 numbers");
  EXPECT_EQ(
      error_of(with_layers("{ reshape = { shape = \"flat\" } }")),
      "m.toml:3:25: reshape \"reshape1\": shape must be a whole number or a list of them, not "
      "a string (\"flat\")");
  EXPECT_EQ(error_of(with_layers("{ upsample = { size = 2, scale = 2 } }")),
            "m.toml:3:5: upsample \"upsample1\": either size or scale must be given");
}

TEST(Recipe, NormalisationsTakeTheirOptions) {
  const Recipe recipe = parse(with_layers(
      R"({ conv2d = { out = 6, kernel = 3 } }, { batch_norm = { momentum = 0.01, eps = 1e-3 } },
  { group_norm = { groups = 3 } }, { layer_norm = { axes = 1, affine = false } },
  { instance_norm = { affine = true, init = { constant = { value = 0.5 } } } }, "rms_norm",
  { local_response_norm = { size = 3, k = 1, alpha_divided_by_size = false } },
  "flatten", { linear = { out = 3 } })"));
  std::vector<std::string> names;
  for (const ParameterInfo& info : recipe.model.parameters()) names.push_back(info.name);
  EXPECT_EQ(names, (std::vector<std::string>{"conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias",
                                             "gn1.weight", "gn1.bias", "in1.weight", "in1.bias",
                                             "rms1.weight", "linear1.weight", "linear1.bias"}));
  EXPECT_EQ(recipe.model.parameters()[6].init.str(), "constant(0.5)");
  EXPECT_EQ(recipe.model.parameters()[8].shape, (Shape{6, 6, 6}));
  EXPECT_NE(
      recipe.resolved_toml.find(
          "batch_norm = { momentum = 0.01, frozen = false, eps = 0.001, affine = true, init = "
          "\"automatic\", bias_init = \"automatic\" }"),
      std::string::npos)
      << recipe.resolved_toml;
  EXPECT_EQ(parse(recipe.resolved_toml).resolved_toml, recipe.resolved_toml);
}

TEST(Recipe, TheDocumentationNamesEveryKey) {
  const std::string text = read_file(std::string(TANUL_SOURCE_DIR) + "/docs/MODEL.md") +
                           read_file(std::string(TANUL_SOURCE_DIR) +
                                     "/kernels/activation/README.md");  // layers come with it
  const auto documented = [&](const std::string& word) {
    return text.find("`" + word + "`") != std::string::npos;
  };
  for (const recipe::KeySet& set : recipe::all_key_sets()) {
    for (const std::string& key : set.keys) {
      EXPECT_TRUE(documented(key)) << set.name << ": " << key;
    }
  }
  for (const recipe::Keys* kinds :
       {&recipe::layer_kinds(), &recipe::loss_kinds(), &recipe::init_kinds(),
        &recipe::optimizer_kinds(), &recipe::schedule_kinds()}) {
    for (const std::string& kind : *kinds) EXPECT_TRUE(documented(kind)) << kind;
  }
}

}  // namespace
}  // namespace tanul
