// SPDX-License-Identifier: Apache-2.0
// The one exception type of the library.
#pragma once

#include <stdexcept>
#include <string>

#include "tanul/export.h"

namespace tanul {

// What went wrong, as a closed list. The first four are mended by the user in a call, a command or
// a file; the others happen while running.
enum class Code {
  invalid_argument,  // a value, shape or combination that is outside the documented rule
  not_found,         // a file, key, layer or name that does not exist
  format,            // a file that is there but is not what it should be (corrupt, wrong kind)
  exists,            // something is there already and would be overwritten
  io,                // reading or writing failed (permissions, disk full, network)
  out_of_memory,     // the plan or a buffer does not fit
  device,            // no such device, or the device cannot be used
  unsupported,       // valid, but this build or this device cannot do it
  diverged,          // the loss or a value became NaN or infinite
  internal,          // a broken promise inside the library; please report it
};

// Every failure of the library arrives as this. what() is one line without a trailing full stop: it
// says where, the rule, what was got, and a hint.
class TANUL_API Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Code code() const noexcept { return code_; }

  // True when the user can mend it in a command or a file (exit code 2 of the command line tool),
  // false when it failed while running (exit code 1).
  bool is_user_error() const noexcept {
    return code_ == Code::invalid_argument || code_ == Code::not_found || code_ == Code::format ||
           code_ == Code::exists;
  }

 private:
  Code code_;
};

}  // namespace tanul
