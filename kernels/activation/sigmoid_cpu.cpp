// SPDX-License-Identifier: Apache-2.0
// sigmoid on the CPU, see activation_cpu.h.
#include "kernels/activation/activation_cpu.h"

namespace tanul {

namespace {

const Implementation kForward[] = {
    {"simd", supports_all, no_workspace, cpu::launch_activation_fwd<cpu::sigmoid_fwd>}};
const Implementation kBackward[] = {
    {"simd", supports_all, no_workspace, cpu::launch_activation_bwd<cpu::sigmoid_bwd>}};

}  // namespace

const ImplementationList cpu_sigmoid_fwd = {kForward, 1};
const ImplementationList cpu_sigmoid_bwd = {kBackward, 1};

}  // namespace tanul
