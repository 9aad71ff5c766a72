// SPDX-License-Identifier: Apache-2.0
// Twelve steps of every optimizer on recorded gradients: the parameters after each step.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "core/format.h"
#include "graph/optimizer_nodes.h"
#include "kernels/cpu/parallel.h"
#include "kernels/op.h"
#include "support/golden.h"
#include "support/rule.h"
#include "support/step_runner.h"

namespace tanul::test::optimizers_golden {
namespace {

// The updates of some parameters as a graph, on memory of its own.
class UpdateRun {
 public:
  UpdateRun(const GoldenCase& golden, const StepGraphOptions& options) : golden_(golden) {
    Model::Impl model;
    std::vector<ValueId> parameters, gradients;
    for (const auto& [role, tensor] : golden.inputs) {
      if (role[0] != 'p') continue;
      roles_.push_back(role);
      ParameterInfo info;
      info.name = role + ".weight";
      info.shape = tensor.shape;
      model.parameters.push_back(info);
      parameters.push_back(add(info.name, tensor.shape, ValueKind::parameter));
      gradients.push_back(add("d" + role, tensor.shape, ValueKind::input));
    }
    append_optimizer(graph_, model, parameters, gradients, options, {});
    for (const Value& value : graph_.values) {
      std::vector<float>& held = memory_[value.name];
      held.assign(static_cast<size_t>(value.shape.elems()),
                  value.constant.empty() ? 0.0f : value.constant.front());
      const std::string& source = value.kind == ValueKind::parameter ? value.name : value.starts_as;
      if (source.empty()) continue;
      const RefTensor& start = golden.input(source.substr(0, source.find('.')));
      std::transform(start.v.begin(), start.v.end(), held.begin(),
                     [](double x) { return static_cast<float>(x); });
    }
  }

  // Step `t` (from 0) with its recorded gradients, each node by the implementation at place `choice`.
  void step(int64_t t, float lr, int choice, float momentum = 0) {
    for (const std::string& role : roles_) {
      const RefTensor& all = golden_.input("g" + role.substr(1));
      std::vector<float>& g = memory_["d" + role];
      for (size_t i = 0; i < g.size(); ++i) {
        g[i] =
            static_cast<float>(all[t * static_cast<int64_t>(g.size()) + static_cast<int64_t>(i)]);
      }
    }
    StepBlock block{1, static_cast<uint64_t>(t), lr, momentum};
    for (const Node& node : graph_.nodes) launch(node, block, choice);
  }

  const std::vector<std::string>& roles() const { return roles_; }
  const std::vector<float>& value(const std::string& name) { return memory_.at(name); }
  int choices() const {
    int most = 1;
    for (const Node& node : graph_.nodes) {
      most = std::max(most, static_cast<int>(cpu_implementations(node.kind).count));
    }
    return most;
  }

 private:
  ValueId add(const std::string& name, const Shape& shape, ValueKind kind) {
    Value value;
    value.name = name;
    value.shape = shape;
    value.kind = kind;
    return graph_.add_value(value);
  }

  Operand operand(ValueId id) {
    Operand o{};
    o.rank = -1;
    if (id == kNoValue) return o;
    const Value& value = graph_.value(id);
    o.rank = value.shape.rank();
    for (int i = 0; i < o.rank; ++i) o.dims[i] = value.shape[i];
    o.dtype = static_cast<int32_t>(value.dtype);
    o.data = memory_.at(value.name).data();
    return o;
  }

  void launch(const Node& node, const StepBlock& block, int choice) {
    std::vector<Operand> in, out;
    for (ValueId id : node.in) in.push_back(operand(id));
    for (ValueId id : node.out) out.push_back(operand(id));
    StepArgs args{};
    args.in = in.data();
    args.out = out.data();
    args.in_count = static_cast<int32_t>(in.size());
    args.out_count = static_cast<int32_t>(out.size());
    args.params = node.params.data();
    args.block = &block;
    const ImplementationList& list = cpu_implementations(node.kind);
    int i = std::min(choice, list.count - 1);
    while (list.items[i].supports(args) != nullptr) ++i;
    args.workspace_bytes = list.items[i].workspace_bytes(args, 2);
    std::vector<double> workspace(static_cast<size_t>(args.workspace_bytes) / 8 + 9, NAN);
    void* aligned = workspace.data();
    size_t space = workspace.size() * 8;
    args.workspace = std::align(64, 1, aligned, space);
    ASSERT_EQ(launch_step(list.items[i], &stream_, args), 0);
  }

