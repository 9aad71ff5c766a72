// SPDX-License-Identifier: Apache-2.0
// From a trainer's options to a plan's, and what options are refused.
#include <algorithm>

#include "core/glob.h"
#include "graph/loss_targets.h"
#include "graph/optimizer_nodes.h"
#include "kernels/softmax_xent/softmax_xent.h"
#include "train/trainer_impl.h"

namespace tanul {

std::unique_ptr<Tuner> make_tuner(Backend& backend, const TrainerOptions& options) {
  if (!options.tune.value_or(backend.device().type != DeviceType::cpu)) return nullptr;
  return std::make_unique<Tuner>(backend, tuning_folder());
}

PlanOptions plan_options(Backend& backend, const TrainerOptions& options, Tuner* tuner) {
  PlanOptions result;
  result.device = backend.device().type == DeviceType::cpu ? "cpu" : "cuda";
  result.threads = backend.threads();
  result.implementations = [&backend](OpKind kind) -> const ImplementationList& {
    return backend.implementations(kind);
  };
  result.status_text = [&backend](int status) { return backend.status_text(status); };
  result.architecture = backend.architecture();
  result.force = options.force;
  result.precise_convolutions = options.precise_convolutions;
  result.precision = options.precision;
  result.is_deterministic = options.deterministic;
  result.tuner = tuner;
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
  check_range("l1", o.l1, 0, kMost);
  check_range("l2", o.l2, 0, kMost);
  check_range("ema_decay", o.ema_decay, 0, 0.99999994);
  check_range("lookahead k", static_cast<double>(o.lookahead.k), 0, 1e9);
  check_range("lookahead alpha", o.lookahead.alpha, 1e-9, 1);
  check_range("steps_ahead", static_cast<double>(o.steps_ahead), 0, 1024);
  check_range("accumulate", static_cast<double>(o.accumulate), 1, 1 << 20);
  for (const ParameterGroup& group : o.groups) {
    check_range("lr_scale of a group", group.lr_scale, 0, kMost);
    if (group.weight_decay) check_range("weight_decay of a group", *group.weight_decay, 0, kMost);
  }
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

void check_groups(const Model& model, const TrainerOptions& options) {
  const std::vector<ParameterInfo>& parameters = model.parameters();
  for (const ParameterGroup& group : options.groups) {
    const bool matches = std::any_of(
        parameters.begin(), parameters.end(),
        [&](const ParameterInfo& info) { return glob_match(group.pattern, info.name); });
    if (matches) continue;
    fail(Code::invalid_argument,
         "group \"{}\": no parameter of model \"{}\" matches it; the first is \"{}\"",
         group.pattern, model.name(), parameters.empty() ? "" : parameters.front().name);
  }
  const bool all_frozen =
      !parameters.empty() &&
      std::all_of(parameters.begin(), parameters.end(), [&](const ParameterInfo& info) {
        return is_frozen_by(options.groups, info.name);
      });
  if (all_frozen && !model.losses().empty()) {
    fail(Code::invalid_argument, "every parameter of model \"{}\" is frozen: nothing to train",
         model.name());
  }
}

void check_memory(Backend& backend, const Model& model, const StepGraphOptions& graph_options,
                  const PlanOptions& options, const PlanInfo& plan) {
  const int64_t free = backend.free_bytes();
  if (free < 0 || plan.total_bytes <= free) return;
  // Memory grows with the batch: the border between what fits and what does not.
  int64_t fits = 0, too_large = graph_options.batch;
  int64_t smallest = plan.total_bytes;  // of the plans that were looked at
  while (fits + 1 < too_large) {
    StepGraphOptions smaller = graph_options;
    smaller.batch = fits + (too_large - fits) / 2;
    const int64_t bytes = Plan(model, smaller, options).info().total_bytes;
    (bytes <= free ? fits : too_large) = smaller.batch;
    smallest = std::min(smallest, bytes);
  }
  constexpr double kMib = 1024 * 1024;
  const std::string hint = fits > 0 ? fmt::format("the largest batch that fits is {}", fits)
                                    : fmt::format("not even a batch of 1 fits: it needs {:.1f} MiB",
                                                  static_cast<double>(smallest) / kMib);
  fail(Code::out_of_memory,
       "{}: a batch of {} needs {} bytes ({:.1f} MiB) and {:.1f} MiB are free; {}",
       backend.device().str(), graph_options.batch, plan.total_bytes,
       static_cast<double>(plan.total_bytes) / kMib, static_cast<double>(free) / kMib, hint);
}

PlanInfo make_plan(const Model& model, const TrainerOptions& options, bool is_training) {
  check_options(options);
  const std::unique_ptr<Backend> backend =
      open_backend(find_device(options.device), options.threads);
  check_groups(model, options);
  StepGraphOptions graph_options = training_options(options);
  graph_options.is_training = is_training;
  graph_options.targets = default_targets(model);
  const std::unique_ptr<Tuner> tuner = make_tuner(*backend, options);
  return Plan(model, graph_options, plan_options(*backend, options, tuner.get())).info();
}

}  // namespace tanul
