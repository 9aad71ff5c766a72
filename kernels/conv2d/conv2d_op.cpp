// SPDX-License-Identifier: Apache-2.0
// Convolution in one and two dimensions: definitions. Formulas and operands are in conv2d.h.
#include "kernels/conv2d/conv2d.h"
#include "kernels/conv2d/conv_infer.h"

namespace tanul {

namespace {

constexpr conv::Kinds kKinds{OpKind::conv2d_fwd, OpKind::conv2d_bwd_data,
                             OpKind::conv2d_bwd_weights};

void grad_conv2d_fwd(GradContext& context) { conv::grad_fwd<Conv2dParams>(context, kKinds); }
void grad_conv2d_bwd_data(GradContext& context) {
  conv::grad_bwd_data<Conv2dParams>(context, kKinds);
}

double product_flops(const Operand& y, const Operand& x, const StepArgs& args) {
  const auto& params = args.params_as<Conv2dParams>();
  return conv::product_flops(y, x.dims[1], params.groups,
                             static_cast<double>(params.kernel_h) * params.kernel_w);
}
double flops_conv2d_fwd(const StepArgs& args) {
  return product_flops(args.out[0], args.in[0], args) + static_cast<double>(args.out[0].elems());
}
double flops_conv2d_bwd_data(const StepArgs& args) {
  return product_flops(args.in[0], args.out[0], args);
}
double flops_conv2d_bwd_weights(const StepArgs& args) {
  return product_flops(args.in[1], args.in[0], args) + static_cast<double>(args.in[1].elems());
}

}  // namespace

const OpDef op_conv2d_fwd = {
    .doc = "y[n,k,p,q] = act(b[k] + sum over c, r, s of x[n,c,h,w] w[k,c,r,s])",
    .infer = conv::infer_fwd<Conv2dParams, 1, 2>,
    .grad = grad_conv2d_fwd,
    .flops = flops_conv2d_fwd,
    .is_product = true,
    .onnx = "Conv",
};

const OpDef op_conv2d_bwd_data = {
    .doc = "dx[n,c,h,w] = sum over k, r, s of dy[n,k,p,q] w[k,c,r,s]",
    .infer = conv::infer_bwd_data<Conv2dParams, 1, 2>,
    .grad = grad_conv2d_bwd_data,
    .flops = flops_conv2d_bwd_data,
    .is_product = true,
    .onnx = "ConvTranspose",
};

const OpDef op_conv2d_bwd_weights = {
    .doc = "dw[k,c,r,s] = sum over n, p, q of dy[n,k,p,q] x[n,c,h,w], db[k] = sum of dy[n,k,p,q]",
    .infer = conv::infer_bwd_weights<Conv2dParams, 1, 2>,
    .flops = flops_conv2d_bwd_weights,
    .is_product = true,
};

}  // namespace tanul
