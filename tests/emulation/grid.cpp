// SPDX-License-Identifier: Apache-2.0
#include "emulation/grid.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "core/format.h"
#include "emulation/fiber.h"

namespace tanul::cuda::emulation {

Current current;

namespace {

struct Cancelled {};  // unwinds threads that wait while another one has failed

struct Thread {
  enum State { unstarted, running, at_block, at_warp, ready, ended };
  State state = unstarted;
  Fiber* fiber = nullptr;
  const char* function = nullptr;  // what it waits in
  Place place;
  uint32_t mask = 0;
  void* data = nullptr;
};

std::string text(Dim3 d) { return fmt::format("({}, {}, {})", d.x, d.y, d.z); }

std::string where(const Place& place) {
  std::string file = place.file_name();
  file.erase(0, file.find_last_of('/') + 1);
  return fmt::format("{}:{}", file, place.line());
}

bool is_same(const Place& a, const Place& b) {
  return a.line() == b.line() && a.column() == b.column();
}

uint64_t count_of(Dim3 d) { return uint64_t{d.x} * d.y * d.z; }

Dim3 at(uint64_t i, Dim3 dims) {
  return {static_cast<uint32_t>(i % dims.x), static_cast<uint32_t>(i / dims.x % dims.y),
          static_cast<uint32_t>(i / dims.x / dims.y)};
}

// The grid that runs. There is one at a time.
class Machine {
 public:
  void run(Dim3 grid, Dim3 block, const std::function<void()>& thread);
  void block_wide(const char* function, void* data, void (*together)(void* const*, int),
                  const Place& place);
  void warp_wide(const char* function, uint32_t mask, void* data,
                 void (*together)(void* const*, uint32_t), bool orders_memory, const Place& place);
  void enter_shared(const char* array, int64_t bytes);

  Order order = Order::natural;

 private:
  static void fiber_body(Fiber& self, void* machine);
  void run_block();
  void run_threads(Fiber& fiber);
  void start_threads();
  void resume(uint32_t id);
  void wait(Thread::State state);
  void take_turn(uint32_t id);
  [[noreturn]] void report_deadlock();
  Thread& running() { return threads_[current.id]; }
  uint32_t lanes_of_warp(uint32_t warp) const;

