// SPDX-License-Identifier: Apache-2.0
#include "bench/op_cases.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include "core/format.h"
#include "core/glob.h"
#include "kernels/op.h"
#include "plan/select.h"

namespace tanul::bench {

namespace {

// Equal for steps that are the same work.
std::string key_of(const Graph& graph, const Node& node) {
  std::string key = op_name(node.kind);
  key.append(static_cast<const char*>(node.params.data()), Params::kBytes);
  for (const std::vector<ValueId>* ids : {&node.in, &node.out}) {
    for (ValueId id : *ids) {
      key += id == kNoValue ? "|-"
                            : fmt::format("|{}{}", graph.value(id).shape.str(),
                                          static_cast<int>(graph.value(id).dtype));
    }
  }
  return key;
}

// Dropout's masks differ from layer to layer, its work does not.
Node without_stream(const Node& node) {
  Node same = node;
  if (node.kind == OpKind::dropout_fwd || node.kind == OpKind::dropout_bwd) same.params = Params{};
  return same;
}

OpCase make_case(const std::string& source, const std::shared_ptr<const Graph>& graph, size_t at) {
  const Node& node = graph->nodes[at];
  OpCase op{source, graph, at, 0, 0};
  std::vector<Operand> in, out;
  for (ValueId id : node.in) in.push_back(operand_of(*graph, id));
  for (ValueId id : node.out) out.push_back(operand_of(*graph, id));
  StepArgs args{};
  args.in = in.data();
  args.out = out.data();
  args.in_count = static_cast<int32_t>(in.size());
  args.out_count = static_cast<int32_t>(out.size());
  args.params = node.params.data();
  if (op_def(node.kind).flops != nullptr) op.flops = op_def(node.kind).flops(args);
  for (const std::vector<ValueId>* ids : {&node.in, &node.out}) {
    for (ValueId id : *ids) {
      // Of a data set a batch is read, which is the output.
      if (id == kNoValue || graph->value(id).kind == ValueKind::data_set) continue;
      op.bytes += static_cast<double>(value_bytes(graph->value(id)));
    }
  }
  return op;
}

}  // namespace

std::string OpCase::op() const { return op_name(node().kind); }

std::string OpCase::shapes() const {
  std::string text;
  size_t shown = 0;
  for (ValueId id : node().in) {
    if (id == kNoValue || ++shown > 2) continue;
    text += (text.empty() ? "" : " ") + graph->value(id).shape.str_x();
  }
  for (ValueId id : node().out) {
    if (id == kNoValue) continue;
    return text + " -> " + graph->value(id).shape.str_x();
  }
  return text;
}

std::string OpCase::name() const { return op() + " " + shapes(); }

std::vector<OpCase> op_cases(const std::vector<OpSource>& sources, const std::string& pattern) {
  std::vector<OpCase> cases;
  std::set<std::string> seen;
  for (const OpSource& source : sources) {
    const auto graph =
        std::make_shared<const Graph>(make_step_graph(source.model, source.options).graph);
    for (size_t i = 0; i < graph->nodes.size(); ++i) {
      const Node& node = graph->nodes[i];
      if (op_is_view(node.kind) || !glob_match(pattern, op_name(node.kind))) continue;
      if (!seen.insert(key_of(*graph, without_stream(node))).second) continue;
      cases.push_back(make_case(source.name, graph, i));
    }
  }
  return cases;
}

std::vector<size_t> cheap_first(const std::vector<OpCase>& cases) {
  std::vector<size_t> order(cases.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto work = [&](size_t i) { return cases[i].flops / 10 + cases[i].bytes; };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return work(a) < work(b); });
  std::map<OpKind, int> seen;
  std::vector<int> round(cases.size());
  for (size_t i : order) round[i] = seen[cases[i].node().kind]++;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return round[a] < round[b]; });
  return order;
}

}  // namespace tanul::bench
