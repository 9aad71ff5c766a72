// SPDX-License-Identifier: Apache-2.0
// The contract of an op: what `<op>_op.cpp` defines for each step kind of ops.def.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/format.h"
#include "graph/graph.h"
#include "kernels/backend_abi.h"
#include "kernels/op_kind.h"

namespace tanul {

// Shape inference of one node. `infer` is the only place that validates shapes and parameters, so
// kernels may rely on what it accepted.
class InferContext {
 public:
  InferContext(const Graph& graph, OpKind kind, std::string layer, const std::vector<ValueId>& in,
               Params& params)
      : graph_(graph), kind_(kind), layer_(std::move(layer)), in_(in), params_(params) {}

  int in_count() const { return static_cast<int>(in_.size()); }
  bool has(int i) const { return i < in_count() && in_[static_cast<size_t>(i)] != kNoValue; }
  const Shape& shape(int i) const { return graph_.value(in_[static_cast<size_t>(i)]).shape; }
  DType dtype(int i) const { return graph_.value(in_[static_cast<size_t>(i)]).dtype; }
  // May be changed: `infer` resolves what depends on the input ("the whole plane").
  template <typename T>
  T& params() {
    return params_.as<T>();
  }

  // Declares the next output.
  void add_out(const Shape& shape, DType dtype = DType::f32) { outs_.push_back({shape, dtype}); }
  // Declares the next output as left out (a gradient that was not asked for).
  void add_no_out() { outs_.push_back({Shape{}, DType::f32, false}); }

  // Throws Error{invalid_argument}: `conv2d "conv1": ` and the text.
  template <typename... Args>
  [[noreturn]] void reject(fmt::format_string<Args...> format, Args&&... args) const {
    throw Error(Code::invalid_argument,
                where() + ": " + fmt::format(format, std::forward<Args>(args)...));
  }
  std::string where() const;  // `conv2d "conv1"`, in the user's terms
  // What users call this node, where that depends on its operands: "conv1d".
  void set_user_name(const char* name) { user_name_ = name; }

  struct Out {
    Shape shape;
    DType dtype;
    bool present = true;
  };
  const std::vector<Out>& outs() const { return outs_; }

 private:
  const Graph& graph_;
  OpKind kind_;
  std::string layer_;
  const std::vector<ValueId>& in_;
  Params& params_;
  const char* user_name_ = nullptr;
  std::vector<Out> outs_;
};

// Differentiation of one node: reads the gradients of its outputs, emits nodes, and names the
// gradients of its inputs.
class GradContext {
 public:
  virtual ~GradContext() = default;
  virtual const Node& node() const = 0;
  virtual ValueId in(int i) const = 0;
  virtual ValueId out(int i) const = 0;
  virtual ValueId grad_out(int i) const = 0;  // kNoValue where no gradient arrives
  virtual bool wants(int i) const = 0;        // is the gradient of input i needed?
  // Appends a backward node of the same layer and returns its outputs.
  virtual std::vector<ValueId> emit(OpKind kind, std::vector<ValueId> in, const Params& params) = 0;
  virtual void set_grad(int i, ValueId gradient) = 0;
};

// A node of the model on its way into a step: see OpDef::lower.
class LowerContext {
 public:
  virtual ~LowerContext() = default;
  virtual const Node& node() const = 0;
  virtual ValueId in(int i) const = 0;  // in the graph of the step; kNoValue where left out
  virtual Shape shape(int i) const = 0;
  virtual bool is_training() const = 0;
  // Appends a node of the same layer and phase and returns its outputs.
  virtual std::vector<ValueId> emit(OpKind kind, std::vector<ValueId> in, const Params& params) = 0;
  // Appends a node that writes into values that exist (running statistics). It runs behind everything
  // that reads them.
  virtual void mutate(OpKind kind, std::vector<ValueId> in, std::vector<ValueId> out,
                      const Params& params) = 0;
};

// What a step costs: floating point operations (a multiply-add counts two) and bytes that have to
// move at least once.
struct Cost {
  double flops = 0;
  double bytes = 0;
};

struct InPlace {
  int in;
  int out;
};

struct OpDef {
  const char* doc;  // one line: the formula
  void (*infer)(InferContext& context) = nullptr;
  void (*grad)(GradContext& context) = nullptr;     // null: not differentiable
  double (*flops)(const StepArgs& args) = nullptr;  // null: 0. Bytes follow from the operands.
  // Pairs of input and output that may share memory: the step reads each element of the input
  // before, or at the same place as, it writes the output. {-1, -1} where there are none.
  InPlace in_place[2] = {{-1, -1}, {-1, -1}};
  // The op does nothing in evaluation: its output is its input (dropout).
  bool identity_in_evaluation = false;
  // Bit i: output i is only computed where somebody reads it (it may be absent).
  uint32_t optional_outputs = 0;
  // A convolution or linear layer, forward or backward: sums of products of two operands, which are what
  // TrainerOptions::precision is about.
  bool is_product = false;
  // What users call it, where that is not the step's name without "_fwd": for messages.
  const char* user_name = nullptr;
  // The ONNX operator that a forward step is ("Conv"); "" where ONNX has none.
  const char* onnx = nullptr;
  // For an op that is another node in training than in evaluation, or several nodes (batch norm):
  // emits them and returns what stands for the node's outputs. Null: the node is copied as it is.
  std::vector<ValueId> (*lower)(LowerContext& context) = nullptr;
  // For an op whose output 0 is cheap to compute from what its own gradient keeps alive: makes the
  // node (without outputs) that does so, with the same bits. Where the backward pass reads output 0,
  // it is computed again there and not kept (graph/recompute.h), and outputs behind it are always kept.
  // Null: it is kept.
  Node (*recompute)(const Node& node) = nullptr;
};

#define TANUL_STEP(name)        \
  extern const OpDef op_##name; \
  extern const ImplementationList cpu_##name;
#define TANUL_VIEW(name) extern const OpDef op_##name;
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW

const char* op_name(OpKind kind);  // "conv2d_fwd"
const OpDef& op_def(OpKind kind);
bool op_is_view(OpKind kind);
// The CPU's implementations of a step; empty for a view.
const ImplementationList& cpu_implementations(OpKind kind);

}  // namespace tanul
