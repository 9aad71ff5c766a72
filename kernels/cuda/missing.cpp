// SPDX-License-Identifier: Apache-2.0
// Step kinds that have no CUDA kernel yet: a plan for a GPU that needs one is refused with its name.
#include "kernels/cuda/ops.h"

#define TANUL_MISSING(name) \
  const ImplementationList cuda_##name { nullptr, 0 }

namespace tanul {

TANUL_MISSING(input_load);
TANUL_MISSING(relu_fwd);
TANUL_MISSING(relu_bwd);
TANUL_MISSING(leaky_relu_fwd);
TANUL_MISSING(leaky_relu_bwd);
TANUL_MISSING(relu6_fwd);
TANUL_MISSING(relu6_bwd);
TANUL_MISSING(elu_fwd);
TANUL_MISSING(elu_bwd);
TANUL_MISSING(selu_fwd);
TANUL_MISSING(selu_bwd);
TANUL_MISSING(celu_fwd);
TANUL_MISSING(celu_bwd);
TANUL_MISSING(gelu_fwd);
TANUL_MISSING(gelu_bwd);
TANUL_MISSING(gelu_tanh_fwd);
TANUL_MISSING(gelu_tanh_bwd);
TANUL_MISSING(silu_fwd);
TANUL_MISSING(silu_bwd);
TANUL_MISSING(softplus_fwd);
TANUL_MISSING(softplus_bwd);
TANUL_MISSING(sigmoid_fwd);
TANUL_MISSING(sigmoid_bwd);
TANUL_MISSING(logsigmoid_fwd);
TANUL_MISSING(logsigmoid_bwd);
TANUL_MISSING(tanh_fwd);
TANUL_MISSING(tanh_bwd);
TANUL_MISSING(hardsigmoid_fwd);
TANUL_MISSING(hardsigmoid_bwd);
TANUL_MISSING(hardswish_fwd);
TANUL_MISSING(hardswish_bwd);
TANUL_MISSING(hardtanh_fwd);
TANUL_MISSING(hardtanh_bwd);
TANUL_MISSING(mish_fwd);
TANUL_MISSING(mish_bwd);
TANUL_MISSING(softsign_fwd);
TANUL_MISSING(softsign_bwd);
TANUL_MISSING(threshold_relu_fwd);
TANUL_MISSING(threshold_relu_bwd);
TANUL_MISSING(threshold_fwd);
TANUL_MISSING(threshold_bwd);
TANUL_MISSING(sigmoid_bwd_output);
TANUL_MISSING(tanh_bwd_output);
TANUL_MISSING(prelu_fwd);
TANUL_MISSING(prelu_bwd);
TANUL_MISSING(add_broadcast_fwd);
TANUL_MISSING(subtract_fwd);
TANUL_MISSING(multiply_fwd);
TANUL_MISSING(divide_fwd);
TANUL_MISSING(maximum_fwd);
TANUL_MISSING(minimum_fwd);
TANUL_MISSING(arithmetic_bwd);
TANUL_MISSING(scale_shift_fwd);
TANUL_MISSING(scale_shift_bwd);
TANUL_MISSING(concat_fwd);
TANUL_MISSING(concat_bwd);
TANUL_MISSING(slice_fwd);
TANUL_MISSING(pad_fwd);
TANUL_MISSING(pad_bwd);
TANUL_MISSING(transpose_fwd);
TANUL_MISSING(dropout_fwd);
TANUL_MISSING(dropout_bwd);
TANUL_MISSING(clip_value);
TANUL_MISSING(sgd_update);
TANUL_MISSING(adam_update);
TANUL_MISSING(adagrad_update);
TANUL_MISSING(adadelta_update);
TANUL_MISSING(rmsprop_update);
TANUL_MISSING(adamax_update);
TANUL_MISSING(nadam_update);
TANUL_MISSING(radam_update);
TANUL_MISSING(lion_update);
TANUL_MISSING(lars_update);
TANUL_MISSING(lamb_update);
TANUL_MISSING(muon_update);
TANUL_MISSING(ema_update);
TANUL_MISSING(lookahead_update);
TANUL_MISSING(accumulate_add);
TANUL_MISSING(accumulate_mean);
TANUL_MISSING(accumulate_total);

}  // namespace tanul
