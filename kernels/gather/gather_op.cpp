// SPDX-License-Identifier: Apache-2.0
// gather_rows: shape inference.
#include <algorithm>

#include "kernels/gather/gather.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void check_images(const InferContext& context, const Shape& rows, const GatherParams& params) {
  if (context.dtype(0) == DType::i32) {
    context.reject("images are u8 or f32, got i32");
  }
  const int64_t plane = params.height * params.width;
  if (params.width < 1 || rows.elems_from(1) % plane != 0) {
    context.reject("rows {} are no images of {}x{} pixels", rows.str(), params.height,
                   params.width);
  }
  if (params.crop < 0 || params.crop >= std::min(params.height, params.width)) {
    context.reject("a shift of up to {} is at least 0 and below the extents of images {}x{}",
                   params.crop, params.height, params.width);
  }
}

void infer(InferContext& context) {
  const GatherParams& params = context.params<GatherParams>();
  const Shape& rows = context.shape(0);
  const DType dtype = context.dtype(0);
  if (dtype != DType::u8 && dtype != DType::i32 && dtype != DType::f32) {
    context.reject("rows are u8, i32 or f32, got {}", dtype_name(dtype));
  }
  if (rows.rank() < 1 || rows.rank() > kMaxOperandRank) {
    context.reject("rows have 1 to {} axes [S, ...], got {}", kMaxOperandRank, rows.str());
  }
  if (context.dtype(1) != DType::i32 || context.shape(1) != Shape{rows[0]}) {
    context.reject("order is i32 [{}], one place for each of the rows {}, got {} {}", rows[0],
                   rows.str(), dtype_name(context.dtype(1)), context.shape(1).str());
  }
  if (params.batch < 1 || params.batch > rows[0]) {
    context.reject("a batch has 1 to {} of the rows {}, got {}", rows[0], rows.str(), params.batch);
  }
  if (moves_images(params)) check_images(context, rows, params);
  Shape y = rows;
  y[0] = params.batch;
  context.add_out(y, dtype);
}

}  // namespace

const OpDef op_gather_rows{
    .doc = "y[n] = rows[order[first + n]], images shifted and mirrored",
    .infer = infer,
};

}  // namespace tanul