  const std::function<void()>* thread_ = nullptr;
  uint32_t count_ = 0;
  std::vector<uint32_t> turns_;  // the order in which threads start
  std::vector<Thread> threads_;
  uint32_t started_ = 0;
  std::vector<uint32_t> ready_;
  std::vector<uint32_t> at_block_;
  std::vector<uint32_t>
      waiting_lanes_;  // [warps] bits of the lanes that wait in a warp-wide function
  std::vector<uint32_t> warp_epochs_;
  std::vector<void*> together_;
  int64_t shared_bytes_ = 0;
  std::exception_ptr failure_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
};

Machine machine;
std::mutex one_grid;

void Machine::run(Dim3 grid, Dim3 block, const std::function<void()>& thread) {
  if (count_of(grid) == 0 || grid.y > 65535 || grid.z > 65535 || grid.x > 0x7fffffff) {
    throw Fault(fmt::format("a grid of {} blocks: from 1 to 2^31 - 1, 65535 and 65535 are possible",
                            text(grid)));
  }
  if (count_of(block) == 0 || count_of(block) > 1024 || block.z > 64) {
    throw Fault(
        fmt::format("a block of {} threads: from 1 to 1024, at most 64 along z", text(block)));
  }
  thread_ = &thread;
  count_ = static_cast<uint32_t>(count_of(block));
  current.block_dim = block;
  current.grid_dim = grid;
  turns_.resize(count_);
  std::iota(turns_.begin(), turns_.end(), 0u);
  std::mt19937_64 random(count_);
  if (order == Order::reversed) std::reverse(turns_.begin(), turns_.end());
  if (order == Order::shuffled) std::shuffle(turns_.begin(), turns_.end(), random);
  const uint64_t blocks = count_of(grid);
  // Steps through all blocks in another order: a stride without a common factor.
  uint64_t stride = 1;
  if (order == Order::shuffled) {
    stride = blocks / 2 + 1;
    while (std::gcd(stride, blocks) != 1) ++stride;
  }
  for (uint64_t i = 0; i < blocks; ++i) {
    const uint64_t turn = order == Order::reversed ? blocks - 1 - i : i * stride % blocks;
    current.block = at(turn, grid);
    run_block();
  }
}

void Machine::run_block() {
  threads_.assign(count_, {});
  started_ = 0;
  ready_.clear();
  at_block_.clear();
  const size_t warps = (count_ + kWarpLanes - 1) / kWarpLanes;
  waiting_lanes_.assign(warps, 0);
  warp_epochs_.assign(warps, 0);
  current.warp_epochs = warp_epochs_.data();
  current.first_epoch = ++current.epoch;
  shared_bytes_ = 0;
  failure_ = nullptr;
  size_t next = 0;
  while (failure_ == nullptr) {
    if (next < ready_.size()) {
      resume(ready_[next++]);
    } else if (started_ < count_) {
      start_threads();
    } else {
      break;
    }
    if (next == ready_.size()) {
      ready_.clear();
      next = 0;
    }
  }
  if (failure_ == nullptr) {
    try {
      report_deadlock();
    } catch (const Fault&) {
      failure_ = std::current_exception();
    } catch (Cancelled) {
    }
  }
  if (failure_ == nullptr) return;
  for (uint32_t id = 0; id < count_; ++id) {  // those that wait unwind their stacks
    const Thread::State state = threads_[id].state;
    if (state != Thread::unstarted && state != Thread::ended) resume(id);
  }
  std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Machine::fiber_body(Fiber& self, void* argument) {
  Machine& own = *static_cast<Machine*>(argument);
  while (true) {
    own.run_threads(self);
    own.idle_.push_back(&self);
    self.suspend();
  }
}

// Threads that were not started yet, one after another, until none is left.
void Machine::run_threads(Fiber& fiber) {
  while (started_ < count_ && failure_ == nullptr) {
    const uint32_t id = turns_[started_++];
    threads_[id].fiber = &fiber;
    take_turn(id);
    try {
      (*thread_)();
    } catch (const Cancelled&) {
    } catch (...) {
      if (failure_ == nullptr) failure_ = std::current_exception();
    }
    running().state = Thread::ended;  // perhaps of a later turn than `id`
  }
}

void Machine::take_turn(uint32_t id) {
  threads_[id].state = Thread::running;
  current.id = id;
  current.thread = at(id, current.block_dim);
}

void Machine::start_threads() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(&Machine::fiber_body, this));
    idle_.push_back(fibers_.back().get());
  }
  Fiber* fiber = idle_.back();
  idle_.pop_back();
  fiber->resume();
}

void Machine::resume(uint32_t id) {
  take_turn(id);
  threads_[id].fiber->resume();
}

void Machine::wait(Thread::State state) {
  Thread& thread = running();
  thread.state = state;
  thread.fiber->suspend();
  if (failure_ != nullptr) throw Cancelled();
}

void Machine::block_wide(const char* function, void* data, void (*together)(void* const*, int),
                         const Place& place) {
  Thread& thread = running();
  thread.function = function;
  thread.place = place;
  thread.data = data;
  if (!at_block_.empty()) {
    const Thread& other = threads_[at_block_[0]];
    if (!is_same(other.place, place) || other.function != function) {
      fault("is at the barrier %s (%s) while thread %s is at %s (%s)", function,
            where(place).c_str(), text(at(at_block_[0], current.block_dim)).c_str(), other.function,
            where(other.place).c_str());
    }
  }
  at_block_.push_back(current.id);
  if (at_block_.size() < count_) {
    wait(Thread::at_block);
    return;
  }
  together_.resize(count_);
  for (uint32_t id = 0; id < count_; ++id) together_[id] = threads_[id].data;
  if (together != nullptr) together(together_.data(), static_cast<int>(count_));
  ++current.epoch;
  std::fill(warp_epochs_.begin(), warp_epochs_.end(), 0u);
  for (uint32_t id : turns_) {
    if (id == current.id) continue;
    threads_[id].state = Thread::ready;
    ready_.push_back(id);
  }
  at_block_.clear();
}

