// SPDX-License-Identifier: Apache-2.0
// What the CUDA implementations of losses share: where class indices point, how blocks add up, and how a
// gradient is scaled.
//
// A forward kernel adds up what its threads saw and hands it in, one LossSums a block. Where there is more
// than one block, loss_finish_kernel adds those up in order. Everything is double and rounded once.
#pragma once

#include <limits>

#include "kernels/cuda/divide.h"
#include "kernels/cuda/operands.h"
#include "kernels/cuda/reduce.h"
#include "kernels/loss/loss.h"
#include "tanul/tensor.h"

namespace tanul::cuda {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Most blocks of a kernel whose blocks are added up.
constexpr int64_t kMostLossBlocks = 1024;

// x as [N, C, S]: S positions behind the classes. Position p = n S + s; its scores lie S apart.
struct Scores {
  int64_t N, C, S;
  Divider by_S;

  explicit Scores(const Operand& x)
      : N(x.dims[0]), C(x.rank > 1 ? x.dims[1] : 1), S(x.elems() / (N * C)), by_S(S) {}
  __host__ __device__ int64_t positions() const { return N * S; }
  __device__ int64_t first(int64_t p) const {  // of the scores of p
    const auto at = by_S.split(p);
    return at.quotient * C * S + at.rest;
  }
};

// Blocks of a kernel that gives each position a team.
inline int64_t position_blocks(const Scores& x) {
  return with_team(x.C, x.S, [&](auto team) {
    return int64_t{grid_for_rows<decltype(team)>(x.positions(), kMostLossBlocks).x};
  });
}

// The lowest of the classes with the highest score, as a loop over x > best finds it that starts with
// class 0: it stays there where x[0] is NaN.
template <typename Team>
__device__ Best largest(const float* x, int64_t classes, int64_t stride) {
  const float start = x[0];
  Best own{0, -1};
  for (int64_t c = Team::rank(); c < classes; c += Team::kThreads) {
    const float v = x[c * stride];
    if (own.at < 0 ? v == v : v > own.value) own = {v, c};
  }
  const Best all = Team::reduce(own, Better());
  return start != start || all.at < 0 ? Best{start, 0} : all;
}

inline const int32_t* class_indices(const Operand& target) {
  return target.dtype == static_cast<int32_t>(DType::i32) ? target.as<int32_t>() : nullptr;
}
inline const float* values_of(const Operand& operand) {
  return operand.dtype == static_cast<int32_t>(DType::f32) ? operand.as<float>() : nullptr;
}
struct LossSums {
  double sum, divisor, correct, counted;
};
__device__ inline LossSums operator+(const LossSums& x, const LossSums& y) {
  return {x.sum + y.sum, x.divisor + y.divisor, x.correct + y.correct, x.counted + y.counted};
}
__device__ inline LossSums shuffle_xor(const LossSums& v, int lanes) {
  return {shuffle_xor(v.sum, lanes), shuffle_xor(v.divisor, lanes), shuffle_xor(v.correct, lanes),
          shuffle_xor(v.counted, lanes)};
}

// Where a loss goes.
struct LossOut {
  float* loss;
  float* stats;
  float* single;    // [losses] with Reduction::none, else null
  LossSums* parts;  // [blocks]
  int64_t blocks;   // that hand in, of all kernels of the step
  LossSums known;   // what the host knows of the sums: added at the end
  Reduction reduction;
  double batch;

  LossOut(const StepArgs& args, int64_t block_count, LossSums known_sums)
      : loss(args.out[0].as<float>()),
        stats(args.out[1].as<float>()),
        single(nullptr),
        parts(static_cast<LossSums*>(args.workspace)),
        blocks(block_count),
        known(known_sums),
        reduction(args.params_as<LossParams>().reduction),
        batch(static_cast<double>(args.in[0].dims[0])) {
    if (reduction == Reduction::none) single = loss;
  }
  static int64_t workspace_bytes(int64_t blocks) {
    return blocks > 1 ? blocks * static_cast<int64_t>(sizeof(LossSums)) : 0;
  }

  // By one thread.
  __device__ void write(LossSums sums) const {
    sums = sums + known;
    if (reduction == Reduction::batch_mean) sums.divisor = batch;
    if (reduction != Reduction::none) {
      loss[0] = static_cast<float>(sums.sum / (reduction == Reduction::sum ? 1.0 : sums.divisor));
    }
    stats[0] = static_cast<float>(sums.sum);
    stats[1] = static_cast<float>(sums.divisor);
    stats[2] = static_cast<float>(sums.correct);
    stats[3] = static_cast<float>(sums.counted);
  }
  // By all threads of a block, with what each has seen. `first`: blocks of the kernels before this one.
  __device__ void hand_in(const LossSums& own, int64_t first = 0) const {
    const LossSums sums = block_sum(own);
    if (threadIdx.x != 0) return;
    if (blocks == 1) {
      write(sums);
    } else {
      parts[first + blockIdx.x] = sums;
    }
  }
};

// One block.
static __global__ void loss_finish_kernel(LossOut out) {
  LossSums own{0, 0, 0, 0};
  for (int64_t i = threadIdx.x; i < out.blocks; i += blockDim.x) own = own + out.parts[i];
  const LossSums sums = block_sum(own);
  if (threadIdx.x == 0) out.write(sums);
}

inline int launch_loss_finish(Stream* stream, const LossOut& out) {
  if (out.blocks == 1) return 0;
  return launch(stream, loss_finish_kernel, Dim3{1, 1, 1}, kBlockThreads, out);
}

// d(what is trained) / d(loss i).
struct LossScale {
  const float* dloss;  // [1], or one for each loss
  const float*
      mean_divisor;  // the mean divides by this number of the forward step; null: by `divisor`
  double divisor;
  bool is_single;

  LossScale(const StepArgs& args, int dloss_operand, const float* stats, double mean_of)
      : dloss(args.in[dloss_operand].as<float>()), mean_divisor(nullptr), divisor(1) {
    const Reduction reduction = args.params_as<LossParams>().reduction;
    is_single = reduction == Reduction::none;
    if (reduction == Reduction::mean) {
      mean_divisor = stats == nullptr ? nullptr : stats + 1;
      divisor = mean_of;
    }
    if (reduction == Reduction::batch_mean) divisor = static_cast<double>(args.in[0].dims[0]);
  }
  __device__ double at(int64_t i) const {
    const double by = mean_divisor == nullptr ? divisor : static_cast<double>(*mean_divisor);
    return static_cast<double>(dloss[is_single ? i : 0]) / by;
  }
};

}  // namespace tanul::cuda
