// SPDX-License-Identifier: Apache-2.0
// From a trainer's options to a plan's, and what options are refused.
#include "graph/loss_targets.h"
#include "train/trainer_impl.h"

namespace tanul {

PlanOptions plan_options(Backend& backend, const TrainerOptions& options) {
  PlanOptions result;
  result.threads = backend.threads();
  result.implementations = [&backend](OpKind kind) -> const ImplementationList& {
    return backend.implementations(kind);
  };
  result.force = options.force;
  return result;
}

PortTypes default_targets(const Model& model) {
  PortTypes types;
  const std::vector<Model::Impl::Loss>& losses = model.impl().losses;
  for (size_t i = 0; i < losses.size(); ++i) types[i] = default_target(model.impl(), losses[i]);
  return types;
}

namespace {

void check_range(const char* what, double value, double least, double most) {
  if (!(value >= least && value <= most)) {
    fail(Code::invalid_argument, "{} must be between {:g} and {:g}, got {:g}", what, least, most,
         value);
  }
}

}  // namespace

void check_options(const TrainerOptions& o) {
  constexpr double kMost = 1e30;
  check_range("batch", static_cast<double>(o.batch), 1, 1 << 24);
  check_range("learning rate", learning_rate(o.optimizer), 0, kMost);
  check_range("clip_norm", o.clip_norm, 0, kMost);
  check_range("clip_value", o.clip_value, 0, kMost);
  check_range("epochs", o.epochs, 0, 1e9);
  o.schedule.check();
  if (const auto* sgd = std::get_if<Sgd>(&o.optimizer)) {
    check_range("momentum", sgd->momentum, 0, 1);
    check_range("dampening", sgd->dampening, 0, 1);
    check_range("weight_decay", sgd->weight_decay, 0, kMost);
    if (sgd->nesterov && (sgd->momentum == 0 || sgd->dampening != 0)) {
      fail(Code::invalid_argument,
           "nesterov wants a momentum above 0 and no dampening, got {} and {}", sgd->momentum,
           sgd->dampening);
    }
    return;
  }
  const auto check_adam = [&](const auto& adam) {
    check_range("beta1", adam.beta1, 0, 0.99999994);
    check_range("beta2", adam.beta2, 0, 0.99999994);
    check_range("eps", adam.eps, 0, kMost);
    check_range("weight_decay", adam.weight_decay, 0, kMost);
  };
  if (const auto* adam = std::get_if<Adam>(&o.optimizer)) check_adam(*adam);
  if (const auto* adamw = std::get_if<AdamW>(&o.optimizer)) check_adam(*adamw);
}

PlanInfo make_plan(const Model& model, const TrainerOptions& options, bool is_training) {
  check_options(options);
  const std::unique_ptr<Backend> backend =
      open_backend(find_device(options.device), options.threads);
  StepGraphOptions graph_options;
  graph_options.batch = options.batch;
  graph_options.is_training = is_training;
  graph_options.targets = default_targets(model);
  graph_options.optimizer = options.optimizer;
  graph_options.clip_norm = options.clip_norm;
  graph_options.clip_value = options.clip_value;
  graph_options.decay_biases = options.decay_biases;
  return Plan(model, graph_options, plan_options(*backend, options)).info();
}

}  // namespace tanul
