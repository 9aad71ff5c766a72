// SPDX-License-Identifier: Apache-2.0
// A device that a module gives access to, behind the engine's Backend. Work is queued on one stream, in
// order; large inputs cross on a second one while it computes. The host waits where it reads a result
// (copy_out, Readback::wait) or where memory that the device still reads would be used again.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

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
  std::string identity() const override;
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
  bool runs_behind() const override { return true; }
  std::unique_ptr<Readback> make_readback(int64_t bytes) override;

  Stream* stream() override { return stream_; }
  void begin_step() override;
  void end_step() noexcept override {}
  void synchronize() override;
  double seconds_of(const std::function<void()>& work) override;
  std::string status_text(int status) const override;

  bool can_record() const override { return true; }
  void begin_recording() override;
  std::unique_ptr<Recording> end_recording() override;
  void drop_recording() noexcept override;
  void replay(Recording& recording) override;

 private:
  class Graph;
  class Read;

  // Host memory that the device copies from or to.
  struct Pinned {
    void* memory = nullptr;
    ModuleEvent* event = nullptr;  // behind the last copy from it
    bool is_pending = false;
    // For large inputs: memory on the device that the copy goes to, on the second stream, and that the
    // first stream then takes it from.
    void* staging = nullptr;
    ModuleEvent* taken = nullptr;  // behind the last copy out of `staging`
    bool is_taken = false;         // has there been one?
  };
  // Several of each size, so that one can be filled while others are still read: in turn. Those of large
  // inputs have staging, where there was memory for it.
  struct PinnedRing {
    int64_t bytes;
    bool is_of_inputs;
    std::vector<Pinned> slots;
    size_t next = 0;
  };

  void check(int status) const;  // throws with the module's last error
  // Where nothing may be thrown: what failed is the error of the next step.
  void keep_error(int status) noexcept;
  PinnedRing& ring_of(int64_t bytes, bool is_of_inputs);
  void fill_ring(PinnedRing& ring);
  void free_slot(Pinned& slot) noexcept;
  // The next slot of at least so many bytes, when the device has done with it.
  Pinned& slot_of(int64_t bytes, bool is_of_inputs = false);
  void queue_copy(void* device, Pinned& slot, int64_t bytes);
  void queue_staged_copy(void* device, Pinned& slot, int64_t bytes);
  void free_all() noexcept;

  const BackendModule& module_;
  const int index_;
  std::string name_;
  int32_t architecture_ = 0;
  ModuleDevice* device_ = nullptr;
  Stream* stream_ = nullptr;
  Stream* input_stream_ = nullptr;  // copies of inputs, beside the steps
  std::list<PinnedRing> pinned_;    // one of each size
  Pinned* writing_ = nullptr;       // between begin_write and end_write
  std::string kept_error_;
};

}  // namespace tanul
