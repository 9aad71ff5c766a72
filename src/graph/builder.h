// SPDX-License-Identifier: Apache-2.0
// What the ModelBuilder's methods share: names, parameters, nodes. One file a group of layers:
// builder_conv.cpp, builder_pool.cpp, builder_activation.cpp, builder_shape.cpp, builder_loss.cpp, ….
// Validation of shapes is the ops' (their `infer`); only what is needed to make a parameter's shape is
// looked at in the builder.
#pragma once

#include <string>
#include <vector>

#include "core/format.h"
#include "graph/model.h"
#include "kernels/op.h"

namespace tanul::build {

// A size that fits the kernels' 32-bit parameters: least … 2^24.
int32_t checked(const std::string& where, const char* what, int64_t value, int64_t least);

// `conv2d "conv1"`
std::string quoted(const char* op, const std::string& layer);

// A valid name for a layer: the one that was asked for, or the next number of its kind ("conv1").
std::string take_name(Model::Impl& model, const std::string& wanted, const char* kind,
                      const char* op);

// The value of a layer of this builder that another layer may still read.
const Value& checked_input(const Model::Impl& model, const char* op, Var x);

// Ranks count N; `wanted` is how users write the shape: "{C, H, W}".
void check_rank(const std::string& where, const Value& x, int rank, const char* wanted);

enum class Role { weight, bias, norm };  // norm: scale and shift of a normalisation

// Declares a trained tensor and returns its value.
ValueId add_parameter(Model::Impl& model, const std::string& name, const Shape& shape,
                      const Init& init, Role role);

// Declares numbers that belong to the model but are not trained (running statistics): saved and loaded
// with the weights. They start as `value`.
ValueId add_state(Model::Impl& model, const std::string& name, const Shape& shape, float value);

// Appends a forward node and returns its first output. `description` is for `tanul plan`:
// "conv2d 5x5 /1 +2".
Var add_layer(Model::Impl& model, OpKind kind, const std::string& layer, std::vector<ValueId> in,
              const Params& params, const std::string& description);

// Ends a branch of the network with a loss whose node has made {loss, stats}.
void add_loss(Model::Impl& model, LossKind kind, const std::string& layer, Var x, ValueId target,
              const std::vector<ValueId>& outs, double weight = 1);

}  // namespace tanul::build
