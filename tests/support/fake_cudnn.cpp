// SPDX-License-Identifier: Apache-2.0
#include "support/fake_cudnn.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/format.h"
#include "emulation/mma.h"
#include "support/fake_cudnn_pooling.h"
#include "support/fake_cudnn_softmax.h"
#include "support/rounding.h"

namespace tanul::test {

namespace {

using namespace cuda::cudnn;

constexpr int kBadParam = 2000;
constexpr int kNotSupportedStatus = 3000;
constexpr int kInternalError = 4000;
constexpr int kExecutionFailed = 5000;

enum Engine : int { kRoundsInputs, kOtherBits, kLessPrecise, kDoesNotFit, kGood };

FakeCudnn* active = nullptr;

intptr_t number(void* handle) { return reinterpret_cast<intptr_t>(handle); }

size_t bytes_of(Type type) {
  switch (type) {
    case Type::data_type:
    case Type::nan_propagation:
    case Type::resample_mode:
    case Type::padding_mode:
    case Type::convolution_mode:
    case Type::heuristics_mode:
    case Type::numerical_note:
    case Type::float32: return 4;
    default: return 8;
  }
}

Type type_of(Name name) {
  switch (name) {
    case Name::tensor_data_type:
    case Name::convolution_compute_type: return Type::data_type;
    case Name::convolution_mode: return Type::convolution_mode;
    case Name::heuristics_mode: return Type::heuristics_mode;
    case Name::resample_compute_type: return Type::data_type;
    case Name::resample_mode: return Type::resample_mode;
    case Name::resample_nan: return Type::nan_propagation;
    case Name::resample_padding_mode: return Type::padding_mode;
    case Name::resample_windows:
    case Name::resample_strides:
    case Name::resample_post_paddings:
    case Name::resample_pre_paddings:
    case Name::resample_spatial_axes: return Type::int64;
    case Name::plan_handle:
    case Name::graph_handle: return Type::handle;
    case Name::forward_alpha:
    case Name::forward_beta:
    case Name::data_alpha:
    case Name::data_beta:
    case Name::filter_alpha:
    case Name::filter_beta: return Type::float32;
    case Name::pack_pointers:
    case Name::pack_workspace: return Type::pointer;
    case Name::engine_notes: return Type::numerical_note;
    case Name::convolution_dilations:
    case Name::convolution_strides:
    case Name::convolution_post_paddings:
    case Name::convolution_pre_paddings:
    case Name::convolution_spatial_axes:
    case Name::plan_workspace_bytes:
    case Name::tensor_alignment:
    case Name::tensor_extents:
    case Name::tensor_strides:
    case Name::tensor_id:
    case Name::pack_ids: return Type::int64;
    default: return Type::descriptor;
  }
}

std::vector<Name> needs_of(Kind kind) {
  switch (kind) {
    case Kind::tensor:
      return {Name::tensor_data_type, Name::tensor_extents, Name::tensor_strides, Name::tensor_id,
              Name::tensor_alignment};
    case Kind::convolution:
      return {Name::convolution_compute_type,  Name::convolution_mode,
              Name::convolution_dilations,     Name::convolution_strides,
              Name::convolution_post_paddings, Name::convolution_pre_paddings,
              Name::convolution_spatial_axes};
    case Kind::convolution_forward:
      return {Name::forward_alpha, Name::forward_beta, Name::forward_convolution,
              Name::forward_x,     Name::forward_w,    Name::forward_y};
    case Kind::convolution_backward_data:
      return {Name::data_alpha, Name::data_beta, Name::data_convolution,
              Name::data_dx,    Name::data_w,    Name::data_dy};
    case Kind::convolution_backward_filter:
      return {Name::filter_alpha, Name::filter_beta, Name::filter_convolution,
              Name::filter_x,     Name::filter_dw,   Name::filter_dy};
    case Kind::operation_graph: return {Name::graph_handle, Name::graph_operations};
    case Kind::engine_heuristics: return {Name::heuristics_graph, Name::heuristics_mode};
    case Kind::execution_plan: return {Name::plan_handle, Name::plan_config};
    case Kind::variant_pack: return {Name::pack_ids, Name::pack_pointers, Name::pack_workspace};
    case Kind::resample:
      return {
          Name::resample_mode,         Name::resample_compute_type, Name::resample_nan,
          Name::resample_padding_mode, Name::resample_spatial_axes, Name::resample_windows,
          Name::resample_strides,      Name::resample_pre_paddings, Name::resample_post_paddings};
    case Kind::resample_forward:
      return {Name::resample_x, Name::resample_y, Name::resample_forward_windows};
    case Kind::resample_backward:
      return {Name::resample_dx, Name::resample_dy, Name::resample_backward_windows};
    default: return {};
  }
}

int64_t product(const std::vector<int64_t>& extents, size_t from = 0) {
  int64_t n = 1;
  for (size_t i = from; i < extents.size(); ++i) n *= extents[i];
  return n;
}

struct Layout {
  std::vector<int64_t> extents, strides;
  int type = kDataFloat;

