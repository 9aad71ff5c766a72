// SPDX-License-Identifier: Apache-2.0
// What updates make of the clip of a scaled loss (kernels/optim/optim.h), round the maths of each: steps that
// were left out do not count, and one that is left out changes nothing, to the bit.
#pragma once

#include <algorithm>

#include "support/rule.h"

namespace tanul::test {

using ReferenceOf = Tensors (*)(const Params& params, const Tensors& in, const RefContext& context);
using BoundsOf = Bounds (*)(const BoundArgs& args);

// kClip: the place of the operand.
template <size_t kClip>
bool has_loss_scale(const Tensors& in) {
  return is_present(in, kClip) && in[kClip].elems() == 4;
}

template <size_t kClip>
RefContext counted(const Tensors& in, RefContext context) {
  if (!has_loss_scale<kClip>(in)) return context;
  context.step -= std::min(context.step, static_cast<uint64_t>(in[kClip][3]));
  return context;
}

// Outputs replace the inputs in their order, but for the clip and the gradient in place 1, where there is one.
template <ReferenceOf kOf, size_t kClip, bool kHasGradient = true>
Tensors loss_scaled(const Params& params, const Tensors& in, const RefContext& context) {
  Tensors want = kOf(params, in, counted<kClip>(in, context));
  if (!has_loss_scale<kClip>(in) || in[kClip][2] != 0) return want;
  size_t from = 0;
  for (RefTensor& out : want) {
    while ((kHasGradient && from == 1) || from == kClip) ++from;
    if (out.present) out = in[from];
    ++from;
  }
  return want;
}

template <BoundsOf kOf, size_t kClip>
Bounds loss_scaled_bounds(const BoundArgs& a) {
  if (!has_loss_scale<kClip>(a.in) || a.in[kClip][2] != 0) {
    const RefContext context = counted<kClip>(a.in, a.context);
    return kOf({a.params, a.in, a.want, context});
  }
  Bounds bounds;
  for (const RefTensor& want : a.want) {
    bounds.push_back(want.present ? exact(want) : std::vector<double>());
  }
  return bounds;
}

}  // namespace tanul::test
