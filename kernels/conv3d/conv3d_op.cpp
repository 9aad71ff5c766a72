// SPDX-License-Identifier: Apache-2.0
// Convolution in three dimensions: definitions. Formulas and operands are in conv3d.h.
#include "kernels/conv2d/conv_infer.h"
#include "kernels/conv3d/conv3d.h"

namespace tanul {

namespace {

constexpr conv::Kinds kKinds{OpKind::conv3d_fwd, OpKind::conv3d_bwd_data,
                             OpKind::conv3d_bwd_weights};

void grad_conv3d_fwd(GradContext& context) { conv::grad_fwd<Conv3dParams>(context, kKinds); }
void grad_conv3d_bwd_data(GradContext& context) {
  conv::grad_bwd_data<Conv3dParams>(context, kKinds);
}

double product_flops(const Operand& y, const Operand& x, const StepArgs& args) {
  const auto& params = args.params_as<Conv3dParams>();
  return conv::product_flops(
      y, x.dims[1], params.plane.groups,
      static_cast<double>(params.kernel_d) * params.plane.kernel_h * params.plane.kernel_w);
}
double flops_conv3d_fwd(const StepArgs& args) {
  return product_flops(args.out[0], args.in[0], args) + static_cast<double>(args.out[0].elems());
}
double flops_conv3d_bwd_data(const StepArgs& args) {
  return product_flops(args.in[0], args.out[0], args);
}
double flops_conv3d_bwd_weights(const StepArgs& args) {
  return product_flops(args.in[1], args.in[0], args) + static_cast<double>(args.in[1].elems());
}

}  // namespace

const OpDef op_conv3d_fwd = {
    .doc = "y[n,k,z,p,q] = act(b[k] + sum over c, t, r, s of x[n,c,d,h,w] w[k,c,t,r,s])",
    .infer = conv::infer_fwd<Conv3dParams, 3, 3>,
    .grad = grad_conv3d_fwd,
    .flops = flops_conv3d_fwd,
    .is_product = true,
    .onnx = "Conv",
};

const OpDef op_conv3d_bwd_data = {
    .doc = "dx[n,c,d,h,w] = sum over k, t, r, s of dy[n,k,z,p,q] w[k,c,t,r,s]",
    .infer = conv::infer_bwd_data<Conv3dParams, 3, 3>,
    .grad = grad_conv3d_bwd_data,
    .flops = flops_conv3d_bwd_data,
    .is_product = true,
    .onnx = "ConvTranspose",
};

const OpDef op_conv3d_bwd_weights = {
    .doc = "dw[k,c,t,r,s] = sum over n, z, p, q of dy[n,k,z,p,q] x[n,c,d,h,w], db[k] = sum of dy",
    .infer = conv::infer_bwd_weights<Conv3dParams, 3, 3>,
    .flops = flops_conv3d_bwd_weights,
    .is_product = true,
};

}  // namespace tanul
