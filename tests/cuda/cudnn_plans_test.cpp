// SPDX-License-Identifier: Apache-2.0
// The real cuDNN, where it is installed, asked for the convolutions of well-known networks on an H100. It
// needs no GPU for that: told the properties of one, it says which engines it has, what they promise, and
// how much memory they need. Nothing is computed.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <string>

#include "core/format.h"
#include "kernels/cuda/convolution_cudnn_16_bit.h"
#include "kernels/cuda/library_files.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

namespace tanul::test {
namespace {

// What cuDNN keeps until the process ends is not for LeakSanitizer.
#if defined(__SANITIZE_ADDRESS__)
using Unwatched = __lsan::ScopedDisabler;
#else
struct Unwatched {};
#endif

using namespace cuda::cudnn;
using cuda::ConvolutionKind;
using cuda::ConvolutionShape;

// Numbers of cuDNN that only this test needs.
constexpr auto kDeviceProperties = static_cast<Kind>(38);
constexpr auto kPropertiesAsJson = static_cast<Name>(2702);
constexpr auto kHeuristicsProperties = static_cast<Name>(204);
constexpr auto kPlanProperties = static_cast<Name>(407);
constexpr auto kChar = static_cast<Type>(24);

constexpr char kH100[] =
    R"({"version": 1, "cudaDeviceId": 0, "deviceVer": 900, "driverVer": 13000,
    "deviceName": "NVIDIA H100 80GB HBM3", "multiProcessorCount": 132,
    "totalGlobalMem": 85000000000, "maxGridSize": [2147483647, 65535, 65535],
    "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536, "warpSize": 32,
    "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448,
    "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32,
    "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 9009, "isTccDriver": 0,
    "supportCoopLaunch": 1, "smClockRateKHz": 1980000, "memClockRateKHz": 2619000,
    "l2CacheSize": 52428800})";

Api real;

// The real table, but for what takes a handle, of which there is none without a GPU: in its place go the
// properties.
Api table_without_gpu() {
  Api api = real;
  api.create = [](Handle* properties) {
    if (int e = real.create_descriptor(kDeviceProperties, properties)) return e;
    if (int e = real.set(*properties, kPropertiesAsJson, kChar, sizeof kH100, kH100)) return e;
    return real.finalize(*properties);
  };
  api.destroy = [](Handle properties) { return real.destroy_descriptor(properties); };
  api.set = [](Descriptor descriptor, Name name, Type type, int64_t count, const void* values) {
    static Handle properties = nullptr;
    if (name == Name::graph_handle) {
      properties = *static_cast<const Handle*>(values);
      return 0;
    }
    if (name == Name::plan_handle) {
      return real.set(descriptor, kPlanProperties, Type::descriptor, count, values);
    }
    if (name == Name::heuristics_mode) {
      if (int e = real.set(descriptor, kHeuristicsProperties, Type::descriptor, 1, &properties)) {
        return e;
      }
    }
    return real.set(descriptor, name, type, count, values);
  };
  return api;
}

struct Layer {
  const char* name;
  int64_t N, C, H, K, R, stride, pad, groups;
};

ConvolutionShape shape_of(const Layer& layer, ConvolutionKind kind, Precision precision,
                          bool wants_any_order = false) {
  const int64_t P = (layer.H + 2 * layer.pad - layer.R) / layer.stride + 1;
  return {kind,
          2,
          precision,
          wants_any_order,
          {layer.N, layer.C, layer.H, layer.H},
          {layer.K, layer.C / layer.groups, layer.R, layer.R},
          {layer.N, layer.K, P, P},
          {layer.stride, layer.stride},
          {1, 1},
          {layer.pad, layer.pad},
          {layer.pad, layer.pad}};
}

const Layer kLayers[] = {{"LeNet conv2", 64, 20, 12, 50, 5, 1, 0, 1},
                         {"AlexNet conv1", 128, 3, 224, 64, 11, 4, 2, 1},
                         {"ResNet conv1", 64, 3, 224, 64, 7, 2, 3, 1},
                         {"ResNet 3x3", 64, 128, 28, 128, 3, 1, 1, 1},
                         {"ResNet 1x1, stride 2", 64, 256, 28, 512, 1, 2, 0, 1},
                         {"ResNeXt, 32 groups", 16, 128, 28, 128, 3, 1, 1, 32},
                         {"one image of one pixel", 1, 1, 1, 1, 1, 1, 0, 1}};
constexpr ConvolutionKind kKinds[] = {ConvolutionKind::forward, ConvolutionKind::backward_data,
                                      ConvolutionKind::backward_weights};

