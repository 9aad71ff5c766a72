// SPDX-License-Identifier: Apache-2.0
// Training, evaluation and prediction with a model on a device.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tanul/augment.h"
#include "tanul/checkpoint.h"
#include "tanul/data.h"
#include "tanul/device.h"
#include "tanul/export.h"
#include "tanul/metrics.h"
#include "tanul/model.h"
#include "tanul/optim.h"
#include "tanul/plan.h"
#include "tanul/precision.h"

namespace tanul {

// x = (value - mean[c]) / deviation[c] per channel, before the first layer; u8 counts as value/255.
struct Normalization {
  std::vector<float> mean;
  std::vector<float> deviation;
};

// Parameters whose names match `pattern`: `*` stands for any characters, `?` for one.
struct ParameterGroup {
  std::string pattern;                      // "conv1.*"
  double lr_scale = 1;                      // times the learning rate, at least 0
  std::optional<double> weight_decay = {};  // in place of the optimizer's
  bool frozen = false;                      // not trained; no gradient is computed for them
};

// Every k steps slow weights move the share alpha towards the trained ones, which go on from there
// (M. Zhang et al., 2019). k 0: off.
struct Lookahead {
  int64_t k = 0;
  double alpha = 0.5;  // above 0, at most 1
};

// What of the forward pass is kept for the backward pass.
enum class Memory {
  normal,  // what costs more than a pass over it to make again
  // As little as helps: parts of the forward pass run a second time during the backward pass (at most
  // all of it, once). The same bits in less memory and more time; PlanInfo says how much of each.
  low,
};

struct TrainerOptions {
  std::string device = "auto";  // "auto", "cpu", "cuda", "cuda:N"
  int64_t batch = 64;
  Optimizer optimizer = Sgd{};
  Schedule schedule = {};
  double epochs = 1;      // the length of the run that the schedule is laid over
  double clip_value = 0;  // > 0: every element of a gradient is brought into ± this
  double clip_norm = 0;   // > 0: then all gradients together are scaled to at most this norm
  // false: weight decay (and l1, l2) leave biases and the scales and shifts of normalisation alone.
  // decay_biases is the older name of the same switch: either turns it off.
  bool decay_norms_and_biases = true;
  bool decay_biases = true;
  // Of the groups whose pattern matches a parameter, the first counts. A pattern that matches none is an
  // error.
  std::vector<ParameterGroup> groups = {};
  // Penalties sum(l1 |w| + l2/2 w^2) over all weights that decay: added to the loss that is trained and
  // reported, and so to the gradients.
  double l1 = 0;
  double l2 = 0;
  // > 0: an average of the weights, avg = ema_decay avg + (1 - ema_decay) w after each step, started at
  // the initial weights. evaluate, predict and state(false) use the averages; a state for continuing
  // holds both ("conv1.weight" and "conv1.weight.ema").
  double ema_decay = 0;
  Lookahead lookahead = {};
  // Batches a step: gradients are added up over so many batches, then the weights move once, as if the
  // batches were one (the last step of an epoch may have fewer). Each batch counts as much as its loss's
  // divisor (samples, or their weights); with several losses, that of the first. Batch norm normalises
  // each batch by itself.
  int64_t accumulate = 1;
  bool drop_last = false;  // leave out an epoch's last, smaller batch in training
  bool shuffle = true;
  // Of the images that train_epoch trains on; step takes samples as they are. For networks with one input
  // whose targets are not maps.
  Augmentation augmentation = {};
  uint64_t seed = 1;
  int threads = 0;  // 0: all processors this process may use
  // Empty: fitted to the data of the first epoch (mean and deviation per channel).
  std::optional<Normalization> normalization = {};
  // The same for inputs behind the first, by name.
  std::map<std::string, Normalization> more_normalizations = {};
  // implementation by step kind, instead of the first that fits: {"conv2d_fwd", "im2col_gemm"}
  std::vector<std::pair<std::string, std::string>> force = {};
  // true: convolutions only by implementations that sum the products of the formula. Winograd's, where
  // it pays, is two to three times as fast and rounds two to three times as much.
  bool precise_convolutions = false;
  // The format in which convolutions and linear layers multiply, where the device has an implementation
  // that does: precision.h says what is rounded and by how much. PlanInfo says which products are in it; the
  // others are in fp32, on the CPU all of them. fp16 comes with loss scaling (LossScale), on every device.
  Precision precision = Precision::fp32;
  // false: implementations whose last bits may differ from run to run may be chosen too (sums in the order
  // in which threads come). true: the same data give the same bits.
  bool deterministic = true;
  Memory memory = Memory::normal;
  // true: where several implementations of a step fit, the quickest is taken, by times that are measured when
  // the plan is made and kept in ~/.cache/tanul ($XDG_CACHE_HOME/tanul), so that later runs on this machine
  // choose alike: another choice rounds otherwise. false: the first that fits. Empty: true on a GPU, false on
  // the CPU.
  std::optional<bool> tune = {};
  // On a GPU so many steps may be under way before train_epoch waits for the loss of the first of them; 0:
  // each is waited for. The numbers are the same; `on_step` comes so many steps later.
  int64_t steps_ahead = 8;
  // On a GPU a data set that takes at most half of the free memory is copied to it once, and the device
  // makes the batches, augmented too: the same bits. False: the host makes them.
  bool data_on_device = true;
};

// Averages over an epoch, or over an evaluated part. With several losses `loss` is their weighted sum,
// and accuracy is that of the first one that counts classes.
struct EpochResult {
  double loss = 0;
  double accuracy = 0;  // classification only
  double lr = 0;        // of the last step
  int64_t samples = 0;
  double seconds = 0;
  double images_per_s = 0;
};

struct Evaluation {
  double loss = 0;
  double accuracy = 0;
  int64_t samples = 0;
  double seconds = 0;
  ConfusionMatrix confusion;   // classification only: of the first loss whose targets are labels
  std::vector<double> losses;  // of each loss, in the order of Model::losses()
  // Of each loss with Reduction::none: its single losses [N, ...], in the order of the data; empty
  // for the others.
  std::vector<Tensor> sample_losses;
};

// Of training with Precision::fp16. The gradient of the loss is multiplied by `scale` so that small gradients
// do not vanish in fp16, and divided by it where it is used; both are exact. A step whose gradients are
// not finite is left out: weights, averages and optimizer state keep their bits, and for the optimizer it is no
// step (for the schedule it is one). The scale is then halved; after 2000 steps without such a one it is
// doubled. Starts at 65536 (as torch.amp.GradScaler), never falls below 2^-24.
struct LossScale {
  double scale = 0;
  int64_t good_steps = 0;  // since it changed, or since a step was left out
  int64_t left_out = 0;    // steps of the run so far
};

// What a callback may look at during an epoch.
struct Progress {
  int64_t step = 0;   // of this epoch, from 1
  int64_t steps = 0;  // in this epoch
  int64_t epoch = 0;  // from 0
  double loss = 0;    // mean over the epoch so far
  double accuracy = 0;
  double lr = 0;
  double images_per_s = 0;
  double seconds_left = 0;  // of this epoch
};

struct LsuvOptions {
  bool orthogonal =
      true;  // begin with orthogonal weights (Init::orthogonal), else with what is there
  double tolerance = 0.02;  // of the variance
  int64_t iterations = 10;  // at most, for each layer
};

// What happened to one layer.
struct LsuvLayer {
  std::string weight;  // the parameter's name
  double before = 0;   // variance of the output
  double after = 0;
};

struct WhiteningOptions {
  std::string layer =
      {};          // its name; empty: every layer whose weights say Init::whitening, or, where
                   // none does, the first convolution
  double eps = 0;  // added to the eigenvalues: damps directions that are mostly noise
  int64_t patches = 1 << 16;  // at most so many are looked at, evenly chosen
};

struct LoadOptions {
  std::string pattern = "*";  // of the names that are asked for, as in ParameterGroup
  bool strict = false;
};

struct LoadReport {
  std::vector<std::string> loaded;
  std::vector<std::string> missing;     // of the model, not in the file
  std::vector<std::string> unexpected;  // in the file, not of the model
  std::vector<std::string>
      mismatched;  // of another shape: "fc.weight [10, 84], in the file [100, 84]"
};

// After each step of the plan in stepwise mode.
struct StepReport {
  const StepInfo* step = nullptr;
  bool is_finite = true;  // no NaN or infinity in its outputs
  double seconds = 0;
  double largest = 0;  // largest magnitude in its outputs
};

class TANUL_API Trainer {
 public:
  // Plans the step, allocates everything and initialises the weights.
  // Throws Error{invalid_argument, device, out_of_memory, unsupported}.
  explicit Trainer(const Model& model, const TrainerOptions& options = {});
  ~Trainer();
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;

