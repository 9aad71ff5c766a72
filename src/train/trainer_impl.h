// SPDX-License-Identifier: Apache-2.0
// What a Trainer holds: the memory of a model on a device and the plans that work on it. Used by
// trainer.cpp (epochs, evaluation, prediction) and trainer_state.cpp (what is saved).
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/format.h"
#include "graph/model.h"
#include "kernels/softmax_xent/softmax_xent.h"
#include "plan/plan.h"
#include "run/executor.h"
#include "tanul/trainer.h"

namespace tanul {

// Throws Error{invalid_argument} for a number outside its documented range.
void check_options(const TrainerOptions& options);

PlanOptions plan_options(Backend& backend, const TrainerOptions& options);

// Targets as a model's loss wants them when no data has been seen yet.
DType default_target(const Model& model);

// What tells the plans of a trainer apart.
struct PlanKey {
  bool is_training;
  int64_t batch;
  DType sample_dtype;
  DType target_dtype;
  bool operator==(const PlanKey&) const = default;
};

struct Trainer::Impl {
  // Plans kept for batch sizes other than the usual ones (a last batch, a prediction).
  static constexpr size_t kMostPlans = 8;
  static constexpr int64_t align64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

  Model model;
  TrainerOptions options;
  std::string why_not_gpu;
  std::unique_ptr<Backend> backend;

  // Persistent memory: the StepBlock, then parameters, state and constants by name.
  struct Slot {
    int64_t offset;
    Shape shape;
    ValueKind kind;
    bool is_of_model;       // a state that prediction needs
    std::string starts_as;  // of a state: the parameter that it follows, see Value
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
      slots[value.name] = {offset, value.shape, value.kind, value.is_of_model, value.starts_as};
      slot_order.push_back(value.name);
      offset += align64(value.shape.elems() * 4);
    }
    persistent = DeviceMemory(*backend, offset);
    for (ValueId id : plan.persistent_values()) {
      const Value& value = graph.value(id);
      std::vector<float> start = value.constant;
      if (value.kind == ValueKind::state) {  // parameters are initialised later
        const float fill = start.empty() ? 0.0f : start.front();
        start.assign(static_cast<size_t>(value.shape.elems()), fill);
      }
      backend->copy_in(slot_data(value.name), start.data(), static_cast<int64_t>(start.size()) * 4);
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

  // A parameter gets new values from outside; averages of it begin anew there.
  void write_parameter(const std::string& name, const Tensor& value) {
    write(name, value);
    for (const auto& [state, slot] : slots) {
      if (slot.starts_as == name) write(state, value);
    }
  }

  void initialize_all() {
    for (const ParameterInfo& info : model.parameters()) {
      Tensor weights(info.shape);
      initialize(weights, info.init, options.seed, info.name, info.following_gain);
      write_parameter(info.name, weights);
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

}  // namespace tanul
