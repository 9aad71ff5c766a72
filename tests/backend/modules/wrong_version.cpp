// SPDX-License-Identifier: Apache-2.0
// A module of another release of tanul.
#include "table.h"

static tanul::BackendModule other_release() {
  tanul::BackendModule table = test_table();
  table.version = "0.0.7";
  return table;
}
TANUL_TEST_MODULE(other_release())
