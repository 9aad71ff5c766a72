// SPDX-License-Identifier: Apache-2.0
// db = sums of dy over all axes but the channel's, beside a product that does not hand them out: by the
// kernels of reduce_sum, whose numerics they have (double, a fixed order).
#pragma once

#include "kernels/backend_abi.h"
#include "kernels/cuda/ops.h"
#include "kernels/reduce/reduce.h"

namespace tanul::cuda {

class BiasGradient {
 public:
  // dy [N, K, …], db [K]; `step`: whose workspace it may use.
  BiasGradient(const Operand& dy, const Operand& db, const StepArgs& step) : in_(dy), out_(db) {
    params_.in_rank = dy.rank;
    for (int i = 0; i < dy.rank; ++i) {
      params_.in_dims[i] = dy.dims[i];
      if (i != 1) params_.axes |= 1 << i;
    }
    args_ = {&in_, &out_, 1, 1, &params_, step.workspace, step.workspace_bytes, step.block};
  }
  BiasGradient(const BiasGradient&) = delete;
  BiasGradient& operator=(const BiasGradient&) = delete;

  int64_t workspace_bytes() const { return implementation().workspace_bytes(args_, 1); }
  int launch(Stream* stream) const { return implementation().launch(stream, args_); }

 private:
  static const Implementation& implementation() { return cuda_reduce_sum_fwd.items[0]; }

  Operand in_, out_;
  ReduceParams params_{};
  StepArgs args_{};
};

}  // namespace tanul::cuda
