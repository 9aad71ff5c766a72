// SPDX-License-Identifier: Apache-2.0
// The ceilings of a machine, measured.
#pragma once

namespace tanul::bench {

// Floating point operations per second of `threads` threads doing nothing but independent fused
// multiply-adds on registers (a fused multiply-add counts two), the best of a few short runs.
double measure_fma_peak(int threads);

// Bytes read and written a second by copies of arrays far larger than the caches.
double measure_copy(int threads);

}  // namespace tanul::bench
