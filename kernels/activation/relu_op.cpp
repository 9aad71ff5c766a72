// SPDX-License-Identifier: Apache-2.0
// relu: definition. The formulas are in activation.h.
#include "kernels/activation/activation_op.h"

namespace tanul {

const OpDef op_relu_fwd = {
    .doc = "y = max(x, 0)",
    .infer = infer_activation_fwd,
    .grad = grad_activation<OpKind::relu_bwd>,
    .flops = flops_activation<1>,
    .in_place = {{0, 0}, {-1, -1}},
    .onnx = "Relu",
};

const OpDef op_relu_bwd = {
    .doc = "dx = y > 0 ? dy : 0",
    .infer = infer_activation_bwd,
    .flops = flops_activation<1>,
    .in_place = {{0, 0}, {1, 0}},
};

}  // namespace tanul
