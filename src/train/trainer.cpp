// SPDX-License-Identifier: Apache-2.0
// The training loop: epochs, evaluation, prediction. Says when steps run and with which data; how a
// step is computed is the plan's business.
#include "tanul/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "core/format.h"
#include "data/loader.h"
#include "kernels/optim/loss_scale.h"
#include "train/trainer_impl.h"

namespace tanul {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What a run over some samples adds up: the stats of each loss.
class Totals {
 public:
  explicit Totals(const std::vector<LossInfo>& losses) : losses_(losses) {}
  void add(const StepStats& stats) {
    for (size_t i = 0; i < losses_.size(); ++i) {
      for (size_t k = 0; k < 4; ++k) sums_[i][k] += static_cast<double>(stats.of_loss[i][k]);
    }
    // counts as much as the batch
    const double weight = losses_.empty() ? 0 : static_cast<double>(stats.of_loss[0][1]);
    penalty_ += static_cast<double>(stats.penalty) * weight;
  }
  double loss(size_t i) const { return sums_[i][1] > 0 ? sums_[i][0] / sums_[i][1] : 0; }
  double loss() const {
    double sum = !losses_.empty() && sums_[0][1] > 0 ? penalty_ / sums_[0][1] : 0;
    for (size_t i = 0; i < losses_.size(); ++i) sum += losses_[i].weight * loss(i);
    return sum;
  }
  double accuracy() const {
    for (size_t i = 0; i < losses_.size(); ++i) {
      if (sums_[i][3] > 0) return sums_[i][2] / sums_[i][3];
    }
    return 0;
  }

 private:
  const std::vector<LossInfo>& losses_;
  std::array<std::array<double, 4>, kMostPorts> sums_{};
  double penalty_ = 0;
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
  if (t.losses.empty()) {
    fail(Code::invalid_argument, "model \"{}\" has no loss, so it cannot be trained",
         t.model.name());
  }
  t.check_data(data, "training data");
  check_augmentation(t.options.augmentation, data, "training data");
  if (!t.is_normalized) t.fit_normalizations(data);
  const int64_t batch = t.options.batch;
  const int64_t steps =
      t.options.drop_last ? data.size() / batch : (data.size() + batch - 1) / batch;
  if (steps == 0) {
    fail(Code::invalid_argument,
         "training data: {} samples are less than one batch of {}, and drop_last leaves them out",
         data.size(), batch);
  }
  ResidentData* on_device = t.data_set_for(data);
  // Where the last, smaller batch cannot be planned (batch norm of one value), say so at once.
  if (!t.options.drop_last && data.size() % batch != 0) {
    PlanKey last = t.key_for(true, data.size() % batch, data, on_device);
    if (t.options.accumulate > 1) last.accumulation = Accumulation::apply;
    t.plan_for(last);
  }
  t.steps_per_epoch = (steps + t.options.accumulate - 1) / t.options.accumulate;
  t.order.resize(static_cast<size_t>(data.size()));
  if (t.options.shuffle) {
    epoch_order(t.order, t.options.seed, static_cast<uint32_t>(t.epochs));
  } else {
    for (size_t i = 0; i < t.order.size(); ++i) t.order[i] = static_cast<int64_t>(i);
  }
  if (on_device != nullptr) on_device->set_order(t.order);