  // Where each element lies, in the order of the extents.
  std::vector<int64_t> offsets() const {
    std::vector<int64_t> all(static_cast<size_t>(product(extents)));
    for (size_t i = 0; i < all.size(); ++i) {
      auto rest = static_cast<int64_t>(i);
      for (size_t axis = extents.size(); axis-- > 0; rest /= extents[axis]) {
        all[i] += rest % extents[axis] * strides[axis];
      }
    }
    return all;
  }
};

// The layout of a tensor, and its elements in the order of the extents.
struct TensorData {
  Layout layout;
  void* data = nullptr;

  std::vector<float> read() const {
    std::vector<float> values;
    for (const int64_t i : layout.offsets()) {
      const uint32_t half = layout.type == kDataFloat ? 0 : static_cast<uint16_t*>(data)[i];
      values.push_back(layout.type == kDataFloat  ? static_cast<float*>(data)[i]
                       : layout.type == kDataHalf ? cuda::emulation::from_fp16(half)
                                                  : cuda::emulation::bf16_half(half, 0));
    }
    return values;
  }
  // Rounded to the type.
  void write(const std::vector<float>& values) const {
    const std::vector<int64_t> offsets = layout.offsets();
    for (size_t i = 0; i < values.size(); ++i) {
      if (layout.type == kDataFloat) {
        static_cast<float*>(data)[offsets[i]] = values[i];
      } else {
        static_cast<uint16_t*>(data)[offsets[i]] =
            static_cast<uint16_t>(layout.type == kDataHalf ? cuda::emulation::to_fp16(values[i])
                                                           : cuda::emulation::to_bf16(values[i]));
      }
    }
  }
};

// One convolution with all its numbers.
struct Problem {
  Kind kind;
  int engine;
  int64_t run;
  std::vector<int64_t> x, w, y;  // extents
  std::vector<int64_t> stride, dilation, pad;
  TensorData tensors[3];  // x, w, y
  void* workspace;
  int64_t workspace_bytes;

