// SPDX-License-Identifier: Apache-2.0
// Describing a network: ModelBuilder's methods make layers and return their outputs; build() gives an
// immutable Model. Shapes are those of one sample, without N: {C, H, W} for images, {F} for vectors.
//
// Every method throws Error{invalid_argument} at once where shapes or options do not fit, naming the
// layer. Layers get names by their kind and number ("conv1", "conv2", "relu1", "linear1") unless
// `name` is given; names are unique. Parameters are "<layer>.weight" and "<layer>.bias".
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tanul/export.h"
#include "tanul/init.h"
#include "tanul/loss.h"
#include "tanul/tensor.h"

namespace tanul {

// The output of a layer: a handle that belongs to the builder that returned it.
struct Var {
  int32_t id = -1;
};

// A height and a width; one number means both.
struct Extent2 {
  int64_t h;
  int64_t w;
  Extent2(int64_t both) : h(both), w(both) {}  // NOLINT: one number is meant to convert
  Extent2(int64_t height, int64_t width) : h(height), w(width) {}
};

// A depth, a height and a width; one number means all three.
struct Extent3 {
  int64_t d;
  int64_t h;
  int64_t w;
  Extent3(int64_t all) : d(all), h(all), w(all) {}  // NOLINT
  Extent3(int64_t depth, int64_t height, int64_t width) : d(depth), h(height), w(width) {}
};

// Padding that makes the output ceil(input / stride) long, from the input's extent when the layer is
// made: where its sum is odd, `upper` has one more at the end, `lower` at the begin (ONNX's SAME_UPPER and
// SAME_LOWER).
enum class Same { no, upper, lower };

// Zeros (or -infinity, for maximum pooling) before and behind a signal: one number for both, two, or
// Same::upper, Same::lower.
struct Padding1 {
  int64_t begin, end;
  Same same = Same::no;
  Padding1(int64_t both) : begin(both), end(both) {}  // NOLINT
  Padding1(int64_t b, int64_t e) : begin(b), end(e) {}
  Padding1(Same s) : Padding1(0) { same = s; }  // NOLINT
};

// The same round an image: one number for all sides, two for {top and bottom, left and right}, four, or
// Same::upper, Same::lower.
struct Padding2 {
  int64_t top, left, bottom, right;
  Same same = Same::no;
  Padding2(int64_t all) : top(all), left(all), bottom(all), right(all) {}  // NOLINT
  Padding2(int64_t h, int64_t w) : top(h), left(w), bottom(h), right(w) {}
  Padding2(int64_t t, int64_t l, int64_t b, int64_t r) : top(t), left(l), bottom(b), right(r) {}
  Padding2(Same s) : Padding2(0) { same = s; }  // NOLINT
};

// The same round a volume: one number, three for {front and back, top and bottom, left and right}, six,
// or Same::upper, Same::lower.
struct Padding3 {
  int64_t front, top, left, back, bottom, right;
  Same same = Same::no;
  Padding3(int64_t all) : Padding3(all, all, all) {}  // NOLINT
  Padding3(int64_t d, int64_t h, int64_t w) : Padding3(d, h, w, d, h, w) {}
  Padding3(int64_t f, int64_t t, int64_t l, int64_t k, int64_t b, int64_t r)
      : front(f), top(t), left(l), back(k), bottom(b), right(r) {}
  Padding3(Same s) : Padding3(0) { same = s; }  // NOLINT
};

// Convolution over one, two or three axes; Extent is int64_t, Extent2 or Extent3. For each axis
//   output = floor((input + pads - dilation (kernel - 1) - 1) / stride) + 1.
// weight [out, C/groups, kernel], bias [out].
template <typename Extent, typename Padding>
struct ConvOptions {
  int64_t out = 0;    // output channels K; required
  Extent kernel = 0;  // required
  Extent stride = 1;
  Padding pad = 0;
  Extent dilation = 1;
  int64_t groups = 1;  // divides input and output channels; depthwise: as many as input channels
  bool bias = true;
  Init weight_init = {};
  Init bias_init = {};
  std::string name = {};
  // The layer whose weight and bias this one uses, in place of its own: of the same kind, with weights of
  // the same shape. Their gradients add up.
  std::string share = {};
};
using Conv1dOptions = ConvOptions<int64_t, Padding1>;
using Conv2dOptions = ConvOptions<Extent2, Padding2>;
using Conv3dOptions = ConvOptions<Extent3, Padding3>;

// Transposed convolution, which enlarges: the gradient of a convolution with respect to its input. For
// each axis
//   output = (input - 1) stride - pads + dilation (kernel - 1) + output_padding + 1.
// weight [C, out/groups, kernel], bias [out].
template <typename Extent, typename Padding>
struct ConvTransposeOptions {
  int64_t out = 0;    // output channels; required
  Extent kernel = 0;  // required
  Extent stride = 1;
  Padding pad = 0;            // cut off the output; Same is for convolution and pooling
  Extent output_padding = 0;  // added at the end; below the larger of stride and dilation
  Extent dilation = 1;
  int64_t groups = 1;
  bool bias = true;
  Init weight_init = {};  // fan_in is that of the weight's axis 1, as in PyTorch
  Init bias_init = {};
  std::string name = {};
  std::string share = {};  // see ConvOptions
};
using ConvTranspose1dOptions = ConvTransposeOptions<int64_t, Padding1>;
using ConvTranspose2dOptions = ConvTransposeOptions<Extent2, Padding2>;
using ConvTranspose3dOptions = ConvTransposeOptions<Extent3, Padding3>;

struct LinearOptions {
  int64_t out = 0;  // output features; required
  bool bias = true;
  Init weight_init = {};
  Init bias_init = {};
  std::string name = {};
  std::string share = {};  // see ConvOptions
};

// Pooling over one, two or three axes. For each
//   output = floor((input + pads - dilation (kernel - 1) - 1) / stride) + 1,
// or ceil with ceil_mode, where a last window that would start beyond input and begin padding is dropped.
template <typename Extent, typename Padding>
struct PoolOptions {
  Extent kernel = 0;                  // required
  std::optional<Extent> stride = {};  // default: the kernel
  Padding pad = 0;                    // each side below the kernel
  Extent dilation = 1;                // maximum pooling only
  bool ceil_mode = false;
  bool count_include_pad = true;  // average pooling only: padding counts in the divisor
  std::string name = {};
};
using Pool1dOptions = PoolOptions<int64_t, Padding1>;
using Pool2dOptions = PoolOptions<Extent2, Padding2>;
using Pool3dOptions = PoolOptions<Extent3, Padding3>;

// Window i of an axis is floor(i input / out) … ceil((i + 1) input / out), the end exclusive.
struct AdaptivePoolOptions {
  std::vector<int64_t> out;  // extents of the output: one for each spatial axis, or one for all
  std::string name = {};
};

// Batch normalisation: y = gamma (x - mean) / sqrt(var + eps) + beta for each channel; {F}, {C, L},
// {C, H, W} or {C, D, H, W}. In training mean and var are those of the batch over N and the places of
// a channel, which must be at least two values; in evaluation they are the running statistics.
struct BatchNormOptions {
  // running = (1 - momentum) running + momentum new, with the unbiased variance (n - 1). As PyTorch
  // has it; Caffe and Keras call 1 - momentum the momentum.
  double momentum = 0.1;
  double eps = 1e-5;   // above 0
  bool affine = true;  // false: no gamma and beta
  // Training, too, uses the running statistics and leaves them as they are: for fine-tuning.
  bool frozen = false;
  Init weight_init = {};  // of gamma; default 1
  Init bias_init = {};    // of beta; default 0
  std::string name = {};
};

// Layer normalisation: y = gamma (x - mean) / sqrt(var + eps) + beta over the last `axes` axes of each
// sample; gamma and beta have their shape. RMS normalisation: y = gamma x / sqrt(mean x^2 + eps).
struct LayerNormOptions {
  int axes = 0;  // 0: all axes of a sample
  double eps = 1e-5;
  bool affine = true;
  Init weight_init = {};
  Init bias_init = {};
  std::string name = {};
};

// Group normalisation: the same over groups of channels of each sample; gamma and beta [C].
struct GroupNormOptions {
  int64_t groups = 0;  // divides the channels; required (1 … C)
  double eps = 1e-5;
  bool affine = true;
  Init weight_init = {};
  Init bias_init = {};
  std::string name = {};
};

// Instance normalisation: the same over each channel of each sample, at all times.
struct InstanceNormOptions {
  double eps = 1e-5;
  bool affine = false;
  Init weight_init = {};
  Init bias_init = {};
  std::string name = {};
};

// Local response normalisation: y = x (k + a sum x'^2)^-beta over the `size` channels round each one
// (c - size / 2 … c + (size - 1) / 2), a = alpha / size. With AlexNet's numbers; its paper does not
// divide alpha by the size, while Caffe, PyTorch and ONNX do (and have k = 1).
struct LocalResponseNormOptions {
  int64_t size = 5;
  double alpha = 1e-4;
  double beta = 0.75;
  double k = 2;                       // above 0
  bool alpha_divided_by_size = true;  // false: a = alpha
  std::string name = {};
};

// Parametric ReLU: y = x where x > 0, else a learned slope times x.
struct PreluOptions {
  bool per_channel = false;  // a slope for each channel; else one for all
  Init init = {};            // default 0.25, as in He et al. 2015
  std::string name = {};
};

struct DropoutOptions {
  double p = 0.5;  // probability of zero, 0 <= p < 1
  // Drops whole channels of {C, …}: neighbouring elements say nearly the same (J. Tompson et al., 2015).
  bool spatial = false;
  std::string name = {};
};

struct SoftmaxCrossEntropyOptions {
  double label_smoothing = 0;                // 0 … 1
  std::vector<float> class_weights = {};     // one per class, >= 0; empty: all 1
  std::optional<int32_t> ignore_index = {};  // samples with this label count for nothing
  Reduction reduction = Reduction::mean;
  double weight = 1;  // of this loss, where a network has several
  std::string name = {};
};

// x[begin … end - 1] along one axis of a sample.
struct SliceOptions {
  int axis = 0;  // 0: C
  int64_t begin = 0;
  std::optional<int64_t> end = {};  // exclusive; default: the extent
  std::string name = {};
};

// Of each spatial axis the `size` elements from `begin` on.
struct CropOptions {
  std::vector<int64_t> begin;  // one number for each spatial axis
  std::vector<int64_t> size;
  std::string name = {};
};

// What padding is made of: one value; x mirrored at its first and last element, which are not repeated (so
// less than an extent can be added); the first and the last element again.
enum class PadWith { constant, reflect, replicate };

// Elements round the spatial axes, and channels, which are constant.
struct PadOptions {
  // How many: one number for all sides; one for each spatial axis; or those before each axis, then
  // those behind each: {top, left, bottom, right}.
  std::vector<int64_t> pad = {};
  PadWith mode = PadWith::constant;
  double value = 0;  // of the mode constant
  int64_t channels_before = 0;
  int64_t channels_after = 0;
  std::string name = {};
};

// Where an output element lies in x, and how x is read there; kernels/upsample/upsample.h has the
// formulas. linear: also bilinear and trilinear; cubic: four elements an axis, a = -0.75.
enum class UpsampleMode { nearest, nearest_exact, linear, cubic };

// Other spatial extents, larger or smaller (without a low-pass filter). Either size or scale is given: one
// number for all spatial axes, or one for each.
struct UpsampleOptions {
  std::vector<int64_t> size = {};
  std::vector<double> scale = {};  // output = floor(input scale)
  UpsampleMode mode = UpsampleMode::nearest;
  // linear, cubic: the corner elements stay at the corners. Else elements are areas whose edges do.
  bool align_corners = false;
  std::string name = {};
};

// y = weight[c] x + bias[c], learned; starts at 1 and 0.
struct ScaleShiftOptions {
  bool scale = true;
  bool shift = true;
  Init weight_init = {};
  Init bias_init = {};
  std::string name = {};
};

// One trained tensor of a model.
struct ParameterInfo {
  std::string name;           // "conv1.weight"
  Shape shape;                // [K, C/groups, R, S], [K, C], [K]
  Init init;                  // resolved: never automatic
  double following_gain = 1;  // of the activation behind the layer
  bool is_bias = false;
  bool is_norm = false;  // scale or shift of a normalisation
};

enum class LossKind {
  none,
  softmax_cross_entropy,
  mean_squared_error,
  mean_absolute_error,
  smooth_l1,
  huber,
  binary_cross_entropy,
  focal,
  hinge,
  multi_margin,
  negative_log_likelihood,
  kl_divergence,
  poisson_nll,
  cosine_embedding,
};

// Where data goes into a network or comes out of it.
struct PortInfo {
  std::string name;
  Shape shape;  // of one sample, without N
};

// One loss of a network.
struct LossInfo {
  std::string name;  // "loss"
  LossKind kind;
  std::string output;  // the layer that it looks at
  Shape output_shape;  // of one sample
  double weight = 1;   // in the sum that is trained
};

// At most so many inputs, outputs and losses.
constexpr int kMostPorts = 8;

// A network: layers, parameters (shapes and initialisers, no values), inputs, outputs, losses.
// Immutable; copies are cheap.
class TANUL_API Model {
 public:
  Model() = default;
  const std::string& name() const;
  Shape input_shape() const;   // of the first input, without N
  Shape output_shape() const;  // of the first output, without N
  LossKind loss() const;       // of the first loss
  std::vector<PortInfo> inputs() const;
  // Those that ModelBuilder::output named; else what the losses look at; else the last layer.
  std::vector<PortInfo> outputs() const;
  std::vector<LossInfo> losses() const;
  const std::vector<ParameterInfo>& parameters() const;
  int64_t parameter_count() const;  // numbers in all parameters

