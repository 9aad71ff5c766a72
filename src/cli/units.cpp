// SPDX-License-Identifier: Apache-2.0
#include "cli/units.h"

#include <fmt/format.h>

namespace tanul::cli {

namespace {

std::string precision_text(const PlanInfo& plan) {
  const bool is_cpu = plan.device == "cpu";
  const char* asked = precision_name(plan.precision);
  if (plan.products_in_precision == 0) {
    return is_cpu ? fmt::format("precision {} asked; this CPU backend computes in fp32\n", asked)
                  : fmt::format(
                        "precision {} asked; none of the {} products has a kernel for it "
                        "here (tanul plan --steps --why), all are in fp32\n",
                        asked, plan.products);
  }
  const std::string where = is_cpu ? fmt::format("in {}", asked) : "on tensor cores";
  if (plan.products_in_precision == plan.products) {
    return fmt::format("precision {}: all {} products {}\n", asked, plan.products, where);
  }
  return fmt::format("precision {}: {} of {} products {}, the others in fp32\n", asked,
                     plan.products_in_precision, plan.products, where);
}

}  // namespace

std::string units_text(const PlanInfo& plan) {
  std::string text;
  if (plan.precision != Precision::fp32) text += precision_text(plan);
  if (!plan.is_deterministic) {
    text += plan.nondeterministic_steps == 0
                ? std::string("deterministic = false: no step makes use of it\n")
                : fmt::format(
                      "not deterministic: {} of {} steps may differ in their last bits from "
                      "run to run\n",
                      plan.nondeterministic_steps, plan.steps.size());
  }
  return text;
}

std::string loss_scale_text(const LossScale& scale) {
  if (scale.left_out == 0) return fmt::format("loss scale {:g} · no step left out", scale.scale);
  return scale.left_out == 1
             ? fmt::format("loss scale {:g} · 1 step left out, its gradients were not finite",
                           scale.scale)
             : fmt::format("loss scale {:g} · {} steps left out, their gradients were not finite",
                           scale.scale, scale.left_out);
}

std::string implementation_text(const std::string& name, Precision multiplies_in) {
  if (multiplies_in == Precision::fp32) return name;
  return fmt::format("{} ({})", name, precision_name(multiplies_in));
}

}  // namespace tanul::cli
