// SPDX-License-Identifier: Apache-2.0
// Graphs of cuDNN: what is common to all ops that it computes. An op describes tensors and operations to a
// builder, which looks for an engine; a launch says where the tensors lie.
//
// Engines are tried in the order of cuDNN's heuristics. One is taken if it keeps the promises of the
// formula, by what its numerical notes say: terms as they stand (no Winograd, no FFT), sums in float32, the
// same bits in every run, and tensor cores only where the op says so. Deterministic so for one GPU and one
// version of the library; an op may also ask for sums in any order.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "kernels/cuda/api.h"
#include "kernels/cuda/libraries.h"

namespace tanul::cuda {

// cuDNN on one device. Its handle is made when an op first needs it.
struct Cudnn {
  explicit Cudnn(const cudnn::Api& table) : api(table) {}
  ~Cudnn();
  Cudnn(const Cudnn&) = delete;
  Cudnn& operator=(const Cudnn&) = delete;

  // False: why it cannot be used is in the preparation.
  bool open(Preparation& preparation);
  // "cudnnCreate: CUDNN_STATUS_NOT_INITIALIZED"
  std::string text_of(const char* call, int status) const {
    return std::string(call) + ": " + api.status_name(status);
  }
  // "This is nothing that I, or this engine, can do", in contrast to what went wrong.
  static bool is_refusal(int status);

  const cudnn::Api& api;
  cudnn::Handle handle = nullptr;
};

struct CudnnTensor {
  int64_t id;  // not 0, and no two of a graph have the same
  int64_t rank;
  const int64_t* extents;
  int data_type = cudnn::kDataFloat;
  bool has_channels_last = false;
};

// Where a tensor of a graph lies.
struct CudnnData {
  int64_t id;
  const void* data;
};

class CudnnGraph {
 public:
  explicit CudnnGraph(Cudnn& cudnn) : cudnn_(cudnn) {}
  ~CudnnGraph() { clear(); }
  CudnnGraph(const CudnnGraph&) = delete;
  CudnnGraph& operator=(const CudnnGraph&) = delete;

  const Preparation& preparation() const { return preparation_; }
  bool is_ready() const { return plan_ != nullptr; }
  void clear();
  // `data` has all tensors of the graph. Makes nothing that lasts.
  int launch(std::initializer_list<CudnnData> data, const StepArgs& args,
             StreamHandle stream) const;

 private:
  friend class CudnnGraphBuilder;

  Cudnn& cudnn_;
  Preparation preparation_;
  std::vector<cudnn::Descriptor> descriptors_;  // all that it is made of, in the order of making
  cudnn::Descriptor plan_ = nullptr;            // one of them; null: not ready
};

// Makes the descriptors of one graph. Functions return false where a call failed, or a refusal was met:
// which of the two is kept in the graph's preparation.
class CudnnGraphBuilder {
 public:
  explicit CudnnGraphBuilder(CudnnGraph& graph) : graph_(graph), api_(graph.cudnn_.api) {}

  // To be called first.
  bool open();

  bool make(cudnn::Kind kind, cudnn::Descriptor& made);
  bool set(cudnn::Descriptor of, cudnn::Name name, cudnn::Type type, int64_t count,
           const void* values);
  template <typename T>
  bool set(cudnn::Descriptor of, cudnn::Name name, cudnn::Type type, const T& value) {
    return set(of, name, type, 1, &value);
  }
  bool finalize(cudnn::Descriptor descriptor);

  // Dense, the last axis innermost, or the second one.
  bool tensor(const CudnnTensor& tensor, cudnn::Descriptor& made);

  // The last step: the graph of these operations, and an engine for it. `wants_any_order`: one whose sums have
  // no fixed order; refused where cuDNN's first choice has one all the same.
  bool plan(const std::vector<cudnn::Descriptor>& operations, bool uses_tensor_cores,
            bool wants_any_order = false);

 private:
  bool is_good(int status, const char* call);
  bool refuse(std::string reason);
  bool get(cudnn::Descriptor of, cudnn::Name name, cudnn::Type type, int64_t room, int64_t& count,
           void* values);
  bool choose(cudnn::Descriptor operations, int mode, bool uses_tensor_cores);
  bool keeps_promises(cudnn::Descriptor config, bool uses_tensor_cores, bool& keeps);
  bool try_out(cudnn::Descriptor config);

  CudnnGraph& graph_;
  const cudnn::Api& api_;
  bool wants_any_order_ = false;
  bool has_any_order_ = false;  // the engine looked at last
};

// What stands for a graph that was never prepared: a failure, see workspace_of.
extern const Preparation kGraphNotPrepared;

// The graphs of one op, by shape. A Shape is ordered and has
//   bool build(CudnnGraphBuilder& builder) const   which ends with builder.plan()
template <class Shape>
class CudnnGraphs {
 public:
  explicit CudnnGraphs(Cudnn& cudnn) : cudnn_(cudnn) {}

  // Looks for an engine where that was not done before, or failed.
  const Preparation& prepare(const Shape& shape) {
    CudnnGraph& graph = graphs_.try_emplace(shape, cudnn_).first->second;
    if (!graph.is_ready() && graph.preparation().why_not() == nullptr) {
      graph.clear();  // what a failure left
      CudnnGraphBuilder builder(graph);
      if (builder.open()) shape.build(builder);
    }
    return graph.preparation();
  }
  // What was prepared.
  const Preparation& find(const Shape& shape) const {
    const auto found = graphs_.find(shape);
    return found == graphs_.end() ? kGraphNotPrepared : found->second.preparation();
  }
  int launch(const Shape& shape, std::initializer_list<CudnnData> data, const StepArgs& args,
             StreamHandle stream) const {
    return graph_of(shape).launch(data, args, stream);
  }

 private:
  const CudnnGraph& graph_of(const Shape& shape) const {
    const auto found = graphs_.find(shape);
    return found == graphs_.end() ? not_prepared_ : found->second;
  }

  Cudnn& cudnn_;
  std::map<Shape, CudnnGraph> graphs_;
  const CudnnGraph not_prepared_{cudnn_};
};

}  // namespace tanul::cuda
