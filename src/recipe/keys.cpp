// SPDX-License-Identifier: Apache-2.0
#include "recipe/keys.h"

#include "core/format.h"

namespace tanul::recipe {

const std::vector<KeySet>& all_key_sets() {
  static const std::vector<KeySet> sets{
      {"model", {"name", "input", "layers", "loss", "blocks", "data", "train"}},
      {"data", {"path", "normalize", "validation", "test", "stratified"}},
      {"normalize", {"mean", "std"}},
      {"train",
       {"epochs", "batch", "optimizer", "schedule", "init", "seed", "clip_norm", "decay_biases",
        "drop_last", "shuffle", "patience", "keep_best", "device", "threads", "force"}},
      {"block", {"params", "layers", "main", "shortcut", "shortcut_when", "then"}},
      {"layer", {"name", "from", "repeat"}},
      {"conv2d",
       {"out", "kernel", "stride", "pad", "dilation", "groups", "bias", "init", "bias_init"}},
      {"linear", {"out", "bias", "init", "bias_init"}},
      {"max_pool2d", {"kernel", "stride", "pad", "ceil_mode"}},
      {"avg_pool2d", {"kernel", "stride", "pad", "ceil_mode", "count_include_pad"}},
      {"global_avg_pool2d", {}},
      {"relu", {}},
      {"sigmoid", {}},
      {"tanh", {}},
      {"flatten", {}},
      {"add", {}},
      {"concat", {"axis"}},
      {"dropout", {"p"}},
      {"softmax_cross_entropy", {"label_smoothing", "class_weights", "ignore_index"}},
      {"mean_squared_error", {}},
      {"automatic", {}},
      {"constant", {"value"}},
      {"uniform", {"low", "high"}},
      {"normal", {"mean", "std"}},
      {"truncated_normal", {"mean", "std"}},
      {"glorot_uniform", {"gain"}},
      {"glorot_normal", {"gain"}},
      {"he_uniform", {"fan", "gain"}},
      {"he_normal", {"fan", "gain"}},
      {"lecun_normal", {}},
      {"sgd", {"lr", "momentum", "dampening", "weight_decay", "nesterov"}},
      {"adam", {"lr", "beta1", "beta2", "eps", "weight_decay"}},
      {"adamw", {"lr", "beta1", "beta2", "eps", "weight_decay"}},
      {"schedule constant", {"warmup"}},
      {"schedule step", {"every", "gamma", "warmup"}},
      {"schedule cosine", {"warmup", "floor"}},
  };
  return sets;
}

const Keys& keys_of(const std::string& name) {
  for (const KeySet& set : all_key_sets()) {
    if (set.name == name) return set.keys;
  }
  fail(Code::internal, "the model file has no table \"{}\"", name);
}

const Keys& layer_kinds() {
  static const Keys kinds{"conv2d", "linear",  "max_pool2d", "avg_pool2d", "global_avg_pool2d",
                          "relu",   "sigmoid", "tanh",       "flatten",    "add",
                          "concat", "dropout"};
  return kinds;
}

const Keys& loss_kinds() {
  static const Keys kinds{"softmax_cross_entropy", "mean_squared_error"};
  return kinds;
}

const Keys& init_kinds() {
  static const Keys kinds{"automatic",        "constant",       "uniform",       "normal",
                          "truncated_normal", "glorot_uniform", "glorot_normal", "he_uniform",
                          "he_normal",        "lecun_normal"};
  return kinds;
}

const Keys& optimizer_kinds() {
  static const Keys kinds{"sgd", "adam", "adamw"};
  return kinds;
}

const Keys& schedule_kinds() {
  static const Keys kinds{"constant", "step", "cosine"};
  return kinds;
}

}  // namespace tanul::recipe
