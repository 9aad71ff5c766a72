// SPDX-License-Identifier: Apache-2.0
#include "support/fake_cuda.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include "core/format.h"
#include "emulation/grid.h"
#include "tanul/device.h"

namespace tanul::test {

namespace {

// Errors of CUDA, by their numbers.
constexpr int kInvalidValue = 1;
constexpr int kMemoryAllocation = 2;
constexpr int kInsufficientDriver = 35;
constexpr int kNoDevice = 100;
constexpr int kInvalidDevice = 101;
constexpr int kInvalidHandle = 400;
constexpr int kLaunchFailure = 719;
constexpr int kCaptureUnsupported = 900;
constexpr int kCaptureInvalidated = 901;
constexpr int kUnknown = 999;

constexpr size_t kPage = 4096;
constexpr size_t kAlignment = 256;  // of device memory
constexpr int kPoison = 0xFF;       // NaN as a float
constexpr std::byte kSlack{0xA5};

FakeCuda* active = nullptr;

// The device that this thread chose, of the fake with this number.
int64_t fakes_made = 0;
thread_local int64_t chosen_of = 0;
thread_local int chosen = -1;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

uint64_t hash_of(const void* memory, size_t bytes) {
  return std::hash<std::string_view>{}({static_cast<const char*>(memory), bytes});
}

int64_t number(void* handle) { return static_cast<int64_t>(reinterpret_cast<intptr_t>(handle)); }
void* handle(int64_t number) { return reinterpret_cast<void*>(static_cast<intptr_t>(number)); }

// A kernel and its arguments, which are the caller's only until the call returns.
class QueuedKernel {
 public:
  explicit QueuedKernel(const cuda::KernelLaunch& call) : call_(call) {
    for (int32_t i = 0; i < call.arg_count; ++i) {
      auto& copy = args_.emplace_back(round_up(call.arg_bytes[i], sizeof(std::max_align_t)) /
                                      sizeof(std::max_align_t));
      std::memcpy(copy.data(), call.args[i], call.arg_bytes[i]);
    }
  }
  void run() {
    std::vector<void*> pointers;
    for (auto& arg : args_) pointers.push_back(arg.data());
    cuda::emulation::run_grid(call_.grid, call_.block,
                              [&] { call_.invoke(call_.kernel, pointers.data()); });
  }