TEST(RealCudnn, HasEnginesForWellKnownLayers) {
  [[maybe_unused]] const Unwatched unwatched{};
  if (!cuda::find_cudnn("libcudnn.so.9", real)) GTEST_SKIP() << "cuDNN 9 was not found";
  if (real.version() < 90800) GTEST_SKIP() << "cuDNN " << real.version() << " needs a GPU for that";
  const Api api = table_without_gpu();
  cuda::Cudnn cudnn(api);
  cuda::Convolutions convolutions(cudnn);
  for (const Layer& layer : kLayers) {
    for (const auto kind : kKinds) {
      for (const auto precision : {Precision::fp32, Precision::tf32}) {
        const cuda::Preparation& made = convolutions.prepare(shape_of(layer, kind, precision));
        EXPECT_EQ(made.failure + made.refusal, "")
            << layer.name << ", kind " << static_cast<int>(kind);
        EXPECT_LE(made.workspace_bytes, int64_t{1} << 30) << layer.name;
      }
    }
  }
}

// Products of 16 bits with results in float32, as convolution_cudnn_16_bit.h asks for them: all but the gradients
// of groups. These engines are compiled when they are planned, and handed to the driver of a GPU: without
// one there are none, which is a refusal and no failure.
TEST(RealCudnn, HasEnginesOf16BitsForWellKnownLayers) {
  [[maybe_unused]] const Unwatched unwatched{};
  if (!cuda::find_cudnn("libcudnn.so.9", real)) GTEST_SKIP() << "cuDNN 9 was not found";
  if (real.version() < 90800) GTEST_SKIP() << "cuDNN " << real.version() << " needs a GPU for that";
  const bool has_driver = dlopen("libcuda.so.1", RTLD_LAZY) != nullptr;
  const Api api = table_without_gpu();
  cuda::Cudnn cudnn(api);
  cuda::Convolutions convolutions(cudnn);
  for (const Layer& layer : kLayers) {
    const bool is_first = layer.name == kLayers[0].name;
    if (!has_driver && !is_first) break;  // the answer is the same
    for (const auto kind : kKinds) {
      for (const auto precision : {Precision::bf16, Precision::fp16}) {
        if (precision == Precision::fp16 && !is_first) continue;  // each takes a second
        const ConvolutionShape shape =
            cuda::conv_cudnn::filled_up(shape_of(layer, kind, precision));
        const cuda::Preparation& made = convolutions.prepare(shape);
        const std::string what = fmt::format("{}, kind {}, {}", layer.name, static_cast<int>(kind),
                                             precision_name(precision));
        EXPECT_EQ(made.failure, "") << what;
        const bool is_planned =
            has_driver && (layer.groups == 1 || kind == ConvolutionKind::forward);
        EXPECT_EQ(made.refusal, is_planned ? ""
                                           : "cuDNN has no engine that keeps to its terms, its "
                                             "precision and their order")
            << what;
      }
    }
  }
}

// Its engines without a fixed order of sums are for gradients, and its first choice for some.
TEST(RealCudnn, HasEnginesWithoutAnOrderForSomeGradients) {
  [[maybe_unused]] const Unwatched unwatched{};
  if (!cuda::find_cudnn("libcudnn.so.9", real)) GTEST_SKIP() << "cuDNN 9 was not found";
  if (real.version() < 90800) GTEST_SKIP() << "cuDNN " << real.version() << " needs a GPU for that";
  const Api api = table_without_gpu();
  cuda::Cudnn cudnn(api);
  cuda::Convolutions convolutions(cudnn);
  int found[3] = {};
  for (const Layer& layer : kLayers) {
    for (const auto kind : kKinds) {
      const cuda::Preparation& made =
          convolutions.prepare(shape_of(layer, kind, Precision::fp32, true));
      EXPECT_EQ(made.failure, "") << layer.name;
      if (made.refusal.empty()) {
        ++found[static_cast<int>(kind)];
      } else {
        EXPECT_EQ(made.refusal, "cuDNN's first choice has a fixed order of sums") << layer.name;
      }
    }
  }
  EXPECT_EQ(found[0], 0);
  EXPECT_GT(found[1], 0);
  EXPECT_GT(found[2], 0);
}

// What it does not take is refused, and is no failure.
TEST(RealCudnn, RefusesWhatDoesNotFitTogether) {
  [[maybe_unused]] const Unwatched unwatched{};
  if (!cuda::find_cudnn("libcudnn.so.9", real)) GTEST_SKIP() << "cuDNN 9 was not found";
  if (real.version() < 90800) GTEST_SKIP() << "cuDNN " << real.version() << " needs a GPU for that";
  const Api api = table_without_gpu();
  cuda::Cudnn cudnn(api);
  cuda::Convolutions convolutions(cudnn);
  ConvolutionShape shape =
      shape_of({"", 4, 8, 9, 8, 3, 1, 1, 1}, ConvolutionKind::forward, Precision::fp32);
  shape.y[2] = 5;  // 9 rows fit
  const cuda::Preparation& made = convolutions.prepare(shape);
  EXPECT_EQ(made.failure, "");
  EXPECT_EQ(made.refusal.rfind("cuDNN does not take it: CUDNN_STATUS_", 0), 0u) << made.refusal;
}

}  // namespace
}  // namespace tanul::test
