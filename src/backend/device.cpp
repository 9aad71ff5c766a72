// SPDX-License-Identifier: Apache-2.0
// Finding devices, and the CPU backend.
#include "tanul/device.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>

#include "backend/backend.h"
#include "backend/module_backend.h"
#include "backend/module_loader.h"
#include "core/format.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/op.h"

namespace tanul {

namespace {

constexpr int kMostThreads = 1024;

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) == 0) {
      const size_t at = line.find(": ");
      if (at != std::string::npos) return line.substr(at + 2);
    }
  }
  return "unknown";
}

// Large buffers lie in pages of 2 MiB where the system has them for those who ask: a panel of a matrix
// touches a row every few KiB, so that each would need a page of its own in the TLB. The rest of the last
// page stays outside of the advice, and nothing more becomes resident.
// Null where there is no memory.
void* allocate_pages(size_t bytes) {
  constexpr size_t kLineBytes = 64;
  constexpr size_t kHugePageBytes = size_t{1} << 21;
  const bool is_large = bytes >= kHugePageBytes;
  void* memory = nullptr;
  if (::posix_memalign(&memory, is_large ? kHugePageBytes : kLineBytes, bytes) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
  if (is_large) (void)::madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
}

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(int threads) : stream_(threads) {}

  Device device() const override { return {DeviceType::cpu, 0}; }
  std::string description() const override {
    const int n = threads();
    return fmt::format("CPU: {} thread{}, {}", n, n == 1 ? "" : "s", cpu::simd_target());
  }
  std::string identity() const override { return description() + ", " + cpu_model(); }
  int threads() const override { return stream_.threads(); }
  void for_each_on_host(int64_t count, const std::function<void(int64_t)>& body) override {
    cpu::parallel_for(&stream_, count, [&](int64_t i, int) { body(i); });
  }
  const ImplementationList& implementations(OpKind kind) const override {
    return cpu_implementations(kind);
  }

  void* allocate(int64_t bytes) override {
    const auto rounded = static_cast<size_t>((std::max<int64_t>(bytes, 1) + 63) / 64 * 64);
    void* memory = allocate_pages(rounded);
    if (memory == nullptr) {
      fail(Code::out_of_memory, "the plan needs {} bytes and the system does not give them", bytes);
    }
    std::memset(memory, 0, rounded);
    count(bytes);
    return memory;
  }
  void release(void* memory, int64_t bytes) noexcept override {
    std::free(memory);
    count(-bytes);
  }
  void copy_in(void* device, const void* host, int64_t bytes) override {
    std::memcpy(device, host, static_cast<size_t>(bytes));
  }
  void copy_out(void* host, const void* device, int64_t bytes) override {
    std::memcpy(host, device, static_cast<size_t>(bytes));
  }

  Stream* stream() override { return &stream_; }
  void begin_step() override { blas_.emplace(); }
  void end_step() noexcept override { blas_.reset(); }

 private:
  Stream stream_;
  std::optional<cpu::BlasSingleThread> blas_;
};

// The GPU that a name asks for, or why it cannot be used.
Device find_gpu(const std::string& name) {
  const LoadedModule& cuda = cuda_module();
  const bool is_any = name == "cuda";
  const int index = is_any ? cuda.first_device : std::stoi(name.substr(5));
  const std::string why = is_any ? cuda.reason + cuda.detail : why_not_device(cuda, index);
  if (!why.empty()) {
    fail(Code::device, "device \"{}\": no GPU can be used: {}; \"auto\" trains on the CPU", name,
         why);
  }
  return {DeviceType::cuda, index};
}

// The formats of which there is an implementation for the architecture (see Backend).
template <typename ListOf>
std::vector<std::string> precisions_of(const ListOf& list_of, int32_t architecture) {
  std::vector<std::string> names;
  for (const Precision precision : kPrecisions) {
    for (int kind = 0; kind < kOpKinds; ++kind) {
      const auto op = static_cast<OpKind>(kind);
      if (op_is_view(op) || !op_def(op).is_product) continue;
      const ImplementationList& list = list_of(op);
      if (std::none_of(list.items, list.items + list.count, [&](const Implementation& i) {
            return i.multiplies_in == precision && i.least_architecture <= architecture;
          })) {
        continue;
      }
      names.emplace_back(precision_name(precision));
      break;
    }
  }
  return names;
}

