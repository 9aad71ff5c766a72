// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: normalisations.
#include "graph/builder.h"
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/groupnorm/groupnorm.h"
#include "kernels/lrn/lrn.h"

namespace tanul {

using namespace build;

namespace {

// gamma and beta of a layer; kNoValue where it has none.
struct Affine {
  ValueId gamma = kNoValue;
  ValueId beta = kNoValue;
};

// `automatic` is 1 for gamma and 0 for beta, whatever the model's default initialiser is.
template <typename Options>
Affine add_affine(Model::Impl& model, const std::string& layer, const Shape& shape,
                  const Options& o, bool has_beta = true) {
  const auto or_constant = [](const Init& init, double value) {
    return init.kind == Init::Kind::automatic ? Init::constant(value) : init;
  };
  Affine affine;
  if (!o.affine) return affine;
  affine.gamma =
      add_parameter(model, layer + ".weight", shape, or_constant(o.weight_init, 1), Role::norm);
  if (has_beta) {
    affine.beta =
        add_parameter(model, layer + ".bias", shape, or_constant(o.bias_init, 0), Role::norm);
  }
  return affine;
}

Var add_layer_norm(Model::Impl& model, OpKind kind, const char* op, const char* stem, Var x,
                   const LayerNormOptions& o) {
  const Shape shape = checked_input(model, op, x).shape;
  const std::string layer = take_name(model, o.name, stem, op);
  const int most = shape.rank() - 1;
  if (o.axes < 0 || o.axes > most) {
    fail(Code::invalid_argument,
         "{}: axes, the number of last axes that are normalised, lies in 0 (all) to {} for x {} a "
         "sample, got {}",
         quoted(op, layer), most, shape.tail(1).str(), o.axes);
  }
  GroupNormParams p{};
  p.eps = o.eps;
  p.axes = o.axes == 0 ? most : o.axes;
  const Shape normalized = shape.tail(shape.rank() - p.axes);
  const bool has_beta = kind == OpKind::layer_norm_fwd;
  const Affine affine = add_affine(model, layer, normalized, o, has_beta);
  std::vector<ValueId> in{x.id, affine.gamma};
  if (has_beta) in.push_back(affine.beta);
  return add_layer(model, kind, layer, in, Params::of(p),
                   fmt::format("{} {}", op, normalized.str()));
}

template <typename Options>
Var add_group_norm(Model::Impl& model, OpKind kind, const char* op, const char* stem, Var x,
                   int64_t groups, const Options& o, const std::string& description) {
  const Shape shape = checked_input(model, op, x).shape;
  const std::string layer = take_name(model, o.name, stem, op);
  GroupNormParams p{};
  p.eps = o.eps;
  p.groups = checked(quoted(op, layer), "groups", groups, 1);
  const Affine affine = add_affine(model, layer, {shape[1]}, o);
  return add_layer(model, kind, layer, {x.id, affine.gamma, affine.beta}, Params::of(p),
                   description);
}

}  // namespace

Var ModelBuilder::batch_norm(Var x, const BatchNormOptions& o) {
  const Shape shape = checked_input(*impl_, "batch_norm", x).shape;
  const std::string layer = take_name(*impl_, o.name, "bn", "batch_norm");
  BatchNormParams p{};
  p.eps = o.eps;
  p.momentum = o.momentum;
  p.is_frozen = o.frozen;
  const Shape channels{shape[1]};
  const Affine affine = add_affine(*impl_, layer, channels, o);
  const ValueId mean = add_state(*impl_, layer + ".running_mean", channels, 0);
  const ValueId var = add_state(*impl_, layer + ".running_var", channels, 1);
  return add_layer(*impl_, OpKind::batchnorm_eval_fwd, layer,
                   {x.id, affine.gamma, affine.beta, mean, var}, Params::of(p),
                   o.frozen ? "batch_norm frozen" : "batch_norm");
}

Var ModelBuilder::layer_norm(Var x, const LayerNormOptions& o) {
  return add_layer_norm(*impl_, OpKind::layer_norm_fwd, "layer_norm", "ln", x, o);
}
Var ModelBuilder::rms_norm(Var x, const LayerNormOptions& o) {
  return add_layer_norm(*impl_, OpKind::rms_norm_fwd, "rms_norm", "rms", x, o);
}

Var ModelBuilder::group_norm(Var x, const GroupNormOptions& o) {
  return add_group_norm(*impl_, OpKind::group_norm_fwd, "group_norm", "gn", x, o.groups, o,
                        fmt::format("group_norm {}", o.groups));
}
Var ModelBuilder::instance_norm(Var x, const InstanceNormOptions& o) {
  return add_group_norm(*impl_, OpKind::instance_norm_fwd, "instance_norm", "in", x, 1, o,
                        "instance_norm");
}

Var ModelBuilder::local_response_norm(Var x, const LocalResponseNormOptions& o) {
  checked_input(*impl_, "local_response_norm", x);
  const std::string layer = take_name(*impl_, o.name, "lrn", "local_response_norm");
  LrnParams p{};
  p.alpha = o.alpha;
  p.beta = o.beta;
  p.k = o.k;
  p.size = checked(quoted("local_response_norm", layer), "size", o.size, 1);
  p.alpha_divided_by_size = o.alpha_divided_by_size;
  return add_layer(*impl_, OpKind::lrn_fwd, layer, {x.id}, Params::of(p),
                   fmt::format("local_response_norm {}", o.size));
}

}  // namespace tanul
