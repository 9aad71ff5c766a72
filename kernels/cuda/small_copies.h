// SPDX-License-Identifier: Apache-2.0
// Copies of a few bytes by kernels: they go with the work of a stream, where a copy engine would have to be
// started and waited for between two steps.
#pragma once

#include <cstdint>

#include "kernels/backend_abi.h"

namespace tanul::cuda {

// Both take whole words, at most kMostSmallBytes, and addresses that are multiples of 4.

// From the host, who may write `from` again when the call returns, to the device.
int launch_put(Stream* stream, void* to, const void* from, int64_t bytes);
// From the device to pinned memory.
int launch_fetch(Stream* stream, void* to, const void* from, int64_t bytes);

}  // namespace tanul::cuda
