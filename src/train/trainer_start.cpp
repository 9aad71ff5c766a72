// SPDX-License-Identifier: Apache-2.0
// How weights start where an initialiser is not enough: from what samples do in the network (LSUV,
// whitening), or from a file. Runs parts of a plan of its own, in evaluation mode, that keeps what layers
// read and make.
#include <algorithm>
#include <cmath>
#include <set>

#include "core/format.h"
#include "core/glob.h"
#include "graph/optimizer_nodes.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/op.h"
#include "train/eigen.h"
#include "train/trainer_impl.h"

namespace tanul {

namespace {

struct Moments {
  double mean = 0;
  double variance = 0;
};

Moments moments_of(const std::vector<float>& values) {
  Moments m;
  const auto n = static_cast<double>(values.size());
  for (float v : values) m.mean += static_cast<double>(v) / n;
  for (float v : values) {
    const double d = static_cast<double>(v) - m.mean;
    m.variance += d * d / n;
  }
  return m;
}

std::string layer_of(const std::string& parameter) {
  return parameter.substr(0, parameter.rfind('.'));
}

}  // namespace

// A plan whose layers can be looked at one after the other.
class LayerRun {
 public:
  LayerRun(Trainer::Impl& trainer, const Tensor& samples, const char* what) : t_(trainer) {
    if (t_.inputs.size() != 1) {
      fail(Code::unsupported, "{}: model \"{}\" has {} inputs, only models of one are looked at",
           what, t_.model.name(), t_.inputs.size());
    }
    if (samples.empty() || samples.shape().rank() < 2 || samples.shape()[0] < 2) {
      fail(Code::invalid_argument, "{}: the samples must be at least 2 times {}, got {}", what,
           t_.inputs[0].shape.str(), samples.shape().str());
    }
    t_.check_samples(0, samples.shape().tail(1), samples.dtype(), what);
    PlanKey key{false, samples.shape()[0], PortTypes(samples.dtype()), default_targets(t_.model)};
    StepGraphOptions options = t_.graph_options(key);
    options.keep_layers = true;
    plan_ = std::make_unique<Plan>(t_.model, options,
                                   plan_options(*t_.backend, t_.options, t_.tuner.get()));
    memory_ = DeviceMemory(*t_.backend, plan_->scratch_bytes());
    // the weights themselves, not their averages
    plan_->bind([this](const std::string& name) { return t_.slot_data(name); }, memory_.data(),
                t_.block());
    t_.backend->copy_in(plan_->address(plan_->step_graph().inputs[0].samples), samples.raw(),
                        samples.bytes());
  }

  const std::vector<StepGraph::Layer>& layers() const { return plan_->step_graph().layers; }
  const Value& value(ValueId id) const { return plan_->step_graph().graph.value(id); }

  // Runs everything up to a layer, that layer included.
  void run_to(const StepGraph::Layer& layer) { run_plan_to(*t_.backend, *plan_, layer.node); }

  std::vector<float> read(ValueId id) const {
    std::vector<float> values(static_cast<size_t>(value(id).shape.elems()));
    t_.backend->copy_out(values.data(), plan_->address(id),
                         static_cast<int64_t>(values.size()) * 4);
    return values;
  }

