// SPDX-License-Identifier: Apache-2.0
// The training loop: memory of a model on a device, the plans that work on it, epochs, evaluation,
// prediction and what is saved. Says when steps run and with which data; how a step is computed is
// the plan's business.
#include "tanul/trainer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>

#include "backend/backend.h"
#include "core/format.h"
#include "data/loader.h"
#include "graph/model.h"
#include "kernels/softmax_xent/softmax_xent.h"
#include "plan/plan.h"
#include "run/executor.h"

namespace tanul {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr int64_t align64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// Plans kept for batch sizes other than the usual ones (a last batch, a prediction).
constexpr size_t kMostPlans = 8;

PlanOptions plan_options(Backend& backend, const TrainerOptions& options) {
  PlanOptions result;
  result.threads = backend.threads();
  result.implementations = [&backend](OpKind kind) -> const ImplementationList& {
    return backend.implementations(kind);
  };
  result.force = options.force;
  return result;
}

// Targets as a model's loss wants them when no data has been seen yet.
DType default_target(const Model& model) {
  return model.loss() == LossKind::mean_squared_error ? DType::f32 : DType::i32;
}

void check_range(const char* what, double value, double least, double most) {
  if (!(value >= least && value <= most)) {
    fail(Code::invalid_argument, "{} must be between {:g} and {:g}, got {:g}", what, least, most,
         value);
  }
}

void check_options(const TrainerOptions& o) {
  constexpr double kMost = 1e30;
  check_range("batch", static_cast<double>(o.batch), 1, 1 << 24);
  check_range("learning rate", learning_rate(o.optimizer), 0, kMost);
  check_range("clip_norm", o.clip_norm, 0, kMost);
  check_range("epochs", o.epochs, 0, 1e9);
  check_range("warmup", o.schedule.warmup, 0, 1e9);
  check_range("schedule floor", o.schedule.floor, 0, 1);
  check_range("schedule gamma", o.schedule.gamma, 0, kMost);
  check_range("schedule every", o.schedule.every, 1e-9, 1e9);
  if (const auto* sgd = std::get_if<Sgd>(&o.optimizer)) {
    check_range("momentum", sgd->momentum, 0, 1);
    check_range("dampening", sgd->dampening, 0, 1);
    check_range("weight_decay", sgd->weight_decay, 0, kMost);
    if (sgd->nesterov && (sgd->momentum == 0 || sgd->dampening != 0)) {
      fail(Code::invalid_argument,
           "nesterov wants a momentum above 0 and no dampening, got {} and {}", sgd->momentum,
           sgd->dampening);
    }
    return;
  }
  const auto check_adam = [&](const auto& adam) {
    check_range("beta1", adam.beta1, 0, 0.99999994);
    check_range("beta2", adam.beta2, 0, 0.99999994);
    check_range("eps", adam.eps, 0, kMost);
    check_range("weight_decay", adam.weight_decay, 0, kMost);
  };
  if (const auto* adam = std::get_if<Adam>(&o.optimizer)) check_adam(*adam);
  if (const auto* adamw = std::get_if<AdamW>(&o.optimizer)) check_adam(*adamw);
}

// What a run over some samples adds up: the loss steps' stats {sum, divisor, correct, counted}.
struct Totals {
  double sum = 0, divisor = 0, correct = 0, counted = 0;
  void add(const float* stats) {
    sum += static_cast<double>(stats[0]);
    divisor += static_cast<double>(stats[1]);
    correct += static_cast<double>(stats[2]);
    counted += static_cast<double>(stats[3]);
  }
  double loss() const { return divisor > 0 ? sum / divisor : 0; }
  double accuracy() const { return counted > 0 ? correct / counted : 0; }
};

struct PlanKey {
  bool is_training;
  int64_t batch;
  DType sample_dtype;
  DType target_dtype;
  bool operator==(const PlanKey&) const = default;
};

}  // namespace

struct Trainer::Impl {
  Model model;
  TrainerOptions options;
  std::string why_not_gpu;
  std::unique_ptr<Backend> backend;

  // Persistent memory: the StepBlock, then parameters, state and constants by name.
  struct Slot {
    int64_t offset;
    Shape shape;
    ValueKind kind;
  };
  std::map<std::string, Slot> slots;
  std::vector<std::string> slot_order;
  DeviceMemory persistent;
  DeviceMemory scratch;  // of the plan with the largest need