  struct Impl;
  const Impl& impl() const;  // for the engine

 private:
  friend class ModelBuilder;
  std::shared_ptr<const Impl> impl_;
};

class TANUL_API ModelBuilder {
 public:
  explicit ModelBuilder(std::string name = "model");
  ~ModelBuilder();
  ModelBuilder(ModelBuilder&&) noexcept;
  ModelBuilder& operator=(ModelBuilder&&) noexcept;

  // The samples: u8 or f32 data, normalised, arrive here. A network may have several inputs; they are
  // called "input", "input2", … unless `name` is given.
  Var input(const Shape& shape, const std::string& name = {});
  // Names what Trainer::predict returns. Never called: what the losses look at, or the last layer.
  void output(Var x, const std::string& name = {});

  Var conv1d(Var x, const Conv1dOptions& options);  // {C, L} -> {K, Q}
  Var conv2d(Var x, const Conv2dOptions& options);  // {C, H, W} -> {K, P, Q}
  Var conv3d(Var x, const Conv3dOptions& options);  // {C, D, H, W} -> {K, Z, P, Q}
  Var conv_transpose1d(Var x, const ConvTranspose1dOptions& options);
  Var conv_transpose2d(Var x, const ConvTranspose2dOptions& options);
  Var conv_transpose3d(Var x, const ConvTranspose3dOptions& options);
  Var linear(Var x, const LinearOptions& options);  // {F} -> {out}
  Var max_pool1d(Var x, const Pool1dOptions& options);
  Var max_pool2d(Var x, const Pool2dOptions& options);
  Var max_pool3d(Var x, const Pool3dOptions& options);
  Var avg_pool1d(Var x, const Pool1dOptions& options);
  Var avg_pool2d(Var x, const Pool2dOptions& options);
  Var avg_pool3d(Var x, const Pool3dOptions& options);
  // Over all spatial axes: {C, L} -> {C, 1}, {C, H, W} -> {C, 1, 1}, {C, D, H, W} -> {C, 1, 1, 1}.
  Var global_avg_pool(Var x, const std::string& name = {});
  Var global_max_pool(Var x, const std::string& name = {});
  Var global_avg_pool2d(Var x, const std::string& name = {});  // of {C, H, W} alone
  Var adaptive_avg_pool(Var x, const AdaptivePoolOptions& options);
  Var adaptive_max_pool(Var x, const AdaptivePoolOptions& options);
  // Normalisations, names bn1, ln1, rms1, gn1, in1, lrn1: gamma is "bn1.weight", beta "bn1.bias", the
  // running statistics "bn1.running_mean" and "bn1.running_var". A relu right behind batch_norm
  // costs no memory in training: it is computed again in the backward pass.
  Var batch_norm(Var x, const BatchNormOptions& options = {});
  Var layer_norm(Var x, const LayerNormOptions& options = {});
  Var rms_norm(Var x, const LayerNormOptions& options = {});  // no beta
  Var group_norm(Var x, const GroupNormOptions& options);
  Var instance_norm(Var x, const InstanceNormOptions& options = {});
  Var local_response_norm(Var x, const LocalResponseNormOptions& options = {});
  // Activations, element by element; kernels/activation/README.md has the formulas. Every one that tanul
  // knows can be made by its name with its parameters in the order of that table (those left out: the
  // defaults). A new activation takes one line below.
  Var activation(Var x, const std::string& kind, const std::vector<double>& params = {},
                 const std::string& name = {});
  Var relu(Var x, const std::string& name = {}) { return activation(x, "relu", {}, name); }
  Var leaky_relu(Var x, double alpha = 0.01, const std::string& name = {}) {
    return activation(x, "leaky_relu", {alpha}, name);
  }
  Var relu6(Var x, const std::string& name = {}) { return activation(x, "relu6", {}, name); }
  Var elu(Var x, double alpha = 1, const std::string& name = {}) {
    return activation(x, "elu", {alpha}, name);
  }
  Var selu(Var x, const std::string& name = {}) { return activation(x, "selu", {}, name); }
  Var celu(Var x, double alpha = 1, const std::string& name = {}) {
    return activation(x, "celu", {alpha}, name);
  }
  Var gelu(Var x, const std::string& name = {}) { return activation(x, "gelu", {}, name); }
  Var gelu_tanh(Var x, const std::string& name = {}) {
    return activation(x, "gelu_tanh", {}, name);
  }
  Var silu(Var x, const std::string& name = {}) { return activation(x, "silu", {}, name); }
  Var softplus(Var x, double beta = 1, const std::string& name = {}) {
    return activation(x, "softplus", {beta}, name);
  }
  Var sigmoid(Var x, const std::string& name = {}) { return activation(x, "sigmoid", {}, name); }
  Var logsigmoid(Var x, const std::string& name = {}) {
    return activation(x, "logsigmoid", {}, name);
  }
  Var tanh(Var x, const std::string& name = {}) { return activation(x, "tanh", {}, name); }
  Var hardsigmoid(Var x, const std::string& name = {}) {
    return activation(x, "hardsigmoid", {}, name);
  }
  Var hardswish(Var x, const std::string& name = {}) {
    return activation(x, "hardswish", {}, name);
  }
  Var hardtanh(Var x, double min, double max, const std::string& name = {}) {
    return activation(x, "hardtanh", {min, max}, name);
  }
  Var hardtanh(Var x, const std::string& name = {}) { return activation(x, "hardtanh", {}, name); }
  Var mish(Var x, const std::string& name = {}) { return activation(x, "mish", {}, name); }
  Var softsign(Var x, const std::string& name = {}) { return activation(x, "softsign", {}, name); }
  Var threshold_relu(Var x, double alpha = 1, const std::string& name = {}) {
    return activation(x, "threshold_relu", {alpha}, name);
  }
  Var threshold(Var x, double at, double value, const std::string& name = {}) {
    return activation(x, "threshold", {at, value}, name);
  }
  Var prelu(Var x, const PreluOptions& options = {});  // slopes are "prelu1.weight"
  // Over one axis of a sample; 0: C.
  Var softmax(Var x, int axis = 0, const std::string& name = {});
  Var log_softmax(Var x, int axis = 0, const std::string& name = {});
  Var flatten(Var x, const std::string& name = {});  // {C, H, W} -> {C H W}
  Var concat(const std::vector<Var>& xs, int axis = 0, const std::string& name = {});  // axis 0: C
  Var dropout(Var x, const DropoutOptions& options = {});
  // Moves. Axes are those of a sample: 0 is C.
  Var flatten(Var x, int axis, const std::string& name = {});  // axes from this one on become one
  // The same elements in the same order; one extent may be -1: what is left over.
  Var reshape(Var x, const std::vector<int64_t>& shape, const std::string& name = {});
  Var slice(Var x, const SliceOptions& options);
  Var crop(Var x, const CropOptions& options);
  Var pad(Var x, const PadOptions& options);
  Var upsample(Var x, const UpsampleOptions& options);
  // Axis i of y is axis order[i] of x: {1, 2, 0} puts channels last.
  Var transpose(Var x, const std::vector<int>& order, const std::string& name = {});
  // {C r r, H, W} -> {C, H r, W r}: channel (c, i, j) becomes row i and column j of a square of r × r, and
  // back (W. Shi et al., 2016).
  Var pixel_shuffle(Var x, int64_t factor, const std::string& name = {});
  Var pixel_unshuffle(Var x, int64_t factor, const std::string& name = {});
  // Channel (g, k) of `groups` × C / groups becomes channel (k, g) (X. Zhang et al., ShuffleNet, 2017).
  Var channel_shuffle(Var x, int64_t groups, const std::string& name = {});
  // Arithmetic. Extents of 1 are repeated, and so are axes that one sample has in front of the
  // other's: {C, H, W} with {C, 1, 1}, {H, W} or {W}. Equal values share the gradient of a maximum.
  Var add(Var a, Var b, const std::string& name = {});
  Var subtract(Var a, Var b, const std::string& name = {});
  Var multiply(Var a, Var b, const std::string& name = {});
  Var divide(Var a, Var b, const std::string& name = {});
  Var maximum(Var a, Var b, const std::string& name = {});
  Var minimum(Var a, Var b, const std::string& name = {});
  Var scale_shift(Var x, const ScaleShiftOptions& options = {});
  // Over these axes, which vanish, or stay with an extent of 1.
  Var reduce_sum(Var x, const std::vector<int>& axes, bool keep = false,
                 const std::string& name = {});
  Var reduce_mean(Var x, const std::vector<int>& axes, bool keep = false,
                  const std::string& name = {});

