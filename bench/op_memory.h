// SPDX-License-Identifier: Apache-2.0
// The operands of one step on a device, in several copies, so that a step that is repeated does not find
// in the cache what it left there.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "backend/backend.h"
#include "bench/op_cases.h"

namespace tanul::bench {

// What a step reads, in host memory; the same for every device and implementation. Samples, weights and
// what other layers hand over are random. What the layer itself made in the forward pass (indices of
// maxima, batch statistics, outputs) and the small statistics of a loss are computed by their own steps on
// the CPU, so that a backward step sees values that belong together.
class OpInputs {
 public:
  OpInputs(Backend& cpu, const OpCase& op);
  const std::byte* data(ValueId id) const { return values_.at(id).data(); }

 private:
  const DeviceMemory& value(ValueId id, const Node& reader, size_t position);
  void compute(const Node& node);

  Backend& cpu_;
  const Graph& graph_;
  std::map<ValueId, DeviceMemory> values_;
};

class OpMemory {
 public:
  // `room`, where not null, is where the copies lie; it grows where it has to. Fresh memory would cost
  // a large part of the time of a short step.
  OpMemory(Backend& backend, const OpCase& op, int copies, DeviceMemory* room = nullptr);

  int copies() const { return copies_; }
  // Bytes of one copy.
  static int64_t bytes(const OpCase& op);

  // Puts the inputs in place and fills outputs that are not inputs too with NaN.
  void reset(const OpInputs& inputs, int copy);
  // Pointers are null before `bind`, which a step must not look at before it is launched.
  const StepArgs& args(int copy) const { return args_[static_cast<size_t>(copy)].args; }
  // Null where the device can run it; otherwise the reason.
  const char* refusal(const Implementation& implementation) const;
  // Asks for the workspace of an implementation, shared by all copies.
  void bind(const Implementation& implementation);
  // Queues the step. Throws Error{device, internal} where the launch fails.
  void launch(const Implementation& implementation, int copy);
  // Output i as bytes; empty where it is left out.
  std::vector<std::byte> output(int copy, size_t i);

 private:
  struct Arguments {
    std::vector<Operand> in, out;
    StepArgs args;
  };
  std::byte* place(int copy, ValueId id) const;

  Backend& backend_;
  const OpCase& op_;
  int copies_;
  int64_t copy_bytes_;
  std::map<ValueId, int64_t> offsets_;  // in a copy
  DeviceMemory memory_, workspace_, block_;
  std::byte* base_ = nullptr;
  std::vector<Arguments> args_;
};

}  // namespace tanul::bench
