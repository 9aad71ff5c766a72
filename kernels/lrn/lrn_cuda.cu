// SPDX-License-Identifier: Apache-2.0
// Local response normalisation on CUDA, "elements": a thread takes one element and adds up the squares of
// its window anew; what the windows of neighbouring channels share comes from the cache. Neighbouring
// threads take neighbouring positions. Backward, a first kernel writes t^-beta and the share
// dy x t^(-beta - 1) of each element, a second one adds up the shares of the outputs that x enters.
// Memory bound: forward moves 8 bytes an element, backward 32.
// Numerics: float; all terms of t are positive. beta 0.75, 0.5 and 1 by roots, any other by pow in double.
// Deterministic.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/divide.h"
#include "kernels/cuda/ops.h"
#include "kernels/lrn/lrn.h"

namespace tanul {

namespace {

using namespace cuda;

struct Lrn {
  int64_t elems, C, inner;
  Divider by_inner, by_C;
  int64_t back, ahead;  // channels of a window before and behind its own
  float alpha, k;
  double beta;

  Lrn(const StepArgs& args, const Operand& x)
      : elems(x.elems()),
        C(x.dims[1]),
        inner(x.elems() / (x.dims[0] * x.dims[1])),
        by_inner(inner),
        by_C(C) {
    const auto& p = args.params_as<LrnParams>();
    back = p.size / 2;
    ahead = (p.size - 1) / 2;
    alpha = static_cast<float>(p.alpha_divided_by_size != 0 ? p.alpha / p.size : p.alpha);
    k = static_cast<float>(p.k);
    beta = p.beta;
  }
  __device__ int64_t channel(int64_t i) const { return by_C.split(by_inner.quotient(i)).rest; }
  // t of element i
  __device__ float base(const float* x, int64_t i) const {
    const int64_t c = channel(i);
    const int64_t last = std::min(C - 1, c + ahead);
    float sum = 0;
    for (int64_t other = std::max<int64_t>(0, c - back); other <= last; ++other) {
      const float v = x[i + (other - c) * inner];
      sum = fmaf(v, v, sum);
    }
    return fmaf(sum, alpha, k);
  }
  // t^-beta
  __device__ float factor(float t) const {
    if (beta == 0.75) {
      const float root = std::sqrt(t);
      return 1 / (root * std::sqrt(root));
    }
    if (beta == 0.5) return 1 / std::sqrt(t);
    if (beta == 1) return 1 / t;
    return static_cast<float>(std::pow(static_cast<double>(t), -beta));
  }
};

__global__ void lrn_fwd_elements_kernel(Lrn lrn, const float* x, float* y) {
  for (int64_t i = grid_thread(); i < lrn.elems; i += grid_threads()) {
    y[i] = x[i] * lrn.factor(lrn.base(x, i));
  }
}

__global__ void lrn_shares_kernel(Lrn lrn, const float* dy, const float* x, float* factors,
                                  float* shares) {
  for (int64_t i = grid_thread(); i < lrn.elems; i += grid_threads()) {
    const float t = lrn.base(x, i);
    const float factor = lrn.factor(t);
    factors[i] = factor;
    shares[i] = dy[i] * x[i] * factor / t;
  }
}

// dx may lie over dy or x.
__global__ void lrn_bwd_elements_kernel(Lrn lrn, float weight, const float* dy, const float* x,
                                        const float* factors, const float* shares, float* dx) {
  for (int64_t i = grid_thread(); i < lrn.elems; i += grid_threads()) {
    const int64_t c = lrn.channel(i);
    const int64_t last = std::min(lrn.C - 1, c + lrn.back);
    float sum = 0;
    for (int64_t other = std::max<int64_t>(0, c - lrn.ahead); other <= last; ++other) {
      sum += shares[i + (other - c) * lrn.inner];
    }
    dx[i] = fmaf(-(weight * x[i]), sum, dy[i] * factors[i]);
  }
}

int launch_lrn_fwd_elements(Stream* stream, const StepArgs& args) {
  const Lrn lrn(args, args.in[0]);
  return launch(stream, lrn_fwd_elements_kernel, blocks_for(lrn.elems), kBlockThreads, lrn,
                args.in[0].as<float>(), args.out[0].as<float>());
}

// Factors and shares, each of the shape of x.
int64_t workspace_bwd(const StepArgs& args, int) {
  return 2 * args.in[1].elems() * static_cast<int64_t>(sizeof(float));
}

int launch_lrn_bwd_elements(Stream* stream, const StepArgs& args) {
  const Lrn lrn(args, args.in[1]);
  const float* dy = args.in[0].as<float>();
  const float* x = args.in[1].as<float>();
  float* factors = static_cast<float*>(args.workspace);
  float* shares = factors + lrn.elems;
  const int error = launch(stream, lrn_shares_kernel, blocks_for(lrn.elems), kBlockThreads, lrn, dy,
                           x, factors, shares);
  if (error != 0) return error;
  const auto weight = static_cast<float>(2 * static_cast<double>(lrn.alpha) * lrn.beta);
  return launch(stream, lrn_bwd_elements_kernel, blocks_for(lrn.elems), kBlockThreads, lrn, weight,
                dy, x, factors, shares, args.out[0].as<float>());
}

constexpr Implementation kFwd[] = {
    {"elements", supports_all, no_workspace, launch_lrn_fwd_elements}};
constexpr Implementation kBwd[] = {
    {"elements", supports_all, workspace_bwd, launch_lrn_bwd_elements}};

}  // namespace

const ImplementationList cuda_lrn_fwd{kFwd, 1};
const ImplementationList cuda_lrn_bwd{kBwd, 1};

}  // namespace tanul
