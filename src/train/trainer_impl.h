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
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "core/format.h"
#include "data/augment.h"
#include "graph/loss_targets.h"
#include "graph/model.h"
#include "plan/plan.h"
#include "plan/tuner.h"
#include "run/executor.h"
#include "tanul/trainer.h"
#include "train/init.h"
#include "train/resident_data.h"
#include "train/stats_queue.h"

namespace tanul {

// Throws Error{invalid_argument} for a number outside its documented range.
void check_options(const TrainerOptions& options);
// … for a group that matches no parameter, or groups that freeze all of them.
void check_groups(const Model& model, const TrainerOptions& options);

// `tuner` may be null.
PlanOptions plan_options(Backend& backend, const TrainerOptions& options, Tuner* tuner);
// Null where the options, or the device, let the order of implementations decide.
std::unique_ptr<Tuner> make_tuner(Backend& backend, const TrainerOptions& options);

// Throws Error{out_of_memory} with the largest batch that fits, where the device has less memory left than
// a plan needs.
void check_memory(Backend& backend, const Model& model, const StepGraphOptions& graph_options,
                  const PlanOptions& options, const PlanInfo& plan);

// Targets as a model's losses want them when no data has been seen yet.
PortTypes default_targets(const Model& model);

// What tells the plans of a trainer apart.
struct PlanKey {
  bool is_training;
  int64_t batch;
  PortTypes samples;
  PortTypes targets;
  Accumulation accumulation = Accumulation::none;
  // ResidentData::id of what batches are taken from; 0: the host puts them in.
  int64_t data_set = 0;
  bool operator==(const PlanKey&) const = default;
};

struct Trainer::Impl {
  // Plans kept for batch sizes other than the usual ones (a last batch, a prediction).
  static constexpr size_t kMostPlans = 8;
  // Data sets that lie on the device at a time: training, validation, test, and one for who looks at more.
  static constexpr size_t kMostDataSets = 4;
  static constexpr int64_t align64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

  Model model;
  TrainerOptions options;
  const std::vector<PortInfo> inputs;
  const std::vector<PortInfo> outputs;
  const std::vector<LossInfo> losses;
  std::vector<std::optional<int32_t>> ignore_index;  // of each loss
  std::vector<TargetForms> target_forms;             // of each loss
  std::string why_not_gpu;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Tuner> tuner;

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
  Plan* first_plan = nullptr;      // the one that plan() describes
  std::optional<Keeping> keeping;  // with Memory::low: chosen for the first plan, used by all

  std::vector<std::unique_ptr<ResidentData>> data_sets;  // on the device; the one used last is last
  int64_t data_sets_made = 0;
  std::unique_ptr<StatsQueue> queue;

  std::vector<int64_t> order;  // of the epoch that runs
  int64_t steps = 0;
  int64_t epochs = 0;
  int64_t steps_per_epoch = 0;
  int64_t micro_batches = 0;  // gathered for the step that is under way
  PlateauState plateau;
  bool is_normalized = false;
  std::function<void(const StepReport&)> on_plan_step;
  bool looks_at_steps = true;

  Impl(Model m, TrainerOptions o)
      : model(std::move(m)),
        options(std::move(o)),
        inputs(model.inputs()),
        outputs(model.outputs()),
        losses(model.losses()) {
    check_options(options);
    const Device device = find_device(options.device, &why_not_gpu);
    if (options.device != "auto") why_not_gpu.clear();
    backend = open_backend(device, options.threads);
    tuner = make_tuner(*backend, options);
    options.threads = backend->threads();
    for (const Model::Impl::Loss& loss : model.impl().losses) {
      ignore_index.push_back(ignored_label(model.impl(), loss));
      target_forms.push_back(accepted_targets(model.impl(), loss));
    }
    check_groups(model, options);
    // A network of vectors may see images; what they are says the data.
    if (inputs.front().shape.rank() != 1 || options.augmentation.crop < 0) {
      check_augmentation(options.augmentation, inputs.front().shape, "trainer");
    }
    PlanKey key{!losses.empty(), options.batch, PortTypes(DType::u8), default_targets(model)};
    if (key.is_training && options.accumulate > 1) key.accumulation = Accumulation::apply;
    const PlanOptions chosen = plan_options(*backend, options, tuner.get());
    auto plan = std::make_unique<Plan>(model, graph_options(key), chosen);
    keeping = plan->keeping();
    check_memory(*backend, model, graph_options(key), chosen, plan->info());
    allocate_persistent(*plan);
    queue = std::make_unique<StatsQueue>(*backend, losses.size(), options.steps_ahead);
    initialize_all();
    first_plan = &keep(key, std::move(plan));
  }

