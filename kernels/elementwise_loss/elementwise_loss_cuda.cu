// SPDX-License-Identifier: Apache-2.0
// Element-wise losses on CUDA. "elements": a thread takes one element, forward and backward; blocks are
// added up in order. Against class indices a second kernel counts the hits: a team takes one position
// (sample, pixel) and looks for its largest score.
// Memory bound for differences (8 bytes read an element), compute bound where there are exponentials.
// Numerics: formulas.h, as on the CPU: everything is double and rounded once, in an order that depends on
// the shape only. Deterministic.
#include <algorithm>

#include "kernels/cuda/ops.h"
#include "kernels/elementwise_loss/formulas.h"
#include "kernels/loss/loss_cuda.h"

namespace tanul {

namespace {

using namespace cuda;
using namespace loss_formulas;

// A weight for each element or for each class; 1 where it is left out.
struct Weights {
  const float* values;
  bool is_per_class;

  Weights(const StepArgs& args, int i)
      : values(input_or_null(args, i)),
        is_per_class(values != nullptr && args.in[i].elems() != args.in[0].elems()) {}
  __device__ double at(int64_t i, int64_t c) const {
    return values == nullptr ? 1.0 : static_cast<double>(values[is_per_class ? c : i]);
  }
};

template <typename Formula>
struct Loss {
  Formula formula;
  Scores shape;
  Divider by_C;
  int64_t elems;
  const float* x;          // [N, C, S]
  const int32_t* classes;  // [N, S], or null
  const float* targets;    // [N, C, S], or null
  Weights weights;
  Weights positive;

  explicit Loss(const StepArgs& args)
      : formula(args.params_as<ElementwiseLossParams>()),
        shape(args.in[0]),
        by_C(shape.C),
        elems(args.in[0].elems()),
        x(args.in[0].as<float>()),
        classes(class_indices(args.in[1])),
        targets(values_of(args.in[1])),
        weights(args, 2),
        positive(args, 3) {}

  // What the formula sees of element i.
  struct Element {
    double x, t, weight, positive;
  };
  __device__ Element element(int64_t i) const {
    int64_t c = 0, p = 0;
    if (classes != nullptr || weights.is_per_class || positive.is_per_class) {
      const auto row = shape.by_S.split(i);  // (n C + c, s)
      const auto sample = by_C.split(row.quotient);
      c = sample.rest;
      p = sample.quotient * shape.S + row.rest;
    }
    double t = 0;
    if (classes == nullptr) {
      t = static_cast<double>(targets[i]);
    } else if (classes[p] < 0 || classes[p] >= shape.C) {
      t = kNan;
    } else {
      t = c == classes[p] ? Formula::kHit : Formula::kMiss;
    }
    return {static_cast<double>(x[i]), t, weights.at(i, c), positive.at(i, c)};
  }
  __device__ double value(const Element& e) const {
    if constexpr (Formula::kHasPositiveWeight) {
      return e.weight * formula.value(e.x, e.t, e.positive);
    } else {
      return e.weight * formula.value(e.x, e.t);
    }
  }
  __device__ double slope(const Element& e) const {
    if constexpr (Formula::kHasPositiveWeight) {
      return e.weight * formula.slope(e.x, e.t, e.positive);
    } else {
      return e.weight * formula.slope(e.x, e.t);
    }
  }
};

template <typename Formula>
__global__ void elementwise_loss_fwd_kernel(Loss<Formula> loss, LossOut out) {
  LossSums own{0, 0, 0, 0};
  for (int64_t i = grid_thread(); i < loss.elems; i += grid_threads()) {
    const auto e = loss.element(i);
    const double value = loss.value(e);
    own.sum += value;
    if (out.single != nullptr) out.single[i] = static_cast<float>(value);
    if (Formula::kPredicts && loss.classes == nullptr && Formula::is_correct(e.x, e.t)) {
      own.correct += 1;
    }
  }
  out.hand_in(own);
}

// Positions whose largest score is that of their class. `first`: blocks of the kernel before.
template <typename Team>
__global__ void elementwise_loss_hits_kernel(Scores shape, const float* x, const int32_t* classes,
                                             LossOut out, int64_t first) {
  LossSums own{0, 0, 0, 0};
  for (int64_t p = first_row<Team>(); p < shape.positions(); p += row_step<Team>()) {
    const Best best = largest<Team>(x + shape.first(p), shape.C, shape.S);
    if (Team::rank() == 0 && best.at == classes[p]) own.correct += 1;
  }
  out.hand_in(own, first);
}

template <typename Formula>
__global__ void elementwise_loss_bwd_kernel(Loss<Formula> loss, LossScale scale, float* dx) {
  for (int64_t i = grid_thread(); i < loss.elems; i += grid_threads()) {
    dx[i] = static_cast<float>(scale.at(i) * loss.slope(loss.element(i)));
  }
}

// --- launchers ---------------------------------------------------------------------------------

// Blocks of both forward kernels; hits: 0 against values.
struct Blocks {
  int64_t elements, hits;

