// SPDX-License-Identifier: Apache-2.0
// Loops over operands of different shapes that are stretched to one (numpy's broadcasting: shapes are
// aligned at their last axis, an extent of 1 is repeated), and sums back to a smaller shape. Serves
// arithmetic, reductions, and the gradients of parameters that have one number per channel.
//
// Neighbouring axes along which all operands lie the same way are merged first: equal shapes become
// one row, a channel vector over images [N, C, H W]. Sums are in double, in an order that depends on
// the shape alone.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/backend_abi.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tiling.h"

namespace tanul::cpu {

// The extents of an operand, aligned at its last axis.
struct Extents {
  const int64_t* dims;
  int rank;

  Extents(const Operand& operand) : dims(operand.dims), rank(operand.rank) {}  // NOLINT
  Extents(const int64_t* d, int r) : dims(d), rank(r) {}
  // Along axis `axis` of a shape of `of` axes.
  int64_t at(int axis, int of) const { return axis < of - rank ? 1 : dims[axis - (of - rank)]; }
};

// kCount operands under the shape `full`.
template <int kCount>
struct BroadcastLoop {
  int rank = 0;                              // at least 1
  int64_t extents[kMaxOperandRank];          // merged
  int64_t strides[kCount][kMaxOperandRank];  // in elements; 0 where the operand is repeated
  int64_t rows = 1;                          // all extents but the last one

  BroadcastLoop(const Extents& full, const Extents (&operands)[kCount]) {
    int64_t step[kCount];  // elements behind the axis
    for (int64_t& s : step) s = 1;
    // From the last axis to the first, into the arrays from their end.
    int first = kMaxOperandRank;
    for (int axis = full.rank - 1; axis >= 0; --axis) {
      const int64_t extent = full.dims[axis];
      if (extent == 1) continue;
      int64_t stride[kCount];
      bool merges = first < kMaxOperandRank;
      for (int i = 0; i < kCount; ++i) {
        const int64_t own = operands[i].at(axis, full.rank);
        stride[i] = own == 1 ? 0 : step[i];
        step[i] *= own;
        merges = merges && stride[i] == strides[i][first] * extents[first];
      }
      if (merges) {
        extents[first] *= extent;
        continue;
      }
      --first;
      extents[first] = extent;
      for (int i = 0; i < kCount; ++i) strides[i][first] = stride[i];
    }
    if (first == kMaxOperandRank) {  // one element
      --first;
      extents[first] = 1;
      for (int i = 0; i < kCount; ++i) strides[i][first] = 1;
    }
    rank = kMaxOperandRank - first;
    std::copy(extents + first, extents + kMaxOperandRank, extents);
    for (int i = 0; i < kCount; ++i) {
      std::copy(strides[i] + first, strides[i] + kMaxOperandRank, strides[i]);
    }
    for (int i = 0; i + 1 < rank; ++i) rows *= extents[i];
  }

  int64_t row_length() const { return extents[rank - 1]; }
  int64_t row_stride(int operand) const { return strides[operand][rank - 1]; }

  // Calls body(offsets) for the rows [begin, end): where each operand's row starts, in elements.
  template <typename Body>
  void for_rows(int64_t begin, int64_t end, Body&& body) const {
    int64_t index[kMaxOperandRank] = {};
    int64_t offsets[kCount] = {};
    int64_t rest = begin;
    for (int axis = rank - 2; axis >= 0; --axis) {
      index[axis] = rest % extents[axis];
      rest /= extents[axis];
      for (int i = 0; i < kCount; ++i) offsets[i] += index[axis] * strides[i][axis];
    }
    for (int64_t row = begin; row < end; ++row) {
      body(offsets);
      for (int axis = rank - 2; axis >= 0; --axis) {
        for (int i = 0; i < kCount; ++i) offsets[i] += strides[i][axis];
        if (++index[axis] < extents[axis]) break;
        index[axis] = 0;
        for (int i = 0; i < kCount; ++i) offsets[i] -= extents[axis] * strides[i][axis];
      }
    }
  }
};

// Calls body(std::integral_constant 0 or 1): an inner stride that the compiler knows.
template <typename Body>
void with_stride(int64_t stride, Body&& body) {
  if (stride == 0) {
    body(std::integral_constant<int64_t, 0>());
  } else {
    body(std::integral_constant<int64_t, 1>());
  }
}

// Calls element(i, a, b) for each element i of the shape `full`, with the elements of a and b that lie
// there; they are repeated where they are smaller.
template <typename Element>
void map_broadcast(Stream* stream, const Extents& full, const Extents& a_extents, const float* a,
                   const Extents& b_extents, const float* b, const Element& element) {
  const BroadcastLoop<3> loop(full, {full, a_extents, b_extents});
  const int64_t length = loop.row_length();
  const Blocks columns = blocks_of_size(length, kElementwiseTile);
  const Blocks rows = blocks_of_size(loop.rows, std::max<int64_t>(1, kElementwiseTile / length));
  with_stride(loop.row_stride(1), [&](auto a_step) {
    with_stride(loop.row_stride(2), [&](auto b_step) {
      parallel_for(stream, rows.count * columns.count, [&](int64_t tile, int) {
        const int64_t row = rows.begin(tile / columns.count);
        const int64_t begin = columns.begin(tile % columns.count);
        const int64_t end = begin + columns.length(tile % columns.count);
        loop.for_rows(row, row + rows.length(tile / columns.count), [&](const int64_t* at) {
          const int64_t first = at[0];
          const float* u = a + at[1];
          const float* v = b + at[2];
          for (int64_t i = begin; i < end; ++i) element(first + i, u[i * a_step], v[i * b_step]);
        });
      });
    });
  });
}

// How sum_broadcast cuts its work: blocks of the outermost axis. Where that axis is summed over, each
// block has sums of its own, added up at the end; their memory stays below a quarter of the input's.
struct SumPlan {
  BroadcastLoop<4> loop;  // full, a, b, sums
  int64_t sums;
  bool is_outer_kept;
  Blocks blocks;

