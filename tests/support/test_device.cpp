// SPDX-License-Identifier: Apache-2.0
#include "support/test_device.h"

#include <cstdlib>
#include <cstring>
#include <memory>

#include "kernels/cpu/parallel.h"
#include "kernels/op.h"
#include "support/host_memory_device.h"
#include "support/step_runner.h"

namespace tanul::test {

namespace {

class CpuDevice : public HostMemoryDevice {
 public:
  const char* name() const override { return "Cpu"; }
  const ImplementationList& implementations(OpKind kind) const override {
    return cpu_implementations(kind);
  }
  int run(const Implementation& implementation, const StepArgs& args, int threads) override {
    std::unique_ptr<Stream>& stream = streams_[threads];
    if (stream == nullptr) stream = std::make_unique<Stream>(threads);
    return launch_step(implementation, stream.get(), args);
  }

 private:
  std::unique_ptr<Stream> streams_[8];
};

}  // namespace

std::byte* HostMemoryDevice::allocate(size_t bytes) {
  return static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
}
void HostMemoryDevice::release(std::byte* memory) { std::free(memory); }
void HostMemoryDevice::copy_to(std::byte* memory, const std::byte* host, size_t bytes) {
  std::memcpy(memory, host, bytes);
}
void HostMemoryDevice::copy_from(std::byte* host, const std::byte* memory, size_t bytes) {
  std::memcpy(host, memory, bytes);
}

TestDevice& cpu_device() {
  static CpuDevice device;
  return device;
}

#ifndef TANUL_EMULATE_CUDA
TestDevice* emulated_cuda_device() { return nullptr; }
#endif

const std::vector<TestDevice*>& test_devices() {
  static const std::vector<TestDevice*> all = [] {
    std::vector<TestDevice*> devices{&cpu_device()};
    if (emulated_cuda_device() != nullptr) devices.push_back(emulated_cuda_device());
    return devices;
  }();
  return all;
}

}  // namespace tanul::test
