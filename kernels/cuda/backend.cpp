// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/backend.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <new>
#include <type_traits>

#include "kernels/cuda/device.h"
#include "kernels/cuda/last_error.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/small_copies.h"

namespace tanul {

struct ModuleDevice : cuda::Device {};

namespace cuda {

namespace {

// Errors of CUDA that are told apart here, by their numbers in driver_types.h.
constexpr int kInvalidValue = 1;         // cudaErrorInvalidValue
constexpr int kMemoryAllocation = 2;     // cudaErrorMemoryAllocation
constexpr int kInsufficientDriver = 35;  // cudaErrorInsufficientDriver
constexpr int kNoDevice = 100;           // cudaErrorNoDevice
constexpr int kInvalidDevice = 101;      // cudaErrorInvalidDevice
constexpr int kNoKernelImage = 209;      // cudaErrorNoKernelImageForDevice

const char* name_of(const Api& api, int error) { return api.error_name(error); }

// Keeps what a failed call was, and hands its status on.
int check(const Api& api, int error, const char* call) {
  if (error != 0)
    keep_error("%s: %s (%s)", call, name_of(api, error), api.error_description(error));
  return error;
}
int check_bytes(const Api& api, int error, const char* call, int64_t bytes) {
  if (error != 0) {
    keep_error("%s of %lld bytes: %s (%s)", call, static_cast<long long>(bytes),
               name_of(api, error), api.error_description(error));
  }
  return error;
}

// What frees something does so even where an earlier call failed.
int first_of(int first, int second) { return first != 0 ? first : second; }

const Module& module_of(const BackendModule* table) {
  static_assert(std::is_standard_layout_v<Module> && offsetof(Module, table) == 0);
  return *reinterpret_cast<const Module*>(table);
}

// --- what the module is ---------------------------------------------------------------------------

void write_version(char* to, size_t bytes, int version) {
  std::snprintf(to, bytes, "%d.%d", version / 1000, version % 1000 / 10);
}

void write_architectures(const Parts& parts, char* to, size_t bytes) {
  size_t at = 0;
  const auto add = [&](const char* before, const char* kind, int32_t number) {
    if (at >= bytes) return;
    const int n = std::snprintf(to + at, bytes - at, "%s%s%d", at > 0 ? before : "", kind, number);
    at += n > 0 ? static_cast<size_t>(n) : 0;
  };
  to[0] = '\0';
  for (int32_t i = 0; i < parts.architecture_count; ++i) add(", ", "sm_", parts.architectures[i]);
  if (parts.ptx > 0) add(", ", "PTX of compute_", parts.ptx);
}

void write_library_versions(const LibraryTables& found, ModuleInfo* info) {
  std::snprintf(info->cublas, sizeof info->cublas, "not found");
  std::snprintf(info->cudnn, sizeof info->cudnn, "not found");
  if (found.cublaslt != nullptr) {
    int v[3] = {0, 0, 0};  // MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL
    for (int i = 0; i < 3; ++i) found.cublaslt->property(i, &v[i]);
    std::snprintf(info->cublas, sizeof info->cublas, "%d.%d.%d", v[0], v[1], v[2]);
  }
  if (found.cudnn != nullptr) {
    const auto v = static_cast<unsigned>(found.cudnn->version());  // 91300
    std::snprintf(info->cudnn, sizeof info->cudnn, "%u.%u.%u", v / 10000, v / 100 % 100, v % 100);
  }
}

int info(const BackendModule* table, ModuleInfo* info) {
  const Parts& parts = module_of(table).parts;
  *info = {};
  write_architectures(parts, info->architectures, sizeof info->architectures);
  int driver = 0, runtime = 0;
  const Api& api = *parts.api;
  if (int e = check(api, api.driver_version(&driver), "cudaDriverGetVersion")) return e;
  if (int e = check(api, api.runtime_version(&runtime), "cudaRuntimeGetVersion")) return e;
  if (driver > 0) {
    write_version(info->driver, sizeof info->driver, driver);
  } else {
    std::snprintf(info->driver, sizeof info->driver, "none");
  }
  write_version(info->runtime, sizeof info->runtime, runtime);
  write_library_versions(parts.find_libraries(), info);
  return 0;
}

// --- devices --------------------------------------------------------------------------------------

int device_count(const BackendModule* table, int32_t* count) {
  const Api& api = *module_of(table).parts.api;
  *count = 0;
  int driver = 0, runtime = 0, devices = 0;
  // Both answer without a driver.
  if (int e = check(api, api.runtime_version(&runtime), "cudaRuntimeGetVersion")) return e;
  if (int e = check(api, api.driver_version(&driver), "cudaDriverGetVersion")) return e;
  const int error = api.device_count(&devices);
  if (error == kInsufficientDriver || error == kNoDevice || (error == 0 && devices == 0)) {
    if (driver == 0) {
      keep_error("there is no NVIDIA driver");
    } else if (error == kInsufficientDriver) {
      keep_error("the NVIDIA driver is too old: it supports CUDA %d.%d, and CUDA %d.%d is needed",
                 driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    } else {
      keep_error("the NVIDIA driver finds no GPU");
    }
    return error != 0 ? error : kNoDevice;
  }
  if (error != 0) return check(api, error, "cudaGetDeviceCount");
  *count = devices;
  return 0;
}

int device_info(const BackendModule* table, int32_t index, ModuleDeviceInfo* info) {
  const Parts& parts = module_of(table).parts;
  DeviceProperties properties{};
  *info = {};
  if (int e = check(*parts.api, parts.api->device_properties(index, &properties),
                    "cudaGetDeviceProperties")) {
    return e;
  }
  std::snprintf(info->name, sizeof info->name, "%s", properties.name);
  info->major = properties.major;
  info->minor = properties.minor;
  info->multiprocessors = properties.multiprocessors;
  info->memory_bytes = properties.memory_bytes;
  info->architecture = architecture_for(parts, properties.major, properties.minor);
  if (info->architecture == 0) {
    char built[96];
    write_architectures(parts, built, sizeof built);
    std::snprintf(info->why_not, sizeof info->why_not,
                  "no kernel fits %.60s (sm_%d%d); this module has %s", properties.name,
                  properties.major, properties.minor, built);
  }
  return 0;
}

int enter(ModuleDevice* device) {
  if (int e = check(*device->api, device->api->set_device(device->index), "cudaSetDevice"))
    return e;
  set_entered_device(device);
  return 0;
}

int open(const BackendModule* table, int32_t index, ModuleDevice** device) {
  *device = nullptr;
  ModuleDeviceInfo properties;
  if (int e = device_info(table, index, &properties)) return e;
  if (properties.why_not[0] != '\0') {
    keep_error("%s", properties.why_not);
    return kNoKernelImage;
  }
  const Parts& parts = module_of(table).parts;
  auto* opened = new (std::nothrow) ModuleDevice{{parts.api, index, parts.find_libraries}};
  if (opened == nullptr) {
    keep_error("no memory on the host");
    return kMemoryAllocation;
  }
  if (int e = enter(opened)) {
    delete opened;
    return e;
  }
  *device = opened;
  return 0;
}

void close(ModuleDevice* device) {
  enter(device);  // libraries free what they have on the thread's device
  delete device;
  set_entered_device(nullptr);
}

// --- memory ---------------------------------------------------------------------------------------

int free_bytes(ModuleDevice* device, int64_t* bytes) {
  size_t free = 0, total = 0;
  *bytes = 0;
  if (int e = enter(device)) return e;
  if (int e = check(*device->api, device->api->memory_info(&free, &total), "cudaMemGetInfo")) {
    return e;
  }
  *bytes = static_cast<int64_t>(free);
  return 0;
}

int allocate(ModuleDevice* device, void** memory, int64_t bytes) {
  *memory = nullptr;
  if (int e = enter(device)) return e;
  return check_bytes(*device->api, device->api->allocate(memory, static_cast<size_t>(bytes)),
                     "cudaMalloc", bytes);
}

int release(ModuleDevice* device, void* memory) {
  return first_of(enter(device), check(*device->api, device->api->release(memory), "cudaFree"));
}

int allocate_pinned(ModuleDevice* device, void** memory, int64_t bytes) {
  *memory = nullptr;
  if (int e = enter(device)) return e;
  return check_bytes(*device->api, device->api->allocate_pinned(memory, static_cast<size_t>(bytes)),
                     "cudaMallocHost", bytes);
}

int release_pinned(ModuleDevice* device, void* memory) {
  return first_of(enter(device),
                  check(*device->api, device->api->release_pinned(memory), "cudaFreeHost"));
}

StreamHandle handle_of(Stream* stream) { return reinterpret_cast<Queue*>(stream)->stream; }

int copy(ModuleDevice* device, void* to, const void* from, int64_t bytes, ModuleCopy kind,
         Stream* stream) {
  static const char* const kCalls[] = {"cudaMemcpyAsync to the device",
                                       "cudaMemcpyAsync to the host",
                                       "cudaMemcpyAsync on the device"};
  const auto which = static_cast<int32_t>(kind);
  if (which < 0 || which > 2) {
    keep_error("copy: there is no kind %d", which);
    return kInvalidValue;
  }
  if (int e = enter(device)) return e;
  return check_bytes(*device->api,
                     device->api->copy(to, from, static_cast<size_t>(bytes),
                                       static_cast<CopyKind>(which), handle_of(stream)),
                     kCalls[which], bytes);
}

int put(ModuleDevice* device, void* to, const void* from, int64_t bytes, Stream* stream) {
  if (int e = enter(device)) return e;
  return check(*device->api, launch_put(stream, to, from, bytes), "cudaLaunchKernel");
}

int fetch(ModuleDevice* device, void* to, const void* from, int64_t bytes, Stream* stream) {
  if (int e = enter(device)) return e;
  return check(*device->api, launch_fetch(stream, to, from, bytes), "cudaLaunchKernel");
}

int fill_zero(ModuleDevice* device, void* memory, int64_t bytes, Stream* stream) {
  if (int e = enter(device)) return e;
  return check_bytes(*device->api,
                     device->api->fill(memory, 0, static_cast<size_t>(bytes), handle_of(stream)),
                     "cudaMemsetAsync", bytes);
}

// --- streams and events ---------------------------------------------------------------------------

int create_stream(ModuleDevice* device, Stream** stream) {
  *stream = nullptr;
  auto* queue = new (std::nothrow) Queue{device->api, nullptr, device};
  if (queue == nullptr) {
    keep_error("no memory on the host");
    return kMemoryAllocation;
  }
  int e = enter(device);
  if (e == 0)
    e = check(*device->api, device->api->create_stream(&queue->stream), "cudaStreamCreate");
  if (e != 0) {
    delete queue;
    return e;
  }
  *stream = reinterpret_cast<Stream*>(queue);
  return 0;
}

int destroy_stream(ModuleDevice* device, Stream* stream) {
  auto* queue = reinterpret_cast<Queue*>(stream);
  const int e = first_of(
      enter(device),
      check(*device->api, device->api->destroy_stream(queue->stream), "cudaStreamDestroy"));
  delete queue;
  return e;
}

int synchronize(ModuleDevice* device, Stream* stream) {
  if (int e = enter(device)) return e;
  return check(*device->api, device->api->synchronize(handle_of(stream)), "cudaStreamSynchronize");
}

EventHandle handle_of(ModuleEvent* event) { return reinterpret_cast<EventHandle>(event); }

int create_event(ModuleDevice* device, int32_t has_timing, ModuleEvent** event) {
  EventHandle handle = nullptr;
  *event = nullptr;
  if (int e = enter(device)) return e;
  if (int e = check(*device->api, device->api->create_event(&handle, has_timing != 0),
                    "cudaEventCreate")) {
    return e;
  }
  *event = static_cast<ModuleEvent*>(handle);
  return 0;
}

int destroy_event(ModuleDevice* device, ModuleEvent* event) {
  return first_of(enter(device), check(*device->api, device->api->destroy_event(handle_of(event)),
                                       "cudaEventDestroy"));
}

int record(ModuleDevice* device, ModuleEvent* event, Stream* stream) {
  if (int e = enter(device)) return e;
  return check(*device->api, device->api->record(handle_of(event), handle_of(stream)),
               "cudaEventRecord");
}

int wait(ModuleDevice* device, Stream* stream, ModuleEvent* event) {
  if (int e = enter(device)) return e;
  return check(*device->api, device->api->wait(handle_of(stream), handle_of(event)),
               "cudaStreamWaitEvent");
}

int synchronize_event(ModuleDevice* device, ModuleEvent* event) {
  if (int e = enter(device)) return e;
  return check(*device->api, device->api->synchronize_event(handle_of(event)),
               "cudaEventSynchronize");
}

int elapsed(ModuleDevice* device, float* milliseconds, ModuleEvent* from, ModuleEvent* to) {
  if (int e = enter(device)) return e;
  return check(*device->api, device->api->elapsed(milliseconds, handle_of(from), handle_of(to)),
               "cudaEventElapsedTime");
}

// --- recorded work --------------------------------------------------------------------------------

int begin_capture(ModuleDevice* device, Stream* stream) {
  if (int e = enter(device)) return e;
  return check(*device->api, device->api->begin_capture(handle_of(stream)),
               "cudaStreamBeginCapture");
}

int destroy_graph(ModuleDevice* device, ModuleGraph* graph) {
  return first_of(
      enter(device),
      check(*device->api, device->api->destroy_graph(reinterpret_cast<GraphHandle>(graph)),
            "cudaGraphExecDestroy"));
}

int end_capture(ModuleDevice* device, Stream* stream, ModuleGraph** graph) {
  GraphHandle handle = nullptr;
  if (graph != nullptr) *graph = nullptr;
  const int e = first_of(enter(device),
                         check(*device->api, device->api->end_capture(handle_of(stream), &handle),
                               "cudaStreamEndCapture"));
  if (e == 0 && graph != nullptr) {
    *graph = static_cast<ModuleGraph*>(handle);
  } else if (handle != nullptr) {
    device->api->destroy_graph(handle);
  }
  return e;
}

int launch_graph(ModuleDevice* device, ModuleGraph* graph, Stream* stream) {
  if (int e = enter(device)) return e;
  return check(*device->api,
               device->api->launch_graph(reinterpret_cast<GraphHandle>(graph), handle_of(stream)),
               "cudaGraphLaunch");
}

const ImplementationList* implementations_of(const BackendModule*, int32_t kind) {
  static const ImplementationList kNone{nullptr, 0};
  return kind >= 0 && kind < kOpKinds ? &implementations(static_cast<OpKind>(kind)) : &kNone;
}

const char* last_error_of(const BackendModule*) { return last_error(); }

const char* describe(const BackendModule* table, int status) {
  if (status == kLibraryError) return last_error();
  const Api& api = *module_of(table).parts.api;
  keep_error("%s (%s)", name_of(api, status), api.error_description(status));
  return last_error();
}

int32_t is_out_of_memory(const BackendModule*, int status) { return status == kMemoryAllocation; }

}  // namespace

int32_t architecture_for(const Parts& parts, int32_t major, int32_t minor) {
  int32_t newest = 0;
  for (int32_t i = 0; i < parts.architecture_count; ++i) {
    const int32_t built = parts.architectures[i];
    if (built / 10 == major && built % 10 <= minor) newest = std::max(newest, built);
  }
  if (newest > 0) return newest;
  return parts.ptx <= major * 10 + minor ? parts.ptx : 0;
}

Module make_module(const Parts& parts) {
  BackendModule table{};
  table.abi_version = kBackendAbiVersion;
  table.table_bytes = sizeof(BackendModule);
  table.ops_hash = kOpsHash;
  table.version = parts.version;
  table.name = "cuda";
  table.info = info;
  table.device_count = device_count;
  table.device_info = device_info;
  table.open = open;
  table.close = close;
  table.enter = enter;
  table.free_bytes = free_bytes;
  table.allocate = allocate;
  table.release = release;
  table.allocate_pinned = allocate_pinned;
  table.release_pinned = release_pinned;
  table.copy = copy;
  table.put = put;
  table.fetch = fetch;
  table.fill_zero = fill_zero;
  table.create_stream = create_stream;
  table.destroy_stream = destroy_stream;
  table.synchronize = synchronize;
  table.create_event = create_event;
  table.destroy_event = destroy_event;
  table.record = record;
  table.wait = wait;
  table.synchronize_event = synchronize_event;
  table.elapsed = elapsed;
  table.begin_capture = begin_capture;
  table.end_capture = end_capture;
  table.launch_graph = launch_graph;
  table.destroy_graph = destroy_graph;
  table.implementations = implementations_of;
  table.last_error = last_error_of;
  table.describe = describe;
  table.is_out_of_memory = is_out_of_memory;
  return {table, parts};
}

}  // namespace cuda
}  // namespace tanul