  struct CachedPlan {
    PlanKey key;
    std::unique_ptr<Plan> plan;
  };
  std::vector<CachedPlan> plans;
  Plan* first_plan = nullptr;  // the one that plan() describes

  std::vector<int64_t> order;  // of the epoch that runs
  int64_t steps = 0;
  int64_t epochs = 0;
  int64_t steps_per_epoch = 0;
  bool is_normalized = false;
  std::function<void(const StepReport&)> on_plan_step;

  Impl(Model m, TrainerOptions o) : model(std::move(m)), options(std::move(o)) {
    check_options(options);
    const Device device = find_device(options.device, &why_not_gpu);
    if (options.device != "auto") why_not_gpu.clear();
    backend = open_backend(device, options.threads);
    options.threads = backend->threads();
    const bool can_train = model.loss() != LossKind::none;
    const PlanKey key{can_train, options.batch, DType::u8, default_target(model)};
    auto plan = std::make_unique<Plan>(model, graph_options(key), plan_options(*backend, options));
    allocate_persistent(*plan);
    initialize_all();
    first_plan = &keep(key, std::move(plan));
    if (options.normalization) set_normalization(*options.normalization);
  }

  StepGraphOptions graph_options(const PlanKey& key) const {
    StepGraphOptions result;
    result.batch = key.batch;
    result.is_training = key.is_training;
    result.sample_dtype = key.sample_dtype;
    result.target_dtype = key.target_dtype;
    result.optimizer = options.optimizer;
    result.clip_norm = options.clip_norm;
    result.decay_biases = options.decay_biases;
    return result;
  }

  void allocate_persistent(const Plan& plan) {
    const Graph& graph = plan.step_graph().graph;
    int64_t offset = align64(sizeof(StepBlock));
    for (ValueId id : plan.persistent_values()) {
      const Value& value = graph.value(id);
      slots[value.name] = {offset, value.shape, value.kind};
      slot_order.push_back(value.name);
      offset += align64(value.shape.elems() * 4);
    }
    persistent = DeviceMemory(*backend, offset);
    for (ValueId id : plan.persistent_values()) {
      const Value& value = graph.value(id);
      if (value.kind != ValueKind::constant) continue;
      backend->copy_in(slot_data(value.name), value.constant.data(),
                       static_cast<int64_t>(value.constant.size()) * 4);
    }
  }

  std::byte* slot_data(const std::string& name) const {
    const auto found = slots.find(name);
    if (found == slots.end()) fail(Code::internal, "no persistent memory for \"{}\"", name);
    return persistent.data() + found->second.offset;
  }
  StepBlock* block() const { return reinterpret_cast<StepBlock*>(persistent.data()); }

  void write(const std::string& name, const Tensor& value) {
    backend->copy_in(slot_data(name), value.raw(), value.bytes());
  }
  Tensor read(const std::string& name) const {
    Tensor value(slots.at(name).shape);
    backend->copy_out(value.raw(), slot_data(name), value.bytes());
    return value;
  }

  void initialize_all() {
    for (const ParameterInfo& info : model.parameters()) {
      Tensor weights(info.shape);
      initialize(weights, info.init, options.seed, info.name, info.following_gain);
      write(info.name, weights);
    }
    write_normalization(
        Normalization{std::vector<float>(channels(), 0.0f), std::vector<float>(channels(), 1.0f)});
  }

  size_t channels() const {
    return static_cast<size_t>(slots.at("normalization.mean").shape.elems());
  }

  void write_normalization(const Normalization& n) {
    write("normalization.mean", Tensor::from<float>({static_cast<int64_t>(n.mean.size())}, n.mean));
    write("normalization.deviation",
          Tensor::from<float>({static_cast<int64_t>(n.deviation.size())}, n.deviation));
  }

  void set_normalization(const Normalization& n) {
    if (n.mean.size() != channels() || n.deviation.size() != channels()) {
      fail(Code::invalid_argument,
           "normalization wants one mean and one deviation per channel, {} of each, got {} and {}",
           channels(), n.mean.size(), n.deviation.size());
    }
    for (size_t c = 0; c < channels(); ++c) {
      if (!std::isfinite(n.mean[c]) || !(n.deviation[c] > 0) || !std::isfinite(n.deviation[c])) {
        fail(Code::invalid_argument,
             "normalization of channel {}: the mean must be finite and the deviation above 0, got "
             "{} "
             "and {}",
             c, n.mean[c], n.deviation[c]);
      }
    }
    write_normalization(n);
    is_normalized = true;
  }

