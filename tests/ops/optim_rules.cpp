// SPDX-License-Identifier: Apache-2.0
// The maths of clipping, SGD and Adam.
#include <algorithm>
#include <cmath>

#include "kernels/optim/optim.h"
#include "ops/cases.h"
#include "ops/loss_scaled.h"

namespace tanul::test {

namespace {

double wide(float value) { return static_cast<double>(value); }

Tensors clip_scale(const Params& params, const Tensors& in, const RefContext&) {
  double sum = 0;
  for (const RefTensor& g : in) {
    for (double value : g.v) sum += value * value;
  }
  RefTensor clip({2});
  clip[0] = std::sqrt(sum);
  clip[1] = wide(params.as<ClipParams>().max_norm) / (clip[0] + 1e-6);
  if (clip[1] > 1) clip[1] = 1;
  return {clip};
}

Tensors clip_value(const Params& params, const Tensors& in, const RefContext&) {
  const bool has_loss_scale = is_present(in, 1);
  const double limit =
      (has_loss_scale ? in[1][0] : 1) * wide(params.as<ClipValueParams>().max_value);
  RefTensor g = in[0];
  for (double& value : g.v) {
    if (has_loss_scale && !std::isfinite(value)) value = NAN;
    if (!std::isnan(value)) value = std::min(limit, std::max(-limit, value));
  }
  return {g};
}

Tensors sgd_update(const Params& params, const Tensors& in, const RefContext& context) {
  const SgdParams& p = params.as<SgdParams>();
  const double lr = wide(context.lr) * wide(p.lr_scale);
  const double momentum = wide(p.momentum);
  const double clip = is_present(in, 3) ? in[3][1] : 1;
  const bool has_velocity = is_present(in, 2);
  RefTensor w = in[0];
  RefTensor v = has_velocity ? in[2] : RefTensor::absent();
  for (int64_t i = 0; i < w.elems(); ++i) {
    const double g = clip * in[1][i] + wide(p.weight_decay) * w[i];
    if (!has_velocity) {
      w[i] -= lr * g;
      continue;
    }
    v[i] = context.step == 0 ? g : momentum * v[i] + (1 - wide(p.dampening)) * g;
    w[i] -= lr * (p.nesterov != 0 ? g + momentum * v[i] : v[i]);
  }
  return {w, v};
}

Tensors adam_update(const Params& params, const Tensors& in, const RefContext& context) {
  const AdamParams& p = params.as<AdamParams>();
  const double lr = wide(context.lr) * wide(p.lr_scale);
  const double beta1 = wide(p.beta1), beta2 = wide(p.beta2), decay = wide(p.weight_decay);
  const double t = static_cast<double>(context.step) + 1;
  const double clip = is_present(in, 4) ? in[4][1] : 1;
  RefTensor w = in[0], m = in[2], v = in[3];
  RefTensor largest = is_present(in, 5) ? in[5] : RefTensor::absent();
  for (int64_t i = 0; i < w.elems(); ++i) {
    double g = clip * in[1][i];
    if (p.decoupled != 0) {
      w[i] *= 1 - lr * decay;
    } else {
      g += decay * w[i];
    }
    m[i] = beta1 * m[i] + (1 - beta1) * g;
    v[i] = beta2 * v[i] + (1 - beta2) * g * g;
    if (largest.present) largest[i] = std::max(largest[i], v[i]);
    const double m_hat = m[i] / (1 - std::pow(beta1, t));
    const double v_hat = (largest.present ? largest[i] : v[i]) / (1 - std::pow(beta2, t));
    w[i] -= lr * m_hat / (std::sqrt(v_hat) + wide(p.eps));
  }
  if (largest.present) return {w, m, v, largest};
  return {w, m, v};
}

Bounds clip_scale_bounds(const BoundArgs& a) { return {relative(a.want[0], 4)}; }  // sum in double

Bounds sgd_bounds(const BoundArgs& a) {
  // At most eight roundings on the way of any term; T adds all terms with their absolute values.
  SgdParams positive = a.params.as<SgdParams>();
  positive.lr_scale = -positive.lr_scale;  // w - lr g becomes |w| + lr |g|
  const Tensors T = sgd_update(Params::of(positive), absolute(a.in), a.context);
  return {relative(T[0], 8), relative(T[1], 6)};
}

Bounds adam_bounds(const BoundArgs& a) {
  const AdamParams& p = a.params.as<AdamParams>();
  const Tensors& in = a.in;
  const double lr = wide(a.context.lr) * wide(p.lr_scale);
  const double beta1 = wide(p.beta1), beta2 = wide(p.beta2);
  const double t = static_cast<double>(a.context.step) + 1;
  const double correction1 = 1 - std::pow(beta1, t), correction2 = 1 - std::pow(beta2, t);
  const double clip = is_present(in, 4) ? in[4][1] : 1;
  const double l2 = p.decoupled != 0 ? 0 : wide(p.weight_decay);
  Bounds bounds(a.want.size());
  for (int64_t i = 0; i < in[0].elems(); ++i) {
    const double g = std::abs(clip * in[1][i]) + std::abs(l2 * in[0][i]);  // error 3 u g
    const double m = beta1 * std::abs(in[2][i]) + (1 - beta1) * g;
    const double v = beta2 * in[3][i] + (1 - beta2) * g * g;
    const double m_error = 7 * kU * m + kSmallest;    // 3 of g, then 1 - beta, two products, a sum
    const double v_error = 11 * kU * v + kSmallest;   // 6 of g^2, its rounding, the same four
    const double root = std::sqrt(a.want.back()[i]);  // of v, or of the largest one
    const double root_error =
        (root > 0 ? std::min(v_error / root, std::sqrt(v_error)) : std::sqrt(v_error)) + kU * root;
    const double scaled = 1 / std::sqrt(correction2);
    const double denominator = root * scaled + wide(p.eps);
    const double update = std::abs(a.want[1][i]) / denominator * lr / correction1;
    const double w_error = 3 * kU * (std::abs(in[0][i]) + std::abs(a.want[0][i])) +
                           lr / correction1 * m_error / denominator +
                           update * (8 * kU + root_error * scaled / denominator);
    bounds[0].push_back(w_error + kSmallest);
    bounds[1].push_back(m_error);
    for (size_t k = 2; k < bounds.size(); ++k) bounds[k].push_back(v_error);
  }
  return bounds;
}

}  // namespace

std::vector<Rule> optim_rules() {
  return {
      {OpKind::clip_scale, clip_scale, clip_scale_bounds},
      {OpKind::clip_value, clip_value},
      {OpKind::sgd_update, loss_scaled<sgd_update, 3>, loss_scaled_bounds<sgd_bounds, 3>},
      {OpKind::adam_update, loss_scaled<adam_update, 4>, loss_scaled_bounds<adam_bounds, 4>},
  };
}

}  // namespace tanul::test
