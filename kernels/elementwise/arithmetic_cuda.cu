// SPDX-License-Identifier: Apache-2.0
// Arithmetic with broadcasting on CUDA (kernels/cuda/broadcast.h). Forward: one rounding, memory roof.
// Backward: each term in double; where an operand was repeated, the terms are added in double and rounded
// once, in an order that depends on the shapes alone.
#include <algorithm>

#include "kernels/cuda/broadcast.h"
#include "kernels/cuda/ops.h"
#include "kernels/elementwise/arithmetic.h"

namespace tanul {

namespace {

using cuda::BroadcastSums;
using cuda::Extents;

template <Arithmetic kOp>
struct Apply {
  __device__ float operator()(float a, float b) const {
    if constexpr (kOp == Arithmetic::add) return a + b;
    if constexpr (kOp == Arithmetic::subtract) return a - b;
    if constexpr (kOp == Arithmetic::multiply) return a * b;
    if constexpr (kOp == Arithmetic::divide) return a / b;
    if constexpr (kOp == Arithmetic::maximum) return a > b || a != a ? a : b;  // NaN stays
    if constexpr (kOp == Arithmetic::minimum) return a < b || a != a ? a : b;
  }
  __device__ float operator()(int64_t, float a, float b) const { return (*this)(a, b); }
};

// dy times the derivative with respect to a (kSide 0) or b (kSide 1).
template <Arithmetic kOp, int kSide>
struct Term {
  __device__ double operator()(double dy, double a, double b) const {
    if constexpr (kOp == Arithmetic::add) return dy;
    if constexpr (kOp == Arithmetic::subtract) return kSide == 0 ? dy : -dy;
    if constexpr (kOp == Arithmetic::multiply) return dy * (kSide == 0 ? b : a);
    if constexpr (kOp == Arithmetic::divide) return kSide == 0 ? dy / b : -dy * (a / b) / b;
    if constexpr (kOp == Arithmetic::maximum || kOp == Arithmetic::minimum) {
      if (a == b) return dy / 2;
      return ((kSide == 0) == (kOp == Arithmetic::maximum) ? a > b : a < b) ? dy : 0;
    }
  }
  __device__ double operator()(float dy, float a, float b) const {
    return (*this)(static_cast<double>(dy), static_cast<double>(a), static_cast<double>(b));
  }
};

// A gradient that has the full shape.
template <Arithmetic kOp, int kSide>
struct Gradient {
  const float* dy;
  __device__ float operator()(int64_t i, float a, float b) const {
    return static_cast<float>(Term<kOp, kSide>()(dy[i], a, b));
  }
};

template <Arithmetic kOp>
int launch_fwd(Stream* stream, const StepArgs& args) {
  const float* a = args.in[0].as<float>();
  const float* b = args.in[1].as<float>();
  float* y = args.out[0].as<float>();
  const int64_t n = args.out[0].elems();
  if (args.in[0].elems() == n && args.in[1].elems() == n) {
    return cuda::launch_map(stream, Apply<kOp>(), n, y, a, b);
  }
  return cuda::launch_map_broadcast(stream, args.out[0], args.in[0], a, args.in[1], b, y,
                                    Apply<kOp>());
}

// One gradient: the operands as they are seen from dy.
struct Side {
  Extents a, b, target;

  Side(const ArithmeticParams& params, int side)
      : a(params.a_dims, params.a_rank),
        b(params.b_dims, params.b_rank),
        target(side == 0 ? a : b) {}
};

int64_t workspace_bytes(const StepArgs& args, int) {
  int64_t bytes = 0;
  for (int i = 0; i < 2; ++i) {
    const Side side(args.params_as<ArithmeticParams>(), i);
    if (!args.out[i].present() || side.target.elems() == args.in[0].elems()) continue;
    const BroadcastSums plan(args.in[0], side.a, side.b, side.target);
    bytes = std::max(bytes, plan.workspace_bytes());
  }
  return bytes;
}

template <Arithmetic kOp, int kSide>
int launch_side(Stream* stream, const StepArgs& args) {
  const Side side(args.params_as<ArithmeticParams>(), kSide);
  const float* dy = args.in[0].as<float>();
  // An operand that is left out is not looked at by the term; dy stands for it.
  const float* a = args.in[1].present() ? args.in[1].as<float>() : dy;
  const float* b = args.in[2].present() ? args.in[2].as<float>() : dy;
  float* out = args.out[kSide].as<float>();
  if (side.target.elems() == args.in[0].elems()) {
    return cuda::launch_map_broadcast(stream, args.in[0], side.a, a, side.b, b, out,
                                      Gradient<kOp, kSide>{dy});
  }
  const BroadcastSums plan(args.in[0], side.a, side.b, side.target);
  return cuda::launch_broadcast_sums(stream, plan, Term<kOp, kSide>(), dy, a, b, out,
                                     args.workspace);
}

template <Arithmetic kOp>
int launch_both(Stream* stream, const StepArgs& args) {
  if (args.out[0].present()) {
    if (const int status = launch_side<kOp, 0>(stream, args)) return status;
  }
  return args.out[1].present() ? launch_side<kOp, 1>(stream, args) : 0;
}

int launch_bwd(Stream* stream, const StepArgs& args) {
  switch (args.params_as<ArithmeticParams>().op) {
    case Arithmetic::add: return launch_both<Arithmetic::add>(stream, args);
    case Arithmetic::subtract: return launch_both<Arithmetic::subtract>(stream, args);
    case Arithmetic::multiply: return launch_both<Arithmetic::multiply>(stream, args);
    case Arithmetic::divide: return launch_both<Arithmetic::divide>(stream, args);
    case Arithmetic::maximum: return launch_both<Arithmetic::maximum>(stream, args);
    case Arithmetic::minimum: return launch_both<Arithmetic::minimum>(stream, args);
  }
  return 1;
}

template <Arithmetic kOp>
constexpr Implementation kFwd[] = {{"elements", supports_all, no_workspace, launch_fwd<kOp>}};
constexpr Implementation kBwd[] = {{"parts", supports_all, workspace_bytes, launch_bwd}};

}  // namespace

const ImplementationList cuda_add_broadcast_fwd{kFwd<Arithmetic::add>, 1};
const ImplementationList cuda_subtract_fwd{kFwd<Arithmetic::subtract>, 1};
const ImplementationList cuda_multiply_fwd{kFwd<Arithmetic::multiply>, 1};
const ImplementationList cuda_divide_fwd{kFwd<Arithmetic::divide>, 1};
const ImplementationList cuda_maximum_fwd{kFwd<Arithmetic::maximum>, 1};
const ImplementationList cuda_minimum_fwd{kFwd<Arithmetic::minimum>, 1};
const ImplementationList cuda_arithmetic_bwd{kBwd, 1};

}  // namespace tanul
