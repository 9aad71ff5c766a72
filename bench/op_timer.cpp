// SPDX-License-Identifier: Apache-2.0
#include "bench/op_timer.h"

#include <unistd.h>

#include <algorithm>

namespace tanul::bench {

namespace {

constexpr int64_t kMostBytes = int64_t{1} << 30;
constexpr int64_t kGpuCache = int64_t{128} << 20;  // no GPU has a larger one
constexpr int kMostCopies = 1024;
constexpr int kMostRecorded = 64;  // launches

int64_t cache_bytes(const Backend& backend) {
  if (backend.device().type == DeviceType::cuda) return kGpuCache;
  const long bytes = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  return bytes > 0 ? bytes : int64_t{32} << 20;
}

// Queues launches, on the copies of the operands in turn.
class Launcher {
 public:
  Launcher(Backend& backend, OpMemory& memory, const Implementation& implementation)
      : backend_(backend), memory_(memory), implementation_(implementation) {}

  // Recorded, `block` launches become one call.
  void record(int block) {
    backend_.begin_recording();
    try {
      for (int i = 0; i < block; ++i) next();
    } catch (...) {
      backend_.drop_recording();
      throw;
    }
    recording_ = backend_.end_recording();
    block_ = block;
  }
  int block() const { return block_; }
  void queue(int64_t launches) {
    for (int64_t i = 0; i < launches; i += block_) {
      if (recording_ != nullptr) {
        backend_.replay(*recording_);
      } else {
        next();
      }
    }
  }
  double seconds_of(int64_t launches) {
    return backend_.seconds_of([&] { queue(launches); }) / static_cast<double>(launches);
  }

 private:
  void next() {
    memory_.launch(implementation_, copy_);
    copy_ = (copy_ + 1) % memory_.copies();
  }

  Backend& backend_;
  OpMemory& memory_;
  const Implementation& implementation_;
  std::unique_ptr<Recording> recording_;
  int block_ = 1;
  int copy_ = 0;
};

}  // namespace

int copies_past_cache(const Backend& backend, const OpCase& op) {
  const int64_t bytes = std::max<int64_t>(64, OpMemory::bytes(op));
  const int64_t wanted = 2 * cache_bytes(backend) / bytes + 1;
  const int64_t most = std::max<int64_t>(1, kMostBytes / bytes);
  return static_cast<int>(std::min({wanted, most, int64_t{kMostCopies}}));
}

OpTiming time_op(Backend& backend, OpMemory& memory, const Implementation& implementation,
                 double seconds, int repeats) {
  const StepScope scope(backend);
  Launcher launcher(backend, memory, implementation);
  // The first launch may load code; the rest of the warm-up says how long one takes.
  double each = launcher.seconds_of(1);
  const double share = seconds / (repeats + 1);
  const auto warm = std::clamp<int64_t>(static_cast<int64_t>(share / std::max(each, 1e-9)), 1,
                                        std::max(2, memory.copies()));
  if (each < share) each = launcher.seconds_of(warm);
  const auto fitting = static_cast<int64_t>(share / std::max(each, 1e-9));
  if (backend.can_record() && fitting > 1) {
    launcher.record(static_cast<int>(std::min<int64_t>(fitting, kMostRecorded)));
    launcher.queue(launcher.block());
    backend.synchronize();
  }
  OpTiming timing;
  timing.launches = std::max<int64_t>(1, fitting / launcher.block()) * launcher.block();
  for (int i = 0; i < repeats; ++i) timing.seconds.push_back(launcher.seconds_of(timing.launches));
  return timing;
}

}  // namespace tanul::bench
