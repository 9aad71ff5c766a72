// SPDX-License-Identifier: Apache-2.0
// Element-wise losses on the CPU. Against values a tile is kElementwiseTile elements; against class
// indices it is as many whole positions (samples, pixels) as make about that number. Tiles are then
// added in order.
// Memory bound for differences (8 bytes read an element), compute bound where there are exponentials.
// Numerics: everything is double and rounded once, in an order that depends on the shape only.
#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "kernels/elementwise_loss/formulas.h"
#include "kernels/loss/loss_cpu.h"
#include "kernels/op.h"

namespace tanul {

namespace {

using namespace cpu;
using namespace loss_formulas;

// A weight for each element or for each class; 1 where it is left out.
struct Weights {
  const float* values = nullptr;
  int64_t C = 1, S = 1;
  bool is_per_class = false;

  Weights(const StepArgs& args, int i, const Scores& x) : C(x.C), S(x.S) {
    if (i >= args.in_count || !args.in[i].present()) return;
    values = args.in[i].as<float>();
    is_per_class = args.in[i].elems() != args.in[0].elems();
  }
  double at(int64_t i) const {
    if (values == nullptr) return 1;
    return static_cast<double>(values[is_per_class ? i / S % C : i]);
  }
};

template <typename Formula>
struct Loss {
  Formula formula;
  Scores shape;
  int64_t elems;
  int64_t tile_positions;
  const float* x;          // [N, C, S]
  const int32_t* classes;  // [N, S], or null
  const float* targets;    // [N, C, S], or null
  Weights weights;
  Weights positive;

  explicit Loss(const StepArgs& args)
      : formula(args.params_as<ElementwiseLossParams>()),
        shape(args.in[0]),
        elems(args.in[0].elems()),
        tile_positions(ceil_div(kElementwiseTile, shape.C)),
        x(args.in[0].as<float>()),
        weights(args, 2, shape),
        positive(args, 3, shape) {
    const bool has_classes = args.in[1].dtype == static_cast<int32_t>(DType::i32);
    classes = has_classes ? args.in[1].as<int32_t>() : nullptr;
    targets = has_classes ? nullptr : args.in[1].as<float>();
  }
  int64_t tiles() const {
    return classes != nullptr ? ceil_div(shape.positions(), tile_positions)
                              : ceil_div(elems, kElementwiseTile);
  }
  // Positions [begin, end) of a tile against class indices.
  int64_t begin(int64_t tile) const { return tile * tile_positions; }
  int64_t end(int64_t tile) const {
    return std::min(begin(tile) + tile_positions, shape.positions());
  }

