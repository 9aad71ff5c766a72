// SPDX-License-Identifier: Apache-2.0
// The real cuDNN, where it is installed, asked for the convolutions and poolings of well-known networks on an
// H100, and for what it does not plan on dense float32 tensors. It needs no GPU for that: told the properties
// of one, it says which engines it has, what they promise, and how much memory they need. Nothing is
// computed.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/format.h"
#include "kernels/cuda/convolution_cudnn_16_bit.h"
#include "kernels/cuda/library_files.h"
#include "kernels/cuda/poolings.h"
#include "kernels/cuda/softmaxes.h"

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
using cuda::PoolingKind;

// Numbers of cuDNN that only this test needs.
constexpr auto kDeviceProperties = static_cast<Kind>(38);
constexpr auto kPropertiesAsJson = static_cast<Name>(2702);
constexpr auto kHeuristicsProperties = static_cast<Name>(204);
constexpr auto kPlanProperties = static_cast<Name>(407);
constexpr auto kChar = static_cast<Type>(24);
constexpr auto kPointwise = static_cast<Kind>(0), kPointwiseOperation = static_cast<Kind>(13);
constexpr auto kReduction = static_cast<Kind>(21), kReductionOperation = static_cast<Kind>(22);
constexpr auto kNormForward = static_cast<Kind>(29), kNormBackward = static_cast<Kind>(30);
constexpr auto kBoolean = static_cast<Type>(2), kPointwiseMode = static_cast<Type>(14);
constexpr auto kReductionOperator = static_cast<Type>(18);
constexpr auto kNormMode = static_cast<Type>(27), kNormPhase = static_cast<Type>(28);
constexpr auto kTensorIsVirtual = static_cast<Name>(907), kTensorIsByValue = static_cast<Name>(908);

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

class RealCudnn : public testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::find_cudnn("libcudnn.so.9", real)) GTEST_SKIP() << "cuDNN 9 was not found";
    if (real.version() < 90800) {
      GTEST_SKIP() << "cuDNN " << real.version() << " needs a GPU for that";
    }
    api_ = table_without_gpu();
  }
  cuda::Cudnn& cudnn() { return cudnn_; }

 private:
  [[maybe_unused]] const Unwatched unwatched_{};
  Api api_{};
  cuda::Cudnn cudnn_{api_};
};

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
                         {"MobileNet, every channel by itself", 16, 32, 28, 32, 3, 1, 1, 32},
                         {"groups of 3 and 5 channels", 16, 6, 28, 10, 3, 1, 1, 2},
                         {"one image of one pixel", 1, 1, 1, 1, 1, 1, 0, 1}};
constexpr ConvolutionKind kKinds[] = {ConvolutionKind::forward, ConvolutionKind::backward_data,
                                      ConvolutionKind::backward_weights};

