// SPDX-License-Identifier: Apache-2.0
#include "support/gpu_under_test.h"

#include <cstdlib>
#include <map>
#include <vector>

#include "backend/backend.h"
#include "backend/module_loader.h"
#include "core/format.h"
#ifdef TANUL_EMULATE_CUDA
#include "support/fake_cuda.h"
#endif

namespace tanul::test {

namespace {

// A module's table with a counter in front of what takes something from the device.
class CountingModule {
 public:
  explicit CountingModule(const BackendModule& real) {
    real_ = &real;
    table_ = real;
    // Functions that get the module want their own table.
    table_.info = [](const BackendModule*, ModuleInfo* info) { return real_->info(real_, info); };
    table_.device_count = [](const BackendModule*, int32_t* count) {
      return real_->device_count(real_, count);
    };
    table_.device_info = [](const BackendModule*, int32_t index, ModuleDeviceInfo* info) {
      return real_->device_info(real_, index, info);
    };
    table_.open = [](const BackendModule*, int32_t index, ModuleDevice** device) {
      return real_->open(real_, index, device);
    };
    table_.implementations = [](const BackendModule*, int32_t kind) {
      return real_->implementations(real_, kind);
    };
    table_.last_error = [](const BackendModule*) { return real_->last_error(real_); };
    table_.describe = [](const BackendModule*, int status) {
      return real_->describe(real_, status);
    };
    table_.is_out_of_memory = [](const BackendModule*, int status) {
      return real_->is_out_of_memory(real_, status);
    };
    table_.allocate = [](ModuleDevice* device, void** memory, int64_t bytes) {
      ++count_;
      return real_->allocate(device, memory, bytes);
    };
    table_.allocate_pinned = [](ModuleDevice* device, void** memory, int64_t bytes) {
      ++count_;
      return real_->allocate_pinned(device, memory, bytes);
    };
    table_.create_stream = [](ModuleDevice* device, Stream** stream) {
      ++count_;
      return real_->create_stream(device, stream);
    };
    table_.create_event = [](ModuleDevice* device, int32_t has_timing, ModuleEvent** event) {
      ++count_;
      return real_->create_event(device, has_timing, event);
    };
    table_.begin_capture = [](ModuleDevice* device, Stream* stream) {
      ++count_;
      return real_->begin_capture(device, stream);
    };
  }
  const BackendModule* table() const { return &table_; }
  int64_t count() const { return count_; }

 private:
  static inline const BackendModule* real_ = nullptr;
  static inline int64_t count_ = 0;
  BackendModule table_;
};

// A backend as a device of the tests of ops. Blocks of memory are used again, by size: the suite takes a
// few hundred thousand of them.
class BackendTestDevice : public TestDevice {
 public:
  explicit BackendTestDevice(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}
  ~BackendTestDevice() override {
    for (const auto& [bytes, blocks] : free_) {
      for (std::byte* block : blocks) backend_->release(block, static_cast<int64_t>(bytes));
    }
  }

  const char* name() const override { return "Gpu"; }
  void enter() override {
    error_.clear();
    backend_->begin_step();
  }
  const ImplementationList& implementations(OpKind kind) const override {
    return backend_->implementations(kind);
  }
  int run(const Implementation& implementation, const StepArgs& args, int) override {
    error_.clear();
    backend_->begin_step();
    int status = implementation.launch(backend_->stream(), args);
    if (status != 0) error_ = backend_->status_text(status);
    try {
      backend_->synchronize();
    } catch (const Error& e) {
      error_ = e.what();
      status = -1;
    }
    backend_->end_step();
    return status;
  }
  std::string last_error() const override { return error_; }

  std::byte* allocate(size_t bytes) override {
    std::vector<std::byte*>& blocks = free_[bytes];
    std::byte* block = nullptr;
    if (blocks.empty()) {
      block = static_cast<std::byte*>(backend_->allocate(static_cast<int64_t>(bytes)));
    } else {
      block = blocks.back();
      blocks.pop_back();
    }
    used_[block] = bytes;
    return block;
  }
  void release(std::byte* memory) override {
    const auto found = used_.find(memory);
    free_[found->second].push_back(memory);
    used_.erase(found);
  }
  void copy_to(std::byte* memory, const std::byte* host, size_t bytes) override {
    backend_->copy_in(memory, host, static_cast<int64_t>(bytes));
  }
  void copy_from(std::byte* host, const std::byte* memory, size_t bytes) override {
    backend_->copy_out(host, memory, static_cast<int64_t>(bytes));
  }
  bool has_host_memory() const override { return false; }

 private:
  std::unique_ptr<Backend> backend_;
  std::string error_;
  std::map<size_t, std::vector<std::byte*>> free_;
  std::map<std::byte*, size_t> used_;
};

class CpuUnderTest : public GpuUnderTest {
 public:
  CpuUnderTest() { device_ = "cpu"; }
  TestDevice& test_device() override { return cpu_device(); }
};

class ModuleUnderTest : public GpuUnderTest {
 public:
  explicit ModuleUnderTest(const std::string& wanted) {
    is_fake_ = wanted == "fake";
#ifdef TANUL_EMULATE_CUDA
    if (is_fake_) fake_ = std::make_unique<FakeCuda>();
    const BackendModule* module = is_fake_ ? fake_->module() : cuda_module().module;
#else
    if (is_fake_) fail(Code::device, "TANUL_TEST_DEVICE=fake: this build has no emulation");
    const BackendModule* module = cuda_module().module;
#endif
    // Throws with the reason where there is none.
    device_ = is_fake_ ? "cuda:0" : find_device(wanted).str();
    counting_ = std::make_unique<CountingModule>(*module);
    in_place_ = std::make_unique<ModuleInPlace>(counting_->table());
    backend_ = open_backend(find_device(device_), 0);
  }
  int64_t allocations() const override { return counting_->count(); }
  int64_t free_bytes() const override { return backend_->free_bytes(); }
  TestDevice& test_device() override {
    if (test_device_ == nullptr) {
      test_device_ = std::make_unique<BackendTestDevice>(open_backend(find_device(device_), 0));
    }
    return *test_device_;
  }

 private:
#ifdef TANUL_EMULATE_CUDA
  std::unique_ptr<FakeCuda> fake_;
#endif
  std::unique_ptr<CountingModule> counting_;
  std::unique_ptr<ModuleInPlace> in_place_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<TestDevice> test_device_;
};

}  // namespace

GpuUnderTest* GpuUnderTest::get() {
  static const std::unique_ptr<GpuUnderTest> device = []() -> std::unique_ptr<GpuUnderTest> {
    const char* wanted = std::getenv("TANUL_TEST_DEVICE");
    if (wanted == nullptr || *wanted == '\0') return nullptr;
    if (std::string(wanted) == "cpu") return std::make_unique<CpuUnderTest>();
    return std::make_unique<ModuleUnderTest>(wanted);
  }();
  return device.get();
}

}  // namespace tanul::test
