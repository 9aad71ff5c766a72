// SPDX-License-Identifier: Apache-2.0
// What batch norm with a ReLU behind it keeps for the backward pass: its input alone.
#include "graph/recompute.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "kernels/op.h"
#include "plan/plan.h"

namespace tanul {
namespace {

constexpr int64_t kBatch = 8;

PlanOptions cpu_options() {
  PlanOptions options;
  options.threads = 2;
  options.implementations = [](OpKind kind) -> const ImplementationList& {
    return cpu_implementations(kind);
  };
  return options;
}

// `depth` times conv, batch norm, ReLU on planes of one size.
Model chain(int depth, bool has_norm = true) {
  ModelBuilder m("chain");
  Var x = m.input({8, 16, 16});
  for (int i = 0; i < depth; ++i) {
    x = m.conv2d(x, {.out = 8, .kernel = 3, .pad = 1, .bias = !has_norm});
    if (has_norm) x = m.batch_norm(x);
    x = m.relu(x);
  }
  m.softmax_cross_entropy(m.linear(m.flatten(m.global_avg_pool2d(x)), {.out = 4}));
  return m.build();
}

StepGraphOptions options_of_chain() {
  StepGraphOptions options;
  options.batch = kBatch;
  options.samples = PortTypes(DType::f32);
  return options;
}

Plan plan_of(const Model& model) { return Plan(model, options_of_chain(), cpu_options()); }

Plan plan_that_keeps_all(const Model& model) {
  StepGraphOptions options = options_of_chain();
  options.keeping = Keeping{};
  return Plan(model, options, cpu_options());
}

// Planes that the forward pass makes and the backward pass reads.
int64_t kept_planes(const Plan& plan) {
  const Graph& graph = plan.step_graph().graph;
  const int64_t plane = kBatch * 8 * 16 * 16;
  std::set<ValueId> made;
  std::set<ValueId> kept;
  for (const Node& node : graph.nodes) {
    if (node.phase == Phase::forward) made.insert(node.out.begin(), node.out.end());
    if (node.phase != Phase::backward) continue;
    for (ValueId in : node.in) {
      if (in == kNoValue || made.count(in) == 0) continue;
      if (graph.value(in).shape.elems() == plane) kept.insert(in);
    }
  }
  return static_cast<int64_t>(kept.size());
}

TEST(Recompute, AChainKeepsOnePlaneABatchNorm) {
  for (int depth : {1, 2, 5}) {
    const Model model = chain(depth);
    const Plan with = plan_of(model);
    const Plan without = plan_that_keeps_all(model);
    EXPECT_EQ(kept_planes(with), depth);
    EXPECT_EQ(kept_planes(without), 2 * depth - 1);  // the last ReLU's output is not read again
    for (const StepInfo& step : with.info().steps) {
      EXPECT_NE(step.op, "relu_fwd");
      EXPECT_NE(step.op, "relu_bwd");
    }
  }
}

TEST(Recompute, PeakMemoryIsThatOfTheKeptPlanes) {
  const int depth = 12;
  const int64_t plane_bytes = kBatch * 8 * 16 * 16 * 4;
  const int64_t with = plan_of(chain(depth)).info().activation_bytes;
  const int64_t without = plan_that_keeps_all(chain(depth)).info().activation_bytes;
  EXPECT_LT(with, without - (depth - 4) * plane_bytes);
  // Batch norm costs no plane more than the same chain without it, but for those at work.
  const int64_t plain = plan_of(chain(depth, false)).info().activation_bytes;
  EXPECT_LT(with, plain + 3 * plane_bytes);
}

// The first node that reads it, and no node of the forward pass, gets the copy; it stands in front.
TEST(Recompute, TheCopyStandsInFrontOfItsFirstReader) {
  const Plan plan = plan_of(chain(3));
  const Graph& graph = plan.step_graph().graph;
  std::set<ValueId> known;
  for (size_t i = 0; i < graph.values.size(); ++i) {
    const bool is_made = graph.values[i].kind == ValueKind::temp;
    if (!is_made) known.insert(static_cast<ValueId>(i));
  }
  int copies = 0;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    for (ValueId in : node.in) {
      if (in == kNoValue) continue;
      EXPECT_EQ(known.count(in), 1u) << graph.value(in).name << " is read before it is made";
    }
    known.insert(node.out.begin(), node.out.end());
    if (node.kind != OpKind::batchnorm_eval_fwd) continue;
    ++copies;
    EXPECT_EQ(node.phase, Phase::backward);
    const std::vector<ValueId>& next = graph.nodes.at(i + 1).in;
    EXPECT_NE(std::find(next.begin(), next.end(), node.out.front()), next.end());
  }
  EXPECT_EQ(copies, 2);
}

TEST(Recompute, EvaluationNormalisesOnceWithTheRunningStatistics) {
  StepGraphOptions options;
  options.batch = kBatch;
  options.is_training = false;
  const Plan plan(chain(3), options, cpu_options());
  int norms = 0;
  for (const StepInfo& step : plan.info().steps) {
    norms += step.op == "batchnorm_eval_fwd" ? 1 : 0;
    EXPECT_NE(step.op, "batchnorm_fwd");
    EXPECT_NE(step.op, "relu_fwd");
  }
  EXPECT_EQ(norms, 3);
}

}  // namespace
}  // namespace tanul