 private:
  cuda::KernelLaunch call_;
  std::vector<std::vector<std::max_align_t>> args_;
};

}  // namespace

// --- checks and bookkeeping -----------------------------------------------------------------------

int FakeCuda::begin(const char* name, bool needs_device) {
  ++calls_;
  ++calls_of_[name];
  if (needs_device && (chosen_of != fakes_made || chosen < 0)) {
    broken(0, fmt::format("{} before a device was chosen", name));
  }
  if (calls_ != fails_at_) return 0;
  failed_call_ = name;
  const std::string text = name;
  return text == "cudaMalloc" || text == "cudaMallocHost" ? kMemoryAllocation : kUnknown;
}

int FakeCuda::broken(int error, const std::string& what) {
  violations_.push_back(what);
  return error;
}

int64_t FakeCuda::calls_of(const std::string& name) const {
  const auto found = calls_of_.find(name);
  return found == calls_of_.end() ? 0 : found->second;
}

std::vector<std::string> FakeCuda::leaks() const {
  std::vector<std::string> leaks;
  for (const auto& [memory, allocation] : allocations_) {
    leaks.push_back(fmt::format("{} memory of {} bytes", allocation.is_pinned ? "pinned" : "device",
                                allocation.bytes));
  }
  std::sort(leaks.begin(), leaks.end());  // not by address
  for (const auto& [number, stream] : streams_) leaks.push_back(fmt::format("stream {}", number));
  for (const auto& [number, event] : events_) leaks.push_back(fmt::format("event {}", number));
  for (const auto& [number, graph] : graphs_) leaks.push_back(fmt::format("graph {}", number));
  for (const std::string& leak : cublaslt_.leaks()) leaks.push_back(leak);
  for (const std::string& leak : cudnn_.leaks()) leaks.push_back(leak);
  return leaks;
}

bool FakeCuda::is_capturing() const {
  for (const auto& [number, stream] : streams_) {
    if (stream.is_capturing) return true;
  }
  return false;
}

int FakeCuda::refuse_while_capturing(const char* name) {
  if (!is_capturing()) return 0;
  for (auto& [number, stream] : streams_) stream.is_capture_broken = stream.is_capturing;
  return broken(kCaptureUnsupported, fmt::format("{} while a stream captures", name));
}

FakeCuda::StreamState* FakeCuda::stream_of(void* h, const char* name) {
  const auto found = streams_.find(number(h));
  if (found != streams_.end()) return &found->second;
  broken(0, h == nullptr ? fmt::format("{} on the default stream", name)
                         : fmt::format("{} on a stream that is not there", name));
  return nullptr;
}

FakeCuda::EventState* FakeCuda::event_of(void* h, const char* name) {
  const auto found = events_.find(number(h));
  if (found != events_.end()) return &found->second;
  broken(0, fmt::format("{} with an event that is not there", name));
  return nullptr;
}

// --- libraries ------------------------------------------------------------------------------------

bool FakeCuda::begin_call(const char* name) { return begin(name) != 0; }
void FakeCuda::refuse_capture(const char* name) { refuse_while_capturing(name); }
void FakeCuda::break_rule(const std::string& what) { broken(0, what); }
bool FakeCuda::queue_work(void* stream, const char* name, std::function<void()> work) {
  const auto run = [this, work = std::move(work)] {
    ++kernels_run_;
    if (options_.runs_kernels) work();
  };
  return queue(stream, name, {run}) == 0;
}

// --- work -----------------------------------------------------------------------------------------

int FakeCuda::queue(void* stream, const char* name, Work work) {
  StreamState* state = stream_of(stream, name);
  if (state == nullptr) return kInvalidHandle;
  if (state->is_capturing) {
    state->captured.push_back(std::move(work));
  } else {
    state->queue.push_back(std::move(work));
  }
  return 0;
}

void FakeCuda::run(const Work& work) {
  if (work.waits_for != 0) {
    const auto event = events_.find(work.waits_for);
    if (event != events_.end() && event->second.completed < work.version) {
      run_until(event->second.stream, work.waits_for, work.version);
    }
    return;
  }
  give_access(true);
  try {
    work.run();
  } catch (const std::runtime_error& fault) {
    broken(0, fault.what());
    pending_error_ = kLaunchFailure;
  }
  give_access(false);
}

void FakeCuda::run_until(int64_t stream, int64_t event, int64_t version) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return;
  std::deque<Work>& queue = found->second.queue;
  while (!queue.empty() && events_.at(event).completed < version) {
    const Work work = std::move(queue.front());
    queue.pop_front();
    run(work);
  }
}

void FakeCuda::run_all(int64_t stream) {
  std::deque<Work>& queue = streams_.at(stream).queue;
  while (!queue.empty()) {
    const Work work = std::move(queue.front());
    queue.pop_front();
    run(work);
  }
}

