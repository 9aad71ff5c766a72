// SPDX-License-Identifier: Apache-2.0
// [train] optimizer: every kind with its keys, as a list of fields.
#include "core/format.h"
#include "recipe/fields.h"
#include "recipe/settings.h"

namespace tanul::recipe {

namespace {

template <typename O>
void lr_and_decay(Fields& f, O& o) {
  f.number("lr", o.lr, kPositive);
  f.number("weight_decay", o.weight_decay, kNotNegative);
}

template <typename O>
void betas(Fields& f, O& o) {
  f.number("beta1", o.beta1, kBelowOne);
  f.number("beta2", o.beta2, kBelowOne);
}

template <typename O>
void moments(Fields& f, O& o) {
  f.number("lr", o.lr, kPositive);
  betas(f, o);
  f.number("eps", o.eps, kPositive);
  f.number("weight_decay", o.weight_decay, kNotNegative);
}

const char* name_of(const Sgd&) { return "sgd"; }
void describe(Fields& f, Sgd& o) {
  f.number("lr", o.lr, kPositive);
  f.number("momentum", o.momentum, kBelowOne);
  f.number("dampening", o.dampening, kShare);
  f.number("weight_decay", o.weight_decay, kNotNegative);
  f.boolean("nesterov", o.nesterov);
}

const char* name_of(const Adam&) { return "adam"; }
void describe(Fields& f, Adam& o) {
  moments(f, o);
  f.boolean("amsgrad", o.amsgrad);
}

const char* name_of(const AdamW&) { return "adamw"; }
void describe(Fields& f, AdamW& o) {
  moments(f, o);
  f.boolean("amsgrad", o.amsgrad);
}

const char* name_of(const Adagrad&) { return "adagrad"; }
void describe(Fields& f, Adagrad& o) {
  lr_and_decay(f, o);
  f.number("lr_decay", o.lr_decay, kNotNegative);
  f.number("eps", o.eps, kPositive);
  f.number("initial", o.initial, kNotNegative);
}

const char* name_of(const Adadelta&) { return "adadelta"; }
void describe(Fields& f, Adadelta& o) {
  lr_and_decay(f, o);
  f.number("rho", o.rho, kBelowOne);
  f.number("eps", o.eps, kPositive);
}

const char* name_of(const RmsProp&) { return "rmsprop"; }
void describe(Fields& f, RmsProp& o) {
  lr_and_decay(f, o);
  f.number("alpha", o.alpha, kBelowOne);
  f.number("eps", o.eps, kPositive);
  f.number("momentum", o.momentum, kBelowOne);
  f.boolean("centered", o.centered);
}

const char* name_of(const Adamax&) { return "adamax"; }
void describe(Fields& f, Adamax& o) { moments(f, o); }

const char* name_of(const NAdam&) { return "nadam"; }
void describe(Fields& f, NAdam& o) {
  moments(f, o);
  f.number("momentum_decay", o.momentum_decay, kNotNegative);
  f.boolean("decoupled", o.decoupled);
}

const char* name_of(const RAdam&) { return "radam"; }
void describe(Fields& f, RAdam& o) {
  moments(f, o);
  f.boolean("decoupled", o.decoupled);
}

const char* name_of(const Lion&) { return "lion"; }
void describe(Fields& f, Lion& o) {
  lr_and_decay(f, o);
  betas(f, o);
}

const char* name_of(const Lars&) { return "lars"; }
void describe(Fields& f, Lars& o) {
  lr_and_decay(f, o);
  f.number("momentum", o.momentum, kBelowOne);
  f.number("trust_coefficient", o.trust_coefficient, kPositive);
}

const char* name_of(const Lamb&) { return "lamb"; }
void describe(Fields& f, Lamb& o) { moments(f, o); }

const char* name_of(const Muon&) { return "muon"; }
void describe(Fields& f, Muon& o) {
  lr_and_decay(f, o);
  f.number("momentum", o.momentum, kBelowOne);
  f.boolean("nesterov", o.nesterov);
  int64_t steps = o.ns_steps;
  f.integer("ns_steps", steps, 1, 100);
  o.ns_steps = static_cast<int32_t>(steps);
  f.number("eps", o.eps, kPositive);
  f.boolean("match_rms_adamw", o.match_rms_adamw);
  f.number("adamw_lr", o.adamw.lr, kPositive);
  f.number("adamw_beta1", o.adamw.beta1, kBelowOne);
  f.number("adamw_beta2", o.adamw.beta2, kBelowOne);
  f.number("adamw_eps", o.adamw.eps, kPositive);
  f.number("adamw_weight_decay", o.adamw.weight_decay, kNotNegative);
}

// Every alternative of the variant with its defaults.
template <size_t... I>
std::vector<Optimizer> all_of(std::index_sequence<I...>) {
  return {Optimizer(std::variant_alternative_t<I, Optimizer>{})...};
}

const std::vector<Optimizer>& all_optimizers() {
  static const std::vector<Optimizer> all =
      all_of(std::make_index_sequence<std::variant_size_v<Optimizer>>{});
  return all;
}

std::string name_of_any(const Optimizer& optimizer) {
  return std::visit([](const auto& o) { return std::string(name_of(o)); }, optimizer);
}

void describe_any(Fields& f, Optimizer& optimizer) {
  std::visit([&](auto& o) { describe(f, o); }, optimizer);
}

}  // namespace

std::vector<KeySet> optimizer_key_sets() {
  std::vector<KeySet> sets;
  for (Optimizer optimizer : all_optimizers()) {
    FieldNames names;
    describe_any(names, optimizer);
    sets.push_back({name_of_any(optimizer), names.keys});
  }
  return sets;
}

const Keys& optimizer_kinds() {
  static const Keys kinds = [] {
    Keys names;
    for (const Optimizer& optimizer : all_optimizers()) names.push_back(name_of_any(optimizer));
    return names;
  }();
  return kinds;
}

Optimizer read_optimizer(const Source& source, const TomlNode* node) {
  if (node == nullptr) return Sgd{};
  const Choice choice = read_choice(source, *node, "[train] optimizer", optimizer_kinds());
  const TableReader r(source, choice.options, "optimizer " + choice.kind, keys_of(choice.kind));
  Optimizer optimizer;
  for (const Optimizer& one : all_optimizers()) {
    if (name_of_any(one) == choice.kind) optimizer = one;
  }
  FieldReader reader(r);
  describe_any(reader, optimizer);
  if (const auto* o = std::get_if<Sgd>(&optimizer)) {
    if (o->nesterov && (o->momentum == 0 || o->dampening != 0)) {
      fail_at(source, r.where("nesterov"),
              "optimizer sgd: nesterov needs a momentum above 0 and no dampening, got {} and {}",
              o->momentum, o->dampening);
    }
  }
  return optimizer;
}

std::string optimizer_toml(const Optimizer& optimizer) {
  FieldWriter writer;
  Optimizer copy = optimizer;
  describe_any(writer, copy);
  return fmt::format("{{ {} = {} }}", name_of_any(optimizer), writer.toml());
}

}  // namespace tanul::recipe