uint32_t Machine::lanes_of_warp(uint32_t warp) const {
  const uint32_t left = count_ - warp * kWarpLanes;
  return left >= kWarpLanes ? 0xffffffffu : (1u << left) - 1;
}

void Machine::warp_wide(const char* function, uint32_t mask, void* data,
                        void (*together)(void* const*, uint32_t), bool orders_memory,
                        const Place& place) {
  Thread& thread = running();
  const uint32_t warp = current.id / kWarpLanes, lane = current.id % kWarpLanes;
  if ((mask >> lane & 1) == 0) {
    fault("calls %s (%s) with the mask %08x, which leaves out its own lane %u", function,
          where(place).c_str(), mask, lane);
  }
  if ((mask & ~lanes_of_warp(warp)) != 0) {
    fault("calls %s (%s) with the mask %08x, which names lanes that the block does not have",
          function, where(place).c_str(), mask);
  }
  thread.function = function;
  thread.place = place;
  thread.mask = mask;
  thread.data = data;
  uint32_t& waiting = waiting_lanes_[warp];
  void* all[kWarpLanes] = {};
  bool is_last = ((waiting | 1u << lane) & mask) == mask;
  for (uint32_t i = 0; i < kWarpLanes && is_last; ++i) {
    if ((mask >> i & 1) == 0) continue;
    const Thread& other = threads_[warp * kWarpLanes + i];
    if (other.mask != mask) is_last = false;
    all[i] = other.data;
    if (other.mask == mask && (!is_same(other.place, place) || other.function != function)) {
      fault("is in %s (%s) while lane %u of its warp, which the mask %08x names, is in %s (%s)",
            function, where(place).c_str(), i, mask, other.function, where(other.place).c_str());
    }
  }
  if (!is_last) {
    waiting |= 1u << lane;
    wait(Thread::at_warp);
    return;
  }
  if (together != nullptr) together(all, mask);
  if (orders_memory && mask == lanes_of_warp(warp)) ++warp_epochs_[warp];
  waiting &= ~mask;
  for (uint32_t i = 0; i < kWarpLanes; ++i) {
    if ((mask >> i & 1) == 0 || i == lane) continue;
    threads_[warp * kWarpLanes + i].state = Thread::ready;
    ready_.push_back(warp * kWarpLanes + i);
  }
}

// All threads were started and none can go on: all have ended, or those that wait do so in vain.
void Machine::report_deadlock() {
  for (uint32_t id = 0; id < count_; ++id) {
    const Thread& thread = threads_[id];
    if (thread.state == Thread::ended) continue;
    current.id = id;
    current.thread = at(id, current.block_dim);
    const bool is_block = thread.state == Thread::at_block;
    const uint32_t first = is_block ? 0 : id / kWarpLanes * kWarpLanes;
    const uint32_t end = is_block ? count_ : std::min(count_, first + kWarpLanes);
    for (uint32_t i = first; i < end; ++i) {
      const Thread& other = threads_[i];
      const bool is_there = is_block
                                ? other.state == Thread::at_block
                                : (thread.mask >> (i - first) & 1) == 0 ||
                                      (other.state == Thread::at_warp && other.mask == thread.mask);
      if (is_there) continue;
      fault("waits in %s (%s), which thread %s does not reach: it %s", thread.function,
            where(thread.place).c_str(), text(at(i, current.block_dim)).c_str(),
            other.state == Thread::ended
                ? "has ended"
                : fmt::format("waits in {} ({})", other.function, where(other.place)).c_str());
    }
  }
  throw Cancelled();  // nobody waits
}

void Machine::enter_shared(const char* array, int64_t bytes) {
  shared_bytes_ += bytes;
  if (shared_bytes_ > kMostSharedBytes) {
    fault("the shared array %s makes %lld bytes of shared memory: at most %lld are possible", array,
          static_cast<long long>(shared_bytes_), static_cast<long long>(kMostSharedBytes));
  }
}

const char* verb(bool is_write) { return is_write ? "writes" : "reads"; }

[[noreturn]] void fault_race(bool is_write, const char* array, int64_t index, bool other_writes,
                             uint32_t other) {
  fault("%s %s[%lld], which thread %s %s with no barrier between", verb(is_write), array,
        static_cast<long long>(index), text(at(other, current.block_dim)).c_str(),
        verb(other_writes));
}

