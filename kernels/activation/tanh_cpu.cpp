// SPDX-License-Identifier: Apache-2.0
// tanh on the CPU, see activation_cpu.h.
#include "kernels/activation/activation_cpu.h"

namespace tanul {

namespace {

const Implementation kForward[] = {
    {"simd", supports_all, no_workspace, cpu::launch_activation_fwd<cpu::tanh_fwd>}};
const Implementation kBackward[] = {
    {"simd", supports_all, no_workspace, cpu::launch_activation_bwd<cpu::tanh_bwd>}};

}  // namespace

const ImplementationList cpu_tanh_fwd = {kForward, 1};
const ImplementationList cpu_tanh_bwd = {kBackward, 1};

}  // namespace tanul
