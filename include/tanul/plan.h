// SPDX-License-Identifier: Apache-2.0
// What a plan will cost, before anything runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tanul/export.h"
#include "tanul/precision.h"
#include "tanul/tensor.h"

namespace tanul {

// One step of a plan.
struct StepInfo {
  std::string layer;                 // "conv1"
  std::string op;                    // "conv2d_fwd"
  std::string phase;                 // load, forward, loss, backward, update
  std::string implementation;        // "im2col_gemm"
  std::vector<std::string> refused;  // "winograd: kernel 5x5, only 3x3": earlier ones of the list
  // Of a choice by measured times (TrainerOptions::tune), the chosen one's first: "0.41 ms, winograd 0.52
  // ms". Empty: by order.
  std::string tuned;
  Shape output;  // of the first output
  double flops = 0;
  double bytes = 0;  // that must move at least once
  int64_t workspace_bytes = 0;
  // Of a convolution or linear layer: what TrainerOptions::precision is about.
  bool is_product = false;
  Precision multiplies_in = Precision::fp32;
  bool is_deterministic = true;  // false: its last bits may differ from run to run
};

// One layer of the model: its forward step, and what belongs to it.
struct LayerInfo {
  std::string name;         // "conv1"
  std::string description;  // "conv2d 5x5 /1 +2"
  std::string fused_into;   // the layer that computes this one too, or empty
  Shape output;             // with N
  int64_t parameters = 0;
  double flops = 0;       // forward
  double step_flops = 0;  // forward, backward and update together
  double bytes = 0;       // forward
  int64_t output_bytes = 0;
  std::string implementation;                 // of the forward step; empty for views
  Precision multiplies_in = Precision::fp32;  // the forward step
  std::vector<std::string> refused;
  std::string tuned;
};

struct PlanInfo {
  std::string model;
  int64_t batch = 0;
  bool is_training = false;
  std::string device;  // "cpu", "cuda"
  // As they were asked for; what came of them says each step, in sum:
  Precision precision = Precision::fp32;
  bool is_deterministic = true;
  int64_t products = 0;               // steps with is_product
  int64_t products_in_precision = 0;  // of these, the others are in fp32
  int64_t nondeterministic_steps = 0;
  std::vector<LayerInfo> layers;
  std::vector<StepInfo> steps;
  double flops = 0;  // of a whole step
  // Memory of all tensors of a step. total = parameters + state + inputs + activations
  int64_t parameter_bytes = 0;               // weights
  int64_t state_bytes = 0;                   // optimizer state, normalisation, constants
  int64_t input_bytes = 0;                   // staging of samples and targets
  int64_t activation_bytes = 0;              // the packed arena: activations, gradients, workspace
  int64_t activation_lower_bound_bytes = 0;  // largest set of buffers alive at once
  int64_t total_bytes = 0;
  // With Memory::low: arithmetic and memory of the same step with Memory::normal, to compare; without,
  // its own.
  double normal_flops = 0;
  int64_t normal_total_bytes = 0;
  // What lives at the step where the arena is fullest, largest first: "conv1 output 1.2 MiB"
  std::string peak_step;
  struct LiveBuffer {
    std::string name;
    int64_t bytes;
  };
  std::vector<LiveBuffer> alive_at_peak;
};

}  // namespace tanul