  StepGraphOptions graph_options(const PlanKey& key) const {
    StepGraphOptions result = training_options(options);
    result.batch = key.batch;
    result.is_training = key.is_training;
    result.samples = key.samples;
    result.targets = key.targets;
    result.accumulation = key.accumulation;
    if (key.is_training) result.keeping = keeping;
    if (key.data_set == 0) return result;
    const ResidentData& data = data_set(key.data_set);
    result.resident_samples = data.size();
    result.augmentation = options.augmentation;
    result.seed = options.seed;
    if (options.augmentation.is_on()) {
      result.image_height = data.sample_shape()[1];
      result.image_width = data.sample_shape()[2];
    }
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
      const auto elems = static_cast<size_t>(value.shape.elems());
      if (value.kind == ValueKind::state && start.size() != elems) {
        start.assign(elems, start.empty() ? 0.0f : start.front());
      }
      if (start.empty()) continue;  // parameters are initialised later
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
      initialize(weights, info.init, options.seed, info.name, info.following_gain,
                 [&](int64_t count, const std::function<void(int64_t)>& body) {
                   backend->for_each_on_host(count, body);
                 });
      write_parameter(info.name, weights);
    }
    start_normalizations();
  }

  // --- normalisation of the inputs (trainer_data.cpp) --------------------------------------------
  std::string normalization_slot(size_t input, const char* what) const;
  size_t channels(size_t input) const;
  void write_normalization(size_t input, const Normalization& n);
  void set_normalization(size_t input, const Normalization& n);
  void fit_normalization(const DataView& data, size_t input);
  void fit_normalizations(const DataView& data);
  void start_normalizations();

  Plan& keep(const PlanKey& key, std::unique_ptr<Plan> plan) {
    if (plan->scratch_bytes() > scratch.bytes()) {
      scratch.reset();
      scratch = DeviceMemory(*backend, plan->scratch_bytes());
      for (CachedPlan& cached : plans) bind(cached.key, *cached.plan);
    }
    bind(key, *plan);
    if (plans.size() >= kMostPlans) {
      const auto oldest = std::find_if(plans.begin(), plans.end(), [&](const CachedPlan& cached) {
        return cached.plan.get() != first_plan && cached.key.batch != options.batch;
      });
      if (oldest != plans.end()) plans.erase(oldest);
    }
    plans.push_back({key, std::move(plan)});
    return *plans.back().plan;
  }

  // Evaluation looks at the averages of the weights where there are any.
  void bind(const PlanKey& key, Plan& plan) {
    plan.bind(
        [&](const std::string& name) {
          return slot_data(key.is_training ? name : evaluated_name(name));
        },
        scratch.data(), block(),
        [&](ValueId value) {
          return data_set(key.data_set).address(plan.step_graph().data_set, value);
        });
  }
  std::string evaluated_name(const std::string& name) const {
    const std::string average = name + ".ema";
    return slots.count(average) != 0 ? average : name;
  }

  Plan& plan_for(const PlanKey& key) {
    for (CachedPlan& cached : plans) {
      if (cached.key == key) return *cached.plan;
    }
    return keep(key, std::make_unique<Plan>(model, graph_options(key),
                                            plan_options(*backend, options, tuner.get())));
  }

  // --- data against model (trainer_data.cpp) -----------------------------------------------------
  void check_samples(size_t input, const Shape& shape, DType dtype, const char* what) const;
  void check_target(size_t loss, const Shape& shape, DType dtype, const char* what) const;
  // `count` labels of the sample at place `sample`.
  void check_labels(size_t loss, const int32_t* labels, int64_t count, int64_t sample,
                    const char* what) const;
  void check_counts(size_t samples, size_t targets, const char* what) const;
  // Losses with Reduction::none: those of an evaluated batch that starts at sample `first` of `samples`.
  void copy_single_losses(const Plan& plan, int64_t first, int64_t samples,
                          std::vector<Tensor>& to) const;
  void check_data(const DataView& data, const char* what) const;

  // --- steps -------------------------------------------------------------------------------------

  void run(Plan& plan) {
    if (on_plan_step) {
      run_plan_stepwise(*backend, plan, on_plan_step, looks_at_steps);
    } else {
      run_plan(*backend, plan);
    }
  }

  double lr_of_next_step() const {
    return static_cast<double>(learning_rate(options.optimizer)) *
           options.schedule.factor(steps, steps_per_epoch, options.epochs) * plateau.factor;
  }

  // What the next batch of training does; `is_last`: no other batch of this step will follow.
  Accumulation next_accumulation(bool is_last) const {
    if (options.accumulate <= 1) return Accumulation::none;
    return is_last || micro_batches + 1 >= options.accumulate ? Accumulation::apply
                                                              : Accumulation::gather;
  }

  // Each micro-batch of a step draws other random numbers.
  uint64_t seed_of_batch() const {
    return options.seed ^ (static_cast<uint64_t>(micro_batches) * 0x9E3779B97F4A7C15u);
  }

