// SPDX-License-Identifier: Apache-2.0
// An open device, for those whose choice depends on more than shapes: on the libraries that were found.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/cuda/api.h"
#include "kernels/cuda/libraries.h"

namespace tanul::cuda {

struct Device {
  const Api* api;
  int32_t index;
  const LibraryTables& (*find_libraries)();
  std::unique_ptr<Libraries> libraries = nullptr;  // made when a step first asks for one
};

// The device that the calling thread entered last, for selections: `supports` and `workspace_bytes` have
// no stream to ask. Null: none, or it was closed.
Device* entered_device();
void set_entered_device(Device* device);

}  // namespace tanul::cuda
