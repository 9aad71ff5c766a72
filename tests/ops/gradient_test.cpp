// SPDX-License-Identifier: Apache-2.0
// Every grad rule against central differences, in double: loss = sum(dy · y) with random weights dy;
// the rule's nodes are run with the reference maths, the loss is differentiated by
//   f' = (f(x-2h) - 8 f(x-h) + 8 f(x+h) - f(x+2h)) / 12h,   error h^4 f'''''/30.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/format.h"
#include "core/philox.h"
#include "kernels/op.h"
#include "ops/cases.h"
#include "support/op_graph.h"

namespace tanul::test {
namespace {

constexpr double kStep = 1e-3;
constexpr RefContext kContext{99, 5, 0.1f};

// sum(dy · y) of the forward node, and the sum of absolute terms, which its rounding is measured by.
struct Loss {
  double value = 0;
  double terms = 0;
};

class Forward {
 public:
  Forward(const OpGraph& graph, const OpCase& op_case) : graph_(graph) {
    RefInterpreter interpreter(graph.graph, kContext);
    feed_case(interpreter, graph, op_case);
    in_ = interpreter.operands(graph.graph.nodes[0]);
    dy_ = interpreter.eval(graph.dy[0]);
  }
  std::vector<RefTensor>& in() { return in_; }

  Loss loss() const {
    const Node& node = graph_.graph.nodes[0];
    const RefTensor y = reference(node.kind, node.params, in_, kContext)[0];
    Loss loss;
    for (int64_t i = 0; i < y.elems(); ++i) {
      loss.value += dy_[i] * y[i];
      loss.terms += std::abs(dy_[i] * y[i]);
    }
    return loss;
  }

 private:
  const OpGraph& graph_;
  std::vector<RefTensor> in_;
  RefTensor dy_;
};

double difference(Forward& forward, size_t operand, int64_t i, double& noise) {
  double& x = forward.in()[operand].v[static_cast<size_t>(i)];
  const double at = x;
  const auto loss = [&](double offset) {
    x = at + offset;
    const Loss f = forward.loss();
    noise = std::max(noise, f.terms);
    return f.value;
  };
  const double sum = loss(-2 * kStep) - 8 * loss(-kStep) + 8 * loss(kStep) - loss(2 * kStep);
  x = at;
  return sum / (12 * kStep);
}

// All elements where there are few, otherwise an even choice: naive convolutions take their time.
std::vector<int64_t> chosen(int64_t elems, int64_t count) {
  std::vector<int64_t> indices;
  const int64_t n = std::min(elems, count);
  for (int64_t i = 0; i < n; ++i) indices.push_back(i * elems / n);
  return indices;
}

void check_input(const OpGraph& graph, const OpCase& op_case, const std::vector<int>& wanted,
                 int operand, int64_t count) {
  const size_t at = static_cast<size_t>(operand);
  ASSERT_NE(graph.grad[at], kNoValue) << "the rule gives input " << operand << " no gradient";
  RefInterpreter interpreter(graph.graph, kContext);
  feed_case(interpreter, graph, op_case);
  const RefTensor& gradient = interpreter.eval(graph.grad[at]);
  ASSERT_EQ(gradient.shape.str(), op_case.in[at].shape.str());
  Forward forward(graph, op_case);
  double max = 0;
  for (double value : gradient.v) max = std::max(max, std::abs(value));
  for (int64_t i : chosen(gradient.elems(), count)) {
    double terms = 0;
    const double expected = difference(forward, at, i, terms);
    // Relative error below 1e-6; besides, what rounding leaves of the difference.
    const double allowed = 1e-6 * std::abs(expected) + 1e-10 * max + 64 * 0x1p-53 * terms / kStep;
    if (std::abs(gradient[i] - expected) <= allowed) continue;
    ADD_FAILURE() << "input " << operand << ", element " << i << ", with " << wanted.size()
                  << " gradients wanted: the rule gives " << fmt::format("{:.12g}", gradient[i])
                  << ", differences give " << fmt::format("{:.12g}", expected);
    return;
  }
}

std::string family_name(const testing::TestParamInfo<Family>& family) { return family.param.name; }

class Gradients : public testing::TestWithParam<Family> {};

TEST_P(Gradients, AgreeWithCentralDifferences) {
  for (const OpCase& op_case : GetParam().cases()) {
    if (op_case.differentiable.empty() || !op_case.has_gradient_check) continue;
    SCOPED_TRACE(op_case.name);
    const OpGraph all(op_case);
    // About the products that one forward run takes: output elements times those of one filter.
    int64_t work = all.graph.value(all.out[0]).shape.elems();
    if (op_case.in.size() > 1 && op_case.in[1].present && op_case.in[1].shape.rank() > 1) {
      work *= op_case.in[1].shape.elems_from(1);
    }
    const int64_t count = std::clamp<int64_t>(1000000 / (work + 1), 3, 24);
    for (int operand : op_case.differentiable) {
      check_input(all, op_case, op_case.differentiable, operand, count);
      // The rule must not depend on which other gradients are asked for.
      const std::vector<int> alone{operand};
      check_input(OpGraph(op_case, alone), op_case, alone, operand, 2);
    }
  }
}

// The first layer's data gradient and frozen weights must cost nothing.
TEST_P(Gradients, NothingIsComputedForUnwantedInputs) {
  const auto ends_with = [](const std::string& name, const std::string& end) {
    return name.size() >= end.size() &&
           name.compare(name.size() - end.size(), end.size(), end) == 0;
  };
  for (const OpCase& op_case : GetParam().cases()) {
    const size_t inputs = op_case.differentiable.size();
    if (inputs < 2) continue;
    SCOPED_TRACE(op_case.name);
    // Behind the forward step, which may itself be a convolution's data gradient.
    const auto backward = [&](int wanted) {
      std::vector<Node> nodes = OpGraph(op_case, {wanted}).graph.nodes;
      nodes.erase(nodes.begin());
      return nodes;
    };
    for (const Node& node : backward(0)) {
      EXPECT_FALSE(ends_with(op_name(node.kind), "_bwd_weights"));
      if (node.kind != OpKind::concat_bwd) continue;
      for (size_t i = 1; i < inputs; ++i) EXPECT_EQ(node.out.at(i), kNoValue);
    }
    for (const Node& node : backward(1)) {
      EXPECT_FALSE(ends_with(op_name(node.kind), "_bwd_data"));
      if (ends_with(op_name(node.kind), "_bwd_weights")) {
        EXPECT_EQ(node.out.at(1), kNoValue) << "db is not wanted";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Gradients, testing::ValuesIn(families()), family_name);

}  // namespace
}  // namespace tanul::test
