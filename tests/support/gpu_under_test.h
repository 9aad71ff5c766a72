// SPDX-License-Identifier: Apache-2.0
// The device that a test run was asked to look at, by the environment variable TANUL_TEST_DEVICE: "cuda" or
// "cuda:N", a real GPU; "fake", the device of support/fake_cuda.h, where this build has it; "cpu". Unset:
// none, and the tests in tests/gpu and the suite Gpu/Implementations have nothing to do. scripts/gpu_check.sh
// sets it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "support/test_device.h"

namespace tanul::test {

class GpuUnderTest {
 public:
  // Null where none was asked for. Throws Error{device} with the reason where it cannot be used,
  // Error{invalid_argument} where it is none of those above. Once a process: stays in place to its end.
  static GpuUnderTest* get();

  virtual ~GpuUnderTest() = default;
  // For TrainerOptions::device.
  const std::string& device() const { return device_; }
  // Steps that a test makes instead of `steps`: the emulation is slow.
  int steps(int steps) const { return is_fake_ ? 3 : steps; }
  bool is_fake() const { return is_fake_; }

  // Calls so far that took memory, streams or events from the device; 0 on the CPU.
  virtual int64_t allocations() const { return 0; }
  // What is left on the device; -1 on the CPU.
  virtual int64_t free_bytes() const { return -1; }
  // Its implementations, for the tests of ops.
  virtual TestDevice& test_device() = 0;

 protected:
  std::string device_;
  bool is_fake_ = false;
};

}  // namespace tanul::test
