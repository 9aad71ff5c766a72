// SPDX-License-Identifier: Apache-2.0
// The rules of convolutions over one to three axes, written from the formulas in conv2d.h and conv3d.h:
// naive loops over volumes, of which images are slices and signals lines.
#pragma once

#include <array>

#include "kernels/conv3d/conv3d.h"
#include "support/rule.h"

namespace tanul::test {

struct ConvAxis {
  int64_t kernel = 1, stride = 1, begin = 0, end = 0, dilation = 1;
  int64_t in = 1, output_pad = 0, out = 0;

  int64_t span() const { return dilation * (kernel - 1) + 1; }
  // Extent of y for x of `extent`, and of x for y of `extent` where the convolution is transposed.
  int64_t forward(int64_t extent) const {
    return out != 0 ? out : (extent + begin + end - span()) / stride + 1;
  }
  int64_t backward(int64_t extent) const {
    return (extent - 1) * stride - begin - end + span() + output_pad;
  }
};

// Depth, height, width.
using ConvAxes = std::array<ConvAxis, 3>;

inline const Conv2dParams& plane_of(const Conv2dParams& p) { return p; }
inline const Conv2dParams& plane_of(const Conv3dParams& p) { return p.plane; }
inline Conv2dParams& plane_of(Conv2dParams& p) { return p; }
inline Conv2dParams& plane_of(Conv3dParams& p) { return p.plane; }

inline ConvAxes conv_axes(const Conv2dParams& p, int spatial) {
  ConvAxes axes;
  axes[2] = {p.kernel_w,   p.stride_w, p.pad_left,     p.pad_right,
             p.dilation_w, p.in_w,     p.output_pad_w, p.out_w};
  if (spatial == 1) return axes;
  axes[1] = {p.kernel_h,   p.stride_h, p.pad_top,      p.pad_bottom,
             p.dilation_h, p.in_h,     p.output_pad_h, p.out_h};
  return axes;
}
inline ConvAxes conv_axes(const Conv3dParams& p, int) {
  ConvAxes axes = conv_axes(p.plane, 2);
  axes[0] = {p.kernel_d,   p.stride_d, p.pad_front,    p.pad_back,
             p.dilation_d, p.in_d,     p.output_pad_d, p.out_d};
  return axes;
}

// Two extents in front, then depth, height and width, 1 where the shape does not have them.
using Extents5 = std::array<int64_t, 5>;
inline Extents5 five(const Shape& shape) {
  Extents5 e{shape[0], shape[1], 1, 1, 1};
  for (int i = 2; i < shape.rank(); ++i) e[static_cast<size_t>(i + 5 - shape.rank())] = shape[i];
  return e;
}

// Calls body(index of x, index of w, index of y) for every product of the convolution.
template <typename Body>
void for_each_product(const ConvAxes& axes, int64_t groups, const Shape& x_shape,
                      const Shape& w_shape, const Shape& y_shape, Body&& body) {
  const Extents5 x = five(x_shape), w = five(w_shape), y = five(y_shape);
  const int64_t group_filters = w[0] / groups;
  const auto source = [&](size_t axis, int64_t out, int64_t tap) {
    return out * axes[axis].stride - axes[axis].begin + tap * axes[axis].dilation;
  };
  int64_t yi = 0;
  for (int64_t n = 0; n < y[0]; ++n) {
    for (int64_t k = 0; k < y[1]; ++k) {
      const int64_t first_channel = n * x[1] + k / group_filters * w[1];
      for (int64_t z = 0; z < y[2]; ++z) {
        for (int64_t p = 0; p < y[3]; ++p) {
          for (int64_t q = 0; q < y[4]; ++q, ++yi) {
            for (int64_t c = 0; c < w[1]; ++c) {
              for (int64_t t = 0; t < w[2]; ++t) {
                const int64_t d = source(0, z, t);
                if (d < 0 || d >= x[2]) continue;
                for (int64_t r = 0; r < w[3]; ++r) {
                  const int64_t h = source(1, p, r);
                  if (h < 0 || h >= x[3]) continue;
                  const int64_t row = (((first_channel + c) * x[2] + d) * x[3] + h) * x[4];
                  const int64_t tap = (((k * w[1] + c) * w[2] + t) * w[3] + r) * w[4];
                  for (int64_t s = 0; s < w[4]; ++s) {
                    const int64_t at = source(2, q, s);
                    if (at >= 0 && at < x[4]) body(row + at, tap + s, yi);
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}

// The extents of `shape` behind the first two, made by extent(axis, extent).
template <typename Extent>
Shape with_extents(const ConvAxes& axes, int64_t n, int64_t channels, const Shape& shape,
                   const Extent& extent) {
  std::vector<int64_t> out{n, channels};
  for (int i = 2; i < shape.rank(); ++i) {
    out.push_back(extent(axes[static_cast<size_t>(i + 3 - shape.rank())], shape[i]));
  }
  return Shape(out);
}

template <typename P>
Tensors conv_fwd(const Params& params, const Tensors& in, const RefContext&) {
  const P& p = params.as<P>();
  const RefTensor& x = in[0];
  const RefTensor& w = in[1];
  const ConvAxes axes = conv_axes(p, x.shape.rank() - 2);
  RefTensor y(with_extents(axes, x.shape[0], w.shape[0], x.shape,
                           [](const ConvAxis& axis, int64_t e) { return axis.forward(e); }));
  for_each_product(axes, plane_of(p).groups, x.shape, w.shape, y.shape,
                   [to = y.v.data(), a = x.v.data(), b = w.v.data()](
                       int64_t xi, int64_t wi, int64_t yi) { to[yi] += a[xi] * b[wi]; });
  const int64_t plane = y.shape.elems_from(2);
  for (int64_t i = 0; i < y.elems(); ++i) {
    const double b = is_present(in, 2) ? in[2][i / plane % y.shape[1]] : 0;
    y[i] = activate(plane_of(p).activation, y[i] + b);
  }
  return {y};
}

template <typename P>
Tensors conv_bwd_data(const Params& params, const Tensors& in, const RefContext&) {
  const P& p = params.as<P>();
  const RefTensor& dy = in[0];
  const RefTensor& w = in[1];
  const bool is_transposed = plane_of(p).is_transposed != 0;
  const ConvAxes axes = conv_axes(p, dy.shape.rank() - 2);
  RefTensor dx(with_extents(
      axes, dy.shape[0], w.shape[1] * plane_of(p).groups, dy.shape,
      [&](const ConvAxis& axis, int64_t e) { return is_transposed ? axis.backward(e) : axis.in; }));
  for_each_product(axes, plane_of(p).groups, dx.shape, w.shape, dy.shape,
                   [to = dx.v.data(), a = dy.v.data(), b = w.v.data()](
                       int64_t xi, int64_t wi, int64_t yi) { to[xi] += a[yi] * b[wi]; });
  return {dx};
}

template <typename P>
Tensors conv_bwd_weights(const Params& params, const Tensors& in, const RefContext&) {
  const P& p = params.as<P>();
  const RefTensor& x = in[0];
  const RefTensor& dy = in[1];
  const ConvAxes axes = conv_axes(p, x.shape.rank() - 2);
  RefTensor dw(with_extents(axes, dy.shape[1], x.shape[1] / plane_of(p).groups, x.shape,
                            [](const ConvAxis& axis, int64_t) { return axis.kernel; }));
  for_each_product(axes, plane_of(p).groups, x.shape, dw.shape, dy.shape,
                   [to = dw.v.data(), a = x.v.data(), b = dy.v.data()](
                       int64_t xi, int64_t wi, int64_t yi) { to[wi] += a[xi] * b[yi]; });
  if (plane_of(p).has_bias == 0) return {dw, RefTensor::absent()};
  RefTensor db({dy.shape[1]});
  const int64_t plane = dy.shape.elems_from(2);
  for (int64_t i = 0; i < dy.elems(); ++i) db[i / plane % dy.shape[1]] += dy[i];
  return {dw, db};
}

inline double count(int64_t n) { return static_cast<double>(n); }

// Products in kPrecision, whose sums are rounded to kResult.
template <typename P, Precision kPrecision = Precision::fp32, Precision kResult = Precision::fp32>
Bounds bounds_conv_fwd(const BoundArgs& a) {
  P p = a.params.as<P>();
  const ActivationKind activation = plane_of(p).activation;
  plane_of(p).activation = ActivationKind::none;
  const auto sums = [&](const Tensors& in) { return conv_fwd<P>(Params::of(p), in, a.context)[0]; };
  const RefTensor T = sums(absolute(a.in));
  const double n = count(a.in[1].shape.elems_from(1)) + 1;  // and the bias
  std::vector<double> bound = product_bound(kPrecision, T, n, a.in, sums);
  if constexpr (kResult != Precision::fp32) {
    bound = rounded_result_bound(kResult, bound, sums({a.in[0], a.in[1]}));
  }
  return {through(activation, bound, a.want[0])};
}
template <typename P, Precision kPrecision = Precision::fp32, Precision kResult = Precision::fp32>
Bounds bounds_conv_bwd_data(const BoundArgs& a) {
  const auto sums = [&](const Tensors& in) { return conv_bwd_data<P>(a.params, in, a.context)[0]; };
  const Shape& w = a.in[1].shape;
  const int64_t filters = w[0] / plane_of(a.params.as<P>()).groups;
  const RefTensor T = sums(absolute(a.in));
  const double n = count(filters * w.elems_from(2));
  return {rounded_result_bound(kResult, product_bound(kPrecision, T, n, a.in, sums), a.want[0])};
}
// db is a sum of dy, for which an implementation may have a format of its own.
template <typename P, Precision kPrecision = Precision::fp32, Precision kOfBias = kPrecision,
          Precision kResult = Precision::fp32>
Bounds bounds_conv_bwd_weights(const BoundArgs& a) {
  const auto sums = [&](const Tensors& in) {
    return conv_bwd_weights<P>(a.params, in, a.context)[0];
  };
  const Tensors T = conv_bwd_weights<P>(a.params, absolute(a.in), a.context);
  const Shape& dy = a.in[1].shape;
  const double n = count(dy[0] * dy.elems_from(2));
  return {rounded_result_bound(kResult, product_bound(kPrecision, T[0], n, a.in, sums), a.want[0]),
          rounded_sum_bound(kOfBias, T[1], n)};
}

template <typename P>
bool conv_keeps_integers(const Params& params) {
  return keeps_integers(plane_of(params.as<P>()).activation);
}

// An implementation of one of the three steps whose products are of another precision than fp32. Whole numbers have
// to stay exact unless the sums are rounded: these may take more than the 8 bits of bf16, or the 11 of fp16.
enum class ConvStep { fwd, bwd_data, bwd_weights };
template <typename P, Precision kPrecision, Precision kOfBias = kPrecision,
          Precision kResult = Precision::fp32>
ImplementationRule conv_products_in(ConvStep step, const char* implementation) {
  constexpr bool kIsExact = kResult == Precision::fp32;
  constexpr auto kAlways = kIsExact ? always : nullptr;
  switch (step) {
    case ConvStep::fwd:
      return {implementation, bounds_conv_fwd<P, kPrecision, kResult>,
              kIsExact ? conv_keeps_integers<P> : nullptr};
    case ConvStep::bwd_data:
      return {implementation, bounds_conv_bwd_data<P, kPrecision, kResult>, kAlways};
    case ConvStep::bwd_weights: break;
  }
  return {implementation, bounds_conv_bwd_weights<P, kPrecision, kOfBias, kResult>, kAlways};
}

template <typename P>
std::vector<Rule> conv_rules(OpKind fwd, OpKind bwd_data, OpKind bwd_weights) {
  std::vector<Rule> rules = {
      {fwd, conv_fwd<P>, bounds_conv_fwd<P>, conv_keeps_integers<P>},
      {bwd_data, conv_bwd_data<P>, bounds_conv_bwd_data<P>, always},
      {bwd_weights, conv_bwd_weights<P>, bounds_conv_bwd_weights<P>, always}};
  for (int i = 0; i < 3; ++i) {
    const auto step = static_cast<ConvStep>(i);
    rules[static_cast<size_t>(i)].implementations = {
        conv_products_in<P, Precision::tf32>(step, "mma_tf32"),
        conv_products_in<P, Precision::bf16>(step, "mma_bf16"),
        conv_products_in<P, Precision::fp16>(step, "mma_fp16"),
        conv_products_in<P, Precision::tf32, Precision::fp32>(step, "cudnn_tf32"),
        conv_products_in<P, Precision::bf16, Precision::fp32, Precision::bf16>(step, "cudnn_bf16"),
        conv_products_in<P, Precision::fp16, Precision::fp32, Precision::fp16>(step, "cudnn_fp16")};
  }
  return rules;
}

}  // namespace tanul::test