 private:
  Trainer::Impl& t_;
  std::unique_ptr<Plan> plan_;
  DeviceMemory memory_;
};

// --- LSUV -------------------------------------------------------------------------------------------

std::vector<LsuvLayer> Trainer::initialize_lsuv(const Tensor& samples, const LsuvOptions& options) {
  Impl& t = *impl_;
  if (!(options.tolerance > 0) || options.iterations < 1) {
    fail(Code::invalid_argument,
         "lsuv: tolerance is above 0 and iterations at least 1, got {:g} and {}", options.tolerance,
         options.iterations);
  }
  LayerRun run(t, samples, "lsuv");
  std::vector<LsuvLayer> report;
  for (const StepGraph::Layer& layer : run.layers()) {
    if (is_frozen_by(t.options.groups, layer.weight)) continue;
    Tensor w = t.read(layer.weight);
    const auto info = std::find_if(t.model.parameters().begin(), t.model.parameters().end(),
                                   [&](const ParameterInfo& p) { return p.name == layer.weight; });
    const bool is_whitened =
        info != t.model.parameters().end() && info->init.kind == Init::Kind::whitening;
    if (options.orthogonal && !is_whitened) {
      initialize(w, Init::orthogonal(), t.options.seed, layer.weight);
      t.write_parameter(layer.weight, w);
    }
    const std::string bias = layer_of(layer.weight) + ".bias";
    if (!is_whitened && t.slots.count(bias) != 0 && !is_frozen_by(t.options.groups, bias)) {
      t.write_parameter(bias, Tensor(t.slots.at(bias).shape));
    }
    LsuvLayer entry;
    entry.weight = layer.weight;
    for (int64_t i = 0;; ++i) {
      run.run_to(layer);
      entry.after = moments_of(run.read(layer.y)).variance;
      if (i == 0) entry.before = entry.after;
      if (!std::isfinite(entry.after)) {
        fail(Code::diverged, "lsuv: the output of the layer of \"{}\" is not finite", layer.weight);
      }
      // A layer whose output does not vary cannot be scaled.
      if (i == options.iterations || entry.after == 0 ||
          std::fabs(entry.after - 1) <= options.tolerance) {
        break;
      }
      const double scale = 1 / std::sqrt(entry.after);
      for (int64_t k = 0; k < w.elems(); ++k) {
        float& value = w.data<float>()[k];
        value = static_cast<float>(static_cast<double>(value) * scale);
      }
      t.write_parameter(layer.weight, w);
    }
    report.push_back(entry);
  }
  return report;
}

// --- whitening --------------------------------------------------------------------------------------

namespace {

// Patches of x [N, C, spatial…] that a kernel [C, R, S, …] sees at stride 1 without padding, as rows.
class Patches {
 public:
  Patches(const Shape& x, const Shape& w) {
    channels_ = x[1];
    for (int i = 2; i < x.rank(); ++i) {
      extent_.push_back(x[i]);
      kernel_.push_back(w[i]);
      places_.push_back(x[i] - w[i] + 1);
    }
    samples_ = x[0];
  }
  int64_t size() const { return channels_ * product(kernel_); }
  int64_t count() const {
    int64_t n = samples_;
    for (int64_t p : places_) n *= std::max<int64_t>(p, 0);
    return n;
  }
  void read(const std::vector<float>& x, int64_t patch, std::vector<double>& row) const {
    std::vector<int64_t> origin(places_.size());
    for (size_t i = places_.size(); i-- > 0;) {
      origin[i] = patch % places_[i];
      patch /= places_[i];
    }
    const int64_t plane = product(extent_);
    const int64_t taps = product(kernel_);
    for (int64_t c = 0; c < channels_; ++c) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        int64_t rest = tap, at = 0, scale = 1;
        for (size_t i = kernel_.size(); i-- > 0;) {
          at += (origin[i] + rest % kernel_[i]) * scale;
          rest /= kernel_[i];
          scale *= extent_[i];
        }
        row[static_cast<size_t>(c * taps + tap)] =
            static_cast<double>(x[static_cast<size_t>((patch * channels_ + c) * plane + at)]);
      }
    }
  }

 private:
  static int64_t product(const std::vector<int64_t>& extents) {
    int64_t n = 1;
    for (int64_t e : extents) n *= e;
    return n;
  }
  int64_t samples_, channels_;
  std::vector<int64_t> extent_, kernel_, places_;
};

struct Covariance {
  std::vector<double> mean;    // [n]
  std::vector<double> matrix;  // [n, n]
};