  // One pass over `data`, shuffled anew each epoch. `on_step` is called for every step, in order, or never:
  // after it on the CPU; on a GPU by then up to TrainerOptions::steps_ahead further steps are under way, whose
  // weights are what it would read.
  // Throws Error{diverged} where the loss stops being finite, or with Precision::fp16 where the gradients are
  // not, however small the loss scale.
  EpochResult train_epoch(const DataView& data,
                          const std::function<void(const Progress&)>& on_step = {});

  // One training step on samples [n, ...] (u8 or f32) and targets (i32 [n] or f32 [n, ...]). Returns
  // the mean loss. The first step of each n other than options.batch makes a plan of its own.
  double step(const Tensor& samples, const Tensor& targets);
  // The same for a network with several inputs or losses: one tensor for each, in the order of
  // Model::inputs() and Model::losses(). Returns the weighted sum of the mean losses.
  double step(const std::vector<Tensor>& samples, const std::vector<Tensor>& targets);

  // The same at a learning rate `lr` >= 0 of one's own, whatever the schedule says.
  double step_at(const Tensor& samples, const Tensor& targets, double lr);

  // Loss and metrics over every sample exactly once, in evaluation mode. For metrics of one's own,
  // `on_scores` gets what the confusion matrix counts, batch by batch: the classes [n] (i32) and
  // what the loss was given for them, scores [n, C] (f32; logits where it is softmax
  // cross-entropy). What the loss ignores is left out.
  Evaluation evaluate(
      const DataView& data,
      const std::function<void(const Tensor& truths, const Tensor& scores)>& on_scores = {});

