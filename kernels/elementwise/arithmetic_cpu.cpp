// SPDX-License-Identifier: Apache-2.0
// Arithmetic with broadcasting on the CPU: rows of the merged axes (kernels/cpu/broadcast.h). Forward:
// one rounding, memory roof. Backward: each term in double; where an operand was repeated, the terms
// are added in double and rounded once, in an order that depends on the shapes alone.
#include <algorithm>

#include "kernels/cpu/broadcast.h"
#include "kernels/elementwise/arithmetic.h"
#include "kernels/op.h"

namespace tanul {

namespace {

template <Arithmetic kOp>
float apply(float a, float b) {
  switch (kOp) {
    case Arithmetic::add: return a + b;
    case Arithmetic::subtract: return a - b;
    case Arithmetic::multiply: return a * b;
    case Arithmetic::divide: return a / b;
    case Arithmetic::maximum: return a > b || a != a ? a : b;  // NaN stays
    case Arithmetic::minimum: return a < b || a != a ? a : b;
  }
  return 0;
}

// dy times the derivative with respect to a (kSide 0) or b (kSide 1).
template <Arithmetic kOp, int kSide>
double term(double dy, double a, double b) {
  switch (kOp) {
    case Arithmetic::add: return dy;
    case Arithmetic::subtract: return kSide == 0 ? dy : -dy;
    case Arithmetic::multiply: return dy * (kSide == 0 ? b : a);
    case Arithmetic::divide: return kSide == 0 ? dy / b : -dy * (a / b) / b;
    case Arithmetic::maximum:
    case Arithmetic::minimum: {
      if (a == b) return dy / 2;
      return ((kSide == 0) == (kOp == Arithmetic::maximum) ? a > b : a < b) ? dy : 0;
    }
  }
  return 0;
}

template <Arithmetic kOp>
int launch_fwd(Stream* stream, const StepArgs& args) {
  float* y = args.out[0].as<float>();
  cpu::map_broadcast(stream, args.out[0], args.in[0], args.in[0].as<float>(), args.in[1],
                     args.in[1].as<float>(),
                     [y](int64_t i, float a, float b) { y[i] = apply<kOp>(a, b); });
  return 0;
}

// One gradient: the operands as they are seen from dy.
struct Side {
  cpu::Extents a, b;
  cpu::Extents target;

  Side(const ArithmeticParams& params, int side)
      : a(params.a_dims, params.a_rank),
        b(params.b_dims, params.b_rank),
        target(side == 0 ? a : b) {}
  int64_t elems() const {
    int64_t n = 1;
    for (int i = 0; i < target.rank; ++i) n *= target.dims[i];
    return n;
  }
};

int64_t workspace_bytes(const StepArgs& args, int) {
  int64_t bytes = 0;
  for (int i = 0; i < 2; ++i) {
    const Side side(args.params_as<ArithmeticParams>(), i);
    if (!args.out[i].present() || side.elems() == args.in[0].elems()) continue;
    const cpu::SumPlan plan(args.in[0], side.a, side.b, side.target);
    bytes = std::max(bytes, plan.workspace_bytes());
  }
  return bytes;
}

template <Arithmetic kOp, int kSide>
void launch_side(Stream* stream, const StepArgs& args) {
  const Side side(args.params_as<ArithmeticParams>(), kSide);
  const float* dy = args.in[0].as<float>();
  // An operand that is left out is not looked at by `term`; dy stands for it.
  const float* a = args.in[1].present() ? args.in[1].as<float>() : dy;
  const float* b = args.in[2].present() ? args.in[2].as<float>() : dy;
  float* out = args.out[kSide].as<float>();
  if (side.elems() == args.in[0].elems()) {
    cpu::map_broadcast(
        stream, args.in[0], side.a, a, side.b, b, [dy, out](int64_t i, float u, float v) {
          out[i] = static_cast<float>(term<kOp, kSide>(
              static_cast<double>(dy[i]), static_cast<double>(u), static_cast<double>(v)));
        });
    return;
  }
  const cpu::SumPlan plan(args.in[0], side.a, side.b, side.target);
  cpu::sum_broadcast(stream, plan, dy, a, b, out, 1.0, static_cast<double*>(args.workspace),
                     [](float x, float u, float v) {
                       return term<kOp, kSide>(static_cast<double>(x), static_cast<double>(u),
                                               static_cast<double>(v));
                     });
}

template <Arithmetic kOp>
int launch_both(Stream* stream, const StepArgs& args) {
  if (args.out[0].present()) launch_side<kOp, 0>(stream, args);
  if (args.out[1].present()) launch_side<kOp, 1>(stream, args);
  return 0;
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
constexpr Implementation kFwd[] = {{"rows", supports_all, no_workspace, launch_fwd<kOp>}};
constexpr Implementation kBwd[] = {{"rows", supports_all, workspace_bytes, launch_bwd}};

}  // namespace

const ImplementationList cpu_add_broadcast_fwd{kFwd<Arithmetic::add>, 1};
const ImplementationList cpu_subtract_fwd{kFwd<Arithmetic::subtract>, 1};
const ImplementationList cpu_multiply_fwd{kFwd<Arithmetic::multiply>, 1};
const ImplementationList cpu_divide_fwd{kFwd<Arithmetic::divide>, 1};
const ImplementationList cpu_maximum_fwd{kFwd<Arithmetic::maximum>, 1};
const ImplementationList cpu_minimum_fwd{kFwd<Arithmetic::minimum>, 1};
const ImplementationList cpu_arithmetic_bwd{kBwd, 1};

}  // namespace tanul
