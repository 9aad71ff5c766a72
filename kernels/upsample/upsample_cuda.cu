// SPDX-License-Identifier: Apache-2.0
// upsample on CUDA, "tables". A first kernel writes, for each axis, which elements of x an output is made
// of and with which weights (taps.h). Forward, a thread takes one output. Backward, a second kernel writes
// which outputs an element of x has a part in (a range, since places do not decrease), and a thread
// takes one element of dx and adds up what those outputs give: no atomics.
// Memory bound for nearest and linear; cubic volumes do 64 multiply-adds an output.
// Numerics: sums in double, rounded once. Deterministic.
#include "kernels/cuda/divide.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/planes.h"
#include "kernels/upsample/taps.h"
#include "kernels/upsample/upsample.h"

namespace tanul {

namespace {

using namespace cuda;

// The outputs that an element of x has a part in, along one axis.
struct Range {
  int32_t begin, end;
};

// The spatial axes as three, [D, H, W]; those that are missing have one element.
struct Plan {
  int64_t planes;
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1};
  int count[3] = {1, 1, 1};  // taps
  Divider in_height, in_width, out_height, out_width;
  UpsampleParams params;

  Plan(const Operand& batch, const UpsampleParams& p)
      : planes(batch.dims[0] * batch.dims[1]), params(p) {
    for (int i = 0; i < params.axes; ++i) {
      const int axis = 3 - params.axes + i;
      in[axis] = params.in[i];
      out[axis] = params.out[i];
      count[axis] = taps_of(params.mode);
    }
    in_height = Divider(in[1]);
    in_width = Divider(in[2]);
    out_height = Divider(out[1]);
    out_width = Divider(out[2]);
  }
  __host__ __device__ int64_t in_elems() const { return in[0] * in[1] * in[2]; }
  __host__ __device__ int64_t out_elems() const { return out[0] * out[1] * out[2]; }
  __host__ __device__ int64_t taps() const { return out[0] + out[1] + out[2]; }
  __host__ __device__ int64_t ranges() const { return in[0] + in[1] + in[2]; }
};

// Tables of the three axes, one behind the other.
template <typename T>
struct Tables {
  const T* axis[3];
  Tables(const T* memory, const int64_t (&extents)[3])
      : axis{memory, memory + extents[0], memory + extents[0] + extents[1]} {}
};

// Entry `i` of three tables behind each other: its axis, and its place there.
struct Entry {
  int axis;
  int64_t at;
};
__device__ inline Entry entry(const int64_t (&extents)[3], int64_t i) {
  if (i < extents[0]) return {0, i};
  i -= extents[0];
  if (i < extents[1]) return {1, i};
  return {2, i - extents[1]};
}

__global__ void upsample_taps_kernel(Plan plan, Taps* taps) {
  for (int64_t i = grid_thread(); i < plan.taps(); i += grid_threads()) {
    const Entry own = entry(plan.out, i);
    const int axis = own.axis - (3 - plan.params.axes);
    if (axis >= 0) {
      taps[i] = make_taps(plan.params, axis, own.at);
    } else {
      Taps only{};
      only.weight[0] = 1;
      taps[i] = only;
    }
  }
}

// The first output of an axis whose tap `k` lies at `at` or behind it.
__device__ inline int32_t first_output(const Taps* taps, int64_t outputs, int k, int64_t at) {
  int64_t low = 0, high = outputs;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (taps[middle].at[k] < at) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return static_cast<int32_t>(low);
}

__global__ void upsample_ranges_kernel(Plan plan, Tables<Taps> taps, Range* ranges) {
  for (int64_t i = grid_thread(); i < plan.ranges(); i += grid_threads()) {
    const Entry own = entry(plan.in, i);
    const Taps* table = taps.axis[own.axis];
    const int64_t outputs = plan.out[own.axis];
    ranges[i] = {first_output(table, outputs, plan.count[own.axis] - 1, own.at),
                 first_output(table, outputs, 0, own.at + 1)};
  }
}

__global__ void upsample_fwd_kernel(Plan plan, Planes planes, Tables<Taps> tables, const float* x,
                                    float* y) {
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const float* from = x + plane * plan.in_elems();
  for (int64_t i = planes.begin(); i < planes.end(); i += planes.step()) {
    const auto row = plan.out_width.split(i);
    const auto slice = plan.out_height.split(row.quotient);
    const Taps& d = tables.axis[0][slice.quotient];
    const Taps& h = tables.axis[1][slice.rest];
    const Taps& w = tables.axis[2][row.rest];
    double sum = 0;
    for (int a = 0; a < plan.count[0]; ++a) {
      for (int b = 0; b < plan.count[1]; ++b) {
        const double weight = d.weight[a] * h.weight[b];
        if (weight == 0) continue;
        const float* line = from + (d.at[a] * plan.in[1] + h.at[b]) * plan.in[2];
        double value = 0;
        for (int c = 0; c < plan.count[2]; ++c) {
          if (w.weight[c] != 0) value += w.weight[c] * static_cast<double>(line[w.at[c]]);
        }
        sum += weight * value;
      }
    }
    y[plane * planes.inner + i] = static_cast<float>(sum);
  }
}

// The share of element `at` in an output.
__device__ inline double weight_of(const Taps& taps, int count, int64_t at) {
  double sum = 0;
  for (int k = 0; k < count; ++k) sum += taps.at[k] == at ? taps.weight[k] : 0.0;
  return sum;
}

__global__ void upsample_bwd_kernel(Plan plan, Planes planes, Tables<Taps> tables,
                                    Tables<Range> ranges, const float* dy, float* dx) {
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const float* from = dy + plane * plan.out_elems();
  for (int64_t i = planes.begin(); i < planes.end(); i += planes.step()) {
    const auto row = plan.in_width.split(i);
    const auto slice = plan.in_height.split(row.quotient);
    const Range d = ranges.axis[0][slice.quotient];
    const Range h = ranges.axis[1][slice.rest];
    const Range w = ranges.axis[2][row.rest];
    double sum = 0;
    for (int64_t z = d.begin; z < d.end; ++z) {
      const double of_z = weight_of(tables.axis[0][z], plan.count[0], slice.quotient);
      for (int64_t p = h.begin; p < h.end; ++p) {
        const double weight = of_z * weight_of(tables.axis[1][p], plan.count[1], slice.rest);
        if (weight == 0) continue;
        const float* line = from + (z * plan.out[1] + p) * plan.out[2];
        double value = 0;
        for (int64_t q = w.begin; q < w.end; ++q) {
          value +=
              weight_of(tables.axis[2][q], plan.count[2], row.rest) * static_cast<double>(line[q]);
        }
        sum += weight * value;
      }
    }
    dx[plane * planes.inner + i] = static_cast<float>(sum);
  }
}

// --- launchers ---------------------------------------------------------------------------------

int64_t taps_bytes(const Plan& plan) { return plan.taps() * static_cast<int64_t>(sizeof(Taps)); }

int64_t workspace_fwd(const StepArgs& args, int) {
  return taps_bytes({args.in[0], args.params_as<UpsampleParams>()});
}

int64_t workspace_bwd(const StepArgs& args, int) {
  const Plan plan(args.in[0], args.params_as<UpsampleParams>());
  return taps_bytes(plan) + plan.ranges() * static_cast<int64_t>(sizeof(Range));
}

int launch_fwd(Stream* stream, const StepArgs& args) {
  const Plan plan(args.in[0], args.params_as<UpsampleParams>());
  Taps* taps = static_cast<Taps*>(args.workspace);
  const int error =
      launch(stream, upsample_taps_kernel, blocks_for(plan.taps()), kBlockThreads, plan, taps);
  if (error != 0) return error;
  const Planes planes(plan.planes, plan.out_elems());
  return launch(stream, upsample_fwd_kernel, planes.grid(), kBlockThreads, plan, planes,
                Tables<Taps>(taps, plan.out), args.in[0].as<float>(), args.out[0].as<float>());
}

int launch_bwd(Stream* stream, const StepArgs& args) {
  const Plan plan(args.in[0], args.params_as<UpsampleParams>());
  Taps* taps = static_cast<Taps*>(args.workspace);
  Range* ranges = reinterpret_cast<Range*>(taps + plan.taps());
  const Tables<Taps> tables(taps, plan.out);
  int error =
      launch(stream, upsample_taps_kernel, blocks_for(plan.taps()), kBlockThreads, plan, taps);
  if (error == 0) {
    error = launch(stream, upsample_ranges_kernel, blocks_for(plan.ranges()), kBlockThreads, plan,
                   tables, ranges);
  }
  if (error != 0) return error;
  const Planes planes(plan.planes, plan.in_elems());
  return launch(stream, upsample_bwd_kernel, planes.grid(), kBlockThreads, plan, planes, tables,
                Tables<Range>(ranges, plan.in), args.in[0].as<float>(), args.out[0].as<float>());
}

constexpr Implementation kFwd[] = {{"tables", supports_all, workspace_fwd, launch_fwd}};
constexpr Implementation kBwd[] = {{"tables", supports_all, workspace_bwd, launch_bwd}};

}  // namespace

const ImplementationList cuda_upsample_fwd{kFwd, 1};
const ImplementationList cuda_upsample_bwd{kBwd, 1};

}  // namespace tanul