  // The network's outputs [N, ...] for samples [N, ...]: probabilities where the loss starts from logits
  // (softmax over the classes for softmax cross-entropy; the sigmoid of each for focal loss and binary
  // cross-entropy of logits), otherwise the last layer's values.
  Tensor predict(const Tensor& samples);
  // Every output, in the order of Model::outputs(), for one tensor of samples for each input.
  std::vector<Tensor> predict(const std::vector<Tensor>& samples);

  // Weights as named tensors; set throws Error{invalid_argument, not_found} where names or shapes differ.
  Tensor parameter(const std::string& name) const;
  void set_parameter(const std::string& name, const Tensor& value);
  // The average that ema_decay asks for. Throws Error{not_found} where there is none.
  Tensor parameter_average(const std::string& name) const;

  // Fits the normalisation of the inputs to data, as the first epoch would. Nothing where it is known.
  void fit_normalization(const DataView& data);

  // Initialisation from data; both take samples [N, ...] as they come from the data set.
  //
  // Layer-sequential unit variance (D. Mishkin and J. Matas, 2016): layer by layer, in the order in which
  // they run, the weights of convolution and linear layers are divided by the deviation of their output
  // over all samples, until its variance is within `tolerance` of 1; their biases become 0. Works on any graph; a layer that is
  // used twice is scaled where it runs first, and one whose weights are frozen is left alone.
  std::vector<LsuvLayer> initialize_lsuv(const Tensor& samples, const LsuvOptions& options = {});
  // The filters of a convolution (1 to 3 dimensions, one group, dilation 1) become the eigenvectors of the
  // covariance of the patches that they see, divided by the root of their eigenvalues, largest first: the
  // outputs over the patches of the samples have the identity as covariance, and with a bias mean 0. More
  // filters than the patch has elements repeat them with the other sign; twice as many is the most.
  void initialize_whitening(const Tensor& samples, const WhiteningOptions& options = {});

  // Weights from a file, by name: what is there and of the right shape is taken (f16, bf16 and f64 are
  // converted), everything else stays as it is and is listed. Optimizer state in the file is passed over.
  // Throws Error{format} with `strict` where anything is listed as missing, unexpected or mismatched.
  LoadReport load_weights(const TensorFile& file, const LoadOptions& options = {});
  LoadReport load_weights(const std::string& path, const LoadOptions& options = {});

  // Weights, normalisation, optimizer state and counters: everything that continuing bit for bit
  // needs. `with_optimizer` false: what prediction needs.
  TensorFile state(bool with_optimizer = true) const;
  // Throws Error{format} naming the first tensor that is missing, unknown or of another shape.
  void load_state(const TensorFile& file);
  void save(const std::string& path, bool with_optimizer = true) const;
  void load(const std::string& path);

  // Takes the metric of an epoch for a plateau schedule. `fit` does so: with the validation loss, or the
  // training loss where there is no validation part.
  void observe(double metric);

  // In stepwise mode the same plan runs with a look at the outputs after each of its steps. With
  // `looks` false they are timed only.
  void set_stepwise(std::function<void(const StepReport&)> on_step_of_plan, bool looks = true);

  // The training plan, and the memory that is really taken for tensors on the device.
  // tensor_bytes = plan().total_bytes + data_bytes, until a plan of another kind needs more.
  PlanInfo plan() const;
  int64_t tensor_bytes() const;
  // Of data sets that lie on the device: TrainerOptions::data_on_device.
  int64_t data_bytes() const;
  int64_t peak_tensor_bytes() const;

  const Model& model() const;
  const TrainerOptions& options() const;  // resolved: device, threads
  Device device() const;
  std::string device_description() const;  // "CPU: 2 threads, AVX2 (no GPU: …)"
  int64_t steps_done() const;
  int64_t epochs_done() const;
  std::optional<Normalization> normalization() const;
  std::optional<LossScale> loss_scale() const;  // as it is now; only with Precision::fp16

 private:
  friend class LayerRun;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The plan of a model without running or allocating anything.
TANUL_API PlanInfo make_plan(const Model& model, const TrainerOptions& options = {},
                             bool is_training = true);

}  // namespace tanul
