// SPDX-License-Identifier: Apache-2.0
// A linear layer's weight gradient and SGD's update on CUDA: the kernels of linear_bwd_weights, with dw in
// the workspace, and of sgd_update behind them; one implementation for each precision of the products.
// Bits, numerics and bounds are those of the two steps.
#include <iterator>

#include "kernels/cuda/kernel.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/ops.h"
#include "kernels/linear/linear.h"

namespace tanul {

namespace {

// The arguments of the two steps, which lie where this object lies.
struct Parts {
  LinearParams linear{};
  SgdParams sgd;
  Operand gradient_in[2], gradient_out[2], update_in[4], update_out[2];
  StepArgs gradient{}, update{};

  explicit Parts(const StepArgs& args) : sgd(args.params_as<LinearSgdParams>().sgd) {
    linear.has_bias = args.params_as<LinearSgdParams>().has_bias;
    Operand dw = args.in[2];
    dw.data = args.workspace;
    Operand absent{};
    absent.rank = -1;
    gradient_in[0] = args.in[0];
    gradient_in[1] = args.in[1];
    gradient_out[0] = dw;
    gradient_out[1] = args.out[2];
    gradient = {gradient_in, gradient_out, 2, 2, &linear, nullptr, 0, args.block};
    const int64_t bytes = bytes_of_gradient(args);
    if (args.workspace != nullptr) {
      gradient.workspace = static_cast<char*>(args.workspace) + bytes;
      gradient.workspace_bytes = args.workspace_bytes - bytes;
    }
    update_in[0] = args.in[2];
    update_in[1] = dw;
    update_in[2] = args.in[3];
    update_in[3] = absent;
    update_out[0] = args.out[0];
    update_out[1] = args.out[1];
    update = {update_in, update_out, 4, 2, &sgd, nullptr, 0, args.block};
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  static int64_t bytes_of_gradient(const StepArgs& args) {
    constexpr int64_t kAlignment = 64;
    return cuda::ceil_div(args.in[2].elems() * 4, kAlignment) * kAlignment;
  }
};

// As select takes them by default: in this precision, or in fp32; deterministic.
const Implementation& first_that_supports(const ImplementationList& list, const StepArgs& args,
                                          Precision precision) {
  const auto is_chosen = [&](const Implementation& candidate) {
    return candidate.is_deterministic &&
           (candidate.multiplies_in == precision || candidate.multiplies_in == Precision::fp32) &&
           candidate.supports(args) == nullptr;
  };
  int32_t i = 0;
  while (i + 1 < list.count && !is_chosen(list.items[i])) ++i;
  return list.items[i];
}

template <Precision kPrecision>
int64_t workspace_bytes(const StepArgs& args, int threads) {
  const Parts parts(args);
  const int64_t bytes = first_that_supports(cuda_linear_bwd_weights, parts.gradient, kPrecision)
                            .workspace_bytes(parts.gradient, threads);
  return bytes < 0 ? bytes : Parts::bytes_of_gradient(args) + bytes;
}

template <Precision kPrecision>
int launch_gradient_and_update(Stream* stream, const StepArgs& args) {
  const Parts parts(args);
  if (int e = first_that_supports(cuda_linear_bwd_weights, parts.gradient, kPrecision)
                  .launch(stream, parts.gradient)) {
    return e;
  }
  return first_that_supports(cuda_sgd_update, parts.update, Precision::fp32)
      .launch(stream, parts.update);
}

template <Precision kPrecision>
constexpr Implementation gradient_and_update(const char* name) {
  Implementation made{name, supports_all, workspace_bytes<kPrecision>,
                      launch_gradient_and_update<kPrecision>};
  made.multiplies_in = kPrecision;
  if (kPrecision != Precision::fp32) made.least_architecture = cuda::kTensorCoreArchitecture;
  return made;
}

constexpr Implementation kImplementations[] = {
    gradient_and_update<Precision::tf32>("gradient_and_update_tf32"),
    gradient_and_update<Precision::bf16>("gradient_and_update_bf16"),
    gradient_and_update<Precision::fp16>("gradient_and_update_fp16"),
    gradient_and_update<Precision::fp32>("gradient_and_update")};

}  // namespace

const ImplementationList cuda_linear_bwd_weights_sgd = {kImplementations,
                                                        std::size(kImplementations)};

}  // namespace tanul
