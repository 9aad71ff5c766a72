// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/convolutions.h"

#include "kernels/cuda/last_error.h"

namespace tanul::cuda {

namespace {

using namespace cudnn;

constexpr int64_t kIdX = 'x', kIdW = 'w', kIdY = 'y';
constexpr int64_t kTensorAlignment = 16;  // bytes; operands lie at multiples of 64
constexpr int64_t kMostWorkspaceBytes = int64_t{1} << 30;

const Preparation kNotPrepared{"", "cudnnBackendExecute of a convolution that was not prepared", 0};

std::string text_of(const cudnn::Api& api, const char* call, int status) {
  return std::string(call) + ": " + api.status_name(status);
}

// "This is nothing that I, or this engine, can do", in contrast to what went wrong.
bool is_refusal(int status) {
  return status / 1000 == kNotSupported || status / 1000 == kBadParameter ||
         status == kCompilationFailed;
}

}  // namespace

// Makes the descriptors of one convolution. Functions return false where a call failed, or a refusal was
// met: which of the two is kept in the preparation.
class Convolutions::Builder {
 public:
  Builder(const cudnn::Api& api, Handle& handle, Convolution& result)
      : api_(api), handle_(handle), result_(result) {}

  bool build(const ConvolutionShape& shape) {
    Descriptor graph = nullptr;
    if (!open() || !describe(shape, graph)) return false;
    for (const int mode : {kHeuristicsA, kHeuristicsFallback}) {
      if (!choose(graph, mode, shape.rounds_to_tf32)) return false;
      if (result_.plan != nullptr) return true;
    }
    return refuse("cuDNN has no engine that keeps to its terms, its precision and their order");
  }

 private:
  bool is_good(int status, const char* call) {
    if (status != 0) result_.preparation.failure = text_of(api_, call, status);
    return status == 0;
  }
  bool refuse(std::string reason) {
    result_.preparation.refusal = std::move(reason);
    return false;
  }

  bool open() { return handle_ != nullptr || is_good(api_.create(&handle_), "cudnnCreate"); }

  bool make(Kind kind, Descriptor& made) {
    if (!is_good(api_.create_descriptor(kind, &made), "cudnnBackendCreateDescriptor")) return false;
    result_.descriptors.push_back(made);
    return true;
  }
  bool set(Descriptor of, Name name, Type type, int64_t count, const void* values) {
    return is_good(api_.set(of, name, type, count, values), "cudnnBackendSetAttribute");
  }
  template <typename T>
  bool set(Descriptor of, Name name, Type type, const T& value) {
    return set(of, name, type, 1, &value);
  }
  bool get(Descriptor of, Name name, Type type, int64_t room, int64_t& count, void* values) {
    return is_good(api_.get(of, name, type, room, &count, values), "cudnnBackendGetAttribute");
  }
  bool finalize(Descriptor descriptor) {
    const int status = api_.finalize(descriptor);
    if (is_refusal(status)) return refuse(text_of(api_, "cuDNN does not take it", status));
    return is_good(status, "cudnnBackendFinalize");
  }

  bool describe(const ConvolutionShape& shape, Descriptor& graph) {
    Descriptor x = nullptr, w = nullptr, y = nullptr, window = nullptr, operation = nullptr;
    return tensor(shape.x, shape.axes, kIdX, x) && tensor(shape.w, shape.axes, kIdW, w) &&
           tensor(shape.y, shape.axes, kIdY, y) && convolution(shape, window) &&
           operate(shape.kind, window, x, w, y, operation) && make(Kind::operation_graph, graph) &&
           set(graph, Name::graph_handle, Type::handle, handle_) &&
           set(graph, Name::graph_operations, Type::descriptor, operation) && finalize(graph);
  }

  bool tensor(const ConvolutionShape::Extents& extents, int axes, int64_t id, Descriptor& made) {
    ConvolutionShape::Extents strides{};
    const int rank = axes + 2;
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; --i) {
      strides[static_cast<size_t>(i)] = stride;
      stride *= extents[static_cast<size_t>(i)];
    }
    return make(Kind::tensor, made) &&
           set(made, Name::tensor_data_type, Type::data_type, kDataFloat) &&
           set(made, Name::tensor_extents, Type::int64, rank, extents.data()) &&
           set(made, Name::tensor_strides, Type::int64, rank, strides.data()) &&
           set(made, Name::tensor_id, Type::int64, id) &&
           set(made, Name::tensor_alignment, Type::int64, kTensorAlignment) && finalize(made);
  }