// Of at most `most` patches, evenly chosen.
Covariance covariance_of(const Patches& patches, const std::vector<float>& x, int64_t most) {
  const int64_t n = patches.size();
  const int64_t used = std::min(patches.count(), most);
  Covariance c{std::vector<double>(static_cast<size_t>(n), 0.0),
               std::vector<double>(static_cast<size_t>(n * n), 0.0)};
  std::vector<double> row(static_cast<size_t>(n));
  const auto each = [&](const auto& body) {
    for (int64_t i = 0; i < used; ++i) {
      // i count / used, rounded down
      const int64_t patch = i * (patches.count() / used) + i * (patches.count() % used) / used;
      patches.read(x, patch, row);
      body();
    }
  };
  each([&] {
    for (int64_t i = 0; i < n; ++i) {
      c.mean[static_cast<size_t>(i)] += row[static_cast<size_t>(i)] / static_cast<double>(used);
    }
  });
  each([&] {
    for (int64_t i = 0; i < n; ++i) {
      row[static_cast<size_t>(i)] -= c.mean[static_cast<size_t>(i)];
    }
    for (int64_t i = 0; i < n; ++i) {
      const double left = row[static_cast<size_t>(i)] / static_cast<double>(used);
      for (int64_t j = 0; j <= i; ++j) {
        c.matrix[static_cast<size_t>(i * n + j)] += left * row[static_cast<size_t>(j)];
      }
    }
  });
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      c.matrix[static_cast<size_t>(j * n + i)] = c.matrix[static_cast<size_t>(i * n + j)];
    }
  }
  return c;
}

bool is_convolution(OpKind kind) {
  return kind == OpKind::conv2d_fwd || kind == OpKind::conv3d_fwd;
}

bool is_plain_convolution(const StepGraph::Layer& layer) {
  if (!is_convolution(layer.kind)) return false;
  const bool is_flat = layer.kind == OpKind::conv2d_fwd;
  if (!is_flat && layer.params.as<Conv3dParams>().dilation_d != 1) return false;
  const Conv2dParams& plane =
      is_flat ? layer.params.as<Conv2dParams>() : layer.params.as<Conv3dParams>().plane;
  return plane.dilation_h == 1 && plane.dilation_w == 1;
}

}  // namespace

void Trainer::Impl::whiten(const StepGraph::Layer& layer, const Shape& x_shape,
                           const std::vector<float>& x, const WhiteningOptions& how) {
  Tensor w = read(layer.weight);
  const Shape& shape = w.shape();
  const std::string where = fmt::format("whitening of \"{}\"", layer.weight);
  if (shape.rank() != x_shape.rank() || shape.rank() < 3 || shape[1] != x_shape[1] ||
      !is_plain_convolution(layer)) {
    fail(Code::unsupported, "{}: the layer must be a convolution of one group and dilation 1",
         where);
  }
  const Patches patches(x_shape, shape);
  const int64_t n = patches.size();
  const int64_t K = shape[0];
  if (K > 2 * n) {
    fail(Code::invalid_argument,
         "{}: a patch has {} elements, so there are at most {} filters, got {}", where, n, 2 * n,
         K);
  }
  if (std::min(patches.count(), how.patches) < n + 1) {
    fail(Code::invalid_argument,
         "{}: {} patches say too little about {} elements; give more "
         "samples",
         where, std::min(patches.count(), how.patches), n);
  }
  const Covariance covariance = covariance_of(patches, x, how.patches);
  const Eigen eigen = symmetric_eigen(covariance.matrix, n);
  // Directions without variance stay small.
  const double least = std::max(1e-9 * eigen.values.front(), 1e-30);
  Tensor bias;
  const std::string bias_name = layer_of(layer.weight) + ".bias";
  if (slots.count(bias_name) != 0) bias = read(bias_name);
  for (int64_t k = 0; k < K; ++k) {
    const int64_t row = k % n;
    const double value = std::max(eigen.values[static_cast<size_t>(row)], least) + how.eps;
    const double scale = (k < n ? 1 : -1) / std::sqrt(value);
    double shift = 0;
    for (int64_t j = 0; j < n; ++j) {
      const double element = scale * eigen.vectors[static_cast<size_t>(row * n + j)];
      w.data<float>()[k * n + j] = static_cast<float>(element);
      shift -= element * covariance.mean[static_cast<size_t>(j)];
    }
    if (!bias.empty()) bias.data<float>()[k] = static_cast<float>(shift);
  }
  write_parameter(layer.weight, w);
  if (!bias.empty()) write_parameter(bias_name, bias);
}

