// SPDX-License-Identifier: Apache-2.0
// From a model to the graph of one step: the batch is put in, the input is loaded and normalised,
// activations are fused, and for training the loss is differentiated and the optimizer appended.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "graph/model.h"
#include "graph/recompute.h"
#include "tanul/trainer.h"

namespace tanul {

// The element type of each input, or of each loss's target.
struct PortTypes {
  std::array<DType, kMostPorts> type{};

  PortTypes() = default;
  explicit PortTypes(DType all) { type.fill(all); }
  DType operator[](size_t i) const { return type[i]; }
  DType& operator[](size_t i) { return type[i]; }
  bool operator==(const PortTypes&) const = default;
};

// Which part of a step over several micro-batches a graph is.
enum class Accumulation {
  none,    // the batch is the whole step
  gather,  // adds its gradients to those of the step
  apply,   // the last one: its gradients, those gathered, and the update
};

struct StepGraphOptions {
  int64_t batch = 1;
  bool is_training = true;
  PortTypes samples{DType::u8};   // of each input
  PortTypes targets{DType::i32};  // of each loss
  // Read where is_training:
  Optimizer optimizer = Sgd{};
  double clip_norm = 0;
  double clip_value = 0;
  bool decay_biases = true;
  std::vector<ParameterGroup> groups;
  double l1 = 0;
  double l2 = 0;
  Accumulation accumulation = Accumulation::none;
  bool scales_loss = false;  // dynamic loss scaling (kernels/optim/loss_scale.h)
  // What of the forward pass outlives it; none: default_keeping. Values have the same ids in every
  // training graph of a model.
  std::optional<Keeping> keeping = {};
  Memory memory = Memory::normal;
  double ema_decay = 0;
  int64_t lookahead_k = 0;
  double lookahead_alpha = 0.5;
  // Above 0: batches are taken from a data set of so many samples on the device (StepGraph::data_set), images
  // of training augmented; 0: the trainer puts them into the inputs.
  int64_t resident_samples = 0;
  Augmentation augmentation = {};
  int64_t image_height = 0;  // of the samples that are augmented
  int64_t image_width = 0;
  uint64_t seed = 0;
  // Read where not training: keeps what convolution and linear layers read and make, unfused (StepGraph::layers).
  bool keep_layers = false;
};

struct StepGraph {
  Graph graph;
  // In the order of Model::inputs().
  struct Input {
    ValueId samples;
    ValueId mean;  // [C] of the normalisation: "normalization.mean"
    ValueId deviation;
  };
  // In the order of Model::losses().
  struct Loss {
    ValueId x;  // kept in evaluation
    ValueId target;
    ValueId loss;
    ValueId stats;
  };
  std::vector<Input> inputs;
  std::vector<Loss> losses;
  // With resident_samples: the data set, which steps in front of all others take the batch from.
  struct DataSet {
    ValueId order = kNoValue;      // i32 [S]: of the epoch
    std::vector<ValueId> samples;  // [S, ...] of each input
    std::vector<ValueId> targets;  // [S, ...] of each loss
  };
  DataSet data_set;
  std::vector<ValueId> outputs;              // in the order of Model::outputs(), kept in evaluation
  ValueId penalty = kNoValue;                // [1], where weights are penalised
  std::map<std::string, std::string> fused;  // layer -> the layer that computes it too
  // What the backward pass makes again: {the copy, the value of the forward pass}.
  std::vector<std::pair<ValueId, ValueId>> remade;
  // With keep_layers: the layers with weights, in an order in which they run; one that runs twice is
  // there once.
  struct Layer {
    std::string weight;  // the parameter's name
    OpKind kind;
    ValueId x, y;  // y before the activation
    int32_t node;  // that makes y
    Params params;
  };
  std::vector<Layer> layers;
};

// What of `options` a training graph depends on.
StepGraphOptions training_options(const TrainerOptions& options);

// "normalization.mean" of the first input, "normalization.<name>.mean" of the others.
std::string normalization_name(const Model::Impl& model, size_t input, const char* what);

// The state of loss scaling (kernels/optim/loss_scale.h), where there is one.
constexpr const char* kLossScaleName = "loss_scale";

// Names of persistent values are the same in every graph of a model ("conv1.weight",
// "conv1.weight.momentum", "normalization.mean"), so that plans can share their memory.
StepGraph make_step_graph(const Model& model, const StepGraphOptions& options);

}  // namespace tanul