const char* outcome_name(ModuleOutcome outcome) {
  switch (outcome) {
    case ModuleOutcome::not_found: return "not found";
    case ModuleOutcome::cannot_load: return "cannot load";
    case ModuleOutcome::mismatch: return "mismatch";
    case ModuleOutcome::no_device: return "no device";
    case ModuleOutcome::ok: return "ok";
  }
  return "";
}

void describe_cuda(SystemInfo& info) {
  const LoadedModule& cuda = cuda_module();
  info.cuda = outcome_name(cuda.outcome);
  if (!cuda.reason.empty()) info.cuda += ": " + cuda.reason + cuda.detail;
  if (cuda.module == nullptr) return;
  const BackendModule& module = *cuda.module;
  ModuleInfo versions;
  if (module.info(&module, &versions) == 0) {
    info.cuda_versions =
        fmt::format("driver {}, runtime {}, cuBLAS {}, cuDNN {}, code for {}", versions.driver,
                    versions.runtime, versions.cublas, versions.cudnn, versions.architectures);
  }
  int32_t count = 0;
  if (module.device_count(&module, &count) != 0) return;
  for (int32_t i = 0; i < count; ++i) {
    ModuleDeviceInfo device;
    GpuInfo& gpu = info.gpus.emplace_back();
    gpu.device = Device{DeviceType::cuda, i}.str();
    if (module.device_info(&module, i, &device) != 0) {
      gpu.why_not = module.last_error(&module);
      continue;
    }
    gpu.name = device.name;
    gpu.compute_capability = fmt::format("{}.{}", device.major, device.minor);
    gpu.memory_bytes = device.memory_bytes;
    const auto list_of = [&](OpKind kind) -> const ImplementationList& {
      return *module.implementations(&module, static_cast<int32_t>(kind));
    };
    gpu.precisions = precisions_of(list_of, device.architecture);
    gpu.why_not = device.why_not;
  }
}

}  // namespace

std::string Device::str() const {
  return type == DeviceType::cpu ? "cpu" : "cuda:" + std::to_string(index);
}

Device find_device(const std::string& name, std::string* why_not_gpu) {
  if (name == "auto") {
    const LoadedModule& cuda = cuda_module();
    if (cuda.outcome == ModuleOutcome::ok) return {DeviceType::cuda, cuda.first_device};
    if (why_not_gpu != nullptr) *why_not_gpu = cuda.reason;
    return {DeviceType::cpu, 0};
  }
  if (name == "cpu") return {DeviceType::cpu, 0};
  const bool is_numbered =
      name.rfind("cuda:", 0) == 0 && name.size() > 5 && name.size() < 10 &&
      std::all_of(name.begin() + 5, name.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (name == "cuda" || is_numbered) return find_gpu(name);
  fail(Code::invalid_argument, "there is no device \"{}\"; devices are auto, cpu, cuda, cuda:N",
       name);
}

double Backend::seconds_of(const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  synchronize();
  const Clock::time_point start = Clock::now();
  work();
  synchronize();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::unique_ptr<Backend> open_backend(const Device& device, int threads) {
  if (threads < 0 || threads > kMostThreads) {
    fail(Code::invalid_argument, "threads must be between 0 (all processors) and {}, got {}",
         kMostThreads, threads);
  }
  if (device.type == DeviceType::cuda) {
    const LoadedModule& cuda = cuda_module();
    const std::string why = why_not_device(cuda, device.index);
    if (!why.empty()) fail(Code::device, "{}: {}", device.str(), why);
    return std::make_unique<ModuleBackend>(*cuda.module, device.index);
  }
  return std::make_unique<CpuBackend>(threads > 0 ? threads : available_processors());
}

const char* version() { return TANUL_VERSION; }

SystemInfo system_info() {
  SystemInfo info;
  info.version = TANUL_VERSION;
  info.build = TANUL_BUILD_DESCRIPTION;
  info.cpu = cpu_model();
  info.isa = {cpu::simd_target()};
  info.threads = available_processors();
  info.precisions = precisions_of(cpu_implementations, 0);
  info.blas = cpu::blas_description();
  describe_cuda(info);
  return info;
}

}  // namespace tanul