// Did what `other` did to the word happen before what the running thread does now?
bool is_ordered(uint32_t other, uint64_t epoch, uint32_t warp_epoch) {
  if (other == current.id || epoch != current.epoch) return true;
  const uint32_t warp = current.id / kWarpLanes;
  return other / kWarpLanes == warp && warp_epoch != current.warp_epochs[warp];
}

}  // namespace

void set_order(Order order) { machine.order = order; }

void run_grid(Dim3 grid, Dim3 block, const std::function<void()>& thread) {
  const std::lock_guard<std::mutex> lock(one_grid);
  machine.run(grid, block, thread);
}

void block_wide(const char* function, void* data, void (*together)(void* const*, int),
                const Place& place) {
  machine.block_wide(function, data, together, place);
}

void warp_wide(const char* function, uint32_t mask, void* data,
               void (*together)(void* const*, uint32_t), bool orders_memory, const Place& place) {
  machine.warp_wide(function, mask, data, together, orders_memory, place);
}

void enter_shared(const char* array, int64_t bytes) { machine.enter_shared(array, bytes); }

void fault(const char* format, ...) {
  char message[400];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  throw Fault(
      fmt::format("block {}, thread {}: {}", text(current.block), text(current.thread), message));
}

void fault_index(const char* array, int64_t index, int64_t count) {
  fault("%s[%lld] is outside of the %lld elements of the shared array", array,
        static_cast<long long>(index), static_cast<long long>(count));
}

void check_atomic_read(const SharedWord& word, const char* array, int64_t index) {
  if (word.write_epoch < current.first_epoch) {
    fault("reads %s[%lld], which no thread of the block has written", array,
          static_cast<long long>(index));
  }
  if (!word.is_atomic && !is_ordered(word.writer, word.write_epoch, word.write_warp_epoch)) {
    fault_race(false, array, index, true, word.writer);
  }
}

void check_read(SharedWord& word, const char* array, int64_t index) {
  if (word.write_epoch < current.first_epoch) {
    fault("reads %s[%lld], which no thread of the block has written", array,
          static_cast<long long>(index));
  }
  if (!is_ordered(word.writer, word.write_epoch, word.write_warp_epoch)) {
    fault_race(false, array, index, true, word.writer);
  }
  const uint32_t warp = current.id / kWarpLanes;
  const uint32_t warp_epoch = current.warp_epochs[warp];
  const bool is_first = word.read_epoch != current.epoch;
  if (!is_first && word.reader / kWarpLanes != warp) {
    word.many_warps = true;
  } else if (is_first || word.read_warp_epoch != warp_epoch) {
    word.many_lanes = false;
    if (is_first) word.many_warps = false;
  } else if (word.reader != current.id) {
    word.many_lanes = true;
  }
  word.read_epoch = current.epoch;
  word.read_warp_epoch = warp_epoch;
  word.reader = static_cast<uint16_t>(current.id);
}

void check_write(SharedWord& word, const char* array, int64_t index, bool is_atomic) {
  const bool both_atomic = is_atomic && word.is_atomic;
  if (word.write_epoch >= current.first_epoch && !both_atomic &&
      !is_ordered(word.writer, word.write_epoch, word.write_warp_epoch)) {
    fault_race(true, array, index, true, word.writer);
  }
  if (word.read_epoch == current.epoch) {
    const uint32_t warp = current.id / kWarpLanes;
    const bool has_other_lanes = word.many_lanes && word.reader / kWarpLanes == warp &&
                                 word.read_warp_epoch == current.warp_epochs[warp];
    if (word.many_warps || has_other_lanes ||
        !is_ordered(word.reader, word.read_epoch, word.read_warp_epoch)) {
      fault_race(true, array, index, false, word.reader);
    }
  }
  word.write_epoch = current.epoch;
  word.write_warp_epoch = current.warp_epochs[current.id / kWarpLanes];
  word.writer = static_cast<uint16_t>(current.id);
  word.is_atomic = is_atomic;
}

}  // namespace tanul::cuda::emulation
