// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/device.h"

namespace tanul::cuda {

namespace {

thread_local Device* entered = nullptr;

}  // namespace

Device* entered_device() { return entered; }
void set_entered_device(Device* device) { entered = device; }

}  // namespace tanul::cuda
