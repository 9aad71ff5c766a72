// SPDX-License-Identifier: Apache-2.0
// Convolution by indexed GEMM (kernels/cpu/indexed_gemm.h), "indirect_gemm": the input is read
// where it lies, through offsets, instead of being copied into columns. What the three steps share.
#pragma once

#include <cstring>

#include "kernels/conv2d/conv2d_shape.h"
#include "kernels/cpu/indexed_gemm.h"
#include "kernels/cpu/tiling.h"

namespace tanul {

// The three verbs of each implementation; the lists are in conv2d_cpu.cpp.
#define TANUL_DECLARE_VERBS(name)                             \
  namespace name {                                            \
  const char* supports(const StepArgs& args);                 \
  int64_t workspace_bytes(const StepArgs& args, int threads); \
  int launch(Stream* stream, const StepArgs& args);           \
  }
TANUL_DECLARE_VERBS(conv2d_fwd_indirect_gemm)
TANUL_DECLARE_VERBS(conv2d_bwd_data_indirect_gemm)
TANUL_DECLARE_VERBS(conv2d_bwd_weights_indirect_gemm)
TANUL_DECLARE_VERBS(conv2d_bwd_weights_lane_sums)
#undef TANUL_DECLARE_VERBS

namespace cpu {

// Steps of the sum that are taken at a time: two vectors of the second operand for so many steps
// fill half of a first-level cache of 32 KiB.
constexpr int64_t kDepthBlock = 256;
// What a tile writes to again and again should stay in the second-level cache.
constexpr int64_t kResultElems = 32 * 1024;

// Workspace is handed out in pieces of whole cache lines.
class WorkspaceLayout {
 public:
  // Returns the offset in bytes of a piece of `count` elements of 4 bytes.
  int64_t take(int64_t count) {
    const int64_t at = bytes_;
    bytes_ += ceil_div(count * 4, 64) * 64;
    return at;
  }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

template <typename T>
T* workspace_at(const StepArgs& args, int64_t offset_bytes) {
  return reinterpret_cast<T*>(static_cast<char*>(args.workspace) + offset_bytes);
}

inline int64_t round_up(int64_t n, int64_t multiple) { return ceil_div(n, multiple) * multiple; }

// Rows of the left operand stored by panels of indexed_gemm: element (row, t) lies at
// row_offset(row) + t kPanelRows. `elems` for all.
struct PanelLayout {
  int64_t rows, depth;
  RowPanels panels() const { return row_panels(rows); }
  int64_t elems() const { return panels().count * depth * kPanelRows; }
  void fill_row_offsets(int32_t* offsets) const {
    const RowPanels cut = panels();
    for (int64_t panel = 0; panel < cut.count; ++panel) {
      for (int64_t row = cut.begin(panel); row < cut.begin(panel + 1); ++row) {
        offsets[row] = static_cast<int32_t>(panel * depth * kPanelRows + row - cut.begin(panel));
      }
    }
  }
};

// to [channels, rows, W + pads] = rows [row, row + rows) of the padded planes from x [channels, H,
// W], counted in the padded plane.
inline void copy_padded(const ConvShape& shape, const float* x, int64_t channels, int64_t row,
                        int64_t rows, float* to) {
  const Conv2dParams& params = shape.params;
  const int64_t width = shape.W + params.pad_left + params.pad_right;
  const auto zero = [&](int64_t count) {
    std::memset(to, 0, static_cast<size_t>(count) * sizeof(float));
    to += count;
  };
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t r = row; r < row + rows; ++r) {
      const int64_t h = r - params.pad_top;
      if (h < 0 || h >= shape.H) {
        zero(width);
        continue;
      }
      zero(params.pad_left);
      std::memcpy(to, x + (c * shape.H + h) * shape.W,
                  static_cast<size_t>(shape.W) * sizeof(float));
      to += shape.W;
      zero(params.pad_right);
    }
  }
}

inline bool is_padded(const ConvShape& shape) {
  const Conv2dParams& params = shape.params;
  return params.pad_top != 0 || params.pad_left != 0 || params.pad_bottom != 0 ||
         params.pad_right != 0;
}

// Do the offsets within one image fit the tables?
inline bool fits_offsets(const ConvShape& shape) {
  const Conv2dParams& params = shape.params;
  const int64_t height = shape.H + params.pad_top + params.pad_bottom;
  const int64_t width = shape.W + params.pad_left + params.pad_right;
  constexpr double kLimit = 1 << 30;
  return static_cast<double>(shape.C) * static_cast<double>(height) * static_cast<double>(width) <
             kLimit &&
         static_cast<double>(shape.K) * static_cast<double>(shape.CRS() + shape.PQ()) < kLimit &&
         static_cast<double>(shape.CRS()) * static_cast<double>(kPanelRows) < kLimit;
}

// Would less than half of the lanes do useful work?
inline bool wastes_lanes(int64_t extent, int lanes, int width) {
  return lanes == 0 || 2 * extent < ceil_div(extent, lanes) * width;
}

}  // namespace cpu
}  // namespace tanul
