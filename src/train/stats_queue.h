// SPDX-License-Identifier: Apache-2.0
// The statistics of training steps on their way to the host. On a device that works behind the host they
// are copied into one of several places behind their step, and read when the host comes to it, some steps
// later: neither waits for the other. On the CPU, where a step has run when it returns, they are read at
// once. First in, first out; allocates nothing once it is made.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "plan/plan.h"

namespace tanul {

// {sum, divisor, correct, counted} of each loss, in the order of Model::losses().
struct StepStats {
  std::array<std::array<float, 4>, kMostPorts> of_loss{};
  float penalty = 0;  // of l1 and l2
};

// What a step is named by when its statistics are read.
struct QueuedStep {
  int64_t step = 0;   // of the run, from 1; of a step under way for a part of it
  int64_t epoch = 0;  // from 0
  float lr = 0;       // as the device got it
  double scheduled_lr = 0;
  int64_t samples = 0;  // of the epoch, up to and with this one
};

class StatsQueue {
 public:
  // For at most `ahead` + 1 steps at a time.
  StatsQueue(Backend& backend, size_t losses, int64_t ahead);

  // Takes the statistics of `plan`, whose run was queued last. Not while it is full.
  void push(const Plan& plan, const QueuedStep& step);
  // The oldest: its name, and its statistics when they are there.
  QueuedStep front() const { return entries_[first_].step; }
  StepStats pop();
  size_t size() const { return size_; }
  bool is_full() const { return size_ == entries_.size(); }
  // Forgets what is in it: after an error.
  void clear() { size_ = 0; }

 private:
  struct Entry {
    QueuedStep step;
    StepStats stats;                     // where they were read at once
    std::unique_ptr<Readback> readback;  // where they are not
    bool has_penalty = false;
  };

  Backend& backend_;
  size_t losses_;
  std::vector<Entry> entries_;  // a ring
  size_t first_ = 0;
  size_t size_ = 0;
};

// Reads them at once.
StepStats read_stats(Backend& backend, const Plan& plan);

}  // namespace tanul