  // Mean and deviation per channel of `data`; images that the model sees as flat vectors have one.
  void fit_normalization(const DataView& data) {
    const DataView::Moments moments = data.channel_moments();
    Normalization n{moments.mean, moments.deviation};
    if (n.mean.size() != channels()) {
      double mean = 0;
      double square = 0;
      const auto count = static_cast<double>(n.mean.size());
      for (size_t c = 0; c < n.mean.size(); ++c) {
        const auto m = static_cast<double>(n.mean[c]);
        const auto d = static_cast<double>(n.deviation[c]);
        mean += m / count;
        square += (d * d + m * m) / count;
      }
      n.mean.assign(channels(), static_cast<float>(mean));
      n.deviation.assign(channels(),
                         static_cast<float>(std::sqrt(std::max(0.0, square - mean * mean))));
    }
    for (float& d : n.deviation) {
      if (!(d > 0)) d = 1;  // a constant channel stays what it is
    }
    set_normalization(n);
  }

  Plan& keep(const PlanKey& key, std::unique_ptr<Plan> plan) {
    if (plan->scratch_bytes() > scratch.bytes()) {
      scratch.reset();
      scratch = DeviceMemory(*backend, plan->scratch_bytes());
      for (CachedPlan& cached : plans) bind(*cached.plan);
    }
    bind(*plan);
    if (plans.size() >= kMostPlans) {
      const auto oldest = std::find_if(plans.begin(), plans.end(), [&](const CachedPlan& cached) {
        return cached.plan.get() != first_plan && cached.key.batch != options.batch;
      });
      if (oldest != plans.end()) plans.erase(oldest);
    }
    plans.push_back({key, std::move(plan)});
    return *plans.back().plan;
  }

  void bind(Plan& plan) {
    plan.bind([this](const std::string& name) { return slot_data(name); }, scratch.data(), block());
  }

  Plan& plan_for(const PlanKey& key) {
    for (CachedPlan& cached : plans) {
      if (cached.key == key) return *cached.plan;
    }
    return keep(key,
                std::make_unique<Plan>(model, graph_options(key), plan_options(*backend, options)));
  }

  // --- data against model ------------------------------------------------------------------------

  void check_samples(const Shape& shape, DType dtype, const char* what) const {
    const Shape wanted = model.input_shape();
    const bool fits = shape == wanted || (wanted.rank() == 1 && shape.elems() == wanted[0]);
    if (!fits) {
      fail(Code::invalid_argument, "{}: the samples are {}, but model \"{}\" expects {}", what,
           shape.str(), model.name(), wanted.str());
    }
    if (dtype != DType::u8 && dtype != DType::f32) {
      fail(Code::invalid_argument, "{}: samples must be u8 or f32, got {}", what,
           dtype_name(dtype));
    }
  }

  int64_t classes() const { return model.output_shape().elems(); }

  // Whether targets of this kind can be trained against.
  void check_target_kind(bool are_labels, const Shape& shape, DType dtype, const char* what) const {
    if (are_labels) {
      if (shape.rank() != 0) {
        fail(Code::invalid_argument, "{}: class labels are one number a sample, got {}", what,
             shape.str());
      }
      if (model.output_shape().rank() != 1) {
        fail(Code::invalid_argument,
             "{}: class labels need an output of one extent, model \"{}\" has {}", what,
             model.name(), model.output_shape().str());
      }
      return;
    }
    if (model.loss() == LossKind::softmax_cross_entropy) {
      fail(Code::invalid_argument, "{}: softmax cross-entropy wants i32 class labels, got {}", what,
           dtype_name(dtype));
    }
    if (dtype != DType::f32 || shape != model.output_shape()) {
      fail(Code::invalid_argument,
           "{}: the targets are {} of {}, but the output of model \"{}\" is {} of f32", what,
           shape.str(), dtype_name(dtype), model.name(), model.output_shape().str());
    }
  }