  explicit Blocks(const StepArgs& args) : hits(0) {
    constexpr int64_t kElemsOfBlock = 4 * kBlockThreads;
    elements = std::min(kMostLossBlocks, ceil_div(args.in[0].elems(), kElemsOfBlock));
    if (args.in[1].dtype != static_cast<int32_t>(DType::i32)) return;
    hits = position_blocks(Scores(args.in[0]));
  }
  int64_t all() const { return elements + hits; }
};

int64_t workspace_fwd(const StepArgs& args, int) {
  return LossOut::workspace_bytes(Blocks(args).all());
}

// The mean divides by the number of elements.
LossSums known_sums(const StepArgs& args, bool predicts) {
  const Scores shape(args.in[0]);
  const auto elems = static_cast<double>(args.in[0].elems());
  const bool has_classes = args.in[1].dtype == static_cast<int32_t>(DType::i32);
  const auto rows = static_cast<double>(has_classes ? shape.positions() : shape.N);
  return {0, elems, 0, predicts && !has_classes ? elems : rows};
}

int launch_hits(Stream* stream, const StepArgs& args, const Blocks& blocks, const LossOut& out) {
  if (blocks.hits == 0) return 0;
  const Scores shape(args.in[0]);
  return with_team(shape.C, shape.S, [&](auto team) {
    return launch(stream, elementwise_loss_hits_kernel<decltype(team)>,
                  {static_cast<uint32_t>(blocks.hits), 1, 1}, kBlockThreads, shape,
                  args.in[0].as<float>(), args.in[1].as<int32_t>(), out, blocks.elements);
  });
}

template <typename Formula>
int launch_fwd_elements(Stream* stream, const StepArgs& args) {
  const Blocks blocks(args);
  const LossOut out(args, blocks.all(), known_sums(args, Formula::kPredicts));
  int error = launch(stream, elementwise_loss_fwd_kernel<Formula>,
                     {static_cast<uint32_t>(blocks.elements), 1, 1}, kBlockThreads,
                     Loss<Formula>(args), out);
  if (error == 0) error = launch_hits(stream, args, blocks, out);
  return error != 0 ? error : launch_loss_finish(stream, out);
}

template <typename Formula>
int launch_bwd_elements(Stream* stream, const StepArgs& args) {
  const Loss<Formula> loss(args);
  const LossScale scale(args, 4, nullptr, static_cast<double>(loss.elems));
  return launch(stream, elementwise_loss_bwd_kernel<Formula>, blocks_for(loss.elems), kBlockThreads,
                loss, scale, args.out[0].as<float>());
}

template <typename Formula>
constexpr Implementation kFwd[] = {
    {"elements", supports_all, workspace_fwd, launch_fwd_elements<Formula>}};
template <typename Formula>
constexpr Implementation kBwd[] = {
    {"elements", supports_all, no_workspace, launch_bwd_elements<Formula>}};

}  // namespace

const ImplementationList cuda_mse_fwd{kFwd<Mse>, 1};
const ImplementationList cuda_mse_bwd{kBwd<Mse>, 1};
const ImplementationList cuda_mae_fwd{kFwd<Mae>, 1};
const ImplementationList cuda_mae_bwd{kBwd<Mae>, 1};
const ImplementationList cuda_smooth_l1_fwd{kFwd<SmoothL1>, 1};
const ImplementationList cuda_smooth_l1_bwd{kBwd<SmoothL1>, 1};
const ImplementationList cuda_huber_fwd{kFwd<Huber>, 1};
const ImplementationList cuda_huber_bwd{kBwd<Huber>, 1};
const ImplementationList cuda_bce_logits_fwd{kFwd<BceLogits>, 1};
const ImplementationList cuda_bce_logits_bwd{kBwd<BceLogits>, 1};
const ImplementationList cuda_bce_fwd{kFwd<Bce>, 1};
const ImplementationList cuda_bce_bwd{kBwd<Bce>, 1};
const ImplementationList cuda_kl_div_fwd{kFwd<KlDiv>, 1};
const ImplementationList cuda_kl_div_bwd{kBwd<KlDiv>, 1};
const ImplementationList cuda_hinge_fwd{kFwd<Hinge>, 1};
const ImplementationList cuda_hinge_bwd{kBwd<Hinge>, 1};
const ImplementationList cuda_focal_fwd{kFwd<Focal>, 1};
const ImplementationList cuda_focal_bwd{kBwd<Focal>, 1};
const ImplementationList cuda_poisson_nll_fwd{kFwd<PoissonNll>, 1};
const ImplementationList cuda_poisson_nll_bwd{kBwd<PoissonNll>, 1};

}  // namespace tanul
