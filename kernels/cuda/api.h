// SPDX-License-Identifier: Apache-2.0
// The entry points of CUDA that the backend calls, as one narrow table. In the module it is filled from
// the CUDA runtime; in tests a fake device stands behind it, which counts and checks every call and runs
// kernels on the host. Nothing else in kernels/ calls CUDA. All functions return 0 or the CUDA error.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tanul::cuda {

// Handles of CUDA, opaque here: cudaStream_t, cudaEvent_t, cudaGraphExec_t.
using StreamHandle = void*;
using EventHandle = void*;
using GraphHandle = void*;

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
};

// One kernel on its way into a stream. The arguments are copied by the call.
struct KernelLaunch {
  const void* kernel;  // the __global__ function
  Dim3 grid, block;
  void* const* args;
  const uint32_t* arg_bytes;
  int32_t arg_count;
  // Calls `kernel` for one emulated thread; null where kernels are compiled for a GPU.
  void (*invoke)(const void* kernel, void* const* args);
};

struct DeviceProperties {
  char name[128];
  int32_t major, minor;  // compute capability
  int32_t multiprocessors;
  int64_t memory_bytes;
};

enum class CopyKind : int32_t { to_device, to_host, on_device };

struct Api {
  int (*device_count)(int* count);
  int (*set_device)(int index);
  int (*device_properties)(int index, DeviceProperties* properties);
  int (*memory_info)(size_t* free, size_t* total);
  int (*driver_version)(int* version);  // 13000: the newest that the driver supports
  int (*runtime_version)(int* version);

  int (*allocate)(void** memory, size_t bytes);  // on the device
  int (*release)(void* memory);
  int (*allocate_pinned)(void** memory, size_t bytes);  // on the host
  int (*release_pinned)(void* memory);
  int (*copy)(void* to, const void* from, size_t bytes, CopyKind kind, StreamHandle stream);
  int (*fill)(void* memory, int byte, size_t bytes, StreamHandle stream);

  int (*create_stream)(StreamHandle* stream);  // does not wait for the default stream
  int (*destroy_stream)(StreamHandle stream);
  int (*synchronize)(StreamHandle stream);
  int (*create_event)(EventHandle* event, bool has_timing);
  int (*destroy_event)(EventHandle event);
  int (*record)(EventHandle event, StreamHandle stream);
  int (*wait)(StreamHandle stream, EventHandle event);  // work queued behind it waits
  int (*synchronize_event)(EventHandle event);
  int (*elapsed)(float* milliseconds, EventHandle from, EventHandle to);

  int (*begin_capture)(StreamHandle stream);
  int (*end_capture)(StreamHandle stream,
                     GraphHandle* graph);  // ready to be launched; null on error
  int (*launch_graph)(GraphHandle graph, StreamHandle stream);
  int (*destroy_graph)(GraphHandle graph);

  int (*launch)(const KernelLaunch& launch, StreamHandle stream);

  const char* (*error_name)(int error);         // "cudaErrorMemoryAllocation"
  const char* (*error_description)(int error);  // "out of memory"
};

struct Device;  // device.h

// What stands behind the Stream of a step on this backend.
struct Queue {
  const Api* api;
  StreamHandle stream;
  Device* device = nullptr;
};

}  // namespace tanul::cuda
