// SPDX-License-Identifier: Apache-2.0
#include "plan/low_memory.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "kernels/op.h"
#include "plan/select.h"

namespace tanul {

namespace {

// Time, to compare what is made again: a byte moved counts as so many floating point operations.
// About what machines have between their multiply-adds and their memory.
constexpr double kFlopsPerByte = 8;
// At most so much of the forward pass's arithmetic is added.
constexpr double kMostForwardPasses = 1;
// The price stage gives up so much of all the memory of the step, weights included.
constexpr double kSlack = 0.01;
// Values below this share of all that could be dropped are kept without asking.
constexpr double kSmall = 1.0 / 2000;
// From how many candidates the peak is lowered, how often, and how many values are tried at a peak.
constexpr size_t kStarts = 3;
constexpr int kMostPeaks = 40;
constexpr size_t kMostAtPeak = 12;

// So many nodes are gone through by the candidates of each of the last two stages: about a second. Deeper
// networks get fewer candidates.
constexpr int64_t kMostWork = 400'000;

// What a candidate comes to.
struct Outcome {
  int64_t arena_bytes = std::numeric_limits<int64_t>::max();
  double flops = 0;
  double price = 0;  // flops and bytes, see kFlopsPerByte

  bool is_found() const { return arena_bytes < std::numeric_limits<int64_t>::max(); }
  bool is_better_than(const Outcome& other) const {
    return arena_bytes != other.arena_bytes ? arena_bytes < other.arena_bytes : price < other.price;
  }
};

// Values of the forward pass that are, or were made again from, what fills the arena at its peak.
using AtPeak = std::vector<ValueId>;

class Coster {
 public:
  Coster(const Model& model, const StepGraphOptions& graph_options, const PlanOptions& options)
      : model_(model), graph_options_(graph_options), options_(options) {}

  StepGraph graph_with(const Keeping& keeping) const {
    StepGraphOptions options = graph_options_;
    options.keeping = keeping;
    return make_step_graph(model_, options);
  }

  const StepCost& cost(const Graph& graph, const Node& node) {
    std::vector<Operand> operands;
    for (ValueId id : node.in) operands.push_back(operand_of(graph, id));
    for (ValueId id : node.out) operands.push_back(operand_of(graph, id));
    std::string key(reinterpret_cast<const char*>(&node.kind), sizeof node.kind);
    key.append(static_cast<const char*>(node.params.data()), Params::kBytes);
    for (const Operand& operand : operands) {
      key.append(reinterpret_cast<const char*>(&operand.dims), sizeof operand.dims);
      key.append(reinterpret_cast<const char*>(&operand.rank), sizeof operand.rank);
      key.append(reinterpret_cast<const char*>(&operand.dtype), sizeof operand.dtype);
    }
    const auto known = costs_.find(key);
    if (known != costs_.end()) return known->second;
    StepArgs args{};
    args.in = operands.data();
    args.in_count = static_cast<int32_t>(node.in.size());
    args.out = operands.data() + node.in.size();
    args.out_count = static_cast<int32_t>(node.out.size());
    args.params = node.params.data();
    return costs_[key] = select_implementation(graph, node, args, options_).cost;
  }

  // Nothing where the arena is `worth_below` or more, or more is computed than `most_flops`.
  Outcome try_out(const Keeping& keeping, int64_t worth_below, double most_flops,
                  AtPeak* at_peak = nullptr) {
    const StepGraph step = graph_with(keeping);
    const Graph& graph = step.graph;
    Liveness live = find_liveness(graph);
    const size_t buffers = live.lifetimes.size();
    Outcome outcome;
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      if (op_is_view(graph.nodes[n].kind)) continue;
      const StepCost& step_cost = cost(graph, graph.nodes[n]);
      outcome.flops += step_cost.flops;
      outcome.price += step_cost.flops + kFlopsPerByte * step_cost.bytes;
      if (step_cost.workspace_bytes <= 0) continue;
      const auto at = static_cast<int32_t>(n);
      live.lifetimes.push_back({at, at, step_cost.workspace_bytes});
    }
    if (outcome.flops > most_flops) return {};
    const int64_t bound = pack_lower_bound(live.lifetimes).bytes;
    if (bound >= worth_below) return {};
    const Packing packing = pack(live.lifetimes, worth_below);
    if (packing.bytes >= worth_below) return {};
    outcome.arena_bytes = packing.bytes;
    if (at_peak != nullptr) *at_peak = find_at_peak(step, live, buffers, packing.peak_step);
    return outcome;
  }

