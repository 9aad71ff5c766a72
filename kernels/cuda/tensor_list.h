// SPDX-License-Identifier: Apache-2.0
// One number of all elements of many tensors together (a norm, a penalty): a block sums a tile of one
// tensor in double, a last block sums the tiles. Tiles depend on the shapes only, so the same operands
// give the same bits.
#pragma once

#include "kernels/cuda/kernel.h"
#include "kernels/cuda/reduce.h"

namespace tanul::cuda {

constexpr int64_t kTileElems = 16 * kBlockThreads;

// As many tensors as fit into the arguments of one kernel (4 KB).
struct TensorList {
  static constexpr int kMost = 100;
  const float* data[kMost];
  int64_t elems[kMost];
  int64_t first_tile[kMost + 1];  // of each tensor, within this list
  int count;
};

inline int64_t tiles_of(const Operand& tensor) { return ceil_div(tensor.elems(), kTileElems); }
inline int64_t all_tiles(const StepArgs& args) {
  int64_t tiles = 0;
  for (int i = 0; i < args.in_count; ++i) tiles += tiles_of(args.in[i]);
  return tiles;
}

// sums[tile] = Σ term(element)
template <typename Term>
__global__ void sum_tiles_kernel(TensorList list, double* sums, Term term) {
  for (int64_t tile = blockIdx.x; tile < list.first_tile[list.count]; tile += gridDim.x) {
    int low = 0, high = list.count - 1;  // the tensor of this tile is one of them
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (list.first_tile[middle] <= tile) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    const float* x = list.data[low];
    const int64_t begin = (tile - list.first_tile[low]) * kTileElems;
    const int64_t end = begin + kTileElems < list.elems[low] ? begin + kTileElems : list.elems[low];
    double sum = 0;
    for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
      sum += term(static_cast<double>(x[i]));
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[tile] = sum;
  }
}

// One block: out = finish(Σ sums)
template <typename Finish>
__global__ void sum_of_tiles_kernel(const double* sums, int64_t tiles, float* out, Finish finish) {
  double sum = 0;
  for (int64_t tile = threadIdx.x; tile < tiles; tile += blockDim.x) sum += sums[tile];
  sum = block_sum(sum);
  if (threadIdx.x == 0) finish(sum, out);
}

inline int64_t workspace_of_tiles(const StepArgs& args, int) {
  return all_tiles(args) * static_cast<int64_t>(sizeof(double));
}

// A term: of sums of squares.
struct Square {
  __device__ double operator()(double x) const { return x * x; }
};

// finish(Σ term(element) over all inputs, out[0])
template <typename Term, typename Finish>
int launch_sum_of_tensors(Stream* stream, const StepArgs& args, Term term, Finish finish) {
  double* sums = static_cast<double*>(args.workspace);  // [tiles], those of in[0] first
  int64_t done = 0;
  for (int i = 0; i < args.in_count;) {
    TensorList list{};
    for (; i < args.in_count && list.count < TensorList::kMost; ++i, ++list.count) {
      list.data[list.count] = args.in[i].as<float>();
      list.elems[list.count] = args.in[i].elems();
      list.first_tile[list.count + 1] = list.first_tile[list.count] + tiles_of(args.in[i]);
    }
    const int64_t tiles = list.first_tile[list.count];
    const Dim3 grid{static_cast<uint32_t>(tiles < 65535 ? tiles : 65535), 1, 1};
    if (const int status =
            launch(stream, sum_tiles_kernel<Term>, grid, kBlockThreads, list, sums + done, term)) {
      return status;
    }
    done += tiles;
  }
  return launch(stream, sum_of_tiles_kernel<Finish>, Dim3{1, 1, 1}, 1024, sums, done,
                args.out[0].as<float>(), finish);
}

}  // namespace tanul::cuda
