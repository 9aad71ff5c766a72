// SPDX-License-Identifier: Apache-2.0
// cuBLASLt and cuDNN out of their shared libraries, which the dynamic loader finds by name or path.
#pragma once

#include "kernels/cuda/cublaslt_api.h"
#include "kernels/cuda/cudnn_api.h"

namespace tanul::cuda {

// False where there is no such library, or it lacks a function. What was loaded stays loaded.
bool find_cublaslt(const char* file, cublaslt::Api& api);
bool find_cudnn(const char* file, cudnn::Api& api);

}  // namespace tanul::cuda