  bool is_forward() const { return kind == Kind::convolution_forward; }
  bool is_data() const { return kind == Kind::convolution_backward_data; }
  bool is_grouped() const { return w[1] != x[1]; }
  size_t result() const { return is_forward() ? 2 : is_data() ? 0 : 1; }
  bool is_16_bit() const { return tensors[0].layout.type != kDataFloat; }
};

// It has none for 16 bits whose channels do not lie side by side.
bool has_no_engine(const Problem& p) {
  for (const TensorData& tensor : p.tensors) {
    if (p.is_16_bit() && tensor.layout.strides[1] != 1) return true;
  }
  return false;
}

// Counts the last axes of `extents` up; false where all came round.
bool advance(const std::vector<int64_t>& extents, std::array<int64_t, 3>& at) {
  for (size_t i = extents.size() - 2; i-- > 0;) {
    if (++at[i] < extents[i + 2]) return true;
    at[i] = 0;
  }
  return false;
}

// Calls body(offset in x, offset in w, offset in y) for each term of the convolution.
template <typename Body>
void for_terms(const Problem& p, const Body& body) {
  const int64_t N = p.x[0], C = p.x[1], K = p.y[1], channels = p.w[1];
  const int64_t plane = product(p.x, 2), taps = product(p.w, 2), positions = product(p.y, 2);
  const int64_t filters = K / (C / channels);
  const size_t axes = p.x.size() - 2;
  std::array<int64_t, 3> position{};
  int64_t at_position = 0;
  do {
    std::array<int64_t, 3> tap{};
    int64_t at_tap = 0;
    do {
      int64_t offset = 0;
      bool is_inside = true;
      for (size_t i = 0; i < axes; ++i) {
        const int64_t at = position[i] * p.stride[i] - p.pad[i] + tap[i] * p.dilation[i];
        is_inside = is_inside && at >= 0 && at < p.x[i + 2];
        offset = offset * p.x[i + 2] + at;
      }
      for (int64_t nk = 0; is_inside && nk < N * K; ++nk) {
        const int64_t n = nk / K, k = nk % K;
        for (int64_t c = 0; c < channels; ++c) {
          body((n * C + k / filters * channels + c) * plane + offset,
               (k * channels + c) * taps + at_tap, nk * positions + at_position);
        }
      }
      ++at_tap;
    } while (advance(p.w, tap));
    ++at_position;
  } while (advance(p.y, position));
}

void convolve(const Problem& p) {
  if (p.workspace_bytes > 0) {
    std::memset(p.workspace, 0x5A, static_cast<size_t>(p.workspace_bytes));
  }
  std::vector<float> values[3];
  for (size_t i = 0; i < 3; ++i) {
    if (i == p.result()) continue;
    values[i] = p.tensors[i].read();
    if (p.engine != kRoundsInputs) continue;
    for (float& value : values[i]) value = round_to_tf32(value);
  }
  const size_t result = p.result(), a = result == 0 ? 1 : 0, b = result == 2 ? 1 : 2;
  std::vector<double> sums(static_cast<size_t>(product(p.tensors[result].layout.extents)));
  std::vector<float> late(sums.size());  // what is added in the end
  int64_t term = 0;
  for_terms(p, [&](int64_t x, int64_t w, int64_t y) {
    const auto at = [&](size_t i) { return static_cast<size_t>(i == 0 ? x : i == 1 ? w : y); };
    const float own = values[a][at(a)] * values[b][at(b)];
    if (p.engine != kOtherBits) {
      sums[at(result)] += static_cast<double>(values[a][at(a)]) * values[b][at(b)];
    } else if ((++term + p.run) % 3 == 0) {
      late[at(result)] += own;
    } else {
      sums[at(result)] = static_cast<float>(sums[at(result)]) + own;
    }
  });
  const double less = p.is_16_bit() ? 0.1 : 1e-3;
  const double error = p.engine == kLessPrecise ? less : 0.0;
  std::vector<float> rounded;
  for (size_t i = 0; i < sums.size(); ++i) {
    rounded.push_back(static_cast<float>((sums[i] + late[i]) * (1 + error)));
  }
  p.tensors[result].write(rounded);
}

}  // namespace

FakeCudnn::FakeCudnn(LibraryHost& host) : host_(host), before_(active) { active = this; }
FakeCudnn::~FakeCudnn() {
  if (active == this) active = before_;
}
void FakeCudnn::make_active() { active = this; }

std::vector<std::string> FakeCudnn::leaks() const {
  std::vector<std::string> leaks(handles_.size(), "cudnnHandle_t");
  leaks.insert(leaks.end(), objects_.size(), "cudnnBackendDescriptor_t");
  leaks.insert(leaks.end(), tensors_.size(), "cudnnTensorDescriptor_t");
  return leaks;
}

bool FakeCudnn::begin(const char* name, bool makes_or_frees) {
  if (makes_or_frees) host_.refuse_capture(name);
  return !host_.begin_call(name);
}

FakeCudnn::Object* FakeCudnn::find(void* descriptor, const char* call) {
  const auto found = objects_.find(number(descriptor));
  if (found != objects_.end()) return &found->second;
  host_.break_rule(fmt::format("{} with a descriptor that is not there", call));
  return nullptr;
}

template <typename T>
std::vector<T> FakeCudnn::values(const Object& object, Name name) const {
  const auto found = object.attributes.find(name);
  if (found == object.attributes.end()) return {};
  std::vector<T> values(found->second.bytes.size() / sizeof(T));
  std::memcpy(values.data(), found->second.bytes.data(), found->second.bytes.size());
  return values;
}

FakeCudnn::Object& FakeCudnn::child(const Object& object, Name name) {
  return objects_.at(values<intptr_t>(object, name).at(0));
}

// --- the entry points -----------------------------------------------------------------------------

struct FakeCudnnApi {
  using Object = FakeCudnn::Object;

  static const char* status_name(int status) {
    switch (status) {
      case kBadParam: return "CUDNN_STATUS_BAD_PARAM";
      case kNotSupportedStatus: return "CUDNN_STATUS_NOT_SUPPORTED";
      case kExecutionFailed: return "CUDNN_STATUS_EXECUTION_FAILED";
      default: return "CUDNN_STATUS_INTERNAL_ERROR";
    }
  }