  bool is_weighted() const { return weights.values != nullptr || positive.values != nullptr; }
  double plain_value(int64_t i) const {
    const double score = static_cast<double>(x[i]), t = static_cast<double>(targets[i]);
    if constexpr (Formula::kHasPositiveWeight) {
      return formula.value(score, t, 1);
    } else {
      return formula.value(score, t);
    }
  }
  double value(int64_t i, double t) const {
    const double score = static_cast<double>(x[i]);
    if constexpr (Formula::kHasPositiveWeight) {
      return weights.at(i) * formula.value(score, t, positive.at(i));
    } else {
      return weights.at(i) * formula.value(score, t);
    }
  }
  double slope(int64_t i, double t) const {
    const double score = static_cast<double>(x[i]);
    if constexpr (Formula::kHasPositiveWeight) {
      return weights.at(i) * formula.slope(score, t, positive.at(i));
    } else {
      return weights.at(i) * formula.slope(score, t);
    }
  }
  // The target of class c where the index is t.
  double coded(int64_t c, int32_t t) const {
    if (t < 0 || t >= shape.C) return kNan;
    return c == t ? Formula::kHit : Formula::kMiss;
  }
};

// Elements [begin, end) against values; eight sums side by side, added in order.
template <typename Formula>
LossSums value_tile(const Loss<Formula>& loss, int64_t begin, int64_t end, float* single) {
  double sums[8] = {};
  int64_t i = begin;
  if (single == nullptr && !loss.is_weighted()) {
    for (; i + 8 <= end; i += 8) {
      for (int64_t lane = 0; lane < 8; ++lane) sums[lane] += loss.plain_value(i + lane);
    }
  }
  for (; i < end; ++i) {
    const double value = loss.value(i, static_cast<double>(loss.targets[i]));
    sums[(i - begin) % 8] += value;
    if (single != nullptr) single[i] = static_cast<float>(value);
  }
  LossSums out;
  for (double sum : sums) out.sum += sum;
  if (!Formula::kPredicts) return out;
  for (i = begin; i < end; ++i) {
    const double x = static_cast<double>(loss.x[i]), t = static_cast<double>(loss.targets[i]);
    out.correct += Formula::is_correct(x, t) ? 1 : 0;
  }
  out.counted = end - begin;
  return out;
}

template <typename Formula>
LossSums class_tile(const Loss<Formula>& loss, int64_t begin, int64_t end, float* single) {
  LossSums out;
  for (int64_t p = begin; p < end; ++p) {
    const int64_t first = loss.shape.first(p);
    for (int64_t c = 0; c < loss.shape.C; ++c) {
      const int64_t i = first + c * loss.shape.S;
      const double value = loss.value(i, loss.coded(c, loss.classes[p]));
      out.sum += value;
      if (single != nullptr) single[i] = static_cast<float>(value);
    }
    const int64_t best = arg_max(loss.x + first, loss.shape.C, loss.shape.S);
    out.correct += best == loss.classes[p] ? 1 : 0;
  }
  out.counted = end - begin;
  return out;
}

template <typename Formula>
int64_t workspace_fwd(const StepArgs& args, int) {
  return Loss<Formula>(args).tiles() * static_cast<int64_t>(sizeof(LossSums));
}

template <typename Formula>
int launch_fwd_tiles(Stream* stream, const StepArgs& args) {
  const Loss<Formula> loss(args);
  LossSums* parts = static_cast<LossSums*>(args.workspace);  // [tiles]
  float* single = single_losses(args);
  if (loss.classes != nullptr) {
    parallel_for(stream, loss.tiles(), [&](int64_t tile, int) {
      parts[tile] = class_tile(loss, loss.begin(tile), loss.end(tile), single);
    });
  } else {
    parallel_ranges(stream, loss.elems, [&](int64_t begin, int64_t end) {
      parts[begin / kElementwiseTile] = value_tile(loss, begin, end, single);
    });
  }
  LossSums all = add_in_order(parts, loss.tiles());
  all.divisor = static_cast<double>(loss.elems);
  if (loss.classes == nullptr && !Formula::kPredicts) all.counted = loss.shape.N;
  write_loss(args, all);
  return 0;
}

template <typename Formula>
int launch_bwd_elementwise(Stream* stream, const StepArgs& args) {
  const Loss<Formula> loss(args);
  const LossScale scale(args, 4, static_cast<double>(loss.elems));
  float* dx = args.out[0].as<float>();
  if (loss.classes == nullptr) {
    parallel_ranges(stream, loss.elems, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const double t = static_cast<double>(loss.targets[i]);
        dx[i] = static_cast<float>(scale.at(i) * loss.slope(i, t));
      }
    });
    return 0;
  }
  parallel_for(stream, loss.tiles(), [&](int64_t tile, int) {
    for (int64_t p = loss.begin(tile); p < loss.end(tile); ++p) {
      const int64_t first = loss.shape.first(p);
      for (int64_t c = 0; c < loss.shape.C; ++c) {
        const int64_t i = first + c * loss.shape.S;
        dx[i] = static_cast<float>(scale.at(i) * loss.slope(i, loss.coded(c, loss.classes[p])));
      }
    }
  });
  return 0;
}

template <typename Formula>
constexpr Implementation kFwd[] = {
    {"tiles", supports_all, workspace_fwd<Formula>, launch_fwd_tiles<Formula>}};
template <typename Formula>
constexpr Implementation kBwd[] = {
    {"elementwise", supports_all, no_workspace, launch_bwd_elementwise<Formula>}};

}  // namespace

const ImplementationList cpu_mse_fwd{kFwd<Mse>, 1};
const ImplementationList cpu_mse_bwd{kBwd<Mse>, 1};
const ImplementationList cpu_mae_fwd{kFwd<Mae>, 1};
const ImplementationList cpu_mae_bwd{kBwd<Mae>, 1};
const ImplementationList cpu_smooth_l1_fwd{kFwd<SmoothL1>, 1};
const ImplementationList cpu_smooth_l1_bwd{kBwd<SmoothL1>, 1};
const ImplementationList cpu_huber_fwd{kFwd<Huber>, 1};
const ImplementationList cpu_huber_bwd{kBwd<Huber>, 1};
const ImplementationList cpu_bce_logits_fwd{kFwd<BceLogits>, 1};
const ImplementationList cpu_bce_logits_bwd{kBwd<BceLogits>, 1};
const ImplementationList cpu_bce_fwd{kFwd<Bce>, 1};
const ImplementationList cpu_bce_bwd{kBwd<Bce>, 1};
const ImplementationList cpu_kl_div_fwd{kFwd<KlDiv>, 1};
const ImplementationList cpu_kl_div_bwd{kBwd<KlDiv>, 1};
const ImplementationList cpu_hinge_fwd{kFwd<Hinge>, 1};
const ImplementationList cpu_hinge_bwd{kBwd<Hinge>, 1};
const ImplementationList cpu_focal_fwd{kFwd<Focal>, 1};
const ImplementationList cpu_focal_bwd{kBwd<Focal>, 1};
const ImplementationList cpu_poisson_nll_fwd{kFwd<PoissonNll>, 1};
const ImplementationList cpu_poisson_nll_bwd{kBwd<PoissonNll>, 1};

}  // namespace tanul