TEST_F(RealCudnn, HasEnginesForWellKnownLayers) {
  cuda::Convolutions convolutions(cudnn());
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

// As convolution_cudnn_16_bit.h asks for them.
TEST_F(RealCudnn, HasEnginesOf16BitsForWellKnownLayers) {
  cuda::Convolutions convolutions(cudnn());
  for (const Layer& layer : kLayers) {
    for (const auto kind : kKinds) {
      for (const auto precision : {Precision::bf16, Precision::fp16}) {
        const cuda::Preparation& made =
            convolutions.prepare(cuda::conv_cudnn::filled_up(shape_of(layer, kind, precision)));
        EXPECT_EQ(made.failure + made.refusal, "")
            << layer.name << ", kind " << static_cast<int>(kind) << ", "
            << precision_name(precision);
        EXPECT_LE(made.workspace_bytes, int64_t{1} << 30) << layer.name;
      }
    }
  }
}

// Its engines without a fixed order of sums are for gradients, and its first choice for some.
TEST_F(RealCudnn, HasEnginesWithoutAnOrderForSomeGradients) {
  cuda::Convolutions convolutions(cudnn());
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
TEST_F(RealCudnn, RefusesWhatDoesNotFitTogether) {
  cuda::Convolutions convolutions(cudnn());
  ConvolutionShape shape =
      shape_of({"", 4, 8, 9, 8, 3, 1, 1, 1}, ConvolutionKind::forward, Precision::fp32);
  shape.y[2] = 5;  // 9 rows fit
  const cuda::Preparation& made = convolutions.prepare(shape);
  EXPECT_EQ(made.failure, "");
  EXPECT_EQ(made.refusal.rfind("cuDNN does not take it: CUDNN_STATUS_", 0), 0u) << made.refusal;
}

// --- pooling --------------------------------------------------------------------------------------

struct Windows {
  const char* name;
  cuda::PoolingShape::Extents x;
  cuda::PoolingShape::Axes window, stride, pad_begin, pad_end;
  int32_t axes = 2;
};

cuda::PoolingShape shape_of(const Windows& windows, PoolingKind kind, bool counts_padding) {
  cuda::PoolingShape shape{kind,           windows.axes,   counts_padding,    windows.x,      {},
                           windows.window, windows.stride, windows.pad_begin, windows.pad_end};
  shape.y = {windows.x[0], windows.x[1]};
  for (size_t i = 0; i < static_cast<size_t>(windows.axes); ++i) {
    const int64_t padded = windows.x[i + 2] + windows.pad_begin[i] + windows.pad_end[i];
    shape.y[i + 2] = (padded - windows.window[i]) / windows.stride[i] + 1;
  }
  return shape;
}

TEST_F(RealCudnn, HasEnginesForPooling) {
  cuda::Poolings poolings(cudnn());
  const Windows all[] = {
      {"LeNet pool1", {64, 20, 24, 24}, {2, 2}, {2, 2}, {0, 0}, {0, 0}},
      {"ResNet pool1", {64, 64, 112, 112}, {3, 3}, {2, 2}, {1, 1}, {1, 1}},
      {"ResNet, the whole plane", {64, 2048, 7, 7}, {7, 7}, {1, 1}, {0, 0}, {0, 0}},
      {"padding that differs", {2, 3, 9, 8}, {3, 4}, {1, 2}, {0, 3}, {2, 1}},
      {"what ceil_mode adds", {2, 3, 8, 8}, {3, 3}, {2, 2}, {0, 0}, {1, 1}},
      {"a rest that no window reaches", {2, 3, 9, 8}, {2, 3}, {3, 3}, {0, 0}, {0, 0}},
      {"a signal", {3, 4, 1, 37}, {1, 2}, {1, 2}, {0, 0}, {0, 0}},
      {"a volume", {2, 3, 5, 6, 7}, {2, 3, 2}, {2, 1, 2}, {0, 1, 0}, {0, 1, 1}, 3},
      {"one image of one pixel", {1, 1, 1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}}};
  for (const Windows& windows : all) {
    for (const auto kind :
         {PoolingKind::max_forward, PoolingKind::average_forward, PoolingKind::average_backward}) {
      for (const bool counts_padding : {false, true}) {
        if (counts_padding && kind == PoolingKind::max_forward) continue;
        const cuda::Preparation& made = poolings.prepare(shape_of(windows, kind, counts_padding));
        EXPECT_EQ(made.failure + made.refusal, "")
            << windows.name << ", kind " << static_cast<int>(kind) << ", " << counts_padding;
      }
    }
  }
}

// --- what it does not plan --------------------------------------------------------------------------

// Describes graphs that the backend does not use.
class Sketch {
 public:
  explicit Sketch(cuda::Cudnn& cudnn) : graph_(cudnn) { EXPECT_TRUE(builder_.open()); }

  Descriptor tensor(const std::vector<int64_t>& extents, const std::vector<Name>& flags = {},
                    int data_type = kDataFloat) {
    std::vector<int64_t> strides(extents.size());
    int64_t stride = 1;
    for (size_t i = extents.size(); i-- > 0; stride *= extents[i]) strides[i] = stride;
    Descriptor made = make(Kind::tensor);
    const auto rank = static_cast<int64_t>(extents.size());
    set(made, Name::tensor_data_type, Type::data_type, data_type);
    builder_.set(made, Name::tensor_extents, Type::int64, rank, extents.data());
    builder_.set(made, Name::tensor_strides, Type::int64, rank, strides.data());
    set(made, Name::tensor_id, Type::int64, ++ids_);
    set(made, Name::tensor_alignment, Type::int64, int64_t{16});
    for (const Name flag : flags) set(made, flag, kBoolean, true);
    return finalized(made);
  }
  // Between two operations.
  Descriptor between(const std::vector<int64_t>& extents) {
    return tensor(extents, {kTensorIsVirtual});
  }
  void pointwise(int mode, Descriptor x, Descriptor b, Descriptor y) {
    Descriptor made = make(kPointwise);
    set(made, static_cast<Name>(0), kPointwiseMode, mode);
    set(made, static_cast<Name>(1), Type::data_type, kDataFloat);
    operation(kPointwiseOperation, {{750, finalized(made)}, {751, x}, {752, b}, {753, y}});
  }
  void reduce(int mode, Descriptor x, Descriptor y) {
    Descriptor made = make(kReduction);
    set(made, static_cast<Name>(1600), kReductionOperator, mode);
    set(made, static_cast<Name>(1601), Type::data_type, kDataFloat);
    operation(kReductionOperation, {{1612, finalized(made)}, {1610, x}, {1611, y}});
  }
  struct Part {
    int name;
    Descriptor descriptor;  // null: left out
  };
  // The gradient of maxima over windows of 2 x 2.
  void maximum_gradient(const std::vector<Part>& parts) {
    const int64_t two[] = {2, 2}, none[] = {0, 0};
    Descriptor made = make(Kind::resample);
    set(made, Name::resample_mode, Type::resample_mode, kResampleMaximum);
    set(made, Name::resample_compute_type, Type::data_type, kDataFloat);
    set(made, Name::resample_nan, Type::nan_propagation, kPropagateNan);
    set(made, Name::resample_padding_mode, Type::padding_mode, kPadWithNegativeInfinity);
    set(made, Name::resample_spatial_axes, Type::int64, int64_t{2});
    builder_.set(made, Name::resample_windows, Type::int64, 2, two);
    builder_.set(made, Name::resample_strides, Type::int64, 2, two);
    builder_.set(made, Name::resample_pre_paddings, Type::int64, 2, none);
    builder_.set(made, Name::resample_post_paddings, Type::int64, 2, none);
    std::vector<Part> all = parts;
    all.push_back({1725, finalized(made)});
    operation(Kind::resample_backward, all);
  }
  // Of batch norm; inference, where it matters, or training.
  void norm(Kind kind, bool is_training, const std::vector<Part>& parts) {
    const bool is_forward = kind == kNormForward;
    constexpr int kBatchNorm = 2;
    Descriptor made = make(kind);
    set(made, static_cast<Name>(is_forward ? 2000 : 2100), kNormMode, kBatchNorm);
    if (is_forward) set(made, static_cast<Name>(2001), kNormPhase, is_training ? 1 : 0);
    finish(made, parts);
  }
  // Why there is no engine, or what failed; empty: there is one.
  std::string plan() {
    builder_.plan(operations_, false);
    return graph_.preparation().failure + graph_.preparation().refusal;
  }

 private:
  Descriptor make(Kind kind) {
    Descriptor made = nullptr;
    EXPECT_TRUE(builder_.make(kind, made));
    return made;
  }
  template <typename T>
  void set(Descriptor of, Name name, Type type, const T& value) {
    EXPECT_TRUE(builder_.set(of, name, type, value)) << static_cast<int>(name);
  }
  Descriptor finalized(Descriptor made) {
    EXPECT_TRUE(builder_.finalize(made)) << graph_.preparation().refusal;
    return made;
  }
  void operation(Kind kind, const std::vector<Part>& parts) { finish(make(kind), parts); }
  void finish(Descriptor made, const std::vector<Part>& parts) {
    for (const Part& part : parts) {
      if (part.descriptor == nullptr) continue;
      set(made, static_cast<Name>(part.name), Type::descriptor, part.descriptor);
    }
    operations_.push_back(finalized(made));
  }

  cuda::CudnnGraph graph_;
  cuda::CudnnGraphBuilder builder_{graph_};
  int64_t ids_ = 0;
  std::vector<Descriptor> operations_;
};

constexpr const char* kNoEngine =
    "cuDNN has no engine that keeps to its terms, its precision and their order";

// The gradient of maxima reads x and y; from positions there is no engine, of whatever type they are.
TEST_F(RealCudnn, HasNoEngineForGradientsFromPositions) {
  const std::vector<int64_t> x{32, 64, 56, 56}, y{32, 64, 28, 28};
  constexpr int kInt8 = 3, kInt32 = 4;
  for (const int type : {kInt8, kInt32}) {
    Sketch sketch(cudnn());
    sketch.maximum_gradient(
        {{1720, sketch.tensor(x)}, {1721, sketch.tensor(y)}, {1722, sketch.tensor(y, {}, type)}});
    EXPECT_EQ(sketch.plan(), kNoEngine) << type;
  }
  Sketch sketch(cudnn());
  sketch.maximum_gradient({{1720, sketch.tensor(x)},
                           {1721, sketch.tensor(y)},
                           {1726, sketch.tensor(x)},
                           {1727, sketch.tensor(y)}});
  EXPECT_EQ(sketch.plan(), "");
}

// None that is there without a driver: what it compiles for a GPU it does not tell before.
TEST_F(RealCudnn, HasNoEngineForSoftmax) {
  if (dlopen("libcuda.so.1", RTLD_LAZY) != nullptr) GTEST_SKIP() << "there is a driver";
  constexpr int kMul = 1, kDiv = 6, kSub = 9, kExp = 13, kLog = 15, kSum = 0, kMax = 3;
  struct Axis {
    std::vector<int64_t> x, row;
  };
  const Axis axes[] = {{{1, 1024, 1000}, {1, 1024, 1}},
                       {{1024, 1000, 1, 1}, {1024, 1, 1, 1}},
                       {{32, 64, 28, 28}, {32, 1, 28, 28}}};
  for (const Axis& axis : axes) {
    Sketch forward(cudnn());
    const Descriptor x = forward.tensor(axis.x), y = forward.tensor(axis.x);
    const Descriptor max = forward.between(axis.row), sum = forward.between(axis.row);
    const Descriptor shifted = forward.between(axis.x), e = forward.between(axis.x);
    forward.reduce(kMax, x, max);
    forward.pointwise(kSub, x, max, shifted);
    forward.pointwise(kExp, shifted, nullptr, e);
    forward.reduce(kSum, e, sum);
    forward.pointwise(kDiv, e, sum, y);
    EXPECT_EQ(forward.plan(), kNoEngine) << axis.x[1];

    Sketch logarithm(cudnn());
    const Descriptor lx = logarithm.tensor(axis.x), ly = logarithm.tensor(axis.x);
    const Descriptor lmax = logarithm.between(axis.row), lsum = logarithm.between(axis.row);
    const Descriptor norm = logarithm.between(axis.row);
    const Descriptor lshifted = logarithm.between(axis.x), le = logarithm.between(axis.x);
    logarithm.reduce(kMax, lx, lmax);
    logarithm.pointwise(kSub, lx, lmax, lshifted);
    logarithm.pointwise(kExp, lshifted, nullptr, le);
    logarithm.reduce(kSum, le, lsum);
    logarithm.pointwise(kLog, lsum, nullptr, norm);
    logarithm.pointwise(kSub, lshifted, norm, ly);
    EXPECT_EQ(logarithm.plan(), kNoEngine) << axis.x[1];

    Sketch backward(cudnn());
    const Descriptor dy = backward.tensor(axis.x), kept = backward.tensor(axis.x);
    const Descriptor products = backward.between(axis.x), total = backward.between(axis.row);
    const Descriptor rest = backward.between(axis.x), dx = backward.tensor(axis.x);
    backward.pointwise(kMul, dy, kept, products);
    backward.reduce(kSum, products, total);
    backward.pointwise(kSub, dy, total, rest);
    backward.pointwise(kMul, rest, kept, dx);
    EXPECT_EQ(backward.plan(), kNoEngine) << axis.x[1];
  }
}

// Its functions for softmax take tensors of less than 2^31 elements.
TEST_F(RealCudnn, DescribesTensorsOfSoftmax) {
  cuda::Softmaxes softmaxes(cudnn());
  for (const cuda::SoftmaxShape& shape : {cuda::SoftmaxShape{1024, 1000, 1},
                                          {32, 21, 512 * 512},
                                          {1, 1024, 1},
                                          {1, 64, 4096},
                                          {1 << 20, 10, 1}}) {
    const cuda::Preparation& made = softmaxes.prepare(shape);
    EXPECT_EQ(made.failure + made.refusal, "") << shape.axis;
  }
  EXPECT_EQ(softmaxes.prepare({1 << 16, 1 << 16, 1}).refusal,
            "cuDNN does not take it: CUDNN_STATUS_NOT_SUPPORTED");
}

// Batch norm in training comes from one engine, which is compiled while it is planned and loaded by the
// driver; with given statistics there is none.
TEST_F(RealCudnn, NeedsTheDriverForBatchNorm) {
  const bool has_driver = dlopen("libcuda.so.1", RTLD_LAZY) != nullptr;
  const std::vector<int64_t> x{32, 64, 56, 56}, c{1, 64, 1, 1}, one{1, 1, 1, 1};
  const auto forward = [&](Sketch& sketch, bool is_training) {
    const Descriptor eps = is_training ? sketch.tensor(one, {kTensorIsByValue}) : nullptr;
    sketch.norm(kNormForward, is_training,
                {{2002, sketch.tensor(x)},
                 {2003, sketch.tensor(c)},
                 {2004, sketch.tensor(c)},
                 {2005, sketch.tensor(c)},
                 {2006, sketch.tensor(c)},
                 {2007, eps},
                 {2013, sketch.tensor(x)}});
  };
  Sketch training(cudnn()), inference(cudnn()), backward(cudnn());
  forward(training, true);
  forward(inference, false);
  backward.norm(kNormBackward, true,
                {{2101, backward.tensor(x)},
                 {2102, backward.tensor(c)},
                 {2103, backward.tensor(c)},
                 {2104, backward.tensor(x)},
                 {2105, backward.tensor(c)},
                 {2107, backward.tensor(c)},
                 {2108, backward.tensor(c)},
                 {2109, backward.tensor(x)}});
  EXPECT_EQ(inference.plan(), kNoEngine);
  EXPECT_EQ(training.plan(), has_driver ? "" : kNoEngine);
  EXPECT_EQ(backward.plan(), has_driver ? "" : kNoEngine);
}

}  // namespace
}  // namespace tanul::test
