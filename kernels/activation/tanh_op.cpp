// SPDX-License-Identifier: Apache-2.0
// tanh: definition. The formulas are in activation.h.
#include "kernels/activation/activation_op.h"

namespace tanul {

const OpDef op_tanh_fwd = {
    .doc = "y = tanh(x)",
    .infer = infer_activation_fwd,
    .grad = grad_activation<OpKind::tanh_bwd>,
    .flops = flops_activation<4>,
    .in_place = {{0, 0}, {-1, -1}},
    .onnx = "Tanh",
};

const OpDef op_tanh_bwd = {
    .doc = "dx = dy (1 - y^2)",
    .infer = infer_activation_bwd,
    .flops = flops_activation<3>,
    .in_place = {{0, 0}, {1, 0}},
};

}  // namespace tanul