  static int create(void** handle) {
    *handle = nullptr;
    if (!active->begin("cudnnCreate", true)) return kInternalError;
    if (!active->options.takes_device) return kNotSupportedStatus;
    active->handles_[active->next_] = nullptr;
    *handle = reinterpret_cast<void*>(active->next_);
    active->next_ += 16;
    return 0;
  }
  static int destroy(void* handle) {
    const bool is_good = active->begin("cudnnDestroy", true);
    if (active->handles_.erase(number(handle)) == 0) {
      return broken("cudnnDestroy of a handle that is not there");
    }
    return is_good ? 0 : kInternalError;
  }
  static int set_stream(void* handle, void* stream) {
    if (!active->begin("cudnnSetStream", false)) return kInternalError;
    const auto found = active->handles_.find(number(handle));
    if (found == active->handles_.end()) return broken("cudnnSetStream of no handle");
    found->second = stream;
    return 0;
  }

  static int create_descriptor(Kind kind, void** descriptor) {
    *descriptor = nullptr;
    // A launch needs its own pack.
    if (!active->begin("cudnnBackendCreateDescriptor", kind != Kind::variant_pack)) {
      return kInternalError;
    }
    active->objects_[active->next_] = Object{kind, false, {}, -1, 0, 0};
    *descriptor = reinterpret_cast<void*>(active->next_);
    active->next_ += 16;
    return 0;
  }
  static int destroy_descriptor(void* descriptor) {
    const char* name = "cudnnBackendDestroyDescriptor";
    const bool is_good = active->begin(name, false);
    if (active->find(descriptor, name) == nullptr) return kBadParam;
    active->objects_.erase(number(descriptor));
    return is_good ? 0 : kInternalError;
  }

  static int set(void* descriptor, Name attribute, Type type, int64_t count, const void* values) {
    const char* name = "cudnnBackendSetAttribute";
    if (!active->begin(name, false)) return kInternalError;
    Object* object = active->find(descriptor, name);
    if (object == nullptr) return kBadParam;
    if (object->is_finalized) return broken("an attribute is set behind cudnnBackendFinalize");
    if (type != type_of(attribute) || count < 1) {
      return broken(fmt::format("attribute {} has another type", static_cast<int>(attribute)));
    }
    const auto* from = static_cast<const std::byte*>(values);
    object->attributes[attribute] = {
        type, count, {from, from + static_cast<size_t>(count) * bytes_of(type)}};
    return 0;
  }

  static int finalize(void* descriptor) {
    const char* name = "cudnnBackendFinalize";
    if (!active->begin(name, false)) return kInternalError;
    Object* object = active->find(descriptor, name);
    if (object == nullptr) return kBadParam;
    if (object->is_finalized) return broken("a descriptor is finalized twice");
    if (object->kind != Kind::variant_pack) active->host_.refuse_capture(name);
    for (const Name need : needs_of(object->kind)) {
      const auto found = object->attributes.find(need);
      if (found == object->attributes.end()) {
        return broken(fmt::format("attribute {} is missing", static_cast<int>(need)));
      }
      if (found->second.type != Type::descriptor || object->kind == Kind::execution_plan) continue;
      for (const intptr_t id : active->values<intptr_t>(*object, need)) {
        const auto part = active->objects_.find(id);
        if (part == active->objects_.end() || !part->second.is_finalized) {
          return broken(fmt::format("attribute {} is not finalized", static_cast<int>(need)));
        }
      }
    }
    if (object->kind == Kind::operation_graph) {
      const std::string what = misfit_of_graph(*object);
      if (!what.empty()) return broken(what);
    }
    if (object->kind == Kind::execution_plan) {
      const Object& config = active->child(*object, Name::plan_config);
      if (config.engine < 0) return broken("a plan of a configuration that nobody gave");
      if (config.engine == kDoesNotFit) return kNotSupportedStatus;
      object->engine = config.engine;
      object->graph = config.graph;
      object->workspace_bytes = object->engine == kGood ? 500 : 0;
    }
    if (object->kind == Kind::convolution_forward ||
        object->kind == Kind::convolution_backward_data ||
        object->kind == Kind::convolution_backward_filter) {
      const std::string what = misfit(problem_of(*object));
      if (!what.empty()) return broken(what);
    }
    if (is_pooling(*object)) {
      const std::string what = pooling_of(*object).misfit();
      if (!what.empty()) return broken(what);
    }
    object->is_finalized = true;
    return 0;
  }

