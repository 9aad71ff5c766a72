// SPDX-License-Identifier: Apache-2.0
// Loss scaling on the CPU. The check is memory bound, 4 bytes an element, its sum in double and an order
// that the shapes fix (squares_cpu.h); the rest are scalars.
#include "kernels/op.h"
#include "kernels/optim/loss_scale.h"
#include "kernels/optim/squares_cpu.h"

namespace tanul {

namespace {

int launch_seed_scalar(Stream*, const StepArgs& args) {
  args.out[0].as<float>()[0] =
      args.params_as<LossScaleSeedParams>().weight * args.in[0].as<float>()[0];
  return 0;
}

int launch_check_tiles(Stream* stream, const StepArgs& args) {
  const double sum = cpu::sum_of_squares<1>(stream, args);
  loss_scale::check(sum, static_cast<double>(args.params_as<LossScaleCheckParams>().max_norm),
                    args.in[0].as<float>(), args.out[0].as<float>());
  return 0;
}

int launch_update_scalar(Stream*, const StepArgs& args) {
  loss_scale::update(args.params_as<LossScaleParams>(), args.in[1].as<float>(),
                     args.out[0].as<float>());
  return 0;
}

constexpr Implementation kSeed[] = {{"scalar", supports_all, no_workspace, launch_seed_scalar}};
constexpr Implementation kCheck[] = {
    {"tiles", supports_all, cpu::workspace_squares<1>, launch_check_tiles}};
constexpr Implementation kUpdate[] = {{"scalar", supports_all, no_workspace, launch_update_scalar}};

}  // namespace

const ImplementationList cpu_loss_scale_seed{kSeed, 1};
const ImplementationList cpu_loss_scale_check{kCheck, 1};
const ImplementationList cpu_loss_scale_update{kUpdate, 1};

}  // namespace tanul
