// SPDX-License-Identifier: Apache-2.0
#include "bench/op_check.h"

#include <algorithm>
#include <cmath>

#include "core/format.h"
#include "kernels/batchnorm/batchnorm.h"
#include "kernels/op.h"
#include "kernels/optim/optim.h"

namespace tanul::bench {

namespace {

constexpr double kU = 0x1p-24;

// Steps that only put elements elsewhere.
bool is_move(OpKind kind) {
  switch (kind) {
    case OpKind::concat_fwd:
    case OpKind::concat_bwd:
    case OpKind::pad_fwd:
    case OpKind::slice_fwd:
    case OpKind::transpose_fwd: return true;
    default: return false;
  }
}

// Steps whose results each depend on a whole sample, or on a whole parameter.
bool mixes_samples(OpKind kind) {
  const std::string name = op_name(kind);
  for (const char* part :
       {"softmax", "_norm_", "embedding", "nll", "multi_margin", "lars", "lamb"}) {
    if (name.find(part) != std::string::npos) return true;
  }
  return false;
}

// Terms of the longest sum behind one element of a result.
double terms(const OpCase& op) {
  const Node& node = op.node();
  const Graph& graph = *op.graph;
  double largest_in = 1, first_out = 0, smallest_out = 1e300;
  for (ValueId id : node.in) {
    if (id == kNoValue) continue;
    largest_in = std::max(largest_in, static_cast<double>(graph.value(id).shape.elems()));
  }
  for (ValueId id : node.out) {
    if (id == kNoValue) continue;
    const auto elems = static_cast<double>(std::max<int64_t>(1, graph.value(id).shape.elems()));
    if (first_out == 0) first_out = elems;
    smallest_out = std::min(smallest_out, elems);
  }
  double n = std::max(1.0, largest_in / smallest_out);
  // A bias gradient sums what `largest_in / smallest_out` says; the products' own sums follow from the
  // arithmetic.
  if (op_def(node.kind).is_product) return std::max(op.flops / (2 * first_out), n);
  if (mixes_samples(node.kind)) {
    const Shape& x = graph.value(node.in[0]).shape;
    const bool is_update = node.phase == Phase::update;
    n = std::max(n, static_cast<double>(x.elems() / (is_update ? 1 : x[0])));
  }
  return n;
}

// Newton and Schulz's iteration stretches what is small, rounding errors with it, by up to 3.4445 a step.
double stretch(const Node& node) {
  if (node.kind != OpKind::muon_update) return 1;
  return std::pow(3.4445, node.params.as<MuonParams>().ns_steps);
}

// So few elements may be off altogether, where a function jumps at a value that is itself rounded: a
// probability of u for each, sixteen times over.
int64_t allowed_jumps(const Node& node, int64_t elems) {
  bool jumps = node.kind == OpKind::lion_update || node.kind == OpKind::hinge_bwd ||
               node.kind == OpKind::multi_margin_bwd;
  if (node.kind == OpKind::batchnorm_bwd || node.kind == OpKind::batchnorm_eval_bwd) {
    jumps = node.params.as<BatchNormParams>().activation != ActivationKind::none;
  }
  return jumps ? 1 + elems / (int64_t{1} << 20) : 0;
}

struct Difference {
  double norm = 0;  // of the difference over that of what is wanted
  int64_t worst = 0;
  double worst_by = 0;
  double scale = 0;  // largest magnitude that is wanted
  int64_t jumps = 0;
};

Difference difference_of(const float* got, const float* want, int64_t elems, double allowed) {
  Difference d;
  for (int64_t i = 0; i < elems; ++i) {
    if (std::isfinite(want[i]))
      d.scale = std::max(d.scale, std::fabs(static_cast<double>(want[i])));
  }
  double off = 0, whole = 0;
  for (int64_t i = 0; i < elems; ++i) {
    const auto a = static_cast<double>(got[i]), b = static_cast<double>(want[i]);
    const bool are_same = a == b || (std::isnan(a) && std::isnan(b));
    double by = are_same ? 0 : std::fabs(a - b);
    if (std::isnan(by)) by = HUGE_VAL;
    if (by > d.worst_by) {
      d.worst_by = by;
      d.worst = i;
    }
    if (std::isfinite(b)) whole += b * b;
    if (by > allowed * d.scale) {
      ++d.jumps;
    } else {
      off += by * by;
    }
  }
  d.norm = off == 0 ? 0 : std::sqrt(off / std::max(whole, 1e-300));
  return d;
}

}  // namespace

double rounding_of(Precision precision) {
  switch (precision) {
    case Precision::fp32: return 0;
    case Precision::tf32:
    case Precision::fp16: return 0x1p-11;
    case Precision::bf16: return 0x1p-8;
  }
  return 0;
}

double allowed_error(const OpCase& op, const Implementation& implementation) {
  if (is_move(op.node().kind)) return 0;
  double units = 32 + 2 * std::sqrt(terms(op));
  if (implementation.is_less_precise) units *= 4;
  return (units * kU + 4 * rounding_of(implementation.multiplies_in)) * stretch(op.node());
}

Agreement compare(const OpCase& op, const std::vector<std::vector<std::byte>>& got,
                  const std::vector<std::vector<std::byte>>& want, double allowed) {
  Agreement result;
  const Node& node = op.node();
  for (size_t i = 0; i < node.out.size(); ++i) {
    if (node.out[i] == kNoValue) continue;
    const Value& value = op.graph->value(node.out[i]);
    const int64_t elems = value.shape.elems();
    if (value.dtype != DType::f32) {
      if (got[i] != want[i]) {
        result.what = fmt::format("output {} has to have the same bits and has not", i);
        return result;
      }
      continue;
    }
    const auto* a = reinterpret_cast<const float*>(got[i].data());
    const auto* b = reinterpret_cast<const float*>(want[i].data());
    const Difference d = difference_of(a, b, elems, allowed);
    result.error = std::max(result.error, d.norm);
    if (d.jumps > allowed_jumps(node, elems)) {
      result.what = fmt::format(
          "output {}: element {} is {:.9g}, wanted {:.9g}; off by {:.3g}, allowed {:.3g} ({} such)",
          i, d.worst, a[d.worst], b[d.worst], d.worst_by, allowed * d.scale, d.jumps);
      return result;
    }
    if (d.norm > allowed) {
      result.what =
          fmt::format("output {}: off by {:.3g} of its norm, allowed {:.3g}", i, d.norm, allowed);
      return result;
    }
  }
  return result;
}

}  // namespace tanul::bench
