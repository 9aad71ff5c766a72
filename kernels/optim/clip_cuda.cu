// SPDX-License-Identifier: Apache-2.0
// Gradient clipping on CUDA. By norm: a block sums the squares of a tile, a last block the tiles
// (kernels/cuda/tensor_list.h), in double and an order that the shapes fix. Memory bound, 4 bytes an
// element. By value: one thread an element, 8 bytes.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/operands.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/tensor_list.h"
#include "kernels/optim/optim.h"

namespace tanul {

namespace {

struct StoreClip {
  double max_norm;
  __device__ void operator()(double sum, float* clip) const {
    const double norm = sqrt(sum);
    const double scale = max_norm / (norm + 1e-6);
    clip[0] = static_cast<float>(norm);
    clip[1] = scale > 1 ? 1.0f : static_cast<float>(scale);  // NaN stays NaN
  }
};

int launch_clip_scale_tiles(Stream* stream, const StepArgs& args) {
  const StoreClip finish{static_cast<double>(args.params_as<ClipParams>().max_norm)};
  return cuda::launch_sum_of_tensors(stream, args, cuda::Square(), finish);
}

struct ClipValue {
  float max_value;
  const float* loss_scale;  // the state, or null
  // NaN passes both comparisons; the difference of infinities is NaN.
  __device__ float operator()(float g) const {
    const float limit = loss_scale == nullptr ? max_value : max_value * loss_scale[0];
    const float value = loss_scale == nullptr ? g : g + (g - g);
    return value > limit ? limit : value < -limit ? -limit : value;
  }
};

int launch_clip_value_elementwise(Stream* stream, const StepArgs& args) {
  const ClipValue clip{args.params_as<ClipValueParams>().max_value, cuda::input_or_null(args, 1)};
  return cuda::launch_map(stream, clip, args.in[0].elems(), args.out[0].as<float>(),
                          args.in[0].as<const float>());
}

constexpr Implementation kClip[] = {
    {"tiles", supports_all, cuda::workspace_of_tiles, launch_clip_scale_tiles}};
constexpr Implementation kClipValue[] = {
    {"elementwise", supports_all, no_workspace, launch_clip_value_elementwise}};

}  // namespace

const ImplementationList cuda_clip_scale{kClip, 1};
const ImplementationList cuda_clip_value{kClipValue, 1};

}  // namespace tanul
