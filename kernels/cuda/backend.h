// SPDX-License-Identifier: Apache-2.0
// The backend's table (kernels/backend_module.h) over CUDA's entry points (api.h). Knows no CUDA header:
// the module puts the CUDA runtime behind it, tests a fake device.
#pragma once

#include "kernels/backend_module.h"
#include "kernels/cuda/api.h"
#include "kernels/cuda/libraries.h"

namespace tanul::cuda {

// What a module is made of.
struct Parts {
  const Api* api;
  const char* version;           // of tanul
  const int32_t* architectures;  // that code was built for: 75, 80, …, ascending
  int32_t architecture_count;
  int32_t ptx;                               // the architecture whose PTX is in the module; 0: none
  const LibraryTables& (*find_libraries)();  // looks for them when it is called first
};

// The architecture of the code that a GPU of compute capability major.minor runs; 0: there is none. Code
// for sm_XY runs where X is the same and Y at most the GPU's, and the newest of it is taken; PTX is
// translated for any GPU that is not older and has none.
int32_t architecture_for(const Parts& parts, int32_t major, int32_t minor);

struct Module {
  BackendModule table;  // the first member: functions get a pointer to it
  Parts parts;
};

// `parts.api` has to outlive the module.
Module make_module(const Parts& parts);

}  // namespace tanul::cuda