void Trainer::initialize_whitening(const Tensor& samples, const WhiteningOptions& options) {
  Impl& t = *impl_;
  if (!(options.eps >= 0) || options.patches < 1) {
    fail(Code::invalid_argument,
         "whitening: eps is at least 0 and patches at least 1, got {:g} and {}", options.eps,
         options.patches);
  }
  LayerRun run(t, samples, "whitening");
  std::set<std::string> asked;  // weights
  for (const ParameterInfo& info : t.model.parameters()) {
    const bool is_asked = options.layer.empty() ? info.init.kind == Init::Kind::whitening
                                                : info.name == options.layer + ".weight";
    if (is_asked) asked.insert(info.name);
  }
  bool is_done = false;
  for (const StepGraph::Layer& layer : run.layers()) {
    const bool is_wanted = asked.empty() && options.layer.empty() ? is_convolution(layer.kind)
                                                                  : asked.count(layer.weight) != 0;
    if (!is_wanted) continue;
    run.run_to(layer);
    t.whiten(layer, run.value(layer.x).shape, run.read(layer.x), options);
    is_done = true;
    if (asked.empty()) break;
  }
  if (!is_done) {
    fail(Code::not_found, "whitening: model \"{}\" has no convolution{}", t.model.name(),
         options.layer.empty() ? "" : " \"" + options.layer + "\"");
  }
}

// --- weights from a file ----------------------------------------------------------------------------

LoadReport Trainer::load_weights(const TensorFile& file, const LoadOptions& options) {
  Impl& t = *impl_;
  LoadReport report;
  std::vector<std::pair<std::string, Tensor>> found;  // written when all has been looked at
  const auto is_weight = [&](const std::string& name) {
    const auto slot = t.slots.find(name);
    return slot != t.slots.end() &&
           (slot->second.kind == ValueKind::parameter || slot->second.is_of_model);
  };
  bool has_normalization = false;
  for (const std::string& name : t.slot_order) {
    if (!is_weight(name) || !glob_match(options.pattern, name)) continue;
    const bool is_normalization = name.rfind("normalization.", 0) == 0;
    const Tensor* tensor = file.find(name);
    const Shape& shape = t.slots.at(name).shape;
    if (tensor == nullptr) {
      // files of other programs have none
      if (!is_normalization) report.missing.push_back(name);
    } else if (tensor->shape() != shape) {
      report.mismatched.push_back(
          fmt::format("{} {}, in the file {}", name, shape.str(), tensor->shape().str()));
    } else {
      found.emplace_back(name, tensor->dtype() == DType::f32 ? *tensor : tensor->to(DType::f32));
      report.loaded.push_back(name);
      has_normalization |= is_normalization;
    }
  }
  for (const auto& [name, tensor] : file.tensors) {
    if (is_weight(name) || !glob_match(options.pattern, name)) continue;
    // state of an optimizer: "conv1.weight.momentum"
    const bool is_of_weight = is_weight(layer_of(name)) || file.find(layer_of(name)) != nullptr ||
                              name.rfind("accumulated.", 0) == 0;
    if (!is_of_weight) report.unexpected.push_back(name);
  }
  if (options.strict &&
      !(report.missing.empty() && report.unexpected.empty() && report.mismatched.empty())) {
    const auto first = [](const std::vector<std::string>& names) {
      return names.empty() ? std::string("none") : names.front();
    };
    fail(Code::format,
         "the weights do not fit model \"{}\": {} missing (first: {}), {} unexpected (first: {}), "
         "{} of another shape (first: {})",
         t.model.name(), report.missing.size(), first(report.missing), report.unexpected.size(),
         first(report.unexpected), report.mismatched.size(), first(report.mismatched));
  }
  for (const auto& [name, tensor] : found) t.write_parameter(name, tensor);
  const auto normalized = file.metadata.find("normalized");
  if (has_normalization && (normalized == file.metadata.end() || normalized->second != "0")) {
    t.is_normalized = true;
  }
  return report;
}

LoadReport Trainer::load_weights(const std::string& path, const LoadOptions& options) {
  const TensorFile file = read_safetensors(path);
  try {
    return load_weights(file, options);
  } catch (const Error& e) {
    fail(e.code(), "{}: {}", path, e.what());
  }
}

}  // namespace tanul
