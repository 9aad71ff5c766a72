// SPDX-License-Identifier: Apache-2.0
#include "graph/loss_targets.h"

#include <algorithm>

#include "kernels/loss/loss.h"
#include "kernels/op.h"

namespace tanul {

namespace {

const Node& node_of(const Model::Impl& model, const Model::Impl::Loss& loss) {
  return *std::find_if(model.graph.nodes.begin(), model.graph.nodes.end(), [&](const Node& node) {
    return !node.out.empty() && node.out.front() == loss.loss;
  });
}

const LossParams& params_of(const Model::Impl& model, const Model::Impl::Loss& loss) {
  return node_of(model, loss).params.as<LossParams>();
}

// Does the loss's `infer` accept targets of this shape and type?
bool is_accepted(const Model::Impl& model, const Model::Impl::Loss& loss, const Shape& shape,
                 DType dtype) {
  const Node& node = node_of(model, loss);
  Graph trial;
  std::vector<ValueId> in;
  for (ValueId id : node.in) {
    if (id == kNoValue) {
      in.push_back(kNoValue);
      continue;
    }
    const Value& value = model.graph.value(id);
    Value operand;
    operand.shape = id == loss.target ? shape : value.shape;
    operand.dtype = id == loss.target ? dtype : value.dtype;
    in.push_back(trial.add_value(operand));
  }
  try {
    trial.add_node(node.kind, node.layer, node.phase, in, node.params);
  } catch (const Error&) {
    return false;
  }
  return true;
}

}  // namespace

Shape target_shape(const Model::Impl& model, const Model::Impl::Loss& loss, DType dtype) {
  const Value& declared = model.graph.value(loss.target);
  if (declared.dtype == dtype) return declared.shape;
  const Shape& x = model.graph.value(loss.x).shape;
  if (dtype != DType::i32) return x;
  std::vector<int64_t> extents{x[0]};
  for (int axis = 2; axis < x.rank(); ++axis) extents.push_back(x[axis]);
  return Shape(extents);
}

TargetForms accepted_targets(const Model::Impl& model, const Model::Impl::Loss& loss) {
  TargetForms forms;
  const Shape labels = target_shape(model, loss, DType::i32);
  const Shape values = target_shape(model, loss, DType::f32);
  if (is_accepted(model, loss, labels, DType::i32)) forms.labels = labels.tail(1);
  if (is_accepted(model, loss, values, DType::f32)) forms.values = values.tail(1);
  return forms;
}

DType default_target(const Model::Impl& model, const Model::Impl::Loss& loss) {
  return model.graph.value(loss.target).dtype;
}

std::optional<int32_t> ignored_label(const Model::Impl& model, const Model::Impl::Loss& loss) {
  const LossParams& params = params_of(model, loss);
  if (params.has_ignore_index == 0) return {};
  return params.ignore_index;
}

bool follows_sum(const Model::Impl& model, const Model::Impl::Loss& loss) {
  const Reduction reduction = params_of(model, loss).reduction;
  return reduction == Reduction::sum || reduction == Reduction::none;
}

bool has_single_losses(const Model::Impl& model, const Model::Impl::Loss& loss) {
  return params_of(model, loss).reduction == Reduction::none;
}

Shown shown_outputs(const Model::Impl& model, const Model::Impl::Loss& loss) {
  switch (node_of(model, loss).kind) {
    case OpKind::softmax_xent_fwd: return Shown::softmax;
    case OpKind::bce_logits_fwd:
    case OpKind::focal_fwd: return Shown::sigmoid;
    default: return Shown::as_they_are;
  }
}

}  // namespace tanul
