// SPDX-License-Identifier: Apache-2.0
// A module of this build on a machine without a GPU.
#include "table.h"

TANUL_TEST_MODULE(test_table())
