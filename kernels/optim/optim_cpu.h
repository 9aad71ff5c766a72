// SPDX-License-Identifier: Apache-2.0
// Loops of the optimizer updates on the CPU. Every element is computed in double from its floats and
// rounded once where it is stored, in tiles of kElementwiseTile elements.
// The updates work in place: operand i of `in` and of `out` is the same memory (out[0] is w, the states
// of `in` follow from place 2, those of `out` from place 1).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/backend_abi.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/optim/optim.h"

namespace tanul::cpu {

// What all gradients are scaled by; `clip` is the place of the optional operand.
inline double grad_scale(const StepArgs& args, int clip) {
  return args.in_count > clip && args.in[clip].present()
             ? static_cast<double>(args.in[clip].as<float>()[1])
             : 1.0;
}

inline double rate_of(const StepArgs& args, float lr_scale) {
  return static_cast<double>(args.block->lr) * static_cast<double>(lr_scale);
}

// A momentum or beta1 of this step: the schedule's where it has one and the optimizer uses one.
inline double momentum_of(const StepArgs& args, float own) {
  return static_cast<double>(args.block->momentum > 0 && own > 0 ? args.block->momentum : own);
}

inline bool has_operand(const StepArgs& args, int i) {
  return args.in_count > i && args.in[i].present();
}

// Is `clip` that of a scaled loss?
inline bool has_loss_scale(const StepArgs& args, int clip) {
  return has_operand(args, clip) && args.in[clip].elems() == 4;
}
// Does loss scaling leave this step out?
inline bool is_left_out(const StepArgs& args, int clip) {
  return has_loss_scale(args, clip) && args.in[clip].as<float>()[2] == 0;
}
// Steps done so far, without those that were left out.
inline uint64_t steps_before(const StepArgs& args, int clip) {
  const uint64_t left_out =
      has_loss_scale(args, clip) ? static_cast<uint64_t>(args.in[clip].as<float>()[3]) : 0;
  return args.block->step - std::min(args.block->step, left_out);
}
// Number of this step, from 1.
inline double step_number(const StepArgs& args, int clip) {
  return static_cast<double>(steps_before(args, clip)) + 1;
}

inline SgdRates sgd_rates(const StepArgs& args, const SgdParams& params, float grad_scale,
                          uint64_t steps_before) {
  return {args.block->lr * params.lr_scale,
          static_cast<float>(momentum_of(args, params.momentum)),
          params.dampening,
          params.weight_decay,
          params.nesterov != 0,
          steps_before == 0,
          grad_scale};
}

// update(w, g, s) for each element: changes w and the states s, which lie at the places `states` of
// `in`; g is the scaled gradient. begin, end: what is looked at.
template <size_t States, typename Update>
void update_range(const StepArgs& args, const std::array<int, States>& states, double scale,
                  int64_t begin, int64_t end, const Update& update) {
  float* __restrict w = args.out[0].as<float>();
  const float* __restrict g = args.in[1].as<float>();
  std::array<float*, States> memory;
  for (size_t k = 0; k < States; ++k) memory[k] = args.out[states[k] - 1].template as<float>();
  for (int64_t i = begin; i < end; ++i) {
    double weight = static_cast<double>(w[i]);
    std::array<double, States> s;
    for (size_t k = 0; k < States; ++k) s[k] = static_cast<double>(memory[k][i]);
    update(weight, scale * static_cast<double>(g[i]), s);
    for (size_t k = 0; k < States; ++k) memory[k][i] = static_cast<float>(s[k]);
    w[i] = static_cast<float>(weight);
  }
}

template <size_t States, typename Update>
int update_elements(Stream* stream, const StepArgs& args, const std::array<int, States>& states,
                    int clip, const Update& update) {
  if (is_left_out(args, clip)) return 0;
  const double scale = grad_scale(args, clip);
  parallel_ranges(stream, args.in[0].elems(), [&](int64_t begin, int64_t end) {
    update_range(args, states, scale, begin, end, update);
  });
  return 0;
}

}  // namespace tanul::cpu
