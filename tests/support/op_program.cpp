// SPDX-License-Identifier: Apache-2.0
#include "support/op_program.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "graph/autodiff.h"
#include "kernels/cpu/parallel.h"
#include "kernels/op.h"
#include "support/step_runner.h"

namespace tanul::test {

namespace {

DType held_as(DType dtype) {
  if (dtype == DType::f64) return DType::f32;
  if (dtype == DType::i64) return DType::i32;
  return dtype;
}

Operand operand_of(const Graph& graph, ValueId id) {
  Operand operand{};
  operand.rank = -1;
  if (id == kNoValue) return operand;
  const Value& value = graph.value(id);
  operand.rank = value.shape.rank();
  operand.dtype = static_cast<int32_t>(value.dtype);
  for (int i = 0; i < operand.rank; ++i) operand.dims[i] = value.shape[i];
  return operand;
}

// A node's arguments without data.
struct Arguments {
  std::vector<Operand> in, out;
  StepArgs args{};
  Arguments(const Graph& graph, const Node& node) {
    for (ValueId id : node.in) in.push_back(operand_of(graph, id));
    for (ValueId id : node.out) out.push_back(operand_of(graph, id));
    args.in = in.data();
    args.out = out.data();
    args.in_count = static_cast<int32_t>(in.size());
    args.out_count = static_cast<int32_t>(out.size());
    args.params = node.params.data();
  }
};

const Implementation& chosen(const Node& node, const StepArgs& args, int choice) {
  const ImplementationList& list = cpu_implementations(node.kind);
  for (int i = std::min(choice, list.count - 1); i < list.count; ++i) {
    if (list.items[i].supports(args) == nullptr) return list.items[i];
  }
  throw std::runtime_error(std::string("no implementation of ") + op_name(node.kind));
}

}  // namespace

ValueId OpProgram::feed(const RefTensor& tensor, const std::string& name) {
  if (!tensor.present) return kNoValue;
  Value value;
  value.name = name;
  value.shape = tensor.shape;
  value.dtype = held_as(tensor.dtype);
  value.kind = ValueKind::input;
  const ValueId id = graph.add_value(value);
  fed_[id] = tensor;
  return id;
}

std::vector<ValueId> OpProgram::add(OpKind kind, const std::vector<ValueId>& in,
                                    const Params& params) {
  return graph.add_node(kind, "golden", Phase::forward, in, params);
}

std::vector<ValueId> OpProgram::gradients(ValueId y, const RefTensor& dy,
                                          const std::vector<ValueId>& wrt) {
  return differentiate(graph, {{y, feed(dy, "dy")}}, wrt);
}

int OpProgram::choices() const {
  int most = 1;
  for (const Node& node : graph.nodes) most = std::max(most, cpu_implementations(node.kind).count);
  return most;
}

std::string OpProgram::names(int choice) const {
  std::string text;
  for (const Node& node : graph.nodes) {
    if (op_is_view(node.kind)) continue;
    const Arguments arguments(graph, node);
    text += std::string(op_name(node.kind)) + ":" + chosen(node, arguments.args, choice).name + " ";
  }
  return text;
}

std::map<ValueId, RefTensor> OpProgram::run(int choice, int threads) const {
  Stream stream(threads);
  StepBlock block{1, 0, 0.1f, 0};
  std::vector<std::shared_ptr<std::vector<std::byte>>> memory(graph.values.size());
  const auto take = [&](ValueId id) {
    const Value& value = graph.value(id);
    auto& bytes = memory[static_cast<size_t>(id)];
    const auto size = static_cast<size_t>(value.shape.elems() * dtype_bytes(value.dtype));
    // 0xFF is NaN: what is not written shows
    if (!bytes) bytes = std::make_shared<std::vector<std::byte>>(size + 64, std::byte{0xFF});
    return bytes->data();
  };
  for (size_t i = 0; i < graph.values.size(); ++i) {
    const Value& value = graph.values[i];
    if (value.kind != ValueKind::constant) continue;
    std::memcpy(take(static_cast<ValueId>(i)), value.constant.data(), value.constant.size() * 4);
  }
  for (const auto& [id, tensor] : fed_) {
    RefTensor held = tensor;
    held.dtype = graph.value(id).dtype;
    store(held, take(id));
  }
  std::map<ValueId, RefTensor> results;
  for (const Node& node : graph.nodes) {
    if (op_is_view(node.kind)) {
      take(node.in.front());
      memory[static_cast<size_t>(node.out.front())] = memory[static_cast<size_t>(node.in.front())];
    } else {
      Arguments arguments(graph, node);
      const Implementation& implementation = chosen(node, arguments.args, choice);
      std::vector<std::byte> workspace(
          static_cast<size_t>(implementation.workspace_bytes(arguments.args, threads)) + 128,
          std::byte{0xFF});
      void* aligned = workspace.data();
      size_t space = workspace.size();
      arguments.args.workspace = std::align(64, 1, aligned, space);
      arguments.args.workspace_bytes = implementation.workspace_bytes(arguments.args, threads);
      for (size_t i = 0; i < node.in.size(); ++i) {
        if (node.in[i] != kNoValue) arguments.in[i].data = take(node.in[i]);
      }
      for (size_t i = 0; i < node.out.size(); ++i) {
        if (node.out[i] != kNoValue) arguments.out[i].data = take(node.out[i]);
      }
      arguments.args.block = &block;
      if (launch_step(implementation, &stream, arguments.args) != 0) {
        throw std::runtime_error(std::string(op_name(node.kind)) + " failed");
      }
    }
    for (ValueId id : node.out) {
      if (id == kNoValue) continue;
      const Value& value = graph.value(id);
      const auto bytes = static_cast<size_t>(value.shape.elems() * dtype_bytes(value.dtype));
      const std::byte* data = memory[static_cast<size_t>(id)]->data();
      results[id] = to_ref(RefTensor(value.shape, value.dtype), {data, data + bytes});
    }
  }
  return results;
}

}  // namespace tanul::test
