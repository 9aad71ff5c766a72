// SPDX-License-Identifier: Apache-2.0
#include "cli/units.h"

#include <gtest/gtest.h>

namespace tanul::cli {
namespace {

PlanInfo plan_of(const char* device, Precision precision, int64_t in_precision) {
  PlanInfo plan;
  plan.device = device;
  plan.precision = precision;
  plan.products = 20;
  plan.products_in_precision = in_precision;
  plan.steps.resize(61);
  return plan;
}

TEST(Units, DefaultsAreNotWorthALine) {
  EXPECT_EQ(units_text(plan_of("cpu", Precision::fp32, 20)), "");
}

TEST(Units, OfAPrecision) {
  EXPECT_EQ(units_text(plan_of("cuda", Precision::bf16, 12)),
            "precision bf16: 12 of 20 products on tensor cores, the others in fp32\n");
  EXPECT_EQ(units_text(plan_of("cuda", Precision::fp16, 20)),
            "precision fp16: all 20 products on tensor cores\n");
  EXPECT_EQ(units_text(plan_of("cuda", Precision::tf32, 0)),
            "precision tf32 asked; none of the 20 products has a kernel for it here (tanul plan "
            "--steps --why), all are in fp32\n");
  EXPECT_EQ(units_text(plan_of("cpu", Precision::bf16, 0)),
            "precision bf16 asked; this CPU backend computes in fp32\n");
}

TEST(Units, OfThePromiseOfEqualBits) {
  PlanInfo plan = plan_of("cuda", Precision::tf32, 20);
  plan.is_deterministic = false;
  plan.nondeterministic_steps = 3;
  EXPECT_EQ(units_text(plan),
            "precision tf32: all 20 products on tensor cores\n"
            "not deterministic: 3 of 61 steps may differ in their last bits from run to run\n");
  plan.precision = Precision::fp32;
  plan.nondeterministic_steps = 0;
  EXPECT_EQ(units_text(plan), "deterministic = false: no step makes use of it\n");
}

TEST(Units, OfALossScale) {
  EXPECT_EQ(loss_scale_text({65536, 12, 0}), "loss scale 65536 · no step left out");
  EXPECT_EQ(loss_scale_text({32768, 12, 1}),
            "loss scale 32768 · 1 step left out, its gradients were not finite");
  EXPECT_EQ(loss_scale_text({0.5, 0, 17}),
            "loss scale 0.5 · 17 steps left out, their gradients were not finite");
}

TEST(Units, ImplementationsAreNamedWithTheirFormat) {
  EXPECT_EQ(implementation_text("direct", Precision::fp32), "direct");
  EXPECT_EQ(implementation_text("mma", Precision::tf32), "mma (tf32)");
}

}  // namespace
}  // namespace tanul::cli
