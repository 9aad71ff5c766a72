// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: losses.
#include <limits>

#include "graph/builder.h"
#include "kernels/cosine_embedding/cosine_embedding.h"
#include "kernels/elementwise_loss/elementwise_loss.h"
#include "kernels/label_loss/label_loss.h"
#include "kernels/softmax_xent/softmax_xent.h"

namespace tanul {

using namespace build;

namespace {

// The name that was asked for, or "loss", "loss2", …
std::string loss_name(const Model::Impl& model, const std::string& wanted) {
  if (!wanted.empty() || model.losses.empty()) return wanted.empty() ? "loss" : wanted;
  return "loss" + std::to_string(model.losses.size() + 1);
}

// A loss on its way into the model: its name is taken, its operands are made, then the node.
class LossBuilder {
 public:
  LossBuilder(Model::Impl& model, const char* op, Var x, const std::string& name)
      : model_(model), op_(op), x_(x), x_shape_(checked_input(model, op, x).shape) {
    layer_ = take_name(model, loss_name(model, name), "loss", op);
  }

  // Targets of the shape of x, f32.
  ValueId values() { return add_target(x_shape_, DType::f32); }
  // One f32 number for each sample.
  ValueId numbers() { return add_target(Shape{1}, DType::f32); }
  // Class indices: x without its channels.
  ValueId labels() {
    std::vector<int64_t> extents{1};
    for (int axis = 2; axis < x_shape_.rank(); ++axis) extents.push_back(x_shape_[axis]);
    return add_target(Shape(extents), DType::i32);
  }
  // One number for each class; none where `numbers` is empty.
  ValueId per_class(const char* what, const std::vector<float>& numbers) {
    if (numbers.empty()) return kNoValue;
    for (float number : numbers) {
      if (number >= 0 && number <= std::numeric_limits<float>::max()) continue;
      fail(Code::invalid_argument, "{}: {} weights are finite and 0 or more, got {}",
           quoted(op_, layer_), what, number);
    }
    Value value;
    value.name = layer_ + "." + what + "_weights";
    value.shape = Shape{static_cast<int64_t>(numbers.size())};
    value.kind = ValueKind::constant;
    value.constant = numbers;
    return model_.graph.add_value(value);
  }
  // Appends the node; its operands are x, target and `more`.
  template <typename P>
  void finish(LossKind kind, OpKind op, ValueId target, std::vector<ValueId> more, const P& params,
              double weight) {
    more.insert(more.begin(), {x_.id, target});
    const std::vector<ValueId> outs =
        model_.graph.add_node(op, layer_, Phase::loss, std::move(more), Params::of(params));
    model_.descriptions[layer_] = op_;
    add_loss(model_, kind, layer_, x_, target, outs, weight);
  }

 private:
  ValueId add_target(const Shape& shape, DType dtype) {
    Value value;  // "target", "target2", …
    value.name = "target";
    if (!model_.losses.empty()) value.name += std::to_string(model_.losses.size() + 1);
    value.shape = shape;
    value.dtype = dtype;
    value.kind = ValueKind::input;
    return model_.graph.add_value(value);
  }

