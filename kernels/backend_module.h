// SPDX-License-Identifier: Apache-2.0
// The table by which libtanul.so reaches a backend that lives in a module of its own. The module exports
// one C symbol, kBackendSymbol, of type BackendEntry. Plain data and function pointers only: no
// exception and no C++ type crosses, and who allocates frees.
//
// Functions return 0 or a status of the device's own; last_error() then says, in one line, which call
// failed and why. A device may be used by one thread at a time; work goes to streams, in order, and a
// call that takes a stream only queues.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "kernels/backend_abi.h"

namespace tanul {

// Counts changes of this file and of backend_abi.h.
constexpr uint32_t kBackendAbiVersion = 2;

constexpr const char* kBackendSymbol = "tanul_backend";
constexpr int64_t kMostSmallBytes = 64;  // see BackendModule::put

struct ModuleDevice;  // an open device
struct ModuleEvent;
struct ModuleGraph;  // recorded work, ready to be queued again

enum class ModuleCopy : int32_t { to_device, to_host, on_device };

// What the module is and what it found when it started; texts are never empty.
struct ModuleInfo {
  char architectures[96];  // "sm_75, sm_80, …, PTX of compute_120"
  char driver[32];         // "13.0", "none"
  char runtime[32];
  char cublas[96];  // "13.1.0", "not found"
  char cudnn[96];
};

struct ModuleDeviceInfo {
  char name[128];  // "NVIDIA H100 80GB HBM3"
  int32_t major, minor;
  int32_t multiprocessors;
  int64_t memory_bytes;
  int32_t architecture;  // of the code that runs on it: 90; 0 where none does
  char why_not[256];     // empty: it can be used
};

struct BackendModule {
  // Looked at first; whoever differs here is not looked at any further.
  uint32_t abi_version;
  uint32_t table_bytes;  // sizeof(BackendModule)
  uint64_t ops_hash;     // kOpsHash
  const char* version;   // of tanul: "0.1.0"
  const char* name;      // "cuda"

  int (*info)(const BackendModule* module, ModuleInfo* info);
  // 0 devices is a failure: last_error() says why there is none.
  int (*device_count)(const BackendModule* module, int32_t* count);
  int (*device_info)(const BackendModule* module, int32_t index, ModuleDeviceInfo* info);
  // The CUDA device of the calling thread is this one afterwards, as behind every call for it.
  int (*open)(const BackendModule* module, int32_t index, ModuleDevice** device);
  void (*close)(ModuleDevice* device);

  // Makes the device the calling thread's: before launches.
  int (*enter)(ModuleDevice* device);
  int (*free_bytes)(ModuleDevice* device, int64_t* bytes);
  int (*allocate)(ModuleDevice* device, void** memory, int64_t bytes);  // content undefined
  int (*release)(ModuleDevice* device, void* memory);
  // Host memory that the device reads and writes without a detour: copies need it.
  int (*allocate_pinned)(ModuleDevice* device, void** memory, int64_t bytes);
  int (*release_pinned)(ModuleDevice* device, void* memory);
  int (*copy)(ModuleDevice* device, void* to, const void* from, int64_t bytes, ModuleCopy kind,
              Stream* stream);
  // For whole words of at most kMostSmallBytes at multiples of 4, quicker than copy: `put` takes them from any
  // memory of the host, which may be written again when it returns; `fetch` copies to pinned memory.
  int (*put)(ModuleDevice* device, void* to, const void* from, int64_t bytes, Stream* stream);
  int (*fetch)(ModuleDevice* device, void* to, const void* from, int64_t bytes, Stream* stream);
  int (*fill_zero)(ModuleDevice* device, void* memory, int64_t bytes, Stream* stream);

  int (*create_stream)(ModuleDevice* device, Stream** stream);
  int (*destroy_stream)(ModuleDevice* device, Stream* stream);
  int (*synchronize)(ModuleDevice* device, Stream* stream);
  int (*create_event)(ModuleDevice* device, int32_t has_timing, ModuleEvent** event);
  int (*destroy_event)(ModuleDevice* device, ModuleEvent* event);
  int (*record)(ModuleDevice* device, ModuleEvent* event, Stream* stream);
  int (*wait)(ModuleDevice* device, Stream* stream, ModuleEvent* event);
  int (*synchronize_event)(ModuleDevice* device, ModuleEvent* event);
  int (*elapsed)(ModuleDevice* device, float* milliseconds, ModuleEvent* from, ModuleEvent* to);

  // Between the two, launches into the stream are recorded and not run. end_capture always ends it;
  // *graph is null where it fails, and may be asked for with graph null to drop what was recorded.
  int (*begin_capture)(ModuleDevice* device, Stream* stream);
  int (*end_capture)(ModuleDevice* device, Stream* stream, ModuleGraph** graph);
  int (*launch_graph)(ModuleDevice* device, ModuleGraph* graph, Stream* stream);
  int (*destroy_graph)(ModuleDevice* device, ModuleGraph* graph);

  // Of step kind `kind` (an OpKind); empty where the backend has none.
  const ImplementationList* (*implementations)(const BackendModule* module, int32_t kind);

  // Of the last call of this thread that failed: "cudaMalloc of 512 bytes: cudaErrorMemoryAllocation
  // (out of memory)". Valid until the thread's next failure.
  const char* (*last_error)(const BackendModule* module);
  // What a status means: "cudaErrorMemoryAllocation (out of memory)". Same lifetime.
  const char* (*describe)(const BackendModule* module, int status);
  int32_t (*is_out_of_memory)(const BackendModule* module, int status);
};

using BackendEntry = const BackendModule* (*)();

namespace detail {

constexpr uint64_t fnv1a(uint64_t hash, const char* text) {
  for (; *text != '\0'; ++text) {
    hash = (hash ^ static_cast<unsigned char>(*text)) * 0x100000001B3u;
  }
  return hash * 0x100000001B3u;  // the end of a name counts: "ab", "c" is not "a", "bc"
}
constexpr uint64_t fnv1a(uint64_t hash, uint64_t number) {
  for (int i = 0; i < 8; ++i) hash = (hash ^ (number >> (8 * i) & 0xFF)) * 0x100000001B3u;
  return hash;
}

constexpr uint64_t ops_hash() {
  uint64_t hash = 0xCBF29CE484222325u;
#define TANUL_STEP(name) hash = fnv1a(hash, #name);
#define TANUL_VIEW(name) hash = fnv1a(hash, "view " #name);
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW
  for (uint64_t bytes : {sizeof(Operand), sizeof(StepArgs), sizeof(StepBlock),
                         sizeof(Implementation), sizeof(ImplementationList)}) {
    hash = fnv1a(hash, bytes);
  }
  return hash;
}

}  // namespace detail

// FNV-1a over the step kinds in their order and the sizes of what crosses: two builds that differ in it
// do not understand each other.
constexpr uint64_t kOpsHash = detail::ops_hash();

}  // namespace tanul