  void check_label(int32_t label, int64_t at, const char* what) const {
    if (label >= 0 && label < classes()) return;
    const Model::Impl& source = model.impl();
    for (const Node& node : source.graph.nodes) {
      if (node.kind != OpKind::softmax_xent_fwd) continue;
      const auto& p = node.params.as<SoftmaxXentParams>();
      if (p.has_ignore_index != 0 && p.ignore_index == label) return;
    }
    fail(Code::invalid_argument,
         "{}: sample {} has the label {}, but model \"{}\" has {} outputs (labels 0 to {})", what,
         at, label, model.name(), classes(), classes() - 1);
  }

  void check_data(const DataView& data, const char* what) const {
    if (data.empty()) fail(Code::invalid_argument, "{}: there are no samples", what);
    if (!data.has_targets()) fail(Code::invalid_argument, "{}: the samples have no targets", what);
    check_samples(data.sample_shape(), data.sample_dtype(), what);
    check_target_kind(data.has_labels(), data.target_shape(), data.target_dtype(), what);
    if (!data.has_labels()) return;
    for (int64_t i = 0; i < data.size(); ++i) check_label(data.label(i), i, what);
  }

  // --- steps -------------------------------------------------------------------------------------

  void run(Plan& plan) {
    if (on_plan_step) {
      run_plan_stepwise(*backend, plan, on_plan_step);
    } else {
      run_plan(*backend, plan);
    }
  }

  std::array<float, 4> stats_of(const Plan& plan) const {
    std::array<float, 4> stats{};
    backend->copy_out(stats.data(), plan.address(plan.step_graph().stats), sizeof stats);
    return stats;
  }

  double lr_of_next_step() const {
    return static_cast<double>(learning_rate(options.optimizer)) *
           options.schedule.factor(steps, steps_per_epoch, options.epochs);
  }

  // One training step on what lies in the plan's inputs.
  std::array<float, 4> train_step(Plan& plan) {
    const StepBlock next{options.seed, static_cast<uint64_t>(steps),
                         static_cast<float>(lr_of_next_step()), 0};
    backend->copy_in(block(), &next, sizeof next);
    run(plan);
    ++steps;
    const std::array<float, 4> stats = stats_of(plan);
    if (stats[1] != 0 && !std::isfinite(stats[0])) {
      fail(Code::diverged,
           "the loss became {} in step {} (epoch {}, learning rate {:g}); a lower rate, warm-up or "
           "clip_norm may help, --stepwise shows the first layer that breaks",
           stats[0], steps, epochs + 1, next.lr);
    }
    return stats;
  }

  // Puts `count` samples of `data` into the plan's inputs.
  void load_batch(const Plan& plan, const DataView& data, const int64_t* positions, int64_t count) {
    const StepGraph& graph = plan.step_graph();
    data.gather(positions, count, plan.address(graph.samples),
                graph.target == kNoValue ? nullptr : plan.address(graph.target));
  }
};

Trainer::Trainer(const Model& model, const TrainerOptions& options)
    : impl_(std::make_unique<Impl>(model, options)) {}
Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;

EpochResult Trainer::train_epoch(const DataView& data,
                                 const std::function<void(const Progress&)>& on_step) {
  Impl& t = *impl_;
  if (t.model.loss() == LossKind::none) {
    fail(Code::invalid_argument, "model \"{}\" has no loss, so it cannot be trained",
         t.model.name());
  }
  t.check_data(data, "training data");
  if (!t.is_normalized) t.fit_normalization(data);
  const int64_t batch = t.options.batch;
  const int64_t steps =
      t.options.drop_last ? data.size() / batch : (data.size() + batch - 1) / batch;
  if (steps == 0) {
    fail(Code::invalid_argument,
         "training data: {} samples are less than one batch of {}, and drop_last leaves them out",
         data.size(), batch);
  }
  t.steps_per_epoch = steps;
  t.order.resize(static_cast<size_t>(data.size()));
  if (t.options.shuffle) {
    epoch_order(t.order, t.options.seed, static_cast<uint32_t>(t.epochs));
  } else {
    for (size_t i = 0; i < t.order.size(); ++i) t.order[i] = static_cast<int64_t>(i);
  }

  const Clock::time_point start = Clock::now();
  Totals totals;
  Progress progress;
  progress.steps = steps;
  progress.epoch = t.epochs;
  EpochResult result;
  for (int64_t s = 0; s < steps; ++s) {
    const int64_t first = s * batch;
    const int64_t count = std::min(batch, data.size() - first);
    Plan& plan = t.plan_for({true, count, data.sample_dtype(), data.target_dtype()});
    t.load_batch(plan, data, t.order.data() + first, count);
    result.lr = t.lr_of_next_step();
    totals.add(t.train_step(plan).data());
    result.samples += count;
    if (!on_step) continue;
    const double elapsed = seconds_since(start);
    progress.step = s + 1;
    progress.loss = totals.loss();
    progress.accuracy = totals.accuracy();
    progress.lr = result.lr;
    progress.images_per_s = static_cast<double>(result.samples) / elapsed;
    progress.seconds_left =
        elapsed / static_cast<double>(s + 1) * static_cast<double>(steps - s - 1);
    on_step(progress);
  }
  ++t.epochs;
  result.loss = totals.loss();
  result.accuracy = totals.accuracy();
  result.seconds = seconds_since(start);
  result.images_per_s = static_cast<double>(result.samples) / result.seconds;
  return result;
}

