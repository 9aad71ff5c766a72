// SPDX-License-Identifier: Apache-2.0
// A GPU that is none, behind the table of CUDA's entry points: the whole backend runs on it, on the host.
//
// Work that is queued runs as late as CUDA allows: when the host waits for it. Kernels run by emulation
// (tests/emulation). Rules that a GPU would not forgive, or would let pass until it matters, are checked
// at every call, and what breaks them is kept as text:
//   - memory of the device lies between guard zones and cannot be touched by the host: it is mapped without
//     access but while queued work runs; a pointer is freed once, by its own function
//   - no call on a stream, event or graph that was destroyed, nor on the default stream
//   - no call for a device before the thread has chosen one
//   - copies are between device memory and pinned memory; what is copied to the device keeps its bytes
//     until it is copied, and what is copied to the host is garbage until then
//   - while a stream captures: no allocation, no release, no waiting
//   - a graph is not destroyed while it is queued
// It may have a cuBLASLt and a cuDNN (fake_cublaslt.h, fake_cudnn.h), whose calls count as its own.
// Its clock runs a millisecond a kernel. What is tuned on it is kept in no file.
// One at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/api.h"
#include "kernels/cuda/backend.h"
#include "support/fake_cublaslt.h"
#include "support/fake_cudnn.h"
#include "support/fake_library.h"

namespace tanul::test {

struct FakeCudaOptions {
  int devices = 1;
  int driver = 13000;  // 0: there is none
  int major = 9, minor = 0;
  int64_t memory_bytes = int64_t{256} << 20;
  bool runs_kernels = true;  // false: they are only checked, and leave memory as it is
  bool has_cublaslt = false;
  bool has_cudnn = false;
};

class FakeCuda : private LibraryHost {
 public:
  explicit FakeCuda(const FakeCudaOptions& options = {});
  ~FakeCuda() override;
  FakeCuda(const FakeCuda&) = delete;
  FakeCuda& operator=(const FakeCuda&) = delete;

  // The module over this device, as libtanul-cuda.so has one over CUDA.
  const BackendModule* module() const { return &module_.table; }

  FakeCublasLt& cublaslt() { return cublaslt_; }
  FakeCudnn& cudnn() { return cudnn_; }

  // Rules that were broken, first one first.
  const std::vector<std::string>& violations() const { return violations_; }
  // What is still there: "device memory of 512 bytes".
  std::vector<std::string> leaks() const;

  int64_t calls() const { return calls_; }
  // Of one entry point, by CUDA's name: "cudaMalloc".
  int64_t calls_of(const std::string& name) const;
  int64_t kernels_run() const { return kernels_run_; }

  // The call that comes so many calls from now fails (1: the next); what frees or ends something does
  // so all the same.
  void fail_at(int64_t call) { fails_at_ = calls_ + call; }
  // The kernel that runs as so many-th from now breaks a rule: CUDA tells when the host waits for it.
  void break_kernel(int64_t kernel) { breaks_at_ = kernels_run_ + kernel; }
  // The name of the call that failed so; "" where it has not come yet.
  const std::string& failed_call() const { return failed_call_; }

 private:
  friend struct FakeCudaApi;

  struct Allocation {
    std::byte* mapping;  // guard, data, guard
    size_t mapping_bytes;
    size_t bytes;
    size_t slack;  // between the end of the data and the guard
    bool is_pinned;
  };
  struct Work {
    std::function<void()> run;
    int64_t waits_for = 0;  // an event …
    int64_t version = 0;    // … as often recorded
    int64_t graph = 0;      // that it is of
  };
  struct StreamState {
    std::deque<Work> queue;
    bool is_capturing = false;
    bool is_capture_broken = false;
    std::vector<Work> captured;
  };
  struct EventState {
    bool has_timing;
    int64_t recorded = 0, completed = 0;
    int64_t stream = 0;       // that it was recorded into last
    int64_t kernels_run = 0;  // when it completed
  };

  bool begin_call(const char* name) override;
  void refuse_capture(const char* name) override;
  bool queue_work(void* stream, const char* name, std::function<void()> work) override;
  void break_rule(const std::string& what) override;

  // Counts a call; the error to return, or 0.
  int begin(const char* name, bool needs_device = true);
  int broken(int error, const std::string& what);
  bool is_capturing() const;
  // Breaks captures that run; what `name` may not do while there are any.
  int refuse_while_capturing(const char* name);
  StreamState* stream_of(void* handle, const char* name);
  EventState* event_of(void* handle, const char* name);
  int queue(void* stream, const char* name, Work work);
  void run_until(int64_t stream, int64_t event, int64_t version);
  void run_all(int64_t stream);
  void run(const Work& work);
  void give_access(bool is_on);
  int allocate(void** memory, size_t bytes, bool is_pinned);
  int release(void* memory, bool is_pinned, const char* name);
  void unmap(void* memory, const Allocation& allocation);
  // Is [memory, memory + bytes) inside of one allocation of this kind?
  bool is_inside(const void* memory, size_t bytes, bool is_pinned) const;

  FakeCudaOptions options_;
  FakeCublasLt cublaslt_{*this};
  FakeCudnn cudnn_{*this};
  cuda::Module module_;
  std::map<void*, Allocation> allocations_;
  std::map<int64_t, StreamState> streams_;
  std::map<int64_t, EventState> events_;
  std::map<int64_t, std::vector<Work>> graphs_;
  int64_t next_handle_ = 1;
  int64_t used_bytes_ = 0;
  int64_t calls_ = 0, fails_at_ = 0, kernels_run_ = 0, breaks_at_ = 0;
  int access_depth_ = 0;
  int pending_error_ = 0;  // of work that ran
  std::map<std::string, int64_t> calls_of_;
  std::string failed_call_;
  std::optional<std::string> cache_folder_;  // as it was before
  std::vector<std::string> violations_;
};

}  // namespace tanul::test