  const Clock::time_point start = Clock::now();
  Totals totals(t.losses);
  Progress progress;
  progress.steps = steps;
  progress.epoch = t.epochs;
  EpochResult result;
  t.queue->clear();
  const auto finish_step = [&] {
    const QueuedStep step = t.queue->front();
    totals.add(t.finish_step());
    result.lr = step.scheduled_lr;
    result.samples = step.samples;
    ++progress.step;
    if (!on_step) return;
    const double elapsed = seconds_since(start);
    progress.loss = totals.loss();
    progress.accuracy = totals.accuracy();
    progress.lr = result.lr;
    progress.images_per_s = static_cast<double>(result.samples) / elapsed;
    progress.seconds_left =
        elapsed / static_cast<double>(progress.step) * static_cast<double>(steps - progress.step);
    on_step(progress);
  };
  for (int64_t s = 0; s < steps; ++s) {
    const int64_t first = s * batch;
    const int64_t count = std::min(batch, data.size() - first);
    PlanKey key = t.key_for(true, count, data, on_device);
    key.accumulation = t.next_accumulation(s + 1 == steps);
    Plan& plan = t.plan_for(key);
    if (on_device == nullptr) t.load_batch(plan, data, t.order.data() + first, count, true);
    t.queue_step(plan, key.accumulation, first, first + count);
    while (t.queue->size() > t.steps_ahead()) finish_step();
  }
  while (t.queue->size() > 0) finish_step();
  t.check_loss_scale();
  ++t.epochs;
  result.loss = totals.loss();
  result.accuracy = totals.accuracy();
  result.seconds = seconds_since(start);
  result.images_per_s = static_cast<double>(result.samples) / result.seconds;
  return result;
}

double Trainer::step(const Tensor& samples, const Tensor& targets) {
  return impl_->step(&samples, 1, &targets, 1);
}

double Trainer::step(const std::vector<Tensor>& samples, const std::vector<Tensor>& targets) {
  return impl_->step(samples.data(), samples.size(), targets.data(), targets.size());
}

double Trainer::step_at(const Tensor& samples, const Tensor& targets, double lr) {
  return impl_->step(&samples, 1, &targets, 1, lr);
}

void Trainer::Impl::check_loss_scale() const {
  if (slots.count(kLossScaleName) == 0) return;
  const Tensor state = read(kLossScaleName);
  const float* values = state.data<float>();
  if (values[0] > LossScaleParams{}.smallest || values[1] > 0) return;
  fail(Code::diverged,
       "the gradients are not finite even with a loss scale of {:g}; {:.0f} of {} steps were left "
       "out; "
       "a lower rate, warm-up, or precision = \"bf16\" may help",
       values[0], values[2], steps);
}

double Trainer::Impl::step(const Tensor* samples, size_t sample_count, const Tensor* targets,
                           size_t target_count, double lr) {
  check_counts(sample_count, target_count, "step");
  if (losses.empty()) {
    fail(Code::invalid_argument, "model \"{}\" has no loss, so it cannot be trained", model.name());
  }
  const Shape& first = samples[0].shape();
  if (samples[0].empty() || first.rank() < 2 || first[0] < 1) {
    fail(Code::invalid_argument, "step: the samples must be N times {}, got {}",
         inputs[0].shape.str(), first.str());
  }
  PlanKey key{true, first[0], {}, {}};
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Shape& shape = samples[i].shape();
    if (samples[i].empty() || shape.rank() < 2 || shape[0] != key.batch) {
      fail(Code::invalid_argument,
           "step: the samples of input \"{}\" must be {} (the batch) times {}, got {}",
           inputs[i].name, key.batch, inputs[i].shape.str(), shape.str());
    }
    check_samples(i, shape.tail(1), samples[i].dtype(), "step");
    key.samples[i] = samples[i].dtype();
  }
  for (size_t i = 0; i < losses.size(); ++i) {
    const Tensor& t = targets[i];
    if (t.empty() || t.shape().rank() < 1 || t.shape()[0] != key.batch) {
      fail(Code::invalid_argument, "step: the targets must be {} (the batch), got {}", key.batch,
           t.shape().str());
    }
    check_target(i, t.shape().tail(1), t.dtype(), "step");
    key.targets[i] = t.dtype();
    if (t.dtype() != DType::i32) continue;
    const int64_t each = t.elems() / key.batch;
    for (int64_t n = 0; n < key.batch; ++n) {
      check_labels(i, t.data<int32_t>() + n * each, each, n, "step");
    }
  }
  key.accumulation = next_accumulation(false);
  Plan& plan = plan_for(key);
  const StepGraph& graph = plan.step_graph();
  for (size_t i = 0; i < inputs.size(); ++i) {
    backend->copy_in(plan.address(graph.inputs[i].samples), samples[i].raw(), samples[i].bytes());
  }
  for (size_t i = 0; i < losses.size(); ++i) {
    backend->copy_in(plan.address(graph.losses[i].target), targets[i].raw(), targets[i].bytes());
  }
  Totals totals(losses);
  queue->clear();
  queue_step(plan, key.accumulation, 0, key.batch, lr);
  totals.add(finish_step());
  return totals.loss();
}