double Trainer::step(const Tensor& samples, const Tensor& targets) {
  Impl& t = *impl_;
  const int64_t batch = t.options.batch;
  if (samples.empty() || samples.shape().rank() < 2 || samples.shape()[0] != batch) {
    fail(Code::invalid_argument, "step: the samples must be {} (the batch) times {}, got {}", batch,
         t.model.input_shape().str(), samples.shape().str());
  }
  t.check_samples(samples.shape().tail(1), samples.dtype(), "step");
  const bool are_labels = targets.dtype() == DType::i32;
  if (targets.empty() || targets.shape().rank() < 1 || targets.shape()[0] != batch) {
    fail(Code::invalid_argument, "step: the targets must be {} (the batch), got {}", batch,
         targets.shape().str());
  }
  t.check_target_kind(are_labels, targets.shape().tail(1), targets.dtype(), "step");
  if (are_labels) {
    for (int64_t i = 0; i < batch; ++i) t.check_label(targets.data<int32_t>()[i], i, "step");
  }
  Plan& plan = t.plan_for({true, batch, samples.dtype(), targets.dtype()});
  const StepGraph& graph = plan.step_graph();
  t.backend->copy_in(plan.address(graph.samples), samples.raw(), samples.bytes());
  t.backend->copy_in(plan.address(graph.target), targets.raw(), targets.bytes());
  const std::array<float, 4> stats = t.train_step(plan);
  return stats[1] != 0 ? static_cast<double>(stats[0]) / static_cast<double>(stats[1]) : 0.0;
}

Evaluation Trainer::evaluate(const DataView& data) {
  Impl& t = *impl_;
  t.check_data(data, "evaluation data");
  if (t.model.loss() == LossKind::none) {
    fail(Code::invalid_argument, "model \"{}\" has no loss to evaluate; use predict",
         t.model.name());
  }
  const Clock::time_point start = Clock::now();
  const bool classify = data.has_labels();
  const int64_t outputs = t.classes();
  Evaluation result;
  if (classify) result.confusion = ConfusionMatrix(outputs);
  Totals totals;
  std::vector<int64_t> positions;
  std::vector<float> values;
  for (int64_t first = 0; first < data.size(); first += t.options.batch) {
    const int64_t count = std::min(t.options.batch, data.size() - first);
    positions.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) positions[static_cast<size_t>(i)] = first + i;
    Plan& plan = t.plan_for({false, count, data.sample_dtype(), data.target_dtype()});
    t.load_batch(plan, data, positions.data(), count);
    t.run(plan);
    totals.add(t.stats_of(plan).data());
    if (!classify) continue;
    values.resize(static_cast<size_t>(count * outputs));
    t.backend->copy_out(values.data(), plan.address(plan.step_graph().output), count * outputs * 4);
    for (int64_t i = 0; i < count; ++i) {
      const int32_t truth = data.label(first + i);
      if (truth < 0 || truth >= outputs) continue;  // an ignored sample
      const float* row = values.data() + i * outputs;
      result.confusion.add(truth, std::max_element(row, row + outputs) - row);
    }
  }
  result.samples = data.size();
  result.loss = totals.loss();
  result.accuracy = classify ? result.confusion.accuracy() : 0;
  result.seconds = seconds_since(start);
  return result;
}

