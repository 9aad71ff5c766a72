// SPDX-License-Identifier: Apache-2.0
// A library that is no module: it has no entry.
extern "C" int tanul_something_else() { return 1; }
