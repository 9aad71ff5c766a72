// SPDX-License-Identifier: Apache-2.0
// Marks functions that are compiled for the CPU and for CUDA.
#pragma once

#ifdef __CUDACC__
#define TANUL_HOST_DEVICE __host__ __device__
#else
#define TANUL_HOST_DEVICE
#endif
