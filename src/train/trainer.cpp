// SPDX-License-Identifier: Apache-2.0
// The training loop: epochs, evaluation, prediction. Says when steps run and with which data; how a
// step is computed is the plan's business.
#include "tanul/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/format.h"
#include "data/loader.h"
#include "train/trainer_impl.h"

namespace tanul {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
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

}  // namespace

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
  if (samples.empty() || samples.shape().rank() < 2 || samples.shape()[0] < 1) {
    fail(Code::invalid_argument, "step: the samples must be N times {}, got {}",
         t.model.input_shape().str(), samples.shape().str());
  }
  const int64_t batch = samples.shape()[0];
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

}  // namespace tanul
