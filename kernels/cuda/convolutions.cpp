// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/convolutions.h"

namespace tanul::cuda {

namespace {

using namespace cudnn;

bool describe_window(const ConvolutionShape& shape, CudnnGraphBuilder& builder, Descriptor& made) {
  const int64_t axes = shape.axes;
  const auto set_axes = [&](Name name, const ConvolutionShape::Axes& values) {
    return builder.set(made, name, Type::int64, axes, values.data());
  };
  return builder.make(Kind::convolution, made) &&
         builder.set(made, Name::convolution_compute_type, Type::data_type, kDataFloat) &&
         builder.set(made, Name::convolution_mode, Type::convolution_mode, kCrossCorrelation) &&
         builder.set(made, Name::convolution_spatial_axes, Type::int64, axes) &&
         set_axes(Name::convolution_strides, shape.stride) &&
         set_axes(Name::convolution_dilations, shape.dilation) &&
         set_axes(Name::convolution_pre_paddings, shape.pad_begin) &&
         set_axes(Name::convolution_post_paddings, shape.pad_end) && builder.finalize(made);
}

struct Names {
  Kind kind;
  Name alpha, beta, convolution, x, w, y;
};
constexpr Names kNames[] = {
    {Kind::convolution_forward, Name::forward_alpha, Name::forward_beta, Name::forward_convolution,
     Name::forward_x, Name::forward_w, Name::forward_y},
    {Kind::convolution_backward_data, Name::data_alpha, Name::data_beta, Name::data_convolution,
     Name::data_dx, Name::data_w, Name::data_dy},
    {Kind::convolution_backward_filter, Name::filter_alpha, Name::filter_beta,
     Name::filter_convolution, Name::filter_x, Name::filter_dw, Name::filter_dy}};

}  // namespace

bool ConvolutionShape::build(CudnnGraphBuilder& builder) const {
  const int64_t rank = axes + 2;
  const int type = multiplies_in == Precision::bf16   ? kDataBfloat16
                   : multiplies_in == Precision::fp16 ? kDataHalf
                                                      : kDataFloat;
  CudnnTensor all[] = {{'x', rank, x.data()}, {'w', rank, w.data()}, {'y', rank, y.data()}};
  for (CudnnTensor& tensor : all) {
    tensor.data_type = type;
    tensor.has_channels_last = is_16_bit();
  }
  Descriptor window = nullptr, operation = nullptr;
  Descriptor tensors[3] = {};
  const Names& names = kNames[static_cast<int>(kind)];
  return builder.tensor(all[0], tensors[0]) && builder.tensor(all[1], tensors[1]) &&
         builder.tensor(all[2], tensors[2]) && describe_window(*this, builder, window) &&
         builder.make(names.kind, operation) &&
         builder.set(operation, names.alpha, Type::float32, 1.0f) &&
         builder.set(operation, names.beta, Type::float32, 0.0f) &&
         builder.set(operation, names.convolution, Type::descriptor, window) &&
         builder.set(operation, names.x, Type::descriptor, tensors[0]) &&
         builder.set(operation, names.w, Type::descriptor, tensors[1]) &&
         builder.set(operation, names.y, Type::descriptor, tensors[2]) &&
         builder.finalize(operation) &&
         builder.plan({operation}, multiplies_in != Precision::fp32, wants_any_order);
}

}  // namespace tanul::cuda
