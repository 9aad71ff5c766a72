// SPDX-License-Identifier: Apache-2.0
// A box inside a larger one: what slice and pad have in common. Axes that are whole on both sides are
// merged, so that rows are as long as they can be.
#pragma once

#include "kernels/backend_abi.h"

namespace tanul::cpu {

struct Box {
  int rank = 0;
  int64_t outer[kMaxOperandRank]{};  // extents of the larger one
  int64_t inner[kMaxOperandRank]{};  // of the smaller one
  int64_t begin[kMaxOperandRank]{};  // where the smaller one begins

  // `keeps_axes`: an axis that is cut stays on its own (what is beyond it is looked up one by one).
  Box(const int64_t* large, const int64_t* small, const int32_t* first, int axes, bool keeps_axes) {
    for (int i = 0; i < axes; ++i) {
      const bool is_whole = large[i] == small[i];
      const bool previous_is_whole = rank > 0 && outer[rank - 1] == inner[rank - 1];
      if (rank > 0 && is_whole && (previous_is_whole || !keeps_axes)) {
        outer[rank - 1] *= large[i];
        inner[rank - 1] *= large[i];
        begin[rank - 1] *= large[i];
        continue;
      }
      outer[rank] = large[i];
      inner[rank] = small[i];
      begin[rank] = first[i];
      ++rank;
    }
  }
  static int64_t rows(const int64_t* dims, int rank) {
    int64_t n = 1;
    for (int i = 0; i + 1 < rank; ++i) n *= dims[i];
    return n;
  }
  int last() const { return rank > 0 ? rank - 1 : 0; }
};

// Counts through the rows of a tensor: the index along each axis but the last.
struct RowIndex {
  int rank;
  const int64_t* dims;
  int64_t at[kMaxOperandRank];

  RowIndex(const int64_t* extents, int axes, int64_t row) : rank(axes), dims(extents) {
    for (int i = rank - 2; i >= 0; --i) {
      at[i] = row % dims[i];
      row /= dims[i];
    }
  }
  void next() {
    for (int i = rank - 2; i >= 0; --i) {
      if (++at[i] < dims[i]) return;
      at[i] = 0;
    }
  }
};

}  // namespace tanul::cpu
