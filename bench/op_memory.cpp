// SPDX-License-Identifier: Apache-2.0
#include "bench/op_memory.h"

#include <algorithm>
#include <cstring>

#include "core/format.h"
#include "core/philox.h"
#include "kernels/op.h"
#include "plan/select.h"

namespace tanul::bench {

namespace {

constexpr int64_t kAlignment = 64;
int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// What every step is told: the fourth step of a run.
constexpr StepBlock kBlock{12345678901, 3, 0.01f, 0};

// The range of a random number.
enum class Draw {
  normal,
  weights,               // normal, a tenth as large
  half_to_three_halves,  // variances and their kin, divisors
  unit,                  // 0 … 1: probabilities
  sign,                  // -1 or 1
};

Draw draw_of(const Graph& graph, const Node& reader, size_t position) {
  const Value& value = graph.value(reader.in[position]);
  switch (reader.kind) {
    case OpKind::hinge_fwd:
    case OpKind::hinge_bwd:
    case OpKind::cosine_embedding_fwd:
    case OpKind::cosine_embedding_bwd:
      if (position == 1) return Draw::sign;
      break;
    case OpKind::bce_fwd:
    case OpKind::bce_bwd:
      if (position == 0) return Draw::unit;
      break;
    case OpKind::divide_fwd:
      if (position == 1) return Draw::half_to_three_halves;
      break;
    case OpKind::arithmetic_bwd:
      if (position == 2) return Draw::half_to_three_halves;
      break;
    default: break;
  }
  if (value.kind == ValueKind::state) return Draw::half_to_three_halves;
  if (value.kind == ValueKind::input) return Draw::unit;
  if (value.kind == ValueKind::parameter && value.shape.rank() > 1) return Draw::weights;
  return Draw::normal;
}

// Random numbers of a kind, repeated with a period that is a prime: making a hundred million of them one
// by one would take longer than the step.
const std::vector<float>& pool_of(Draw draw) {
  constexpr size_t kPeriod = 1048573;
  static std::map<Draw, std::vector<float>> pools;
  std::vector<float>& pool = pools[draw];
  if (!pool.empty()) return pool;
  pool.resize(kPeriod);
  const Philox random{17, philox_stream("bench.ops"), static_cast<uint32_t>(draw)};
  for (size_t i = 0; i < kPeriod; ++i) {
    const double uniform = random.uniform(i);
    double x = 0;
    switch (draw) {
      case Draw::normal: x = random.normal(i); break;
      case Draw::weights: x = 0.1 * random.normal(i); break;
      case Draw::half_to_three_halves: x = 0.5 + uniform; break;
      case Draw::unit: x = 0.001 + 0.998 * uniform; break;
      case Draw::sign: x = uniform < 0.5 ? -1 : 1; break;
    }
    pool[i] = static_cast<float>(x);
  }
  return pool;
}

void fill_random(const Graph& graph, const Node& reader, size_t position, std::byte* to) {
  const Value& value = graph.value(reader.in[position]);
  const int64_t elems = value.shape.elems();
  const size_t start = 7919 * static_cast<size_t>(reader.in[position]);
  if (value.dtype == DType::f32) {
    const std::vector<float>& pool = pool_of(draw_of(graph, reader, position));
    auto* floats = reinterpret_cast<float*>(to);
    for (int64_t i = 0; i < elems; ++i) {
      floats[i] = pool[(start + static_cast<size_t>(i)) % pool.size()];
    }
    return;
  }
  const Philox random{17, philox_stream("bench.ops"), static_cast<uint32_t>(reader.in[position])};
  if (value.dtype == DType::u8) {
    for (int64_t i = 0; i < elems; ++i) {
      to[i] = static_cast<std::byte>(random.word(static_cast<uint64_t>(i % 65521)) & 0xFF);
    }
    return;
  }
  // Rows of a data set [S, ...]; class indices, x being [N, C, ...].
  const Shape& first = graph.value(reader.in[0]).shape;
  const auto classes = static_cast<uint64_t>(first[reader.kind == OpKind::gather_rows ? 0 : 1]);
  auto* labels = reinterpret_cast<int32_t*>(to);
  for (int64_t i = 0; i < elems; ++i) {
    labels[i] = static_cast<int32_t>(random.below(static_cast<uint64_t>(i), classes));
  }
}

const Node* maker_of(const Graph& graph, ValueId id) {
  for (const Node& node : graph.nodes) {
    // A step that writes into what is there (an update) does not make it.
    if (std::find(node.in.begin(), node.in.end(), id) != node.in.end()) continue;
    if (std::find(node.out.begin(), node.out.end(), id) != node.out.end()) return &node;
  }
  return nullptr;
}

const Implementation& first_that_fits(const ImplementationList& list, const StepArgs& args) {
  int i = 0;
  while (i + 1 < list.count && list.items[i].supports(args) != nullptr) ++i;
  return list.items[i];
}

}  // namespace

OpInputs::OpInputs(Backend& cpu, const OpCase& op) : cpu_(cpu), graph_(*op.graph) {
  const Node& node = op.node();
  for (size_t i = 0; i < node.in.size(); ++i) {
    if (node.in[i] != kNoValue) value(node.in[i], node, i);
  }
}

const DeviceMemory& OpInputs::value(ValueId id, const Node& reader, size_t position) {
  const auto known = values_.find(id);
  if (known != values_.end()) return known->second;
  const Value& info = graph_.value(id);
  const Node* maker = maker_of(graph_, id);
  constexpr int64_t kSmall = 4;  // {sum, divisor, correct, counted}
  if (maker != nullptr && ((maker->layer == reader.layer && reader.phase != Phase::update) ||
                           info.shape.elems() <= kSmall)) {
    compute(*maker);
    return values_.at(id);
  }
  DeviceMemory& memory = values_[id] = DeviceMemory(cpu_, value_bytes(info));
  if (info.constant.empty()) {
    fill_random(graph_, reader, position, memory.data());
  } else {
    auto* to = reinterpret_cast<float*>(memory.data());
    for (int64_t i = 0; i < info.shape.elems(); ++i) {
      to[i] = info.constant[static_cast<size_t>(i) % info.constant.size()];
    }
  }
  return memory;
}

void OpInputs::compute(const Node& node) {
  std::vector<Operand> in, out;
  for (size_t i = 0; i < node.in.size(); ++i) {
    in.push_back(operand_of(graph_, node.in[i]));
    if (node.in[i] != kNoValue) in.back().data = value(node.in[i], node, i).data();
  }
  for (ValueId id : node.out) {
    out.push_back(operand_of(graph_, id));
    if (id == kNoValue) continue;
    out.back().data = (values_[id] = DeviceMemory(cpu_, value_bytes(graph_.value(id)))).data();
  }
  if (op_is_view(node.kind)) {
    std::memcpy(out[0].data, in[0].data,
                static_cast<size_t>(value_bytes(graph_.value(node.out[0]))));
    return;
  }
  StepArgs args{};
  args.in = in.data();
  args.out = out.data();
  args.in_count = static_cast<int32_t>(in.size());
  args.out_count = static_cast<int32_t>(out.size());
  args.params = node.params.data();
  args.block = &kBlock;
  const Implementation& chosen = first_that_fits(cpu_.implementations(node.kind), args);
  args.workspace_bytes = chosen.workspace_bytes(args, cpu_.threads());
  const DeviceMemory workspace(cpu_, args.workspace_bytes);
  args.workspace = workspace.data();
  const StepScope scope(cpu_);
  if (const int status = chosen.launch(cpu_.stream(), args)) {
    fail(Code::internal, "{}: {} failed: {}", op_name(node.kind), chosen.name,
         cpu_.status_text(status));
  }
}

OpMemory::OpMemory(Backend& backend, const OpCase& op, int copies, DeviceMemory* room)
    : backend_(backend), op_(op), copies_(copies), copy_bytes_(bytes(op)) {
  int64_t offset = 0;
  const Node& node = op.node();
  for (const std::vector<ValueId>* ids : {&node.in, &node.out}) {
    for (ValueId id : *ids) {
      if (id == kNoValue || offsets_.count(id) == 1) continue;
      offsets_[id] = offset;
      offset += aligned(value_bytes(op.graph->value(id)));
    }
  }
  DeviceMemory& memory = room != nullptr ? *room : memory_;
  if (memory.data() == nullptr || memory.bytes() < copies * copy_bytes_) {
    memory.reset();
    memory = DeviceMemory(backend, copies * copy_bytes_);
  }
  base_ = memory.data();
  block_ = DeviceMemory(backend, sizeof(StepBlock));
  backend.copy_in(block_.data(), &kBlock, sizeof kBlock);
  args_.resize(static_cast<size_t>(copies));
  for (int copy = 0; copy < copies; ++copy) {
    Arguments& a = args_[static_cast<size_t>(copy)];
    for (ValueId id : node.in) {
      a.in.push_back(operand_of(*op.graph, id));
      a.in.back().data = place(copy, id);
    }
    for (ValueId id : node.out) {
      a.out.push_back(operand_of(*op.graph, id));
      a.out.back().data = place(copy, id);
    }
    a.args = StepArgs{};
    a.args.in = a.in.data();
    a.args.out = a.out.data();
    a.args.in_count = static_cast<int32_t>(a.in.size());
    a.args.out_count = static_cast<int32_t>(a.out.size());
    a.args.params = node.params.data();
    a.args.block = reinterpret_cast<const StepBlock*>(block_.data());
  }
}

int64_t OpMemory::bytes(const OpCase& op) {
  std::map<ValueId, int64_t> each;
  for (const std::vector<ValueId>* ids : {&op.node().in, &op.node().out}) {
    for (ValueId id : *ids) {
      if (id != kNoValue) each[id] = aligned(value_bytes(op.graph->value(id)));
    }
  }
  int64_t sum = 0;
  for (const auto& [id, bytes] : each) sum += bytes;
  return sum;
}

std::byte* OpMemory::place(int copy, ValueId id) const {
  return id == kNoValue ? nullptr : base_ + copy * copy_bytes_ + offsets_.at(id);
}

void OpMemory::reset(const OpInputs& inputs, int copy) {
  const Node& node = op_.node();
  for (ValueId id : node.out) {
    if (id == kNoValue) continue;
    const int64_t bytes = value_bytes(op_.graph->value(id));
    const std::vector<std::byte> poison(static_cast<size_t>(bytes), std::byte{0xFF});
    backend_.copy_in(place(copy, id), poison.data(), bytes);
  }
  for (ValueId id : node.in) {
    if (id == kNoValue) continue;
    backend_.copy_in(place(copy, id), inputs.data(id), value_bytes(op_.graph->value(id)));
  }
}

const char* OpMemory::refusal(const Implementation& implementation) const {
  if (implementation.least_architecture > backend_.architecture()) {
    return "the code that runs here is for an older architecture";
  }
  return implementation.supports(args(0));
}

void OpMemory::bind(const Implementation& implementation) {
  const int64_t bytes = implementation.workspace_bytes(args_[0].args, backend_.threads());
  if (workspace_.data() == nullptr || workspace_.bytes() < bytes) {
    workspace_.reset();
    workspace_ = DeviceMemory(backend_, bytes);
  }
  for (Arguments& a : args_) {
    a.args.workspace = workspace_.data();
    a.args.workspace_bytes = bytes;
  }
}

void OpMemory::launch(const Implementation& implementation, int copy) {
  const int status =
      implementation.launch(backend_.stream(), args_[static_cast<size_t>(copy)].args);
  if (status != 0) {
    fail(Code::device, "{} on {}: {} failed: {}", op_.name(), backend_.device().str(),
         implementation.name, backend_.status_text(status));
  }
}

std::vector<std::byte> OpMemory::output(int copy, size_t i) {
  const ValueId id = op_.node().out[i];
  if (id == kNoValue) return {};
  std::vector<std::byte> bytes(static_cast<size_t>(value_bytes(op_.graph->value(id))));
  backend_.copy_out(bytes.data(), place(copy, id), static_cast<int64_t>(bytes.size()));
  return bytes;
}

}  // namespace tanul::bench
