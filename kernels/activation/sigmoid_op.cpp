// SPDX-License-Identifier: Apache-2.0
// sigmoid: definition. The formulas are in activation.h.
#include "kernels/activation/activation_op.h"

namespace tanul {

const OpDef op_sigmoid_fwd = {
    .doc = "y = 1 / (1 + exp(-x))",
    .infer = infer_activation_fwd,
    .grad = grad_activation<OpKind::sigmoid_bwd>,
    .flops = flops_activation<4>,
    .in_place = {{0, 0}, {-1, -1}},
    .onnx = "Sigmoid",
};

const OpDef op_sigmoid_bwd = {
    .doc = "dx = dy y (1 - y)",
    .infer = infer_activation_bwd,
    .flops = flops_activation<3>,
    .in_place = {{0, 0}, {1, 0}},
};

}  // namespace tanul
