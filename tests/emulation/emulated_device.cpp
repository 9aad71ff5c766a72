// SPDX-License-Identifier: Apache-2.0
// CUDA's kernels as a device of the op tests: what a launch function queues runs when it has returned, on
// the guarded memory of the test. So a launch function that reads or writes memory of the device itself
// gets what was there before.
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/format.h"
#include "emulation/grid.h"
#include "kernels/cuda/api.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernel.h"
#include "kernels/cuda/last_error.h"
#include "kernels/cuda/ops.h"
#include "support/fake_cublaslt.h"
#include "support/fake_cudnn.h"
#include "support/host_memory_device.h"

namespace tanul::test {

namespace {

constexpr int kLaunchFailure = 719;  // cudaErrorLaunchFailure

// A kernel with its arguments, copied.
class QueuedKernel {
 public:
  explicit QueuedKernel(const cuda::KernelLaunch& launch) : launch_(launch) {
    for (int32_t i = 0; i < launch.arg_count; ++i) {
      const size_t bytes = launch.arg_bytes[i];
      // a vector of the most aligned type holds any argument
      auto& copy =
          copies_.emplace_back((bytes + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
      std::memcpy(copy.data(), launch.args[i], bytes);
    }
  }
  void operator()() const {
    std::vector<void*> args;
    for (const auto& copy : copies_) args.push_back(const_cast<std::max_align_t*>(copy.data()));
    cuda::emulation::run_grid(launch_.grid, launch_.block,
                              [&] { launch_.invoke(launch_.kernel, args.data()); });
  }

 private:
  cuda::KernelLaunch launch_;
  std::vector<std::vector<std::max_align_t>> copies_;
};

std::vector<std::function<void()>> queued;

int queue_launch(const cuda::KernelLaunch& launch, cuda::StreamHandle) {
  queued.push_back(QueuedKernel(launch));
  return 0;
}
int queue_copy(void* to, const void* from, size_t bytes, cuda::CopyKind, cuda::StreamHandle) {
  queued.push_back([=] { std::memcpy(to, from, bytes); });
  return 0;
}
int queue_fill(void* memory, int byte, size_t bytes, cuda::StreamHandle) {
  queued.push_back([=] { std::memset(memory, byte, bytes); });
  return 0;
}

const cuda::LibraryTables& find_libraries() {
  static const cuda::LibraryTables tables{&FakeCublasLt::table(), &FakeCudnn::table()};
  return tables;
}

class EmulatedCudaDevice : public HostMemoryDevice, LibraryHost {
 public:
  EmulatedCudaDevice() {
    api_.launch = queue_launch;
    api_.copy = queue_copy;
    api_.fill = queue_fill;
  }
  ~EmulatedCudaDevice() override { enter(); }
  const char* name() const override { return "Cuda"; }
  void enter() override {
    cublaslt_.make_active();
    cudnn_.make_active();
    cuda::set_entered_device(&device_);
    error_.clear();
  }
  const ImplementationList& implementations(OpKind kind) const override {
    return cuda::implementations(kind);
  }
  int run(const Implementation& implementation, const StepArgs& args, int threads) override {
    using cuda::emulation::Order;
    cuda::emulation::set_order(threads == 1   ? Order::natural
                               : threads == 2 ? Order::reversed
                                              : Order::shuffled);
    queued.clear();
    cuda::Queue queue{&api_, nullptr, &device_};
    if (const int status = implementation.launch(reinterpret_cast<Stream*>(&queue), args)) {
      if (status == cuda::kLibraryError) error_ = cuda::last_error();
      return status;
    }
    try {
      for (const auto& work : queued) work();
    } catch (const cuda::emulation::Fault& fault) {
      error_ = fault.what();
    }
    return error_.empty() ? 0 : kLaunchFailure;
  }
  std::string last_error() const override { return error_; }

 private:
  bool begin_call(const char*) override { return false; }
  void refuse_capture(const char*) override {}
  bool queue_work(void*, const char*, std::function<void()> work) override {
    queued.push_back(std::move(work));
    return true;
  }
  void break_rule(const std::string& what) override {
    if (error_.empty()) error_ = what;
  }

  cuda::Api api_{};
  std::string error_;
  FakeCublasLt cublaslt_{*this};
  FakeCudnn cudnn_{*this};
  cuda::Device device_{&api_, 0, find_libraries};  // gone before its libraries are
};

}  // namespace

TestDevice* emulated_cuda_device() {
  static EmulatedCudaDevice device;
  return &device;
}

}  // namespace tanul::test
