// SPDX-License-Identifier: Apache-2.0
// Loops of the optimizer updates on CUDA. A rule says what is made of an element and, once a block of
// threads, of the step:
//
//   struct Rule {
//     using Real = double;               // what an element is computed in; one rounding where it is stored
//     static constexpr int kStates = 1;
//     struct Factors { … };              // plain numbers
//     __device__ Factors factors(const StepBlock& block) const;
//     // Changes w and the states; g is the scaled gradient.
//     __device__ void update(const Factors& f, Real& w, Real g, Real (&state)[kStates]) const;
//   };
//
// The step's numbers lie in device memory, so that a captured graph reads new ones each time it runs.
// The updates work in place: operand i of `in` and of `out` is the same memory (out[0] is w, the states
// of `in` follow from place 2, those of `out` from place 1).
#pragma once

#include <cmath>
#include <initializer_list>

#include "kernels/cuda/kernel.h"

namespace tanul::cuda {

// A momentum or beta1 of this step: the schedule's where it has one and the optimizer uses one.
__device__ inline double momentum_of(const StepBlock& block, float own) {
  return static_cast<double>(block.momentum > 0 && own > 0 ? block.momentum : own);
}
__device__ inline double rate_of(const StepBlock& block, float lr_scale) {
  return static_cast<double>(block.lr) * static_cast<double>(lr_scale);
}
// Number of this step, from 1.
__device__ inline double step_number(const StepBlock& block) {
  return static_cast<double>(block.step) + 1;
}

inline bool has_operand(const StepArgs& args, int i) {
  return args.in_count > i && args.in[i].present();
}

struct UpdateOperands {
  static constexpr int kMostStates = 3;
  const StepBlock* block;
  const float* clip;  // [2], or null: gradients are scaled by clip[1]; [4] with loss scaling
  bool has_loss_scale;
  const float* g;
  float* w;
  float* states[kMostStates];
  int64_t elems;
};

// `states`: their places in `in`; `clip`: that of the optional operand.
inline UpdateOperands update_operands(const StepArgs& args, std::initializer_list<int> states,
                                      int clip) {
  UpdateOperands of{};
  of.block = args.block;
  of.clip = has_operand(args, clip) ? args.in[clip].as<float>() : nullptr;
  of.has_loss_scale = of.clip != nullptr && args.in[clip].elems() == 4;
  of.g = args.in[1].as<float>();
  of.w = args.out[0].as<float>();
  int count = 0;
  for (int place : states) of.states[count++] = args.out[place - 1].as<float>();
  of.elems = args.in[0].elems();
  return of;
}

// Steps done so far, without those that loss scaling left out; `clip` [4].
__device__ inline uint64_t steps_before(const StepBlock& block, const float* clip) {
  const auto left_out = static_cast<uint64_t>(clip[3]);
  return left_out < block.step ? block.step - left_out : 0;
}
// Does loss scaling leave this step out?
__device__ inline bool is_left_out(const UpdateOperands& of) {
  return of.has_loss_scale && of.clip[2] == 0;
}
// The step's numbers; steps that were left out before do not count.
__device__ inline StepBlock counted_block(const UpdateOperands& of) {
  StepBlock block = *of.block;
  if (of.has_loss_scale) block.step = steps_before(block, of.clip);
  return block;
}

// What the first thread of a block makes of the step, for all threads of it.
template <class Rule>
struct StepFactors {
  typename Rule::Factors of_rule;
  float scale;  // of gradients
};
template <class Rule>
__device__ StepFactors<Rule> share_factors(const Rule& rule, const UpdateOperands& of) {
  TANUL_SHARED(StepFactors<Rule>, shared, 1);
  if (threadIdx.x == 0) {
    shared[0] =
        StepFactors<Rule>{rule.factors(counted_block(of)), of.clip == nullptr ? 1.0f : of.clip[1]};
  }
  __syncthreads();
  return shared[0];
}

template <class Rule>
__device__ typename Rule::Real load_states(
    const UpdateOperands& of, int64_t i,
    typename Rule::Real (&states)[UpdateOperands::kMostStates]) {
  using Real = typename Rule::Real;
  for (int k = 0; k < Rule::kStates; ++k) states[k] = static_cast<Real>(of.states[k][i]);
  return static_cast<Real>(of.w[i]);
}

template <class Rule>
__global__ void update_kernel(Rule rule, UpdateOperands of) {
  using Real = typename Rule::Real;
  if (is_left_out(of)) return;
  const StepFactors<Rule> f = share_factors(rule, of);
  for (int64_t i = grid_thread(); i < of.elems; i += grid_threads()) {
    Real states[UpdateOperands::kMostStates];
    Real w = load_states<Rule>(of, i, states);
    rule.update(f.of_rule, w, static_cast<Real>(f.scale) * static_cast<Real>(of.g[i]), states);
    for (int k = 0; k < Rule::kStates; ++k) of.states[k][i] = static_cast<float>(states[k]);
    of.w[i] = static_cast<float>(w);
  }
}

template <class Rule>
int launch_update(Stream* stream, const Rule& rule, const UpdateOperands& of) {
  return launch(stream, update_kernel<Rule>, blocks_for(of.elems), kBlockThreads, rule, of);
}

}  // namespace tanul::cuda
