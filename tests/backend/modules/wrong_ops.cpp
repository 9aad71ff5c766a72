// SPDX-License-Identifier: Apache-2.0
// A module that was built with another list of steps.
#include "table.h"

static tanul::BackendModule other_steps() {
  tanul::BackendModule table = test_table();
  table.ops_hash ^= 1;
  return table;
}
TANUL_TEST_MODULE(other_steps())