  static int get(void* descriptor, Name attribute, Type type, int64_t room, int64_t* count,
                 void* values) {
    const char* name = "cudnnBackendGetAttribute";
    if (!active->begin(name, false)) return kInternalError;
    const Object* object = active->find(descriptor, name);
    if (object == nullptr) return kBadParam;
    const bool is_given = object->engine >= 0;  // by the heuristics
    if (type != type_of(attribute) || (!object->is_finalized && !is_given)) {
      return broken("an attribute is read in front of cudnnBackendFinalize, or by another type");
    }
    switch (attribute) {
      case Name::heuristics_results: return get_results(*object, room, count, values);
      case Name::config_engine: {
        Object* engine = active->find(*static_cast<void**>(values), name);
        if (engine == nullptr || engine->kind != Kind::engine)
          return broken("no room for an engine");
        engine->engine = object->engine;
        engine->graph = object->graph;
        *count = 1;
        return 0;
      }
      case Name::engine_notes: {
        const Object& graph = active->objects_.at(object->graph);
        const bool is_16_bit = !is_pooling_graph(graph) && problem_of_graph(graph).is_16_bit();
        int notes[] = {kNoteTensorCore, kNoteNondeterministic, kNoteWinograd, -1, -1};
        if (is_16_bit) notes[kLessPrecise] = kNoteReducedPrecisionReduction;
        if (is_16_bit) notes[kGood] = kNoteTensorCore;
        std::vector<int> said;
        if (is_16_bit && object->engine == kOtherBits) said = {kNoteTensorCore};
        if (notes[object->engine] >= 0) said.push_back(notes[object->engine]);
        *count = std::min(static_cast<int64_t>(said.size()), room);
        std::copy_n(said.begin(), *count, static_cast<int*>(values));
        return 0;
      }
      case Name::plan_workspace_bytes:
        std::memcpy(values, &object->workspace_bytes, sizeof(int64_t));
        *count = 1;
        return 0;
      default: return broken("an attribute that cannot be read");
    }
  }

  // Grouped convolutions have their good engine among the fallbacks, and none whose bits differ from run to
  // run; products of 16 bits have none that rounds its inputs.
  static int get_results(const Object& heuristics, int64_t room, int64_t* count, void* values) {
    const Object& graph = active->child(heuristics, Name::heuristics_graph);
    if (is_pooling_graph(graph)) {
      return give(pooling_engines(heuristics), heuristics, room, count, values);
    }
    const Problem problem = problem_of_graph(graph);
    const bool is_grouped = problem.is_grouped();
    const bool is_fallback =
        active->values<int>(heuristics, Name::heuristics_mode).at(0) == kHeuristicsFallback;
    std::vector<int> engines = {kRoundsInputs, kOtherBits, kLessPrecise, kDoesNotFit};
    if (problem.is_16_bit()) engines = {kOtherBits, kLessPrecise, kDoesNotFit};
    if (is_grouped) std::erase(engines, kOtherBits);
    if (is_fallback) engines = {kDoesNotFit};
    if (has_no_engine(problem)) engines.clear();
    if (active->options.has_engines && is_grouped == is_fallback && !has_no_engine(problem)) {
      engines.push_back(kGood);
    }
    return give(engines, heuristics, room, count, values);
  }

  static int give(const std::vector<int>& engines, const Object& heuristics, int64_t room,
                  int64_t* count, void* values) {
    *count = static_cast<int64_t>(engines.size());
    if (room == 0) {
      *count += 3;  // at most
      return 0;
    }
    *count = std::min(*count, room);
    for (int64_t i = 0; i < *count; ++i) {
      Object* config = active->find(static_cast<void**>(values)[i], "cudnnBackendGetAttribute");
      if (config == nullptr || config->kind != Kind::engine_config) {
        return broken("no room for a configuration");
      }
      config->engine = engines[static_cast<size_t>(i)];
      config->graph = active->values<intptr_t>(heuristics, Name::heuristics_graph).at(0);
    }
    return 0;
  }

