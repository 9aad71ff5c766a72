// SPDX-License-Identifier: Apache-2.0
// The ceiling of a machine's arithmetic, measured.
#pragma once

namespace tanul::bench {

// Floating point operations per second of `threads` threads doing nothing but independent fused
// multiply-adds on registers (a fused multiply-add counts two), the best of a few short runs.
double measure_fma_peak(int threads);

}  // namespace tanul::bench
