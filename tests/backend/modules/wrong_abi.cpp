// SPDX-License-Identifier: Apache-2.0
// A module with a later interface. Nothing of its table but the first fields may be looked at.
#include "table.h"

static tanul::BackendModule later() {
  tanul::BackendModule table{};
  table.abi_version = tanul::kBackendAbiVersion + 1;
  table.table_bytes = sizeof(tanul::BackendModule) + 8;
  return table;
}
TANUL_TEST_MODULE(later())
