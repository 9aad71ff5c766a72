// SPDX-License-Identifier: Apache-2.0
// softmax and log_softmax on the CPU. x is seen as [outer, C, inner] around the axis. A tile takes up to
// kLanes neighbours: of one row of `inner`, walking the axis for all of them side by side; where the
// axis is the last one (inner = 1), rows one after the other, kLanes elements at a time.
//
// Compute bound by exp, once an element forward (log_softmax: and backward). exp and sums are in
// double, added along the axis in its order (inner = 1: in kLanes running sums): results are within one
// unit in the last place (softmax: two, since e^x is kept as float in between). Deterministic.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tiling.h"
#include "kernels/op.h"
#include "kernels/softmax/softmax.h"

namespace tanul {

namespace {

constexpr int64_t kLanes = 64;

// x [outer, extent, inner]
struct Axis {
  int64_t outer = 1, extent, inner = 1;

  Axis(const Operand& x, int axis) : extent(x.dims[axis]) {
    for (int i = 0; i < axis; ++i) outer *= x.dims[i];
    for (int i = axis + 1; i < x.rank; ++i) inner *= x.dims[i];
  }
};

// Calls strip(first element, lanes) for every piece of work: `lanes` neighbours whose elements along
// the axis lie `inner` apart. Where inner is 1 there is one lane.
template <typename Strip>
void for_strips(Stream* stream, const Axis& axis, const Strip& strip) {
  const cpu::Blocks lanes = cpu::blocks_of_size(axis.inner, kLanes);
  const int64_t strips = axis.outer * lanes.count;
  const int64_t elems = axis.extent * std::min(axis.inner, kLanes);
  const cpu::Blocks tiles =
      cpu::blocks_of_size(strips, std::max<int64_t>(1, cpu::kElementwiseTile / 4 / elems));
  cpu::parallel_for(stream, tiles.count, [&](int64_t tile, int) {
    const int64_t begin = tiles.begin(tile);
    for (int64_t i = begin; i < begin + tiles.length(tile); ++i) {
      const int64_t block = i % lanes.count;
      strip(i / lanes.count * axis.extent * axis.inner + lanes.begin(block), lanes.length(block));
    }
  });
}

// Sums of one strip: of kLanes rows side by side, or parts of one row.
struct Sums {
  double part[kLanes] = {};

  void add(const double* values, int64_t n) {
    for (int64_t i = 0; i < n; ++i) part[i] += values[i];
  }
  double total() const {
    double sum = 0;
    for (double value : part) sum += value;
    return sum;
  }
};

// Calls piece(first element, elements) for the contiguous pieces of a strip, and says at which lane
// each starts: rows of `inner`, or parts of a row where that is 1.
template <typename Piece>
void for_pieces(const Axis& axis, int64_t first, int64_t lanes, const Piece& piece) {
  if (axis.inner == 1) {
    for (int64_t c = 0; c < axis.extent; c += kLanes) {
      piece(first + c, std::min(kLanes, axis.extent - c));
    }
  } else {
    for (int64_t c = 0; c < axis.extent; ++c) piece(first + c * axis.inner, lanes);
  }
}

// The largest element of each lane.
void find_largest(const Axis& axis, const float* x, int64_t first, int64_t lanes, float* largest) {
  std::copy(x + first, x + first + lanes, largest);
  if (axis.inner == 1) {
    for (int64_t c = 1; c < axis.extent; ++c) largest[0] = std::max(largest[0], x[first + c]);
    return;
  }
  for (int64_t c = 1; c < axis.extent; ++c) {
    const float* row = x + first + c * axis.inner;
    for (int64_t i = 0; i < lanes; ++i) largest[i] = std::max(largest[i], row[i]);
  }
}

// One number a lane: the sum of its parts where there is one lane only.
void per_lane(const Axis& axis, const Sums& sums, int64_t lanes, double* out) {
  if (axis.inner == 1) {
    std::fill(out, out + kLanes, sums.total());
  } else {
    std::copy(sums.part, sums.part + lanes, out);
  }
}

int launch_softmax_fwd(Stream* stream, const StepArgs& args) {
  const Axis axis(args.in[0], args.params_as<SoftmaxParams>().axis);
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  const int64_t shift_step = axis.inner == 1 ? 0 : 1;
  for_strips(stream, axis, [&](int64_t first, int64_t lanes) {
    float largest[kLanes];
    double e[kLanes], inverse[kLanes] = {};
    Sums sums;
    find_largest(axis, x, first, lanes, largest);
    for_pieces(axis, first, lanes, [&](int64_t at, int64_t n) {
      cpu::exp_shifted(x + at, largest, shift_step, e, n);
      sums.add(e, n);
      for (int64_t i = 0; i < n; ++i) y[at + i] = static_cast<float>(e[i]);
    });
    per_lane(axis, sums, lanes, inverse);
    for (double& value : inverse) value = 1 / value;
    for_pieces(axis, first, lanes, [&](int64_t at, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        y[at + i] = static_cast<float>(static_cast<double>(y[at + i]) * inverse[i]);
      }
    });
  });
  return 0;
}

int launch_log_softmax_fwd(Stream* stream, const StepArgs& args) {
  const Axis axis(args.in[0], args.params_as<SoftmaxParams>().axis);
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  const int64_t shift_step = axis.inner == 1 ? 0 : 1;
  for_strips(stream, axis, [&](int64_t first, int64_t lanes) {
    float largest[kLanes];
    double e[kLanes], norm[kLanes], ones[kLanes];
    Sums rest, count;  // of e^(x − max): of what is below 1, and how often it is 1
    find_largest(axis, x, first, lanes, largest);
    for_pieces(axis, first, lanes, [&](int64_t at, int64_t n) {
      cpu::exp_shifted(x + at, largest, shift_step, e, n);
      for (int64_t i = 0; i < n; ++i) {
        ones[i] = e[i] == 1 ? 1 : 0;
        e[i] -= ones[i];
      }
      rest.add(e, n);
      count.add(ones, n);
    });
    per_lane(axis, rest, lanes, norm);
    per_lane(axis, count, lanes, ones);
    // log Σ, accurate too where one element has nearly all of it.
    const int64_t sums = axis.inner == 1 ? 1 : lanes;
    for (int64_t i = 0; i < sums; ++i) norm[i] = std::log1p(norm[i] + (ones[i] - 1));
    if (axis.inner == 1) std::fill(norm, norm + kLanes, norm[0]);
    for_pieces(axis, first, lanes, [&](int64_t at, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        const double shifted =
            static_cast<double>(x[at + i]) - static_cast<double>(largest[i * shift_step]);
        y[at + i] = static_cast<float>(shifted - norm[i]);
      }
    });
  });
  return 0;
}