Tensor Trainer::predict(const Tensor& samples) {
  Impl& t = *impl_;
  const Shape wanted = t.model.input_shape();
  if (samples.empty() || samples.shape().rank() < 2) {
    fail(Code::invalid_argument, "predict: the samples must be N times {}, got {}", wanted.str(),
         samples.shape().str());
  }
  const DataView view(samples);
  t.check_samples(view.sample_shape(), view.sample_dtype(), "predict");
  const int64_t n = samples.shape()[0];
  const Shape output = t.model.output_shape();
  std::vector<int64_t> extents{n};
  extents.insert(extents.end(), output.begin(), output.end());
  Tensor result{Shape(extents)};
  const int64_t per_sample = output.elems();
  for (int64_t first = 0; first < n; first += t.options.batch) {
    const int64_t count = std::min(t.options.batch, n - first);
    Plan& plan = t.plan_for({false, count, view.sample_dtype(), default_target(t.model)});
    const StepGraph& graph = plan.step_graph();
    const int64_t bytes = count * view.sample_bytes();
    t.backend->copy_in(plan.address(graph.samples),
                       static_cast<const std::byte*>(samples.raw()) + first * view.sample_bytes(),
                       bytes);
    if (graph.target != kNoValue) {  // the loss is computed too, against zeros
      const Value& target = graph.graph.value(graph.target);
      const Tensor zeros(target.shape, target.dtype);
      t.backend->copy_in(plan.address(graph.target), zeros.raw(), zeros.bytes());
    }
    t.run(plan);
    float* rows = result.data<float>() + first * per_sample;
    t.backend->copy_out(rows, plan.address(graph.output), count * per_sample * 4);
    if (t.model.loss() != LossKind::softmax_cross_entropy) continue;
    for (int64_t i = 0; i < count; ++i) {
      float* row = rows + i * per_sample;
      const auto largest = static_cast<double>(*std::max_element(row, row + per_sample));
      double sum = 0;
      for (int64_t c = 0; c < per_sample; ++c)
        sum += std::exp(static_cast<double>(row[c]) - largest);
      for (int64_t c = 0; c < per_sample; ++c) {
        row[c] = static_cast<float>(std::exp(static_cast<double>(row[c]) - largest) / sum);
      }
    }
  }
  return result;
}

// --- weights and state -----------------------------------------------------------------------------

namespace {

const ParameterInfo& find_parameter(const Model& model, const std::string& name) {
  for (const ParameterInfo& info : model.parameters()) {
    if (info.name == name) return info;
  }
  fail(Code::not_found, "model \"{}\" has no parameter \"{}\"", model.name(), name);
}

}  // namespace

Tensor Trainer::parameter(const std::string& name) const {
  find_parameter(impl_->model, name);
  return impl_->read(name);
}

void Trainer::set_parameter(const std::string& name, const Tensor& value) {
  const ParameterInfo& info = find_parameter(impl_->model, name);
  if (value.shape() != info.shape || value.dtype() != DType::f32) {
    fail(Code::invalid_argument, "parameter \"{}\" is {} of f32, got {} of {}", name,
         info.shape.str(), value.shape().str(), dtype_name(value.dtype()));
  }
  impl_->write(name, value);
}

TensorFile Trainer::state(bool with_optimizer) const {
  TensorFile file;
  for (const std::string& name : impl_->slot_order) {
    const Impl::Slot& slot = impl_->slots.at(name);
    const bool is_normalization = name.rfind("normalization.", 0) == 0;
    if (slot.kind == ValueKind::constant) continue;
    if (slot.kind == ValueKind::state && !is_normalization && !with_optimizer) continue;
    file.tensors.emplace_back(name, impl_->read(name));
  }
  file.metadata["format"] = "tanul";
  file.metadata["model"] = impl_->model.name();
  file.metadata["normalized"] = impl_->is_normalized ? "1" : "0";
  if (with_optimizer) {
    file.metadata["seed"] = std::to_string(impl_->options.seed);
    file.metadata["steps"] = std::to_string(impl_->steps);
    file.metadata["epochs"] = std::to_string(impl_->epochs);
  }
  return file;
}

namespace {

// A counter of the metadata; `otherwise` where it is not there.
int64_t counter(const TensorFile& file, const std::string& key, int64_t otherwise) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end()) return otherwise;
  const std::string& text = found->second;
  if (text.empty() || text.size() > 18 ||
      !std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    fail(Code::format, "metadata \"{}\" should be a whole number, got \"{}\"", key, text);
  }
  return std::stoll(text);
}

}  // namespace

