// SPDX-License-Identifier: Apache-2.0
// Where the tests of ops run a step: the implementations of a backend, with its memory.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/backend_abi.h"
#include "kernels/op_kind.h"

namespace tanul::test {

class TestDevice {
 public:
  virtual ~TestDevice() = default;

  virtual const char* name() const = 0;  // "Cpu"
  // Before an implementation is asked what it supports.
  virtual void enter() {}
  virtual const ImplementationList& implementations(OpKind kind) const = 0;

  // Launches and waits for the end. 0, or an error, which last_error() explains. `threads` work on it
  // where the device has threads; otherwise it numbers orders of work (1, 2, 3), which must all give
  // the same bits.
  virtual int run(const Implementation& implementation, const StepArgs& args, int threads) = 0;
  virtual std::string last_error() const { return {}; }

  // Memory of the device, aligned to 64 bytes, and copies to and from it.
  virtual std::byte* allocate(size_t bytes) = 0;
  virtual void release(std::byte* memory) = 0;
  virtual void copy_to(std::byte* memory, const std::byte* host, size_t bytes) = 0;
  virtual void copy_from(std::byte* host, const std::byte* memory, size_t bytes) = 0;
  // May the host touch the device's memory?
  virtual bool has_host_memory() const = 0;
};

TestDevice& cpu_device();
// CUDA's kernels on the host. Null where they are not part of this build.
TestDevice* emulated_cuda_device();

// All that this build has.
const std::vector<TestDevice*>& test_devices();

}  // namespace tanul::test
