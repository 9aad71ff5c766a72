// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cudnn_graph.h"

#include <array>

#include "kernels/cuda/last_error.h"

namespace tanul::cuda {

namespace {

using namespace cudnn;

constexpr int64_t kTensorAlignment = 16;  // bytes; operands lie at multiples of 64
constexpr int64_t kMostWorkspaceBytes = int64_t{1} << 30;
constexpr size_t kMostRank = 8, kMostTensors = 16;

}  // namespace

const Preparation kGraphNotPrepared{"", "cudnnBackendExecute of a graph that was not prepared", 0};

Cudnn::~Cudnn() {
  if (handle != nullptr) api.destroy(handle);
}

bool Cudnn::open(Preparation& preparation) {
  if (handle != nullptr) return true;
  const int status = api.create(&handle);
  if (status == 0) return true;
  // A driver or a GPU that this cuDNN does not know is no failure: there are own kernels.
  std::string& reason = is_refusal(status) ? preparation.refusal : preparation.failure;
  reason = text_of("cudnnCreate", status);
  return false;
}

bool Cudnn::is_refusal(int status) {
  return status / 1000 == kNotSupported || status / 1000 == kBadParameter ||
         status == kCompilationFailed;
}

// --- CudnnGraph -----------------------------------------------------------------------------------

void CudnnGraph::clear() {
  for (auto descriptor = descriptors_.rbegin(); descriptor != descriptors_.rend(); ++descriptor) {
    cudnn_.api.destroy_descriptor(*descriptor);
  }
  descriptors_.clear();
  plan_ = nullptr;
  preparation_ = {};
}

int CudnnGraph::launch(std::initializer_list<CudnnData> data, const StepArgs& args,
                       StreamHandle stream) const {
  if (plan_ == nullptr || data.size() > kMostTensors) {
    keep_error("%s", kGraphNotPrepared.failure.c_str());
    return kLibraryError;
  }
  const cudnn::Api& api = cudnn_.api;
  const auto check = [&](int status, const char* call) {
    if (status == 0) return 0;
    keep_error("%s", cudnn_.text_of(call, status).c_str());
    return kLibraryError;
  };
  // Where the tensors lie is said in a descriptor that can be finalized once only: each launch makes one.
  Descriptor pack = nullptr;
  if (int e =
          check(api.create_descriptor(Kind::variant_pack, &pack), "cudnnBackendCreateDescriptor")) {
    return e;
  }
  std::array<int64_t, kMostTensors> ids;
  std::array<const void*, kMostTensors> pointers;
  size_t count = 0;
  for (const CudnnData& tensor : data) {
    ids[count] = tensor.id;
    pointers[count++] = tensor.data;
  }
  const auto tensors = static_cast<int64_t>(count);
  const void* workspace = aligned_workspace(args);
  const auto set = [&](Name name, Type type, int64_t size, const void* values) {
    return check(api.set(pack, name, type, size, values), "cudnnBackendSetAttribute");
  };
  int error = check(api.set_stream(cudnn_.handle, stream), "cudnnSetStream");
  if (error == 0) error = set(Name::pack_ids, Type::int64, tensors, ids.data());
  if (error == 0) error = set(Name::pack_pointers, Type::pointer, tensors, pointers.data());
  if (error == 0) error = set(Name::pack_workspace, Type::pointer, 1, &workspace);
  if (error == 0) error = check(api.finalize(pack), "cudnnBackendFinalize");
  if (error == 0) error = check(api.execute(cudnn_.handle, plan_, pack), "cudnnBackendExecute");
  const int freed = check(api.destroy_descriptor(pack), "cudnnBackendDestroyDescriptor");
  return error != 0 ? error : freed;
}

// --- CudnnGraphBuilder ----------------------------------------------------------------------------

bool CudnnGraphBuilder::is_good(int status, const char* call) {
  if (status != 0) graph_.preparation_.failure = graph_.cudnn_.text_of(call, status);
  return status == 0;
}
bool CudnnGraphBuilder::refuse(std::string reason) {
  graph_.preparation_.refusal = std::move(reason);
  return false;
}

bool CudnnGraphBuilder::open() { return graph_.cudnn_.open(graph_.preparation_); }

bool CudnnGraphBuilder::make(Kind kind, Descriptor& made) {
  if (!is_good(api_.create_descriptor(kind, &made), "cudnnBackendCreateDescriptor")) return false;
  graph_.descriptors_.push_back(made);
  return true;
}
bool CudnnGraphBuilder::set(Descriptor of, Name name, Type type, int64_t count,
                            const void* values) {
  return is_good(api_.set(of, name, type, count, values), "cudnnBackendSetAttribute");
}
bool CudnnGraphBuilder::get(Descriptor of, Name name, Type type, int64_t room, int64_t& count,
                            void* values) {
  return is_good(api_.get(of, name, type, room, &count, values), "cudnnBackendGetAttribute");
}
bool CudnnGraphBuilder::finalize(Descriptor descriptor) {
  const int status = api_.finalize(descriptor);
  if (Cudnn::is_refusal(status)) {
    return refuse(graph_.cudnn_.text_of("cuDNN does not take it", status));
  }
  return is_good(status, "cudnnBackendFinalize");
}

bool CudnnGraphBuilder::tensor(const CudnnTensor& tensor, Descriptor& made) {
  std::array<int64_t, kMostRank> strides;
  int64_t stride = 1;
  const auto add_outer = [&](int64_t axis) {
    strides[static_cast<size_t>(axis)] = stride;
    stride *= tensor.extents[axis];
  };
  if (tensor.has_channels_last) add_outer(1);
  for (int64_t axis = tensor.rank - 1; axis >= 0; --axis) {
    if (axis != 1 || !tensor.has_channels_last) add_outer(axis);
  }
  return make(Kind::tensor, made) &&
         set(made, Name::tensor_data_type, Type::data_type, tensor.data_type) &&
         set(made, Name::tensor_extents, Type::int64, tensor.rank, tensor.extents) &&
         set(made, Name::tensor_strides, Type::int64, tensor.rank, strides.data()) &&
         set(made, Name::tensor_id, Type::int64, tensor.id) &&
         set(made, Name::tensor_alignment, Type::int64, kTensorAlignment) && finalize(made);
}

bool CudnnGraphBuilder::plan(const std::vector<Descriptor>& operations, bool uses_tensor_cores,
                             bool wants_any_order) {
  wants_any_order_ = wants_any_order;
  Descriptor all = nullptr;
  if (!make(Kind::operation_graph, all) ||
      !set(all, Name::graph_handle, Type::handle, graph_.cudnn_.handle) ||
      !set(all, Name::graph_operations, Type::descriptor, static_cast<int64_t>(operations.size()),
           operations.data()) ||
      !finalize(all)) {
    return false;
  }
  for (const int mode : {kHeuristicsA, kHeuristicsFallback}) {
    if (!choose(all, mode, uses_tensor_cores)) return false;
    if (graph_.plan_ != nullptr) return true;
  }
  return refuse("cuDNN has no engine that keeps to its terms, its precision and their order");
}

// Leaves the plan null where none of the engines that this mode knows will do.
bool CudnnGraphBuilder::choose(Descriptor operations, int mode, bool uses_tensor_cores) {
  Descriptor heuristics = nullptr;
  if (!make(Kind::engine_heuristics, heuristics) ||
      !set(heuristics, Name::heuristics_graph, Type::descriptor, operations) ||
      !set(heuristics, Name::heuristics_mode, Type::heuristics_mode, mode)) {
    return false;
  }
  const int status = api_.finalize(heuristics);
  if (Cudnn::is_refusal(status)) return true;
  int64_t count = 0;
  if (!is_good(status, "cudnnBackendFinalize") ||
      !get(heuristics, Name::heuristics_results, Type::descriptor, 0, count, nullptr)) {
    return false;
  }
  std::vector<Descriptor> configs(static_cast<size_t>(count));
  for (Descriptor& config : configs) {
    if (!make(Kind::engine_config, config)) return false;
  }
  if (count > 0 &&
      !get(heuristics, Name::heuristics_results, Type::descriptor, count, count, configs.data())) {
    return false;
  }
  configs.resize(static_cast<size_t>(count));
  for (const Descriptor config : configs) {
    bool keeps = false;
    if (!keeps_promises(config, uses_tensor_cores, keeps) || (keeps && !try_out(config))) {
      return false;
    }
    if (graph_.plan_ == nullptr) continue;
    if (!wants_any_order_ || has_any_order_) return true;
    graph_.plan_ = nullptr;
    return refuse("cuDNN's first choice has a fixed order of sums");
  }
  return true;
}

bool CudnnGraphBuilder::keeps_promises(Descriptor config, bool uses_tensor_cores, bool& keeps) {
  Descriptor engine = nullptr;
  int64_t count = 0;
  int notes[kNoteCount] = {};
  if (!make(Kind::engine, engine) ||
      !get(config, Name::config_engine, Type::descriptor, 1, count, &engine) ||
      !get(engine, Name::engine_notes, Type::numerical_note, kNoteCount, count, notes)) {
    return false;
  }
  has_any_order_ = false;
  keeps = count <= kNoteCount;  // otherwise there are some that were not read
  for (int64_t i = 0; keeps && i < count; ++i) {
    const int note = notes[i];
    const bool has_any_order = note == kNoteNondeterministic;
    const bool is_allowed =
        (note == kNoteTensorCore && uses_tensor_cores) || (has_any_order && wants_any_order_);
    has_any_order_ = has_any_order_ || has_any_order;
    const bool is_unknown = note >= kNoteCount;
    const bool breaks = is_unknown || note == kNoteTensorCore || note == kNoteDownConvertsInputs ||
                        note == kNoteReducedPrecisionReduction || note == kNoteFft ||
                        note == kNoteNondeterministic || note == kNoteWinograd;
    keeps = is_allowed || !breaks;
  }
  return true;
}

bool CudnnGraphBuilder::try_out(Descriptor config) {
  Descriptor plan = nullptr;
  if (!make(Kind::execution_plan, plan) ||
      !set(plan, Name::plan_handle, Type::handle, graph_.cudnn_.handle) ||
      !set(plan, Name::plan_config, Type::descriptor, config)) {
    return false;
  }
  const int status = api_.finalize(plan);
  if (Cudnn::is_refusal(status)) return true;
  int64_t bytes = 0, count = 0;
  if (!is_good(status, "cudnnBackendFinalize") ||
      !get(plan, Name::plan_workspace_bytes, Type::int64, 1, count, &bytes)) {
    return false;
  }
  if (bytes > kMostWorkspaceBytes) return true;
  graph_.preparation_.workspace_bytes = bytes;
  graph_.plan_ = plan;
  return true;
}

}  // namespace tanul::cuda
