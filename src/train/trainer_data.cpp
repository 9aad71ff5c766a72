// SPDX-License-Identifier: Apache-2.0
// Data against model: what samples and targets a trainer accepts, and how inputs are normalised.
#include <cmath>
#include <limits>

#include "graph/loss_targets.h"
#include "train/trainer_impl.h"

namespace tanul {

namespace {

// `input "image"`, where there are several.
std::string of_several(const char* what, const char* kind, size_t count, const std::string& name) {
  return count == 1 ? what : fmt::format("{}: {} \"{}\"", what, kind, name);
}

}  // namespace

void Trainer::Impl::check_samples(size_t input, const Shape& shape, DType dtype,
                                  const char* what) const {
  const PortInfo& port = inputs[input];
  const std::string where = of_several(what, "input", inputs.size(), port.name);
  const bool fits =
      shape == port.shape || (port.shape.rank() == 1 && shape.elems() == port.shape[0]);
  if (!fits) {
    fail(Code::invalid_argument, "{}: the samples are {}, but model \"{}\" expects {}", where,
         shape.str(), model.name(), port.shape.str());
  }
  if (dtype != DType::u8 && dtype != DType::f32) {
    fail(Code::invalid_argument, "{}: samples must be u8 or f32, got {}", where, dtype_name(dtype));
  }
}

void Trainer::Impl::check_target(size_t loss, const Shape& shape, DType dtype,
                                 const char* what) const {
  const LossInfo& info = losses[loss];
  const std::string where = of_several(what, "loss", losses.size(), info.name);
  const TargetForms& forms = target_forms[loss];
  if (dtype == DType::i32 && forms.labels) {
    if (shape == *forms.labels) return;
    if (info.output_shape.rank() == 1) {
      fail(Code::invalid_argument, "{}: class labels are one number a sample, got {}", where,
           shape.str());
    }
    fail(Code::invalid_argument,
         "{}: the output of model \"{}\" is {}, so class labels are {} a sample, got {}", where,
         model.name(), info.output_shape.str(), forms.labels->str(), shape.str());
  }
  if (!forms.values) {
    fail(Code::invalid_argument, "{}: this loss wants i32 class labels, got {}", where,
         dtype_name(dtype));
  }
  if (dtype == DType::f32 && shape == *forms.values) return;
  if (*forms.values == info.output_shape) {
    fail(Code::invalid_argument,
         "{}: the targets are {} of {}, but the output of model \"{}\" is {} of f32", where,
         shape.str(), dtype_name(dtype), model.name(), info.output_shape.str());
  }
  fail(Code::invalid_argument, "{}: the targets are {} of {}, but this loss wants {} of f32", where,
       shape.str(), dtype_name(dtype), forms.values->str());
}

void Trainer::Impl::check_labels(size_t loss, const int32_t* labels, int64_t count, int64_t sample,
                                 const char* what) const {
  const int64_t classes = losses[loss].output_shape[0];
  for (int64_t i = 0; i < count; ++i) {
    const int32_t label = labels[i];
    if (label >= 0 && label < classes) continue;
    if (ignore_index[loss] && *ignore_index[loss] == label) continue;
    fail(Code::invalid_argument,
         "{}: sample {} has the label {}, but model \"{}\" has {} outputs (labels 0 to {})",
         of_several(what, "loss", losses.size(), losses[loss].name), sample, label, model.name(),
         classes, classes - 1);
  }
}

void Trainer::Impl::check_data(const DataView& data, const char* what) const {
  if (data.empty()) fail(Code::invalid_argument, "{}: there are no samples", what);
  if (!data.has_targets()) fail(Code::invalid_argument, "{}: the samples have no targets", what);
  check_counts(data.inputs(), data.targets(), what);
  for (size_t i = 0; i < inputs.size(); ++i) {
    check_samples(i, data.sample_shape(i), data.sample_dtype(i), what);
  }
  for (size_t i = 0; i < losses.size(); ++i) {
    check_target(i, data.target_shape(i), data.target_dtype(i), what);
    if (data.target_dtype(i) != DType::i32) continue;
    const int64_t per_sample = data.target_shape(i).elems();
    for (int64_t n = 0; n < data.size(); ++n) {
      check_labels(i, static_cast<const int32_t*>(data.target(n, i)), per_sample, n, what);
    }
  }
}

// --- data sets on the device ---------------------------------------------------------------------

ResidentData& Trainer::Impl::data_set(int64_t id) const {
  for (const std::unique_ptr<ResidentData>& data : data_sets) {
    if (data->id() == id) return *data;
  }
  fail(Code::internal, "there is no data set {} on the device", id);
}

// With the plans that are bound to it.
void Trainer::Impl::drop_data_set(size_t at) {
  const int64_t id = data_sets[at]->id();
  std::erase_if(plans, [&](const CachedPlan& cached) { return cached.key.data_set == id; });
  data_sets.erase(data_sets.begin() + static_cast<std::ptrdiff_t>(at));
}

ResidentData* Trainer::Impl::data_set_for(const DataView& data) {
  if (!backend->runs_behind() || !options.data_on_device) return nullptr;
  if (data.size() > std::numeric_limits<int32_t>::max()) return nullptr;
  const int64_t bytes = ResidentData::bytes_of(data);
  const auto has_its_size = [&](const std::unique_ptr<ResidentData>& set) {
    return set->size() == data.size() && set->bytes() == bytes;
  };
  const bool fits = bytes <= backend->free_bytes() / 2;
  if (!fits && std::none_of(data_sets.begin(), data_sets.end(), has_its_size)) return nullptr;
  const uint64_t content = fingerprint(data);
  const auto found = std::find_if(data_sets.begin(), data_sets.end(),
                                  [&](const std::unique_ptr<ResidentData>& set) {
                                    return has_its_size(set) && set->fingerprint() == content;
                                  });
  if (found != data_sets.end()) {
    std::rotate(found, found + 1, data_sets.end());
    return data_sets.back().get();
  }
  if (!fits) return nullptr;
  if (data_sets.size() == kMostDataSets) drop_data_set(0);
  data_sets.push_back(std::make_unique<ResidentData>(*backend, data, content, ++data_sets_made));
  return data_sets.back().get();
}

void Trainer::Impl::copy_single_losses(const Plan& plan, int64_t first, int64_t samples,
                                       std::vector<Tensor>& to) const {
  for (size_t i = 0; i < losses.size(); ++i) {
    if (!has_single_losses(model.impl(), model.impl().losses[i])) continue;
    const ValueId id = plan.step_graph().losses[i].loss;
    Shape shape = plan.step_graph().graph.value(id).shape;
    const int64_t each = shape.elems() / shape[0], count = shape.elems();
    shape[0] = samples;
    if (to[i].empty()) to[i] = Tensor(shape);
    backend->copy_out(to[i].data<float>() + first * each, plan.address(id), count * 4);
  }
}

void Trainer::Impl::check_counts(size_t samples, size_t targets, const char* what) const {
  if (samples != inputs.size()) {
    fail(Code::invalid_argument, "{}: model \"{}\" has {} inputs, got {} tensors of samples", what,
         model.name(), inputs.size(), samples);
  }
  if (targets != losses.size()) {
    fail(Code::invalid_argument, "{}: model \"{}\" has {} losses, got {} tensors of targets", what,
         model.name(), losses.size(), targets);
  }
}

// --- normalisation -------------------------------------------------------------------------------

std::string Trainer::Impl::normalization_slot(size_t input, const char* what) const {
  return normalization_name(model.impl(), input, what);
}

size_t Trainer::Impl::channels(size_t input) const {
  return static_cast<size_t>(slots.at(normalization_slot(input, "mean")).shape.elems());
}

void Trainer::Impl::write_normalization(size_t input, const Normalization& n) {
  const auto count = static_cast<int64_t>(n.mean.size());
  write(normalization_slot(input, "mean"), Tensor::from<float>({count}, n.mean));
  write(normalization_slot(input, "deviation"), Tensor::from<float>({count}, n.deviation));
}

void Trainer::Impl::set_normalization(size_t input, const Normalization& n) {
  const size_t wanted = channels(input);
  if (n.mean.size() != wanted || n.deviation.size() != wanted) {
    fail(Code::invalid_argument,
         "normalization wants one mean and one deviation per channel, {} of each, got {} and {}",
         wanted, n.mean.size(), n.deviation.size());
  }
  for (size_t c = 0; c < wanted; ++c) {
    if (!std::isfinite(n.mean[c]) || !(n.deviation[c] > 0) || !std::isfinite(n.deviation[c])) {
      fail(Code::invalid_argument,
           "normalization of channel {}: the mean must be finite and the deviation above 0, got "
           "{} and {}",
           c, n.mean[c], n.deviation[c]);
    }
  }
  write_normalization(input, n);
}

// Mean and deviation per channel of `data`; images that the model sees as flat vectors have one.
void Trainer::Impl::fit_normalization(const DataView& data, size_t input) {
  const DataView::Moments moments = data.channel_moments(input);
  const size_t wanted = channels(input);
  Normalization n{moments.mean, moments.deviation};
  if (n.mean.size() != wanted) {
    double mean = 0;
    double square = 0;
    const auto count = static_cast<double>(n.mean.size());
    for (size_t c = 0; c < n.mean.size(); ++c) {
      const auto m = static_cast<double>(n.mean[c]);
      const auto d = static_cast<double>(n.deviation[c]);
      mean += m / count;
      square += (d * d + m * m) / count;
    }
    n.mean.assign(wanted, static_cast<float>(mean));
    n.deviation.assign(wanted, static_cast<float>(std::sqrt(std::max(0.0, square - mean * mean))));
  }
  for (float& d : n.deviation) {
    if (!(d > 0)) d = 1;  // a constant channel stays what it is
  }
  set_normalization(input, n);
}

// Inputs whose normalisation was given keep it, the others are fitted.
void Trainer::Impl::fit_normalizations(const DataView& data) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool is_given = i == 0 ? options.normalization.has_value()
                                 : options.more_normalizations.count(inputs[i].name) != 0;
    if (!is_given) fit_normalization(data, i);
  }
  is_normalized = true;
}

void Trainer::Impl::start_normalizations() {
  for (size_t i = 0; i < inputs.size(); ++i) {
    write_normalization(i, Normalization{std::vector<float>(channels(i), 0.0f),
                                         std::vector<float>(channels(i), 1.0f)});
  }
  bool all_given = options.normalization.has_value();
  if (options.normalization) set_normalization(0, *options.normalization);
  for (const auto& [name, n] : options.more_normalizations) {
    const auto port = std::find_if(inputs.begin() + 1, inputs.end(),
                                   [&](const PortInfo& info) { return info.name == name; });
    if (port == inputs.end()) {
      fail(Code::invalid_argument, "normalization: there is no further input \"{}\"", name);
    }
    set_normalization(static_cast<size_t>(port - inputs.begin()), n);
  }
  all_given &= options.more_normalizations.size() + 1 == inputs.size();
  is_normalized = all_given;
}

}  // namespace tanul
