// SPDX-License-Identifier: Apache-2.0
// The graph: values and the nodes that make them. Forward, loss, backward and update are all
// ordinary nodes of one graph, in an order in which they can run. Says what is computed; where
// buffers lie and which implementation runs is decided in src/plan.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/op_kind.h"
#include "tanul/tensor.h"

namespace tanul {

using ValueId = int32_t;
constexpr ValueId kNoValue = -1;  // an optional operand that is left out

enum class ValueKind {
  input,      // filled by the trainer before a step: samples, targets
  parameter,  // trained weights, persistent
  state,      // optimizer state, running statistics: persistent, not differentiated
  constant,   // set once when the plan is built, persistent
  data_set,   // rows that batches are taken from, in memory of their own on the device
  temp,       // lives from the node that makes it to its last reader
};

struct Value {
  std::string name;
  Shape shape;
  DType dtype = DType::f32;
  ValueKind kind = ValueKind::temp;
  bool keep = false;  // read by the trainer after the step: lives to the end of it
  // Elements of a constant. Of a state: what they start as, or the one value that all do; none means 0.
  std::vector<float> constant;
  bool is_of_model = false;  // a state that prediction needs: running statistics
  // Of a state: the parameter whose values it starts with (averages of weights), in place of those.
  std::string starts_as = {};
};

enum class Phase { load, forward, loss, backward, update };

// An op's parameter struct, copied by value. Any trivially copyable type up to kBytes.
class Params {
 public:
  static constexpr size_t kBytes = 128;

  Params() = default;
  template <typename T>
  static Params of(const T& value) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kBytes);
    Params params;
    std::memcpy(params.bytes_.data(), &value, sizeof value);
    return params;
  }
  template <typename T>
  T& as() {
    return *reinterpret_cast<T*>(bytes_.data());
  }
  template <typename T>
  const T& as() const {
    return *reinterpret_cast<const T*>(bytes_.data());
  }
  const void* data() const { return bytes_.data(); }

 private:
  alignas(8) std::array<std::byte, kBytes> bytes_{};
};

struct Node {
  OpKind kind = OpKind::kCount;
  std::string layer;  // the user's layer this belongs to: "conv1"
  Phase phase = Phase::forward;
  Params params;
  std::vector<ValueId> in;   // kNoValue where an optional operand is left out
  std::vector<ValueId> out;  // kNoValue where nobody reads it
};

struct Graph {
  std::vector<Value> values;
  std::vector<Node> nodes;

  Value& value(ValueId id) { return values[static_cast<size_t>(id)]; }
  const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }

  ValueId add_value(Value value) {
    values.push_back(std::move(value));
    return static_cast<ValueId>(values.size() - 1);
  }

  // Appends a node: the op's `infer` validates it and makes its outputs. Returns them.
  // Throws Error{invalid_argument} with the text of `infer`.
  std::vector<ValueId> add_node(OpKind kind, const std::string& layer, Phase phase,
                                std::vector<ValueId> in, const Params& params);
  // The same for a node that writes into values that exist already (optimizer updates).
  void add_mutation(OpKind kind, const std::string& layer, Phase phase, std::vector<ValueId> in,
                    std::vector<ValueId> out, const Params& params);
};

}  // namespace tanul
