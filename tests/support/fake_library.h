// SPDX-License-Identifier: Apache-2.0
// What the fakes of cuBLASLt and cuDNN share: the fake device that they run on, and which of them the
// calls go to.
#pragma once

#include <functional>
#include <string>

namespace tanul::test {

// A fake device, as the libraries on it see it.
class LibraryHost {
 public:
  virtual ~LibraryHost() = default;

  // Counts a call; is it to fail?
  virtual bool begin_call(const char* name) = 0;
  // For calls that make or free something, which no stream may capture.
  virtual void refuse_capture(const char* name) = 0;
  // Work in the order of a stream. False: there is no such stream.
  virtual bool queue_work(void* stream, const char* name, std::function<void()> work) = 0;
  virtual void break_rule(const std::string& what) = 0;
};

}  // namespace tanul::test