  const GoldenCase& golden_;
  Graph graph_;
  Stream stream_{2};
  std::vector<std::string> roles_;
  std::map<std::string, std::vector<float>> memory_;
};

float number(const GoldenCase& c, const char* key) {
  return static_cast<float>(golden_number(c.attrs.at(key)));
}
bool flag(const GoldenCase& c, const char* key) { return c.attrs.at(key).get<bool>(); }
float beta(const GoldenCase& c, size_t i) {
  return static_cast<float>(golden_number(c.attrs.at("betas").at(i)));
}

template <typename O>
O with_moments(const GoldenCase& c) {
  O o;
  o.lr = number(c, "lr");
  o.beta1 = beta(c, 0);
  o.beta2 = beta(c, 1);
  o.eps = number(c, "eps");
  o.weight_decay = number(c, "weight_decay");
  return o;
}

Sgd plain_sgd(const GoldenCase& c) {
  Sgd o;
  o.lr = number(c, "lr");
  return o;
}

// The optimizer of a case; throws for what it does not know.
Optimizer optimizer_of(const GoldenCase& c) {
  if (c.op == "sgd") {
    return Sgd{number(c, "lr"), number(c, "momentum"), number(c, "dampening"),
               number(c, "weight_decay"), flag(c, "nesterov")};
  }
  if (c.op == "adagrad") {
    return Adagrad{number(c, "lr"), number(c, "lr_decay"), number(c, "eps"),
                   number(c, "initial_accumulator_value"), number(c, "weight_decay")};
  }
  if (c.op == "adadelta") {
    return Adadelta{number(c, "lr"), number(c, "rho"), number(c, "eps"), number(c, "weight_decay")};
  }
  if (c.op == "rmsprop") {
    return RmsProp{number(c, "lr"),       number(c, "alpha"),        number(c, "eps"),
                   number(c, "momentum"), number(c, "weight_decay"), flag(c, "centered")};
  }
  if (c.op == "adam") {
    auto o = with_moments<Adam>(c);
    o.amsgrad = flag(c, "amsgrad");
    return o;
  }
  if (c.op == "adamw") {
    auto o = with_moments<AdamW>(c);
    o.amsgrad = flag(c, "amsgrad");
    return o;
  }
  if (c.op == "adamax") return with_moments<Adamax>(c);
  if (c.op == "nadam") {
    auto o = with_moments<NAdam>(c);
    o.momentum_decay = number(c, "momentum_decay");
    o.decoupled = flag(c, "decoupled_weight_decay");
    return o;
  }
  if (c.op == "radam") {
    auto o = with_moments<RAdam>(c);
    o.decoupled = flag(c, "decoupled_weight_decay");
    return o;
  }
  if (c.op == "lion") {
    return Lion{number(c, "lr"), number(c, "beta1"), number(c, "beta2"), number(c, "weight_decay")};
  }
  if (c.op == "lars") {
    return Lars{number(c, "lr"), number(c, "momentum"), number(c, "trust_coefficient"),
                number(c, "weight_decay")};
  }
  if (c.op == "lamb") {
    return Lamb{number(c, "lr"), number(c, "beta1"), number(c, "beta2"), number(c, "eps"),
                number(c, "weight_decay")};
  }
  if (c.op == "muon") {
    Muon o;
    o.lr = number(c, "lr");
    o.momentum = number(c, "momentum");
    o.weight_decay = number(c, "weight_decay");
    o.eps = number(c, "eps");
    o.ns_steps = c.attrs.at("ns_steps").get<int32_t>();
    o.nesterov = flag(c, "nesterov");
    o.match_rms_adamw = c.attrs.at("adjust_lr") == "match_rms_adamw";
    EXPECT_TRUE(o.match_rms_adamw || c.attrs.at("adjust_lr") == "original");
    EXPECT_EQ(c.attrs.at("ns_coefficients"), nlohmann::json({3.4445, -4.7750, 2.0315}));
    return o;
  }
  throw std::runtime_error("unknown optimizer " + c.op);
}

struct Plan {
  StepGraphOptions options;
  std::string suffix = ".weight";  // of what is compared
};

Plan plan_of(const GoldenCase& c) {
  Plan plan;
  const char* over = c.op == "clip_norm" || c.op == "clip_value" ? "then" : "over";
  if (c.attrs.contains(over)) {
    if (c.attrs.at(over) != "sgd") throw std::runtime_error("unknown optimizer behind " + c.op);
    plan.options.optimizer = plain_sgd(c);
  }
  if (c.op == "clip_norm") {
    plan.options.clip_norm = golden_number(c.attrs.at("max_norm"));
  } else if (c.op == "clip_value") {
    plan.options.clip_value = golden_number(c.attrs.at("max_value"));
  } else if (c.op == "ema") {
    plan.options.ema_decay = golden_number(c.attrs.at("decay"));
    plan.suffix = ".weight.ema";
  } else if (c.op == "lookahead") {
    plan.options.lookahead_k = c.attrs.at("k").get<int64_t>();
    plan.options.lookahead_alpha = golden_number(c.attrs.at("alpha"));
  } else {
    plan.options.optimizer = optimizer_of(c);
  }
  return plan;
}

void check_case(const GoldenCase& c) {
  const Plan plan = plan_of(c);
  const int choices = UpdateRun(c, plan.options).choices();
  for (int choice = 0; choice < choices; ++choice) {
    SCOPED_TRACE(fmt::format("implementation {}", choice));
    UpdateRun run(c, plan.options);
    ASSERT_FALSE(run.roles().empty());
    const int64_t steps = c.outputs.begin()->second.shape[0];
    for (int64_t t = 0; t < steps; ++t) {
      run.step(t, learning_rate(plan.options.optimizer), choice);
      for (const std::string& role : run.roles()) {
        const RefTensor& want = c.outputs.at(role);
        const std::vector<float>& got = run.value(role + plan.suffix);
        const int64_t n = static_cast<int64_t>(got.size());
        double largest = 0;
        for (int64_t i = 0; i < (t + 1) * n; ++i) largest = std::max(largest, std::abs(want[i]));
        // about three roundings of w a step
        const double allowed = 3 * static_cast<double>(t + 1) * kU * largest;
        for (int64_t i = 0; i < n; ++i) {
          const double value = static_cast<double>(got[static_cast<size_t>(i)]);
          ASSERT_LE(std::abs(value - want[t * n + i]), allowed)
              << role << ", step " << t << ", element " << i << ": "
              << fmt::format("{:.9g} instead of {:.9g}, off by {:.3g} u |w|", value,
                             want[t * n + i], std::abs(value - want[t * n + i]) / kU / largest);
        }
      }
    }
  }
}

TEST(Golden, Optimizers) {
  int ran = 0;
  for (const GoldenCase& c : load_golden("optimizers")) {
    SCOPED_TRACE(c.name);
    check_case(c);
    ++ran;
  }
  EXPECT_GT(ran, 0);
}

// A momentum in the step block is what the optimizer would do with that momentum of its own.
TEST(Optimizers, AMomentumOfTheStepTakesThePlaceOfTheirOwn) {
  const std::vector<GoldenCase> cases = load_golden("optimizers");
  const GoldenCase& c = *std::find_if(cases.begin(), cases.end(),
                                      [](const GoldenCase& one) { return one.op == "sgd"; });
  // in pairs: with a momentum of its own that is overridden, and with the other one
  Lars lars, lars_low;
  lars_low.momentum = 0.5f;
  Muon muon, muon_low;
  muon_low.momentum = 0.5f;
  muon_low.adamw.beta1 = 0.5f;
  const std::vector<std::pair<Optimizer, Optimizer>> pairs = {
      {Sgd{0.1f, 0.9f, 0, 0, true}, Sgd{0.1f, 0.5f, 0, 0, true}},
      {Sgd{0.1f}, Sgd{0.1f}},  // none to override
      {Adam{0.1f, 0.9f}, Adam{0.1f, 0.5f}},
      {AdamW{0.1f, 0.9f}, AdamW{0.1f, 0.5f}},
      {RmsProp{0.1f, 0.9f, 1e-8f, 0.9f}, RmsProp{0.1f, 0.9f, 1e-8f, 0.5f}},
      {Adamax{0.1f, 0.9f}, Adamax{0.1f, 0.5f}},
      {RAdam{0.1f, 0.9f}, RAdam{0.1f, 0.5f}},
      {Lion{0.1f, 0.9f}, Lion{0.1f, 0.5f}},
      {lars, lars_low},
      {Lamb{0.1f, 0.9f}, Lamb{0.1f, 0.5f}},
      {muon, muon_low},
  };
  for (const auto& [own, other] : pairs) {
    SCOPED_TRACE(own.index());
    StepGraphOptions a, b;
    a.optimizer = own;
    b.optimizer = other;
    UpdateRun first(c, a), second(c, b), third(c, a);
    for (int64_t t = 0; t < 4; ++t) {
      first.step(t, 0.1f, 0, 0.5f);
      second.step(t, 0.1f, 0);
      third.step(t, 0.1f, 0);
    }
    for (const std::string& role : first.roles()) {
      EXPECT_EQ(first.value(role + ".weight"), second.value(role + ".weight")) << role;
    }
    const bool has_momentum =
        !(std::holds_alternative<Sgd>(own) && std::get<Sgd>(own).momentum == 0);
    EXPECT_EQ(first.value("p0.weight") != third.value("p0.weight"), has_momentum);
  }
}

}  // namespace
}  // namespace tanul::test::optimizers_golden