Evaluation Trainer::evaluate(
    const DataView& data,
    const std::function<void(const Tensor& truths, const Tensor& scores)>& on_scores) {
  Impl& t = *impl_;
  if (t.losses.empty()) {
    fail(Code::invalid_argument, "model \"{}\" has no loss to evaluate; use predict",
         t.model.name());
  }
  t.check_data(data, "evaluation data");
  const Clock::time_point start = Clock::now();
  size_t classifier = 0;  // the first loss whose targets are labels
  while (classifier < t.losses.size() && data.target_dtype(classifier) != DType::i32) ++classifier;
  const bool classify = classifier < t.losses.size();
  const Shape output = classify ? t.losses[classifier].output_shape : Shape{1};
  const int64_t classes = output[0];
  const int64_t positions_each = output.elems() / classes;
  Evaluation result;
  if (classify) result.confusion = ConfusionMatrix(classes);
  result.sample_losses.resize(t.losses.size());
  Totals totals(t.losses);
  std::vector<int64_t> positions(static_cast<size_t>(data.size()));
  std::iota(positions.begin(), positions.end(), int64_t{0});
  ResidentData* on_device = t.data_set_for(data);
  if (on_device != nullptr) on_device->set_order(positions);
  std::vector<float> values;
  std::vector<int32_t> truths;  // [n]: what of a batch counts
  std::vector<float> rows;      // [n, C]
  for (int64_t first = 0; first < data.size(); first += t.options.batch) {
    const int64_t count = std::min(t.options.batch, data.size() - first);
    Plan& plan = t.plan_for(t.key_for(false, count, data, on_device));
    if (on_device != nullptr) {
      t.take_from(first);
    } else {
      t.load_batch(plan, data, positions.data() + first, count, false);
    }
    t.run(plan);
    totals.add(read_stats(*t.backend, plan));
    t.copy_single_losses(plan, first, data.size(), result.sample_losses);
    if (!classify) continue;
    values.resize(static_cast<size_t>(count * output.elems()));
    t.backend->copy_out(values.data(), plan.address(plan.step_graph().losses[classifier].x),
                        count * output.elems() * 4);
    truths.clear();
    rows.clear();
    for (int64_t i = 0; i < count; ++i) {
      const auto* labels = static_cast<const int32_t*>(data.target(first + i, classifier));
      for (int64_t at = 0; at < positions_each; ++at) {
        const int32_t truth = labels[at];
        if (truth < 0 || truth >= classes) continue;  // ignored
        if (t.ignore_index[classifier] && truth == *t.ignore_index[classifier]) continue;
        const float* scores = values.data() + i * output.elems() + at;
        truths.push_back(truth);
        for (int64_t c = 0; c < classes; ++c) rows.push_back(scores[c * positions_each]);
        const auto row = rows.end() - classes;
        result.confusion.add(truth, std::max_element(row, rows.end()) - row);
      }
    }
    if (on_scores && !truths.empty()) {
      const auto n = static_cast<int64_t>(truths.size());
      on_scores(Tensor::from({n}, truths), Tensor::from({n, classes}, rows));
    }
  }
  result.samples = data.size();
  result.loss = totals.loss();
  for (size_t i = 0; i < t.losses.size(); ++i) result.losses.push_back(totals.loss(i));
  result.accuracy = classify ? result.confusion.accuracy() : totals.accuracy();
  result.seconds = seconds_since(start);
  return result;
}