  bool convolution(const ConvolutionShape& shape, Descriptor& made) {
    const int64_t axes = shape.axes;
    return make(Kind::convolution, made) &&
           set(made, Name::convolution_compute_type, Type::data_type, kDataFloat) &&
           set(made, Name::convolution_mode, Type::convolution_mode, kCrossCorrelation) &&
           set(made, Name::convolution_spatial_axes, Type::int64, axes) &&
           set(made, Name::convolution_strides, Type::int64, axes, shape.stride.data()) &&
           set(made, Name::convolution_dilations, Type::int64, axes, shape.dilation.data()) &&
           set(made, Name::convolution_pre_paddings, Type::int64, axes, shape.pad_begin.data()) &&
           set(made, Name::convolution_post_paddings, Type::int64, axes, shape.pad_end.data()) &&
           finalize(made);
  }

  bool operate(ConvolutionKind kind, Descriptor window, Descriptor x, Descriptor w, Descriptor y,
               Descriptor& made) {
    struct Names {
      Kind kind;
      Name alpha, beta, convolution, x, w, y;
    };
    static constexpr Names kNames[] = {
        {Kind::convolution_forward, Name::forward_alpha, Name::forward_beta,
         Name::forward_convolution, Name::forward_x, Name::forward_w, Name::forward_y},
        {Kind::convolution_backward_data, Name::data_alpha, Name::data_beta, Name::data_convolution,
         Name::data_dx, Name::data_w, Name::data_dy},
        {Kind::convolution_backward_filter, Name::filter_alpha, Name::filter_beta,
         Name::filter_convolution, Name::filter_x, Name::filter_dw, Name::filter_dy}};
    const Names& names = kNames[static_cast<int>(kind)];
    return make(names.kind, made) && set(made, names.alpha, Type::float32, 1.0f) &&
           set(made, names.beta, Type::float32, 0.0f) &&
           set(made, names.convolution, Type::descriptor, window) &&
           set(made, names.x, Type::descriptor, x) && set(made, names.w, Type::descriptor, w) &&
           set(made, names.y, Type::descriptor, y) && finalize(made);
  }

  // Leaves the plan null where none of the engines that this mode knows will do.
  bool choose(Descriptor graph, int mode, bool rounds_to_tf32) {
    Descriptor heuristics = nullptr;
    if (!make(Kind::engine_heuristics, heuristics) ||
        !set(heuristics, Name::heuristics_graph, Type::descriptor, graph) ||
        !set(heuristics, Name::heuristics_mode, Type::heuristics_mode, mode)) {
      return false;
    }
    const int status = api_.finalize(heuristics);
    if (is_refusal(status)) return true;
    int64_t count = 0;
    if (!is_good(status, "cudnnBackendFinalize") ||
        !get(heuristics, Name::heuristics_results, Type::descriptor, 0, count, nullptr)) {
      return false;
    }
    std::vector<Descriptor> configs(static_cast<size_t>(count));
    for (Descriptor& config : configs) {
      if (!make(Kind::engine_config, config)) return false;
    }
    if (count > 0 && !get(heuristics, Name::heuristics_results, Type::descriptor, count, count,
                          configs.data())) {
      return false;
    }
    configs.resize(static_cast<size_t>(count));
    for (const Descriptor config : configs) {
      bool keeps = false;
      if (!keeps_promises(config, rounds_to_tf32, keeps) || (keeps && !try_out(config))) {
        return false;
      }
      if (result_.plan != nullptr) return true;
    }
    return true;
  }

  bool keeps_promises(Descriptor config, bool rounds_to_tf32, bool& keeps) {
    Descriptor engine = nullptr;
    int64_t count = 0;
    int notes[kNoteCount] = {};
    if (!make(Kind::engine, engine) ||
        !get(config, Name::config_engine, Type::descriptor, 1, count, &engine) ||
        !get(engine, Name::engine_notes, Type::numerical_note, kNoteCount, count, notes)) {
      return false;
    }
    keeps = count <= kNoteCount;  // a note that is not known here may break them
    for (int64_t i = 0; keeps && i < count; ++i) {
      const int note = notes[i];
      const bool is_tf32 = note == kNoteTensorCore && rounds_to_tf32;
      const bool breaks = note == kNoteTensorCore || note == kNoteDownConvertsInputs ||
                          note == kNoteReducedPrecisionReduction || note == kNoteFft ||
                          note == kNoteNondeterministic || note == kNoteWinograd;
      keeps = is_tf32 || !breaks;
    }
    return true;
  }