  // A network may have several losses; their sum, each times its weight, is trained.
  // Targets are class indices (i32: one a sample, or one for each position {...} behind the classes)
  // or values (f32 of the shape of x); formulas in docs/MODEL.md, options in loss.h.
  // Logits {C} or {C, ...} against class indices or probabilities.
  void softmax_cross_entropy(Var logits, const SoftmaxCrossEntropyOptions& options = {});
  // x: logarithms of probabilities {C}, {C, ...}; targets: class indices.
  void negative_log_likelihood(Var x, const NegativeLogLikelihoodOptions& options = {});
  // Scores {C}, {C, ...} against class indices.
  void multi_margin(Var x, const MultiMarginOptions& options = {});
  // Each element by itself, x of any shape. Targets: values, or class indices, which are read as 1 for
  // the class and 0 for the others (hinge: -1).
  void binary_cross_entropy(Var x, const BinaryCrossEntropyOptions& options = {});
  void focal(Var logits, const FocalOptions& options = {});
  void hinge(Var x, const HingeOptions& options = {});  // targets -1 or 1
  void mean_squared_error(Var x, const LossOptions& options = {});
  void mean_absolute_error(Var x, const LossOptions& options = {});
  void smooth_l1(Var x, const SmoothL1Options& options = {});
  void huber(Var x, const HuberOptions& options = {});
  // x: logarithms of probabilities; targets: probabilities.
  void kl_divergence(Var x, const KlDivergenceOptions& options = {});
  void poisson_nll(Var x, const PoissonNllOptions& options = {});  // targets: counts, no indices
  // Vectors a {D} and b {D}; targets f32 {}: 1 for pairs that belong together, -1 for others.
  void cosine_embedding(Var a, Var b, const CosineEmbeddingOptions& options = {});

  // The initialiser of weights whose layer says `automatic`. Biases stay 0.
  void default_init(const Init& init);

  Shape shape(Var x) const;  // without N
  // The finished model. Throws where there is no input or no layer. The builder is empty afterwards.
  Model build();

 private:
  std::unique_ptr<Model::Impl> impl_;
};

}  // namespace tanul
