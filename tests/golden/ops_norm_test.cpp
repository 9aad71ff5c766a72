// SPDX-License-Identifier: Apache-2.0
// Normalisations against recorded numbers: batch norm in training (with the running statistics that each
// batch leaves behind) and in evaluation, layer, group, instance, RMS and local response normalisation.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/groupnorm/groupnorm.h"
#include "kernels/lrn/lrn.h"
#include "support/bounds.h"
#include "support/golden.h"
#include "support/op_program.h"
#include "support/rule.h"
#include "support/step_runner.h"

namespace tanul::test::ops_norm_golden {
namespace {

constexpr double kU53 = 0x1p-53;

// A forward step of the engine that an op of the index is.
struct Normalization {
  OpKind kind = OpKind::kCount;
  Params params;
  std::vector<std::string> roles;  // of its operands; those that a case lacks are left out
  std::set<std::string> attrs;     // those that it knows
};

Normalization batch_norm_of(const GoldenCase& c) {
  BatchNormParams p{};
  p.eps = c.attrs.at("eps");
  p.momentum = c.attrs.at("momentum");
  Normalization norm{OpKind::batchnorm_fwd,
                     Params::of(p),
                     {"x", "gamma", "beta"},
                     {"training", "momentum", "eps", "affine", "chain", "step"}};
  if (!c.attrs.at("training").get<bool>()) {
    norm.kind = OpKind::batchnorm_eval_fwd;
    norm.roles.insert(norm.roles.end(), {"running_mean", "running_var"});
  }
  return norm;
}

Normalization normalization_of(const GoldenCase& c) {
  GroupNormParams p{};
  if (c.op == "batch_norm1d" || c.op == "batch_norm2d" || c.op == "batch_norm3d") {
    return batch_norm_of(c);
  }
  if (c.op == "lrn") {
    const LrnParams lrn{c.attrs.at("alpha"), c.attrs.at("beta"), c.attrs.at("k"),
                        c.attrs.at("size"),
                        c.attrs.at("alpha_divided_by_size").get<bool>() ? 1 : 0};
    return {OpKind::lrn_fwd,
            Params::of(lrn),
            {"x"},
            {"size", "alpha", "beta", "k", "alpha_divided_by_size", "affine"}};
  }
  p.eps = c.attrs.value("eps", 0.0);
  const std::vector<std::string> roles{"x", "gamma", "beta"};
  if (c.op == "layer_norm" || c.op == "rms_norm") {
    p.axes = static_cast<int32_t>(c.list("normalized_shape").size());
    const bool is_rms = c.op == "rms_norm";
    return {is_rms ? OpKind::rms_norm_fwd : OpKind::layer_norm_fwd,
            Params::of(p),
            is_rms ? std::vector<std::string>{"x", "gamma"} : roles,
            {"normalized_shape", "eps", "affine"}};
  }
  if (c.op == "group_norm") {
    p.groups = c.attrs.at("groups");
    return {OpKind::group_norm_fwd, Params::of(p), roles, {"groups", "eps", "affine"}};
  }
  if (c.op == "instance_norm") {
    return {OpKind::instance_norm_fwd, Params::of(p), roles, {"eps", "affine"}};
  }
  return {};
}

// Which elements share a mean, and which a gamma.
struct Layout {
  std::function<int64_t(int64_t)> group, parameter;
  int64_t groups = 0;
  double n = 0;             // elements of a group
  RefTensor mean, inv_std;  // [groups]; mean 0 where there is none
  bool are_given = false;   // the statistics do not depend on x
};

Layout layout_of(const GoldenCase& c, const Normalization& norm, const Tensors& reference_out) {
  const RefTensor& x = c.input("x");
  const int64_t elems = x.elems();
  const int64_t C = x.shape[1];
  const int64_t inner = x.shape.rank() > 2 ? x.shape.elems_from(2) : 1;
  const auto channel = [=](int64_t i) { return i / inner % C; };
  Layout layout;
  const bool is_eval = norm.kind == OpKind::batchnorm_eval_fwd;
  if (norm.kind == OpKind::batchnorm_fwd || is_eval) {
    layout.groups = C;
    layout.group = layout.parameter = channel;
    layout.are_given = is_eval;
    layout.mean = is_eval ? c.input("running_mean") : reference_out[1];
    layout.inv_std = is_eval ? c.input("running_var") : reference_out[2];
    const double eps = norm.params.as<BatchNormParams>().eps;
    for (double& v : layout.inv_std.v) v = 1 / std::sqrt(v + eps);
  } else {
    layout.inv_std = reference_out[2];
    layout.groups = layout.inv_std.elems();
    layout.mean = reference_out[1].present ? reference_out[1] : RefTensor({layout.groups});
    const int64_t n = elems / layout.groups;
    layout.group = [=](int64_t i) { return i / n; };
    layout.parameter = channel;
    if (norm.kind == OpKind::layer_norm_fwd || norm.kind == OpKind::rms_norm_fwd) {
      layout.parameter = [=](int64_t i) { return i % n; };
    }
  }
  layout.n = static_cast<double>(elems / layout.groups);
  return layout;
}

// How far gradients may be off whose mean and inv_std were rounded to float on the way (x_hat is off by u
// mean inv_std, and by at most 3 u of itself):
//   dx = inv_std (g - mean g - x_hat mean (g x_hat)),  g = dy gamma;  dgamma = sum dy x_hat;  dbeta = sum dy
std::map<std::string, std::vector<double>> gradient_bounds(const GoldenCase& c,
                                                           const Layout& layout) {
  const RefTensor& x = c.input("x");
  const auto dy = [&](int64_t i) { return std::abs(c.grad_output[i]); };
  const auto g = [&](int64_t i) {
    return dy(i) * (c.has_input("gamma") ? std::abs(c.input("gamma")[layout.parameter(i)]) : 1);
  };
  const auto x_hat = [&](int64_t i) {
    const int64_t r = layout.group(i);
    return std::abs(x[i] - layout.mean[r]) * layout.inv_std[r];
  };
  const auto x_hat_error = [&](int64_t i) {
    const int64_t r = layout.group(i);
    return kU * (std::abs(layout.mean[r]) * layout.inv_std[r] + 3 * x_hat(i));
  };
  std::vector<double> mean_g(static_cast<size_t>(layout.groups), 0.0), mean_gx = mean_g,
                                                                       mean_error = mean_g;
  for (int64_t i = 0; i < x.elems(); ++i) {
    const auto r = static_cast<size_t>(layout.group(i));
    mean_g[r] += g(i) / layout.n;
    mean_gx[r] += g(i) * x_hat(i) / layout.n;
    mean_error[r] += g(i) * x_hat_error(i) / layout.n;
  }
  std::map<std::string, std::vector<double>> bounds;
  for (int64_t i = 0; i < x.elems(); ++i) {
    const auto r = static_cast<size_t>(layout.group(i));
    double bound = 8 * kU * g(i);
    if (!layout.are_given) {
      bound += (8 * kU + (4 + layout.n) * kU53) * (mean_g[r] + x_hat(i) * mean_gx[r]) +
               x_hat_error(i) * mean_gx[r] + x_hat(i) * mean_error[r];
    }
    bounds["dx"].push_back(layout.inv_std.v[r] * bound + kSmallest);
  }
  for (const char* role : {"dgamma", "dbeta"}) {
    if (c.grads.count(role) == 0) continue;
    for (double want : c.grads.at(role).v) bounds[role].push_back(kU * std::abs(want) + kSmallest);
  }
  const double count = static_cast<double>(x.elems());
  for (int64_t i = 0; i < x.elems(); ++i) {
    const auto a = static_cast<size_t>(layout.parameter(i));
    const double in_sum = (4 + count) * kU53;
    if (c.grads.count("dgamma") != 0) {
      bounds["dgamma"][a] += dy(i) * (x_hat_error(i) + in_sum * x_hat(i));
    }
    if (c.grads.count("dbeta") != 0) bounds["dbeta"][a] += dy(i) * in_sum;
  }
  return bounds;
}

// Statistics that are results of the batch before are doubles there; here they are rounded to float.
std::vector<double> y_bounds(const GoldenCase& c, const Normalization& norm, const Layout& layout,
                             const Bounds& of_the_step) {
  std::vector<double> bounds = of_the_step[0];
  if (norm.kind != OpKind::batchnorm_eval_fwd) return bounds;
  for (int64_t i = 0; i < c.input("x").elems(); ++i) {
    const int64_t r = layout.group(i);
    const double mean = std::abs(layout.mean[r]);
    const double gamma = c.has_input("gamma") ? std::abs(c.input("gamma")[r]) : 1;
    bounds[static_cast<size_t>(i)] +=
        kU * gamma * layout.inv_std[r] * (mean + std::abs(c.input("x")[i] - layout.mean[r]));
  }
  return bounds;
}

void expect_near(const RefTensor& got, RefTensor want, const std::vector<double>& bounds,
                 const char* what) {
  ASSERT_EQ(got.shape.str(), want.shape.str()) << what;
  want.dtype = DType::f32;
  EXPECT_EQ(first_error(got, want, bounds), "") << what;
}

// What batch norm in training leaves behind.
struct Statistics {
  ValueId mean, var, running_mean, running_var;
};

Statistics add_statistics(OpProgram& program, const GoldenCase& c,
                          const std::vector<ValueId>& out) {
  const RefTensor& x = c.input("x");
  const ValueId running_mean = program.feed(c.input("running_mean"), "running_mean");
  const ValueId running_var = program.feed(c.input("running_var"), "running_var");
  const BatchNormStatsParams p{c.attrs.at("momentum"), x.elems() / x.shape[1]};
  program.graph.add_mutation(OpKind::batchnorm_stats_update, "golden", Phase::update,
                             {running_mean, out[1], running_var, out[2]},
                             {running_mean, running_var}, Params::of(p));
  return {out[1], out[2], running_mean, running_var};
}

void check_statistics(const GoldenCase& c, const Statistics& ids, const Bounds& of_the_step,
                      const std::map<ValueId, RefTensor>& got) {
  const double momentum = c.attrs.at("momentum");
  const double eps = c.attrs.at("eps");
  const RefTensor& x = c.input("x");
  const auto count = static_cast<double>(x.elems() / x.shape[1]);
  const double unbiased = count / (count - 1);
  expect_near(got.at(ids.mean), c.outputs.at("mean"), of_the_step[1], "mean");
  RefTensor inv_std = got.at(ids.var);
  std::vector<double> inv_std_bound, mean_bound, var_bound;
  for (int64_t k = 0; k < inv_std.elems(); ++k) {
    const auto at = static_cast<size_t>(k);
    const double want = c.outputs.at("inv_std")[k];
    const double var = 1 / (want * want) - eps;
    const double var_error = of_the_step[2][at] + 4 * kU53 / (want * want);
    inv_std[k] = 1 / std::sqrt(inv_std[k] + eps);
    inv_std_bound.push_back(want * (var_error * want * want / 2 + 4 * kU53));
    // The old value was rounded to float, the new one is off as above, the sum rounds.
    const auto bound = [&](double old, double error, double result) {
      return kU * ((1 - momentum) * std::abs(old) + std::abs(result)) + momentum * error +
             8 * kU53 * std::abs(var) + kSmallest;
    };
    mean_bound.push_back(
        bound(c.input("running_mean")[k], of_the_step[1][at], c.outputs.at("running_mean")[k]));
    var_bound.push_back(
        bound(c.input("running_var")[k], unbiased * var_error, c.outputs.at("running_var")[k]));
  }
  // inv_std is computed here, in double, from what the step keeps: no rounding to float.
  for (int64_t k = 0; k < inv_std.elems(); ++k) {
    EXPECT_NEAR(inv_std[k], c.outputs.at("inv_std")[k], inv_std_bound[static_cast<size_t>(k)]);
  }
  expect_near(got.at(ids.running_mean), c.outputs.at("running_mean"), mean_bound, "running_mean");
  expect_near(got.at(ids.running_var), c.outputs.at("running_var"), var_bound, "running_var");
}

void check(const GoldenCase& c) {
  const Normalization norm = normalization_of(c);
  ASSERT_NE(norm.kind, OpKind::kCount) << "the test does not know the op " << c.op;
  for (const auto& [attr, value] : c.attrs.items()) {
    EXPECT_EQ(norm.attrs.count(attr), 1u) << "the test does not know the attribute " << attr;
  }
  EXPECT_EQ(c.attrs.at("affine").get<bool>(), c.has_input("gamma"));

  OpProgram program;
  std::vector<ValueId> in;
  Tensors operands;
  for (const std::string& role : norm.roles) {
    operands.push_back(c.has_input(role) ? c.input(role) : RefTensor::absent());
    in.push_back(program.feed(operands.back(), role));
  }
  const std::vector<ValueId> out = program.add(norm.kind, in, norm.params);
  const Params params = program.graph.nodes.front().params;  // with what infer has set
  std::vector<std::string> roles;
  std::vector<ValueId> wrt;
  for (size_t i = 0; i < norm.roles.size() && i < 3; ++i) {
    if (in[i] == kNoValue) continue;
    roles.push_back("d" + norm.roles[i]);
    wrt.push_back(in[i]);
  }
  const std::vector<ValueId> gradients = program.gradients(out[0], c.grad_output, wrt);
  const bool has_statistics = norm.kind == OpKind::batchnorm_fwd;
  Statistics statistics{};
  if (has_statistics) statistics = add_statistics(program, c, out);
  ASSERT_EQ(c.grads.size(), roles.size());
  ASSERT_EQ(c.outputs.size(), has_statistics ? 5u : 1u);

  // The double reference, from which the bounds follow, has the same values.
  const Tensors want = reference(norm.kind, params, operands, {});
  const Bounds bounds = error_bounds(norm.kind, params, operands, want, {});
  // Both are double, with plain sums of at most all elements where the step has a few roundings.
  const double in_double = (2 + static_cast<double>(want[0].elems())) * kU53 / kU;
  for (int64_t i = 0; i < want[0].elems(); ++i) {
    ASSERT_NEAR(want[0][i], c.outputs.at("y")[i], bounds[0][static_cast<size_t>(i)] * in_double)
        << "reference y, element " << i;
  }
  std::map<std::string, std::vector<double>> of_gradients;
  std::vector<double> of_y = bounds[0];
  if (norm.kind == OpKind::lrn_fwd) {
    const Tensors backward{c.grad_output, c.input("x")};
    const Tensors dx = reference(OpKind::lrn_bwd, params, backward, {});
    of_gradients["dx"] = error_bounds(OpKind::lrn_bwd, params, backward, dx, {})[0];
  } else {
    const Layout layout = layout_of(c, norm, want);
    of_gradients = gradient_bounds(c, layout);
    of_y = y_bounds(c, norm, layout, bounds);
  }
  for (int choice = 0; choice < program.choices(); ++choice) {
    SCOPED_TRACE(program.names(choice));
    const auto got = program.run(choice);
    expect_near(got.at(out[0]), c.outputs.at("y"), of_y, "y");
    for (size_t i = 0; i < roles.size(); ++i) {
      ASSERT_EQ(c.grads.count(roles[i]), 1u) << roles[i];
      expect_near(got.at(gradients[i]), c.grads.at(roles[i]), of_gradients.at(roles[i]),
                  roles[i].c_str());
    }
    if (has_statistics) check_statistics(c, statistics, bounds, got);
  }
}

TEST(Golden, OpsNorm) {
  const std::vector<GoldenCase> cases = load_golden("ops_norm");
  ASSERT_GT(cases.size(), 0u);
  for (const GoldenCase& c : cases) {
    SCOPED_TRACE(c.name);
    check(c);
  }
}

}  // namespace
}  // namespace tanul::test::ops_norm_golden