void Trainer::load_state(const TensorFile& file) {
  Impl& t = *impl_;
  // Everything is looked at before anything is written.
  const bool has_optimizer = file.metadata.count("steps") != 0;
  for (const auto& [name, tensor] : file.tensors) {
    const auto slot = t.slots.find(name);
    if (slot == t.slots.end() || slot->second.kind == ValueKind::constant) {
      fail(Code::format, "tensor \"{}\" {} belongs to nothing in model \"{}\" with this optimizer",
           name, tensor.shape().str(), t.model.name());
    }
    if (tensor.shape() != slot->second.shape || tensor.dtype() != DType::f32) {
      fail(Code::format, "tensor \"{}\" is {} of {}, model \"{}\" expects {} of f32", name,
           tensor.shape().str(), dtype_name(tensor.dtype()), t.model.name(),
           slot->second.shape.str());
    }
  }
  for (const std::string& name : t.slot_order) {
    const Impl::Slot& slot = t.slots.at(name);
    const bool is_needed = slot.kind == ValueKind::parameter ||
                           name.rfind("normalization.", 0) == 0 ||
                           (slot.kind == ValueKind::state && has_optimizer);
    if (is_needed && file.find(name) == nullptr) {
      fail(Code::format, "tensor \"{}\" {} of model \"{}\" is missing", name, slot.shape.str(),
           t.model.name());
    }
  }
  const int64_t steps = counter(file, "steps", 0);
  const int64_t epochs = counter(file, "epochs", 0);
  const int64_t normalized = counter(file, "normalized", 1);
  for (const auto& [name, tensor] : file.tensors) t.write(name, tensor);
  if (has_optimizer) {
    t.steps = steps;
    t.epochs = epochs;
  }
  t.is_normalized = normalized != 0;
}

void Trainer::save(const std::string& path, bool with_optimizer) const {
  write_safetensors(path, state(with_optimizer));
}

void Trainer::load(const std::string& path) {
  try {
    load_state(read_safetensors(path));
  } catch (const Error& e) {
    const std::string what = e.what();
    if (what.rfind(path, 0) == 0) throw;
    fail(e.code(), "{}: {}", path, what);
  }
}

void Trainer::set_stepwise(std::function<void(const StepReport&)> on_step_of_plan) {
  impl_->on_plan_step = std::move(on_step_of_plan);
}

PlanInfo Trainer::plan() const { return impl_->first_plan->info(); }
int64_t Trainer::tensor_bytes() const { return impl_->backend->tensor_bytes(); }
int64_t Trainer::peak_tensor_bytes() const { return impl_->backend->peak_tensor_bytes(); }
const Model& Trainer::model() const { return impl_->model; }
const TrainerOptions& Trainer::options() const { return impl_->options; }
Device Trainer::device() const { return impl_->backend->device(); }
int64_t Trainer::steps_done() const { return impl_->steps; }
int64_t Trainer::epochs_done() const { return impl_->epochs; }

std::string Trainer::device_description() const {
  std::string text = impl_->backend->description();
  if (!impl_->why_not_gpu.empty()) text += fmt::format(" (no GPU: {})", impl_->why_not_gpu);
  return text;
}

std::optional<Normalization> Trainer::normalization() const {
  if (!impl_->is_normalized) return {};
  const auto values = [&](const char* name) {
    const Tensor t = impl_->read(name);
    return std::vector<float>(t.data<float>(), t.data<float>() + t.elems());
  };
  return Normalization{values("normalization.mean"), values("normalization.deviation")};
}

PlanInfo make_plan(const Model& model, const TrainerOptions& options, bool is_training) {
  check_options(options);
  const std::unique_ptr<Backend> backend =
      open_backend(find_device(options.device), options.threads);
  StepGraphOptions graph_options;
  graph_options.batch = options.batch;
  graph_options.is_training = is_training;
  graph_options.target_dtype = default_target(model);
  graph_options.optimizer = options.optimizer;
  graph_options.clip_norm = options.clip_norm;
  graph_options.decay_biases = options.decay_biases;
  return Plan(model, graph_options, plan_options(*backend, options)).info();
}

}  // namespace tanul