  SumPlan(const Extents& full, const Extents& a, const Extents& b, const Extents& target)
      : loop(full, {full, a, b, target}), sums(1) {
    for (int i = 0; i < target.rank; ++i) sums *= target.dims[i];
    const int64_t elems = loop.rows * loop.row_length();
    is_outer_kept = loop.strides[3][0] != 0;
    int64_t wanted = std::clamp<int64_t>(elems / kElementwiseTile, 1, kTilesWanted);
    if (!is_outer_kept) wanted = std::clamp<int64_t>(elems / (8 * sums), 1, wanted);
    blocks = blocks_about(loop.extents[0], wanted, 1);
  }
  int64_t copies() const { return is_outer_kept ? 1 : blocks.count; }
  int64_t workspace_bytes() const { return copies() * sums * static_cast<int64_t>(sizeof(double)); }
};

// out[...] = (sum of term(x, a, b) over what `out` has not) / divisor, where x has the full shape and
// term gives a double.
template <typename Term>
void sum_broadcast(Stream* stream, const SumPlan& plan, const float* x, const float* a,
                   const float* b, float* out, double divisor, double* workspace,
                   const Term& term) {
  const BroadcastLoop<4>& loop = plan.loop;
  const int64_t length = loop.row_length();
  with_stride(loop.row_stride(1), [&](auto a_step) {
    with_stride(loop.row_stride(2), [&](auto b_step) {
      parallel_for(stream, plan.blocks.count, [&](int64_t block, int) {
        const int64_t begin = plan.blocks.begin(block);
        const int64_t count = plan.blocks.length(block);
        double* sums = workspace + (plan.is_outer_kept ? 0 : block * plan.sums);
        const int64_t first = plan.is_outer_kept ? begin * loop.strides[3][0] : 0;
        const int64_t owned = plan.is_outer_kept ? count * loop.strides[3][0] : plan.sums;
        std::fill(sums + first, sums + first + owned, 0.0);
        const bool is_one_row = loop.rank == 1;  // then the block is a part of it
        const int64_t from = is_one_row ? begin : 0;
        const int64_t to = is_one_row ? begin + count : length;
        const int64_t rows_each = is_one_row ? 1 : loop.rows / loop.extents[0];
        const int64_t row = is_one_row ? 0 : begin * rows_each;
        loop.for_rows(row, is_one_row ? 1 : row + count * rows_each, [&](const int64_t* at) {
          const float* v = x + at[0];
          const float* p = a + at[1];
          const float* q = b + at[2];
          double* sum = sums + at[3];
          if (loop.row_stride(3) != 0) {
            for (int64_t i = from; i < to; ++i) sum[i] += term(v[i], p[i * a_step], q[i * b_step]);
            return;
          }
          // Four running sums hide the latency of the addition.
          double part[4] = {};
          int64_t i = from;
          for (; i + 4 <= to; i += 4) {
            for (int64_t j = 0; j < 4; ++j) {
              part[j] += term(v[i + j], p[(i + j) * a_step], q[(i + j) * b_step]);
            }
          }
          for (; i < to; ++i) part[0] += term(v[i], p[i * a_step], q[i * b_step]);
          *sum += (part[0] + part[1]) + (part[2] + part[3]);
        });
      });
    });
  });
  parallel_ranges(stream, plan.sums, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double sum = workspace[i];
      for (int64_t copy = 1; copy < plan.copies(); ++copy) sum += workspace[copy * plan.sums + i];
      out[i] = static_cast<float>(sum / divisor);
    }
  });
}

}  // namespace tanul::cpu
