// SPDX-License-Identifier: Apache-2.0
// The thread pool behind Stream: the caller and threads - 1 workers. Each has its own share of the tiles,
// neighbours of each other, and takes them in order; whoever has none left takes tiles from the ends of
// the others' shares. Tiles of neighbouring steps lie in the same order (by samples, mostly), so that a
// thread finds in its own cache what it wrote in the step before: on a machine whose cores do not share
// a cache, one counter for all tiles halved the rate of LeNet.
//
// One word tells the state of the current launch: its number, whether it is open, and how many
// workers are in it. A worker that comes in time joins; one that is asleep, or kept from its core
// by another process, misses the launch and nobody waits for it. The caller takes tiles until none
// is left, closes the launch and waits for those inside, each of which is finishing its last tile.
// The fields of a launch are therefore only written while nobody reads them.
//
// Whoever waits spins for a short while, since the next launch usually follows within microseconds,
// and then sleeps: an idle pool costs nothing.
//
// Beside a busy process a worker may lose its core in the middle of a tile, for milliseconds, and the
// caller has to wait for it. Where that wait is out of all proportion to the work, the caller works
// alone for a while, which is what is left to it, before it tries again.
#include "kernels/cpu/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "core/format.h"

namespace tanul {

namespace {

constexpr size_t kCacheLineBytes = 64;
// Waking a sleeping thread takes 5 to 50 us on the development machine (Zen 3, two virtual cores);
// between two steps of a plan lies less than 1 us.
constexpr auto kSpin = std::chrono::microseconds(40);
constexpr int kPausesPerYield = 32;
// A wait for workers that is this much longer than twice the caller's own work means that one of them
// has lost its core. The caller then works alone for the shortest rest, twice as long each time that
// the next trial ends likewise.
constexpr auto kStall = std::chrono::microseconds(300);
constexpr auto kShortestRest = std::chrono::milliseconds(10);
constexpr auto kLongestRest = std::chrono::milliseconds(80);
constexpr int kGoodLaunches = 256;  // end a series of rests

// Bits of the state word.
constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kActive = kOpen - 1;
uint64_t epoch_of(uint64_t state) { return state >> 32; }

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until condition() holds or the time is over; returns whether it holds.
template <typename Condition>
bool spin_until(const Condition& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerYield; ++i) {
      if (condition()) return true;
      pause();
    }
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < deadline);
  return condition();
}

// Sleeping until another thread has changed an atomic: the sleeper announces itself, then looks
// again; the other changes, then looks for sleepers. Both in sequentially consistent order, so that
// one of the two sees the other.
class Bell {
 public:
  template <typename Condition>
  void wait_until(const Condition& condition) {
    if (spin_until(condition)) return;
    std::unique_lock lock(mutex_);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    while (!condition()) ring_.wait(lock);
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
  }
  void wake_sleepers() {
    if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
    { std::lock_guard lock(mutex_); }
    ring_.notify_all();
  }

 private:
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable ring_;
};

}  // namespace

// The tiles [front, back) of one thread, in one word. The owner takes from the front, others from
// the back.
class Share {
 public:
  void set(uint32_t front, uint32_t back) {
    word_.store(uint64_t{back} << 32 | front, std::memory_order_relaxed);
  }
  // Each returns a tile, or -1 where none is left.
  int64_t take_front() {
    return take([](uint64_t word) { return word + 1; }, [](uint64_t word) { return front(word); });
  }
  int64_t take_back() {
    constexpr uint64_t kOneBack = uint64_t{1} << 32;
    return take([](uint64_t word) { return word - kOneBack; },
                [](uint64_t word) { return back(word) - 1; });
  }

 private:
  static int64_t front(uint64_t word) { return static_cast<int64_t>(word & 0xFFFFFFFF); }
  static int64_t back(uint64_t word) { return static_cast<int64_t>(word >> 32); }
  template <typename Next, typename Tile>
  int64_t take(const Next& next, const Tile& tile) {
    uint64_t word = word_.load(std::memory_order_relaxed);
    while (front(word) < back(word)) {
      if (word_.compare_exchange_weak(word, next(word), std::memory_order_relaxed)) {
        return tile(word);
      }
    }
    return -1;
  }

  alignas(kCacheLineBytes) std::atomic<uint64_t> word_{0};
};

