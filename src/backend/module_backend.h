// SPDX-License-Identifier: Apache-2.0
// A device that a module gives access to, behind the engine's Backend. Work is queued on one stream, in
// order; the host waits where it reads a result (copy_out) or where memory that the device still reads
// would be used again.
#pragma once

#include <array>
#include <list>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "kernels/backend_module.h"

namespace tanul {

class ModuleBackend : public Backend {
 public:
  // Throws Error{device} with the module's reason. The module has to outlive it.
  ModuleBackend(const BackendModule& module, int index);
  ~ModuleBackend() override;

  Device device() const override { return {DeviceType::cuda, index_}; }
  std::string description() const override;  // "cuda:0: NVIDIA H100 80GB HBM3"
  int threads() const override { return 1; }
  const ImplementationList& implementations(OpKind kind) const override;
  int32_t architecture() const override { return architecture_; }

  void* allocate(int64_t bytes) override;
  void release(void* memory, int64_t bytes) noexcept override;
  void copy_in(void* device, const void* host, int64_t bytes) override;
  void copy_out(void* host, const void* device, int64_t bytes) override;
  void* begin_write(void* device, int64_t bytes) override;
  void end_write(void* device, int64_t bytes) override;
  int64_t free_bytes() const override;

  Stream* stream() override { return stream_; }
  void begin_step() override;
  void end_step() noexcept override {}
  void synchronize() override;
  void start_clock() override;
  double stop_clock() override;
  std::string status_text(int status) const override;

  bool can_record() const override { return true; }
  void begin_recording() override;
  std::unique_ptr<Recording> end_recording() override;
  void drop_recording() noexcept override;
  void replay(Recording& recording) override;

 private:
  class Graph;

  // Host memory that the device copies from or to. There are two of each size, so that one can be filled
  // while the other one is still read.
  struct Pinned {
    void* memory = nullptr;
    ModuleEvent* event = nullptr;  // behind the last copy from it
    bool is_pending = false;
  };
  struct PinnedPair {
    int64_t bytes;
    std::array<Pinned, 2> slots;
    size_t next = 0;
  };

  void check(int status) const;  // throws with the module's last error
  PinnedPair& pinned_of(int64_t bytes);
  // The next slot of at least so many bytes, when the device has done with it.
  Pinned& slot_of(int64_t bytes);
  void queue_copy(void* device, Pinned& slot, int64_t bytes);
  void free_all() noexcept;

  const BackendModule& module_;
  const int index_;
  std::string name_;
  int32_t architecture_ = 0;
  ModuleDevice* device_ = nullptr;
  Stream* stream_ = nullptr;
  std::list<PinnedPair> pinned_;         // one of each size
  std::array<ModuleEvent*, 2> clock_{};  // start and stop, made when they are first asked for
  Pinned* writing_ = nullptr;            // between begin_write and end_write
};

}  // namespace tanul
