// SPDX-License-Identifier: Apache-2.0
// Averages of weights and of gradients on the CPU, "elementwise", in tiles of kElementwiseTile elements.
// Memory bound: 12 bytes an element (lookahead 16 every k-th step, nothing in between). Numerics: double
// inside, one rounding where a float is stored.
#include "kernels/cpu/parallel.h"
#include "kernels/op.h"
#include "kernels/optim/averaging.h"
#include "kernels/optim/optim_cpu.h"

namespace tanul {

namespace {

constexpr double as_double(float value) { return static_cast<double>(value); }

int launch_ema_elementwise(Stream* stream, const StepArgs& args) {
  if (cpu::is_left_out(args, 2)) return 0;
  const double decay = as_double(args.params_as<EmaParams>().decay);
  float* average = args.out[0].as<float>();
  const float* w = args.in[1].as<float>();
  cpu::parallel_ranges(stream, args.in[0].elems(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      average[i] =
          static_cast<float>(decay * as_double(average[i]) + (1 - decay) * as_double(w[i]));
    }
  });
  return 0;
}

int launch_lookahead_elementwise(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<LookaheadParams>();
  if (cpu::is_left_out(args, 2)) return 0;
  if ((cpu::steps_before(args, 2) + 1) % static_cast<uint64_t>(p.k) != 0) return 0;
  const double alpha = as_double(p.alpha);
  float* slow = args.out[0].as<float>();
  float* w = args.out[1].as<float>();
  cpu::parallel_ranges(stream, args.in[0].elems(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double from = as_double(slow[i]);
      w[i] = slow[i] = static_cast<float>(from + alpha * (as_double(w[i]) - from));
    }
  });
  return 0;
}

int launch_accumulate_add_elementwise(Stream* stream, const StepArgs& args) {
  const bool is_sum = args.params_as<AccumulateParams>().is_sum != 0;
  const double divisor = is_sum ? 1 : as_double(args.in[2].as<float>()[1]);
  const bool is_first = args.in[3].as<float>()[0] == 0;
  float* sum = args.out[0].as<float>();
  const float* g = args.in[1].as<float>();
  cpu::parallel_ranges(stream, args.in[0].elems(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double before = is_first ? 0.0 : as_double(sum[i]);
      sum[i] = static_cast<float>(before + divisor * as_double(g[i]));
    }
  });
  return 0;
}

int launch_accumulate_mean_elementwise(Stream* stream, const StepArgs& args) {
  const bool is_sum = args.params_as<AccumulateParams>().is_sum != 0;
  const double divisor = is_sum ? 1 : as_double(args.in[2].as<float>()[1]);
  const double total = as_double(args.in[3].as<float>()[0]);
  const double all = is_sum ? 1 : total + divisor;
  const double inverse = all == 0 ? 0 : 1 / all;
  const float* g = args.in[0].as<float>();
  const float* sum = args.in[1].as<float>();
  float* mean = args.out[0].as<float>();
  cpu::parallel_ranges(stream, args.in[0].elems(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double before = total == 0 ? 0.0 : as_double(sum[i]);
      mean[i] = static_cast<float>((before + divisor * as_double(g[i])) * inverse);
    }
  });
  return 0;
}

int launch_accumulate_total_scalar(Stream*, const StepArgs& args) {
  float* total = args.out[0].as<float>();
  const bool is_reset = args.params_as<AccumulateTotalParams>().reset != 0;
  total[0] = is_reset ? 0.0f : total[0] + args.in[1].as<float>()[1];
  return 0;
}

constexpr Implementation kEma[] = {
    {"elementwise", supports_all, no_workspace, launch_ema_elementwise}};
constexpr Implementation kLookahead[] = {
    {"elementwise", supports_all, no_workspace, launch_lookahead_elementwise}};
constexpr Implementation kAdd[] = {
    {"elementwise", supports_all, no_workspace, launch_accumulate_add_elementwise}};
constexpr Implementation kMean[] = {
    {"elementwise", supports_all, no_workspace, launch_accumulate_mean_elementwise}};
constexpr Implementation kTotal[] = {
    {"scalar", supports_all, no_workspace, launch_accumulate_total_scalar}};

}  // namespace

const ImplementationList cpu_ema_update{kEma, 1};
const ImplementationList cpu_lookahead_update{kLookahead, 1};
const ImplementationList cpu_accumulate_add{kAdd, 1};
const ImplementationList cpu_accumulate_mean{kMean, 1};
const ImplementationList cpu_accumulate_total{kTotal, 1};

}  // namespace tanul
