// SPDX-License-Identifier: Apache-2.0
#include "recipe/keys.h"

#include "core/format.h"
#include "recipe/layer_kind.h"
#include "recipe/settings.h"

namespace tanul::recipe {

namespace {

// The sets that are listed here, and those that layers and losses bring along.
std::vector<KeySet> with_layers(std::vector<KeySet> sets) {
  for (const LayerKind& layer : all_layers()) sets.push_back({layer.name, layer.keys});
  for (const LossKindInfo& loss : all_losses()) sets.push_back({loss.name, loss.keys});
  for (const KeySet& set : optimizer_key_sets()) sets.push_back(set);
  for (const KeySet& set : schedule_key_sets()) sets.push_back(set);
  for (const KeySet& set : more_key_sets()) sets.push_back(set);
  return sets;
}

}  // namespace

const std::vector<KeySet>& all_key_sets() {
  static const std::vector<KeySet> sets = with_layers({
      {"model", {"name", "input", "layers", "loss", "blocks", "data", "train"}},
      {"data", {"path", "normalize", "targets", "validation", "test", "stratified", "augment"}},
      {"augment", {"crop", "flip"}},
      {"normalize", {"mean", "std"}},
      {"train",
       {"epochs",
        "batch",
        "optimizer",
        "schedule",
        "init",
        "seed",
        "clip_value",
        "clip_norm",
        "decay_norms_and_biases",
        "decay_biases",
        "l1",
        "l2",
        "ema_decay",
        "accumulate",
        "lookahead",
        "groups",
        "from",
        "drop_last",
        "shuffle",
        "patience",
        "keep_best",
        "device",
        "threads",
        "force",
        "precise_convolutions",
        "precision",
        "deterministic",
        "memory",
        "tune",
        "data_on_device"}},
      {"block", {"params", "layers", "main", "shortcut", "shortcut_when", "then"}},
      {"layer", {"name", "from", "repeat"}},
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
      {"lecun_uniform", {}},
      {"torch_default", {}},
      {"orthogonal", {"gain"}},
      {"dirac", {"groups"}},
      {"whitening", {}},
  });
  return sets;
}

const Keys& keys_of(const std::string& name) {
  for (const KeySet& set : all_key_sets()) {
    if (set.name == name) return set.keys;
  }
  fail(Code::internal, "the model file has no table \"{}\"", name);
}

const Keys& layer_kinds() {
  static const Keys kinds = [] {
    Keys names;
    for (const LayerKind& layer : all_layers()) names.push_back(layer.name);
    return names;
  }();
  return kinds;
}

const Keys& loss_kinds() {
  static const Keys kinds = [] {
    Keys names;
    for (const LossKindInfo& loss : all_losses()) names.push_back(loss.name);
    return names;
  }();
  return kinds;
}

const Keys& init_kinds() {
  static const Keys kinds{"automatic",        "constant",       "uniform",       "normal",
                          "truncated_normal", "glorot_uniform", "glorot_normal", "he_uniform",
                          "he_normal",        "lecun_normal",   "lecun_uniform", "torch_default",
                          "orthogonal",       "dirac",          "whitening"};
  return kinds;
}

}  // namespace tanul::recipe