  static int execute(void* handle, void* plan_handle, void* pack_handle) {
    const char* name = "cudnnBackendExecute";
    if (!active->begin(name, false)) return kInternalError;
    FakeCudnn& fake = *active;
    const auto stream = fake.handles_.find(number(handle));
    const Object* plan = fake.find(plan_handle, name);
    const Object* pack = fake.find(pack_handle, name);
    if (stream == fake.handles_.end() || plan == nullptr || pack == nullptr) return kBadParam;
    if (!plan->is_finalized || !pack->is_finalized) return broken("what runs is not finalized");
    const Object& graph = fake.objects_.at(plan->graph);
    const Object& operation = fake.child(graph, Name::graph_operations);
    if (is_pooling(operation)) return execute_pooling(operation, *plan, *pack, stream->second);
    Problem problem = problem_of_graph(graph);
    problem.engine = plan->engine;
    problem.run = ++fake.runs_;
    problem.workspace_bytes = plan->workspace_bytes;
    problem.workspace = fake.values<void*>(*pack, Name::pack_workspace).at(0);
    const auto ids = fake.values<int64_t>(*pack, Name::pack_ids);
    const auto pointers = fake.values<void*>(*pack, Name::pack_pointers);
    if (ids != std::vector<int64_t>{'x', 'w', 'y'} || pointers.size() != ids.size()) {
      return broken("the tensors of the pack are not those of the graph");
    }
    for (const void* pointer : pointers) {
      if (pointer == nullptr || reinterpret_cast<uintptr_t>(pointer) % 16 != 0) {
        return broken("a tensor is not aligned");
      }
    }
    for (size_t i = 0; i < 3; ++i) problem.tensors[i].data = pointers[i];
    const bool is_queued =
        fake.host_.queue_work(stream->second, name, [problem] { convolve(problem); });
    return is_queued ? 0 : kExecutionFailed;
  }

  // --- pooling ---

  static bool is_pooling(const Object& object) {
    return object.kind == Kind::resample_forward || object.kind == Kind::resample_backward;
  }

  static bool is_pooling_graph(const Object& graph) {
    return is_pooling(active->child(graph, Name::graph_operations));
  }

  static FakePooling pooling_of(const Object& operation) {
    FakeCudnn& fake = *active;
    const bool is_backward = operation.kind == Kind::resample_backward;
    const Object& windows = fake.child(
        operation, is_backward ? Name::resample_backward_windows : Name::resample_forward_windows);
    const auto number_of = [&](Name name) { return fake.values<int>(windows, name).at(0); };
    const auto axes_of = [&](Name name) { return fake.values<int64_t>(windows, name); };
    const auto extents = [&](Name forward, Name backward) {
      const Object& tensor = fake.child(operation, is_backward ? backward : forward);
      return fake.values<int64_t>(tensor, Name::tensor_extents);
    };
    return {is_backward,
            number_of(Name::resample_mode),
            number_of(Name::resample_padding_mode),
            number_of(Name::resample_nan),
            extents(Name::resample_x, Name::resample_dx),
            extents(Name::resample_y, Name::resample_dy),
            axes_of(Name::resample_windows),
            axes_of(Name::resample_strides),
            axes_of(Name::resample_pre_paddings),
            axes_of(Name::resample_post_paddings)};
  }

  // The good one is among the fallbacks.
  static std::vector<int> pooling_engines(const Object& heuristics) {
    const int mode = active->values<int>(heuristics, Name::heuristics_mode).at(0);
    if (mode != kHeuristicsFallback) return {kRoundsInputs, kOtherBits, kLessPrecise, kDoesNotFit};
    if (!active->options.has_engines) return {kDoesNotFit};
    return {kDoesNotFit, kGood};
  }

  static int execute_pooling(const Object& operation, const Object& plan, const Object& pack,
                             void* stream) {
    FakeCudnn& fake = *active;
    const FakePooling pooling = pooling_of(operation);
    const auto ids = fake.values<int64_t>(pack, Name::pack_ids);
    const auto pointers = fake.values<float*>(pack, Name::pack_pointers);
    if (ids != std::vector<int64_t>{'x', 'y'} || pointers.size() != ids.size()) {
      return broken("the tensors of the pack are not those of the graph");
    }
    for (const float* pointer : pointers) {
      if (pointer == nullptr || reinterpret_cast<uintptr_t>(pointer) % 16 != 0) {
        return broken("a tensor is not aligned");
      }
    }
    const float* from = pointers[pooling.is_backward ? 1 : 0];
    float* to = pointers[pooling.is_backward ? 0 : 1];
    void* workspace = fake.values<void*>(pack, Name::pack_workspace).at(0);
    const auto workspace_bytes = static_cast<size_t>(plan.workspace_bytes);
    const int engine = plan.engine;
    const double error = engine == kLessPrecise ? 1e-3
                         : engine == kOtherBits ? 1e-6 * static_cast<double>(++fake.runs_ % 100)
                                                : 0.0;
    const auto compute = [=] {
      if (workspace_bytes > 0) std::memset(workspace, 0x5A, workspace_bytes);
      const std::vector<double> values = pooling.compute([&](int64_t i) {
        return static_cast<double>(engine == kRoundsInputs ? round_to_tf32(from[i]) : from[i]);
      });
      for (size_t i = 0; i < values.size(); ++i) {
        to[i] = static_cast<float>(values[i] * (1 + error));
      }
    };
    return fake.host_.queue_work(stream, "cudnnBackendExecute", compute) ? 0 : kExecutionFailed;
  }

