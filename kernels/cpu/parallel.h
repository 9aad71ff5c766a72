// SPDX-License-Identifier: Apache-2.0
// The one place where threads are made. A kernel cuts its work into tiles whose size depends on the
// shapes only, never on the number of threads, and each tile is computed by one worker alone:
// results are the same bits for any number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace tanul {

// The CPU's Stream: a pool of workers, one of which is the calling thread. A pool serves one caller
// at a time.
struct Stream {
  explicit Stream(int threads);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int threads() const;
  // Runs task(context, tile, worker) for tile = 0 … tiles-1 in any order, worker in [0, threads).
  // Returns when all are done. The task must not throw.
  void run(int64_t tiles, void (*task)(void* context, int64_t tile, int worker), void* context);

  struct Pool;

 private:
  std::unique_ptr<Pool> pool_;
};

namespace cpu {

// Calls body(tile, worker) for every tile. Allocates nothing.
template <typename Body>
void parallel_for(Stream* stream, int64_t tiles, Body&& body) {
  if (tiles == 1) {
    body(int64_t{0}, 0);
    return;
  }
  using Plain = std::remove_reference_t<Body>;
  stream->run(
      tiles,
      [](void* context, int64_t tile, int worker) {
        (*static_cast<Plain*>(context))(tile, worker);
      },
      const_cast<void*>(static_cast<const void*>(&body)));
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Element-wise work in tiles of kElementwiseTile elements: calls body(begin, end).
constexpr int64_t kElementwiseTile = 16384;
template <typename Body>
void parallel_ranges(Stream* stream, int64_t elems, Body&& body) {
  parallel_for(stream, ceil_div(elems, kElementwiseTile), [&](int64_t tile, int) {
    const int64_t begin = tile * kElementwiseTile;
    const int64_t end = begin + kElementwiseTile < elems ? begin + kElementwiseTile : elems;
    body(begin, end);
  });
}

}  // namespace cpu
}  // namespace tanul
