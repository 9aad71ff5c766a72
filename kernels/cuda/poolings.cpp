// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/poolings.h"

namespace tanul::cuda {

namespace {

using namespace cudnn;

bool describe_windows(const PoolingShape& shape, CudnnGraphBuilder& builder, Descriptor& made) {
  const bool is_max = shape.kind == PoolingKind::max_forward;
  const int mode = is_max                 ? kResampleMaximum
                   : shape.counts_padding ? kResampleAverageWithPadding
                                          : kResampleAverageWithoutPadding;
  const int64_t axes = shape.axes;
  const auto set_axes = [&](Name name, const PoolingShape::Axes& values) {
    return builder.set(made, name, Type::int64, axes, values.data());
  };
  return builder.make(Kind::resample, made) &&
         builder.set(made, Name::resample_mode, Type::resample_mode, mode) &&
         builder.set(made, Name::resample_compute_type, Type::data_type, kDataFloat) &&
         builder.set(made, Name::resample_nan, Type::nan_propagation, kPropagateNan) &&
         builder.set(made, Name::resample_padding_mode, Type::padding_mode,
                     is_max ? kPadWithNegativeInfinity : kPadWithZero) &&
         builder.set(made, Name::resample_spatial_axes, Type::int64, axes) &&
         set_axes(Name::resample_windows, shape.window) &&
         set_axes(Name::resample_strides, shape.stride) &&
         set_axes(Name::resample_pre_paddings, shape.pad_begin) &&
         set_axes(Name::resample_post_paddings, shape.pad_end) && builder.finalize(made);
}

}  // namespace

bool PoolingShape::build(CudnnGraphBuilder& builder) const {
  const bool is_backward = kind == PoolingKind::average_backward;
  const int64_t rank = axes + 2;
  Descriptor windows = nullptr, tensor_x = nullptr, tensor_y = nullptr, operation = nullptr;
  return builder.tensor({'x', rank, x.data()}, tensor_x) &&
         builder.tensor({'y', rank, y.data()}, tensor_y) &&
         describe_windows(*this, builder, windows) &&
         builder.make(is_backward ? Kind::resample_backward : Kind::resample_forward, operation) &&
         builder.set(operation, is_backward ? Name::resample_dx : Name::resample_x,
                     Type::descriptor, tensor_x) &&
         builder.set(operation, is_backward ? Name::resample_dy : Name::resample_y,
                     Type::descriptor, tensor_y) &&
         builder.set(operation,
                     is_backward ? Name::resample_backward_windows : Name::resample_forward_windows,
                     Type::descriptor, windows) &&
         builder.finalize(operation) && builder.plan({operation}, false);
}

}  // namespace tanul::cuda