  Model::Impl& model_;
  const char* op_;
  const Var x_;
  const Shape x_shape_;
  std::string layer_;
};

LossParams loss_params(Reduction reduction, const std::optional<int32_t>& ignore_index = {}) {
  return {reduction, ignore_index.has_value(), ignore_index.value_or(0)};
}

ElementwiseLossParams elementwise(Reduction reduction) {
  ElementwiseLossParams params{};
  params.loss = loss_params(reduction);
  return params;
}

}  // namespace

void ModelBuilder::softmax_cross_entropy(Var logits, const SoftmaxCrossEntropyOptions& o) {
  LossBuilder loss(*impl_, "softmax_cross_entropy", logits, o.name);
  SoftmaxXentParams p{};
  p.loss = loss_params(o.reduction, o.ignore_index);
  p.label_smoothing = static_cast<float>(o.label_smoothing);
  const ValueId target = loss.labels();
  loss.finish(LossKind::softmax_cross_entropy, OpKind::softmax_xent_fwd, target,
              {loss.per_class("class", o.class_weights)}, p, o.weight);
}

void ModelBuilder::negative_log_likelihood(Var x, const NegativeLogLikelihoodOptions& o) {
  LossBuilder loss(*impl_, "negative_log_likelihood", x, o.name);
  LabelLossParams p{};
  p.loss = loss_params(o.reduction, o.ignore_index);
  const ValueId target = loss.labels();
  loss.finish(LossKind::negative_log_likelihood, OpKind::nll_fwd, target,
              {loss.per_class("class", o.class_weights)}, p, o.weight);
}

void ModelBuilder::multi_margin(Var x, const MultiMarginOptions& o) {
  LossBuilder loss(*impl_, "multi_margin", x, o.name);
  LabelLossParams p{};
  p.loss = loss_params(o.reduction);
  p.power = o.p;
  p.margin = static_cast<float>(o.margin);
  const ValueId target = loss.labels();
  loss.finish(LossKind::multi_margin, OpKind::multi_margin_fwd, target,
              {loss.per_class("class", o.class_weights)}, p, o.weight);
}

void ModelBuilder::binary_cross_entropy(Var x, const BinaryCrossEntropyOptions& o) {
  LossBuilder loss(*impl_, "binary_cross_entropy", x, o.name);
  const ValueId target = loss.values();
  const ValueId weights = loss.per_class("class", o.class_weights);
  const ValueId positive = loss.per_class("positive", o.positive_weights);
  loss.finish(LossKind::binary_cross_entropy,
              o.from_probabilities ? OpKind::bce_fwd : OpKind::bce_logits_fwd, target,
              {weights, positive}, elementwise(o.reduction), o.weight);
}

void ModelBuilder::mean_squared_error(Var x, const LossOptions& o) {
  LossBuilder loss(*impl_, "mean_squared_error", x, o.name);
  loss.finish(LossKind::mean_squared_error, OpKind::mse_fwd, loss.values(), {},
              elementwise(o.reduction), o.weight);
}

void ModelBuilder::mean_absolute_error(Var x, const LossOptions& o) {
  LossBuilder loss(*impl_, "mean_absolute_error", x, o.name);
  loss.finish(LossKind::mean_absolute_error, OpKind::mae_fwd, loss.values(), {},
              elementwise(o.reduction), o.weight);
}

void ModelBuilder::smooth_l1(Var x, const SmoothL1Options& o) {
  LossBuilder loss(*impl_, "smooth_l1", x, o.name);
  ElementwiseLossParams p = elementwise(o.reduction);
  p.beta = static_cast<float>(o.beta);
  loss.finish(LossKind::smooth_l1, OpKind::smooth_l1_fwd, loss.values(), {}, p, o.weight);
}

void ModelBuilder::huber(Var x, const HuberOptions& o) {
  LossBuilder loss(*impl_, "huber", x, o.name);
  ElementwiseLossParams p = elementwise(o.reduction);
  p.delta = static_cast<float>(o.delta);
  loss.finish(LossKind::huber, OpKind::huber_fwd, loss.values(), {}, p, o.weight);
}

void ModelBuilder::kl_divergence(Var x, const KlDivergenceOptions& o) {
  LossBuilder loss(*impl_, "kl_divergence", x, o.name);
  ElementwiseLossParams p = elementwise(o.reduction);
  p.log_target = o.log_target;
  loss.finish(LossKind::kl_divergence, OpKind::kl_div_fwd, loss.values(), {}, p, o.weight);
}

void ModelBuilder::hinge(Var x, const HingeOptions& o) {
  LossBuilder loss(*impl_, "hinge", x, o.name);
  ElementwiseLossParams p = elementwise(o.reduction);
  p.is_squared = o.squared;
  loss.finish(LossKind::hinge, OpKind::hinge_fwd, loss.values(), {}, p, o.weight);
}

void ModelBuilder::focal(Var logits, const FocalOptions& o) {
  LossBuilder loss(*impl_, "focal", logits, o.name);
  ElementwiseLossParams p = elementwise(o.reduction);
  p.has_alpha = o.alpha.has_value();
  p.alpha = static_cast<float>(o.alpha.value_or(0));
  p.gamma = static_cast<float>(o.gamma);
  loss.finish(LossKind::focal, OpKind::focal_fwd, loss.values(), {}, p, o.weight);
}

void ModelBuilder::poisson_nll(Var x, const PoissonNllOptions& o) {
  LossBuilder loss(*impl_, "poisson_nll", x, o.name);
  ElementwiseLossParams p = elementwise(o.reduction);
  p.log_input = o.log_input;
  p.is_full = o.full;
  p.eps = static_cast<float>(o.eps);
  loss.finish(LossKind::poisson_nll, OpKind::poisson_nll_fwd, loss.values(), {}, p, o.weight);
}

void ModelBuilder::cosine_embedding(Var a, Var b, const CosineEmbeddingOptions& o) {
  checked_input(*impl_, "cosine_embedding", b);
  LossBuilder loss(*impl_, "cosine_embedding", a, o.name);
  CosineEmbeddingParams p{};
  p.loss = loss_params(o.reduction);
  p.margin = static_cast<float>(o.margin);
  loss.finish(LossKind::cosine_embedding, OpKind::cosine_embedding_fwd, loss.numbers(), {b.id}, p,
              o.weight);
}

}  // namespace tanul
