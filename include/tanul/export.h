// SPDX-License-Identifier: Apache-2.0
// The visibility of public symbols: libtanul.so is built with hidden visibility, and only what is
// marked TANUL_API leaves it.
#pragma once

#define TANUL_API __attribute__((visibility("default")))