  // Queues one batch of training: a step, or a part of one; its statistics come out of finish_step. The
  // batch lies in the plan's inputs, or begins at `first` of the order of its data set. `lr` in place of the
  // schedule's rate where it is not negative; `samples`: see QueuedStep.
  void queue_step(Plan& plan, Accumulation accumulation, int64_t first, int64_t samples,
                  double lr = -1) {
    const double rate = lr >= 0 ? lr : lr_of_next_step();
    const StepBlock next{
        seed_of_batch(),
        static_cast<uint64_t>(steps),
        static_cast<float>(rate),
        static_cast<float>(options.schedule.momentum(steps, steps_per_epoch, options.epochs)),
        first,
        static_cast<uint32_t>(epochs)};
    backend->copy_in(block(), &next, sizeof next);
    run(plan);
    if (accumulation == Accumulation::gather) {
      ++micro_batches;
    } else {
      ++steps;
      micro_batches = 0;
    }
    queue->push(plan, {steps, epochs, next.lr, rate, samples});
  }

  // The statistics of the step that was queued first.
  StepStats finish_step() {
    const QueuedStep step = queue->front();
    const StepStats stats = queue->pop();
    for (size_t i = 0; i < losses.size(); ++i) {
      const float sum = stats.of_loss[i][0];
      if (stats.of_loss[i][1] == 0 || std::isfinite(sum)) continue;
      fail(Code::diverged,
           "the loss became {} in step {} (epoch {}, learning rate {:g}); a lower rate, warm-up or "
           "clip_norm may help, --stepwise shows the first layer that breaks",
           sum, step.step, step.epoch + 1, step.lr);
    }
    return stats;
  }

  // Throws Error{diverged} where the loss scale has fallen as far as it can (trainer.cpp).
  void check_loss_scale() const;
  // How many steps of an epoch may be queued while the first of them has not been looked at.
  size_t steps_ahead() const {
    return backend->runs_behind() && !on_plan_step ? static_cast<size_t>(options.steps_ahead) : 0;
  }

  // --- data sets on the device (trainer_data.cpp) ------------------------------------------------

  // `data` on the device: as it is there, or copied to it where it takes at most half of what is free. Null:
  // the host makes the batches.
  ResidentData* data_set_for(const DataView& data);
  // Before a step of evaluation: its batch begins at place `first` of the order.
  void take_from(int64_t first) {
    const StepBlock next{options.seed, static_cast<uint64_t>(steps), 0, 0, first};
    backend->copy_in(block(), &next, sizeof next);
  }
  ResidentData& data_set(int64_t id) const;
  void drop_data_set(size_t at);

  // Puts `count` samples of `data` into the plan's inputs; those of training augmented.
  void load_batch(const Plan& plan, const DataView& data, const int64_t* positions, int64_t count,
                  bool is_training) {
    const StepGraph& graph = plan.step_graph();
    const bool augments = is_training && options.augmentation.is_on();
    if (augments) {
      fill(plan, graph.inputs[0].samples, [&](void* to) {
        gather_augmented(data, positions, count, options.augmentation, options.seed,
                         static_cast<uint32_t>(epochs), to);
      });
    }
    for (size_t i = augments ? 1 : 0; i < graph.inputs.size(); ++i) {
      fill(plan, graph.inputs[i].samples,
           [&](void* to) { data.gather_input(i, positions, count, to); });
    }
    for (size_t i = 0; i < graph.losses.size(); ++i) {
      fill(plan, graph.losses[i].target,
           [&](void* to) { data.gather_target(i, positions, count, to); });
    }
  }

  // Lets the host write what is to lie in an input of the plan.
  template <typename Write>
  void fill(const Plan& plan, ValueId input, Write&& write) {
    const Value& value = plan.step_graph().graph.value(input);
    const int64_t bytes = value.shape.elems() * dtype_bytes(value.dtype);
    write(backend->begin_write(plan.address(input), bytes));
    backend->end_write(plan.address(input), bytes);
  }

  double step(const Tensor* samples, size_t sample_count, const Tensor* targets,
              size_t target_count, double lr = -1);

  // trainer_start.cpp: makes the filters of a convolution whiten the patches of what it reads.
  void whiten(const StepGraph::Layer& layer, const Shape& x_shape, const std::vector<float>& x,
              const WhiteningOptions& how);

  // How an output is handed out: as its loss sees it.
  Shown shown(size_t output) const {
    for (const Model::Impl::Loss& loss : model.impl().losses) {
      if (loss.x == model.impl().outputs[output].value) return shown_outputs(model.impl(), loss);
    }
    return Shown::as_they_are;
  }

  PlanKey key_for(bool is_training, int64_t count, const DataView& data,
                  const ResidentData* on_device) const {
    PlanKey key{is_training, count, {}, {}};
    if (on_device != nullptr) key.data_set = on_device->id();
    for (size_t i = 0; i < inputs.size(); ++i) key.samples[i] = data.sample_dtype(i);
    for (size_t i = 0; i < losses.size(); ++i) key.targets[i] = data.target_dtype(i);
    return key;
  }
};

}  // namespace tanul
