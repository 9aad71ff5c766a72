// SPDX-License-Identifier: Apache-2.0
// The OpDefs of all activations, made of the definitions in the headers of this folder; and of the
// gradients that layers with a fused activation take.
#include "kernels/activation/activation_op.h"

#include <array>
#include <cmath>
#include <cstring>

#include "kernels/activation/definition.h"

namespace tanul {

namespace {

#include "kernels/activation/all.h"

void check_params(InferContext& context, const ActivationDef& def) {
  const double* p = context.params<ActivationParams>().values;
  for (int i = 0; i < kMaxActivationParams; ++i) {
    const ActivationParam& param = def.params[i];
    if (param.name == nullptr) break;
    if (std::isnan(p[i]) || (std::isinf(p[i]) && p[i] != param.high)) {
      context.reject("{} must be {}, got {}", param.name,
                     std::isinf(param.high) ? "a number" : "finite", p[i]);
    }
    if (param.is_open ? p[i] <= param.low : p[i] < param.low) {
      context.reject("{} must be {} {}, got {}", param.name,
                     param.is_open ? "greater than" : "at least", param.low, p[i]);
    }
  }
  const char* refusal = def.refusal == nullptr ? nullptr : def.refusal(p);
  if (refusal != nullptr) context.reject("{}, got {} and {}", refusal, p[0], p[1]);
}

bool reads_output(const ActivationDef& def, const Params& params) {
  return def.reads_output != nullptr && def.reads_output(params.as<ActivationParams>().values);
}

template <typename A>
void infer_fwd(InferContext& context) {
  if (context.dtype(0) != DType::f32) {
    context.reject("x must be f32, got {}", dtype_name(context.dtype(0)));
  }
  check_params(context, A::kDef);
  context.add_out(context.shape(0));
}

void infer_bwd(InferContext& context) {
  if (context.shape(0) != context.shape(1)) {
    context.reject("dy {} and what was saved of the forward step {} must have one shape",
                   context.shape(0).str(), context.shape(1).str());
  }
  context.add_out(context.shape(0));
}

template <typename A, OpKind kBackward>
void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  const ValueId saved =
      reads_output(A::kDef, context.node().params) ? context.out(0) : context.in(0);
  context.set_grad(0,
                   context.emit(kBackward, {context.grad_out(0), saved}, context.node().params)[0]);
}

template <typename A>
double flops(const StepArgs& args) {
  return A::kDef.flops * static_cast<double>(args.out[0].elems());
}

template <int kFlopsPerElement>
double flops_each(const StepArgs& args) {
  return kFlopsPerElement * static_cast<double>(args.out[0].elems());
}

}  // namespace

#define TANUL_STEP(name)
#define TANUL_VIEW(name)
#define TANUL_ACTIVATION(name, Type)          \
  const OpDef op_##name##_fwd{                \
      .doc = Type::kDef.formula,              \
      .infer = infer_fwd<Type>,               \
      .grad = grad<Type, OpKind::name##_bwd>, \
      .flops = flops<Type>,                   \
      .in_place = {{0, 0}, {-1, -1}},         \
      .onnx = Type::kDef.onnx,                \
  };                                          \
  const OpDef op_##name##_bwd{                \
      .doc = Type::kDef.gradient,             \
      .infer = infer_bwd,                     \
      .flops = flops<Type>,                   \
      .in_place = {{0, 0}, {1, 0}},           \
  };
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW

const OpDef op_sigmoid_bwd_output{
    .doc = "dx = dy y (1 - y)",
    .infer = infer_bwd,
    .flops = flops_each<3>,
    .in_place = {{0, 0}, {1, 0}},
};

const OpDef op_tanh_bwd_output{
    .doc = "dx = dy (1 - y^2)",
    .infer = infer_bwd,
    .flops = flops_each<3>,
    .in_place = {{0, 0}, {1, 0}},
};

int ActivationInfo::param_count() const {
  int count = 0;
  while (count < kMaxActivationParams && def->params[count].name != nullptr) ++count;
  return count;
}

const ActivationInfo* activations() {
  static const std::array<ActivationInfo, kActivations> all{{
#define TANUL_STEP(name)
#define TANUL_VIEW(name)
#define TANUL_ACTIVATION(name, Type) {#name, OpKind::name##_fwd, OpKind::name##_bwd, &Type::kDef},
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW
  }};
  return all.data();
}

const ActivationInfo* find_activation(OpKind forward) {
  for (int i = 0; i < kActivations; ++i) {
    if (activations()[i].forward == forward) return &activations()[i];
  }
  return nullptr;
}

const ActivationInfo* find_activation(const char* name) {
  for (int i = 0; i < kActivations; ++i) {
    if (std::strcmp(activations()[i].name, name) == 0) return &activations()[i];
  }
  return nullptr;
}

double rectifier_gain(double slope) { return std::sqrt(2 / (1 + slope * slope)); }

}  // namespace tanul
