// SPDX-License-Identifier: Apache-2.0
// The engine's Backend over the CUDA backend's table, on a fake device that checks every call; and that
// the fake device does see what it is there for.
#include "backend/module_backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>

#include "backend/module_loader.h"
#include "kernels/cuda/kernel.h"
#include "support/expect_error.h"
#include "support/fake_cuda.h"

namespace tanul::test {
namespace {

std::string text_of(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

// y = factor x + y
void multiply_add(const float* x, float* y, int64_t n, float factor) {
  for (int64_t i = cuda::grid_thread(); i < n; i += cuda::grid_threads()) y[i] += factor * x[i];
}
int launch_multiply_add(Stream* stream, const void* x, void* y, int64_t n, float factor) {
  return cuda::launch(stream, multiply_add, cuda::blocks_for(n), cuda::kBlockThreads,
                      static_cast<const float*>(x), static_cast<float*>(y), n, factor);
}

class FakeDevice : public testing::Test {
 protected:
  FakeCuda fake_;
  ModuleInPlace in_place_{fake_.module()};

  void TearDown() override {
    EXPECT_EQ(text_of(fake_.violations()), "");
    EXPECT_EQ(text_of(fake_.leaks()), "");
  }
};

TEST_F(FakeDevice, IsFoundAndDescribed) {
  EXPECT_EQ(find_device("auto").str(), "cuda:0");
  EXPECT_EQ(find_device("cuda").str(), "cuda:0");
  EXPECT_EQ(find_device("cuda:0").str(), "cuda:0");
  expect_error(Code::device, "device \"cuda:1\": no GPU can be used: there is 1 GPU; ",
               [] { find_device("cuda:1"); });
  const SystemInfo info = system_info();
  EXPECT_EQ(info.cuda, "ok");
  EXPECT_EQ(info.cuda_versions,
            "driver 13.0, runtime 13.0, cuBLAS not found, cuDNN not found, code for sm_75, sm_80, "
            "sm_86, sm_89, sm_90, PTX of compute_90");
  ASSERT_EQ(info.gpus.size(), 1u);
  EXPECT_EQ(info.gpus[0].device, "cuda:0");
  EXPECT_EQ(info.gpus[0].compute_capability, "9.0");
  EXPECT_EQ(info.gpus[0].why_not, "");
  EXPECT_EQ(open_backend({DeviceType::cuda, 0}, 0)->description(), "cuda:0: Fake GPU");
}

TEST_F(FakeDevice, MemoryIsZeroCountedAndGivenBack) {
  const auto backend = open_backend({DeviceType::cuda, 0}, 0);
  const int64_t free = backend->free_bytes();
  {
    const DeviceMemory memory(*backend, 1000);
    EXPECT_EQ(backend->tensor_bytes(), 1000);
    EXPECT_EQ(backend->free_bytes(), free - 1000);
    std::vector<char> host(1000, 'x');
    backend->copy_out(host.data(), memory.data(), 1000);
    EXPECT_EQ(std::count(host.begin(), host.end(), '\0'), 1000);
  }
  EXPECT_EQ(backend->tensor_bytes(), 0);
  EXPECT_EQ(backend->peak_tensor_bytes(), 1000);
  EXPECT_EQ(backend->free_bytes(), free);
}

TEST_F(FakeDevice, CopiesOfAnySizeComeBack) {
  const auto backend = open_backend({DeviceType::cuda, 0}, 0);
  for (const int64_t bytes : {int64_t{1}, int64_t{4096}, int64_t{4097}, (int64_t{40} << 20) + 3}) {
    const DeviceMemory memory(*backend, bytes);
    std::vector<uint8_t> in(static_cast<size_t>(bytes)), out(in.size());
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint8_t>(i * 7 + i / 251);
    backend->copy_in(memory.data(), in.data(), bytes);
    backend->copy_out(out.data(), memory.data(), bytes);
    EXPECT_EQ(in, out) << bytes;
  }
}

// There are so many slots: the next write waits for the first copy, and none overtakes another.
TEST_F(FakeDevice, WritesInARowKeepTheirOrder) {
  const auto backend = open_backend({DeviceType::cuda, 0}, 0);
  constexpr int kWrites = 40;
  const DeviceMemory memory(*backend, kWrites * 64);
  for (int i = 0; i < kWrites; ++i) {
    std::byte* at = memory.data() + 64 * i;
    std::memset(backend->begin_write(at, 64), i + 1, 64);
    backend->end_write(at, 64);
  }
  std::vector<char> host(kWrites * 64);
  backend->copy_out(host.data(), memory.data(), kWrites * 64);
  for (int i = 0; i < kWrites; ++i) EXPECT_EQ(host[static_cast<size_t>(64 * i + 63)], i + 1);
  EXPECT_EQ(fake_.calls_of("cudaMallocHost"), 16);
}

// Large inputs cross on a stream of their own, into staging that the steps' stream copies from: neither may
// overtake the other. y = sum of i x_i, without a wait of the host.
TEST_F(FakeDevice, LargeInputsCrossBesideTheSteps) {
  const auto backend = open_backend({DeviceType::cuda, 0}, 0);
  constexpr int64_t kElems = 20000;
  constexpr int kWrites = 12;
  const DeviceMemory x(*backend, 4 * kElems), y(*backend, 4 * kElems);
  const int64_t free = backend->free_bytes();
  float sum = 0;
  for (int i = 1; i <= kWrites; ++i) {
    auto* to = static_cast<float*>(backend->begin_write(x.data(), 4 * kElems));
    for (int64_t k = 0; k < kElems; ++k) to[k] = static_cast<float>(i + k % 8);
    backend->end_write(x.data(), 4 * kElems);
    backend->begin_step();
    EXPECT_EQ(
        launch_multiply_add(backend->stream(), x.data(), y.data(), kElems, static_cast<float>(i)),
        0);
    backend->end_step();
    sum += static_cast<float>(i * i);
  }
  EXPECT_EQ(fake_.calls_of("cudaStreamSynchronize"), 0);
  EXPECT_EQ(free - backend->free_bytes(), 2 * 131072);  // staging
  std::vector<float> host(kElems);
  backend->copy_out(host.data(), y.data(), 4 * kElems);
  for (int64_t k = 0; k < kElems; ++k) {
    ASSERT_EQ(host[static_cast<size_t>(k)],
              sum + static_cast<float>(k % 8) * (kWrites * (kWrites + 1) / 2));
  }
}

TEST_F(FakeDevice, StagingLeavesMemoryThatMayBeNeeded) {
  const auto backend = open_backend({DeviceType::cuda, 0}, 0);
  const int64_t bytes = int64_t{30} << 20;  // in slots of 32 MiB: more than a quarter
  const DeviceMemory x(*backend, bytes);
  const int64_t free = backend->free_bytes();
  for (int i = 0; i < 3; ++i) {
    std::memset(backend->begin_write(x.data(), bytes), i, static_cast<size_t>(bytes));
    backend->end_write(x.data(), bytes);
  }
  EXPECT_EQ(backend->free_bytes(), free);
  char last = 0;
  backend->copy_out(&last, x.data() + bytes - 1, 1);
  EXPECT_EQ(last, 2);
}

TEST_F(FakeDevice, ReadbacksHoldWhatWasThereWhenTheyWereQueued) {
  const auto backend = open_backend({DeviceType::cuda, 0}, 0);
  const DeviceMemory memory(*backend, 8);
  std::vector<std::unique_ptr<Readback>> reads;
  for (int32_t i = 0; i < 5; ++i) {
    const int32_t values[] = {i, 10 * i};
    backend->copy_in(memory.data(), values, 8);
    reads.push_back(backend->make_readback(8));
    reads.back()->copy(4, memory.data(), 4);
    reads.back()->copy(0, memory.data() + 4, 4);
    reads.back()->end();
  }
  EXPECT_EQ(fake_.calls_of("cudaStreamSynchronize"), 0);
  for (int32_t i = 0; i < 5; ++i) {
    int32_t values[2];
    std::memcpy(values, reads[static_cast<size_t>(i)]->wait(), 8);
    EXPECT_EQ(values[0], 10 * i);
    EXPECT_EQ(values[1], i);
  }
}

// One that nobody waits for, in front of which nothing has run yet.
TEST_F(FakeDevice, AReadbackMayBeDropped) {
  const auto backend = open_backend({DeviceType::cuda, 0}, 0);
  const DeviceMemory memory(*backend, 8);
  const auto read = backend->make_readback(8);
  read->copy(0, memory.data(), 8);
}

TEST_F(FakeDevice, ReplayIsTheWalk) {
  const auto backend = open_backend({DeviceType::cuda, 0}, 0);
  constexpr int64_t kElems = 1000;
  const DeviceMemory x(*backend, 4 * kElems), y(*backend, 4 * kElems);
  std::vector<float> host(kElems);
  std::iota(host.begin(), host.end(), 1.0f);
  backend->copy_in(x.data(), host.data(), 4 * kElems);
  const auto walk = [&] {
    for (const float factor : {0.5f, 3.0f}) {
      EXPECT_EQ(launch_multiply_add(backend->stream(), x.data(), y.data(), kElems, factor), 0);
    }
  };
  backend->begin_step();
  walk();
  backend->begin_recording();
  walk();
  const std::unique_ptr<Recording> recording = backend->end_recording();
  backend->replay(*recording);
  backend->replay(*recording);
  backend->end_step();
  backend->copy_out(host.data(), y.data(), 4 * kElems);
  for (int64_t i = 0; i < kElems; ++i) {
    ASSERT_EQ(host[static_cast<size_t>(i)], 3 * 3.5f * static_cast<float>(i + 1));
  }
  EXPECT_EQ(fake_.kernels_run(), 6);
}

TEST_F(FakeDevice, ARecordingThatIsDroppedRunsNothing) {
  const auto backend = open_backend({DeviceType::cuda, 0}, 0);
  const DeviceMemory x(*backend, 400), y(*backend, 400);
  backend->begin_step();
  backend->begin_recording();
  EXPECT_EQ(launch_multiply_add(backend->stream(), x.data(), y.data(), 100, 1), 0);
  backend->drop_recording();
  backend->synchronize();
  backend->end_step();
  EXPECT_EQ(fake_.kernels_run(), 0);
}

TEST_F(FakeDevice, OutOfMemorySaysHowMuch) {
  const auto backend = open_backend({DeviceType::cuda, 0}, 0);
  expect_error(Code::out_of_memory,
               "cuda:0: the plan needs 268435457 bytes and 268435456 are free: cudaMalloc of "
               "268435457 bytes: cudaErrorMemoryAllocation (out of memory)",
               [&] { backend->allocate((int64_t{256} << 20) + 1); });
  EXPECT_EQ(backend->tensor_bytes(), 0);
}

TEST_F(FakeDevice, AnErrorNamesTheCall) {
  const auto backend = open_backend({DeviceType::cuda, 0}, 0);
  fake_.fail_at(2);
  expect_error(Code::device, "cuda:0: cudaStreamSynchronize: cudaErrorUnknown (unknown error)",
               [&] { backend->synchronize(); });
}

// --- machines on which it cannot be used ----------------------------------------------------------

std::string why_not(const FakeCudaOptions& options) {
  const FakeCuda fake(options);
  const ModuleInPlace in_place(fake.module());
  std::string why;
  EXPECT_EQ(find_device("auto", &why).str(), "cpu");
  expect_error(Code::device, why, [] { find_device("cuda"); });
  expect_error(Code::device, why, [] { find_device("cuda:0"); });
  EXPECT_EQ(system_info().cuda, "no device: " + why);
  return why;
}

TEST(WithoutUsableGpu, EachReasonIsToldApart) {
  EXPECT_EQ(why_not({.driver = 0}), "there is no NVIDIA driver");
  EXPECT_EQ(why_not({.driver = 12020}),
            "the NVIDIA driver is too old: it supports CUDA 12.2, and CUDA 13.0 is needed");
  EXPECT_EQ(why_not({.devices = 0}), "the NVIDIA driver finds no GPU");
  EXPECT_EQ(why_not({.major = 7, .minor = 0}),
            "no kernel fits Fake GPU (sm_70); this module has sm_75, sm_80, sm_86, sm_89, sm_90, "
            "PTX of compute_90");
}

TEST(ArchitectureFor, CodeRunsOnItsFamilyAndPtxOnWhatIsNewer) {
  const int32_t built[] = {75, 80, 86, 120};
  const cuda::Parts without_ptx{nullptr, "", built, 4, 0, nullptr};
  EXPECT_EQ(cuda::architecture_for(without_ptx, 7, 5), 75);
  EXPECT_EQ(cuda::architecture_for(without_ptx, 8, 9), 86);
  EXPECT_EQ(cuda::architecture_for(without_ptx, 8, 0), 80);
  EXPECT_EQ(cuda::architecture_for(without_ptx, 7, 0), 0);
  EXPECT_EQ(cuda::architecture_for(without_ptx, 9, 0), 0);
  EXPECT_EQ(cuda::architecture_for(without_ptx, 12, 1), 120);
  // PTX of an old architecture has no more in it than that architecture had.
  const cuda::Parts with_ptx{nullptr, "", built, 1, 75, nullptr};
  EXPECT_EQ(cuda::architecture_for(with_ptx, 9, 0), 75);
  EXPECT_EQ(cuda::architecture_for(with_ptx, 7, 0), 0);
}

// --- the fake device sees what it is there for ----------------------------------------------------

class FakeDeviceSees : public testing::Test {
 protected:
  FakeCuda fake_;
  const BackendModule& module_ = *fake_.module();
  ModuleDevice* device_ = nullptr;
  Stream* stream_ = nullptr;
  void* memory_ = nullptr;
  void* pinned_ = nullptr;

  void SetUp() override {
    ASSERT_EQ(module_.open(&module_, 0, &device_), 0);
    ASSERT_EQ(module_.create_stream(device_, &stream_), 0);
    ASSERT_EQ(module_.allocate(device_, &memory_, 4096), 0);
    ASSERT_EQ(module_.allocate_pinned(device_, &pinned_, 4096), 0);
    ASSERT_EQ(text_of(fake_.violations()), "");
  }
  void TearDown() override {
    module_.destroy_stream(device_, stream_);
    module_.close(device_);
  }

  void expect_violation(const std::string& part) {
    ASSERT_FALSE(fake_.violations().empty()) << "nothing was seen; expected: " << part;
    EXPECT_NE(fake_.violations().front().find(part), std::string::npos)
        << fake_.violations().front();
  }
};

TEST_F(FakeDeviceSees, PinnedMemoryThatIsWrittenTooEarly) {
  module_.copy(device_, memory_, pinned_, 64, ModuleCopy::to_device, stream_);
  std::memset(pinned_, 1, 64);
  module_.synchronize(device_, stream_);
  expect_violation("pinned memory was written before a copy of 64 bytes from it had ended");
}

TEST_F(FakeDeviceSees, HostMemoryThatIsNotPinned) {
  char host[64] = {};
  module_.copy(device_, memory_, host, 64, ModuleCopy::to_device, stream_);
  expect_violation("not between device memory and pinned memory");
}

TEST_F(FakeDeviceSees, ACopyBeyondTheEnd) {
  module_.copy(device_, memory_, pinned_, 4097, ModuleCopy::to_device, stream_);
  expect_violation("not between");
}

TEST_F(FakeDeviceSees, MemoryThatIsFreedTwiceOrByTheWrongFunction) {
  EXPECT_EQ(module_.release(device_, memory_), 0);
  EXPECT_NE(module_.release(device_, memory_), 0);
  EXPECT_NE(module_.release(device_, pinned_), 0);
  EXPECT_EQ(fake_.violations().size(), 2u);
  expect_violation("cudaFree of what is not allocated so");
}

TEST_F(FakeDeviceSees, AStreamThatWasDestroyed) {
  Stream* other = nullptr;
  ASSERT_EQ(module_.create_stream(device_, &other), 0);
  const cuda::Queue queue = *reinterpret_cast<const cuda::Queue*>(other);
  module_.destroy_stream(device_, other);
  EXPECT_NE(queue.api->synchronize(queue.stream), 0);
  expect_violation("cudaStreamSynchronize on a stream that is not there");
}

TEST_F(FakeDeviceSees, TheDefaultStream) {
  const cuda::Queue& queue = *reinterpret_cast<const cuda::Queue*>(stream_);
  EXPECT_NE(queue.api->synchronize(nullptr), 0);
  expect_violation("on the default stream");
}

TEST_F(FakeDeviceSees, EventsAndGraphsThatWereDestroyed) {
  ModuleEvent* event = nullptr;
  ASSERT_EQ(module_.create_event(device_, 0, &event), 0);
  module_.destroy_event(device_, event);
  EXPECT_NE(module_.record(device_, event, stream_), 0);
  expect_violation("cudaEventRecord with an event that is not there");
  ModuleGraph* graph = nullptr;
  ASSERT_EQ(module_.begin_capture(device_, stream_), 0);
  ASSERT_EQ(module_.end_capture(device_, stream_, &graph), 0);
  EXPECT_EQ(module_.destroy_graph(device_, graph), 0);
  EXPECT_NE(module_.launch_graph(device_, graph, stream_), 0);
  EXPECT_EQ(fake_.violations().size(), 2u);
}

TEST_F(FakeDeviceSees, AllocationAndWaitingWhileCapturing) {
  using Call = std::function<int()>;
  void* more = nullptr;
  for (const Call& call : {Call([&] { return module_.allocate(device_, &more, 1); }),
                           Call([&] { return module_.allocate_pinned(device_, &more, 1); }),
                           Call([&] { return module_.release(device_, memory_); }),
                           Call([&] { return module_.synchronize(device_, stream_); })}) {
    const size_t before = fake_.violations().size();
    ModuleGraph* graph = nullptr;
    ASSERT_EQ(module_.begin_capture(device_, stream_), 0);
    EXPECT_NE(call(), 0);
    EXPECT_EQ(fake_.violations().size(), before + 1);
    EXPECT_NE(module_.end_capture(device_, stream_, &graph), 0);
    EXPECT_EQ(graph, nullptr);
  }
  expect_violation("cudaMalloc while a stream captures");
}

TEST_F(FakeDeviceSees, AGraphThatIsDestroyedWhileItIsQueued) {
  ModuleGraph* graph = nullptr;
  ASSERT_EQ(module_.begin_capture(device_, stream_), 0);
  ASSERT_EQ(module_.fill_zero(device_, memory_, 4096, stream_), 0);
  ASSERT_EQ(module_.end_capture(device_, stream_, &graph), 0);
  ASSERT_EQ(module_.launch_graph(device_, graph, stream_), 0);
  module_.destroy_graph(device_, graph);
  expect_violation("while it is queued");
}

TEST_F(FakeDeviceSees, AKernelThatWritesBehindItsMemory) {
  void* small = nullptr;
  ASSERT_EQ(module_.allocate(device_, &small, 40), 0);
  std::memset(pinned_, 0x40, 4096);
  ASSERT_EQ(module_.copy(device_, memory_, pinned_, 4096, ModuleCopy::to_device, stream_), 0);
  ASSERT_EQ(launch_multiply_add(stream_, memory_, small, 11, 1), 0);
  ASSERT_EQ(module_.release(device_, small), 0);
  expect_violation("a write 40 bytes from the begin of 40 bytes of memory");
}

TEST_F(FakeDeviceSees, WhatIsNotFreed) {
  EXPECT_EQ(text_of(fake_.leaks()),
            "device memory of 4096 bytes\npinned memory of 4096 bytes\nstream 1\n");
}

TEST_F(FakeDeviceSees, WhatIsCopiedToTheHostIsGarbageUntilTheHostWaits) {
  std::memset(pinned_, 5, 4);
  ASSERT_EQ(module_.fill_zero(device_, memory_, 4096, stream_), 0);
  ASSERT_EQ(module_.copy(device_, pinned_, memory_, 4, ModuleCopy::to_host, stream_), 0);
  EXPECT_EQ(*static_cast<unsigned char*>(pinned_), 0xFF);
  ASSERT_EQ(module_.synchronize(device_, stream_), 0);
  EXPECT_EQ(*static_cast<unsigned char*>(pinned_), 0);
}

TEST_F(FakeDeviceSees, EventsOrderStreams) {
  Stream* other = nullptr;
  ModuleEvent* event = nullptr;
  ASSERT_EQ(module_.create_stream(device_, &other), 0);
  ASSERT_EQ(module_.create_event(device_, 0, &event), 0);
  std::memset(pinned_, 7, 4096);
  module_.copy(device_, memory_, pinned_, 4096, ModuleCopy::to_device, stream_);
  module_.record(device_, event, stream_);
  module_.wait(device_, other, event);
  module_.fill_zero(device_, memory_, 2048, other);
  EXPECT_EQ(module_.synchronize(device_, other), 0);  // runs the copy first
  module_.copy(device_, pinned_, memory_, 4096, ModuleCopy::to_host, stream_);
  module_.synchronize(device_, stream_);
  EXPECT_EQ(static_cast<char*>(pinned_)[0], 0);
  EXPECT_EQ(static_cast<char*>(pinned_)[4095], 7);
  EXPECT_EQ(text_of(fake_.violations()), "");
  module_.destroy_event(device_, event);
  module_.destroy_stream(device_, other);
}

using FakeDeviceDeathTest = FakeDeviceSees;

TEST_F(FakeDeviceDeathTest, TheHostCannotReadDeviceMemory) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH({ EXPECT_EQ(*static_cast<volatile char*>(memory_), 0); }, "");
}

}  // namespace
}  // namespace tanul::test