struct Stream::Pool {
  explicit Pool(int thread_count)
      : threads(thread_count), shares(static_cast<size_t>(thread_count)) {
    workers.reserve(static_cast<size_t>(threads - 1));
    for (int worker = 1; worker < threads; ++worker) {
      try {
        workers.emplace_back([this, worker] { work(worker); });
      } catch (const std::system_error& error) {
        stop();
        fail(Code::device, "cannot start thread {} of {}: {}; use fewer threads", worker + 1,
             threads, error.what());
      }
    }
  }
  ~Pool() { stop(); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Tiles [first, first + count).
  void run(int64_t first, int64_t count, void (*body)(void*, int64_t, int), void* body_context) {
    const Clock::time_point start = Clock::now();
    if (start < rest_until) {
      for (int64_t tile = first; tile < first + count; ++tile) body(body_context, tile, 0);
      return;
    }
    first_tile = first;
    task = body;
    context = body_context;
    for (int64_t i = 0; i < threads; ++i) {
      shares[static_cast<size_t>(i)].set(static_cast<uint32_t>(count * i / threads),
                                         static_cast<uint32_t>(count * (i + 1) / threads));
    }
    const uint64_t epoch = epoch_of(state.load(std::memory_order_relaxed)) + 1;
    state.store(epoch << 32 | kOpen, std::memory_order_seq_cst);
    launched.wake_sleepers();
    take_tiles(0);
    if ((state.fetch_and(~kOpen, std::memory_order_acq_rel) & kActive) != 0) {
      const Clock::time_point done = Clock::now();
      finished.wait_until([this] { return (load_state() & kActive) == 0; });
      judge_wait(done - start, done);
    }
  }

  const int threads;

 private:
  using Clock = std::chrono::steady_clock;

  // After a wait that began at `done`, behind own work of that length.
  void judge_wait(Clock::duration own, Clock::time_point done) {
    const Clock::time_point now = Clock::now();
    if (now - done > 2 * own + kStall) {
      rest = rest == Clock::duration::zero() ? kShortestRest
                                             : std::min<Clock::duration>(2 * rest, kLongestRest);
      rest_until = now + rest;
      good_launches = 0;
    } else if (++good_launches == kGoodLaunches) {
      rest = Clock::duration::zero();
    }
  }

  uint64_t load_state() const { return state.load(std::memory_order_seq_cst); }

  void take_tiles(int worker) {
    Share& own = shares[static_cast<size_t>(worker)];
    int64_t tile;
    while ((tile = own.take_front()) >= 0) task(context, first_tile + tile, worker);
    for (int step = 1; step < threads; ++step) {
      Share& other = shares[static_cast<size_t>((worker + step) % threads)];
      while ((tile = other.take_back()) >= 0) task(context, first_tile + tile, worker);
    }
  }

  // Joins the launch that is open, if there is one.
  bool join(uint64_t& seen_epoch) {
    uint64_t seen = load_state();
    do {
      seen_epoch = epoch_of(seen);
      if ((seen & kOpen) == 0) return false;
    } while (!state.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel));
    return true;
  }

  void work(int worker) {
    uint64_t seen_epoch = 0;
    for (;;) {
      launched.wait_until([&] {
        return epoch_of(load_state()) != seen_epoch || stopping.load(std::memory_order_seq_cst);
      });
      if (stopping.load(std::memory_order_seq_cst)) return;
      if (!join(seen_epoch)) continue;
      take_tiles(worker);
      const uint64_t before = state.fetch_sub(1, std::memory_order_seq_cst);
      if ((before & (kOpen | kActive)) == 1) finished.wake_sleepers();
    }
  }

  void stop() {
    stopping.store(true, std::memory_order_seq_cst);
    launched.wake_sleepers();
    for (std::thread& worker : workers) worker.join();
  }

  // Of the caller alone.
  Clock::time_point rest_until{};
  Clock::duration rest{};
  int good_launches = 0;

  // Of the current launch.
  int64_t first_tile = 0;
  void (*task)(void*, int64_t, int) = nullptr;
  void* context = nullptr;

  std::vector<Share> shares;
  alignas(kCacheLineBytes) std::atomic<uint64_t> state{0};  // epoch << 32 | open << 31 | active
  alignas(kCacheLineBytes) std::atomic<bool> stopping{false};
  Bell launched;
  Bell finished;
  std::vector<std::thread> workers;
};

Stream::Stream(int threads) : pool_(std::make_unique<Pool>(threads < 1 ? 1 : threads)) {}
Stream::~Stream() = default;

int Stream::threads() const { return pool_->threads; }

void Stream::run(int64_t tiles, void (*task)(void* context, int64_t tile, int worker),
                 void* context) {
  if (tiles <= 1 || pool_->threads == 1) {
    for (int64_t tile = 0; tile < tiles; ++tile) task(context, tile, 0);
    return;
  }
  constexpr int64_t kMost = int64_t{1} << 30;  // tiles of one launch
  for (int64_t first = 0; first < tiles; first += kMost) {
    pool_->run(first, std::min(kMost, tiles - first), task, context);
  }
}

}  // namespace tanul
