// SPDX-License-Identifier: Apache-2.0
// A trainer's weights and state as named tensors: what is saved, and what is accepted back.
#include <algorithm>
#include <cmath>
#include <locale>
#include <sstream>

#include "core/format.h"
#include "train/trainer_impl.h"

namespace tanul {

namespace {

const ParameterInfo& find_parameter(const Model& model, const std::string& name) {
  for (const ParameterInfo& info : model.parameters()) {
    if (info.name == name) return info;
  }
  fail(Code::not_found, "model \"{}\" has no parameter \"{}\"", model.name(), name);
}

// Numbers that read back as the same bits.
std::string plateau_text(const PlateauState& p) {
  return fmt::format("{} {} {} {} {}", p.factor, p.best, p.has_best ? 1 : 0, p.bad_epochs,
                     p.cooldown);
}

PlateauState read_plateau(const std::string& text) {
  PlateauState p;
  std::istringstream in(text);
  in.imbue(std::locale::classic());
  in >> p.factor >> p.best >> p.has_best >> p.bad_epochs >> p.cooldown;
  if (in.fail() || !(p.factor >= 0)) {
    fail(Code::format, "metadata \"plateau\" should be five numbers, got \"{}\"", text);
  }
  return p;
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
  impl_->write_parameter(name, value);
}

Tensor Trainer::parameter_average(const std::string& name) const {
  find_parameter(impl_->model, name);
  if (impl_->slots.count(name + ".ema") == 0) {
    fail(Code::not_found, "there is no average of \"{}\": {}", name,
         impl_->options.ema_decay > 0 ? "it is frozen" : "ema_decay is 0");
  }
  return impl_->read(name + ".ema");
}

std::optional<LossScale> Trainer::loss_scale() const {
  if (impl_->slots.count(kLossScaleName) == 0) return {};
  const Tensor state = impl_->read(kLossScaleName);
  const float* values = state.data<float>();
  return LossScale{static_cast<double>(values[0]), static_cast<int64_t>(values[1]),
                   static_cast<int64_t>(values[2])};
}

TensorFile Trainer::state(bool with_optimizer) const {
  TensorFile file;
  for (const std::string& name : impl_->slot_order) {
    const Impl::Slot& slot = impl_->slots.at(name);
    if (slot.kind == ValueKind::constant) continue;
    if (slot.kind == ValueKind::state && !slot.is_of_model && !with_optimizer) continue;
    // what prediction needs are the averages, where there are any
    file.tensors.emplace_back(name,
                              impl_->read(with_optimizer ? name : impl_->evaluated_name(name)));
  }
  file.metadata["format"] = "tanul";
  file.metadata["model"] = impl_->model.name();
  const PlanInfo& plan = impl_->first_plan->info();
  file.metadata["precision"] = precision_name(plan.precision);
  if (plan.precision != Precision::fp32) {
    file.metadata["products_in_precision"] =
        fmt::format("{} of {}", plan.products_in_precision, plan.products);
  }
  file.metadata["normalized"] = impl_->is_normalized ? "1" : "0";
  if (with_optimizer) {
    file.metadata["seed"] = std::to_string(impl_->options.seed);
    file.metadata["steps"] = std::to_string(impl_->steps);
    file.metadata["epochs"] = std::to_string(impl_->epochs);
    if (impl_->options.accumulate > 1) {
      file.metadata["micro_batches"] = std::to_string(impl_->micro_batches);
    }
    if (impl_->options.schedule.kind == Schedule::Kind::plateau) {
      file.metadata["plateau"] = plateau_text(impl_->plateau);
    }
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

// Anything else would make nonsense of every gradient.
void check_loss_scale(const Tensor& state) {
  const float* values = state.data<float>();
  const bool is_scale = std::isfinite(values[0]) && values[0] > 0;
  const auto is_count = [](float value) { return value >= 0 && std::floor(value) == value; };
  if (is_scale && is_count(values[1]) && is_count(values[2])) return;
  fail(Code::format, "tensor \"{}\" should be a scale above 0 and two counts, got {}, {}, {}",
       kLossScaleName, values[0], values[1], values[2]);
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
    if (name == kLossScaleName) check_loss_scale(tensor);
  }
  for (const std::string& name : t.slot_order) {
    const Impl::Slot& slot = t.slots.at(name);
    const bool is_needed = slot.kind == ValueKind::parameter || slot.is_of_model ||
                           (slot.kind == ValueKind::state && has_optimizer);
    if (is_needed && file.find(name) == nullptr) {
      fail(Code::format, "tensor \"{}\" {} of model \"{}\" is missing", name, slot.shape.str(),
           t.model.name());
    }
  }
  const int64_t steps = counter(file, "steps", 0);
  const int64_t epochs = counter(file, "epochs", 0);
  const int64_t normalized = counter(file, "normalized", 1);
  const int64_t micro_batches = counter(file, "micro_batches", 0);
  const auto plateau = file.metadata.find("plateau");
  const PlateauState schedule =
      plateau == file.metadata.end() ? PlateauState{} : read_plateau(plateau->second);
  for (const auto& [name, tensor] : file.tensors) {
    // without optimizer state the averages begin with the weights
    if (has_optimizer) {
      t.write(name, tensor);
    } else {
      t.write_parameter(name, tensor);
    }
  }
  if (has_optimizer) {
    t.steps = steps;
    t.epochs = epochs;
    t.micro_batches = micro_batches;
    t.plateau = schedule;
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

}  // namespace tanul
