// SPDX-License-Identifier: Apache-2.0
// Runs the blocks and threads of a grid on the host and holds them to the rules of a GPU. Blocks run one
// after another. The threads of a block are fibers: one runs until it ends or waits, then another does, so
// that a kernel without barriers costs no switch.
//
// Checked, and reported as a Fault:
//   - limits: at most 1024 threads a block and 64 along z, 65535 blocks along y and z, 48 KB of shared
//     memory;
//   - shared memory: the index is in range; a word is read only where a thread of this block has written
//     it; two threads that touch one word, at least one of them writing, have a barrier of the block
//     between them, or, in one warp, a __syncwarp of all its lanes (shuffles order no memory; one of part of
//     the lanes is not counted);
//   - barriers are reached by all threads of the block, at the same line;
//   - warp-wide functions (shuffles, votes, __syncwarp) are reached by all lanes that the mask names, at the
//     same line with the same mask, which names the caller, and read from lanes of the mask only.
// What lies outside of a buffer in global memory is AddressSanitizer's and the guard zones' to find.
#pragma once

#include <cstdint>
#include <functional>
#include <source_location>
#include <stdexcept>

#include "kernels/cuda/api.h"

namespace tanul::cuda::emulation {

// A rule that a kernel broke: "block (0, 0, 0), thread (3, 0, 0): …".
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

constexpr uint32_t kWarpLanes = 32;
constexpr int64_t kMostSharedBytes = 48 * 1024;

// In which order blocks, and the threads of a block, take their turns: a kernel whose result depends on it
// races.
enum class Order { natural, reversed, shuffled };
void set_order(Order order);

// All threads of all blocks call `thread`. Throws the first Fault, or what `thread` threw.
void run_grid(Dim3 grid, Dim3 block, const std::function<void()>& thread);

// Who runs now. Blocks and barriers that completed are counted over all grids.
struct Current {
  Dim3 thread, block, block_dim, grid_dim;
  uint32_t id;                  // of the thread in its block
  uint64_t epoch;               // completed barriers; 0: no kernel is running
  uint64_t first_epoch;         // of this block
  const uint32_t* warp_epochs;  // [warps] completed __syncwarp since the last barrier of the block
};
extern Current current;

// Reports a rule broken by the thread that runs.
[[noreturn]] void fault(const char* format, ...) __attribute__((format(printf, 1, 2)));

using Place = std::source_location;

// Waits for all threads of the block. The last one that arrives calls `together` with what each handed in.
void block_wide(const char* function, void* data, void (*together)(void* const* data, int count),
                const Place& place);
// The same for the lanes of a warp that `mask` names; `data` has null for the others.
void warp_wide(const char* function, uint32_t mask, void* data,
               void (*together)(void* const* data, uint32_t mask), bool orders_memory,
               const Place& place);

// What is known of one word of shared memory.
struct SharedWord {
  uint64_t write_epoch = 0, read_epoch = 0;
  uint32_t write_warp_epoch = 0, read_warp_epoch = 0;
  uint16_t writer = 0, reader = 0;
  bool is_atomic = false;   // the last write
  bool many_lanes = false;  // read by several lanes of the reader's warp since its last __syncwarp
  bool many_warps = false;  // read by several warps since the last barrier
};
void check_read(SharedWord& word, const char* array, int64_t index);
void check_atomic_read(const SharedWord& word, const char* array, int64_t index);
void check_write(SharedWord& word, const char* array, int64_t index, bool is_atomic);
[[noreturn]] void fault_index(const char* array, int64_t index, int64_t count);
// Counts a shared array of this block.
void enter_shared(const char* array, int64_t bytes);

}  // namespace tanul::cuda::emulation