void FakeCuda::give_access(bool is_on) {
  if (is_on ? access_depth_++ > 0 : --access_depth_ > 0) return;
  for (const auto& [memory, allocation] : allocations_) {
    if (allocation.is_pinned) continue;
    ::mprotect(allocation.mapping + kPage, allocation.mapping_bytes - 2 * kPage,
               is_on ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
}

// --- memory ---------------------------------------------------------------------------------------

int FakeCuda::allocate(void** memory, size_t bytes, bool is_pinned) {
  *memory = nullptr;
  if (bytes == 0) return 0;
  if (!is_pinned && used_bytes_ + static_cast<int64_t>(bytes) > options_.memory_bytes) {
    return kMemoryAllocation;
  }
  const size_t data = round_up(bytes, kPage);
  const size_t total = data + 2 * kPage;
  void* mapping = ::mmap(nullptr, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return kMemoryAllocation;
  auto* begin = static_cast<std::byte*>(mapping) + kPage;
  ::mprotect(begin, data, PROT_READ | PROT_WRITE);
  std::memset(begin, static_cast<int>(kSlack), data);
  // The end lies as near to the guard as the alignment lets it.
  const size_t aligned = round_up(bytes, kAlignment);
  std::byte* at = begin + (data - aligned);
  // Kernels write to pinned memory too: where none runs, it holds numbers all the same.
  std::memset(at, is_pinned && !options_.runs_kernels ? 0 : kPoison, bytes);
  if (!is_pinned) {
    ::mprotect(begin, data, access_depth_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE);
    used_bytes_ += static_cast<int64_t>(bytes);
  }
  allocations_[at] = {static_cast<std::byte*>(mapping), total, bytes, aligned - bytes, is_pinned};
  *memory = at;
  return 0;
}

int FakeCuda::release(void* memory, bool is_pinned, const char* name) {
  if (memory == nullptr) return 0;
  const auto found = allocations_.find(memory);
  if (found == allocations_.end() || found->second.is_pinned != is_pinned) {
    return broken(kInvalidValue, fmt::format("{} of what is not allocated so", name));
  }
  // As cudaFree does: what runs may need it.
  for (auto& [stream, state] : streams_) run_all(stream);
  const Allocation allocation = found->second;
  allocations_.erase(found);
  if (!is_pinned) used_bytes_ -= static_cast<int64_t>(allocation.bytes);
  unmap(memory, allocation);
  return 0;
}

void FakeCuda::unmap(void* memory, const Allocation& allocation) {
  std::byte* begin = allocation.mapping + kPage;
  const size_t data = allocation.mapping_bytes - 2 * kPage;
  ::mprotect(begin, data, PROT_READ | PROT_WRITE);
  const auto* at = static_cast<const std::byte*>(memory);
  const auto check = [&](const std::byte* from, const std::byte* to) {
    for (; from < to; ++from) {
      if (*from == kSlack) continue;
      broken(0, fmt::format("a write {} bytes from the begin of {} bytes of memory", from - at,
                            allocation.bytes));
      return;
    }
  };
  check(begin, at);
  check(at + allocation.bytes, begin + data);
  ::munmap(allocation.mapping, allocation.mapping_bytes);
}

bool FakeCuda::is_inside(const void* memory, size_t bytes, bool is_pinned) const {
  auto found = allocations_.upper_bound(const_cast<void*>(memory));
  if (found == allocations_.begin()) return false;
  --found;
  const auto* begin = static_cast<const std::byte*>(found->first);
  const auto* at = static_cast<const std::byte*>(memory);
  return found->second.is_pinned == is_pinned && at + bytes <= begin + found->second.bytes;
}

// --- the entry points -----------------------------------------------------------------------------

struct FakeCudaApi {
  static int device_count(int* count) {
    if (int e = active->begin("cudaGetDeviceCount", false)) return e;
    *count = 0;
    if (active->options_.driver == 0) return kInsufficientDriver;  // as CUDA says without a driver
    if (active->options_.driver < 13000) return kInsufficientDriver;
    if (active->options_.devices == 0) return kNoDevice;
    *count = active->options_.devices;
    return 0;
  }
  static int set_device(int index) {
    if (int e = active->begin("cudaSetDevice", false)) return e;
    if (index < 0 || index >= active->options_.devices) return kInvalidDevice;
    chosen_of = fakes_made;
    chosen = index;
    return 0;
  }
  static int device_properties(int index, cuda::DeviceProperties* properties) {
    if (int e = active->begin("cudaGetDeviceProperties", false)) return e;
    if (index < 0 || index >= active->options_.devices) return kInvalidDevice;
    *properties = {"Fake GPU", active->options_.major, active->options_.minor, 132,
                   active->options_.memory_bytes};
    return 0;
  }
  static int memory_info(size_t* free, size_t* total) {
    if (int e = active->begin("cudaMemGetInfo")) return e;
    *total = static_cast<size_t>(active->options_.memory_bytes);
    *free = *total - static_cast<size_t>(active->used_bytes_);
    return 0;
  }
  static int driver_version(int* version) {
    if (int e = active->begin("cudaDriverGetVersion", false)) return e;
    *version = active->options_.driver;
    return 0;
  }
  static int runtime_version(int* version) {
    if (int e = active->begin("cudaRuntimeGetVersion", false)) return e;
    *version = 13000;
    return 0;
  }

  static int allocate(void** memory, size_t bytes) {
    if (int e = active->begin("cudaMalloc")) return e;
    if (int e = active->refuse_while_capturing("cudaMalloc")) return e;
    return active->allocate(memory, bytes, false);
  }
  static int release(void* memory) {
    const int injected = active->begin("cudaFree");
    if (int e = active->refuse_while_capturing("cudaFree")) return e;
    const int e = active->release(memory, false, "cudaFree");
    return injected != 0 ? injected : e;
  }
  static int allocate_pinned(void** memory, size_t bytes) {
    if (int e = active->begin("cudaMallocHost")) return e;
    if (int e = active->refuse_while_capturing("cudaMallocHost")) return e;
    return active->allocate(memory, bytes, true);
  }
  static int release_pinned(void* memory) {
    const int injected = active->begin("cudaFreeHost");
    if (int e = active->refuse_while_capturing("cudaFreeHost")) return e;
    const int e = active->release(memory, true, "cudaFreeHost");
    return injected != 0 ? injected : e;
  }
  static int copy(void* to, const void* from, size_t bytes, cuda::CopyKind kind, void* stream) {
    FakeCuda& fake = *active;
    if (int e = fake.begin("cudaMemcpyAsync")) return e;
    const bool to_host = kind == cuda::CopyKind::to_host;
    const bool from_host = kind == cuda::CopyKind::to_device;
    if (!fake.is_inside(to, bytes, to_host) || !fake.is_inside(from, bytes, from_host)) {
      return fake.broken(kInvalidValue,
                         fmt::format("a copy of {} bytes {} that is not between device memory and "
                                     "pinned memory",
                                     bytes,
                                     to_host     ? "to the host"
                                     : from_host ? "to the device"
                                                 : "on the device"));
    }
    if (to_host) std::memset(to, kPoison, bytes);
    const uint64_t content = from_host ? hash_of(from, bytes) : 0;
    const auto run = [=, &fake] {
      if (from_host && hash_of(from, bytes) != content) {
        fake.broken(0, fmt::format("pinned memory was written before a copy of {} bytes from it "
                                   "had ended",
                                   bytes));
      }
      std::memcpy(to, from, bytes);
    };
    return fake.queue(stream, "cudaMemcpyAsync", {run});
  }
  static int fill(void* memory, int byte, size_t bytes, void* stream) {
    if (int e = active->begin("cudaMemsetAsync")) return e;
    if (!active->is_inside(memory, bytes, false)) {
      return active->broken(kInvalidValue, "cudaMemsetAsync outside of device memory");
    }
    return active->queue(stream, "cudaMemsetAsync", {[=] { std::memset(memory, byte, bytes); }});
  }

  static int create_stream(void** stream) {
    if (int e = active->begin("cudaStreamCreate")) return e;
    const int64_t made = active->next_handle_++;
    active->streams_[made];
    *stream = handle(made);
    return 0;
  }
  static int destroy_stream(void* stream) {
    const int injected = active->begin("cudaStreamDestroy");
    FakeCuda::StreamState* state = active->stream_of(stream, "cudaStreamDestroy");
    if (state == nullptr) return kInvalidHandle;
    if (state->is_capturing) active->broken(0, "cudaStreamDestroy while it captures");
    active->run_all(number(stream));
    active->streams_.erase(number(stream));
    return injected;
  }
  static int synchronize(void* stream) {
    if (int e = active->begin("cudaStreamSynchronize")) return e;
    if (int e = active->refuse_while_capturing("cudaStreamSynchronize")) return e;
    if (active->stream_of(stream, "cudaStreamSynchronize") == nullptr) return kInvalidHandle;
    active->run_all(number(stream));
    return active->pending_error_;
  }
  static int create_event(void** event, bool has_timing) {
    if (int e = active->begin("cudaEventCreate")) return e;
    const int64_t made = active->next_handle_++;
    active->events_[made] = {has_timing};
    *event = handle(made);
    return 0;
  }
  static int destroy_event(void* event) {
    const int injected = active->begin("cudaEventDestroy");
    const FakeCuda::EventState* state = active->event_of(event, "cudaEventDestroy");
    if (state == nullptr) return kInvalidHandle;
    if (state->completed < state->recorded) {
      active->run_until(state->stream, number(event), state->recorded);
    }
    active->events_.erase(number(event));
    return injected;
  }
  static int record(void* event, void* stream) {
    if (int e = active->begin("cudaEventRecord")) return e;
    FakeCuda::EventState* state = active->event_of(event, "cudaEventRecord");
    if (state == nullptr) return kInvalidHandle;
    const int64_t which = number(event);
    const int64_t version = ++state->recorded;
    state->stream = number(stream);
    return active->queue(stream, "cudaEventRecord", {[which, version, &fake = *active] {
                           const auto found = fake.events_.find(which);
                           if (found == fake.events_.end()) return;
                           found->second.completed = version;
                           found->second.kernels_run = fake.kernels_run_;
                         }});
  }
  static int wait(void* stream, void* event) {
    if (int e = active->begin("cudaStreamWaitEvent")) return e;
    const FakeCuda::EventState* state = active->event_of(event, "cudaStreamWaitEvent");
    if (state == nullptr) return kInvalidHandle;
    return active->queue(stream, "cudaStreamWaitEvent", {{}, number(event), state->recorded});
  }
  static int synchronize_event(void* event) {
    if (int e = active->begin("cudaEventSynchronize")) return e;
    if (int e = active->refuse_while_capturing("cudaEventSynchronize")) return e;
    const FakeCuda::EventState* state = active->event_of(event, "cudaEventSynchronize");
    if (state == nullptr) return kInvalidHandle;
    active->run_until(state->stream, number(event), state->recorded);
    return active->pending_error_;
  }
  static int elapsed(float* milliseconds, void* from, void* to) {
    if (int e = active->begin("cudaEventElapsedTime")) return e;
    const FakeCuda::EventState* first = active->event_of(from, "cudaEventElapsedTime");
    const FakeCuda::EventState* last = active->event_of(to, "cudaEventElapsedTime");
    if (first == nullptr || last == nullptr) return kInvalidHandle;
    if (!first->has_timing || !last->has_timing) {
      return active->broken(kInvalidHandle, "cudaEventElapsedTime of events without timing");
    }
    *milliseconds = static_cast<float>(last->kernels_run - first->kernels_run);
    return 0;
  }

  static int begin_capture(void* stream) {
    if (int e = active->begin("cudaStreamBeginCapture")) return e;
    FakeCuda::StreamState* state = active->stream_of(stream, "cudaStreamBeginCapture");
    if (state == nullptr) return kInvalidHandle;
    if (state->is_capturing) return active->broken(kInvalidValue, "two captures of one stream");
    state->is_capturing = true;
    state->is_capture_broken = false;
    state->captured.clear();
    return 0;
  }
  static int end_capture(void* stream, void** graph) {
    const int injected = active->begin("cudaStreamEndCapture");
    *graph = nullptr;
    FakeCuda::StreamState* state = active->stream_of(stream, "cudaStreamEndCapture");
    if (state == nullptr) return kInvalidHandle;
    if (!state->is_capturing) {
      return active->broken(kInvalidValue, "cudaStreamEndCapture without a begin");
    }
    state->is_capturing = false;
    if (injected != 0) return injected;
    if (state->is_capture_broken) return kCaptureInvalidated;
    const int64_t made = active->next_handle_++;
    for (FakeCuda::Work& work : state->captured) work.graph = made;
    active->graphs_[made] = std::move(state->captured);
    *graph = handle(made);
    return 0;
  }
  static int launch_graph(void* graph, void* stream) {
    if (int e = active->begin("cudaGraphLaunch")) return e;
    const auto found = active->graphs_.find(number(graph));
    if (found == active->graphs_.end()) {
      return active->broken(kInvalidHandle, "cudaGraphLaunch of a graph that is not there");
    }
    for (const FakeCuda::Work& work : found->second) {
      if (int e = active->queue(stream, "cudaGraphLaunch", work)) return e;
    }
    return 0;
  }
  static int destroy_graph(void* graph) {
    const int injected = active->begin("cudaGraphExecDestroy");
    if (active->graphs_.erase(number(graph)) == 0) {
      return active->broken(kInvalidHandle, "cudaGraphExecDestroy of a graph that is not there");
    }
    for (const auto& [stream, state] : active->streams_) {
      for (const FakeCuda::Work& work : state.queue) {
        if (work.graph != number(graph)) continue;
        active->broken(0, "cudaGraphExecDestroy while it is queued");
        break;
      }
    }
    return injected;
  }

  static int launch(const cuda::KernelLaunch& call, void* stream) {
    FakeCuda& fake = *active;
    if (int e = fake.begin("cudaLaunchKernel")) return e;
    if (call.kernel == nullptr || call.invoke == nullptr) {
      return fake.broken(kInvalidValue, "a launch without a kernel");
    }
    const uint64_t threads = uint64_t{1} * call.block.x * call.block.y * call.block.z;
    if (threads == 0 || threads > 1024 || call.grid.x == 0 || call.grid.y == 0 ||
        call.grid.z == 0 || call.grid.y > 65535 || call.grid.z > 65535) {
      return fake.broken(kInvalidValue,
                         fmt::format("a grid of {}x{}x{} blocks of {} threads", call.grid.x,
                                     call.grid.y, call.grid.z, threads));
    }
    auto kernel = std::make_shared<QueuedKernel>(call);
    return fake.queue(stream, "cudaLaunchKernel", {[kernel, &fake] {
                        if (++fake.kernels_run_ == fake.breaks_at_)
                          fake.pending_error_ = kLaunchFailure;
                        if (fake.options_.runs_kernels) kernel->run();
                      }});
  }

  static const char* error_name(int error) {
    switch (error) {
      case kInvalidValue: return "cudaErrorInvalidValue";
      case kMemoryAllocation: return "cudaErrorMemoryAllocation";
      case kInsufficientDriver: return "cudaErrorInsufficientDriver";
      case kNoDevice: return "cudaErrorNoDevice";
      case kInvalidDevice: return "cudaErrorInvalidDevice";
      case kInvalidHandle: return "cudaErrorInvalidResourceHandle";
      case kLaunchFailure: return "cudaErrorLaunchFailure";
      case kCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
      case kCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
      default: return "cudaErrorUnknown";
    }
  }
  static const char* error_description(int error) {
    switch (error) {
      case kMemoryAllocation: return "out of memory";
      case kInvalidDevice: return "invalid device ordinal";
      case kLaunchFailure: return "unspecified launch failure";
      default: return "unknown error";
    }
  }

  static const cuda::Api& table() {
    static const cuda::Api api = {
        .device_count = device_count,
        .set_device = set_device,
        .device_properties = device_properties,
        .memory_info = memory_info,
        .driver_version = driver_version,
        .runtime_version = runtime_version,
        .allocate = allocate,
        .release = release,
        .allocate_pinned = allocate_pinned,
        .release_pinned = release_pinned,
        .copy = copy,
        .fill = fill,
        .create_stream = create_stream,
        .destroy_stream = destroy_stream,
        .synchronize = synchronize,
        .create_event = create_event,
        .destroy_event = destroy_event,
        .record = record,
        .wait = wait,
        .synchronize_event = synchronize_event,
        .elapsed = elapsed,
        .begin_capture = begin_capture,
        .end_capture = end_capture,
        .launch_graph = launch_graph,
        .destroy_graph = destroy_graph,
        .launch = launch,
        .error_name = error_name,
        .error_description = error_description,
    };
    return api;
  }
};

FakeCuda::FakeCuda(const FakeCudaOptions& options) : options_(options) {
  if (active != nullptr) throw std::logic_error("two fake devices at once");
  active = this;
  ++fakes_made;
  if (const char* cache = std::getenv("XDG_CACHE_HOME")) cache_folder_ = cache;
  ::setenv("XDG_CACHE_HOME", "/dev/null", 1);
  static const int32_t kArchitectures[] = {75, 80, 86, 89, 90};
  static cuda::LibraryTables found;
  found = {options.has_cublaslt ? &FakeCublasLt::table() : nullptr,
           options.has_cudnn ? &FakeCudnn::table() : nullptr};
  module_ = cuda::make_module({&FakeCudaApi::table(), version(), kArchitectures, 5, 90,
                               []() -> const cuda::LibraryTables& { return found; }});
}

FakeCuda::~FakeCuda() {
  for (const auto& [memory, allocation] : allocations_) {
    ::munmap(allocation.mapping, allocation.mapping_bytes);
  }
  if (cache_folder_) {
    ::setenv("XDG_CACHE_HOME", cache_folder_->c_str(), 1);
  } else {
    ::unsetenv("XDG_CACHE_HOME");
  }
  active = nullptr;
}

}  // namespace tanul::test
