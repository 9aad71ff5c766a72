// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: losses.
#include <limits>

#include "graph/builder.h"
#include "kernels/mse/mse.h"
#include "kernels/softmax_xent/softmax_xent.h"

namespace tanul {

using namespace build;

void ModelBuilder::softmax_cross_entropy(Var logits, const SoftmaxCrossEntropyOptions& o) {
  const Value& in = checked_input(*impl_, "softmax_cross_entropy", logits);
  const std::string layer =
      take_name(*impl_, o.name.empty() ? "loss" : o.name, "loss", "softmax_cross_entropy");
  const std::string where = quoted("softmax_cross_entropy", layer);
  check_rank(where, in, 2, "{classes}");
  SoftmaxXentParams p{};
  p.label_smoothing = static_cast<float>(o.label_smoothing);
  p.has_ignore_index = o.ignore_index.has_value();
  p.ignore_index = o.ignore_index.value_or(0);
  Value target;
  target.name = "target";
  target.shape = Shape{1};
  target.dtype = DType::i32;
  target.kind = ValueKind::input;
  impl_->target = impl_->graph.add_value(target);
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
                                          {logits.id, impl_->target, weights}, Params::of(p));
  impl_->descriptions[layer] = "softmax_cross_entropy";
  impl_->output = logits.id;
  impl_->loss = outs[0];
  impl_->stats = outs[1];
  impl_->loss_kind = LossKind::softmax_cross_entropy;
}

void ModelBuilder::mean_squared_error(Var x, const std::string& name) {
  const Value& in = checked_input(*impl_, "mean_squared_error", x);
  const Shape shape = in.shape;
  const std::string layer =
      take_name(*impl_, name.empty() ? "loss" : name, "loss", "mean_squared_error");
  Value target;
  target.name = "target";
  target.shape = shape;
  target.kind = ValueKind::input;
  impl_->target = impl_->graph.add_value(target);
  const auto outs = impl_->graph.add_node(OpKind::mse_fwd, layer, Phase::loss,
                                          {x.id, impl_->target}, Params::of(MseParams{}));
  impl_->descriptions[layer] = "mean_squared_error";
  impl_->output = x.id;
  impl_->loss = outs[0];
  impl_->stats = outs[1];
  impl_->loss_kind = LossKind::mean_squared_error;
}

}  // namespace tanul
