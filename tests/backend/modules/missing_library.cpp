// SPDX-License-Identifier: Apache-2.0
// A module that cannot be loaded: a function that it needs is in no library.
#include "table.h"

extern "C" int tanul_test_function_that_is_nowhere();

static tanul::BackendModule needy() {
  tanul::BackendModule table = test_table();
  table.abi_version += static_cast<uint32_t>(tanul_test_function_that_is_nowhere());
  return table;
}
TANUL_TEST_MODULE(needy())
