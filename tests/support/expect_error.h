// SPDX-License-Identifier: Apache-2.0
// EXPECT that a call throws tanul::Error with a code and a text.
#pragma once

#include <gtest/gtest.h>

#include <exception>
#include <string>

#include "tanul/error.h"

namespace tanul::test {

// Passes where `call` throws Error{code} whose one-line message contains `part`.
template <typename Call>
void expect_error(Code code, const std::string& part, Call call) {
  try {
    call();
  } catch (const Error& e) {
    EXPECT_EQ(static_cast<int>(e.code()), static_cast<int>(code)) << e.what();
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos)
        << "message: " << e.what() << "\nlacks:   " << part;
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return;
  } catch (const std::exception& e) {
    ADD_FAILURE() << "not a tanul::Error: " << e.what() << "\nexpected: " << part;
    return;
  }
  ADD_FAILURE() << "no error; expected: " << part;
}

}  // namespace tanul::test
