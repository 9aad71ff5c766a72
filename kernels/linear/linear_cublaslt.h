// SPDX-License-Identifier: Apache-2.0
// Fully connected layer on CUDA, "cublaslt": each of the three products is one call of cuBLASLt, which sees
// the transposes of our row-major matrices.
//
//   fwd          y^T  [K, N] = act(w x^T + b): bias and ReLU in the epilogue; it has no sigmoid and no tanh
//   bwd_data     dx^T [C, N] = w^T dy^T
//   bwd_weights  dw^T [C, K] = x^T dy, and db = sums of dy over the depth: in the epilogue where the library
//                can, otherwise by the kernels of reduce_sum
//
// "cublaslt_tf32" and its kin may round the operands to that format.
// Numerics and determinism: see products.h. What its ReLU makes of NaN is the library's to say.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/bias_gradient.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernel.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/operands.h"
#include "kernels/cuda/products.h"
#include "kernels/linear/linear.h"

namespace tanul::linear_cublaslt {

using cuda::ProductOperands;
using cuda::Products;
using cuda::ProductShape;

// What a plan is made with, and what its steps run with; null where there is no cuBLASLt.
inline Products* planning_products() {
  const cuda::Libraries* libraries = cuda::entered_libraries();
  return libraries != nullptr ? libraries->products() : nullptr;
}
inline Products& running_products(Stream* stream) {
  return *cuda::queue_of(stream).device->libraries->products();
}

struct Forward {
  static const char* refusal(const StepArgs& args) {
    const ActivationKind activation = args.params_as<LinearParams>().activation;
    return activation == ActivationKind::sigmoid || activation == ActivationKind::tanh
               ? "cuBLASLt has no epilogue for sigmoid and tanh"
               : nullptr;
  }
  static ProductShape shape(const StepArgs& args, int compute_type) {
    uint32_t epilogue = 0;
    if (args.in_count > 2 && args.in[2].present()) epilogue |= cuda::cublaslt::kEpilogueBias;
    if (args.params_as<LinearParams>().activation == ActivationKind::relu) {
      epilogue |= cuda::cublaslt::kEpilogueRelu;
    }
    if (epilogue == 0) epilogue = cuda::cublaslt::kEpilogueDefault;
    return {args.in[1].dims[0], args.in[0].dims[0], args.in[0].dims[1], true, false,
            epilogue,           compute_type};
  }
  static ProductOperands operands(const StepArgs& args) {
    return {args.in[1].as<float>(), args.in[0].as<float>(), args.out[0].as<float>(),
            const_cast<float*>(cuda::input_or_null(args, 2))};
  }
};

struct BackwardData {
  static const char* refusal(const StepArgs&) { return nullptr; }
  static ProductShape shape(const StepArgs& args, int compute_type) {
    return {args.in[1].dims[1],
            args.in[0].dims[0],
            args.in[0].dims[1],
            false,
            false,
            cuda::cublaslt::kEpilogueDefault,
            compute_type};
  }
  static ProductOperands operands(const StepArgs& args) {
    return {args.in[1].as<float>(), args.in[0].as<float>(), args.out[0].as<float>(), nullptr};
  }
};

template <class Step, int kComputeType>
const char* supports(const StepArgs& args) {
  Products* products = planning_products();
  if (products == nullptr) return "cuBLASLt was not found";
  if (const char* reason = Step::refusal(args)) return reason;
  return products->prepare(Step::shape(args, kComputeType)).why_not();
}
template <class Step, int kComputeType>
int64_t workspace_bytes(const StepArgs& args, int) {
  return cuda::workspace_of(planning_products()->find(Step::shape(args, kComputeType)));
}
template <class Step, int kComputeType>
int launch(Stream* stream, const StepArgs& args) {
  return running_products(stream).launch(Step::shape(args, kComputeType), Step::operands(args),
                                         args, cuda::queue_of(stream).stream);
}

// ---- bwd_weights -------------------------------------------------------------------------------

// `sums_bias`: does the product hand out db too?
inline ProductShape weights_shape(const StepArgs& args, int compute_type, bool sums_bias) {
  return {args.in[0].dims[1],
          args.in[1].dims[1],
          args.in[0].dims[0],
          false,
          true,
          sums_bias ? cuda::cublaslt::kEpilogueBiasGradientB : cuda::cublaslt::kEpilogueDefault,
          compute_type};
}
inline bool sums_bias(const Products& products, const StepArgs& args, int compute_type) {
  return args.out[1].present() &&
         products.find(weights_shape(args, compute_type, true)).why_not() == nullptr;
}

template <int kComputeType>
const char* supports_weights(const StepArgs& args) {
  Products* products = planning_products();
  if (products == nullptr) return "cuBLASLt was not found";
  if (args.out[1].present() &&
      products->prepare(weights_shape(args, kComputeType, true)).why_not() == nullptr) {
    return nullptr;
  }
  return products->prepare(weights_shape(args, kComputeType, false)).why_not();
}
template <int kComputeType>
int64_t workspace_bytes_weights(const StepArgs& args, int) {
  const Products& products = *planning_products();
  const bool is_fused = sums_bias(products, args, kComputeType);
  const int64_t bytes =
      cuda::workspace_of(products.find(weights_shape(args, kComputeType, is_fused)));
  if (bytes < 0 || is_fused || !args.out[1].present()) return bytes;
  return std::max(bytes, cuda::BiasGradient(args.in[1], args.out[1], args).workspace_bytes());
}
template <int kComputeType>
int launch_weights(Stream* stream, const StepArgs& args) {
  const Products& products = running_products(stream);
  const bool is_fused = sums_bias(products, args, kComputeType);
  const ProductOperands operands{args.in[0].as<float>(), args.in[1].as<float>(),
                                 args.out[0].as<float>(),
                                 is_fused ? args.out[1].as<float>() : nullptr};
  const int error = products.launch(weights_shape(args, kComputeType, is_fused), operands, args,
                                    cuda::queue_of(stream).stream);
  if (error != 0 || is_fused || !args.out[1].present()) return error;
  return cuda::BiasGradient(args.in[1], args.out[1], args).launch(stream);
}

// ---- implementations ---------------------------------------------------------------------------

struct BackwardWeights {};

// cuBLASLt may take a wider format than it is allowed to.
constexpr int compute_type_of(Precision precision) {
  switch (precision) {
    case Precision::fp32: return cuda::cublaslt::kCompute32F;
    case Precision::tf32: return cuda::cublaslt::kCompute32FFastTf32;
    case Precision::bf16: return cuda::cublaslt::kCompute32FFast16BF;
    case Precision::fp16: return cuda::cublaslt::kCompute32FFast16F;
  }
  return cuda::cublaslt::kCompute32F;
}

template <class Step, Precision kPrecision>
constexpr Implementation cublaslt(const char* name) {
  constexpr int kType = compute_type_of(kPrecision);
  Implementation made{};
  if constexpr (std::is_same_v<Step, BackwardWeights>) {
    made = {name, supports_weights<kType>, workspace_bytes_weights<kType>, launch_weights<kType>};
  } else {
    made = {name, supports<Step, kType>, workspace_bytes<Step, kType>, launch<Step, kType>};
  }
  made.multiplies_in = kPrecision;
  if (kPrecision != Precision::fp32) made.least_architecture = cuda::kTensorCoreArchitecture;
  return made;
}

}  // namespace tanul::linear_cublaslt
