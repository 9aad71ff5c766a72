// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: activations and dropout.
#include "core/philox.h"
#include "graph/builder.h"
#include "kernels/dropout/dropout.h"

namespace tanul {

using namespace build;

namespace {

Var add_activation(Model::Impl& model, OpKind kind, const char* op, Var x,
                   const std::string& name) {
  checked_input(model, op, x);
  const std::string layer = take_name(model, name, op, op);
  return add_layer(model, kind, layer, {x.id}, Params{}, op);
}

}  // namespace

Var ModelBuilder::relu(Var x, const std::string& name) {
  return add_activation(*impl_, OpKind::relu_fwd, "relu", x, name);
}
Var ModelBuilder::sigmoid(Var x, const std::string& name) {
  return add_activation(*impl_, OpKind::sigmoid_fwd, "sigmoid", x, name);
}
Var ModelBuilder::tanh(Var x, const std::string& name) {
  return add_activation(*impl_, OpKind::tanh_fwd, "tanh", x, name);
}

Var ModelBuilder::dropout(Var x, const DropoutOptions& o) {
  checked_input(*impl_, "dropout", x);
  const std::string layer = take_name(*impl_, o.name, "dropout", "dropout");
  DropoutParams p{};
  p.p = static_cast<float>(o.p);
  p.stream = philox_stream(layer);
  return add_layer(*impl_, OpKind::dropout_fwd, layer, {x.id}, Params::of(p),
                   fmt::format("dropout {:g}", o.p));
}

}  // namespace tanul