 private:
  static AtPeak find_at_peak(const StepGraph& step, const Liveness& live, size_t buffers,
                             int32_t peak) {
    std::map<ValueId, ValueId> original(step.remade.begin(), step.remade.end());
    AtPeak result;
    for (size_t v = 0; v < step.graph.values.size(); ++v) {
      const int32_t buffer = live.buffer[v];
      if (buffer == kNoBuffer || static_cast<size_t>(buffer) >= buffers) continue;
      const Lifetime& life = live.lifetimes[static_cast<size_t>(buffer)];
      if (life.first > peak || life.last < peak) continue;
      const auto id = static_cast<ValueId>(v);
      const auto found = original.find(id);
      result.push_back(found == original.end() ? id : found->second);
    }
    return result;
  }

  const Model& model_;
  const StepGraphOptions& graph_options_;
  const PlanOptions& options_;
  std::map<std::string, StepCost> costs_;
};

class Search {
 public:
  Search(const Model& model, const StepGraphOptions& graph_options, const PlanOptions& options)
      : coster_(model, graph_options, options), plain_(coster_.graph_with(Keeping{})) {
    find_candidates();
  }

  LowMemory run() {
    constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
    constexpr double kNoLimit = std::numeric_limits<double>::infinity();
    Keeping normal = default_keeping(plain_.graph);
    normal_ = coster_.try_out(normal, kAny, kNoLimit);
    most_flops_ = normal_.flops + kMostForwardPasses * forward_flops_;
    Found best{std::move(normal), normal_};
    found_.push_back(best);
    try_segments();
    try_prices();
    std::stable_sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) {
      return a.outcome.is_better_than(b.outcome);
    });
    if (found_.size() > kStarts) found_.resize(kStarts);
    for (Found& start : found_) {
      lower_peaks(start);
      if (start.outcome.is_better_than(best.outcome)) best = start;
    }
    lower_price(best);
    return {std::move(best.keeping), normal_.arena_bytes, normal_.flops};
  }

 private:
  struct Found {
    Keeping keeping;
    Outcome outcome;
  };

  // A value that may be dropped, in the order in which they are made.
  struct Candidate {
    ValueId id;
    int32_t made;       // node
    int32_t last_read;  // by the forward pass or the loss
    int64_t bytes;
    double price;  // of making it once
    Keep dropped;  // what it is where it is not kept
    bool is_product;
  };

  static bool is_product(OpKind kind) {
    switch (kind) {
      case OpKind::conv2d_fwd:
      case OpKind::conv2d_bwd_data:
      case OpKind::conv3d_fwd:
      case OpKind::conv3d_bwd_data:
      case OpKind::linear_fwd: return true;
      default: return false;
    }
  }

  void find_candidates() {
    const Graph& graph = plain_.graph;
    std::vector<ValueId> root(graph.values.size());
    for (size_t i = 0; i < root.size(); ++i) root[i] = static_cast<ValueId>(i);
    std::vector<int32_t> last_read(graph.values.size(), -1);
    int64_t total = 0;
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      const Node& node = graph.nodes[n];
      if (node.phase == Phase::backward || node.phase == Phase::update) continue;
      for (ValueId in : node.in) {
        if (in == kNoValue) continue;
        last_read[static_cast<size_t>(root[static_cast<size_t>(in)])] = static_cast<int32_t>(n);
      }
      if (op_is_view(node.kind)) {
        root[static_cast<size_t>(node.out.front())] = root[static_cast<size_t>(node.in.front())];
        continue;
      }
      const StepCost& cost = coster_.cost(graph, node);
      if (node.phase == Phase::loss) continue;
      forward_flops_ += cost.flops;
      const bool has_rule = op_def(node.kind).recompute != nullptr;
      const bool is_cheap = has_rule || node.phase == Phase::load;
      for (size_t o = 0; o < node.out.size(); ++o) {
        const ValueId out = node.out[o];
        if (out == kNoValue || graph.value(out).keep || (has_rule && o > 0)) continue;
        const int64_t bytes = value_bytes(graph.value(out));
        total += bytes;
        candidates_.push_back({out, static_cast<int32_t>(n), -1, bytes,
                               cost.flops + kFlopsPerByte * cost.bytes,
                               is_cheap ? Keep::fleeting : Keep::remade, is_product(node.kind)});
      }
    }
    const auto least = static_cast<int64_t>(kSmall * static_cast<double>(total));
    candidates_.erase(std::remove_if(candidates_.begin(), candidates_.end(),
                                     [&](const Candidate& c) { return c.bytes < least; }),
                      candidates_.end());
    for (Candidate& c : candidates_) c.last_read = last_read[static_cast<size_t>(c.id)];
  }

  Keeping all_dropped() const {
    Keeping keeping(plain_.graph.values.size(), Keep::kept);
    for (const Candidate& c : candidates_) keeping[static_cast<size_t>(c.id)] = c.dropped;
    return keeping;
  }

  // Of the value alone, or of everything that its node makes.
  void set(Keeping& keeping, const Candidate& candidate, Keep keep, bool with_siblings) const {
    keeping[static_cast<size_t>(candidate.id)] = keep;
    if (!with_siblings) return;
    for (const Candidate& c : candidates_) {
      if (c.made == candidate.made) keeping[static_cast<size_t>(c.id)] = keep;
    }
  }

  bool has_siblings(const Candidate& candidate) const {
    return std::any_of(candidates_.begin(), candidates_.end(), [&](const Candidate& c) {
      return c.made == candidate.made && c.id != candidate.id;
    });
  }

  void consider(const Keeping& keeping) {
    if (!tried_.insert(keeping).second) return;
    const Outcome outcome =
        coster_.try_out(keeping, std::numeric_limits<int64_t>::max(), most_flops_);
    if (outcome.is_found()) found_.push_back({keeping, outcome});
  }

  // Borders between nodes: what crosses the one behind node n.
  std::vector<const Candidate*> crossing(int32_t n) const {
    std::vector<const Candidate*> result;
    for (const Candidate& c : candidates_) {
      if (c.made <= n && n < c.last_read) result.push_back(&c);
    }
    return result;
  }

  enum class Borders { anywhere, at_one_value, behind_products };

  void try_segments() {
    std::vector<std::vector<const Candidate*>> crossing_behind;
    for (const Candidate& c : candidates_) crossing_behind.push_back(crossing(c.made));
    for (Borders borders : {Borders::anywhere, Borders::at_one_value, Borders::behind_products}) {
      for (int64_t segments : {1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64}) {
        for (bool with_siblings : {false, true}) {
          consider(cut(crossing_behind, borders, segments, with_siblings));
        }
      }
    }
  }

  Keeping cut(const std::vector<std::vector<const Candidate*>>& crossing_behind, Borders borders,
              int64_t segments, bool with_siblings) const {
    int64_t total = 0;
    for (const Candidate& c : candidates_) total += c.bytes;
    Keeping keeping = all_dropped();
    int64_t since = 0;
    for (size_t i = 0; i < candidates_.size(); ++i) {
      since += candidates_[i].bytes;
      if (since * segments <= total) continue;
      if (borders == Borders::at_one_value && crossing_behind[i].size() != 1) continue;
      if (borders == Borders::behind_products && !candidates_[i].is_product) continue;
      for (const Candidate* c : crossing_behind[i]) set(keeping, *c, Keep::kept, with_siblings);
      since = 0;
    }
    return keeping;
  }

  // Dearest by the byte first.
  std::vector<const Candidate*> by_price() const {
    std::vector<const Candidate*> order;
    for (const Candidate& c : candidates_) order.push_back(&c);
    std::stable_sort(order.begin(), order.end(), [](const Candidate* a, const Candidate* b) {
      return a->price / static_cast<double>(a->bytes) > b->price / static_cast<double>(b->bytes);
    });
    return order;
  }

  void try_prices() {
    constexpr size_t kSteps = 16;
    const std::vector<const Candidate*> order = by_price();
    for (size_t step = 0; step <= kSteps; ++step) {
      Keeping keeping = all_dropped();
      for (size_t i = 0; i < order.size() * step / kSteps; ++i) {
        keeping[static_cast<size_t>(order[i]->id)] = Keep::kept;
      }
      consider(keeping);
    }
  }

  // The largest values that are alive at the peak and could be something else.
  std::vector<const Candidate*> largest_at_peak(const Found& of) {
    AtPeak at_peak;
    coster_.try_out(of.keeping, of.outcome.arena_bytes + 1, most_flops_, &at_peak);
    std::vector<const Candidate*> result;
    for (const Candidate& c : candidates_) {
      const bool is_alive =
          std::any_of(at_peak.begin(), at_peak.end(), [&](ValueId id) { return id == c.id; });
      if (is_alive) result.push_back(&c);
    }
    std::stable_sort(result.begin(), result.end(),
                     [](const Candidate* a, const Candidate* b) { return a->bytes > b->bytes; });
    if (result.size() > kMostAtPeak) result.resize(kMostAtPeak);
    return result;
  }

  int64_t affordable_tries() const {
    return kMostWork / static_cast<int64_t>(1 + plain_.graph.nodes.size());
  }

  void lower_peaks(Found& best) {
    int64_t tries_left = affordable_tries() / static_cast<int64_t>(kStarts);
    for (int round = 0; round < kMostPeaks; ++round) {
      const Keeping before = best.keeping;
      const int64_t bytes_before = best.outcome.arena_bytes;
      for (const Candidate* c : largest_at_peak(best)) {
        for (Keep keep : {Keep::fleeting, Keep::remade, Keep::kept}) {
          for (bool with_siblings : {false, true}) {
            Keeping keeping = before;
            set(keeping, *c, keep, with_siblings);
            if (tries_left <= 0 || !tried_.insert(keeping).second) continue;
            --tries_left;
            const Outcome outcome = coster_.try_out(keeping, best.outcome.arena_bytes, most_flops_);
            if (outcome.is_better_than(best.outcome)) best = {std::move(keeping), outcome};
          }
        }
      }
      if (best.outcome.arena_bytes >= bytes_before) break;
    }
  }

  void lower_price(Found& best) {
    int64_t all_bytes = best.outcome.arena_bytes;
    for (const Value& value : plain_.graph.values) {
      if (value.kind != ValueKind::temp) all_bytes += value_bytes(value);
    }
    const int64_t limit = std::min(
        normal_.arena_bytes,
        best.outcome.arena_bytes + static_cast<int64_t>(kSlack * static_cast<double>(all_bytes)));
    int64_t tries_left = affordable_tries();
    for (const Candidate* c : by_price()) {
      for (bool with_siblings : {true, false}) {
        for (Keep keep : {Keep::kept, Keep::remade}) {
          const Keep now = best.keeping[static_cast<size_t>(c->id)];
          if (now == Keep::kept || now == keep || (with_siblings && !has_siblings(*c))) continue;
          if (tries_left-- <= 0) return;
          Keeping keeping = best.keeping;
          set(keeping, *c, keep, with_siblings);
          const Outcome outcome = coster_.try_out(keeping, limit + 1, most_flops_);
          if (!outcome.is_found() || outcome.price >= best.outcome.price) continue;
          best = {std::move(keeping), outcome};
        }
      }
    }
  }

  Coster coster_;
  const StepGraph plain_;  // with everything kept
  std::vector<Candidate> candidates_;
  double forward_flops_ = 0;
  double most_flops_ = 0;
  Outcome normal_;
  std::vector<Found> found_;
  std::set<Keeping> tried_;
};

}  // namespace

LowMemory find_low_memory(const Model& model, const StepGraphOptions& graph_options,
                          const PlanOptions& options) {
  return Search(model, graph_options, options).run();
}

}  // namespace tanul