  // --- softmax ---

  static int create_tensor(void** tensor) {
    *tensor = nullptr;
    if (!active->begin("cudnnCreateTensorDescriptor", true)) return kInternalError;
    active->tensors_[active->next_] = {};
    *tensor = reinterpret_cast<void*>(active->next_);
    active->next_ += 16;
    return 0;
  }
  static int destroy_tensor(void* tensor) {
    const bool is_good = active->begin("cudnnDestroyTensorDescriptor", false);
    if (active->tensors_.erase(number(tensor)) == 0) {
      return broken("cudnnDestroyTensorDescriptor of what is not there");
    }
    return is_good ? 0 : kInternalError;
  }
  static int set_tensor(void* tensor, int format, int data_type, int n, int c, int h, int w) {
    if (!active->begin("cudnnSetTensor4dDescriptor", true)) return kInternalError;
    const auto found = active->tensors_.find(number(tensor));
    if (found == active->tensors_.end()) {
      return broken("cudnnSetTensor4dDescriptor of what is not there");
    }
    if (format != kTensorNchw || data_type != kDataFloat) return broken("a tensor of another kind");
    if (std::min({n, c, h, w}) < 1) return kBadParam;
    // Elements are counted in 32 bits.
    if (double{1} * n * c * h * w >= 0x1p31) return kNotSupportedStatus;
    found->second = {n, c, h, w};
    return 0;
  }

  static int softmax_forward(void* handle, int algorithm, int mode, const void* alpha,
                             void* x_tensor, const void* x, const void* beta, void* y_tensor,
                             void* y) {
    const char* name = "cudnnSoftmaxForward";
    if (!active->begin(name, false)) return kInternalError;
    if (x == y) return broken("y of softmax over x");
    return softmax(handle, name, algorithm, mode, alpha, beta, {x_tensor, y_tensor}, {x, y},
                   [=](const FakeSoftmax& own) {
                     own.forward(static_cast<const float*>(x), static_cast<float*>(y));
                   });
  }
  static int softmax_backward(void* handle, int algorithm, int mode, const void* alpha,
                              void* y_tensor, const void* y, void* dy_tensor, const void* dy,
                              const void* beta, void* dx_tensor, void* dx) {
    const char* name = "cudnnSoftmaxBackward";
    if (!active->begin(name, false)) return kInternalError;
    if (y == dx) return broken("dx of softmax over y");
    return softmax(handle, name, algorithm, mode, alpha, beta, {y_tensor, dy_tensor, dx_tensor},
                   {y, dy, dx}, [=](const FakeSoftmax& own) {
                     own.backward(static_cast<const float*>(y), static_cast<const float*>(dy),
                                  static_cast<float*>(dx));
                   });
  }
  template <typename Compute>
  static int softmax(void* handle, const char* name, int algorithm, int mode, const void* alpha,
                     const void* beta, const std::vector<void*>& tensors,
                     const std::vector<const void*>& data, const Compute& compute) {
    FakeCudnn& fake = *active;
    const auto stream = fake.handles_.find(number(handle));
    if (stream == fake.handles_.end()) return broken("softmax without a handle");
    const std::array<int64_t, 4>* extents = nullptr;
    for (void* tensor : tensors) {
      const auto found = fake.tensors_.find(number(tensor));
      if (found == fake.tensors_.end() || found->second[0] == 0) {
        return broken("softmax of a tensor that was not described");
      }
      if (extents != nullptr && *extents != found->second) {
        return broken("softmax of tensors of different extents");
      }
      extents = &found->second;
    }
    if (std::count(data.begin(), data.end(), nullptr) > 0) return broken("softmax of no data");
    const FakeSoftmax own{*extents, algorithm, mode, *static_cast<const float*>(alpha),
                          *static_cast<const float*>(beta)};
    const bool is_queued = fake.host_.queue_work(stream->second, name, [=] { compute(own); });
    return is_queued ? 0 : kExecutionFailed;
  }