  bool try_out(Descriptor config) {
    Descriptor plan = nullptr;
    if (!make(Kind::execution_plan, plan) || !set(plan, Name::plan_handle, Type::handle, handle_) ||
        !set(plan, Name::plan_config, Type::descriptor, config)) {
      return false;
    }
    const int status = api_.finalize(plan);
    if (is_refusal(status)) return true;
    int64_t bytes = 0, count = 0;
    if (!is_good(status, "cudnnBackendFinalize") ||
        !get(plan, Name::plan_workspace_bytes, Type::int64, 1, count, &bytes)) {
      return false;
    }
    if (bytes > kMostWorkspaceBytes) return true;
    result_.preparation.workspace_bytes = bytes;
    result_.plan = plan;
    return true;
  }

  const cudnn::Api& api_;
  Handle& handle_;
  Convolution& result_;
};

Convolutions::~Convolutions() {
  for (auto& [shape, convolution] : convolutions_) free(convolution);
  if (handle_ != nullptr) api_.destroy(handle_);
}

void Convolutions::free(Convolution& convolution) const {
  std::vector<Descriptor>& all = convolution.descriptors;
  for (auto descriptor = all.rbegin(); descriptor != all.rend(); ++descriptor) {
    api_.destroy_descriptor(*descriptor);
  }
  convolution = {};
}

const Preparation& Convolutions::prepare(const ConvolutionShape& shape) {
  Convolution& convolution = convolutions_[shape];
  if (convolution.plan != nullptr || convolution.preparation.why_not() != nullptr) {
    return convolution.preparation;
  }
  free(convolution);  // what a failure left
  Builder(api_, handle_, convolution).build(shape);
  return convolution.preparation;
}

const Preparation& Convolutions::find(const ConvolutionShape& shape) const {
  const auto found = convolutions_.find(shape);
  return found == convolutions_.end() ? kNotPrepared : found->second.preparation;
}

int Convolutions::launch(const ConvolutionShape& shape, const ConvolutionOperands& operands,
                         const StepArgs& args, StreamHandle stream) const {
  const auto found = convolutions_.find(shape);
  if (found == convolutions_.end() || found->second.plan == nullptr) {
    keep_error("%s", kNotPrepared.failure.c_str());
    return kLibraryError;
  }
  const auto check = [&](int status, const char* call) {
    if (status == 0) return 0;
    keep_error("%s", text_of(api_, call, status).c_str());
    return kLibraryError;
  };
  // Where the tensors lie is said in a descriptor that can be finalized once only: each launch makes one.
  Descriptor pack = nullptr;
  if (int e = check(api_.create_descriptor(Kind::variant_pack, &pack),
                    "cudnnBackendCreateDescriptor")) {
    return e;
  }
  const int64_t ids[] = {kIdX, kIdW, kIdY};
  const void* pointers[] = {operands.x, operands.w, operands.y};
  const void* workspace = aligned_workspace(args);
  const auto set = [&](Name name, Type type, int64_t count, const void* values) {
    return check(api_.set(pack, name, type, count, values), "cudnnBackendSetAttribute");
  };
  int error = check(api_.set_stream(handle_, stream), "cudnnSetStream");
  if (error == 0) error = set(Name::pack_ids, Type::int64, 3, ids);
  if (error == 0) error = set(Name::pack_pointers, Type::pointer, 3, pointers);
  if (error == 0) error = set(Name::pack_workspace, Type::pointer, 1, &workspace);
  if (error == 0) error = check(api_.finalize(pack), "cudnnBackendFinalize");
  if (error == 0) {
    error = check(api_.execute(handle_, found->second.plan, pack), "cudnnBackendExecute");
  }
  const int freed = check(api_.destroy_descriptor(pack), "cudnnBackendDestroyDescriptor");
  return error != 0 ? error : freed;
}

}  // namespace tanul::cuda
