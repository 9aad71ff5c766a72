// SPDX-License-Identifier: Apache-2.0
#include "plan/liveness.h"

#include <algorithm>

#include "kernels/op.h"

namespace tanul {

namespace {

int64_t bytes_of(const Value& value) { return value.shape.elems() * dtype_bytes(value.dtype); }

}  // namespace

Liveness find_liveness(const Graph& graph) {
  const size_t count = graph.values.size();
  const auto last_node = static_cast<int32_t>(graph.nodes.size()) - 1;
  Liveness live;
  live.buffer.assign(count, kNoBuffer);
  live.root.resize(count);
  for (size_t i = 0; i < count; ++i) live.root[i] = static_cast<ValueId>(i);

  // The last reader of each value, where a view's readers read what it is a view of.
  std::vector<int32_t> last_read(count, -1);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (op_is_view(node.kind)) {
      live.root[static_cast<size_t>(node.out.front())] =
          live.root[static_cast<size_t>(node.in.front())];
    }
  }
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (ValueId in : graph.nodes[i].in) {
      if (in == kNoValue) continue;
      const ValueId root = live.root[static_cast<size_t>(in)];
      last_read[static_cast<size_t>(root)] = static_cast<int32_t>(i);
    }
  }
  for (size_t i = 0; i < count; ++i) {
    if (graph.values[i].keep) last_read[static_cast<size_t>(live.root[i])] = last_node;
  }

  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const auto step = static_cast<int32_t>(i);
    for (size_t o = 0; o < node.out.size(); ++o) {
      const ValueId out = node.out[o];
      if (out == kNoValue || graph.value(out).kind != ValueKind::temp) continue;
      if (op_is_view(node.kind)) {
        live.buffer[static_cast<size_t>(out)] =
            live.buffer[static_cast<size_t>(live.root[static_cast<size_t>(out)])];
        continue;
      }
      const int32_t death = std::max(step, last_read[static_cast<size_t>(out)]);
      int32_t buffer = kNoBuffer;
      for (const InPlace& pair : op_def(node.kind).in_place) {
        if (pair.out != static_cast<int>(o) || pair.in >= static_cast<int>(node.in.size()))
          continue;
        const ValueId in = node.in[static_cast<size_t>(pair.in)];
        if (in == kNoValue || live.buffer[static_cast<size_t>(in)] == kNoBuffer) continue;
        const int32_t candidate = live.buffer[static_cast<size_t>(in)];
        // All values of that buffer must have died here; its lifetime says so.
        const bool is_last_use = live.lifetimes[static_cast<size_t>(candidate)].last == step;
        const bool is_taken = std::any_of(
            node.out.begin(), node.out.begin() + static_cast<long>(o), [&](ValueId earlier) {
              return earlier != kNoValue && live.buffer[static_cast<size_t>(earlier)] == candidate;
            });
        // Another operand in the same buffer would be overwritten while it is read.
        const auto users = std::count_if(node.in.begin(), node.in.end(), [&](ValueId other) {
          return other != kNoValue && live.buffer[static_cast<size_t>(other)] == candidate;
        });
        if (is_last_use && !is_taken && users == 1 &&
            bytes_of(graph.value(in)) == bytes_of(graph.value(out))) {
          buffer = candidate;
          break;
        }
      }
      if (buffer == kNoBuffer) {
        buffer = static_cast<int32_t>(live.lifetimes.size());
        live.lifetimes.push_back({step, death, bytes_of(graph.value(out))});
        live.first_value.push_back(out);
      } else {
        Lifetime& life = live.lifetimes[static_cast<size_t>(buffer)];
        life.last = std::max(life.last, death);
      }
      live.buffer[static_cast<size_t>(out)] = buffer;
    }
  }
  return live;
}

}  // namespace tanul