namespace {

// Softmax over the classes of rows [rows, C, positions], in place.
void softmax_rows(float* values, int64_t rows, int64_t classes, int64_t positions) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t at = 0; at < positions; ++at) {
      float* row = values + r * classes * positions + at;
      double largest = static_cast<double>(row[0]);
      for (int64_t c = 1; c < classes; ++c) {
        largest = std::max(largest, static_cast<double>(row[c * positions]));
      }
      double sum = 0;
      for (int64_t c = 0; c < classes; ++c) {
        sum += std::exp(static_cast<double>(row[c * positions]) - largest);
      }
      for (int64_t c = 0; c < classes; ++c) {
        float& value = row[c * positions];
        value = static_cast<float>(std::exp(static_cast<double>(value) - largest) / sum);
      }
    }
  }
}

void sigmoid(float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>(1 / (1 + std::exp(-static_cast<double>(values[i]))));
  }
}

}  // namespace

Tensor Trainer::predict(const Tensor& samples) {
  return predict(std::vector<Tensor>{samples}).front();
}

std::vector<Tensor> Trainer::predict(const std::vector<Tensor>& samples) {
  Impl& t = *impl_;
  t.check_counts(samples.size(), t.losses.size(), "predict");
  for (size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].empty() || samples[i].shape().rank() < 2) {
      fail(Code::invalid_argument, "predict: the samples must be N times {}, got {}",
           t.inputs[i].shape.str(), samples[i].shape().str());
    }
  }
  const DataView view(samples, {});
  PlanKey key{false, 0, {}, default_targets(t.model)};
  for (size_t i = 0; i < samples.size(); ++i) {
    t.check_samples(i, view.sample_shape(i), view.sample_dtype(i), "predict");
    key.samples[i] = view.sample_dtype(i);
  }
  const int64_t n = view.size();
  std::vector<Tensor> results;
  for (const PortInfo& output : t.outputs) {
    std::vector<int64_t> extents{n};
    extents.insert(extents.end(), output.shape.begin(), output.shape.end());
    results.emplace_back(Shape(extents));
  }
  for (int64_t first = 0; first < n; first += t.options.batch) {
    key.batch = std::min(t.options.batch, n - first);
    Plan& plan = t.plan_for(key);
    const StepGraph& graph = plan.step_graph();
    for (size_t i = 0; i < samples.size(); ++i) {
      const int64_t bytes = view.sample_bytes(i);
      t.backend->copy_in(plan.address(graph.inputs[i].samples),
                         static_cast<const std::byte*>(samples[i].raw()) + first * bytes,
                         key.batch * bytes);
    }
    for (const StepGraph::Loss& loss : graph.losses) {  // computed too, against zeros
      const Value& target = graph.graph.value(loss.target);
      const Tensor zeros(target.shape, target.dtype);
      t.backend->copy_in(plan.address(loss.target), zeros.raw(), zeros.bytes());
    }
    t.run(plan);
    for (size_t o = 0; o < t.outputs.size(); ++o) {
      const Shape& shape = t.outputs[o].shape;
      float* rows = results[o].data<float>() + first * shape.elems();
      t.backend->copy_out(rows, plan.address(graph.outputs[o]), key.batch * shape.elems() * 4);
      switch (t.shown(o)) {
        case Shown::as_they_are: break;
        case Shown::softmax:
          softmax_rows(rows, key.batch, shape[0], shape.elems() / shape[0]);
          break;
        case Shown::sigmoid: sigmoid(rows, key.batch * shape.elems()); break;
      }
    }
  }
  return results;
}

void Trainer::observe(double metric) {
  if (impl_->options.schedule.kind == Schedule::Kind::plateau) {
    impl_->plateau.observe(impl_->options.schedule, metric);
  }
}

void Trainer::fit_normalization(const DataView& data) {
  if (!impl_->is_normalized) impl_->fit_normalizations(data);
}

void Trainer::set_stepwise(std::function<void(const StepReport&)> on_step_of_plan, bool looks) {
  impl_->on_plan_step = std::move(on_step_of_plan);
  impl_->looks_at_steps = looks;
}

PlanInfo Trainer::plan() const { return impl_->first_plan->info(); }
int64_t Trainer::tensor_bytes() const { return impl_->backend->tensor_bytes(); }
int64_t Trainer::data_bytes() const {
  int64_t bytes = 0;
  for (const auto& data : impl_->data_sets) bytes += data->bytes();
  return bytes;
}
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
