// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: activations and dropout.
#include "core/philox.h"
#include "core/suggest.h"
#include "graph/builder.h"
#include "kernels/activation/definition.h"
#include "kernels/activation/prelu.h"
#include "kernels/dropout/dropout.h"
#include "kernels/softmax/softmax.h"

namespace tanul {

using namespace build;

namespace {

// "leaky_relu", or "leaky_relu 0.2" where a parameter is not the default.
std::string activation_text(const ActivationInfo& info, const ActivationParams& params) {
  std::string text;
  bool is_default = true;
  for (int i = 0; i < info.param_count(); ++i) {
    is_default &= params.values[i] == info.def->params[i].otherwise;
    text += fmt::format(" {:g}", params.values[i]);
  }
  return is_default ? info.name : info.name + text;
}

const ActivationInfo& known_activation(const std::string& kind) {
  const ActivationInfo* info = find_activation(kind.c_str());
  if (info == nullptr) {
    std::vector<std::string> names;
    for (int i = 0; i < kActivations; ++i) names.push_back(activations()[i].name);
    fail(Code::invalid_argument, "there is no activation \"{}\"{}", kind, suggestion(kind, names));
  }
  return *info;
}

}  // namespace

Var ModelBuilder::activation(Var x, const std::string& kind, const std::vector<double>& params,
                             const std::string& name) {
  const ActivationInfo& info = known_activation(kind);
  checked_input(*impl_, info.name, x);
  const std::string layer = take_name(*impl_, name, info.name, info.name);
  if (static_cast<int>(params.size()) > info.param_count()) {
    fail(Code::invalid_argument, "{}: it has {} parameters, got {}", quoted(info.name, layer),
         info.param_count(), params.size());
  }
  ActivationParams p{};
  for (int i = 0; i < info.param_count(); ++i) {
    const auto at = static_cast<size_t>(i);
    p.values[i] = at < params.size() ? params[at] : info.def->params[i].otherwise;
  }
  return add_layer(*impl_, info.forward, layer, {x.id}, Params::of(p), activation_text(info, p));
}

Var ModelBuilder::prelu(Var x, const PreluOptions& o) {
  const Value& in = checked_input(*impl_, "prelu", x);
  const std::string layer = take_name(*impl_, o.name, "prelu", "prelu");
  const int64_t slopes = o.per_channel ? in.shape[1] : 1;
  const Init init = o.init.kind == Init::Kind::automatic ? Init::constant(0.25) : o.init;
  const ValueId slope = add_parameter(*impl_, layer + ".weight", Shape{slopes}, init, Role::norm);
  return add_layer(*impl_, OpKind::prelu_fwd, layer, {x.id, slope}, Params::of(PreluParams{}),
                   slopes == 1 ? "prelu" : "prelu per channel");
}

namespace {

Var add_softmax(Model::Impl& model, OpKind kind, const char* op, Var x, int axis,
                const std::string& name) {
  const Value& in = checked_input(model, op, x);
  const int rank = in.shape.rank() - 1;
  const std::string layer = take_name(model, name, op, op);
  if (axis < 0 || axis >= rank) {
    fail(Code::invalid_argument, "{}: axis {} does not exist, a sample is {} (axes 0 to {})",
         quoted(op, layer), axis, in.shape.tail(1).str(), rank - 1);
  }
  return add_layer(model, kind, layer, {x.id}, Params::of(SoftmaxParams{axis + 1}),
                   axis == 0 ? op : fmt::format("{} axis {}", op, axis));
}

}  // namespace

Var ModelBuilder::softmax(Var x, int axis, const std::string& name) {
  return add_softmax(*impl_, OpKind::softmax_fwd, "softmax", x, axis, name);
}
Var ModelBuilder::log_softmax(Var x, int axis, const std::string& name) {
  return add_softmax(*impl_, OpKind::log_softmax_fwd, "log_softmax", x, axis, name);
}

Var ModelBuilder::dropout(Var x, const DropoutOptions& o) {
  checked_input(*impl_, "dropout", x);
  const std::string layer = take_name(*impl_, o.name, "dropout", "dropout");
  DropoutParams p{};
  p.p = static_cast<float>(o.p);
  p.stream = philox_stream(layer);
  p.is_spatial = o.spatial;
  return add_layer(*impl_, OpKind::dropout_fwd, layer, {x.id}, Params::of(p),
                   fmt::format("{} {:g}", o.spatial ? "spatial dropout" : "dropout", o.p));
}

}  // namespace tanul