  // --- helpers ---

  static int broken(const std::string& what) {
    active->host_.break_rule(what);
    return kBadParam;
  }

  // Of an operation; without data.
  static Problem problem_of(const Object& operation) {
    FakeCudnn& fake = *active;
    const bool is_forward = operation.kind == Kind::convolution_forward;
    const bool is_data = operation.kind == Kind::convolution_backward_data;
    const auto pick = [&](Name forward, Name data, Name filter) {
      return is_forward ? forward : is_data ? data : filter;
    };
    const Object& window = fake.child(
        operation,
        pick(Name::forward_convolution, Name::data_convolution, Name::filter_convolution));
    const auto layout = [&](Name forward, Name data, Name filter) {
      return layout_of(fake.child(operation, pick(forward, data, filter)));
    };
    Problem p{};
    p.kind = operation.kind;
    p.tensors[0].layout = layout(Name::forward_x, Name::data_dx, Name::filter_x);
    p.tensors[1].layout = layout(Name::forward_w, Name::data_w, Name::filter_dw);
    p.tensors[2].layout = layout(Name::forward_y, Name::data_dy, Name::filter_dy);
    p.x = p.tensors[0].layout.extents;
    p.w = p.tensors[1].layout.extents;
    p.y = p.tensors[2].layout.extents;
    p.stride = fake.values<int64_t>(window, Name::convolution_strides);
    p.dilation = fake.values<int64_t>(window, Name::convolution_dilations);
    p.pad = fake.values<int64_t>(window, Name::convolution_pre_paddings);
    const auto end = fake.values<int64_t>(window, Name::convolution_post_paddings);
    for (size_t i = 0; i < p.stride.size() && i + 2 < p.y.size() && i < end.size(); ++i) {
      const int64_t span = p.dilation[i] * (p.w[i + 2] - 1) + 1;
      const int64_t fits = (p.x[i + 2] + p.pad[i] + end[i] - span) / p.stride[i] + 1;
      if (p.y[i + 2] != fits) p.engine = -1;
    }
    return p;
  }

  static Layout layout_of(const Object& tensor) {
    FakeCudnn& fake = *active;
    return {fake.values<int64_t>(tensor, Name::tensor_extents),
            fake.values<int64_t>(tensor, Name::tensor_strides),
            fake.values<int>(tensor, Name::tensor_data_type).at(0)};
  }

  static Problem problem_of_graph(const Object& graph) {
    return problem_of(active->child(graph, Name::graph_operations));
  }
  // Why the operations of a graph, and their tensors, do not belong together; empty: they do.
  static std::string misfit_of_graph(const Object& graph) {
    if (active->values<intptr_t>(graph, Name::graph_operations).size() != 1) {
      return "a graph of several operations";
    }
    if (is_pooling_graph(graph)) return "";
    const Problem p = problem_of_graph(graph);
    for (const TensorData& tensor : p.tensors) {
      if (tensor.layout.type != p.tensors[0].layout.type) return "tensors of different types";
    }
    return "";
  }

  // Why the extents of an operation do not belong together; empty: they do.
  static std::string misfit(const Problem& p) {
    const size_t axes = p.stride.size();
    if (axes < 2 || p.x.size() != axes + 2 || p.w.size() != axes + 2 || p.y.size() != axes + 2 ||
        p.dilation.size() != axes || p.pad.size() != axes) {
      return "tensors and windows of different ranks";
    }
    if (p.x[0] != p.y[0] || p.w[0] != p.y[1] || p.x[1] % p.w[1] != 0) {
      return "tensors that do not fit together";
    }
    return p.engine == -1 ? "y has not the extents that the window gives it" : "";
  }

  static const Api& table() {
    static const Api api = {
        .version = [] { return size_t{91300}; },
        .status_name = status_name,
        .create = create,
        .destroy = destroy,
        .set_stream = set_stream,
        .create_descriptor = create_descriptor,
        .destroy_descriptor = destroy_descriptor,
        .set = set,
        .finalize = finalize,
        .get = get,
        .execute = execute,
        .create_tensor = create_tensor,
        .destroy_tensor = destroy_tensor,
        .set_tensor = set_tensor,
        .softmax_forward = softmax_forward,
        .softmax_backward = softmax_backward,
    };
    return api;
  }
};

const Api& FakeCudnn::table() { return FakeCudnnApi::table(); }

}  // namespace tanul::test
