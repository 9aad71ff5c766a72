// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: losses.
#include <limits>

#include "graph/builder.h"
#include "kernels/mse/mse.h"
#include "kernels/softmax_xent/softmax_xent.h"

namespace tanul {

using namespace build;

namespace {

// The name that was asked for, or "loss", "loss2", …
std::string loss_name(const Model::Impl& model, const std::string& wanted) {
  if (!wanted.empty() || model.losses.empty()) return wanted.empty() ? "loss" : wanted;
  return "loss" + std::to_string(model.losses.size() + 1);
}

// "target", "target2", …
std::string target_name(const Model::Impl& model) {
  return model.losses.empty() ? "target" : "target" + std::to_string(model.losses.size() + 1);
}

}  // namespace

void ModelBuilder::softmax_cross_entropy(Var logits, const SoftmaxCrossEntropyOptions& o) {
  const Value& in = checked_input(*impl_, "softmax_cross_entropy", logits);
  const std::string layer =
      take_name(*impl_, loss_name(*impl_, o.name), "loss", "softmax_cross_entropy");
  const std::string where = quoted("softmax_cross_entropy", layer);
  check_rank(where, in, 2, "{classes}");
  SoftmaxXentParams p{};
  p.label_smoothing = static_cast<float>(o.label_smoothing);
  p.has_ignore_index = o.ignore_index.has_value();
  p.ignore_index = o.ignore_index.value_or(0);
  Value target;
  target.name = target_name(*impl_);
  target.shape = Shape{1};
  target.dtype = DType::i32;
  target.kind = ValueKind::input;
  const ValueId target_id = impl_->graph.add_value(target);
  ValueId weights = kNoValue;
  if (!o.class_weights.empty()) {
    Value value;
    value.name = layer + ".class_weights";
    value.shape = Shape{static_cast<int64_t>(o.class_weights.size())};
    value.kind = ValueKind::constant;
    value.constant = o.class_weights;
    for (float weight : o.class_weights) {
      if (!(weight >= 0) || weight > std::numeric_limits<float>::max()) {
        fail(Code::invalid_argument, "{}: class weights are finite and 0 or more, got {}", where,
             weight);
      }
    }
    weights = impl_->graph.add_value(value);
  }
  const auto outs = impl_->graph.add_node(OpKind::softmax_xent_fwd, layer, Phase::loss,
                                          {logits.id, target_id, weights}, Params::of(p));
  impl_->descriptions[layer] = "softmax_cross_entropy";
  add_loss(*impl_, LossKind::softmax_cross_entropy, layer, logits, target_id, outs, o.weight);
}

void ModelBuilder::mean_squared_error(Var x, const std::string& name, double weight) {
  const Value& in = checked_input(*impl_, "mean_squared_error", x);
  const Shape shape = in.shape;
  const std::string layer =
      take_name(*impl_, loss_name(*impl_, name), "loss", "mean_squared_error");
  Value target;
  target.name = target_name(*impl_);
  target.shape = shape;
  target.kind = ValueKind::input;
  const ValueId target_id = impl_->graph.add_value(target);
  const auto outs = impl_->graph.add_node(OpKind::mse_fwd, layer, Phase::loss, {x.id, target_id},
                                          Params::of(MseParams{}));
  impl_->descriptions[layer] = "mean_squared_error";
  add_loss(*impl_, LossKind::mean_squared_error, layer, x, target_id, outs, weight);
}

}  // namespace tanul
