// SPDX-License-Identifier: Apache-2.0
// From a model to the graph of one step: the batch is put in, the input is loaded and normalised,
// activations are fused, and for training the loss is differentiated and the optimizer appended.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/model.h"
#include "tanul/trainer.h"

namespace tanul {

struct StepGraphOptions {
  int64_t batch = 1;
  bool is_training = true;
  DType sample_dtype = DType::u8;
  DType target_dtype = DType::i32;
  // Read where is_training:
  Optimizer optimizer = Sgd{};
  double clip_norm = 0;
  bool decay_biases = true;
};

struct StepGraph {
  Graph graph;
  ValueId samples = kNoValue;
  ValueId target = kNoValue;  // kNoValue without a loss
  ValueId output = kNoValue;  // of the network, kept in evaluation
  ValueId loss = kNoValue;
  ValueId stats = kNoValue;
  ValueId mean = kNoValue;                   // [C] of the normalisation
  ValueId deviation = kNoValue;              // [C]
  std::map<std::string, std::string> fused;  // layer -> the layer that computes it too
};

// Names of persistent values are the same in every graph of a model ("conv1.weight",
// "conv1.weight.momentum", "normalization.mean"), so that plans can share their memory.
StepGraph make_step_graph(const Model& model, const StepGraphOptions& options);

}  // namespace tanul
