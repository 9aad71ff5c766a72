// SPDX-License-Identifier: Apache-2.0
// A device whose memory is the host's.
#pragma once

#include "support/test_device.h"

namespace tanul::test {

class HostMemoryDevice : public TestDevice {
 public:
  std::byte* allocate(size_t bytes) override;
  void release(std::byte* memory) override;
  void copy_to(std::byte* memory, const std::byte* host, size_t bytes) override;
  void copy_from(std::byte* host, const std::byte* memory, size_t bytes) override;
  bool has_host_memory() const override { return true; }
};

}  // namespace tanul::test
