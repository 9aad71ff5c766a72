// SPDX-License-Identifier: Apache-2.0
// libtanul-cuda.so: the backend's table over the CUDA runtime, which is linked statically and hidden, so
// that nothing of CUDA has to be installed but the driver.
#include <cuda_runtime.h>

#include <cstdio>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/library_files.h"

namespace tanul::cuda {

namespace {

cudaStream_t stream_of(StreamHandle stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(EventHandle event) { return static_cast<cudaEvent_t>(event); }
cudaGraphExec_t graph_of(GraphHandle graph) { return static_cast<cudaGraphExec_t>(graph); }
dim3 dim_of(Dim3 d) { return {d.x, d.y, d.z}; }

// The runtime also keeps the last error until somebody asks for it; the host program may, so a failure
// that was handed on as a status is taken away here. (Errors of work that ran stay.)
int status(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();
  return static_cast<int>(error);
}

int device_properties(int index, DeviceProperties* properties) {
  cudaDeviceProp p;
  if (const int e = status(cudaGetDeviceProperties(&p, index))) return e;
  std::snprintf(properties->name, sizeof properties->name, "%.127s", p.name);
  properties->major = p.major;
  properties->minor = p.minor;
  properties->multiprocessors = p.multiProcessorCount;
  properties->memory_bytes = static_cast<int64_t>(p.totalGlobalMem);
  return 0;
}

int copy(void* to, const void* from, size_t bytes, CopyKind kind, StreamHandle stream) {
  const cudaMemcpyKind which = kind == CopyKind::to_device ? cudaMemcpyHostToDevice
                               : kind == CopyKind::to_host ? cudaMemcpyDeviceToHost
                                                           : cudaMemcpyDeviceToDevice;
  return status(cudaMemcpyAsync(to, from, bytes, which, stream_of(stream)));
}

int create_stream(StreamHandle* stream) {
  cudaStream_t made = nullptr;
  const int e = status(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
  *stream = made;
  return e;
}

int create_event(EventHandle* event, bool has_timing) {
  cudaEvent_t made = nullptr;
  const int e = status(
      cudaEventCreateWithFlags(&made, has_timing ? cudaEventDefault : cudaEventDisableTiming));
  *event = made;
  return e;
}

// Other threads of the host program may allocate meanwhile: their calls are none of ours.
int begin_capture(StreamHandle stream) {
  return status(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal));
}

int end_capture(StreamHandle stream, GraphHandle* graph) {
  cudaGraph_t recorded = nullptr;
  *graph = nullptr;
  int e = status(cudaStreamEndCapture(stream_of(stream), &recorded));
  cudaGraphExec_t ready = nullptr;
  if (e == 0) e = status(cudaGraphInstantiate(&ready, recorded, 0));
  if (recorded != nullptr) cudaGraphDestroy(recorded);
  if (e == 0) *graph = ready;
  return e;
}

int launch(const KernelLaunch& call, StreamHandle stream) {
  return status(cudaLaunchKernel(call.kernel, dim_of(call.grid), dim_of(call.block),
                                 const_cast<void**>(call.args), 0, stream_of(stream)));
}

const Api kApi = {
    .device_count = [](int* count) { return status(cudaGetDeviceCount(count)); },
    .set_device = [](int index) { return status(cudaSetDevice(index)); },
    .device_properties = device_properties,
    .memory_info = [](size_t* free, size_t* total) { return status(cudaMemGetInfo(free, total)); },
    .driver_version = [](int* version) { return status(cudaDriverGetVersion(version)); },
    .runtime_version = [](int* version) { return status(cudaRuntimeGetVersion(version)); },
    .allocate = [](void** memory, size_t bytes) { return status(cudaMalloc(memory, bytes)); },
    .release = [](void* memory) { return status(cudaFree(memory)); },
    .allocate_pinned = [](void** memory,
                          size_t bytes) { return status(cudaMallocHost(memory, bytes)); },
    .release_pinned = [](void* memory) { return status(cudaFreeHost(memory)); },
    .copy = copy,
    .fill =
        [](void* memory, int byte, size_t bytes, StreamHandle stream) {
          return status(cudaMemsetAsync(memory, byte, bytes, stream_of(stream)));
        },
    .create_stream = create_stream,
    .destroy_stream = [](StreamHandle s) { return status(cudaStreamDestroy(stream_of(s))); },
    .synchronize = [](StreamHandle s) { return status(cudaStreamSynchronize(stream_of(s))); },
    .create_event = create_event,
    .destroy_event = [](EventHandle e) { return status(cudaEventDestroy(event_of(e))); },
    .record = [](EventHandle e,
                 StreamHandle s) { return status(cudaEventRecord(event_of(e), stream_of(s))); },
    .wait = [](StreamHandle s,
               EventHandle e) { return status(cudaStreamWaitEvent(stream_of(s), event_of(e), 0)); },
    .synchronize_event = [](EventHandle e) { return status(cudaEventSynchronize(event_of(e))); },
    .elapsed =
        [](float* ms, EventHandle from, EventHandle to) {
          return status(cudaEventElapsedTime(ms, event_of(from), event_of(to)));
        },
    .begin_capture = begin_capture,
    .end_capture = end_capture,
    .launch_graph =
        [](GraphHandle g, StreamHandle s) {
          return status(cudaGraphLaunch(graph_of(g), stream_of(s)));
        },
    .destroy_graph = [](GraphHandle g) { return status(cudaGraphExecDestroy(graph_of(g))); },
    .launch = launch,
    .error_name = [](int e) { return cudaGetErrorName(static_cast<cudaError_t>(e)); },
    .error_description = [](int e) { return cudaGetErrorString(static_cast<cudaError_t>(e)); },
};

LibraryTables look_for_libraries() {
  static cublaslt::Api cublaslt;
  static cudnn::Api cudnn;
  char name[32];  // the cuBLAS that belongs to this CUDA
  std::snprintf(name, sizeof name, "libcublasLt.so.%d", CUDART_VERSION / 1000);
  return {find_cublaslt(name, cublaslt) ? &cublaslt : nullptr,
          find_cudnn("libcudnn.so.9", cudnn) ? &cudnn : nullptr};
}

const LibraryTables& find_libraries() {
  static const LibraryTables tables = look_for_libraries();
  return tables;
}

constexpr int32_t kArchitectures[] = {TANUL_CUDA_ARCHITECTURES};

}  // namespace

}  // namespace tanul::cuda

extern "C" __attribute__((visibility("default"))) const tanul::BackendModule* tanul_backend() {
  using namespace tanul::cuda;
  static const Module module =
      make_module({&kApi, TANUL_VERSION, kArchitectures,
                   static_cast<int32_t>(sizeof kArchitectures / sizeof kArchitectures[0]),
                   TANUL_CUDA_PTX, find_libraries});
  return &module.table;
}
