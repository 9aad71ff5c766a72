// SPDX-License-Identifier: Apache-2.0
// Losses against numbers of PyTorch: values and gradients of every case of the index, with every
// implementation. Tolerances: c u max|term| with c = 2 + n for n terms; cross-entropy 4 u max|logit|
// for each sample, since log-sum-exp rounds at the size of the logits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/format.h"
#include "kernels/cosine_embedding/cosine_embedding.h"
#include "kernels/elementwise_loss/elementwise_loss.h"
#include "kernels/label_loss/label_loss.h"
#include "kernels/op.h"
#include "kernels/softmax_xent/softmax_xent.h"
#include "support/golden.h"
#include "support/op_program.h"
#include "support/rule.h"

namespace tanul::test::losses_golden {
namespace {

// A case as a node: what it is fed with, and which operands have gradients.
struct LossNode {
  OpKind kind = OpKind::kCount;
  Params params;
  std::vector<RefTensor> in;
  std::vector<std::pair<size_t, std::string>> grads{{0, "dx"}};
  bool is_elementwise = false;  // each gradient is one term
};

Reduction reduction_of(const GoldenCase& c) {
  const std::string name = c.attrs.value("reduction", "mean");
  if (name == "mean") return Reduction::mean;
  if (name == "sum") return Reduction::sum;
  if (name == "none") return Reduction::none;
  if (name == "batchmean") return Reduction::batch_mean;
  throw std::runtime_error(c.name + ": unknown reduction " + name);
}

// The attributes of a case must be among those that its mapping reads.
void expect_known(const GoldenCase& c, std::set<std::string> known) {
  known.insert("reduction");
  for (const auto& [key, value] : c.attrs.items()) {
    EXPECT_TRUE(known.count(key) == 1) << "attribute " << key << " is not looked at";
  }
}

LossParams loss_params(const GoldenCase& c) {
  LossParams p{reduction_of(c), 0, 0};
  if (!c.attrs.contains("ignore_index")) return p;
  p.has_ignore_index = 1;
  p.ignore_index = c.attrs.at("ignore_index").get<int32_t>();
  return p;
}

RefTensor input_or_none(const GoldenCase& c, const std::string& role) {
  return c.has_input(role) ? c.input(role) : RefTensor::absent();
}

// Weights of the shape of x, or one for each class, out of anything that numpy would broadcast.
RefTensor broadcast_weights(const GoldenCase& c, const std::string& role) {
  const RefTensor from = input_or_none(c, role);
  const Shape& x = c.input("x").shape;
  if (!from.present || from.shape == x) return from;
  if (x.rank() == 2 && from.shape == Shape{x[1]}) return from;
  RefTensor to(x);
  for (int64_t i = 0; i < to.elems(); ++i) {
    int64_t at = 0, rest = i, stride = 1;
    for (int axis = x.rank() - 1, f = from.shape.rank() - 1; f >= 0; --axis, --f) {
      if (from.shape[f] > 1) at += rest % x[axis] * stride;
      rest /= x[axis];
      stride *= from.shape[f];
    }
    to[i] = from[at];
  }
  return to;
}

// An attribute, or PyTorch's default where it is left out.
float number(const GoldenCase& c, const char* attr, double otherwise) {
  const double value = c.attrs.contains(attr) ? golden_number(c.attrs.at(attr)) : otherwise;
  return static_cast<float>(value);
}

LossNode elementwise(const GoldenCase& c, OpKind kind) {
  ElementwiseLossParams p{};
  p.loss = loss_params(c);
  std::set<std::string> known;
  const auto read = [&](const char* attr, float& to, double otherwise) {
    known.insert(attr);
    to = number(c, attr, otherwise);
  };
  const auto read_flag = [&](const char* attr, int32_t& to, bool otherwise) {
    known.insert(attr);
    to = c.attrs.value(attr, otherwise) ? 1 : 0;
  };
  if (kind == OpKind::smooth_l1_fwd) read("beta", p.beta, 1);
  if (kind == OpKind::huber_fwd) read("delta", p.delta, 1);
  if (kind == OpKind::kl_div_fwd) read_flag("log_target", p.log_target, false);
  if (kind == OpKind::hinge_fwd) read_flag("squared", p.is_squared, false);
  if (kind == OpKind::focal_fwd) {
    read("gamma", p.gamma, 2);
    known.insert("alpha");
    p.has_alpha = !c.attrs.at("alpha").is_null();
    if (p.has_alpha != 0) read("alpha", p.alpha, 0.25);
  }
  if (kind == OpKind::poisson_nll_fwd) {
    read_flag("log_input", p.log_input, true);
    read_flag("full", p.is_full, false);
    read("eps", p.eps, 1e-8);
  }
  expect_known(c, known);
  return {kind,
          Params::of(p),
          {c.input("x"), c.input("target"), broadcast_weights(c, "weight"),
           broadcast_weights(c, "pos_weight")},
          {{0, "dx"}},
          true};
}

LossNode node_of(const GoldenCase& c) {
  if (c.op == "mse") return elementwise(c, OpKind::mse_fwd);
  if (c.op == "l1") return elementwise(c, OpKind::mae_fwd);
  if (c.op == "smooth_l1") return elementwise(c, OpKind::smooth_l1_fwd);
  if (c.op == "huber") return elementwise(c, OpKind::huber_fwd);
  if (c.op == "bce_with_logits") return elementwise(c, OpKind::bce_logits_fwd);
  if (c.op == "bce") return elementwise(c, OpKind::bce_fwd);
  if (c.op == "kl_div") return elementwise(c, OpKind::kl_div_fwd);
  if (c.op == "hinge") return elementwise(c, OpKind::hinge_fwd);
  if (c.op == "sigmoid_focal") return elementwise(c, OpKind::focal_fwd);
  if (c.op == "poisson_nll") return elementwise(c, OpKind::poisson_nll_fwd);
  if (c.op == "softmax_cross_entropy") {
    expect_known(c, {"label_smoothing", "ignore_index"});
    const bool has_labels = c.has_input("target");
    return {
        OpKind::softmax_xent_fwd,
        Params::of(SoftmaxXentParams{loss_params(c), number(c, "label_smoothing", 0)}),
        {c.input("x"), c.input(has_labels ? "target" : "target_prob"), input_or_none(c, "weight")}};
  }
  if (c.op == "nll" || c.op == "multi_margin") {
    LabelLossParams p{loss_params(c), 1, 1};
    if (c.op == "multi_margin") {
      expect_known(c, {"p", "margin"});
      p.power = c.attrs.value("p", 1);
      p.margin = number(c, "margin", 1);
    } else {
      expect_known(c, {"ignore_index"});
    }
    return {c.op == "nll" ? OpKind::nll_fwd : OpKind::multi_margin_fwd,
            Params::of(p),
            {c.input("x"), c.input("target"), input_or_none(c, "weight")}};
  }
  if (c.op == "cosine_embedding") {
    expect_known(c, {"margin"});
    return {OpKind::cosine_embedding_fwd,
            Params::of(CosineEmbeddingParams{loss_params(c), number(c, "margin", 0), 0}),
            {c.input("x"), c.input("target"), c.input("x2")},
            {{0, "dx"}, {2, "dx2"}}};
  }
  throw std::runtime_error(c.name + ": unknown op " + c.op);
}

double largest(const RefTensor& t) {
  double max = 0;
  for (double value : t.v) {
    if (std::isfinite(value)) max = std::max(max, std::abs(value));
  }
  return max;
}

void expect_near(const std::string& what, const RefTensor& got, const RefTensor& want,
                 double tolerance) {
  ASSERT_EQ(got.elems(), want.elems()) << what;
  for (int64_t i = 0; i < want.elems(); ++i) {
    if (std::isnan(want[i]) && std::isnan(got[i])) continue;
    EXPECT_NEAR(got[i], want[i], tolerance + kSmallest) << what << ", element " << i;
  }
}

// Gradients of one term each are compared one by one (double itself leaves 2^-50 of the largest where
// the recorded formula cancels), others by the largest.
void expect_gradient(const LossNode& loss, const std::string& what, const RefTensor& got,
                     const RefTensor& want) {
  const double max = largest(want);
  if (!loss.is_elementwise) return expect_near(what, got, want, 3 * kU * max);
  ASSERT_EQ(got.elems(), want.elems()) << what;
  for (int64_t i = 0; i < want.elems(); ++i) {
    const double tolerance = 3 * kU * std::abs(want[i]) + 0x1p-50 * max + kSmallest;
    EXPECT_NEAR(got[i], want[i], tolerance) << what << ", element " << i;
  }
}

// How far the loss may be off. The terms are the losses by themselves.
double loss_tolerance(const LossNode& loss, const RefTensor& stats) {
  OpProgram program;
  Params params = loss.params;
  const Reduction reduction = params.as<LossParams>().reduction;
  params.as<LossParams>().reduction = Reduction::none;
  std::vector<ValueId> in;
  for (const RefTensor& t : loss.in) in.push_back(program.feed(t, "in"));
  const ValueId each = program.add(loss.kind, in, params).front();
  const RefTensor terms = program.run(0).at(each);
  const double n = reduction == Reduction::none ? 1 : static_cast<double>(terms.elems());
  const bool is_mean = reduction == Reduction::mean || reduction == Reduction::batch_mean;
  if (loss.kind == OpKind::softmax_xent_fwd) {
    const double each_error = 4 * kU * largest(loss.in[0]);
    if (is_mean) return each_error;
    return each_error * n * std::max(1.0, loss.in[2].present ? largest(loss.in[2]) : 1.0);
  }
  return (2 + n) * kU * largest(terms) / (is_mean ? stats[1] : 1);
}

void check_loss(const GoldenCase& c) {
  const LossNode loss = node_of(c);
  OpProgram program;
  std::vector<ValueId> in;
  for (size_t i = 0; i < loss.in.size(); ++i) {
    in.push_back(program.feed(loss.in[i], "in" + std::to_string(i)));
  }
  const std::vector<ValueId> outs = program.add(loss.kind, in, loss.params);
  RefTensor dy = c.grad_output;
  if (!dy.present) dy = RefTensor({1}, DType::f32, 1.0);
  std::vector<ValueId> wrt;
  for (const auto& [operand, role] : loss.grads) wrt.push_back(in[operand]);
  const std::vector<ValueId> gradients = program.gradients(outs[0], dy, wrt);
  for (const auto& item : c.grads) {
    EXPECT_TRUE(std::any_of(loss.grads.begin(), loss.grads.end(),
                            [&](const auto& grad) { return grad.second == item.first; }))
        << "nothing is compared with " << item.first;
  }
  for (int choice = 0; choice < program.choices(); ++choice) {
    SCOPED_TRACE(program.names(choice));
    const std::map<ValueId, RefTensor> results = program.run(choice);
    expect_near("loss", results.at(outs[0]), c.outputs.at("y"),
                loss_tolerance(loss, results.at(outs[1])));
    for (size_t i = 0; i < wrt.size(); ++i) {
      const auto found = c.grads.find(loss.grads[i].second);
      if (found == c.grads.end()) continue;
      const RefTensor& want = found->second;
      ASSERT_NE(gradients[i], kNoValue);
      expect_gradient(loss, loss.grads[i].second, results.at(gradients[i]), want);
    }
  }
}

// Two classifiers with the same accuracy: probabilities as logits of their logarithms.
void check_classroom(const GoldenCase& c) {
  EXPECT_TRUE(c.attrs.empty());
  RefTensor log_prob = c.input("prob");
  for (double& value : log_prob.v) value = std::log(value);
  OpProgram program;
  const ValueId logits = program.feed(log_prob, "log_prob");
  const ValueId prob = program.feed(c.input("prob"), "prob");
  const ValueId target = program.feed(c.input("target"), "target");
  const ValueId one_hot = program.feed(c.input("one_hot"), "one_hot");
  ElementwiseLossParams per_sample{};
  per_sample.loss.reduction = Reduction::batch_mean;  // summed over classes
  const auto cross =
      program.add(OpKind::softmax_xent_fwd, {logits, target}, Params::of(SoftmaxXentParams{}));
  const auto square = program.add(OpKind::mse_fwd, {prob, one_hot}, Params::of(per_sample));
  const auto square_of_classes =
      program.add(OpKind::mse_fwd, {prob, target}, Params::of(per_sample));
  for (int choice = 0; choice < program.choices(); ++choice) {
    SCOPED_TRACE(program.names(choice));
    const std::map<ValueId, RefTensor> results = program.run(choice);
    const double entropy_tolerance = 4 * kU * largest(log_prob);
    const double square_tolerance = (2 + static_cast<double>(log_prob.elems())) * kU;
    expect_near("cross-entropy", results.at(cross[0]), c.outputs.at("cross_entropy"),
                entropy_tolerance);
    expect_near("squared error", results.at(square[0]), c.outputs.at("squared_error"),
                square_tolerance);
    EXPECT_EQ(results.at(square[0]).v, results.at(square_of_classes[0]).v);
    const RefTensor& stats = results.at(cross[1]);
    EXPECT_NEAR(stats[2] / stats[3], c.outputs.at("accuracy")[0], 1e-15);
    // The decimal numbers of the blackboard: the inputs are rounded once more.
    EXPECT_NEAR(results.at(cross[0])[0], golden_number(c.values.at("mean_cross_entropy")),
                entropy_tolerance + 2 * kU);
    EXPECT_NEAR(results.at(square[0])[0],
                golden_number(c.values.at("mean_squared_error_summed_over_classes")),
                square_tolerance + 4 * kU);
    EXPECT_NEAR(stats[2] / stats[3], golden_number(c.values.at("accuracy")), 1e-15);
  }
}

TEST(Golden, Losses) {
  int ran = 0;
  for (const GoldenCase& c : load_golden("losses")) {
    SCOPED_TRACE(c.name);
    if (c.op == "metrics_of_probabilities") {
      check_classroom(c);
    } else {
      check_loss(c);
    }
    ++ran;
  }
  EXPECT_GT(ran, 0);
}

}  // namespace
}  // namespace tanul::test::losses_golden
