// SPDX-License-Identifier: Apache-2.0
// What the engine needs of a device: memory, copies, a stream to launch on, and a list of
// implementations for every step kind. The CPU is built in; other devices are loaded modules that
// stand behind the same class.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "kernels/backend_abi.h"
#include "kernels/op_kind.h"
#include "tanul/device.h"

namespace tanul {

// Launches that were recorded, to be queued again at once. Belongs to its backend.
class Recording {
 public:
  virtual ~Recording() = default;
};

// Host memory that device memory is copied to without the host waiting at once. Belongs to its backend.
class Readback {
 public:
  virtual ~Readback() = default;
  // Queues a copy of `bytes` to place `offset`; `end` follows the last one.
  virtual void copy(int64_t offset, const void* device, int64_t bytes) = 0;
  virtual void end() = 0;
  // What was copied, once it is there. Throws Error{device}, also where work in front of it failed.
  virtual const std::byte* wait() = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual Device device() const = 0;
  virtual std::string description() const = 0;  // "CPU: 2 threads, AVX2"
  virtual int threads() const = 0;
  // Calls body(0) … body(count - 1) on the host, in any order and by as many threads as the device has
  // there. The body must not throw.
  virtual void for_each_on_host(int64_t count, const std::function<void(int64_t)>& body) {
    for (int64_t i = 0; i < count; ++i) body(i);
  }
  virtual const ImplementationList& implementations(OpKind kind) const = 0;
  // Of the code that runs on a GPU: 90 for sm_90. What Implementation::least_architecture asks for.
  virtual int32_t architecture() const { return 0; }

  // Memory for tensors, zero-filled, aligned to 64 bytes and counted. Throws Error{out_of_memory}.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void release(void* memory, int64_t bytes) noexcept = 0;
  virtual void copy_in(void* device, const void* host, int64_t bytes) = 0;
  virtual void copy_out(void* host, const void* device, int64_t bytes) = 0;
  // Host memory of `bytes` that is filled and then, by end_write, lies at `device`: without a copy where
  // the host reaches it. One at a time.
  virtual void* begin_write(void* device, int64_t /*bytes*/) { return device; }
  virtual void end_write(void* /*device*/, int64_t /*bytes*/) {}
  // What is left on the device; -1 where nobody can say.
  virtual int64_t free_bytes() const { return -1; }

  // Does the device have memory of its own and work behind the host, who may run ahead of it?
  virtual bool runs_behind() const { return false; }
  // Null on a device that does not.
  virtual std::unique_ptr<Readback> make_readback(int64_t /*bytes*/) { return nullptr; }

  virtual Stream* stream() = 0;
  // Round every run of a plan.
  virtual void begin_step() = 0;
  virtual void end_step() noexcept = 0;
  // Waits for all work; throws Error{device} where some of it failed.
  virtual void synchronize() {}
  // What times that are measured here hold for: "NVIDIA H100 80GB HBM3, driver 13.0, …".
  virtual std::string identity() const { return description(); }
  // Seconds that the device takes for what `work` does or queues.
  virtual double seconds_of(const std::function<void()>& work);
  // What a launch's status means, for messages.
  virtual std::string status_text(int status) const { return "status " + std::to_string(status); }

  // Between begin_recording and end_recording, launches into stream() are recorded, not run; replay
  // queues them again. Throw Error{device}.
  virtual bool can_record() const { return false; }
  virtual void begin_recording() {}
  virtual std::unique_ptr<Recording> end_recording() { return nullptr; }
  virtual void drop_recording() noexcept {}
  virtual void replay(Recording& /*recording*/) {}

  int64_t tensor_bytes() const { return tensor_bytes_; }
  int64_t peak_tensor_bytes() const { return peak_tensor_bytes_; }
  // What was taken and given back until now does not count.
  void forget_peak() { peak_tensor_bytes_ = tensor_bytes_; }

 protected:
  void count(int64_t bytes) {
    tensor_bytes_ += bytes;
    if (tensor_bytes_ > peak_tensor_bytes_) peak_tensor_bytes_ = tensor_bytes_;
  }

 private:
  int64_t tensor_bytes_ = 0;
  int64_t peak_tensor_bytes_ = 0;
};

// threads 0: all processors that this process may use. Throws as find_device does.
std::unique_ptr<Backend> open_backend(const Device& device, int threads);

// begin_step … end_step of a device, also when a step throws.
class StepScope {
 public:
  explicit StepScope(Backend& backend) : backend_(backend) { backend.begin_step(); }
  ~StepScope() { backend_.end_step(); }
  StepScope(const StepScope&) = delete;
  StepScope& operator=(const StepScope&) = delete;

 private:
  Backend& backend_;
};

// Device memory that is given back when it goes out of scope.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(Backend& backend, int64_t bytes)
      : backend_(&backend), data_(backend.allocate(bytes)), bytes_(bytes) {}
  ~DeviceMemory() { reset(); }
  DeviceMemory(DeviceMemory&& other) noexcept { swap(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    swap(other);
    return *this;
  }
  void reset() noexcept {
    if (data_ != nullptr) backend_->release(data_, bytes_);
    data_ = nullptr;
    bytes_ = 0;
  }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  int64_t bytes() const { return bytes_; }

 private:
  void swap(DeviceMemory& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  Backend* backend_ = nullptr;
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace tanul
