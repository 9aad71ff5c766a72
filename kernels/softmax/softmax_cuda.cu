// SPDX-License-Identifier: Apache-2.0
// softmax and log_softmax on CUDA, "rows", and behind it "cudnn" where cuDNN was found
// (kernels/cuda/softmax_cudnn.h). x is seen as [outer, C, inner] around the axis. A team takes
// the elements along the axis at one place: a warp or a block where they lie side by side (inner = 1), a
// thread where those of neighbouring places do.
//
// Bound by memory where double is fast, else by exp, once an element forward (log_softmax: and backward).
// exp and sums are in double: results are within one unit in the last place (softmax: two, since e^x is
// kept as float in y in between). Deterministic.
#include <cmath>

#include "kernels/cuda/divide.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/softmax_cudnn.h"
#include "kernels/softmax/softmax.h"

namespace tanul {

namespace {

using namespace cuda;

// x [outer, extent, inner]
struct Axis {
  int64_t outer = 1, extent, inner = 1;
  Divider by_inner;

  Axis(const Operand& x, int axis) : extent(x.dims[axis]) {
    for (int i = 0; i < axis; ++i) outer *= x.dims[i];
    for (int i = axis + 1; i < x.rank; ++i) inner *= x.dims[i];
    by_inner = Divider(inner);
  }
  __host__ __device__ int64_t rows() const { return outer * inner; }
  __device__ int64_t first(int64_t row) const {  // element
    const auto at = by_inner.split(row);
    return at.quotient * extent * inner + at.rest;
  }
};

// NaN anywhere makes the sum of exponentials NaN, whatever this gives.
template <typename Team>
__device__ double largest(const Axis& axis, const float* x) {
  float own = x[0];
  for (int64_t c = Team::rank(); c < axis.extent; c += Team::kThreads) {
    own = Larger()(own, x[c * axis.inner]);
  }
  return static_cast<double>(Team::reduce(own, Larger()));
}

// Each calls its body for all elements of a row: forward(x row, y row), backward(dy row, y row, dx row).
// Rows that are read and written are the same memory on request: a thread writes over what only it
// still reads.

struct Softmax {
  template <typename Team>
  __device__ static void forward(const Axis& axis, const float* x, float* y) {
    const double max = largest<Team>(axis, x);
    double own = 0;
    for (int64_t c = Team::rank(); c < axis.extent; c += Team::kThreads) {
      const double e = std::exp(static_cast<double>(x[c * axis.inner]) - max);
      own += e;
      y[c * axis.inner] = static_cast<float>(e);
    }
    const double inverse = 1 / Team::sum(own);
    for (int64_t c = Team::rank(); c < axis.extent; c += Team::kThreads) {
      y[c * axis.inner] = static_cast<float>(static_cast<double>(y[c * axis.inner]) * inverse);
    }
  }
  template <typename Team>
  __device__ static void backward(const Axis& axis, const float* dy, const float* y, float* dx) {
    double own = 0;
    for (int64_t c = Team::rank(); c < axis.extent; c += Team::kThreads) {
      const int64_t at = c * axis.inner;
      own += static_cast<double>(dy[at]) * static_cast<double>(y[at]);
    }
    const double sum = Team::sum(own);
    for (int64_t c = Team::rank(); c < axis.extent; c += Team::kThreads) {
      const int64_t at = c * axis.inner;
      dx[at] = static_cast<float>(static_cast<double>(y[at]) * (static_cast<double>(dy[at]) - sum));
    }
  }
};

struct LogSoftmax {
  template <typename Team>
  __device__ static void forward(const Axis& axis, const float* x, float* y) {
    const double max = largest<Team>(axis, x);
    // Of e^(x - max): the sum of what is below 1, and how often it is 1. So log Σ is accurate too where
    // one element has nearly all of it.
    Pair own{0, 0};
    for (int64_t c = Team::rank(); c < axis.extent; c += Team::kThreads) {
      const double e = std::exp(static_cast<double>(x[c * axis.inner]) - max);
      own = own + (e == 1 ? Pair{0, 1} : Pair{e, 0});
    }
    const Pair all = Team::sum(own);
    const double norm = std::log1p(all.a + (all.b - 1));
    for (int64_t c = Team::rank(); c < axis.extent; c += Team::kThreads) {
      y[c * axis.inner] = static_cast<float>(static_cast<double>(x[c * axis.inner]) - max - norm);
    }
  }
  template <typename Team>
  __device__ static void backward(const Axis& axis, const float* dy, const float* y, float* dx) {
    double own = 0;
    for (int64_t c = Team::rank(); c < axis.extent; c += Team::kThreads) {
      own += static_cast<double>(dy[c * axis.inner]);
    }
    const double sum = Team::sum(own);
    for (int64_t c = Team::rank(); c < axis.extent; c += Team::kThreads) {
      const int64_t at = c * axis.inner;
      dx[at] = static_cast<float>(static_cast<double>(dy[at]) -
                                  std::exp(static_cast<double>(y[at])) * sum);
    }
  }
};

template <typename Op, typename Team>
__global__ void softmax_fwd_rows_kernel(Axis axis, const float* x, float* y) {
  for (int64_t row = first_row<Team>(); row < axis.rows(); row += row_step<Team>()) {
    const int64_t first = axis.first(row);
    Op::template forward<Team>(axis, x + first, y + first);
  }
}

template <typename Op, typename Team>
__global__ void softmax_bwd_rows_kernel(Axis axis, const float* dy, const float* y, float* dx) {
  for (int64_t row = first_row<Team>(); row < axis.rows(); row += row_step<Team>()) {
    const int64_t first = axis.first(row);
    Op::template backward<Team>(axis, dy + first, y + first, dx + first);
  }
}

template <typename Op>
int launch_fwd_rows(Stream* stream, const StepArgs& args) {
  const Axis axis(args.in[0], args.params_as<SoftmaxParams>().axis);
  return with_team(axis.extent, axis.inner, [&](auto team) {
    using Team = decltype(team);
    return launch(stream, softmax_fwd_rows_kernel<Op, Team>, grid_for_rows<Team>(axis.rows()),
                  kBlockThreads, axis, args.in[0].as<float>(), args.out[0].as<float>());
  });
}

template <typename Op>
int launch_bwd_rows(Stream* stream, const StepArgs& args) {
  const Axis axis(args.in[0], args.params_as<SoftmaxParams>().axis);
  return with_team(axis.extent, axis.inner, [&](auto team) {
    using Team = decltype(team);
    return launch(stream, softmax_bwd_rows_kernel<Op, Team>, grid_for_rows<Team>(axis.rows()),
                  kBlockThreads, axis, args.in[0].as<float>(), args.in[1].as<float>(),
                  args.out[0].as<float>());
  });
}

template <typename Op, SoftmaxKind kKind>
constexpr Implementation kFwd[] = {{"rows", supports_all, no_workspace, launch_fwd_rows<Op>},
                                   softmax_cudnn::forward<kKind>()};
template <typename Op, SoftmaxKind kKind>
constexpr Implementation kBwd[] = {{"rows", supports_all, no_workspace, launch_bwd_rows<Op>},
                                   softmax_cudnn::backward<kKind>()};

}  // namespace

const ImplementationList cuda_softmax_fwd{kFwd<Softmax, SoftmaxKind::plain>, 2};
const ImplementationList cuda_softmax_bwd{kBwd<Softmax, SoftmaxKind::plain>, 2};
const ImplementationList cuda_log_softmax_fwd{kFwd<LogSoftmax, SoftmaxKind::logarithm>, 2};
const ImplementationList cuda_log_softmax_bwd{kBwd<LogSoftmax, SoftmaxKind::logarithm>, 2};

}  // namespace tanul
