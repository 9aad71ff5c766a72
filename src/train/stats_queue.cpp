// SPDX-License-Identifier: Apache-2.0
#include "train/stats_queue.h"

#include <cstring>

#include "core/format.h"

namespace tanul {

namespace {

constexpr int64_t kLossBytes = sizeof(StepStats{}.of_loss[0]);

}  // namespace

StepStats read_stats(Backend& backend, const Plan& plan) {
  StepStats stats;
  const StepGraph& graph = plan.step_graph();
  for (size_t i = 0; i < graph.losses.size(); ++i) {
    backend.copy_out(stats.of_loss[i].data(), plan.address(graph.losses[i].stats), kLossBytes);
  }
  if (graph.penalty != kNoValue) {
    backend.copy_out(&stats.penalty, plan.address(graph.penalty), sizeof stats.penalty);
  }
  return stats;
}

StatsQueue::StatsQueue(Backend& backend, size_t losses, int64_t ahead)
    : backend_(backend), losses_(losses) {
  entries_.resize(backend.runs_behind() ? static_cast<size_t>(ahead) + 1 : 1);
  for (Entry& entry : entries_) {
    entry.readback = backend.make_readback(static_cast<int64_t>(losses) * kLossBytes +
                                           static_cast<int64_t>(sizeof(StepStats::penalty)));
  }
}

void StatsQueue::push(const Plan& plan, const QueuedStep& step) {
  if (is_full()) fail(Code::internal, "the queue of statistics is full");
  Entry& entry = entries_[(first_ + size_) % entries_.size()];
  entry.step = step;
  const StepGraph& graph = plan.step_graph();
  if (entry.readback == nullptr) {
    entry.stats = read_stats(backend_, plan);
  } else {
    for (size_t i = 0; i < losses_; ++i) {
      entry.readback->copy(static_cast<int64_t>(i) * kLossBytes,
                           plan.address(graph.losses[i].stats), kLossBytes);
    }
    entry.has_penalty = graph.penalty != kNoValue;
    if (entry.has_penalty) {
      entry.readback->copy(static_cast<int64_t>(losses_) * kLossBytes, plan.address(graph.penalty),
                           sizeof entry.stats.penalty);
    }
    entry.readback->end();
  }
  ++size_;
}

StepStats StatsQueue::pop() {
  if (size_ == 0) fail(Code::internal, "the queue of statistics is empty");
  Entry& entry = entries_[first_];
  if (entry.readback != nullptr) {
    const std::byte* from = entry.readback->wait();
    for (size_t i = 0; i < losses_; ++i, from += kLossBytes) {
      std::memcpy(entry.stats.of_loss[i].data(), from, static_cast<size_t>(kLossBytes));
    }
    entry.stats.penalty = 0;
    if (entry.has_penalty) std::memcpy(&entry.stats.penalty, from, sizeof entry.stats.penalty);
  }
  first_ = (first_ + 1) % entries_.size();
  --size_;
  return entry.stats;
}

}  // namespace tanul
