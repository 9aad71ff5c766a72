// SPDX-License-Identifier: Apache-2.0
#include "graph/fuse.h"

#include <algorithm>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/linear/linear.h"

namespace tanul {

namespace {

ActivationKind activation_of(OpKind kind) {
  switch (kind) {
    case OpKind::relu_fwd: return ActivationKind::relu;
    case OpKind::sigmoid_fwd: return ActivationKind::sigmoid;
    case OpKind::tanh_fwd: return ActivationKind::tanh;
    default: return ActivationKind::none;
  }
}

// Where a node keeps its fused activation; null where it cannot have this one.
ActivationKind* epilogue_of(Node& node, ActivationKind activation) {
  switch (node.kind) {
    case OpKind::batchnorm_fwd:
    case OpKind::batchnorm_eval_fwd:
      return activation == ActivationKind::relu ? &node.params.as<BatchNormParams>().activation
                                                : nullptr;
    case OpKind::conv2d_fwd: return &node.params.as<Conv2dParams>().activation;
    case OpKind::conv3d_fwd: return &node.params.as<Conv3dParams>().plane.activation;
    case OpKind::linear_fwd: return &node.params.as<LinearParams>().activation;
    default: return nullptr;
  }
}

}  // namespace

std::map<std::string, std::string> fuse(Graph& graph, const std::vector<ValueId>& kept) {
  std::vector<int> readers(graph.values.size(), 0);
  std::vector<Node*> producer(graph.values.size(), nullptr);
  for (Node& node : graph.nodes) {
    for (ValueId in : node.in) {
      if (in != kNoValue) ++readers[static_cast<size_t>(in)];
    }
    for (ValueId out : node.out) {
      if (out != kNoValue) producer[static_cast<size_t>(out)] = &node;
    }
  }
  std::map<std::string, std::string> fused;
  std::vector<bool> is_gone(graph.nodes.size(), false);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const ActivationKind activation = activation_of(graph.nodes[i].kind);
    if (activation == ActivationKind::none) continue;
    const ValueId x = graph.nodes[i].in.front();
    Node* before = producer[static_cast<size_t>(x)];
    if (before == nullptr || readers[static_cast<size_t>(x)] != 1) continue;
    if (std::find(kept.begin(), kept.end(), x) != kept.end()) continue;
    ActivationKind* epilogue = epilogue_of(*before, activation);
    if (epilogue == nullptr || *epilogue != ActivationKind::none) continue;
    *epilogue = activation;
    before->out.front() = graph.nodes[i].out.front();
    producer[static_cast<size_t>(before->out.front())] = before;
    fused[graph.nodes[i].layer] = before->layer;
    is_gone[i] = true;
  }
  std::vector<Node> left;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!is_gone[i]) left.push_back(std::move(graph.nodes[i]));
  }
  graph.nodes = std::move(left);
  return fused;
}

}  // namespace tanul
