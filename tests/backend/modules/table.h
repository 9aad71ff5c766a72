// SPDX-License-Identifier: Apache-2.0
// A module's table that says of itself what a test asks for.
#pragma once

#include "kernels/backend_module.h"

#define TANUL_TEST_MODULE(table)                                                                  \
  extern "C" __attribute__((visibility("default"))) const tanul::BackendModule* tanul_backend() { \
    static const tanul::BackendModule module = table;                                             \
    return &module;                                                                               \
  }

inline tanul::BackendModule test_table() {
  using namespace tanul;
  BackendModule table{};
  table.abi_version = kBackendAbiVersion;
  table.table_bytes = sizeof(BackendModule);
  table.ops_hash = kOpsHash;
  table.version = TANUL_VERSION;
  table.name = "cuda";
  table.device_count = [](const BackendModule*, int32_t* count) {
    *count = 0;
    return 100;
  };
  table.info = [](const BackendModule*, ModuleInfo* info) {
    *info = {"sm_90", "none", "13.0", "not found", "not found"};
    return 0;
  };
  table.last_error = [](const BackendModule*) { return "there is no NVIDIA driver"; };
  return table;
}