int launch_softmax_bwd(Stream* stream, const StepArgs& args) {
  const Axis axis(args.in[0], args.params_as<SoftmaxParams>().axis);
  const float* dy = args.in[0].as<float>();
  const float* y = args.in[1].as<float>();
  float* dx = args.out[0].as<float>();
  for_strips(stream, axis, [&](int64_t first, int64_t lanes) {
    double terms[kLanes];
    Sums sums;
    for_pieces(axis, first, lanes, [&](int64_t at, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        terms[i] = static_cast<double>(dy[at + i]) * static_cast<double>(y[at + i]);
      }
      sums.add(terms, n);
    });
    per_lane(axis, sums, lanes, terms);
    for_pieces(axis, first, lanes, [&](int64_t at, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        dx[at + i] = static_cast<float>(static_cast<double>(y[at + i]) *
                                        (static_cast<double>(dy[at + i]) - terms[i]));
      }
    });
  });
  return 0;
}

int launch_log_softmax_bwd(Stream* stream, const StepArgs& args) {
  const Axis axis(args.in[0], args.params_as<SoftmaxParams>().axis);
  const float* dy = args.in[0].as<float>();
  const float* y = args.in[1].as<float>();
  float* dx = args.out[0].as<float>();
  for_strips(stream, axis, [&](int64_t first, int64_t lanes) {
    const float zero = 0;
    double e[kLanes], total[kLanes];
    Sums sums;
    for_pieces(axis, first, lanes, [&](int64_t at, int64_t n) {
      for (int64_t i = 0; i < n; ++i) e[i] = static_cast<double>(dy[at + i]);
      sums.add(e, n);
    });
    per_lane(axis, sums, lanes, total);
    for_pieces(axis, first, lanes, [&](int64_t at, int64_t n) {
      cpu::exp_shifted(y + at, &zero, 0, e, n);
      for (int64_t i = 0; i < n; ++i) {
        dx[at + i] = static_cast<float>(static_cast<double>(dy[at + i]) - e[i] * total[i]);
      }
    });
  });
  return 0;
}

constexpr Implementation kSoftmaxFwd[] = {
    {"strips", supports_all, no_workspace, launch_softmax_fwd}};
constexpr Implementation kSoftmaxBwd[] = {
    {"strips", supports_all, no_workspace, launch_softmax_bwd}};
constexpr Implementation kLogSoftmaxFwd[] = {
    {"strips", supports_all, no_workspace, launch_log_softmax_fwd}};
constexpr Implementation kLogSoftmaxBwd[] = {
    {"strips", supports_all, no_workspace, launch_log_softmax_bwd}};

}  // namespace

const ImplementationList cpu_softmax_fwd{kSoftmaxFwd, 1};
const ImplementationList cpu_softmax_bwd{kSoftmaxBwd, 1};
const ImplementationList cpu_log_softmax_fwd{kLogSoftmaxFwd, 1};
const ImplementationList cpu_log_softmax_bwd{kLogSoftmaxBwd, 1};

}  // namespace tanul
